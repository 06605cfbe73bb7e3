//! Another configuration for what runs: the services that stay keep all that is known of them, in one publish.

use std::sync::Arc;

use super::charge::Charge;
use super::conductor::Conductor;
use crate::config;
use crate::domain::Moment;
use crate::domain::machine::{Durable, Effect, Event, Machine};
use crate::live::StoreError;
use crate::tls::Connector;
use crate::upstream::Endpoint;

/// A service, and what makes TLS of connections to its endpoints.
pub type Wanted = (config::Service, Arc<Connector>);

impl Conductor {
    /// Serves these services and no others, in this order. Where one of them cannot be loaded from the disk, nothing
    /// changes. May block on the disk for services that are new.
    pub(super) fn configure(&mut self, services: Vec<Wanted>) -> Result<(), StoreError> {
        let mut new = Vec::new();
        for (service, connector) in &services {
            if self.charges.iter().all(|charge| charge.config.name != service.name) {
                new.push(self.load(service.clone(), connector.clone())?);
            }
        }
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
        for at in self.order.clone() {
            gone.extend(self.refresh(at));
        }
        self.publish_all(&gone);
        for (at, effects) in steps {
            let others = effects.into_iter().filter(|effect| *effect != Effect::Publish).collect();
            self.carry_out(at, others);
        }
        Ok(())
    }

    /// Reads what survived of a service.
    pub(super) fn load(&self, service: config::Service, connector: Arc<Connector>) -> Result<(Charge, Vec<Effect>), StoreError> {
        let found = self.store.load(&service.name)?;
        let stored = self.store.stored_revision(&service.name);
        let fresh = Durable::first(service.rules.split, 1, self.keys.salt(&service.name, 1));
        let (machine, effects) = Machine::start(self.clock.now(), service.rules.clone(), found, fresh, self.phase);
        for drift in machine.drift() {
            tracing::warn!(service = service.name, drift, "the state differs from the configuration");
        }
        let warning = self.store.warning(&service.name);
        let mut charge = Charge::new(Arc::new(service), machine, stored, connector);
        charge.warning = warning;
        match self.store.pins(&charge.config.name) {
            Ok(journal) => charge.pins.restore(journal, self.clock.now().since(Moment::default())),
            // Without them words go by their client's key: no reason not to start.
            Err(error) => tracing::error!(%error, "the journal of pins cannot be read"),
        }
        Ok((charge, effects))
    }
}
