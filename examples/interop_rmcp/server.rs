//! A server on rmcp, both eras on one path, which keeps the journal that all servers of the suite keep.
//!
//! `interop_rmcp serve --port PORT --name NAME --log FILE [--steady] [--standby]`: the flags are those of
//! `tests/interop/servers/serve.py`.

use std::{
    collections::HashSet,
    convert::Infallible,
    fs::{File, OpenOptions},
    io::Write,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, request::Parts};
use http_body_util::combinators::BoxBody;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, CreateMessageRequest, CreateMessageRequestParams,
        Implementation, InputRequest, InputRequiredResult, JsonObject, ListToolsResult, LoggingLevel,
        LoggingMessageNotificationParam, PaginatedRequestParams, ProgressNotificationParam, SamplingMessage, ServerCapabilities,
        ServerConfig, SubscriptionFilter, Tool,
    },
    service::{RequestContext, SubscriptionContext},
    transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

use crate::Failure;

const PAGE: usize = 3;
const TICK: Duration = Duration::from_millis(200);
/// So long a client that has lost its stream waits.
const RETRY: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(10);
/// rmcp notices that a client has left when it writes to it.
const KEEP_ALIVE: Duration = Duration::from_millis(100);
/// Between the last progress and the result: the TypeScript SDKs drop progress that they read in one go with the result.
const APART: Duration = Duration::from_millis(150);
const TOOLS: [&str; 7] = ["echo", "count", "ask", "announce", "slow", "linger", "echo-of-"];
const STEADY: [&str; 2] = ["work", "notify"];
/// While a call works it says so this often, in milliseconds.
const STEP_MS: usize = 200;

/// One JSON line per executed call, session born or ended, stream opened or lost.
struct Journal {
    file: Mutex<File>,
    server: String,
    listening: Mutex<HashSet<String>>,
}

impl Journal {
    fn write(&self, mut facts: Value) {
        facts["server"] = self.server.as_str().into();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A journal that cannot be written fails the run by what it lacks.
        let _ = writeln!(file, "{facts}");
    }

    fn event(&self, event: &str, session: &str) {
        self.write(json!({"event": event, "session": session}));
    }

    fn listening(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The session of a legacy request, the client's key of a modern one.
fn session(headers: &HeaderMap) -> String {
    text(headers, "mcp-session-id").or_else(|| text(headers, "x-api-key")).unwrap_or_default().to_owned()
}

fn session_of(context: &RequestContext<RoleServer>) -> String {
    context.extensions.get::<Parts>().map_or_else(String::new, |parts| session(&parts.headers))
}

fn argument<'a>(arguments: &'a JsonObject, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[derive(Clone)]
struct Server {
    journal: Arc<Journal>,
    /// What this process alone can have said.
    secret: u64,
    /// The same tools in every process, and no others.
    steady: bool,
}

impl Server {
    fn sealed(&self, text: &str) -> String {
        format!("{:x}.{text}", self.secret)
    }

    fn opened<'a>(&self, sealed: &'a str) -> Result<&'a str, ErrorData> {
        let own = sealed.split_once('.').filter(|(secret, _)| *secret == format!("{:x}", self.secret));
        own.map(|(_, text)| text).ok_or_else(|| ErrorData::invalid_params("this is not from here", None))
    }

    async fn count(&self, arguments: &JsonObject, context: &RequestContext<RoleServer>) {
        let steps = arguments.get("n").and_then(Value::as_u64).unwrap_or_default();
        for step in 1..=steps {
            if let Some(token) = context.meta.get_progress_token() {
                let progress = ProgressNotificationParam::new(token, step as f64).with_total(steps as f64);
                let _ = context.peer.notify_progress(progress).await;
            }
        }
        sleep(APART).await;
    }

    /// rmcp does not replay an answer that was given while nobody read its stream, so this one waits for its client.
    async fn slow(&self, context: &RequestContext<RoleServer>) {
        if let Some(token) = context.meta.get_progress_token() {
            let _ = context.peer.notify_progress(ProgressNotificationParam::new(token, 1.0)).await;
        }
        sleep(RETRY * 5).await;
    }

    async fn announce(&self, call: &str, context: &RequestContext<RoleServer>) -> Result<(), ErrorData> {
        let session = session_of(context);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.journal.listening().contains(&session) {
            if tokio::time::Instant::now() > deadline {
                return Err(ErrorData::internal_error("nobody listens", None));
            }
            sleep(Duration::from_millis(20)).await;
        }
        let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, call.into());
        context.peer.notify_logging_message(message).await.map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }

    async fn work(&self, arguments: &JsonObject, context: &RequestContext<RoleServer>) {
        let ms = arguments.get("ms").and_then(Value::as_u64).unwrap_or_default();
        for done in (0..ms).step_by(STEP_MS) {
            if let Some(token) = context.meta.get_progress_token() {
                let progress = ProgressNotificationParam::new(token, done as f64).with_total(ms as f64);
                let _ = context.peer.notify_progress(progress).await;
            }
            sleep(Duration::from_millis((ms - done).min(STEP_MS as u64))).await;
        }
    }

    async fn steady_call(
        &self,
        params: &CallToolRequestParams,
        arguments: &JsonObject,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let call = argument(arguments, "call");
        self.executed(&params.name, call, context);
        match &*params.name {
            "work" => self.work(arguments, context).await,
            _ => {
                let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, call.into());
                let _ = context.peer.notify_logging_message(message).await;
            }
        }
        self.journal.write(json!({"event": "done", "done": call, "session": session_of(context)}));
        Ok(said_so(call))
    }

    async fn linger(&self, context: &RequestContext<RoleServer>) {
        tokio::select! {
            () = sleep(PATIENCE) => {}
            () = context.ct.cancelled() => self.journal.event("cancelled", &session_of(context)),
        }
    }

    /// In the legacy era the client is asked in the middle of the call, in the modern one by its answer.
    async fn ask(
        &self,
        params: &CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let call = argument(params.arguments.as_ref().unwrap_or(&JsonObject::new()), "call").to_owned();
        let question = CreateMessageRequestParams::new(vec![SamplingMessage::user_text(call.clone())], 100);
        if context.protocol_version().is_none_or(|version| version.has_initialize()) {
            self.executed("ask", &call, context);
            let answer = context.peer.create_message(question).await;
            let answer = answer.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
            let said = answer.message.content.iter().find_map(|block| block.as_text()).map_or("", |text| &text.text);
            return Ok(said_so(said));
        }
        let Some(state) = &params.request_state else {
            let request = InputRequest::CreateMessage(CreateMessageRequest::new(question));
            let requests = [("answer".to_owned(), request)].into();
            return Ok(InputRequiredResult::new(Some(requests), Some(self.sealed(&call))).into());
        };
        self.executed("ask", self.opened(state)?, context);
        let answer = params.input_responses.as_ref().and_then(|answers| answers.get("answer"));
        Ok(said_so(answer.and_then(|answer| answer["content"]["text"].as_str()).unwrap_or_default()))
    }

    fn executed(&self, tool: &str, call: &str, context: &RequestContext<RoleServer>) {
        self.journal.write(json!({"tool": tool, "call": call, "session": session_of(context)}));
    }
}

fn said_so(text: &str) -> CallToolResponse {
    CallToolResult::success(vec![ContentBlock::text(text)]).into()
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_tool_list_changed().enable_logging().build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("interop-rmcp", "1"))
    }

    async fn list_tools(
        &self,
        params: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let start = match params.and_then(|params| params.cursor) {
            Some(cursor) => self.opened(&cursor)?.parse().unwrap_or(0),
            None => 0,
        };
        let own = format!("echo-of-{}", self.journal.server);
        let tools = if self.steady { &STEADY[..] } else { &TOOLS };
        let name = |tool: &&str| if tool.ends_with('-') { own.clone() } else { (*tool).to_owned() };
        let schema = JsonObject::from_iter([("type".to_owned(), "object".into())]);
        let page = tools.iter().skip(start).take(PAGE).map(|tool| Tool::new(name(tool), "", schema.clone()));
        let mut result = ListToolsResult::with_all_items(page.collect());
        result.next_cursor = (start + PAGE < tools.len()).then(|| self.sealed(&(start + PAGE).to_string()));
        Ok(result)
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = params.arguments.clone().unwrap_or_default();
        let call = argument(&arguments, "call");
        let own = format!("echo-of-{}", self.journal.server);
        if self.steady {
            return self.steady_call(&params, &arguments, &context).await;
        }
        if params.name == "ask" {
            return self.ask(&params, &context).await;
        }
        if params.name != own && !TOOLS[..6].contains(&&*params.name) {
            return Err(ErrorData::invalid_params(format!("no such tool: {}", params.name), None));
        }
        self.executed(&params.name, call, &context);
        match &*params.name {
            "count" => self.count(&arguments, &context).await,
            "announce" => self.announce(call, &context).await?,
            "slow" => self.slow(&context).await,
            "linger" => self.linger(&context).await,
            _ => {}
        }
        Ok(said_so(call))
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let key = session_of(context.request_context());
        self.journal.event("listening", &key);
        loop {
            tokio::select! {
                () = context.cancelled() => break,
                () = sleep(TICK) => if context.sink().notify_tool_list_changed().await.is_err() { break },
            }
        }
        self.journal.event("unlistened", &key);
        Ok(())
    }
}

type Service = StreamableHttpService<Server, LocalSessionManager>;

/// Passes the request on, and notes what it was when it went well.
async fn answer(service: Service, journal: Arc<Journal>, request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
    let method = request.method().clone();
    let asked = text(request.headers(), "mcp-session-id").map(str::to_owned);
    let resumes = request.headers().contains_key("last-event-id");
    let response = service.handle(request).await;
    if response.status().is_success() {
        let given = text(response.headers(), "mcp-session-id").map(str::to_owned);
        match (method, asked, given) {
            (Method::POST, None, Some(session)) => journal.event("created", &session),
            (Method::GET, Some(session), _) => {
                journal.event(if resumes { "resumed" } else { "listening" }, &session);
                journal.listening().insert(session);
            }
            (Method::DELETE, Some(session), _) => journal.event("deleted", &session),
            _ => {}
        }
    }
    response
}

/// Serves until it is killed.
pub async fn run(arguments: &[String]) -> Result<(), Failure> {
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).ok_or(format!("{name} is missing"))
    };
    let file = OpenOptions::new().append(true).create(true).open(option("--log")?)?;
    let flag = |name: &str| arguments.iter().any(|argument| argument == name);
    // An end without a line: whoever waited has gone.
    if flag("--standby") && std::io::stdin().read_line(&mut String::new())? == 0 {
        return Ok(());
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, option("--port")?.parse()?)).await?;
    let journal = Arc::new(Journal { file: file.into(), server: option("--name")?.clone(), listening: Mutex::default() });
    // Two processes of one run have different ones.
    let server = Server { journal: journal.clone(), secret: u64::from(std::process::id()), steady: flag("--steady") };
    let config = StreamableHttpServerConfig::default().with_sse_keep_alive(Some(KEEP_ALIVE)).with_sse_retry(Some(RETRY));
    let mut sessions = LocalSessionManager::default();
    sessions.session_config.sse_retry = Some(RETRY);
    let service = StreamableHttpService::new(move || Ok(server.clone()), Arc::new(sessions), config);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (service, journal) = (service.clone(), journal.clone());
        let served = service_fn(move |request| {
            let (service, journal) = (service.clone(), journal.clone());
            async move { Ok::<_, Infallible>(answer(service, journal, request).await) }
        });
        let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), served);
        // A connection that breaks is its client's affair.
        tokio::spawn(async move { drop(connection.await) });
    }
}
