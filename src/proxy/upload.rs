//! A client's body on its way to an endpoint, while it is still coming.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::progress::{ClientFault, Progress};
use super::socket::Exchange;

/// A streaming upload.
pub(super) struct Upload {
    prefix: Bytes,
    rest: Option<Incoming>,
    pause: Duration,
    /// Armed when the endpoint first asks for the body: before, the client is not to blame. It may ring early, and is set anew then: not
    /// for each part.
    alarm: Option<Pin<Box<Sleep>>>,
    waits_since: Instant,
    progress: Rc<Progress>,
    _exchange: Option<Rc<Exchange>>,
}

impl Upload {
    /// What has been read of it, and the rest, of which no part may be `pause` late.
    pub(super) fn new(
        prefix: Bytes,
        rest: Option<Incoming>,
        pause: Duration,
        exchange: Option<Rc<Exchange>>,
    ) -> (Box<Self>, Rc<Progress>) {
        let progress = Rc::<Progress>::default();
        let upload = Self {
            prefix,
            rest,
            pause,
            alarm: None,
            waits_since: Instant::now(),
            progress: progress.clone(),
            _exchange: exchange,
        };
        (Box::new(upload), progress)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = ClientFault;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientFault>>> {
        self.get_mut().poll_data(context)
    }

    fn is_end_stream(&self) -> bool {
        self.prefix.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest.as_ref().map_or(Some(0), |rest| rest.size_hint().exact()) {
            Some(rest) => SizeHint::with_exact(rest + self.prefix.len() as u64),
            None => SizeHint::default(),
        }
    }
}

impl Upload {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientFault>>> {
        if !self.prefix.is_empty() {
            if self.rest.is_none() {
                self.progress.finish();
            }
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.prefix)))));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let pause = self.pause;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        loop {
            match Pin::new(&mut *rest).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.progress.taken.set(self.progress.taken.get() + 1);
                    self.progress.waits_for_client.set(false);
                    // Trailers end here: no endpoint should take a late field for an early one.
                    let Ok(data) = frame.into_data() else { continue };
                    if rest.is_end_stream() {
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
                        self.waits_since = Instant::now();
                    }
                    while alarm.as_mut().poll(context).is_ready() {
                        if self.waits_since.elapsed() >= pause {
                            return self.fail(ClientFault::Slow);
                        }
                        alarm.as_mut().reset(self.waits_since + pause);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn fail(&self, fault: ClientFault) -> Poll<Option<Result<Frame<Bytes>, ClientFault>>> {
        self.progress.fault.set(Some(fault));
        Poll::Ready(Some(Err(fault)))
    }
}
