//! Entries that are being left: what has become of their sessions so far, and when nobody is there any more.

use std::sync::Arc;

use super::charge::Charge;
use super::conductor::Conductor;
use crate::domain::machine::{Event, Leaving, Left};
use crate::domain::{Entry, Moment, PerEntry};
use crate::upstream::rehomed::{Moving, Rehomed};
use crate::upstream::{EntryTally, Watch};

/// How far an entry is that is being left, or will be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Departing {
    /// Why, when, and what becomes of its sessions.
    pub leaving: Leaving,
    /// Sessions that were moved to the other entry since it began,
    pub moved: u64,
    /// attempts that were refused, which one session may meet more than once,
    pub refused: u64,
    /// attempts that failed,
    pub failed: u64,
    /// and sessions that were ended.
    pub ended: u64,
    /// Sessions that have to leave and are there. Who came later is not among them.
    pub left: u64,
    /// When a request was last sent there since it began.
    pub last_request: Option<Moment>,
}

/// What is followed of both entries of a service.
#[derive(Default)]
pub(super) struct Departures {
    followed: PerEntry<Option<Followed>>,
    /// Orders of this process: what one before ordered and told is not told again.
    ordered_here: PerEntry<bool>,
}

struct Followed {
    now: Departing,
    at_first: Counts,
    /// The most sessions that have been seen there.
    most: u64,
    /// Notes when the last request was sent; while there is anybody who could send one.
    watch: Option<Watch>,
    is_told: bool,
}

#[derive(Clone, Copy)]
struct Counts {
    moved: u64,
    refused: u64,
    failed: u64,
    ended: u64,
}

impl Counts {
    fn of(entry: Entry, tally: &EntryTally) -> Self {
        let count = |result| tally.rehomed(entry.other(), Moving::Departure, result);
        let [moved, refused, failed] = [Rehomed::Moved, Rehomed::Refused, Rehomed::Failed].map(count);
        Self { moved, refused, failed, ended: tally.ended() }
    }
}

impl Followed {
    fn begin(entry: Entry, leaving: Leaving, tally: &EntryTally) -> Self {
        let now = Departing { leaving, moved: 0, refused: 0, failed: 0, ended: 0, left: 0, last_request: None };
        Self { now, at_first: Counts::of(entry, tally), most: 0, watch: None, is_told: false }
    }

    /// Whether it is the same departure, which may have other times by now.
    fn is_of(&self, leaving: Leaving) -> bool {
        let known = self.now.leaving;
        let of = |leaving: Leaving| (leaving.cause, leaving.since, leaving.eviction.before_revision);
        of(known) == of(leaving)
    }

    fn look(&mut self, entry: Entry, leaving: Leaving, tally: &Arc<EntryTally>) {
        let (counts, first) = (Counts::of(entry, tally), self.at_first);
        let left = tally.sessions().count_born_before(leaving.eviction.before_revision);
        self.most = self.most.max(left);
        if left > 0 && self.watch.is_none() {
            self.watch = Some(tally.watch());
            self.is_told = false;
        }
        let last = self.watch.as_ref().and_then(|watch| watch.tally().last_request());
        self.now = Departing {
            leaving,
            moved: counts.moved - first.moved,
            refused: counts.refused - first.refused,
            failed: counts.failed - first.failed,
            ended: counts.ended - first.ended,
            left,
            last_request: last.filter(|last| *last >= leaving.since).or(self.now.last_request),
        };
    }

    /// Whether it is to be told now that nobody is left: once. Of an entry where nobody was, only to somebody who has ordered it.
    fn is_news(&mut self, now: Moment, is_ordered_here: bool) -> bool {
        let eviction = self.now.leaving.eviction;
        let was_somebody = self.most > 0 || (is_ordered_here && now >= eviction.from);
        let is_news = self.now.left == 0 && was_somebody && !self.is_told;
        if is_news {
            (self.is_told, self.watch) = (true, None);
        }
        is_news
    }

    fn told(&self, entry: Entry, version: String) -> Left {
        let Departing { leaving, moved, refused, ended, last_request, .. } = self.now;
        let after = |last: Moment| format!("T+{:.1}s", last.since(leaving.since).as_secs_f64());
        let cause = leaving.cause.as_str();
        Left { entry, version, cause, moved, ended, refused, last_request: last_request.map(after) }
    }
}

impl Departures {
    /// Somebody has ordered it.
    pub(super) fn note_order(&mut self, entry: Entry) {
        self.ordered_here[entry] = true;
    }
}

impl Conductor {
    /// Counts who is left on entries that are being left, and tells once when nobody is.
    pub(super) fn follow_departures(&mut self, at: usize) {
        let now = self.clock.now();
        for entry in Entry::BOTH {
            if let Some(left) = self.charges[at].follow_departure(entry, now) {
                self.step(at, Event::Left(left));
            }
        }
    }
}

impl Charge {
    /// How far both entries are. What has just been ordered is there, whether it is followed already or not.
    pub(super) fn departing(&self) -> PerEntry<Option<Departing>> {
        PerEntry::from_fn(|entry| {
            let (leaving, tally) = (self.machine.leaving(entry)?, &self.tallies()[entry]);
            let followed = self.departures.followed[entry].as_ref().filter(|followed| followed.is_of(leaving));
            let fresh = || Followed::begin(entry, leaving, tally).now;
            let left = tally.sessions().count_born_before(leaving.eviction.before_revision);
            Some(Departing { leaving, left, ..followed.map_or_else(fresh, |followed| followed.now) })
        })
    }

    fn follow_departure(&mut self, entry: Entry, now: Moment) -> Option<Left> {
        let tally = self.tallies()[entry].clone();
        let (leaving, version) = (self.machine.leaving(entry), self.machine.entry(entry).version.clone());
        let Departures { followed, ordered_here } = &mut self.departures;
        let Some(leaving) = leaving else {
            (followed[entry], ordered_here[entry]) = (None, false);
            return None;
        };
        if !followed[entry].as_ref().is_some_and(|followed| followed.is_of(leaving)) {
            followed[entry] = Some(Followed::begin(entry, leaving, &tally));
        }
        let followed = followed[entry].as_mut()?;
        followed.look(entry, leaving, &tally);
        let is_ordered = leaving.cause.is_ordered() && ordered_here[entry];
        followed.is_news(now, is_ordered).then(|| followed.told(entry, version))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::machine::Cause;
    use crate::domain::{Departure, Eviction};

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn leaving(cause: Cause) -> Leaving {
        let how = Departure::Moves { forced: false, or_ends: false };
        let eviction = Eviction { from: at(10), over: Duration::from_secs(20), cut: at(35), before_revision: 5, how };
        Leaving { cause, since: at(5), eviction }
    }

    #[test]
    fn that_nobody_is_left_is_told_once_with_what_became_of_them() {
        let (tally, of) = (Arc::new(EntryTally::default()), leaving(Cause::Drain));
        (0..5u8).for_each(|id| tally.sessions().seen(&[id], 1, 3, Duration::ZERO));
        tally.sessions().seen(b"later", 1, 5, Duration::ZERO);
        let mut followed = Followed::begin(Entry::Primary, of, &tally);
        followed.look(Entry::Primary, of, &tally);
        assert_eq!((followed.now.left, followed.is_news(at(10), false)), (5, false));
        assert!(tally.is_watched());
        tally.note_sent(at(12));
        for id in 0..4u8 {
            tally.move_session(&[id]);
            tally.note_rehomed(Entry::Secondary, Moving::Departure, Rehomed::Moved);
        }
        tally.note_rehomed(Entry::Secondary, Moving::Departure, Rehomed::Refused);
        tally.end_session(&[4]);
        followed.look(Entry::Primary, of, &tally);
        assert!(followed.is_news(at(13), false) && !followed.is_news(at(14), false), "once");
        assert!(!tally.is_watched());
        let told = followed.told(Entry::Primary, "1".into());
        assert_eq!((told.moved, told.ended, told.refused, told.last_request.as_deref()), (4, 1, 1, Some("T+7.0s")));
    }

    #[test]
    fn where_nobody_was_only_who_ordered_it_is_told_so() {
        let tally = Arc::new(EntryTally::default());
        let news = |cause: Cause, now, is_ordered| {
            let mut followed = Followed::begin(Entry::Primary, leaving(cause), &tally);
            followed.look(Entry::Primary, leaving(cause), &tally);
            followed.is_news(at(now), is_ordered)
        };
        assert!(!news(Cause::Drain, 99, false) && !news(Cause::OrderedEnd, 99, false));
        assert!(!news(Cause::OrderedEnd, 9, true) && news(Cause::OrderedEnd, 10, true));
    }
}
