//! The GET streams that a session has open, as far as who moves it has to know of them.
//!
//! A client has one, as a rule. Where it has more (it may have lost one without its server having heard of that), a new server is
//! asked for one stream alone, for the newest: what is said goes there, and most servers give out no second one. The older ones
//! stay open, and the newest of those takes its place when it ends.

use std::sync::atomic::Ordering;
use std::task::Waker;

use super::resident::{Session, State};
use crate::domain::rehome::{Binding, Epoch};
use crate::mcp::SessionPin;

/// A GET stream that is open.
pub(super) struct Listener {
    pub(super) number: u32,
    pub(super) waker: Option<Waker>,
    /// Where it listens, or has tried to.
    pub(super) at: Epoch,
    /// Nothing comes from there, but would if that were asked for.
    pub(super) is_mute: bool,
    /// Where it is just being asked for, or was in vain.
    asked: Option<Epoch>,
}

impl Session {
    /// A GET stream is open, at a binding.
    pub(super) fn listen(&self, at: Epoch) -> u32 {
        let mut state = self.state();
        let number = state.listeners.iter().map(|one| one.number + 1).max().unwrap_or(0);
        state.listeners.push(Listener { number, waker: None, at, is_mute: false, asked: None });
        number
    }

    /// It is open no more; the newest of those that are left listens from now on.
    pub(super) fn listen_no_more(&self, number: u32) {
        let mut state = self.state();
        state.listeners.retain(|one| one.number != number);
        let has_heir = !state.listeners.is_empty();
        drop(state);
        self.changed.notify_waiters();
        if has_heir {
            self.wake_listeners();
        }
    }

    /// The stream is open at a binding now, or could not be opened there.
    pub(super) fn listens_at(&self, number: u32, at: Epoch, is_mute: bool) {
        if let Some(one) = self.state().listeners.iter_mut().find(|one| one.number == number) {
            (one.at, one.is_mute) = (at, is_mute);
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
        if !one.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            one.waker = Some(waker.clone());
        }
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
