//! The audit: reading it, and whether it is whole.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Office;
use super::problem::Problem;
use crate::control::Audit;
use crate::live::Report;

const MOST_ENTRIES: usize = 10_000;

/// What was said before the question should be in the answer, unless the disk takes its time.
const FLUSH: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    limit: Option<usize>,
    after: Option<u64>,
}

/// `GET /v1/audit`: the newest entries, or those after a number; oldest first either way. `last` is the number of the
/// newest there is.
pub(super) async fn entries(
    State(office): State<Arc<Office>>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(AuditQuery { limit, after }) = query.map_err(|rejection| Problem::bad_query(&rejection))?;
    let limit = limit.unwrap_or(100).min(MOST_ENTRIES);
    let (entries, last) = read(&office, move |audit| {
        let entries = match after {
            Some(seq) => audit.after(seq, limit)?,
            None => audit.tail(limit)?,
        };
        Ok((entries, audit.tail(1)?.first().and_then(|entry| entry["seq"].as_u64())))
    })
    .await?;
    Ok(Json(json!({ "entries": entries, "last": last })))
}

/// `GET /v1/audit/verify`: 200 either way, since the question was answered.
pub(super) async fn verify(State(office): State<Arc<Office>>) -> Result<Json<Report>, Problem> {
    read(&office, Audit::verify).await.map(Json)
}

/// Reads beside the runtime.
async fn read<T: Send + 'static>(
    office: &Office,
    how: impl FnOnce(&Audit) -> Result<T, String> + Send + 'static,
) -> Result<T, Problem> {
    office.audit.flush(FLUSH).await;
    let audit = office.audit.clone();
    let read = tokio::task::spawn_blocking(move || how(&audit)).await;
    read.map_err(|error| error.to_string())
        .flatten()
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "audit-unreadable", "The audit cannot be read", error))
}
