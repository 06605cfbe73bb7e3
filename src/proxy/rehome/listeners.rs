//! The GET streams that a session has open, as far as who moves it has to know of them.
//!
//! A client has one, as a rule. Where it has more (it may have lost one without its server having heard of that), a new server is
//! asked for one stream alone, for the newest: what is said goes there, and most servers give out no second one. The older ones
//! stay open, and the newest of those takes its place when it ends. Where a client goes on behind an event of a stream, it has lost that
//! one, however long that takes to be felt: it ends, or its server would give out no other.

use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use super::resident::{Session, State};
use crate::domain::rehome::{Binding, Epoch};
use crate::mcp::SessionPin;

/// A GET stream that is open.
pub(super) struct Listener {
    pub(super) number: u32,
    pub(super) waker: Option<Waker>,
    /// Where it listens, or has tried to.
    pub(super) at: Epoch,
    /// Where it did before.
    before: Vec<Epoch>,
    /// Nothing comes from there, but would if that were asked for.
    pub(super) is_mute: bool,
    /// Where it is just being asked for, or was in vain.
    asked: Option<Epoch>,
    /// Hashes of ids of what it has brought, as far as they are known here.
    heard: Vec<u64>,
    /// Its client has lost it, and goes on elsewhere.
    is_lost: bool,
}

/// So many ids are remembered of what a stream has brought, and of what all have that have ended.
const MOST_HEARD: usize = 16;

/// The end of a stream that its client has lost is waited for so long: it is somebody's who takes nothing, perhaps.
const UNTIL_IT_ENDS: Duration = Duration::from_secs(1);

impl Listener {
    fn wake_by(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }
}

fn keep(heard: &mut Vec<u64>, id: u64) {
    if heard.contains(&id) {
        return;
    }
    if heard.len() >= MOST_HEARD {
        heard.remove(0);
    }
    heard.push(id);
}

impl Session {
    /// A GET stream is open, at a binding, behind this event (the hash of its id).
    pub(super) fn listen(&self, at: Epoch, behind: Option<u64>) -> u32 {
        let mut state = self.state();
        let number = state.listeners.iter().map(|one| one.number + 1).max().unwrap_or(0);
        let (before, heard) = (Vec::new(), behind.into_iter().collect());
        state.listeners.push(Listener { number, waker: None, at, before, is_mute: false, asked: None, heard, is_lost: false });
        number
    }

    /// It is open no more; the newest of those that are left listens from now on.
    pub(super) fn listen_no_more(&self, number: u32) {
        let mut state = self.state();
        let ended = state.listeners.iter().position(|one| one.number == number).map(|at| state.listeners.remove(at));
        if let Some(ended) = ended.filter(|ended| !ended.heard.is_empty()) {
            let heard = &mut state.rare().heard;
            ended.heard.into_iter().for_each(|id| keep(heard, id));
        }
        let has_heir = !state.listeners.is_empty();
        drop(state);
        self.changed.notify_waiters();
        if has_heir {
            self.wake_listeners();
        }
    }

    /// The stream has brought these events, by the hashes of their ids.
    pub(super) fn note_heard(&self, number: u32, ids: impl Iterator<Item = u64>) {
        if let Some(one) = self.state().listeners.iter_mut().find(|one| one.number == number) {
            ids.for_each(|id| keep(&mut one.heard, id));
        }
    }

    /// Whether a stream that listens has brought this event, by the hash of its id; no call has, then: ids are of one stream each
    /// (2025-11-25, transports, resumability).
    pub(super) fn has_heard(&self, last: u64) -> bool {
        let state = self.state();
        let is_known = state.rare.as_ref().is_some_and(|rare| rare.heard.contains(&last));
        is_known || state.listeners.iter().any(|one| one.heard.contains(&last))
    }

    /// The same; its client goes on behind that, and so has lost the stream.
    pub(super) fn lose_who_heard(&self, last: u64) -> bool {
        let mut has_lost = false;
        for one in self.state().listeners.iter_mut().filter(|one| one.heard.contains(&last)) {
            (one.is_lost, has_lost) = (true, true);
        }
        if has_lost {
            self.wake_listeners();
        }
        has_lost || self.has_heard(last)
    }

    /// The same of an event that the stream has brought from a binding which was left, whether its id is known here or not: where
    /// there is one stream, it is the one that was there then. Of more, nobody can tell which.
    pub(super) fn lose_who_was_at(&self, epoch: Epoch) {
        let mut state = self.state();
        let has_lost = match &mut state.listeners[..] {
            [one] if one.before.contains(&epoch) => !std::mem::replace(&mut one.is_lost, true),
            _ => false,
        };
        drop(state);
        if has_lost {
            self.wake_listeners();
        }
    }

    /// Whether its client has lost the stream, which is woken when that or anything else of it changes.
    pub(super) fn is_lost(&self, number: u32, waker: &Waker) -> bool {
        let mut state = self.state();
        let Some(one) = state.listeners.iter_mut().find(|one| one.number == number) else { return false };
        one.wake_by(waker);
        one.is_lost
    }

    /// Waits until the streams that a client has lost have ended.
    pub(super) async fn without_the_lost(&self) {
        let are_gone = || !self.state().listeners.iter().any(|one| one.is_lost);
        let _ = tokio::time::timeout(UNTIL_IT_ENDS, self.changes(are_gone)).await;
    }

    /// The stream is open at a binding now, or could not be opened there.
    pub(super) fn listens_at(&self, number: u32, at: Epoch, is_mute: bool) {
        if let Some(one) = self.state().listeners.iter_mut().find(|one| one.number == number) {
            let left = std::mem::replace(&mut one.at, at);
            if left != at && !one.before.contains(&left) {
                one.before.push(left);
            }
            one.is_mute = is_mute;
            one.asked.take_if(|_| !is_mute);
        }
        self.changed.notify_waiters();
    }

    /// Where a stream should be open now, and whether that is to be asked for, which one that `pauses` does not do again; who
    /// asks is woken when that changes.
    pub(super) fn wanted_at(&self, number: u32, pauses: bool, waker: &Waker) -> Option<(Binding<SessionPin>, bool)> {
        let mut state = self.state();
        let State { rare, residence, listeners, .. } = &mut *state;
        let candidate = rare.as_ref().and_then(|rare| rare.candidate.as_ref());
        let wanted = candidate.unwrap_or_else(|| residence.current());
        let is_newest = listeners.last().is_some_and(|one| one.number == number);
        let one = listeners.iter_mut().find(|one| one.number == number)?;
        if one.at != wanted.epoch || (one.is_mute && is_newest && !pauses) {
            one.asked = is_newest.then_some(wanted.epoch);
            return Some((wanted.clone(), is_newest));
        }
        one.wake_by(waker);
        None
    }

    /// Whether a server was asked for a stream, and has not answered, or not yet, with one or with that it has none.
    pub(super) fn is_denied_a_stream_at(&self, epoch: Epoch) -> bool {
        self.state().listeners.iter().any(|one| one.asked == Some(epoch))
    }

    /// Another number: there is something for its streams to look at.
    pub(super) fn stirred(&self) -> u32 {
        self.stirred.load(Ordering::Acquire)
    }

    pub(super) fn wake_listeners(&self) {
        self.stirred.fetch_add(1, Ordering::Release);
        let wakers: Vec<Waker> = self.state().listeners.iter_mut().filter_map(|one| one.waker.take()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}
