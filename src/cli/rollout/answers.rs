//! The admin API's documents about rollouts, as far as they are shown.

use std::time::Duration;

use serde::Deserialize;

use super::super::answers::Pair;
use crate::domain::plan::{About, Forecast, Spoken};
use crate::domain::{Entry, PerEntry};

/// The answer to whatever is wanted of a rollout.
#[derive(Deserialize)]
pub(in crate::cli) struct RolloutChange {
    pub(in crate::cli) service: String,
    pub(in crate::cli) old: Pair,
    pub(in crate::cli) new: Pair,
    pub(in crate::cli) revision: u64,
    pub(in crate::cli) changed: bool,
    pub(in crate::cli) durable: bool,
    #[serde(default)]
    pub(in crate::cli) dry_run: bool,
    #[serde(default)]
    pub(in crate::cli) warnings: Vec<String>,
    pub(in crate::cli) rollout: Option<Rollout>,
    #[serde(default)]
    pub(in crate::cli) forecast: Option<Forecast>,
}

/// `GET /v1/services/{s}/rollout`.
#[derive(Clone, Deserialize)]
pub(in crate::cli) struct Rollout {
    pub(in crate::cli) id: String,
    pub(in crate::cli) plan: Plan,
    pub(in crate::cli) candidate: Entry,
    pub(in crate::cli) versions: PerEntry<String>,
    #[serde(default)]
    pub(in crate::cli) by: String,
    #[serde(default)]
    pub(in crate::cli) reason: Option<String>,
    pub(in crate::cli) phase: String,
    #[serde(default)]
    pub(in crate::cli) why: Option<String>,
    pub(in crate::cli) step: usize,
    pub(in crate::cli) of: usize,
    pub(in crate::cli) share: f64,
    #[serde(default)]
    pub(in crate::cli) hold: Option<Hold>,
    #[serde(default)]
    pub(in crate::cli) gates: Vec<Gate>,
    #[serde(default)]
    pub(in crate::cli) approvals: Vec<Approval>,
    #[serde(default)]
    pub(in crate::cli) obstacles: Vec<String>,
    #[serde(default)]
    pub(in crate::cli) verdict: Option<Verdict>,
    #[serde(default)]
    pub(in crate::cli) metrics: Vec<Metric>,
    #[serde(default)]
    pub(in crate::cli) turns: Vec<Turn>,
    #[serde(default)]
    pub(in crate::cli) fired: Option<Fired>,
    #[serde(default)]
    pub(in crate::cli) not_stored: Option<String>,
}

#[derive(Clone, Deserialize)]
pub(in crate::cli) struct Plan {
    pub(in crate::cli) name: String,
    pub(in crate::cli) steps: Vec<Step>,
}

#[derive(Clone, Deserialize)]
pub(in crate::cli) struct Step {
    pub(in crate::cli) share: f64,
    #[serde(default)]
    pub(in crate::cli) hold: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
pub(in crate::cli) struct Hold {
    pub(in crate::cli) total_ms: u64,
    pub(in crate::cli) over_ms: u64,
}

#[derive(Clone, Deserialize)]
pub(in crate::cli) struct Gate {
    pub(in crate::cli) gate: String,
    pub(in crate::cli) state: String,
    #[serde(default)]
    pub(in crate::cli) detail: Option<String>,
}

#[derive(Clone, Deserialize)]
pub(in crate::cli) struct Approval {
    pub(in crate::cli) step: usize,
    pub(in crate::cli) who: String,
}

#[derive(Clone, Deserialize)]
pub(in crate::cli) struct Verdict {
    pub(in crate::cli) verdict: String,
    #[serde(default)]
    pub(in crate::cli) unsure: Option<String>,
    #[serde(default)]
    pub(in crate::cli) findings: Vec<Finding>,
    #[serde(default)]
    pub(in crate::cli) samples: u64,
    #[serde(default)]
    pub(in crate::cli) stable_samples: u64,
}

#[derive(Clone, Deserialize)]
pub(in crate::cli) struct Finding {
    pub(in crate::cli) trigger: String,
    #[serde(default)]
    pub(in crate::cli) tool: Option<String>,
    pub(in crate::cli) verdict: String,
    pub(in crate::cli) value: f64,
    #[serde(default)]
    pub(in crate::cli) reference: Option<f64>,
    pub(in crate::cli) limit: f64,
    #[serde(default)]
    pub(in crate::cli) windows: u32,
    #[serde(default)]
    pub(in crate::cli) of: u32,
}

#[derive(Clone, Deserialize)]
pub(in crate::cli) struct Metric {
    pub(in crate::cli) name: String,
    #[serde(default)]
    pub(in crate::cli) value: Option<f64>,
    #[serde(default)]
    pub(in crate::cli) error: Option<String>,
    #[serde(default)]
    pub(in crate::cli) out: u32,
    #[serde(default)]
    pub(in crate::cli) times: u32,
}

#[derive(Clone, Deserialize, PartialEq)]
pub(in crate::cli) struct Turn {
    pub(in crate::cli) at: String,
    pub(in crate::cli) phase: String,
    pub(in crate::cli) step: usize,
    pub(in crate::cli) why: String,
}

#[derive(Clone, Deserialize)]
pub(in crate::cli) struct Fired {
    pub(in crate::cli) trigger: String,
    #[serde(default)]
    pub(in crate::cli) tool: Option<String>,
    #[serde(default)]
    pub(in crate::cli) metric: Option<String>,
    #[serde(default)]
    pub(in crate::cli) detail: String,
}

impl Hold {
    /// `4m10s of 10m over`.
    pub(in crate::cli) fn words(self) -> String {
        // To the second: nobody reads milliseconds of minutes.
        let over = Duration::from_millis(self.over_ms / 1_000 * 1_000);
        format!("{} of {} over", About(over), Spoken(Duration::from_millis(self.total_ms)))
    }
}

impl Fired {
    /// `trigger tool-errors, tool delete_note: 62 % of 118 requests…`.
    pub(in crate::cli) fn words(&self) -> String {
        let tool = self.tool.as_ref().map_or_else(String::new, |tool| format!(", tool {tool}"));
        let metric = self.metric.as_ref().map_or_else(String::new, |metric| format!(", metric {metric}"));
        format!("trigger {}{tool}{metric}: {}", self.trigger, self.detail)
    }
}

impl Finding {
    /// `errors: pass: 0.4 %, against 0.3 %; the bound is 5 %; 2 of 2 windows`.
    pub(in crate::cli) fn words(&self) -> String {
        let is_rate = self.trigger.ends_with("errors");
        let figure = |value: f64| if is_rate { format!("{:.1} %", value * 100.0) } else { format!("{value:.2} times") };
        let reference = self.reference.map_or_else(String::new, |value| {
            let value = if is_rate { figure(value) } else { format!("{:.1} ms", value * 1e3) };
            format!(", against {value}")
        });
        let tool = self.tool.as_ref().map_or_else(String::new, |tool| format!(" of {tool}"));
        let (value, limit, verdict) = (figure(self.value), figure(self.limit), &self.verdict);
        let (windows, of) = (self.windows, self.of);
        format!("{}{tool}: {verdict}: {value}{reference}; the bound is {limit}; {windows} of {of} windows", self.trigger)
    }
}
