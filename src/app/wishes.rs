//! What is asked of a running process from outside: by signals, and by whoever embeds it.

use tokio::sync::watch;

use crate::control::{Configuration, ConfigureError, Wish};

/// What is asked of a running process from outside.
#[derive(Clone)]
pub(super) struct Wishes {
    /// How often it was asked to stop.
    pub(super) stop: watch::Sender<u8>,
    /// How often it was asked to read its configuration again.
    pub(super) reload: watch::Sender<u64>,
}

impl Wishes {
    /// Nothing yet.
    pub(super) fn none() -> Self {
        Self { stop: watch::Sender::new(0), reload: watch::Sender::new(0) }
    }

    pub(super) fn stop(&self) {
        self.stop.send_modify(|times| *times = times.saturating_add(1));
    }

    pub(super) fn reload(&self) {
        self.reload.send_modify(|times| *times += 1);
    }
}

/// Whoever asks by signal reads the outcome in the log.
pub(super) async fn reload_on_demand(configuration: Configuration, mut asked: watch::Receiver<u64>) {
    while asked.changed().await.is_ok() {
        match configuration.reload(&Wish::of("SIGHUP")).await {
            Ok(applied) if applied.changed => {}
            Ok(applied) => tracing::info!(generation = applied.generation, "the configuration is in force already"),
            Err(ConfigureError::Invalid(_)) => {}
            Err(error) => tracing::warn!(%error, "reload"),
        }
    }
}
