//! Putting a state in force that was exported before.

use super::rollout::Move;
use super::{Change, Durable, Effect, Machine, Note, Order, Refusal};
use crate::domain::clock::Moment;
use crate::domain::entry::Entry;
use crate::domain::rollout::Refused;

impl Machine {
    /// Whether no change waits for the disk or is on its way to it.
    pub fn is_settled(&self) -> bool {
        self.waiting.is_none() && self.line.is_empty() && !self.saving
    }

    /// Durable first, as a raise is, whatever it does to the shares: it was not ordered in a hurry.
    pub(super) fn restore(&mut self, now: Moment, order: &Order, given: Durable, effects: &mut Vec<Effect>) {
        if let Err(refusal) = self.may_write(order) {
            return effects.push(Effect::Answer(order.ticket, Err(refusal)));
        }
        if let Some(rollout) = self.rollout().filter(|rollout| rollout.is_running()) {
            let (id, phase) = (rollout.id.clone(), rollout.phase.as_str().to_owned());
            return effects.push(Effect::Answer(order.ticket, Err(Refusal::Rollout(Refused::Active { id, phase }))));
        }
        let mut next = self.next_state();
        // Who is leaving is of this gate's own servers and of nobody else's.
        let Durable { sequence, revision, leaving, emptied, departures, .. } = next;
        next = Durable { sequence, revision, leaving, emptied, departures, ..given };
        next.follow(&self.rules);
        next.follow_split(self.state.split);
        let mut change = Change { changed: !says_the_same(&next, &self.state), ..self.change_to(next.split) };
        change.warnings = self.unproven(next.split);
        if order.dry_run || !change.changed {
            return effects.push(Effect::Answer(order.ticket, Ok(change)));
        }
        change.revision = next.revision;
        let (actor, reason) = (order.actor.clone(), order.reason.clone());
        let (before, after) = (self.words(&self.state), self.words(&next));
        let note = Note::Restored { actor, reason, before, after, revision: next.revision };
        let moves = Move::Replace(next.rollout.clone());
        self.put_in_line_moving(now, next, order.ticket, change, note, moves, effects);
    }

    /// `90:10, stable primary, primary 1.4.2 at http://…, secondary (condemned) …`.
    fn words(&self, state: &Durable) -> String {
        let entry = |entry: Entry| {
            let spec = state.overlay[entry].as_ref().unwrap_or(&self.rules.entries[entry]);
            let condemned = if state.condemned[entry].is_some() { " (condemned)" } else { "" };
            format!("{entry}{condemned} {spec}")
        };
        format!("{}, stable {}, {}, {}", state.split, state.stable, entry(Entry::Primary), entry(Entry::Secondary))
    }
}

fn says_the_same(one: &Durable, two: &Durable) -> bool {
    let Durable { sequence, revision, leaving, emptied, departures, .. } = two.clone();
    Durable { sequence, revision, leaving, emptied, departures, ..one.clone() } == *two
}
