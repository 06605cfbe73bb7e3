//! A session is opened again at another server, or at the same one that has lost it: what its client once said is said in its
//! name, with the revision that was agreed on then. The client sees nothing of it.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use thiserror::Error;

use super::ask::{Said, Voice, Within};
use super::memory::{Memory, Wish};
use crate::http1::Head;
use crate::mcp::essentials::{Essentials, Mismatch};
use crate::mcp::names;
use crate::upstream::Trouble;

/// A question takes at most so long.
pub(super) const WITHIN: Duration = Duration::from_secs(2);

/// The end of one that was given up.
const END_WITHIN: Duration = Duration::from_millis(500);

/// The ids of what the proxy asks by itself: no client counts in such words.
pub(super) const OPEN: &str = "\"dualgate-initialize\"";
const LEVEL: &str = "\"dualgate-level\"";
const SUBSCRIBE: &str = "\"dualgate-subscribe\"";
const PING: &str = "\"dualgate-ping\"";
pub(super) const LIST: &str = "\"dualgate-list\"";

const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// Pages of a list that are read.
const MOST_PAGES: usize = 100;

/// What a session is opened by.
#[derive(Clone)]
pub(super) struct Recipe {
    pub(super) essentials: Arc<Essentials>,
    /// Whether its client has said `notifications/initialized`.
    pub(super) is_initialized: bool,
    /// It is just saying that.
    pub(super) initializes: bool,
    /// Counts what was granted.
    granted: u32,
    level: Option<Box<str>>,
    subscriptions: Vec<Box<str>>,
}

/// Why a server did not open it.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    /// It was not reached, or said nothing in time.
    #[error("{0}")]
    NobodyThere(String),
    /// It wants another credential.
    #[error("answers {}: the client's credential is not taken", .0.status())]
    Credential(Box<Head>),
    /// It says no.
    #[error("answers initialize with {0}")]
    Status(StatusCode),
    /// What it offers is not what the client was offered.
    #[error("{0}")]
    Mismatch(#[from] Mismatch),
    /// It has no stream that an HTTP+SSE session could be.
    #[error("opens no HTTP+SSE stream: {0}")]
    NoStream(String),
    /// Its session id cannot be kept.
    #[error("{0}")]
    Useless(&'static str),
}

impl Recipe {
    /// By what is remembered; nothing where that does not suffice.
    pub(super) fn of(memory: &Memory) -> Option<Self> {
        let essentials = memory.essentials.clone().filter(|_| memory.suffices())?;
        let subscriptions = memory.subscriptions.iter().map(|(_, params)| params.clone()).collect();
        let (is_initialized, granted) = (memory.is_initialized, memory.granted);
        Some(Self { essentials, is_initialized, initializes: false, granted, level: memory.level.clone(), subscriptions })
    }

    /// What its client has said meanwhile, to the server that it has left: all of it is said once more. By it `now` is known.
    pub(super) fn missed(&self, now: &Self) -> Vec<String> {
        let mut missed = Vec::new();
        if now.is_initialized && !self.is_initialized && !self.initializes {
            missed.push(INITIALIZED.to_owned());
        }
        if now.granted != self.granted {
            missed.extend(now.wishes().map(|(.., body)| body));
            let gone = self.subscriptions.iter().filter(|params| !now.subscriptions.contains(params));
            missed.extend(gone.map(|params| request(SUBSCRIBE, names::UNSUBSCRIBE, params)));
        }
        missed
    }

    /// What its client asked for that holds: the method, and the id and body of a request for it.
    pub(super) fn wishes(&self) -> impl Iterator<Item = (&'static str, &'static str, String)> {
        let wishes = self.level.iter().map(|params| (names::SET_LEVEL, LEVEL, params));
        let wishes = wishes.chain(self.subscriptions.iter().map(|params| (names::SUBSCRIBE, SUBSCRIBE, params)));
        wishes.map(|(method, id, params)| (method, id, request(id, method, params)))
    }
}

impl Wish {
    /// The request for it, in the proxy's own words.
    pub(super) fn request(&self) -> String {
        match self {
            Self::Level(params) => request(LEVEL, names::SET_LEVEL, params),
            Self::Subscribe(_, params) => request(SUBSCRIBE, names::SUBSCRIBE, params),
            Self::Unsubscribe(uri) => request(SUBSCRIBE, names::UNSUBSCRIBE, &serde_json::json!({ "uri": uri }).to_string()),
        }
    }
}

fn request(id: &str, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

/// Opens the session there. The server's id; nothing where it gives none out. What was begun and cannot be used is ended.
pub(super) async fn open(voice: &Voice, recipe: &Recipe, within: Duration) -> Result<Option<String>, Refusal> {
    let begun = OnceCell::new();
    if let Ok(opened) = tokio::time::timeout(within, shake_hands(voice, recipe, &begun)).await {
        return opened;
    }
    if let Some(session) = begun.get() {
        let within = Within { session: Some(session), version: recipe.essentials.version() };
        let _ = tokio::time::timeout(END_WITHIN, voice.end(within)).await;
    }
    Err(Refusal::NobodyThere(format!("no handshake within {within:?}")))
}

async fn shake_hands(voice: &Voice, recipe: &Recipe, begun: &OnceCell<String>) -> Result<Option<String>, Refusal> {
    let version = recipe.essentials.version();
    let body = recipe.essentials.initialize(OPEN);
    // No revision is named where one is just being agreed on.
    let asked = voice.ask(Within { session: None, version: "" }, &body).await?;
    let (head, message) = match asked {
        Said::Message(head, message) => (head, message),
        Said::Refused(head) => {
            return Err(match head.status() {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Refusal::Credential(head),
                status if status.is_server_error() => Refusal::NobodyThere(format!("answers {status}")),
                status => Refusal::Status(status),
            });
        }
    };
    let session = match head.get(names::SESSION_ID.as_str()).map(str::from_utf8) {
        None => None,
        Some(Ok(id)) if id.bytes().all(|byte| byte.is_ascii_graphic()) => Some(id.to_owned()),
        Some(_) => return Err(Refusal::Useless("its session id is not visible ASCII")),
    };
    session.iter().for_each(|id| drop(begun.set(id.clone())));
    let within = Within { session: session.as_deref(), version };
    let settled = match recipe.essentials.allows(message.as_bytes()) {
        Ok(()) => settle(voice, recipe, within).await,
        Err(mismatch) => Err(mismatch.into()),
    };
    if let Err(refusal) = settled {
        if session.is_some() {
            let _ = voice.end(within).await;
        }
        return Err(refusal);
    }
    Ok(session)
}

/// What the client has said since its handshake, and holds.
async fn settle(voice: &Voice, recipe: &Recipe, within: Within<'_>) -> Result<(), Refusal> {
    if recipe.is_initialized {
        let status = voice.tell(within, INITIALIZED.as_bytes()).await?;
        if !status.is_success() {
            return Err(Refusal::NobodyThere(format!("answers notifications/initialized with {status}")));
        }
    }
    for (method, _, body) in recipe.wishes() {
        match voice.ask(within, body.as_bytes()).await? {
            Said::Message(_, message) if is_result(&message) => {}
            // What it does not grant is no reason to lose the session.
            Said::Message(..) | Said::Refused(_) => note_not_granted(voice, method),
        }
    }
    Ok(())
}

pub(super) fn note_not_granted(voice: &Voice, method: &str) {
    tracing::warn!(endpoint = voice.endpoint.name, method, "a session was moved, and its new server does not grant this");
}

/// Whether a server knows a session.
pub(super) async fn knows(voice: &Voice, within: Within<'_>) -> bool {
    let body = format!(r#"{{"jsonrpc":"2.0","id":{PING},"method":"ping"}}"#);
    let asked = tokio::time::timeout(WITHIN, voice.ask(within, body.as_bytes())).await;
    matches!(asked, Ok(Ok(Said::Message(_, message))) if !message.is_empty())
}

/// All pages of `tools/list` in a session, each a message; nothing where it cannot be had.
pub(super) async fn tools(voice: &Voice, within: Within<'_>) -> Option<Vec<String>> {
    pages(async |body| {
        let asked = tokio::time::timeout(WITHIN, voice.ask(within, &body)).await;
        if let Ok(Ok(Said::Message(_, page))) = asked { Some(page) } else { None }
    })
    .await
}

/// The same, of a server that is asked so: the request has the id [`LIST`].
pub(super) async fn pages(mut ask: impl AsyncFnMut(Vec<u8>) -> Option<String>) -> Option<Vec<String>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    while pages.len() < MOST_PAGES {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{LIST},"method":"tools/list","params":{{{cursor}}}}}"#);
        let page = ask(body.into_bytes()).await?;
        let next = serde_json::from_str::<serde_json::Value>(&page).ok()?["result"]["nextCursor"].as_str().map(str::to_owned);
        pages.push(page);
        match next {
            Some(next) => cursor = format!("\"cursor\":{}", serde_json::Value::String(next)),
            None => return Some(pages),
        }
    }
    None
}

pub(super) fn is_result(message: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(message).is_ok_and(|message| message.get("result").is_some())
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        Self::NobodyThere(match trouble {
            Trouble::Unsent(cause) => cause,
            Trouble::Lost { cause, .. } => cause.to_string(),
        })
    }
}
