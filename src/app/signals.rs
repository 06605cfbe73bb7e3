//! Signals: SIGTERM and SIGINT stop, SIGHUP is answered.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that are ours, caught from the moment this exists.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Catches them. Needs a runtime around it.
    pub(super) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next wish to stop.
    pub(super) async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                // Left alone it would kill, and whoever sends it means anything but that.
                _ = self.hang_up.recv() => {
                    tracing::warn!("reload is not served by this version; restart to apply a changed file");
                }
            }
        }
    }

    /// Calls at every wish to stop, for ever.
    pub(super) async fn each(mut self, mut then: impl FnMut()) {
        loop {
            self.stop().await;
            then();
        }
    }
}
