//! Entries that are left: by a drain, after a rollback, on somebody's word.

use super::leaving::{Cause, Depart, Due, Leaving, Ordered, Wish};
use super::{Change, Effect, Machine, Note, Order, Refusal};
use crate::domain::clock::Moment;
use crate::domain::entry::Entry;
use crate::domain::eviction::Eviction;
use crate::domain::health::Standing;
use crate::domain::rollout::Refused;
use crate::domain::split::Share;

impl Machine {
    /// When the sessions of an entry leave it, and what becomes of them; none: they stay.
    pub fn eviction(&self, entry: Entry) -> Option<Eviction> {
        self.leaving(entry).map(|leaving| leaving.eviction)
    }

    /// The same, with the cause.
    pub fn leaving(&self, entry: Entry) -> Option<Leaving> {
        let (due, since) = self.leaving_since[entry]?;
        due.leaving(since, self.rules.leave.on_drain)
    }

    /// Why an entry is to be left now. What was ordered last counts: a rollback takes back what was ordered before it.
    fn due(&self, entry: Entry) -> Option<Due> {
        if let Some(ordered) = self.state.departures[entry] {
            let waits = ordered.what == Wish::Drain && !self.is_well(entry.other());
            return (!waits).then(|| ordered.due());
        }
        if let Some(condemned) = &self.state.condemned[entry] {
            let (before_revision, times) = (condemned.revision, self.rules.leave.rollback);
            return Some(Due { cause: Cause::Rollback, before_revision, times });
        }
        let before_revision = self.state.emptied[entry]?;
        let times = self.rules.leave.drain;
        self.is_well(entry.other()).then_some(Due { cause: Cause::Drain, before_revision, times })
    }

    /// Nobody is sent by itself to an entry that is down, unproven or condemned.
    fn is_well(&self, entry: Entry) -> bool {
        self.standing(entry) == Standing::Up && self.state.condemned[entry].is_none()
    }

    /// Since when sessions have had to leave an entry: for another reason, or by another time, from now on. Put in force where
    /// it makes a difference.
    pub(super) fn note_leaving_since(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for entry in Entry::BOTH {
            let before = self.eviction(entry);
            self.leaving_since[entry] = match (self.due(entry), self.leaving_since[entry]) {
                (Some(due), Some((known, since))) if known == due => Some((due, since)),
                // Other times in the configuration count from when it began.
                (Some(due), Some((known, since))) if is_the_same_but_for_times(&due, &known) => Some((due, since)),
                (due, _) => due.map(|due| (due, now)),
            };
            if self.eviction(entry) != before && !effects.contains(&Effect::Publish) {
                effects.push(Effect::Publish);
            }
        }
    }

    /// Somebody wants the sessions of an entry to leave. In force at once, as nothing is raised by it, unless a raise is on its
    /// way to the disk, behind which it waits.
    pub(super) fn depart(&mut self, now: Moment, order: &Order, depart: Depart, effects: &mut Vec<Effect>) {
        if let Err(refusal) = self.fresh(order).and_then(|()| self.may_depart(order, &depart)) {
            return effects.push(Effect::Answer(order.ticket, Err(refusal)));
        }
        let entry = depart.entry;
        let mut next = self.next_state();
        let wanted = Ordered::of(&depart, next.revision);
        let mut change = self.change_to(self.state.split);
        change.changed = !self.is_ordered_already(now, entry, wanted);
        change.warnings = self.wait_of(&depart);
        if order.dry_run || !change.changed {
            return effects.push(Effect::Answer(order.ticket, Ok(change)));
        }
        change.revision = next.revision;
        next.departures[entry] = Some(wanted);
        let note = Note::departs(order, &depart, next.revision);
        self.ease(now, next, order.ticket, change, note, effects);
    }

    /// Whether the same was ordered and is not over yet.
    fn is_ordered_already(&self, now: Moment, entry: Entry, wanted: Ordered) -> bool {
        let is_the_same = |known: Ordered| Ordered { revision: wanted.revision, ..known } == wanted;
        let is_over = self.eviction(entry).is_some_and(|eviction| now >= eviction.cut);
        self.state.departures[entry].is_some_and(is_the_same) && !is_over
    }

    /// A drain needs no force: it ends and moves nobody while it would do harm, and waits.
    fn may_depart(&self, order: &Order, depart: &Depart) -> Result<(), Refusal> {
        let Depart { entry, what, force, .. } = *depart;
        let (share, other) = (self.state.split.share(entry), entry.other());
        if what == Wish::Drain {
            return if share == Share::NONE { Ok(()) } else { Err(Refusal::DrainsAtZero { entry, share }) };
        }
        if force {
            let has_reason = order.reason.as_ref().is_some_and(|reason| !reason.trim().is_empty());
            return if has_reason { Ok(()) } else { Err(Refused::ForceWithoutReason.into()) };
        }
        let mut obstacles = Vec::new();
        if share != Share::NONE {
            obstacles
                .push(format!("{entry} has {share} % of the clients, so that new sessions take the place of those that leave"));
        }
        if self.standing(other) != Standing::Up {
            obstacles.push(format!("{other} is {}", self.standing(other).as_str()));
        }
        if let Some(condemned) = &self.state.condemned[other] {
            obstacles.push(format!("version {} of {other} was rolled back", condemned.version));
        }
        if obstacles.is_empty() { Ok(()) } else { Err(Refused::Obstructed { obstacles }.into()) }
    }

    fn wait_of(&self, depart: &Depart) -> Vec<String> {
        let other = depart.entry.other();
        let waits = depart.what == Wish::Drain && !self.is_well(other);
        let why = if self.state.condemned[other].is_some() { "condemned" } else { self.standing(other).as_str() };
        waits
            .then(|| format!("{other} is {why}: the deadline counts from when nobody would come to harm there"))
            .into_iter()
            .collect()
    }

    /// Somebody takes back what was ordered of an entry's sessions. What the configuration says of it holds again.
    pub(super) fn stay(&mut self, now: Moment, order: &Order, entry: Entry, effects: &mut Vec<Effect>) {
        if let Err(refusal) = self.fresh(order) {
            return effects.push(Effect::Answer(order.ticket, Err(refusal)));
        }
        let mut next = self.next_state();
        let taken = next.departures[entry].take();
        let mut change = Change { changed: taken.is_some(), ..self.change_to(self.state.split) };
        change.warnings = self.leaves_all_the_same(entry).into_iter().collect();
        let Some(taken) = taken.filter(|_| !order.dry_run) else {
            return effects.push(Effect::Answer(order.ticket, Ok(change)));
        };
        change.revision = next.revision;
        let note = Note::stays(order, entry, taken.what, next.revision);
        self.ease(now, next, order.ticket, change, note, effects);
    }

    fn leaves_all_the_same(&self, entry: Entry) -> Option<String> {
        let (cause, on) = match (&self.state.condemned[entry], self.state.emptied[entry]) {
            (Some(_), _) => (Cause::Rollback, "it was rolled back"),
            (None, Some(_)) => (Cause::Drain, "it has no share"),
            (None, None) => return None,
        };
        cause.departure(self.rules.leave.on_drain).map(|_| {
            format!(
                "sessions leave {entry} all the same, since {on} (sessions.on_drain = \"wait\" keeps them, and so does a share)"
            )
        })
    }
}

fn is_the_same_but_for_times(one: &Due, two: &Due) -> bool {
    !one.cause.is_ordered() && Due { times: two.times, ..*one } == *two
}
