//! The outcome of every request, read from its answer and booked once: by tool, by entry, and with
//! the blame where it belongs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::books::Books;
use super::channel::Channel;
use super::handles::Scribe;
use super::interrupted::{Call, Thread};
use super::pending::{Pending, Requests};
use super::rehome::Lodging;
use super::witness::Witness;
use crate::domain::{Blame, Era, Outcome};
use crate::http1::Head;
use crate::mcp::scan::{End, Events, Message};
use crate::upstream::{Client, Endpoint, EntryTally, StreamKind};

mod reading;

use reading::Scan;

/// What one answer is booked by.
pub(super) struct Ledger {
    tally: Arc<EntryTally>,
    endpoint: Arc<Endpoint>,
    client: Option<Client>,
    /// Whether the status says that the endpoint failed its MCP clients. A session that it has lost is not that: after
    /// a restart every session is, and the endpoint is well.
    is_failure: bool,
    begun: Instant,
    at_once: Option<Duration>,
    pending: Requests,
    waited_for: usize,
    by_status: Outcome,
    scan: Scan,
    ending: Ending,
    scribe: Option<Box<Scribe>>,
    is_subscription: bool,
    stream: Option<StreamKind>,
    thread: Option<Box<Thread>>,
    is_modern: bool,
    witness: Option<Box<Witness>>,
    is_booked_elsewhere: bool,
    channel: Option<Arc<Channel>>,
    lodging: Option<Lodging>,
}

/// What is known when an answer begins.
pub(super) struct Opening {
    pub(super) tally: Arc<EntryTally>,
    pub(super) endpoint: Arc<Endpoint>,
    /// Whose it is, where somebody watches the entry.
    pub(super) client: Option<Client>,
    pub(super) begun: Instant,
    /// After how long it came, where all of it came with its head: the clock is read once.
    pub(super) at_once: Option<Duration>,
    /// None where it is not MCP.
    pub(super) era: Option<Era>,
    /// Whether its requests are booked where their answers come (HTTP+SSE).
    pub(super) is_booked_elsewhere: bool,
    pub(super) pending: Requests,
    /// What the status says.
    pub(super) outcome: Outcome,
    /// Who notes the words in it, in the modern era.
    pub(super) scribe: Option<Box<Scribe>>,
    /// Whether it is a `subscriptions/listen`: one that ends without a result is opened again.
    pub(super) is_subscription: bool,
    /// What kind of event stream the answer is, where it is one.
    pub(super) stream: Option<StreamKind>,
    /// The session that may take its calls up again.
    pub(super) thread: Option<Box<Thread>>,
    /// Who logs what is booked.
    pub(super) witness: Option<Box<Witness>>,
    /// Whether the answer is read; if not, the status says it all.
    pub(super) reads_answers: bool,
}

/// How the body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It has not; if it never does, the client has left.
    Running,
    Finished,
    Broken,
    /// By the proxy, since nobody can use it.
    Useless,
    Spoilt,
    Parted,
    Cut,
}

impl Ledger {
    /// Begins with the head of the answer.
    pub(super) fn new(opening: Opening, head: &Head) -> Self {
        let Opening { tally, endpoint, begun, era, pending, outcome, scribe, is_subscription, .. } = opening;
        let Opening { at_once, client, is_booked_elsewhere, stream, thread, witness, reads_answers, .. } = opening;
        let is_failure = era.is_some() && head.status().is_server_error() && head.status() != StatusCode::NOT_IMPLEMENTED;
        Self {
            tally,
            endpoint,
            client,
            is_failure,
            begun,
            at_once,
            waited_for: pending.len(),
            pending,
            by_status: outcome,
            scan: if reads_answers { Scan::of(head, outcome) } else { Scan::Status },
            ending: Ending::Running,
            scribe,
            is_subscription,
            stream,
            thread,
            is_modern: era == Some(Era::Modern),
            witness,
            is_booked_elsewhere,
            channel: None,
            lodging: None,
        }
    }

    /// The stream is a channel: it answers what was posted elsewhere. It may be there long before somebody watches.
    pub(super) fn follow(&mut self, channel: Arc<Channel>, client: Client) {
        (self.channel, self.client) = (Some(channel), Some(client));
    }

    /// It is of a session that is known here.
    pub(super) fn lodge(&mut self, lodging: Lodging) {
        self.lodging = Some(lodging);
    }

    /// Whether its session was moved since it began.
    pub(super) fn is_left(&self) -> bool {
        self.lodging.as_ref().is_some_and(Lodging::is_left)
    }

    /// It comes from another endpoint now.
    pub(super) fn moved(&mut self, endpoint: Arc<Endpoint>, tally: Arc<EntryTally>) {
        (self.endpoint, self.tally) = (endpoint, tally);
    }

    /// Where it books.
    pub(super) fn books(&self) -> Books<'_> {
        Books { tally: &self.tally, endpoint: Some(&self.endpoint), witness: self.witness.as_deref(), client: self.client }
    }

    /// The channel that it is.
    pub(super) fn channel(&self) -> Option<&Channel> {
        self.channel.as_deref()
    }

    /// The requests that still wait.
    pub(super) fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// Whether an error can name the requests that still wait: where nobody reads the answer, nobody knows which.
    pub(super) fn knows_who_waits(&self) -> bool {
        matches!(self.scan, Scan::Events(_)) && !self.pending.is_empty() && self.pending.iter().all(Pending::is_known)
    }

    /// Whether the stream's events have ids, so that its client resumes it. In the modern era nothing is
    /// resumed, whatever a server writes (2026-07-28, transports).
    pub(super) fn can_be_resumed(&self) -> bool {
        !self.is_modern && self.scan.events().is_some_and(Events::has_ids)
    }

    /// Those that still wait are told on the stream that they have failed: it is not to be resumed.
    pub(super) fn note_last_words(&self) {
        self.lodging.iter().zip(self.last_ids().next()).for_each(|(lodging, last)| lodging.note_last_words(last));
    }

    /// The last events of the stream, by the hashes of their ids.
    pub(super) fn last_ids(&self) -> impl Iterator<Item = u64> {
        self.scan.events().into_iter().flat_map(Events::last_ids)
    }

    /// As [`Writer`](super::writer::Writer) does.
    pub(super) fn look_ahead(&self) {
        black_box((self.begun, self.at_once, self.waited_for, self.is_modern));
        black_box((self.channel.is_some(), self.lodging.is_some(), self.pending.len(), self.can_be_resumed()));
    }

    /// Bytes of the answer pass.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        let (begun, at_once) = (self.begun, self.at_once);
        let Self { tally, endpoint, client, pending, scribe, waited_for, channel, thread, witness, lodging, .. } = self;
        let books = Books { tally, endpoint: Some(endpoint), witness: witness.as_deref(), client: *client };
        if let Some(scribe) = scribe {
            scribe.pass(bytes);
        }
        let elapsed = || at_once.unwrap_or_else(|| begun.elapsed());
        let mut book = |message: Message| {
            if let Some(scribe) = scribe {
                scribe.note(&message);
            }
            if let Some(lodging) = lodging {
                lodging.note(&message);
            }
            let resumed = thread.as_ref().filter(|_| *waited_for == 0);
            match (&*channel, resumed) {
                (Some(channel), _) => channel.book(books, &message),
                (None, Some(thread)) => thread.book(books, &message),
                (None, None) => book(books, elapsed, *waited_for, pending, &message),
            }
        };
        match &mut self.scan {
            Scan::Json(body) => body.feed(bytes, &mut book),
            Scan::Events(events) => events.feed(bytes, &mut book),
            Scan::Status | Scan::Opaque => {}
        }
    }

    /// The answer has ended well.
    pub(super) fn finish(&mut self) {
        self.ending = Ending::Finished;
    }

    /// The endpoint broke off.
    pub(super) fn break_off(&mut self) {
        self.ending = Ending::Broken;
    }

    /// What the endpoint began with cannot be used.
    pub(super) fn refuse(&mut self) {
        self.ending = Ending::Useless;
    }

    /// The client did something wrong with its own body, which broke the exchange.
    pub(super) fn blame_client(&mut self) {
        self.ending = Ending::Spoilt;
    }

    /// The proxy ended it, since it is stopping.
    pub(super) fn part(&mut self) {
        self.ending = Ending::Parted;
    }

    /// The proxy ended it, since its entry was taken back, or its session has left: nothing of it is resumed.
    pub(super) fn cut(&mut self) {
        if let Some(lodging) = self.lodging.as_ref().filter(|_| self.knows_who_waits()) {
            lodging.cancel(&self.pending);
        }
        self.ending = Ending::Cut;
    }

    /// Whether answers are to come on it to what was asked elsewhere.
    pub(super) fn answers_others(&self) -> bool {
        self.channel.as_ref().is_some_and(|channel| channel.has_due())
            || self.thread.as_deref().is_some_and(Thread::has_calls)
            || self.lodging.as_ref().is_some_and(Lodging::resumes)
    }

    /// Those that will not come, of calls that began on another stream.
    pub(super) fn give_up_calls(&self) -> Vec<Call> {
        self.thread.as_ref().filter(|_| self.only_listens()).map(|thread| thread.give_up()).unwrap_or_default()
    }

    /// Whether nobody waits for anything on it: all such streams break when a server is started anew, which is
    /// one event and no failed request. They are counted apart.
    fn only_listens(&self) -> bool {
        self.stream == Some(StreamKind::Listen)
    }

    /// Whose doing it is that an ended channel leaves requests without an answer.
    fn blame(&self) -> Blame {
        match self.ending {
            Ending::Broken | Ending::Useless | Ending::Finished => Blame::Entry,
            Ending::Parted | Ending::Cut => Blame::Proxy,
            Ending::Running | Ending::Spoilt => Blame::Client,
        }
    }

    /// What becomes of an exchange without a request inside: it counts itself. A client that leaves a stream it
    /// only listens to has had what it wanted.
    fn as_a_whole(&self) -> Option<Outcome> {
        match self.ending {
            Ending::Broken if self.only_listens() => None,
            Ending::Broken | Ending::Useless => Some(Outcome::Failed(Blame::Entry)),
            Ending::Spoilt => Some(Outcome::Failed(Blame::Client)),
            Ending::Parted => Some(Outcome::Failed(Blame::Proxy)),
            // What it listened for, it had.
            Ending::Running | Ending::Finished | Ending::Cut => Some(self.by_status),
        }
    }

    /// Whether the endpoint did its part, for passive health. Streams that only listen all break when a server is
    /// started anew: that is one event, not many.
    fn note_health(&self, outcome: Option<Outcome>, leaves_waiting: bool) {
        let is_over = matches!(self.ending, Ending::Broken | Ending::Useless | Ending::Finished);
        let has_broken = self.ending == Ending::Broken && self.waited_for > 0 && !self.is_subscription;
        // What a status says is in `is_failure` already, where it is one of the endpoint as a whole.
        let is_read = matches!(self.scan, Scan::Json(_) | Scan::Events(_));
        let is_unusable = (is_read || self.ending == Ending::Useless) && outcome == Some(Outcome::Failed(Blame::Entry));
        let answered = self.waited_for > 0 && self.pending.is_empty();
        if self.is_failure || (is_over && leaves_waiting) || has_broken || is_unusable {
            self.endpoint.note_failure();
        } else if self.ending == Ending::Finished || answered {
            self.endpoint.note_success();
        }
    }

    /// Leaves the requests that got no answer to the stream on which it will come. False where there is none: a
    /// call of no session, or on a stream that is not resumed.
    fn leave_calls(&mut self) -> bool {
        let is_spoilt = matches!(self.ending, Ending::Spoilt | Ending::Useless | Ending::Cut);
        if is_spoilt || !self.can_be_resumed() || !self.knows_who_waits() {
            return false;
        }
        // Where the server means to go on, it is for the client to come back.
        let otherwise = self.unanswered().unwrap_or(Outcome::Failed(Blame::Client));
        let Self { thread, tally, endpoint, client, begun, pending, lodging, .. } = self;
        let Some(thread) = thread else { return false };
        let (begun, client) = (*begun, *client);
        let stay = || lodging.as_ref().and_then(|lodging| lodging.stay.another());
        let call =
            |request| Call { request, begun, tally: tally.clone(), endpoint: endpoint.clone(), client, stay: stay(), otherwise };
        thread.leave(pending.drain(..).map(call).collect());
        true
    }

    /// What becomes of the requests that got no answer; nothing where the answer is still to come.
    fn unanswered(&mut self) -> Option<Outcome> {
        let only_listens = self.only_listens();
        match (&mut self.scan, self.ending) {
            // It had what it was opened for, and is opened again where it is still wanted.
            (Scan::Events(_), Ending::Running | Ending::Finished | Ending::Parted | Ending::Cut) if self.is_subscription => {
                Some(Outcome::Ok)
            }
            (_, Ending::Broken) if only_listens => None,
            (_, Ending::Broken | Ending::Useless) => Some(Outcome::Failed(Blame::Entry)),
            (_, Ending::Spoilt) => Some(Outcome::Failed(Blame::Client)),
            (_, Ending::Parted | Ending::Cut) => Some(Outcome::Failed(Blame::Proxy)),
            (Scan::Status, _) => Some(self.by_status),
            (_, Ending::Running) => Some(Outcome::Failed(Blame::Client)),
            (Scan::Opaque, Ending::Finished) => Some(Outcome::Opaque),
            // The server closes a stream that it means to go on with (2025-11-25, SEP-1699): the
            // answer comes where the client resumes it.
            (Scan::Events(events), Ending::Finished) if !self.is_modern && events.has_ids() && events.end() == End::Whole => None,
            (Scan::Json(_) | Scan::Events(_), Ending::Finished) => Some(Outcome::Failed(Blame::Entry)),
        }
    }
}

/// Books one message. Where nothing was asked, it is a stream that is resumed, and each answer counts; else
/// those count that were asked for.
fn book(books: Books<'_>, elapsed: impl Fn() -> Duration, asked: usize, pending: &mut Requests, message: &Message) {
    if !message.is_answer() {
        return;
    }
    let is_only = |one: &Pending| pending.len() == 1 && (message.id.is_none() || one.hash().is_none());
    let found = pending.iter().position(|one| one.hash() == message.id || is_only(one));
    let answered = found.map(|at| pending.swap_remove(at));
    if answered.is_none() && asked > 0 {
        return;
    }
    match answered {
        Some(request) => books.note_answer(request.tool(), message.outcome(), elapsed()),
        None => books.note(None, message.outcome(), elapsed()),
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let left = self.channel.as_ref().map(|channel| channel.close()).unwrap_or_default();
        let has_request = self.waited_for > 0;
        let outcome = if has_request { self.unanswered().filter(|_| !self.pending.is_empty()) } else { self.as_a_whole() };
        self.note_health(outcome, !left.is_empty());
        if let (Some(kind), Ending::Broken) = (self.stream, self.ending) {
            self.tally.note_broken(kind);
        }
        if has_request && self.leave_calls() {
            return;
        }
        let unanswered = Outcome::Failed(self.blame());
        left.iter().for_each(|due| due.book_unanswered(self.books(), unanswered));
        if let Some(outcome) = outcome.filter(|_| !self.is_booked_elsewhere) {
            self.books().note_all(&self.pending, outcome, self.begun.elapsed());
        }
    }
}
