//! The GET streams that a session has open, as far as who moves it has to know of them.

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
}

impl Session {
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
        let State { rare, residence, listeners, .. } = &mut *state;
        let candidate = rare.as_ref().and_then(|rare| rare.candidate.as_ref());
        let wanted = candidate.unwrap_or_else(|| residence.current());
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

    pub(super) fn wake_listeners(&self) {
        self.stirred.fetch_add(1, Ordering::Release);
        let wakers: Vec<Waker> = self.state().listeners.iter_mut().filter_map(|one| one.waker.take()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}
