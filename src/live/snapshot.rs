//! All that a request needs to be decided, from one moment.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use self::routes::Routes;
use super::catalogue::Catalogue;
use super::pins::{Pin, Pins, endpoint_hash, version_hash};
use super::residents::Residents;
use crate::config;
use crate::domain::{ClientKey, Entry, Eviction, PerEntry, Scene, Share, Standing};
use crate::upstream::{Endpoint, EntryTally, ServiceTally};

mod endpoints;
mod quick;
mod routes;
#[cfg(test)]
pub(crate) mod tests;

pub use endpoints::Endpoints;

/// Everything in force at a moment.
#[derive(Clone)]
pub struct Snapshot {
    /// Counts every publish of this process.
    pub number: u64,
    /// The services, most specific first.
    pub services: Vec<Arc<ServiceView>>,
    routes: Arc<Routes>,
}

/// One service.
pub struct ServiceView {
    /// Its configuration.
    pub config: Arc<config::Service>,
    /// The revision in force.
    pub revision: u64,
    /// What decisions look at.
    pub scene: Scene,
    /// Keyless births of this revision, dealt by all workers.
    pub births: Arc<Births>,
    /// Whether new clients should still wait for the first checks.
    pub starting: bool,
    /// Its entries.
    pub entries: PerEntry<EntryView>,
    /// How each is rid of the sessions that it has, where it is to be.
    pub evictions: PerEntry<Option<Eviction>>,
    /// Counts of the service as a whole.
    pub tally: Arc<ServiceTally>,
    /// Where the words of the modern era belong.
    pub pins: Arc<Pins>,
    /// Which tools its entries list.
    pub catalogue: Arc<Catalogue>,
    /// Whether a rollout runs.
    pub is_in_rollout: bool,
    /// Sessions of which more is remembered than their ids say.
    pub residents: Arc<Residents>,
}

/// Counters of keyless births, one for each way to be born: a client that tries `initialize` and then
/// opens an HTTP+SSE stream is dealt once by each, where one counter would give all the streams of
/// such clients to the same side of an even split.
#[derive(Debug, Default)]
pub struct Births {
    /// By `initialize` (2025-03-26 and later).
    pub sessions: AtomicU64,
    /// By a GET of an event stream (2024-11-05).
    pub streams: AtomicU64,
}

/// One entry.
pub struct EntryView {
    /// Its version label.
    pub version: String,
    /// Its endpoints.
    pub endpoints: Endpoints,
    /// Whether more may turn up: a host of it has not been found since the start.
    pub unresolved: bool,
    /// What it has seen.
    pub tally: Arc<EntryTally>,
}

/// One endpoint.
pub struct EndpointView {
    /// Where it stands.
    pub standing: Standing,
    /// It is kept for those that are bound to it alone.
    pub leaving: bool,
    /// Itself.
    pub endpoint: Arc<Endpoint>,
    /// The version that it belongs to: that of the entry, or where it is leaving the one before.
    pub version: String,
    /// What that version has seen.
    pub tally: Arc<EntryTally>,
}

impl Snapshot {
    /// The first one, of these services, the most specific first.
    pub fn first(services: Vec<Arc<ServiceView>>) -> Self {
        let routes = Arc::new(Routes::of(services.iter().map(|service| &*service.config)));
        Self { number: 0, services, routes }
    }

    /// The next one. Where the services are configured as they were, which of them a request is for is looked up as
    /// before.
    pub fn followed_by(&self, services: Vec<Arc<ServiceView>>) -> Self {
        let is_same = |(one, two): (&Arc<ServiceView>, &Arc<ServiceView>)| Arc::ptr_eq(&one.config, &two.config);
        let are_same = services.len() == self.services.len() && services.iter().zip(&self.services).all(is_same);
        let routes = || Arc::new(Routes::of(services.iter().map(|service| &*service.config)));
        let routes = if are_same { self.routes.clone() } else { routes() };
        Self { number: self.number + 1, services, routes }
    }

    /// The service for a host (lower case, without port) and a path: the first that fits, as the
    /// services are sorted from the most specific to the least.
    pub fn route(&self, host: &str, path: &str) -> Option<&Arc<ServiceView>> {
        self.services.get(self.route_to(host, path)?)
    }

    /// The same, as its place among the services.
    pub fn route_to(&self, host: &str, path: &str) -> Option<usize> {
        self.routes.find(host, path)
    }

    /// The endpoints, by their ids, of entries that are being rid of what they have.
    pub fn evictions(&self) -> impl Iterator<Item = (u64, Eviction)> {
        let each = self.services.iter().flat_map(|service| Entry::BOTH.map(|entry| (service, entry)));
        let evicted = each.filter_map(|(service, entry)| Some((&service.entries[entry], service.evictions[entry]?)));
        evicted.flat_map(|(view, eviction)| view.endpoints.iter().map(move |one| (one.endpoint.id, eviction)))
    }

    /// The service of a name.
    pub fn named(&self, name: &str) -> Option<&Arc<ServiceView>> {
        self.services.get(self.place_of(name)?)
    }

    /// The same, as its place among the services.
    pub fn place_of(&self, name: &str) -> Option<usize> {
        self.routes.named(name)
    }
}

impl config::Service {
    /// Whether a request for this host and path is this service's. A prefix ends at a `/`:
    /// `/notes` serves `/notes` and `/notes/mcp`, not `/notesmcp`.
    pub fn serves(&self, host: &str, path: &str) -> bool {
        // Asked first, since an empty prefix is the common one and comparing with it is not free.
        let path_fits = self.path.is_empty()
            || path.strip_prefix(self.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        path_fits && (self.hosts.is_empty() || self.hosts.iter().any(|known| known == host))
    }
}

impl ServiceView {
    /// Whether what a client is told now may not hold for long: a rollout runs, or both entries have clients.
    pub fn is_moving(&self) -> bool {
        self.is_in_rollout || Entry::BOTH.iter().all(|entry| self.scene.split.share(*entry) != Share::NONE)
    }

    /// The entry that alone lists a tool, as the hash of its name; as a pin to any of its endpoints. `now` is the time since
    /// the start.
    pub fn lists_alone(&self, tool: u64, now: Duration) -> Option<Pin> {
        let versions = PerEntry::from_fn(|entry| version_hash(&self.entries[entry].version));
        let entry = self.catalogue.only(tool, versions, now)?;
        Some(Pin { entry, endpoint: 0, version: versions[entry] })
    }

    /// Whether anybody watches one of its entries.
    pub fn is_watched(&self) -> bool {
        Entry::BOTH.iter().any(|entry| self.entries[*entry].tally.is_watched())
    }
}

impl EntryView {
    /// Where what happens at an endpoint is booked: at the version that it belongs to.
    pub fn tally_at(&self, endpoint: Option<&Endpoint>) -> &Arc<EntryTally> {
        let found = endpoint.and_then(|endpoint| self.endpoints.of_id(endpoint.id));
        found.map_or(&self.tally, |view| &view.tally)
    }

    /// An endpoint by its name.
    pub fn named(&self, name: &str) -> Option<&EndpointView> {
        self.endpoints.named(name)
    }

    /// The endpoint that a pin names, which may be leaving with the version before: as long as it is there, it knows what it
    /// has said.
    pub fn pinned(&self, pin: &Pin) -> Option<&EndpointView> {
        self.endpoints.hashed(pin.endpoint).filter(|view| version_hash(&view.version) == pin.version)
    }

    /// Whether the endpoint of a pin is not here, and may be an instance that has not been found yet.
    pub fn awaits_pinned(&self, pin: &Pin) -> bool {
        self.unresolved && pin.is_of_instance() && self.made(pin) && self.pinned(pin).is_none()
    }

    /// Whether a pin was made by the version that is in this slot now: the next one is another server.
    pub fn made(&self, pin: &Pin) -> bool {
        version_hash(&self.version) == pin.version
    }

    /// A pin to an endpoint of this entry.
    pub fn pin(&self, entry: Entry, endpoint: &Endpoint) -> Pin {
        let version = self.endpoints.of_id(endpoint.id).map_or(&self.version, |view| &view.version);
        let endpoint = endpoint_hash(&endpoint.name, endpoint.host.as_bytes());
        Pin { entry, endpoint, version: version_hash(version) }
    }

    /// Whether an endpoint is not here, and may be an instance that has not been found yet.
    pub fn awaits(&self, name: &str) -> bool {
        self.unresolved && name.contains('@') && self.named(name).is_none()
    }

    /// The best standing of the endpoints that new clients may go to; `tried` are left out.
    pub fn best(&self, tried: &[u64]) -> Option<Standing> {
        self.endpoints.best(tried)
    }

    /// The endpoint for a new client: of those that stand best, a keyed client's by rendezvous,
    /// else the one that holds the least. `tried` are left out; `turn` breaks ties, so that idle
    /// endpoints take turns.
    pub fn pick(&self, key: Option<ClientKey>, tried: &[u64], turn: u64) -> Option<&EndpointView> {
        self.endpoints.pick(key, tried, turn)
    }
}
