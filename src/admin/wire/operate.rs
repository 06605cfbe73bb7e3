//! The state to take along, and the seal keys.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Body, Shares};
use crate::domain::machine::Change;

/// What is exported and imported.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of a document that is kept as it is, since it has a checksum")]
pub(in crate::admin) struct State {
    format: u64,
    /// Of the state.
    checksum: String,
    /// By service.
    #[schema(value_type = Object)]
    state: Value,
    /// For the audit, of an import.
    #[schema(max_length = 1000)]
    reason: Option<String>,
}

/// The same, as it is read.
#[derive(Deserialize)]
#[serde(transparent)]
pub(in crate::admin) struct StateBody(pub(in crate::admin) Map<String, Value>);

impl Body for StateBody {
    const LIKE: &'static str = "what `dualgate state export` prints";
}

/// A state that was put in force, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Imported {
    /// By service.
    pub(in crate::admin) services: BTreeMap<String, ImportedService>,
    pub(in crate::admin) changed: bool,
    pub(in crate::admin) dry_run: bool,
    /// Of all services together; the ETag.
    pub(in crate::admin) revision: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct ImportedService {
    old: Shares,
    new: Shares,
    revision: u64,
    changed: bool,
    durable: bool,
    warnings: Vec<String>,
}

impl From<&Change> for ImportedService {
    fn from(change: &Change) -> Self {
        let Change { revision, changed, durable, .. } = *change;
        let (old, new) = (Shares::of(change.old), Shares::of(change.new));
        Self { old, new, revision, changed, durable, warnings: change.warnings.clone() }
    }
}

/// A rotation that was made, or would be: then it names no keys.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(in crate::admin) struct KeysRotated {
    pub(in crate::admin) changed: bool,
    pub(in crate::admin) dry_run: bool,
    /// The key that seals now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) sealing: Option<String>,
    /// The one that sealed before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) before: Option<String>,
    /// How many keys open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::admin) opening: Option<usize>,
}
