//! Sessions: where they live, and whether an entry is empty. Never an id of one: who has that, has the session.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::json;

use super::Office;
use super::ask::{MayBeEmpty, Path, Slot};
use super::problem::{Problem, kinds};
use super::wire::sessions::{Drained, Sessions, SessionsOfEndpoint, SessionsOfEntry};
use super::wire::{EntryName, ReasonBody};
use crate::control::OrderError;
use crate::domain::machine::Refusal;
use crate::domain::{Moment, PerEntry, Share};
use crate::live::{EntryView, ServiceView};
use crate::upstream::StreamKind;
use crate::upstream::roster::IDLE;

/// Where sessions live.
#[utoipa::path(get, path = "/v1/services/{service}/sessions", params(("service" = String, Path)),
    responses((status = 200, body = Sessions)))]
pub(super) async fn sessions(State(office): State<Arc<Office>>, Path(name): Path<String>) -> Result<Json<Sessions>, Problem> {
    let view = view(&office, &name)?;
    let now = office.site.clock.now().since(Moment::default());
    let entries = PerEntry::from_fn(|entry| {
        let view = &view.entries[entry];
        let ids: Vec<u64> = view.endpoints.iter().map(|endpoint| endpoint.endpoint.id).collect();
        let (of, others) = view.tally.sessions().by_endpoint(&ids, now);
        let each = view.endpoints.iter().zip(&of);
        let mut endpoints: Vec<_> =
            each.map(|(view, living)| SessionsOfEndpoint::of(Some(&view.endpoint.name), living)).collect();
        if others.count > 0 {
            endpoints.push(SessionsOfEndpoint::of(None, &others));
        }
        SessionsOfEntry { version: view.version.clone(), sessions: view.tally.sessions().count(), endpoints }
    });
    Ok(Json(Sessions { service: name, forgotten_after_s: IDLE.as_secs(), entries: entries.into() }))
}

/// What an entry without a share still holds. It ends nothing by force, and it keeps nothing out: an entry without a share
/// gets new clients only while the other one is down.
#[utoipa::path(post, path = "/v1/services/{service}/entries/{entry}/drain",
    params(("service" = String, Path), ("entry" = EntryName, Path), ("dry_run" = Option<bool>, Query)),
    request_body = Option<ReasonBody>, responses((status = 200, body = Drained)))]
pub(super) async fn drain(
    State(office): State<Arc<Office>>,
    Slot { service, entry }: Slot,
    MayBeEmpty(asked): MayBeEmpty<ReasonBody>,
) -> Result<Json<Drained>, Problem> {
    let status = office.control.status(&service).await?;
    let state = status.machine.state();
    let if_match = asked.condition.number(state.revision).map_err(|problem| problem.current((&status).into()))?;
    let by = asked.by(asked.body.reason.as_ref(), if_match)?;
    if let Some(given) = by.if_match.filter(|given| *given != state.revision) {
        let stale = Refusal::Stale { given, current: state.revision, split: state.split };
        return Err(OrderError::Refused(stale).into());
    }
    let share = state.split.share(entry);
    if share != Share::NONE {
        let detail = format!("{entry} has {share} % of the clients: it drains only at 0 %, else new ones take the place of old");
        let hint = format!("give its share to {} first, or roll back", entry.other());
        return Err(Problem::new(kinds::ENTRY_IN_USE, detail).hint(hint));
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
    Ok(Json(Drained {
        service,
        entry: entry.into(),
        version: view.entries[entry].version.clone(),
        drained: holds.is_empty(),
        sessions: holds.sessions,
        streams: holds.streams,
        in_flight: holds.in_flight,
        dry_run: by.dry_run,
    }))
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
