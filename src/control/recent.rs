//! What was answered in the last minutes: what a forecast goes by.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::domain::plan::Traffic;
use crate::domain::{Moment, Outcome, PerEntry};
use crate::upstream::EntryTally;

/// Readings that are kept, one a minute.
const KEPT: usize = 10;

/// Counts at moments of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<(Moment, Reading)>);

#[derive(Debug, Default)]
struct Reading {
    requests: PerEntry<u64>,
    tools: PerEntry<BTreeMap<String, u64>>,
}

impl Recent {
    /// Notes how the counts stand now.
    pub(super) fn note(&mut self, now: Moment, tallies: &PerEntry<Arc<EntryTally>>) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((now, Reading::of(tallies)));
    }

    /// What was answered since the oldest reading, per second.
    pub(super) fn traffic(&self, now: Moment, tallies: &PerEntry<Arc<EntryTally>>) -> Traffic {
        let Some((since, before)) = self.0.front() else { return Traffic::default() };
        // In its first second, a process knows nothing of any traffic.
        let seconds = now.since(*since).as_secs_f64().max(1.0);
        let after = Reading::of(tallies);
        let mut traffic = Traffic::default();
        for (entry, count) in after.requests.iter() {
            traffic.rate += grown(before.requests[entry], *count) / seconds;
            for (tool, count) in &after.tools[entry] {
                let calls = grown(before.tools[entry].get(tool).copied().unwrap_or_default(), *count);
                *traffic.tools.entry(tool.clone()).or_default() += calls / seconds;
            }
        }
        traffic.tools.retain(|_, rate| *rate > 0.0);
        traffic
    }
}

impl Reading {
    fn of(tallies: &PerEntry<Arc<EntryTally>>) -> Self {
        let entrys = |count: &dyn Fn(Outcome) -> u64| Outcome::ALL.into_iter().filter(|one| one.is_entrys()).map(count).sum();
        let tools = |tally: &EntryTally| {
            tally.tools().all().into_iter().map(|(name, tool)| (name, entrys(&|outcome| tool.outcomes(outcome)))).collect()
        };
        Self {
            requests: PerEntry::from_fn(|entry| entrys(&|outcome| tallies[entry].outcomes(outcome))),
            tools: PerEntry::from_fn(|entry| tools(&tallies[entry])),
        }
    }
}

/// A count that is less than before is another version's.
fn grown(before: u64, after: u64) -> f64 {
    after.checked_sub(before).unwrap_or(after) as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::upstream::Ended;

    fn call(tally: &EntryTally, tool: &str) {
        let (outcome, elapsed) = (Outcome::Ok, Duration::from_millis(1));
        tally.end(Ended { tool: Some(tool), outcome, elapsed, is_answered: true, client: None });
    }

    #[test]
    fn the_rate_is_of_the_last_minutes_and_of_both_entries() {
        let at = |seconds| Moment::after_start(Duration::from_secs(seconds));
        let mut tallies = PerEntry::<Arc<EntryTally>>::default();
        let mut recent = Recent::default();
        (0..1000).for_each(|_| call(&tallies.primary, "old"));
        recent.note(at(60), &tallies);
        (0..90).for_each(|_| call(&tallies.primary, "read"));
        (0..30).for_each(|_| call(&tallies.secondary, "write"));
        let traffic = recent.traffic(at(120), &tallies);
        assert_eq!((traffic.rate, traffic.tools["read"], traffic.tools["write"]), (2.0, 1.5, 0.5));
        assert!(!traffic.tools.contains_key("old"));
        // Another version in the slot begins at 0.
        tallies.primary = Arc::default();
        (0..60).for_each(|_| call(&tallies.primary, "read"));
        assert_eq!(recent.traffic(at(120), &tallies).rate, 1.5);
    }
}
