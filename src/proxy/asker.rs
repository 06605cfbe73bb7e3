//! Who asks, and for what: all that an error has to know to be told in a way that its client understands.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};
use tokio::time::Instant;

use super::books::Books;
use super::channel::Posted;
use super::facts::era;
use super::handles::{self, Gives};
use super::pending::{Pending, Requests};
use super::table::{Case, Transport};
use super::witness::Witness;
use crate::domain::{Blame, Entry, Era, Outcome};
use crate::http1::RequestHead;
use crate::live::LocalView;
use crate::mcp::{self, Envelope, names};
use crate::upstream::{Client, Endpoint, EntryTally};

/// What has to be known to answer in a way that the client understands, as far as it is known when
/// something goes wrong.
#[derive(Default)]
pub(super) struct Asker {
    /// The service asked.
    pub(super) service: Option<LocalView>,
    /// The entry chosen.
    pub(super) entry: Option<Entry>,
    /// The endpoint chosen.
    pub(super) endpoint: Option<Arc<Endpoint>>,
    /// Who asks, where somebody watches the service.
    pub(super) client: Option<Client>,
    /// The protocol's era; none where it is not MCP.
    pub(super) era: Option<Era>,
    /// The kind of request.
    pub(super) kind: Kind,
    /// The words that its answer gives out.
    pub(super) gives: Gives,
    /// The requests that want an answer.
    pub(super) pending: Requests,
    /// Whether the answer to several is an array.
    pub(super) is_batch: bool,
    /// The session, where its id opened.
    pub(super) session: Option<Rc<HeaderValue>>,
    /// Where the page came from that asks, once that is known to be allowed.
    pub(super) origin: Option<Box<HeaderValue>>,
    /// What it shares with its session's stream, where it was posted to a sealed URI.
    pub(super) posted: Option<Box<Posted>>,
    /// Whether it has been answered, and so counted.
    pub(super) is_settled: bool,
    /// When it began.
    pub(super) begun: Option<Instant>,
    /// Who logs it, where somebody does.
    pub(super) witness: Option<Box<Witness>>,
}

/// A client that leaves before its answer begins drops everything in the middle: that is counted here.
impl Drop for Asker {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let (Some(service), Some(entry)) = (&self.service, self.entry) else { return };
        if self.is_booked_elsewhere() {
            return;
        }
        self.books(service.entries[entry].tally_at(self.endpoint.as_deref())).note_all(
            &self.pending,
            Outcome::Failed(Blame::Client),
            self.elapsed(),
        );
    }
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
    /// A modern stream of changes: `subscriptions/listen`.
    Subscribe,
    /// A DELETE of a session.
    End,
}

impl Asker {
    pub(super) fn elapsed(&self) -> Duration {
        self.begun.map_or(Duration::ZERO, |begun| begun.elapsed())
    }

    /// Whether an error can name the requests that wait.
    pub(super) fn knows_ids(&self) -> bool {
        !self.pending.is_empty() && self.pending.iter().all(Pending::is_known)
    }

    /// Whether nothing is left to book here: its requests wait on their session's stream, or did.
    pub(super) fn is_booked_elsewhere(&self) -> bool {
        self.pending.is_empty() && self.posted.as_deref().is_some_and(Posted::is_claimed)
    }

    /// Where it is booked when it ends without an answer.
    pub(super) fn books<'a>(&'a self, tally: &'a EntryTally) -> Books<'a> {
        Books { tally, endpoint: self.endpoint.as_deref(), witness: self.witness.as_deref(), client: self.client }
    }

    /// What was asked, in the table's words.
    pub(super) fn case(&self) -> Case {
        let transport = if self.posted.is_some() { Transport::HttpSse } else { Transport::Streamable };
        Case { era: self.era, transport, kind: self.kind }
    }

    pub(super) fn is_mcp(&self) -> bool {
        self.era.is_some()
    }

    /// What a request shows of that.
    pub(super) fn learn(&mut self, head: &RequestHead, envelope: Option<&Envelope<'_>>, unread: bool, is_running: bool) {
        self.era = era(head, envelope, unread);
        let method = if self.era == Some(Era::Modern) { handles::method(head, envelope) } else { None };
        self.gives = method.map(Gives::of).unwrap_or_default();
        self.kind = match (&head.method, envelope) {
            _ if self.era.is_none() => Kind::Plain,
            (&Method::GET, _) => Kind::Listen,
            (&Method::DELETE, _) => Kind::End,
            (_, Some(envelope)) if envelope.is_initialize() => Kind::Initialize,
            (_, Some(envelope)) if envelope.wanted.is_empty() => Kind::Message,
            (_, None) if method.is_some_and(|method| method.starts_with("notifications/")) => Kind::Message,
            _ if method == Some(names::LISTEN) => Kind::Subscribe,
            _ => Kind::Call,
        };
        if let Some(envelope) = envelope {
            self.pending = envelope.wanted.iter().map(Pending::new).collect();
            self.is_batch = envelope.kind == mcp::Kind::Batch;
        } else if is_running && matches!(self.kind, Kind::Call | Kind::Subscribe) {
            let tool = method.filter(|method| *method == names::CALL_TOOL).and_then(|_| handles::name(head));
            self.pending.push(Pending::unread(tool));
        }
    }
}
