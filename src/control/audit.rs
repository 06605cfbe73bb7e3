//! The audit: one writer, so that lines are whole and in order.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::live::Store;
use crate::telemetry::clock::wall_time;

/// Lines that wait for the disk; beyond, a line is dropped and logged instead, since neither
/// traffic nor a rollback may wait for it.
const WAITING: usize = 1024;

/// The way to the audit.
#[derive(Clone)]
pub struct Audit {
    lines: mpsc::Sender<Item>,
    store: Arc<dyn Store>,
}

enum Item {
    Line(String),
    Flush(oneshot::Sender<()>),
}

impl Audit {
    /// Starts the writer on the current runtime.
    pub fn start(store: Arc<dyn Store>) -> Self {
        let (lines, mut waiting) = mpsc::channel(WAITING);
        let writer = store.clone();
        tokio::spawn(async move {
            while let Some(item) = waiting.recv().await {
                match item {
                    Item::Flush(done) => drop(done),
                    Item::Line(line) => {
                        let store = writer.clone();
                        let written = tokio::task::spawn_blocking(move || store.audit(&line)).await;
                        if let Ok(Err(error)) = written {
                            tracing::error!(%error, "the audit cannot be written");
                        }
                    }
                }
            }
        });
        Self { lines, store }
    }

    /// Appends what is said, with the time.
    pub fn write(&self, mut what: Value) {
        what["time"] = json!(wall_time());
        let line = what.to_string();
        tracing::info!(audit = line, "control");
        if self.lines.try_send(Item::Line(line)).is_err() {
            tracing::error!("the audit is behind: a line was not written");
        }
    }

    /// Waits until all that was written so far is on the disk, but not for long.
    pub async fn flush(&self, at_most: Duration) {
        let (done, written) = oneshot::channel();
        if self.lines.try_send(Item::Flush(done)).is_ok() {
            let _ = tokio::time::timeout(at_most, written).await;
        }
    }

    /// The last entries, oldest first. May block.
    pub fn tail(&self, most: usize) -> Result<Vec<Value>, String> {
        let lines = self.store.audit_tail(most).map_err(|error| error.to_string())?;
        Ok(lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!({ "damaged": line }))).collect())
    }
}
