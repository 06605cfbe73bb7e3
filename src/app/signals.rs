//! Signals: SIGTERM and SIGINT stop, SIGHUP reloads.

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

    /// Waits for the next wish to stop. A hang-up, which left alone would kill, is another wish.
    pub(super) async fn stop(&mut self) {
        self.next(&mut || {}).await;
    }

    /// Calls at every wish to stop, and at every hang-up, for ever.
    pub(super) async fn each(mut self, mut stop: impl FnMut(), mut hang_up: impl FnMut()) {
        loop {
            self.next(&mut hang_up).await;
            stop();
        }
    }

    async fn next(&mut self, hang_up: &mut impl FnMut()) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => hang_up(),
            }
        }
    }
}
