//! From the file to types in which impossible states cannot be written.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::machine::Rules;
use crate::domain::{KeySource, Plan, judge};

mod argo;
mod check;
mod endpoint;
mod expand;
mod listeners;
mod notify;
mod place;
mod raw;
mod source;
#[cfg(test)]
mod tests;
mod value;

pub use crate::domain::machine::OnDrain;
pub use crate::domain::plan::parse_duration;
pub use argo::{LARGEST_MANIFEST, plan_as_toml, plan_from_argo};
pub use check::{StepText, load, steps};
pub use endpoint::{Authority as EndpointAuthority, endpoints, endpoints_beside};
pub use notify::{Hidden, Sink, SinkKind, SinkUrl};
pub use place::text;
pub use place::{ConfigError, nearest};
pub use source::Source;
pub use value::{EndpointText, Span};

/// A whole configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The traffic listener.
    pub listen: SocketAddr,
    /// Traffic workers; 0 is one per core.
    pub threads: usize,
    /// The traffic listener that speaks TLS.
    pub tls: Option<Tls>,
    /// Bounds on what clients may do.
    pub limits: Limits,
    /// How to stop.
    pub shutdown: Shutdown,
    /// Seal key files: the first seals, all open. Empty: one is generated in the state directory.
    pub seal_key_files: Vec<PathBuf>,
    /// The admin listener.
    pub admin: Admin,
    /// The read-only listener for metrics and health.
    pub metrics: Option<SocketAddr>,
    /// What is logged of traffic.
    pub log: Log,
    /// Where durable state lives; none keeps it in memory.
    pub state_dir: Option<PathBuf>,
    /// What is kept of rollouts.
    pub records: Records,
    /// The file of the secret that signs what webhook gates are asked.
    pub gate_secret_file: Option<PathBuf>,
    /// The services, most specific first.
    pub services: Vec<Service>,
    /// The plans, in the order of the file; `default` is always among them, and the first where the file has none.
    pub plans: Vec<Plan>,
    /// Whom to tell of rollouts.
    pub notify: Vec<Sink>,
    /// What is legal but deserves a word.
    pub warnings: Vec<String>,
}

/// `[tls]`: a second traffic listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What it shows and wants to see.
    pub server: ServerTls,
    /// A handshake must be complete in this time.
    pub handshake_timeout: Duration,
}

/// What a listener shows, and what it wants to see of its clients.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerTls {
    /// Chosen by the name that a client asks for; the first one where none fits.
    pub certificates: Vec<KeyPair>,
    /// The authority of client certificates.
    pub client_ca: Option<PathBuf>,
    /// Whether client certificates are wanted.
    pub client_auth: ClientAuth,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate, with those between it and its root behind it.
    pub cert: PathBuf,
    /// Its key, not encrypted.
    pub key: PathBuf,
}

/// Whether client certificates are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked for.
    None,
    /// One that is shown must be in order.
    Optional,
    /// Nobody gets in without one.
    Required,
}

/// `[service.tls]`: how endpoints with `https://` URLs are met.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientTls {
    /// Files with roots; empty: the system's.
    pub roots: Vec<PathBuf>,
    /// The name to ask for and to check, in place of the URL's host; empty: the host.
    pub server_name: String,
    /// What is shown to endpoints that ask.
    pub client_certificate: Option<KeyPair>,
    /// Whether any certificate will do.
    pub insecure: bool,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// A request's head must be complete in this time.
    pub header_timeout: Duration,
    /// A request's body must not pause longer.
    pub body_timeout: Duration,
    /// Client connections at a time; more wait to be accepted.
    pub connections: usize,
    /// Requests and streams in flight at a time; more are answered 503.
    pub requests: usize,
    /// Peers whose `X-Forwarded-*` and `Forwarded` count.
    pub trusted_proxies: Vec<Network>,
}

/// `[shutdown]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shutdown {
    /// Not ready, still accepting.
    pub delay: Duration,
    /// Then so long for what is running.
    pub drain: Duration,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// A loopback address; any with TLS.
    pub listen: SocketAddr,
    /// The bearer token's file; absent: generated in the state directory.
    pub token_file: Option<PathBuf>,
    /// Further values of `Host` beside the bound address and localhost.
    pub allowed_hosts: Vec<String>,
    /// With it the listener speaks TLS and nothing else.
    pub tls: Option<ServerTls>,
}

/// `[log]`. Level and format are the environment's: `LOG_LEVEL`, `LOG_FORMAT`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// A line for every tool call that ended.
    pub tool_calls: bool,
    /// A line for every tool call that did not end well.
    pub tool_errors: bool,
}

/// `[[service]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Hosts it answers to, lower case; empty: any.
    pub hosts: Vec<String>,
    /// The path prefix, starting and not ending with `/` (`/` itself is empty).
    pub path: String,
    /// Whether the prefix is taken off before the request goes on.
    pub strip_prefix: bool,
    /// What the control machine goes by.
    pub rules: Rules,
    /// What tells clients apart.
    pub affinity: Affinity,
    /// How requests are passed on.
    pub traffic: Traffic,
    /// How endpoints are checked.
    pub health: Health,
    /// How endpoints with `https://` URLs are met.
    pub tls: ClientTls,
    /// What becomes of sessions whose entry is to be empty.
    pub sessions: Sessions,
    /// By what a candidate is judged.
    pub judge: judge::Rules,
}

/// `[records]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records {
    /// The record of a rollout is kept for so long after its end.
    pub keep: Duration,
}

/// `[service.sessions]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// What becomes of those whose endpoint has died, was removed, or has lost them.
    pub on_loss: OnLoss,
    /// What becomes of those whose entry is to be left, after a drain or a rollback, and that do not end by themselves.
    pub on_drain: OnDrain,
    /// A drain gives them so long,
    pub drain_deadline: Duration,
    /// and then they leave, spread evenly over so long; zero: all at once.
    pub drain_pace: Duration,
    /// A rollback gives the candidate's so long; zero: none.
    pub rollback_deadline: Duration,
    /// Then they leave, spread evenly over so long; zero: all at once.
    pub rollback_pace: Duration,
    /// A request that finds nobody there is held so long; zero: not at all.
    pub hold: Duration,
    /// Most moves that are begun in a second towards one endpoint; at least 1.
    pub handshakes_per_second: u32,
    /// What of two versions must agree before a session is moved without need.
    pub check: MoveCheck,
    /// Whether a call whose outcome is not known may be sent again.
    pub resend: Resend,
    /// Bytes for what it takes to open sessions again, where their ids do not hold it; beyond, sessions stay bound and cannot be
    /// moved. Zero: none.
    pub remember: usize,
}

/// What becomes of sessions whose endpoint has died, was removed, or has lost them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLoss {
    /// They are opened again elsewhere.
    Rehome,
    /// They wait for their endpoint to come back.
    Wait,
    /// They are ended, in the way that their clients survive.
    End,
}

/// What of two versions must agree before a session is moved without need. After a loss only version and capabilities are asked
/// for, whatever this says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveCheck {
    /// Protocol version, capabilities, and the tools: names, `inputSchema`, `outputSchema`.
    Tools,
    /// Protocol version and capabilities.
    Capabilities,
}

/// Whether a tool call whose outcome is not known may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    /// It fails, once, and its client decides.
    Never,
    /// If its tool is annotated as read-only or idempotent.
    Annotated,
}

/// `[service.affinity]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Affinity {
    /// Sources of the client key, the first that is there counts.
    pub keys: Vec<KeySource>,
    /// The header by which a tester names an entry, lower case; empty: off.
    pub tester_header: String,
    /// Where requests go that are not MCP.
    pub plain: Plain,
    /// A modern client that has listed calls by that list for so long, also when the split has moved it
    /// meanwhile; zero: not at all.
    pub list_lease: Duration,
    /// While a rollout runs or both entries have clients, lists tell modern clients to keep them for no longer (`ttlMs`);
    /// zero: for as long as the server says.
    pub clamp_list_ttl: Duration,
}

/// Where requests go that are not MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// To the entry in charge.
    Stable,
    /// By the split: by key, else by birth.
    Split,
}

/// `[service.traffic]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// A connection to an endpoint must stand in this time.
    pub connect_timeout: Duration,
    /// An answer's head must come in this time.
    pub first_byte_timeout: Duration,
    /// A quiet event stream gets a comment this often; zero: never.
    pub keep_alive: Duration,
    /// At most so much of a body is looked at.
    pub peek_limit: usize,
    /// Hosts that clients may ask for; empty: any.
    pub allowed_hosts: Vec<String>,
    /// Origins that browsers may come from; empty: any, on a loopback listener local ones only.
    pub allowed_origins: Vec<String>,
    /// What the endpoint sees as `Host`.
    pub host: HostSeen,
    /// The shape of an error that the proxy makes for a pending legacy request.
    pub error_shape: ErrorShape,
}

/// What the endpoint sees as `Host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostSeen {
    /// Its own authority, with its port.
    Endpoint,
    /// What the client sent.
    Client,
}

/// The shape of an error that the proxy makes for a pending legacy request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorShape {
    /// 200 with a JSON-RPC error: the one shape that no known client turns into a dead session.
    JsonRpc,
    /// The HTTP status.
    Http,
}

/// `[service.health]`; rise and fall are among the [`Rules`].
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// What a check does.
    pub kind: HealthKind,
    /// The path it asks for.
    pub path: String,
    /// From the start of one check to the start of the next.
    pub interval: Duration,
    /// A check must have its answer in this time.
    pub timeout: Duration,
    /// Hosts of endpoints with `resolve = "each"` are looked up this often.
    pub resolve_interval: Duration,
}

/// What a check does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthKind {
    /// The MCP handshake, of either era.
    Mcp,
    /// `GET`, and a status of 2xx.
    Http,
    /// A connection.
    Tcp,
}

/// A block of addresses: `10.0.0.0/8`, `::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads an address, or one with a prefix length.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(most), |prefix| prefix.parse().ok())?;
        (prefix <= most).then_some(Self { address, prefix })
    }

    /// Whether an address is in the block. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |one: u128, two: u128, width: u8| {
            let shift = u32::from(width - self.prefix);
            one.checked_shr(shift).unwrap_or(0) == two.checked_shr(shift).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(one), IpAddr::V4(two)) => same(one.to_bits().into(), two.to_bits().into(), 32),
            (IpAddr::V6(one), IpAddr::V6(two)) => same(one.to_bits(), two.to_bits(), 128),
            _ => false,
        }
    }
}
