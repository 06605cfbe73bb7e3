//! The account of a rollout: what its record is made of.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::judge::{Figures, Finding, Report, Times, Trigger};
use crate::domain::split::Share;

/// Turns that are kept; of more, the first and the last.
const MOST_TURNS: usize = 200;

/// What has happened so far. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// When the first share was in force.
    pub began: Option<u64>,
    /// When it was over.
    pub ended: Option<u64>,
    /// When the candidate was taken back,
    pub reverted: Option<u64>,
    /// and how long that took, from the event that caused it to the split in force, in microseconds.
    #[serde(default)]
    pub revert_micros: Option<u64>,
    /// What took it back, or has frozen it.
    pub fired: Option<Fired>,
    /// Every change of phase, with its reason.
    pub turns: Vec<Turn>,
    /// Turns that are not kept, since there were too many.
    #[serde(default)]
    pub turns_left_out: u64,
    /// The steps, in the order in which they were entered.
    pub steps: Vec<StepAccount>,
    /// What became of the candidate's sessions.
    #[serde(default)]
    pub kept: Kept,
    /// How the stable entry stood after the candidate was taken back.
    #[serde(default)]
    pub stable_after: Option<String>,
}

/// A change of phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// When.
    pub at: u64,
    /// The phase that began.
    pub phase: String,
    /// The step, from 0.
    pub step: usize,
    /// Why.
    pub why: String,
}

/// One time that a step was entered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepAccount {
    /// Its place in the plan, from 0.
    pub step: usize,
    /// What the candidate had.
    pub share: Share,
    /// When it was in force.
    pub began: u64,
    /// When it was left.
    pub ended: Option<u64>,
    /// What the candidate showed in it, in full windows,
    #[serde(default)]
    pub candidate: Shown,
    /// and the stable entry beside it.
    #[serde(default)]
    pub stable: Shown,
    /// The judge's last word in it.
    pub report: Option<Report>,
    /// What the gates said last.
    #[serde(default)]
    pub gates: Vec<String>,
}

/// What an entry showed while a step was in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Requests that ended by the entry's doing.
    pub requests: u64,
    /// Those that count against it.
    pub faults: u64,
    /// The most clients that had an answer in one window.
    pub clients: u64,
    /// Half of the times to the result were no longer than this, in microseconds,
    pub p50_micros: Option<u64>,
    /// and 95 of 100 no longer than this.
    pub p95_micros: Option<u64>,
}

impl Shown {
    /// One more window; `times` are those of all windows so far.
    pub(in crate::domain) fn note(&mut self, window: &Figures, times: &Times) {
        self.requests += window.all.requests;
        self.faults += window.all.faults;
        self.clients = self.clients.max(window.clients);
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let known = |part| times.quantile(part).map(micros);
        // Times are counted by this process alone: after a restart, what was there before stays until there are new ones.
        (self.p50_micros, self.p95_micros) = (known(0.5).or(self.p50_micros), known(0.95).or(self.p95_micros));
    }
}

/// Something that took a candidate back, or should have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fired {
    /// What.
    pub trigger: Trigger,
    /// The tool, where it is of one.
    #[serde(default)]
    pub tool: Option<String>,
    /// The business metric, where it is one.
    #[serde(default)]
    pub metric: Option<String>,
    /// In words, with figures.
    pub detail: String,
    /// What the judge found.
    #[serde(default)]
    pub finding: Option<Finding>,
    /// Whether it is the stable entry that fails.
    #[serde(default)]
    pub sick_stable: bool,
}

impl Fired {
    /// By this trigger, in these words.
    pub fn new(trigger: Trigger, detail: impl Into<String>) -> Self {
        Self { trigger, tool: None, metric: None, detail: detail.into(), finding: None, sick_stable: false }
    }
}

/// What became of the sessions of a candidate that was taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Sessions that it had when it was taken back.
    pub before: Option<u64>,
    /// Sessions that were moved to the stable entry; none, where none was.
    #[serde(default)]
    pub moved: Option<u64>,
    /// Sessions that were ended.
    pub ended: Option<u64>,
    /// Sessions, streams and calls that were left when the rollout was over.
    pub left: Option<u64>,
    /// When a request was last sent to it.
    pub last_request: Option<u64>,
}

impl Account {
    pub(super) fn note(&mut self, turn: Turn) {
        if self.turns.len() >= MOST_TURNS {
            self.turns.remove(MOST_TURNS / 2);
            self.turns_left_out += 1;
        }
        self.turns.push(turn);
    }

    pub(super) fn begin_step(&mut self, wall: u64, step: usize, share: Share) {
        self.began.get_or_insert(wall);
        if self.steps.len() >= MOST_TURNS {
            self.steps.remove(MOST_TURNS / 2);
        }
        self.steps.push(StepAccount {
            step,
            share,
            began: wall,
            ended: None,
            candidate: Shown::default(),
            stable: Shown::default(),
            report: None,
            gates: Vec::new(),
        });
    }

    pub(super) fn end_step(&mut self, wall: u64) {
        if let Some(last) = self.steps.last_mut() {
            last.ended.get_or_insert(wall);
        }
    }
}

/// `tool-errors of delete_note: 62 % of 118 requests…`.
impl std::fmt::Display for Fired {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.trigger.as_str())?;
        if let Some(name) = self.tool.as_ref().or(self.metric.as_ref()) {
            write!(f, " of {name}")?;
        }
        write!(f, ": {}", self.detail)
    }
}
