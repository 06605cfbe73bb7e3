//! What survives the process of a session beyond its sealed id, without credentials: see [`crate::live::residents`].

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::time::Instant;

use super::memory::Memory;
use super::resident::{Session, State};
use super::table::Sessions;
use crate::domain::Moment;
use crate::domain::rehome::Residence;
use crate::live::residents::FRESH;
use crate::live::{Resident, ResidentKey, Residents, Traces};
use crate::mcp::SessionPin;

/// A session that is met for the first time.
pub(super) struct Newcomer {
    /// By what the journal knows it.
    pub(super) key: Option<ResidentKey>,
    /// What its request and its id say.
    pub(super) memory: Box<Memory>,
}

/// A session's place in the journal.
pub(super) struct Line {
    residents: Arc<Residents>,
    key: Option<ResidentKey>,
    waits: AtomicBool,
}

impl Line {
    pub(super) fn new(residents: Arc<Residents>, key: Option<ResidentKey>) -> Self {
        Self { residents, key, waits: AtomicBool::new(false) }
    }
}

/// What is known of a session when it is met.
pub(super) struct Met {
    pub(super) residence: Residence<SessionPin>,
    pub(super) memory: Box<Memory>,
    /// Whether the journal has to be told.
    pub(super) is_news: bool,
}

impl Sessions {
    /// What the process before has left of a session is put to what its request says. One that was moved lives there, in an
    /// epoch of this process: what its client was told by earlier ones is not taken for what it is told now.
    pub(super) fn meet(&self, residents: &Residents, Newcomer { key, mut memory }: Newcomer, pin: &SessionPin) -> Met {
        let left = key.and_then(|key| residents.look(&key));
        // A record that is used is written anew, so that it does not run out under a session in use.
        let is_news = left.is_some() || memory.is_beyond_id;
        let mut residence = Residence::new(pin.clone());
        if let Some(left) = left {
            if let Some(place) = left.place {
                residence = Residence::inherited(self.next_epoch(), place);
            }
            if left.is_over {
                // Its servers were told by the process before.
                residence.close();
            }
            if memory.essentials.is_none() && left.essentials.is_some() {
                (memory.essentials, memory.is_beyond_id) = (left.essentials.map(Arc::new), true);
            }
            (memory.is_incomplete, memory.level) = (left.is_incomplete, left.level);
            memory.subscribe_all(left.subscriptions);
        }
        Met { residence, memory, is_news }
    }
}

impl Session {
    /// Something has changed that the next process should know.
    pub(super) fn mark(self: &Arc<Self>) {
        if self.journal.key.is_some() {
            self.journal.residents.mark(self.clone());
        }
    }

    /// Marks a session in use whose record would run out some time.
    pub(super) fn refresh(self: &Arc<Self>, state: &State, now: Moment) {
        let is_used = now.since(self.seen()) < FRESH || state.residence.running() > 0;
        if is_used && state.recorded.is_some_and(|recorded| recorded.elapsed() >= FRESH) {
            self.mark();
        }
    }
}

impl Resident for Session {
    fn key(&self) -> ResidentKey {
        self.journal.key.unwrap_or_default()
    }

    fn traces(&self) -> Option<Traces> {
        let mut state = self.state();
        let traces = state.traces();
        if traces.is_nothing() && state.recorded.is_none() {
            return None;
        }
        state.recorded = Some(Instant::now());
        Some(traces)
    }

    fn waits(&self) -> &AtomicBool {
        &self.journal.waits
    }
}

impl State {
    fn traces(&self) -> Traces {
        if self.residence.is_over() {
            return Traces { is_over: true, ..Traces::default() };
        }
        let place = self.residence.has_moved().then(|| self.residence.current().place.clone());
        let Some(memory) = &self.memory else { return Traces { place, ..Traces::default() } };
        let essentials = memory.essentials.as_ref().filter(|_| memory.is_beyond_id);
        Traces {
            is_over: false,
            is_incomplete: memory.is_incomplete,
            essentials: essentials.map(|essentials| (**essentials).clone()),
            level: memory.level.clone(),
            subscriptions: memory.subscriptions.iter().map(|(_, params)| params.clone()).collect(),
            place,
        }
    }
}

#[cfg(test)]
mod tests;
