//! What a request is, from its headers and, where they cannot tell, its body. MCP is recognised by
//! content, not by path.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, Method, request};
use tokio::time::Instant;

use super::Site;
use super::error::ProxyError;
use super::ledger::{Pending, book_all};
use super::peek::Peeked;
use super::peer::Peer;
use crate::config::Plain;
use crate::domain::{Asked, Blame, ClientKey, Entry, KeySource, Outcome};
use crate::live::ServiceView;
use crate::mcp::{self, Envelope, SessionPin, names};

/// The facts that a decision goes by.
#[derive(Debug)]
pub(super) struct Facts {
    /// What it asks of the split.
    pub(super) asked: Asked,
    /// Its client's key, where it has one that counts.
    pub(super) key: Option<ClientKey>,
    /// Where its session lives.
    pub(super) pin: Option<SessionPin>,
    /// The session id as the client sent it, where it opened.
    pub(super) session: Option<HeaderValue>,
    /// Whether it may be sent a second time when no byte of an answer came.
    pub(super) repeatable: bool,
    /// Whether it may open a session although nobody has read it, being longer than may be looked at.
    pub(super) unread: bool,
}

/// What has to be known to answer in a way that the client understands, as far as it is known when
/// something goes wrong.
#[derive(Default)]
pub(super) struct Asker {
    /// The service asked.
    pub(super) service: Option<Arc<ServiceView>>,
    /// The entry chosen.
    pub(super) entry: Option<Entry>,
    /// The protocol's era.
    pub(super) era: Era,
    /// The kind of request.
    pub(super) kind: Kind,
    /// The requests that want an answer.
    pub(super) pending: Vec<Pending>,
    /// Whether the answer to several is an array.
    pub(super) is_batch: bool,
    /// The session, where its id opened.
    pub(super) session: Option<HeaderValue>,
    /// Whether it has been answered, and so counted.
    pub(super) is_settled: bool,
    /// When it began.
    pub(super) begun: Option<Instant>,
}

/// A client that leaves before its answer begins drops everything in the middle: that is counted here.
impl Drop for Asker {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let (Some(service), Some(entry)) = (&self.service, self.entry) else { return };
        let tally = &service.entries[entry].tally;
        book_all(tally, &self.pending, Outcome::Failed(Blame::Client), self.elapsed());
    }
}

/// The protocol's era.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Era {
    /// Not MCP.
    #[default]
    None,
    /// With handshake and sessions, to 2025-11-25.
    Legacy,
    /// Stateless, from 2026-07-28.
    Modern,
}

/// The kind of request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Not MCP.
    #[default]
    Plain,
    /// Opens a legacy session.
    Initialize,
    /// Wants an answer.
    Call,
    /// A notification, or a response to the server.
    Message,
    /// A GET event stream.
    Listen,
    /// A DELETE of a session.
    End,
}

impl Asker {
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.map_or(Duration::ZERO, |begun| begun.elapsed())
    }

    pub(super) fn is_mcp(&self) -> bool {
        self.era != Era::None
    }

    fn learn(&mut self, head: &request::Parts, envelope: Option<&Envelope<'_>>, unread: bool) {
        self.era = era(head, envelope, unread);
        self.kind = match (&head.method, envelope) {
            _ if self.era == Era::None => Kind::Plain,
            (&Method::GET, _) => Kind::Listen,
            (&Method::DELETE, _) => Kind::End,
            (_, Some(envelope)) if envelope.is_initialize() => Kind::Initialize,
            (_, Some(envelope)) if envelope.wanted.is_empty() => Kind::Message,
            _ => Kind::Call,
        };
        if let Some(envelope) = envelope {
            self.pending = envelope.wanted.iter().map(Pending::new).collect();
            self.is_batch = envelope.kind == mcp::Kind::Batch;
        }
    }
}

/// Reads a request. What an error has to know is noted in `asker` before anything can go wrong.
pub(super) fn read(
    head: &request::Parts,
    body: &Peeked,
    service: &ServiceView,
    peer: &Peer,
    site: &Site,
    asker: &mut Asker,
) -> Result<Facts, ProxyError> {
    let envelope = body.whole().filter(|_| head.method == Method::POST).and_then(Envelope::read);
    let unread = matches!(body, Peeked::Running { over_limit: true, .. }) && !head.headers.contains_key(names::SESSION_ID);
    asker.learn(head, envelope.as_ref(), unread);
    let repeatable = match &envelope {
        Some(envelope) => envelope.is_repeatable(),
        None => matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS),
    };
    let mut facts = Facts {
        asked: Asked::Stable,
        key: None,
        pin: None,
        session: None,
        repeatable,
        unread: unread && asker.era == Era::Legacy,
    };
    if asker.era == Era::Legacy && asker.kind != Kind::Initialize && read_session(head, service, site, &mut facts)? {
        asker.session.clone_from(&facts.session);
        asker.entry = facts.pin.as_ref().map(|pin| pin.entry);
        return Ok(facts);
    }
    if matches!(body, Peeked::Running { over_limit: true, .. }) {
        service.tally.unpeeked.fetch_add(1, Ordering::Relaxed);
    }
    let is_birth = asker.kind == Kind::Initialize || facts.unread;
    facts.key = client_key(head, service, peer, site, !is_birth);
    if facts.key.is_none() && !is_birth && asker.is_mcp() {
        // Whoever else lists the keys: what is no birth must not use one up.
        facts.key = Some(address_key(head, peer, site));
    }
    facts.asked = match (tester(head, service)?, asker.kind, facts.key) {
        (Some(entry), _, _) => Asked::Tester(entry),
        (None, Kind::Plain, _) if belongs_to_stable(head, service) => Asked::Stable,
        (None, _, Some(key)) => {
            service.tally.note_key(key);
            Asked::Client(key)
        }
        (None, _, None) => Asked::Birth,
    };
    Ok(facts)
}

/// The session of a legacy request. Whether there is one.
fn read_session(head: &request::Parts, service: &ServiceView, site: &Site, facts: &mut Facts) -> Result<bool, ProxyError> {
    let mut ids = head.headers.get_all(names::SESSION_ID).iter();
    let Some(id) = ids.next() else { return Ok(false) };
    if ids.next().is_some() {
        return Err(ProxyError::Form("more than one Mcp-Session-Id"));
    }
    let Some(pin) = site.keys.open(&service.config.name, id.as_bytes()) else {
        service.tally.unknown_ids.fetch_add(1, Ordering::Relaxed);
        return Err(ProxyError::UnknownSession);
    };
    facts.asked = Asked::Pinned(pin.entry);
    facts.pin = Some(pin);
    facts.session = Some(id.clone());
    Ok(true)
}

fn era(head: &request::Parts, envelope: Option<&Envelope<'_>>, unread: bool) -> Era {
    let headers = &head.headers;
    match headers.get(names::PROTOCOL_VERSION) {
        Some(version) if names::is_modern(version.as_bytes()) => return Era::Modern,
        Some(_) => return Era::Legacy,
        None => {}
    }
    let listens = head.method == Method::GET && accepts_events(headers);
    if envelope.is_some() || unread || headers.contains_key(names::SESSION_ID) || listens { Era::Legacy } else { Era::None }
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let mut listed = headers.get_all(ACCEPT).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    listed.any(|kind| kind.trim_ascii().to_ascii_lowercase().starts_with(b"text/event-stream"))
}

fn belongs_to_stable(head: &request::Parts, service: &ServiceView) -> bool {
    // One version must speak for both: tokens are bound to what this says (RFC 9728).
    let is_oauth = head.uri.path().starts_with("/.well-known/oauth-");
    is_oauth || service.config.affinity.plain == Plain::Stable
}

fn tester(head: &request::Parts, service: &ServiceView) -> Result<Option<Entry>, ProxyError> {
    let name = service.config.affinity.tester_header.as_str();
    if name.is_empty() {
        return Ok(None);
    }
    let Some(value) = head.headers.get(name) else { return Ok(None) };
    let entry = value.to_str().ok().and_then(|text| text.parse().ok());
    entry.map(Some).ok_or(ProxyError::Tester)
}

/// The first key of the configured sources that the request has.
fn client_key(head: &request::Parts, service: &ServiceView, peer: &Peer, site: &Site, address_counts: bool) -> Option<ClientKey> {
    let headers = &head.headers;
    service.config.affinity.keys.iter().find_map(|source| match source {
        KeySource::ApiKey => api_key(headers).map(|value| ClientKey::new(source, value)),
        KeySource::Jwt(claim) => jwt_claim(headers, claim).map(|value| ClientKey::new(source, value.as_bytes())),
        KeySource::Header(name) => headers.get(name).map(|value| ClientKey::new(source, value.as_bytes())),
        KeySource::Address if address_counts => Some(address_key(head, peer, site)),
        KeySource::Address => None,
    })
}

fn address_key(head: &request::Parts, peer: &Peer, site: &Site) -> ClientKey {
    ClientKey::new(&KeySource::Address, peer.client(&head.headers, &site.limits).to_string().as_bytes())
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn api_key(headers: &HeaderMap) -> Option<&[u8]> {
    let named = headers.get("x-api-key").or_else(|| headers.get("api-key")).map(HeaderValue::as_bytes);
    // A JWT changes with every refresh and would move its client; its subject does not.
    named.or_else(|| bearer(headers).filter(|token| jwt_payload(token).is_none()))
}

fn jwt_payload(token: &[u8]) -> Option<serde_json::Map<String, serde_json::Value>> {
    let mut parts = token.split(|byte| *byte == b'.');
    let (_, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// A claim of a bearer JWT (RFC 7519), read without verification: it says which clients are the
/// same, not what they may do, and a client that lies only chooses its own place on the scale.
fn jwt_claim(headers: &HeaderMap, claim: &str) -> Option<String> {
    match jwt_payload(bearer(headers)?)?.remove(claim)? {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(authorization: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        headers
    }

    fn jwt(payload: &str) -> String {
        format!("Bearer {}.{}.c2ln", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn the_subject_of_a_token_outlives_its_refresh() {
        let one = headers(&jwt(r#"{"sub":"ann","iat":1}"#));
        let two = headers(&jwt(r#"{"sub":"ann","iat":2}"#));
        assert_eq!(jwt_claim(&one, "sub"), Some("ann".into()));
        assert_eq!(jwt_claim(&one, "sub"), jwt_claim(&two, "sub"));
        assert_eq!(api_key(&one), None, "a JWT is no API key");
    }

    #[test]
    fn a_token_that_is_no_jwt_is_an_api_key() {
        assert_eq!(api_key(&headers("Bearer sk-123")), Some(&b"sk-123"[..]));
        assert_eq!(api_key(&headers("bearer a.b.c")), Some(&b"a.b.c"[..]));
        assert_eq!(api_key(&headers("Basic dTpw")), None);
        assert_eq!(jwt_claim(&headers("Bearer sk-123"), "sub"), None);
    }

    #[test]
    fn a_claim_that_is_a_number_counts_and_an_object_does_not() {
        assert_eq!(jwt_claim(&headers(&jwt(r#"{"sub":42}"#)), "sub"), Some("42".into()));
        assert_eq!(jwt_claim(&headers(&jwt(r#"{"sub":{}}"#)), "sub"), None);
    }
}
