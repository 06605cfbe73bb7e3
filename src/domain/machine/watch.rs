//! What checks and traffic say about endpoints, and what is made of it.

use std::time::Duration;

use super::{Effect, Machine, Note};
use crate::domain::clock::Moment;
use crate::domain::entry::Entry;
use crate::domain::health::{Standing, Streak};

/// The first ejection lasts so long, the second twice as long, and so on.
const EJECTION: Duration = Duration::from_secs(30);

/// An endpoint that has been good for so long starts again with the first.
const FORGIVEN: Duration = Duration::from_secs(600);

/// An endpoint under watch.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) name: String,
    /// It is kept for those that are bound to it alone: for new clients it is not there.
    pub(super) leaving: bool,
    streak: Streak,
    ejected_until: Option<Moment>,
    times: u32,
    back_since: Option<Moment>,
    /// Since it was ejected, a check has failed, too; and so many have passed after that.
    doubted: bool,
    good: u32,
}

impl Watched {
    fn new(name: String, leaving: bool) -> Self {
        Self {
            name,
            leaving,
            streak: Streak::default(),
            ejected_until: None,
            times: 0,
            back_since: None,
            doubted: false,
            good: 0,
        }
    }

    /// What makes it another one for those who look for a place.
    pub(super) fn place(&self) -> (&str, bool) {
        (&self.name, self.leaving)
    }

    fn readmit(&mut self, now: Moment) -> bool {
        let was_out = self.ejected_until.take().is_some();
        if was_out {
            self.back_since = Some(now);
        }
        was_out
    }

    /// What the checks saw fail since the ejection, and have seen well again, was started anew: it is
    /// not the one that failed its clients.
    fn is_renewed(&mut self, success: bool, rise: u32) -> bool {
        if self.ejected_until.is_none() {
            return false;
        }
        (self.doubted, self.good) = if success { (self.doubted, self.good + 1) } else { (true, 0) };
        self.doubted && self.good >= rise
    }

    /// What the checks alone say.
    pub(super) fn checked(&self) -> Standing {
        self.streak.standing()
    }

    /// Down while ejected, whatever the checks say: a green health path does not bring back what fails
    /// its clients.
    pub(super) fn standing(&self) -> Standing {
        if self.ejected_until.is_some() { Standing::Down } else { self.streak.standing() }
    }
}

impl Machine {
    /// The standing of an endpoint.
    pub fn standing_of(&self, entry: Entry, endpoint: &str) -> Standing {
        let found = self.checks[entry].iter().find(|watched| watched.name == endpoint);
        found.map_or(Standing::Unknown, Watched::standing)
    }

    /// The best standing among an entry's endpoints that take new clients. One whose host is still being looked up may have
    /// any number of them.
    pub fn standing(&self, entry: Entry) -> Standing {
        let open = self.checks[entry].iter().filter(|watched| !watched.leaving);
        let best = open.map(Watched::standing).max().unwrap_or(Standing::Down);
        if self.awaits_answer(entry) { best.max(Standing::Unknown) } else { best }
    }

    /// Whether an endpoint is out for failing its clients.
    pub fn is_ejected(&self, entry: Entry, endpoint: &str) -> bool {
        self.checks[entry].iter().any(|watched| watched.name == endpoint && watched.ejected_until.is_some())
    }

    pub(super) fn fresh_checks(&self, entry: Entry) -> Vec<Watched> {
        self.present(entry).into_iter().map(|(endpoint, leaving)| Watched::new(endpoint.name, leaving)).collect()
    }

    pub(super) fn probed(&mut self, now: Moment, entry: Entry, endpoint: &str, success: bool, effects: &mut Vec<Effect>) {
        let thresholds = self.rules.thresholds;
        // A check of an endpoint that a deploy has replaced meanwhile finds nobody here.
        let Some(watched) = self.checks[entry].iter_mut().find(|watched| watched.name == endpoint) else { return };
        if watched.is_renewed(success, thresholds.rise) && watched.readmit(now) {
            effects.push(Effect::Publish);
        }
        let Some(standing) = watched.streak.observe(success, thresholds) else { return };
        let note = Note::Health { entry, endpoint: watched.name.clone(), standing };
        effects.push(Effect::Publish);
        effects.push(Effect::Tell(note));
    }

    /// Traffic has met one failure after the other at an endpoint. It is taken out for a while, unless
    /// too many of its entry are out already, or nobody else in the service is proven up: a bad answer
    /// is better than none.
    pub(super) fn suspected(&mut self, now: Moment, entry: Entry, endpoint: &str, effects: &mut Vec<Effect>) {
        let all = || self.checks[entry].iter().filter(|watched| !watched.leaving);
        let out = all().filter(|watched| watched.ejected_until.is_some()).count();
        let most = (all().count() / 2).max(1);
        let takes_over = |of: Entry| of == entry || (self.rules.failover && self.state.condemned[of].is_none());
        let is_up = |of: Entry, watched: &Watched| {
            (of != entry || watched.name != endpoint) && !watched.leaving && watched.standing() == Standing::Up
        };
        let somebody =
            Entry::BOTH.into_iter().any(|of| takes_over(of) && self.checks[of].iter().any(|watched| is_up(of, watched)));
        if out >= most || !somebody {
            return;
        }
        let Some(watched) = self.checks[entry].iter_mut().find(|watched| watched.name == endpoint) else { return };
        if watched.ejected_until.is_some() {
            return;
        }
        if watched.back_since.is_some_and(|since| now.since(since) >= FORGIVEN) {
            watched.times = 0;
        }
        watched.times += 1;
        (watched.doubted, watched.good) = (false, 0);
        let term = EJECTION * watched.times;
        watched.ejected_until = Some(now.plus(term));
        let note = Note::Ejected { entry, endpoint: watched.name.clone(), seconds: term.as_secs() };
        effects.push(Effect::Publish);
        effects.push(Effect::Tell(note));
    }

    /// An ejection holds only while somebody proven up serves the entry's clients: after a rollback, or
    /// when the other entry falls or is replaced, the ejected are better than nobody.
    pub(super) fn recall(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for entry in Entry::BOTH {
            let other = entry.other();
            let covered = self.rules.failover && self.state.condemned[other].is_none() && self.standing(other) == Standing::Up;
            if covered || self.standing(entry) == Standing::Up {
                continue;
            }
            for watched in &mut self.checks[entry] {
                if watched.readmit(now) {
                    effects.push(Effect::Publish);
                }
            }
        }
    }

    /// Brings back those whose time is over; the checks say again where they stand.
    pub(super) fn readmit(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        for entry in Entry::BOTH {
            for watched in &mut self.checks[entry] {
                if watched.ejected_until.is_some_and(|until| now >= until) {
                    watched.readmit(now);
                    let standing = watched.streak.standing();
                    effects.push(Effect::Publish);
                    effects.push(Effect::Tell(Note::Health { entry, endpoint: watched.name.clone(), standing }));
                }
            }
        }
    }
}
