//! Gates that somebody has to be asked about: a webhook, and the endpoints of the candidate.
//!
//! Health and approval are known to the machine, which asks nobody for them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::{Call, Client, FEW};
use super::sign;
use super::target::Target;
use crate::config::{Health, HealthKind};
use crate::domain::judge::Calls;
use crate::domain::{Entry, Gate, PerEntry};
use crate::telemetry::clock::since_epoch;
use crate::upstream::Endpoint;
use crate::upstream::probe::Prober;

/// The handshake of the candidate's endpoints must be done in this time (DESIGN.md 5.4).
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Where MCP is served, as long as the health check does not say so.
const MCP_PATH: &str = "/mcp";

/// What somebody is asked to agree to.
#[derive(Clone, Debug, Serialize)]
pub struct Question {
    /// The service.
    pub service: String,
    /// The rollout's id.
    pub rollout: String,
    /// The plan's name.
    pub plan: String,
    /// The step that would be left, counted from 1.
    pub step: usize,
    /// What the candidate has at that step, in per cent.
    pub share: f64,
    /// The entry that is the candidate.
    pub candidate: Entry,
    /// Version labels.
    pub versions: PerEntry<String>,
    /// The service's revision.
    pub revision: u64,
    /// What was seen of the candidate since the step began, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate_figures: Option<Seen>,
    /// The same of the stable entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable_figures: Option<Seen>,
}

/// What was seen of an entry, in brief.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Seen {
    /// Requests that the entry answered, well or not.
    pub requests: u64,
    /// How many of them count against it.
    pub faults: u64,
    /// Faults per request, 0 to 1.
    pub error_rate: Option<f64>,
    /// 95 of 100 results were there in this time.
    pub p95_seconds: Option<f64>,
}

impl Seen {
    /// Of all calls of a kind.
    pub fn of(calls: &Calls) -> Self {
        Self {
            requests: calls.requests,
            faults: calls.faults,
            error_rate: calls.rate(),
            p95_seconds: calls.times.quantile(0.95).map(|time| time.as_secs_f64()),
        }
    }
}

/// What a gate came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateAnswer {
    /// Whether the step may be left, as far as this gate goes.
    pub passed: bool,
    /// Why, or why not.
    pub detail: String,
    /// How long the answer took.
    pub took: Duration,
}

/// What gates are asked with.
#[derive(Clone, Debug)]
pub struct Means {
    /// The way outside.
    pub client: Client,
    /// The file of the secret that signs what webhooks are asked.
    pub secret_file: Option<PathBuf>,
    /// The endpoints of the candidate,
    pub endpoints: Vec<Arc<Endpoint>>,
    /// and how they are checked.
    pub health: Health,
}

/// Asks. Nothing, of gates that the machine decides.
pub async fn ask(gate: &Gate, question: &Question, means: &Means) -> Option<GateAnswer> {
    match gate {
        Gate::Webhook { url, timeout } => {
            let (client, secret_file) = (&means.client, means.secret_file.as_ref());
            Some(timed(&Webhook { client, url, timeout: *timeout, secret_file }, question).await)
        }
        Gate::Validation => Some(timed(&Validation { endpoints: &means.endpoints, health: &means.health }, question).await),
        Gate::Health | Gate::Approval { .. } => None,
    }
}

/// A condition that takes its time to be found out.
pub trait Check {
    /// What speaks for it, or against it.
    fn check(&self, question: &Question) -> impl Future<Output = Result<String, String>> + Send;
}

/// The answer of a check, timed.
pub async fn timed(check: &impl Check, question: &Question) -> GateAnswer {
    let asked = Instant::now();
    let answer = check.check(question).await;
    let passed = answer.is_ok();
    let (Ok(detail) | Err(detail)) = answer;
    GateAnswer { passed, detail, took: asked.elapsed() }
}

/// Somebody outside, who says yes with a status of 2xx.
struct Webhook<'a> {
    client: &'a Client,
    url: &'a str,
    timeout: Duration,
    secret_file: Option<&'a PathBuf>,
}

impl Check for Webhook<'_> {
    async fn check(&self, question: &Question) -> Result<String, String> {
        let target = Target::hook(self.url)?;
        let body = serde_json::to_vec(question).map_err(|error| error.to_string())?;
        let mut headers = Vec::new();
        if let Some(file) = self.secret_file {
            let secret = sign::read(file).await?;
            headers.push((sign::HEADER, sign::signature(secret.as_bytes(), since_epoch().as_secs(), &body)));
        }
        let call = Call {
            method: Method::POST,
            target: &target,
            headers,
            body: Bytes::from(body),
            timeout: self.timeout,
            most: FEW,
            reads_success: true,
        };
        let answer = self.client.call(call).await.map_err(|silence| silence.what)?;
        let said = format!("{}: {}", target.shown, answer.said());
        if answer.status.is_success() { Ok(said) } else { Err(said) }
    }
}

/// The handshake with every endpoint of the candidate, now.
struct Validation<'a> {
    endpoints: &'a [Arc<Endpoint>],
    health: &'a Health,
}

impl Check for Validation<'_> {
    async fn check(&self, _: &Question) -> Result<String, String> {
        if self.endpoints.is_empty() {
            return Err("the candidate has no endpoints".to_owned());
        }
        let path = if self.health.kind == HealthKind::Mcp { self.health.path.clone() } else { MCP_PATH.to_owned() };
        let health = Health { kind: HealthKind::Mcp, path, timeout: HANDSHAKE, ..self.health.clone() };
        let mut checks = JoinSet::new();
        for endpoint in self.endpoints {
            let mut prober = Prober::new(endpoint.clone(), health.clone());
            let name = endpoint.name.clone();
            checks.spawn(async move {
                // One bound for all that a handshake may take, whatever it is tried by.
                let answer = match tokio::time::timeout(HANDSHAKE, prober.check()).await {
                    Ok(finding) if finding.success => Ok(()),
                    Ok(finding) => Err(finding.detail),
                    Err(_) => Err(format!("no handshake within {HANDSHAKE:?}")),
                };
                answer.map_err(|why| format!("{name}: {why}"))
            });
        }
        let mut failures = Vec::new();
        while let Some(check) = checks.join_next().await {
            failures.extend(check.map_err(|error| error.to_string()).flatten().err());
        }
        failures.sort();
        let count = self.endpoints.len();
        match failures.is_empty() {
            true => Ok(format!("{count} of {count} endpoints pass the handshake")),
            false => Err(format!("{} of {count} endpoints do not pass the handshake: {}", failures.len(), failures.join("; "))),
        }
    }
}
