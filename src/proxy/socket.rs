//! A client's socket, watched for what hyper does not see: a head that does not come to its end,
//! and a client that has left while bytes of it are still unread.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::bell::Bell;
use crate::tls::{Peek, plain};

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

/// The socket as it is watched.
pub(super) struct Watched {
    stream: TcpStream,
    exchanges: Cell<usize>,
    head_since: Cell<Option<Instant>>,
    head_began: Notify,
    idle_since: Cell<Instant>,
    fell_idle: Notify,
    /// Whether something has been written and not flushed.
    is_behind: Cell<bool>,
    /// Whether what is written now is the last, and is followed by a shutdown at once.
    is_last: Cell<bool>,
    /// Rings when there is something to read, for who has found nothing.
    bell: RefCell<Option<Bell>>,
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
            is_behind: Cell::new(false),
            is_last: Cell::new(false),
            bell: RefCell::default(),
        })
    }

    pub(super) fn raw(self: &Rc<Self>) -> Raw {
        Raw(self.clone())
    }

    /// Whether a read has found nothing, and the task that asks is to be woken by what comes: to read again would find nothing.
    pub(super) fn is_awaited(&self, context: &Context<'_>) -> bool {
        self.bell.borrow().as_ref().is_some_and(|bell| bell.is_set(context))
    }

    /// As [`Writer`](super::writer::Writer) does.
    pub(super) fn look_ahead(&self) {
        black_box((self.is_last.get(), plain::is_at_rest(&self.stream)));
        black_box(self.bell.borrow().as_ref().map(Bell::has_rung));
    }

    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Bell::ask(&mut self.bell.borrow_mut(), context, |context| self.stream.poll_read_ready(context))
    }

    /// Bytes of a request are here.
    pub(super) fn head_begins(&self) {
        self.head_since.set(Some(Instant::now()));
    }

    /// Whether the end of an answer may still wait in hyper for a client that reads slowly: it reads the next request
    /// beside that, where an upload ended after its answer.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind.get()
    }

    /// More has to come before anything is answered.
    pub(super) fn wants_more(&self) {
        plain::acknowledge(&self.stream);
    }

    /// What is written from now on ends the connection: who says so shuts it down as soon as it is written.
    pub(super) fn writes_the_last(&self) {
        self.is_last.set(true);
    }

    /// A request's head is complete.
    pub(super) fn begin(self: &Rc<Self>) -> Exchange {
        self.exchanges.set(self.exchanges.get() + 1);
        self.head_since.set(None);
        Exchange(self.clone())
    }

    /// Resolves when the client has left, whatever it has said before.
    pub(super) async fn gone(&self) {
        loop {
            match self.stream.ready(Interest::READABLE).await {
                Ok(ready) if !ready.is_read_closed() => tokio::time::sleep(LOOK_EVERY).await,
                _ => return,
            }
        }
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

    /// The same, and no head has begun either.
    pub(super) async fn quiet(&self, within: Duration) {
        loop {
            self.idle(within).await;
            if self.head_since.get().is_none() {
                return;
            }
            self.fell_idle.notified().await;
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

    pub(super) fn into_inner(self) -> S {
        self.stream
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
        self.watched.is_behind.set(true);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watched.is_behind.set(true);
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        // hyper flushes what is below it once it has written all that it holds.
        self.watched.is_behind.set(self.watched.is_behind() && flushed.is_pending());
        flushed
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
            ready!(self.0.poll_read_ready(context))?;
            // Into the buffer as it is: to zero it first would cost more than the read.
            let room = buffer.remaining();
            match stream.try_read_buf(buffer) {
                Ok(count) => {
                    if (1..room).contains(&count) {
                        // There is no more for now: told so, the next look at it is no system call.
                        let _ = stream.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Raw {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.0.is_last.get() {
            return plain::poll_write_last(&self.0.stream, context, bytes);
        }
        plain::poll_write(&self.0.stream, context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.0.is_last.get() {
            return plain::poll_write_last_vectored(&self.0.stream, context, slices);
        }
        plain::poll_write_vectored(&self.0.stream, context, slices)
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
    use tokio::net::TcpListener;

    use super::*;

    const IDLE: Duration = Duration::from_secs(75);

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
}
