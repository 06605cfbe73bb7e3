//! What reads an answer, by what it says that it is.

use http::StatusCode;

use super::super::headers::{begins_with, is_encoded};
use crate::domain::Outcome;
use crate::http1::Head;
use crate::mcp::scan::{Body, Events};

/// What reads it.
pub(super) enum Scan {
    /// The status says it all.
    Status,
    Json(Body),
    Events(Events),
    /// It cannot be read.
    Opaque,
}

impl Scan {
    /// By its head, and how that alone was judged.
    pub(super) fn of(head: &Head, outcome: Outcome) -> Self {
        if outcome != Outcome::Ok || head.status() != StatusCode::OK {
            return Self::Status;
        }
        let kind = head.get("content-type").unwrap_or_default();
        if is_encoded(head) {
            Self::Opaque
        } else if begins_with(kind, "application/json") {
            Self::Json(Body::default())
        } else if begins_with(kind, "text/event-stream") {
            Self::Events(Events::default())
        } else {
            Self::Opaque
        }
    }

    /// The reader of an event stream, where it is one that is read.
    pub(super) fn events(&self) -> Option<&Events> {
        if let Self::Events(events) = self { Some(events) } else { None }
    }
}
