//! One session of one caller: where it lives, and what is remembered of it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::journal::Line;
use super::letterhead::Letterhead;
use super::listeners::Listener;
use super::memory::Memory;
use super::stay::{Moving, Stay};
use super::table::{SIZE, Sessions, lock};
use crate::domain::Moment;
use crate::domain::rehome::{Binding, Epoch, Residence, Start};
use crate::mcp::SessionPin;
use crate::mcp::scan::hash_of_id;
use crate::proxy::local::Local;
use crate::upstream::{Client, ServiceTally};

/// A session that was not seen for so long is forgotten (the idle expiry of SDK servers), unless something runs on it.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// That a session has ended is remembered for so long: a server that does not know it any more has not lost it.
const ENDED: Duration = Duration::from_secs(5 * 60);

/// Tokens of progress, and last event ids, that are remembered of a session; the last ones.
const MOST_TOKENS: usize = 64;

/// After a move that came to nothing, no other is begun by a request for so long.
const BACK_OFF: Duration = Duration::from_secs(1);

/// And no planned one: its server is well, and a new one that hangs would hold up each of them.
const LEAVES_AGAIN: Duration = Duration::from_secs(5);

/// So many moves within so long are too many: something else is wrong than that servers go away.
pub(super) const MOST_MOVES: usize = 5;
const RESTLESS: Duration = Duration::from_secs(10);

/// A session as the requests of one worker hold it.
pub(in crate::proxy) type Lodger = Local<Session>;

/// One session of one caller.
pub(in crate::proxy) struct Session {
    pub(super) client: Client,
    pub(super) caller: u64,
    pub(super) service: Box<str>,
    pub(super) tally: Arc<ServiceTally>,
    pub(super) state: Mutex<State>,
    /// The binding that it lives on, as its state has it: each of its requests asks.
    pub(super) current: AtomicU32,
    /// Something has changed that somebody waits for.
    pub(super) changed: Notify,
    /// Counts what its streams have to look at.
    pub(super) stirred: AtomicU32,
    /// When it was last used, in milliseconds since the start.
    pub(super) seen: AtomicU64,
    pub(super) home: Arc<Sessions>,
    pub(super) journal: Line,
}

pub(super) struct State {
    pub(super) residence: Residence<SessionPin>,
    pub(super) memory: Option<Box<Memory>>,
    /// Open GET streams.
    pub(super) listeners: Vec<Listener>,
    pub(super) rare: Option<Box<Rare>>,
    /// An errand is under way that moves it.
    pub(super) is_being_moved: bool,
    /// Used since it was looked at last.
    is_used: bool,
    /// It is in the table no more, and takes up nothing there.
    is_forgotten: bool,
    /// When it was last journalled.
    pub(super) recorded: Option<Instant>,
}

/// What most sessions never have.
#[derive(Default)]
pub(super) struct Rare {
    /// Where it is about to live: its streams are opened there before it is moved.
    pub(super) candidate: Option<Binding<SessionPin>>,
    /// When a move has last come to nothing.
    pub(super) failed: Option<Instant>,
    /// When a request has last waited in vain for a planned move.
    pub(super) held_up: Option<Instant>,
    /// The last moves that were made.
    pub(super) moved: [Option<Instant>; MOST_MOVES],
    /// Tokens of progress that later bindings have given out.
    tokens: Vec<(Box<str>, Epoch)>,
    /// Hashes of last event ids behind which there is nothing any more.
    given_up: Vec<u64>,
    /// And of those that streams have brought to who listens, and have ended.
    pub(super) heard: Vec<u64>,
    /// The eviction, by the revision before which it concerns, that it need not follow: it may not be moved.
    pub(super) stays: Option<u64>,
    /// An idle one is not tried to be moved before.
    pub(super) rests_until: Option<Instant>,
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
    pub(in crate::proxy) fn client(&self) -> Client {
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
        self.current.load(Ordering::Acquire) == epoch
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
        let known = &mut state.rare().tokens;
        for token in tokens {
            known.retain(|(one, _)| *one != token);
            if known.len() >= MOST_TOKENS {
                known.remove(0);
            }
            known.push((token, epoch));
        }
    }

    /// Who has given out a token; what no later binding has, the first has.
    pub(super) fn epoch_of_token(&self, token: &str) -> Epoch {
        let state = self.state();
        let known = state.rare.as_ref().and_then(|rare| rare.tokens.iter().find(|(known, _)| **known == *token));
        known.map_or(0, |(_, epoch)| *epoch)
    }

    /// There is nothing behind this event any more, as its client was told: by the hash of its id.
    pub(super) fn note_given_up(&self, last: u64) {
        let mut state = self.state();
        let given_up = &mut state.rare().given_up;
        if given_up.len() >= MOST_TOKENS {
            given_up.remove(0);
        }
        given_up.push(last);
    }

    /// Whether its client was told so.
    pub(super) fn was_given_up(&self, last: &[u8]) -> bool {
        let last = hash_of_id(last);
        self.state().rare.as_ref().is_some_and(|rare| rare.given_up.contains(&last))
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
        let Some(rare) = &state.rare else { return false };
        let has_failed = rare.failed.is_some_and(|failed| failed.elapsed() < BACK_OFF);
        let is_restless = rare.moved[0].is_some_and(|moved| moved.elapsed() < RESTLESS);
        (has_failed && !has_spoken) || is_restless
    }

    /// Whether a planned move of it is not to be tried for a request now: it is being moved, or a request has just been held up
    /// for nothing.
    pub(super) fn is_not_to_be_moved_now(&self) -> bool {
        let state = self.state();
        let held_up = state.rare.as_ref().and_then(|rare| rare.held_up);
        state.residence.is_moving() || held_up.is_some_and(|held_up| held_up.elapsed() < LEAVES_AGAIN)
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
    pub(super) fn is_kept(self: &Arc<Self>, now: Moment) -> bool {
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
}

impl State {
    pub(super) fn new(residence: Residence<SessionPin>, memory: Box<Memory>) -> Self {
        Self {
            residence,
            memory: Some(memory),
            listeners: Vec::new(),
            rare: None,
            is_being_moved: false,
            is_used: true,
            is_forgotten: false,
            recorded: None,
        }
    }

    /// What most sessions never have.
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// An idle one is not tried to be moved before.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.rare.as_ref()?.rests_until
    }

    /// Whether somebody listens.
    pub(super) fn is_listened_to(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// Whether it was found that it may not be moved for this eviction.
    pub(super) fn stays_despite(&self, before_revision: u64) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.stays == Some(before_revision))
    }

    /// It may not be moved for this one.
    pub(super) fn note_stays(&mut self, before_revision: u64) {
        self.rare().stays = Some(before_revision);
    }
}
