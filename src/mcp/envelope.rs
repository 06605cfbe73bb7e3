//! The outermost level of a JSON-RPC message: what kind it is, its method, its id.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::scan::hash_of;

mod glance;
#[cfg(test)]
mod tests;

use glance::glance;

/// What a POST body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Wants an answer.
    Request,
    /// Wants none.
    Notification,
    /// Answers a request of the server.
    Response,
    /// An array of messages (2025-03-26 only).
    Batch,
}

/// The outermost level of a body. Everything is borrowed from it.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// What it is.
    pub kind: Kind,
    /// The method of a request or notification.
    pub method: Option<Cow<'a, str>>,
    /// The requests in it, each of which wants an answer.
    pub wanted: SmallVec<[Wanted<'a>; 1]>,
    params: Option<&'a str>,
}

/// Tasks of one request that are looked at.
pub const MOST_TASKS: usize = 64;

/// Words of a server's that a client brings back (2026-07-28), as hashes: see [`super::scan::hash_of`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// `params.requestState`, the state of a request that is repeated with what the server had asked for.
    pub request_state: Option<u64>,
    /// `params.taskId`, or the first of `params.notifications.taskIds` that are listened to: at most
    /// [`MOST_TASKS`].
    pub tasks: Vec<u64>,
    /// `params.cursor`, the place in a list.
    pub cursor: Option<u64>,
}

/// A request that wants an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Its id, as it was written (numbers keep their spelling).
    pub id: &'a str,
    /// The tool that it calls.
    pub tool: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) jsonrpc: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) method: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) params: Option<&'a RawValue>,
}

/// The id of the request that a `notifications/cancelled` gives up (2024-11-05, cancellation), as it
/// was written.
pub fn cancelled(body: &[u8]) -> Option<&str> {
    let message: Message<'_> = serde_json::from_slice(body).ok()?;
    let params = message.params.filter(|_| message.method.is_some_and(|method| method.0 == "notifications/cancelled"))?;
    Some(serde_json::from_str::<Cancelled<'_>>(params.get()).ok()?.request?.get())
}

#[derive(Deserialize)]
pub(super) struct Cancelled<'a> {
    #[serde(borrow, rename = "requestId")]
    pub(super) request: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Carried<'a> {
    #[serde(borrow, rename = "requestState")]
    request_state: Option<Text<'a>>,
    #[serde(borrow, rename = "taskId")]
    task: Option<Text<'a>>,
    #[serde(borrow)]
    cursor: Option<Text<'a>>,
    #[serde(borrow)]
    notifications: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Subscribed<'a> {
    #[serde(borrow, rename = "taskIds")]
    tasks: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

/// The members of a message that matter, as they were written; none is null.
#[derive(Default)]
struct Raw<'a> {
    method: Option<Cow<'a, str>>,
    id: Option<&'a str>,
    params: Option<&'a str>,
}

/// Borrowed where nothing is escaped: serde does not see the borrow through an `Option<Cow<str>>`.
#[derive(Clone, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'a> Envelope<'a> {
    /// Reads a complete body; nothing if it is not JSON-RPC 2.0. Members are not interpreted
    /// further, and a message with a member given twice is nobody's message.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(body).ok()?;
        if let Some((raw, tool)) = glance(text) {
            return Some(Self::of_raw(raw, |_| tool.map(Cow::Borrowed)));
        }
        Self::read_by_serde(text)
    }

    fn read_by_serde(text: &'a str) -> Option<Self> {
        match text.trim_start_matches([' ', '\t', '\r', '\n']).as_bytes().first()? {
            b'{' => Self::of_one(serde_json::from_str::<Message<'a>>(text).ok()?),
            b'[' => Self::of_batch(serde_json::from_str::<Vec<&'a RawValue>>(text).ok()?),
            _ => None,
        }
    }

    fn of_one(message: Message<'a>) -> Option<Self> {
        if message.jsonrpc.is_none_or(|version| version.0 != "2.0") {
            return None;
        }
        let (id, params) = (message.id.map(RawValue::get), message.params.map(RawValue::get));
        let raw = Raw { method: message.method.map(|method| method.0), id, params };
        Some(Self::of_raw(raw, Raw::tool))
    }

    fn of_raw(raw: Raw<'a>, tool: impl FnOnce(&Raw<'a>) -> Option<Cow<'a, str>>) -> Self {
        let kind = match (&raw.method, raw.id) {
            (Some(_), Some(_)) => Kind::Request,
            (Some(_), None) => Kind::Notification,
            (None, _) => Kind::Response,
        };
        let id = raw.id.filter(|_| kind == Kind::Request);
        let wanted = id.map(|id| Wanted { id, tool: tool(&raw) }).into_iter().collect();
        Self { kind, method: raw.method, wanted, params: raw.params }
    }

    fn of_batch(messages: Vec<&'a RawValue>) -> Option<Self> {
        let of_one = |message: &'a RawValue| Self::of_one(object::<Message<'a>>(message.get())?);
        let parts: Option<Vec<Self>> = messages.into_iter().map(of_one).collect();
        let parts = parts.filter(|parts| !parts.is_empty())?;
        let wanted = parts.into_iter().flat_map(|part| part.wanted).collect();
        Some(Self { kind: Kind::Batch, method: None, wanted, params: None })
    }

    /// Whether this opens a legacy session.
    pub fn is_initialize(&self) -> bool {
        self.kind == Kind::Request && self.method.as_deref() == Some(super::names::INITIALIZE)
    }

    /// Its `params`, as they were written.
    pub fn params(&self) -> Option<&'a str> {
        self.params
    }

    /// The words of a server's that it brings back; none where a member is not as it should be.
    pub fn words(&self) -> Words {
        let Some(params) = self.params else { return Words::default() };
        let Ok(carried) = serde_json::from_str::<Carried<'_>>(params) else { return Words::default() };
        let hash = |text: Option<Text<'_>>| text.map(|text| hash_of(&text.0));
        let listened = || {
            let subscribed: Subscribed<'_> = serde_json::from_str(carried.notifications?.get()).ok()?;
            Some(subscribed.tasks?.into_iter().take(MOST_TASKS).map(|task| hash_of(&task.0)).collect())
        };
        Words {
            request_state: hash(carried.request_state),
            tasks: hash(carried.task).map_or_else(|| listened().unwrap_or_default(), |task| vec![task]),
            cursor: hash(carried.cursor),
        }
    }

    /// Whether it may be sent a second time when no byte of an answer came.
    pub fn is_repeatable(&self) -> bool {
        self.kind == Kind::Request && self.method.as_deref().is_some_and(super::names::is_repeatable)
    }
}

impl<'a> Raw<'a> {
    fn tool(&self) -> Option<Cow<'a, str>> {
        let is_call = self.method.as_deref() == Some(super::names::CALL_TOOL);
        let params = self.params.filter(|_| is_call)?;
        Some(object::<Named<'a>>(params)?.name?.0)
    }
}

/// An object with these members; serde would take an array of their values for one, too.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    text.starts_with('{').then(|| serde_json::from_str(text).ok())?
}
