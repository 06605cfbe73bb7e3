//! Operations: the state to take along, and the seal keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use serde_json::{Map, Value, json};

use super::change::{Options, by, read, read_or_default};
use super::look::with_etag;
use super::problem::Problem;
use super::wire::{RollbackBody, shares};
use super::{Caller, Office};
use crate::config::{EndpointText, endpoints_beside};
use crate::control::{ImportError, RotationError};
use crate::domain::Entry;
use crate::domain::machine::{Durable, EndpointSpec, Resolve};
use crate::live::export;

/// A rotation is acknowledged when its line is written, unless the disk takes its time.
const AUDIT_WAIT: Duration = Duration::from_millis(500);

type Asked = (Extension<Caller>, HeaderMap, Result<Query<Options>, QueryRejection>);

/// `GET /v1/state`: the ETag is the sum of all revisions.
pub(super) async fn export_state(State(office): State<Arc<Office>>) -> Result<Response, Problem> {
    let all = office.control.export().await?;
    Ok(with_etag(all.revision, export::document(&all.states)))
}

/// `PUT /v1/state`: the document of `GET`, and a `reason` where one is given.
pub(super) async fn import_state(
    State(office): State<Arc<Office>>,
    (caller, headers, query): Asked,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let query = query.map_err(|rejection| Problem::bad_query(&rejection))?;
    let mut document: Map<String, Value> = read(&headers, body)?;
    let reason = match document.remove("reason") {
        None | Some(Value::Null) => None,
        Some(Value::String(reason)) => Some(reason),
        Some(_) => return Err(Problem::invalid("reason", "/reason: not a text")),
    };
    if let Some(unknown) = document.keys().find(|key| !["format", "checksum", "state"].contains(&key.as_str())) {
        return Err(Problem::bad_body(format!("/{unknown}: not known; a state has format, checksum and state")));
    }
    let by = by(*caller, &headers, &query, reason)?;
    let states = export::read(&document).map_err(|what| invalid(&what))?;
    states.iter().try_for_each(|(service, state)| check(service, state))?;
    let made = office.control.import(states, by).await?;
    let revision = office.control.export().await?.revision;
    let services: BTreeMap<_, _> = made
        .iter()
        .map(|(service, change)| {
            let change = json!({
                "old": shares(change.old),
                "new": shares(change.new),
                "revision": change.revision,
                "changed": change.changed,
                "durable": change.durable,
                "warnings": change.warnings,
            });
            (service, change)
        })
        .collect();
    let changed = made.values().any(|change| change.changed);
    Ok(with_etag(revision, json!({ "services": services, "changed": changed, "dry_run": query.dry_run, "revision": revision })))
}

fn invalid(what: &str) -> Problem {
    Problem::invalid("state", what).hint("send what `dualgate state export` printed, unchanged; nothing was imported")
}

/// What a state says of endpoints must hold here as it does in a deploy.
fn check(service: &str, state: &Durable) -> Result<(), Problem> {
    for entry in Entry::BOTH {
        let Some(spec) = &state.overlay[entry] else { continue };
        let at = format!("/state/{service}/overlay/{entry}");
        if spec.version.is_empty() || spec.version.len() > 128 {
            return Err(invalid(&format!("{at}/version: a version label has 1 to 128 characters")));
        }
        if spec.endpoints.is_empty() {
            return Err(invalid(&format!("{at}/endpoints: an entry has at least one endpoint")));
        }
        let text = |spec: &EndpointSpec| EndpointText {
            name: Some(spec.name.clone()),
            url: spec.url.clone(),
            resolve: spec.resolve.map(|Resolve::Each| "each".to_owned()),
        };
        let texts: Vec<EndpointText> = spec.endpoints.iter().map(text).collect();
        endpoints_beside(&texts, &[]).map_err(|error| invalid(&format!("{at}/endpoints: {error}")))?;
        let other = state.overlay[entry.other()].iter().flat_map(|other| &other.endpoints);
        if let Some(both) = other.clone().find(|two| spec.endpoints.iter().any(|one| one.url == two.url)) {
            return Err(invalid(&format!("{at}/endpoints: {} is an endpoint of both entries", both.url)));
        }
    }
    Ok(())
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        let detail = error.to_string();
        match error {
            ImportError::Stale { .. } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "stale-revision", "Somebody was faster", detail)
                    .hint("GET /v1/state has the current revision as ETag")
            }
            ImportError::Busy { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "A change is on its way", detail)
                .hint("try again; where it stays so, the disk is slow or stuck"),
            ImportError::Order { error, .. } => Self::from(error).detailed(detail),
            ImportError::Stopping => Self::from(crate::control::OrderError::Stopping),
        }
    }
}

/// `POST /v1/keys/rotate`.
pub(super) async fn rotate_keys(
    State(office): State<Arc<Office>>,
    (caller, headers, query): Asked,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let query = query.map_err(|rejection| Problem::bad_query(&rejection))?;
    let body: RollbackBody = read_or_default(&headers, body)?;
    let by = by(*caller, &headers, &query, body.reason)?;
    if by.dry_run && office.rotation.is_possible() {
        return Ok(Json(json!({ "changed": true, "dry_run": true })));
    }
    let made = office.rotation.rotate().await;
    let mut line = json!({ "type": "keys-rotated", "actor": by.actor, "reason": by.reason, "result": "done" });
    match &made {
        Ok(rotated) => (line["before"], line["after"]) = (json!(rotated.before), json!(rotated.after)),
        Err(error) => (line["result"], line["why"]) = (json!("refused"), json!(error.to_string())),
    }
    office.audit.write(line);
    let rotated = made?;
    office.audit.flush(AUDIT_WAIT).await;
    Ok(Json(json!({
        "changed": true,
        "dry_run": false,
        "sealing": rotated.after,
        "before": rotated.before,
        "opening": rotated.opening,
    })))
}

impl From<RotationError> for Problem {
    fn from(error: RotationError) -> Self {
        let detail = error.to_string();
        match error {
            RotationError::Configured => Self::new(StatusCode::CONFLICT, "keys-are-configured", "The keys are in files", detail)
                .hint("write a new key into a file (openssl rand -base64 32); on every replica put it behind the old one in key_files and restart, then first and restart: so no replica meets an id that it cannot open"),
            RotationError::NotKept(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "not-stored", "The key could not be stored", detail)
                    .hint("the keys in force are unchanged")
            }
        }
    }
}
