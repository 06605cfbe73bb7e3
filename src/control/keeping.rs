//! What the actor has kept on the disk: never by itself, always by a task that it hears back from.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::conductor::Conductor;
use super::mail::Mail;
use crate::domain::machine::{Brake, Durable};
use crate::domain::{Moment, Retry};
use crate::live::StoreError;

/// A rollback's answer waits so long for the brake, and then says `durable: false`. It is in force
/// before either.
const BRAKE_WAIT: Duration = Duration::from_millis(80);

/// How the journal of a service's pins is getting on.
#[derive(Default)]
pub(super) struct Journal {
    /// Why the last batch is not on the disk, where it is not.
    pub(super) failure: Option<String>,
    retry: Retry,
    is_running: bool,
    /// Somebody wants another batch as soon as the running one has ended.
    again: bool,
}

/// Something on its way to the disk, counted as long as this lives.
pub(super) struct Writing(Arc<watch::Sender<usize>>);

impl Writing {
    pub(super) fn begin(count: &Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Conductor {
    pub(super) fn brake(&mut self, at: usize, brake: Brake) {
        let (store, own_box) = (self.store.clone(), self.own_box.clone());
        let service = self.charges[at].config.name.clone();
        let revision = brake.revision;
        let writing = Writing::begin(&self.writing);
        tokio::spawn(async move {
            let _counted = writing;
            let say = async |written| {
                if let Some(own_box) = own_box.upgrade() {
                    let _ = own_box.send(Mail::Braked { service: at, revision, written }).await;
                }
            };
            let mut writing = tokio::task::spawn_blocking(move || store.brake(&service, &brake).map(|()| store.is_durable()));
            let in_time = tokio::time::timeout(BRAKE_WAIT, &mut writing).await;
            let result = match in_time {
                Ok(result) => result,
                Err(_) => {
                    tracing::error!("the brake is not written yet: the rollback is in force and not durable");
                    say(false).await;
                    writing.await
                }
            };
            match result {
                Ok(Ok(durable)) => say(durable).await,
                Ok(Err(error)) => {
                    tracing::error!(%error, "the brake cannot be written: the rollback is in force and not durable");
                    say(false).await;
                }
                Err(error) => {
                    tracing::error!(%error, "the brake's task failed: the rollback is in force and not durable");
                    say(false).await;
                }
            }
        });
    }

    pub(super) fn save(&mut self, at: usize, state: Durable) {
        let (store, own_box) = (self.store.clone(), self.own_box.clone());
        let service = self.charges[at].config.name.clone();
        let expected = self.charges[at].stored_revision;
        let revision = state.revision;
        let writing = Writing::begin(&self.writing);
        tokio::spawn(async move {
            let saving = tokio::task::spawn_blocking(move || store.save(&service, &state, expected));
            let failure = match saving.await {
                Ok(result) => result.err().map(|error| error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(own_box) = own_box.upgrade() {
                let _ = own_box.send(Mail::Saved { service: at, revision, failure, writing }).await;
            }
        });
    }

    /// Journals the pins, and what is remembered of sessions, that came since the last time, unless the disk is to be left
    /// alone for now.
    pub(super) fn keep_words(&mut self, at: usize) {
        self.keep_residents(at);
        if self.charges[at].journal.retry.is_due(self.clock.now()) {
            self.keep_pins_now(at);
        }
    }

    /// Journals what is in memory now, however the disk is: at once, or as soon as the running batch has ended. So with the
    /// records that wait.
    pub(super) fn keep_at_last(&mut self, at: usize) {
        self.charges[at].journal.again = self.charges[at].journal.is_running;
        self.keep_pins_now(at);
        self.keep_records_now(at);
        self.keep_residents_at_last(at);
    }

    /// One batch at a time: they build on each other.
    fn keep_pins_now(&mut self, at: usize) {
        let charge = &mut self.charges[at];
        if charge.journal.is_running {
            return;
        }
        let Some(batch) = charge.pins.take_batch(self.clock.now().since(Moment::default())) else { return };
        charge.journal.is_running = true;
        let (store, own_box, service) = (self.store.clone(), self.own_box.clone(), charge.config.name.clone());
        let writing = Writing::begin(&self.writing);
        tokio::spawn(async move {
            let keeping = tokio::task::spawn_blocking(move || store.keep_pins(&service, &batch)).await;
            let failure = keeping.unwrap_or_else(|error| Err(StoreError::of_task(&error))).err();
            if let Some(own_box) = own_box.upgrade() {
                let _ = own_box.send(Mail::PinsKept { service: at, failure, writing }).await;
            }
        });
    }

    pub(super) fn pins_kept(&mut self, at: usize, failure: Option<StoreError>) {
        let charge = &mut self.charges[at];
        let service = &charge.config.name;
        let journal = &mut charge.journal;
        journal.is_running = false;
        journal.retry.note(self.clock.now(), failure.is_none());
        let failure = failure.map(|failure| failure.to_string());
        // Once when it begins and once when it is over.
        match (&journal.failure, &failure) {
            (None, Some(failure)) => {
                tracing::error!(service, failure, "pins not journalled: a restart would forget the newest");
            }
            (Some(_), None) => tracing::info!(service, "pins are journalled again"),
            (Some(_), Some(failure)) => tracing::debug!(service, failure, "pins not journalled yet"),
            (None, None) => {}
        }
        if failure.is_some() {
            charge.pins.lost();
        }
        journal.failure = failure;
        if std::mem::take(&mut journal.again) {
            self.keep_pins_now(at);
        }
    }
}
