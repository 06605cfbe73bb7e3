//! What happens, for whoever listens: numbered, kept for a while, resumable.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::broadcast;

use crate::domain::machine::Note;
use crate::telemetry::clock::wall_time;

/// Events kept for listeners that come back.
const KEPT: usize = 1024;

/// One event.
#[derive(Clone, Debug, Serialize)]
pub struct Happening {
    /// `RUN-NUMBER`: a listener of an earlier run of the process cannot mistake a number.
    #[serde(skip)]
    pub id: String,
    /// Counts the events of this process from 1.
    #[serde(skip)]
    pub number: u64,
    /// When.
    pub time: String,
    /// The service.
    pub service: String,
    /// What.
    #[serde(flatten)]
    pub note: Note,
}

/// The events of this process.
pub struct EventLog {
    run: String,
    kept: Mutex<(u64, VecDeque<Arc<Happening>>)>,
    live: broadcast::Sender<Arc<Happening>>,
}

impl EventLog {
    /// An empty log; `run` names this run of the process.
    pub fn new(run: String) -> Arc<Self> {
        Arc::new(Self { run, kept: Mutex::default(), live: broadcast::channel(KEPT).0 })
    }

    /// Something happened.
    pub(super) fn tell(&self, service: &str, note: Note) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0 += 1;
        let number = kept.0;
        let id = format!("{}-{number}", self.run);
        let happening = Arc::new(Happening { id, number, time: wall_time(), service: service.to_owned(), note });
        if kept.1.len() == KEPT {
            kept.1.pop_front();
        }
        kept.1.push_back(happening.clone());
        // Under the lock, so that a listener finds an event either among the kept or live.
        let _ = self.live.send(happening);
    }

    /// What came after an id, and what comes from now on. Without an id, only what comes.
    pub fn listen(&self, after: Option<&str>) -> (Missed, broadcast::Receiver<Arc<Happening>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = after.map_or_else(Missed::default, |after| {
            let seen = after.strip_prefix(&self.run).and_then(|rest| rest.strip_prefix('-')).and_then(|n| n.parse::<u64>().ok());
            let events = kept.1.iter().filter(|happening| happening.number > seen.unwrap_or(0)).cloned().collect();
            let before_oldest = kept.1.front().map_or(0, |oldest| oldest.number - 1);
            let gap = match seen {
                None => Some(Gap { lost: None }),
                Some(seen) if seen < before_oldest => Some(Gap { lost: Some(before_oldest - seen) }),
                Some(_) => None,
            };
            Missed { gap, events }
        });
        (missed, self.live.subscribe())
    }
}

/// What a listener that comes back has missed.
#[derive(Debug, Default)]
pub struct Missed {
    /// What it will never hear.
    pub gap: Option<Gap>,
    /// What is kept, oldest first.
    pub events: Vec<Arc<Happening>>,
}

/// Events that are not kept any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many; not known where the last id is of another run of the process, or none at all.
    pub lost: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Entry;

    #[test]
    fn a_listener_that_comes_back_misses_nothing_and_hears_nothing_twice() {
        let log = EventLog::new("r".into());
        log.tell("notes", note(1));
        log.tell("notes", note(2));
        let (missed, mut live) = log.listen(Some("r-1"));
        log.tell("notes", note(3));
        assert_eq!(numbers(&missed), [2]);
        assert_eq!(missed.gap, None);
        assert_eq!(live.try_recv().unwrap().number, 3);
        assert!(live.try_recv().is_err());
        let (all, _) = log.listen(Some("of-another-run-9"));
        assert_eq!((numbers(&all), all.gap), (vec![1, 2, 3], Some(Gap { lost: None })));
        let (none, _) = log.listen(None);
        assert_eq!((numbers(&none), none.gap), (vec![], None));
    }

    #[test]
    fn whoever_was_away_for_too_long_is_told_how_much_is_lost() {
        let log = EventLog::new("r".into());
        let most = KEPT as u64;
        (1..=most + 5).for_each(|revision| log.tell("notes", note(revision)));
        let (missed, _) = log.listen(Some("r-2"));
        assert_eq!((missed.gap, missed.events.len()), (Some(Gap { lost: Some(3) }), KEPT));
        let (missed, _) = log.listen(Some("r-5"));
        assert_eq!((missed.gap, missed.events.len()), (None, KEPT));
        let (missed, _) = log.listen(Some(&format!("r-{}", most + 5)));
        assert_eq!((missed.gap, missed.events.len()), (None, 0));
    }

    fn note(revision: u64) -> Note {
        Note::Stable { entry: Entry::Primary, before: Entry::Secondary, revision }
    }

    fn numbers(missed: &Missed) -> Vec<u64> {
        missed.events.iter().map(|one| one.number).collect()
    }
}
