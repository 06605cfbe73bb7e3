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

mod sse;

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
}

/// What one way of asking came to.
type Answer = Result<String, String>;

impl Prober {
    /// A prober that knows nothing yet.
    pub fn new(endpoint: Arc<Endpoint>, health: Health) -> Self {
        Self { endpoint, health, era: None, until_learning: 0 }
    }

    /// One check.
    pub async fn check(&mut self) -> Finding {
        let started = tokio::time::Instant::now();
        let timeout = self.health.timeout;
        let asked = tokio::time::timeout(timeout, self.ask()).await;
        let silent = asked.is_err();
        let (result, serves) = asked.unwrap_or_else(|_| (Err(format!("no answer within {timeout:?}")), Eras::default()));
        if result.is_err() {
            // A new version may have come up here, of another era.
            (self.era, self.until_learning) = (None, 0);
        }
        let (success, detail) = match result {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        Finding { success, silent, detail, took: started.elapsed(), serves }
    }

    async fn ask(&mut self) -> (Answer, Eras) {
        let unlearnt = |answer| (answer, Eras::default());
        match self.health.kind {
            HealthKind::Tcp => unlearnt(connect(&self.endpoint).await.map(|_| "accepts connections".to_owned())),
            HealthKind::Http => unlearnt(self.ask_http().await),
            HealthKind::Mcp if self.until_learning > 0 => {
                self.until_learning -= 1;
                unlearnt(match self.era {
                    Some(Era::Modern) => self.discover().await.and_then(|answer| match answer {
                        Discovered::Serves(detail) => Ok(detail),
                        _ => Err("answered server/discover before and does no more".to_owned()),
                    }),
                    _ => self.shake_hands().await.and_then(Initialized::detail),
                })
            }
            HealthKind::Mcp => self.learn().await,
        }
    }

    async fn ask_http(&self) -> Result<String, String> {
        let status = self.send(Method::GET, &[], Bytes::new()).await?.status();
        if status.is_success() { Ok(format!("answers {status}")) } else { Err(format!("answers {status}")) }
    }

    /// Asks in both eras at once. Well is who answers in either.
    async fn learn(&mut self) -> (Answer, Eras) {
        let (discovered, initialized) = tokio::join!(self.discover(), self.initialize());
        let initialized = match (&discovered, initialized) {
            (Ok(Discovered::Serves(_)), initialized) => initialized,
            (_, initialized) => self.or_over_sse(initialized).await,
        };
        let serves = Eras {
            modern: discovered.as_ref().ok().and_then(Discovered::says),
            legacy: initialized.as_ref().ok().and_then(Initialized::says),
        };
        let modern = match discovered {
            Ok(Discovered::Serves(detail)) => Some(detail),
            _ => None,
        };
        let (era, answer) = match (modern, initialized) {
            (Some(detail), _) => (Era::Modern, Ok(detail)),
            (None, initialized) => (Era::Legacy, initialized.and_then(Initialized::detail)),
        };
        (self.era, self.until_learning) = (Some(era), LEARN_EVERY);
        (answer, serves)
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
            status if is_about_something_else(status) => return Ok(Discovered::Unclear),
            _ => return Ok(Discovered::Refuses),
        }
        let message = read_message(answer).await?;
        Ok(match message["result"]["supportedVersions"].as_array() {
            None => Discovered::Refuses,
            Some(versions) => {
                let versions: Vec<&str> = versions.iter().filter_map(Value::as_str).collect();
                Discovered::Serves(format!("serves {}", versions.join(", ")))
            }
        })
    }

    /// The legacy handshake, by whichever transport.
    async fn shake_hands(&self) -> Result<Initialized, String> {
        let initialized = self.initialize().await;
        self.or_over_sse(initialized).await
    }

    async fn or_over_sse(&self, initialized: Result<Initialized, String>) -> Result<Initialized, String> {
        match initialized {
            Ok(Initialized::Absent(why)) => self.initialize_over_sse(why).await,
            other => other,
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
            status if is_about_something_else(status) => return Err(format!("answers initialize with {status}")),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                return Ok(Initialized::Absent(format!("answers initialize with {}", answer.status())));
            }
            status => return Ok(Initialized::Refuses(format!("answers initialize with {status}"))),
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
    /// Nothing at this path takes it: a server of HTTP+SSE alone says so.
    Absent(String),
}

impl Initialized {
    fn of(message: &Value) -> Self {
        let info = &message["result"]["serverInfo"];
        match (info["name"].as_str(), info["version"].as_str()) {
            (Some(name), version) => Self::Serves(format!("{name} {}", version.unwrap_or("")).trim_end().to_owned()),
            (None, _) => Self::Refuses(match message["error"]["message"].as_str() {
                Some(error) => format!("answers initialize with the error `{error}`"),
                None => "answers initialize without serverInfo".to_owned(),
            }),
        }
    }

    fn says(&self) -> Option<bool> {
        match self {
            Self::Serves(_) => Some(true),
            Self::Refuses(_) | Self::Absent(_) => Some(false),
            Self::Guarded => None,
        }
    }

    fn detail(self) -> Answer {
        match self {
            Self::Serves(detail) => Ok(detail),
            Self::Guarded => Ok("answers 401: it wants a credential".to_owned()),
            Self::Refuses(detail) | Self::Absent(detail) => Err(detail),
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

/// A status that says nothing of the era: a credential is missing, a limit reached, the server in trouble.
fn is_about_something_else(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        )
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
        if is_stream && let Some(message) = first_response(&text) {
            return Ok(message);
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

fn first_response(stream: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(stream).ok()?.replace("\r\n", "\n");
    let (complete, _) = text.rsplit_once("\n\n")?;
    complete.split("\n\n").find_map(|event| {
        let lines: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim_start).collect();
        let message: Value = serde_json::from_str(&lines.join("\n")).ok()?;
        (message.get("result").is_some() || message.get("error").is_some()).then_some(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_found_behind_pings_primings_and_notifications() {
        let stream = b": ping\n\nid: 1\ndata:\n\nevent: message\r\ndata: {\"method\":\"x\"}\r\n\r\ndata: {\"id\":1,\ndata: \"result\":{}}\n\n";
        assert_eq!(first_response(stream), Some(json!({ "id": 1, "result": {} })));
        assert_eq!(first_response(&stream[..stream.len() - 1]), None, "not complete yet");
    }
}
