//! A request's body as it is sent, and the sending.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Uri};
use hyper::body::Body;

use super::error::ProxyError;
use super::facts::Facts;
use super::forward::Replied;
use super::headers::{Length, Outgoing};
use super::peek::Peeked;
use super::progress::{ClientFault, Progress};
use super::seat::Seat;
use super::socket::Exchange;
use super::source::Source;
use super::upload::Upload;
use super::vigil::{Alarm, Heed, Post};
use super::{Stage, Worker};
use crate::http1::Head;
use crate::upstream::{Begun, Cause, Reply, Trouble, UploadTrouble};

/// A client's body on its way to an endpoint.
pub(super) enum Cargo {
    /// All of it is here, so it can be sent again.
    Whole(Bytes),
    /// It streams through.
    Running(Running),
}

/// A body that streams through, until it is sent.
pub(super) struct Running {
    upload: Option<Box<Upload>>,
    progress: Rc<Progress>,
}

/// What became of one try.
pub(super) type Sent = Result<Replied, Trouble>;

impl Cargo {
    /// As it was looked at; who streams has a time for each pause, and is in an exchange.
    pub(super) fn new(body: Peeked, pause: Duration, exchange: Option<Rc<Exchange>>) -> Self {
        match body {
            Peeked::Whole(bytes) => Self::Whole(bytes),
            Peeked::Running { prefix, rest, .. } => {
                let (upload, progress) = Upload::new(prefix, rest, pause, exchange);
                Self::Running(Running { upload: Some(upload), progress })
            }
        }
    }

    /// Whether all of it is here.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }

    /// Whether it can be sent, or sent again.
    pub(super) fn can_be_sent(&self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Running(running) => running.upload.is_some(),
        }
    }

    /// What the client did wrong with it.
    pub(super) fn fault(&self) -> Option<ClientFault> {
        match self {
            Self::Whole(_) => None,
            Self::Running(running) => running.progress.fault(),
        }
    }
}

impl Worker {
    /// Sends a request whole. Nobody waits for an endpoint that has fallen silent, or beyond the end of the process.
    pub(super) async fn send(
        &self,
        seat: &Seat,
        facts: &Facts,
        outgoing: &Outgoing<'_>,
        body: &Bytes,
        post: &Post,
    ) -> Result<Sent, ProxyError> {
        let traffic = &seat.service.config.traffic;
        let endpoint = seat.ticket.endpoint();
        let due = self.vigil.now() + traffic.first_byte_timeout;
        post.heed_with((due, Stage::Parting), seat.guest(facts), endpoint);
        let write = |out: &mut Vec<u8>| {
            outgoing.write(out, endpoint, facts.pin.as_ref(), Length::Known(body.len() as u64));
            out.extend_from_slice(body);
        };
        let mut sending = pin!(self.wire.send(endpoint, outgoing.method(), traffic.connect_timeout, write));
        let sent = poll_fn(|context| match sending.as_mut().poll(context) {
            Poll::Ready(sent) => Poll::Ready(Ok(sent)),
            Poll::Pending => facts.poll_alarm(post, context).map(Err),
        })
        .await;
        match sent {
            Ok(sent) => Ok(sent.map(|Reply { head, flow }| Replied { head, source: Source::Wire(flow), progress: None })),
            Err(Alarm::Due) => {
                endpoint.note_failure();
                Err(ProxyError::TimedOut)
            }
            Err(Alarm::Silent) => Err(ProxyError::Silent),
            Err(Alarm::Stage) => Err(ProxyError::Stopping),
            Err(Alarm::Cut(_) | Alarm::Leave(_)) => Err(ProxyError::TakenBack),
        }
    }

    /// The same while the body is still coming. The time for the first byte runs from the end of the upload, which has
    /// a clock of its own.
    pub(super) async fn send_upload(
        &self,
        seat: &Seat,
        facts: &Facts,
        outgoing: &Outgoing<'_>,
        running: &mut Running,
        post: &Post,
    ) -> Result<Sent, ProxyError> {
        let Some(upload) = running.upload.take() else { return Err(ProxyError::ClientBody) };
        let traffic = &seat.service.config.traffic;
        let (endpoint, progress) = (seat.ticket.endpoint(), running.progress.clone());
        let (mut stage, mut silent) = (self.site.stage.clone(), endpoint.silent.subscribe());
        let late = async {
            tokio::select! {
                () = async {
                    progress.done().await;
                    tokio::time::sleep(traffic.first_byte_timeout).await;
                } => {}
                // And an endpoint that takes no more of an upload has no longer either.
                () = progress.stalled(traffic.first_byte_timeout) => {}
            }
        };
        // The stage is watched below, and is over before this one.
        post.heed(Heed { guest: seat.guest(facts), ..Heed::stage(Stage::Ended) });
        let request = request(outgoing, seat, facts, upload)?;
        let sent = tokio::select! {
            biased;
            result = self.uploads.send(endpoint, request, traffic.connect_timeout) => result,
            () = late => {
                endpoint.note_failure();
                return Err(ProxyError::TimedOut);
            }
            _ = silent.wait_for(|silent| *silent) => return Err(ProxyError::Silent),
            _ = stage.wait_for(|stage| *stage >= Stage::Parting) => return Err(ProxyError::Stopping),
            _ = poll_fn(|context| facts.poll_alarm(post, context)) => return Err(ProxyError::TakenBack),
        };
        Ok(match sent {
            Ok(Begun { response, lease }) => {
                let (parts, incoming) = response.into_parts();
                let source = Source::Upload { incoming, lease: Some(lease) };
                Head::read_by_hyper(&parts, outgoing.method())
                    .map(|head| Replied { head: Box::new(head), source, progress: Some(running.progress.clone()) })
                    .map_err(|fault| Trouble::Lost { cause: Cause::Form(fault), heard: true })
            }
            Err(UploadTrouble::Unsent(back, cause)) => {
                running.upload = Some(back.into_body());
                Err(Trouble::Unsent(cause))
            }
            Err(UploadTrouble::Lost(error)) => Err(Trouble::Lost { cause: Cause::Library(error), heard: true }),
        })
    }
}

/// A request as hyper wants it.
fn request(outgoing: &Outgoing<'_>, seat: &Seat, facts: &Facts, upload: Box<Upload>) -> Result<Request<Box<Upload>>, ProxyError> {
    let length = upload.size_hint().exact().map_or(Length::Unknown, Length::Known);
    let mut headers = HeaderMap::new();
    outgoing.put(&mut headers, seat.ticket.endpoint(), facts.pin.as_ref(), length);
    let (slash, target) = outgoing.target();
    let target: Uri = format!("{slash}{target}").parse().map_err(|_| ProxyError::Form("the target is not valid"))?;
    let mut request = Request::new(upload);
    *request.method_mut() = outgoing.method().clone();
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    Ok(request)
}
