//! A bounded look at a request's body.
//!
//! A JSON body whose length is announced and within `peek_limit` is gathered: no server can act on
//! half a JSON text, so nothing is delayed, and the whole of it in hand means that `initialize` is
//! recognised whatever its headers say, that a safe request can be sent again, and that an error
//! can name the request's id. Everything else streams through.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::error::ProxyError;
use super::handles;
use crate::http1::RequestHead;
use crate::live::ServiceView;
use crate::mcp::names;

/// A body as far as it has been looked at.
pub(super) enum Peeked {
    /// All of it is here.
    Whole(Bytes),
    /// It runs on behind what has been read.
    Running {
        /// What has been read.
        prefix: Bytes,
        /// What is to come; nothing where the prefix is all.
        rest: Option<Incoming>,
        /// Whether it is JSON and longer than the limit.
        over_limit: bool,
    },
}

impl Default for Peeked {
    /// None.
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl Peeked {
    /// The same, to be kept.
    pub(super) fn whole_bytes(&self) -> Option<Bytes> {
        match self {
            Self::Whole(bytes) => Some(bytes.clone()),
            Self::Running { .. } => None,
        }
    }

    /// The whole body, if it is here.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        match self {
            Self::Whole(bytes) => Some(bytes),
            Self::Running { .. } => None,
        }
    }
}

/// A body as it came with its head.
pub(super) enum Came {
    /// All of it.
    Whole(Bytes),
    /// By way of hyper.
    Running(Incoming),
}

/// What is looked at of a body in a session, once sessions have been moved: in an answer to a server, the id has to be read.
const MOVED: usize = 4 << 20;

/// Looks at a body. `has_moved`: some session has been moved in this process.
pub(super) async fn look(
    head: &RequestHead,
    body: Incoming,
    service: &ServiceView,
    pause: Duration,
    has_moved: bool,
) -> Result<Peeked, ProxyError> {
    let (limit, is_in_session) = limit(head, service, has_moved);
    if body.is_end_stream() {
        return Ok(Peeked::Whole(Bytes::new()));
    }
    let running = |rest, over_limit| Ok(Peeked::Running { prefix: Bytes::new(), rest: Some(rest), over_limit });
    if head.method != Method::POST || !is_json(head) {
        return running(body, false);
    }
    match body.size_hint().exact() {
        Some(length) if length > limit as u64 => running(body, true),
        Some(_) => gather(body, limit, pause).await,
        // Without an announced length, wait only where nothing but the body can say where to.
        None if !is_in_session && (head.headers.contains(names::SESSION_ID) || says_enough(head, service)) => {
            running(body, false)
        }
        None => gather(body, limit, pause).await,
    }
}

/// The same, where nothing will be sent on: what would have streamed through is gathered, too, and one time
/// is for all of it.
pub(super) async fn look_to_refuse(
    head: &RequestHead,
    body: Incoming,
    service: &ServiceView,
    pause: Duration,
    within: Duration,
) -> Result<Peeked, ProxyError> {
    let limit = service.config.traffic.peek_limit;
    let is_json = head.method == Method::POST && is_json(head);
    let is_long = body.size_hint().exact().is_some_and(|length| length > limit as u64);
    if body.is_end_stream() {
        return Ok(Peeked::Whole(Bytes::new()));
    }
    if !is_json || is_long {
        return Ok(Peeked::Running { prefix: Bytes::new(), rest: Some(body), over_limit: is_json });
    }
    // Slow is what is slower than it may be at other times; what takes longer than now can be waited for is not.
    tokio::time::timeout(within, gather(body, limit, pause)).await.unwrap_or(Err(ProxyError::Overloaded))
}

/// A body that is here: looked at, or left unread, as if it were still coming.
pub(super) fn look_at(head: &RequestHead, bytes: Bytes, service: &ServiceView, has_moved: bool) -> Peeked {
    let (limit, _) = limit(head, service, has_moved);
    let is_json = head.method == Method::POST && is_json(head);
    if bytes.is_empty() || (is_json && bytes.len() <= limit) {
        return Peeked::Whole(bytes);
    }
    Peeked::Running { prefix: bytes, rest: None, over_limit: is_json }
}

/// What is looked at, and whether that is more as it is of a session, when sessions have been moved.
fn limit(head: &RequestHead, service: &ServiceView, has_moved: bool) -> (usize, bool) {
    let limit = service.config.traffic.peek_limit;
    let is_in_session = has_moved && head.headers.contains(names::SESSION_ID);
    (if is_in_session { limit.max(MOVED) } else { limit }, is_in_session)
}

/// Whether the headers say all that a decision needs (2026-07-28): no word is to be looked for that only
/// the body has.
fn says_enough(head: &RequestHead, service: &ServiceView) -> bool {
    let is_modern = head.headers.get(names::PROTOCOL_VERSION).is_some_and(names::is_modern);
    is_modern && handles::method(head, None).is_some_and(|method| !handles::must_read(method, &service.pins))
}

fn is_json(head: &RequestHead) -> bool {
    head.headers.get(CONTENT_TYPE).is_some_and(|kind| {
        if kind == b"application/json" {
            return true;
        }
        let essence = kind.split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
    })
}

async fn gather(mut body: Incoming, limit: usize, pause: Duration) -> Result<Peeked, ProxyError> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(pause, body.frame()).await {
            Err(_) => return Err(ProxyError::ClientBodySlow),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(ProxyError::ClientBody),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        // The common body comes in one piece and is not copied.
        if first.is_empty() && more.is_empty() {
            first = data;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&std::mem::take(&mut first));
            }
            more.extend_from_slice(&data);
        }
        if body.is_end_stream() {
            break;
        }
        if first.len() + more.len() > limit {
            return Ok(Peeked::Running { prefix: join(first, more), rest: Some(body), over_limit: true });
        }
    }
    Ok(Peeked::Whole(join(first, more)))
}

fn join(first: Bytes, more: BytesMut) -> Bytes {
    if more.is_empty() { first } else { more.freeze() }
}
