//! Which certificate a client is shown: by the name it asks for (SNI, RFC 6066, 3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::material::Certified;

/// Certificates by name. A whole name goes before a wildcard, and among equals the first in the
/// file before the others; it is also the one for unknown and absent names.
#[derive(Debug)]
pub(super) struct ByName {
    first: Arc<CertifiedKey>,
    whole: HashMap<String, Arc<CertifiedKey>>,
    /// By what is behind `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
}

impl ByName {
    /// Nothing for no certificates.
    pub(super) fn new<'a>(certificates: impl Iterator<Item = &'a Certified> + Clone) -> Option<Self> {
        let first = certificates.clone().next()?.key.clone();
        let mut by_name = Self { first, whole: HashMap::new(), wildcard: HashMap::new() };
        for certificate in certificates {
            for name in &certificate.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut by_name.wildcard, rest),
                    None => (&mut by_name.whole, name.as_str()),
                };
                map.entry(name.to_owned()).or_insert_with(|| certificate.key.clone());
            }
        }
        Some(by_name)
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        // A wildcard stands for one label (RFC 6125, 6.4.3).
        self.whole.get(&name).or_else(|| self.wildcard.get(name.split_once('.')?.1))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(hello.server_name().and_then(|name| self.find(name)).unwrap_or(&self.first).clone())
    }
}
