//! All that a request needs to be decided, from one moment.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::pins::{Pin, Pins, endpoint_hash, version_hash};
use crate::config;
use crate::domain::affinity::rendezvous_weight;
use crate::domain::{ClientKey, Entry, PerEntry, Scene, Standing};
use crate::upstream::{Endpoint, EntryTally, ServiceTally};

/// Everything in force at a moment.
#[derive(Clone)]
pub struct Snapshot {
    /// Counts every publish of this process.
    pub number: u64,
    /// The services, most specific first.
    pub services: Vec<Arc<ServiceView>>,
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
    /// Counts of the service as a whole.
    pub tally: Arc<ServiceTally>,
    /// Where the words of the modern era belong.
    pub pins: Arc<Pins>,
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
    pub endpoints: Vec<EndpointView>,
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
    /// The service for a host (lower case, without port) and a path: the first that fits, as the
    /// services are sorted from the most specific to the least.
    pub fn route(&self, host: &str, path: &str) -> Option<&Arc<ServiceView>> {
        self.services.iter().find(|service| service.config.serves(host, path))
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

impl EntryView {
    /// Where what happens at an endpoint is booked: at the version that it belongs to.
    pub fn tally_at(&self, endpoint: Option<&Endpoint>) -> &Arc<EntryTally> {
        let found = endpoint.and_then(|endpoint| self.endpoints.iter().find(|view| view.endpoint.id == endpoint.id));
        found.map_or(&self.tally, |view| &view.tally)
    }

    /// An endpoint by its name.
    pub fn named(&self, name: &str) -> Option<&EndpointView> {
        self.endpoints.iter().find(|view| view.endpoint.name == name)
    }

    /// The endpoint that a pin names.
    pub fn pinned(&self, pin: &Pin) -> Option<&EndpointView> {
        self.endpoints.iter().find(|view| endpoint_hash(&view.endpoint.name) == pin.endpoint)
    }

    /// Whether the endpoint of a pin is not here, and may be an instance that has not been found yet.
    pub fn awaits_pinned(&self, pin: &Pin) -> bool {
        self.unresolved && pin.is_of_instance() && self.made(pin) && self.pinned(pin).is_none()
    }

    /// Whether a pin was made by the version that is in this slot now: the next one is another server.
    pub fn made(&self, pin: &Pin) -> bool {
        version_hash(&self.version) == pin.version
    }

    /// A pin to an endpoint of this entry, whose name is given.
    pub fn pin(&self, entry: Entry, endpoint: &str) -> Pin {
        Pin { entry, endpoint: endpoint_hash(endpoint), version: version_hash(&self.version) }
    }

    /// Whether an endpoint is not here, and may be an instance that has not been found yet.
    pub fn awaits(&self, name: &str) -> bool {
        self.unresolved && name.contains('@') && self.named(name).is_none()
    }

    /// The endpoint for a new client: of those that stand best, a keyed client's by rendezvous,
    /// else the one that holds the least. `tried` are left out; `turn` breaks ties, so that idle
    /// endpoints take turns.
    pub fn pick(&self, key: Option<ClientKey>, tried: &[u64], turn: u64) -> Option<&EndpointView> {
        let open = || self.endpoints.iter().filter(|view| !view.leaving && !tried.contains(&view.endpoint.id));
        let best = open().map(|view| view.standing).max()?;
        let usable = open().filter(|view| view.standing == best);
        match key {
            Some(key) => usable.max_by_key(|view| rendezvous_weight(key, &view.endpoint.name)),
            None => {
                let count = usable.clone().count().max(1) as u64;
                let place = |at: usize| (at as u64 + count - turn % count) % count;
                let ranked = usable.enumerate().map(|(at, view)| (view.endpoint.gate.inside(), place(at), view));
                ranked.min_by_key(|(inside, place, _)| (*inside, *place)).map(|(_, _, view)| view)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_instance_of_this_version_is_waited_for() {
        let unresolved = EntryView { version: "1.0".to_owned(), endpoints: Vec::new(), unresolved: true, tally: Arc::default() };
        let awaits = |name: &str| unresolved.awaits_pinned(&unresolved.pin(Entry::Primary, name));
        assert!(awaits("a@10.0.0.7"));
        assert!(!awaits("a"), "an endpoint with a URL is there from the start, or never");
        let other = Pin { version: version_hash("0.9"), ..unresolved.pin(Entry::Primary, "a@10.0.0.7") };
        assert!(!unresolved.awaits_pinned(&other), "what it knew is gone");
        let resolved = EntryView { unresolved: false, ..unresolved };
        assert!(!resolved.awaits_pinned(&resolved.pin(Entry::Primary, "a@10.0.0.7")));
    }
}
