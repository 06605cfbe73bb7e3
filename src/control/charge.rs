//! One service in the actor's charge: its machine, and what lives as long as the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::asking::Readings;
use super::departing::Departures;
use super::keeping::Journal;
use super::legacy::Samples;
use super::recent::Recent;
use super::records::Keeper;
use super::residents::SessionJournal;
use super::resolve::Lookups;
use super::watching::Watched;
use super::{Evictions, OrderError, Status};
use crate::config;
use crate::domain::machine::{Change, EndpointSpec, Machine, Ticket};
use crate::domain::rollout::Rollout;
use crate::domain::{Entry, Era, Eras, Eviction, Moment, PerEntry, Scene};
use crate::live::{Births, Catalogue, EndpointView, EntryView, Pins, Residents, ServiceView};
use crate::tls::Connector;
use crate::upstream::probe::Finding;
use crate::upstream::{Endpoint, EntryTally, ServiceTally};

pub(super) struct Charge {
    pub(super) config: Arc<config::Service>,
    pub(super) machine: Machine,
    pub(super) waiting: HashMap<Ticket, oneshot::Sender<Result<Change, OrderError>>>,
    pub(super) stored_revision: u64,
    pub(super) rollbacks: BTreeMap<&'static str, u64>,
    pub(super) warning: Option<String>,
    pub(super) lookups: Lookups,
    pub(super) recent: Recent,
    connector: Arc<Connector>,
    endpoints: PerEntry<Vec<Kept>>,
    versions: PerEntry<String>,
    tallies: PerEntry<Arc<EntryTally>>,
    tally: Arc<ServiceTally>,
    pub(super) pins: Arc<Pins>,
    catalogue: Arc<Catalogue>,
    /// Legacy requests, now and then.
    pub(super) legacy: Samples,
    pub(super) journal: Journal,
    pub(super) residents: Arc<Residents>,
    pub(super) sessions: SessionJournal,
    /// The last brake was not written.
    pub(super) is_not_durable: bool,
    pub(super) watched: Watched,
    pub(super) readings: Readings,
    pub(super) departures: Departures,
    evictions: Evictions,
    pub(super) records: Keeper,
    births: (u64, Arc<Births>),
    before: PerEntry<(u64, u64)>,
    offered_modern: Option<bool>,
    /// Checks are to be made in another way than so far.
    checks_anew: bool,
}

struct Kept {
    spec: EndpointSpec,
    endpoint: Arc<Endpoint>,
    prober: AbortHandle,
    finding: Option<Finding>,
    /// Checks in a row that got no answer.
    silent_run: u32,
    /// The eras it was seen to serve.
    serves: Eras,
    /// The version that it belongs to, and that one's counts: of an endpoint that is leaving, the version before.
    version: String,
    tally: Arc<EntryTally>,
}

impl Charge {
    pub(super) fn new(
        config: Arc<config::Service>,
        machine: Machine,
        stored_revision: u64,
        connector: Arc<Connector>,
        evictions: Evictions,
    ) -> Self {
        Self {
            births: (machine.state().revision, Arc::default()),
            config,
            machine,
            waiting: HashMap::new(),
            stored_revision,
            rollbacks: BTreeMap::new(),
            warning: None,
            lookups: Lookups::default(),
            recent: Recent::default(),
            connector,
            endpoints: PerEntry::default(),
            versions: PerEntry::default(),
            tallies: PerEntry::default(),
            tally: Arc::default(),
            pins: Arc::default(),
            catalogue: Arc::default(),
            legacy: Samples::default(),
            journal: Journal::default(),
            residents: Arc::default(),
            sessions: SessionJournal::default(),
            is_not_durable: false,
            watched: Watched::default(),
            readings: Readings::default(),
            evictions,
            departures: Departures::default(),
            records: Keeper::default(),
            before: PerEntry::default(),
            offered_modern: None,
            checks_anew: false,
        }
    }

    /// Another configuration; the machine is told apart.
    pub(super) fn reconfigure(&mut self, service: config::Service, connector: Arc<Connector>) {
        let before = std::mem::replace(&mut self.config, Arc::new(service));
        self.checks_anew |= before.health != self.config.health;
        if before.health.resolve_interval != self.config.health.resolve_interval {
            self.lookups = Lookups::default();
        }
        self.connector = connector;
    }

    /// It is configured no more: checks and look-ups end. Gives the endpoints, to be closed after the publish.
    pub(super) fn dismiss(&mut self) -> Vec<Arc<Endpoint>> {
        self.lookups = Lookups::default();
        let kept = Entry::BOTH.into_iter().flat_map(|entry| std::mem::take(&mut self.endpoints[entry]));
        let gone = kept.map(|kept| {
            kept.prober.abort();
            kept.endpoint
        });
        gone.collect()
    }

    /// Whether an endpoint is as it would be made now.
    fn is_as_wanted(&self, kept: &Kept, spec: &EndpointSpec) -> bool {
        let endpoint = &kept.endpoint;
        kept.spec == *spec && (!endpoint.authority.secure || Arc::ptr_eq(&endpoint.connector, &self.connector))
    }

    /// Brings the endpoints in line with the machine: known ones are kept with all their counts,
    /// new ones made and checked at once. Gives those that went, to be closed after the publish.
    pub(super) fn reconcile(&mut self, probe: impl Fn(Entry, &Arc<Endpoint>) -> AbortHandle) -> Vec<Arc<Endpoint>> {
        let mut gone = Vec::new();
        let checks_anew = std::mem::take(&mut self.checks_anew);
        for entry in Entry::BOTH {
            let version = &self.machine.entry(entry).version;
            let is_new = *version != self.versions[entry];
            if is_new {
                // Counts are a version's, not a slot's: the new one must not inherit the old one's faults.
                self.versions[entry].clone_from(version);
                self.tallies[entry] = Arc::new(self.tallies[entry].succeeded());
                self.before[entry] = (0, 0);
            }
            let wanted = self.machine.endpoints(entry);
            let mut known = std::mem::take(&mut self.endpoints[entry]);
            for kept in known.iter_mut().filter(|_| is_new || checks_anew) {
                if is_new {
                    // Another server under the same address: what was learnt of the last one says nothing of it.
                    kept.serves = Eras::default();
                }
                std::mem::replace(&mut kept.prober, probe(entry, &kept.endpoint)).abort();
            }
            for spec in wanted {
                let found = known.iter().position(|kept| self.is_as_wanted(kept, &spec));
                let kept = match found {
                    Some(at) => Some(known.swap_remove(at)),
                    // What is deployed has been checked; an endpoint that cannot be made is a bug,
                    // and the others must not suffer from it.
                    None => match Endpoint::new(&spec, &self.connector) {
                        Ok(endpoint) => Some(Kept {
                            prober: probe(entry, &endpoint),
                            spec,
                            endpoint,
                            finding: None,
                            silent_run: 0,
                            serves: Eras::default(),
                            version: version.clone(),
                            tally: self.tallies[entry].clone(),
                        }),
                        Err(error) => {
                            tracing::error!(error, "an endpoint is left out");
                            None
                        }
                    },
                };
                let kept = kept.map(|kept| match self.machine.is_leaving(entry, &kept.spec.name) {
                    true => kept,
                    false => Kept { version: version.clone(), tally: self.tallies[entry].clone(), ..kept },
                });
                self.endpoints[entry].extend(kept);
            }
            for kept in known {
                kept.prober.abort();
                gone.push(kept.endpoint);
            }
        }
        gone
    }

    /// Notes a check. The endpoint's name, if it is still configured, and whether it was seen to serve other
    /// eras than before.
    pub(super) fn note_check(&mut self, entry: Entry, endpoint: u64, finding: &Finding) -> Option<(String, bool)> {
        let kept = self.endpoints[entry].iter_mut().find(|kept| kept.endpoint.id == endpoint)?;
        if finding.success {
            kept.endpoint.silent.send_replace(false);
        }
        kept.silent_run = if finding.silent { kept.silent_run + 1 } else { 0 };
        kept.finding = Some(finding.clone());
        let serves = finding.serves.over(kept.serves);
        let changed = std::mem::replace(&mut kept.serves, serves) != serves;
        Some((kept.spec.name.clone(), changed))
    }

    /// The eras that an endpoint is known to serve, in a word.
    pub(super) fn era_of(&self, entry: Entry, endpoint: u64) -> Option<&'static str> {
        self.endpoints[entry].iter().find(|kept| kept.endpoint.id == endpoint)?.serves.as_str()
    }

    /// The endpoint's name, if it is still configured.
    pub(super) fn name_of(&self, entry: Entry, endpoint: u64) -> Option<String> {
        self.endpoints[entry].iter().find(|kept| kept.endpoint.id == endpoint).map(|kept| kept.spec.name.clone())
    }

    /// The service as it is in force from now on.
    pub(super) fn view(&mut self) -> ServiceView {
        let revision = self.machine.state().revision;
        if self.births.0 != revision {
            self.births = (revision, Arc::default());
            self.before = PerEntry::from_fn(|entry| (self.tallies[entry].requests(), self.tallies[entry].births()));
        }
        let serves = PerEntry::from_fn(|entry| self.serves(entry));
        ServiceView {
            config: self.config.clone(),
            revision,
            scene: Scene { serves, offers_modern: self.offers_modern(&serves), ..self.machine.scene() },
            births: self.births.1.clone(),
            starting: self.machine.is_starting(),
            entries: PerEntry::from_fn(|entry| EntryView {
                version: self.machine.entry(entry).version.clone(),
                endpoints: self.endpoints[entry]
                    .iter()
                    .map(|kept| EndpointView {
                        standing: self.machine.standing_of(entry, &kept.spec.name),
                        leaving: self.machine.is_leaving(entry, &kept.spec.name),
                        endpoint: kept.endpoint.clone(),
                        version: kept.version.clone(),
                        tally: kept.tally.clone(),
                    })
                    .collect(),
                unresolved: self.machine.is_unresolved(entry),
                tally: self.tallies[entry].clone(),
            }),
            evictions: PerEntry::from_fn(|entry| self.eviction(entry)),
            tally: self.tally.clone(),
            pins: self.pins.clone(),
            catalogue: self.catalogue.clone(),
            is_in_rollout: self.machine.rollout().is_some_and(Rollout::is_running),
            residents: self.residents.clone(),
        }
    }

    fn eviction(&self, entry: Entry) -> Option<Eviction> {
        self.evictions.load()[entry].or_else(|| self.machine.eviction(entry))
    }

    /// Ends the sessions whose time has come, of entries that are rid of them; `now` is the time since the start.
    pub(super) fn end_sessions(&self, now: Duration) {
        for entry in Entry::BOTH {
            self.tallies[entry].end_sessions(self.eviction(entry), now);
        }
    }

    pub(super) fn serves(&self, entry: Entry) -> Eras {
        Eras::of_all(self.endpoints[entry].iter().map(|kept| kept.serves))
    }

    /// Whether the modern era is offered. While an entry has not been heard, as right after a deploy, the last
    /// answer holds: an offer that has to be taken back breaks those who took it.
    fn offers_modern(&mut self, serves: &PerEntry<Eras>) -> bool {
        let offers = serves.offers(Era::Modern);
        let is_known = !offers || Entry::BOTH.iter().all(|entry| serves[*entry].modern.is_some());
        if is_known {
            self.offered_modern = Some(offers);
        }
        self.offered_modern.unwrap_or(offers)
    }

    /// Tells those who wait for an endpoint that checks get no answer from it any more.
    pub(super) fn note_silence(&self) {
        let fall = self.machine.rules().thresholds.fall;
        for entry in Entry::BOTH {
            for kept in &self.endpoints[entry] {
                // As many in a row as take an endpoint down, and all of them for want of an answer: one slow
                // check among failed ones proves nothing.
                let silent = kept.silent_run >= fall;
                kept.endpoint.silent.send_if_modified(|now| std::mem::replace(now, silent) != silent);
            }
        }
    }

    pub(super) fn status(&self, now: Moment) -> Status {
        Status {
            now,
            traffic: self.recent.traffic(now, &self.tallies),
            machine: self.machine.clone(),
            departing: self.departing(),
            checks: PerEntry::from_fn(|entry| {
                self.endpoints[entry].iter().map(|kept| (kept.spec.name.clone(), kept.finding.clone())).collect()
            }),
            serves: PerEntry::from_fn(|entry| {
                self.endpoints[entry].iter().map(|kept| (kept.spec.name.clone(), kept.serves)).collect()
            }),
            requests_before: PerEntry::from_fn(|entry| self.before[entry].0),
            births_before: PerEntry::from_fn(|entry| self.before[entry].1),
            rollbacks: self.rollbacks.clone(),
            warning: self.warning.clone(),
            pins_failure: self.journal.failure.clone(),
            records_failure: self.records.failure.clone(),
        }
    }

    /// An entry's endpoints that take new clients.
    pub(super) fn endpoints_of(&self, entry: Entry) -> Vec<Arc<Endpoint>> {
        let open = self.endpoints[entry].iter().filter(|kept| !self.machine.is_leaving(entry, &kept.spec.name));
        open.map(|kept| kept.endpoint.clone()).collect()
    }

    /// Requests and streams in flight at an entry's endpoints.
    pub(super) fn in_flight(&self, entry: Entry) -> u64 {
        self.endpoints[entry].iter().map(|kept| kept.endpoint.gate.inside()).sum()
    }

    /// Legacy requests so far.
    pub(super) fn legacy_requests(&self) -> u64 {
        self.tally.legacy()
    }

    /// Notes how much was answered so far.
    pub(super) fn look_back(&mut self, now: Moment) {
        self.recent.note(now, &self.tallies);
        let count = self.legacy_requests();
        self.legacy.note(now, count);
    }

    pub(super) fn tallies(&self) -> &PerEntry<Arc<EntryTally>> {
        &self.tallies
    }
}
