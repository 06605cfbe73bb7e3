//! What a request is, from its headers and, where they cannot tell, its body. MCP is recognised by
//! content, not by path.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use http::{HeaderValue, Method, Uri};

use super::asker::{Asker, Kind};
use super::channel;
use super::error::ProxyError;
use super::handles::{self, Led};
use super::keys::{address_key, client_key};
use super::lists;
use super::oauth;
use super::peek::Peeked;
use super::peer::Peer;
use super::rehome::{Lodger, Wish};
use super::vigil::{Alarm, Post};
use super::{Site, headers};
use crate::config::Plain;
use crate::domain::rehome::Epoch;
use crate::domain::{Asked, ClientKey, Entry, Era};
use crate::http1::{self, Fields, RequestHead};
use crate::live::{EndpointView, EntryView, Pin, ServiceView, Turn};
use crate::mcp::{Envelope, SessionPin, names};

/// The facts that a decision goes by. They are carried through the whole of a request: what is rare in them is elsewhere.
pub(super) struct Facts {
    /// What it asks of the split.
    pub(super) asked: Asked,
    /// The protocol's era; none where it is not MCP.
    pub(super) era: Option<Era>,
    /// Whether its client asks which era to speak.
    pub(super) asks_era: bool,
    /// Its client's key, where it has one that counts.
    pub(super) key: Option<ClientKey>,
    /// Where its session lives.
    pub(super) pin: Option<SessionPin>,
    /// Where the server is that gave out a word that it brings back.
    pub(super) handle: Option<Led>,
    /// Where its client has just listed what it calls now.
    pub(super) listed: Option<Pin>,
    /// Where the tool is that it calls, which only one entry lists.
    pub(super) called: Option<Pin>,
    /// Whether its answer is a list that will be called by.
    pub(super) lists: bool,
    /// Which page of the tools it asks for.
    pub(super) turn: Option<Turn>,
    /// The session id as the client sent it, where it opened.
    pub(super) session: Option<Rc<HeaderValue>>,
    /// Whether it may be sent a second time when no byte of an answer came.
    pub(super) repeatable: bool,
    /// Whether it may open a session although nobody has read it, being longer than may be looked at.
    pub(super) unread: bool,
    /// Whether it is a GET without a session, which opens one should the server speak HTTP+SSE (2024-11-05).
    pub(super) opens: bool,
    /// The server's own URI, where the request was posted to a sealed one.
    pub(super) target: Option<Box<Uri>>,
    /// What it asks for that holds from then on, in its session.
    pub(super) wish: Option<Box<Wish>>,
    /// Whether it is `notifications/initialized`.
    pub(super) initializes: bool,
    /// What runs in its session while it does, where that is known here.
    pub(super) lodged: Option<(Lodger, Epoch)>,
}

impl Facts {
    /// What it asks of a service as that stands now: since its words were looked up, another version may have
    /// taken their place.
    pub(super) fn asks(&self, service: &ServiceView) -> Asked {
        let made = |pin: &&Pin| service.entries[pin.entry].made(pin);
        let handle = self.handle.as_ref().map(|led| &led.pin).filter(|pin| service.entries[pin.entry].pinned(pin).is_some());
        match (self.asked, handle, self.listed.as_ref().filter(made), self.called.as_ref().filter(made)) {
            (Asked::Client(_), Some(pin), ..) => Asked::Pinned(pin.entry),
            (Asked::Client(key), None, Some(pin), _) => Asked::Listed(pin.entry, key),
            (Asked::Client(key), None, None, Some(pin)) => Asked::Called(pin.entry, key),
            (asked, ..) => asked,
        }
    }

    /// Nothing is known yet.
    pub(super) fn unknown() -> Self {
        Self {
            asked: Asked::Stable,
            era: None,
            asks_era: false,
            key: None,
            pin: None,
            handle: None,
            listed: None,
            called: None,
            lists: false,
            turn: None,
            session: None,
            repeatable: false,
            unread: false,
            opens: false,
            target: None,
            wish: None,
            initializes: false,
            lodged: None,
        }
    }

    fn note_words(&mut self, envelope: Option<&Envelope<'_>>) {
        self.wish = envelope.and_then(Wish::of).map(Box::new);
        self.initializes = envelope.is_some_and(|envelope| envelope.method.as_deref() == Some(names::INITIALIZED));
    }

    /// What has happened that concerns it. Where an entry is left, but sessions that may not be moved stay, a request of such a
    /// one goes on.
    pub(super) fn poll_alarm(&self, post: &Post, context: &mut Context<'_>) -> Poll<Alarm> {
        loop {
            match ready!(post.poll(context)) {
                Alarm::Cut(how) | Alarm::Leave(how) if !how.ends() && !self.is_left() => {}
                alarm => return Poll::Ready(alarm),
            }
        }
    }

    /// Whether its session was moved since it began.
    pub(super) fn is_left(&self) -> bool {
        self.lodged.as_ref().is_some_and(|(session, epoch)| !session.is_current(*epoch))
    }

    /// The counter that a keyless birth is dealt from.
    pub(super) fn births<'a>(&self, service: &'a ServiceView) -> &'a AtomicU64 {
        if self.opens { &service.births.streams } else { &service.births.sessions }
    }

    /// The endpoint of an entry that alone will do: the one that holds the session, or that gave out a word
    /// which the request brings back. None where that endpoint is not configured any more.
    pub(super) fn only<'a>(&self, entry: Entry, view: &'a EntryView) -> Option<&'a EndpointView> {
        match (&self.pin, &self.handle) {
            (Some(pin), _) if pin.entry == entry && pin.upstream.is_some() => view.named(&pin.endpoint),
            (None, Some(Led { pin, .. })) if pin.entry == entry => view.pinned(pin),
            _ => None,
        }
    }
}

/// Reads a request into facts of which nothing is known yet: where they lie they stay. What an error has to know is noted in `asker` before anything can go wrong.
pub(super) fn read(
    head: &RequestHead,
    body: &Peeked,
    service: &ServiceView,
    peer: &Peer,
    site: &Site,
    (facts, asker): (&mut Facts, &mut Asker),
) -> Result<(), ProxyError> {
    let envelope = body.whole().filter(|_| head.method == Method::POST).and_then(Envelope::read);
    let unread = matches!(body, Peeked::Running { over_limit: true, .. }) && !head.headers.contains(names::SESSION_ID);
    asker.learn(head, envelope.as_ref(), unread, matches!(body, Peeked::Running { .. }));
    if asker.era == Some(Era::Legacy) {
        service.tally.note_legacy();
    }
    facts.era = asker.era;
    facts.unread = unread && asker.era == Some(Era::Legacy);
    facts.repeatable = match &envelope {
        Some(envelope) => envelope.is_repeatable(),
        None => matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS),
    };
    if let Some(token) = channel::token(&head.uri) {
        if matches!(head.method, Method::GET | Method::HEAD) {
            // A stream opened here would name the server's endpoint, and nobody looks for that here.
            return Err(ProxyError::Method("POST, OPTIONS"));
        }
        channel::open(token, &head.uri, body.whole(), service, site, facts, asker)?;
        facts.note_words(envelope.as_ref());
        return Ok(());
    }
    if asker.era == Some(Era::Legacy) && asker.kind != Kind::Initialize && read_session(head, service, peer, site, facts)? {
        asker.session.clone_from(&facts.session);
        asker.entry = facts.pin.as_ref().map(|pin| pin.entry);
        facts.note_words(envelope.as_ref());
        return Ok(());
    }
    if matches!(body, Peeked::Running { over_limit: true, .. }) {
        service.tally.unpeeked.fetch_add(1, Ordering::Relaxed);
    }
    facts.opens = asker.kind == Kind::Listen && asker.era == Some(Era::Legacy) && accepts_events(&head.headers);
    place_newcomer(head, envelope.as_ref(), service, peer, site, asker, facts)
}

/// Who holds no session is placed by a tester's word, a key, or a birth.
fn place_newcomer(
    head: &RequestHead,
    envelope: Option<&Envelope<'_>>,
    service: &ServiceView,
    peer: &Peer,
    site: &Site,
    asker: &Asker,
    facts: &mut Facts,
) -> Result<(), ProxyError> {
    let is_birth = asker.kind == Kind::Initialize || facts.unread || facts.opens;
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
            if asker.era == Some(Era::Modern) { place(head, envelope, service, site, key, facts) } else { Asked::Client(key) }
        }
        (None, _, None) => Asked::Birth,
    };
    Ok(())
}

/// A modern client is placed by its words, by what it has just listed, or by its key.
fn place(
    head: &RequestHead,
    envelope: Option<&Envelope<'_>>,
    service: &ServiceView,
    site: &Site,
    key: ClientKey,
    facts: &mut Facts,
) -> Asked {
    let method = handles::method(head, envelope).unwrap_or_default();
    facts.asks_era = method == names::DISCOVER;
    facts.lists = names::is_list(method);
    facts.turn = lists::turn(method, envelope);
    facts.handle = handles::find(head, envelope, key, service, site);
    facts.listed = handles::listed(method, key, service, site);
    facts.called = lists::called(method, head, envelope, service, site);
    Asked::Client(key)
}

/// The session of a legacy request. Whether there is one.
fn read_session(
    head: &RequestHead,
    service: &ServiceView,
    peer: &Peer,
    site: &Site,
    facts: &mut Facts,
) -> Result<bool, ProxyError> {
    let name = names::SESSION_ID;
    let mut ids = head.headers.all(name.as_str());
    let Some(id) = ids.next() else { return Ok(false) };
    if ids.next().is_some() {
        return Err(ProxyError::Form("more than one Mcp-Session-Id"));
    }
    let Some((session, pin)) = peer.sessions.open(&site.keys, &service.config.name, id) else {
        service.tally.unknown_ids.fetch_add(1, Ordering::Relaxed);
        return Err(ProxyError::UnknownSession);
    };
    facts.asked = Asked::Pinned(pin.entry);
    facts.pin = Some(pin);
    facts.session = Some(session);
    Ok(true)
}

/// The era of a request; none where it is not MCP.
pub(super) fn era(head: &RequestHead, envelope: Option<&Envelope<'_>>, unread: bool) -> Option<Era> {
    if oauth::is_metadata(head.uri.path()) {
        return None;
    }
    let headers = &head.headers;
    if channel::token(&head.uri).is_some() {
        return Some(Era::Legacy);
    }
    match headers.get(names::PROTOCOL_VERSION) {
        Some(version) if names::is_modern(version) => return Some(Era::Modern),
        Some(_) => return Some(Era::Legacy),
        None => {}
    }
    let listens = head.method == Method::GET && accepts_events(headers);
    (envelope.is_some() || unread || headers.contains(names::SESSION_ID) || listens).then_some(Era::Legacy)
}

fn accepts_events(headers: &Fields) -> bool {
    let mut listed = headers.all("accept").flat_map(|value| value.split(|byte| *byte == b','));
    listed.any(|kind| headers::begins_with(kind.trim_ascii(), "text/event-stream"))
}

fn belongs_to_stable(head: &RequestHead, service: &ServiceView) -> bool {
    // One version must speak for both: tokens are bound to what this says (RFC 9728).
    oauth::is_metadata(head.uri.path()) || service.config.affinity.plain == Plain::Stable
}

fn tester(head: &RequestHead, service: &ServiceView) -> Result<Option<Entry>, ProxyError> {
    let name = service.config.affinity.tester_header.as_str();
    if name.is_empty() {
        return Ok(None);
    }
    let Some(value) = head.headers.get(name) else { return Ok(None) };
    let entry = http1::text(value).and_then(|text| text.parse().ok());
    entry.map(Some).ok_or(ProxyError::Tester)
}
