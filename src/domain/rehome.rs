//! Where a session lives, and where it did: its bindings.
//!
//! A session has one current binding, and any number that are draining: what was begun there goes on there. Each move makes
//! the next epoch. All of it is decided here, in one step each, so that whoever holds the lock of a session never waits:
//!
//! ```text
//!            start_move(seen)                 finish_move(place)
//! settled ───────────────────────▶ moving ───────────────────────▶ settled, one epoch on
//!    │   another epoch than seen:    │  abandon_move                   the old one drains, until nothing runs on it
//!    │   somebody was faster         ▼
//!    │                            settled, where it was
//!    └── close ──▶ over: every binding is given up, also one that is just being made
//! ```

/// Counts the moves of a session. Those of one process begin somewhere of its own, so that what an earlier one wrote into
/// ids of events and requests is not taken for what this one did.
pub type Epoch = u32;

/// A server's session that stands for the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding<P> {
    /// How many moves there were before.
    pub epoch: Epoch,
    /// Where it is.
    pub place: P,
}

/// The bindings of a session.
#[derive(Clone, Debug)]
pub struct Residence<P> {
    current: Held<P>,
    draining: Vec<Held<P>>,
    is_moving: bool,
    is_over: bool,
}

#[derive(Clone, Debug)]
struct Held<P> {
    binding: Binding<P>,
    running: u32,
    /// There is nothing left of it at its server: it is not ended there.
    is_lost: bool,
}

/// Who may move a session now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Whoever asked.
    Go,
    /// Somebody does; wait for them.
    Busy,
    /// Somebody has; go on where it is now.
    Done,
    /// Nobody: it has ended.
    Over,
}

/// What became of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finished<P> {
    /// The session lives there now. What is left behind is to be ended where nothing runs on it any more.
    Moved {
        /// The binding that was left, if it is to be ended.
        left: Option<Binding<P>>,
    },
    /// It has ended meanwhile, so that what was made for it is to be ended, too.
    Over(P),
}

impl<P: Clone> Residence<P> {
    /// A session that lives where it was born, or where the first who met it found it.
    pub fn new(place: P) -> Self {
        let binding = Binding { epoch: 0, place };
        let current = Held { binding, running: 0, is_lost: false };
        Self { current, draining: Vec::new(), is_moving: false, is_over: false }
    }

    /// A session that another process has moved to where it lives.
    pub fn inherited(epoch: Epoch, place: P) -> Self {
        let mut inherited = Self::new(place);
        inherited.current.binding.epoch = epoch;
        inherited
    }

    /// Where it lives.
    pub fn current(&self) -> &Binding<P> {
        &self.current.binding
    }

    /// Those on which something still runs of what was begun before a move.
    pub fn draining(&self) -> impl Iterator<Item = &Binding<P>> {
        self.draining.iter().map(|held| &held.binding)
    }

    /// The binding of an epoch, where it is still there.
    pub fn of(&self, epoch: Epoch) -> Option<&Binding<P>> {
        self.held(epoch).map(|held| &held.binding)
    }

    /// Whether its client has ended it.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether it is being moved.
    pub fn is_moving(&self) -> bool {
        self.is_moving
    }

    /// Whether it was ever moved.
    pub fn has_moved(&self) -> bool {
        self.current.binding.epoch != 0
    }

    /// How much runs on all its bindings.
    pub fn running(&self) -> u32 {
        self.draining.iter().map(|held| held.running).sum::<u32>() + self.current.running
    }

    /// Something begins on the current binding.
    pub fn begin(&mut self) -> &Binding<P> {
        self.current.running += 1;
        &self.current.binding
    }

    /// Something begins that belongs to what was begun earlier. None: its binding is there no more, or its server is not,
    /// and only finishes what it has.
    pub fn begin_on(&mut self, epoch: Epoch) -> Option<&Binding<P>> {
        let held = self.held_mut(epoch).filter(|held| !held.is_lost)?;
        held.running += 1;
        Some(&held.binding)
    }

    /// Something has ended. Gives the binding that nobody needs any more, to be ended at its server.
    pub fn end(&mut self, epoch: Epoch) -> Option<Binding<P>> {
        let held = self.held_mut(epoch)?;
        held.running = held.running.saturating_sub(1);
        let at = self.draining.iter().position(|held| held.binding.epoch == epoch && held.running == 0)?;
        let held = self.draining.swap_remove(at);
        (!held.is_lost).then_some(held.binding)
    }

    /// Whether a session may be moved from the binding that somebody saw.
    pub fn start_move(&mut self, seen: Epoch) -> Start {
        if self.is_over {
            Start::Over
        } else if self.is_moving {
            Start::Busy
        } else if self.current.binding.epoch != seen {
            Start::Done
        } else {
            self.is_moving = true;
            Start::Go
        }
    }

    /// It stays where it is.
    pub fn abandon_move(&mut self) {
        self.is_moving = false;
    }

    /// It lives at another place from now on. `is_lost`: the server knows nothing more of the one before.
    pub fn finish_move(&mut self, epoch: Epoch, place: P, is_lost: bool) -> Finished<P> {
        self.is_moving = false;
        if self.is_over {
            return Finished::Over(place);
        }
        let next = Held { binding: Binding { epoch, place }, running: 0, is_lost: false };
        let mut before = std::mem::replace(&mut self.current, next);
        before.is_lost |= is_lost;
        if before.running > 0 {
            self.draining.push(before);
            return Finished::Moved { left: None };
        }
        Finished::Moved { left: (!before.is_lost).then_some(before.binding) }
    }

    /// Its client ends it, or it is ended. Gives all that is to be ended at servers; once.
    pub fn close(&mut self) -> Vec<Binding<P>> {
        if std::mem::replace(&mut self.is_over, true) {
            return Vec::new();
        }
        let all = self.draining.drain(..).chain(std::iter::once(self.current.clone()));
        all.filter(|held| !held.is_lost).map(|held| held.binding).collect()
    }

    fn held(&self, epoch: Epoch) -> Option<&Held<P>> {
        std::iter::once(&self.current).chain(&self.draining).find(|held| held.binding.epoch == epoch)
    }

    fn held_mut(&mut self, epoch: Epoch) -> Option<&mut Held<P>> {
        std::iter::once(&mut self.current).chain(&mut self.draining).find(|held| held.binding.epoch == epoch)
    }
}

#[cfg(test)]
mod tests;
