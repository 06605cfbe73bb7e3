//! Logs requests and tool calls, where somebody wants that: a `request` line at debug, `tool_call` and
//! `tool_error` at info as `[log]` says. What a client may not want told (ids, tokens, arguments) is not
//! among what a witness is given.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use tracing::Level;

use super::asker::{Asker, Kind};
use super::error::ProxyError;
use super::seat::Seat;
use crate::config::{Log, Service};
use crate::domain::{Entry, Era, Outcome, Why};
use crate::http1::Fields;
use crate::telemetry::trace::Trace;
use crate::upstream::{Endpoint, tools};

/// One request as the log tells of it; the line of the request is written when it goes.
pub(super) struct Witness {
    service: Arc<Service>,
    log: Log,
    begun: Instant,
    trace: Option<Trace>,
    place: Option<Place>,
    era: Option<Era>,
    kind: Kind,
    status: Option<StatusCode>,
    /// The first outcome, or the first that was not good.
    outcome: Cell<Option<Outcome>>,
    is_told: Cell<bool>,
}

/// Where it was sent.
struct Place {
    entry: Entry,
    version: String,
    endpoint: Arc<Endpoint>,
    why: Why,
}

impl Witness {
    /// Somebody to watch a request, where the log is to tell of it.
    pub(super) fn begin(log: Log, service: &Arc<Service>, headers: &Fields, begun: Instant) -> Option<Box<Self>> {
        if !(log.tool_calls || log.tool_errors || tracing::enabled!(Level::DEBUG)) {
            return None;
        }
        let witness = Self {
            service: service.clone(),
            log,
            begun,
            trace: Trace::of(headers),
            place: None,
            era: None,
            kind: Kind::default(),
            status: None,
            outcome: Cell::new(None),
            is_told: Cell::new(false),
        };
        Some(Box::new(witness))
    }

    /// It has a seat.
    pub(super) fn seated(&mut self, seat: &Seat, era: Option<Era>, kind: Kind) {
        (self.era, self.kind) = (era, kind);
        let version = seat.service.entries[seat.entry].version.clone();
        self.place = Some(Place { entry: seat.entry, version, endpoint: seat.ticket.endpoint().clone(), why: seat.why });
    }

    /// The trace that its client began.
    pub(super) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// The head of its answer is here.
    pub(super) fn answered(mut self: Box<Self>, status: StatusCode) -> Box<Self> {
        self.status = Some(status);
        self
    }

    /// The proxy has answered it by itself.
    pub(super) fn refused(mut self, error: &ProxyError, status: StatusCode, asker: &Asker) {
        (self.era, self.kind, self.status) = (asker.era, asker.kind, Some(status));
        // Where it belongs to no entry, no tally has it.
        let outcome = self.outcome.get().unwrap_or_else(|| error.outcome());
        self.outcome.set(Some(outcome));
        self.tell(Some(error));
    }

    /// Something of it was booked: the call of a tool, or the request as a whole.
    pub(super) fn saw(witness: Option<&Self>, tool: Option<&str>, outcome: Outcome, after: Duration) {
        let Some(witness) = witness else { return };
        if witness.outcome.get().is_none_or(|known| known == Outcome::Ok) {
            witness.outcome.set(Some(outcome));
        }
        Self::heard(Some(witness), witness.trace.as_ref(), tool, outcome, after);
    }

    /// The call of a tool was booked that another request made: one posted to the HTTP+SSE session whose
    /// stream this is; the trace is that request's.
    pub(super) fn heard(witness: Option<&Self>, trace: Option<&Trace>, tool: Option<&str>, outcome: Outcome, after: Duration) {
        let (Some(witness), Some(tool)) = (witness, tool) else { return };
        if witness.log.tool_calls {
            witness.tool("tool_call", tool, outcome, after, trace);
        }
        if witness.log.tool_errors && outcome != Outcome::Ok {
            witness.tool("tool_error", tool, outcome, after, trace);
        }
    }

    fn tool(&self, event: &'static str, tool: &str, outcome: Outcome, after: Duration, trace: Option<&Trace>) {
        let place = self.place.as_ref();
        tracing::info!(
            service = self.service.name,
            entry = place.map(|place| place.entry.as_str()),
            version = place.map(|place| place.version.as_str()),
            endpoint = place.map(|place| place.endpoint.name.as_str()),
            tool_name = tools::shown(tool),
            outcome = outcome.as_str(),
            duration_ms = milliseconds(after),
            trace_id = trace.map(Trace::trace_id),
            span_id = trace.map(Trace::span_id),
            "{event}",
        );
    }

    /// The line of the request.
    fn tell(&self, error: Option<&ProxyError>) {
        self.is_told.set(true);
        let place = self.place.as_ref();
        let word = |word: &dyn fmt::Debug| format!("{word:?}").to_ascii_lowercase();
        tracing::debug!(
            service = self.service.name,
            entry = place.map(|place| place.entry.as_str()),
            version = place.map(|place| place.version.as_str()),
            endpoint = place.map(|place| place.endpoint.name.as_str()),
            why = place.map(|place| place.why.as_str()),
            kind = word(&self.kind),
            era = self.era.map(|era| word(&era)),
            status = self.status.map(|status| status.as_u16()),
            outcome = self.outcome.get().map(Outcome::as_str),
            duration_ms = milliseconds(self.begun.elapsed()),
            error = error.map(ToString::to_string),
            cause = error.and_then(ProxyError::cause),
            trace_id = self.trace.as_ref().map(Trace::trace_id),
            span_id = self.trace.as_ref().map(Trace::span_id),
            "request",
        );
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if !self.is_told.get() {
            self.tell(None);
        }
    }
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}
