//! Bodies on their way: to the endpoint, and back to the client with all that must last as long as
//! the stream does.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::channel::Downstream;
use super::error::ProxyError;
use super::ledger::Ledger;
use super::peek::Peeked;
use super::progress::{ClientFault, Progress};
use super::rim::Permit;
use super::socket::Exchange;
use super::stream::{EventStream, LooksCut, Saying};
use super::table::Phase;
use crate::upstream::{Lease, Ticket};

/// An endpoint that has answered, and takes nothing for so long of an upload that goes on, takes no more. The kernel
/// tells of room only where there is a lot, megabytes of it: of a server that reads slowly nothing is seen for seconds.
const WIND_UP: Duration = Duration::from_secs(15);

/// A client's body on its way to an endpoint.
pub(super) enum ToEntry {
    /// All of it is here, so it can be sent again.
    Whole(Bytes),
    /// It streams through.
    Running(Box<Upload>),
}

/// A streaming upload.
pub(super) struct Upload {
    prefix: Bytes,
    rest: Incoming,
    pause: Duration,
    /// Armed when the endpoint first asks for the body: before, the client is not to blame.
    alarm: Option<Pin<Box<Sleep>>>,
    progress: Rc<Progress>,
    _exchange: Rc<Exchange>,
}

impl ToEntry {
    pub(super) fn new(peeked: Peeked, pause: Duration, exchange: Rc<Exchange>) -> (Self, Rc<Progress>) {
        let progress = Rc::<Progress>::default();
        let body = match peeked {
            Peeked::Whole(bytes) => {
                progress.finish();
                Self::Whole(bytes)
            }
            Peeked::Running { prefix, rest, .. } => {
                let (progress, _exchange) = (progress.clone(), exchange);
                Self::Running(Box::new(Upload { prefix, rest, pause, alarm: None, progress, _exchange }))
            }
        };
        (body, progress)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    /// A second copy, where there can be one.
    pub(super) fn copy(&self) -> Option<Self> {
        match self {
            Self::Whole(bytes) => Some(Self::Whole(bytes.clone())),
            Self::Running(_) => None,
        }
    }
}

impl Body for ToEntry {
    type Data = Bytes;
    type Error = ClientFault;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientFault>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Running(upload) => upload.poll_data(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Running(upload) => upload.prefix.is_empty() && upload.rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Running(upload) => match upload.rest.size_hint().exact() {
                Some(rest) => SizeHint::with_exact(rest + upload.prefix.len() as u64),
                None => SizeHint::default(),
            },
        }
    }
}

impl Upload {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientFault>>> {
        if !self.prefix.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.prefix)))));
        }
        let pause = self.pause;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        loop {
            match Pin::new(&mut self.rest).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.progress.taken.set(self.progress.taken.get() + 1);
                    self.progress.waits_for_client.set(false);
                    // Trailers end here: no endpoint should take a late field for an early one.
                    let Ok(data) = frame.into_data() else { continue };
                    if self.rest.is_end_stream() {
                        self.progress.finish();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(_))) => return self.fail(ClientFault::Broken),
                Poll::Ready(None) => {
                    self.progress.finish();
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    // The client's time runs from when it is waited for, not from its last bytes: in between
                    // it may have been the endpoint that took none.
                    if !self.progress.waits_for_client.replace(true) {
                        alarm.as_mut().reset(Instant::now() + pause);
                    }
                    return match alarm.as_mut().poll(context) {
                        Poll::Ready(()) => self.fail(ClientFault::Slow),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    fn fail(&self, fault: ClientFault) -> Poll<Option<Result<Frame<Bytes>, ClientFault>>> {
        self.progress.fault.set(Some(fault));
        Poll::Ready(Some(Err(fault)))
    }
}

/// An answer on its way to the client, and the exchange that it ends.
pub(super) struct ToClient {
    answer: Answer,
    _exchange: Option<Rc<Exchange>>,
}

enum Answer {
    /// The proxy's own words.
    Own(Bytes),
    /// An endpoint's.
    Held(Box<Held>),
}

/// An endpoint's answer with all that it holds until its end: the ticket of the endpoint, the
/// permit of the proxy, the connection.
pub(super) struct Held {
    pub(super) incoming: Incoming,
    pub(super) lease: Option<Lease<ToEntry>>,
    pub(super) stream: Option<EventStream>,
    pub(super) downstream: Option<Box<Downstream>>,
    pub(super) ledger: Ledger,
    pub(super) finished: bool,
    pub(super) progress: Rc<Progress>,
    /// How long the endpoint may take nothing of an upload.
    pub(super) patience: Duration,
    pub(super) _ticket: Ticket,
    pub(super) _permit: Permit,
}

impl ToClient {
    pub(super) fn full(bytes: Bytes) -> Self {
        Self { answer: Answer::Own(bytes), _exchange: None }
    }

    pub(super) fn held(held: Held) -> Self {
        Self { answer: Answer::Held(Box::new(held)), _exchange: None }
    }

    /// The same, ending this exchange.
    pub(super) fn ending(self, exchange: Rc<Exchange>) -> Self {
        Self { _exchange: Some(exchange), ..self }
    }
}

impl Body for ToClient {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().answer {
            Answer::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Answer::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Answer::Held(held) => held.poll_data(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.answer {
            Answer::Own(bytes) => bytes.is_empty(),
            // An event stream may have last words, also where its server said how long it is.
            Answer::Held(held) => held.finished || (held.incoming.is_end_stream() && held.stream.is_none()),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.answer {
            Answer::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            // A stream may get comments, so its length is nobody's to promise.
            Answer::Held(held) if held.stream.is_some() => SizeHint::default(),
            Answer::Held(held) => held.incoming.size_hint(),
        }
    }
}

impl Held {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.finished {
            return Poll::Ready(None);
        }
        // Before the endpoint's next bytes, or one that never stops talking would keep them back.
        if let Poll::Ready(words) = self.poll_channel(context) {
            return Poll::Ready(words);
        }
        loop {
            match Pin::new(&mut self.incoming).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers of an answer are dropped: they were not announced to this client.
                    let Ok(data) = frame.into_data() else { continue };
                    let data = match &mut self.downstream {
                        None => data,
                        Some(downstream) => match downstream.pass(data, &mut self.ledger) {
                            Ok(data) if data.is_empty() => continue,
                            Ok(data) => data,
                            Err(reason) => return self.refuse(&reason),
                        },
                    };
                    self.ledger.pass(&data);
                    if let Some(stream) = &mut self.stream {
                        stream.pass(&data);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => return self.broken(error),
                Poll::Ready(None) => {
                    let words = self.words_at_the_end();
                    self.finish();
                    return self.end_with(words);
                }
                Poll::Pending => return self.poll_own_words(context),
            }
        }
    }

    fn poll_own_words(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        match stream.poll_saying(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Saying::Comment(comment)) => Poll::Ready(Some(Ok(Frame::data(comment)))),
            Poll::Ready(Saying::Parting) => {
                let words = stream.last_words(&self.ledger, Phase::Stopping, &ProxyError::Stopping);
                self.ledger.part();
                self.end_with(words.unwrap_or_default())
            }
            Poll::Ready(Saying::Silent) => {
                let words = stream.last_words(&self.ledger, Phase::Silent, &ProxyError::Silent);
                self.ledger.break_off();
                self.end_with(words.unwrap_or_default())
            }
        }
    }

    /// The endpoint has ended its answer: what was held back of it, and an error for each request that it
    /// leaves without one.
    fn words_at_the_end(&mut self) -> Bytes {
        let held_back = self.downstream.take().map(|mut downstream| downstream.end()).unwrap_or_default();
        let lost = ProxyError::Lost("the stream has ended".to_owned());
        let words = self.stream.as_ref().map(|stream| stream.last_words(&self.ledger, Phase::Ended, &lost));
        match words {
            Some(Ok(words)) if !words.is_empty() => words,
            _ => held_back,
        }
    }

    /// The endpoint broke off. A stream whose requests still wait ends with an error for each of
    /// them; anything else is cut, since what was cut must look cut.
    fn broken(&mut self, error: hyper::Error) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.progress.fault().is_some() {
            self.ledger.blame_client();
            self.finished = true;
            return Poll::Ready(Some(Err(error)));
        }
        let lost = ProxyError::Lost(error.to_string());
        let words = self.stream.as_ref().map(|stream| stream.last_words(&self.ledger, Phase::Broken, &lost));
        self.ledger.break_off();
        match words {
            Some(Ok(words)) => self.end_with(words),
            Some(Err(LooksCut)) | None => {
                self.finished = true;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    pub(super) fn end_with(&mut self, words: Bytes) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.finished = true;
        if words.is_empty() { Poll::Ready(None) } else { Poll::Ready(Some(Ok(Frame::data(words)))) }
    }

    fn finish(&mut self) {
        self.finished = true;
        self.ledger.finish();
        let Some(lease) = self.lease.take() else { return };
        if self.progress.is_done() {
            return lease.give_back();
        }
        // The server has answered before the upload was over: its connection is wound up, not parked.
        let (progress, patience) = (self.progress.clone(), self.patience.min(WIND_UP));
        lease.wind_up(async move { progress.rests(patience).await });
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // hyper does not ask a body for its end once the announced length is through.
        if !self.finished && self.incoming.is_end_stream() {
            self.finish();
        }
    }
}
