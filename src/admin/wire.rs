//! The stable outside names: what goes over the wire. The OpenAPI document is made of these types.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::config::EndpointText;
use crate::domain::machine::{Change, EntrySpec, Machine};
use crate::domain::{Entry, PerEntry, Split, Standing};

pub(super) mod audit;
pub(super) mod configuration;
pub(super) mod departures;
pub(super) mod notify;
pub(super) mod operate;
pub(super) mod records;
pub(super) mod rollout;
mod service;
pub(super) mod sessions;
mod verdict;

pub(super) use service::{Service, Services, service};

/// The body of a change, and what one looks like.
pub(super) trait Body: for<'de> Deserialize<'de> {
    /// Shown to who sends something else.
    const LIKE: &'static str;
}

/// Sets the split.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SplitBody {
    /// Per cent, with at most two decimals; both together make 100.
    #[schema(value_type = f64, minimum = 0, maximum = 100)]
    pub(super) primary: Box<RawValue>,
    #[schema(value_type = f64, minimum = 0, maximum = 100)]
    pub(super) secondary: Box<RawValue>,
    /// For the audit.
    #[schema(max_length = 1000)]
    pub(super) reason: Option<String>,
}

impl Body for SplitBody {
    const LIKE: &'static str = r#"{"primary": 90, "secondary": 10}"#;
}

/// Why, where there is a reason.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasonBody {
    /// For the audit.
    #[schema(max_length = 1000)]
    pub(super) reason: Option<String>,
}

impl Body for ReasonBody {
    const LIKE: &'static str = r#"{"reason": "errors"}, or nothing"#;
}

/// Fills a slot.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeployBody {
    /// The version label.
    #[schema(min_length = 1, max_length = 128)]
    pub(super) version: String,
    #[schema(value_type = Vec<EndpointBody>, min_items = 1)]
    pub(super) endpoints: Vec<EndpointText>,
    /// For the audit.
    #[schema(max_length = 1000)]
    pub(super) reason: Option<String>,
    /// Also while the slot has a share, or is what a rollback goes back to.
    #[serde(default)]
    pub(super) force: bool,
}

impl Body for DeployBody {
    const LIKE: &'static str = r#"{"version": "1.5.0", "endpoints": ["http://127.0.0.1:3001"]}"#;
}

/// An endpoint: its URL, or more.
#[derive(ToSchema)]
#[schema(as = EndpointBody)]
#[serde(untagged)]
#[expect(dead_code, reason = "the schema of what EndpointText reads")]
pub(super) enum EndpointBody {
    /// `http://host:port` or `https://host:port`.
    Url(String),
    Named(NamedEndpointBody),
}

/// An endpoint with a name of its own.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the schema of what EndpointText reads")]
pub(super) struct NamedEndpointBody {
    /// The stable name, which session ids carry.
    #[schema(nullable, min_length = 1, max_length = 64)]
    name: Option<String>,
    /// `http://host:port` or `https://host:port`.
    url: String,
    /// `each`: every address of the name is an instance of its own.
    resolve: Option<String>,
}

/// A slot.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Entry)]
pub(super) enum EntryName {
    Primary,
    Secondary,
}

impl From<Entry> for EntryName {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Primary => Self::Primary,
            Entry::Secondary => Self::Secondary,
        }
    }
}

/// What checks say.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Standing)]
pub(super) enum StandingName {
    Down,
    Unknown,
    Up,
}

impl From<Standing> for StandingName {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Down => Self::Down,
            Standing::Unknown => Self::Unknown,
            Standing::Up => Self::Up,
        }
    }
}

/// One of each entry.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Both<T> {
    primary: T,
    secondary: T,
}

impl<T> From<PerEntry<T>> for Both<T> {
    fn from(PerEntry { primary, secondary }: PerEntry<T>) -> Self {
        Self { primary, secondary }
    }
}

/// Both shares in per cent.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct Shares {
    primary: f64,
    secondary: f64,
}

impl Shares {
    pub(super) fn of(split: Split) -> Self {
        Self { primary: split.share(Entry::Primary).percent(), secondary: split.share(Entry::Secondary).percent() }
    }
}

/// The split with its revision.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct SplitInForce {
    #[serde(flatten)]
    pub(super) shares: Shares,
    /// Counts changes of the service; the ETag.
    pub(super) revision: u64,
}

impl SplitInForce {
    pub(super) fn of(machine: &Machine) -> Self {
        Self { shares: Shares::of(machine.state().split), revision: machine.state().revision }
    }
}

/// The split of a service.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SplitOfService {
    service: String,
    #[serde(flatten)]
    now: SplitInForce,
    /// Whether the disk has it.
    durable: bool,
}

/// `GET …/split`.
pub(super) fn split(service: String, machine: &Machine) -> SplitOfService {
    SplitOfService { service, now: SplitInForce::of(machine), durable: machine.is_durable() }
}

/// A change that was made, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Changed {
    service: String,
    /// The split before.
    old: Shares,
    /// And after.
    new: Shares,
    #[serde(flatten)]
    made: Made,
}

/// What is said of every change.
#[derive(Debug, Serialize, ToSchema)]
struct Made {
    /// The revision in force.
    revision: u64,
    /// Whether this changed anything.
    changed: bool,
    /// Whether the disk has it.
    durable: bool,
    dry_run: bool,
    /// What the operator should know.
    warnings: Vec<String>,
}

impl Made {
    fn of(change: &Change, dry_run: bool) -> Self {
        let Change { revision, changed, durable, .. } = *change;
        Self { revision, changed, durable, dry_run, warnings: change.warnings.clone() }
    }
}

/// The answer to a change of the split.
pub(super) fn changed(service: &str, change: &Change, dry_run: bool) -> Changed {
    let service = service.to_owned();
    Changed { service, old: Shares::of(change.old), new: Shares::of(change.new), made: Made::of(change, dry_run) }
}

/// A slot that was filled, or would be.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Deployed {
    service: String,
    entry: EntryName,
    version: String,
    endpoints: Vec<NamedEndpoint>,
    #[serde(flatten)]
    made: Made,
}

#[derive(Debug, Serialize, ToSchema)]
struct NamedEndpoint {
    name: String,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolve: Option<&'static str>,
}

/// The answer to a deploy.
pub(super) fn deployed(service: &str, entry: Entry, spec: &EntrySpec, change: &Change, dry_run: bool) -> Deployed {
    let endpoints = spec.endpoints.iter().map(|one| NamedEndpoint {
        name: one.name.clone(),
        url: one.url.clone(),
        resolve: one.resolve.map(|_| "each"),
    });
    Deployed {
        service: service.to_owned(),
        entry: entry.into(),
        version: spec.version.clone(),
        endpoints: endpoints.collect(),
        made: Made::of(change, dry_run),
    }
}
