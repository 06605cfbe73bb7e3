//! The record of a rollout: its durable account, in a form that others rely on (docs/records.md says what is what).
//!
//! These types are the document: the file, the answer of the admin API, and its schema are made of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod markdown;
mod told;

/// The record of a rollout. Times are RFC 3339 in UTC.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = RolloutRecord)]
pub struct Record {
    /// 1.
    pub format: u32,
    /// Names the rollout within its service.
    pub id: String,
    /// The service.
    pub service: String,
    /// The version of dualgate that wrote it.
    pub dualgate: String,
    /// When it was written.
    pub written: String,
    /// `done`, `rolled-back` or `aborted`; null: it is not over.
    pub outcome: Option<String>,
    /// `holding`, `soaking`, `gating`, `paused`, `frozen`, `rolling-back`, or the outcome.
    pub phase: String,
    /// Why it stands still, where it does.
    pub still: Option<String>,
    /// Who began it.
    pub by: String,
    /// Why, in the words of who began it.
    pub reason: Option<String>,
    /// The entry that was given the clients.
    pub candidate: Side,
    /// The entry that had them before.
    pub stable: Side,
    /// The recipe.
    pub plan: PlanTold,
    /// When the first share was in force.
    pub began: Option<String>,
    /// When it was over.
    pub ended: Option<String>,
    /// When the candidate was taken back,
    pub reverted: Option<String>,
    /// and how long that took, from the event that caused it to the split in force.
    pub revert_ms: Option<f64>,
    /// What took the candidate back, or has frozen the rollout.
    pub trigger: Option<TriggerTold>,
    /// The steps, in the order in which they were entered; one that was resumed is there again.
    pub steps: Vec<StepTold>,
    /// Who has said yes to which step.
    pub approvals: Vec<ApprovalTold>,
    /// What became of the sessions of a candidate that was taken back.
    pub sessions: SessionsTold,
    /// When a request was last sent to a candidate that was taken back.
    pub last_request: Option<String>,
    /// How the stable entry stood after that: `up`, `down`, `unknown`.
    pub stable_after: Option<String>,
    /// Every change of phase, with its reason.
    pub turns: Vec<TurnTold>,
    /// Turns that are not kept, since there were too many.
    pub turns_left_out: u64,
    /// How the service stood when this was written.
    pub state: StateTold,
}

/// One of the two entries, as it was when the rollout began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = RecordSide)]
pub struct Side {
    /// `primary` or `secondary`.
    pub entry: String,
    /// Its version label.
    pub version: String,
}

/// The recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = RecordPlan)]
pub struct PlanTold {
    /// `inline` where it was given step by step.
    pub name: String,
    /// `10:10m, 50:20m, 100:10m`.
    pub text: String,
    /// Its steps.
    pub steps: Vec<PlanStepTold>,
}

/// One step of the recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = RecordPlanStep)]
pub struct PlanStepTold {
    /// In per cent.
    pub share: f64,
    /// `10m`; null: as long as its gates take.
    pub hold: Option<String>,
    /// `health`, `validation`, `webhook`, `approval`, `approval of 2`.
    pub gates: Vec<String>,
}

/// What fired.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = RecordTrigger)]
pub struct TriggerTold {
    /// `health`, `errors`, `latency`, `throughput`, `tool-errors`, `tool-latency`, `signal`, `metric`.
    pub trigger: String,
    /// The tool, where it is of one.
    pub tool: Option<String>,
    /// The business metric, where it is one.
    pub metric: Option<String>,
    /// In words, with figures.
    pub detail: String,
    /// Whether it is what took the candidate back; false: it has frozen the rollout, whatever became of it then.
    pub took_back: bool,
    /// What the judge found.
    pub finding: Option<FindingTold>,
}

/// One thing that was judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = RecordFinding)]
pub struct FindingTold {
    /// What was looked at, as in a trigger.
    pub trigger: String,
    /// The tool, where it is of one.
    pub tool: Option<String>,
    /// `pass`, `fail` or `unsure`.
    pub verdict: String,
    /// The candidate's figure: an error rate (0 to 1), a ratio.
    pub value: f64,
    /// The same of what it was compared with: an error rate, a p95 in seconds.
    pub reference: Option<f64>,
    /// The bound.
    pub limit: f64,
    /// `stable`, `baseline` or `nothing`.
    pub against: String,
    /// Requests of the candidate.
    pub samples: u64,
    /// Requests of what it was compared with.
    pub reference_samples: u64,
    /// Full windows in a row that were so,
    pub windows: u32,
    /// and how many it takes.
    pub of: u32,
}

/// One time that a step was entered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = RecordStep)]
pub struct StepTold {
    /// Its place in the plan, from 1.
    pub step: usize,
    /// What the candidate had, in per cent.
    pub share: f64,
    /// When its share was in force.
    pub began: String,
    /// Null: it was not left.
    pub ended: Option<String>,
    /// From the one to the other, pauses included.
    pub held_s: Option<f64>,
    /// The judge's last word in it: `pass`, `fail` or `unsure`; null: it had none.
    pub verdict: Option<String>,
    /// Why it is unsure, where it is.
    pub unsure: Option<String>,
    /// Requests of the candidate that the judge saw,
    pub samples: u64,
    /// and of the stable entry.
    pub stable_samples: u64,
    /// What the candidate showed in full windows,
    pub candidate: FiguresTold,
    /// and the stable entry beside it.
    pub stable: FiguresTold,
    /// What was judged: what fails first, then what is of the entry as a whole, then tools.
    pub findings: Vec<FindingTold>,
    /// What the gates said last.
    pub gates: Vec<String>,
}

/// What an entry showed in the full windows of a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = RecordFigures)]
pub struct FiguresTold {
    /// Requests that ended by the entry's doing.
    pub requests: u64,
    /// Those that count against it.
    pub faults: u64,
    /// Faults per request; null where there was none.
    pub error_rate: Option<f64>,
    /// The most clients that had an answer in one window.
    pub clients: u64,
    /// Half of the results were there in this time,
    pub p50_ms: Option<f64>,
    /// and 95 of 100 in this.
    pub p95_ms: Option<f64>,
}

/// Somebody's yes to a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = RecordApproval)]
pub struct ApprovalTold {
    /// From 1.
    pub step: usize,
    /// Who.
    pub who: String,
}

/// What became of sessions; null: not counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = RecordSessions)]
pub struct SessionsTold {
    /// Sessions that the candidate had when it was taken back.
    pub before: Option<u64>,
    /// Sessions that were moved to the stable entry; none, where none was.
    pub moved: Option<u64>,
    /// Sessions that were ended.
    pub ended: Option<u64>,
    /// Sessions, streams and calls that were left when the rollout was over.
    pub left: Option<u64>,
}

/// A change of phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = RecordTurn)]
pub struct TurnTold {
    /// When.
    pub at: String,
    /// The phase that began.
    pub phase: String,
    /// From 1.
    pub step: usize,
    /// Why.
    pub why: String,
}

/// How a service stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = RecordState)]
pub struct StateTold {
    /// Counts changes of the service.
    pub revision: u64,
    /// `90:10`, primary first.
    pub split: String,
    /// The entry in charge.
    pub stable: String,
    /// Entries that were rolled back.
    pub condemned: Vec<String>,
}

#[cfg(test)]
mod tests;
