//! How far an upload is, and what its client did wrong.

use std::cell::Cell;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Notify;

use super::error::ProxyError;

/// How far the client is with its body. A fault is noted here, since it surfaces as a failure of the
/// endpoint's connection, and the endpoint must not be blamed for it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) fault: Cell<Option<ClientFault>>,
    is_done: Cell<bool>,
    done: Notify,
    pub(super) taken: Cell<u64>,
    pub(super) waits_for_client: Cell<bool>,
}

impl Progress {
    /// What the client did wrong.
    pub(super) fn fault(&self) -> Option<ClientFault> {
        self.fault.get()
    }

    /// Whether the whole body has gone to the endpoint.
    pub(super) fn is_done(&self) -> bool {
        self.is_done.get()
    }

    /// Resolves when it has.
    pub(super) async fn done(&self) {
        while !self.is_done.get() {
            self.done.notified().await;
        }
    }

    /// Resolves when the endpoint has taken nothing for so long of what the client has sent.
    pub(super) async fn stalled(&self, within: Duration) {
        loop {
            self.rests(within).await;
            if !self.is_done.get() {
                return;
            }
        }
    }

    /// The same, and also so long after the last of it was taken, of which the end may still wait to be
    /// written.
    pub(super) async fn rests(&self, within: Duration) {
        loop {
            let before = self.taken.get();
            tokio::time::sleep(within).await;
            if self.taken.get() == before && !self.waits_for_client.get() {
                return;
            }
        }
    }

    pub(super) fn finish(&self) {
        self.waits_for_client.set(false);
        self.is_done.set(true);
        self.done.notify_one();
    }
}

/// What a client did wrong with its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum ClientFault {
    /// It broke off or is malformed.
    #[error("the client's body broke off")]
    Broken,
    /// It paused for too long.
    #[error("the client's body came too slowly")]
    Slow,
}

impl ClientFault {
    pub(super) fn error(self) -> ProxyError {
        match self {
            Self::Broken => ProxyError::ClientBody,
            Self::Slow => ProxyError::ClientBodySlow,
        }
    }
}
