//! The audit: reading it, and whether it is whole.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;

use super::Office;
use super::ask::Query;
use super::problem::{Problem, kinds};
use super::wire::audit::{AuditEntries, AuditQuery, AuditReport};
use crate::control::Audit;

const MOST_ENTRIES: usize = 10_000;

/// What was said before the question should be in the answer, unless the disk takes its time.
const FLUSH: Duration = Duration::from_millis(500);

/// The newest entries, or those after a number; oldest first either way.
#[utoipa::path(get, path = "/v1/audit", params(AuditQuery), responses((status = 200, body = AuditEntries)))]
pub(super) async fn entries(
    State(office): State<Arc<Office>>,
    Query(AuditQuery { limit, after }): Query<AuditQuery>,
) -> Result<Json<AuditEntries>, Problem> {
    let limit = limit.unwrap_or(100);
    if limit > MOST_ENTRIES {
        return Err(Problem::new(kinds::INVALID_QUERY, format!("limit: {limit} is more than the most, {MOST_ENTRIES}")));
    }
    // As far as the document's integers go.
    if let Some(seq) = after.filter(|seq| i64::try_from(*seq).is_err()) {
        return Err(Problem::new(kinds::INVALID_QUERY, format!("after: {seq} is more than the most, {}", i64::MAX)));
    }
    let (entries, last) = read(&office, move |audit| {
        let entries = match after {
            Some(seq) => audit.after(seq, limit)?,
            None => audit.tail(limit)?,
        };
        Ok((entries, audit.tail(1)?.first().and_then(|entry| entry["seq"].as_u64())))
    })
    .await?;
    Ok(Json(AuditEntries { entries, last }))
}

/// Whether the audit is whole: 200 either way, since the question was answered.
#[utoipa::path(get, path = "/v1/audit/verify", responses((status = 200, body = AuditReport)))]
pub(super) async fn verify(State(office): State<Arc<Office>>) -> Result<Json<AuditReport>, Problem> {
    read(&office, Audit::verify).await.map(|report| Json(report.into()))
}

/// Reads beside the runtime.
async fn read<T: Send + 'static>(
    office: &Office,
    how: impl FnOnce(&Audit) -> Result<T, String> + Send + 'static,
) -> Result<T, Problem> {
    office.audit.flush(FLUSH).await;
    let audit = office.audit.clone();
    let read = tokio::task::spawn_blocking(move || how(&audit)).await;
    read.map_err(|error| error.to_string()).flatten().map_err(|error| Problem::new(kinds::AUDIT_UNREADABLE, error))
}
