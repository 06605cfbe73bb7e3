//! All that TLS needs of files, read before anything starts.

use std::sync::Arc;
use std::time::Duration;

use super::{Connector, Protocols, Reload, Server, TlsError};
use crate::config::{ClientTls, Config, Service};

/// A handshake on the admin listener must be complete in this time.
const ADMIN_HANDSHAKE: Duration = Duration::from_secs(5);

/// Certificates and connectors by who uses them.
pub struct Shown {
    /// Of the traffic listener.
    pub traffic: Option<Arc<Server>>,
    /// Of the admin listener.
    pub admin: Option<Arc<Server>>,
    /// In the order of the services.
    pub connectors: Vec<Arc<Connector>>,
}

impl Shown {
    /// Reads all that the configuration names. What is wrong comes with its section.
    pub fn open(config: &Config) -> Result<Self, Vec<(String, TlsError)>> {
        let mut errors = Vec::new();
        let mut note = |key: String, error: TlsError| errors.push((key, error));
        let traffic = config.tls.as_ref().and_then(|tls| {
            let opened = Server::open("traffic", &tls.server, Protocols::Http2And1, tls.handshake_timeout);
            opened.map_err(|error| note("tls".to_owned(), error)).ok()
        });
        let admin = config.admin.tls.as_ref().and_then(|tls| {
            let opened = Server::open("admin", tls, Protocols::Http1, ADMIN_HANDSHAKE);
            opened.map_err(|error| note("admin.tls".to_owned(), error)).ok()
        });
        let mut connectors = Vec::with_capacity(config.services.len());
        for service in &config.services {
            match Connector::open(service) {
                Ok(connector) => connectors.push(connector),
                Err(error) => note(format!("service[{}].tls", service.name), error),
            }
        }
        if errors.is_empty() { Ok(Self { traffic, admin, connectors }) } else { Err(errors) }
    }

    /// The listeners that speak TLS.
    pub fn servers(&self) -> Vec<Arc<Server>> {
        self.traffic.iter().chain(&self.admin).cloned().collect()
    }
}

/// All that is read again when it changes.
pub fn files(servers: &[Arc<Server>], connectors: Vec<Arc<Connector>>) -> Vec<Arc<dyn Reload>> {
    let servers = servers.iter().cloned().map(|server| server as Arc<dyn Reload>);
    servers.chain(connectors.into_iter().map(|connector| connector as Arc<dyn Reload>)).collect()
}

impl Connector {
    /// Of a service, with its files read where they are needed from the start.
    pub fn open(service: &Service) -> Result<Arc<Self>, TlsError> {
        let connector = Self::new(format!("service/{}", service.name), &service.tls);
        if needs_files(service) {
            connector.ready()?;
        }
        Ok(connector)
    }
}

/// Whether the roots or a certificate are needed from the start.
fn needs_files(service: &Service) -> bool {
    let entries = &service.rules.entries;
    let mut endpoints = entries.primary.endpoints.iter().chain(&entries.secondary.endpoints);
    service.tls != ClientTls::default() || endpoints.any(|endpoint| endpoint.url.starts_with("https:"))
}
