//! The table: what the proxy says itself, from era, transport, kind of request and phase.
//!
//! Measured with five clients (docs/survival.md): 200 with a JSON-RPC error is the only shape before an
//! answer that none of them turns into a dead session, and an error event the only one in a stream.

use super::asker::Kind;
use crate::domain::Era;

/// How a session's answers reach its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// Each by the request that it answers (2025-03-26 and later).
    Streamable,
    /// All on one GET stream (2024-11-05).
    HttpSse,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// None where it is not MCP.
    pub(super) era: Option<Era>,
    pub(super) transport: Transport,
    pub(super) kind: Kind,
}

/// How far its answer had come when something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its session has been ended, since its entry was taken back: no server has seen it.
    Over,
    /// Nobody is there to take it, or the proxy has no room for it: no server has seen it. So it is where its session has to be
    /// opened again, and that is refused, does not get its turn in time, or was done too often.
    NobodyThere,
    /// It was sent, or could not be; nothing of an answer has come.
    Unanswered,
    /// The stream of its answer has begun, and its server broke it.
    Broken,
    /// The same, and its server ended it without an answer.
    Ended,
    /// The same, and checks of the server get no answer any more.
    Silent,
    /// The same, and the proxy is stopping.
    Stopping,
    /// The same, and its entry was taken back, or its session has moved and its time there is over: where it came from, nothing
    /// can be resumed.
    Taken,
}

/// What the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// What went wrong, as a status.
    Status,
    /// 503.
    Unavailable,
    /// 202, and nothing more.
    Accepted,
    /// 200, and nothing more: what was to be ended is gone either way.
    Gone,
    /// 200, with a JSON-RPC error for each id. Where no id is known, or `error_shape = "http"`: the status.
    Error,
    /// 202, with the error as an event on the session's stream. Where that is not here, or
    /// `error_shape = "http"`: the status.
    ErrorOnStream,
    /// An error event for each id, and a proper end. Where no id is known: as a server would leave it.
    ErrorEvents,
    /// The same for what waits, and the stream goes on.
    ErrorEventsAndOn,
    /// A proper end: the client opens it again.
    End,
    /// What was cut looks cut.
    Cut,
    /// Nothing: it may go on.
    On,
}

/// The table. `resumable`: the stream's events have ids, so that a legacy client takes it up again where it
/// ended (2025-03-26, resumability).
pub(super) fn said(case: Case, phase: Phase, resumable: bool) -> Said {
    use Kind::{Call, End, Initialize, Listen, Message, Subscribe};
    use Phase::{Broken, Ended, NobodyThere, Over, Silent, Stopping, Taken, Unanswered};
    let Case { era, transport, kind } = case;
    let is_legacy = era == Some(Era::Legacy);
    match (phase, kind) {
        (Over | NobodyThere | Unanswered, Message) if is_legacy => Said::Accepted,
        (Over | NobodyThere | Unanswered, End) if is_legacy => Said::Gone,
        // 404: begin anew (2025-03-26, session management).
        (Over, _) => Said::Status,
        (NobodyThere | Unanswered, Listen) if is_legacy => Said::Unavailable,
        (NobodyThere | Unanswered, Initialize | Call) if is_legacy && transport == Transport::HttpSse => Said::ErrorOnStream,
        // No session is lost yet, and a client that cannot begin tries again later.
        (NobodyThere, Initialize) if is_legacy => Said::Unavailable,
        (NobodyThere | Unanswered, Initialize | Call) if is_legacy => Said::Error,
        (NobodyThere | Unanswered, _) => Said::Status,

        // The stream is the session: what waits on it is told, and only what is over ends.
        (Silent, Listen) if transport == Transport::HttpSse => Said::ErrorEventsAndOn,
        (Broken | Ended | Stopping | Taken, Listen) if transport == Transport::HttpSse => Said::ErrorEvents,
        // Its session is at that server and nowhere else, and may be well again.
        (Silent, Listen) => Said::On,
        // An end without a result means: listen again (2026-07-28, subscriptions).
        (Silent, Subscribe) => Said::End,
        (Broken, Initialize | Call) if resumable => Said::Cut,
        (Ended | Silent | Stopping, Initialize | Call) if resumable => Said::End,
        (_, Initialize | Call) => Said::ErrorEvents,

        (Silent, _) => Said::On,
        (Broken, _) => Said::Cut,
        (Ended | Stopping | Taken, _) => Said::End,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Said::{Accepted, Cut, End, Error, ErrorEvents, ErrorEventsAndOn, ErrorOnStream, Gone, On, Status, Unavailable};

    const PHASES: [Phase; 8] = [
        Phase::Over,
        Phase::NobodyThere,
        Phase::Unanswered,
        Phase::Broken,
        Phase::Ended,
        Phase::Silent,
        Phase::Stopping,
        Phase::Taken,
    ];

    #[test]
    fn every_cell_is_stated() {
        use Kind::{Call, Initialize, Listen, Message, Plain, Subscribe};
        use Transport::{HttpSse, Streamable};
        let (legacy, modern) = (Some(Era::Legacy), Some(Era::Modern));
        let table = [
            (
                legacy,
                Streamable,
                Initialize,
                [Status, Unavailable, Error, ErrorEvents, ErrorEvents, ErrorEvents, ErrorEvents, ErrorEvents],
            ),
            (legacy, Streamable, Call, [Status, Error, Error, ErrorEvents, ErrorEvents, ErrorEvents, ErrorEvents, ErrorEvents]),
            (legacy, Streamable, Message, [Accepted, Accepted, Accepted, Cut, End, On, End, End]),
            (legacy, Streamable, Listen, [Status, Unavailable, Unavailable, Cut, End, On, End, End]),
            (legacy, Streamable, Kind::End, [Gone, Gone, Gone, Cut, End, On, End, End]),
            (
                legacy,
                HttpSse,
                Initialize,
                [Status, ErrorOnStream, ErrorOnStream, ErrorEvents, ErrorEvents, ErrorEvents, ErrorEvents, ErrorEvents],
            ),
            (
                legacy,
                HttpSse,
                Call,
                [Status, ErrorOnStream, ErrorOnStream, ErrorEvents, ErrorEvents, ErrorEvents, ErrorEvents, ErrorEvents],
            ),
            (legacy, HttpSse, Message, [Accepted, Accepted, Accepted, Cut, End, On, End, End]),
            (
                legacy,
                HttpSse,
                Listen,
                [Status, Unavailable, Unavailable, ErrorEvents, ErrorEvents, ErrorEventsAndOn, ErrorEvents, ErrorEvents],
            ),
            (modern, Streamable, Call, [Status, Status, Status, ErrorEvents, ErrorEvents, ErrorEvents, ErrorEvents, ErrorEvents]),
            (modern, Streamable, Message, [Status, Status, Status, Cut, End, On, End, End]),
            (modern, Streamable, Subscribe, [Status, Status, Status, Cut, End, End, End, End]),
            (None, Streamable, Plain, [Status, Status, Status, Cut, End, On, End, End]),
        ];
        for (era, transport, kind, row) in table {
            let case = Case { era, transport, kind };
            assert_eq!(PHASES.map(|phase| said(case, phase, false)), row, "{case:?}");
        }
    }

    #[test]
    fn what_can_be_resumed_is_left_to_be_resumed() {
        let case = Case { era: Some(Era::Legacy), transport: Transport::Streamable, kind: Kind::Call };
        assert_eq!(PHASES.map(|phase| said(case, phase, true)), [Status, Error, Error, Cut, End, End, End, ErrorEvents]);
    }
}
