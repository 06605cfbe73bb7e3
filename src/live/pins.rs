//! Pins of the modern era: where the server is that knows a `requestState`, a task or a cursor.
//!
//! The modern era has no sessions, but servers hand out words that only they understand, and the client
//! brings them back. Only hashes are kept, in bounded memory: a word that has been pushed out or is too
//! old goes the way of its client's key, as if it had never been seen. What is here is journalled in
//! batches, so that a crash loses what was noted in the last second at most.

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use siphasher::sip::SipHasher13;

use crate::domain::{ClientKey, Entry};

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handle {
    /// `requestState` of a result that asks for more (2026-07-28, multi round trip requests).
    State,
    /// A task id (tasks extension).
    Task,
    /// `nextCursor` of a list.
    Cursor,
    /// No word of the server's, but that its client has just listed what it offers: what is called next
    /// is called by that list. Short-lived, and not journalled.
    List,
}

impl Handle {
    /// Every kind, in the order of its index.
    pub const ALL: [Self; 4] = [Self::State, Self::Task, Self::Cursor, Self::List];

    /// The value of the label `kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::State => "request_state",
            Self::Task => "task",
            Self::Cursor => "cursor",
            Self::List => "list",
        }
    }

    /// How long a pin is kept after its last use: py2 seals states for ten minutes, tasks may run for
    /// hours.
    pub fn lifetime(self) -> Duration {
        match self {
            Self::State | Self::Cursor => Duration::from_secs(60 * 60),
            Self::Task => Duration::from_secs(24 * 60 * 60),
            // As long as it was noted for.
            Self::List => Duration::ZERO,
        }
    }
}

/// Where a word belongs. Names are hashed ([`name_hash`]): the table is large, and they repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The entry that gave it out.
    pub entry: Entry,
    /// The endpoint's name, hashed.
    pub endpoint: u64,
    /// The entry's version label at that time, hashed: the next version in the slot is a stranger.
    pub version: u64,
}

/// A pin as it is journalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinRecord {
    /// What it is.
    pub kind: Handle,
    /// The hash it is found by.
    pub hash: u64,
    /// Where it belongs.
    pub pin: Pin,
    /// How long it is kept from now on.
    pub left: Duration,
}

/// What is to be journalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinBatch {
    /// These came since the last batch.
    More(Vec<PinRecord>),
    /// All there are: what was written before can go.
    All(Vec<PinRecord>),
}

/// The hash of an endpoint's name or a version label.
pub fn name_hash(name: &str) -> u64 {
    let mut hasher = SipHasher13::new_with_key(b"dualgate.pinname");
    hasher.write(name.as_bytes());
    hasher.finish()
}

/// A word of one client: cursors and states may be plain ("2", "step-1"), and then the same word means
/// something else to the next client.
pub fn of_client(word: u64, key: ClientKey) -> u64 {
    let mut hasher = SipHasher13::new_with_key(b"dualgate.pinword");
    hasher.write_u64(word);
    hasher.write_u64(key.hash());
    hasher.finish()
}

/// The pins of one service, shared by all workers.
#[derive(Debug, Default)]
pub struct Pins {
    shards: [Mutex<Shard>; SHARDS],
    counts: [AtomicUsize; Handle::ALL.len()],
    evicted: AtomicU64,
    /// Records written since the journal was last written anew, and whether the last batch was lost.
    journal: Mutex<(usize, bool)>,
}

const SHARDS: usize = 16;

/// Pins of a kind per service: about 10 MiB of each.
const MOST: usize = 1 << 17;

/// The journal is written anew when it has this many records, and twice as many as there are pins.
const MOST_JOURNALLED: usize = 1 << 14;

#[derive(Debug, Default)]
struct Shard {
    kinds: [Shelf; Handle::ALL.len()],
    dirty: Vec<(Handle, u64)>,
}

/// Pins of a kind, and the order in which they run out. A pin that was used again stands in its old place
/// and is put back when its turn comes.
#[derive(Debug, Default)]
struct Shelf {
    held: HashMap<u64, Held>,
    order: VecDeque<(Duration, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    pin: Pin,
    until: Duration,
    journalled_until: Duration,
}

impl Pins {
    /// A server has given a word out; `now` is the time since the start.
    pub fn note(&self, kind: Handle, hash: u64, pin: Pin, now: Duration) {
        self.hold(kind, hash, pin, now + kind.lifetime());
    }

    /// A client has listed here, and what it calls by that list follows it for so long.
    pub fn note_list(&self, key: ClientKey, pin: Pin, now: Duration, lease: Duration) {
        self.hold(Handle::List, key.hash(), pin, now + lease);
    }

    /// Where a word belongs. Asked for, it is kept for longer; a list is not.
    pub fn find(&self, kind: Handle, hash: u64, now: Duration) -> Option<Pin> {
        if !self.any(kind) {
            return None;
        }
        let mut shard = self.shard(hash);
        let held = shard.kinds[kind as usize].held.get_mut(&hash).filter(|held| held.until > now)?;
        let pin = held.pin;
        held.until = held.until.max(now + kind.lifetime());
        // A use that lengthens little is not worth a record.
        if held.until > held.journalled_until + kind.lifetime() / 4 {
            held.journalled_until = held.until;
            shard.mark(kind, hash);
        }
        Some(pin)
    }

    /// Whether there are pins of a kind: while there are none, nobody need look for words.
    pub fn any(&self, kind: Handle) -> bool {
        self.counts[kind as usize].load(Ordering::Relaxed) > 0
    }

    /// How many there are.
    pub fn count(&self, kind: Handle) -> usize {
        self.counts[kind as usize].load(Ordering::Relaxed)
    }

    /// How many were pushed out before their time.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Forgets what has run out.
    pub fn sweep(&self, now: Duration) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            for kind in Handle::ALL {
                let gone = shard.kinds[kind as usize].sweep(now);
                self.counts[kind as usize].fetch_sub(gone, Ordering::Relaxed);
            }
        }
    }

    /// Puts back what was journalled.
    pub fn restore(&self, records: &[PinRecord], now: Duration) {
        for record in records {
            self.hold(record.kind, record.hash, record.pin, now + record.left);
        }
        self.shards.iter().for_each(|shard| lock(shard).dirty.clear());
        lock(&self.journal).0 = records.len();
    }

    /// What is to be journalled now, if anything. What it gives is taken for written; [`Self::lost`]
    /// takes that back.
    pub fn take_batch(&self, now: Duration) -> Option<PinBatch> {
        let (written, lost) = *lock(&self.journal);
        let live: usize = Handle::ALL.into_iter().filter(|kind| *kind != Handle::List).map(|kind| self.count(kind)).sum();
        let anew = lost || written > MOST_JOURNALLED.max(2 * live);
        let mut records = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            let dirty = std::mem::take(&mut shard.dirty);
            if anew {
                records.extend(shard.all(now));
            } else {
                records.extend(dirty.into_iter().filter_map(|(kind, hash)| shard.record(kind, hash, now)));
            }
        }
        *lock(&self.journal) = (if anew { 0 } else { written } + records.len(), false);
        match anew {
            true => Some(PinBatch::All(records)),
            false => (!records.is_empty()).then_some(PinBatch::More(records)),
        }
    }

    /// The last batch was not written: the next one has everything.
    pub fn lost(&self) {
        lock(&self.journal).1 = true;
    }

    fn hold(&self, kind: Handle, hash: u64, pin: Pin, until: Duration) {
        let mut shard = self.shard(hash);
        let shelf = &mut shard.kinds[kind as usize];
        let held = Held { pin, until, journalled_until: until };
        let known = shelf.held.insert(hash, held);
        if known.is_none() {
            shelf.order.push_back((until, hash));
            if shelf.held.len() > MOST / SHARDS {
                shelf.evict();
                self.evicted.fetch_add(1, Ordering::Relaxed);
            } else {
                self.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
            }
        }
        if kind != Handle::List && known.is_none_or(|known| known.pin != pin) {
            shard.mark(kind, hash);
        }
    }

    fn shard(&self, hash: u64) -> std::sync::MutexGuard<'_, Shard> {
        lock(&self.shards[(hash >> 32) as usize % SHARDS])
    }
}

impl Shard {
    fn mark(&mut self, kind: Handle, hash: u64) {
        // More than there can be would be records of pins that are gone.
        if kind != Handle::List && self.dirty.len() < 3 * MOST / SHARDS {
            self.dirty.push((kind, hash));
        }
    }

    fn record(&self, kind: Handle, hash: u64, now: Duration) -> Option<PinRecord> {
        let held = self.kinds[kind as usize].held.get(&hash)?;
        let left = held.until.checked_sub(now)?;
        Some(PinRecord { kind, hash, pin: held.pin, left })
    }

    fn all(&self, now: Duration) -> Vec<PinRecord> {
        let kinds = Handle::ALL.into_iter().filter(|kind| *kind != Handle::List);
        let hashes = kinds.flat_map(|kind| self.kinds[kind as usize].held.keys().map(move |hash| (kind, *hash)));
        hashes.filter_map(|(kind, hash)| self.record(kind, hash, now)).collect()
    }
}

impl Shelf {
    /// Pushes out the one that would run out first, as far as is known without looking at all of them.
    fn evict(&mut self) {
        for _ in 0..8 {
            let Some((until, hash)) = self.order.pop_front() else { return };
            match self.held.get(&hash) {
                Some(held) if held.until > until => self.order.push_back((held.until, hash)),
                Some(_) => {
                    self.held.remove(&hash);
                    return;
                }
                None => {}
            }
        }
        // All of them in use: the oldest goes all the same.
        if let Some((_, hash)) = self.order.pop_front() {
            self.held.remove(&hash);
        }
    }

    /// How many have gone.
    fn sweep(&mut self, now: Duration) -> usize {
        let before = self.held.len();
        while let Some((until, hash)) = self.order.front().copied().filter(|(until, _)| *until <= now) {
            self.order.pop_front();
            match self.held.get(&hash) {
                Some(held) if held.until > until.max(now) => self.order.push_back((held.until, hash)),
                Some(_) => {
                    self.held.remove(&hash);
                }
                None => {}
            }
        }
        before - self.held.len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A table of hints stays usable after a panic elsewhere.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::KeySource;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn pin(endpoint: u64) -> Pin {
        Pin { entry: Entry::Secondary, endpoint, version: 1 }
    }

    /// Spread over the shards as real hashes are.
    fn word(n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn a_word_is_found_until_it_runs_out_and_longer_when_used() {
        let pins = Pins::default();
        pins.note(Handle::State, 7, pin(1), at(0));
        assert_eq!(pins.find(Handle::Task, 7, at(1)), None, "another kind of word");
        assert_eq!(pins.find(Handle::State, 7, at(3599)), Some(pin(1)));
        assert_eq!(pins.find(Handle::State, 7, at(7198)), Some(pin(1)), "the use kept it");
        assert_eq!(pins.find(Handle::State, 7, at(7198 + 3600)), None);
        pins.sweep(at(7198 + 3600));
        assert!(!pins.any(Handle::State));
    }

    #[test]
    fn a_list_is_followed_for_its_time_and_no_longer_however_often_it_is_called_by() {
        let pins = Pins::default();
        let key = ClientKey::new(&KeySource::ApiKey, b"k");
        pins.note_list(key, pin(1), at(0), at(5));
        assert_eq!(pins.find(Handle::List, key.hash(), at(4)), Some(pin(1)));
        assert_eq!(pins.find(Handle::List, key.hash(), at(5)), None);
        assert_eq!(pins.take_batch(at(4)), None, "nothing of it is journalled");
    }

    #[test]
    fn memory_is_bounded_and_what_is_in_use_stays() {
        let pins = Pins::default();
        let count = MOST as u64 + 10_000;
        for n in 0..count {
            pins.note(Handle::Cursor, word(n), pin(n), at(n / 1_000));
            pins.find(Handle::Cursor, word(0), at(n / 1_000));
        }
        assert!(pins.count(Handle::Cursor) <= MOST);
        assert_eq!(pins.find(Handle::Cursor, word(0), at(200)), Some(pin(0)), "the oldest, and in use");
        assert_eq!(pins.find(Handle::Cursor, word(count - 1), at(200)), Some(pin(count - 1)));
        assert_eq!(pins.count(Handle::Cursor) as u64 + pins.evicted(), count);
        pins.sweep(at(100_000));
        assert_eq!(pins.count(Handle::Cursor), 0);
    }

    #[test]
    fn what_is_journalled_comes_back_with_the_time_it_had_left() {
        let pins = Pins::default();
        pins.note(Handle::Task, 1, pin(1), at(0));
        pins.note(Handle::Cursor, 2, pin(2), at(10));
        let Some(PinBatch::More(records)) = pins.take_batch(at(10)) else { panic!("nothing to write") };
        assert_eq!(pins.take_batch(at(10)), None, "once is enough");
        let restored = Pins::default();
        restored.restore(&records, at(1_000));
        assert_eq!(restored.find(Handle::Task, 1, at(1_000)), Some(pin(1)));
        assert_eq!(restored.find(Handle::Cursor, 2, at(1_000 + 3_599)), Some(pin(2)));
        assert_eq!(restored.find(Handle::Cursor, 2, at(1_000 + 3_599 + 3_600)), None);
        assert_eq!(restored.take_batch(at(1_000)).map(|batch| matches!(batch, PinBatch::More(_))), Some(true), "the uses");
    }

    #[test]
    fn a_batch_that_was_lost_is_in_the_next_one() {
        let pins = Pins::default();
        pins.note(Handle::Task, 1, pin(1), at(0));
        assert!(pins.take_batch(at(0)).is_some());
        pins.lost();
        let Some(PinBatch::All(records)) = pins.take_batch(at(0)) else { panic!("not all") };
        assert_eq!(records.len(), 1);
        assert_eq!(pins.take_batch(at(0)), None);
    }

    #[test]
    fn the_journal_is_written_anew_before_it_is_twice_as_long_as_it_need_be() {
        let pins = Pins::default();
        let mut anew = 0;
        for n in 0..100_000 {
            pins.note(Handle::Cursor, word(n), pin(n), at(n));
            if n.is_multiple_of(500) {
                pins.sweep(at(n));
                anew += usize::from(matches!(pins.take_batch(at(n)), Some(PinBatch::All(_))));
            }
        }
        assert!((3..10).contains(&anew), "{anew}");
    }

    #[test]
    fn the_same_word_of_another_client_is_another_word() {
        let key = |text: &[u8]| ClientKey::new(&KeySource::ApiKey, text);
        assert_ne!(of_client(1, key(b"a")), of_client(1, key(b"b")));
        assert_eq!(of_client(1, key(b"a")), of_client(1, key(b"a")));
    }
}
