//! Notifications, tried.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Body;
use crate::control::outreach;

/// Which sinks are tried.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct NotifyTestBody {
    /// One of them; all, where none is named.
    pub(in crate::admin) sink: Option<String>,
    /// For the audit.
    #[schema(max_length = 1000)]
    pub(in crate::admin) reason: Option<String>,
}

impl Body for NotifyTestBody {
    const LIKE: &'static str = r#"{"sink": "on-call"}, or nothing"#;
}

/// How the sinks were tried.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct NotifyTested {
    /// Whether every sink took it; false also where there is none.
    pub(in crate::admin) delivered: bool,
    /// By name.
    pub(in crate::admin) sinks: Vec<SinkTested>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct SinkTested {
    name: String,
    /// `generic`, `slack` or `pagerduty`.
    kind: &'static str,
    delivered: bool,
    took_ms: u64,
    /// Why it was not delivered.
    error: Option<String>,
    /// Whether that is because it took too long.
    timed_out: bool,
}

impl SinkTested {
    pub(in crate::admin) fn delivered(&self) -> bool {
        self.delivered
    }
}

impl From<outreach::Tested> for SinkTested {
    fn from(tested: outreach::Tested) -> Self {
        Self {
            name: tested.sink,
            kind: tested.kind,
            delivered: tested.error.is_none(),
            took_ms: u64::try_from(tested.took.as_millis()).unwrap_or(u64::MAX),
            error: tested.error,
            timed_out: tested.is_late,
        }
    }
}
