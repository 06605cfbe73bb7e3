//! Times in buckets that add up: merging is adding, and a quantile is within 1/32 of itself.
//!
//! Logarithmic buckets, each octave cut in 16 even parts (as in HdrHistogram): a bucket is at most 1/16 as wide as its
//! values are great, and its middle at most 1/32 off.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Each octave is cut in so many parts.
const PARTS: u32 = 16;
/// Octaves above those that are counted by the microsecond.
const OCTAVES: u32 = 23;

/// How many buckets there are; the last one takes all that is longer than 134 s.
pub const BUCKETS: usize = ((OCTAVES + 1) * PARTS) as usize;

/// The bucket of a time in microseconds.
pub fn bucket(micros: u64) -> usize {
    if micros < u64::from(PARTS) {
        return micros as usize;
    }
    let octave = micros.ilog2() - PARTS.ilog2();
    let part = (micros >> octave) as u32 - PARTS;
    (((octave + 1) * PARTS + part) as usize).min(BUCKETS - 1)
}

/// The least time of a bucket, in microseconds.
pub fn lower(bucket: usize) -> u64 {
    let (octave, part) = (bucket as u32 / PARTS, bucket as u32 % PARTS);
    match octave {
        0 => u64::from(part),
        octave => u64::from(PARTS + part) << (octave - 1),
    }
}

/// Times of many requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// Buckets with something in them, in order: which, and how many.
    counts: Vec<(u16, u32)>,
    /// All together, in microseconds.
    micros: u64,
}

impl Times {
    /// From counts per bucket, and the sum in microseconds.
    pub fn new(counts: impl IntoIterator<Item = u32>, micros: u64) -> Self {
        let counts = (0u16..).zip(counts).filter(|(_, count)| *count > 0).collect();
        Self { counts, micros }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// The mean, none where there is nothing.
    pub fn mean(&self) -> Option<Duration> {
        self.micros.checked_div(self.count()).map(Duration::from_micros)
    }

    /// One more.
    pub fn note(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.add(bucket(micros) as u16, 1);
        self.micros = self.micros.saturating_add(micros);
    }

    /// All of another.
    pub fn merge(&mut self, other: &Self) {
        other.counts.iter().for_each(|(bucket, count)| self.add(*bucket, *count));
        self.micros = self.micros.saturating_add(other.micros);
    }

    fn add(&mut self, bucket: u16, more: u32) {
        match self.counts.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(more),
            Err(at) => self.counts.insert(at, (bucket, more)),
        }
    }

    /// The time that a part of them (0 to 1) does not exceed: within 1/32, interpolated inside of a bucket. None where
    /// there is nothing.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let rank = part.clamp(0.0, 1.0) * self.count() as f64;
        let mut below = 0.0;
        for (bucket, count) in &self.counts {
            let (count, bucket) = (f64::from(*count), usize::from(*bucket));
            if below + count >= rank {
                let (least, next) = (lower(bucket) as f64, lower(bucket + 1) as f64);
                let inside = ((rank - below) / count).clamp(0.0, 1.0);
                return Some(Duration::from_secs_f64((least + (next - least) * inside) / 1e6));
            }
            below += count;
        }
        None
    }

    /// The mean and the variance, in seconds, of times that count up to a bound.
    pub fn moments(&self, most: Duration) -> (f64, f64) {
        let middle = |bucket: u16| (lower(usize::from(bucket)) + lower(usize::from(bucket) + 1)) as f64 / 2e6;
        let times = || self.counts.iter().map(|(bucket, count)| (middle(*bucket).min(most.as_secs_f64()), f64::from(*count)));
        let count = times().map(|(_, count)| count).sum::<f64>().max(1.0);
        let mean = times().map(|(time, count)| time * count).sum::<f64>() / count;
        (mean, times().map(|(time, count)| (time - mean).powi(2) * count).sum::<f64>() / count)
    }

    /// How many are longer than a time; those of its own bucket by their part of it.
    pub fn longer_than(&self, time: Duration) -> f64 {
        let micros = time.as_secs_f64() * 1e6;
        let of = |(bucket, count): &(u16, u32)| {
            let (least, next) = (lower(usize::from(*bucket)) as f64, lower(usize::from(*bucket) + 1) as f64);
            f64::from(*count) * ((next - micros) / (next - least)).clamp(0.0, 1.0)
        };
        self.counts.iter().map(of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_bucket_that_begins_at_or_before_it() {
        for micros in (0..5_000).chain((1..=27).flat_map(|power| [(1u64 << power) - 1, 1 << power, (1 << power) + 1])) {
            let bucket = bucket(micros);
            assert!(lower(bucket) <= micros, "{micros} in {bucket}");
            assert!(bucket == BUCKETS - 1 || micros < lower(bucket + 1), "{micros} in {bucket}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_quantile_is_within_a_thirty_second_of_itself() {
        for scale in [1.0, 37.0, 1_000.0, 123_456.0] {
            let mut times = Times::default();
            (1..=1_000).for_each(|n| times.note(Duration::from_secs_f64(f64::from(n) * scale / 1e6)));
            for part in [0.5, 0.9, 0.95, 0.99] {
                let exact = part * 1_000.0 * scale / 1e6;
                let seen = times.quantile(part).unwrap().as_secs_f64();
                assert!((seen / exact - 1.0).abs() <= 1.0 / 32.0 + 1e-3, "{scale} {part}: {seen} for {exact}");
            }
        }
        assert_eq!(Times::default().quantile(0.5), None);
    }

    #[test]
    fn the_mean_and_the_variance_are_those_of_the_times_up_to_a_bound() {
        let mut times = Times::default();
        [10, 20, 30, 4_000].into_iter().for_each(|millis| times.note(Duration::from_millis(millis)));
        let (mean, variance) = times.moments(Duration::from_millis(40));
        assert!((mean - 0.025).abs() < 0.001 && (variance - 0.000_125).abs() < 0.000_02, "{mean}, {variance}");
        assert_eq!(Times::default().moments(Duration::MAX), (0.0, 0.0));
    }

    #[test]
    fn merging_is_adding() {
        let (mut one, mut two, mut both) = (Times::default(), Times::default(), Times::default());
        for n in 0..500u64 {
            let time = Duration::from_micros(n * n);
            if n % 3 == 0 {
                one.note(time)
            } else {
                two.note(time)
            }
            both.note(time);
        }
        one.merge(&two);
        assert_eq!(one, both);
        assert_eq!(one.longer_than(Duration::ZERO).round() as u64, 500);
    }
}
