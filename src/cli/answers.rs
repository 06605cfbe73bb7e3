//! The admin API's documents, as far as a table shows them. Whatever else they hold is passed over,
//! so that an older command line can look at a newer dualgate.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::rollout::answers::{Hold, Verdict};
use crate::config::{ClientTls, Health, HealthKind, KeyPair};
use crate::domain::{Entry, PerEntry, Share, Split};

/// `GET /v1/services`.
#[derive(Deserialize)]
pub(super) struct Services {
    pub(super) services: Vec<Service>,
}

/// `GET /v1/services/{s}`.
#[derive(Deserialize)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) revision: u64,
    pub(super) durable: bool,
    #[serde(default)]
    pub(super) authority: String,
    pub(super) stable: Entry,
    pub(super) candidate: Entry,
    #[serde(default)]
    pub(super) starting: bool,
    pub(super) split: ServiceSplit,
    pub(super) entries: PerEntry<EntryState>,
    pub(super) health: HealthSpec,
    #[serde(default)]
    pub(super) tls: TlsSpec,
    #[serde(default)]
    pub(super) drift: Vec<String>,
    #[serde(default)]
    pub(super) rollout: Option<RolloutInShort>,
    #[serde(default)]
    pub(super) verdict: Option<Verdict>,
    #[serde(default)]
    pub(super) warnings: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct ServiceSplit {
    pub(super) target: Pair,
    #[serde(default)]
    pub(super) achieved: Achieved,
}

/// Two shares in per cent. What was achieved is finer than a share, so this is no [`Split`].
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Pair {
    pub(super) primary: f64,
    pub(super) secondary: f64,
}

impl Pair {
    /// As a split is written.
    pub(super) fn text(self) -> String {
        format!("{}:{}", self.primary, self.secondary)
    }

    /// To one decimal: what was achieved has any number of them.
    pub(super) fn rounded(self) -> String {
        let round = |share: f64| (share * 10.0).round() / 10.0;
        format!("{}:{}", round(self.primary), round(self.secondary))
    }

    /// As a split, where it is one.
    pub(super) fn split(self) -> Option<Split> {
        Split::new(Share::from_percent(self.primary).ok()?, Share::from_percent(self.secondary).ok()?).ok()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Achieved {
    pub(super) births: Option<Pair>,
    pub(super) requests: Option<Pair>,
    pub(super) sessions: Option<Pair>,
    pub(super) streams: Option<Pair>,
}

#[derive(Deserialize)]
pub(super) struct EntryState {
    pub(super) version: String,
    pub(super) share: f64,
    pub(super) standing: String,
    #[serde(default)]
    pub(super) condemned: Option<Condemned>,
    #[serde(default)]
    pub(super) sessions: u64,
    #[serde(default)]
    pub(super) streams: Streams,
    #[serde(default)]
    pub(super) requests: Requests,
    #[serde(default)]
    pub(super) answers: Answers,
    pub(super) endpoints: Vec<EndpointState>,
}

#[derive(Deserialize)]
pub(super) struct Condemned {
    pub(super) version: String,
    #[serde(default)]
    pub(super) reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Streams {
    pub(super) listen: u64,
    pub(super) call: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Requests {
    pub(super) ok: u64,
    pub(super) client_fault: u64,
    pub(super) entry_fault: u64,
    pub(super) proxy_fault: u64,
}

/// What the entry answered, as the judge counts.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Answers {
    pub(super) requests: u64,
    pub(super) faults: u64,
    pub(super) p95_ms: Option<f64>,
}

/// The rollout that runs, or the last one.
#[derive(Deserialize)]
pub(super) struct RolloutInShort {
    pub(super) id: String,
    pub(super) candidate: Entry,
    pub(super) phase: String,
    #[serde(default)]
    pub(super) why: Option<String>,
    pub(super) step: usize,
    pub(super) of: usize,
    #[serde(default)]
    pub(super) hold: Option<Hold>,
}

impl RolloutInShort {
    /// Whether the candidate is still on its way to more.
    pub(super) fn is_running(&self) -> bool {
        !matches!(self.phase.as_str(), "done" | "rolled-back" | "aborted" | "rolling-back")
    }
}

#[derive(Deserialize)]
pub(super) struct EndpointState {
    pub(super) name: String,
    pub(super) url: String,
    /// Where an instance is, of which the URL's host has several.
    #[serde(default)]
    pub(super) address: Option<std::net::SocketAddr>,
    pub(super) standing: String,
    /// It gets no new clients, and is not in the way of anything.
    #[serde(default)]
    pub(super) leaving: bool,
    #[serde(default)]
    pub(super) in_flight: u64,
    #[serde(default)]
    pub(super) check: Option<Check>,
}

impl EndpointState {
    /// The URL, or the instance of it.
    pub(super) fn place(&self) -> String {
        self.address.map_or_else(|| self.url.clone(), |address| format!("{} at {address}", self.url))
    }
}

#[derive(Deserialize)]
pub(super) struct Check {
    pub(super) success: bool,
    #[serde(default)]
    pub(super) detail: String,
}

/// How endpoints with https:// URLs are met; the files are those of the machine that dualgate runs on.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TlsSpec {
    pub(super) roots: Vec<PathBuf>,
    pub(super) server_name: String,
    pub(super) client_certificate: Option<PairSpec>,
    pub(super) insecure: bool,
}

#[derive(Deserialize)]
pub(super) struct PairSpec {
    cert: PathBuf,
    key: PathBuf,
}

impl TlsSpec {
    pub(super) fn settings(&self) -> ClientTls {
        ClientTls {
            roots: self.roots.clone(),
            server_name: self.server_name.clone(),
            client_certificate: self
                .client_certificate
                .as_ref()
                .map(|pair| KeyPair { cert: pair.cert.clone(), key: pair.key.clone() }),
            insecure: self.insecure,
        }
    }
}

#[derive(Clone, Deserialize)]
pub(super) struct HealthSpec {
    pub(super) kind: String,
    pub(super) path: String,
}

impl HealthSpec {
    /// The same check, with another timeout; nothing where this command line does not know its kind.
    pub(super) fn with_timeout(&self, timeout: std::time::Duration) -> Option<Health> {
        let kind = match self.kind.as_str() {
            "mcp" => HealthKind::Mcp,
            "http" => HealthKind::Http,
            "tcp" => HealthKind::Tcp,
            _ => return None,
        };
        Some(Health { kind, path: self.path.clone(), interval: timeout, timeout, resolve_interval: timeout })
    }
}

/// `GET /v1/services/{s}/split`.
#[derive(Deserialize)]
pub(super) struct SplitState {
    #[serde(flatten)]
    pub(super) split: Pair,
    pub(super) revision: u64,
    pub(super) durable: bool,
}

/// The answer to a change of split.
#[derive(Deserialize)]
pub(super) struct SplitChange {
    pub(super) service: String,
    pub(super) old: Pair,
    pub(super) new: Pair,
    pub(super) revision: u64,
    pub(super) changed: bool,
    pub(super) durable: bool,
    #[serde(default)]
    pub(super) dry_run: bool,
    #[serde(default)]
    pub(super) warnings: Vec<String>,
}

/// The answer to a deploy.
#[derive(Deserialize)]
pub(super) struct Deployed {
    pub(super) service: String,
    pub(super) entry: Entry,
    pub(super) version: String,
    pub(super) endpoints: Vec<EndpointName>,
    pub(super) revision: u64,
    pub(super) changed: bool,
    pub(super) durable: bool,
    #[serde(default)]
    pub(super) dry_run: bool,
    #[serde(default)]
    pub(super) warnings: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct EndpointName {
    pub(super) url: String,
}

/// `GET /v1/audit`.
#[derive(Deserialize)]
pub(super) struct Audit {
    pub(super) entries: Vec<serde_json::Map<String, Value>>,
}
