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

/// How soon a client that has left is felt where unread bytes hide it. While nothing is unread, the
/// kernel tells at once.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The socket as hyper uses it.
pub(super) struct Socket(Rc<Watched>);

/// The socket as it is watched.
pub(super) struct Watched {
    stream: TcpStream,
    exchanges: Cell<usize>,
    head_since: Cell<Option<Instant>>,
    head_began: Notify,
}

/// A request in progress, to the end of its answer's body.
pub(super) struct Exchange(Rc<Watched>);

impl Watched {
    pub(super) fn new(stream: TcpStream) -> Rc<Self> {
        Rc::new(Self { stream, exchanges: Cell::new(0), head_since: Cell::new(None), head_began: Notify::new() })
    }

    pub(super) fn socket(self: &Rc<Self>) -> Socket {
        Socket(self.clone())
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
        self.0.exchanges.set(self.0.exchanges.get() - 1);
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let watched = &self.0;
        loop {
            ready!(watched.stream.poll_read_ready(context))?;
            // Into the buffer as it is: to zero it first would cost more than the read.
            match watched.stream.try_read_buf(buffer) {
                Ok(read) => {
                    if read > 0 && watched.exchanges.get() == 0 && watched.head_since.get().is_none() {
                        watched.head_since.set(Some(Instant::now()));
                        watched.head_began.notify_one();
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
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
