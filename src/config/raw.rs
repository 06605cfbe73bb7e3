//! The file as it is written: a mirror of the TOML, unknown keys refused.

use std::fmt;

use serde::Deserialize;

use super::value::{EndpointText, Percent, Size, Span};

mod rollout;

pub(super) use rollout::{GateText, Gates, Judge, Metric, Plan, Records, Sessions, Step, Triggers};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) listen: Option<String>,
    pub(super) threads: Option<usize>,
    pub(super) tls: Option<Tls>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) shutdown: Shutdown,
    #[serde(default)]
    pub(super) seal: Seal,
    #[serde(default)]
    pub(super) admin: Admin,
    pub(super) metrics: Option<Metrics>,
    #[serde(default)]
    pub(super) log: Log,
    #[serde(default)]
    pub(super) state: State,
    #[serde(default)]
    pub(super) service: Vec<Service>,
    #[serde(default)]
    pub(super) plan: Vec<Plan>,
    #[serde(default)]
    pub(super) records: Records,
    #[serde(default)]
    pub(super) gates: Gates,
    #[serde(default)]
    pub(super) notify: Vec<Notify>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Notify {
    pub(super) name: String,
    pub(super) kind: Option<String>,
    pub(super) url: Option<String>,
    pub(super) url_file: Option<String>,
    pub(super) secret_file: Option<String>,
    pub(super) routing_key_file: Option<String>,
    #[serde(default)]
    pub(super) events: Vec<String>,
    #[serde(default)]
    pub(super) services: Vec<String>,
    pub(super) timeout: Option<Span>,
}

/// Without its URL, which may be a secret.
impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notify").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) listen: String,
    pub(super) certificates: Vec<KeyPair>,
    pub(super) handshake_timeout: Option<Span>,
    pub(super) client_ca: Option<String>,
    pub(super) client_auth: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyPair {
    pub(super) cert: String,
    pub(super) key: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdminTls {
    pub(super) certificates: Vec<KeyPair>,
    pub(super) client_ca: Option<String>,
    pub(super) client_auth: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientTls {
    #[serde(default)]
    pub(super) roots: Vec<String>,
    pub(super) server_name: Option<String>,
    pub(super) client_certificate: Option<KeyPair>,
    #[serde(default)]
    pub(super) insecure: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) header_timeout: Option<Span>,
    pub(super) body_timeout: Option<Span>,
    pub(super) connections: Option<usize>,
    pub(super) requests: Option<usize>,
    #[serde(default)]
    pub(super) trusted_proxies: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shutdown {
    pub(super) delay: Option<Span>,
    pub(super) drain: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Seal {
    #[serde(default)]
    pub(super) key_files: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) listen: Option<String>,
    pub(super) token_file: Option<String>,
    #[serde(default)]
    pub(super) allowed_hosts: Vec<String>,
    pub(super) tls: Option<AdminTls>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metrics {
    pub(super) listen: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    #[serde(default)]
    pub(super) tool_calls: bool,
    #[serde(default)]
    pub(super) tool_errors: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    pub(super) dir: Option<String>,
    pub(super) url: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) name: String,
    #[serde(default)]
    pub(super) hosts: Vec<String>,
    pub(super) path: Option<String>,
    #[serde(default)]
    pub(super) strip_prefix: bool,
    pub(super) primary: Entry,
    pub(super) secondary: Entry,
    #[serde(default)]
    pub(super) split: Split,
    #[serde(default)]
    pub(super) affinity: Affinity,
    #[serde(default)]
    pub(super) traffic: Traffic,
    #[serde(default)]
    pub(super) health: Health,
    #[serde(default)]
    pub(super) tls: ClientTls,
    #[serde(default)]
    pub(super) sessions: Sessions,
    #[serde(default)]
    pub(super) judge: Judge,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) version: String,
    pub(super) endpoints: Vec<EndpointText>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Split {
    pub(super) primary: Option<Percent>,
    pub(super) secondary: Option<Percent>,
    pub(super) confirm_after: Option<Span>,
    pub(super) authority: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Affinity {
    pub(super) keys: Option<Vec<String>>,
    pub(super) tester_header: Option<String>,
    pub(super) plain: Option<String>,
    pub(super) list_lease: Option<Span>,
    pub(super) clamp_list_ttl: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Traffic {
    pub(super) connect_timeout: Option<Span>,
    pub(super) first_byte_timeout: Option<Span>,
    pub(super) keep_alive: Option<Span>,
    pub(super) peek_limit: Option<Size>,
    #[serde(default)]
    pub(super) allowed_hosts: Vec<String>,
    #[serde(default)]
    pub(super) allowed_origins: Vec<String>,
    pub(super) host: Option<String>,
    pub(super) error_shape: Option<String>,
    pub(super) failover: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Health {
    pub(super) kind: Option<String>,
    pub(super) path: Option<String>,
    pub(super) interval: Option<Span>,
    pub(super) timeout: Option<Span>,
    pub(super) rise: Option<u32>,
    pub(super) fall: Option<u32>,
    pub(super) resolve_interval: Option<Span>,
}
