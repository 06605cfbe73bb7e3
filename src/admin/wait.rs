//! `?wait=DURATION`: the change is answered when it is durable and, for a deploy, when its endpoints are up.
//!
//! It stands around the idempotency keys, not inside: who asks again with the same key waits again.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use super::Office;
use super::ask::Options;
use super::problem::{Problem, kinds};
use crate::config::parse_duration;
use crate::control::Status;
use crate::domain::machine::{Change, EntrySpec};
use crate::domain::{Entry, Standing};

/// A longer wait is somebody's forgotten connection.
const LONGEST: Duration = Duration::from_secs(600);

/// From one look to the next.
const POLL: Duration = Duration::from_millis(50);

/// What a change is waited for; goes with its answer.
#[derive(Clone, Debug)]
pub(super) struct Awaited {
    service: String,
    revision: u64,
    deployed: Option<(Entry, EntrySpec)>,
    dry_run: bool,
}

impl Awaited {
    pub(super) fn change(service: &str, change: &Change, options: &Options) -> Self {
        Self { service: service.to_owned(), revision: change.revision, deployed: None, dry_run: options.dry_run }
    }

    pub(super) fn deploy(service: &str, change: &Change, options: &Options, entry: Entry, spec: EntrySpec) -> Self {
        Self { deployed: Some((entry, spec)), ..Self::change(service, change, options) }
    }

    pub(super) fn on(self, mut answer: Response) -> Response {
        answer.extensions_mut().insert(self);
        answer
    }

    /// What is missing still; nothing: it has come true.
    fn missing(&self, status: &Status) -> Result<Option<String>, Problem> {
        let machine = &status.machine;
        if !machine.is_durable() && !machine.rules().volatile {
            return Ok(Some("is in force and not on the disk".to_owned()));
        }
        let Some((entry, spec)) = &self.deployed else { return Ok(None) };
        if machine.entry(*entry) != spec {
            let what = format!("{entry} was deployed over meanwhile: it is {}", machine.entry(*entry));
            return Err(Problem::new(kinds::DEPLOYED_OVER, what).current(status.into()));
        }
        let endpoints = machine.endpoints(*entry).into_iter().filter(|one| !machine.is_leaving(*entry, &one.name));
        let endpoints: Vec<_> = endpoints.collect();
        let down = endpoints.iter().filter(|one| machine.standing_of(*entry, &one.name) != Standing::Up);
        let down: Vec<String> = down.map(|one| format!("{} ({})", one.url, last_check(status, *entry, &one.name))).collect();
        Ok(match (endpoints.len(), down.is_empty()) {
            (0, _) => Some(format!("is in force, and {entry} has no endpoint that was found")),
            (_, true) => None,
            (all, false) => Some(format!("is in force, and {} of {all} endpoints are not up: {}", down.len(), down.join(", "))),
        })
    }
}

fn last_check(status: &Status, entry: Entry, endpoint: &str) -> String {
    let checked = status.checks[entry].iter().find(|(name, _)| name == endpoint).and_then(|(_, finding)| finding.as_ref());
    checked.map_or_else(|| "not checked yet".to_owned(), |finding| finding.detail.clone())
}

/// Stands around every change.
pub(super) async fn until_true(State(office): State<Arc<Office>>, request: Request, next: Next) -> Response {
    let wait = match asked(&request) {
        Ok(None) => return next.run(request).await,
        Ok(Some(wait)) => wait,
        Err(problem) => return problem.into_response(),
    };
    let deadline = Instant::now() + wait;
    let Ok(answer) = timeout_at(deadline, next.run(request)).await else {
        let detail = format!("the change was not answered within {wait:?}: it waits for the disk, and may be made yet");
        return Problem::new(kinds::WAIT_TIMED_OUT, detail).hint("look before you ask again").into_response();
    };
    let Some(awaited) = answer.extensions().get::<Awaited>().filter(|awaited| !awaited.dry_run).cloned() else { return answer };
    match wait_for(&office, &awaited, deadline, wait).await {
        Ok(durable) => with_durable(answer, durable).await,
        Err(problem) => problem.into_response(),
    }
}

/// The wait that is asked for.
fn asked(request: &Request) -> Result<Option<Duration>, Problem> {
    let mut query = url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
    let Some((_, text)) = query.find(|(name, _)| name == "wait") else { return Ok(None) };
    let wrong = |what: String| Problem::new(kinds::INVALID_QUERY, format!("wait: {what}")).hint("like wait=30s");
    let wait = parse_duration(&text).map_err(wrong)?;
    if wait.is_zero() || wait > LONGEST {
        return Err(wrong(format!("`{text}` is not from 1ms to 10m")));
    }
    Ok(Some(wait))
}

/// Whether it is durable: without a disk, nothing ever is, and nothing is waited for.
async fn wait_for(office: &Office, awaited: &Awaited, deadline: Instant, wait: Duration) -> Result<bool, Problem> {
    loop {
        let status = office.control.status(&awaited.service).await?;
        let Some(missing) = awaited.missing(&status)? else { return Ok(status.machine.is_durable()) };
        if Instant::now() + POLL > deadline {
            let detail = format!("the change (revision {}) {missing}, after {wait:?}", awaited.revision);
            return Err(Problem::new(kinds::WAIT_TIMED_OUT, detail).hint("the change stays made").current((&status).into()));
        }
        sleep(POLL).await;
    }
}

/// The answer, with what has become true meanwhile.
async fn with_durable(answer: Response, durable: bool) -> Response {
    let (head, body) = answer.into_parts();
    let Ok(body) = body.collect().await else {
        return Problem::new(kinds::UNEXPECTED, "the answer to the change was lost; it was made").into_response();
    };
    let bytes = body.to_bytes();
    let body = match serde_json::from_slice::<Value>(&bytes) {
        Ok(mut document) => {
            document["durable"] = json!(durable);
            Body::from(document.to_string())
        }
        Err(_) => Body::from(bytes),
    };
    let mut answer = Response::from_parts(head, body);
    answer.headers_mut().remove(header::CONTENT_LENGTH);
    answer
}
