//! The words of the modern era: who must be read for them, where they lead, and how they are noted.
//!
//! | the client sends | it belongs to |
//! |---|---|
//! | `params.requestState` (a request repeated with what the server had asked for) | the endpoint that gave the state out |
//! | `tasks/*` (`Mcp-Name`, `params.taskId`), or `notifications.taskIds` of a listen | the endpoint that holds the task |
//! | `params.cursor` of a list | the endpoint that began the list |
//! | a call, right after a list | the entry that was listed |
//! | a call of a tool that only one entry lists | that entry ([`super::lists`]) |
//!
//! What is not known, any more or here, goes by the client's key. A word whose server is gone fails once, since nobody else
//! can know it, and is forgotten: who brings it again goes by its key.

use std::sync::Arc;
use std::time::Duration;

use super::Site;
use super::error::ProxyError;
use super::lists::Learner;
use crate::domain::{ClientKey, Moment, Standing};
use crate::http1::RequestHead;
use crate::live::pins::{list_lease, of_client};
use crate::live::{Handle, Pin, Pins, ServiceView};
use crate::mcp::scan::{Message, hash_of};
use crate::mcp::{Envelope, names};

/// The method of a modern request, from its body or, where nobody has read that, from the header that
/// mirrors it.
pub(super) fn method<'a>(head: &'a RequestHead, envelope: Option<&'a Envelope<'_>>) -> Option<&'a str> {
    match envelope {
        Some(envelope) => envelope.method.as_deref(),
        None => head.headers.text(names::METHOD),
    }
}

/// What a modern request is about, from the header that mirrors it.
pub(super) fn name(head: &RequestHead) -> Option<String> {
    let value = head.headers.get(names::NAME)?;
    names::decoded(value).map(std::borrow::Cow::into_owned)
}

/// Whether a request of this method may bring a word of a kind back: anywhere else it is somebody's own member.
fn may_bring(kind: Handle, method: &str) -> bool {
    match kind {
        Handle::Task => method == names::LISTEN || names::is_of_task(method),
        Handle::State | Handle::List => names::is_by_list(method),
        Handle::Cursor => names::is_paged(method),
    }
}

/// Whether a request of this method may bring a word back that only its body shows, and that is known.
pub(super) fn must_read(method: &str, pins: &Pins) -> bool {
    // Of a task, the header that mirrors it tells.
    let shows = |kind| may_bring(kind, method) && (kind != Handle::Task || method == names::LISTEN);
    [Handle::Task, Handle::State, Handle::Cursor].into_iter().any(|kind| shows(kind) && pins.any(kind))
}

/// A word that a request brings back, and where it leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Led {
    pub(super) pin: Pin,
    kind: Handle,
    word: u64,
    key: ClientKey,
}

impl Led {
    /// Whether the request can go where its word leads. The server is gone when its endpoint is not kept any more, be it that
    /// the configuration or another version has taken its place; then the word is forgotten.
    pub(super) fn check(&self, service: &ServiceView, site: &Site) -> Result<(), ProxyError> {
        let view = &service.entries[self.pin.entry];
        if view.awaits_pinned(&self.pin) {
            return Err(ProxyError::NothingUsable(self.pin.entry));
        }
        if view.pinned(&self.pin).is_some() {
            return Ok(());
        }
        self.forget(service, site);
        Err(ProxyError::WordLost)
    }

    /// Its endpoint takes no connection. Where checks say the same, a state or a cursor is given up, and begun anew somewhere
    /// else; a task cannot be, and its server may be back.
    pub(super) fn note_unreachable(&self, service: &ServiceView, site: &Site) {
        let found = service.entries[self.pin.entry].pinned(&self.pin);
        if self.kind != Handle::Task && found.is_some_and(|view| view.standing == Standing::Down) {
            self.forget(service, site);
        }
    }

    fn forget(&self, service: &ServiceView, site: &Site) {
        let Self { pin, kind, word, key } = *self;
        service.pins.forget(kind, of_client(word, key));
        // Somebody else's may be the same word of another server.
        if service.pins.find(kind, word, now(site)) == Some(pin) {
            service.pins.forget(kind, word);
        }
        tracing::debug!(kind = kind.as_str(), entry = %pin.entry, "a word is forgotten, as its server is gone");
    }
}

/// Where the words of a request lead.
pub(super) fn find(
    head: &RequestHead,
    envelope: Option<&Envelope<'_>>,
    key: ClientKey,
    service: &ServiceView,
    site: &Site,
) -> Option<Led> {
    let pins = &service.pins;
    let method = method(head, envelope).unwrap_or_default();
    let may_lead = |kind| may_bring(kind, method) && pins.any(kind);
    if ![Handle::Task, Handle::State, Handle::Cursor].into_iter().any(may_lead) {
        return None;
    }
    let now = now(site);
    let words = envelope.map(Envelope::words).unwrap_or_default();
    let named = || name(head).filter(|_| words.tasks.is_empty() && names::is_of_task(method)).map(|name| hash_of(&name));
    let tasks = words.tasks.iter().copied().chain(named()).map(|task| (Handle::Task, task));
    let state = words.request_state.map(|state| (Handle::State, state));
    let cursor = words.cursor.map(|cursor| (Handle::Cursor, cursor));
    // Of several tasks, the first that is known.
    tasks.chain(state).chain(cursor).filter(|(kind, _)| may_lead(*kind)).find_map(|(kind, word)| {
        // Its own word first. One that is unique by itself also counts when it comes with another key, as
        // after a change of credentials; cursors are too often plain numbers for that.
        let pin = pins
            .find(kind, of_client(word, key), now)
            .or_else(|| if kind == Handle::Cursor { None } else { pins.find(kind, word, now) })?;
        Some(Led { pin, kind, word, key })
    })
}

/// The entry whose list a client calls by, where it has just listed.
pub(super) fn listed(method: &str, key: ClientKey, service: &ServiceView, site: &Site) -> Option<Pin> {
    if may_bring(Handle::List, method) { service.pins.find(Handle::List, key.hash(), now(site)) } else { None }
}

/// The time since the start.
pub(super) fn now(site: &Site) -> Duration {
    site.clock.now().since(Moment::default())
}

/// The kinds of words that an answer gives out, by what was asked: in any other, members of the same name are
/// something else, and would push real ones out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gives {
    state: bool,
    task: bool,
    cursor: bool,
}

impl Gives {
    /// What answers to a method give out.
    pub(super) fn of(method: &str) -> Self {
        Self {
            state: names::is_by_list(method),
            task: method == names::CALL_TOOL || names::is_of_task(method),
            cursor: names::is_paged(method),
        }
    }
}

/// Notes the words of an answer as it passes: before its client has read them, they lead back.
pub(super) struct Scribe {
    pub(super) site: Arc<Site>,
    pub(super) pins: Arc<Pins>,
    pub(super) key: ClientKey,
    pub(super) pin: Pin,
    pub(super) gives: Gives,
    /// How long a list that is answered here is followed; zero where it is none.
    pub(super) lease: Duration,
    /// Who learns which tools it lists.
    pub(super) learner: Option<Box<Learner>>,
}

impl Scribe {
    /// Bytes of the answer pass.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        if let Some(learner) = &mut self.learner {
            learner.pass(bytes, &self.site);
        }
    }

    pub(super) fn note(&self, message: &Message) {
        if !message.is_answer() || message.has_error {
            return;
        }
        let Self { pins, key, pin, gives, .. } = self;
        let state = message.request_state.filter(|_| gives.state).map(|word| (Handle::State, word));
        let task = message.task.filter(|_| gives.task).map(|word| (Handle::Task, word));
        let cursor = message.cursor.filter(|_| gives.cursor);
        let is_list = !self.lease.is_zero();
        if !is_list && state.is_none() && task.is_none() && cursor.is_none() {
            return;
        }
        let now = now(&self.site);
        let lease = |kind: Handle| kind.lease(message.ttl, message.poll);
        state.into_iter().chain(task).for_each(|(kind, word)| pins.note_shared(kind, word, *key, *pin, now, lease(kind)));
        if let Some(word) = cursor {
            pins.note_for(Handle::Cursor, of_client(word, *key), *pin, now, lease(Handle::Cursor));
        }
        if is_list {
            pins.note_list(*key, *pin, now, list_lease(self.lease, message.ttl));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_only_where_its_method_carries_it() {
        let (state, task, cursor) = (Handle::State, Handle::Task, Handle::Cursor);
        let table: [(&str, &[Handle], &[Handle]); 9] = [
            ("tools/call", &[state], &[state, task]),
            ("prompts/get", &[state], &[state]),
            ("resources/read", &[state], &[state]),
            ("tools/list", &[cursor], &[cursor]),
            ("tasks/list", &[task, cursor], &[task, cursor]),
            ("tasks/get", &[task], &[task]),
            ("subscriptions/listen", &[task], &[]),
            ("completion/complete", &[], &[]),
            ("", &[], &[]),
        ];
        for (method, brought, given) in table {
            let kinds = [state, task, cursor];
            let brings: Vec<_> = kinds.into_iter().filter(|kind| may_bring(*kind, method)).collect();
            let gives = Gives::of(method);
            let gives = [(state, gives.state), (task, gives.task), (cursor, gives.cursor)];
            let gives: Vec<_> = gives.into_iter().filter_map(|(kind, given)| given.then_some(kind)).collect();
            assert_eq!((&brings[..], &gives[..]), (brought, given), "{method}");
        }
    }
}
