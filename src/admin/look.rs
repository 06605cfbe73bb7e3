//! Looking.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::ask::Path;
use super::problem::Problem;
use super::{Office, wire};

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

/// A strong ETag is the revision (RFC 9110, 8.8.3).
pub(super) fn with_etag(revision: u64, body: impl Serialize) -> Response {
    let mut response = Json(body).into_response();
    if let Ok(tag) = HeaderValue::try_from(format!("\"{revision}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
