//! Bodies on their way: to the endpoint, and back to the client with all that must last as long as
//! the stream does.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use thiserror::Error;
use tokio::time::Sleep;

use super::error::ProxyError;
use super::ledger::Ledger;
use super::peek::Peeked;
use super::rim::Permit;
use super::stream::{EventStream, Saying};
use crate::upstream::{Lease, Ticket};

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
    alarm: Pin<Box<Sleep>>,
    fault: Fault,
}

/// What a client did wrong with its body: noted here, since it surfaces as a failure of the
/// endpoint's connection, and the endpoint must not be blamed for it.
pub(super) type Fault = Rc<Cell<Option<ClientFault>>>;

/// What a client did wrong with its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum ClientFault {
    /// It broke off or is malformed.
    #[error("the client's body broke off")]
    Broken,
    /// It paused for too long.
    #[error("the client's body came too slowly")]
    Slow,
}

impl ClientFault {
    pub(super) fn error(self) -> ProxyError {
        match self {
            Self::Broken => ProxyError::ClientBody,
            Self::Slow => ProxyError::ClientBodySlow,
        }
    }
}

impl ToEntry {
    pub(super) fn new(peeked: Peeked, pause: Duration, fault: &Fault) -> Self {
        match peeked {
            Peeked::Whole(bytes) => Self::Whole(bytes),
            Peeked::Running { prefix, rest, .. } => Self::Running(Box::new(Upload {
                prefix,
                rest,
                pause,
                alarm: Box::pin(tokio::time::sleep(pause)),
                fault: fault.clone(),
            })),
        }
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
        loop {
            match Pin::new(&mut self.rest).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.alarm.as_mut().reset(tokio::time::Instant::now() + self.pause);
                    // Trailers end here: no endpoint should take a late field for an early one.
                    match frame.into_data() {
                        Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                        Err(_) => continue,
                    }
                }
                Poll::Ready(Some(Err(_))) => return self.fail(ClientFault::Broken),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending if self.alarm.as_mut().poll(context).is_ready() => return self.fail(ClientFault::Slow),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn fail(&self, fault: ClientFault) -> Poll<Option<Result<Frame<Bytes>, ClientFault>>> {
        self.fault.set(Some(fault));
        Poll::Ready(Some(Err(fault)))
    }
}

/// An answer on its way to the client.
pub(super) enum ToClient {
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
    pub(super) ledger: Ledger,
    pub(super) finished: bool,
    pub(super) _ticket: Ticket,
    pub(super) _permit: Permit,
}

impl ToClient {
    pub(super) fn full(bytes: Bytes) -> Self {
        Self::Own(bytes)
    }
}

impl Body for ToClient {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Held(held) => held.poll_data(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_empty(),
            Self::Held(held) => held.finished || held.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            // A stream may get comments, so its length is nobody's to promise.
            Self::Held(held) if held.stream.is_some() => SizeHint::default(),
            Self::Held(held) => held.incoming.size_hint(),
        }
    }
}

impl Held {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.finished {
            return Poll::Ready(None);
        }
        loop {
            match Pin::new(&mut self.incoming).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers of an answer are dropped: they were not announced to this client.
                    let Ok(data) = frame.into_data() else { continue };
                    self.ledger.pass(&data);
                    if let Some(stream) = &mut self.stream {
                        stream.pass(&data);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => return self.broken(error),
                Poll::Ready(None) => {
                    self.finish();
                    return Poll::Ready(None);
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
                let words = stream.last_words(self.ledger.pending(), &ProxyError::Stopping);
                self.ledger.part();
                self.end_with(words.unwrap_or_default())
            }
        }
    }

    /// The endpoint broke off. A stream whose requests still wait ends with an error for each of
    /// them; anything else is cut, since what was cut must look cut.
    fn broken(&mut self, error: hyper::Error) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let lost = ProxyError::Lost(error.to_string());
        let words = self.stream.as_ref().and_then(|stream| stream.last_words(self.ledger.pending(), &lost));
        self.ledger.break_off();
        match words {
            Some(words) => self.end_with(words),
            None => {
                self.finished = true;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn end_with(&mut self, words: Bytes) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.finished = true;
        if words.is_empty() { Poll::Ready(None) } else { Poll::Ready(Some(Ok(Frame::data(words)))) }
    }

    fn finish(&mut self) {
        self.finished = true;
        self.ledger.finish();
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
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
