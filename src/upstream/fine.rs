//! Times to the result in the judge's buckets, fine enough for a quantile.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::domain::judge::Times;
use crate::domain::judge::times::{BUCKETS, bucket, lower};

/// Exact counts per bucket, made when the first one comes: 1.5 KiB. They are not striped as other counters are, since there is
/// one for each tool, and it is large; times that differ by more than a sixteenth go to different places.
#[derive(Debug, Default)]
pub(super) struct Fine(OnceLock<Box<Counts>>);

#[derive(Debug)]
struct Counts {
    buckets: [AtomicU32; BUCKETS],
    /// Buckets that have come round to zero, each as often as it has.
    rounds: Mutex<Vec<u16>>,
}

/// Counts per bucket at some moment; empty where there was nothing yet.
pub(super) type Read = Vec<u64>;

impl Fine {
    /// One more.
    pub(super) fn note(&self, time: Duration) {
        let counts =
            self.0.get_or_init(|| Box::new(Counts { buckets: [const { AtomicU32::new(0) }; BUCKETS], rounds: Mutex::default() }));
        // Not by way of 128 bits, which the others are counted in: this is done with every request.
        let at = bucket(time.as_secs().saturating_mul(1_000_000).saturating_add(time.subsec_micros().into()));
        if counts.buckets[at].fetch_add(1, Ordering::Relaxed) == u32::MAX {
            counts.rounds.lock().unwrap_or_else(PoisonError::into_inner).push(at as u16);
        }
    }

    /// All so far.
    pub(super) fn read(&self) -> Read {
        let Some(counts) = self.0.get() else { return Read::new() };
        let mut read: Read = counts.buckets.iter().map(|count| u64::from(count.load(Ordering::Relaxed))).collect();
        let rounds = counts.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        rounds.iter().for_each(|at| read[usize::from(*at)] += 1 << 32);
        read
    }
}

/// What has come between two readings. A time is taken for the middle of its bucket, so that their sum is within 1/32 of itself;
/// more than 2^32 in one bucket count as so many.
pub(super) fn between(before: &Read, now: &Read) -> Times {
    let more = |(at, count): (usize, &u64)| count.saturating_sub(before.get(at).copied().unwrap_or(0));
    let counts: Vec<u64> = now.iter().enumerate().map(more).collect();
    let middle = |at: usize| (lower(at) + lower(at + 1)) / 2;
    let micros = counts.iter().enumerate().map(|(at, count)| count.saturating_mul(middle(at))).fold(0, u64::saturating_add);
    Times::new(counts.into_iter().map(|count| u32::try_from(count).unwrap_or(u32::MAX)), micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_between_two_readings_is_what_was_noted_then() {
        let (fine, mut wanted) = (Fine::default(), Times::default());
        let time = |n: u64| Duration::from_micros(n * n * 7);
        let none = fine.read();
        (0..100).for_each(|n| fine.note(time(n)));
        let before = fine.read();
        (50..300).for_each(|n| fine.note(time(n)));
        (50..300).for_each(|n| wanted.note(time(n)));
        let found = between(&before, &fine.read());
        assert_eq!(found.count(), 250);
        for part in [0.1, 0.5, 0.95] {
            assert_eq!(found.quantile(part), wanted.quantile(part));
        }
        let ratio = found.mean().unwrap().as_secs_f64() / wanted.mean().unwrap().as_secs_f64();
        assert!((ratio - 1.0).abs() <= 1.0 / 32.0, "{ratio}");
        assert_eq!(between(&none, &fine.read()).count(), 350);
    }

    #[test]
    fn a_bucket_that_has_come_round_still_counts_right() {
        let fine = Fine::default();
        fine.note(Duration::from_micros(3));
        fine.0.get().unwrap().buckets[3].store(u32::MAX, Ordering::Relaxed);
        let before = fine.read();
        (0..5).for_each(|_| fine.note(Duration::from_micros(3)));
        assert_eq!(between(&before, &fine.read()).count(), 5);
        assert_eq!(fine.read()[3], u64::from(u32::MAX) + 5);
    }
}
