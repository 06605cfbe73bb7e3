//! Which service a host and a path belong to, in a time that does not grow with their number.

use super::quick::QuickMap;
use crate::config::Service;

/// The services by what they serve, and by their names; each as its place in the list.
#[derive(Default)]
pub(super) struct Routes {
    hosts: Vec<Paths>,
    by_host: QuickMap<String>,
    any_host: Paths,
    by_name: QuickMap<String>,
}

/// The prefixes of a host. Of two that are alike, the first counts.
#[derive(Default)]
struct Paths {
    root: Option<usize>,
    by_prefix: QuickMap<String>,
    /// Of each length that a prefix has, one.
    lengths: Vec<usize>,
}

impl Routes {
    /// Of services in this order.
    pub(super) fn of<'a>(services: impl Iterator<Item = &'a Service>) -> Self {
        let mut routes = Self::default();
        for (at, service) in services.enumerate() {
            routes.by_name.entry(service.name.clone()).or_insert(at);
            if service.hosts.is_empty() {
                routes.any_host.add(&service.path, at);
            }
            for host in &service.hosts {
                let known = *routes.by_host.entry(host.clone()).or_insert(routes.hosts.len());
                if known == routes.hosts.len() {
                    routes.hosts.push(Paths::default());
                }
                routes.hosts[known].add(&service.path, at);
            }
        }
        routes
    }

    /// The first service that serves a path of a host.
    pub(super) fn find(&self, host: &str, path: &str) -> Option<usize> {
        let own = if self.by_host.is_empty() { None } else { self.by_host.get(host) };
        let found = own.and_then(|host| self.hosts[*host].find(path));
        found.into_iter().chain(self.any_host.find(path)).min()
    }

    /// The service of a name.
    pub(super) fn named(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }
}

impl Paths {
    fn add(&mut self, prefix: &str, at: usize) {
        if prefix.is_empty() {
            self.root.get_or_insert(at);
            return;
        }
        self.by_prefix.entry(prefix.to_owned()).or_insert(at);
        if !self.lengths.contains(&prefix.len()) {
            self.lengths.push(prefix.len());
        }
    }

    /// A prefix ends where a segment does: what is hashed is only what may be one.
    fn find(&self, path: &str) -> Option<usize> {
        let ends = |length: &&usize| matches!(path.as_bytes().get(**length), None | Some(b'/' | b'?'));
        let prefixes = self.lengths.iter().filter(ends).filter_map(|length| path.get(..*length));
        prefixes.filter_map(|prefix| self.by_prefix.get(prefix).copied()).chain(self.root).min()
    }
}
