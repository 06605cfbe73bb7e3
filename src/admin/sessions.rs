//! Sessions: where they live, and whether an entry is empty. Never an id of one: who has that, has the session.

use std::sync::Arc;

use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json, body::Bytes};
use serde_json::{Value, json};

use super::change::{Options, by, read_or_default};
use super::problem::Problem;
use super::wire::RollbackBody;
use super::{Caller, Office};
use crate::control::OrderError;
use crate::domain::machine::Refusal;
use crate::domain::{Entry, Moment, PerEntry, Share};
use crate::live::{EntryView, ServiceView};
use crate::upstream::StreamKind;
use crate::upstream::tally::{IDLE, Living};

/// `GET /v1/services/{s}/sessions`.
pub(super) async fn sessions(State(office): State<Arc<Office>>, Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    let view = view(&office, &name)?;
    let now = office.site.clock.now().since(Moment::default());
    let entries = PerEntry::from_fn(|entry| {
        let view = &view.entries[entry];
        let ids: Vec<u64> = view.endpoints.iter().map(|endpoint| endpoint.endpoint.id).collect();
        let (of, others) = view.tally.sessions().by_endpoint(&ids, now);
        let mut endpoints: Vec<Value> =
            view.endpoints.iter().zip(&of).map(|(view, living)| row(Some(&view.endpoint.name), living)).collect();
        if others.count > 0 {
            // Of endpoints that a deploy has replaced.
            endpoints.push(row(None, &others));
        }
        json!({ "version": view.version, "sessions": view.tally.sessions().count(), "endpoints": endpoints })
    });
    Ok(Json(json!({ "service": name, "forgotten_after_s": IDLE.as_secs(), "entries": entries })))
}

fn row(name: Option<&str>, living: &Living) -> Value {
    json!({
        "name": name,
        "sessions": living.count,
        "oldest_s": living.oldest.as_secs(),
        "youngest_s": living.youngest.as_secs(),
        "longest_idle_s": living.longest_idle.as_secs(),
    })
}

/// `POST /v1/services/{s}/entries/{e}/drain`: what an entry without a share still holds. It ends nothing by force, and it
/// keeps nothing out: an entry without a share gets new clients only while the other one is down.
pub(super) async fn drain(
    State(office): State<Arc<Office>>,
    Path((service, entry)): Path<(String, String)>,
    (caller, headers, query): (Extension<Caller>, HeaderMap, Result<Query<Options>, QueryRejection>),
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let entry: Entry =
        entry.parse().map_err(|error: String| Problem::new(StatusCode::NOT_FOUND, "no-such-entry", "No such entry", error))?;
    let query = query.map_err(|rejection| Problem::bad_query(&rejection))?;
    let body: RollbackBody = read_or_default(&headers, body)?;
    let by = by(*caller, &headers, &query, body.reason)?;
    let status = office.control.status(&service).await?;
    let state = status.machine.state();
    if let Some(given) = by.if_match.filter(|given| *given != state.revision) {
        let stale = Refusal::Stale { given, current: state.revision, split: state.split };
        return Err(OrderError::Refused(stale).into());
    }
    let share = state.split.share(entry);
    if share != Share::NONE {
        let detail = format!("{entry} has {share} % of the clients: it drains only at 0 %, else new ones take the place of old");
        return Err(Problem::new(StatusCode::CONFLICT, "entry-in-use", "The entry has clients", detail)
            .hint(format!("give its share to {} first, or roll back", entry.other())));
    }
    let view = view(&office, &service)?;
    let holds = Holds::of(&view.entries[entry]);
    if !by.dry_run {
        office.audit.write(json!({
            "type": "drain",
            "actor": by.actor,
            "reason": by.reason,
            "service": service,
            "entry": entry,
            "before": holds.words(),
            "after": "nothing, when all have gone",
            "result": if holds.is_empty() { "done" } else { "waiting" },
        }));
    }
    Ok(Json(json!({
        "service": service,
        "entry": entry,
        "version": view.entries[entry].version,
        "drained": holds.is_empty(),
        "sessions": holds.sessions,
        "streams": holds.streams,
        "in_flight": holds.in_flight,
        "dry_run": by.dry_run,
    })))
}

struct Holds {
    sessions: u64,
    streams: u64,
    in_flight: u64,
}

impl Holds {
    fn of(view: &EntryView) -> Self {
        Self {
            sessions: view.tally.sessions().count() as u64,
            streams: StreamKind::ALL.iter().map(|kind| view.tally.streams(*kind)).sum(),
            in_flight: view.endpoints.iter().map(|view| view.endpoint.gate.inside()).sum(),
        }
    }

    fn is_empty(&self) -> bool {
        self.sessions == 0 && self.streams == 0 && self.in_flight == 0
    }

    fn words(&self) -> String {
        format!("{} sessions, {} streams, {} in flight", self.sessions, self.streams, self.in_flight)
    }
}

fn view(office: &Office, name: &str) -> Result<Arc<ServiceView>, Problem> {
    let snapshot = office.reader.current();
    let view = snapshot.services.iter().find(|view| view.config.name == name);
    view.cloned().ok_or_else(|| OrderError::NoService(name.to_owned()).into())
}
