//! What holds a binding, and what changes it: both let go of it by themselves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::resident::{MOST_MOVES, Session};
use crate::domain::rehome::{Binding, Epoch, Finished};
use crate::mcp::SessionPin;

/// Something that runs on a binding. When the last one of a binding that was left ends, so does the binding.
pub(in crate::proxy) struct Stay {
    pub(super) session: Arc<Session>,
    pub(super) epoch: Epoch,
}

/// A move that has begun; dropped before its end, the session stays where it is.
pub(super) struct Moving {
    pub(super) session: Arc<Session>,
    pub(super) is_settled: bool,
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
        state.rare().candidate = Some(Binding { epoch, place: place.clone() });
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
        let rare = state.rare();
        (rare.candidate, rare.failed, rare.stays) = (None, None, None);
        rare.moved.rotate_left(1);
        rare.moved[MOST_MOVES - 1] = Some(Instant::now());
        let finished = state.residence.finish_move(epoch, place, is_lost);
        // Under the lock: whoever has seen the move otherwise sees it there, too.
        session.current.store(state.residence.current().epoch, Ordering::Release);
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
        let rare = state.rare();
        rare.candidate = None;
        if failed {
            rare.failed = Some(Instant::now());
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
