//! What is remembered of a session, so that it can be opened again: in memory only, where credentials are in it.

use std::sync::Arc;

use super::letterhead::Letterhead;
use crate::mcp::essentials::Essentials;
use crate::mcp::{Envelope, names};

/// Resources that a session may be subscribed to; one with more is not moved.
const MOST_SUBSCRIPTIONS: usize = 64;

/// The most of a session that is remembered, in bytes; one with more is not moved.
const MOST: usize = 16 << 10;

/// What it takes to open a session again.
#[derive(Default)]
pub(super) struct Memory {
    /// How it was opened.
    pub(super) essentials: Option<Arc<Essentials>>,
    /// What its requests have in common, credentials included.
    pub(super) letterhead: Option<Arc<Letterhead>>,
    /// Whether its client has said `notifications/initialized`.
    pub(super) is_initialized: bool,
    /// `params` of the last `logging/setLevel` that was granted.
    pub(super) level: Option<Box<str>>,
    /// `params` of each `resources/subscribe` that holds, by the resource's URI.
    pub(super) subscriptions: Vec<(Box<str>, Box<str>)>,
    /// There was more than may be remembered.
    pub(super) is_incomplete: bool,
    /// The id has no room for how it was opened.
    pub(super) is_beyond_id: bool,
    /// Counts what was granted.
    pub(super) granted: u32,
}

/// What a client asks for that holds from then on, once it is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Wish {
    /// `logging/setLevel`, with its `params`.
    Level(Box<str>),
    /// `resources/subscribe`: the URI, and the `params`.
    Subscribe(Box<str>, Box<str>),
    /// `resources/unsubscribe`: the URI.
    Unsubscribe(Box<str>),
}

impl Wish {
    /// The wish that a request is.
    pub(in crate::proxy) fn of(envelope: &Envelope<'_>) -> Option<Self> {
        let method = envelope.method.as_deref()?;
        if !matches!(method, names::SET_LEVEL | names::SUBSCRIBE | names::UNSUBSCRIBE) {
            return None;
        }
        let params = envelope.params()?;
        let uri = || uri_of(params);
        match method {
            names::SET_LEVEL => Some(Self::Level(params.into())),
            names::SUBSCRIBE => Some(Self::Subscribe(uri()?, params.into())),
            _ => Some(Self::Unsubscribe(uri()?)),
        }
    }
}

impl Memory {
    /// In bytes, itself included.
    pub(super) fn size(&self) -> usize {
        let texts = self.subscriptions.iter().map(|(uri, params)| uri.len() + params.len() + 32).sum::<usize>();
        let essentials = self.essentials.as_ref().map_or(0, |essentials| essentials.size());
        let letterhead = self.letterhead.as_ref().map_or(0, |letterhead| letterhead.size());
        size_of::<Self>() + texts + essentials + letterhead + self.level.as_ref().map_or(0, |level| level.len())
    }

    /// Whether a session can be opened again by it.
    pub(super) fn suffices(&self) -> bool {
        self.essentials.is_some() && !self.is_incomplete
    }

    /// There is no room for more: what is there holds, and is not all.
    pub(super) fn give_up(&mut self) {
        (self.subscriptions, self.level) = (Vec::new(), None);
        self.is_incomplete = true;
    }

    /// The session has ended. Where its servers are still to be told, what that takes is kept.
    pub(super) fn forget_all(&mut self, is_to_be_told: bool) {
        if !is_to_be_told {
            (self.essentials, self.letterhead) = (None, None);
        }
        (self.level, self.subscriptions) = (None, Vec::new());
    }

    /// Whether it is another one than before, for the next process, shows here.
    pub(super) fn settled(&self) -> (u32, bool) {
        (self.granted, self.is_incomplete)
    }

    /// These subscriptions hold, by their `params`.
    pub(super) fn subscribe_all(&mut self, all: Vec<Box<str>>) {
        self.subscriptions = all.into_iter().filter_map(|params| Some((uri_of(&params)?, params))).collect();
    }

    /// A wish was granted.
    pub(super) fn grant(&mut self, wish: Wish) {
        self.granted = self.granted.wrapping_add(1);
        match wish {
            Wish::Level(params) => self.level = Some(params),
            Wish::Unsubscribe(uri) => self.subscriptions.retain(|(known, _)| *known != uri),
            Wish::Subscribe(uri, params) => {
                self.subscriptions.retain(|(known, _)| *known != uri);
                self.subscriptions.push((uri, params));
            }
        }
        if self.subscriptions.len() > MOST_SUBSCRIPTIONS || self.size() > MOST {
            self.give_up();
        }
    }
}

fn uri_of(params: &str) -> Option<Box<str>> {
    serde_json::from_str::<serde_json::Value>(params).ok()?["uri"].as_str().map(Box::from)
}
