//! Calls whose stream ended before their answer, and whose client takes it up again by a GET of the same session
//! (2025-03-26, resumability and redelivery; 2025-11-25, where a server ends a stream that it goes on with). The
//! answer comes there, and is booked there: as this call, of this tool, once.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use super::Site;
use super::books::Books;
use super::ledger::Pending;
use crate::domain::Outcome;
use crate::mcp::scan::Message;
use crate::upstream::{Endpoint, EntryTally, StreamKind};

/// A session that has not come back for so long has given its calls up.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often it is looked for such sessions.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Calls that may wait at a time, over all sessions. What goes beyond is booked as if nobody came back.
const MOST: usize = 10_000;

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
    calls: Vec<Call>,
}

/// A call whose answer is to come on another stream.
pub(super) struct Call {
    pub(super) request: Pending,
    pub(super) begun: Instant,
    pub(super) tally: Arc<EntryTally>,
    pub(super) endpoint: Arc<Endpoint>,
    /// What becomes of it where it never comes.
    pub(super) otherwise: Outcome,
}

/// A session that may leave calls, or come back to them.
pub(super) struct Thread {
    site: Arc<Site>,
    session: HeaderValue,
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

    fn give_up(&self, now: Instant) {
        let mut state = self.state();
        let gone: Vec<Left> =
            state.sessions.extract_if(|_, left| now.duration_since(left.since) >= PATIENCE).map(|(_, left)| left).collect();
        state.calls -= gone.iter().map(|left| left.calls.len()).sum::<usize>();
        drop(state);
        gone.iter().flat_map(|left| &left.calls).for_each(|call| call.book(call.otherwise));
    }

    fn touch(&self, session: &[u8]) {
        if let Some(left) = self.state().sessions.get_mut(&self.hasher.hash_one(session)) {
            left.since = Instant::now();
        }
    }

    fn leave(&self, session: &[u8], calls: Vec<Call>) {
        let session = self.hasher.hash_one(session);
        let mut state = self.state();
        let room = MOST.saturating_sub(state.calls);
        let (kept, others): (Vec<_>, Vec<_>) =
            calls.into_iter().enumerate().partition(|(at, call)| *at < room && call.request.size() <= MOST_REMEMBERED);
        state.calls += kept.len();
        if !kept.is_empty() {
            let left = state.sessions.entry(session).or_insert_with(|| Left { since: Instant::now(), calls: Vec::new() });
            left.since = Instant::now();
            left.calls.extend(kept.into_iter().map(|(_, call)| call));
        }
        drop(state);
        others.iter().for_each(|(_, call)| call.book(call.otherwise));
    }

    fn take(&self, session: &[u8], id: u64) -> Option<Call> {
        let session = self.hasher.hash_one(session);
        let mut state = self.state();
        let left = state.sessions.get_mut(&session)?;
        let at = left.calls.iter().position(|call| call.request.hash() == Some(id))?;
        let call = left.calls.swap_remove(at);
        if left.calls.is_empty() {
            state.sessions.remove(&session);
        }
        state.calls -= 1;
        Some(call)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Thread {
    /// One that has an event stream open now; where it listens, it may have come back to its calls.
    pub(super) fn of(site: &Arc<Site>, session: &HeaderValue, kind: StreamKind) -> Self {
        if kind == StreamKind::Listen {
            site.interrupted.touch(session.as_bytes());
        }
        Self { site: site.clone(), session: session.clone() }
    }

    /// Its stream has ended before these.
    pub(super) fn leave(&self, calls: Vec<Call>) {
        self.site.interrupted.leave(self.session.as_bytes(), calls);
    }

    /// Books an answer on another stream of the session. Whether one was left that it is to.
    pub(super) fn book(&self, books: Books<'_>, message: &Message) -> bool {
        let id = message.id.filter(|_| message.is_answer());
        let call = id.and_then(|id| self.site.interrupted.take(self.session.as_bytes(), id));
        if let Some(call) = &call {
            books.tally.note_result(call.begun.elapsed());
            books.note(call.request.tool(), message.outcome(), call.begun.elapsed());
        }
        call.is_some()
    }
}

impl Call {
    fn book(&self, outcome: Outcome) {
        let books = Books { tally: &self.tally, endpoint: Some(&self.endpoint), witness: None };
        books.note(self.request.tool(), outcome, self.begun.elapsed());
    }
}
