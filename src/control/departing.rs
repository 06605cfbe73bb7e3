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
    leaving: Leaving,
    at_first: Counts,
    /// The most sessions that have been seen there.
    most: u64,
    /// Notes when the last request was sent; while there is anybody who could send one.
    watch: Option<Watch>,
    last_request: Option<Moment>,
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
        Self { leaving, at_first: Counts::of(entry, tally), most: 0, watch: None, last_request: None, is_told: false }
    }

    /// Whether it is the same departure, which may have other times by now.
    fn is_of(&self, leaving: Leaving) -> bool {
        let of = |leaving: Leaving| (leaving.cause, leaving.since, leaving.eviction.before_revision);
        of(self.leaving) == of(leaving)
    }

    /// How far it is now.
    fn departing(&self, entry: Entry, tally: &EntryTally) -> Departing {
        let (leaving, counts, first) = (self.leaving, Counts::of(entry, tally), self.at_first);
        let last = self.watch.as_ref().and_then(|watch| watch.tally().last_request());
        Departing {
            leaving,
            moved: counts.moved - first.moved,
            refused: counts.refused - first.refused,
            failed: counts.failed - first.failed,
            ended: counts.ended - first.ended,
            left: tally.sessions().count_born_before(leaving.eviction.before_revision),
            last_request: last.filter(|last| *last >= leaving.since).or(self.last_request),
        }
    }

    /// What is to be told now that nobody is left: once. Of an entry where nobody was, only to somebody who has ordered it.
    fn look(&mut self, entry: Entry, tally: &Arc<EntryTally>, now: Moment, is_ordered_here: bool) -> Option<Departing> {
        let departing = self.departing(entry, tally);
        self.most = self.most.max(departing.left);
        self.last_request = departing.last_request;
        if departing.left > 0 {
            self.watch.get_or_insert_with(|| tally.watch());
            self.is_told = false;
            return None;
        }
        let was_somebody = self.most > 0 || (is_ordered_here && now >= self.leaving.eviction.from);
        let is_news = was_somebody && !self.is_told;
        if is_news {
            (self.is_told, self.watch) = (true, None);
        }
        is_news.then_some(departing)
    }
}

impl Departing {
    fn told(&self, entry: Entry, version: String) -> Left {
        let Self { leaving, moved, refused, ended, last_request, .. } = *self;
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
            if let Some(left) = self.charges[at].look_at_departure(entry, now) {
                self.step(at, Event::Left(left));
            }
        }
    }
}

impl Charge {
    /// Begins to follow a departure, before anybody has left by it.
    pub(super) fn begin_departures(&mut self) {
        for entry in Entry::BOTH {
            let leaving = self.machine.leaving(entry);
            let tally = &self.tallies()[entry];
            let begun = leaving.map(|leaving| Followed::begin(entry, leaving, tally));
            let Departures { followed, ordered_here } = &mut self.departures;
            match (leaving, &mut followed[entry]) {
                (Some(leaving), Some(followed)) if followed.is_of(leaving) => followed.leaving = leaving,
                (Some(_), followed) => *followed = begun,
                (None, followed) => (*followed, ordered_here[entry]) = (None, false),
            }
        }
    }

    /// How far both entries are.
    pub(super) fn departing(&self) -> PerEntry<Option<Departing>> {
        PerEntry::from_fn(|entry| Some(self.departures.followed[entry].as_ref()?.departing(entry, &self.tallies()[entry])))
    }

    fn look_at_departure(&mut self, entry: Entry, now: Moment) -> Option<Left> {
        let (tally, version) = (self.tallies()[entry].clone(), self.machine.entry(entry).version.clone());
        let Departures { followed, ordered_here } = &mut self.departures;
        let followed = followed[entry].as_mut()?;
        let is_ordered = followed.leaving.cause.is_ordered() && ordered_here[entry];
        followed.look(entry, &tally, now, is_ordered).map(|departing| departing.told(entry, version))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::machine::Cause;
    use crate::domain::{Departure, Eviction};
    use crate::upstream::Client;

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
        let tally = Arc::new(EntryTally::default());
        (0..5u8).for_each(|id| tally.sessions().seen(&[id], 1, 3, Duration::ZERO));
        tally.sessions().seen(b"later", 1, 5, Duration::ZERO);
        let mut followed = Followed::begin(Entry::Primary, leaving(Cause::Drain), &tally);
        let mut look = |now| followed.look(Entry::Primary, &tally, at(now), false);
        assert_eq!(look(10), None);
        assert!(tally.is_watched());
        tally.note_sent(at(12));
        for id in 0..4u8 {
            tally.sessions().left(Client::of_session(&[id]));
            tally.note_rehomed(Entry::Secondary, Moving::Departure, Rehomed::Moved);
        }
        tally.note_rehomed(Entry::Secondary, Moving::Departure, Rehomed::Refused);
        assert_eq!(look(12), None);
        tally.end_session(&[4]);
        let told = look(13).unwrap().told(Entry::Primary, "1".into());
        assert_eq!((told.moved, told.ended, told.refused, told.last_request.as_deref()), (4, 1, 1, Some("T+7.0s")));
        assert_eq!(look(14), None, "once");
        assert!(!tally.is_watched());
    }

    #[test]
    fn where_nobody_was_only_who_ordered_it_is_told_so() {
        let tally = Arc::new(EntryTally::default());
        let is_news = |cause: Cause, now, is_ordered| {
            let mut followed = Followed::begin(Entry::Primary, leaving(cause), &tally);
            followed.look(Entry::Primary, &tally, at(now), is_ordered).is_some()
        };
        assert!(!is_news(Cause::Drain, 99, false) && !is_news(Cause::OrderedEnd, 99, false));
        assert!(!is_news(Cause::OrderedEnd, 9, true) && is_news(Cause::OrderedEnd, 10, true));
    }
}
