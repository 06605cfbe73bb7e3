//! The words of the modern era: who must be read for them, where they lead, and how they are noted.
//!
//! | the client sends | it belongs to |
//! |---|---|
//! | `params.requestState` (a request repeated with what the server had asked for) | the endpoint that gave the state out |
//! | `tasks/*` (`Mcp-Name`, `params.taskId`), or `notifications.taskIds` of a listen | the endpoint that holds the task |
//! | `params.cursor` of a list | the endpoint that began the list |
//! | a call, right after a list | the entry that was listed |
//!
//! What is not known, any more or here, goes by the client's key.

use std::sync::Arc;
use std::time::Duration;

use http::request;

use super::Site;
use crate::domain::{ClientKey, Moment};
use crate::live::pins::of_client;
use crate::live::{Handle, Pin, Pins, ServiceView};
use crate::mcp::scan::{Message, hash_of};
use crate::mcp::{Envelope, names};

/// The method of a modern request, from its body or, where nobody has read that, from the header that
/// mirrors it.
pub(super) fn method<'a>(head: &'a request::Parts, envelope: Option<&'a Envelope<'_>>) -> Option<&'a str> {
    match envelope {
        Some(envelope) => envelope.method.as_deref(),
        None => head.headers.get(names::METHOD)?.to_str().ok(),
    }
}

/// What a modern request is about, from the header that mirrors it.
pub(super) fn name(head: &request::Parts) -> Option<String> {
    let value = head.headers.get(names::NAME)?;
    names::decoded(value.as_bytes()).map(std::borrow::Cow::into_owned)
}

/// Whether a request of this method may bring a word back that only its body shows, and that is known.
pub(super) fn must_read(method: &str, pins: &Pins) -> bool {
    match method {
        names::LISTEN => pins.any(Handle::Task),
        _ if names::is_by_list(method) => pins.any(Handle::State),
        _ if names::is_list(method) => pins.any(Handle::Cursor),
        _ => false,
    }
}

/// Where the words of a request lead.
pub(super) fn find(
    head: &request::Parts,
    envelope: Option<&Envelope<'_>>,
    key: ClientKey,
    service: &ServiceView,
    site: &Site,
) -> Option<Pin> {
    let pins = &service.pins;
    let is_known = |kind| pins.any(kind);
    if ![Handle::Task, Handle::State, Handle::Cursor].into_iter().any(is_known) {
        return None;
    }
    let now = now(site);
    let words = envelope.map(Envelope::words).unwrap_or_default();
    let named = || name(head).filter(|_| method(head, envelope).is_some_and(|method| method.starts_with("tasks/")));
    let task = words.task.or_else(|| named().map(|name| hash_of(&name)));
    let found = [(Handle::Task, task), (Handle::State, words.request_state), (Handle::Cursor, words.cursor)];
    found.into_iter().find_map(|(kind, word)| {
        let word = word?;
        // Its own word first. One that is unique by itself also counts when it comes with another key, as
        // after a change of credentials; cursors are too often plain numbers for that.
        pins.find(kind, of_client(word, key), now)
            .or_else(|| if kind == Handle::Cursor { None } else { pins.find(kind, word, now) })
    })
}

/// The entry whose list a client calls by, where it has just listed.
pub(super) fn listed(method: &str, key: ClientKey, service: &ServiceView, site: &Site) -> Option<Pin> {
    if names::is_by_list(method) { service.pins.find(Handle::List, key.hash(), now(site)) } else { None }
}

fn now(site: &Site) -> Duration {
    site.clock.now().since(Moment::default())
}

/// Notes the words of an answer as it passes: before its client has read them, they lead back.
pub(super) struct Scribe {
    pub(super) site: Arc<Site>,
    pub(super) pins: Arc<Pins>,
    pub(super) key: ClientKey,
    pub(super) pin: Pin,
    /// How long a list that is answered here is followed; zero where it is none.
    pub(super) lease: Duration,
}

impl Scribe {
    pub(super) fn note(&self, message: &Message) {
        if !message.is_answer() || message.has_error {
            return;
        }
        let is_list = !self.lease.is_zero();
        if !is_list && message.request_state.is_none() && message.task.is_none() && message.cursor.is_none() {
            return;
        }
        let now = now(&self.site);
        for (kind, word) in [(Handle::State, message.request_state), (Handle::Task, message.task)] {
            let Some(word) = word else { continue };
            self.pins.note_shared(kind, word, self.key, self.pin, now);
        }
        if let Some(word) = message.cursor {
            self.pins.note(Handle::Cursor, of_client(word, self.key), self.pin, now);
        }
        if is_list {
            self.pins.note_list(self.key, self.pin, now, self.lease);
        }
    }
}
