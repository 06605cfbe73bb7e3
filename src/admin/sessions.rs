//! Sessions: where they live, and whether an entry is empty. Never an id of one: who has that, has the session.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::Office;
use super::ask::{Asked, MayBeEmpty, Path, Slot};
use super::departures::{forecast, pace, span};
use super::look::with_etag;
use super::problem::{Problem, kinds};
use super::wire::EntryName;
use super::wire::departures::{DepartureForecast, DepartureState, DrainBody, DrainOrdered};
use super::wire::sessions::{Drained, Sessions, SessionsOfEndpoint, SessionsOfEntry};
use crate::control::OrderError;
use crate::domain::machine::{Command, Depart, Paced, Refusal, Wish};
use crate::domain::{Entry, Moment, PerEntry, Share};
use crate::live::{EntryView, ServiceView};
use crate::upstream::StreamKind;
use crate::upstream::roster::IDLE;

/// Where sessions live.
#[utoipa::path(get, path = "/v1/services/{service}/sessions", params(("service" = String, Path)),
    responses((status = 200, body = Sessions)))]
pub(super) async fn sessions(State(office): State<Arc<Office>>, Path(name): Path<String>) -> Result<Json<Sessions>, Problem> {
    let departing = office.control.status(&name).await?.departing;
    let view = view(&office, &name)?;
    let (moment, origin) = (office.site.clock.now(), office.site.clock.origin());
    let now = moment.since(Moment::default());
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
        let departing = departing[entry].as_ref();
        let watched = view.tally.last_request().filter(|_| view.tally.is_watched());
        let last = watched.max(departing.and_then(|departing| departing.last_request));
        SessionsOfEntry {
            version: view.version.clone(),
            sessions: view.tally.sessions().count(),
            last_request_s: last.map(|last| moment.since(last).as_secs_f64()),
            departure: departing.and_then(|departing| DepartureState::of(departing, origin)),
            endpoints,
        }
    });
    Ok(Json(Sessions { service: name, forgotten_after_s: IDLE.as_secs(), entries: entries.into() }))
}

/// What an entry without a share still holds. By itself it ends nothing by force, and it keeps nothing out: an entry without a
/// share gets new clients only while the other one is down. With a `deadline` its sessions leave after that, as `sessions.on_drain`
/// says; `cancel` takes back what was ordered of them, also of an entry that has a share by now.
#[utoipa::path(post, path = "/v1/services/{service}/entries/{entry}/drain",
    params(("service" = String, Path), ("entry" = EntryName, Path), ("dry_run" = Option<bool>, Query)),
    request_body = Option<DrainBody>, responses((status = 200, body = Drained)))]
pub(super) async fn drain(
    State(office): State<Arc<Office>>,
    Slot { service, entry }: Slot,
    MayBeEmpty(asked): MayBeEmpty<DrainBody>,
) -> Result<Response, Problem> {
    let order = match order(&office, &service, entry, &asked.body).await? {
        Some((command, forecast)) => {
            let change = asked.order(&office, &service, command, asked.body.reason.as_ref()).await?;
            Some((change.revision, DrainOrdered::of(forecast, &change, asked.options.dry_run)))
        }
        None => {
            look(&office, &service, entry, &asked).await?;
            None
        }
    };
    let status = office.control.status(&service).await?;
    let departure = status.departing[entry].as_ref();
    let departure = departure.and_then(|departing| DepartureState::of(departing, office.site.clock.origin()));
    let view = view(&office, &service)?;
    let holds = Holds::of(&view.entries[entry]);
    let (revision, order) = order.map_or((status.machine.state().revision, None), |(revision, order)| (revision, Some(order)));
    let told = Drained {
        service,
        entry: entry.into(),
        version: view.entries[entry].version.clone(),
        drained: holds.is_empty(),
        sessions: holds.sessions,
        streams: holds.streams,
        in_flight: holds.in_flight,
        dry_run: asked.options.dry_run,
        order,
        departure,
    };
    Ok(with_etag(revision, told))
}

/// What is ordered, where something is.
async fn order(
    office: &Office,
    service: &str,
    entry: Entry,
    body: &DrainBody,
) -> Result<Option<(Command, Option<DepartureForecast>)>, Problem> {
    let DrainBody { deadline, pace, cancel, .. } = body;
    let beside = |pointer: &str, what: &str| Err(Problem::invalid(kinds::DURATION, pointer, what));
    match (deadline, cancel) {
        (Some(_), true) => beside("/deadline", "beside cancel: it is the one or the other"),
        (None, true) if pace.is_some() => beside("/pace", "beside cancel: it means nothing there"),
        (None, true) => Ok(Some((Command::Stay(entry), None))),
        (Some(deadline), false) => {
            let status = office.control.status(service).await?;
            let times = Paced { deadline: span("/deadline", deadline)?, pace: self::pace(&status, pace.as_ref())? };
            let depart = Depart { entry, what: Wish::Drain, times, force: false };
            let view = view(office, service)?;
            Ok(Some((Command::Depart(depart), Some(forecast(&view, &depart)))))
        }
        (None, false) if pace.is_some() => beside("/pace", "without a deadline nobody leaves: \"deadline\": \"0s\" is now"),
        (None, false) => Ok(None),
    }
}

/// Somebody wants to know what an entry holds, and has that on the record.
async fn look(office: &Office, service: &str, entry: Entry, asked: &Asked<DrainBody>) -> Result<(), Problem> {
    let status = office.control.status(service).await?;
    let state = status.machine.state();
    let if_match = asked.condition.number(state.revision).map_err(|problem| problem.current((&status).into()))?;
    let by = asked.by(asked.body.reason.as_ref(), if_match)?;
    if let Some(given) = by.if_match.filter(|given| *given != state.revision) {
        let stale = Refusal::Stale { given, current: state.revision, split: state.split };
        return Err(OrderError::Refused(stale).into());
    }
    let share = state.split.share(entry);
    if share != Share::NONE {
        return Err(OrderError::Refused(Refusal::DrainsAtZero { entry, share }).into());
    }
    let holds = Holds::of(&view(office, service)?.entries[entry]);
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
    Ok(())
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

pub(super) fn view(office: &Office, name: &str) -> Result<Arc<ServiceView>, Problem> {
    let snapshot = office.reader.current();
    let view = snapshot.services.iter().find(|view| view.config.name == name);
    view.cloned().ok_or_else(|| OrderError::NoService(name.to_owned()).into())
}
