//! Active checks: what a client would meet, asked every `interval`.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::connect::connect;
use super::endpoint::Endpoint;
use crate::config::{Health, HealthKind};
use crate::domain::{Era, Eras};
use crate::mcp::names;
use crate::mcp::sse::first_answer;

mod sse;

/// JSON-RPC 2.0, 5.1.
const INTERNAL_ERROR: i64 = -32603;

/// The most of an answer that a check reads.
const MOST_READ: usize = 1 << 20;

/// A session that a check opened is ended in this time.
const END_WITHIN: Duration = Duration::from_secs(5);

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// Whether it passed.
    pub success: bool,
    /// Whether it failed for want of an answer.
    pub silent: bool,
    /// What the endpoint said of itself, or what went wrong.
    pub detail: String,
    /// How long it took.
    pub took: Duration,
    /// The eras that the endpoint was seen to serve or to refuse.
    pub serves: Eras,
}

/// The eras are asked for again after so many checks: a version of another era may have taken the
/// address over between two of them.
const LEARN_EVERY: u32 = 30;

/// Checks one endpoint again and again. Asks for both eras at first and now and then, and in between the
/// cheaper way: a modern server is asked the stateless way, and a legacy one is not asked twice.
pub struct Prober {
    endpoint: Arc<Endpoint>,
    health: Health,
    era: Option<Era>,
    until_learning: u32,
    /// What was learnt of the eras, and whether the last check spoke against it.
    learnt: Eras,
    is_doubted: bool,
}

/// What one way of asking came to.
type Answer = Result<String, Failure>;

/// Why a check did not pass.
struct Failure {
    detail: String,
    is_silent: bool,
}

impl From<String> for Failure {
    fn from(detail: String) -> Self {
        Self { detail, is_silent: false }
    }
}

impl Prober {
    /// A prober that knows nothing yet.
    pub fn new(endpoint: Arc<Endpoint>, health: Health) -> Self {
        Self { endpoint, health, era: None, until_learning: 0, learnt: Eras::default(), is_doubted: false }
    }

    /// One check.
    pub async fn check(&mut self) -> Finding {
        let started = tokio::time::Instant::now();
        let (answer, serves) = match self.health.kind {
            HealthKind::Mcp if self.until_learning == 0 => self.learn().await,
            _ => (self.ask().await, Eras::default()),
        };
        if answer.is_err() {
            // A new version may have come up here, of another era.
            (self.era, self.until_learning) = (None, 0);
        }
        let took = started.elapsed();
        match answer {
            Ok(detail) => Finding { success: true, silent: false, detail, took, serves },
            Err(Failure { detail, is_silent }) => Finding { success: false, silent: is_silent, detail, took, serves },
        }
    }

    async fn ask(&mut self) -> Answer {
        self.until_learning = self.until_learning.saturating_sub(1);
        match (self.health.kind, self.era) {
            (HealthKind::Tcp, _) => self.in_time(connect(&self.endpoint)).await.map(|_| "accepts connections".to_owned()),
            (HealthKind::Http, _) => self.in_time(self.ask_http()).await,
            (HealthKind::Mcp, Some(Era::Modern)) => match self.in_time(self.discover()).await? {
                Discovered::Serves(detail) => Ok(detail),
                _ => Err("answered server/discover before and does no more".to_owned().into()),
            },
            (HealthKind::Mcp, _) => self.in_time(self.shake_hands()).await?.detail(),
        }
    }

    /// A question that takes too long is one to which there was no answer.
    async fn in_time<T>(&self, question: impl Future<Output = Result<T, String>>) -> Result<T, Failure> {
        let within = self.health.timeout;
        match tokio::time::timeout(within, question).await {
            Ok(answer) => answer.map_err(Failure::from),
            Err(_) => Err(Failure { detail: format!("no answer within {within:?}"), is_silent: true }),
        }
    }

    async fn ask_http(&self) -> Result<String, String> {
        let status = self.send(Method::GET, &[], Bytes::new()).await?.status();
        if status.is_success() { Ok(format!("answers {status}")) } else { Err(format!("answers {status}")) }
    }

    /// Asks in both eras at once, each with a time of its own. Well is who answers in either.
    async fn learn(&mut self) -> (Answer, Eras) {
        let (discovered, initialized) = tokio::join!(self.in_time(self.discover()), self.in_time(self.initialize()));
        let initialized = match (&discovered, initialized) {
            (Ok(Discovered::Serves(_)), initialized) => initialized,
            (_, Ok(Initialized::Absent(why))) => self.in_time(self.initialize_over_sse(why)).await,
            (_, initialized) => initialized,
        };
        let seen = Eras {
            modern: discovered.as_ref().ok().and_then(Discovered::says),
            legacy: initialized.as_ref().ok().and_then(Initialized::says),
        };
        let (era, answer) = match (discovered, initialized) {
            (Ok(Discovered::Serves(detail)), _) => (Era::Modern, Ok(detail)),
            (_, initialized) => (Era::Legacy, initialized.and_then(Initialized::detail)),
        };
        (self.era, self.until_learning) = (Some(era), LEARN_EVERY);
        (answer, self.believe(seen))
    }

    /// What is to be believed of what was seen. A server that serves neither era is in trouble, and says
    /// nothing of eras by that; and what was served before is not taken back by one check alone.
    fn believe(&mut self, seen: Eras) -> Eras {
        if seen.modern != Some(true) && seen.legacy != Some(true) {
            return Eras::default();
        }
        let takes_back = |seen: Option<bool>, learnt: Option<bool>| seen == Some(false) && learnt == Some(true);
        let contradicts = takes_back(seen.modern, self.learnt.modern) || takes_back(seen.legacy, self.learnt.legacy);
        if contradicts && !std::mem::replace(&mut self.is_doubted, true) {
            self.until_learning = 0;
            return Eras::default();
        }
        self.is_doubted = false;
        self.learnt = seen.over(self.learnt);
        seen
    }

    /// `server/discover` (2026-07-28): stateless and cheap.
    async fn discover(&self) -> Result<Discovered, String> {
        let version = names::FIRST_MODERN;
        let body = json!({ "jsonrpc": "2.0", "id": "dualgate-health", "method": names::DISCOVER, "params": { "_meta": {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "dualgate-health", "version": env!("CARGO_PKG_VERSION") },
        } } });
        let headers = [("mcp-protocol-version", version), ("mcp-method", names::DISCOVER)];
        let answer = self.send(Method::POST, &headers, body.to_string().into()).await?;
        match answer.status() {
            StatusCode::OK => {}
            status if is_refusal(status) => return Ok(Discovered::Refuses),
            _ => return Ok(Discovered::Unclear),
        }
        let message = read_message(answer).await?;
        let versions: Vec<&str> =
            message["result"]["supportedVersions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        Ok(if versions.iter().any(|version| names::is_modern(version.as_bytes())) {
            Discovered::Serves(format!("serves {}", versions.join(", ")))
        } else if is_trouble(&message) {
            Discovered::Unclear
        } else {
            Discovered::Refuses
        })
    }

    /// The legacy handshake, by whichever transport.
    async fn shake_hands(&self) -> Result<Initialized, String> {
        match self.initialize().await? {
            Initialized::Absent(why) => self.initialize_over_sse(why).await,
            other => Ok(other),
        }
    }

    /// The legacy handshake. The session that it opens is ended as soon as its id is known, whatever
    /// comes of the check: sessions must not pile up at a server that is slow already.
    async fn initialize(&self) -> Result<Initialized, String> {
        let answer = self.send(Method::POST, &[], handshake()).await?;
        match answer.status() {
            StatusCode::OK => {}
            // Alive, and it guards its sessions: the check has no credential of a client.
            StatusCode::UNAUTHORIZED => return Ok(Initialized::Guarded),
            status @ (StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => {
                return Ok(Initialized::Absent(format!("answers initialize with {status}")));
            }
            status if is_refusal(status) => return Ok(Initialized::Refuses(format!("answers initialize with {status}"))),
            status => return Err(format!("answers initialize with {status}")),
        }
        let session = answer.headers().get(names::SESSION_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let _ending = session.map(|session| Ending { endpoint: self.endpoint.clone(), health: self.health.clone(), session });
        let message = read_message(answer).await?;
        Ok(Initialized::of(&message))
    }

    /// A request over a connection of its own, with the Host and the path that traffic uses: a
    /// server that refuses the Host of traffic must not look healthy.
    async fn send(&self, method: Method, headers: &[(&str, &str)], body: Bytes) -> Result<Response<Incoming>, String> {
        self.send_to(&self.health.path, method, headers, body).await
    }

    async fn send_to(
        &self,
        target: &str,
        method: Method,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>, String> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(connect(&self.endpoint).await?)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, self.endpoint.host.clone())
            .header(CONNECTION, "close")
            .header(ACCEPT, "application/json, text/event-stream");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        sender.send_request(request).await.map_err(|error| error.to_string())
    }
}

/// What `server/discover` came to.
enum Discovered {
    Serves(String),
    Refuses,
    /// It speaks of credentials or of trouble, not of eras.
    Unclear,
}

impl Discovered {
    fn says(&self) -> Option<bool> {
        match self {
            Self::Serves(_) => Some(true),
            Self::Refuses => Some(false),
            Self::Unclear => None,
        }
    }
}

/// What `initialize` came to.
enum Initialized {
    Serves(String),
    Guarded,
    Refuses(String),
    /// It speaks of trouble, not of eras.
    Fails(String),
    /// Nothing at this path takes it: a server of HTTP+SSE alone says so.
    Absent(String),
}

impl Initialized {
    fn of(message: &Value) -> Self {
        let info = &message["result"]["serverInfo"];
        match (info["name"].as_str(), info["version"].as_str()) {
            (Some(name), version) => Self::Serves(format!("{name} {}", version.unwrap_or("")).trim_end().to_owned()),
            (None, _) => {
                let what = match message["error"]["message"].as_str() {
                    Some(error) => format!("answers initialize with the error `{error}`"),
                    None => "answers initialize without serverInfo".to_owned(),
                };
                if is_trouble(message) { Self::Fails(what) } else { Self::Refuses(what) }
            }
        }
    }

    fn says(&self) -> Option<bool> {
        match self {
            Self::Serves(_) => Some(true),
            Self::Refuses(_) | Self::Absent(_) => Some(false),
            Self::Guarded | Self::Fails(_) => None,
        }
    }

    fn detail(self) -> Answer {
        match self {
            Self::Serves(detail) => Ok(detail),
            Self::Guarded => Ok("answers 401: it wants a credential".to_owned()),
            Self::Refuses(detail) | Self::Fails(detail) | Self::Absent(detail) => Err(detail.into()),
        }
    }
}

/// `initialize` as the check sends it.
fn handshake() -> Bytes {
    let message = json!({ "jsonrpc": "2.0", "id": "dualgate-health", "method": names::INITIALIZE, "params": {
        "protocolVersion": names::LAST_LEGACY,
        "capabilities": {},
        "clientInfo": { "name": "dualgate-health", "version": env!("CARGO_PKG_VERSION") },
    } });
    message.to_string().into()
}

/// A status by which a server of one era refuses the other. Anything else speaks of credentials, limits or
/// trouble.
fn is_refusal(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_ACCEPTABLE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
    )
}

/// Whether an error is the server's own trouble, by its code, and so says nothing of eras.
fn is_trouble(message: &Value) -> bool {
    message["error"]["code"] == INTERNAL_ERROR
}

/// Ends a session that a check has opened: DELETE, beside the check, with a time of its own, and also
/// where the check was given up. Servers may refuse it (405); that says nothing about their health.
struct Ending {
    endpoint: Arc<Endpoint>,
    health: Health,
    session: String,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let prober = Prober::new(self.endpoint.clone(), self.health.clone());
        let session = std::mem::take(&mut self.session);
        tokio::spawn(async move {
            let headers = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", names::LAST_LEGACY)];
            let _ = tokio::time::timeout(END_WITHIN, prober.send(Method::DELETE, &headers, Bytes::new())).await;
        });
    }
}

fn is_event_stream(answer: &Response<Incoming>) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

/// The first JSON-RPC response in an answer, be it JSON or an event stream.
async fn read_message(answer: Response<Incoming>) -> Result<Value, String> {
    let is_stream = is_event_stream(&answer);
    let mut body = answer.into_body();
    let mut text = BytesMut::new();
    loop {
        if is_stream && let Some(message) = first_answer(&text) {
            return serde_json::from_str(&message).map_err(|error| error.to_string());
        }
        match body.frame().await {
            Some(Ok(frame)) => text.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
            Some(Err(error)) => return Err(error.to_string()),
            None if is_stream => return Err("the event stream ends without an answer".to_owned()),
            None => return serde_json::from_slice(&text).map_err(|error| format!("the answer is not JSON: {error}")),
        }
        if text.len() > MOST_READ {
            return Err("the answer is longer than 1 MiB".to_owned());
        }
    }
}
