//! Answers on their way to the client, with all that must last as long as their streams do.

use std::hint::black_box;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use hyper::body::{Body, Frame, SizeHint};

use super::channel::{Downstream, Passed};
use super::error::ProxyError;
use super::ledger::Ledger;
use super::lists::clamped;
use super::progress::Progress;
use super::rehome::{News, Why};
use super::rim::Permit;
use super::socket::Exchange;
use super::source::Source;
use super::stream::{EventStream, LooksCut, Saying};
use super::table::Phase;
use crate::domain::Departure;
use crate::http1::Head;
use crate::mcp::scan::Clamp;
use crate::upstream::{Cause, Ticket, Wire};

/// An endpoint that has answered, and takes nothing for so long of an upload that goes on, takes no more. The kernel
/// tells of room only where there is a lot, megabytes of it: of a server that reads slowly nothing is seen for seconds.
const WIND_UP: Duration = Duration::from_secs(15);

/// An answer as it is to be written.
pub(super) struct Answer {
    pub(super) head: Box<Head>,
    pub(super) body: ToClient,
}

/// A body on its way to the client.
pub(super) enum ToClient {
    /// The proxy's own words.
    Own(Bytes),
    /// An endpoint's.
    Held(Box<Held>),
}

/// A part of a body: in the buffer that was given to read into, or by itself.
pub(super) enum Piece {
    Here(Range<usize>),
    Apart(Bytes),
}

/// The next part, nothing at the end, or why it is cut.
pub(super) type Next = Option<Result<Piece, Cause>>;

/// An endpoint's answer with all that it holds until its end: the ticket of the endpoint, the
/// permit of the proxy, the connection.
pub(super) struct Held {
    pub(super) source: Source,
    pub(super) stream: Option<EventStream>,
    pub(super) downstream: Option<Box<Downstream>>,
    /// What makes a list count for less time.
    pub(super) clamp: Option<Box<Clamp>>,
    pub(super) ledger: Ledger,
    pub(super) finished: bool,
    /// Of an upload.
    pub(super) progress: Option<Rc<Progress>>,
    /// How long the endpoint may take nothing of an upload.
    pub(super) patience: Duration,
    pub(super) _ticket: Option<Ticket>,
    pub(super) _permit: Permit,
}

/// One is made for each answer, and moved on its way; what is larger than 1,032 bytes the allocator (glibc) would not keep at hand.
const _: () = assert!(size_of::<Held>() <= 536);

impl Answer {
    /// For hyper to write.
    pub(super) fn into_response(self, wire: &Rc<Wire>, exchange: Rc<Exchange>) -> Response<Written> {
        let mut response = Response::new(Written { body: self.body, wire: wire.clone(), _exchange: exchange });
        *response.status_mut() = self.head.status();
        *response.headers_mut() = self.head.headers();
        response
    }
}

impl ToClient {
    /// The next part.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Next> {
        match self {
            Self::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Own(bytes) => Poll::Ready(Some(Ok(Piece::Apart(std::mem::take(bytes))))),
            Self::Held(held) => held.poll(context, buffer),
        }
    }

    /// Whether it is an event stream.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Held(held) if held.stream.is_some())
    }

    /// Whether nothing more comes.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Own(bytes) => bytes.is_empty(),
            // An event stream may have last words, also where its server said how long it is.
            Self::Held(held) => held.finished || (held.source.is_done() && held.stream.is_none()),
        }
    }

    /// How long it is, where that can be promised: a stream may get comments.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Own(bytes) => Some(bytes.len() as u64),
            Self::Held(held) if held.stream.is_some() => None,
            Self::Held(held) => held.source.length(),
        }
    }
}

/// A body that hyper writes, and the exchange that it ends.
pub(super) struct Written {
    body: ToClient,
    wire: Rc<Wire>,
    _exchange: Rc<Exchange>,
}

impl Body for Written {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let Self { body, wire, .. } = self.get_mut();
        let mut buffer = wire.desk().reading();
        let next = body.poll(context, &mut buffer).map_ok(|piece| match piece {
            Piece::Here(range) => Frame::data(Bytes::copy_from_slice(&buffer[range])),
            Piece::Apart(bytes) => Frame::data(bytes),
        });
        wire.desk().put_reading(buffer);
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// What an answer has for itself.
enum Own {
    Said(Next),
    /// It is asked again: its session is being moved.
    Moves,
}

impl Held {
    /// As [`Writer`](super::writer::Writer) does.
    pub(super) fn look_ahead(&self) {
        black_box((self.finished, self.downstream.is_some(), self.clamp.is_some(), self.progress.is_some()));
        self.source.look_ahead();
        self.ledger.look_ahead();
        self.stream.iter().for_each(EventStream::look_ahead);
    }

    fn poll(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Next> {
        if self.finished {
            return Poll::Ready(None);
        }
        // Before the endpoint's next bytes, or one that never stops talking would keep them back.
        if let Poll::Ready(words) = self.poll_channel(context) {
            return Poll::Ready(words);
        }
        loop {
            let polled = self.source.poll(context, buffer);
            self.heed_news();
            match polled {
                Poll::Ready(Some(Ok(piece))) => {
                    let piece = match self.pass_down(piece, buffer) {
                        Ok(Some(piece)) => piece,
                        Ok(None) => continue,
                        Err(reason) => return self.refuse(&reason),
                    };
                    let piece = match &mut self.clamp {
                        None => piece,
                        Some(clamp) => match clamped(clamp, piece.of(buffer), self.source.is_done()) {
                            nothing if nothing.is_empty() => continue,
                            clamped => Piece::Apart(clamped),
                        },
                    };
                    let bytes = piece.of(buffer);
                    self.ledger.pass(bytes);
                    if let Some(stream) = &mut self.stream {
                        stream.pass(bytes);
                    }
                    if self.source.hears_others() {
                        self.source.note_heard(self.ledger.last_ids());
                    }
                    return Poll::Ready(Some(Ok(piece)));
                }
                Poll::Ready(Some(Err(error))) => return self.broken(error),
                Poll::Ready(None) if self.source.is_lost() => {
                    self.ledger.cut();
                    return self.end_with(Bytes::new());
                }
                Poll::Ready(None) => {
                    let words = self.words_at_the_end();
                    self.finish();
                    return self.end_with(words);
                }
                Poll::Pending => match ready!(self.poll_own_words(context)) {
                    Own::Said(next) => return Poll::Ready(next),
                    Own::Moves => {}
                },
            }
        }
    }

    /// What the client of a stream that may be a channel sees of it; nothing where that is held back.
    fn pass_down(&mut self, piece: Piece, buffer: &[u8]) -> Result<Option<Piece>, String> {
        let Some(downstream) = &mut self.downstream else { return Ok(Some(piece)) };
        Ok(match downstream.pass(piece.of(buffer), &mut self.ledger, self.stream.as_ref())? {
            Passed::AsTheyCame => Some(piece),
            Passed::Instead(changed) => (!changed.is_empty()).then_some(Piece::Apart(changed)),
            Passed::NoChannel(all) => {
                self.downstream = None;
                Some(all.map_or(piece, Piece::Apart))
            }
        })
    }

    fn poll_own_words(&mut self, context: &mut Context<'_>) -> Poll<Own> {
        let Some(stream) = &mut self.stream else { return Poll::Pending };
        let saying = loop {
            let saying = ready!(stream.poll_saying(context));
            let why = match saying {
                Saying::Silent => Some(Why::Lost),
                // Where the cut comes at once, nobody is told to leave before.
                Saying::Leave(Departure::Moves { forced, .. }) | Saying::Cut(Departure::Moves { forced, .. }) => {
                    Some(Why::Leaves { forced, waits: true })
                }
                _ => None,
            };
            if why.is_some_and(|why| self.source.leave(why)) {
                return Poll::Ready(Own::Moves);
            }
            match saying {
                // It is asked again, until nothing is to come to what was begun before, and no event is half said.
                Saying::Leave(_) if self.ledger.answers_others() || !stream.is_between_events() => {}
                // Who may not be moved stays, and so does what they have begun.
                Saying::Leave(how) | Saying::Cut(how) if !how.ends() && !self.ledger.is_left() => stream.stays(),
                saying => break saying,
            }
        };
        match saying {
            Saying::Comment(comment) => Poll::Ready(Own::Said(Some(Ok(Piece::Apart(comment))))),
            Saying::Parting => {
                let words = stream.last_words(&self.ledger, Phase::Stopping, &ProxyError::Stopping);
                self.ledger.part();
                self.end_with(words.unwrap_or_default()).map(Own::Said)
            }
            Saying::Silent => {
                let words = stream.last_words(&self.ledger, Phase::Silent, &ProxyError::Silent);
                self.ledger.break_off();
                self.end_with(words.unwrap_or_default()).map(Own::Said)
            }
            Saying::Cut(_) | Saying::Leave(_) => {
                let words = stream.last_words(&self.ledger, Phase::Taken, &ProxyError::TakenBack);
                self.ledger.cut();
                if let Some(downstream) = &self.downstream {
                    downstream.end_session();
                }
                self.end_with(words.unwrap_or_default()).map(Own::Said)
            }
        }
    }

    /// A stream that goes on elsewhere is booked there, and is a guest there.
    fn heed_news(&mut self) {
        if let (Some(News { endpoint, tally, born }), Some(stream)) = (self.source.take_news(), &mut self.stream) {
            stream.moved(&endpoint, &tally, born);
            if let Some(downstream) = &mut self.downstream {
                downstream.moved(&endpoint, &tally, born);
            }
            self.source.note_heard(self.ledger.last_ids());
            self.ledger.moved(endpoint, tally);
        }
    }

    /// The endpoint has ended its answer: what was held back of it, and an error for each request that it
    /// leaves without one.
    fn words_at_the_end(&mut self) -> Bytes {
        let held_back = match (self.downstream.take(), &mut self.clamp) {
            (Some(mut downstream), _) => downstream.end(),
            (None, Some(clamp)) => clamp.end().into(),
            (None, None) => Bytes::new(),
        };
        let Some(stream) = &self.stream else { return held_back };
        let lost = ProxyError::Lost("the stream has ended".to_owned());
        match stream.last_words(&self.ledger, Phase::Ended, &lost) {
            Ok(words) if !words.is_empty() => words,
            _ => held_back,
        }
    }

    /// The endpoint broke off. A stream whose requests still wait ends with an error for each of
    /// them; anything else is cut, since what was cut must look cut.
    fn broken(&mut self, error: Cause) -> Poll<Next> {
        if self.progress.as_ref().is_some_and(|progress| progress.fault().is_some()) {
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

    pub(super) fn end_with(&mut self, words: Bytes) -> Poll<Next> {
        self.finished = true;
        if words.is_empty() { Poll::Ready(None) } else { Poll::Ready(Some(Ok(Piece::Apart(words)))) }
    }

    fn finish(&mut self) {
        self.finished = true;
        self.ledger.finish();
        let lease = match &mut self.source {
            Source::Wire(flow) => return flow.give_back(),
            Source::Tagged(tagged) => return tagged.give_back(),
            Source::Upload { lease, .. } => lease.take(),
            Source::Early { .. } | Source::Spliced(_) | Source::Channel(_) | Source::None => return,
        };
        let (Some(lease), Some(progress)) = (lease, &self.progress) else { return };
        if progress.is_done() {
            return lease.give_back();
        }
        // The server has answered before the upload was over: its connection is wound up, not parked.
        let (progress, patience) = (progress.clone(), self.patience.min(WIND_UP));
        lease.wind_up(async move { progress.rests(patience).await });
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.source.note_heard(self.ledger.last_ids());
        // Nobody need ask a body for its end once the announced length is through.
        if !self.finished && self.source.is_done() {
            self.finish();
        }
    }
}

impl Piece {
    /// Its bytes.
    pub(super) fn of<'a>(&'a self, buffer: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Here(range) => &buffer[range.clone()],
            Self::Apart(bytes) => bytes,
        }
    }
}
