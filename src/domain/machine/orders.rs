//! Commands: what is refused, what changes nothing, and the state that would be next.

use super::{
    Authority, Change, Command, Condemned, Deploy, Durable, Effect, EntrySpec, LONGEST_LINE, Machine, Note, Order, Refusal,
};
use crate::domain::clock::Moment;
use crate::domain::entry::Entry;
use crate::domain::health::Standing;
use crate::domain::split::{Share, Split};

impl Machine {
    pub(super) fn ordered(&mut self, now: Moment, order: Order, effects: &mut Vec<Effect>) {
        match &order.command {
            Command::Rollback => self.roll_back(now, &order, effects),
            // What raises must not overtake what waits; what lowers must not wait.
            Command::Split(split) if self.waiting.is_some() && self.raises(*split) && !order.dry_run => self.wait(order, effects),
            Command::Deploy(_) | Command::Restore(_) if self.waiting.is_some() && !order.dry_run => self.wait(order, effects),
            Command::Split(split) => {
                let split = *split;
                self.set_split(now, &order, split, effects);
            }
            Command::Deploy(deploy) => {
                let deploy = deploy.clone();
                self.deploy(&order, deploy, effects);
            }
            Command::Restore(state) => {
                let state = state.as_ref().clone();
                self.restore(&order, state, effects);
            }
        }
    }

    fn wait(&mut self, order: Order, effects: &mut Vec<Effect>) {
        let waiting = self.line.len() + 1;
        if waiting > LONGEST_LINE {
            return effects.push(Effect::Answer(order.ticket, Err(Refusal::Busy { waiting })));
        }
        self.line.push_back(order);
    }

    fn raises(&self, split: Split) -> bool {
        split.share(self.candidate()) > self.state.split.share(self.candidate())
    }

    pub(super) fn set_split(&mut self, now: Moment, order: &Order, split: Split, effects: &mut Vec<Effect>) {
        if let Err(refusal) = self.may_write(order) {
            return effects.push(Effect::Answer(order.ticket, Err(refusal)));
        }
        let candidate = self.candidate();
        let (old, new) = (self.state.split.share(candidate), split.share(candidate));
        let mut change = self.change_to(split);
        let raised = if new > old { candidate } else { candidate.other() };
        change.warnings = self.unproven(split);
        if order.dry_run || (old == new && self.waiting.is_none()) {
            return effects.push(Effect::Answer(order.ticket, Ok(change)));
        }
        let mut next = self.next_state();
        next.split = split;
        if next.condemned[raised].take().is_some() {
            change.warnings.push(format!("{raised} was condemned by a rollback: raising its share by hand clears that"));
        }
        // Also the split in force, set again: it cancels the raise that waits, and has a revision and a line of its own.
        change.changed = true;
        change.revision = next.revision;
        let note = Note::split(order, &change);
        if new > old {
            self.put_in_line(next, order.ticket, change, note, effects);
        } else {
            self.ease(now, next, order.ticket, change, note, effects);
            self.overtake(effects);
        }
    }

    /// Entries that would have clients and cannot take them.
    pub(super) fn unproven(&self, split: Split) -> Vec<String> {
        let with_share = Entry::BOTH.into_iter().filter(|entry| split.share(*entry) != Share::NONE);
        let unproven = with_share.filter_map(|entry| match self.standing(entry) {
            Standing::Up => None,
            Standing::Down => Some((entry, "is down")),
            Standing::Unknown => Some((entry, "has not passed a check yet")),
        });
        unproven
            .map(|(entry, how)| {
                let others = self.scene().may_fail_over_from(entry);
                let fate = if others { "go to the other entry" } else { "meet it as it is" };
                format!("{entry} {how}: until it is up, its new clients {fate} (dualgate health-check says why)")
            })
            .collect()
    }

    pub(super) fn roll_back(&mut self, now: Moment, order: &Order, effects: &mut Vec<Effect>) {
        if let Err(refusal) = self.fresh(order) {
            return effects.push(Effect::Answer(order.ticket, Err(refusal)));
        }
        let candidate = self.candidate();
        let split = Split::giving(candidate, Share::NONE);
        let mut change = self.change_to(split);
        let nothing_to_do = self.state.split == split && self.waiting.is_none();
        if nothing_to_do && self.state.condemned[candidate].is_none() {
            let stable = self.state.stable;
            change.warnings.push(format!(
                "{stable} is the stable entry, so a rollback goes to it, and {candidate} has no clients already; to leave {stable}, set the split"
            ));
        }
        if order.dry_run || nothing_to_do {
            return effects.push(Effect::Answer(order.ticket, Ok(change)));
        }
        let mut next = self.next_state();
        next.split = split;
        next.condemned[candidate] =
            Some(Condemned { version: self.entry(candidate).version.clone(), reason: order.reason.clone() });
        change.changed = true;
        change.revision = next.revision;
        let note = Note::rollback(order, candidate, &change);
        self.ease(now, next, order.ticket, change, note, effects);
        self.overtake(effects);
    }

    pub(super) fn deploy(&mut self, order: &Order, deploy: Deploy, effects: &mut Vec<Effect>) {
        let Deploy { entry, spec, force } = deploy;
        if let Err(refusal) = self.may_write(order).and_then(|()| self.may_deploy(entry, &spec, force)) {
            return effects.push(Effect::Answer(order.ticket, Err(refusal)));
        }
        let mut change = self.change_to(self.state.split);
        change.changed = *self.entry(entry) != spec;
        if order.dry_run || !change.changed {
            return effects.push(Effect::Answer(order.ticket, Ok(change)));
        }
        let mut next = self.next_state();
        if next.condemned[entry].as_ref().is_some_and(|condemned| condemned.version != spec.version) {
            next.condemned[entry] = None;
        }
        let note = Note::deploy(order, entry, self.entry(entry), &spec, next.revision);
        next.overlay[entry] = (spec != self.rules.entries[entry]).then_some(spec);
        change.revision = next.revision;
        self.put_in_line(next, order.ticket, change, note, effects);
    }

    pub(super) fn may_deploy(&self, entry: Entry, spec: &EntrySpec, force: bool) -> Result<(), Refusal> {
        let share = self.state.split.share(entry);
        if share != Share::NONE && !force {
            return Err(Refusal::EntryInUse { entry, share });
        }
        // Between a full cut-over and its confirmation, the idle slot is what a rollback needs.
        if entry == self.state.stable && self.state.split.share(entry.other()) != Share::NONE && !force {
            return Err(Refusal::Refuge { entry, other: entry.other() });
        }
        let other = self.entry(entry.other());
        if let Some(shared) = spec.endpoints.iter().find(|one| other.endpoints.iter().any(|two| two.url == one.url)) {
            return Err(Refusal::EndpointOfBoth { url: shared.url.clone(), other: entry.other() });
        }
        Ok(())
    }

    pub(super) fn may_write(&self, order: &Order) -> Result<(), Refusal> {
        self.fresh(order)?;
        match self.rules.authority {
            Authority::State => Ok(()),
            Authority::Config => Err(Refusal::FileIsAuthority),
        }
    }

    pub(super) fn fresh(&self, order: &Order) -> Result<(), Refusal> {
        match order.if_match {
            Some(revision) if revision != self.state.revision => {
                Err(Refusal::Stale { given: revision, current: self.state.revision, split: self.state.split })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn change_to(&self, split: Split) -> Change {
        Change {
            old: self.state.split,
            new: split,
            old_revision: self.state.revision,
            revision: self.state.revision,
            changed: self.state.split != split,
            durable: self.is_durable(),
            warnings: Vec::new(),
        }
    }

    /// A copy of the state under a revision above everything that may be on the disk.
    pub(super) fn next_state(&self) -> Durable {
        let mut next = self.state.clone();
        let waiting = self.waiting.as_ref().map_or(0, |waiting| waiting.next.revision);
        next.sequence = next.sequence.max(self.waiting.as_ref().map_or(0, |waiting| waiting.next.sequence));
        next.revision = next.revision.max(waiting) + 1;
        next
    }

    pub(super) fn overtake(&mut self, effects: &mut Vec<Effect>) {
        let revision = self.state.revision;
        let waiting = self.waiting.take().map(|waiting| waiting.ticket);
        for ticket in waiting.into_iter().chain(self.line.drain(..).map(|order| order.ticket)) {
            effects.push(Effect::Answer(ticket, Err(Refusal::Overtaken { revision })));
        }
    }
}
