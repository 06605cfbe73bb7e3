//! A client's connection of HTTP/1.1 between two requests, and beside one: bytes that came early.

use std::io::{self, Read};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::MOST_IDLE;
use super::socket::{Raw, Watched};
use super::vigil::{Heed, Post};
use super::{Stage, Worker};

/// The preface's first word (RFC 9113, 3.4). No request of HTTP/1 has this method (RFC 9113, 11.6), so the rest of
/// it need not be waited for.
const PREFACE: &[u8] = b"PRI ";

/// Requests that a client sends before the answer to the one before are kept up to so many bytes.
const MOST_EARLY: usize = 64 << 10;

/// How long the second write of a client may take to follow its first.
const BLINK: Duration = Duration::from_millis(50);

/// A connection and what of the next request has come.
pub(super) struct Line<S> {
    pub(super) stream: S,
    pub(super) early: Bytes,
    pub(super) watched: Rc<Watched>,
    /// Looks for the end of a client that has sent more than is kept.
    leaving: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// A request's head, most likely.
    Http1,
    /// The preface of HTTP/2 (RFC 9113, 3.4).
    Http2,
}

/// A stream that begins with bytes which were read from it before.
pub(super) struct Replayed<S> {
    early: Bytes,
    pub(super) stream: S,
}

/// What a client has said by now, where that can be read.
pub(super) fn first_words(mut stream: &std::net::TcpStream, worker: &Worker) -> Bytes {
    let desk = worker.wire.desk();
    let mut buffer = desk.reading();
    let most = buffer.len().min(MOST_EARLY);
    // After an error, and at the end, the next read finds the end.
    let count = stream.read(&mut buffer[..most]).unwrap_or(0);
    let words = Bytes::copy_from_slice(&buffer[..count]);
    desk.put_reading(buffer);
    words
}

impl Line<Raw> {
    /// Of a client's own connection, of which this much has been read.
    pub(super) fn begun(watched: Rc<Watched>, early: Bytes) -> Self {
        Self { early, ..Self::new(watched.raw(), watched) }
    }
}

impl<S> Line<S> {
    pub(super) fn new(stream: S, watched: Rc<Watched>) -> Self {
        Self { stream, early: Bytes::new(), watched, leaving: None }
    }

    /// Back from who has read it, with what was read beyond a request.
    pub(super) fn back(replayed: Replayed<S>, beyond: Bytes, watched: Rc<Watched>) -> Self {
        let early = if replayed.early.is_empty() { beyond } else { [&beyond[..], &replayed.early].concat().into() };
        let mut line = Self { early, ..Self::new(replayed.stream, watched) };
        line.pass(0);
        line
    }

    /// So many bytes of what came early are done with. What is used up is let go of: also an empty part of a buffer would
    /// hold all of it, for as long as the connection is idle or its stream goes on.
    pub(super) fn pass(&mut self, length: usize) {
        self.early.advance(length);
        if self.early.is_empty() {
            self.early = Bytes::new();
        }
    }

    /// A part of what came early, which then is done with up to the part's end. Where nothing follows, nothing is shared.
    pub(super) fn take(&mut self, part: Range<usize>) -> Bytes {
        if part.end < self.early.len() || part.is_empty() {
            let taken = if part.is_empty() { Bytes::new() } else { self.early.slice(part.clone()) };
            self.pass(part.end);
            return taken;
        }
        let mut taken = std::mem::take(&mut self.early);
        taken.advance(part.start);
        taken
    }

    /// The connection with what has come.
    pub(super) fn replayed(self) -> Replayed<S> {
        Replayed { early: self.early, stream: self.stream }
    }
}

impl<S: AsyncRead + Unpin> Line<S> {
    /// What the first bytes are, once there are any. Nothing where the client says nothing for as long as an idle connection may,
    /// begins a word and does not end it in the time of a head, or has left.
    pub(super) async fn opening(&mut self, worker: &Worker, post: &Post, head: Duration) -> Option<Opening> {
        loop {
            let seen = self.early.len().min(PREFACE.len());
            if self.early[..seen] != PREFACE[..seen] {
                return Some(Opening::Http1);
            }
            if seen == PREFACE.len() {
                return Some(Opening::Http2);
            }
            let within = if seen == 0 { MOST_IDLE } else { head };
            post.heed(Heed { due: Some(worker.vigil.now() + within), ..Heed::stage(Stage::Draining) });
            self.fill(worker, post).await?;
        }
    }

    /// Waits a blink for the rest of a request, which many clients send in two writes, the head and the body. False
    /// where it does not come, or is long: whoever reads it then has all the time that a body has.
    pub(super) async fn gather(&mut self, worker: &Worker, post: &Post, length: usize) -> bool {
        if length > MOST_EARLY {
            return false;
        }
        post.heed(Heed { due: Some(worker.vigil.now() + BLINK), ..Heed::stage(Stage::Ended) });
        while self.early.len() < length {
            if self.fill(worker, post).await.is_none() {
                return false;
            }
        }
        true
    }

    /// Waits for bytes; nothing at the end, or where the post tells of anything.
    pub(super) async fn fill(&mut self, worker: &Worker, post: &Post) -> Option<()> {
        std::future::poll_fn(|context| match self.poll_more(worker, context) {
            Poll::Ready(Ok(count)) if count > 0 => Poll::Ready(Some(())),
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => post.poll(context).map(|_| None),
        })
        .await
    }

    /// As [`Writer`](super::writer::Writer) does.
    pub(super) fn look_ahead(&self) {
        self.watched.look_ahead();
    }

    /// Resolves when the client has left. What it says meanwhile is kept.
    pub(super) fn poll_gone(&mut self, worker: &Worker, context: &mut Context<'_>) -> Poll<()> {
        // Asked after every event of a stream.
        if self.leaving.is_none() && self.watched.is_awaited(context) {
            return Poll::Pending;
        }
        while self.early.len() < MOST_EARLY {
            match ready!(self.poll_more(worker, context)) {
                Ok(count) if count > 0 => {}
                _ => return Poll::Ready(()),
            }
        }
        let watched = &self.watched;
        let leaving = self.leaving.get_or_insert_with(|| {
            let watched = watched.clone();
            Box::pin(async move { watched.gone().await })
        });
        leaving.as_mut().poll(context)
    }

    fn poll_more(&mut self, worker: &Worker, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let desk = worker.wire.desk();
        let mut buffer = desk.reading();
        let most = buffer.len().min(MOST_EARLY);
        let mut read = ReadBuf::new(&mut buffer[..most]);
        let result = Pin::new(&mut self.stream).poll_read(context, &mut read);
        let count = read.filled().len();
        if count > 0 {
            self.early = match self.early.is_empty() {
                true => Bytes::copy_from_slice(read.filled()),
                false => [&self.early, read.filled()].concat().into(),
            };
        }
        desk.put_reading(buffer);
        result.map_ok(|()| count)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replayed<S> {
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

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A buffer that tells when it is let go of.
    struct Held(std::sync::Arc<[u8]>, std::sync::mpsc::Sender<()>);

    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            let _ = self.1.send(());
        }
    }

    #[tokio::test]
    async fn a_buffer_is_let_go_of_with_its_last_byte() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let watched = Watched::new(stream);
        let (sender, dropped) = std::sync::mpsc::channel();
        let held = |text: &str| Bytes::from_owner(Held(text.as_bytes().into(), sender.clone()));
        let mut line = Line { early: held("request next"), ..Line::new((), watched.clone()) };
        line.pass(8);
        assert_eq!((&line.early[..], dropped.try_recv().is_ok()), (&b"next"[..], false));
        line.pass(4);
        assert!(line.early.is_empty() && dropped.try_recv().is_ok());
        // What hyper gives back is a buffer of kilobytes, also where nothing is in it.
        let mut beyond = held("request");
        beyond.advance(7);
        let line = Line::back(Replayed { early: Bytes::new(), stream: () }, beyond, watched);
        assert!(line.early.is_empty() && dropped.try_recv().is_ok());
    }
}
