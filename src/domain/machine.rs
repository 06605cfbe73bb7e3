//! The control machine of one service: events and time in, effects out.
//!
//! | command | in force | durable | answer |
//! |---|---|---|---|
//! | raise the candidate's share, deploy | after the disk has it | first | when in force, or refused with the disk's reason |
//! | lower it, roll back | at once | then, by the brake | when the brake has it, or after a bound with `durable: false` |
//!
//! Raises wait in line for the disk, one at a time. A rollback waits for nobody: it is legal in
//! every state and cancels all that wait. Saves and brakes are numbered as they are handed to the
//! disk, and at a start the highest number wins, so that whatever the disk got of a cancelled raise
//! loses against the brake.

use std::collections::VecDeque;
use std::time::Duration;

use super::clock::Moment;
use super::decide::Scene;
use super::entry::{Entry, PerEntry};
use super::health::{Standing, Thresholds};
use super::judge;
use super::retry::Retry;
use super::rollout::Event as rollout_event;
use super::rollout::{Live, Rollout};
use super::split::{Phase, Share, Split};

mod command;
mod departures;
mod disk;
mod durable;
mod event;
mod instances;
mod leaving;
mod note;
mod orders;
mod reload;
mod restore;
mod rollout;
mod sitting;
mod steering;
mod stranding;
#[cfg(test)]
mod tests;
mod watch;

use self::rollout::Move;
use instances::Looked;
use leaving::Due;
use reload::Dropped;
use sitting::Sitting;
use watch::Watched;

pub use command::{Change, Command, Deploy, Evidence, Order, Refusal, Start, Ticket};
pub use durable::{Brake, Braked, Condemned, Durable, EndpointSpec, EntrySpec, Found, Resolve};
pub use event::{Effect, Event};
pub use leaving::{Cause, Depart, Leave, Leaving, OnDrain, Ordered, Paced, Wish};
pub use note::{Left, Note};
pub use sitting::Watching;
pub use stranding::{LEGACY_SPAN, LegacySeen};

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
    /// Nothing is kept over a restart.
    pub volatile: bool,
    /// By what candidates are judged.
    pub judge: judge::Rules,
    /// How sessions leave an entry.
    pub leave: Leave,
}

/// Who may write the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// The durable state; the file counts at first start only.
    State,
    /// The file; a reload is the only writer (rollback excepted, which is legal in every state).
    Config,
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
    /// The stable entry changed, which has no revision of its own, and is not saved yet.
    stable_owed: bool,
    retry: Retry,
    brake_running: bool,
    waiting: Option<Waiting>,
    braking: Option<(Ticket, Change)>,
    line: VecDeque<Order>,
    checks: PerEntry<Vec<Watched>>,
    looked: PerEntry<Vec<Looked>>,
    dropped: PerEntry<Vec<Dropped>>,
    full_since: Option<(Entry, Moment)>,
    started: Moment,
    starting: bool,
    phase: Phase,
    live: Live,
    sitting: Sitting,
    held: Option<u64>,
    legacy: LegacySeen,
    /// Why each entry is to be left, and since when.
    leaving_since: PerEntry<Option<(Due, Moment)>>,
    /// Who is answered when what a signal sets off is on the disk.
    asked_by: Option<Ticket>,
    /// The wall clock at the start of the process, for accounts alone.
    origin: Duration,
}

/// Commands that wait for the disk; more are refused.
const LONGEST_LINE: usize = 64;

#[derive(Clone, Debug)]
struct Waiting {
    next: Durable,
    ticket: Ticket,
    change: Change,
    note: Note,
    moves: Move,
}

impl Machine {
    /// A machine for a service that starts now, with what was found on the disk. The state of a first
    /// start is `fresh`. `origin` is the wall clock at [`Moment::default`] (since 1970), for accounts alone. The effects publish
    /// and save.
    pub fn start(now: Moment, origin: Duration, rules: Rules, found: Found, fresh: Durable, phase: Phase) -> (Self, Vec<Effect>) {
        let stored = found.state.clone();
        let first = stored.is_none() && found.brake.is_none();
        let mut state = found.state.unwrap_or(fresh).braked(found.brake);
        let found_revision = state.revision;
        state.follow(&rules);
        let mut machine = Self {
            durable_revision: if first { 0 } else { found_revision },
            save_owed: stored.as_ref() != Some(&state),
            rules,
            state,
            saving: false,
            saved_as_is: false,
            stable_owed: false,
            retry: Retry::default(),
            brake_running: false,
            waiting: None,
            braking: None,
            line: VecDeque::new(),
            checks: PerEntry::default(),
            looked: PerEntry::default(),
            dropped: PerEntry::default(),
            full_since: None,
            started: now,
            starting: true,
            phase,
            live: Live::default(),
            sitting: Sitting::default(),
            held: None,
            legacy: LegacySeen::default(),
            leaving_since: PerEntry::default(),
            asked_by: None,
            origin,
        };
        machine.restore_leaving(now);
        let mut restored = Vec::new();
        machine.restore_rollout(now, &mut restored);
        for entry in Entry::BOTH {
            machine.look_anew(entry);
            machine.checks[entry] = machine.fresh_checks(entry);
        }
        machine.note_full(now);
        let mut effects = vec![Effect::Publish];
        machine.save_if_owed(&mut effects);
        machine.note_leaving_since(now, &mut effects);
        machine.sit();
        effects.append(&mut restored);
        (machine, effects)
    }

    /// Takes one event in and says what is to be done.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Ordered(order) => self.ordered(now, order, &mut effects),
            Event::Probed { entry, endpoint, success } => self.probed(now, entry, &endpoint, success, &mut effects),
            Event::Suspected { entry, endpoint } => self.suspected(now, entry, &endpoint, &mut effects),
            Event::Resolved { entry, endpoint, answer } => self.resolved(now, entry, &endpoint, answer, &mut effects),
            Event::Saved { revision, failure } => self.saved(now, revision, failure, &mut effects),
            Event::Braked { revision, written } => self.braked(now, revision, written, &mut effects),
            Event::Configured(rules) => self.configured(now, *rules, &mut effects),
            Event::Dismissed => self.dismissed(now, &mut effects),
            Event::Watched { number, baseline } => self.watched(number, *baseline),
            Event::Seen { number, candidate, stable } => self.seen(number, *candidate, *stable),
            Event::Answered { number, passed, detail } => {
                self.conduct(now, rollout_event::Answered { number, passed, detail }, &mut effects);
            }
            Event::Read { metric, reading } => self.conduct(now, rollout_event::Read { metric, reading }, &mut effects),
            Event::Counted { held, kept } => self.counted(held, kept, &mut effects),
            Event::Left(left) => effects.push(Effect::Tell(Note::Left(left))),
            Event::Reverted { after } => self.reverted(after, &mut effects),
            Event::Legacy(seen) => self.note_legacy(seen),
            Event::Tick => self.tick(now, &mut effects),
        }
        self.align(now, &mut effects);
        self.recall(now, &mut effects);
        self.end_start(now, &mut effects);
        self.sit();
        self.look_at_rollout(now, &mut effects);
        self.note_leaving_since(now, &mut effects);
        self.sit();
        effects
    }

    /// The state in force.
    pub fn state(&self) -> &Durable {
        &self.state
    }

    /// Whether the disk has the state in force; where nothing is kept, whether the file says the same, since that is what
    /// a restart finds.
    pub fn is_durable(&self) -> bool {
        let holds_file = self.rules.authority == Authority::Config && self.state.is_of_file(&self.rules);
        if self.rules.volatile {
            return holds_file;
        }
        self.durable_revision >= self.state.revision && !self.stable_owed
    }

    /// The configuration's word.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The entry as it is meant: the overlay of the last deploy, or the file's.
    pub fn entry(&self, entry: Entry) -> &EntrySpec {
        self.state.overlay[entry].as_ref().unwrap_or(&self.rules.entries[entry])
    }

    /// The entry that is not in charge.
    pub fn candidate(&self) -> Entry {
        self.state.stable.other()
    }

    /// Where the configuration and the state in force differ.
    pub fn drift(&self) -> Vec<String> {
        let mut drift = Vec::new();
        if self.rules.split != self.state.split {
            drift.push(self.split_drift());
        }
        for entry in Entry::BOTH {
            let (configured, now) = (&self.rules.entries[entry], self.entry(entry));
            if configured != now {
                drift.push(format!("{entry}: configured is {configured}; deployed and in force is {now}"));
            }
        }
        drift
    }

    fn split_drift(&self) -> String {
        let (configured, now) = (self.rules.split, self.state.split);
        let condemned = Entry::BOTH.into_iter().find(|entry| self.state.condemned[*entry].is_some());
        match (self.rules.authority, condemned) {
            (Authority::State, _) => {
                format!("split: configured is {configured}, which counts at first start; in force is {now}")
            }
            (Authority::Config, Some(entry)) => {
                let version = &self.entry(entry).version;
                format!(
                    "split: configured is {configured}, which is not followed, since version {version} of {entry} was rolled back: write another version there, or a share of 0; in force is {now}"
                )
            }
            (Authority::Config, None) => format!("split: configured is {configured}; in force is {now}"),
        }
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
            // The machine decides nothing by eras; who publishes knows them.
            serves: PerEntry::default(),
            offers_modern: true,
        }
    }

    fn tick(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.readmit(now, effects);
        if let Some((entry, since)) = self.full_since
            && entry != self.state.stable
            // A soak that runs decides by itself.
            && !self.rollout().is_some_and(Rollout::is_running)
            && self.waiting.is_none()
            && now.since(since) >= self.rules.confirm_after
        {
            self.state.stable = entry;
            self.stable_owed = true;
            self.owe_a_save();
            effects.push(Effect::Publish);
            effects.push(Effect::Tell(Note::Stable { entry, before: entry.other(), revision: self.state.revision }));
        }
        if self.retry.is_due(now) {
            self.brake_again(effects);
            self.save_if_owed(effects);
        }
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
}
