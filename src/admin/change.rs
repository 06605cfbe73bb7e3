//! Changing.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::look::with_etag;
use super::problem::Problem;
use super::wire::{DeployBody, RollbackBody, SplitBody};
use super::{Caller, Office, who, wire};
use crate::config;
use crate::control::By;
use crate::domain::machine::{Command, Deploy, EntrySpec};
use crate::domain::{Entry, Share, Split};

/// Longer reasons belong in a ticket.
const MOST_REASON: usize = 1000;

#[derive(Deserialize)]
pub(super) struct Options {
    #[serde(default)]
    pub(super) dry_run: bool,
}

type Asked = (Extension<Caller>, HeaderMap, Result<Query<Options>, QueryRejection>);

pub(super) async fn set_split(
    State(office): State<Arc<Office>>,
    Path(service): Path<String>,
    (caller, headers, query): Asked,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let query = query.map_err(|rejection| Problem::bad_query(&rejection))?;
    let body: SplitBody = read(&headers, body)?;
    let split = Split::new(share("/primary", &body.primary)?, share("/secondary", &body.secondary)?)
        .map_err(|error| Problem::invalid("split-sum", error.to_string()).hint("both shares together make 100"))?;
    let by = by(*caller, &headers, &query, body.reason)?;
    let change = office.control.order(&service, Command::Split(split), by).await?;
    Ok(with_etag(change.revision, wire::change(&service, &change, query.dry_run)))
}

pub(super) async fn roll_back(
    State(office): State<Arc<Office>>,
    Path(service): Path<String>,
    (caller, headers, query): Asked,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let query = query.map_err(|rejection| Problem::bad_query(&rejection))?;
    let body: RollbackBody = read_or_default(&headers, body)?;
    let by = by(*caller, &headers, &query, body.reason)?;
    let change = office.control.order(&service, Command::Rollback, by).await?;
    Ok(with_etag(change.revision, wire::change(&service, &change, query.dry_run)))
}

pub(super) async fn deploy(
    State(office): State<Arc<Office>>,
    Path((service, entry)): Path<(String, String)>,
    (caller, headers, query): Asked,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let entry: Entry =
        entry.parse().map_err(|error: String| Problem::new(StatusCode::NOT_FOUND, "no-such-entry", "No such entry", error))?;
    let query = query.map_err(|rejection| Problem::bad_query(&rejection))?;
    let body: DeployBody = read(&headers, body)?;
    if body.version.is_empty() || body.version.len() > 128 {
        return Err(Problem::invalid("version", "/version: a version label has 1 to 128 characters"));
    }
    let status = office.control.status(&service).await?;
    let (now, file) = (status.machine.entry(entry), &status.machine.rules().entries[entry]);
    let known = [now.endpoints.as_slice(), file.endpoints.as_slice()].concat();
    let endpoints = config::endpoints_beside(&body.endpoints, &known)
        .map_err(|error| Problem::invalid("endpoint", format!("/endpoints: {error}")))?;
    let spec = EntrySpec { version: body.version, endpoints };
    let by = by(*caller, &headers, &query, body.reason)?;
    let deploy = Deploy { entry, spec: spec.clone(), force: body.force };
    let change = office.control.order(&service, Command::Deploy(deploy), by).await?;
    Ok(with_etag(change.revision, wire::deployed(&service, entry, &spec, &change, query.dry_run)))
}

/// Why, in the words of whoever asks.
pub(super) fn reason(reason: Option<String>) -> Result<Option<String>, Problem> {
    if reason.as_ref().is_some_and(|reason| reason.len() > MOST_REASON) {
        return Err(Problem::invalid("reason", format!("/reason: at most {MOST_REASON} characters")));
    }
    Ok(reason)
}

pub(super) fn by(caller: Caller, headers: &HeaderMap, options: &Options, why: Option<String>) -> Result<By, Problem> {
    Ok(By { actor: who::actor(caller, headers)?, reason: reason(why)?, if_match: if_match(headers)?, dry_run: options.dry_run })
}

/// `If-Match` with the one revision that the caller saw; `*` is any.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" && values.next().is_none() {
        return Ok(None);
    }
    let number = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).and_then(|text| text.parse().ok());
    match (number, values.next()) {
        (Some(revision), None) => Ok(Some(revision)),
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "if-match",
            "If-Match cannot be read",
            format!("`{text}` is not a revision"),
        )
        .hint("If-Match: \"7\", as the ETag says")),
    }
}

/// The same, where an empty body says it all.
pub(super) fn read_or_default<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<T, Problem> {
    if body.as_ref().is_ok_and(Bytes::is_empty) { Ok(T::default()) } else { read(headers, body) }
}

/// A strict body: JSON, no unknown members.
pub(super) fn read<T: DeserializeOwned>(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<T, Problem> {
    let body = body.map_err(|rejection| match rejection.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large", "at most 64 KiB")
        }
        _ => Problem::bad_body("the body broke off"),
    })?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    if !kind.to_ascii_lowercase().starts_with("application/json") {
        let detail = format!("Content-Type is `{kind}`");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", "The body must be JSON", detail)
            .hint("Content-Type: application/json"));
    }
    serde_json::from_slice(&body).map_err(|error| Problem::bad_body(error.to_string()))
}

fn share(pointer: &str, value: &Value) -> Result<Share, Problem> {
    let share = match value {
        // The text of the number, not its binary value: 0.1 is exact.
        Value::Number(number) if number.is_u64() => Share::parse(&number.to_string()),
        Value::Number(number) => Share::from_percent(number.as_f64().unwrap_or(f64::NAN)),
        other => Err(crate::domain::split::SplitError::NotAShare(other.to_string())),
    };
    share.map_err(|error| Problem::invalid("share", format!("{pointer}: {error}")))
}
