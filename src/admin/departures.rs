//! Sessions are told to leave an entry: moved, ended, drained.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;

use super::Office;
use super::ask::{Asked, Options, Path};
use super::look::with_etag;
use super::problem::{Problem, kinds};
use super::sessions::view;
use super::wait::Awaited;
use super::wire::departures::{DepartureForecast, EndBody, MoveBody, SessionsOrdered};
use crate::config::parse_duration;
use crate::control::Status;
use crate::domain::machine::{Command, Depart, Paced, Wish};
use crate::domain::{Entry, Standing};
use crate::live::ServiceView;

/// Nobody means a longer time.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// Moves the sessions of an entry to the other one, one after the other. Those that may not be moved stay.
#[utoipa::path(post, path = "/v1/services/{service}/sessions/move", params(("service" = String, Path), Options),
    request_body = MoveBody, responses((status = 200, body = SessionsOrdered)))]
pub(super) async fn move_away(
    State(office): State<Arc<Office>>,
    Path(service): Path<String>,
    asked: Asked<MoveBody>,
) -> Result<Response, Problem> {
    let MoveBody { from, reason, force, pace } = &asked.body;
    let what = if *force { Wish::MoveByForce } else { Wish::Move };
    let wanted = Wanted { entry: entry("/from", from)?, what, force: *force, pace };
    carry_out(&office, &service, &asked, &wanted, reason.as_ref()).await
}

/// Ends the sessions of an entry, one after the other, in the way that their clients survive.
#[utoipa::path(post, path = "/v1/services/{service}/sessions/end", params(("service" = String, Path), Options),
    request_body = EndBody, responses((status = 200, body = SessionsOrdered)))]
pub(super) async fn end(
    State(office): State<Arc<Office>>,
    Path(service): Path<String>,
    asked: Asked<EndBody>,
) -> Result<Response, Problem> {
    let EndBody { entry: name, reason, force, pace } = &asked.body;
    let wanted = Wanted { entry: entry("/entry", name)?, what: Wish::End, force: *force, pace };
    carry_out(&office, &service, &asked, &wanted, reason.as_ref()).await
}

struct Wanted<'a> {
    entry: Entry,
    what: Wish,
    force: bool,
    pace: &'a Option<String>,
}

async fn carry_out<B>(
    office: &Office,
    service: &str,
    asked: &Asked<B>,
    wanted: &Wanted<'_>,
    reason: Option<&String>,
) -> Result<Response, Problem> {
    let Wanted { entry, what, force, pace } = *wanted;
    let status = office.control.status(service).await?;
    let times = Paced { deadline: Duration::ZERO, pace: self::pace(&status, pace.as_ref())? };
    let depart = Depart { entry, what, times, force };
    let view = view(office, service)?;
    let forecast = forecast(&view, &depart);
    let version = status.machine.entry(entry).version.clone();
    let change = asked.order(office, service, Command::Depart(depart), reason).await?;
    let told = SessionsOrdered::of(service, &version, &depart, forecast, &change, asked.options.dry_run);
    Ok(Awaited::change(service, &change, &asked.options).on(with_etag(change.revision, told)))
}

fn entry(pointer: &str, name: &str) -> Result<Entry, Problem> {
    name.parse().map_err(|error: String| Problem::invalid(kinds::NO_SUCH_ENTRY, pointer, error))
}

/// The pace that is asked for, or the configuration's.
pub(super) fn pace(status: &Status, text: Option<&String>) -> Result<Duration, Problem> {
    text.map_or(Ok(status.machine.rules().leave.drain.pace), |text| span("/pace", text))
}

/// A time that a body has.
pub(super) fn span(pointer: &str, text: &str) -> Result<Duration, Problem> {
    let wrong = |what: String| Problem::invalid(kinds::DURATION, pointer, what);
    let span = parse_duration(text).map_err(|error| wrong(error.to_string()))?;
    if span > LONGEST { Err(wrong(format!("`{text}` is too long: at most 7d"))) } else { Ok(span) }
}

/// What is to be expected of it: the pace is spread by hashes, and where there are too many for the handshakes of a second, these
/// set the pace.
pub(super) fn forecast(view: &ServiceView, depart: &Depart) -> DepartureForecast {
    let Depart { entry, what, times: Paced { deadline, pace }, .. } = *depart;
    let sessions = view.entries[entry].tally.sessions().count() as u64;
    let handshakes_per_second = view.config.sessions.handshakes_per_second;
    let targets = view.entries[entry.other()].endpoints.iter();
    let up = targets.filter(|endpoint| endpoint.standing == Standing::Up && !endpoint.leaving).count().max(1);
    let by_handshakes = match what {
        Wish::End => 0.0,
        Wish::Drain | Wish::Move | Wish::MoveByForce => sessions as f64 / (f64::from(handshakes_per_second) * up as f64),
    };
    let [deadline_s, pace_s] = [deadline, pace].map(|time| time.as_secs_f64());
    DepartureForecast { sessions, deadline_s, pace_s, handshakes_per_second, takes_s: deadline_s + pace_s.max(by_handshakes) }
}
