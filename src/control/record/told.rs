//! From the account to the record.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::{
    ApprovalTold, FiguresTold, FindingTold, PlanStepTold, PlanTold, Record, SessionsTold, Side, StateTold, StepTold, TriggerTold,
    TurnTold,
};
use crate::domain::Entry;
use crate::domain::judge::Finding;
use crate::domain::machine::Durable;
use crate::domain::plan::{Gate, Plan, Spoken};
use crate::domain::rollout::{Approval, Fired, Rollout, Shown, StepAccount, Turn};
use crate::live::RecordText;
use crate::telemetry::clock::{utc, wall_time};

/// The number of the form; it rises only when a member changes its meaning or goes.
const FORMAT: u32 = 1;

/// What is of the moment of writing and not of the rollout.
const OF_THE_WRITING: [&str; 3] = ["dualgate", "written", "state"];

impl Record {
    /// Of a rollout as it stands now.
    pub fn of(service: &str, rollout: &Rollout, state: &Durable) -> Self {
        let account = &rollout.account;
        let kept = account.kept;
        let side = |entry: Entry| Side { entry: entry.to_string(), version: rollout.versions[entry].clone() };
        let told = |approval: &Approval| ApprovalTold { step: approval.step + 1, who: approval.who.clone() };
        Self {
            format: FORMAT,
            id: rollout.id.clone(),
            service: service.to_owned(),
            dualgate: env!("CARGO_PKG_VERSION").to_owned(),
            written: wall_time(),
            outcome: rollout.is_over().then(|| rollout.phase.as_str().to_owned()),
            phase: rollout.phase.as_str().to_owned(),
            still: rollout.phase.why().map(str::to_owned),
            by: rollout.by.clone(),
            reason: rollout.reason.clone(),
            candidate: side(rollout.candidate),
            stable: side(rollout.stable()),
            plan: PlanTold::of(&rollout.plan),
            began: account.began.map(time),
            ended: account.ended.map(time),
            reverted: account.reverted.map(time),
            revert_ms: account.revert_micros.map(milliseconds),
            trigger: account.fired.as_ref().map(|fired| TriggerTold::of(fired, &account.turns)),
            steps: account.steps.iter().map(StepTold::of).collect(),
            approvals: rollout.approvals.iter().map(told).collect(),
            sessions: SessionsTold { before: kept.before, moved: kept.moved, ended: kept.ended, left: kept.left },
            last_request: kept.last_request.map(time),
            stable_after: account.stable_after.clone(),
            turns: account.turns.iter().map(TurnTold::of).collect(),
            turns_left_out: account.turns_left_out,
            state: StateTold::of(state),
        }
    }

    /// Both of its forms.
    pub fn text(&self) -> RecordText {
        // Strings and numbers always make JSON.
        let json = serde_json::to_string(self).unwrap_or_default();
        RecordText { json: format!("{json}\n"), markdown: self.markdown() }
    }

    /// Whether a text that is kept already says the same of the rollout: then it stays, with how the service stood at that
    /// time.
    pub(in crate::control) fn says_no_more_than(&self, kept: &str) -> bool {
        // Both from text, so that what is compared has been written and read in the same way.
        let account = |text: &str| -> Option<Value> {
            let mut value: Value = serde_json::from_str(text).ok()?;
            let members = value.as_object_mut()?;
            OF_THE_WRITING.iter().for_each(|name| drop(members.remove(*name)));
            Some(value)
        };
        let own = serde_json::to_string(self).ok().and_then(|text| account(&text));
        own.is_some() && own == account(kept)
    }
}

impl PlanTold {
    fn of(plan: &Plan) -> Self {
        // Nothing of a webhook but that it is one: its address may be a secret.
        let gate = |gate: &Gate| match gate {
            Gate::Approval { persons } if *persons > 1 => format!("approval of {persons}"),
            gate => gate.as_str().to_owned(),
        };
        let steps = plan.steps.iter().map(|step| PlanStepTold {
            share: step.share.percent(),
            hold: step.hold.map(|hold| Spoken(hold).to_string()),
            gates: step.gates.iter().map(gate).collect(),
        });
        Self { name: plan.name.clone(), text: plan.to_string(), steps: steps.collect() }
    }
}

impl TriggerTold {
    /// The tool or the metric, where it is of one.
    pub fn culprit(&self) -> Option<&str> {
        self.tool.as_deref().or(self.metric.as_deref())
    }

    fn of(fired: &Fired, turns: &[Turn]) -> Self {
        let words = fired.to_string();
        let rolling_back = crate::domain::rollout::Phase::RollingBack.as_str();
        Self {
            took_back: turns.iter().any(|turn| turn.phase == rolling_back && turn.why == words),
            trigger: fired.trigger.as_str().to_owned(),
            tool: fired.tool.clone(),
            metric: fired.metric.clone(),
            detail: fired.detail.clone(),
            finding: fired.finding.as_ref().map(FindingTold::of),
        }
    }
}

impl FindingTold {
    fn of(finding: &Finding) -> Self {
        Self {
            trigger: finding.trigger.as_str().to_owned(),
            tool: finding.tool.clone(),
            verdict: word(&finding.verdict),
            value: finite(finding.value),
            reference: finding.reference.map(finite),
            limit: finite(finding.limit),
            against: word(&finding.against),
            samples: finding.samples,
            reference_samples: finding.reference_samples,
            windows: finding.windows,
            of: finding.of,
        }
    }
}

impl StepTold {
    fn of(step: &StepAccount) -> Self {
        let report = step.report.as_ref();
        Self {
            step: step.step + 1,
            share: step.share.percent(),
            began: time(step.began),
            ended: step.ended.map(time),
            held_s: step.ended.map(|ended| ended.saturating_sub(step.began) as f64 / 1e3),
            verdict: report.map(|report| word(&report.verdict)),
            unsure: report.and_then(|report| report.unsure.clone()),
            samples: report.map_or(0, |report| report.samples),
            stable_samples: report.map_or(0, |report| report.stable_samples),
            candidate: FiguresTold::of(&step.candidate),
            stable: FiguresTold::of(&step.stable),
            findings: report.into_iter().flat_map(|report| &report.findings).map(FindingTold::of).collect(),
            gates: step.gates.clone(),
        }
    }
}

impl FiguresTold {
    fn of(shown: &Shown) -> Self {
        Self {
            requests: shown.requests,
            faults: shown.faults,
            error_rate: (shown.requests > 0).then(|| shown.faults as f64 / shown.requests as f64),
            clients: shown.clients,
            p50_ms: shown.p50_micros.map(milliseconds),
            p95_ms: shown.p95_micros.map(milliseconds),
        }
    }
}

impl TurnTold {
    fn of(turn: &Turn) -> Self {
        Self { at: time(turn.at), phase: turn.phase.clone(), step: turn.step + 1, why: turn.why.clone() }
    }
}

impl StateTold {
    fn of(state: &Durable) -> Self {
        let condemned = Entry::BOTH.into_iter().filter(|entry| state.condemned[*entry].is_some());
        Self {
            revision: state.revision,
            split: state.split.to_string(),
            stable: state.stable.to_string(),
            condemned: condemned.map(|entry| entry.to_string()).collect(),
        }
    }
}

fn time(milliseconds: u64) -> String {
    utc(Duration::from_millis(milliseconds))
}

fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1e3
}

/// JSON has no infinity, and a ratio to nothing is one.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { f64::MAX }
}

/// As it is serialized: one word.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
