//! What each tool has done, by its name; bounded, since names come from clients.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::tally::Histogram;
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

/// The tools of an entry.
#[derive(Debug, Default)]
pub struct Tools(RwLock<HashMap<String, Arc<ToolTally>>>);

/// What one tool has done.
#[derive(Debug, Default)]
pub struct ToolTally {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    /// Time to the result.
    pub duration: Histogram,
}

impl Tools {
    /// A call ended so, after so long.
    pub fn note(&self, tool: &str, outcome: Outcome, after: Duration) {
        let tally = self.of(tool);
        tally.outcomes[outcome.index()].fetch_add(1, Ordering::Relaxed);
        tally.duration.note(after);
    }

    /// All tools seen, by name.
    pub fn all(&self) -> Vec<(String, Arc<ToolTally>)> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known.iter().map(|(name, tally)| (name.clone(), tally.clone())).collect();
        all.sort_by(|one, two| one.0.cmp(&two.0));
        all
    }

    fn of(&self, tool: &str) -> Arc<ToolTally> {
        if let Some(found) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(tool) {
            return found.clone();
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let tool = shown(tool);
        let name = if known.len() < MOST || known.contains_key(tool) { tool } else { OTHER };
        known.entry(name.to_owned()).or_default().clone()
    }
}

impl ToolTally {
    /// Calls that ended so.
    pub fn outcomes(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome.index()].load(Ordering::Relaxed)
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
}
