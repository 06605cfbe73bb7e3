//! The sessions of an entry are ended, one after the other.
//!
//! After a rollback nobody is to stay where it went wrong. Clients whose session ends begin a new one at once, so that all of
//! them at a time would be a storm on the other entry: each has its moment by its own hash, on every replica the same part of
//! the span, and nothing has to be kept or agreed on.

use std::time::Duration;

use super::Moment;

/// When those leave that are on an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// From here on,
    pub from: Moment,
    /// evenly over so long. Zero: all at once.
    pub over: Duration,
    /// What still runs then is cut.
    pub cut: Moment,
    /// Only those that were born under an earlier revision: who came later was sent there by an operator.
    pub before_revision: u64,
    /// What becomes of them.
    pub how: Departure,
}

/// What becomes of those that leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// They are ended, in the way that their clients survive.
    Ends,
    /// They are moved to the other entry, or to another endpoint of theirs.
    Moves {
        /// Also where tool lists or capabilities say that clients may notice.
        forced: bool,
        /// Whether those that cannot be moved are ended; if not, they stay.
        or_ends: bool,
    },
}

impl Departure {
    /// Whether nobody is on the entry after it.
    pub fn ends(self) -> bool {
        matches!(self, Self::Ends | Self::Moves { or_ends: true, .. })
    }
}

impl Eviction {
    /// Whether it is about those that were born under this revision.
    pub fn concerns(&self, born: u64) -> bool {
        born < self.before_revision
    }

    /// When a client leaves, by the hash of its session or key: it begins nothing more on the entry from then on, and what it has
    /// begun goes on.
    pub fn due(&self, client: u64) -> Moment {
        let nanos = self.over.as_nanos().min(u128::from(u64::MAX));
        // So many 2^64ths of the span.
        let after = (nanos * u128::from(client)) >> 64;
        self.from.plus(Duration::from_nanos(after as u64)).min(self.cut.max(self.from))
    }

    /// Whether a client has left: one that was born under this revision, by its hash.
    pub fn has_ended(&self, client: u64, born: u64, now: Moment) -> bool {
        self.concerns(born) && now >= self.due(client)
    }

    /// Whether what was begun under this revision is cut.
    pub fn has_cut(&self, born: u64, now: Moment) -> bool {
        self.concerns(born) && now >= self.cut
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn eviction(over: u64) -> Eviction {
        Eviction { from: at(100), over: Duration::from_secs(over), cut: at(400), before_revision: 7, how: Departure::Ends }
    }

    #[test]
    fn ends_are_spread_evenly_over_the_span() {
        let eviction = eviction(200);
        let mut hash = 0u64;
        let mut per_tenth = [0u32; 10];
        for _ in 0..10_000 {
            hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let after = eviction.due(hash).since(at(100)).as_secs_f64();
            per_tenth[(after / 20.0) as usize] += 1;
        }
        assert!(per_tenth.iter().all(|count| (990..=1_010).contains(count)), "{per_tenth:?}");
    }

    #[test]
    fn who_was_born_later_stays() {
        let eviction = eviction(200);
        for born in [7, 8, u64::MAX] {
            assert!(!eviction.has_ended(0, born, at(1_000)) && !eviction.has_cut(born, at(1_000)));
        }
        assert!(eviction.has_ended(0, 6, at(100)) && eviction.has_cut(6, at(400)));
    }

    proptest! {
        #[test]
        fn everybody_leaves_once_within_the_span_and_never_after_the_cut(client: u64, over in 0u64..1_000, now in 0u64..2_000) {
            let eviction = eviction(over);
            let due = eviction.due(client);
            prop_assert!(due >= at(100) && due <= at(100 + over) && due <= eviction.cut);
            prop_assert_eq!(eviction.has_ended(client, 1, at(now)), at(now) >= due);
            prop_assert!(!eviction.has_cut(1, at(now)) || eviction.has_ended(client, 1, at(now)));
        }
    }
}
