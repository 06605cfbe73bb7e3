//! The control machine of one service: events and time in, effects out.
//!
//! | command | in force | durable | answer |
//! |---|---|---|---|
//! | raise the candidate's share, deploy | after the disk has it | first | when in force, or refused with the disk's reason |
//! | lower it, roll back | at once | then, by the brake | when the brake has it, or after a bound with `durable: false` |
//!
//! Raises wait in line for the disk, one at a time. A rollback waits for nobody: it is legal in
//! every state, cancels all that wait, and takes a revision above theirs, so that whatever the
//! disk got meanwhile loses against the brake at the next start.

use std::collections::VecDeque;
use std::time::Duration;

use super::clock::Moment;
use super::decide::Scene;
use super::entry::{Entry, PerEntry};
use super::health::{Standing, Streak, Thresholds};
use super::split::{Phase, Share, Split};

mod command;
mod durable;
#[cfg(test)]
mod tests;

pub use command::{Change, Command, Deploy, Note, Order, Refusal, Ticket};
pub use durable::{Brake, Condemned, Durable, EndpointSpec, EntrySpec};

/// What the configuration says about a service, as far as the machine needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// The split of the file: counts at first start, or always where the file is the authority.
    pub split: Split,
    /// The entries of the file.
    pub entries: PerEntry<EntrySpec>,
    /// Who may write the split.
    pub authority: Authority,
    /// At rest at 100 % for so long, an entry becomes stable.
    pub confirm_after: Duration,
    /// Rise and fall.
    pub thresholds: Thresholds,
    /// Whether new clients of a dead entry may go to the other.
    pub failover: bool,
    /// How long new clients wait for the first check of their entry after a start.
    pub grace: Duration,
}

/// Who may write the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The durable state; the file counts at first start only.
    State,
    /// The file; a reload is the only writer (rollback excepted, which is legal in every state).
    Config,
}

/// What happens to a service.
#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody wants a change.
    Ordered(Order),
    /// A health check ended.
    Probed {
        /// The entry of the endpoint.
        entry: Entry,
        /// The endpoint's name.
        endpoint: String,
        /// Whether it passed.
        success: bool,
    },
    /// A save ended.
    Saved {
        /// The revision that was being saved.
        revision: u64,
        /// The disk's reason, where it failed.
        failure: Option<String>,
    },
    /// The brake was written, or its bound ran out.
    Braked {
        /// The revision in the brake.
        revision: u64,
        /// Whether it is on the disk.
        written: bool,
    },
    /// Time passes.
    Tick,
}

/// What has to be done about it, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Put the present state in force.
    Publish,
    /// Overwrite the brake, and say [`Event::Braked`] when done or when the bound has run out.
    Brake(Brake),
    /// Store this state, and say [`Event::Saved`].
    Save(Durable),
    /// Answer a command.
    Answer(Ticket, Result<Change, Refusal>),
    /// Tell the audit and the event stream.
    Tell(Note),
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Machine {
    rules: Rules,
    state: Durable,
    durable_revision: u64,
    save_owed: bool,
    saving: bool,
    /// No change of the state since the running save began.
    saved_as_is: bool,
    waiting: Option<Waiting>,
    braking: Option<(Ticket, Change)>,
    line: VecDeque<Order>,
    checks: PerEntry<Vec<(String, Streak)>>,
    full_since: Option<(Entry, Moment)>,
    started: Moment,
    starting: bool,
    phase: Phase,
}

#[derive(Clone, Debug)]
struct Waiting {
    next: Durable,
    ticket: Ticket,
    change: Change,
    note: Note,
}

impl Machine {
    /// A machine for a service that starts now, with what was found on the disk (`found`, newest
    /// of state and brake) or as at first start (`fresh`). The effects publish and save.
    pub fn start(now: Moment, rules: Rules, found: Option<Durable>, fresh: Durable, phase: Phase) -> (Self, Vec<Effect>) {
        let mut state = found.clone().unwrap_or(fresh);
        if rules.authority == Authority::Config && state.split != rules.split {
            state.split = rules.split;
            state.revision += 1;
        }
        for entry in Entry::BOTH {
            if state.overlay[entry].as_ref() == Some(&rules.entries[entry]) {
                state.overlay[entry] = None;
            }
            let version = &state.overlay[entry].as_ref().unwrap_or(&rules.entries[entry]).version;
            if state.condemned[entry].as_ref().is_some_and(|condemned| condemned.version != *version) {
                state.condemned[entry] = None;
            }
        }
        let save_owed = found.as_ref() != Some(&state);
        let mut machine = Self {
            durable_revision: found.map_or(0, |found| found.revision),
            rules,
            state,
            save_owed,
            saving: false,
            saved_as_is: false,
            waiting: None,
            braking: None,
            line: VecDeque::new(),
            checks: PerEntry::default(),
            full_since: None,
            started: now,
            starting: true,
            phase,
        };
        for entry in Entry::BOTH {
            machine.checks[entry] = machine.fresh_checks(entry);
        }
        machine.note_full(now);
        let mut effects = vec![Effect::Publish];
        machine.save_if_owed(&mut effects);
        (machine, effects)
    }

    /// Takes one event in and says what is to be done.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Ordered(order) => self.ordered(now, order, &mut effects),
            Event::Probed { entry, endpoint, success } => self.probed(entry, &endpoint, success, &mut effects),
            Event::Saved { revision, failure } => self.saved(now, revision, failure, &mut effects),
            Event::Braked { revision, written } => self.braked(revision, written, &mut effects),
            Event::Tick => self.tick(now, &mut effects),
        }
        self.end_start(now, &mut effects);
        effects
    }

    /// The state in force.
    pub fn state(&self) -> &Durable {
        &self.state
    }

    /// Whether the disk has the state in force.
    pub fn is_durable(&self) -> bool {
        self.durable_revision >= self.state.revision
    }

    /// The configuration's word.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The entry as it is: the overlay of the last deploy, or the file's.
    pub fn entry(&self, entry: Entry) -> &EntrySpec {
        self.state.overlay[entry].as_ref().unwrap_or(&self.rules.entries[entry])
    }

    /// The entry that is not in charge.
    pub fn candidate(&self) -> Entry {
        self.state.stable.other()
    }

    /// The standing of an endpoint.
    pub fn standing_of(&self, entry: Entry, endpoint: &str) -> Standing {
        let found = self.checks[entry].iter().find(|(name, _)| name == endpoint);
        found.map_or(Standing::Unknown, |(_, streak)| streak.standing())
    }

    /// The best standing among an entry's endpoints.
    pub fn standing(&self, entry: Entry) -> Standing {
        self.checks[entry].iter().map(|(_, streak)| streak.standing()).max().unwrap_or(Standing::Down)
    }

    /// Whether new clients should still wait for the first checks.
    pub fn is_starting(&self) -> bool {
        self.starting
    }

    /// What decisions look at.
    pub fn scene(&self) -> Scene {
        Scene {
            split: self.state.split,
            salt: self.state.salt,
            phase: self.phase,
            stable: self.state.stable,
            condemned: PerEntry::from_fn(|entry| self.state.condemned[entry].is_some()),
            standing: PerEntry::from_fn(|entry| self.standing(entry)),
            failover: self.rules.failover,
        }
    }

    fn ordered(&mut self, now: Moment, order: Order, effects: &mut Vec<Effect>) {
        match &order.command {
            Command::Rollback => self.roll_back(now, order, effects),
            _ if self.waiting.is_some() => self.line.push_back(order),
            Command::Split(split) => {
                let split = *split;
                self.set_split(now, order, split, effects);
            }
            Command::Deploy(deploy) => {
                let deploy = deploy.clone();
                self.deploy(order, deploy, effects);
            }
        }
    }

    fn set_split(&mut self, now: Moment, order: Order, split: Split, effects: &mut Vec<Effect>) {
        if let Err(refusal) = self.may_write(&order) {
            return effects.push(Effect::Answer(order.ticket, Err(refusal)));
        }
        let candidate = self.candidate();
        let (old, new) = (self.state.split.share(candidate), split.share(candidate));
        let mut change = self.change_to(split);
        let raised = if new > old { candidate } else { candidate.other() };
        if old != new && self.standing(raised) == Standing::Down {
            change.warnings.push(format!(
                "{raised} is down: until it rises, its new clients {}",
                if self.scene().may_fail_over_from(raised) { "go to the other entry" } else { "are refused" },
            ));
        }
        if order.dry_run || old == new {
            return effects.push(Effect::Answer(order.ticket, Ok(change)));
        }
        let mut next = self.next_state();
        next.split = split;
        if next.condemned[raised].take().is_some() {
            change.warnings.push(format!("{raised} was condemned by a rollback: raising its share by hand clears that"));
        }
        change.revision = next.revision;
        let note = Note::split(&order, &change);
        if new > old {
            self.put_in_line(next, order.ticket, change, note, effects);
        } else {
            self.ease(now, next, order.ticket, change, note, effects);
        }
    }

    fn roll_back(&mut self, now: Moment, order: Order, effects: &mut Vec<Effect>) {
        if let Err(refusal) = self.fresh(&order) {
            return effects.push(Effect::Answer(order.ticket, Err(refusal)));
        }
        let candidate = self.candidate();
        let split = Split::giving(candidate, Share::NONE);
        let mut change = self.change_to(split);
        let nothing_to_do = self.state.split == split && self.waiting.is_none();
        if order.dry_run || nothing_to_do {
            return effects.push(Effect::Answer(order.ticket, Ok(change)));
        }
        let mut next = self.next_state();
        next.split = split;
        next.condemned[candidate] =
            Some(Condemned { version: self.entry(candidate).version.clone(), reason: order.reason.clone() });
        change.changed = true;
        change.revision = next.revision;
        let note = Note::rollback(&order, candidate, &change);
        self.ease(now, next, order.ticket, change, note, effects);
        self.overtake(effects);
    }

    fn deploy(&mut self, order: Order, deploy: Deploy, effects: &mut Vec<Effect>) {
        let Deploy { entry, spec, force } = deploy;
        if let Err(refusal) = self.may_write(&order).and_then(|()| self.may_deploy(entry, &spec, force)) {
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
        let note = Note::deploy(&order, entry, self.entry(entry), &spec, next.revision);
        next.overlay[entry] = (spec != self.rules.entries[entry]).then_some(spec);
        change.revision = next.revision;
        self.put_in_line(next, order.ticket, change, note, effects);
    }

    fn may_deploy(&self, entry: Entry, spec: &EntrySpec, force: bool) -> Result<(), Refusal> {
        let share = self.state.split.share(entry);
        if share != Share::NONE && !force {
            return Err(Refusal::EntryInUse { entry, share });
        }
        let other = self.entry(entry.other());
        if let Some(shared) = spec.endpoints.iter().find(|one| other.endpoints.iter().any(|two| two.url == one.url)) {
            return Err(Refusal::EndpointOfBoth { url: shared.url.clone(), other: entry.other() });
        }
        Ok(())
    }

    fn may_write(&self, order: &Order) -> Result<(), Refusal> {
        self.fresh(order)?;
        match self.rules.authority {
            Authority::State => Ok(()),
            Authority::Config => Err(Refusal::FileIsAuthority),
        }
    }

    fn fresh(&self, order: &Order) -> Result<(), Refusal> {
        match order.if_match {
            Some(revision) if revision != self.state.revision => {
                Err(Refusal::Stale { given: revision, current: self.state.revision, split: self.state.split })
            }
            _ => Ok(()),
        }
    }

    fn change_to(&self, split: Split) -> Change {
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
    fn next_state(&self) -> Durable {
        let mut next = self.state.clone();
        let waiting = self.waiting.as_ref().map_or(0, |waiting| waiting.next.revision);
        next.revision = next.revision.max(waiting) + 1;
        next
    }

    /// Durable first: in force when the disk has it.
    fn put_in_line(&mut self, next: Durable, ticket: Ticket, change: Change, note: Note, effects: &mut Vec<Effect>) {
        self.waiting = Some(Waiting { next, ticket, change, note });
        self.save_if_owed(effects);
    }

    /// In force first: the brake and the disk follow.
    fn ease(&mut self, now: Moment, next: Durable, ticket: Ticket, mut change: Change, note: Note, effects: &mut Vec<Effect>) {
        self.state = next;
        self.owe_a_save();
        self.note_full(now);
        change.durable = false;
        effects.push(Effect::Publish);
        effects.push(Effect::Brake(self.state.brake()));
        effects.push(Effect::Tell(note));
        if let Some((ticket, change)) = self.braking.replace((ticket, change)) {
            effects.push(Effect::Answer(ticket, Ok(change)));
        }
        self.save_if_owed(effects);
    }

    fn overtake(&mut self, effects: &mut Vec<Effect>) {
        let revision = self.state.revision;
        let waiting = self.waiting.take().map(|waiting| waiting.ticket);
        for ticket in waiting.into_iter().chain(self.line.drain(..).map(|order| order.ticket)) {
            effects.push(Effect::Answer(ticket, Err(Refusal::Overtaken { revision })));
        }
    }

    fn saved(&mut self, now: Moment, revision: u64, failure: Option<String>, effects: &mut Vec<Effect>) {
        self.saving = false;
        let succeeded = failure.is_none();
        if succeeded {
            self.durable_revision = self.durable_revision.max(revision);
        }
        match self.waiting.take_if(|waiting| waiting.next.revision == revision) {
            Some(waiting) => self.settle(now, waiting, failure, effects),
            None => self.save_owed &= !(succeeded && self.saved_as_is),
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

    fn settle(&mut self, now: Moment, waiting: Waiting, failure: Option<String>, effects: &mut Vec<Effect>) {
        let Waiting { next, ticket, mut change, note } = waiting;
        if let Some(reason) = failure {
            return effects.push(Effect::Answer(ticket, Err(Refusal::NotStored { reason })));
        }
        let entries_change = Entry::BOTH.map(|entry| next.overlay[entry] != self.state.overlay[entry]);
        self.state = next;
        self.save_owed = false;
        for (entry, changed) in Entry::BOTH.into_iter().zip(entries_change) {
            if changed {
                self.checks[entry] = self.fresh_checks(entry);
            }
        }
        self.note_full(now);
        change.durable = true;
        effects.push(Effect::Publish);
        effects.push(Effect::Tell(note));
        effects.push(Effect::Answer(ticket, Ok(change)));
    }

    fn braked(&mut self, revision: u64, written: bool, effects: &mut Vec<Effect>) {
        if written {
            self.durable_revision = self.durable_revision.max(revision);
        }
        if let Some((ticket, mut change)) = self.braking.take_if(|(_, change)| change.revision == revision) {
            change.durable = written;
            effects.push(Effect::Answer(ticket, Ok(change)));
        }
    }

    fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if let Some((entry, since)) = self.full_since
            && entry != self.state.stable
            && self.waiting.is_none()
            && now.since(since) >= self.rules.confirm_after
        {
            self.state.stable = entry;
            self.owe_a_save();
            effects.push(Effect::Publish);
            effects.push(Effect::Tell(Note::Stable { entry, revision: self.state.revision }));
        }
        self.save_if_owed(effects);
    }

    fn owe_a_save(&mut self) {
        self.save_owed = true;
        self.saved_as_is = false;
    }

    fn save_if_owed(&mut self, effects: &mut Vec<Effect>) {
        if self.saving {
            return;
        }
        let what = match &self.waiting {
            Some(waiting) => &waiting.next,
            None if self.save_owed => &self.state,
            None => return,
        };
        self.saving = true;
        self.saved_as_is = self.waiting.is_none();
        effects.push(Effect::Save(what.clone()));
    }

    fn probed(&mut self, entry: Entry, endpoint: &str, success: bool, effects: &mut Vec<Effect>) {
        let thresholds = self.rules.thresholds;
        // A check of an endpoint that a deploy has replaced meanwhile finds nobody here.
        let Some((name, streak)) = self.checks[entry].iter_mut().find(|(name, _)| name == endpoint) else { return };
        let Some(standing) = streak.observe(success, thresholds) else { return };
        let note = Note::Health { entry, endpoint: name.clone(), standing };
        effects.push(Effect::Publish);
        effects.push(Effect::Tell(note));
    }

    fn end_start(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if !self.starting {
            return;
        }
        let known = Entry::BOTH.into_iter().all(|entry| self.standing(entry) != Standing::Unknown);
        if known || now.since(self.started) >= self.rules.grace {
            self.starting = false;
            effects.push(Effect::Publish);
        }
    }

    fn note_full(&mut self, now: Moment) {
        let full = Entry::BOTH.into_iter().find(|entry| self.state.split.share(*entry) == Share::ALL);
        if full != self.full_since.map(|(entry, _)| entry) {
            self.full_since = full.map(|entry| (entry, now));
        }
    }

    fn fresh_checks(&self, entry: Entry) -> Vec<(String, Streak)> {
        let names = self.entry(entry).endpoints.iter().map(|endpoint| endpoint.name.clone());
        names.map(|name| (name, Streak::default())).collect()
    }
}
