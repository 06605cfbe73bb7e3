//! The records of rollouts, in brief. The whole of one is [`Record`] itself.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::control::{Record, Side};

/// How many are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::admin) struct RecordsQuery {
    /// So many.
    #[param(maximum = 1_000)]
    pub(in crate::admin) limit: Option<usize>,
}

/// Newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Briefs {
    pub(in crate::admin) service: String,
    pub(in crate::admin) records: Vec<RecordInBrief>,
}

/// What happened to a rollout, in brief.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct RecordInBrief {
    id: String,
    /// `done`, `rolled-back` or `aborted`; null: it is not over.
    outcome: Option<String>,
    phase: String,
    candidate: Side,
    stable: Side,
    /// The name of its plan.
    plan: String,
    /// Who began it.
    by: String,
    reason: Option<String>,
    began: Option<String>,
    ended: Option<String>,
    /// What took the candidate back, or has frozen the rollout.
    trigger: Option<String>,
    /// The tool or the metric, where the trigger is of one.
    culprit: Option<String>,
}

impl From<Record> for RecordInBrief {
    fn from(record: Record) -> Self {
        let Record { id, outcome, phase, candidate, stable, plan, by, reason, began, ended, trigger, .. } = record;
        let culprit = trigger.as_ref().and_then(|trigger| trigger.culprit().map(str::to_owned));
        let trigger = trigger.map(|trigger| trigger.trigger);
        Self { id, outcome, phase, candidate, stable, plan: plan.name, by, reason, began, ended, trigger, culprit }
    }
}
