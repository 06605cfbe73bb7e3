//! The rmcp client of the interop suite: does in each of its sessions what `tests/interop/clients/exercise.py` does
//! for the Python SDKs, and prints the same report; or does what it is told line by line, as `clients/drive.py`; or holds
//! sessions open, as `clients/hold.py`.
//!
//! `interop_rmcp TASK`: the task is one JSON object, whose fields `tests/interop/run.py` documents.
//! `interop_rmcp serve --port PORT --name NAME --log FILE`: the rmcp server of the suite.

#![allow(deprecated, reason = "sampling and logging are what handshake-era clients and servers speak")]

mod drive;
mod exercise;
mod hold;
mod server;
mod session;
mod tunnel;
mod wire;

use serde::Deserialize;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the suite asks of a client.
#[derive(Clone, Deserialize)]
struct Task {
    url: String,
    server: String,
    dialect: String,
    modes: Vec<String>,
    sessions: usize,
    prefix: String,
    keyed: bool,
    delete: bool,
    http: String,
    ca: String,
    #[serde(default)]
    drive: bool,
    #[serde(default)]
    hold: Option<hold::Hold>,
}

impl Task {
    fn key(&self, session: usize) -> String {
        format!("{}-{session}", self.prefix)
    }

    fn mode(&self, session: usize) -> &str {
        &self.modes[session % self.modes.len()]
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let first = arguments.first().ok_or("usage: interop_rmcp TASK | serve …")?;
    if first == "serve" {
        return server::run(&arguments).await;
    }
    let mut task: Task = serde_json::from_str(first)?;
    if !task.ca.is_empty() {
        task.url = tunnel::open(&task).await?;
    }
    if let Some(hold) = task.hold.take() {
        return hold::run(task, hold).await;
    }
    if task.drive { drive::run(task).await } else { exercise::run(task).await }
}
