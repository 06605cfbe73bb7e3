//! Calls whose stream ended before their answer, and whose client takes it up again by a GET of the same session
//! (2025-03-26, resumability and redelivery; 2025-11-25, where a server ends a stream that it goes on with). The
//! answer comes there, and is booked there: as this call, of this tool, once.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use super::Site;
use super::books::Books;
use super::pending::Pending;
use super::rehome::Stay;
use crate::domain::rehome::Epoch;
use crate::domain::{Blame, Outcome};
use crate::mcp::scan::Message;
use crate::upstream::{Client, Endpoint, EntryTally, StreamKind};

/// A session that has not come back for so long has given its calls up.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often it is looked for such sessions.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Calls that may wait at a time, over all sessions. What goes beyond is booked as if nobody came back.
const MOST: usize = 10_000;

/// Early answers of a session that are remembered; the last ones.
const MOST_EARLY: usize = 64;

/// What is remembered of one, in bytes; the same.
const MOST_REMEMBERED: usize = 1024;

/// Those of all sessions.
#[derive(Default)]
pub struct Interrupted {
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<u64, Left>,
    calls: usize,
}

struct Left {
    since: Instant,
    /// Streams on which answers may come.
    listening: usize,
    calls: Vec<Call>,
    /// Answers that came before their call was left, as where a client has come back before its first stream was felt
    /// to have ended; and those that were only said again.
    early: VecDeque<(u64, Outcome)>,
}

/// A call whose answer is to come on another stream.
pub(super) struct Call {
    pub(super) request: Pending,
    pub(super) begun: Instant,
    pub(super) tally: Arc<EntryTally>,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) client: Option<Client>,
    /// What still runs at its server.
    pub(super) stay: Option<Stay>,
    /// What becomes of it where it never comes.
    pub(super) otherwise: Outcome,
}

/// A session that may leave calls, or come back to them.
pub(super) struct Thread {
    site: Arc<Site>,
    session: HeaderValue,
    listens: bool,
}

impl Interrupted {
    /// Gives up, from time to time, the calls that nobody has come back to. Runs for ever.
    pub async fn watch(site: Arc<Site>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            site.interrupted.give_up(Instant::now());
        }
    }

    /// A session is over; `lost` is what became of its calls, where that is known better than it was.
    pub(super) fn end(&self, session: &[u8], lost: Option<Outcome>) {
        let session = self.hasher.hash_one(session);
        let mut state = self.state();
        let Some(left) = state.sessions.remove(&session) else { return };
        state.calls -= left.calls.len();
        drop(state);
        left.calls.iter().for_each(|call| call.book(lost.unwrap_or(call.otherwise)));
    }

    /// Whether answers are still to come to a session, on another stream than they were asked for on.
    pub(super) fn has_calls(&self, session: &[u8]) -> bool {
        let session = self.hasher.hash_one(session);
        self.state().sessions.get(&session).is_some_and(|left| !left.calls.is_empty())
    }

    /// The calls of a session that ran on a binding whose server is gone: they are booked as lost.
    pub(super) fn lose(&self, session: &[u8], epoch: Epoch) -> Vec<Call> {
        let session = self.hasher.hash_one(session);
        let mut state = self.state();
        let Some(left) = state.sessions.get_mut(&session) else { return Vec::new() };
        let ran_there = |call: &mut Call| call.stay.as_ref().is_none_or(|stay| stay.epoch() == epoch);
        let calls: Vec<Call> = left.calls.extract_if(.., ran_there).collect();
        state.calls -= calls.len();
        drop(state);
        calls.iter().for_each(|call| call.book(Outcome::Failed(Blame::Entry)));
        calls
    }

    fn take(&self, session: &[u8]) -> Vec<Call> {
        let session = self.hasher.hash_one(session);
        let mut state = self.state();
        let calls = state.sessions.get_mut(&session).map(|left| std::mem::take(&mut left.calls)).unwrap_or_default();
        state.calls -= calls.len();
        calls
    }

    fn give_up(&self, now: Instant) {
        let mut state = self.state();
        let is_over = |left: &Left| left.listening == 0 && now.duration_since(left.since) >= PATIENCE;
        let gone: Vec<Left> = state.sessions.extract_if(|_, left| is_over(left)).map(|(_, left)| left).collect();
        state.calls -= gone.iter().map(|left| left.calls.len()).sum::<usize>();
        drop(state);
        gone.iter().flat_map(|left| &left.calls).for_each(|call| call.book(call.otherwise));
    }

    fn listen(&self, session: &[u8]) {
        self.state().sessions.entry(self.hasher.hash_one(session)).or_default().listening += 1;
    }

    fn listen_no_more(&self, session: &[u8]) {
        let session = self.hasher.hash_one(session);
        let mut state = self.state();
        let Some(left) = state.sessions.get_mut(&session) else { return };
        left.listening = left.listening.saturating_sub(1);
        left.since = Instant::now();
        state.forget_if_empty(session);
    }

    fn leave(&self, session: &[u8], calls: Vec<Call>) {
        let session = self.hasher.hash_one(session);
        let mut state = self.state();
        let mut room = MOST.saturating_sub(state.calls);
        let left = state.sessions.entry(session).or_default();
        left.since = Instant::now();
        let (mut over, mut kept) = (Vec::new(), 0);
        for call in calls {
            let early = left.early.iter().position(|(id, _)| Some(*id) == call.request.hash());
            if let Some((_, outcome)) = early.and_then(|at| left.early.remove(at)) {
                over.push((call, outcome));
            } else if room > 0 && call.request.size() <= MOST_REMEMBERED {
                left.calls.push(call);
                (room, kept) = (room - 1, kept + 1);
            } else {
                let otherwise = call.otherwise;
                over.push((call, otherwise));
            }
        }
        state.calls += kept;
        state.forget_if_empty(session);
        drop(state);
        over.iter().for_each(|(call, outcome)| call.book(*outcome));
    }

    /// The call that was left and has this answer; where there is none yet, the answer is remembered.
    fn answered(&self, session: &[u8], id: u64, outcome: Outcome) -> Option<Call> {
        let session = self.hasher.hash_one(session);
        let mut state = self.state();
        let left = state.sessions.get_mut(&session)?;
        let Some(at) = left.calls.iter().position(|call| call.request.hash() == Some(id)) else {
            left.early.push_back((id, outcome));
            if left.early.len() > MOST_EARLY {
                left.early.pop_front();
            }
            return None;
        };
        let call = left.calls.swap_remove(at);
        state.calls -= 1;
        Some(call)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_if_empty(&mut self, session: u64) {
        let is_empty = |left: &Left| left.listening == 0 && left.calls.is_empty() && left.early.is_empty();
        if self.sessions.get(&session).is_some_and(is_empty) {
            self.sessions.remove(&session);
        }
    }
}

impl Default for Left {
    fn default() -> Self {
        Self { since: Instant::now(), listening: 0, calls: Vec::new(), early: VecDeque::new() }
    }
}

impl Thread {
    /// One that has an event stream open now; where it listens, it may have come back to its calls.
    pub(super) fn of(site: &Arc<Site>, session: &HeaderValue, kind: StreamKind) -> Self {
        let listens = kind == StreamKind::Listen;
        if listens {
            site.interrupted.listen(session.as_bytes());
        }
        Self { site: site.clone(), session: session.clone(), listens }
    }

    /// Whether answers are still to come here.
    pub(super) fn has_calls(&self) -> bool {
        self.listens && self.site.interrupted.has_calls(self.session.as_bytes())
    }

    /// The calls whose answers will not come, by the proxy's doing.
    pub(super) fn give_up(&self) -> Vec<Call> {
        let calls = self.site.interrupted.take(self.session.as_bytes());
        calls.iter().for_each(|call| call.book(Outcome::Failed(Blame::Proxy)));
        calls
    }

    /// Its stream has ended before these.
    pub(super) fn leave(&self, calls: Vec<Call>) {
        self.site.interrupted.leave(self.session.as_bytes(), calls);
    }

    /// Books an answer on another stream of the session, where it is to a call that was left. Any other has been booked
    /// where it came first, or will be.
    pub(super) fn book(&self, books: Books<'_>, message: &Message) {
        let Some(id) = message.id.filter(|_| message.is_answer()) else { return };
        let outcome = message.outcome();
        if let Some(call) = self.site.interrupted.answered(self.session.as_bytes(), id, outcome) {
            // Of a stream that may be there long before somebody watches.
            let client = books.tally.is_watched().then(|| Client::of_session(self.session.as_bytes()));
            Books { client, ..books }.note_answer(call.request.tool(), outcome, call.begun.elapsed());
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if self.listens {
            self.site.interrupted.listen_no_more(self.session.as_bytes());
        }
    }
}

impl AsRef<str> for Call {
    fn as_ref(&self) -> &str {
        self.request.as_ref()
    }
}

impl Call {
    fn book(&self, outcome: Outcome) {
        let books = Books { tally: &self.tally, endpoint: Some(&self.endpoint), witness: None, client: self.client };
        books.note(self.request.tool(), outcome, self.begun.elapsed());
    }
}
