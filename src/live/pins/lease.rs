//! How long a pin is kept after its last use, by what its server said.
//!
//! | what | the server says | kept |
//! |---|---|---|
//! | task | `ttlMs` (tasks extension, 2026-07-28) or `ttl` (2025-11-25), from its creation; null: unlimited | that, but [`SHORTEST`] and three looks at it (`pollIntervalMs`) at least, [`LONGEST`] at most |
//! | cursor | `ttlMs` of its list: so long a client may go on with the page that it came in | that, but its default at least, a day at most |
//! | list | `ttlMs`: so long its client need not list again | that, but the configured lease at least, [`LONGEST_LIST`] at most |
//! | state | nothing (2026-07-28, multi round trip requests) | its default |

use std::time::Duration;

use super::Handle;
use crate::mcp::scan::Ttl;

/// Nothing is forgotten sooner: a client that polls a short task does so later than it was told.
pub const SHORTEST: Duration = Duration::from_secs(60);

/// Nothing is kept for longer after its last use.
pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A client is not held for longer where it has listed, as all the others that do would be, whatever the split.
pub const LONGEST_LIST: Duration = Duration::from_secs(5 * 60);

/// A day.
const LONGEST_CURSOR: Duration = Duration::from_secs(24 * 60 * 60);

impl Handle {
    /// How long a word is kept after its last use. `poll` in milliseconds.
    pub fn lease(self, said: Option<Ttl>, poll: Option<u64>) -> Duration {
        let looks = poll.map_or(Duration::ZERO, |poll| Duration::from_millis(poll.saturating_mul(3)));
        match (self, said) {
            (Self::Task, Some(Ttl::Unlimited)) => LONGEST,
            (Self::Task, Some(Ttl::Millis(millis))) => Duration::from_millis(millis).max(looks).clamp(SHORTEST, LONGEST),
            (Self::Task, None) => self.lifetime().max(looks).min(LONGEST),
            (Self::Cursor, Some(Ttl::Millis(millis))) => Duration::from_millis(millis).clamp(self.lifetime(), LONGEST_CURSOR),
            (Self::State | Self::Cursor | Self::List, _) => self.lifetime(),
        }
    }
}

/// How long a client is followed that has listed; zero, where that is configured, for not at all.
pub fn list_lease(configured: Duration, said: Option<Ttl>) -> Duration {
    match said {
        Some(Ttl::Millis(millis)) if !configured.is_zero() => Duration::from_millis(millis).min(LONGEST_LIST).max(configured),
        _ => configured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_server_has_its_bounds() {
        let (hour, day) = (3_600, 24 * 3_600);
        let table: [(Handle, Option<Ttl>, Option<u64>, u64); 14] = [
            (Handle::Task, None, None, day),
            (Handle::Task, Some(Ttl::Millis(0)), None, 60),
            (Handle::Task, Some(Ttl::Millis(600_000)), None, 600),
            (Handle::Task, Some(Ttl::Millis(60_000)), Some(60_000), 180),
            (Handle::Task, Some(Ttl::Millis(u64::MAX)), Some(u64::MAX), 7 * day),
            (Handle::Task, Some(Ttl::Unlimited), None, 7 * day),
            (Handle::Task, None, Some(12 * 3_600_000), 36 * hour),
            (Handle::Cursor, None, None, hour),
            (Handle::Cursor, Some(Ttl::Millis(5_000)), None, hour),
            (Handle::Cursor, Some(Ttl::Millis(7_200_000)), None, 2 * hour),
            (Handle::Cursor, Some(Ttl::Millis(u64::MAX)), None, day),
            (Handle::Cursor, Some(Ttl::Unlimited), None, hour),
            (Handle::State, Some(Ttl::Millis(1)), None, hour),
            (Handle::State, None, Some(u64::MAX), hour),
        ];
        for (kind, said, poll, seconds) in table {
            assert_eq!(kind.lease(said, poll).as_secs(), seconds, "{kind:?} {said:?} {poll:?}");
        }
        let lists = [
            (5, None, 5),
            (5, Some(0), 5),
            (5, Some(60_000), 60),
            (5, Some(3_600_000), 300),
            (900, Some(60_000), 900),
            (0, Some(60_000), 0),
        ];
        for (configured, said, seconds) in lists {
            assert_eq!(
                list_lease(Duration::from_secs(configured), said.map(Ttl::Millis)).as_secs(),
                seconds,
                "{configured} {said:?}"
            );
        }
    }
}
