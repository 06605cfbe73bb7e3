//! What is remembered of sessions beyond their ids, on its way to the disk: in batches, one at a time. No traffic waits for it.

use std::time::Duration;

use super::conductor::Conductor;
use super::keeping::Writing;
use super::mail::Mail;
use crate::domain::{Moment, Retry};
use crate::live::StoreError;
use crate::telemetry::clock::since_epoch;

/// That the disk refuses is told so often, as long as it does.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Sessions in one batch, but for the last one: who puts it together holds up the decisions of all services for so long.
const MOST_AT_ONCE: usize = 1 << 14;

/// How the journal of a service's sessions is getting on.
#[derive(Default)]
pub(super) struct SessionJournal {
    retry: Retry,
    is_running: bool,
    /// Somebody wants another batch as soon as the running one has ended.
    again: bool,
    /// When it was last told that the disk refuses, while it does.
    told: Option<Moment>,
}

/// What became of a batch.
pub(super) struct ResidentsKept {
    /// The length of the journal in bytes.
    result: Result<u64, StoreError>,
    anew: bool,
    _writing: Writing,
}

impl Conductor {
    /// Journals what has changed since the last time, unless the disk is to be left alone for now.
    pub(super) fn keep_residents(&mut self, at: usize) {
        if self.charges[at].sessions.retry.is_due(self.clock.now()) {
            self.keep_residents_now(at, MOST_AT_ONCE);
        }
    }

    /// The same, however the disk is: at once, or as soon as the running batch has ended.
    pub(super) fn keep_residents_at_last(&mut self, at: usize) {
        self.charges[at].sessions.again = self.charges[at].sessions.is_running;
        self.keep_residents_now(at, usize::MAX);
    }

    fn keep_residents_now(&mut self, at: usize, most: usize) {
        let charge = &mut self.charges[at];
        if charge.sessions.is_running {
            return;
        }
        let Some(batch) = charge.residents.take_batch(since_epoch(), most, charge.config.sessions.remember) else { return };
        charge.sessions.is_running = true;
        let (store, own_box, service) = (self.store.clone(), self.own_box.clone(), charge.config.name.clone());
        let writing = Writing::begin(&self.writing);
        tokio::spawn(async move {
            let anew = batch.anew;
            let keeping = tokio::task::spawn_blocking(move || store.keep_residents(&service, &batch)).await;
            let result = keeping.unwrap_or_else(|error| Err(StoreError::of_task(&error)));
            if let Some(own_box) = own_box.upgrade() {
                let kept = ResidentsKept { result, anew, _writing: writing };
                let _ = own_box.send(Mail::ResidentsKept { service: at, kept }).await;
            }
        });
    }

    pub(super) fn residents_kept(&mut self, at: usize, ResidentsKept { result, anew, _writing }: ResidentsKept) {
        let now = self.clock.now();
        let charge = &mut self.charges[at];
        let (service, journal) = (&charge.config.name, &mut charge.sessions);
        journal.is_running = false;
        journal.retry.note(now, result.is_ok());
        match result {
            Ok(length) => {
                charge.residents.kept(length, anew);
                if journal.told.take().is_some() {
                    tracing::info!(service, "sessions are journalled again");
                }
            }
            Err(error) => {
                charge.residents.lost();
                if journal.told.is_none_or(|told| now.since(told) >= TELL_EVERY) {
                    journal.told = Some(now);
                    tracing::warn!(service, %error, "sessions not journalled: a restart would forget where the last moved ones live");
                }
            }
        }
        if std::mem::take(&mut journal.again) {
            self.keep_residents_now(at, usize::MAX);
        }
    }
}
