//! What can be wanted of a rollout.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::admin::wire::Body;

/// Begins a rollout.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct StartBody {
    /// The name of a plan of the configuration; without steps, `default`.
    pub(in crate::admin) plan: Option<String>,
    /// Steps instead of a plan.
    #[schema(value_type = Option<StepsBody>)]
    pub(in crate::admin) steps: Option<Box<RawValue>>,
    /// The entry that is to be given the clients, `primary` or `secondary`; it must be the candidate.
    pub(in crate::admin) to: Option<String>,
    /// For the audit.
    #[schema(max_length = 1000)]
    pub(in crate::admin) reason: Option<String>,
    /// Also to an entry that is down or was rolled back; wants a reason.
    #[serde(default)]
    pub(in crate::admin) force: bool,
}

impl Body for StartBody {
    const LIKE: &'static str = r#"{"plan": "default"}, {"steps": "10:10m,50:20m,100"}, or nothing"#;
}

/// Steps: on one line, or one by one.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the schema of what StartBody reads")]
pub(in crate::admin) enum StepsBody {
    /// `SHARE:HOLD`, with a comma between them: `10:10m,50:20m,100`.
    Line(String),
    Each(Vec<StepBody>),
}

/// One step, as a file has it.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of what StartBody reads")]
pub(in crate::admin) struct StepBody {
    /// Per cent, with at most two decimals.
    share: f64,
    /// Like `10m`.
    hold: Option<String>,
    #[schema(required = false)]
    gates: Vec<GateBody>,
}

/// A gate, as a file has it.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the schema of what StartBody reads")]
pub(in crate::admin) enum GateBody {
    /// `health`, `validation`, `approval`, `approval:2`.
    Word(String),
    Webhook(WebhookBody),
}

/// Somebody outside who is asked.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of what StartBody reads")]
pub(in crate::admin) struct WebhookBody {
    /// Where.
    webhook: String,
    /// Like `10s`.
    timeout: Option<String>,
}

/// The step that is meant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct AdvanceBody {
    /// From 1; another one than the rollout is at is 409.
    #[schema(minimum = 1)]
    pub(in crate::admin) step: usize,
    /// Whatever health, verdict and gates say; wants a reason.
    #[serde(default)]
    pub(in crate::admin) force: bool,
    /// For the audit.
    #[schema(max_length = 1000)]
    pub(in crate::admin) reason: Option<String>,
}

impl Body for AdvanceBody {
    const LIKE: &'static str = r#"{"step": 1}"#;
}

/// The step that somebody says yes to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct ApproveBody {
    /// From 1; another one than the rollout is at is 409.
    #[schema(minimum = 1)]
    pub(in crate::admin) step: usize,
    /// For the audit.
    #[schema(max_length = 1000)]
    pub(in crate::admin) reason: Option<String>,
}

impl Body for ApproveBody {
    const LIKE: &'static str = r#"{"step": 1}"#;
}

/// The candidate to 100 %, and in charge, now.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct PromoteBody {
    /// Whatever health and verdict say; wants a reason.
    #[serde(default)]
    pub(in crate::admin) force: bool,
    /// For the audit.
    #[schema(max_length = 1000)]
    pub(in crate::admin) reason: Option<String>,
}

impl Body for PromoteBody {
    const LIKE: &'static str = r#"{"force": false}, or nothing"#;
}

/// Evidence from outside: of this form, or what Alertmanager's webhook sends (version 4).
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what SignalBody reads")]
pub(in crate::admin) struct SignalText {
    /// `critical` takes the candidate back; `warning` and `info` are told.
    severity: Option<String>,
    /// Who says so.
    source: Option<String>,
    /// What.
    summary: Option<String>,
    /// The entry that is meant; null: the candidate.
    entry: Option<String>,
}

/// The same, as it is read.
#[derive(Deserialize)]
#[serde(transparent)]
pub(in crate::admin) struct SignalBody(pub(in crate::admin) Map<String, Value>);

impl Body for SignalBody {
    const LIKE: &'static str = r#"{"severity": "critical", "source": "checkout", "summary": "orders have stopped"}"#;
}
