//! Counters that traffic writes and control reads. They outlive every snapshot.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::evidence::Evidence;
use super::rehomed::{Moves, Moving, Rehomed, Remembered};
use super::roster::Roster;
use super::stripes::Striped;
use super::tools::Tools;
use crate::domain::skew::Skew;
use crate::domain::{ClientKey, Departure, Entry, Eviction, Outcome, PerEntry};

/// Upper bounds of histograms in seconds.
pub const BOUNDS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// The same in nanoseconds.
const BOUNDS_NS: [u64; BOUNDS.len()] = {
    let mut bounds = [0; BOUNDS.len()];
    let mut at = 0;
    while at < bounds.len() {
        // To the microsecond, which all of them are whole numbers of.
        bounds[at] = (BOUNDS[at] * 1e6 + 0.5) as u64 * 1_000;
        at += 1;
    }
    bounds
};

/// What one entry has seen.
#[derive(Debug, Default)]
pub struct EntryTally {
    pub(super) outcomes: Outcomes,
    births: AtomicU64,
    first_byte: Histogram,
    pub(super) result: Histogram,
    tools: Tools,
    pub(super) evidence: Evidence,
    broken: [AtomicU64; 2],
    here: Arc<Here>,
}

/// What is there now, whatever the version: sessions and streams outlive the one that they began with.
#[derive(Debug, Default)]
struct Here {
    streams: [AtomicI64; 2],
    sessions: Roster,
    sessions_ended: AtomicU64,
    moves: Moves,
}

/// Requests by outcome.
#[derive(Debug, Default)]
pub struct Outcomes(Striped<[AtomicU64; Outcome::ALL.len()]>);

impl Outcomes {
    /// One more.
    pub fn note(&self, outcome: Outcome) {
        self.0.mine().add(|counts| &counts[outcome.index()], 1);
    }

    /// How many.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.0.sum(|counts| &counts[outcome.index()])
    }
}

/// Times in buckets that add up: exact counts, of all workers together.
#[derive(Debug, Default)]
pub struct Histogram(Striped<Times>);

#[derive(Debug, Default)]
struct Times {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    /// One more.
    pub fn note(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NS.iter().position(|bound| nanos <= *bound).unwrap_or(BOUNDS.len());
        let times = self.0.mine();
        times.add(|times| &times.buckets[bucket], 1);
        times.add(|times| &times.micros, nanos / 1_000);
    }

    /// Counts per bucket (the last has no bound) and the sum in seconds.
    pub fn read(&self) -> ([u64; BOUNDS.len() + 1], f64) {
        let counts = std::array::from_fn(|at| self.0.sum(|times| &times.buckets[at]));
        (counts, self.0.sum(|times| &times.micros) as f64 / 1e6)
    }
}

/// What kind of event stream it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// A GET or `subscriptions/listen`: what the server has to say by itself.
    Listen,
    /// A POST answered by a stream.
    Call,
}

impl StreamKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::Listen, Self::Call];

    /// The value of the label `kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Call => "call",
        }
    }
}

impl EntryTally {
    /// Of the next version in the same slot: its own counts, and who is there stays.
    pub fn succeeded(&self) -> Self {
        Self { here: self.here.clone(), ..Self::default() }
    }

    /// One answer began after so long.
    pub fn note_first_byte(&self, after: Duration) {
        self.first_byte.note(after);
    }

    /// One session was born.
    pub fn note_birth(&self) {
        self.births.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that ended so.
    pub fn outcomes(&self, outcome: Outcome) -> u64 {
        self.outcomes.count(outcome)
    }

    /// Requests that ended, however.
    pub fn requests(&self) -> u64 {
        Outcome::ALL.iter().map(|outcome| self.outcomes(*outcome)).sum()
    }

    /// Sessions born here.
    pub fn births(&self) -> u64 {
        self.births.load(Ordering::Relaxed)
    }

    /// Open streams of a kind.
    pub fn streams(&self, kind: StreamKind) -> u64 {
        u64::try_from(self.here.streams[kind as usize].load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// An open stream was broken off by its endpoint.
    pub fn note_broken(&self, kind: StreamKind) {
        self.broken[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Streams of a kind that were broken off.
    pub fn broken(&self, kind: StreamKind) -> u64 {
        self.broken[kind as usize].load(Ordering::Relaxed)
    }

    /// Times to the first byte.
    pub fn first_byte(&self) -> &Histogram {
        &self.first_byte
    }

    /// Times to the answer of a request.
    pub fn result(&self) -> &Histogram {
        &self.result
    }

    /// What its tools have done.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The sessions seen here.
    pub fn sessions(&self) -> &Roster {
        &self.here.sessions
    }

    /// Ends a session that the entry is to be rid of, where it is alive as far as is known here.
    pub fn end_session(&self, id: &[u8]) {
        if self.sessions().ended(id) {
            self.here.sessions_ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends the sessions whose time has come; and from now on none of them is counted alive again. `now` is the time since the
    /// start. Those that are moved are here until whoever moves them says so ([`Roster::left`]), or until the cut where
    /// whoever cannot be moved is ended.
    pub fn end_sessions(&self, eviction: Option<Eviction>, now: Duration) {
        let ending = eviction.and_then(|eviction| match eviction.how {
            Departure::Ends => Some(eviction),
            Departure::Moves { or_ends: true, .. } => Some(Eviction { from: eviction.cut, over: Duration::ZERO, ..eviction }),
            Departure::Moves { or_ends: false, .. } => None,
        });
        let ended = self.sessions().evict(ending, now);
        self.here.sessions_ended.fetch_add(ended, Ordering::Relaxed);
    }

    /// A move of a session of this entry has ended; `to` is the entry that it was to go to, which may be the same.
    pub fn note_rehomed(&self, to: Entry, why: Moving, result: Rehomed) {
        self.here.moves.note(to, why, result);
    }

    /// Moves that ended so, whatever the version.
    pub fn rehomed(&self, to: Entry, why: Moving, result: Rehomed) -> u64 {
        self.here.moves.count(to, why, result)
    }

    /// Sessions that were ended, whatever the version.
    pub fn ended(&self) -> u64 {
        self.here.sessions_ended.load(Ordering::Relaxed)
    }
}

/// Counts a stream for as long as it lives.
#[derive(Debug)]
pub struct StreamGuard(Arc<EntryTally>, StreamKind);

impl StreamGuard {
    /// One more stream.
    pub fn open(tally: &Arc<EntryTally>, kind: StreamKind) -> Self {
        tally.here.streams[kind as usize].fetch_add(1, Ordering::Relaxed);
        Self(tally.clone(), kind)
    }

    /// What kind of stream it is.
    pub fn kind(&self) -> StreamKind {
        self.1
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.here.streams[self.1 as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts that belong to a service as a whole.
#[derive(Debug, Default)]
pub struct ServiceTally {
    /// Session ids that did not open.
    pub unknown_ids: AtomicU64,
    /// Bodies over the peek limit.
    pub unpeeked: AtomicU64,
    /// Messages of clients that could not be delivered.
    pub undelivered: AtomicU64,
    /// What is remembered of sessions, to open them again.
    pub remembered: Remembered,
    /// Calls that went to an entry since it alone lists their tool.
    pub by_catalogue: PerEntry<AtomicU64>,
    legacy: Striped<AtomicU64>,
    skew: Mutex<(Skew, Option<f64>)>,
}

/// A window of the skew is over after so many requests; its verdict holds until the next one's.
const SKEW_WINDOW: u64 = 10_000;

impl ServiceTally {
    /// A request of the legacy era.
    pub fn note_legacy(&self) {
        self.legacy.mine().add(|count| count, 1);
    }

    /// How many of them there were.
    pub fn legacy(&self) -> u64 {
        self.legacy.sum(|count| count)
    }

    /// A request was placed by this key.
    pub fn note_key(&self, key: ClientKey) {
        // A worker that finds another one counting goes on: every request matters less than the
        // next one's latency.
        let Ok(mut skew) = self.skew.try_lock() else { return };
        skew.0.note(key);
        if skew.0.total() >= SKEW_WINDOW {
            skew.1 = skew.0.dominant();
            skew.0.reset();
        }
    }

    /// The share of keyed requests that one key carries, when that is more than half.
    pub fn dominant_key(&self) -> Option<f64> {
        let skew = lock(&self.skew);
        skew.0.dominant().or(skew.1)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Counters stay usable after a panic elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Moment;
    use crate::upstream::Client;

    #[test]
    fn sessions_that_are_moved_are_here_until_they_are_or_until_the_cut() {
        let (tally, at) = (EntryTally::default(), Duration::from_secs);
        (0..10u8).for_each(|id| tally.sessions().seen(&[id], 1, 3, at(0)));
        let moves = |or_ends| {
            let (from, cut) = (Moment::after_start(at(10)), Moment::after_start(at(40)));
            Some(Eviction { from, over: at(20), cut, before_revision: 5, how: Departure::Moves { forced: false, or_ends } })
        };
        tally.end_sessions(moves(true), at(39));
        assert_eq!((tally.sessions().count(), tally.ended()), (10, 0));
        tally.sessions().left(Client::of_session(&[3]));
        tally.end_sessions(moves(false), at(41));
        assert_eq!((tally.sessions().count(), tally.ended()), (9, 0), "those that may not be moved stay");
        tally.end_sessions(moves(true), at(41));
        assert_eq!((tally.sessions().count(), tally.ended()), (0, 9));
    }

    #[test]
    fn moves_are_told_apart_and_outlive_the_version() {
        let tally = EntryTally::default();
        tally.note_rehomed(Entry::Secondary, Moving::Departure, Rehomed::Moved);
        tally.note_rehomed(Entry::Secondary, Moving::Departure, Rehomed::Moved);
        tally.note_rehomed(Entry::Secondary, Moving::Loss, Rehomed::Moved);
        tally.note_rehomed(Entry::Primary, Moving::Loss, Rehomed::Failed);
        let next = tally.succeeded();
        let count = |to, why, result| next.rehomed(to, why, result);
        assert_eq!(count(Entry::Secondary, Moving::Departure, Rehomed::Moved), 2);
        assert_eq!(count(Entry::Secondary, Moving::Loss, Rehomed::Moved), 1);
        assert_eq!(count(Entry::Primary, Moving::Loss, Rehomed::Failed), 1);
        assert_eq!(count(Entry::Primary, Moving::Departure, Rehomed::Moved), 0);
    }

    #[test]
    fn a_time_is_counted_under_the_first_bound_that_it_is_within() {
        let histogram = Histogram::default();
        for (at, bound) in BOUNDS.iter().enumerate() {
            let bound = Duration::from_secs_f64(*bound);
            assert_eq!(Duration::from_nanos(BOUNDS_NS[at]), bound);
            histogram.note(bound);
            histogram.note(bound + Duration::from_nanos(1));
        }
        histogram.note(Duration::MAX);
        let (counts, _) = histogram.read();
        assert_eq!((counts[0], counts[BOUNDS.len()]), (1, 2));
        assert!(counts[1..BOUNDS.len()].iter().all(|count| *count == 2), "{counts:?}");
    }
}
