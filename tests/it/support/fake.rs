//! A scripted MCP server that remembers what it saw.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use super::Port;

mod gates;
mod sse;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// How long a server of the SDKs may take to let go of a stream that has ended.
const UNTIL_SEEN: std::time::Duration = std::time::Duration::from_millis(30);

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// How a fake server behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether it issues session ids.
    pub sessions: bool,
    /// Whether it answers `server/discover`.
    pub modern: bool,
    /// Whether it answers `initialize`.
    pub legacy: bool,
}

/// Forms of the URI in an `endpoint` event (2024-11-05).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/messages?session_id=…`
    Root,
    /// `messages?session_id=…`
    Relative,
    /// `?session_id=…`
    Query,
    /// `http://host:port/messages?session_id=…`
    Absolute,
    /// `/messages/…`
    InPath,
    /// A comment, an id, CRLF, and every byte in a chunk of its own.
    Crumbs,
    /// The first half of the event; the test says the other.
    Half,
    /// Longer than can be sealed.
    Long,
    /// The stream begins with a message instead.
    None,
    /// With the first half of one; the test says the other.
    HalfMessage,
}

impl Default for Options {
    fn default() -> Self {
        Self { sessions: true, modern: false, legacy: true }
    }
}

pub struct Fake {
    pub address: SocketAddr,
    port: Port,
    state: Arc<State>,
    listener: Mutex<Option<AbortHandle>>,
}

struct State {
    name: String,
    options: Options,
    endpoint: Endpoint,
    tls: Option<TlsAcceptor>,
    seen: Mutex<Vec<Seen>>,
    sessions: Mutex<HashSet<String>>,
    born: AtomicUsize,
    opened: AtomicUsize,
    connections: Mutex<Vec<AbortHandle>>,
    streams: Mutex<Vec<mpsc::UnboundedSender<Bytes>>>,
    channels: Mutex<HashMap<String, mpsc::UnboundedSender<Bytes>>>,
    gone: AtomicUsize,
    uploaded: AtomicUsize,
    silent: AtomicBool,
    hung: AtomicBool,
    /// What a GET is answered with; 0 for a stream.
    listen_with: AtomicU16,
    is_single: AtomicBool,
    no_births: AtomicBool,
    lists: AtomicBool,
    gates: Mutex<gates::Gates>,
    refuses: AtomicU16,
    executed: Mutex<Vec<Value>>,
    open: AtomicUsize,
    pub release: Notify,
}

impl Fake {
    pub async fn start(name: &str, options: Options) -> Self {
        Self::build(Port::any(), name, options, Endpoint::Root, None).await
    }

    /// Over TLS only.
    pub async fn secure(name: &str, options: Options, tls: TlsAcceptor) -> Self {
        Self::build(Port::any(), name, options, Endpoint::Root, Some(tls)).await
    }

    /// One that names its endpoint so on GETs of HTTP+SSE: those whose path ends with `/sse`.
    pub async fn speaking(name: &str, endpoint: Endpoint) -> Self {
        Self::build(Port::any(), name, Options::default(), endpoint, None).await
    }

    /// The same address again, as after a restart: all sessions are gone.
    pub async fn restart(&self) -> Self {
        Self::build(self.port.clone(), &self.state.name, self.state.options, self.state.endpoint, self.state.tls.clone()).await
    }

    /// The same address again, with another certificate.
    pub async fn restart_showing(&self, tls: TlsAcceptor) -> Self {
        Self::build(self.port.clone(), &self.state.name, self.state.options, self.state.endpoint, Some(tls)).await
    }

    /// The same address again, with another version behind it.
    pub async fn restart_as(&self, options: Options) -> Self {
        Self::build(self.port.clone(), &self.state.name, options, Endpoint::Root, self.state.tls.clone()).await
    }

    pub async fn start_at(address: SocketAddr, name: &str, options: Options) -> Self {
        Self::build(Port::at(address), name, options, Endpoint::Root, None).await
    }

    async fn build(port: Port, name: &str, options: Options, endpoint: Endpoint, tls: Option<TlsAcceptor>) -> Self {
        // A server that was killed lets go of its port when its task is next looked at.
        let listener = super::eventually("the port is free", async || {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(port.address).ok()?;
            socket.listen(1024).ok()
        })
        .await;
        let state = Arc::new(State {
            name: name.to_owned(),
            options,
            endpoint,
            tls,
            seen: Mutex::default(),
            sessions: Mutex::default(),
            born: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            connections: Mutex::default(),
            streams: Mutex::default(),
            channels: Mutex::default(),
            gone: AtomicUsize::new(0),
            uploaded: AtomicUsize::new(0),
            silent: AtomicBool::new(false),
            hung: AtomicBool::new(false),
            listen_with: AtomicU16::new(0),
            is_single: AtomicBool::new(false),
            no_births: AtomicBool::new(false),
            lists: AtomicBool::new(false),
            gates: Mutex::default(),
            refuses: AtomicU16::new(0),
            executed: Mutex::default(),
            open: AtomicUsize::new(0),
            release: Notify::new(),
        });
        let task = tokio::spawn(accept(listener, state.clone()));
        Self { address: port.address, port, state, listener: Mutex::new(Some(task.abort_handle())) }
    }

    pub fn url(&self) -> String {
        format!("{}://{}", if self.state.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Everything but health checks.
    pub fn seen(&self) -> Vec<Seen> {
        let all = self.state.seen.lock().unwrap();
        all.iter().filter(|seen| !is_check(seen)).cloned().collect()
    }

    /// Drops all that it has seen, which would else grow with the requests.
    pub fn forget(&self) {
        *self.state.seen.lock().unwrap() = Default::default();
    }

    /// The request seen last.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request was seen")
    }

    /// Ids of the tool calls that came here.
    pub fn calls(&self) -> Vec<Value> {
        let bodies = self.seen().into_iter().filter_map(|seen| serde_json::from_slice::<Value>(&seen.body).ok());
        bodies.filter(|body| body["method"] == "tools/call").map(|body| body["id"].clone()).collect()
    }

    /// Ids of those of them that were carried out.
    pub fn executed(&self) -> Vec<Value> {
        self.state.executed.lock().unwrap().clone()
    }

    /// Sessions that clients opened.
    pub fn births(&self) -> usize {
        self.seen().iter().filter(|seen| seen.body.windows(12).any(|window| window == b"\"initialize\"")).count()
    }

    /// Says something on every open GET stream, byte for byte.
    pub fn say(&self, bytes: &'static [u8]) {
        let mut streams = self.state.streams.lock().unwrap();
        streams.retain(|stream| stream.send(Bytes::from_static(bytes)).is_ok());
    }

    /// Streams whose client has left.
    pub fn gone(&self) -> usize {
        self.state.gone.load(Ordering::SeqCst)
    }

    /// Bytes of uploads that have arrived.
    pub fn uploaded(&self) -> usize {
        self.state.uploaded.load(Ordering::SeqCst)
    }

    /// Lets a waiting call go on.
    pub fn release(&self) {
        self.state.release.notify_one();
    }

    /// Ends all HTTP+SSE streams as a server that stops does.
    pub fn end_channels(&self) {
        self.state.channels.lock().unwrap().clear();
    }

    /// HTTP+SSE sessions that are open.
    pub fn channels(&self) -> usize {
        self.state.channels.lock().unwrap().len()
    }

    /// Says something on every open HTTP+SSE stream, byte for byte.
    pub fn say_on_channels(&self, bytes: &'static [u8]) {
        self.state.channels.lock().unwrap().values().for_each(|channel| channel.send(Bytes::from_static(bytes)).unwrap());
    }

    /// Lists a tool that is its own, over HTTP+SSE.
    pub fn list_tools(&self) {
        self.state.lists.store(true, Ordering::SeqCst);
    }

    /// Whether health checks get no answer.
    pub fn be_silent(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::SeqCst);
    }

    /// Takes everything, and answers nothing more.
    pub fn hang(&self) {
        self.state.hung.store(true, Ordering::SeqCst);
    }

    /// Gives no GET stream, but this answer, with 200 a stream that has ended; 0 for one that goes on again.
    pub fn listen_with(&self, status: u16) {
        self.state.listen_with.store(status, Ordering::SeqCst);
    }

    /// Gives no second GET stream (409), nor shortly after the end of the first, as the SDKs' servers do.
    pub fn gives_one_stream(&self, no_more: bool) {
        self.state.is_single.store(no_more, Ordering::SeqCst);
    }

    /// Opens no session any more (400), but for checks.
    pub fn no_births(&self) {
        self.state.no_births.store(true, Ordering::SeqCst);
    }

    /// Accepts no connection any more; those that are open go on.
    pub fn stop_accepting(&self) {
        if let Some(listener) = self.listener.lock().unwrap().take() {
            listener.abort();
        }
    }

    /// As by `kill -9`: connections are reset, and nobody listens.
    pub fn kill(&self) {
        self.stop_accepting();
        for connection in self.state.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_check(seen: &Seen) -> bool {
    seen.body.windows(15).any(|window| window == b"dualgate-health")
        || (matches!(seen.method, Method::GET | Method::DELETE) && seen.headers.get("via").is_none())
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let task = tokio::spawn(serve(Open::count(&state), stream, state.clone()));
        state.connections.lock().unwrap().push(task.abort_handle());
    }
}

/// A connection that is open. Named before its socket, it is counted off when that is closed.
struct Open(Arc<State>);

impl Open {
    fn count(state: &Arc<State>) -> Self {
        state.open.fetch_add(1, Ordering::SeqCst);
        Self(state.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(_open: Open, stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    match state.tls.clone() {
        None => serve_http(stream, state).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                serve_http(stream, state).await;
            }
        }
    }
}

async fn serve_http(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(&state, request).await) }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(state: &Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let (head, mut incoming) = request.into_parts();
    let mut body = Vec::new();
    while let Some(Ok(frame)) = incoming.frame().await {
        if let Ok(data) = frame.into_data() {
            if head.uri.path() == "/plain" {
                state.uploaded.fetch_add(data.len(), Ordering::SeqCst);
            }
            body.extend_from_slice(&data);
        }
    }
    let method = head.method.to_string();
    let seen = Seen { method: head.method.clone(), target: head.uri.to_string(), headers: head.headers.clone(), body };
    state.seen.lock().unwrap().push(seen.clone());
    let message: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let is_gated = seen.headers.contains_key("via") && !is_check(&seen);
    let answer = done(state, head, seen, &message).await;
    if is_gated {
        gates::pass(state, message["method"].as_str().unwrap_or(&method)).await;
    }
    answer
}

async fn done(state: &Arc<State>, head: http::request::Parts, seen: Seen, message: &Value) -> Response<Body> {
    let target = seen.target.clone();
    let session = head.headers.get("mcp-session-id").map(|id| id.to_str().unwrap().to_owned());
    let known = session.as_ref().is_some_and(|id| state.sessions.lock().unwrap().contains(id));
    if is_check(&seen) && state.silent.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    if state.hung.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    let listen_with = state.listen_with.load(Ordering::SeqCst);
    if head.method == Method::GET && listen_with != 0 {
        let mut answer = text(StatusCode::from_u16(listen_with).unwrap(), "");
        if answer.status() == StatusCode::OK {
            answer.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
        }
        return answer;
    }
    if message["method"] == "initialize" && !is_check(&seen) && state.no_births.load(Ordering::SeqCst) {
        return text(StatusCode::BAD_REQUEST, "no");
    }
    if let Some(refusal) = gates::refusal(state, &head, message) {
        return refusal;
    }
    if let Some(answer) = sse::answer(state, &head, message).await {
        return answer;
    }
    match (&head.method, message["method"].as_str()) {
        _ if target.starts_with("/plain") => text(StatusCode::OK, &state.name),
        _ if target.starts_with("/status/") => {
            let status = target["/status/".len()..].parse().unwrap();
            text(StatusCode::from_u16(status).unwrap(), "as you wish")
        }
        _ if target.starts_with("/guarded/") => guarded(&target["/guarded/".len()..]),
        _ if target.contains("/.well-known/") => metadata(&state.name, &target),
        (_, Some("server/discover")) if state.options.modern => {
            json_answer(message, &json!({ "supportedVersions": ["2026-07-28"], "serverInfo": { "name": state.name } }))
        }
        (_, Some("server/discover")) => text(StatusCode::BAD_REQUEST, "no session id"),
        (&Method::POST, Some("initialize")) if !state.options.legacy => text(StatusCode::BAD_REQUEST, "no handshake here"),
        (&Method::POST, Some(method)) if is_modern(&seen.headers) && state.options.modern => modern(state, method, message).await,
        (&Method::POST, Some("initialize")) if session.is_some() => text(StatusCode::NOT_FOUND, "initialize with a session id"),
        (&Method::POST, Some("initialize")) => initialize(state, message),
        _ if session.is_some() && !known => with_session(text(StatusCode::NOT_FOUND, "no such session"), "fresh-from-error"),
        (&Method::GET, _) if target == "/mcp" && state.has_a_stream() => text(StatusCode::CONFLICT, "one stream a session"),
        (&Method::GET, _) if target == "/mcp" => listen(state),
        (&Method::GET, _) => text(StatusCode::OK, &state.name),
        (&Method::DELETE, _) => {
            state.sessions.lock().unwrap().remove(&session.unwrap_or_default());
            text(StatusCode::OK, "")
        }
        (&Method::POST, Some("tools/call")) => {
            let answer = call(state, message).await;
            match &session {
                Some(id) => with_session(answer, id),
                None => answer,
            }
        }
        (&Method::POST, _) if message.is_array() => {
            let answers: Vec<Value> = message
                .as_array()
                .unwrap()
                .iter()
                .map(|one| json!({ "jsonrpc": "2.0", "id": one["id"], "result": { "isError": one["params"]["name"] == "fail" } }))
                .collect();
            let mut response = text(StatusCode::OK, &Value::from(answers).to_string());
            response.headers_mut().insert("content-type", "application/json".parse().unwrap());
            response
        }
        (&Method::POST, Some("tools/list")) => {
            let tools = json!([{ "name": "wait", "inputSchema": { "type": "object" }, "annotations": { "readOnlyHint": true } }]);
            json_answer(message, &json!({ "server": state.name, "tools": tools }))
        }
        (&Method::POST, Some(_)) if !message["id"].is_null() => json_answer(message, &json!({ "server": state.name })),
        (&Method::POST, _) => text(StatusCode::ACCEPTED, ""),
        _ => text(StatusCode::METHOD_NOT_ALLOWED, ""),
    }
}

fn is_modern(headers: &HeaderMap) -> bool {
    headers.get("mcp-protocol-version").is_some_and(|version| version == "2026-07-28")
}

/// A modern server whose words nobody else understands.
async fn modern(state: &Arc<State>, method: &str, message: &Value) -> Response<Body> {
    let params = &message["params"];
    let own = |word: &Value| word.as_str().is_some_and(|word| word.starts_with(&format!("{}-", state.name)));
    let tool = params["name"].as_str().unwrap_or_default();
    match method {
        "tools/list" if !params["cursor"].is_null() && !own(&params["cursor"]) => error_answer(message, -32602),
        "tools/list" => tools(state, message),
        "tools/call" if tool.ends_with("-only") && !own(&params["name"]) => error_answer(message, -32602),
        "tools/call" if !params["requestState"].is_null() && !own(&params["requestState"]) => error_answer(message, -32602),
        "tools/call" if tool == "ask" && params["requestState"].is_null() => {
            let state = format!("{}-{}", state.name, message["id"]);
            json_answer(message, &json!({ "resultType": "input_required", "requestState": state }))
        }
        "tools/call" if tool == "begin" => {
            let task = format!("{}-task-{}", state.name, message["id"]);
            json_answer(message, &json!({ "resultType": "task", "taskId": task, "ttlMs": params["ttlMs"] }))
        }
        // A result whose members are named like words of the protocol.
        "tools/call" if tool == "pretend" => json_answer(message, &json!({ "server": state.name, "nextCursor": "c" })),
        "tools/call" => call(state, message).await,
        "tasks/get" if !own(&params["taskId"]) => error_answer(message, -32602),
        "subscriptions/listen" => {
            let tasks = params["notifications"]["taskIds"].as_array().cloned().unwrap_or_default();
            if tasks.iter().any(|task| !own(task)) { error_answer(message, -32602) } else { listen(state) }
        }
        _ if message["id"].is_null() => text(StatusCode::ACCEPTED, ""),
        _ => json_answer(message, &json!({ "server": state.name })),
    }
}

/// Two pages, of which the second has what every server has. They count for as long as the client says.
fn tools(state: &State, message: &Value) -> Response<Body> {
    let (params, name) = (&message["params"], &state.name);
    let mut result = match params["cursor"].is_null() {
        true => json!({ "server": name, "tools": [{ "name": format!("{name}-only") }], "nextCursor": format!("{name}-page") }),
        false => json!({ "server": name, "tools": [{ "name": "echo" }] }),
    };
    if !params["ttlMs"].is_null() {
        result["ttlMs"] = params["ttlMs"].clone();
    }
    match params["stream"] == true {
        true => {
            let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
            one_event(&format!(
                "id: 3600000\ndata: {{\"method\":\"notifications/progress\"}}\n\nevent: message\ndata: {answer}\n\n"
            ))
        }
        false => json_answer(message, &result),
    }
}

fn initialize(state: &State, message: &Value) -> Response<Body> {
    let answer = json_answer(
        message,
        &json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": { "name": state.name, "version": "1" } }),
    );
    if !state.options.sessions {
        return answer;
    }
    let id = format!("{}-session-{}", state.name, state.born.fetch_add(1, Ordering::SeqCst));
    state.sessions.lock().unwrap().insert(id.clone());
    with_session(answer, &id)
}

async fn call(state: &Arc<State>, message: &Value) -> Response<Body> {
    state.executed.lock().unwrap().push(message["id"].clone());
    match message["params"]["name"].as_str().unwrap_or_default() {
        // Says nothing until released.
        "wait" | "dwell" => {
            state.release.notified().await;
            json_answer(message, &json!({ "server": state.name }))
        }
        // Progress, then the answer once released; the second with ids, by which it can be resumed.
        tool @ ("stream" | "resumable") => {
            let (mut sender, response) = events();
            let id = if tool == "resumable" { "id: 7\n" } else { "" };
            let (state, message) = (state.clone(), message.clone());
            tokio::spawn(async move {
                let begin = format!("{id}event: message\ndata: {{\"method\":\"notifications/progress\"}}\n\n");
                let _ = sender.send_data(Bytes::from(begin)).await;
                state.release.notified().await;
                let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "server": state.name } });
                let _ = sender.send_data(Bytes::from(format!("event: message\ndata: {answer}\n\n"))).await;
            });
            response
        }
        // Half an event, then silence until the connection dies.
        "half" => {
            let (mut sender, response) = events();
            let state = state.clone();
            tokio::spawn(async move {
                let _ = sender.send_data(Bytes::from_static(b"event: message\ndata: {\"met")).await;
                watch_for_leaving(sender, state).await;
            });
            response
        }
        "fail" => json_answer(message, &json!({ "content": [{ "type": "text", "text": "no" }], "isError": true })),
        "stream-ok" | "stream-fail" => {
            let fails = message["params"]["name"] == "stream-fail";
            let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "isError": fails } });
            one_event(&format!(
                "event: message\ndata: {{\"method\":\"notifications/progress\"}}\n\nevent: message\ndata: {answer}\n\n"
            ))
        }
        "error" => error_answer(message, -32603),
        "unknown" => error_answer(message, -32602),
        // The server closes a stream that it means to go on with.
        "poll" => one_event("id: 1\ndata:\n\nretry: 10\n\n"),
        "cut" => one_event("data: {\"method\":\"notifications/progress\"}\n\n"),
        "garbled" => {
            let mut response = text(StatusCode::OK, "{\"jsonrpc\":");
            response.headers_mut().insert("content-type", "application/json".parse().unwrap());
            response
        }
        "encoded" => {
            let mut response = json_answer(message, &json!({}));
            response.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
            response
        }
        "busy" => text(StatusCode::SERVICE_UNAVAILABLE, ""),
        "missing" => text(StatusCode::NOT_FOUND, "no such tool"),
        "wrong" => text(StatusCode::BAD_REQUEST, "not so"),
        _ => json_answer(message, &json!({ "server": state.name })),
    }
}

impl State {
    fn has_a_stream(&self) -> bool {
        self.is_single.load(Ordering::SeqCst) && self.streams.lock().unwrap().iter().any(|stream| !stream.is_closed())
    }
}

fn listen(state: &Arc<State>) -> Response<Body> {
    let (mut sender, response) = events();
    let (say, mut said) = mpsc::unbounded_channel();
    state.streams.lock().unwrap().push(say);
    let state = state.clone();
    tokio::spawn(async move {
        while let Some(bytes) = tokio::select! {
            bytes = said.recv() => bytes,
            () = closed(&mut sender) => None,
        } {
            if sender.send_data(bytes).await.is_err() {
                break;
            }
        }
        state.gone.fetch_add(1, Ordering::SeqCst);
        if state.is_single.load(Ordering::SeqCst) {
            tokio::time::sleep(UNTIL_SEEN).await;
        }
    });
    response
}

async fn watch_for_leaving(mut sender: Sender<Bytes, std::io::Error>, state: Arc<State>) {
    closed(&mut sender).await;
    state.gone.fetch_add(1, Ordering::SeqCst);
}

/// Resolves when the other side has gone, without anything being sent.
async fn closed(sender: &mut Sender<Bytes, std::io::Error>) {
    // An empty frame never reaches the wire, but fails once the body has been dropped.
    while sender.send_data(Bytes::new()).await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

fn events() -> (Sender<Bytes, std::io::Error>, Response<Body>) {
    let (sender, body) = Channel::<Bytes, std::io::Error>::new(16);
    let response = Response::builder().header("content-type", "text/event-stream").body(body.boxed_unsync()).unwrap();
    (sender, response)
}

fn one_event(stream: &str) -> Response<Body> {
    let mut response = text(StatusCode::OK, stream);
    response.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
    response
}

/// A server that wants a token, or a better one (RFC 9728, 5.1; RFC 6750, 3), and says so in two ways.
fn guarded(status: &str) -> Response<Body> {
    let mut response = text(StatusCode::from_u16(status.parse().unwrap()).unwrap(), "{\"error\" : \"no\"}");
    let challenges = [
        "Bearer resource_metadata=\"https://mcp.example/.well-known/oauth-protected-resource/mcp\", scope=\"a b\",error=\"insufficient_scope\"",
        "DPoP algs=\"ES256\"",
    ];
    for challenge in challenges {
        response.headers_mut().append("www-authenticate", challenge.parse().unwrap());
    }
    response
}

/// Metadata as its author spelt it.
fn metadata(name: &str, target: &str) -> Response<Body> {
    let mut response =
        text(StatusCode::OK, &format!("{{ \"resource\" :\t\"https://mcp.example{target}\",\r\n\"by\":\"{name}\" }}\n"));
    for (field, value) in
        [("content-type", "application/json; charset=UTF-8"), ("cache-control", "max-age=3600"), ("etag", "W/\"x\"")]
    {
        response.headers_mut().append(field, value.parse().unwrap());
    }
    response
}

fn error_answer(message: &Value, code: i32) -> Response<Body> {
    let body = json!({ "jsonrpc": "2.0", "id": message["id"], "error": { "code": code, "message": "no" } }).to_string();
    let mut response = text(StatusCode::OK, &body);
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

fn json_answer(message: &Value, result: &Value) -> Response<Body> {
    let body = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }).to_string();
    let mut response = text(StatusCode::OK, &body);
    response.headers_mut().insert("content-type", "application/json".parse().unwrap());
    response
}

fn with_session(mut response: Response<Body>, id: &str) -> Response<Body> {
    response.headers_mut().insert("mcp-session-id", id.parse().unwrap());
    response
}

fn text(status: StatusCode, body: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).unwrap()
}
