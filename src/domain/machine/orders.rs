//! Commands: what is refused, what changes nothing, and the state that would be next.

use super::rollout::Move;
use super::{
    Authority, Change, Command, Condemned, Deploy, Durable, Effect, EntrySpec, LONGEST_LINE, Machine, Note, Order, Refusal,
};
use crate::domain::clock::Moment;
use crate::domain::entry::Entry;
use crate::domain::health::Standing;
use crate::domain::rollout::{Fired, Refused, Rollout, Wanted};
use crate::domain::split::{Share, Split};

impl Machine {
    pub(super) fn ordered(&mut self, now: Moment, order: Order, effects: &mut Vec<Effect>) {
        match &order.command {
            Command::Rollback => self.roll_back(now, &order, effects),
            // What raises must not overtake what waits; what lowers must not wait.
            Command::Split(split) if self.waiting.is_some() && self.raises(*split) && !order.dry_run => self.wait(order, effects),
            Command::Deploy(_)
            | Command::Restore(_)
            | Command::Start(_)
            | Command::Steer(Wanted::Resume | Wanted::Advance { .. } | Wanted::Approve { .. })
            | Command::Promote { .. }
            | Command::Depart(_)
            | Command::Stay(_)
                if self.waiting.is_some() && !order.dry_run =>
            {
                self.wait(order, effects);
            }
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
                self.restore(now, &order, state, effects);
            }
            Command::Start(start) => {
                let start = start.as_ref().clone();
                self.start_rollout(now, &order, start, effects);
            }
            Command::Steer(wanted) => {
                let wanted = wanted.clone();
                self.order_rollout(now, &order, &wanted, effects);
            }
            Command::Promote { force } => {
                let force = *force;
                self.order_promote(now, &order, force, effects);
            }
            Command::Depart(depart) => {
                let depart = *depart;
                self.depart(now, &order, depart, effects);
            }
            Command::Stay(entry) => {
                let entry = *entry;
                self.stay(now, &order, entry, effects);
            }
            Command::Abort => self.order_abort(now, &order, effects),
            Command::Signal(all) => self.signalled(now, &order, all, effects),
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
        // An operator's word: done, and told what it means.
        let strands = if new == old { None } else { self.strands(raised).err() };
        change.warnings.extend(strands.map(|refused| refused.to_string()));
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
        let moves = match self.rollout().filter(|rollout| !rollout.is_over()) {
            Some(_) => Move::Overrule(format!("{} set the split to {split} by hand", order.actor)),
            None => Move::None,
        };
        if new > old {
            self.put_in_line_moving(now, next, order.ticket, change, note, moves, effects);
        } else {
            next.rollout = self.moved(now, &moves);
            self.ease(now, next, order.ticket, change, note, effects);
            self.has_moved(now, &moves, effects);
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
        let runs = self.rollout().is_some_and(Rollout::is_running);
        let nothing_to_do = self.state.split == split && self.waiting.is_none() && !runs;
        if nothing_to_do && self.state.condemned[candidate].is_none() {
            let stable = self.state.stable;
            change.warnings.push(format!(
                "{stable} is the stable entry, so a rollback goes to it, and {candidate} has no clients already; to leave {stable}, set the split"
            ));
        }
        if order.dry_run || nothing_to_do {
            return effects.push(Effect::Answer(order.ticket, Ok(change)));
        }
        self.revert(now, order, None, true, effects);
    }

    /// Candidate to 0, in force before anything else: by hand, by a trigger, or called off, and then it is not condemned.
    pub(super) fn revert(
        &mut self,
        now: Moment,
        order: &Order,
        fired: Option<&Fired>,
        condemns: bool,
        effects: &mut Vec<Effect>,
    ) {
        let candidate = self.candidate();
        let mut change = self.change_to(Split::giving(candidate, Share::NONE));
        let mut next = self.next_state();
        next.split = change.new;
        if condemns {
            let (version, reason) = (self.entry(candidate).version.clone(), order.reason.clone());
            next.condemned[candidate] = Some(Condemned { version, reason, revision: next.revision });
            // What was ordered before was ordered of an entry that was not known to be sick.
            next.departures[candidate] = None;
        }
        change.changed = true;
        change.revision = next.revision;
        let trigger = match fired {
            Some(fired) => fired.trigger.as_str(),
            None if condemns => "operator",
            None => "abort",
        };
        let running = self.rollout().filter(|rollout| rollout.is_running());
        let note = Note::rollback(order, candidate, &change, fired, trigger, running.map(|rollout| rollout.id.clone()));
        let reason = order.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        let (wall, actor) = (self.wall(now), &order.actor);
        let turned = running.map(|rollout| match (condemns, fired) {
            (true, Some(fired)) => rollout.taken_back(wall, Some(fired.clone()), fired.to_string()),
            (true, None) => rollout.taken_back(wall, None, format!("rolled back by {actor}{reason}")),
            (false, _) => rollout.called_off(wall, format!("aborted by {actor}{reason}")),
        });
        let has_turned = turned.is_some();
        next.rollout = turned.map(Box::new).or(next.rollout);
        self.held = None;
        self.ease(now, next, order.ticket, change, note, effects);
        if has_turned {
            self.live = self.live.leaving(now);
            self.tell_last_turn(effects);
        }
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
        if let Some(rollout) = self.rollout().filter(|rollout| rollout.is_running()) {
            let (id, phase) = (rollout.id.clone(), rollout.phase.as_str().to_owned());
            return Err(Refused::Active { id, phase }.into());
        }
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
