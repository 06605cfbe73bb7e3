//! Operations: the state to take along, and the seal keys.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::Office;
use super::ask::{Asked, Condition, MayBeEmpty};
use super::look::with_etag;
use super::problem::{Current, Problem, kinds};
use super::wire::ReasonBody;
use super::wire::operate::{self, Imported, KeysRotated, StateBody};
use crate::config::{EndpointText, endpoints_beside};
use crate::control::{ImportError, RotationError};
use crate::domain::Entry;
use crate::domain::machine::{Durable, EndpointSpec, Resolve};
use crate::live::export;

/// A rotation is acknowledged when its line is written, unless the disk takes its time.
const AUDIT_WAIT: Duration = Duration::from_millis(500);

/// The durable state of all services. The ETag is the sum of all revisions.
#[utoipa::path(get, path = "/v1/state", responses((status = 200, body = operate::State)))]
pub(super) async fn export_state(State(office): State<Arc<Office>>) -> Result<Response, Problem> {
    let all = office.control.export().await?;
    Ok(with_etag(all.revision, export::document(&all.states)))
}

/// Puts in force what was exported: for all services in it, or for none.
#[utoipa::path(put, path = "/v1/state", params(("dry_run" = Option<bool>, Query)), request_body = operate::State,
    responses((status = 200, body = Imported)))]
pub(super) async fn import_state(State(office): State<Arc<Office>>, mut asked: Asked<StateBody>) -> Result<Response, Problem> {
    let document = &mut asked.body.0;
    let reason = match document.remove("reason") {
        None | Some(Value::Null) => None,
        Some(Value::String(reason)) => Some(reason),
        Some(_) => return Err(Problem::invalid(kinds::REASON, "/reason", "not a text")),
    };
    if let Some(unknown) = document.keys().find(|key| !["format", "checksum", "state"].contains(&key.as_str())) {
        let detail = format!("/{unknown}: not known; a state has format, checksum and state");
        return Err(Problem::new(kinds::INVALID_BODY, detail).at(format!("/{unknown}")));
    }
    let states = export::read(document).map_err(|what| invalid(&what))?;
    states.iter().try_for_each(|(service, state)| check(service, state))?;
    let if_match = match &asked.condition {
        Condition::Always => None,
        condition => {
            let revision = office.control.export().await?.revision;
            condition.number(revision).map_err(|problem| problem.current(Current::revision(revision)))?
        }
    };
    let made = office.control.import(states, asked.by(reason.as_ref(), if_match)?).await?;
    let revision = office.control.export().await?.revision;
    let document = Imported {
        changed: made.values().any(|change| change.changed),
        services: made.iter().map(|(service, change)| (service.clone(), change.into())).collect(),
        dry_run: asked.options.dry_run,
        revision,
    };
    Ok(with_etag(revision, document))
}

fn invalid(what: &str) -> Problem {
    Problem::new(kinds::STATE, what)
        .at(what.split(':').next().unwrap_or_default())
        .hint("send what `dualgate state export` printed, unchanged; nothing was imported")
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
            ImportError::Stale { current, .. } => {
                Self::stale(detail).hint("GET /v1/state has the current revision as ETag").current(Current::revision(current))
            }
            ImportError::Busy { .. } => {
                Self::new(kinds::BUSY, detail).hint("try again; where it stays so, the disk is slow or stuck")
            }
            ImportError::Order { error, .. } => Self::from(error).detailed(detail),
            ImportError::Stopping => Self::from(crate::control::OrderError::Stopping),
        }
    }
}

/// Makes a new seal key; all of before open still.
#[utoipa::path(post, path = "/v1/keys/rotate", params(("dry_run" = Option<bool>, Query)),
    request_body = Option<ReasonBody>, responses((status = 200, body = KeysRotated)))]
pub(super) async fn rotate_keys(
    State(office): State<Arc<Office>>,
    MayBeEmpty(asked): MayBeEmpty<ReasonBody>,
) -> Result<Json<KeysRotated>, Problem> {
    if asked.condition != Condition::Always {
        return Err(
            Problem::new(kinds::STALE_REVISION, "seal keys have no ETag: no condition on them holds").hint("leave If-Match out")
        );
    }
    let by = asked.by(asked.body.reason.as_ref(), None)?;
    if by.dry_run && office.rotation.is_possible() {
        return Ok(Json(KeysRotated { changed: true, dry_run: true, ..KeysRotated::default() }));
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
    let (sealing, before, opening) = (Some(rotated.after), Some(rotated.before), Some(rotated.opening));
    Ok(Json(KeysRotated { changed: true, dry_run: false, sealing, before, opening }))
}

impl From<RotationError> for Problem {
    fn from(error: RotationError) -> Self {
        let detail = error.to_string();
        match error {
            RotationError::Configured => Self::new(kinds::KEYS_ARE_CONFIGURED, detail)
                .hint("write a new key into a file (openssl rand -base64 32); on every replica put it behind the old one in key_files and restart, then first and restart: so no replica meets an id that it cannot open"),
            RotationError::NotKept(_) => {
                Self::new(kinds::NOT_STORED, detail)
                    .hint("the keys in force are unchanged")
            }
        }
    }
}
