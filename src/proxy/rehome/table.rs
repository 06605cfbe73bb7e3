//! The sessions that this process knows: where each lives now, what runs there, and what it takes to open it again.
//!
//! Nothing here is needed to find a session: its sealed id says where it was born. What is lost here by the bound is where it
//! was moved to; it is moved again then. A restart loses what of it was not journalled yet.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::compare::Verdicts;
use super::journal::{Line, Met, Newcomer};
use super::keeper::Errands;
use super::memory::Memory;
use super::pace::Pace;
use super::resident::{Session, State};
use crate::domain::Moment;
use crate::domain::rehome::{Epoch, Residence};
use crate::live::ServiceView;
use crate::mcp::SessionPin;
use crate::upstream::Client;

const SHARDS: usize = 64;

/// What a session takes up beside its memory, in bytes: itself, and its place in the table.
pub(super) const SIZE: usize = size_of::<Session>() + 64;

/// That there is no more room is told so often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// By the hash of the client's id; the callers of one are nearly always one.
type Shard = HashMap<u64, SmallVec<[Arc<Session>; 1]>>;

/// The sessions that are known.
pub struct Sessions {
    pub(super) hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    pub(super) size: AtomicUsize,
    next_epoch: AtomicU32,
    first_epoch: Epoch,
    pub(super) errands: Errands,
    pub(super) pace: Pace,
    pub(super) verdicts: Verdicts,
    told_full: Mutex<Option<Instant>>,
}

impl Sessions {
    /// None yet. `dice`: a random number, so that no other process counts as this one does.
    pub fn new(dice: u32) -> Arc<Self> {
        Arc::new(Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            size: AtomicUsize::new(0),
            // Far enough from the end for all moves of a process.
            next_epoch: AtomicU32::new((dice >> 1).max(1)),
            first_epoch: (dice >> 1).max(1),
            errands: Errands::default(),
            pace: Pace::default(),
            verdicts: Verdicts::default(),
            told_full: Mutex::default(),
        })
    }

    /// What they take up, in bytes.
    pub fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// Whether any was ever moved.
    pub(in crate::proxy) fn have_moved(&self) -> bool {
        self.next_epoch.load(Ordering::Relaxed) != self.first_epoch
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).values().map(SmallVec::len).sum::<usize>()).sum()
    }

    /// A session by its id and its caller; one that is met for the first time lives where its id says, and `remember` tells
    /// what is remembered of it. None where there is no room: it is bound to where its id says.
    pub(super) fn find(
        self: &Arc<Self>,
        service: &ServiceView,
        (client, caller): (Client, u64),
        pin: &SessionPin,
        now: Moment,
        remember: impl FnOnce() -> Newcomer,
    ) -> Option<Arc<Session>> {
        let key = client.hash();
        let mut shard = self.shard(client);
        if let Some(found) = shard.get(&key).and_then(|callers| callers.iter().find(|one| one.caller == caller)) {
            return Some(found.clone());
        }
        let residents = &service.residents;
        let most = service.config.sessions.remember.saturating_sub(residents.size());
        if self.size() + SIZE > most {
            return None;
        }
        let newcomer = remember();
        let journal = Line::new(residents.clone(), newcomer.key);
        let known = newcomer.key;
        let Met { residence, memory, is_news } = self.meet(residents, newcomer, pin);
        let size = SIZE + memory.size();
        if self.size.fetch_add(size, Ordering::Relaxed) + size > most {
            self.size.fetch_sub(size, Ordering::Relaxed);
            return None;
        }
        let session = self.make(service, (client, caller), State::new(residence, memory), journal);
        session.touch(now);
        shard.entry(key).or_default().push(session.clone());
        known.iter().for_each(|key| residents.forget(key));
        if is_news {
            session.mark();
        }
        Some(session)
    }

    /// One that is not in the table, and not in the journal: it is somebody's, until they have it forgotten. None where there is
    /// no room.
    pub(super) fn admit(
        self: &Arc<Self>,
        service: &ServiceView,
        client: Client,
        pin: &SessionPin,
        memory: Box<Memory>,
    ) -> Option<Arc<Session>> {
        let most = service.config.sessions.remember.saturating_sub(service.residents.size());
        let size = SIZE + memory.size();
        if self.size.fetch_add(size, Ordering::Relaxed) + size > most {
            self.size.fetch_sub(size, Ordering::Relaxed);
            return None;
        }
        let state = State::new(Residence::new(pin.clone()), memory);
        Some(self.make(service, (client, 0), state, Line::new(service.residents.clone(), None)))
    }

    fn make(
        self: &Arc<Self>,
        service: &ServiceView,
        (client, caller): (Client, u64),
        state: State,
        journal: Line,
    ) -> Arc<Session> {
        let current = AtomicU32::new(state.residence.current().epoch);
        let (tally, state, changed, home) = (service.tally.clone(), Mutex::new(state), Notify::new(), self.clone());
        tally.remembered.sessions.fetch_add(1, Ordering::Relaxed);
        let service = service.config.name.as_str().into();
        let (stirred, seen) = (AtomicU32::new(0), AtomicU64::default());
        Arc::new(Session { client, caller, service, tally, state, current, changed, stirred, seen, home, journal })
    }

    /// Forgets those that nobody has used for long.
    pub(super) fn sweep(&self, now: Moment) {
        for shard in &self.shards {
            let mut gone = Vec::new();
            lock(shard).retain(|_, callers| {
                callers.retain(|session| {
                    let is_kept = session.is_kept(now);
                    if !is_kept {
                        gone.push(session.clone());
                    }
                    is_kept
                });
                !callers.is_empty()
            });
            // Their last owners may be here, and take locks of their own.
            gone.iter().for_each(|session| session.forget());
        }
    }

    pub(super) fn shard(&self, client: Client) -> MutexGuard<'_, Shard> {
        // By other bits than those that a map goes by.
        lock(&self.shards[(client.hash() >> 32) as usize % SHARDS])
    }

    /// A caller, by what tells it from others: see [`crate::proxy::keys::caller`].
    pub(in crate::proxy) fn caller(&self, what: &[u8]) -> u64 {
        self.hasher.hash_one(what)
    }

    /// There was no room for a session: it stays bound to where its id says. Told once in a while.
    pub(in crate::proxy) fn note_full(&self, service: &str) {
        let mut told = lock(&self.told_full);
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(
                service,
                bytes = self.size(),
                "no more sessions are remembered: `sessions.remember` is used up, and further ones cannot be moved"
            );
        }
    }

    /// Looks at each.
    pub(super) fn each(&self, mut look: impl FnMut(&Arc<Session>, &mut State)) {
        for shard in &self.shards {
            lock(shard).values().flatten().for_each(|session| look(session, &mut session.state()));
        }
    }

    pub(super) fn next_epoch(&self) -> Epoch {
        self.next_epoch.fetch_add(1, Ordering::Relaxed)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
