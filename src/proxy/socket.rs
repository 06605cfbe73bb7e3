//! A client's socket, watched for what hyper does not see: a head that does not come to its end,
//! and a client that has left while bytes of it are still unread.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::tls::Peek;

/// How soon a client that has left is felt where unread bytes hide it. While nothing is unread, the
/// kernel tells at once.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The bytes of the connection as they come and go.
pub(super) struct Raw(Rc<Watched>);

/// The bytes of HTTP/1, below which may be TLS: what is read outside of an exchange begins a head.
pub(super) struct Socket<S> {
    stream: S,
    watched: Rc<Watched>,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// A request's head, most likely.
    Http1,
    /// The preface of HTTP/2 (RFC 9113, 3.4).
    Http2,
}

/// The preface's first word. No request of HTTP/1 has this method (RFC 9113, 11.6), so the rest of
/// it need not be waited for.
const PREFACE: &[u8] = b"PRI ";

/// The socket as it is watched.
pub(super) struct Watched {
    stream: TcpStream,
    exchanges: Cell<usize>,
    head_since: Cell<Option<Instant>>,
    head_began: Notify,
    idle_since: Cell<Instant>,
    fell_idle: Notify,
}

/// A request in progress, to the end of its answer's body and of its own, which may come later: what is read of an
/// upload after its answer is no head.
pub(super) struct Exchange(Rc<Watched>);

impl Watched {
    pub(super) fn new(stream: TcpStream) -> Rc<Self> {
        Rc::new(Self {
            stream,
            exchanges: Cell::new(0),
            head_since: Cell::new(None),
            head_began: Notify::new(),
            idle_since: Cell::new(Instant::now()),
            fell_idle: Notify::new(),
        })
    }

    pub(super) fn raw(self: &Rc<Self>) -> Raw {
        Raw(self.clone())
    }

    /// What the first bytes are, once there are any: one look, and none of them is taken. Nothing where
    /// the client says nothing in the one time, begins a word and does not end it in the other, or has
    /// left.
    pub(super) async fn opening(&self, idle: Duration, head: Duration) -> Option<Opening> {
        let mut first = [0; PREFACE.len()];
        let mut seen = tokio::time::timeout(idle, self.stream.peek(&mut first)).await.ok()?.ok()?;
        let deadline = Instant::now() + head;
        loop {
            if seen == 0 {
                return None;
            }
            match first[..seen] == PREFACE[..seen] {
                true if seen == PREFACE.len() => return Some(Opening::Http2),
                true if Instant::now() < deadline => {}
                true => return None,
                false => return Some(Opening::Http1),
            }
            // The kernel tells of new bytes only where the old ones have been taken.
            tokio::time::sleep(LOOK_EVERY.min(head)).await;
            seen = self.stream.peek(&mut first).await.ok()?;
        }
    }

    /// A request's head is complete.
    pub(super) fn begin(self: &Rc<Self>) -> Exchange {
        self.exchanges.set(self.exchanges.get() + 1);
        self.head_since.set(None);
        Exchange(self.clone())
    }

    /// Resolves when the client has left in the middle of a request. hyper stops looking for that
    /// once there are bytes it has not read: a pipelined request, or an upload that is stalled.
    pub(super) async fn left(&self) {
        loop {
            match self.stream.ready(Interest::READABLE).await {
                Ok(ready) if ready.is_read_closed() && self.exchanges.get() > 0 => return,
                Err(_) => return,
                Ok(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Resolves when there has been no exchange for so long.
    pub(super) async fn idle(&self, within: Duration) {
        loop {
            if self.exchanges.get() > 0 {
                self.fell_idle.notified().await;
                continue;
            }
            let since = self.idle_since.get();
            tokio::time::sleep_until(since + within).await;
            if self.exchanges.get() == 0 && self.idle_since.get() == since {
                return;
            }
        }
    }

    /// Resolves when a head has been coming for too long. An idle connection has none.
    pub(super) async fn slow_head(&self, within: Duration) {
        loop {
            let Some(since) = self.head_since.get() else {
                self.head_began.notified().await;
                continue;
            };
            tokio::time::sleep_until(since + within).await;
            if self.head_since.get() == Some(since) {
                return;
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let left = self.0.exchanges.get() - 1;
        self.0.exchanges.set(left);
        if left == 0 {
            self.0.idle_since.set(Instant::now());
            self.0.fell_idle.notify_one();
        }
    }
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S, watched: Rc<Watched>) -> Self {
        Self { stream, watched }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        let watched = &self.watched;
        if buffer.filled().len() > before && watched.exchanges.get() == 0 && watched.head_since.get().is_none() {
            watched.head_since.set(Some(Instant::now()));
            watched.head_began.notify_one();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Peek for Raw {
    async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.stream.peek(buffer).await
    }
}

impl AsyncRead for Raw {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = &self.0.stream;
        loop {
            ready!(stream.poll_read_ready(context))?;
            // Into the buffer as it is: to zero it first would cost more than the read.
            match stream.try_read_buf(buffer) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Raw {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let stream = &self.0.stream;
        loop {
            ready!(stream.poll_write_ready(context))?;
            match stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = &self.0.stream;
        loop {
            ready!(stream.poll_write_ready(context))?;
            match stream.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Dropping the stream closes it; nothing is buffered here.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.stream_shutdown())
    }
}

impl Watched {
    fn stream_shutdown(&self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    const IDLE: Duration = Duration::from_secs(75);
    const HEAD: Duration = Duration::from_secs(5);

    async fn pair() -> (TcpStream, Rc<Watched>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, Watched::new(listener.accept().await.unwrap().0))
    }

    #[tokio::test(start_paused = true)]
    async fn idleness_begins_with_the_connection_and_again_with_the_end_of_the_last_exchange() {
        let (_client, watched) = pair().await;
        let begun = Instant::now();
        watched.idle(IDLE).await;
        assert_eq!(begun.elapsed().as_secs(), 75);
        let (one, two) = (watched.begin(), watched.begin());
        assert!(tokio::time::timeout(IDLE * 9, watched.idle(IDLE)).await.is_err(), "not while there is one");
        drop(one);
        assert!(tokio::time::timeout(IDLE * 9, watched.idle(IDLE)).await.is_err());
        drop(two);
        let begun = Instant::now();
        watched.idle(IDLE).await;
        assert_eq!(begun.elapsed().as_secs(), 75);
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_and_who_says_too_little_has_its_time_and_no_more() {
        let (mut client, watched) = pair().await;
        let begun = Instant::now();
        assert_eq!(watched.opening(IDLE, HEAD).await, None);
        assert_eq!(begun.elapsed().as_secs(), 75);
        client.write_all(b"PR").await.unwrap();
        let begun = Instant::now();
        assert_eq!(watched.opening(IDLE, HEAD).await, None);
        assert_eq!(begun.elapsed().as_secs(), 5);
        client.write_all(b"I ").await.unwrap();
        assert_eq!(watched.opening(IDLE, HEAD).await, Some(Opening::Http2));
        let (mut client, watched) = pair().await;
        client.write_all(b"P").await.unwrap();
        client.write_all(b"UT /").await.unwrap();
        assert_eq!(watched.opening(IDLE, HEAD).await, Some(Opening::Http1));
    }
}
