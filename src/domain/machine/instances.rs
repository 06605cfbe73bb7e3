//! Endpoints that are found by name: every address of the host is an instance of its own.
//!
//! An instance is named by its endpoint and its address (`a@10.0.0.7`), so that a sealed session id finds
//! it again after a restart and on every replica. An answer without addresses, or none at all, leaves
//! things as they are: a name server in trouble must not take a healthy entry down.

use core::net::{IpAddr, SocketAddr};

use super::{Effect, EndpointSpec, Machine, Note, Resolve};
use crate::domain::entry::Entry;

/// A host under `resolve = "each"`, and what its last look-ups said.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    of: EndpointSpec,
    /// In order, so that the same answer in another order is the same.
    addresses: Vec<IpAddr>,
    failure: Option<String>,
}

impl Machine {
    /// The endpoints that there are now: the configured ones, with instances in place of those that
    /// stand for any number. Where both entries lead to one address, it is stable's: what its
    /// sessions rely on is not taken away by a candidate.
    pub fn endpoints(&self, entry: Entry) -> Vec<EndpointSpec> {
        let mut taken = if entry == self.candidate() { sockets(&self.wanted(entry.other())) } else { Vec::new() };
        let mut endpoints = self.wanted(entry);
        endpoints.retain(|spec| match socket(spec) {
            Some(socket) if taken.contains(&socket) => false,
            Some(socket) => {
                taken.push(socket);
                true
            }
            None => true,
        });
        endpoints
    }

    /// Whether a host of the entry has not been found since the start: sessions may live at instances
    /// that are not known yet.
    pub fn is_unresolved(&self, entry: Entry) -> bool {
        self.looked[entry].iter().any(|looked| looked.addresses.is_empty())
    }

    /// What an operator should know about hosts that are looked up.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for entry in Entry::BOTH {
            for Looked { of, addresses, failure } in &self.looked[entry] {
                let Some(failure) = failure else { continue };
                let kept = match addresses.len() {
                    0 => "it has no instance yet".to_owned(),
                    count => format!("its {count} known so far stay"),
                };
                warnings.push(format!("{entry}: {} cannot be looked up ({failure}): {kept}", of.url));
            }
            let there = self.endpoints(entry);
            for spec in self.wanted(entry).iter().filter(|spec| !there.contains(spec)) {
                let at = spec.address.map(|address| format!(" ({address})")).unwrap_or_default();
                let name = &spec.name;
                warnings.push(format!("{entry}: {name}{at} is left out: another endpoint of this service has its address"));
            }
        }
        warnings
    }

    /// Whether a first answer is still to come.
    pub(super) fn awaits_answer(&self, entry: Entry) -> bool {
        self.looked[entry].iter().any(|looked| looked.addresses.is_empty() && looked.failure.is_none())
    }

    /// Follows the configured endpoints; what has been found out about those that stay is kept.
    pub(super) fn look_anew(&mut self, entry: Entry) {
        let mut known = std::mem::take(&mut self.looked[entry]);
        let each = self.entry(entry).endpoints.iter().filter(|spec| spec.resolve == Some(Resolve::Each)).cloned();
        let looked = each.map(|of| match known.iter().position(|looked| looked.of == of) {
            Some(at) => known.swap_remove(at),
            None => Looked { of, addresses: Vec::new(), failure: None },
        });
        self.looked[entry] = looked.collect();
    }

    pub(super) fn resolved(
        &mut self,
        entry: Entry,
        endpoint: &EndpointSpec,
        answer: Result<Vec<IpAddr>, String>,
        effects: &mut Vec<Effect>,
    ) {
        // An answer about an endpoint that a deploy has replaced meanwhile finds nobody here.
        let Some(looked) = self.looked[entry].iter_mut().find(|looked| looked.of == *endpoint) else { return };
        let answer = answer.and_then(|found| if found.is_empty() { Err("it has no address".to_owned()) } else { Ok(found) });
        match answer {
            Ok(mut found) => {
                found.iter_mut().for_each(|address| *address = address.to_canonical());
                found.sort_unstable();
                found.dedup();
                looked.failure = None;
                let before = std::mem::replace(&mut looked.addresses, found);
                if looked.addresses == before {
                    return;
                }
                let beside = |these: &[IpAddr], those: &[IpAddr]| -> Vec<String> {
                    let only = these.iter().filter(|address| !those.contains(address));
                    only.map(|address| name_of(endpoint, *address)).collect()
                };
                let (joined, left) = (beside(&looked.addresses, &before), beside(&before, &looked.addresses));
                effects.push(Effect::Tell(Note::Instances { entry, endpoint: endpoint.name.clone(), joined, left }));
            }
            Err(reason) => {
                if looked.failure.as_ref() != Some(&reason) {
                    looked.failure = Some(reason.clone());
                    // The entry may have been waited for.
                    effects.push(Effect::Publish);
                    effects.push(Effect::Tell(Note::Unresolved { entry, endpoint: endpoint.name.clone(), reason }));
                }
            }
        }
    }

    /// Watches what is there now, and publishes where that has changed. Called after every event, since
    /// what is there hangs on answers, deploys, and which entry is stable.
    pub(super) fn align(&mut self, effects: &mut Vec<Effect>) {
        if Entry::BOTH.into_iter().all(|entry| self.looked[entry].is_empty()) {
            return;
        }
        let mut changed = false;
        for entry in Entry::BOTH {
            let mut watched = self.fresh_checks(entry);
            let known = &mut self.checks[entry];
            if watched.iter().map(|one| &one.name).eq(known.iter().map(|one| &one.name)) {
                continue;
            }
            for one in &mut watched {
                if let Some(at) = known.iter().position(|known| known.name == one.name) {
                    *one = known.swap_remove(at);
                }
            }
            *known = watched;
            changed = true;
        }
        if changed {
            effects.insert(0, Effect::Publish);
        }
    }

    fn wanted(&self, entry: Entry) -> Vec<EndpointSpec> {
        let instances = |spec: &EndpointSpec| {
            let looked = self.looked[entry].iter().find(|looked| looked.of == *spec);
            let addresses = looked.map(|looked| looked.addresses.as_slice()).unwrap_or_default();
            addresses.iter().filter_map(|address| instance(spec, *address)).collect::<Vec<_>>()
        };
        let specs = self.entry(entry).endpoints.iter();
        specs.flat_map(|spec| if spec.resolve.is_some() { instances(spec) } else { vec![spec.clone()] }).collect()
    }
}

fn name_of(of: &EndpointSpec, address: IpAddr) -> String {
    format!("{}@{address}", of.name)
}

fn instance(of: &EndpointSpec, address: IpAddr) -> Option<EndpointSpec> {
    let (_, port) = of.url.rsplit_once(':')?;
    let address = Some(SocketAddr::new(address, port.parse().ok()?));
    Some(EndpointSpec { name: name_of(of, address?.ip()), url: of.url.clone(), resolve: None, address })
}

/// Where an endpoint certainly is; a name that is not looked up here may be anywhere.
fn socket(spec: &EndpointSpec) -> Option<SocketAddr> {
    spec.address.or_else(|| spec.url.split_once("://")?.1.parse().ok())
}

fn sockets(specs: &[EndpointSpec]) -> Vec<SocketAddr> {
    specs.iter().filter_map(socket).collect()
}
