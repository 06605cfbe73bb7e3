//! Rollouts: what can be wanted of one, and how one stands. Steps are counted from 1 here and everywhere outside.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::verdict::{VerdictState, metrics};
use super::{Both, EntryName, Made, Shares};
use crate::control::Status;
use crate::domain::machine::Change;
use crate::domain::plan::{Forecast, Spoken};
use crate::domain::rollout::{self, GateState};
use crate::domain::{Gate, Plan, Signal};
use crate::telemetry::clock::utc;

mod body;

pub(in crate::admin) use body::{AdvanceBody, ApproveBody, PromoteBody, SignalBody, SignalText, StartBody};

/// Turns that are shown, the newest ones.
const MOST_TURNS: usize = 50;

/// The rollout that runs, or the last one.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rollout)]
pub(in crate::admin) struct RolloutState {
    /// Names it, and its record.
    id: String,
    plan: PlanState,
    candidate: EntryName,
    /// When it began.
    versions: Both<String>,
    /// Who began it.
    by: String,
    reason: Option<String>,
    #[serde(flatten)]
    now: Progress,
    /// The gates of the step that it is at.
    gates: Vec<GateOfStep>,
    /// Who has said yes to which step.
    approvals: Vec<ApprovalState>,
    /// What keeps it where it is, beside the time.
    obstacles: Vec<String>,
    /// Of the step that it is at; null: nobody judges.
    verdict: Option<VerdictState>,
    metrics: Vec<super::verdict::MetricReading>,
    /// The newest changes of phase, oldest first.
    turns: Vec<TurnState>,
    /// When the first share was in force (RFC 3339),
    began: Option<String>,
    /// when the candidate was taken back,
    reverted: Option<String>,
    /// and when it was over.
    ended: Option<String>,
    /// What has taken the candidate back, or frozen it.
    fired: Option<FiredState>,
    /// What became of the sessions of a candidate that was taken back.
    kept: KeptState,
    /// Whether the next step is on its way to the disk,
    entering: bool,
    /// and why it did not get there the last time.
    not_stored: Option<String>,
}

/// Where it is.
#[derive(Debug, Serialize, ToSchema)]
struct Progress {
    /// `holding`, `soaking`, `gating`, `paused`, `frozen`, `rolling-back`, `done`, `rolled-back`, `aborted`.
    phase: &'static str,
    /// Why it is so.
    why: Option<String>,
    /// From 1.
    step: usize,
    /// How many there are.
    of: usize,
    /// What the candidate has, in per cent.
    share: f64,
    /// Of the step that it is at; null: it has none, or the rollout is over.
    hold: Option<HoldState>,
}

/// A rollout in short.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RolloutInShort)]
pub(super) struct RolloutBrief {
    id: String,
    candidate: EntryName,
    #[serde(flatten)]
    now: Progress,
    /// `pass`, `fail`, `unsure`.
    verdict: Option<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
struct PlanState {
    name: String,
    steps: Vec<StepState>,
}

#[derive(Debug, Serialize, ToSchema)]
struct StepState {
    share: f64,
    /// Like `10m`.
    hold: Option<String>,
    gates: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct HoldState {
    total_ms: u64,
    over_ms: u64,
    left_ms: u64,
}

#[derive(Debug, Serialize, ToSchema)]
struct GateOfStep {
    /// Of a webhook scheme and host only: the rest may be a secret.
    gate: String,
    /// `waiting`, `asked`, `passed`, `failed`.
    state: &'static str,
    /// In its words.
    detail: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ApprovalState {
    /// From 1.
    step: usize,
    who: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct TurnState {
    /// RFC 3339.
    at: String,
    phase: String,
    /// From 1.
    step: usize,
    why: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct FiredState {
    /// `health`, `errors`, `latency`, `throughput`, `tool-errors`, `tool-latency`, `signal`, `metric`.
    trigger: &'static str,
    tool: Option<String>,
    metric: Option<String>,
    /// With figures.
    detail: String,
}

/// Null: not known.
#[derive(Debug, Serialize, ToSchema)]
struct KeptState {
    /// Sessions of the candidate when it was taken back.
    before: Option<u64>,
    /// Sessions that were moved to the stable entry; null where none was.
    moved: Option<u64>,
    /// Sessions that were ended.
    ended: Option<u64>,
    /// Sessions, streams and calls that were left when the rollout was over.
    left: Option<u64>,
    /// When a request was last sent to it (RFC 3339).
    last_request: Option<String>,
}

/// A rollout that was begun or steered, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct RolloutChanged {
    service: String,
    /// The split before.
    old: Shares,
    /// And after.
    new: Shares,
    #[serde(flatten)]
    made: Made,
    /// As it stands after it; of a dry run, before.
    rollout: Option<RolloutState>,
    /// Of a start: its timeline at the earliest, and what the judge will see if traffic stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    forecast: Option<Forecast>,
}

/// A signal that was heard.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct SignalHeard {
    service: String,
    /// The split before.
    old: Shares,
    /// And after.
    new: Shares,
    #[serde(flatten)]
    made: Made,
    /// What was understood; null: it says nothing about this service, or no alert of it fires.
    signal: Option<SignalState>,
    rollout: Option<RolloutState>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Signal)]
struct SignalState {
    /// `critical`, `warning`, `info`.
    severity: &'static str,
    source: String,
    summary: String,
    entry: Option<EntryName>,
}

/// The answer to an order about a rollout.
pub(in crate::admin) fn rollout_changed(
    service: &str,
    change: &Change,
    dry_run: bool,
    status: &Status,
    forecast: Option<Forecast>,
) -> RolloutChanged {
    let (old, new) = (Shares::of(change.old), Shares::of(change.new));
    RolloutChanged { service: service.to_owned(), old, new, made: Made::of(change, dry_run), rollout: rollout(status), forecast }
}

/// The answer to a signal.
pub(in crate::admin) fn heard(
    service: &str,
    change: &Change,
    dry_run: bool,
    status: &Status,
    signal: Option<&Signal>,
) -> SignalHeard {
    let (old, new) = (Shares::of(change.old), Shares::of(change.new));
    let signal = signal.map(|signal| SignalState {
        severity: signal.severity.as_str(),
        source: signal.source.clone(),
        summary: signal.summary.clone(),
        entry: signal.entry.map(EntryName::from),
    });
    SignalHeard { service: service.to_owned(), old, new, made: Made::of(change, dry_run), signal, rollout: rollout(status) }
}

/// The rollout that runs, or the last one.
pub(in crate::admin) fn rollout(status: &Status) -> Option<RolloutState> {
    let machine = &status.machine;
    let of = machine.rollout()?;
    let account = &of.account;
    let (entering, not_stored) = machine.live().entering();
    let turns = &account.turns[account.turns.len().saturating_sub(MOST_TURNS)..];
    Some(RolloutState {
        id: of.id.clone(),
        plan: plan(&of.plan),
        candidate: of.candidate.into(),
        versions: of.versions.clone().into(),
        by: of.by.clone(),
        reason: of.reason.clone(),
        now: progress(status, of),
        gates: gates(status, of),
        approvals: of.approvals.iter().map(|one| ApprovalState { step: one.step + 1, who: one.who.clone() }).collect(),
        obstacles: machine.obstacles(status.now),
        verdict: machine.report().filter(|_| of.is_running()).map(VerdictState::of),
        metrics: if of.is_running() { metrics(machine) } else { Vec::new() },
        turns: turns.iter().map(TurnState::of).collect(),
        began: account.began.map(time),
        reverted: account.reverted.map(time),
        ended: account.ended.map(time),
        fired: account.fired.as_ref().map(FiredState::of),
        kept: KeptState {
            before: account.kept.before,
            moved: account.kept.moved,
            ended: account.kept.ended,
            left: account.kept.left,
            last_request: account.kept.last_request.map(time),
        },
        entering,
        not_stored: not_stored.map(str::to_owned),
    })
}

/// The same, as far as it concerns who looks at the service.
pub(super) fn brief(status: &Status) -> Option<RolloutBrief> {
    let of = status.machine.rollout()?;
    let verdict = status.machine.report().filter(|_| of.is_running()).map(|report| super::verdict::word(report.verdict));
    Some(RolloutBrief { id: of.id.clone(), candidate: of.candidate.into(), now: progress(status, of), verdict })
}

fn progress(status: &Status, of: &rollout::Rollout) -> Progress {
    let machine = &status.machine;
    let total = of.current().and_then(|step| step.hold).filter(|_| of.is_running());
    Progress {
        phase: of.phase.as_str(),
        why: of.phase.why().map(str::to_owned).or_else(|| of.account.turns.last().map(|turn| turn.why.clone())),
        step: of.step + 1,
        of: of.plan.steps.len(),
        share: machine.state().split.share(of.candidate).percent(),
        hold: total.map(|total| {
            let (total_ms, over_ms) = (millis(total), millis(machine.live().held(status.now).min(total)));
            HoldState { total_ms, over_ms, left_ms: total_ms - over_ms }
        }),
    }
}

fn plan(plan: &Plan) -> PlanState {
    let steps = plan.steps.iter().map(|step| StepState {
        share: step.share.percent(),
        hold: step.hold.map(|hold| Spoken(hold).to_string()),
        gates: step.gates.iter().map(ToString::to_string).collect(),
    });
    PlanState { name: plan.name.clone(), steps: steps.collect() }
}

fn gates(status: &Status, of: &rollout::Rollout) -> Vec<GateOfStep> {
    let asked = status.machine.live().gates();
    let gates = of.current().filter(|_| of.is_running()).map(|step| step.gates.as_slice()).unwrap_or_default();
    let state = |gate: &Gate| match asked.iter().find(|asking| asking.gate == *gate).map(|asking| &asking.state) {
        Some(GateState::Asked) => ("asked", None),
        Some(GateState::Passed { detail }) => ("passed", Some(detail.clone())),
        Some(GateState::Failed { detail, .. }) => ("failed", Some(detail.clone())),
        None => match gate {
            Gate::Approval { persons } if of.is_approved(*persons) => ("passed", None),
            _ => ("waiting", None),
        },
    };
    let shown = gates.iter().map(|gate| {
        let (state, detail) = state(gate);
        GateOfStep { gate: gate.to_string(), state, detail }
    });
    shown.collect()
}

impl TurnState {
    fn of(turn: &rollout::Turn) -> Self {
        Self { at: time(turn.at), phase: turn.phase.clone(), step: turn.step + 1, why: turn.why.clone() }
    }
}

impl FiredState {
    fn of(fired: &rollout::Fired) -> Self {
        let rollout::Fired { trigger, tool, metric, detail, .. } = fired;
        Self { trigger: trigger.as_str(), tool: tool.clone(), metric: metric.clone(), detail: detail.clone() }
    }
}

fn time(wall: u64) -> String {
    utc(Duration::from_millis(wall))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
