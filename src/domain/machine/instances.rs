//! Endpoints that are found by name: every address of the host is an instance of its own.
//!
//! An instance is named by its endpoint and its address (`a@10.0.0.7`), so that a sealed session id finds
//! it again after a restart and on every replica. An answer without addresses, or none at all, leaves
//! things as they are: a name server in trouble must not take a healthy entry down.
//!
//! An address that an answer lacks is leaving: it gets no new clients, and is kept for those that are bound to
//! it. A headless service drops an instance as soon as it is told to stop, which still serves; and some name
//! servers answer with a part of what they know.

use core::net::{IpAddr, SocketAddr};
use std::collections::HashSet;
use std::time::Duration;

use super::watch::Watched;
use super::{Effect, EndpointSpec, Machine, Note, Resolve};
use crate::domain::clock::Moment;
use crate::domain::entry::Entry;
use crate::domain::health::Standing;

/// What is leaving is kept for so long at most, and only while its checks pass.
const LEAVE: Duration = Duration::from_secs(600);

/// Addresses of one host, those that are leaving among them.
const MOST: usize = 256;

/// A host under `resolve = "each"`, and what its last look-ups said.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    of: EndpointSpec,
    /// In order, so that the same answer in another order is the same.
    addresses: Vec<Address>,
    failure: Option<String>,
    /// Addresses that the last answer had beyond [`MOST`].
    beyond: usize,
}

#[derive(Clone, Copy, Debug)]
struct Address {
    ip: IpAddr,
    /// Since when answers have lacked it.
    left: Option<Moment>,
}

/// An endpoint, and whether it is leaving.
type Wanted = (EndpointSpec, bool);

impl Machine {
    /// The endpoints that there are now: the configured ones, with instances in place of those that
    /// stand for any number; those that are leaving last. Where both entries lead to one address, it is
    /// stable's: what its sessions rely on is not taken away by a candidate. An address that is leaving is
    /// whoever's has it now: it may have been given to another server.
    pub fn endpoints(&self, entry: Entry) -> Vec<EndpointSpec> {
        self.present(entry).into_iter().map(|(spec, _)| spec).collect()
    }

    /// Whether an endpoint is kept for those that are bound to it alone.
    pub fn is_leaving(&self, entry: Entry, endpoint: &str) -> bool {
        self.checks[entry].iter().any(|watched| watched.name == endpoint && watched.leaving)
    }

    /// The endpoints that there are now, each with whether it is leaving.
    pub(super) fn present(&self, entry: Entry) -> Vec<Wanted> {
        let (own, others) = (self.wanted(entry), self.wanted(entry.other()));
        let is_candidate = entry == self.candidate();
        let mut taken = HashSet::new();
        let mut present = Vec::new();
        for leaving in [false, true] {
            let goes_before = |other: &&Wanted| (is_candidate && other.1 == leaving) || (leaving && !other.1);
            taken.extend(others.iter().filter(goes_before).filter_map(|(spec, _)| socket(spec)));
            let of_this_kind = own.iter().filter(|wanted| wanted.1 == leaving);
            present.extend(of_this_kind.filter(|(spec, _)| socket(spec).is_none_or(|socket| taken.insert(socket))).cloned());
        }
        present
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
            for Looked { of, addresses, failure, beyond } in &self.looked[entry] {
                if *beyond > 0 {
                    warnings.push(format!("{entry}: {} has {} addresses: {MOST} are used", of.url, MOST + beyond));
                }
                let Some(failure) = failure else { continue };
                let kept = match addresses.len() {
                    0 => "it has no instance yet".to_owned(),
                    count => format!("its {count} known so far stay"),
                };
                warnings.push(format!("{entry}: {} cannot be looked up ({failure}): {kept}", of.url));
            }
            let there = self.present(entry);
            let left_out = |wanted: &&Wanted| !wanted.1 && !there.contains(wanted);
            for (spec, _) in self.wanted(entry).iter().filter(left_out) {
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
            None => Looked { of, addresses: Vec::new(), failure: None, beyond: 0 },
        });
        self.looked[entry] = looked.collect();
    }

    pub(super) fn resolved(
        &mut self,
        now: Moment,
        entry: Entry,
        endpoint: &EndpointSpec,
        answer: Result<Vec<IpAddr>, String>,
        effects: &mut Vec<Effect>,
    ) {
        // An answer about an endpoint that a deploy has replaced meanwhile finds nobody here.
        let Some(looked) = self.looked[entry].iter_mut().find(|looked| looked.of == *endpoint) else { return };
        let answer = answer.and_then(|found| if found.is_empty() { Err("it has no address".to_owned()) } else { Ok(found) });
        match answer {
            Ok(found) => {
                looked.failure = None;
                let (joined, left) = looked.follow(now, found);
                if joined.is_empty() && left.is_empty() {
                    return;
                }
                let names = |these: Vec<IpAddr>| these.into_iter().map(|address| name_of(endpoint, address)).collect();
                let (joined, left) = (names(joined), names(left));
                effects.push(Effect::Tell(Note::Instances {
                    entry,
                    endpoint: endpoint.name.clone(),
                    joined,
                    left,
                    gone: vec![],
                }));
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
    /// what is there hangs on answers, deploys, time, checks, and which entry is stable.
    pub(super) fn align(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if Entry::BOTH.into_iter().all(|entry| self.looked[entry].is_empty() && self.dropped[entry].is_empty()) {
            return;
        }
        let mut changed = false;
        for entry in Entry::BOTH {
            self.part(now, entry, effects);
            self.let_go(now, entry, effects);
            if self.fresh_checks(entry).iter().map(Watched::place).eq(self.checks[entry].iter().map(Watched::place)) {
                continue;
            }
            let known = std::mem::take(&mut self.checks[entry]);
            self.checks[entry] = self.with_known(entry, known);
            changed = true;
        }
        if changed {
            effects.insert(0, Effect::Publish);
        }
    }

    /// What there is to watch now, with all that is known of it.
    pub(super) fn with_known(&self, entry: Entry, mut known: Vec<Watched>) -> Vec<Watched> {
        let mut watched = self.fresh_checks(entry);
        for one in &mut watched {
            if let Some(at) = known.iter().position(|known| known.name == one.name) {
                let leaving = std::mem::replace(one, known.swap_remove(at)).leaving;
                one.leaving = leaving;
            }
        }
        watched
    }

    /// The instances of a host as they were found last.
    pub(super) fn instances_of(&self, entry: Entry, host: &EndpointSpec) -> Vec<EndpointSpec> {
        let looked = self.looked[entry].iter().filter(|looked| looked.of == *host);
        looked.flat_map(|looked| looked.addresses.iter().filter_map(|address| instance(host, address.ip))).collect()
    }

    /// Lets go of those that have been leaving for long enough, or serve nobody any more.
    fn part(&mut self, now: Moment, entry: Entry, effects: &mut Vec<Effect>) {
        let checks = &self.checks[entry];
        for Looked { of, addresses, .. } in &mut self.looked[entry] {
            let mut gone = Vec::new();
            addresses.retain(|address| {
                let Some(since) = address.left else { return true };
                let name = name_of(of, address.ip);
                let is_over = is_over(now, since, &name, checks);
                if is_over {
                    gone.push(name);
                }
                !is_over
            });
            if !gone.is_empty() {
                let (joined, left) = (vec![], vec![]);
                effects.push(Effect::Tell(Note::Instances { entry, endpoint: of.name.clone(), joined, left, gone }));
            }
        }
    }

    fn wanted(&self, entry: Entry) -> Vec<Wanted> {
        let instances = |spec: &EndpointSpec| {
            let looked = self.looked[entry].iter().find(|looked| looked.of == *spec);
            let addresses = looked.map(|looked| looked.addresses.as_slice()).unwrap_or_default();
            let wanted = |address: &Address| Some((instance(spec, address.ip)?, address.left.is_some()));
            addresses.iter().filter_map(wanted).collect::<Vec<_>>()
        };
        let specs = self.entry(entry).endpoints.iter();
        let configured =
            specs.flat_map(|spec| if spec.resolve.is_some() { instances(spec) } else { vec![(spec.clone(), false)] });
        configured.chain(self.kept(entry).map(|spec| (spec.clone(), true))).collect()
    }
}

impl Looked {
    /// Takes an answer over: who came, and who is leaving.
    fn follow(&mut self, now: Moment, mut found: Vec<IpAddr>) -> (Vec<IpAddr>, Vec<IpAddr>) {
        found.iter_mut().for_each(|address| *address = address.to_canonical());
        found.sort_unstable();
        found.dedup();
        self.beyond = found.len().saturating_sub(MOST);
        found.truncate(MOST);
        let is_here = |address: &Address| address.left.is_none();
        let before: Vec<IpAddr> = self.addresses.iter().filter(|address| is_here(address)).map(|address| address.ip).collect();
        let beside = |these: &[IpAddr], those: &[IpAddr]| -> Vec<IpAddr> {
            these.iter().filter(|address| those.binary_search(address).is_err()).copied().collect()
        };
        let (joined, left) = (beside(&found, &before), beside(&before, &found));
        let mut leaving: Vec<Address> = std::mem::take(&mut self.addresses);
        leaving.retain_mut(|address| {
            address.left.get_or_insert(now);
            found.binary_search(&address.ip).is_err()
        });
        // Where there are too many, those that left first go first.
        leaving.sort_by_key(|address| std::cmp::Reverse(address.left));
        leaving.truncate(MOST - found.len());
        self.addresses = found.into_iter().map(|ip| Address { ip, left: None }).chain(leaving).collect();
        self.addresses.sort_unstable_by_key(|address| address.ip);
        (joined, left)
    }
}

/// Whether what has been leaving since then was kept for long enough, or serves nobody any more: an ejection alone does
/// not say so.
pub(super) fn is_over(now: Moment, since: Moment, name: &str, checks: &[Watched]) -> bool {
    let is_down = checks.iter().any(|watched| watched.name == name && watched.checked() == Standing::Down);
    is_down || now.since(since) >= LEAVE
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
