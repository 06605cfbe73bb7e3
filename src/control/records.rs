//! Records of rollouts on their way to the disk, and back from it. Nothing waits for a record.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::conductor::Conductor;
use super::keeping::Writing;
use super::mail::Mail;
use super::record::Record;
use crate::domain::Retry;
use crate::domain::rollout::Rollout;
use crate::live::{RecordForm, Store, StoreError};
use crate::telemetry::clock::since_epoch;

/// Old records go every so many ticks of 250 ms, once a day.
const PRUNE_EVERY: u64 = 4 * 86_400;

/// Of each service, however young they are.
const MOST_RECORDS: usize = 1_000;

/// Rollouts whose record waits for a disk that takes none. They come one after the other, each with a raise that the same
/// disk has to take.
const MOST_WAITING: usize = 16;

/// How the records of a service are getting on.
#[derive(Default)]
pub(super) struct Keeper {
    /// Why the last one is not on the disk, where it is not.
    pub(super) failure: Option<String>,
    /// The newest of each rollout, in the order in which they came.
    waiting: VecDeque<Record>,
    retry: Retry,
    is_running: bool,
}

impl Keeper {
    /// The newest of a rollout wins.
    fn take(&mut self, record: Record) {
        self.waiting.retain(|one| one.id != record.id);
        self.waiting.push_back(record);
        self.bound();
    }

    /// One that was not written waits again, unless there is a newer one by now.
    fn put_back(&mut self, record: Record) {
        if self.waiting.iter().all(|one| one.id != record.id) {
            self.waiting.push_front(record);
            self.bound();
        }
    }

    fn bound(&mut self) {
        if self.waiting.len() > MOST_WAITING
            && let Some(lost) = self.waiting.pop_front()
        {
            tracing::error!(service = lost.service, rollout = lost.id, "a record is lost: the disk has taken none for too long");
        }
    }
}

/// What came of a write.
pub(super) struct Written {
    record: Record,
    failure: Option<StoreError>,
}

impl Conductor {
    /// Has the record of a rollout written over the last one of it.
    pub(super) fn record(&mut self, at: usize, rollout: &Rollout) {
        // What is past its time is not written anew by a restart.
        let past = since_epoch().saturating_sub(self.keep_records);
        if rollout.is_over() && rollout.account.ended.is_some_and(|ended| Duration::from_millis(ended) < past) {
            return;
        }
        let charge = &mut self.charges[at];
        charge.records.take(Record::of(&charge.config.name, rollout, charge.machine.state()));
        self.keep_records(at);
    }

    /// At every tick, counted from 1.
    pub(super) fn tend_records(&mut self, tick: u64) {
        if tick % PRUNE_EVERY == 1 {
            self.prune_records();
        }
        (0..self.charges.len()).for_each(|at| self.keep_records(at));
    }

    /// Writes what waits, unless the disk is to be left alone for now.
    fn keep_records(&mut self, at: usize) {
        if self.charges[at].records.retry.is_due(self.clock.now()) {
            self.keep_records_now(at);
        }
    }

    /// One at a time, so that the newest is the last.
    pub(super) fn keep_records_now(&mut self, at: usize) {
        let keeper = &mut self.charges[at].records;
        if keeper.is_running {
            return;
        }
        let Some(record) = keeper.waiting.pop_front() else { return };
        keeper.is_running = true;
        let (store, own_box, service) = (self.store.clone(), self.own_box.clone(), self.charges[at].config.name.clone());
        let writing = Writing::begin(&self.writing);
        tokio::spawn(async move {
            let (kept, own) = (record.clone(), service);
            let keeping = tokio::task::spawn_blocking(move || keep(&*store, &own, &kept)).await;
            let failure = keeping.unwrap_or_else(|error| Err(StoreError::of_task(&error))).err();
            if let Some(own_box) = own_box.upgrade() {
                let written = Box::new(Written { record, failure });
                let _ = own_box.send(Mail::RecordKept { service: at, written, writing }).await;
            }
        });
    }

    pub(super) fn record_kept(&mut self, at: usize, Written { record, failure }: Written) {
        let now = self.clock.now();
        let charge = &mut self.charges[at];
        let (service, keeper) = (&charge.config.name, &mut charge.records);
        keeper.is_running = false;
        keeper.retry.note(now, failure.is_none());
        let failure = failure.map(|failure| failure.to_string());
        // Once when it begins and once when it is over.
        match (&keeper.failure, &failure) {
            (None, Some(failure)) => {
                tracing::error!(service, rollout = record.id, failure, "the record is not written; it is kept and tried again");
            }
            (Some(_), None) => tracing::info!(service, rollout = record.id, "records are written again"),
            (Some(_), Some(failure)) => tracing::debug!(service, failure, "the record is not written yet"),
            (None, None) => {}
        }
        if failure.is_some() {
            keeper.put_back(record);
        }
        keeper.failure = failure;
        self.keep_records(at);
    }

    /// Lets go of records that are past their time, of all services.
    fn prune_records(&self) {
        let (store, before) = (self.store.clone(), since_epoch().saturating_sub(self.keep_records));
        let services: Vec<String> = self.charges.iter().map(|charge| charge.config.name.clone()).collect();
        tokio::task::spawn_blocking(move || {
            for service in services {
                match store.prune_records(&service, before, MOST_RECORDS) {
                    Ok(0) => {}
                    Ok(count) => tracing::info!(service, count, "old records are gone"),
                    Err(error) => tracing::warn!(service, %error, "old records cannot be removed"),
                }
            }
        });
    }
}

/// Writes a record, unless what is there says the same: a restart must not tell of an old rollout how the service stands now.
fn keep(store: &dyn Store, service: &str, record: &Record) -> Result<(), StoreError> {
    let is_there = |form| store.record(service, &record.id, form).ok().flatten();
    let same = is_there(RecordForm::Json).is_some_and(|kept| record.says_no_more_than(&kept));
    if same && is_there(RecordForm::Markdown).is_some() {
        return Ok(());
    }
    store.keep_record(service, &record.id, &record.text())
}

/// The records, to be looked at.
#[derive(Clone)]
pub struct Records(Arc<dyn Store>);

impl Records {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// The newest of a service, newest first; those that cannot be read are left out, and said to be. May block.
    pub fn newest(&self, service: &str, most: usize) -> Result<Vec<Record>, StoreError> {
        let read = |text: String| {
            let record = serde_json::from_str::<Record>(&text);
            record.inspect_err(|error| tracing::warn!(service, %error, "a record is left out")).ok()
        };
        let mut records: Vec<Record> = self.0.records(service)?.into_iter().filter_map(read).collect();
        records.sort_unstable_by(|one, two| (&two.began, &two.id).cmp(&(&one.began, &one.id)));
        records.truncate(most);
        Ok(records)
    }

    /// One in one of its forms, as it was written; nothing, where there is none. May block.
    pub fn one(&self, service: &str, id: &str, form: RecordForm) -> Result<Option<String>, StoreError> {
        self.0.record(service, id, form)
    }
}

#[cfg(test)]
mod tests;
