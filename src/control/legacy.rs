//! Legacy requests of the last day, by samples of a counter that only grows.

use std::collections::VecDeque;
use std::time::Duration;

use super::charge::Charge;
use super::conductor::Conductor;
use crate::domain::machine::{Command, Event, LEGACY_SPAN, LegacySeen};
use crate::domain::{Moment, PerEntry};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// One sample an hour: so much more than a day may count, and never less.
#[derive(Debug, Default)]
pub(super) struct Samples(VecDeque<(Moment, u64)>);

impl Samples {
    /// The counter stands so.
    pub(super) fn note(&mut self, now: Moment, count: u64) {
        if self.0.back().is_none_or(|(last, _)| now.since(*last) >= HOUR) {
            self.0.push_back((now, count));
        }
        let is_old = |(then, _): &(Moment, u64)| now.since(*then) >= HOUR * LEGACY_SPAN as u32;
        // Of those that are a day old, the last says what came since.
        while self.0.get(1).is_some_and(is_old) {
            self.0.pop_front();
        }
    }

    /// How many came within a day of now.
    fn within(&self, now: Moment, count: u64) -> u64 {
        let is_old = |(then, _): &&(Moment, u64)| now.since(*then) >= HOUR * LEGACY_SPAN as u32;
        let before = self.0.iter().rev().find(is_old).map_or(0, |(_, count)| *count);
        count.saturating_sub(before)
    }
}

impl Conductor {
    /// Tells the machine of legacy clients, where a command may strand them.
    pub(super) fn count_legacy(&mut self, at: usize, command: &Command) {
        if matches!(command, Command::Start(_) | Command::Promote { .. } | Command::Split(_)) {
            let seen = self.charges[at].legacy_seen(self.clock.now());
            self.step(at, Event::Legacy(seen));
        }
    }
}

impl Charge {
    fn legacy_seen(&self, now: Moment) -> LegacySeen {
        LegacySeen {
            sessions: PerEntry::from_fn(|entry| self.tallies()[entry].sessions().count() as u64),
            requests: self.legacy.within(now, self.legacy_requests()),
            serves: PerEntry::from_fn(|entry| self.serves(entry)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_within_a_day_counts_and_nothing_older_than_an_hour_more() {
        let mut samples = Samples::default();
        let at = |minutes: u64| Moment::after_start(Duration::from_secs(minutes * 60));
        assert_eq!(samples.within(at(0), 5), 5, "before the first sample");
        // One a minute.
        for minute in 0..72 * 60 {
            samples.note(at(minute), minute);
            let expected = minute.min(24 * 60);
            let within = samples.within(at(minute), minute);
            assert!((expected..=expected + 60).contains(&within), "{within} in minute {minute}");
            assert!(samples.0.len() <= 26);
        }
        (72 * 60..98 * 60).for_each(|minute| samples.note(at(minute), 72 * 60));
        assert_eq!(samples.within(at(98 * 60), 72 * 60), 0, "none came for a day");
    }
}
