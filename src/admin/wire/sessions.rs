//! Sessions by entry and endpoint.

use serde::Serialize;
use utoipa::ToSchema;

use super::departures::{DepartureState, DrainOrdered};
use super::{Both, EntryName};
use crate::upstream::roster::Living;

/// The sessions of a service; never an id of one.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Sessions {
    pub(in crate::admin) service: String,
    /// Without a word for so long, a session is forgotten.
    pub(in crate::admin) forgotten_after_s: u64,
    pub(in crate::admin) entries: Both<SessionsOfEntry>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct SessionsOfEntry {
    pub(in crate::admin) version: String,
    pub(in crate::admin) sessions: usize,
    /// Since a request was last sent there; null: not known, as it is noted only while the entry is judged or left.
    pub(in crate::admin) last_request_s: Option<f64>,
    /// Null: nobody has to leave.
    pub(in crate::admin) departure: Option<DepartureState>,
    pub(in crate::admin) endpoints: Vec<SessionsOfEndpoint>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct SessionsOfEndpoint {
    /// Null: of endpoints that a deploy has replaced.
    name: Option<String>,
    sessions: u64,
    oldest_s: u64,
    youngest_s: u64,
    longest_idle_s: u64,
}

impl SessionsOfEndpoint {
    pub(in crate::admin) fn of(name: Option<&String>, living: &Living) -> Self {
        Self {
            name: name.cloned(),
            sessions: living.count,
            oldest_s: living.oldest.as_secs(),
            youngest_s: living.youngest.as_secs(),
            longest_idle_s: living.longest_idle.as_secs(),
        }
    }
}

/// What an entry without a share still holds.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Drained {
    pub(in crate::admin) service: String,
    pub(in crate::admin) entry: EntryName,
    pub(in crate::admin) version: String,
    /// Whether it holds nothing.
    pub(in crate::admin) drained: bool,
    pub(in crate::admin) sessions: u64,
    pub(in crate::admin) streams: u64,
    pub(in crate::admin) in_flight: u64,
    pub(in crate::admin) dry_run: bool,
    /// What this request has ordered; null: nothing.
    pub(in crate::admin) order: Option<DrainOrdered>,
    /// Null: nobody has to leave.
    pub(in crate::admin) departure: Option<DepartureState>,
}
