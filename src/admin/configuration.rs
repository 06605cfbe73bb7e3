//! The configuration in force, and the way to another one.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::change::{self, reason};
use super::problem::Problem;
use super::{Caller, Office, who};
use crate::control::{Applied, ConfigureError, Wish};
use crate::live::Generation;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReloadBody {
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RevertBody {
    generation: u64,
    reason: Option<String>,
}

/// What is in force, and how the file and the services differ from it.
pub(super) async fn show(State(office): State<Arc<Office>>) -> Result<Json<Value>, Problem> {
    let standing = office.configuration.standing();
    let file = match office.configuration.file().await {
        Err(ConfigureError::NoFile) => Value::Null,
        Err(error) => return Err(error.into()),
        Ok(Err(error)) => json!({ "error": error }),
        Ok(Ok(text)) if text == standing.generation.text => json!({ "differs": false }),
        Ok(Ok(text)) => json!({ "differs": true, "text": text }),
    };
    let mut drift = Vec::new();
    for view in &office.reader.current().services {
        let name = &view.config.name;
        let lines = office.control.status(name).await?.machine.drift();
        drift.extend(lines.into_iter().map(|line| json!({ "service": name, "what": line })));
    }
    Ok(Json(json!({
        "path": standing.path,
        "generation": standing.generation,
        "failure": standing.failure,
        "applied": standing.applied,
        "refused": standing.refused,
        "file": file,
        "drift": drift,
    })))
}

/// Those that were in force, newest first.
pub(super) async fn history(State(office): State<Arc<Office>>) -> Json<Value> {
    let brief = |one: &Generation| json!({ "number": one.number, "time": one.time, "actor": one.actor, "sha256": one.digest });
    let kept: Vec<Value> = office.configuration.history().iter().rev().map(brief).collect();
    Json(json!({ "generations": kept }))
}

/// One of them, with its text.
pub(super) async fn generation(State(office): State<Arc<Office>>, Path(number): Path<String>) -> Result<Json<Value>, Problem> {
    let kept = office.configuration.history();
    let found = kept.into_iter().find(|one| one.number.to_string() == number);
    found.map(|one| Json(json!(one))).ok_or_else(|| not_kept(&number))
}

/// What would be wrong with a text. Nothing changes.
pub(super) async fn validate(
    State(office): State<Arc<Office>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let body = body.map_err(|_| Problem::bad_body("the body broke off"))?;
    let text = std::str::from_utf8(&body).map_err(|_| Problem::bad_body("a configuration is text in UTF-8"))?;
    let warnings = office.configuration.validate(text).await?;
    Ok(Json(json!({ "valid": true, "warnings": warnings })))
}

/// The file is read again.
pub(super) async fn reload(
    State(office): State<Arc<Office>>,
    (caller, headers): (Extension<Caller>, HeaderMap),
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Applied>, Problem> {
    let is_empty = body.as_ref().is_ok_and(Bytes::is_empty);
    let body: ReloadBody = if is_empty { ReloadBody::default() } else { change::read(&headers, body)? };
    let wish = Wish { actor: who::actor(*caller, &headers)?, reason: reason(body.reason)? };
    Ok(Json(office.configuration.reload(&wish).await?))
}

/// One of before is put in force again.
pub(super) async fn revert(
    State(office): State<Arc<Office>>,
    (caller, headers): (Extension<Caller>, HeaderMap),
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Applied>, Problem> {
    let body: RevertBody = change::read(&headers, body)?;
    let wish = Wish { actor: who::actor(*caller, &headers)?, reason: reason(body.reason)? };
    Ok(Json(office.configuration.revert(body.generation, &wish).await?))
}

fn not_kept(number: &str) -> Problem {
    let detail = format!("configuration {number} is not kept");
    Problem::new(StatusCode::NOT_FOUND, "no-such-generation", "No such configuration", detail)
        .hint("GET /v1/config/history lists those that are kept")
}

impl From<ConfigureError> for Problem {
    fn from(error: ConfigureError) -> Self {
        match error {
            ConfigureError::Invalid(errors) => {
                Self::invalid("invalid-configuration", errors.join("\n")).hint("what was in force stays in force").errors(errors)
            }
            ConfigureError::NoFile => {
                Self::new(StatusCode::CONFLICT, "no-configuration-file", "There is no file", error.to_string())
                    .hint("dualgate run --config FILE")
            }
            ConfigureError::NotKept(number) => not_kept(&number.to_string()),
        }
    }
}
