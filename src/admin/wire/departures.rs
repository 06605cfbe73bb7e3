//! Sessions that are to leave an entry: what can be wanted, and how far it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Body, EntryName, Made};
use crate::control::Departing;
use crate::domain::machine::{Cause, Change, Depart};
use crate::domain::{Departure, Moment};
use crate::telemetry::clock::utc;

/// Moves the sessions of an entry to the other one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct MoveBody {
    /// The entry that they are to leave, `primary` or `secondary`.
    pub(in crate::admin) from: String,
    /// For the audit.
    #[schema(max_length = 1000)]
    pub(in crate::admin) reason: Option<String>,
    /// Also where clients may notice, from an entry that has a share, and to one that is not well; wants a reason.
    #[serde(default)]
    pub(in crate::admin) force: bool,
    /// Evenly over so long, like `25s`; without it `sessions.drain_pace`.
    pub(in crate::admin) pace: Option<String>,
}

impl Body for MoveBody {
    const LIKE: &'static str = r#"{"from": "primary"}"#;
}

/// Ends the sessions of an entry.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct EndBody {
    /// The entry, `primary` or `secondary`.
    pub(in crate::admin) entry: String,
    /// For the audit.
    #[schema(max_length = 1000)]
    pub(in crate::admin) reason: Option<String>,
    /// Also where the entry has a share, or the other one is not well; wants a reason.
    #[serde(default)]
    pub(in crate::admin) force: bool,
    /// Evenly over so long, like `25s`; without it `sessions.drain_pace`.
    pub(in crate::admin) pace: Option<String>,
}

impl Body for EndBody {
    const LIKE: &'static str = r#"{"entry": "primary"}"#;
}

/// Asks what an entry without a share still holds; with a deadline it is drained, and with `cancel` it is not.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct DrainBody {
    /// For the audit.
    #[schema(max_length = 1000)]
    pub(in crate::admin) reason: Option<String>,
    /// Sessions may stay so long, like `10m`; `0s`: they leave now.
    pub(in crate::admin) deadline: Option<String>,
    /// They leave evenly over so long, like `25s`; without it `sessions.drain_pace`.
    pub(in crate::admin) pace: Option<String>,
    /// Takes back what was ordered of this entry's sessions.
    #[serde(default)]
    pub(in crate::admin) cancel: bool,
}

impl Body for DrainBody {
    const LIKE: &'static str = r#"{"deadline": "10m"}, {"cancel": true}, or nothing"#;
}

/// Sessions that were told to leave, or would be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SessionsOrdered)]
pub(in crate::admin) struct SessionsOrdered {
    pub(in crate::admin) service: String,
    /// The entry that they leave.
    pub(in crate::admin) entry: EntryName,
    pub(in crate::admin) version: String,
    /// `sessions-move`, `sessions-end`.
    pub(in crate::admin) what: &'static str,
    pub(in crate::admin) forced: bool,
    pub(in crate::admin) forecast: DepartureForecast,
    #[serde(flatten)]
    made: Made,
}

impl SessionsOrdered {
    pub(in crate::admin) fn of(
        service: &str,
        version: &str,
        depart: &Depart,
        forecast: DepartureForecast,
        change: &Change,
        dry_run: bool,
    ) -> Self {
        let (service, version, what) = (service.to_owned(), version.to_owned(), depart.what.name());
        Self {
            service,
            entry: depart.entry.into(),
            version,
            what,
            forced: depart.force,
            forecast,
            made: Made::of(change, dry_run),
        }
    }
}

/// What is to be expected, as things are.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(in crate::admin) struct DepartureForecast {
    /// Sessions on the entry now.
    pub(in crate::admin) sessions: u64,
    /// They may stay so long,
    pub(in crate::admin) deadline_s: f64,
    /// and leave evenly over so long.
    pub(in crate::admin) pace_s: f64,
    /// At most so many are opened anew in a second at each endpoint of the other entry.
    pub(in crate::admin) handshakes_per_second: u32,
    /// So long at least, deadline and all.
    pub(in crate::admin) takes_s: f64,
}

/// What was ordered by a drain, or taken back, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct DrainOrdered {
    /// Null: it was taken back.
    pub(in crate::admin) forecast: Option<DepartureForecast>,
    #[serde(flatten)]
    made: Made,
}

impl DrainOrdered {
    pub(in crate::admin) fn of(forecast: Option<DepartureForecast>, change: &Change, dry_run: bool) -> Self {
        Self { forecast, made: Made::of(change, dry_run) }
    }
}

/// An entry that is being left, or will be.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Departure)]
pub(in crate::admin) struct DepartureState {
    /// `drain` (it has no share), `rollback`, `drain-ordered`, `move-ordered`, `end-ordered`.
    cause: &'static str,
    /// `moves` or `ends`.
    how: &'static str,
    /// Whether sessions are moved also where their clients may notice.
    forced: bool,
    /// Whether those that cannot be moved are ended; else they stay.
    or_ends: bool,
    /// The first leaves then (RFC 3339),
    from: String,
    /// and the last.
    until: String,
    /// Sessions that were moved since it began, as far as this process has moved them,
    moved: u64,
    /// attempts that were refused: the versions differ, or it is not known how to open the session again,
    refused: u64,
    /// attempts that the other entry did not take,
    failed: u64,
    /// and sessions that were ended.
    ended: u64,
    /// Sessions that have to leave and are there. Who came later is not among them.
    left: u64,
}

impl DepartureState {
    /// None: nobody has to leave, and nobody has asked. `origin` is the wall clock at the start of the process.
    pub(in crate::admin) fn of(departing: &Departing, origin: Duration) -> Option<Self> {
        let Departing { leaving, moved, refused, failed, ended, left, .. } = *departing;
        if leaving.cause == Cause::Drain && moved + refused + failed + ended + left == 0 {
            return None;
        }
        let eviction = leaving.eviction;
        let (how, forced, or_ends) = match eviction.how {
            Departure::Ends => ("ends", false, true),
            Departure::Moves { forced, or_ends } => ("moves", forced, or_ends),
        };
        let time = |moment: Moment| utc(origin.saturating_add(moment.since(Moment::default())));
        let (from, until) = (time(eviction.from), time(eviction.from.plus(eviction.over)));
        Some(Self { cause: leaving.cause.as_str(), how, forced, or_ends, from, until, moved, refused, failed, ended, left })
    }
}
