//! The audit: one writer, so that lines are whole and in order.
//!
//! Changes and denied attempts wait in queues of their own, so that whoever hammers at the door
//! cannot push a change out. A line leaves its queue when it is on the disk; until then it is tried
//! again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::domain::machine::{Command, Note};
use crate::live::{Report, Store};
use crate::telemetry::clock::wall_time;

/// Lines of each kind that wait for the disk; beyond, a line is lost, counted and logged, since
/// neither traffic nor a rollback may wait for it.
const WAITING: usize = 1024;

/// So many lines waiting are no matter of the moment any more.
const BEHIND: usize = 64;

/// Denied attempts that get a line of their own, per second; the rest are counted.
const DENIED_A_SECOND: u64 = 10;

/// At most so much of a denied path is kept.
const MOST_PATH: usize = 256;

/// The pause after a failed write, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const SECOND: Duration = Duration::from_secs(1);

/// The way to the audit.
#[derive(Clone)]
pub struct Audit {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    /// The number of the last line on the disk.
    written: watch::Receiver<u64>,
}

#[derive(Default)]
struct Shared {
    queues: Mutex<Queues>,
    more: Notify,
}

#[derive(Default)]
struct Queues {
    /// Counts the lines that were taken.
    number: u64,
    changes: VecDeque<(u64, String)>,
    denied: VecDeque<(u64, String)>,
    lost: u64,
    failure: Option<String>,
    /// When this second of denials began, how many had a line in it, and how many more there were.
    second: Option<Instant>,
    said: u64,
    unsaid: u64,
}

/// A denied attempt.
pub struct Denied<'a> {
    /// Who it says it is.
    pub actor: Option<&'a str>,
    /// Where it came from.
    pub address: Option<String>,
    /// Its method.
    pub method: &'a str,
    /// Its path.
    pub path: &'a str,
    /// Why, as the slug of the problem it was answered with.
    pub why: &'a str,
    /// The status it was answered with.
    pub status: u16,
}

/// An order that was refused.
pub(super) struct Refused {
    pub(super) actor: String,
    pub(super) reason: Option<String>,
    pub(super) service: String,
    pub(super) command: &'static str,
    /// What it wanted.
    pub(super) wanted: String,
}

impl Refused {
    pub(super) fn of(service: &str, command: &Command, by: &super::By) -> Self {
        let (actor, reason) = (by.actor.clone(), by.reason.clone());
        Self { actor, reason, service: service.to_owned(), command: command.name(), wanted: command.wanted() }
    }
}

impl Audit {
    /// Starts the writer on the current runtime.
    pub fn start(store: Arc<dyn Store>) -> Self {
        let shared = Arc::new(Shared::default());
        let (done, written) = watch::channel(0);
        tokio::spawn(write_for_ever(shared.clone(), store.clone(), done));
        Self { shared, store, written }
    }

    /// Appends a change, with the time.
    pub fn write(&self, what: Value) {
        let mut queues = self.shared.lock();
        queues.take(what, |queues| &mut queues.changes);
        self.shared.more.notify_one();
    }

    /// Appends what was done to a service; what nobody ordered, dualgate did itself.
    pub(super) fn change(&self, service: &str, note: &Note) {
        let mut line = json!(note);
        line["service"] = json!(service);
        line["result"] = json!("done");
        if line["actor"].is_null() {
            line["actor"] = json!("dualgate");
        }
        self.write(line);
    }

    /// Notes a denied attempt: with a line of its own, as long as there are few.
    pub fn deny(&self, denied: &Denied<'_>) {
        self.write_denied(|| {
            json!({
                "type": "denied",
                "actor": denied.actor,
                "address": denied.address,
                "method": denied.method,
                "path": cut(denied.path, MOST_PATH),
                "why": denied.why,
                "result": denied.status,
            })
        });
    }

    /// Notes an order that was refused, as [`Self::deny`] does.
    pub(super) fn refuse(&self, refused: &Refused, error: &impl std::fmt::Display) {
        self.write_denied(|| {
            json!({
                "type": "refused",
                "actor": refused.actor,
                "reason": refused.reason,
                "service": refused.service,
                "command": refused.command,
                "wanted": refused.wanted,
                "why": error.to_string(),
                "result": "refused",
            })
        });
    }

    fn write_denied(&self, line: impl FnOnce() -> Value) {
        let mut queues = self.shared.lock();
        queues.turn(Instant::now());
        if queues.said == DENIED_A_SECOND {
            queues.unsaid += 1;
            return;
        }
        queues.said += 1;
        queues.take(line(), |queues| &mut queues.denied);
        self.shared.more.notify_one();
    }

    /// Waits until all that was said so far is on the disk, but not for long, and not at all while
    /// the disk refuses.
    pub async fn flush(&self, at_most: Duration) {
        let last = {
            let queues = self.shared.lock();
            if queues.failure.is_some() {
                return;
            }
            queues.last_waiting()
        };
        let mut written = self.written.clone();
        let _ = tokio::time::timeout(at_most, written.wait_for(|number| *number >= last)).await;
    }

    /// Lines that are not on the disk: those that wait and those that were lost.
    pub fn behind(&self) -> u64 {
        let queues = self.shared.lock();
        queues.waiting() as u64 + queues.lost
    }

    /// What an operator should know about the audit.
    pub fn warnings(&self) -> Vec<String> {
        let queues = self.shared.lock();
        let waiting = queues.waiting();
        let mut warnings = Vec::new();
        if let Some(failure) = &queues.failure {
            warnings.push(format!("the audit cannot be written ({failure}): {waiting} lines wait"));
        } else if waiting > BEHIND {
            warnings.push(format!("the audit is behind: {waiting} lines wait"));
        }
        if queues.lost > 0 {
            warnings.push(format!("the audit has lost {} lines since the start: the log has them", queues.lost));
        }
        warnings
    }

    /// The last entries, oldest first. May block.
    pub fn tail(&self, most: usize) -> Result<Vec<Value>, String> {
        self.store.audit_tail(most).map(|lines| read(&lines)).map_err(|error| error.to_string())
    }

    /// The entries after the one of this number, oldest first; fewer than `most` where they are long. May block.
    pub fn after(&self, seq: u64, most: usize) -> Result<Vec<Value>, String> {
        self.store.audit_after(seq, most).map(|lines| read(&lines)).map_err(|error| error.to_string())
    }

    /// Whether all of it is as it was written. May block.
    pub fn verify(&self) -> Result<Report, String> {
        self.store.audit_verify().map_err(|error| error.to_string())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn take(&mut self, mut what: Value, queue: impl FnOnce(&mut Self) -> &mut VecDeque<(u64, String)>) {
        what["time"] = json!(wall_time());
        let line = what.to_string();
        tracing::info!(audit = line, "control");
        self.number += 1;
        let number = self.number;
        let queue = queue(self);
        if queue.len() < WAITING {
            queue.push_back((number, line));
        } else {
            self.lost += 1;
            tracing::error!("the audit is behind: a line was lost");
        }
    }

    /// Ends a second of denials that is over, with a line about those that had none.
    fn turn(&mut self, now: Instant) {
        if self.second.is_some_and(|began| now.duration_since(began) < SECOND) {
            return;
        }
        let unsaid = std::mem::take(&mut self.unsaid);
        (self.second, self.said) = (Some(now), 0);
        if unsaid > 0 {
            self.take(json!({ "type": "denied-more", "count": unsaid }), |queues| &mut queues.denied);
        }
    }

    /// The oldest line, of whichever kind.
    fn oldest(&mut self) -> Option<&mut VecDeque<(u64, String)>> {
        let first = |queue: &VecDeque<(u64, String)>| queue.front().map_or(u64::MAX, |(number, _)| *number);
        let queue = if first(&self.changes) < first(&self.denied) { &mut self.changes } else { &mut self.denied };
        (!queue.is_empty()).then_some(queue)
    }

    fn waiting(&self) -> usize {
        self.changes.len() + self.denied.len()
    }

    fn last_waiting(&self) -> u64 {
        [&self.changes, &self.denied].into_iter().filter_map(|queue| queue.back()).map(|(number, _)| *number).max().unwrap_or(0)
    }
}

/// Ends when every way to the audit is gone.
async fn write_for_ever(shared: Arc<Shared>, store: Arc<dyn Store>, written: watch::Sender<u64>) {
    let mut pause = FIRST_PAUSE;
    while !written.is_closed() {
        let next = {
            let mut queues = shared.lock();
            queues.turn(Instant::now());
            queues.oldest().and_then(|queue| queue.front().cloned())
        };
        let Some((number, line)) = next else {
            // Woken at the latest when a second of denials is over.
            let _ = tokio::time::timeout(SECOND, shared.more.notified()).await;
            continue;
        };
        let store = store.clone();
        let done = tokio::task::spawn_blocking(move || store.audit(&line)).await;
        let failure = match done {
            Ok(result) => result.err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let Some(error) = failure else {
            pause = FIRST_PAUSE;
            let mut queues = shared.lock();
            queues.failure = None;
            queues.oldest().map(VecDeque::pop_front);
            drop(queues);
            written.send_replace(number);
            continue;
        };
        tracing::error!(error, "the audit cannot be written; the line is kept and tried again");
        shared.lock().failure = Some(error);
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

fn read(lines: &[String]) -> Vec<Value> {
    lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!({ "damaged": line }))).collect()
}

fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests;
