//! The MCP server of the demo: notes, in two versions whose catalogues differ.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::request::Parts;
use rmcp::handler::server::common::FromContextPart;
use rmcp::handler::server::tool::{ToolCallContext, ToolRouter};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{Implementation, InitializeRequestParams, InitializeResult, ServerCapabilities, ServerConfig};
use rmcp::schemars::JsonSchema;
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, tool, tool_handler, tool_router};
use serde::Deserialize;

use crate::mcp::names;

/// The oldest notes and records go first: a demo may run for days.
const MOST_NOTES: usize = 200;
const MOST_RECORDS: usize = 10_000;

/// A longer note is refused.
const LONGEST_NOTE: usize = 4 << 10;

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// notes 1.4.2: `add_note`, `list_notes`, `version`.
    V1,
    /// notes 1.5.0: `search_notes` besides, and tags for `add_note`.
    V2,
}

impl Version {
    /// Both, in order; `version as usize` is the place here.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// The version label.
    pub fn label(self) -> &'static str {
        match self {
            Self::V1 => "1.4.2",
            Self::V2 => "1.5.0",
        }
    }

    /// The version of this label.
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.label() == label)
    }
}

/// What one server did since it was started.
#[derive(Debug, Default)]
pub struct Counts {
    sessions: AtomicU64,
    calls: AtomicU64,
    records: Mutex<VecDeque<Record>>,
}

/// One executed tool call that named itself with a `call` argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The server's own session id; behind a proxy that seals ids it is not the client's. None for
    /// a request without a session.
    pub session: Option<String>,
    /// The tool.
    pub tool: &'static str,
    /// The `call` argument.
    pub call: String,
}

impl Counts {
    /// Handshakes (`initialize`) answered, those of health checks included.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Tool calls executed.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The latest executed calls that named themselves, oldest first.
    pub fn records(&self) -> Vec<Record> {
        lock(&self.records).iter().cloned().collect()
    }

    fn executed(&self, session: Session, tool: &'static str, call: Option<String>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(call) = call {
            push_bounded(&mut lock(&self.records), Record { session: session.0, tool, call }, MOST_RECORDS);
        }
    }
}

/// The id that the request named its session with.
struct Session(Option<String>);

impl FromContextPart<ToolCallContext<'_, Notes>> for Session {
    fn from_context_part(context: &mut ToolCallContext<'_, Notes>) -> Result<Self, ErrorData> {
        let parts = context.request_context.extensions.get::<Parts>();
        Ok(Self(parts.and_then(|parts| parts.headers.get(names::SESSION_ID)?.to_str().ok()).map(str::to_owned)))
    }
}

/// The handler of one session; all sessions of a server share what it points to.
#[derive(Clone)]
pub(super) struct Notes(Arc<Shared>);

struct Shared {
    version: Version,
    tools: ToolRouter<Notes>,
    notes: Mutex<VecDeque<Note>>,
    counts: Arc<Counts>,
}

struct Note {
    text: String,
    tags: Vec<String>,
}

impl Notes {
    pub(super) fn new(version: Version, counts: Arc<Counts>) -> Self {
        let of_version = match version {
            Version::V1 => Self::v1_tools(),
            Version::V2 => Self::v2_tools(),
        };
        Self(Arc::new(Shared { version, tools: Self::common_tools() + of_version, notes: Mutex::default(), counts }))
    }

    fn add(&self, text: String, tags: Vec<String>) -> Result<String, String> {
        let length = text.len() + tags.iter().map(String::len).sum::<usize>();
        if length > LONGEST_NOTE {
            return Err(format!("a note has at most {LONGEST_NOTE} bytes, this one has {length}"));
        }
        let mut notes = lock(&self.0.notes);
        push_bounded(&mut notes, Note { text, tags }, MOST_NOTES);
        Ok(format!("noted; {} notes", notes.len()))
    }

    fn lines(&self, wanted: impl Fn(&Note) -> bool) -> String {
        let notes = lock(&self.0.notes);
        notes.iter().filter(|note| wanted(note)).map(Note::line).collect::<Vec<_>>().join("\n")
    }
}

impl Note {
    fn line(&self) -> String {
        let tags: String = self.tags.iter().map(|tag| format!(" #{tag}")).collect();
        format!("{}{tags}", self.text)
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct VersionArguments {
    /// Names this call in the server's record.
    call: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct AddArguments {
    /// The note.
    text: String,
    /// Names this call in the server's record.
    call: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct AddTaggedArguments {
    /// The note.
    text: String,
    /// Words to find it by.
    #[serde(default)]
    tags: Vec<String>,
    /// Names this call in the server's record.
    call: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct SearchArguments {
    /// What the text or a tag contains.
    query: String,
}

#[tool_router(router = common_tools)]
impl Notes {
    #[tool(description = "The version of this server", annotations(read_only_hint = true))]
    fn version(&self, Parameters(arguments): Parameters<VersionArguments>, session: Session) -> String {
        self.0.counts.executed(session, "version", arguments.call);
        self.0.version.label().to_owned()
    }

    #[tool(description = "All notes, one a line", annotations(read_only_hint = true))]
    fn list_notes(&self, session: Session) -> String {
        self.0.counts.executed(session, "list_notes", None);
        self.lines(|_| true)
    }
}

#[tool_router(router = v1_tools)]
impl Notes {
    #[tool(description = "Keeps a note")]
    fn add_note(&self, Parameters(arguments): Parameters<AddArguments>, session: Session) -> Result<String, String> {
        self.0.counts.executed(session, "add_note", arguments.call);
        self.add(arguments.text, Vec::new())
    }
}

#[tool_router(router = v2_tools)]
impl Notes {
    #[tool(name = "add_note", description = "Keeps a note, with tags")]
    fn add_tagged_note(&self, Parameters(arguments): Parameters<AddTaggedArguments>, session: Session) -> Result<String, String> {
        self.0.counts.executed(session, "add_note", arguments.call);
        self.add(arguments.text, arguments.tags)
    }

    #[tool(description = "The notes whose text or tags contain the query", annotations(read_only_hint = true))]
    fn search_notes(&self, Parameters(SearchArguments { query }): Parameters<SearchArguments>, session: Session) -> String {
        self.0.counts.executed(session, "search_notes", None);
        self.lines(|note| note.text.contains(&query) || note.tags.iter().any(|tag| tag.contains(&query)))
    }
}

#[tool_handler(router = self.0.tools)]
impl ServerHandler for Notes {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("notes", self.0.version.label()))
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        // Here and not where the handler is made: rmcp makes one for each modern request too.
        self.0.counts.sessions.fetch_add(1, Ordering::Relaxed);
        context.peer.set_peer_info(request.clone());
        self.negotiate_initialize(&request)
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(item);
}

/// What is locked here is whole between any two statements, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
