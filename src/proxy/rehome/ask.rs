//! The proxy speaks to a server in the name of a session's client.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use super::letterhead::Letterhead;
use crate::http1::Head;
use crate::mcp::sse::first_answer;
use crate::upstream::{Endpoint, Flow, Reply, Trouble, Wire};

/// The most of an answer that is read.
const MOST_READ: usize = 1 << 20;

/// An answer that has been read goes on at most so long, or its connection is closed.
const REST: Duration = Duration::from_millis(20);

/// Who speaks, and to whom.
#[derive(Clone)]
pub(super) struct Voice {
    pub(super) wire: Rc<Wire>,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) letterhead: Arc<Letterhead>,
    pub(super) connect_timeout: Duration,
}

/// A server's session, and the revision that is spoken in it.
#[derive(Clone, Copy)]
pub(super) struct Within<'a> {
    pub(super) session: Option<&'a str>,
    pub(super) version: &'a str,
}

/// What came of a question.
pub(super) enum Said {
    /// A JSON-RPC answer, and the head that it came with.
    Message(Box<Head>, String),
    /// Another status than 2xx.
    Refused(Box<Head>),
}

impl Voice {
    /// Asks something that has one answer: the body of a JSON-RPC request. The error says what went wrong.
    pub(super) async fn ask(&self, within: Within<'_>, body: &[u8]) -> Result<Said, Trouble> {
        let Reply { head, flow } = self.post(within, body).await?;
        if !head.status().is_success() {
            return Ok(Said::Refused(head));
        }
        let is_stream = head.is_event_stream();
        let read = read(flow, |text| if is_stream { first_answer(text) } else { None }).await;
        let message = match read {
            Read::Found(message) => message,
            Read::Whole(text) if !is_stream => String::from_utf8_lossy(&text).into_owned(),
            Read::Whole(_) | Read::Cut => String::new(),
        };
        Ok(Said::Message(head, message))
    }

    /// Says something that has no answer: its status.
    pub(super) async fn tell(&self, within: Within<'_>, body: &[u8]) -> Result<StatusCode, Trouble> {
        let Reply { head, flow } = self.post(within, body).await?;
        read(flow, |_| None).await;
        Ok(head.status())
    }

    /// Opens the GET stream of a session. `last`: the id of the event behind which it goes on.
    pub(super) async fn listen(&self, within: Within<'_>, last: Option<&[u8]>) -> Result<Reply, Trouble> {
        let write = |out: &mut Vec<u8>| {
            self.head(out, "GET", within);
            put(out, b"accept", b"text/event-stream");
            put(out, b"cache-control", b"no-store");
            last.into_iter().for_each(|last| put(out, b"last-event-id", last));
            out.extend_from_slice(b"\r\n");
        };
        self.wire.send(&self.endpoint, &Method::GET, self.connect_timeout, write).await
    }

    /// Ends a session (2025-03-26, session management, rule 5). Servers may refuse that.
    pub(super) async fn end(&self, within: Within<'_>) -> Result<StatusCode, Trouble> {
        let write = |out: &mut Vec<u8>| {
            self.head(out, "DELETE", within);
            out.extend_from_slice(b"\r\n");
        };
        let Reply { head, flow } = self.wire.send(&self.endpoint, &Method::DELETE, self.connect_timeout, write).await?;
        read(flow, |_| None).await;
        Ok(head.status())
    }

    async fn post(&self, within: Within<'_>, body: &[u8]) -> Result<Reply, Trouble> {
        let write = |out: &mut Vec<u8>| {
            self.head(out, "POST", within);
            // Both, in these words: some servers refuse `*/*` (406).
            put(out, b"accept", b"application/json, text/event-stream");
            put(out, b"content-type", b"application/json");
            put(out, b"content-length", itoa::Buffer::new().format(body.len()).as_bytes());
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(body);
        };
        self.wire.send(&self.endpoint, &Method::POST, self.connect_timeout, write).await
    }

    fn head(&self, out: &mut Vec<u8>, method: &str, within: Within<'_>) {
        for part in [method, " ", &self.letterhead.target, " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        if !self.letterhead.names_host {
            put(out, b"host", self.endpoint.host.as_bytes());
        }
        out.extend_from_slice(&self.letterhead.lines);
        if let Some(session) = within.session {
            put(out, b"mcp-session-id", session.as_bytes());
        }
        // Not before 2025-06-18, and what nobody knows yet is agreed on by `initialize`.
        if within.version >= "2025-06-18" {
            put(out, b"mcp-protocol-version", within.version.as_bytes());
        }
    }
}

fn put(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

enum Read {
    /// What was looked for.
    Found(String),
    /// All of it.
    Whole(Vec<u8>),
    /// It broke off, or is too long.
    Cut,
}

/// Reads an answer to its end, or until something is found in it.
async fn read(mut flow: Box<Flow>, look: impl Fn(&[u8]) -> Option<String>) -> Read {
    let (mut text, mut buffer) = (Vec::new(), vec![0; 8 << 10]);
    loop {
        match poll_fn(|context| flow.poll(context, &mut buffer)).await {
            Ok(Some(range)) => text.extend_from_slice(&buffer[range]),
            Ok(None) => {
                flow.give_back();
                return look(&text).map_or(Read::Whole(text), Read::Found);
            }
            Err(_) => return Read::Cut,
        }
        if let Some(found) = look(&text) {
            // The stream ends behind the answer; its connection is good for the next request then.
            let rest = async { while let Ok(Some(_)) = poll_fn(|context| flow.poll(context, &mut buffer)).await {} };
            if tokio::time::timeout(REST, rest).await.is_ok() && flow.is_done() {
                flow.give_back();
            }
            return Read::Found(found);
        }
        if text.len() > MOST_READ {
            return Read::Cut;
        }
    }
}
