//! A dualgate in process on port zero, fake servers behind it, and a client.

mod app;
mod certs;
mod client;
mod fake;
pub mod moves;
mod process;
pub mod raw;
pub mod scripted;
mod sockets;
mod sse;
mod wire;

pub use app::{Admin, TestApp};
pub use certs::{Authority, Issued, pair, shake};
pub use client::{Client, Session, call, initialize};
pub use fake::{Endpoint, Fake, Options, Seen};
pub use process::{Process, Said, dualgate};
pub use sockets::{Port, at_rest, connections, narrow_listener};
pub use sse::Channel;
pub use wire::{Http1, Http2, read_until, text};

use std::time::Duration;

/// Sessions that lose their server are not moved.
pub const WAITS: &str = "sessions = { on_loss = \"wait\" }";

/// Waits until a condition holds; fails after ten seconds with what was waited for.
pub async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "not within ten seconds: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A folder of this test's own, gone with it.
pub struct Folder(std::path::PathBuf);

impl Folder {
    pub fn new() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("dualgate-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
