//! What is in force and what is durable, in the two orders that there are.

use super::rollout::Move;
use super::{Change, Durable, Effect, Machine, Note, Refusal, Ticket, Waiting};
use crate::domain::clock::Moment;
use crate::domain::entry::Entry;

impl Machine {
    /// Durable first: in force when the disk has it.
    pub(super) fn put_in_line(
        &mut self,
        mut next: Durable,
        ticket: Ticket,
        change: Change,
        note: Note,
        effects: &mut Vec<Effect>,
    ) {
        next.follow_split(self.state.split);
        self.waiting = Some(Waiting { next, ticket, change, note, moves: Move::None });
        self.save_if_owed(effects);
    }

    /// As [`Self::put_in_line`], and the rollout moves with it.
    #[expect(clippy::too_many_arguments, reason = "all of them are of one change")]
    pub(super) fn put_in_line_moving(
        &mut self,
        now: Moment,
        mut next: Durable,
        ticket: Ticket,
        change: Change,
        note: Note,
        moves: Move,
        effects: &mut Vec<Effect>,
    ) {
        next.rollout = self.moved(now, &moves);
        next.follow_split(self.state.split);
        self.waiting = Some(Waiting { next, ticket, change, note, moves });
        self.save_if_owed(effects);
    }

    /// In force first: the brake and the disk follow.
    pub(super) fn ease(
        &mut self,
        now: Moment,
        mut next: Durable,
        ticket: Ticket,
        mut change: Change,
        note: Note,
        effects: &mut Vec<Effect>,
    ) {
        next.follow_split(self.state.split);
        self.state = next;
        self.owe_a_save();
        self.note_full(now);
        change.durable = false;
        effects.push(Effect::Publish);
        self.brake(effects);
        effects.push(Effect::Tell(note));
        if let Some((ticket, change)) = self.braking.replace((ticket, change)) {
            effects.push(Effect::Answer(ticket, Ok(change)));
        }
        self.save_if_owed(effects);
    }

    pub(super) fn saved(&mut self, now: Moment, revision: u64, failure: Option<String>, effects: &mut Vec<Effect>) {
        self.saving = false;
        let succeeded = failure.is_none();
        self.retry.note(now, succeeded);
        if succeeded {
            self.durable_revision = self.durable_revision.max(revision);
        }
        match self.waiting.take_if(|waiting| waiting.next.revision == revision) {
            Some(waiting) => self.settle(now, waiting, failure, effects),
            None if succeeded && self.saved_as_is => (self.save_owed, self.stable_owed) = (false, false),
            None => {}
        }
        while self.waiting.is_none() {
            let Some(order) = self.line.pop_front() else { break };
            self.ordered(now, order, effects);
        }
        // A failed save of the state is tried again at the next tick, not at once: a full disk
        // would spin.
        if succeeded || self.waiting.is_some() {
            self.save_if_owed(effects);
        }
    }

    pub(super) fn settle(&mut self, now: Moment, waiting: Waiting, failure: Option<String>, effects: &mut Vec<Effect>) {
        let Waiting { next, ticket, mut change, note, moves } = waiting;
        if let Some(reason) = failure {
            // The disk may have it in spite of what it says: what is in force must win over it.
            self.state.sequence = self.state.sequence.max(next.sequence);
            self.durable_revision = self.durable_revision.min(self.state.revision.saturating_sub(1));
            self.brake(effects);
            self.owe_a_save();
            effects.push(Effect::Answer(ticket, Err(Refusal::NotStored { reason: reason.clone() })));
            if moves != Move::None {
                self.not_entered(now, reason, effects);
            }
            return;
        }
        let entries_change = Entry::BOTH.map(|entry| {
            let is_other = next.overlay[entry] != self.state.overlay[entry];
            is_other.then(|| self.entry(entry).clone())
        });
        // A brake may have been handed out while this was being saved: what is saved again, under a higher
        // number, wins over it.
        let behind = self.state.sequence > next.sequence;
        let sequence = self.state.sequence.max(next.sequence);
        // Who has left meanwhile has left.
        let leaving = std::mem::take(&mut self.state.leaving);
        // And what the rollout noted meanwhile stays noted.
        let rollout = self.moved(now, &moves);
        let differs = leaving != next.leaving || rollout != next.rollout;
        self.state = Durable { sequence, leaving, rollout, ..next };
        (self.save_owed, self.stable_owed) = (behind || differs, false);
        for (entry, changed) in Entry::BOTH.into_iter().zip(entries_change) {
            if let Some(before) = changed {
                self.replace(now, entry, &before);
            }
        }
        self.note_full(now);
        change.durable = self.is_durable() && !behind;
        effects.push(Effect::Publish);
        effects.push(Effect::Tell(note));
        self.has_moved(now, &moves, effects);
        effects.push(Effect::Answer(ticket, Ok(change)));
    }

    pub(super) fn braked(&mut self, now: Moment, revision: u64, written: bool, effects: &mut Vec<Effect>) {
        self.brake_running = false;
        self.retry.note(now, written);
        if written {
            self.durable_revision = self.durable_revision.max(revision);
        }
        if let Some((ticket, mut change)) = self.braking.take_if(|(_, change)| change.revision == revision) {
            change.durable = written;
            effects.push(Effect::Answer(ticket, Ok(change)));
        }
    }

    /// A brake that could not be written is tried again, as saves are.
    pub(super) fn brake_again(&mut self, effects: &mut Vec<Effect>) {
        if self.state.revision > self.durable_revision && !self.brake_running && !self.rules.volatile {
            self.brake(effects);
        }
    }

    pub(super) fn brake(&mut self, effects: &mut Vec<Effect>) {
        self.brake_running = true;
        self.state.sequence += 1;
        effects.push(Effect::Brake(self.state.brake()));
    }

    pub(super) fn owe_a_save(&mut self) {
        self.save_owed = true;
        self.saved_as_is = false;
    }

    pub(super) fn save_if_owed(&mut self, effects: &mut Vec<Effect>) {
        if self.saving {
            return;
        }
        let sequence = self.state.sequence.max(self.waiting.as_ref().map_or(0, |waiting| waiting.next.sequence)) + 1;
        let what = match &mut self.waiting {
            Some(waiting) => &mut waiting.next,
            None if self.save_owed => &mut self.state,
            None => return,
        };
        what.sequence = sequence;
        self.saving = true;
        self.saved_as_is = self.waiting.is_none();
        let what = self.waiting.as_ref().map_or(&self.state, |waiting| &waiting.next);
        effects.push(Effect::Save(what.clone()));
    }
}
