//! Another configuration for what runs: the services that stay keep all that is known of them, in one publish.

use std::sync::Arc;

use super::charge::Charge;
use super::conductor::Conductor;
use crate::config;
use crate::domain::Moment;
use crate::domain::machine::{Durable, Effect, Event, Found, Machine};
use crate::live::{PinJournal, ResidentJournal, Store, StoreError};
use crate::tls::Connector;
use crate::upstream::Endpoint;

/// A service, and what makes TLS of connections to its endpoints.
pub type Wanted = (config::Service, Arc<Connector>);

/// What survived of a service.
pub struct Loaded {
    service: String,
    found: Found,
    stored: u64,
    warning: Option<String>,
    pins: PinJournal,
    residents: ResidentJournal,
}

impl Loaded {
    /// Reads it. Blocks on the disk, which the actor must not.
    pub fn read(store: &dyn Store, service: &str) -> Result<Self, StoreError> {
        let found = store.load(service)?;
        let pins = store.pins(service).unwrap_or_else(|error| {
            // Without them words go by their client's key: no reason not to start.
            tracing::error!(%error, "the journal of pins cannot be read");
            PinJournal::default()
        });
        let residents = store.residents(service).unwrap_or_else(|error| {
            // Without it they are moved again, as far as their ids say how.
            tracing::error!(%error, "the journal of sessions cannot be read");
            ResidentJournal::default()
        });
        let (stored, warning) = (store.stored_revision(service), store.warning(service));
        Ok(Self { service: service.to_owned(), found, stored, warning, pins, residents })
    }
}

impl Conductor {
    /// Serves these services and no others, in this order; `loaded` has those that were never served before.
    pub(super) fn configure(&mut self, services: Vec<Wanted>, loaded: Vec<Loaded>) {
        let of = |name: &str| services.iter().find(|(service, _)| service.name == name).cloned();
        let is_new = |one: &Loaded| self.charges.iter().all(|charge| charge.config.name != one.service);
        let new = loaded.into_iter().filter(is_new).filter_map(|one| Some((of(&one.service)?, one)));
        let new: Vec<(Charge, Vec<Effect>)> = new.map(|(wanted, one)| self.begin(wanted, one)).collect();
        let mut steps: Vec<(usize, Vec<Effect>)> = Vec::new();
        for (charge, effects) in new {
            steps.push((self.charges.len(), effects));
            self.take(charge);
        }
        let named = |name: &str| services.iter().any(|(service, _)| service.name == name);
        for at in self.order.clone() {
            if !named(&self.charges[at].config.name) {
                let effects = self.charges[at].machine.step(self.clock.now(), Event::Dismissed);
                steps.push((at, effects));
            }
        }
        let mut order = Vec::with_capacity(services.len());
        for (service, connector) in services {
            let Some(at) = self.charges.iter().position(|charge| charge.config.name == service.name) else { continue };
            order.push(at);
            if steps.iter().any(|(new, _)| *new == at) {
                continue;
            }
            let rules = Box::new(service.rules.clone());
            self.charges[at].reconfigure(service, connector);
            let effects = self.charges[at].machine.step(self.clock.now(), Event::Configured(rules));
            steps.push((at, effects));
        }
        let dismissed: Vec<usize> = self.order.iter().filter(|at| !order.contains(at)).copied().collect();
        self.order = order;
        let mut gone: Vec<Arc<Endpoint>> = dismissed.into_iter().flat_map(|at| self.charges[at].dismiss()).collect();
        let order = self.order.clone();
        for at in &order {
            gone.extend(self.refresh(*at));
        }
        self.publish_all(&order, &gone);
        for (at, effects) in steps {
            let others = effects.into_iter().filter(|effect| *effect != Effect::Publish).collect();
            self.carry_out(at, others);
        }
    }

    fn begin(&self, (service, connector): Wanted, loaded: Loaded) -> (Charge, Vec<Effect>) {
        let Loaded { found, stored, warning, pins, residents, .. } = loaded;
        let fresh = Durable::first(service.rules.split, 1, self.keys.salt(&service.name, 1));
        let (machine, effects) = Machine::start(self.clock.now(), self.origin, service.rules.clone(), found, fresh, self.phase);
        for drift in machine.drift() {
            tracing::warn!(service = service.name, drift, "the state differs from the configuration");
        }
        let remember = service.sessions.remember;
        let mut charge = Charge::new(Arc::new(service), machine, stored, connector, self.evictions.clone());
        charge.warning = warning;
        charge.pins.restore(pins, self.clock.now().since(Moment::default()));
        let (written, restored) = (residents.records.len(), charge.residents.restore(residents, remember));
        if restored < written {
            let service = &charge.config.name;
            tracing::warn!(
                service,
                written,
                restored,
                "not all sessions of the journal fit `sessions.remember`: the oldest are forgotten"
            );
        }
        (charge, effects)
    }
}
