//! The audit.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::live;

/// How much of the audit is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::admin) struct AuditQuery {
    /// So many entries.
    #[param(maximum = 10_000)]
    pub(in crate::admin) limit: Option<usize>,
    /// From this number on; without one, the newest.
    pub(in crate::admin) after: Option<u64>,
}

/// Oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct AuditEntries {
    #[schema(value_type = Vec<Object>)]
    pub(in crate::admin) entries: Vec<serde_json::Value>,
    /// The number of the newest there is.
    pub(in crate::admin) last: Option<u64>,
}

/// What a look at the whole audit came to.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct AuditReport {
    /// Whether every line is there, in its place and unchanged.
    intact: bool,
    /// Lines that were read, as far as the first damage.
    lines: u64,
    first: Option<u64>,
    last: Option<u64>,
    /// Of the last line, to be kept elsewhere.
    last_sha256: Option<String>,
    /// Lines that were dropped to make room.
    dropped: u64,
    /// What is worth knowing and no damage.
    notes: Vec<String>,
    damage: Option<AuditDamage>,
}

/// The first thing that is wrong.
#[derive(Debug, Serialize, ToSchema)]
struct AuditDamage {
    file: String,
    /// From 1; 0: not one of its lines.
    line: u64,
    what: String,
}

impl From<live::Report> for AuditReport {
    fn from(report: live::Report) -> Self {
        let live::Report { intact, lines, first, last, last_sha256, dropped, notes, damage } = report;
        let damage = damage.map(|damage| AuditDamage { file: damage.file, line: damage.line, what: damage.what });
        Self { intact, lines, first, last, last_sha256, dropped, notes, damage }
    }
}
