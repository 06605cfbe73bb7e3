//! A rollout: what is running, in which phase, and what follows from what happens.
//!
//! `step(now, event) → effects`. Candidate and stable are roles, so that a rollout goes to either entry. What happens in which
//! phase (`-`: nothing; every other cell is a turn with its reason in the account):
//!
//! | event | holding, soaking | gating | paused | frozen | rolling back | ended |
//! |---|---|---|---|---|---|---|
//! | the hold is over | gating | - | - | - | - | - |
//! | health, verdict and gates pass | - | next step, or done | - | - | - | - |
//! | unsure | - | - | - | - | - | - |
//! | fail: rollback | rolling back | rolling back | rolling back | rolling back | - | - |
//! | fail: rollback, and the stable entry is sick | frozen | frozen | frozen | - | - | - |
//! | fail: freeze | frozen | frozen | frozen | - | - | - |
//! | fail: notify | told | told | told | told | - | - |
//! | pause | paused | paused | - | paused | refused | refused |
//! | resume | - | - | holding | holding | refused | refused |
//! | advance | gating | gating | refused | refused | refused | refused |
//! | approve | noted | noted | noted | noted | refused | refused |
//! | promote | done | done | done | done | refused | - if done |
//! | abort | ended | ended | ended | ended | - | - |
//! | rollback by hand | rolling back | rolling back | rolling back | rolling back | - | - |
//! | split by hand | paused | paused | paused | paused | ended | - |
//! | restart | paused | paused | - | - | - | - |
//! | the last session has left, or their time is over | - | - | - | - | ended | - |
//!
//! A share is raised durable first, so a step is entered by whoever stores the state: [`Effect::Enter`] asks for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::Moment;
use super::entry::{Entry, PerEntry};
use super::health::Standing;
use super::judge::{Figures, Reaction, Report, Rules};
use super::plan::{Gate, Plan, Step};
use super::split::Share;

pub mod account;
mod command;
mod live;
mod progress;

pub use account::{Account, Fired, Kept, Shown, StepAccount, Turn};
pub use command::{Refused, Wanted, order};
pub use live::{Asking, GateState, Live, MetricState};
pub use progress::obstacles;

/// What survives of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Names it, for good, within its service.
    pub id: String,
    /// Its recipe.
    pub plan: Plan,
    /// The entry that is given the clients.
    pub candidate: Entry,
    /// The version labels, when it began.
    pub versions: PerEntry<String>,
    /// Who began it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// How it stands.
    pub phase: Phase,
    /// The step whose share is in force, from 0.
    pub step: usize,
    /// Who has said yes to which step.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// What the stable entry was like before the first step.
    #[serde(default)]
    pub baseline: Option<Figures>,
    /// What has happened so far.
    pub account: Account,
}

/// How a rollout stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// The share of the step is in force, and its time runs.
    Holding,
    /// As holding, at 100 %.
    Soaking,
    /// The hold is over: health, verdict and gates have to pass before it goes on.
    Gating,
    /// Somebody or something has made it stand still.
    Paused {
        /// Who, or what.
        why: String,
    },
    /// A trigger has made it stand still, where it is.
    Frozen {
        /// Which.
        why: String,
    },
    /// The candidate has no share any more, and its sessions are leaving.
    RollingBack,
    /// It is over.
    Ended {
        /// How.
        outcome: Outcome,
    },
}

/// How a rollout has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every step is through; after 100 % the candidate is the stable entry now.
    Done,
    /// A trigger or a person took the candidate back.
    RolledBack,
    /// Somebody called it off.
    Aborted,
}

/// Somebody's yes to a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The step.
    pub step: usize,
    /// Who.
    pub who: String,
}

/// What a rollout looks at beside itself.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Now, in milliseconds since 1970: for the account alone, no decision looks at it.
    pub wall: u64,
    /// By what is judged.
    pub rules: &'a Rules,
    /// The share of the candidate in force.
    pub share: Share,
    /// What the checks say of both entries,
    pub standing: PerEntry<Standing>,
    /// whether every endpoint of the candidate is up,
    pub all_up: bool,
    /// and who is condemned.
    pub condemned: PerEntry<bool>,
    /// The judge's last word.
    pub report: Option<&'a Report>,
    /// Sessions, streams and calls that the candidate still holds; none: not known.
    pub held: Option<u64>,
    /// The time that sessions have to leave after a rollback; none: they may stay.
    pub leave: Option<Duration>,
    /// Whether somebody's order waits for the disk: nothing that goes on by itself may take its place.
    pub is_busy: bool,
}

/// What happens to a rollout.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time passes, a check ended, the judge has spoken: look around.
    Look,
    /// A gate was asked and has answered.
    Answered {
        /// The number of the question; an old one counts for nothing.
        number: u64,
        /// Whether it lets pass.
        passed: bool,
        /// In its words.
        detail: String,
    },
    /// A business metric was read, or not.
    Read {
        /// The name of its rule.
        metric: String,
        /// The figure, or why there is none.
        reading: Result<f64, String>,
    },
    /// Something outside says that the candidate must go.
    Alarm(Fired),
    /// The raise that was asked for could not be stored.
    NotStored {
        /// The disk's words.
        reason: String,
    },
}

/// What follows, to be carried out by whoever owns the split.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make the share of this step durable, then put it in force; [`Rollout::enter`] says how the rollout stands then.
    Enter(usize),
    /// Make the candidate the stable entry, durable first; [`Rollout::finish`] says how the rollout stands then.
    Promote,
    /// The candidate to 0, now; it is condemned.
    Back(Fired),
    /// What is durable has changed: store it when it suits. No raise that waits may overwrite it.
    Hold,
    /// The same, where a raise that waits does no harm.
    Keep,
    /// Ask a gate.
    Ask {
        /// The number of the question.
        number: u64,
        /// The gate.
        gate: Gate,
    },
    /// Tell what has happened.
    Turned(Turn),
    /// A trigger fired whose reaction is to tell, or the stable entry is sick.
    Warn(Fired),
    /// The hold is over, and this keeps the rollout where it is.
    Held(Vec<String>),
    /// The account has changed in a way that its record should show.
    Record,
}

impl Rollout {
    /// One that begins with this step.
    pub fn begin(
        id: String,
        plan: Plan,
        candidate: Entry,
        versions: PerEntry<String>,
        by: String,
        reason: Option<String>,
    ) -> Self {
        let (phase, account) = (Phase::Holding, Account::default());
        Self { id, plan, candidate, versions, by, reason, phase, step: 0, approvals: Vec::new(), baseline: None, account }
    }

    /// The entry that it would go back to.
    pub fn stable(&self) -> Entry {
        self.candidate.other()
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    /// Whether the candidate is still on its way to more.
    pub fn is_running(&self) -> bool {
        !matches!(self.phase, Phase::Ended { .. } | Phase::RollingBack)
    }

    /// The step that it is at.
    pub fn current(&self) -> Option<&Step> {
        self.plan.steps.get(self.step)
    }

    /// The first step that gives more than a share, or as much.
    pub fn first_step(plan: &Plan, share: Share) -> Option<usize> {
        plan.steps.iter().position(|step| step.share >= share)
    }

    /// As it stands once the share of a step is in force.
    #[must_use]
    pub fn enter(&self, step: usize, wall: u64) -> Self {
        let mut next = self.clone();
        let Some(share) = self.plan.steps.get(step).map(|step| step.share) else { return next };
        let phase = if share == Share::ALL { Phase::Soaking } else { Phase::Holding };
        let of = self.plan.steps.len();
        next.account.end_step(wall);
        next.step = step;
        next.account.begin_step(wall, step, share);
        next.turn(wall, phase, format!("step {} of {of}: {share} % is in force", step + 1));
        next
    }

    /// As it stands once the candidate is the stable entry.
    #[must_use]
    pub fn finish(&self, wall: u64, why: String) -> Self {
        let mut next = self.clone();
        next.account.end_step(wall);
        next.account.ended = Some(wall);
        next.turn(wall, Phase::Ended { outcome: Outcome::Done }, why);
        next
    }

    /// As it stands after the candidate was taken to 0 by a trigger or by hand.
    #[must_use]
    pub fn taken_back(&self, wall: u64, fired: Option<Fired>, why: String) -> Self {
        let mut next = self.clone();
        next.account.end_step(wall);
        next.account.reverted = Some(wall);
        next.account.fired = fired.or(next.account.fired);
        next.turn(wall, Phase::RollingBack, why);
        next
    }

    /// As it stands after somebody has called it off.
    #[must_use]
    pub fn called_off(&self, wall: u64, why: String) -> Self {
        let mut next = self.clone();
        next.account.end_step(wall);
        next.account.reverted = Some(wall);
        next.account.ended = Some(wall);
        next.turn(wall, Phase::Ended { outcome: Outcome::Aborted }, why);
        next
    }

    /// As it stands after somebody has set the split by hand.
    #[must_use]
    pub fn overruled(&self, wall: u64, why: String) -> Self {
        let mut next = self.clone();
        match self.phase {
            Phase::Ended { .. } => {}
            Phase::RollingBack => {
                next.account.ended = Some(wall);
                next.turn(wall, Phase::Ended { outcome: Outcome::RolledBack }, why);
            }
            _ => next.turn(wall, Phase::Paused { why: why.clone() }, why),
        }
        next
    }

    /// As it stands when a new process finds it.
    #[must_use]
    pub fn resumed_after_restart(&self, wall: u64) -> Self {
        let mut next = self.clone();
        let why = format!("dualgate was started anew in step {} of {}", self.step + 1, self.plan.steps.len());
        if matches!(self.phase, Phase::Holding | Phase::Soaking | Phase::Gating) {
            next.turn(wall, Phase::Paused { why: why.clone() }, why);
        }
        next
    }

    pub(crate) fn turn(&mut self, wall: u64, phase: Phase, why: String) {
        self.account.note(Turn { at: wall, phase: phase.as_str().to_owned(), step: self.step, why });
        self.phase = phase;
    }

    /// Whether so many persons have said yes to the step that it is at: of two, none may be the one who began it.
    pub fn is_approved(&self, persons: u8) -> bool {
        let may = |approval: &&Approval| approval.step == self.step && (persons < 2 || approval.who != self.by);
        self.approvals.iter().filter(may).count() >= usize::from(persons)
    }
}

impl Phase {
    /// The word for output: `holding`, `soaking`, `gating`, `paused`, `frozen`, `rolling-back`, `done`, `rolled-back`, `aborted`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Holding => "holding",
            Self::Soaking => "soaking",
            Self::Gating => "gating",
            Self::Paused { .. } => "paused",
            Self::Frozen { .. } => "frozen",
            Self::RollingBack => "rolling-back",
            Self::Ended { outcome } => outcome.as_str(),
        }
    }

    /// Why it stands still, where it does.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Paused { why } | Self::Frozen { why } => Some(why),
            _ => None,
        }
    }
}

impl Outcome {
    /// The word for output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::RolledBack => "rolled-back",
            Self::Aborted => "aborted",
        }
    }
}

/// Takes one event in and says what follows. The account and the phase are up to date afterwards, but for what has to be
/// durable first.
pub fn step(rollout: &mut Rollout, live: &mut Live, now: Moment, around: &Around<'_>, event: Event) -> Vec<Effect> {
    let mut effects = Vec::new();
    match event {
        Event::Look => {}
        Event::Answered { number, passed, detail } => live.answered(now, number, passed, detail),
        Event::Read { metric, reading } => live.read(around.rules, &metric, reading),
        Event::Alarm(fired) => live.alarm = Some(fired),
        Event::NotStored { reason } => live.not_stored(now, reason),
    }
    progress::look(rollout, live, now, around, &mut effects);
    effects
}

fn reaction_of(rules: &Rules, fired: &Fired) -> Reaction {
    match &fired.metric {
        Some(name) => rules.metrics.iter().find(|rule| rule.name == *name).map_or(Reaction::Off, |rule| rule.reaction),
        None => rules.reactions.of(fired.trigger),
    }
}
