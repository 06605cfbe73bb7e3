//! Looking.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::Problem;
use super::{Office, wire};

const MOST_ENTRIES: usize = 10_000;

pub(super) async fn services(State(office): State<Arc<Office>>) -> Result<Json<Value>, Problem> {
    let snapshot = office.reader.current();
    let mut services = Vec::with_capacity(snapshot.services.len());
    for view in &snapshot.services {
        services.push(wire::service(view, &office.control.status(&view.config.name).await?, office.warnings()));
    }
    Ok(Json(json!({ "services": services })))
}

pub(super) async fn service(State(office): State<Arc<Office>>, Path(name): Path<String>) -> Result<Response, Problem> {
    let status = office.control.status(&name).await?;
    // After the status, so that the view is not older than what the machine says.
    let snapshot = office.reader.current();
    let view = snapshot.services.iter().find(|view| view.config.name == name);
    let view = view.ok_or(crate::control::OrderError::NoService(name))?;
    Ok(with_etag(status.machine.state().revision, wire::service(view, &status, office.warnings())))
}

pub(super) async fn split(State(office): State<Arc<Office>>, Path(name): Path<String>) -> Result<Response, Problem> {
    let status = office.control.status(&name).await?;
    Ok(with_etag(status.machine.state().revision, wire::split(&name, &status.machine)))
}

#[derive(Deserialize)]
pub(super) struct AuditQuery {
    limit: Option<usize>,
}

pub(super) async fn audit(
    State(office): State<Arc<Office>>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let query = query.map_err(|rejection| Problem::bad_query(&rejection))?;
    let limit = query.limit.unwrap_or(100).min(MOST_ENTRIES);
    office.audit.flush(std::time::Duration::from_millis(500)).await;
    let audit = office.audit.clone();
    let read = tokio::task::spawn_blocking(move || audit.tail(limit)).await;
    let entries = read.map_err(|error| error.to_string()).flatten().map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "audit-unreadable", "The audit cannot be read", error)
    })?;
    Ok(Json(json!({ "entries": entries })))
}

/// A strong ETag is the revision (RFC 9110, 8.8.3).
pub(super) fn with_etag(revision: u64, body: Value) -> Response {
    let mut response = Json(body).into_response();
    if let Ok(tag) = HeaderValue::try_from(format!("\"{revision}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
