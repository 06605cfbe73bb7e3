//! Changing.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::value::RawValue;

use super::ask::{Asked, MayBeEmpty, Options, Path, Slot};
use super::look::with_etag;
use super::problem::{Problem, kinds};
use super::wait::Awaited;
use super::wire::{Changed, DeployBody, Deployed, ReasonBody, SplitBody};
use super::{Office, wire};
use crate::config::{self, EndpointText};
use crate::domain::machine::{Command, Deploy, EndpointSpec, EntrySpec};
use crate::domain::split::SplitError;
use crate::domain::{Share, Split};

/// A longer version label is none.
const MOST_VERSION: usize = 128;

/// So much of a value that will not do is shown.
const MOST_SHOWN: usize = 40;

/// Sets the split.
#[utoipa::path(put, path = "/v1/services/{service}/split", params(("service" = String, Path), Options),
    request_body = SplitBody, responses((status = 200, body = Changed)))]
pub(super) async fn set_split(
    State(office): State<Arc<Office>>,
    Path(service): Path<String>,
    asked: Asked<SplitBody>,
) -> Result<Response, Problem> {
    let body = &asked.body;
    let split = Split::new(share("/primary", &body.primary)?, share("/secondary", &body.secondary)?)
        .map_err(|error| Problem::new(kinds::SPLIT_SUM, error.to_string()).hint("both shares together make 100"))?;
    let change = asked.order(&office, &service, Command::Split(split), body.reason.as_ref()).await?;
    let answer = with_etag(change.revision, wire::changed(&service, &change, asked.options.dry_run));
    Ok(Awaited::change(&service, &change, &asked.options).on(answer))
}

/// Takes the candidate to 0, now. Legal in every state.
#[utoipa::path(post, path = "/v1/services/{service}/rollback", params(("service" = String, Path), Options),
    request_body = Option<ReasonBody>, responses((status = 200, body = Changed)))]
pub(super) async fn roll_back(
    State(office): State<Arc<Office>>,
    Path(service): Path<String>,
    MayBeEmpty(asked): MayBeEmpty<ReasonBody>,
) -> Result<Response, Problem> {
    let change = asked.order(&office, &service, Command::Rollback, asked.body.reason.as_ref()).await?;
    let answer = with_etag(change.revision, wire::changed(&service, &change, asked.options.dry_run));
    Ok(Awaited::change(&service, &change, &asked.options).on(answer))
}

/// Fills a slot.
#[utoipa::path(put, path = "/v1/services/{service}/entries/{entry}",
    params(("service" = String, Path), ("entry" = wire::EntryName, Path), Options),
    request_body = DeployBody, responses((status = 200, body = Deployed)))]
pub(super) async fn deploy(
    State(office): State<Arc<Office>>,
    Slot { service, entry }: Slot,
    asked: Asked<DeployBody>,
) -> Result<Response, Problem> {
    let DeployBody { version, endpoints, reason, force } = &asked.body;
    if version.is_empty() || version.chars().count() > MOST_VERSION {
        let what = format!("a version label has 1 to {MOST_VERSION} characters");
        return Err(Problem::invalid(kinds::VERSION, "/version", what));
    }
    let status = office.control.status(&service).await?;
    let (now, file) = (status.machine.entry(entry), &status.machine.rules().entries[entry]);
    let known = [now.endpoints.as_slice(), file.endpoints.as_slice()].concat();
    let spec = EntrySpec { version: version.clone(), endpoints: named(endpoints, &known)? };
    let deploy = Deploy { entry, spec: spec.clone(), force: *force };
    let change = asked.order(&office, &service, Command::Deploy(deploy), reason.as_ref()).await?;
    let answer = with_etag(change.revision, wire::deployed(&service, entry, &spec, &change, asked.options.dry_run));
    Ok(Awaited::deploy(&service, &change, &asked.options, entry, spec).on(answer))
}

/// Each by itself first, so that the error points at the one.
fn named(texts: &[EndpointText], known: &[EndpointSpec]) -> Result<Vec<EndpointSpec>, Problem> {
    for (at, text) in texts.iter().enumerate() {
        config::endpoints_beside(std::slice::from_ref(text), known)
            .map_err(|error| Problem::invalid(kinds::ENDPOINT, &format!("/endpoints/{at}"), error))?;
    }
    config::endpoints_beside(texts, known).map_err(|error| Problem::invalid(kinds::ENDPOINT, "/endpoints", error))
}

/// A share from the text of the number, not from its binary value: 0.1 is exact, and what a double cannot
/// hold is refused as it was written.
fn share(pointer: &str, value: &RawValue) -> Result<Share, Problem> {
    let text = value.get();
    let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let plain = |number: f64| if number == 0.0 { "0".to_owned() } else { number.to_string() };
    let read = match text.contains(['e', 'E', '-']) {
        _ if !is_number => None,
        true => text.parse().ok().and_then(|number| Share::parse(&plain(number)).ok()),
        false if text.contains('.') => Share::parse(text.trim_end_matches('0').trim_end_matches('.')).ok(),
        false => Share::parse(text).ok(),
    };
    read.ok_or_else(|| {
        let shown: String = text.chars().take(MOST_SHOWN).collect();
        let more = if shown.len() < text.len() { "…" } else { "" };
        Problem::invalid(kinds::SHARE, pointer, SplitError::NotAShare(format!("{shown}{more}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_what_was_written_and_is_never_rounded() {
        let read = |text: &str| {
            let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
            share("/primary", &raw).ok().map(Share::basis_points)
        };
        for (text, points) in [
            ("0", 0),
            ("100", 10_000),
            ("0.1", 10),
            ("12.50000", 1250),
            ("100.00", 10_000),
            ("1e1", 1000),
            ("-0", 0),
            ("-0.0e9", 0),
        ] {
            assert_eq!(read(text), Some(points), "{text}");
        }
        let long = "9".repeat(400);
        for text in [
            "-1",
            "101",
            "1e400",
            "-1e400",
            "1e-9",
            "99.9999999999",
            "99.99999999999999999999",
            "null",
            "\"40\"",
            "true",
            "[40]",
            "{}",
            &long,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
