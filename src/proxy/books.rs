//! Where the requests of an exchange are booked: at the entry, at the endpoint, by tool, and in the log.

use std::time::Duration;

use super::pending::Pending;
use super::witness::Witness;
use crate::domain::Outcome;
use crate::telemetry::trace::Trace;
use crate::upstream::{Client, Ended, Endpoint, EntryTally};

/// The places. An endpoint is there once one was chosen.
#[derive(Clone, Copy)]
pub(super) struct Books<'a> {
    pub(super) tally: &'a EntryTally,
    pub(super) endpoint: Option<&'a Endpoint>,
    pub(super) witness: Option<&'a Witness>,
    /// Whose requests they are, where somebody watches the entry.
    pub(super) client: Option<Client>,
}

impl Books<'_> {
    /// One request, or one exchange without a request inside.
    pub(super) fn note(self, tool: Option<&str>, outcome: Outcome, elapsed: Duration) {
        self.count(tool, outcome, elapsed, false);
        Witness::saw(self.witness, tool, outcome, elapsed);
    }

    /// One request that has its answer now.
    pub(super) fn note_answer(self, tool: Option<&str>, outcome: Outcome, elapsed: Duration) {
        self.count(tool, outcome, elapsed, true);
        Witness::saw(self.witness, tool, outcome, elapsed);
    }

    /// One request that was posted elsewhere, and is answered or given up on this stream (HTTP+SSE).
    pub(super) fn note_posted(
        self,
        tool: Option<&str>,
        outcome: Outcome,
        elapsed: Duration,
        is_answered: bool,
        trace: Option<&Trace>,
    ) {
        self.count(tool, outcome, elapsed, is_answered);
        Witness::heard(self.witness, trace, tool, outcome, elapsed);
    }

    /// Requests that got no answer, or an exchange without one inside, all alike.
    pub(super) fn note_all(self, pending: &[Pending], outcome: Outcome, elapsed: Duration) {
        pending.iter().for_each(|one| self.note(one.tool(), outcome, elapsed));
        if pending.is_empty() {
            self.note(None, outcome, elapsed);
        }
    }

    fn count(self, tool: Option<&str>, outcome: Outcome, elapsed: Duration, is_answered: bool) {
        self.tally.end(Ended { tool, outcome, elapsed, is_answered, client: self.client });
        if let Some(endpoint) = self.endpoint {
            endpoint.outcomes.note(outcome);
        }
    }
}
