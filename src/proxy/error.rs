//! The proxy's own answers: what went wrong, whose doing that was, and how the table's word for it
//! becomes a response.
//!
//! A session id that does not open, whose endpoint is gone or whose session was ended is answered 404 (2025-03-26,
//! session management, rule 3); `server/discover`, where not both entries serve the modern era, 400, and its client
//! goes on with `initialize`; what a client must not send 4xx, before any endpoint is touched.

use std::fmt;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use super::asker::{Asker, Kind};
use super::table::{self, Phase, Said};
use crate::config::ErrorShape;
use crate::domain::{Blame, Entry, Outcome};
use crate::mcp::words;

/// Why the proxy answers by itself.
#[derive(Debug)]
pub(super) enum ProxyError {
    /// A head that is malformed or ambiguous; the connection is closed after it.
    Form(&'static str),
    /// The target is longer than 8 KiB.
    TargetTooLong,
    /// More than 100 fields.
    TooManyFields,
    /// CONNECT and TRACE, and whatever a resource does not take; with what it does.
    Method(&'static str),
    /// An expectation other than `100-continue`.
    Expectation,
    /// No service for host and path.
    NoService,
    /// Not one of `allowed_hosts`.
    HostRefused,
    /// Not one of `allowed_origins`.
    OriginRefused,
    /// The request has been here before.
    Loop,
    /// The modern era is not offered, since not both entries serve it.
    NotModern,
    /// The tester header names no entry.
    Tester,
    /// A session id that was not sealed here.
    UnknownSession,
    /// The session's endpoint is not configured any more.
    SessionLost,
    /// What a modern request brings back is known to a server that is gone, and to nobody else.
    WordLost,
    /// The session has been ended, since its entry was taken back.
    SessionEnded,
    /// The entry was taken back while the request waited, for as long as it may.
    TakenBack,
    /// The client's body broke off or is malformed.
    ClientBody,
    /// The client's body paused for too long.
    ClientBodySlow,
    /// Too many requests in flight.
    Overloaded,
    /// The process is stopping.
    Stopping,
    /// No entry can take the request.
    NothingUsable(Entry),
    /// The endpoint cannot be reached; it has not seen the request.
    Unreachable(String),
    /// The connection was lost after the request had been sent.
    Lost(String),
    /// No answer in time.
    TimedOut,
    /// The endpoint answers no checks any more while the request waits.
    Silent,
    /// The answer is not one.
    BadAnswer(String),
}

impl ProxyError {
    /// Whose doing it was.
    pub(super) fn blame(&self) -> Blame {
        match self {
            Self::Overloaded | Self::Stopping | Self::SessionEnded | Self::TakenBack => Blame::Proxy,
            Self::SessionLost
            | Self::WordLost
            | Self::NothingUsable(_)
            | Self::Unreachable(_)
            | Self::Lost(_)
            | Self::TimedOut
            | Self::Silent
            | Self::BadAnswer(_) => Blame::Entry,
            _ => Blame::Client,
        }
    }

    /// What the system said, for the log: it may name addresses, so it is not for the client.
    pub(super) fn cause(&self) -> Option<&str> {
        match self {
            Self::Unreachable(cause) | Self::Lost(cause) | Self::BadAnswer(cause) => Some(cause),
            _ => None,
        }
    }

    /// How it is counted.
    pub(super) fn outcome(&self) -> Outcome {
        Outcome::Failed(self.blame())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Form(_) | Self::Tester | Self::ClientBody | Self::NotModern => StatusCode::BAD_REQUEST,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::NoService | Self::UnknownSession | Self::SessionLost | Self::SessionEnded => StatusCode::NOT_FOUND,
            Self::HostRefused => StatusCode::MISDIRECTED_REQUEST,
            Self::OriginRefused => StatusCode::FORBIDDEN,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::ClientBodySlow => StatusCode::REQUEST_TIMEOUT,
            Self::Overloaded | Self::Stopping | Self::NothingUsable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::WordLost | Self::Unreachable(_) | Self::Lost(_) | Self::BadAnswer(_) => StatusCode::BAD_GATEWAY,
            Self::TimedOut | Self::Silent | Self::TakenBack => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Whether the request was in order and could not be served, so that the answer must spare the
    /// client's session.
    fn spares_the_session(&self) -> bool {
        !matches!(self.blame(), Blame::Client) && !matches!(self, Self::SessionLost)
    }
}

/// For the client: what happened, without addresses of ours.
impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form(what) => write!(f, "malformed request: {what}"),
            Self::TargetTooLong => f.write_str("the request target is longer than 8 KiB"),
            Self::TooManyFields => f.write_str("the request has more than 100 header fields"),
            Self::Method(allowed) => write!(f, "this method is not served here, but {allowed}"),
            Self::Expectation => f.write_str("the only expectation that is met is 100-continue"),
            Self::NoService => f.write_str("no service here for this host and path"),
            Self::HostRefused => f.write_str("this host is not served here"),
            Self::OriginRefused => f.write_str("this origin is not allowed"),
            Self::Loop => f.write_str("the request has come through here before"),
            Self::NotModern => f.write_str("revision 2026-07-28 is not served here for now: send initialize"),
            Self::Tester => f.write_str("the tester header names no entry: primary or secondary"),
            Self::UnknownSession => f.write_str("session not found: the id was not issued here or is no longer valid"),
            Self::SessionLost => f.write_str("session not found: the server that held it is gone"),
            Self::WordLost => f.write_str("the server that knows this state, task or cursor is gone: begin anew"),
            Self::SessionEnded => f.write_str("session not found: it was ended, as the version that it ran on was taken back"),
            Self::TakenBack => f.write_str("the version that ran it was taken back; the request may have been carried out"),
            Self::ClientBody => f.write_str("the request's body broke off or is malformed"),
            Self::ClientBodySlow => f.write_str("the request's body came too slowly"),
            Self::Overloaded => f.write_str("too many requests in flight; try again"),
            Self::Stopping => f.write_str("the proxy is stopping; try again"),
            Self::NothingUsable(_) => f.write_str("no server is available; try again"),
            Self::Unreachable(_) => f.write_str("the server could not be reached; the request was not delivered"),
            Self::Lost(_) => f.write_str("the connection to the server was lost; the request may have been carried out"),
            Self::Silent => f.write_str("the server has stopped answering; the request may have been carried out"),
            Self::TimedOut => f.write_str("the server did not answer in time; the request may have been carried out"),
            Self::BadAnswer(_) => f.write_str("the server's answer was not valid"),
        }
    }
}

/// The answer, as the table has it.
pub(super) fn answer(error: &ProxyError, asker: &Asker, shape: ErrorShape) -> Response<Bytes> {
    let status = match said(error, asker) {
        Said::Accepted => return accepted(),
        Said::Gone => return empty(StatusCode::OK),
        Said::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Said::Error if shape == ErrorShape::JsonRpc && asker.knows_ids() => StatusCode::OK,
        _ => error.status(),
    };
    let mut response = match asker.era {
        None => text(format!("{error}\n"), "text/plain; charset=utf-8"),
        Some(_) if asker.pending.is_empty() => text(words::error_body(&["null"], false, &error.to_string()), "application/json"),
        Some(_) => text(words::error_body(&asker.pending, asker.is_batch, &error.to_string()), "application/json"),
    };
    *response.status_mut() = status;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if matches!(error, ProxyError::Form(_) | ProxyError::TargetTooLong | ProxyError::ClientBody | ProxyError::ClientBodySlow) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let ProxyError::Method(allowed) = error {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

/// What the table says. What the client did wrong itself is told as such, whatever was asked.
fn said(error: &ProxyError, asker: &Asker) -> Said {
    let phase = match error {
        ProxyError::SessionEnded => Phase::Over,
        ProxyError::WordLost | ProxyError::NothingUsable(_) | ProxyError::Unreachable(_) | ProxyError::Overloaded => {
            Phase::NobodyThere
        }
        _ => Phase::Unanswered,
    };
    if error.spares_the_session() { table::said(asker.case(), phase, false) } else { Said::Status }
}

/// Whether the session's own stream is the place to tell a request's failure (HTTP+SSE). There, a lost
/// session is told, too: the stream itself will end.
pub(super) fn is_told_on_stream(error: &ProxyError, asker: &Asker, shape: ErrorShape) -> bool {
    let is_lost = matches!(error, ProxyError::SessionLost | ProxyError::SessionEnded)
        && matches!(asker.kind, Kind::Initialize | Kind::Call);
    shape == ErrorShape::JsonRpc && (is_lost || said(error, asker) == Said::ErrorOnStream)
}

/// Taken; what becomes of it is said elsewhere.
pub(super) fn accepted() -> Response<Bytes> {
    empty(StatusCode::ACCEPTED)
}

/// Whether an error was hidden from the client, so that somebody should count it.
pub(super) fn is_hidden(error: &ProxyError, asker: &Asker) -> bool {
    said(error, asker) == Said::Accepted
}

fn text(body: String, kind: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}
