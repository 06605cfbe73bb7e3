//! Pins of the modern era: where the server is that knows a `requestState`, a task or a cursor.
//!
//! The modern era has no sessions, but servers hand out words that only they understand, and the client
//! brings them back. Only hashes are kept, in bounded memory: a word that has been pushed out or is too
//! old goes the way of its client's key, as if it had never been seen. What is here is journalled in
//! batches, so that a crash loses what was noted in the last second at most.

use std::hash::Hasher;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use siphasher::sip::SipHasher13;

use self::shelf::Shelf;
use crate::domain::{ClientKey, Entry};

mod lease;
mod shelf;

pub use lease::{LONGEST, LONGEST_LIST, SHORTEST, list_lease};

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

    /// How long a pin is kept after its last use where its server does not say: py2 seals states for ten minutes,
    /// tasks may run for hours.
    pub fn lifetime(self) -> Duration {
        match self {
            Self::State | Self::Cursor => Duration::from_secs(60 * 60),
            Self::Task => Duration::from_secs(24 * 60 * 60),
            // As long as it was noted for.
            Self::List => Duration::ZERO,
        }
    }

    /// Pins of this kind per shard, at most.
    fn most(self) -> usize {
        match self {
            Self::State | Self::Task | Self::Cursor => MOST / SHARDS,
            Self::List => MOST_LISTS / SHARDS,
        }
    }

    fn is_journalled(self) -> bool {
        self != Self::List
    }
}

/// Where a word belongs. Names are hashed: the table is large, and they repeat. Of 256 endpoints, two are
/// alike by one chance in 60,000, and a word then leads to the wrong one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The entry that gave it out.
    pub entry: Entry,
    /// The endpoint's name and authority: see [`endpoint_hash`].
    pub endpoint: u32,
    /// The entry's version label at that time: see [`version_hash`]. The next version in the slot is a stranger.
    pub version: u32,
}

impl Pin {
    /// Whether its endpoint is an instance, which is found by the name of its host.
    pub fn is_of_instance(&self) -> bool {
        self.endpoint & 1 == 1
    }
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

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PinJournal {
    /// What still counts.
    pub records: Vec<PinRecord>,
    /// How many records it holds, with those that count no more.
    pub length: usize,
}

/// The hash of an endpoint's name and authority, since another server under the same name does not know what this one has
/// said; the last bit says whether it is an instance (`a@10.0.0.7`).
pub fn endpoint_hash(name: &str, authority: &[u8]) -> u32 {
    name_hash(&[name.as_bytes(), b" ", authority]) << 1 | u32::from(name.contains('@'))
}

/// The hash of a version label.
pub fn version_hash(label: &str) -> u32 {
    name_hash(&[label.as_bytes()])
}

fn name_hash(parts: &[&[u8]]) -> u32 {
    let mut hasher = SipHasher13::new_with_key(b"dualgate.pinname");
    parts.iter().for_each(|part| hasher.write(part));
    (hasher.finish() >> 32) as u32
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
#[derive(Debug)]
pub struct Pins {
    shards: [Mutex<Shard>; SHARDS],
    counts: [AtomicUsize; Handle::ALL.len()],
    evicted: AtomicU64,
    /// Records in the journal.
    journalled: AtomicUsize,
    /// The journal lacks some that are not marked: the next batch has everything.
    lost: AtomicBool,
}

/// So many that who goes through all pins of a kind in one of them holds up nobody.
const SHARDS: usize = 64;

/// Pins of a kind per service, which take 11 MiB where they come and go. By shard, a little less than what a
/// map of 2,048 places holds.
const MOST: usize = SHARDS * 1792;

/// Clients that call by a list, per service.
const MOST_LISTS: usize = SHARDS * 224;

/// Marks of a shard between two batches; where there are more, everything is written.
const MOST_DIRTY: usize = 1024;

/// The journal is written anew when it has this many records, and twice as many as there are pins.
const MOST_JOURNALLED: usize = 1 << 14;

#[derive(Debug, Default)]
struct Shard {
    kinds: [Shelf; Handle::ALL.len()],
    dirty: Vec<(Handle, u64)>,
}

impl Default for Pins {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            counts: Default::default(),
            evicted: AtomicU64::new(0),
            journalled: AtomicUsize::new(0),
            lost: AtomicBool::new(false),
        }
    }
}

impl Pins {
    /// A server has given a word out; `now` is the time since the start.
    pub fn note(&self, kind: Handle, hash: u64, pin: Pin, now: Duration) {
        self.note_for(kind, hash, pin, now, kind.lifetime());
    }

    /// The same, where it is kept for another time after its last use: see [`Handle::lease`].
    pub fn note_for(&self, kind: Handle, hash: u64, pin: Pin, now: Duration, lease: Duration) {
        self.hold(kind, hash, pin, now + lease, lease);
    }

    /// A server has given a word out to a client, by which others may come back as well. It takes a second
    /// place, of the client's own, only where the same word leads somebody else elsewhere.
    pub fn note_shared(&self, kind: Handle, word: u64, key: ClientKey, pin: Pin, now: Duration, lease: Duration) {
        let own = of_client(word, key);
        let is_anothers = self.shard(word).kinds[kind as usize].look(word, now).is_some_and(|known| known != pin);
        if !is_anothers {
            self.note_for(kind, word, pin, now, lease);
        }
        // What is its own counts before what it shares.
        if is_anothers || self.shard(own).kinds[kind as usize].look(own, now).is_some() {
            self.note_for(kind, own, pin, now, lease);
        }
    }

    /// A client has listed here, and what it calls by that list follows it for so long.
    pub fn note_list(&self, key: ClientKey, pin: Pin, now: Duration, lease: Duration) {
        self.hold(Handle::List, key.hash(), pin, now + lease, Duration::ZERO);
    }

    /// Where a word belongs. Asked for, it is kept for longer; a list is not.
    pub fn find(&self, kind: Handle, hash: u64, now: Duration) -> Option<Pin> {
        if !self.any(kind) {
            return None;
        }
        let mut shard = self.shard(hash);
        let (pin, is_due) = shard.kinds[kind as usize].find(hash, now)?;
        if is_due {
            self.mark(&mut shard, kind, hash);
        }
        Some(pin)
    }

    /// A word leads nowhere any more, whoever brings it.
    pub fn forget(&self, kind: Handle, hash: u64) {
        self.shard(hash).kinds[kind as usize].forget(hash);
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
            for kind in Handle::ALL {
                // Locked for each kind: who waits, waits for one of them.
                let gone = lock(shard).kinds[kind as usize].sweep(now);
                self.counts[kind as usize].fetch_sub(gone, Ordering::Relaxed);
            }
        }
    }

    /// Puts back what was journalled.
    pub fn restore(&self, mut journal: PinJournal, now: Duration) {
        // What runs out first is pushed out first; of a word's records the last one stays the last.
        journal.records.sort_by_key(|record| record.left);
        for record in &journal.records {
            // What its server said is said again with its next word; until then, uses lengthen it by the default.
            self.hold(record.kind, record.hash, record.pin, now + record.left, record.kind.lifetime());
        }
        self.shards.iter().for_each(|shard| lock(shard).dirty.clear());
        self.lost.store(false, Ordering::Relaxed);
        self.journalled.store(journal.length, Ordering::Relaxed);
    }

    /// What is to be journalled now, if anything. What it gives is taken for written; [`Self::lost`]
    /// takes that back. One at a time.
    pub fn take_batch(&self, now: Duration) -> Option<PinBatch> {
        let coming: usize = self.shards.iter().map(|shard| lock(shard).dirty.len()).sum();
        let live: usize = Handle::ALL.into_iter().filter(|kind| kind.is_journalled()).map(|kind| self.count(kind)).sum();
        let journalled = self.journalled.load(Ordering::Relaxed);
        let anew = self.lost.swap(false, Ordering::Relaxed) || journalled + coming > MOST_JOURNALLED.max(2 * live);
        let mut records = Vec::with_capacity(if anew { live } else { coming });
        for shard in &self.shards {
            // Before the pins are read: what is marked from here on is in the next batch.
            let dirty = std::mem::take(&mut lock(shard).dirty);
            if anew {
                for kind in Handle::ALL.into_iter().filter(|kind| kind.is_journalled()) {
                    let record = |(hash, pin, left)| PinRecord { kind, hash, pin, left };
                    // Locked for each kind: who waits, waits for one of them.
                    records.extend(lock(shard).kinds[kind as usize].all(now).map(record));
                }
            } else if !dirty.is_empty() {
                let shard = lock(shard);
                records.extend(dirty.into_iter().filter_map(|(kind, hash)| shard.record(kind, hash, now)));
            }
        }
        self.journalled.store(if anew { 0 } else { journalled } + records.len(), Ordering::Relaxed);
        match anew {
            true => Some(PinBatch::All(records)),
            false => (!records.is_empty()).then_some(PinBatch::More(records)),
        }
    }

    /// The last batch was not written: the next one has everything.
    pub fn lost(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    fn hold(&self, kind: Handle, hash: u64, pin: Pin, until: Duration, lease: Duration) {
        let mut shard = self.shard(hash);
        let put = shard.kinds[kind as usize].put(hash, pin, until, lease, kind.most());
        if put.is_new && !put.pushed_out {
            self.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
        }
        self.evicted.fetch_add(u64::from(put.pushed_out), Ordering::Relaxed);
        if put.is_due {
            self.mark(&mut shard, kind, hash);
        }
    }

    fn mark(&self, shard: &mut Shard, kind: Handle, hash: u64) {
        if !kind.is_journalled() {
            return;
        }
        if shard.dirty.len() >= MOST_DIRTY {
            // The disk is slower than words come: all of them are cheaper than so many marks.
            shard.dirty.clear();
            self.lost();
        }
        shard.dirty.push((kind, hash));
    }

    fn shard(&self, hash: u64) -> std::sync::MutexGuard<'_, Shard> {
        lock(&self.shards[(hash >> 32) as usize % SHARDS])
    }
}

impl Shard {
    fn record(&self, kind: Handle, hash: u64, now: Duration) -> Option<PinRecord> {
        let (pin, left) = self.kinds[kind as usize].left(hash, now)?;
        Some(PinRecord { kind, hash, pin, left })
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

    fn pin(endpoint: u32) -> Pin {
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
    fn a_use_lengthens_a_pin_by_what_its_server_said_and_no_further() {
        let pins = Pins::default();
        pins.note_for(Handle::Task, 7, pin(1), at(0), at(120));
        assert_eq!(pins.find(Handle::Task, 7, at(119)), Some(pin(1)));
        assert_eq!(pins.find(Handle::Task, 7, at(238)), Some(pin(1)), "the use kept it");
        assert_eq!(pins.find(Handle::Task, 7, at(358)), None);
        pins.note_for(Handle::Task, 8, pin(1), at(0), LONGEST);
        assert_eq!(pins.find(Handle::Task, 8, LONGEST - at(1)), Some(pin(1)));
        assert_eq!(pins.find(Handle::Task, 8, LONGEST * 2 - at(2)), Some(pin(1)));
    }

    #[test]
    fn what_is_forgotten_leads_nowhere_and_makes_room() {
        let pins = Pins::default();
        pins.note(Handle::State, 7, pin(1), at(0));
        pins.forget(Handle::State, 7);
        pins.forget(Handle::State, 7);
        assert_eq!(pins.find(Handle::State, 7, at(1)), None);
        assert_eq!(pins.take_batch(at(1)), None, "nothing of it is journalled");
        pins.note(Handle::State, 7, pin(2), at(2));
        assert_eq!((pins.find(Handle::State, 7, at(3)), pins.count(Handle::State)), (Some(pin(2)), 1));
        pins.forget(Handle::State, 7);
        pins.sweep(at(10_000));
        assert_eq!(pins.count(Handle::State), 0);
    }

    #[test]
    fn what_is_to_be_kept_for_days_holds_up_nobody_who_is_not_and_outlives_them() {
        let pins = Pins::default();
        pins.note_for(Handle::Task, word(0), pin(0), at(0), LONGEST);
        (1..1_000).for_each(|n| pins.note_for(Handle::Task, word(n), pin(1), at(0), SHORTEST));
        pins.sweep(at(120));
        assert_eq!(pins.count(Handle::Task), 1);
        let count = MOST as u64 + 10_000;
        (1..count).for_each(|n| pins.note_for(Handle::Task, word(n), pin(1), at(200), SHORTEST));
        assert_eq!(pins.find(Handle::Task, word(0), at(201)), Some(pin(0)), "who runs out first is pushed out first");
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
            pins.note(Handle::Cursor, word(n), pin(n as u32), at(n / 1_000));
            pins.find(Handle::Cursor, word(0), at(n / 1_000));
        }
        assert!(pins.count(Handle::Cursor) <= MOST);
        assert_eq!(pins.find(Handle::Cursor, word(0), at(200)), Some(pin(0)), "the oldest, and in use");
        assert_eq!(pins.find(Handle::Cursor, word(count - 1), at(200)), Some(pin(count as u32 - 1)));
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
        restored.restore(PinJournal { length: records.len(), records }, at(1_000));
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
            pins.note(Handle::Cursor, word(n), pin(n as u32), at(n));
            if n.is_multiple_of(500) {
                pins.sweep(at(n));
                anew += usize::from(matches!(pins.take_batch(at(n)), Some(PinBatch::All(_))));
            }
        }
        assert!((3..10).contains(&anew), "{anew}");
    }

    /// Everything that a batch has.
    fn records(batch: Option<PinBatch>) -> Vec<PinRecord> {
        match batch {
            Some(PinBatch::More(records) | PinBatch::All(records)) => records,
            None => Vec::new(),
        }
    }

    #[test]
    fn a_task_that_is_polled_for_days_survives_a_restart() {
        let hours = |hours: u64| at(hours * 3600);
        let pins = Pins::default();
        let (mut journalled_until, mut written) = (Duration::ZERO, 0);
        for minute in 0..40 * 60 {
            let now = at(minute * 60);
            // What a poll does: the request finds the word, the answer (which names its task) notes it.
            pins.find(Handle::Task, 7, now);
            pins.note(Handle::Task, 7, pin(1), now);
            for record in records(pins.take_batch(now)) {
                (journalled_until, written) = (now + record.left, written + 1);
            }
        }
        assert_eq!(pins.find(Handle::Task, 7, hours(40)), Some(pin(1)), "known in memory");
        assert!(journalled_until > hours(40 + 17), "the journal forgets it at hour {}", journalled_until.as_secs() / 3600);
        assert!(written < 10, "and not every poll is worth a record: {written}");
    }

    #[test]
    fn a_word_that_moves_is_journalled_with_its_new_place() {
        let pins = Pins::default();
        pins.note(Handle::Cursor, 7, pin(1), at(0));
        pins.take_batch(at(0));
        pins.note(Handle::Cursor, 7, pin(2), at(1));
        assert_eq!(records(pins.take_batch(at(1))).iter().map(|record| record.pin).collect::<Vec<_>>(), [pin(2)]);
    }

    #[test]
    fn pins_that_find_no_room_among_the_dirty_are_journalled_later() {
        let pins = Pins::default();
        // One shard; as many as pass through it while one write takes its time.
        let hash = |n: u64| n & 0xffff_ffff;
        (0..30_000).for_each(|n| pins.note(Handle::State, hash(n), pin(1), at(1)));
        let mut journalled = std::collections::HashSet::new();
        for _ in 0..3 {
            journalled.extend(records(pins.take_batch(at(2))).into_iter().map(|one| one.hash));
        }
        let known = |n: &u64| pins.find(Handle::State, hash(*n), at(3)).is_some();
        assert!((0..30_000).filter(known).count() > 1_000);
        let lost = (0..30_000).filter(known).filter(|n| !journalled.contains(&hash(*n)));
        assert_eq!(lost.count(), 0, "known in memory, and never written");
    }

    #[test]
    fn what_a_journal_holds_of_the_dead_counts_for_its_length() {
        let pins = Pins::default();
        pins.restore(PinJournal { records: Vec::new(), length: MOST_JOURNALLED }, at(0));
        pins.note(Handle::Cursor, 1, pin(1), at(0));
        assert!(matches!(pins.take_batch(at(0)), Some(PinBatch::All(records)) if records.len() == 1));
    }

    #[test]
    fn of_what_was_journalled_the_newest_stays_when_there_is_no_room() {
        let record = |n: u64| PinRecord { kind: Handle::State, hash: n, pin: pin(1), left: at(3_600 - n) };
        let records: Vec<PinRecord> = (0..3_600).map(record).collect();
        let pins = Pins::default();
        pins.restore(PinJournal { length: records.len(), records }, at(0));
        assert_eq!(pins.find(Handle::State, 0, at(0)), Some(pin(1)));
        assert_eq!(pins.find(Handle::State, 3_599, at(0)), None);
    }

    #[test]
    fn a_full_table_takes_what_the_decision_says() {
        let pins = Pins::default();
        for n in 0..3 * MOST as u64 {
            for kind in Handle::ALL {
                pins.note(kind, word(n), pin(1), at(n / 1_000));
            }
        }
        let mib = |kind: Handle| {
            let bytes: usize = pins.shards.iter().map(|shard| lock(shard).kinds[kind as usize].bytes()).sum();
            bytes as f64 / f64::from(1 << 20)
        };
        for (kind, most) in [(Handle::State, 11.0), (Handle::Task, 11.0), (Handle::Cursor, 11.0), (Handle::List, 1.5)] {
            let (taken, words) = (mib(kind), pins.count(kind));
            println!("{kind:?}: {words} words, {taken:.1} MiB, {:.0} bytes a word", taken * f64::from(1 << 20) / words as f64);
            assert!(taken <= most && words > 14_000, "{kind:?}: {taken} MiB for {words}");
        }
        pins.sweep(at(1_000_000));
        assert!(mib(Handle::State) < 0.1, "given back when they are gone: {} MiB", mib(Handle::State));
    }

    #[test]
    fn a_shared_word_takes_one_place_and_a_plain_one_leads_each_client_to_its_own_server() {
        let key = |text: &[u8]| ClientKey::new(&KeySource::ApiKey, text);
        let pins = Pins::default();
        let find = |word, text: &[u8], now| {
            pins.find(Handle::State, of_client(word, key(text)), now).or_else(|| pins.find(Handle::State, word, now))
        };
        pins.note_shared(Handle::State, 7, key(b"a"), pin(1), at(0), Handle::State.lifetime());
        assert_eq!(pins.count(Handle::State), 1);
        assert_eq!((find(7, b"a", at(1)), find(7, b"b", at(1))), (Some(pin(1)), Some(pin(1))));
        pins.note_shared(Handle::State, 7, key(b"b"), pin(2), at(2), Handle::State.lifetime());
        assert_eq!((find(7, b"a", at(3)), find(7, b"b", at(3))), (Some(pin(1)), Some(pin(2))), "step-1 of another server");
        pins.note_shared(Handle::State, 7, key(b"b"), pin(1), at(4), Handle::State.lifetime());
        assert_eq!((find(7, b"a", at(5)), find(7, b"b", at(5))), (Some(pin(1)), Some(pin(1))), "the last that it was given");
        pins.note_shared(Handle::State, 7, key(b"a"), pin(2), at(6), Handle::State.lifetime());
        assert_eq!((find(7, b"a", at(7)), find(7, b"b", at(7))), (Some(pin(2)), Some(pin(1))));
        let later = at(7 + 3_600);
        pins.note_shared(Handle::State, 7, key(b"c"), pin(3), later, Handle::State.lifetime());
        assert_eq!(find(7, b"d", later), Some(pin(3)), "what has run out is nobody's");
    }

    #[test]
    fn the_hash_of_an_endpoint_says_whether_it_is_an_instance() {
        let of =
            |name: &str| Pin { entry: Entry::Primary, endpoint: endpoint_hash(name, b"host:80"), version: version_hash("1@2") };
        assert!(of("a@10.0.0.7").is_of_instance() && !of("a").is_of_instance());
        assert_ne!(of("a@10.0.0.7").endpoint, of("a@10.0.0.8").endpoint);
        assert_ne!(endpoint_hash("a", b"host:80"), endpoint_hash("a", b"host:81"));
    }

    #[test]
    fn the_same_word_of_another_client_is_another_word() {
        let key = |text: &[u8]| ClientKey::new(&KeySource::ApiKey, text);
        assert_ne!(of_client(1, key(b"a")), of_client(1, key(b"b")));
        assert_eq!(of_client(1, key(b"a")), of_client(1, key(b"a")));
    }
}
