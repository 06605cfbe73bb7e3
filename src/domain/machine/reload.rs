//! A configuration that is read anew while the service runs.
//!
//! What stays is kept as it is: standings, ejections, addresses that were found, the split where the state is the
//! authority. What goes is kept for those who are bound to it, for a while, and gets no new clients.

// `core`, not `std`: an address as a value, and no socket to go with it.
use core::net::SocketAddr;

use super::instances::is_over;
use super::watch::Watched;
use super::{Authority, Effect, EndpointSpec, EntrySpec, Machine, Note, Rules};
use crate::domain::clock::Moment;
use crate::domain::entry::{Entry, PerEntry};
use crate::domain::split::Share;

/// So many endpoints of an entry are kept at a time; beyond, those that were dropped first go.
const MOST: usize = 64;

/// Who is named in the audit where the file changes something by itself.
const ACTOR: &str = "configuration";

/// An endpoint that is configured no more.
#[derive(Clone, Debug)]
pub(super) struct Dropped {
    pub(super) spec: EndpointSpec,
    since: Moment,
}

impl Machine {
    /// Follows the rules of a configuration that has been checked.
    pub(super) fn configured(&mut self, now: Moment, rules: Rules, effects: &mut Vec<Effect>) {
        let before = (self.state.clone(), PerEntry::from_fn(|entry| self.entry(entry).clone()));
        let before_rules = std::mem::replace(&mut self.rules, rules);
        let next = self.next_state();
        let overtakes = self.waiting.is_some();
        // What waits was ordered under other rules, and may not be what these would let be.
        let is_outdated = self.waiting.as_ref().is_some_and(|waiting| {
            let mut followed = waiting.next.clone();
            followed.follow(&self.rules);
            followed != waiting.next
        });
        self.state.follow(&self.rules);
        let (old, old_entries) = before;
        let changed = PerEntry::from_fn(|entry| *self.entry(entry) != old_entries[entry]);
        let is_changed = changed.primary || changed.secondary || self.state.split != old.split;
        let is_other = is_changed || is_outdated || self.state != old;
        let candidate = old.stable.other();
        let lowers = self.state.split.share(candidate) < old.split.share(candidate);
        if is_other {
            // Above whatever waits for the disk: that was made for rules which are gone.
            (self.state.revision, self.state.sequence) = (next.revision, next.sequence);
            self.owe_a_save();
            self.overtake(effects);
        }
        for entry in Entry::BOTH.into_iter().filter(|entry| changed[*entry]) {
            self.replace(now, entry, &old_entries[entry]);
        }
        self.note_full(now);
        effects.push(Effect::Publish);
        if lowers || (is_other && overtakes) {
            // What was overtaken may be on the disk already.
            self.brake(effects);
        }
        if self.rules.judge != before_rules.judge {
            self.sit_anew();
        }
        if self.state.split != old.split || self.rules.authority == Authority::Config {
            self.still(now, "the configuration file sets the split", effects);
        }
        let revision = self.state.revision;
        for entry in Entry::BOTH.into_iter().filter(|entry| changed[*entry]) {
            let (before, after) = (old_entries[entry].clone(), self.entry(entry).clone());
            let (actor, reason) = (ACTOR.to_owned(), None);
            effects.push(Effect::Tell(Note::Deploy { actor, reason, entry, before, after, revision }));
        }
        if self.state.split != old.split {
            let (actor, reason) = (ACTOR.to_owned(), None);
            let (before, after) = (old.split.to_string(), self.state.split.to_string());
            effects.push(Effect::Tell(Note::Split { actor, reason, before, after, revision }));
        }
        self.save_if_owed(effects);
    }

    /// What a service that is taken out of the configuration leaves: nobody waits for its disk any more.
    pub(super) fn dismissed(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.state.revision = self.next_state().revision;
        self.overtake(effects);
        // Its checks and its traffic have ended: nobody knows any more how the candidate is.
        self.still(now, "the service was taken out of the configuration", effects);
        self.owe_a_save();
        self.save_if_owed(effects);
    }

    /// Another version, or other endpoints, in a slot that may have clients: what stays is kept with all that is
    /// known of it, and what goes is kept for those who are bound to it.
    pub(super) fn replace(&mut self, now: Moment, entry: Entry, before: &EntrySpec) {
        let after = self.entry(entry).endpoints.clone();
        let stays = |spec: &EndpointSpec| after.contains(spec);
        let known: Vec<Watched> = std::mem::take(&mut self.checks[entry]);
        let gone = before.endpoints.iter().filter(|spec| !stays(spec));
        let leaving =
            gone.flat_map(|spec| if spec.resolve.is_some() { self.instances_of(entry, spec) } else { vec![spec.clone()] });
        let dropped: Vec<Dropped> = leaving.map(|spec| Dropped { spec, since: now }).collect();
        self.look_anew(entry);
        self.dropped[entry].extend(dropped);
        self.dropped[entry].retain(|dropped| !after.iter().any(|spec| spec.name == dropped.spec.name));
        let beyond = self.dropped[entry].len().saturating_sub(MOST);
        self.dropped[entry].drain(..beyond);
        self.note_leaving(entry);
        let renamed = |watched: &&Watched| {
            let was = before.endpoints.iter().find(|spec| spec.name == watched.name);
            was.is_some_and(|was| !stays(was)) && after.iter().any(|spec| spec.name == watched.name)
        };
        // Another address under a known name is another server, and so is another version in a slot without clients.
        let is_unproven = before.version != self.entry(entry).version && self.state.split.share(entry) == Share::NONE;
        let is_another =
            |watched: &&Watched| renamed(watched) || (is_unproven && after.iter().any(|spec| spec.name == watched.name));
        let known: Vec<Watched> = known.iter().filter(|watched| !is_another(watched)).cloned().collect();
        self.checks[entry] = self.with_known(entry, known);
    }

    /// Lets go of dropped endpoints that were kept for long enough, or serve nobody any more.
    pub(super) fn let_go(&mut self, now: Moment, entry: Entry, effects: &mut Vec<Effect>) {
        let checks = &self.checks[entry];
        self.dropped[entry].retain(|dropped| {
            let is_over = is_over(now, dropped.since, &dropped.spec.name, checks);
            if is_over {
                let (endpoint, gone) = (dropped.spec.name.clone(), vec![dropped.spec.name.clone()]);
                effects.push(Effect::Tell(Note::Instances { entry, endpoint, joined: vec![], left: vec![], gone }));
            }
            !is_over
        });
        self.note_leaving(entry);
    }

    /// A restart must not end the sessions that live there.
    fn note_leaving(&mut self, entry: Entry) {
        let leaving: Vec<EndpointSpec> = self.dropped[entry].iter().map(|dropped| dropped.spec.clone()).collect();
        if leaving != self.state.leaving[entry] {
            self.state.leaving[entry] = leaving;
            self.owe_a_save();
        }
    }

    /// Takes up what the process before kept; their time begins anew.
    pub(super) fn restore_leaving(&mut self, now: Moment) {
        for entry in Entry::BOTH {
            let configured = &self.entry(entry).endpoints;
            let leaving = self.state.leaving[entry].iter().filter(|spec| !configured.iter().any(|one| one.name == spec.name));
            let placed =
                |spec: &EndpointSpec| EndpointSpec { address: spec.address.or_else(|| address_of(spec)), ..spec.clone() };
            self.dropped[entry] = leaving.map(|spec| Dropped { spec: placed(spec), since: now }).collect();
        }
    }

    /// Endpoints that are kept although configured no more; not those that the other entry has now.
    pub(super) fn kept(&self, entry: Entry) -> impl Iterator<Item = &EndpointSpec> {
        let others = &self.entry(entry.other()).endpoints;
        let own = self.dropped[entry].iter().map(|dropped| &dropped.spec);
        own.filter(|spec| !others.iter().any(|other| other.url == spec.url && other.resolve == spec.resolve))
    }
}

/// The address of an instance, which its name carries: addresses themselves are not stored.
fn address_of(spec: &EndpointSpec) -> Option<SocketAddr> {
    let (_, ip) = spec.name.split_once('@')?;
    let (_, port) = spec.url.rsplit_once(':')?;
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}
