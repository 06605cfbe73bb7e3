//! Live traffic: real MCP clients that come, call tools, and go.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::model::{CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, Implementation, JsonObject};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{RoleClient, ServiceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::servers::{PATH, Version};

/// An answer that takes longer is an error.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long clients have to say goodbye when the traffic is stopped, and each on its own.
const GOODBYE: Duration = Duration::from_secs(2);

/// How many clients there are, and how long each rests between two calls.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Live clients at a time.
    pub clients: u32,
    /// Between two calls of a client, give or take a quarter; also before the place of a failed
    /// client is taken again.
    pub pause: Duration,
}

impl Default for Pace {
    /// About 15 calls and 1.5 new sessions a second: enough to see a split in ten seconds, little
    /// enough to read a log beside it. A client of n calls rests n - 1 times, hence not 20 / 15 s.
    fn default() -> Self {
        Self { clients: 20, pause: Duration::from_millis(1_480) }
    }
}

/// What the clients saw since they began.
#[derive(Debug, Default)]
pub struct Tally {
    sessions: [AtomicU64; 2],
    calls: [AtomicU64; 2],
    moved: AtomicU64,
    errors: AtomicU64,
    live: AtomicU64,
    last_error: Mutex<String>,
}

impl Tally {
    /// Sessions opened with this version.
    pub fn sessions(&self, version: Version) -> u64 {
        self.sessions[version as usize].load(Ordering::Relaxed)
    }

    /// Tool calls that this version answered.
    pub fn calls(&self, version: Version) -> u64 {
        self.calls[version as usize].load(Ordering::Relaxed)
    }

    /// How often a session was answered by another version than before.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Failures: of a handshake, a list of tools, or a call.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// The latest failure, in words; empty when there was none.
    pub fn last_error(&self) -> String {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Clients with an open session.
    pub fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    fn failed(&self, words: String) {
        tracing::debug!(error = words, "a demo client failed");
        self.errors.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }
}

/// Keeps clients on `target` until `stop` is true (or its sender is gone); returns when all have
/// closed their sessions, within two seconds.
pub async fn run(target: SocketAddr, stop: watch::Receiver<bool>, tally: Arc<Tally>) {
    run_at(Pace::default(), target, stop, tally).await;
}

/// The same at another pace.
pub async fn run_at(pace: Pace, target: SocketAddr, mut stop: watch::Receiver<bool>, tally: Arc<Tally>) {
    let mut clients = JoinSet::new();
    for at in 0..pace.clients {
        let place = Place {
            url: format!("http://{target}{PATH}").into(),
            pause: pace.pause,
            // Spread over one pause, so that they do not march in step.
            delay: pace.pause * at / pace.clients,
            dice: Dice(u64::from(at)),
            stop: stop.clone(),
            tally: tally.clone(),
        };
        clients.spawn(place.keep());
    }
    stopped(&mut stop).await;
    if timeout(GOODBYE, async { while clients.join_next().await.is_some() {} }).await.is_err() {
        tracing::debug!(left = clients.len(), "demo clients did not end in time");
    }
}

/// One of the places that clients take one after the other.
struct Place {
    url: Arc<str>,
    pause: Duration,
    delay: Duration,
    dice: Dice,
    stop: watch::Receiver<bool>,
    tally: Arc<Tally>,
}

type Client = RunningService<RoleClient, ClientConfig>;

impl Place {
    async fn keep(mut self) {
        let mut delay = self.delay;
        while self.rest(delay).await {
            delay = match Box::pin(self.take()).await {
                Ok(()) => Duration::ZERO,
                Err(words) => {
                    self.tally.failed(words);
                    self.pause
                }
            };
        }
    }

    /// The life of one client.
    async fn take(&mut self) -> Result<(), String> {
        let mut client = within("initialize", Box::pin(config().serve(transport(self.url.clone())))).await?;
        let live = Live::new(self.tally.clone());
        let result = self.use_session(&client).await;
        // rmcp sends the DELETE in here, and waits for it longer than a demo should.
        if let Err(error) = client.close_with_timeout(GOODBYE).await {
            tracing::debug!(%error, "a demo client did not close");
        }
        drop(live);
        result
    }

    async fn use_session(&mut self, client: &Client) -> Result<(), String> {
        let info = client.peer_info().and_then(|peer| peer.server_info.clone());
        let mut version = known(&info.ok_or("the server did not say what it is")?.version)?;
        self.tally.sessions[version as usize].fetch_add(1, Ordering::Relaxed);
        let tools = within("tools/list", client.list_all_tools()).await?;
        let searches = tools.iter().any(|tool| tool.name == "search_notes");
        for turn in 0..5 + self.dice.roll(11) {
            let quarters = 3 + self.dice.roll(3);
            if turn > 0 && !self.rest(self.pause * quarters / 4).await {
                break;
            }
            let (tool, arguments) = self.choose(turn, searches);
            let answer = call(client, tool, arguments).await?;
            if tool == "version" {
                let now = known(&answer)?;
                self.tally.moved.fetch_add(u64::from(now != version), Ordering::Relaxed);
                version = now;
            }
            self.tally.calls[version as usize].fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Every other call asks who answers: other answers do not say, and count for the last that did.
    fn choose(&mut self, turn: u32, searches: bool) -> (&'static str, JsonObject) {
        let (tool, arguments) = match (turn % 2, self.dice.roll(3)) {
            (0, _) => ("version", json!({})),
            (_, 0) => ("add_note", json!({ "text": format!("note {}", self.dice.roll(1_000)) })),
            (_, 1) if searches => ("search_notes", json!({ "query": self.dice.roll(10).to_string() })),
            _ => ("list_notes", json!({})),
        };
        (tool, arguments.as_object().cloned().unwrap_or_default())
    }

    /// False when it is time to go.
    async fn rest(&mut self, time: Duration) -> bool {
        timeout(time, stopped(&mut self.stop)).await.is_err()
    }
}

/// Counts a client as live until dropped, however it ends.
struct Live(Arc<Tally>);

impl Live {
    fn new(tally: Arc<Tally>) -> Self {
        tally.live.fetch_add(1, Ordering::Relaxed);
        Self(tally)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

fn config() -> ClientConfig {
    ClientConfig::new(ClientCapabilities::default(), Implementation::new("dualgate-demo", env!("CARGO_PKG_VERSION")))
}

fn transport(url: Arc<str>) -> impl rmcp::transport::Transport<RoleClient> {
    // rmcp would open a new session by itself when one is lost, and nobody would see the loss.
    let mut config = StreamableHttpClientTransportConfig::with_uri(url).reinit_on_expired_session(false);
    config.allow_stateless = false;
    StreamableHttpClientTransport::from_config(config)
}

async fn call(client: &Client, tool: &'static str, arguments: JsonObject) -> Result<String, String> {
    let request = client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments));
    let result: CallToolResult = within(tool, Box::pin(request)).await?;
    let text = result.content.iter().filter_map(|block| block.as_text()).map(|text| text.text.as_str()).collect::<String>();
    if result.is_error == Some(true) { Err(format!("{tool}: {text}")) } else { Ok(text) }
}

async fn within<T, E: Error>(what: &str, answer: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(ANSWER_WITHIN, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{what}: {}", innermost(&error))),
        Err(_) => Err(format!("{what}: no answer within {ANSWER_WITHIN:?}")),
    }
}

/// The cause that the others wrap: "connection refused" rather than "transport error".
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn known(label: &str) -> Result<Version, String> {
    Version::of_label(label).ok_or_else(|| format!("answered by an unknown version: {label:?}"))
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error: the sender is gone, and with it whoever wanted traffic.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Just enough chance to look alive, and the same in every run (the multiplier is Knuth's MMIX).
struct Dice(u64);

impl Dice {
    /// At least zero, less than `sides`.
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // The low bits of such a generator have short periods.
        (self.0 >> 33) as u32 % sides
    }
}
