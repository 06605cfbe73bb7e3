//! Looking.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::ask::{Path, Query};
use super::problem::{Problem, kinds};
use super::{Office, wire};

const MOST_ENTRIES: usize = 10_000;

/// All services.
#[utoipa::path(get, path = "/v1/services", responses((status = 200, body = wire::Services)))]
pub(super) async fn services(State(office): State<Arc<Office>>) -> Result<Json<wire::Services>, Problem> {
    let snapshot = office.reader.current();
    let mut services = Vec::with_capacity(snapshot.services.len());
    for view in &snapshot.services {
        services.push(wire::service(view, &office.control.status(&view.config.name).await?, office.warnings()));
    }
    Ok(Json(wire::Services { services }))
}

/// Everything about a service.
#[utoipa::path(get, path = "/v1/services/{service}", params(("service" = String, Path)),
    responses((status = 200, body = wire::Service)))]
pub(super) async fn service(State(office): State<Arc<Office>>, Path(name): Path<String>) -> Result<Response, Problem> {
    let status = office.control.status(&name).await?;
    // After the status, so that the view is not older than what the machine says.
    let snapshot = office.reader.current();
    let view = snapshot.services.iter().find(|view| view.config.name == name);
    let view = view.ok_or(crate::control::OrderError::NoService(name))?;
    Ok(with_etag(status.machine.state().revision, wire::service(view, &status, office.warnings())))
}

/// The split in force.
#[utoipa::path(get, path = "/v1/services/{service}/split", params(("service" = String, Path)),
    responses((status = 200, body = wire::SplitOfService)))]
pub(super) async fn split(State(office): State<Arc<Office>>, Path(name): Path<String>) -> Result<Response, Problem> {
    let status = office.control.status(&name).await?;
    Ok(with_etag(status.machine.state().revision, wire::split(name, &status.machine)))
}

/// Who changed what, and who was denied.
#[utoipa::path(get, path = "/v1/audit", params(wire::AuditQuery), responses((status = 200, body = wire::AuditEntries)))]
pub(super) async fn audit(
    State(office): State<Arc<Office>>,
    Query(query): Query<wire::AuditQuery>,
) -> Result<Json<wire::AuditEntries>, Problem> {
    let limit = query.limit.unwrap_or(100);
    if limit > MOST_ENTRIES {
        return Err(Problem::new(kinds::INVALID_QUERY, format!("limit: {limit} is more than the most, {MOST_ENTRIES}")));
    }
    office.audit.flush(std::time::Duration::from_millis(500)).await;
    let audit = office.audit.clone();
    let read = tokio::task::spawn_blocking(move || audit.tail(limit)).await;
    let entries = read.map_err(|error| error.to_string()).flatten();
    let entries = entries.map_err(|error| Problem::new(kinds::AUDIT_UNREADABLE, error))?;
    Ok(Json(wire::AuditEntries { entries }))
}

/// A strong ETag is the revision (RFC 9110, 8.8.3).
pub(super) fn with_etag(revision: u64, body: impl Serialize) -> Response {
    let mut response = Json(body).into_response();
    if let Ok(tag) = HeaderValue::try_from(format!("\"{revision}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
