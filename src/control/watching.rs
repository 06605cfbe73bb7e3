//! Traffic, as the judge is shown it: watched while the candidate has clients, a window at a time.

use std::sync::Arc;

use super::charge::Charge;
use super::conductor::Conductor;
use crate::domain::judge::Figures;
use crate::domain::machine::{Event, Watching};
use crate::domain::rollout::{Kept, Phase};
use crate::domain::{Entry, Moment};
use crate::upstream::rehomed::{Moving, Rehomed};
use crate::upstream::{EntryTally, Watch};

/// Who watches what for a service.
#[derive(Default)]
pub(super) struct Watched {
    case: Option<Case>,
    /// Of a candidate that was taken back, until its sessions have left: when the last request went there.
    tail: Option<Watch>,
    /// Sessions of that candidate when it was taken back, and those that had been ended and moved before.
    at_first: Option<(u64, u64, u64)>,
}

struct Case {
    of: Watching,
    candidate: Watch,
    stable: Watch,
    ends: Moment,
}

impl Case {
    fn begin(of: Watching, now: Moment, tallies: impl Fn(Entry) -> Arc<EntryTally>) -> Self {
        let (candidate, stable) = (tallies(of.candidate).watch(), tallies(of.candidate.other()).watch());
        Self { of, candidate, stable, ends: now.plus(of.window) }
    }

    /// Whether the versions that it watches are still in their slots.
    fn is_of(&self, of: Watching, tallies: impl Fn(Entry) -> Arc<EntryTally>) -> bool {
        self.of == of && self.candidate.is_of(&tallies(of.candidate)) && self.stable.is_of(&tallies(of.candidate.other()))
    }

    /// What was seen, once the window is over.
    fn take(&mut self, now: Moment) -> Option<(Figures, Figures)> {
        (now >= self.ends).then(|| {
            self.ends = now.plus(self.of.window);
            (self.candidate.take(), self.stable.take())
        })
    }
}

impl Conductor {
    /// Follows the machine: begins to watch where there is a new case, and stops where there is none any more.
    pub(super) fn follow_case(&mut self, at: usize) {
        let now = self.clock.now();
        let charge = &mut self.charges[at];
        let tallies = |entry: Entry| charge.tallies()[entry].clone();
        let Some(of) = charge.machine.watching() else {
            if let Some(case) = charge.watched.case.take() {
                charge.watched.tail = Some(case.candidate);
            }
            return;
        };
        if charge.watched.case.as_ref().is_some_and(|case| case.is_of(of, tallies)) {
            return;
        }
        let baseline = Box::new(tallies(of.candidate.other()).total());
        let case = Case::begin(of, now, tallies);
        charge.watched = Watched { case: Some(case), ..Watched::default() };
        self.step(at, Event::Watched { number: of.number, baseline });
    }

    /// Shows the judge what a window was like that is over, and counts who is left on a candidate that was taken back.
    pub(super) fn show(&mut self, at: usize) {
        // What is configured no more has no traffic, and nobody to ask.
        if !self.order.contains(&at) {
            return;
        }
        self.follow_case(at);
        let now = self.clock.now();
        let charge = &mut self.charges[at];
        if let Some(case) = &mut charge.watched.case
            && let Some((candidate, stable)) = case.take(now)
        {
            let number = case.of.number;
            let (candidate, stable) = (Box::new(candidate), Box::new(stable));
            self.step(at, Event::Seen { number, candidate, stable });
        }
        self.charges[at].end_sessions(now.since(Moment::default()));
        self.follow_departures(at);
        self.count_left(at);
    }

    fn count_left(&mut self, at: usize) {
        let origin = self.origin;
        let charge = &mut self.charges[at];
        let leaving = charge.machine.rollout().filter(|rollout| rollout.phase == Phase::RollingBack);
        let Some(candidate) = leaving.map(|rollout| rollout.candidate) else {
            (charge.watched.tail, charge.watched.at_first) = (None, None);
            return;
        };
        let (sessions, in_flight) = charge.left_on(candidate);
        let tally = charge.tallies()[candidate].clone();
        let moved = tally.rehomed(candidate.other(), Moving::Departure, Rehomed::Moved);
        let first = *charge.watched.at_first.get_or_insert((sessions, tally.ended(), moved));
        let (before, ended_before, moved_before) = first;
        let wall = |moment: Moment| u64::try_from(origin.saturating_add(moment.since(Moment::default())).as_millis()).ok();
        let kept = Kept {
            before: Some(before),
            moved: Some(moved - moved_before).filter(|moved| *moved > 0),
            ended: Some(tally.ended().saturating_sub(ended_before)),
            left: None,
            last_request: charge.watched.tail.as_ref().and_then(|tail| tail.tally().last_request()).and_then(wall),
        };
        self.step(at, Event::Counted { held: sessions + in_flight, kept });
    }
}

impl Charge {
    /// Sessions of an entry, and requests and streams in flight there.
    fn left_on(&self, entry: Entry) -> (u64, u64) {
        let sessions = self.tallies()[entry].sessions().count() as u64;
        (sessions, self.in_flight(entry))
    }
}
