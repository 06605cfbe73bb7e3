//! Time as an argument.

use std::time::Duration;

/// A moment of monotonic time, counted from the start of the process. The wall clock plays no
/// part in any decision, so setting it forward or back changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// A moment so long after the start.
    pub const fn after_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// The time from `earlier` to here, zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// So much later.
    pub fn plus(self, more: Duration) -> Self {
        Self(self.0.saturating_add(more))
    }
}
