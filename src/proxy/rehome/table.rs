//! The sessions that this process knows: where each lives now, what runs there, and what it takes to open it again.
//!
//! Nothing here is needed to find a session: its sealed id says where it was born. What is lost here by the bound is where it
//! was moved to; it is moved again then. A restart loses what of it was not journalled yet.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::compare::Verdicts;
use super::journal::{Line, Met, Newcomer};
use super::keeper::Errands;
use super::letterhead::Letterhead;
use super::memory::Memory;
use super::pace::Pace;
use crate::domain::Moment;
use crate::domain::rehome::{Binding, Epoch, Finished, Residence, Start};
use crate::live::ServiceView;
use crate::mcp::SessionPin;
use crate::upstream::{Client, ServiceTally};

const SHARDS: usize = 64;

/// What a session takes up beside its memory, in bytes: itself, and its place in the table.
const SIZE: usize = size_of::<Session>() + 64;

/// A session that was not seen for so long is forgotten (the idle expiry of SDK servers), unless something runs on it.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// That a session has ended is remembered for so long: a server that does not know it any more has not lost it.
const ENDED: Duration = Duration::from_secs(5 * 60);

/// Tokens of progress, and last event ids, that are remembered of a session; the last ones.
const MOST_TOKENS: usize = 64;

/// That there is no more room is told so often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// After a move that came to nothing, no other is begun by a request for so long.
const BACK_OFF: Duration = Duration::from_secs(1);

/// So many moves within so long are too many: something else is wrong than that servers go away.
const MOST_MOVES: usize = 5;
const RESTLESS: Duration = Duration::from_secs(10);

/// The sessions that are known.
pub struct Sessions {
    hasher: RandomState,
    /// By the hash of the client's id; the callers of one are nearly always one.
    shards: [Mutex<HashMap<u64, SmallVec<[Arc<Session>; 1]>>>; SHARDS],
    size: AtomicUsize,
    next_epoch: AtomicU32,
    first_epoch: Epoch,
    pub(super) errands: Errands,
    pub(super) pace: Pace,
    pub(super) verdicts: Verdicts,
    told_full: Mutex<Option<Instant>>,
}

/// One session of one caller.
pub(in crate::proxy) struct Session {
    client: Client,
    caller: u64,
    service: Box<str>,
    tally: Arc<ServiceTally>,
    state: Mutex<State>,
    /// Something has changed that somebody waits for.
    changed: Notify,
    /// Counts what its streams have to look at.
    stirred: AtomicU32,
    /// When it was last used, in milliseconds since the start.
    seen: AtomicU64,
    home: Arc<Sessions>,
    pub(super) journal: Line,
}

pub(super) struct State {
    pub(super) residence: Residence<SessionPin>,
    pub(super) memory: Option<Box<Memory>>,
    /// Open GET streams.
    listeners: Vec<Listener>,
    /// Where it is about to live: its streams are opened there before it is moved.
    candidate: Option<Binding<SessionPin>>,
    /// When a move has last come to nothing.
    failed: Option<Instant>,
    /// The last moves that were made.
    moved: [Option<Instant>; MOST_MOVES],
    /// Tokens of progress that later bindings have given out.
    tokens: Vec<(Box<str>, Epoch)>,
    /// Hashes of last event ids behind which there is nothing any more.
    given_up: Vec<u64>,
    /// The eviction, by the revision before which it concerns, that it need not follow: it may not be moved.
    stays: Option<u64>,
    /// An errand is under way that moves it.
    pub(super) is_being_moved: bool,
    /// An idle one is not tried to be moved before.
    pub(super) rests_until: Option<Instant>,
    /// Used since it was looked at last.
    is_used: bool,
    /// It is in the table no more, and takes up nothing there.
    is_forgotten: bool,
    /// When it was last journalled.
    pub(super) recorded: Option<Instant>,
}

struct Listener {
    number: u32,
    waker: Option<Waker>,
    /// Where it listens, or has tried to.
    at: Epoch,
}

/// Something that runs on a binding. When the last one of a binding that was left ends, so does the binding.
pub(in crate::proxy) struct Stay {
    session: Arc<Session>,
    epoch: Epoch,
}

/// A move that has begun; dropped before its end, the session stays where it is.
pub(super) struct Moving {
    session: Arc<Session>,
    is_settled: bool,
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
        let (tally, state, changed, home) = (service.tally.clone(), Mutex::new(state), Notify::new(), self.clone());
        tally.remembered.sessions.fetch_add(1, Ordering::Relaxed);
        let service = service.config.name.as_str().into();
        let (stirred, seen) = (AtomicU32::new(0), AtomicU64::default());
        Arc::new(Session { client, caller, service, tally, state, changed, stirred, seen, home, journal })
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

    fn shard(&self, client: Client) -> MutexGuard<'_, HashMap<u64, SmallVec<[Arc<Session>; 1]>>> {
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

impl Session {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// It was in use lately: it is not forgotten for now.
    pub(super) fn touch(&self, now: Moment) {
        let now = now.since(Moment::default()).as_millis() as u64;
        // Not with each request: all workers would write here.
        if now.saturating_sub(self.seen.load(Ordering::Relaxed)) >= 1_000 {
            self.seen.store(now, Ordering::Relaxed);
        }
    }

    /// When it was last used.
    pub(super) fn seen(&self) -> Moment {
        Moment::after_start(Duration::from_millis(self.seen.load(Ordering::Relaxed)))
    }

    /// As which it is counted.
    pub(super) fn client(&self) -> Client {
        self.client
    }

    /// The service that it is of.
    pub(super) fn service(&self) -> &str {
        &self.service
    }

    /// Something begins in a session that was never moved: where its id says. None where that is not so, or no more.
    pub(super) fn check_in_at_birth(self: &Arc<Self>) -> Option<Stay> {
        let mut state = self.state();
        if state.residence.has_moved() || state.residence.is_over() {
            return None;
        }
        state.is_used = true;
        let epoch = state.residence.begin().epoch;
        Some(Stay { session: self.clone(), epoch })
    }

    /// Something begins where it lives now; None where it has ended.
    pub(super) fn check_in(self: &Arc<Self>) -> Option<(Stay, SessionPin)> {
        let mut state = self.state();
        if state.residence.is_over() {
            return None;
        }
        state.is_used = true;
        let Binding { epoch, place } = state.residence.begin().clone();
        Some((Stay { session: self.clone(), epoch }, place))
    }

    /// Something begins that belongs to an earlier binding; None where that is no more.
    pub(super) fn check_in_at(self: &Arc<Self>, epoch: Epoch) -> Option<(Stay, SessionPin)> {
        let mut state = self.state();
        let place = state.residence.begin_on(epoch)?.place.clone();
        Some((Stay { session: self.clone(), epoch }, place))
    }

    /// Whether enough is known of how it was opened.
    pub(in crate::proxy) fn can_move(&self) -> bool {
        self.state().memory.as_ref().is_some_and(|memory| memory.suffices())
    }

    /// Whether it lives on this binding.
    pub(in crate::proxy) fn is_current(&self, epoch: Epoch) -> bool {
        self.state().residence.current().epoch == epoch
    }

    /// Where something still runs of what was begun before a move.
    pub(super) fn draining(&self) -> Vec<SessionPin> {
        self.state().residence.draining().map(|binding| binding.place.clone()).collect()
    }

    /// Where a binding is, or the current one.
    pub(super) fn place_of(&self, epoch: Option<Epoch>) -> Option<SessionPin> {
        let state = self.state();
        let epoch = epoch.unwrap_or_else(|| state.residence.current().epoch);
        state.residence.of(epoch).map(|binding| binding.place.clone())
    }

    /// A server has asked with tokens for progress.
    pub(in crate::proxy) fn note_tokens(&self, tokens: impl IntoIterator<Item = Box<str>>, epoch: Epoch) {
        let mut state = self.state();
        for token in tokens {
            state.tokens.retain(|(known, _)| *known != token);
            if state.tokens.len() >= MOST_TOKENS {
                state.tokens.remove(0);
            }
            state.tokens.push((token, epoch));
        }
    }

    /// Who has given out a token; what no later binding has, the first has.
    pub(super) fn epoch_of_token(&self, token: &str) -> Epoch {
        self.state().tokens.iter().find(|(known, _)| **known == *token).map_or(0, |(_, epoch)| *epoch)
    }

    /// There is nothing behind this event any more, as its client was told.
    pub(super) fn note_given_up(&self, last: &[u8]) {
        let hash = self.home.hasher.hash_one(last);
        let mut state = self.state();
        if state.given_up.len() >= MOST_TOKENS {
            state.given_up.remove(0);
        }
        state.given_up.push(hash);
    }

    /// Whether its client was told so.
    pub(super) fn was_given_up(&self, last: &[u8]) -> bool {
        let hash = self.home.hasher.hash_one(last);
        self.state().given_up.contains(&hash)
    }

    /// Begins a move away from a binding.
    pub(super) fn start_move(self: &Arc<Self>, seen: Epoch) -> Result<Moving, Start> {
        match self.state().residence.start_move(seen) {
            Start::Go => Ok(Moving { session: self.clone(), is_settled: false }),
            other => Err(other),
        }
    }

    /// Whether no move is to be tried for a request now: one has just come to nothing, and no server has spoken since; or it
    /// was moved again and again, and no server keeps it.
    pub(super) fn backs_off(&self, has_spoken: bool) -> bool {
        let state = self.state();
        let has_failed = state.failed.is_some_and(|failed| failed.elapsed() < BACK_OFF);
        let is_restless = state.moved[0].is_some_and(|moved| moved.elapsed() < RESTLESS);
        (has_failed && !has_spoken) || is_restless
    }

    /// Waits until something has changed since `look` was last asked.
    pub(super) async fn changes(&self, mut look: impl FnMut() -> bool) {
        loop {
            let changed = self.changed.notified();
            if look() {
                return;
            }
            changed.await;
        }
    }

    /// Something has changed for those who wait, which is not of the session itself.
    pub(super) fn tell_waiting(&self) {
        self.changed.notify_waiters();
    }

    /// Remembers something more, or less, of it; where there is more than `most` bytes in all by that, it cannot be moved.
    pub(super) fn remember(self: &Arc<Self>, most: usize, how: impl FnOnce(&mut Memory)) {
        let mut state = self.state();
        let mut memory = state.memory.take().unwrap_or_default();
        let (before, was) = (memory.size(), memory.settled());
        how(&mut memory);
        let all = &self.home.size;
        if memory.size() > before && all.load(Ordering::Relaxed) + memory.size() - before > most {
            memory.give_up();
        }
        if !state.is_forgotten {
            // First the more, then the less: it never goes below what there is.
            all.fetch_add(memory.size(), Ordering::Relaxed);
            all.fetch_sub(before, Ordering::Relaxed);
        }
        let is_news = memory.settled() != was;
        state.memory = Some(memory);
        drop(state);
        if is_news {
            self.mark();
        }
    }

    /// Whether it stays in the table: it was used lately, or is.
    fn is_kept(self: &Arc<Self>, now: Moment) -> bool {
        let mut state = self.state();
        if std::mem::take(&mut state.is_used) || state.is_listened_to() {
            self.touch(now);
        }
        self.refresh(&state, now);
        let is_busy = state.residence.running() > 0 || state.residence.is_moving();
        is_busy || now.since(self.seen()) < if state.residence.is_over() { ENDED } else { IDLE }
    }

    /// It is in the table no more.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        let size = SIZE + state.memory.as_ref().map_or(0, |memory| memory.size());
        state.is_forgotten = true;
        self.home.size.fetch_sub(size, Ordering::Relaxed);
        self.tally.remembered.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether another caller's session was born with the same id, and still lives where that says.
    pub(super) fn is_shared(&self) -> bool {
        let others = self.home.shard(self.client).get(&self.client.hash()).cloned().unwrap_or_default();
        let lives_there = |one: &Arc<Self>| {
            let state = one.state();
            !state.residence.has_moved() && !state.residence.is_over()
        };
        others.iter().any(|one| one.caller != self.caller && lives_there(one))
    }

    /// Speaks as this request did from now on.
    pub(super) fn write_with(self: &Arc<Self>, letterhead: Letterhead) -> Arc<Letterhead> {
        let letterhead = Arc::new(letterhead);
        self.remember(usize::MAX, |memory| memory.letterhead = Some(letterhead.clone()));
        letterhead
    }

    /// The revision that was agreed on; empty where that is not known.
    pub(super) fn version(&self) -> String {
        let state = self.state();
        let essentials = state.memory.as_ref().and_then(|memory| memory.essentials.as_ref());
        essentials.map(|essentials| essentials.version().to_owned()).unwrap_or_default()
    }

    /// What was opened for it somewhere is not needed.
    pub(super) fn end_at(self: &Arc<Self>, place: SessionPin) {
        self.home.errands.end(self.clone(), Binding { epoch: Epoch::MAX, place });
    }

    /// It has ended: gives what is to be ended at servers beside the binding of this epoch.
    pub(super) fn close(self: &Arc<Self>, besides: Option<Epoch>) {
        let all = self.state().residence.close();
        // What is left is that it has ended.
        self.remember(usize::MAX, |memory| memory.forget_all(!all.is_empty()));
        self.mark();
        self.changed.notify_waiters();
        for binding in all.into_iter().filter(|binding| Some(binding.epoch) != besides) {
            self.home.errands.end(self.clone(), binding);
        }
    }

    /// A GET stream is open, at a binding.
    pub(super) fn listen(&self, at: Epoch) -> u32 {
        let mut state = self.state();
        let number = state.listeners.iter().map(|one| one.number + 1).max().unwrap_or(0);
        state.listeners.push(Listener { number, waker: None, at });
        number
    }

    /// It is open no more.
    pub(super) fn listen_no_more(&self, number: u32) {
        self.state().listeners.retain(|one| one.number != number);
        self.changed.notify_waiters();
    }

    /// The stream is open at a binding now, or could not be opened there.
    pub(super) fn listens_at(&self, number: u32, at: Epoch) {
        if let Some(one) = self.state().listeners.iter_mut().find(|one| one.number == number) {
            one.at = at;
        }
        self.changed.notify_waiters();
    }

    /// Where a stream should be open now; who asks is woken when that changes.
    pub(super) fn wanted_at(&self, number: u32, waker: &Waker) -> Option<Binding<SessionPin>> {
        let mut state = self.state();
        let State { candidate, residence, listeners, .. } = &mut *state;
        let wanted = candidate.as_ref().unwrap_or_else(|| residence.current());
        let one = listeners.iter_mut().find(|one| one.number == number)?;
        if one.at != wanted.epoch {
            return Some(wanted.clone());
        }
        if !one.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            one.waker = Some(waker.clone());
        }
        None
    }

    /// Another number: there is something for its streams to look at.
    pub(super) fn stirred(&self) -> u32 {
        self.stirred.load(Ordering::Acquire)
    }

    fn wake_listeners(&self) {
        self.stirred.fetch_add(1, Ordering::Release);
        let wakers: Vec<Waker> = self.state().listeners.iter_mut().filter_map(|one| one.waker.take()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn new(residence: Residence<SessionPin>, memory: Box<Memory>) -> Self {
        Self {
            residence,
            memory: Some(memory),
            listeners: Vec::new(),
            candidate: None,
            failed: None,
            moved: [None; MOST_MOVES],
            tokens: Vec::new(),
            given_up: Vec::new(),
            stays: None,
            is_being_moved: false,
            rests_until: None,
            is_used: true,
            is_forgotten: false,
            recorded: None,
        }
    }

    /// Whether somebody listens.
    pub(super) fn is_listened_to(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// Whether it was found that it may not be moved for this eviction.
    pub(super) fn stays_despite(&self, before_revision: u64) -> bool {
        self.stays == Some(before_revision)
    }

    /// It may not be moved for this one.
    pub(super) fn note_stays(&mut self, before_revision: u64) {
        self.stays = Some(before_revision);
    }
}

impl Stay {
    /// On which binding.
    pub(in crate::proxy) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Something else that runs there, for as long as this does at least.
    pub(in crate::proxy) fn another(&self) -> Option<Self> {
        self.session.check_in_at(self.epoch).map(|(stay, _)| stay)
    }

    /// Whose.
    pub(in crate::proxy) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let left = self.session.state().residence.end(self.epoch);
        if let Some(left) = left {
            self.session.home.errands.end(self.session.clone(), left);
            self.session.wake_listeners();
        }
    }
}

impl Moving {
    /// Its streams are to be opened there, before it is moved. Gives the number of the move.
    pub(super) fn announce(&self, place: &SessionPin) -> Epoch {
        let epoch = self.session.home.next_epoch();
        let mut state = self.session.state();
        state.candidate = Some(Binding { epoch, place: place.clone() });
        drop(state);
        self.session.wake_listeners();
        epoch
    }

    /// Whether all its streams have been opened there, or have failed to.
    pub(super) fn is_listened_to_at(&self, epoch: Epoch) -> bool {
        self.session.state().listeners.iter().all(|one| one.at == epoch)
    }

    /// It lives there from now on. False: it has ended meanwhile.
    pub(super) fn finish(mut self, epoch: Epoch, place: SessionPin, is_lost: bool) -> bool {
        self.is_settled = true;
        let session = &self.session;
        let mut state = session.state();
        (state.candidate, state.failed, state.stays) = (None, None, None);
        state.moved.rotate_left(1);
        state.moved[MOST_MOVES - 1] = Some(Instant::now());
        let finished = state.residence.finish_move(epoch, place, is_lost);
        drop(state);
        session.mark();
        session.changed.notify_waiters();
        session.wake_listeners();
        match finished {
            Finished::Moved { left } => {
                left.into_iter().for_each(|left| session.home.errands.end(session.clone(), left));
                true
            }
            Finished::Over(place) => {
                session.home.errands.end(session.clone(), Binding { epoch, place });
                false
            }
        }
    }

    /// It stays where it is: `failed` where that was tried in vain.
    pub(super) fn abandon(mut self, failed: bool) {
        self.give_up(failed);
    }

    fn give_up(&mut self, failed: bool) {
        self.is_settled = true;
        let mut state = self.session.state();
        state.residence.abandon_move();
        state.candidate = None;
        if failed {
            state.failed = Some(Instant::now());
        }
        drop(state);
        self.session.changed.notify_waiters();
        self.session.wake_listeners();
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        if !self.is_settled {
            self.give_up(false);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
