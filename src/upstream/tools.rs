//! What each tool has done, by its name; bounded, since names come from clients.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::fine::Fine;
use super::tally::{Histogram, Outcomes};
use crate::domain::Outcome;

/// Tools told apart per entry; what goes beyond is counted together.
const MOST: usize = 200;

/// The longest name that is a label.
const LONGEST: usize = 128;

/// The name under which the overflow is counted.
pub const OTHER: &str = "other";

/// The name of a tool as it may be shown: names come from clients.
pub fn shown(tool: &str) -> &str {
    if tool.len() <= LONGEST && !tool.chars().any(char::is_control) { tool } else { OTHER }
}

/// The tools of an entry. Names are only ever added, so that a reader takes no lock and writes nothing.
#[derive(Debug, Default)]
pub struct Tools(OnceLock<Box<Table>>);

/// Names by a hash that is keyed: which of them meet in a chain, no client can choose.
#[derive(Debug)]
struct Table {
    hasher: RandomState,
    chains: [Link; CHAINS],
    count: AtomicUsize,
    adding: Mutex<()>,
}

/// More than there may be names, so that a chain has two of them at most, nearly always.
const CHAINS: usize = 256;

type Link = OnceLock<Box<Known>>;

#[derive(Debug)]
struct Known {
    name: Box<str>,
    tally: Arc<ToolTally>,
    next: Link,
}

/// What one tool has done.
#[derive(Debug, Default)]
pub struct ToolTally {
    outcomes: Outcomes,
    /// Time to the result.
    pub duration: Histogram,
    /// The same of those that were answered by the tool's doing, in the judge's buckets.
    pub(super) fine: Fine,
}

impl Tools {
    /// A call ended so, after so long. Gives the name under which it counts, and that one's tally.
    pub fn note(&self, tool: &str, outcome: Outcome, after: Duration) -> (&str, &ToolTally) {
        let table = self.0.get_or_init(Box::default);
        let Known { name, tally, .. } = table.find(tool).ok().unwrap_or_else(|| table.add(tool));
        tally.outcomes.note(outcome);
        tally.duration.note(after);
        (name, tally)
    }

    /// All tools seen, by name.
    pub fn all(&self) -> Vec<(String, Arc<ToolTally>)> {
        let chains = self.0.get().into_iter().flat_map(|table| &table.chains);
        let known = chains.flat_map(|chain| std::iter::successors(chain.get(), |known| known.next.get()));
        let mut all: Vec<_> = known.map(|known| (known.name.to_string(), known.tally.clone())).collect();
        all.sort_by(|one, two| one.0.cmp(&two.0));
        all
    }
}

impl Default for Table {
    fn default() -> Self {
        let chains = std::array::from_fn(|_| Link::new());
        Self { hasher: RandomState::new(), chains, count: AtomicUsize::new(0), adding: Mutex::default() }
    }
}

impl Table {
    /// A name with its tally, or the end of its chain.
    fn find(&self, name: &str) -> Result<&Known, &Link> {
        let mut link = &self.chains[self.hasher.hash_one(name) as usize % CHAINS];
        while let Some(known) = link.get() {
            if *known.name == *name {
                return Ok(known);
            }
            link = &known.next;
        }
        Err(link)
    }

    fn add(&self, tool: &str) -> &Known {
        let tool = shown(tool);
        let is_full = || self.count.load(Ordering::Relaxed) >= MOST;
        // Once it is full nothing is added but the overflow, and that is looked for first.
        if is_full()
            && let Ok(other) = self.find(OTHER)
        {
            return self.find(tool).unwrap_or(other);
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.find(tool);
        let (name, found) = if found.is_err() && is_full() { (OTHER, self.find(OTHER)) } else { (tool, found) };
        found.unwrap_or_else(|link| {
            self.count.fetch_add(1, Ordering::Relaxed);
            link.get_or_init(|| Box::new(Known { name: name.into(), tally: Arc::default(), next: Link::new() }))
        })
    }
}

impl ToolTally {
    /// Calls that ended so.
    pub fn outcomes(&self, outcome: Outcome) -> u64 {
        self.outcomes.count(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_cannot_fill_the_memory() {
        let tools = Tools::default();
        for n in 0..10_000 {
            tools.note(&format!("tool-{n}"), Outcome::Ok, Duration::ZERO);
        }
        tools.note(&"x".repeat(1000), Outcome::Ok, Duration::ZERO);
        let all = tools.all();
        assert_eq!(all.len(), MOST + 1);
        let other = all.iter().find(|(name, _)| name == OTHER).unwrap();
        assert_eq!(other.1.outcomes(Outcome::Ok), 10_001 - MOST as u64);
    }

    #[test]
    fn no_call_is_lost_while_names_are_added_by_all_workers() {
        let tools = Tools::default();
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let tools = &tools;
                scope.spawn(move || {
                    for n in 0..2_000 {
                        tools.note(&format!("tool-{}", (n * 7 + worker) % 300), Outcome::Ok, Duration::ZERO);
                    }
                });
            }
        });
        let all = tools.all();
        assert_eq!(all.len(), MOST + 1);
        assert_eq!(all.iter().map(|(_, tally)| tally.outcomes(Outcome::Ok)).sum::<u64>(), 8_000);
        assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "each name once");
    }
}
