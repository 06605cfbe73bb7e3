//! The rmcp client of the interop suite: does in each of its sessions what `tests/interop/clients/exercise.py` does
//! for the Python SDKs, and prints the same report.
//!
//! `interop_rmcp URL SERVERKIND [SESSIONS]`

#![allow(deprecated, reason = "sampling and logging are what handshake-era clients and servers speak")]

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, future::join_all};
use http::{HeaderName, HeaderValue};
use rmcp::{
    ClientHandler, ErrorData, Peer, RoleClient, ServiceExt,
    model::{
        CallToolRequestParams, ClientCapabilities, ClientConfig, ClientJsonRpcMessage, CreateMessageRequestParams,
        CreateMessageResult, Implementation, LoggingMessageNotificationParam, ProgressNotificationParam, SamplingMessage,
    },
    service::{NotificationContext, RequestContext},
    transport::{
        StreamableHttpClientTransport,
        common::client_side_sse::BoxedSseResponse,
        streamable_http_client::{
            StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError, StreamableHttpPostResponse,
        },
    },
};
use serde_json::{Map, Value, json};
use tokio::{
    sync::{Mutex, mpsc},
    time::{sleep, timeout},
};

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const NOTICE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Sessions are born over a whole cycle of the moving split rather than in one moment of it.
const BIRTH_INTERVAL: Duration = Duration::from_millis(250);
const DIALECTS: &str = include_str!("../tests/interop/dialects.json");

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Headers = HashMap<HeaderName, HeaderValue>;

/// rmcp's own HTTP client, watched: it notes the session id and, when asked, loses one answer in the middle.
#[derive(Clone)]
struct Wire<C> {
    inner: C,
    session_id: Arc<OnceLock<Arc<str>>>,
    cut_next: Arc<AtomicBool>,
}

impl<C: StreamableHttpClient + Sync> StreamableHttpClient for Wire<C> {
    type Error = C::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: Headers,
    ) -> Result<StreamableHttpPostResponse, StreamableHttpError<C::Error>> {
        use StreamableHttpPostResponse::{Json, Sse};
        let calls_a_tool = serde_json::to_value(&message)?["method"] == "tools/call";
        let answer = self.inner.post_message(uri, message, session_id, auth_header, custom_headers).await?;
        if let Json(_, Some(id)) | Sse(_, Some(id)) = &answer {
            self.session_id.get_or_init(|| id.as_str().into());
        }
        Ok(match answer {
            // After the first event the client holds an id to come back with.
            Sse(events, id) if calls_a_tool && self.cut_next.swap(false, Ordering::Relaxed) => Sse(events.take(1).boxed(), id),
            whole => whole,
        })
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: Headers,
    ) -> Result<(), StreamableHttpError<C::Error>> {
        self.inner.delete_session(uri, session_id, auth_header, custom_headers).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: Headers,
    ) -> Result<BoxedSseResponse, StreamableHttpError<C::Error>> {
        self.inner.get_stream(uri, session_id, last_event_id, auth_header, custom_headers).await
    }
}

/// Answers the server's requests and passes on what it notifies.
struct Handler {
    notices: mpsc::UnboundedSender<String>,
    progress: mpsc::UnboundedSender<u64>,
}

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder().enable_sampling().build();
        ClientConfig::new(capabilities, Implementation::new("interop-rmcp", "1"))
    }

    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let prompt = params.messages.iter().flat_map(|message| message.content.iter()).find_map(|block| block.as_text());
        let text = format!("answer: {}", prompt.map_or("", |text| &text.text));
        Ok(CreateMessageResult::new(SamplingMessage::assistant_text(text), "none".into()))
    }

    async fn on_logging_message(&self, params: LoggingMessageNotificationParam, _: NotificationContext<RoleClient>) {
        let _ = self.notices.send(params.data.to_string());
    }

    async fn on_progress(&self, params: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        let _ = self.progress.send(params.progress as u64);
    }
}

/// What the handler heard, and the switch that loses an answer.
struct Heard {
    notices: mpsc::UnboundedReceiver<String>,
    progress: mpsc::UnboundedReceiver<u64>,
    cut_next: Arc<AtomicBool>,
}

#[derive(Default)]
struct Tally(Mutex<Map<String, Value>>);

impl Tally {
    async fn update(&self, feature: &str, change: impl FnOnce(&mut Value)) {
        let mut features = self.0.lock().await;
        let empty = || json!({"calls": 0, "failed": 0, "detail": [], "ids": {}});
        change(features.entry(feature).or_insert_with(empty));
    }

    async fn call(&self, feature: &str, session: usize, call: &str) {
        self.update(feature, |entry| {
            let ids = &mut entry["ids"][session.to_string()];
            match ids.as_array_mut() {
                Some(ids) => ids.push(call.into()),
                None => *ids = json!([call]),
            }
        })
        .await;
    }

    async fn outcome(&self, feature: &str, outcome: Result<(), String>) {
        self.update(feature, |entry| {
            entry["calls"] = json!(entry["calls"].as_u64().unwrap_or(0) + 1);
            if let (Err(error), Some(detail)) = (outcome, entry["detail"].as_array_mut()) {
                detail.push(error.into());
                entry["failed"] = json!(entry["failed"].as_u64().unwrap_or(0) + 1);
            }
        })
        .await;
    }
}

fn filled(arguments: &Value, call: &str) -> Map<String, Value> {
    let fill = |value: &Value| {
        if value == "$call" { call.into() } else { value.clone() }
    };
    arguments.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), fill(value))).collect()
}

async fn one_call(peer: &Peer<RoleClient>, heard: &mut Heard, step: &Value, spec: &Value, call: &str) -> Result<(), Failure> {
    heard.cut_next.store(spec["cut"] == true, Ordering::Relaxed);
    while heard.progress.try_recv().is_ok() {}
    let tool = step["tool"].as_str().ok_or("a step without a tool")?.to_owned();
    let params = CallToolRequestParams::new(tool).with_arguments(filled(&step["arguments"], call));
    let result = timeout(CALL_TIMEOUT, peer.call_tool(params)).await??;
    let text = result.content.iter().find_map(|block| block.as_text()).map_or("", |text| &text.text);
    if result.is_error == Some(true) {
        return Err(text.into());
    }
    if let Some(expected) = spec["expect"].as_str()
        && !text.contains(&expected.replace("$call", call))
    {
        return Err(format!("unexpected answer: {text}").into());
    }
    if let Some(steps) = spec["progress"].as_u64() {
        // Each notification is handled in a task of its own, so they may be seen after the result and out of order.
        let mut seen = Vec::new();
        while seen.len() < steps as usize {
            let next = timeout(NOTICE_TIMEOUT, heard.progress.recv()).await;
            seen.push(next.map_err(|_| format!("progress was {seen:?}"))?.ok_or("the connection ended")?);
        }
        seen.sort_unstable();
        if seen != (1..=steps).collect::<Vec<_>>() {
            return Err(format!("progress was {seen:?}").into());
        }
    }
    if let Some(wanted) = spec["notice"].as_str() {
        let wanted = wanted.replace("$call", call);
        let heard_it = async { while heard.notices.recv().await.is_some_and(|text| !text.contains(&wanted)) {} };
        timeout(NOTICE_TIMEOUT, heard_it).await.map_err(|_| "the notification did not come")?;
    }
    Ok(())
}

struct Exercise {
    url: Arc<str>,
    server: String,
    features: Map<String, Value>,
    tally: Tally,
}

impl Exercise {
    async fn run_feature(&self, peer: &Peer<RoleClient>, heard: &mut Heard, session: usize, feature: &str, spec: &Value) {
        for round in 0..spec["repeat"].as_u64().unwrap_or(1) {
            for (case, step) in spec["calls"].as_array().into_iter().flatten().enumerate() {
                let mut outcome = Ok(());
                for attempt in 0..spec["attempts"].as_u64().unwrap_or(1) {
                    let call = format!("rmcp-{}-{session}-{feature}-{round}-{case}-{attempt}", self.server);
                    self.tally.call(feature, session, &call).await;
                    let tried = one_call(peer, heard, step, spec, &call).await;
                    outcome = tried.map_err(|error| format!("{call}: {error}"));
                    if outcome.is_ok() {
                        break;
                    }
                }
                self.tally.outcome(feature, outcome).await;
                sleep(Duration::from_millis(spec["pace_ms"].as_u64().unwrap_or(0))).await;
            }
        }
    }

    /// All features in one session, which is then ended; `left` names those not reached.
    async fn try_session<C: StreamableHttpClient + Sync>(
        &self,
        inner: C,
        session: usize,
        left: &mut Vec<&String>,
    ) -> Result<(), Failure> {
        let wire = Wire { inner, session_id: Arc::default(), cut_next: Arc::default() };
        let config = StreamableHttpClientTransportConfig::with_uri(Arc::clone(&self.url));
        let (notices, noticed) = mpsc::unbounded_channel();
        let (progress, progressed) = mpsc::unbounded_channel();
        let mut heard = Heard { notices: noticed, progress: progressed, cut_next: Arc::clone(&wire.cut_next) };
        let transport = StreamableHttpClientTransport::with_client(wire.clone(), config);
        let service = timeout(CALL_TIMEOUT, Handler { notices, progress }.serve(transport)).await??;
        while let Some(feature) = left.first().copied() {
            self.run_feature(service.peer(), &mut heard, session, feature, &self.features[feature]).await;
            left.remove(0);
        }
        service.cancel().await?;
        self.must_be_gone(&wire).await
    }

    async fn must_be_gone<C: StreamableHttpClient + Sync>(&self, wire: &Wire<C>) -> Result<(), Failure> {
        let list = serde_json::from_value(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))?;
        let version = [(HeaderName::from_static("mcp-protocol-version"), HeaderValue::from_static("2025-11-25"))];
        let session_id = wire.session_id.get().cloned();
        let answer = wire.post_message(Arc::clone(&self.url), list, session_id, None, version.into()).await;
        match answer {
            Err(StreamableHttpError::SessionExpired) => Ok(()),
            // server-everything answers 400, which rmcp hands over as the JSON-RPC error in its body.
            Ok(StreamableHttpPostResponse::Json(message, _)) if serde_json::to_value(&message)?["error"].is_object() => Ok(()),
            other => Err(format!("after DELETE: {other:?}").into()),
        }
    }

    async fn run_session<C: StreamableHttpClient + Sync>(&self, inner: C, session: usize) {
        sleep(BIRTH_INTERVAL * session as u32).await;
        let mut left = self.features.keys().collect();
        let ended = self.try_session(inner, session, &mut left).await;
        let ended = ended.map_err(|error| format!("session {session}: {error}"));
        for feature in left {
            self.tally.outcome(feature, ended.clone()).await;
        }
        self.tally.outcome("delete", ended).await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(server)) = (arguments.next(), arguments.next()) else {
        return Err("usage: interop_rmcp URL SERVERKIND [SESSIONS]".into());
    };
    let sessions = arguments.next().map_or(Ok(4), |text| text.parse())?;
    let dialects: Value = serde_json::from_str(DIALECTS)?;
    let dialect = if server == "everything" { "everything" } else { "ours" };
    let features = dialects[dialect].as_object().cloned().unwrap_or_default();
    let exercise = Exercise { url: url.into(), server, features, tally: Tally::default() };
    // As rmcp's own default client: no idle connection is kept, each request opens one.
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build()?;
    join_all((0..sessions).map(|session| exercise.run_session(client.clone(), session))).await;
    let report = json!({"client": "rmcp", "server": exercise.server, "features": exercise.tally.0.into_inner()});
    println!("{report}");
    Ok(())
}
