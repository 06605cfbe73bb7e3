//! Residents: sessions of which more is remembered than their sealed ids say.
//!
//! Where a session was moved to, what its client asked for that still holds, that it was ended, and what opens it again
//! where its id has no room for that. Journalled in batches, so that a crash loses what changed in the last second at
//! most; of sessions whose ids say everything nothing is written. No credential is: what is here has no place for one,
//! and records are found by a keyed hash ([`SealKeys::resident_key`](crate::mcp::SealKeys::resident_key)).
//!
//! ```text
//! session ── mark ──▶ marked ── take_batch ──▶ the disk        again with the next batch where that says no
//! the disk, at start ── restore ──▶ restored ── look ──▶ session, when it is met for the first time
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::traces::Traces;

mod traces;

/// By what a session is found: a keyed hash of its sealed id and its caller.
pub type ResidentKey = [u8; 16];

/// A record counts for so long after it was written: sessions are forgotten after 30 minutes without use, and the record of
/// one in use is written again every ten ([`FRESH`]).
pub const KEPT: Duration = Duration::from_secs(40 * 60);

/// That a session was ended is kept for so long: whoever says something in it all the same does so soon.
pub const KEPT_OVER: Duration = Duration::from_secs(5 * 60);

/// The record of a session in use is written again after so long.
pub const FRESH: Duration = Duration::from_secs(10 * 60);

/// A shorter journal is never worth being written anew, in bytes.
const SHORT: u64 = 64 << 10;

/// What a restored record takes up beside its text, in bytes: its key and its time, and its place in the table.
const SIZE: usize = 64;

/// A session, as the journal sees it.
pub trait Resident: Send + Sync {
    /// By what it is found.
    fn key(&self) -> ResidentKey;

    /// What is to be journalled of it; nothing where its id says everything, and no record says otherwise.
    fn traces(&self) -> Option<Traces>;

    /// Whether it is among those that are to be journalled. [`Residents`] alone sets it.
    fn waits(&self) -> &AtomicBool;
}

/// What is journalled of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResidentRecord {
    /// By what it is found.
    pub key: ResidentKey,
    /// When it was written, since 1970.
    pub written: Duration,
    /// Its traces, encoded.
    pub text: Box<[u8]>,
}

/// What is to be journalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResidentBatch {
    /// Each takes the place of earlier ones of its key.
    pub records: Vec<ResidentRecord>,
    /// Whether what counts no more is to go,
    pub anew: bool,
    /// and the oldest of what does beyond so many bytes.
    pub room: u64,
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResidentJournal {
    /// What still counts.
    pub records: Vec<ResidentRecord>,
    /// How long it is, with what counts no more, in bytes.
    pub length: u64,
    /// How long it need be, in bytes.
    pub needed: u64,
}

/// Texts of records, and when they were written.
type Restored = HashMap<ResidentKey, (Duration, Box<[u8]>)>;

/// The residents of one service, shared by all workers.
#[derive(Default)]
pub struct Residents {
    /// What the process before has left, until its session is met.
    restored: Mutex<Restored>,
    /// What that takes up, in bytes.
    size: AtomicUsize,
    /// Each is in it once, so it is bounded as they are.
    marked: Mutex<Vec<Arc<dyn Resident>>>,
    /// Those of the batch that is being written.
    under_way: Mutex<Vec<Arc<dyn Resident>>>,
    length: AtomicU64,
    needed: AtomicU64,
}

impl Residents {
    /// Something has changed that the next process should know. Never waits for the disk.
    pub fn mark(&self, resident: Arc<dyn Resident>) {
        // Whoever finds it set came before the batch takes it off, and so before that looks at the session.
        if !resident.waits().swap(true, Ordering::AcqRel) {
            lock(&self.marked).push(resident);
        }
    }

    /// What the process before has left of a session.
    pub fn look(&self, key: &ResidentKey) -> Option<Traces> {
        if self.size() == 0 {
            return None;
        }
        let restored = lock(&self.restored);
        Traces::decode(&restored.get(key)?.1)
    }

    /// The session is known now.
    pub fn forget(&self, key: &ResidentKey) {
        if self.size() > 0
            && let Some((_, text)) = lock(&self.restored).remove(key)
        {
            self.size.fetch_sub(SIZE + text.len(), Ordering::Relaxed);
        }
    }

    /// What is restored and not yet met takes up so much, in bytes.
    pub fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// Forgets what has waited for its session for too long; `now` is since 1970.
    pub fn sweep(&self, now: Duration) {
        if self.size() == 0 {
            return;
        }
        let mut gone = 0;
        lock(&self.restored).retain(|_, (written, text)| {
            let counts = still_counts(*written, text, now);
            gone += if counts { 0 } else { SIZE + text.len() };
            counts
        });
        self.size.fetch_sub(gone, Ordering::Relaxed);
    }

    /// Puts back what was journalled, the newest of it where it takes more than half of the `most` bytes that there are for
    /// sessions: the other half is for those that come. How many there are.
    pub fn restore(&self, mut journal: ResidentJournal, most: usize) -> usize {
        journal.records.sort_by_key(|record| std::cmp::Reverse(record.written));
        let mut restored = lock(&self.restored);
        let mut size = self.size();
        for ResidentRecord { key, written, text } in journal.records {
            if size + SIZE + text.len() > most / 2 {
                break;
            }
            size += SIZE + text.len();
            restored.insert(key, (written, text));
        }
        self.size.store(size, Ordering::Relaxed);
        self.length.store(journal.length, Ordering::Relaxed);
        self.needed.store(journal.needed, Ordering::Relaxed);
        restored.len()
    }

    /// What is to be journalled now, if anything, of `most` sessions at most; `now` is since 1970, and `room` what
    /// a journal that is written anew may take up, in bytes. One at a time: [`Self::kept`] or [`Self::lost`] ends it.
    pub fn take_batch(&self, now: Duration, most: usize, room: usize) -> Option<ResidentBatch> {
        let mut marked = lock(&self.marked);
        let count = marked.len().min(most);
        let taken: Vec<_> = marked.drain(..count).collect();
        drop(marked);
        let length = self.length.load(Ordering::Relaxed);
        let anew = length > SHORT.max(2 * self.needed.load(Ordering::Relaxed));
        let record = |resident: &Arc<dyn Resident>| {
            // Before it is looked at: what changes from here on is in the next batch.
            resident.waits().swap(false, Ordering::AcqRel);
            let text = resident.traces()?.encode().into();
            Some(ResidentRecord { key: resident.key(), written: now, text })
        };
        let records: Vec<_> = taken.iter().filter_map(record).collect();
        *lock(&self.under_way) = taken;
        (anew || !records.is_empty()).then_some(ResidentBatch { records, anew, room: room as u64 })
    }

    /// The last batch was written, and the journal is so long now.
    pub fn kept(&self, length: u64, anew: bool) {
        lock(&self.under_way).clear();
        self.length.store(length, Ordering::Relaxed);
        if anew {
            self.needed.store(length, Ordering::Relaxed);
        }
    }

    /// It was not: those of it are in the next one.
    pub fn lost(&self) {
        let again = std::mem::take(&mut *lock(&self.under_way));
        again.into_iter().for_each(|resident| self.mark(resident));
    }
}

/// Whether a record still counts; both times are since 1970.
pub fn still_counts(written: Duration, text: &[u8], now: Duration) -> bool {
    now.saturating_sub(written) < if traces::is_over(text) { KEPT_OVER } else { KEPT }
}

impl std::fmt::Debug for Residents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Residents").field("size", &self.size()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
