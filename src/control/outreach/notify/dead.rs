//! Dead letters: what was given up is written down, by a task of its own, so that no sink waits for the disk.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::Parcel;
use crate::live::Store;
use crate::telemetry::clock::wall_time;

/// Letters that wait for the disk; beyond, only the log has them.
const WAITING: usize = 1024;

/// The pause after a failed write, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The way to them.
pub(super) struct DeadLetters {
    letters: mpsc::Sender<String>,
    /// How many were written.
    written: watch::Receiver<u64>,
    troubles: Arc<Mutex<Troubles>>,
}

#[derive(Default)]
struct Troubles {
    /// How many were handed over to be written,
    taken: u64,
    /// how many were not, there being too many,
    lost: u64,
    /// and why the next cannot be written at the moment.
    failure: Option<String>,
}

impl DeadLetters {
    /// Starts the writer on the current runtime.
    pub(super) fn start(store: Arc<dyn Store>) -> Self {
        let (letters, waiting) = mpsc::channel(WAITING);
        let (done, written) = watch::channel(0);
        let troubles = Arc::new(Mutex::default());
        tokio::spawn(write_for_ever(store, waiting, done, troubles.clone()));
        Self { letters, written, troubles }
    }

    /// Never blocks; the log has every letter, too.
    pub(super) fn keep(&self, sink: &str, kind: &str, parcel: &Parcel, tries: u32, why: &str) {
        let letter = json!({
            "time": wall_time(),
            "sink": sink,
            "kind": kind,
            "id": parcel.id,
            "tries": tries,
            "why": why,
            "notice": *parcel.notice,
        });
        let letter = letter.to_string();
        tracing::error!(sink, why, letter, "a notification is given up");
        let mut troubles = lock(&self.troubles);
        match self.letters.try_send(letter) {
            Ok(()) => troubles.taken += 1,
            Err(_) => troubles.lost += 1,
        }
    }

    /// Waits until all that were kept so far are on the disk, but not for long.
    pub(super) async fn flush(&self, at_most: Duration) {
        let last = lock(&self.troubles).taken;
        let mut written = self.written.clone();
        let _ = tokio::time::timeout(at_most, written.wait_for(|count| *count >= last)).await;
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let troubles = lock(&self.troubles);
        let waiting = troubles.taken - *self.written.borrow();
        let mut warnings = Vec::new();
        if let Some(failure) = &troubles.failure {
            warnings.push(format!("dead letters cannot be written ({failure}): {waiting} wait, and the log has them"));
        }
        if troubles.lost > 0 {
            warnings.push(format!("{} dead letters were not written since the start: the log has them", troubles.lost));
        }
        warnings
    }
}

/// Ends when the way to it is gone.
async fn write_for_ever(
    store: Arc<dyn Store>,
    mut letters: mpsc::Receiver<String>,
    written: watch::Sender<u64>,
    troubles: Arc<Mutex<Troubles>>,
) {
    while let Some(letter) = letters.recv().await {
        let mut pause = FIRST_PAUSE;
        loop {
            let (store, line) = (store.clone(), letter.clone());
            let kept = tokio::task::spawn_blocking(move || store.keep_dead_letter(&line)).await;
            let failure = kept.map_err(|error| error.to_string()).and_then(|kept| kept.map_err(|error| error.to_string())).err();
            lock(&troubles).failure.clone_from(&failure);
            let Some(error) = failure else { break };
            tracing::error!(error, "a dead letter cannot be written; it is kept and tried again");
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
        written.send_modify(|count| *count += 1);
    }
}

fn lock(troubles: &Mutex<Troubles>) -> MutexGuard<'_, Troubles> {
    troubles.lock().unwrap_or_else(PoisonError::into_inner)
}
