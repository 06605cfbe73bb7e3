//! The sessions of an entry, as far as they were seen by this process.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::clients::Client;
use crate::domain::{Eviction, Moment};

/// Which sessions are alive, for counting only: nothing is routed by it, so losing it in a restart
/// loses a figure for some minutes and nothing else.
#[derive(Debug, Default)]
pub struct Roster {
    shards: [Mutex<Shard>; SHARDS],
    /// By which they are ended now.
    eviction: Mutex<Option<Eviction>>,
}

type Shard = HashMap<u64, Seen, BuildHasherDefault<Uniform>>;

/// Takes a number for its own hash: it is one, or one that nobody chooses.
#[derive(Debug, Default)]
pub(super) struct Uniform(u64);

impl Hasher for Uniform {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// Seconds since the start of the process, the endpoint's id and the revision of its birth: 16 bytes, as there may be a million
/// of them.
#[derive(Clone, Copy, Debug)]
struct Seen {
    first: u32,
    last: u32,
    endpoint: u32,
    born: u32,
}

/// The sessions of one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Living {
    /// How many.
    pub count: u64,
    /// Since the first of them was seen by this process.
    pub oldest: Duration,
    /// Since the last of them was.
    pub youngest: Duration,
    /// The longest that one of them has been silent.
    pub longest_idle: Duration,
}

const SHARDS: usize = 16;

/// Sessions counted per entry; beyond, the figure stands still.
const MOST: usize = 1 << 20;

/// A session not seen for so long is taken for abandoned (the idle expiry of SDK servers).
pub const IDLE: Duration = Duration::from_secs(30 * 60);

impl Roster {
    /// A session that was born under this revision was used at the endpoint of this id, by the id that its client holds; `now` is
    /// the time since the start. One that was ended meanwhile stays so.
    pub fn seen(&self, id: &[u8], endpoint: u64, born: u64, now: Duration) {
        self.saw(Client::of_session(id), endpoint, born, now, || now);
    }

    /// The same, by a clock that is near enough for one that is known; whether another one has been ended says the exact time.
    pub fn saw(&self, client: Client, endpoint: u64, born: u64, now: Duration, exact: impl FnOnce() -> Duration) {
        let id = client.hash();
        let (last, endpoint, born) = (seconds(now), short(endpoint), short(born));
        let mut shard = self.shard(id);
        match shard.get_mut(&id) {
            Some(seen) => (seen.last, seen.endpoint) = (last, endpoint),
            None => {
                let seen = Seen { first: last, last, endpoint, born };
                let eviction = *lock(&self.eviction);
                let exact = eviction.map(|_| exact()).unwrap_or_default();
                if shard.len() < MOST / SHARDS && !eviction.is_some_and(|eviction| seen.has_ended(id, eviction, exact)) {
                    shard.insert(id, seen);
                }
            }
        }
    }

    /// A session lives at this endpoint now: it was moved there under this revision.
    pub fn came(&self, client: Client, endpoint: u64, born: u64, now: Duration) {
        let last = seconds(now);
        let mut shard = self.shard(client.hash());
        if shard.len() < MOST / SHARDS {
            shard.insert(client.hash(), Seen { first: last, last, endpoint: short(endpoint), born: short(born) });
        }
    }

    /// A session lives elsewhere now.
    pub fn left(&self, client: Client) {
        self.shard(client.hash()).remove(&client.hash());
    }

    /// Whether a session is alive, as far as is known here.
    pub fn knows(&self, id: &[u8]) -> bool {
        let id = hash(id);
        self.shard(id).contains_key(&id)
    }

    /// A session ended. Whether it was alive, as far as is known here.
    pub fn ended(&self, id: &[u8]) -> bool {
        let id = hash(id);
        self.shard(id).remove(&id).is_some()
    }

    /// Removes those whose time has come; how many.
    pub(super) fn evict(&self, eviction: Option<Eviction>, now: Duration) -> u64 {
        // Before they go: who is on his way back in must find it.
        *lock(&self.eviction) = eviction;
        let Some(eviction) = eviction else { return 0 };
        let of_shard =
            |shard: &Mutex<Shard>| lock(shard).extract_if(|id, seen| seen.has_ended(*id, eviction, now)).count() as u64;
        self.shards.iter().map(of_shard).sum()
    }

    /// Forgets the abandoned.
    pub fn sweep(&self, now: Duration) {
        for shard in &self.shards {
            lock(shard).retain(|_, seen| now.saturating_sub(Duration::from_secs(seen.last.into())) < IDLE);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// How many there are that were born under an earlier revision.
    pub fn count_born_before(&self, revision: u64) -> u64 {
        let of_shard = |shard: &Mutex<Shard>| lock(shard).values().filter(|seen| u64::from(seen.born) < revision).count() as u64;
        self.shards.iter().map(of_shard).sum()
    }

    /// The sessions of each endpoint in the order of these ids, and those of endpoints that are none of them.
    pub fn by_endpoint(&self, ids: &[u64], now: Duration) -> (Vec<Living>, Living) {
        let ids: Vec<u32> = ids.iter().copied().map(short).collect();
        let (mut of, mut others) = (vec![Living::default(); ids.len()], Living::default());
        let since = |then: u32| Duration::from_secs(seconds(now).saturating_sub(then).into());
        for shard in &self.shards {
            for seen in lock(shard).values() {
                let living = ids.iter().position(|id| *id == seen.endpoint).map_or(&mut others, |at| &mut of[at]);
                let age = since(seen.first);
                living.youngest = if living.count == 0 { age } else { living.youngest.min(age) };
                living.oldest = living.oldest.max(age);
                living.longest_idle = living.longest_idle.max(since(seen.last));
                living.count += 1;
            }
        }
        (of, others)
    }

    fn shard(&self, id: u64) -> std::sync::MutexGuard<'_, Shard> {
        // By other bits than those that a map goes by: the lowest, and the highest.
        lock(&self.shards[(id >> 40) as usize % SHARDS])
    }
}

impl Seen {
    fn has_ended(&self, id: u64, eviction: Eviction, now: Duration) -> bool {
        eviction.has_ended(id, self.born.into(), Moment::after_start(now))
    }
}

fn seconds(now: Duration) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

/// Endpoint ids count up from 1.
fn short(endpoint: u64) -> u32 {
    u32::try_from(endpoint).unwrap_or(u32::MAX)
}

/// Ids are not kept, only told apart.
fn hash(id: &[u8]) -> u64 {
    Client::of_session(id).hash()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Counters stay usable after a panic elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Departure;

    #[test]
    fn sessions_are_counted_until_they_end_or_are_abandoned() {
        let roster = Roster::default();
        let at = Duration::from_secs;
        (0..100u8).for_each(|id| roster.seen(&[id], 1, 1, at(0)));
        roster.seen(&[1], 1, 1, at(1800));
        assert!(roster.ended(&[2]) && !roster.ended(&[2]));
        assert_eq!(roster.count(), 99);
        roster.sweep(at(1800));
        assert_eq!(roster.count(), 1);
    }

    #[test]
    fn sessions_are_told_apart_by_endpoint_with_their_ages() {
        let roster = Roster::default();
        let at = Duration::from_secs;
        roster.seen(b"a", 7, 1, at(10));
        roster.seen(b"b", 7, 1, at(30));
        roster.seen(b"a", 7, 1, at(40));
        roster.seen(b"c", 9, 1, at(5));
        let (of, others) = roster.by_endpoint(&[8, 7], at(100));
        assert_eq!(of, [Living::default(), Living { count: 2, oldest: at(90), youngest: at(70), longest_idle: at(70) }]);
        assert_eq!(others.count, 1);
    }

    #[test]
    fn sessions_are_evicted_when_their_time_comes_and_do_not_come_back() {
        let roster = Roster::default();
        let at = Duration::from_secs;
        (0..=255u8).for_each(|id| roster.seen(&[id], 1, 3, at(0)));
        (0..10u8).for_each(|id| roster.seen(&[id, 1], 1, 5, at(0)));
        let from = Moment::after_start(at(10));
        let eviction = Some(Eviction { from, over: at(100), cut: from.plus(at(200)), before_revision: 5, how: Departure::Ends });
        assert_eq!(roster.evict(eviction, at(9)), 0);
        let half = roster.evict(eviction, at(60));
        assert!((90..166).contains(&half), "{half}");
        // An answer that was on its way.
        (0..=255u8).for_each(|id| roster.seen(&[id], 1, 3, at(60)));
        // And one that a clock has seen which goes slow.
        (0..=255u8).for_each(|id| roster.saw(Client::of_session(&[id]), 1, 3, at(10), || at(60)));
        assert_eq!(roster.count() as u64, 266 - half);
        assert_eq!(half + roster.evict(eviction, at(110)), 256);
        assert_eq!(roster.count(), 10, "who was born later stays");
        assert_eq!(roster.evict(None, at(111)), 0);
        roster.seen(&[0], 1, 3, at(111));
        assert_eq!(roster.count(), 11);
    }
}
