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

    /// What came after an id (everything that is kept, where the id is not of this run), and what
    /// comes from now on. Without an id, only what comes.
    pub fn listen(&self, after: Option<&str>) -> (Vec<Arc<Happening>>, broadcast::Receiver<Arc<Happening>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = after.map_or_else(Vec::new, |after| {
            let number = after.strip_prefix(&self.run).and_then(|rest| rest.strip_prefix('-')).and_then(|n| n.parse().ok());
            let number: u64 = number.unwrap_or(0);
            kept.1.iter().filter(|happening| happening.number > number).cloned().collect()
        });
        (missed, self.live.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Entry;

    #[test]
    fn a_listener_that_comes_back_misses_nothing_and_hears_nothing_twice() {
        let log = EventLog::new("r".into());
        let note = |revision| Note::Stable { entry: Entry::Primary, before: Entry::Secondary, revision };
        log.tell("notes", note(1));
        log.tell("notes", note(2));
        let (missed, mut live) = log.listen(Some("r-1"));
        log.tell("notes", note(3));
        assert_eq!(missed.iter().map(|one| one.number).collect::<Vec<_>>(), [2]);
        assert_eq!(live.try_recv().unwrap().number, 3);
        assert!(live.try_recv().is_err());
        assert_eq!(log.listen(Some("of-another-run-9")).0.len(), 3);
        assert!(log.listen(None).0.is_empty());
    }
}
