//! Connections to endpoints, one set per traffic worker, behind a narrow face: a request goes in whole, an answer and the
//! flow of its body come out, or the trouble says how far the request got.
//!
//! A connection is a socket and nothing else: no task reads it, and while it is parked it holds no buffer. What its
//! endpoint has done meanwhile is seen when it is taken up again.

use std::future::poll_fn;
use std::hint::black_box;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Method;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connect;
use super::desk::Desk;
use super::endpoint::Endpoint;
use super::parking::Parking;
use super::socket::is_hang_up;
use super::trouble::{Cause, Trouble};
use crate::http1::{Answer, Beginning, Fault, Framing, Head};
use crate::tls::Stream;

/// The connections of one worker, and its buffers.
#[derive(Default)]
pub struct Wire {
    parking: Parking,
    desk: Desk,
}

/// An answer whose head is here.
pub struct Reply {
    /// Status and fields.
    pub head: Box<Head>,
    /// The body; by a pointer, since replies change hands often.
    pub flow: Box<Flow>,
}

/// The body of an answer, and the connection that it comes over. Dropped before the end it closes the connection at
/// once, which is how an endpoint learns that a client has left.
pub struct Flow {
    wire: Rc<Wire>,
    endpoint: u64,
    /// None once it has been given back.
    stream: Option<Stream>,
    framing: Framing,
    persists: bool,
    /// What came together with the head.
    early: Vec<u8>,
    /// What is not written of the request: a server may begin its answer before it has read all of that.
    rest: Option<Box<Out>>,
}

/// A request on its way out.
struct Out {
    bytes: Vec<u8>,
    at: usize,
    /// It is the first request over its connection.
    is_first: bool,
    /// The endpoint hung up in the middle of it.
    is_broken: bool,
}

impl Out {
    /// Writes on. A server that refuses an upload (413, most often) answers and closes at once. Writing on then fails, while
    /// the answer lies ready to be read: what is read tells.
    fn poll(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        while self.at < self.bytes.len() && !self.is_broken {
            let rest = &self.bytes[self.at..];
            let written = match std::mem::take(&mut self.is_first) {
                true => stream.poll_write_first(context, rest),
                false => Pin::new(&mut *stream).poll_write(context, rest),
            };
            match ready!(written) {
                Ok(0) => return self.fail(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.at += count,
                Err(error) if self.at > 0 && is_hang_up(&error) => self.is_broken = true,
                Err(error) => return self.fail(error),
            }
        }
        match ready!(Pin::new(&mut *stream).poll_flush(context)) {
            Err(error) if is_hang_up(&error) => self.is_broken = true,
            Err(error) => return self.fail(error),
            Ok(()) => {}
        }
        Poll::Ready(Ok(()))
    }

    fn fail(&self, error: io::Error) -> Poll<Result<(), Trouble>> {
        Poll::Ready(Err(match self.at {
            0 => Trouble::Unsent(error.to_string()),
            _ => Trouble::Lost { cause: Cause::Io(error), heard: false },
        }))
    }
}

impl Wire {
    /// No connections yet.
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// The worker's buffers.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Sends a request over a parked connection or a new one, and waits for the head of its answer. `write` writes the whole of it, body
    /// included; it is asked again for each try. A parked connection that turns out dead before a byte was
    /// written costs nothing but the next try.
    ///
    /// # Errors
    /// [`Trouble`] says how far the request got.
    pub async fn send(
        self: &Rc<Self>,
        endpoint: &Arc<Endpoint>,
        asked: &Method,
        connect_timeout: Duration,
        write: impl Fn(&mut Vec<u8>),
    ) -> Result<Reply, Trouble> {
        loop {
            let (stream, reused) = match self.parking.take(endpoint.id) {
                Some(stream) => (stream, true),
                // Rare, and large: in a box, so that not every request has room for it.
                None => (Box::pin(open(endpoint, connect_timeout)).await.map_err(Trouble::Unsent)?, false),
            };
            match self.ask((stream, reused), asked, &write).await {
                Ok((stream, answer, early, rest)) => {
                    let Answer { head, framing, persists, .. } = answer;
                    if asked == Method::GET && head.is_event_stream() {
                        self.make_spare(endpoint, connect_timeout);
                    }
                    let (wire, endpoint, stream) = (self.clone(), endpoint.id, Some(stream));
                    let flow = Box::new(Flow { wire, endpoint, stream, framing, persists, early, rest });
                    return Ok(Reply { head, flow });
                }
                Err(Trouble::Unsent(_)) if reused => {}
                Err(trouble) => return Err(trouble),
            }
        }
    }

    async fn ask(
        &self,
        (mut stream, reused): (Stream, bool),
        asked: &Method,
        write: impl Fn(&mut Vec<u8>),
    ) -> Result<(Stream, Answer, Vec<u8>, Option<Box<Out>>), Trouble> {
        let mut out = Out { bytes: self.desk.writing(), at: 0, is_first: !reused, is_broken: false };
        write(&mut out.bytes);
        let mut before = Beginning::default();
        let mut is_out = false;
        // Both at a time: a server that will not read a long request may answer it and take no more of it.
        let answered = poll_fn(|context| {
            if !is_out && out.poll(&mut stream, context)?.is_ready() {
                is_out = true;
                self.desk.put(std::mem::take(&mut out.bytes));
            }
            self.poll_answer(&mut stream, &mut before, asked, context)
        })
        .await;
        match answered {
            Ok((mut answer, early)) => {
                answer.persists &= is_out && !out.is_broken;
                Ok((stream, answer, early, (!is_out).then(|| Box::new(out))))
            }
            Err(Trouble::Lost { cause, heard: false }) if out.at == 0 => Err(Trouble::Unsent(cause.to_string())),
            Err(trouble) => Err(trouble),
        }
    }

    /// Reads until a head is whole. The rest of what was read is given with the answer.
    fn poll_answer(
        &self,
        stream: &mut Stream,
        before: &mut Beginning,
        asked: &Method,
        context: &mut Context<'_>,
    ) -> Poll<Result<(Answer, Vec<u8>), Trouble>> {
        loop {
            let mut buffer = self.desk.reading();
            let read = poll_read(stream, context, &mut buffer);
            let lost = |cause| Poll::Ready(Err(Trouble::Lost { cause, heard: before.has_begun() }));
            let found = match read {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Err(error)) => lost(Cause::Io(error)),
                Poll::Ready(Ok(0)) => lost(Cause::Closed),
                Poll::Ready(Ok(count)) => match before.look(&buffer[..count], asked) {
                    Ok(None) => {
                        self.desk.put_reading(buffer);
                        continue;
                    }
                    Ok(Some(found)) => Poll::Ready(Ok(found)),
                    Err(fault) => Poll::Ready(Err(Trouble::Lost { cause: Cause::Form(fault), heard: true })),
                },
            };
            self.desk.put_reading(buffer);
            return found;
        }
    }

    /// Closes connections that have been idle for too long; to be called every second.
    pub fn sweep(&self) {
        self.parking.sweep();
    }

    /// An event stream keeps its connection to its end. Where one follows the other, the next finds one that is made meanwhile. Used by
    /// nobody, it is closed like any that is idle.
    fn make_spare(self: &Rc<Self>, endpoint: &Arc<Endpoint>, connect_timeout: Duration) {
        if !self.parking.stream_began(endpoint.id) {
            return;
        }
        let coming = Coming { wire: self.clone(), endpoint: endpoint.id, stream: None };
        let endpoint = endpoint.clone();
        tokio::task::spawn_local(async move {
            let mut coming = coming;
            // Where there is none to be had, the next request will say so.
            coming.stream = open(&endpoint, connect_timeout).await.ok();
        });
    }
}

/// A spare connection on its way. Dropped, it is there or will not come.
struct Coming {
    wire: Rc<Wire>,
    endpoint: u64,
    stream: Option<Stream>,
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.wire.parking.spare(self.endpoint, self.stream.take());
    }
}

impl Flow {
    /// Payload, as a range of the buffer that it was read into; None at the end. What a read brought is given as one run.
    ///
    /// # Errors
    /// Why the body is not whole.
    pub fn poll(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<Option<Range<usize>>, Cause>> {
        loop {
            if self.framing.is_done() {
                // Bytes behind the end belong to no request.
                self.persists &= self.early.is_empty();
                return Poll::Ready(Ok(None));
            }
            let count = if self.early.is_empty() {
                let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(None)) };
                // Where it fails, what is read tells.
                if let Some(rest) = &mut self.rest
                    && rest.poll(stream, context).is_ready()
                {
                    self.rest = None;
                }
                match ready!(poll_read(stream, context, buffer)) {
                    Ok(0) if self.framing == Framing::ToClose => {
                        self.framing = Framing::Length(0);
                        continue;
                    }
                    Ok(0) => return Poll::Ready(Err(Cause::Closed)),
                    Ok(count) => count,
                    Err(error) => return Poll::Ready(Err(Cause::Io(error))),
                }
            } else {
                let count = self.early.len().min(buffer.len());
                buffer[..count].copy_from_slice(&self.early[..count]);
                self.early.drain(..count);
                if self.early.is_empty() {
                    // It may be as large as a buffer, and the stream behind it go on for days.
                    self.early = Vec::new();
                }
                count
            };
            let payload = self.unframe(&mut buffer[..count]).map_err(Cause::Form)?;
            if !payload.is_empty() {
                return Poll::Ready(Ok(Some(payload)));
            }
        }
    }

    /// The payload in bytes of the body, moved together.
    fn unframe(&mut self, bytes: &mut [u8]) -> Result<Range<usize>, Fault> {
        let mut found = 0..0;
        let mut at = 0;
        while at < bytes.len() {
            if self.framing.is_done() {
                self.persists = false;
                break;
            }
            let piece = self.framing.step(&bytes[at..])?;
            let payload = at + piece.payload.start..at + piece.payload.end;
            at += piece.taken;
            if found.is_empty() {
                found = payload;
            } else if !payload.is_empty() {
                let length = payload.len();
                bytes.copy_within(payload, found.end);
                found.end += length;
            }
        }
        Ok(found)
    }

    /// Reads here and there in what the next part needs, so that the processor has it at hand.
    pub fn look_ahead(&self) {
        black_box((self.stream.is_some(), self.endpoint, self.early.len(), self.rest.is_some(), self.framing.is_done()));
    }

    /// Whether the body is through.
    pub fn is_done(&self) -> bool {
        self.framing.is_done()
    }

    /// Whether the rest of it has been read with the head.
    pub fn is_here(&self) -> bool {
        self.framing.length().is_some_and(|length| length <= self.early.len() as u64)
    }

    /// How long it still is, where that is said.
    pub fn length(&self) -> Option<u64> {
        self.framing.length()
    }

    /// The answer has ended well: the connection may carry the next request.
    pub fn give_back(&mut self) {
        if !self.persists || !self.framing.is_done() || !self.early.is_empty() {
            return;
        }
        if let Some(stream) = self.stream.take() {
            self.wire.parking.put(self.endpoint, stream);
        }
    }
}

fn poll_read(stream: &mut Stream, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

async fn open(endpoint: &Endpoint, within: Duration) -> Result<Stream, String> {
    match tokio::time::timeout(within, connect::connect(endpoint)).await {
        Err(_) => Err(format!("no connection within {within:?}")),
        Ok(connected) => connected,
    }
}
