//! The connections of a worker that carry no request.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::BuildHasherDefault;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::unconstrained;

use super::roster::Uniform;
use crate::tls::Stream;

/// A parked connection is not used again after so many sweeps, which are seconds: SDK servers close idle ones after 5 s,
/// and one that is just being closed loses the request.
const IDLE: u64 = 4;

/// Parked connections per endpoint and worker; more are closed.
const MOST_PARKED: usize = 256;

/// Idle connections by the id of their endpoint.
#[derive(Default)]
pub(super) struct Parking {
    parked: RefCell<HashMap<u64, Vec<Parked>, BuildHasherDefault<Uniform>>>,
    streams: RefCell<HashMap<u64, Streams, BuildHasherDefault<Uniform>>>,
    sweeps: Cell<u64>,
}

/// Streams that have begun at an endpoint, each of which keeps its connection.
struct Streams {
    /// Sweeps before the last one.
    last: u64,
    is_spare_coming: bool,
}

struct Parked {
    stream: Stream,
    /// Sweeps before it was parked.
    since: u64,
}

impl Parking {
    /// The connection parked last that is alive; the last one is the least likely to be closed by the endpoint
    /// just now.
    pub(super) fn take(&self, endpoint: u64) -> Option<Stream> {
        let mut parked = self.parked.borrow_mut();
        let parked = parked.get_mut(&endpoint)?;
        loop {
            let mut one = parked.pop()?;
            if self.is_fresh(one.since) && is_quiet(&mut one.stream) {
                return Some(one.stream);
            }
        }
    }

    /// One that may carry the next request.
    pub(super) fn put(&self, endpoint: u64, stream: Stream) {
        let mut parked = self.parked.borrow_mut();
        let parked = parked.entry(endpoint).or_default();
        if parked.len() < MOST_PARKED {
            parked.push(Parked { stream, since: self.sweeps.get() });
        }
    }

    /// A stream has begun. Whether a spare connection is to be made for the next one: where they come one after the other, and
    /// none is left. It is on its way until [`Parking::spare`] says what has become of it.
    pub(super) fn stream_began(&self, endpoint: u64) -> bool {
        let now = self.sweeps.get();
        let mut streams = self.streams.borrow_mut();
        let Some(before) = streams.get_mut(&endpoint) else {
            streams.insert(endpoint, Streams { last: now, is_spare_coming: false });
            return false;
        };
        let is_soon = self.is_fresh(std::mem::replace(&mut before.last, now));
        let is_wanted = is_soon && !before.is_spare_coming && !self.has(endpoint);
        before.is_spare_coming |= is_wanted;
        is_wanted
    }

    /// The spare connection, if there is one. Where another has been parked meanwhile, that has proved itself, and this is closed.
    pub(super) fn spare(&self, endpoint: u64, stream: Option<Stream>) {
        if let Some(streams) = self.streams.borrow_mut().get_mut(&endpoint) {
            streams.is_spare_coming = false;
        }
        if let Some(stream) = stream
            && !self.has(endpoint)
        {
            self.put(endpoint, stream);
        }
    }

    fn has(&self, endpoint: u64) -> bool {
        self.parked.borrow().get(&endpoint).is_some_and(|parked| !parked.is_empty())
    }

    /// Closes connections that have been idle for too long; to be called every second, which is also the clock by which
    /// they are: to ask for the time would be half the cost of taking one up.
    pub(super) fn sweep(&self) {
        self.sweeps.set(self.sweeps.get() + 1);
        self.parked.borrow_mut().retain(|_, parked| {
            parked.retain_mut(|one| self.is_fresh(one.since) && is_quiet(&mut one.stream));
            !parked.is_empty()
        });
        self.streams.borrow_mut().retain(|_, streams| streams.is_spare_coming || self.is_fresh(streams.last));
    }

    fn is_fresh(&self, since: u64) -> bool {
        self.sweeps.get() - since < IDLE
    }
}

/// Whether an idle connection can carry a request: the endpoint has neither closed it nor said anything. Without a
/// budget: to a task that has used up its own, every connection would seem quiet.
fn is_quiet(stream: &mut Stream) -> bool {
    if stream.is_at_rest() {
        return true;
    }
    let mut byte = [0];
    let mut buffer = ReadBuf::new(&mut byte);
    let look = poll_fn(|context| Poll::Ready(Pin::new(&mut *stream).poll_read(context, &mut buffer).is_pending()));
    pin!(unconstrained(look)).poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(true)
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::coop::consume_budget;

    use super::*;

    #[tokio::test]
    async fn a_closed_connection_is_not_quiet_either_to_a_task_that_has_used_up_its_budget() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        drop(listener.accept().await.unwrap());
        stream.readable().await.unwrap();
        let mut stream = Stream::Plain(stream);
        let looked = poll_fn(|context| {
            while pin!(consume_budget()).poll(context).is_ready() {}
            Poll::Ready(is_quiet(&mut stream))
        });
        assert!(!looked.await);
    }

    #[tokio::test]
    async fn a_spare_is_made_where_streams_come_one_after_the_other_and_none_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = async || Some(Stream::Plain(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()));
        let parking = Parking::default();
        let later = |seconds| (0..seconds).for_each(|_| parking.sweep());
        assert!(!parking.stream_began(1), "who knows whether there will be another");
        later(IDLE - 1);
        assert!(parking.stream_began(1));
        assert!(!parking.stream_began(2) && !parking.stream_began(1), "one is on its way");
        parking.spare(1, None);
        assert!(parking.stream_began(1), "it did not come");
        parking.spare(1, stream().await);
        assert!(!parking.stream_began(1), "it is here");
        assert!(parking.take(1).is_some() && parking.take(1).is_none() && parking.stream_began(1), "it is used");
        parking.put(1, stream().await.unwrap());
        parking.spare(1, stream().await);
        assert!(parking.take(1).is_some() && parking.take(1).is_none(), "one too many");
        assert!(parking.stream_began(1));
        parking.spare(1, stream().await);
        later(IDLE);
        assert!(parking.take(1).is_none(), "nobody has used it");
        assert!(!parking.stream_began(1) && parking.streams.borrow().len() == 1, "the last ones are too long ago");
    }
}
