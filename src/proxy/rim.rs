//! The rim: what is refused before any service is looked up.
//!
//! The limit of requests in flight is held by the body of the answer, to the end of the stream: a
//! limit that ends with the head of the answer, as a middleware's would, does not see open streams.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderValue, Method, Version};

use super::asker::{Asker, Kind};
use super::error::{self, ProxyError};
use super::local::Local;
use super::peek::{self, Came, Peeked};
use super::peer::Peer;
use super::{Site, Worker, boxed, headers};
use crate::domain::Blame;
use crate::http1::{self, Fields, RequestHead};
use crate::live::ServiceView;
use crate::swar;

const MOST_TARGET: usize = 8 << 10;

/// Bounds on a request's head, in bytes and in fields (431 beyond).
pub(super) const MOST_HEAD: usize = 32 << 10;
pub(super) const MOST_FIELDS: usize = 100;

/// Requests beyond `limits.requests` that are read to be refused, at a time. Each may hold `peek_limit` of
/// its body (all of them 16 MiB by default), and its whole body has this long: who sends slowly cannot keep
/// the others from a refusal that spares their sessions.
const MOST_REFUSING: usize = 256;
const REFUSING: Duration = Duration::from_secs(5);

/// One of the requests in flight, counted until it is dropped. The count is everybody's; to hold it is a worker's own business.
pub(super) struct Permit(Local<AtomicUsize>);

/// What a worker counts its requests by.
pub(super) struct Rooms {
    in_flight: Local<AtomicUsize>,
    refusing: Local<AtomicUsize>,
}

impl Permit {
    fn take(count: &Local<AtomicUsize>, most: usize) -> Option<Self> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let permit = Self(count.clone());
        (before < most).then_some(permit)
    }
}

/// Whether there is room for a request.
pub(super) enum Room {
    /// It may go on, and holds this to its end.
    Free(Option<Permit>),
    /// It is read to be refused, as a refusal that its client survives has its id; and holds this meanwhile.
    Full { _permit: Permit },
}

impl Rooms {
    pub(super) fn of(site: &Site) -> Self {
        Self { in_flight: Local::new(site.in_flight.clone()), refusing: Local::new(site.refusing.clone()) }
    }

    /// Where even those that are read to be refused are too many, nothing of a request is read.
    pub(super) fn find(&self, most: usize) -> Result<Room, ProxyError> {
        if let Some(permit) = Permit::take(&self.in_flight, most) {
            return Ok(Room::Free(Some(permit)));
        }
        Permit::take(&self.refusing, MOST_REFUSING).map(|permit| Room::Full { _permit: permit }).ok_or(ProxyError::Overloaded)
    }
}

impl Room {
    /// Looks at a body as far as that serves what will become of it.
    pub(super) async fn look(
        &self,
        head: &RequestHead,
        came: Came,
        service: &ServiceView,
        pause: Duration,
        has_moved: bool,
    ) -> Result<Peeked, ProxyError> {
        let has_moved = has_moved && matches!(self, Self::Free(_));
        match (came, self) {
            (Came::Whole(bytes), _) => Ok(peek::look_at(head, bytes, service, has_moved)),
            // In a box: a request that came whole needs no room for what reads another.
            (Came::Running(body), Self::Free(_)) => boxed(|| peek::look(head, body, service, pause, has_moved)).await,
            (Came::Running(body), Self::Full { .. }) => {
                boxed(|| peek::look_to_refuse(head, body, service, pause, REFUSING)).await
            }
        }
    }

    /// The right to go on.
    pub(super) fn permit(&mut self) -> Result<Permit, ProxyError> {
        match self {
            Self::Free(permit) => permit.take().ok_or(ProxyError::Overloaded),
            Self::Full { .. } => Err(ProxyError::Overloaded),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Worker {
    /// Counts a request that the proxy answered by itself.
    pub(super) fn count(&self, error: &ProxyError, asker: &Asker) {
        let refused = &self.site.refused;
        match (&asker.service, asker.entry, error) {
            (None, _, ProxyError::NoService) => refused.no_service.fetch_add(1, Ordering::Relaxed),
            (_, _, ProxyError::Overloaded) => refused.overload.fetch_add(1, Ordering::Relaxed),
            (_, _, ProxyError::HostRefused | ProxyError::OriginRefused) => refused.origin.fetch_add(1, Ordering::Relaxed),
            (_, _, ProxyError::NotModern) => refused.era.fetch_add(1, Ordering::Relaxed),
            (_, None, _) if error.blame() == Blame::Client => refused.form.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        let Some(service) = &asker.service else { return };
        let meant = match error {
            ProxyError::NothingUsable(entry) => Some(*entry),
            _ => asker.entry,
        };
        if let Some(entry) = meant.filter(|_| !asker.is_booked_elsewhere()) {
            asker.books(service.entries[entry].tally_at(asker.endpoint.as_deref())).note_all(
                &asker.pending,
                error.outcome(),
                asker.elapsed(),
            );
        }
        if let (ProxyError::SessionEnded, Some(entry), Some(session)) = (error, asker.entry, &asker.session) {
            service.entries[entry].tally.end_session(session.as_bytes());
            if asker.kind == Kind::Listen {
                self.site.interrupted.end(session.as_bytes(), Some(error.outcome()));
            }
        }
        if let (Kind::End, Some(entry), Some(session)) = (asker.kind, asker.entry, &asker.session) {
            service.entries[entry].tally.sessions().ended(session.as_bytes());
        }
        if error::is_hidden(error, asker) {
            service.tally.undelivered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Checks a head for what hyper lets pass and no endpoint should have to interpret (RFC 9112, 3.2,
/// 6.1 and 6.3; RFC 9110, 7.2; RFC 9113, 8.2.2 and 8.3.1). Gives the host that was asked for: lower case, without port.
pub(super) fn check<'a>(head: &'a RequestHead, site: &Site) -> Result<Cow<'a, str>, ProxyError> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(ProxyError::Method("GET, POST, DELETE, OPTIONS, HEAD, PUT, PATCH"));
    }
    if head.uri.path_and_query().map_or(0, |target| target.as_str().len()) > MOST_TARGET {
        return Err(ProxyError::TargetTooLong);
    }
    // Over HTTP/1 the library counts them.
    if head.version == Version::HTTP_2 && head.headers.len() > MOST_FIELDS {
        return Err(ProxyError::TooManyFields);
    }
    let said = Said::by(&head.headers, site)?;
    if head.version == Version::HTTP_2 {
        of_http2(head)?;
    }
    host(head, said.host)
}

/// What the fields say that no endpoint should have to interpret, in one pass over them.
#[derive(Default)]
struct Said<'a> {
    lengths: usize,
    codings: usize,
    host: Option<&'a [u8]>,
}

impl<'a> Said<'a> {
    fn by(headers: &'a Fields, site: &Site) -> Result<Self, ProxyError> {
        let mut said = Self::default();
        for (name, value) in headers.iter() {
            match name {
                b"content-length" => said.lengths += 1,
                b"transfer-encoding" => {
                    said.codings += 1;
                    if !value.eq_ignore_ascii_case(b"chunked") {
                        return Err(ProxyError::Form("the one transfer coding is chunked"));
                    }
                }
                b"expect" if !value.eq_ignore_ascii_case(b"100-continue") => return Err(ProxyError::Expectation),
                b"via" => {
                    let is_own = |own: &HeaderValue| headers::mentions(value, own.as_bytes());
                    if is_own(&site.via.http1) || is_own(&site.via.http2) {
                        return Err(ProxyError::Loop);
                    }
                }
                b"host" if said.host.replace(value).is_some() => return Err(ProxyError::Form("more than one Host")),
                _ => {}
            }
        }
        if said.lengths + said.codings > 1 {
            return Err(ProxyError::Form("more than one statement of the body's length"));
        }
        Ok(said)
    }
}

/// What HTTP/2 forbids and a library might let pass: an endpoint would see it in HTTP/1, where it
/// means something (RFC 9113, 8.2.2), and two names for one host (8.3.1).
fn of_http2(head: &RequestHead) -> Result<(), ProxyError> {
    if ["connection", "transfer-encoding", "upgrade", "keep-alive"].iter().any(|name| head.headers.contains(name)) {
        return Err(ProxyError::Form("a field of a connection in HTTP/2"));
    }
    if head.headers.all("te").any(|value| value != b"trailers") {
        return Err(ProxyError::Form("TE says more than trailers"));
    }
    let (Some(authority), Some(field)) = (head.uri.authority(), head.headers.get("host")) else { return Ok(()) };
    let port = if head.uri.scheme_str() == Some("https") { 443 } else { 80 };
    let parts = |authority: &http::uri::Authority| (authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(port));
    let other: Option<http::uri::Authority> = http1::text(field).and_then(|text| text.parse().ok());
    match other {
        Some(other) if parts(&other) == parts(authority) => Ok(()),
        _ => Err(ProxyError::Form("Host and :authority are not the same")),
    }
}

/// The authority of an absolute target replaces the Host field (RFC 9112, 3.2.2); over HTTP/2 it is
/// `:authority`.
fn host<'a>(head: &'a RequestHead, field: Option<&'a [u8]>) -> Result<Cow<'a, str>, ProxyError> {
    if let Some(authority) = head.uri.authority() {
        let valid = !authority.as_str().contains('@');
        return if valid { Ok(lower(authority.host())) } else { Err(ProxyError::Form("the target is not valid")) };
    }
    match field {
        None if head.version == Version::HTTP_10 => Ok(Cow::Borrowed("")),
        None => Err(ProxyError::Form("no Host")),
        Some(field) => of_field(field).ok_or(ProxyError::Form("the Host is not valid")),
    }
}

fn of_field(field: &[u8]) -> Option<Cow<'_, str>> {
    // A plain name or IPv4 address, with a port or without, is what nearly everybody sends: read at a glance.
    let (name, rest) = field.split_at(swar::small_name(field));
    let is_port = match rest {
        [] => true,
        [b':', port @ ..] => (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if is_port && !name.is_empty() {
        return str::from_utf8(name).ok().map(Cow::Borrowed);
    }
    let text = http1::text(field)?;
    let authority: http::uri::Authority = text.parse().ok()?;
    let valid = !text.contains('@');
    valid.then(|| Cow::Owned(authority.host().to_ascii_lowercase()))
}

fn lower(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) }
}

/// Host and Origin, checked on behalf of endpoints, which see their own authority as Host and so
/// cannot tell a rebound name any more.
pub(super) fn guard(head: &RequestHead, host: &str, service: &crate::config::Service, peer: &Peer) -> Result<(), ProxyError> {
    let traffic = &service.traffic;
    if !traffic.allowed_hosts.is_empty() && !traffic.allowed_hosts.iter().any(|allowed| allowed == host) {
        return Err(ProxyError::HostRefused);
    }
    let Some(origin) = head.headers.get(http::header::ORIGIN) else { return Ok(()) };
    let origin = http1::text(origin).ok_or(ProxyError::OriginRefused)?.to_ascii_lowercase();
    let allowed = if traffic.allowed_origins.is_empty() {
        !peer.is_local || is_local_origin(&origin)
    } else {
        traffic.allowed_origins.contains(&origin)
    };
    if allowed { Ok(()) } else { Err(ProxyError::OriginRefused) }
}

fn is_local_origin(origin: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let host = authority.parse::<http::uri::Authority>().map(|authority| authority.host().to_owned()).unwrap_or_default();
    matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]")
}
