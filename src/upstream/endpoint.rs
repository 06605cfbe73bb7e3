//! One endpoint of an entry.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use http::HeaderValue;
use tokio::sync::watch;

use super::gate::Gate;
use super::tally::Outcomes;
use crate::config::EndpointAuthority;
use crate::domain::machine::EndpointSpec;
use crate::tls::Connector;

/// An endpoint, shared by all workers and kept across snapshots for as long as it is configured.
#[derive(Debug)]
pub struct Endpoint {
    /// Unique in this process; connections are kept by it.
    pub id: u64,
    /// The stable name that session ids carry.
    pub name: String,
    /// Its authority as configured.
    pub authority: EndpointAuthority,
    /// Where it is, where that is not for the name of its authority to say.
    pub address: Option<SocketAddr>,
    /// What it sees as `Host` by default.
    pub host: HeaderValue,
    /// Admission, and how much it holds.
    pub gate: Gate,
    /// Whether checks get no answer any more, so that calls which wait for one need not go on
    /// waiting. Not set where connections are refused: a server that stops refuses new ones and
    /// finishes what runs, and one that is dead has cut what ran.
    pub silent: watch::Sender<bool>,
    /// Its requests, by outcome.
    pub outcomes: Outcomes,
    /// Makes TLS of connections to it, where its URL says so.
    pub connector: Arc<Connector>,
    failures: AtomicU32,
    suspicion: watch::Sender<u32>,
}

/// So many failures in a row make an endpoint suspect.
const SUSPECT_AFTER: u32 = 5;

impl Endpoint {
    /// From its configuration, which has been checked. The first endpoint with TLS has the connector
    /// read its files: on the thread of control, and not when traffic waits for it.
    pub fn new(spec: &EndpointSpec, connector: &Arc<Connector>) -> Result<Arc<Self>, String> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let authority = EndpointAuthority::parse(&spec.url)?;
        if authority.secure {
            // What is wrong with them, every try to connect says again.
            let _ = connector.ready();
        }
        let host = HeaderValue::try_from(authority.to_string()).map_err(|error| format!("{}: {error}", spec.url))?;
        Ok(Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name: spec.name.clone(),
            authority,
            address: spec.address,
            host,
            gate: Gate::default(),
            silent: watch::Sender::new(false),
            outcomes: Outcomes::default(),
            connector: connector.clone(),
            failures: AtomicU32::new(0),
            suspicion: watch::Sender::new(0),
        }))
    }

    /// A request failed here, and it was the endpoint's doing: no connection, no answer, a broken or a
    /// 5xx one.
    pub fn note_failure(&self) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures.is_multiple_of(SUSPECT_AFTER) {
            self.suspicion.send_modify(|times| *times = times.wrapping_add(1));
        }
    }

    /// A request was answered here.
    pub fn note_success(&self) {
        // Written only where it changes something: the line is shared by all workers.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Tells when traffic has met one failure after the other here.
    pub fn suspicions(&self) -> watch::Receiver<u32> {
        self.suspicion.subscribe()
    }
}
