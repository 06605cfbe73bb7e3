//! What a running event stream needs beside its bytes: comments while it is quiet, and last words
//! that its client survives.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Stage;
use super::error::ProxyError;
use super::ledger::Ledger;
use super::table::{self, Case, Phase, Said, Transport};
use super::vigil::{Alarm, Guest, Heed, Post};
use crate::domain::Departure;
use crate::mcp::sse::{Boundary, KEEP_ALIVE};
use crate::mcp::words;
use crate::upstream::{Client, Endpoint, EntryTally, StreamGuard, StreamKind};

/// The state of an open event stream.
pub(super) struct EventStream {
    boundary: Boundary,
    /// After so long without a word it gets a comment; zero: never.
    interval: Duration,
    last: Instant,
    case: Case,
    is_encoded: bool,
    post: Rc<Post>,
    open: StreamGuard,
}

/// What a stream has to say for itself.
pub(super) enum Saying {
    /// A comment, to keep it alive.
    Comment(Bytes),
    /// The process is stopping: last words, and then the end.
    Parting,
    /// The endpoint answers no checks any more: the same.
    Silent,
    /// The entry is rid of it, whatever it waits for: the same.
    Cut(Departure),
    /// Its client is to leave: the same, where nothing waits on it.
    Leave(Departure),
}

impl EventStream {
    /// A stream that begins now. `interval` of zero sends no comments; into an encoded stream nothing
    /// of ours is written at all.
    pub(super) fn new(
        case: Case,
        is_encoded: bool,
        interval: Duration,
        post: Rc<Post>,
        endpoint: &Arc<Endpoint>,
        open: StreamGuard,
        guest: Option<Guest>,
    ) -> Self {
        let interval = if is_encoded { Duration::ZERO } else { interval };
        let last = Instant::now();
        let due = (!interval.is_zero()).then(|| last + interval);
        let ends_with_silence = table::said(case, Phase::Silent, false) != Said::On;
        let silence_of = ends_with_silence.then(|| endpoint.clone());
        post.heed(Heed { due, stage: Stage::Parting, silence_of, guest });
        Self { boundary: Boundary::default(), interval, last, case, is_encoded, post, open }
    }

    /// Whether it is in a coding, so that nothing in it can be read or altered.
    pub(super) fn is_encoded(&self) -> bool {
        self.is_encoded
    }

    /// What kind of stream it is.
    pub(super) fn kind(&self) -> StreamKind {
        self.open.kind()
    }

    /// It is this client's, which leaves when its time comes.
    pub(super) fn belongs_to(&self, client: Client) {
        self.post.heed_for(client);
    }

    /// It comes from another endpoint now, and belongs there since this revision.
    pub(super) fn moved(&mut self, endpoint: &Arc<Endpoint>, tally: &Arc<EntryTally>, born: u64) {
        self.open = StreamGuard::open(tally, self.open.kind());
        self.post.heed_at_endpoint(endpoint, born);
    }

    /// It stays where others leave: it is not told again.
    pub(super) fn stays(&self) {
        self.post.heed_no_eviction();
    }

    /// It can be had from another endpoint, should checks of this one get no answer any more.
    pub(super) fn can_move(&self, endpoint: &Arc<Endpoint>) {
        self.post.heed_silence_of(endpoint);
    }

    /// As [`Writer`](super::writer::Writer) does.
    pub(super) fn look_ahead(&self) {
        black_box((self.last, self.is_encoded));
        self.post.look_ahead();
    }

    /// Takes note of bytes that pass.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.boundary.feed(bytes);
        self.last = self.post.vigil().now();
    }

    /// Whether a whole event may go in now.
    pub(super) fn is_between_events(&self) -> bool {
        self.boundary.is_between_events()
    }

    /// Something of its own, when it is time for that.
    pub(super) fn poll_saying(&mut self, context: &mut Context<'_>) -> Poll<Saying> {
        loop {
            match self.post.poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Alarm::Stage) => return Poll::Ready(Saying::Parting),
                Poll::Ready(Alarm::Silent) => return Poll::Ready(Saying::Silent),
                Poll::Ready(Alarm::Cut(how)) => return Poll::Ready(Saying::Cut(how)),
                Poll::Ready(Alarm::Leave(how)) => return Poll::Ready(Saying::Leave(how)),
                // The time is not moved with every event: that would cost more than the event.
                Poll::Ready(Alarm::Due) => {
                    let now = self.post.vigil().now();
                    let is_quiet = now.duration_since(self.last) >= self.interval;
                    if is_quiet {
                        self.last = now;
                    }
                    self.post.heed_at(self.last + self.interval);
                    if is_quiet && self.boundary.is_between_events() {
                        return Poll::Ready(Saying::Comment(Bytes::from_static(KEEP_ALIVE)));
                    }
                }
            }
        }
    }

    /// What ends the stream, as the table has it; an error where it is to look cut.
    pub(super) fn last_words(&self, ledger: &Ledger, phase: Phase, error: &ProxyError) -> Result<Bytes, LooksCut> {
        // As its server would leave it.
        let bare = if phase == Phase::Broken { Err(LooksCut) } else { Ok(Bytes::new()) };
        let transport = if ledger.channel().is_some() { Transport::HttpSse } else { Transport::Streamable };
        let case = Case { transport, ..self.case };
        let events = match (table::said(case, phase, ledger.can_be_resumed()), ledger.channel()) {
            (Said::Cut, _) => return Err(LooksCut),
            (Said::ErrorEvents | Said::ErrorEventsAndOn, Some(channel)) => channel.last_words(&error.to_string()),
            (Said::ErrorEvents, None) if ledger.knows_who_waits() => {
                ledger.note_last_words();
                words::error_events(ledger.pending(), &error.to_string()).into_bytes()
            }
            (Said::ErrorEvents, None) => return bare,
            // What was to come here, of calls that began on another stream.
            (Said::End, None) if phase == Phase::Taken => {
                words::error_events(&ledger.give_up_calls(), &error.to_string()).into_bytes()
            }
            _ => Vec::new(),
        };
        if events.is_empty() { bare } else { Ok([self.boundary.abandon_event(), &events].concat().into()) }
    }
}

/// A stream is to end so that its client sees that it was cut.
pub(super) struct LooksCut;
