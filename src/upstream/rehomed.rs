//! Sessions that were moved, and what is remembered of those that may be.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::{Entry, PerEntry};

/// How a move ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rehomed {
    /// The session is at its new place.
    Moved,
    /// It may not go there: the versions differ, it is not known how to open it again, or its credentials are not at hand.
    Refused,
    /// The new place did not take it. It may be tried again.
    Failed,
}

impl Rehomed {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Moved, Self::Refused, Self::Failed];

    /// The value of the label `result`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Why a session is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moving {
    /// Its entry is being left.
    Departure,
    /// Its endpoint has died, was removed, or has lost it.
    Loss,
}

/// Moves from an entry, by where they lead, by why, and by how they ended.
#[derive(Debug, Default)]
pub(super) struct Moves(PerEntry<[[AtomicU64; Rehomed::ALL.len()]; 2]>);

impl Moves {
    pub(super) fn note(&self, to: Entry, why: Moving, result: Rehomed) {
        self.0[to][why as usize][result as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self, to: Entry, why: Moving, result: Rehomed) -> u64 {
        self.0[to][why as usize][result as usize].load(Ordering::Relaxed)
    }
}

/// What is remembered of sessions whose ids do not hold what opens them again.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Sessions that are.
    pub sessions: AtomicU64,
    /// Sessions that were forgotten before their end, there being too many.
    pub forgotten: AtomicU64,
}
