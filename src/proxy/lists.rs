//! Lists on their way to modern clients: their tools are learnt, and `ttlMs` is clamped where that is asked for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::Site;
use super::handles::now;
use super::headers::{begins_with, is_encoded};
use crate::domain::{Choice, ClientKey, Why};
use crate::http1::{Head, RequestHead};
use crate::live::{Catalogue, Pin, ServiceView, Turn};
use crate::mcp::scan::{Clamp, Listing, hash_of};
use crate::mcp::{Envelope, names};

/// What can be read of an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Events,
}

impl Form {
    fn of(head: &Head) -> Option<Self> {
        let kind = head.get("content-type").unwrap_or_default();
        match () {
            () if head.status() != StatusCode::OK || is_encoded(head) => None,
            () if begins_with(kind, "application/json") => Some(Self::Json),
            () if begins_with(kind, "text/event-stream") => Some(Self::Events),
            () => None,
        }
    }
}

/// Which page of the tools a modern request asks for; nothing where it asks for something else.
pub(super) fn turn(method: &str, envelope: Option<&Envelope<'_>>) -> Option<Turn> {
    let turn = |envelope: &Envelope<'_>| envelope.words().cursor.map_or(Turn::First, Turn::Next);
    (method == names::LIST_TOOLS).then(|| envelope.map_or(Turn::Unknown, turn))
}

/// The entry that alone lists the tool which a modern request calls: by what its server will go by, the body, or
/// the header that mirrors it.
pub(super) fn called(
    method: &str,
    head: &RequestHead,
    envelope: Option<&Envelope<'_>>,
    service: &ServiceView,
    site: &Site,
) -> Option<Pin> {
    if method != names::CALL_TOOL || !service.catalogue.differs() {
        return None;
    }
    let tool = match envelope {
        Some(envelope) => hash_of(envelope.wanted.first()?.tool.as_deref()?),
        None => hash_of(&super::handles::name(head)?),
    };
    service.lists_alone(tool, now(site))
}

/// Learns what one answer lists.
pub(super) struct Learner {
    listing: Listing,
    catalogue: Arc<Catalogue>,
    pin: Pin,
    key: ClientKey,
    turn: Turn,
}

impl Learner {
    /// Of an answer to somebody who asked for such a page.
    pub(super) fn new(head: &Head, service: &ServiceView, pin: Pin, key: ClientKey, turn: Turn) -> Option<Box<Self>> {
        let listing = match Form::of(head)? {
            Form::Json => Listing::of_json(),
            Form::Events => Listing::of_events(),
        };
        Some(Box::new(Self { listing, catalogue: service.catalogue.clone(), pin, key, turn }))
    }

    /// Bytes of the answer pass.
    pub(super) fn pass(&mut self, bytes: &[u8], site: &Site) {
        if let Some(page) = self.listing.feed(bytes) {
            self.catalogue.note(self.pin.entry, self.pin.version, self.key, self.turn, &page, now(site));
        }
    }
}

/// What makes `ttlMs` of an answer smaller, where the configuration asks for that and something moves.
pub(super) fn clamp(is_list: bool, head: &Head, service: &ServiceView) -> Option<Box<Clamp>> {
    let most = service.config.affinity.clamp_list_ttl;
    if !is_list || most == Duration::ZERO || !service.is_moving() {
        return None;
    }
    Some(Box::new(match Form::of(head)? {
        Form::Json => Clamp::of_json(most),
        Form::Events => Clamp::of_events(most),
    }))
}

/// What goes on of these bytes; of the last ones, everything.
pub(super) fn clamped(clamp: &mut Clamp, bytes: &[u8], are_last: bool) -> Bytes {
    let mut passed = clamp.pass(bytes);
    if are_last {
        passed.append(&mut clamp.end());
    }
    passed.into()
}

/// A request is about to go by a choice.
pub(super) fn note_choice(choice: Choice, service: &ServiceView) {
    if choice.why == Why::Catalogue {
        service.tally.by_catalogue[choice.entry].fetch_add(1, Ordering::Relaxed);
        tracing::debug!(service = service.config.name, entry = %choice.entry, "a call goes where alone its tool is listed");
    }
}
