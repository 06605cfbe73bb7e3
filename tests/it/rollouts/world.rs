//! Two servers whose behaviour can be turned, clients that come and go, and the binary in between: as a process, judged by
//! exit codes and records. `DUALGATE_BIN` names another binary than the one of these tests, such as a release.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::scripted::{Body, scripted, whole};
use crate::support::{Client, Folder, Port, Process, Said, call, dualgate, eventually};

/// How a server behaves, as of now.
#[derive(Default)]
pub struct Manners {
    /// Of so many calls in 10,000 of a tool (`*`: of any), the answer says `isError`: evenly spread, and always HTTP 200.
    faults: Mutex<HashMap<String, u64>>,
    calls: AtomicU64,
    /// What an answer takes, in microseconds.
    pub takes: AtomicU64,
    /// Calls that were answered.
    pub answered: AtomicU64,
}

impl Manners {
    pub fn fail(&self, tool: &str, of_ten_thousand: u64) {
        self.faults.lock().unwrap().insert(tool.to_owned(), of_ten_thousand);
    }

    fn fails(&self, tool: &str) -> bool {
        let n = self.calls.fetch_add(1, Ordering::Relaxed);
        let faults = self.faults.lock().unwrap();
        // The tool that one client gets wrong always.
        let rate = if tool == "wrong" { 10_000 } else { *faults.get(tool).or(faults.get("*")).unwrap_or(&0) };
        (n + 1) * rate / 10_000 > n * rate / 10_000
    }
}

pub async fn server(manners: Arc<Manners>) -> SocketAddr {
    let born = Arc::new(AtomicU64::new(0));
    scripted(move |head, message| {
        let (manners, born) = (manners.clone(), born.clone());
        async move { answer(&manners, &born, &head.method, &message).await }
    })
    .await
}

async fn answer(manners: &Manners, born: &AtomicU64, method: &http::Method, message: &Value) -> http::Response<Body> {
    let json_type = ("content-type", "application/json");
    let result = |result: Value| json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }).to_string();
    match (method, message["method"].as_str()) {
        (&http::Method::POST, Some("initialize")) => {
            let id = format!("s{}", born.fetch_add(1, Ordering::Relaxed));
            let hello =
                json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": { "name": "s", "version": "1" } });
            whole(200, &[json_type, ("mcp-session-id", &id)], &result(hello))
        }
        (&http::Method::POST, Some("tools/call")) => {
            let takes = manners.takes.load(Ordering::Relaxed);
            if takes > 0 {
                tokio::time::sleep(Duration::from_micros(takes)).await;
            }
            let fails = manners.fails(message["params"]["name"].as_str().unwrap_or_default());
            manners.answered.fetch_add(1, Ordering::Relaxed);
            let content = json!([{ "type": "text", "text": "said" }]);
            whole(200, &[json_type], &result(json!({ "content": content, "isError": fails })))
        }
        (&http::Method::POST, Some("server/discover")) => {
            let error = json!({ "jsonrpc": "2.0", "id": message["id"], "error": { "code": -32601, "message": "no" } });
            whole(404, &[json_type], &error.to_string())
        }
        (&http::Method::POST, _) => whole(202, &[], ""),
        (&http::Method::DELETE, _) => whole(200, &[], ""),
        _ => whole(405, &[], ""),
    }
}

pub struct World {
    pub stable: Arc<Manners>,
    pub candidate: Arc<Manners>,
    pub ports: [Port; 2],
    folder: Folder,
    process: Mutex<Option<Process>>,
    stop: Arc<AtomicBool>,
    clients: Mutex<Vec<JoinHandle<()>>>,
}

impl World {
    /// With further lines of the service, and windows of a second without a look at times unless they say otherwise.
    pub async fn start(more: &str) -> Arc<Self> {
        let (stable, candidate) = (Arc::<Manners>::default(), Arc::<Manners>::default());
        let addresses = [server(stable.clone()).await, server(candidate.clone()).await];
        Self::with(stable, candidate, addresses, more).await
    }

    pub async fn with(stable: Arc<Manners>, candidate: Arc<Manners>, addresses: [SocketAddr; 2], more: &str) -> Arc<Self> {
        let (folder, ports) = (Folder::new(), [Port::any(), Port::any()]);
        // Times of a machine that is busy with other tests are beside the baseline of a moment ago now so, now so: they are
        // judged where a test is about them.
        let quiet = "judge = { window = \"1s\", triggers = { latency = \"off\", throughput = \"off\" } }";
        let judge = if more.contains("judge") { "" } else { quiet };
        let text = format!(
            r#"
            listen = "{}"
            threads = 1
            shutdown = {{ delay = "0s", drain = "1s" }}
            admin = {{ listen = "{}" }}
            state = {{ dir = '{}' }}
            [[service]]
            name = "notes"
            primary = {{ version = "1.0", endpoints = ["http://{}"] }}
            secondary = {{ version = "2.0", endpoints = ["http://{}"] }}
            health = {{ interval = "200ms", timeout = "150ms", fall = 2 }}
            sessions = {{ on_drain = "end", rollback_deadline = "1s", rollback_pace = "1s" }}
            {judge}
            {more}
            "#,
            ports[0].address,
            ports[1].address,
            folder.path().join("state").display(),
            addresses[0],
            addresses[1],
        );
        std::fs::write(folder.path().join("dualgate.toml"), text).unwrap();
        let (stop, clients) = (Arc::default(), Mutex::default());
        let world = Arc::new(Self { stable, candidate, ports, folder, process: Mutex::new(None), stop, clients });
        world.run().await;
        world
    }

    /// Starts the binary, and waits until both entries are up.
    pub async fn run(&self) {
        let path = self.folder.path().join("dualgate.toml");
        let log = self.folder.path().join("log");
        *self.process.lock().unwrap() = Some(Process::logging(&["run", "--config", path.to_str().unwrap()], "info", &log));
        eventually("both entries are up", async || {
            let service = self.get("").await?;
            let up = |entry: &str| service["entries"][entry]["standing"] == "up";
            (up("primary") && up("secondary")).then_some(())
        })
        .await;
    }

    /// Where its state is.
    pub fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    /// As by SIGTERM, to its end.
    pub async fn stop(&self) {
        let process = self.process.lock().unwrap().take();
        tokio::task::spawn_blocking(move || process.map(Process::terminate)).await.unwrap();
    }

    pub fn kill(&self) {
        if let Some(process) = self.process.lock().unwrap().take() {
            process.kill();
        }
    }

    /// `GET /v1/services/notes` and what is below it; none while nobody answers, or where there is nothing.
    pub async fn get(&self, path: &str) -> Option<Value> {
        let url = format!("http://{}/v1/services/notes{path}", self.ports[1].address);
        let answer = reqwest::Client::new().get(url).bearer_auth(self.token()?).send().await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        serde_json::from_slice(&answer.bytes().await.ok()?).ok()
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("http://{}/v1/services/notes{path}", self.ports[1].address);
        let request = reqwest::Client::new().post(url).bearer_auth(self.token().unwrap());
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    fn token(&self) -> Option<String> {
        Some(std::fs::read_to_string(self.folder.path().join("state/admin-token")).ok()?.trim().to_owned())
    }

    pub async fn cli(&self, arguments: &[&str]) -> Said {
        let token = self.folder.path().join("state/admin-token");
        let url = format!("http://{}", self.ports[1].address);
        dualgate(arguments, &[("DUALGATE_ADMIN_URL", &url), ("DUALGATE_TOKEN_FILE", token.to_str().unwrap()), ("USER", "ada")])
            .await
    }

    /// `rollout start --wait`, on its way.
    pub fn start_rollout(self: &Arc<Self>, steps: &str, timeout: &str) -> JoinHandle<Said> {
        let (world, steps, timeout) = (self.clone(), steps.to_owned(), timeout.to_owned());
        tokio::spawn(async move {
            world.cli(&["rollout", "start", "--steps", &steps, "--wait", "--timeout", &timeout, "-o", "json"]).await
        })
    }

    /// So many clients, each of which opens a session, makes ten calls, ends it, and begins again; a call every `pause`. Of
    /// so many tools, each in its turn.
    pub fn clients(&self, count: usize, tools: usize, pause: Duration) {
        for n in 0..count {
            let (stop, url) = (self.stop.clone(), format!("http://{}/mcp", self.ports[0].address));
            let client = async move {
                let client = Client::at(&url);
                let mut turn = n;
                while !stop.load(Ordering::Relaxed) {
                    let Some(session) = client.try_open().await else {
                        tokio::time::sleep(pause).await;
                        continue;
                    };
                    for _ in 0..10 {
                        turn += 1;
                        if session.try_post(&call(turn, &format!("tool-{}", turn % tools))).await.is_none() {
                            break;
                        }
                        tokio::time::sleep(pause).await;
                    }
                    session.try_delete().await;
                }
            };
            self.clients.lock().unwrap().push(tokio::spawn(client));
        }
    }

    /// One client that gets every call wrong, in one session.
    pub fn one_that_errs(&self, pause: Duration) {
        let (stop, url) = (self.stop.clone(), format!("http://{}/mcp", self.ports[0].address));
        let client = async move {
            let client = Client::at(&url);
            while !stop.load(Ordering::Relaxed) {
                let Some(session) = client.try_open().await else { continue };
                while !stop.load(Ordering::Relaxed) && session.try_post(&call(1, "wrong")).await.is_some() {
                    tokio::time::sleep(pause).await;
                }
            }
        };
        self.clients.lock().unwrap().push(tokio::spawn(client));
    }

    /// Waits until the rollout is in this phase.
    pub async fn phase(&self, phase: &str) -> Value {
        eventually(&format!("the rollout is {phase}"), async || {
            self.get("/rollout").await.filter(|rollout| rollout["phase"] == phase)
        })
        .await
    }

    /// The one record that there is, once it says how it ended.
    pub async fn record(&self) -> Value {
        eventually("the record says how it ended", async || {
            let id = self.get("/rollout").await?["id"].as_str()?.to_owned();
            self.get(&format!("/records/{id}")).await.filter(|record| !record["outcome"].is_null())
        })
        .await
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.lock().unwrap().iter().for_each(JoinHandle::abort);
    }
}
