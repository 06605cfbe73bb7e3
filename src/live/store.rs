//! The door to what must survive: compare-and-set by revision. A directory is behind it now;
//! a store that replicas share can be.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::chain::{Anchor, Checker, Report, Stamp};
use super::pins::{PinBatch, PinJournal};
use super::residents::{ResidentBatch, ResidentJournal};
use crate::domain::machine::{Brake, Durable, Found};
use crate::telemetry::clock::since_epoch;

/// Keeps the durable state of services. The calls may block; traffic never makes them.
pub trait Store: Send + Sync {
    /// What there is of a service; nothing at first start.
    fn load(&self, service: &str) -> Result<Found, StoreError>;

    /// The revision that was stored last, 0 where none was; known once a service is loaded.
    fn stored_revision(&self, service: &str) -> u64;

    /// Stores a state, if the revision stored before is still `expected` (0: none). When it
    /// returns, the state survives a loss of power.
    fn save(&self, service: &str, state: &Durable, expected: u64) -> Result<(), StoreError>;

    /// Stores several states as [`Self::save`] does one: a loss of power leaves all of them or none.
    fn save_all(&self, saves: &[Saving]) -> Result<(), StoreError>;

    /// Records a rollback in place, without needing new room. When it returns, the rollback
    /// survives a loss of power.
    fn brake(&self, service: &str, brake: &Brake) -> Result<(), StoreError>;

    /// Appends a line with the members of this JSON object to the audit, whole or not at all. It becomes the next of the
    /// chain ([`super::chain`]).
    fn audit(&self, members: &str) -> Result<(), StoreError>;

    /// The last lines of the audit, oldest first.
    fn audit_tail(&self, most: usize) -> Result<Vec<String>, StoreError>;

    /// Lines of the audit after the one of this number, oldest first: so many at most, and fewer where they are long.
    fn audit_after(&self, seq: u64, most: usize) -> Result<Vec<String>, StoreError>;

    /// Whether the whole audit is as it was written.
    fn audit_verify(&self) -> Result<Report, StoreError>;

    /// Keeps a notification that was given up, as one line of JSON; where there are many, the oldest go.
    fn keep_dead_letter(&self, line: &str) -> Result<(), StoreError>;

    /// The last of them, oldest first.
    fn dead_letters(&self, most: usize) -> Result<Vec<String>, StoreError>;

    /// The pins of the modern era that were kept. They are hints: what cannot be read is left out.
    fn pins(&self, _service: &str) -> Result<PinJournal, StoreError> {
        Ok(PinJournal::default())
    }

    /// Keeps pins.
    fn keep_pins(&self, _service: &str, _batch: &PinBatch) -> Result<(), StoreError> {
        Ok(())
    }

    /// What was kept of sessions beyond their ids. What cannot be read is left out.
    fn residents(&self, _service: &str) -> Result<ResidentJournal, StoreError> {
        Ok(ResidentJournal::default())
    }

    /// Keeps more of them. Gives the length of what is kept, in bytes.
    fn keep_residents(&self, _service: &str, _batch: &ResidentBatch) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// The configurations that were kept, oldest first.
    fn configs(&self) -> Result<Vec<Generation>, StoreError> {
        Ok(Vec::new())
    }

    /// Keeps a configuration that is in force now, and no more than `most` altogether.
    fn keep_config(&self, _generation: &Generation, _most: usize) -> Result<(), StoreError> {
        Ok(())
    }

    /// Writes the record of a rollout over the last one of it. When it returns, the record survives a loss of power.
    /// An `id` that is not the name of a record ([`is_record_id`]) is refused.
    fn keep_record(&self, _service: &str, _id: &str, _record: &RecordText) -> Result<(), StoreError> {
        Ok(())
    }

    /// The records of a service as JSON, in no order.
    fn records(&self, _service: &str) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    /// One record in one of its forms; nothing, where there is none.
    fn record(&self, _service: &str, _id: &str, _form: RecordForm) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    /// Lets go of the records of a service that were written last before `before` (the wall clock since 1970) and, of those
    /// that are left, of the oldest beyond `most`. How many went.
    fn prune_records(&self, _service: &str, _before: Duration, _most: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    /// What an operator should know about the state that was loaded last.
    fn warning(&self, _service: &str) -> Option<String> {
        None
    }

    /// Whether what is stored survives the process.
    fn is_durable(&self) -> bool;
}

/// A configuration that was in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Counts them, from 1.
    pub number: u64,
    /// Since when.
    pub time: String,
    /// Who put it in force: `start`, `file`, or whoever used the admin API.
    pub actor: String,
    /// SHA-256 of the text, in hex.
    #[serde(rename = "sha256")]
    pub digest: String,
    /// As it was written: what stands for secrets and the environment is not filled in.
    pub text: String,
}

/// The record of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordText {
    /// For programs.
    pub json: String,
    /// For people.
    pub markdown: String,
}

/// The forms that a record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordForm {
    /// For programs.
    Json,
    /// For people.
    Markdown,
}

/// Whether a record can have this name: 1 to 128 letters, digits and `- _ .`, the first of them no dot. Such a name is a
/// file's, and none of another folder's.
pub fn is_record_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=128).contains(&id.len()) && !id.starts_with('.') && id.bytes().all(plain)
}

/// One of several states to store.
#[derive(Clone, Debug)]
pub struct Saving {
    /// The service.
    pub service: String,
    /// Its state.
    pub state: Durable,
    /// The revision that is stored, 0 where none is.
    pub expected: u64,
}

/// Why the store did not do it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk said no.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: String,
        /// The system's words.
        error: std::io::Error,
    },
    /// What is there is not what was written.
    #[error("{path}: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong, and how to go on.
        what: String,
    },
    /// Another one holds the directory.
    #[error("{path} is in use by {holder}: every proxy needs a state directory of its own (--state-dir, [state] dir)")]
    Locked {
        /// The directory.
        path: String,
        /// Who holds it.
        holder: String,
    },
    /// Somebody else stored first.
    #[error("revision {found} is stored, where {expected} was expected")]
    Conflict {
        /// What was expected.
        expected: u64,
        /// What is there.
        found: u64,
    },
}

impl StoreError {
    /// A record cannot have this name.
    pub(super) fn of_record(id: &str) -> Self {
        let what = format!("`{}` is not the name of a record: 1 to 128 letters, digits and - _ .", id.escape_debug());
        Self::Io { path: "records".to_owned(), error: std::io::Error::new(std::io::ErrorKind::InvalidInput, what) }
    }

    /// A task of the store's that did not come to its end.
    pub fn of_task(error: &impl std::fmt::Display) -> Self {
        Self::Io { path: "the store".to_owned(), error: std::io::Error::other(error.to_string()) }
    }
}

/// Keeps everything in memory, for sidecars whose file is the authority.
#[derive(Default)]
pub struct Memory {
    states: Mutex<HashMap<String, Durable>>,
    audit: Mutex<Lines>,
    letters: Mutex<VecDeque<String>>,
    records: Mutex<HashMap<String, Vec<Remembered>>>,
}

struct Remembered {
    id: String,
    /// The wall clock since 1970.
    written: Duration,
    text: RecordText,
}

#[derive(Default)]
struct Lines {
    lines: VecDeque<String>,
    anchor: Anchor,
}

/// Dead letters kept in memory.
const MOST_LETTERS: usize = 1000;

/// Lines of audit kept in memory.
const MOST_LINES: usize = 10_000;

/// Records of one service kept in memory.
const MOST_RECORDS: usize = 100;

impl Store for Memory {
    fn load(&self, service: &str) -> Result<Found, StoreError> {
        Ok(Found { state: lock(&self.states).get(service).cloned(), brake: None })
    }

    fn stored_revision(&self, service: &str) -> u64 {
        lock(&self.states).get(service).map_or(0, |state| state.revision)
    }

    fn save(&self, service: &str, state: &Durable, expected: u64) -> Result<(), StoreError> {
        let mut states = lock(&self.states);
        let found = states.get(service).map_or(0, |state| state.revision);
        if found != expected {
            return Err(StoreError::Conflict { expected, found });
        }
        states.insert(service.to_owned(), state.clone());
        Ok(())
    }

    fn save_all(&self, saves: &[Saving]) -> Result<(), StoreError> {
        let mut states = lock(&self.states);
        for Saving { service, expected, .. } in saves {
            let (expected, found) = (*expected, states.get(service).map_or(0, |state| state.revision));
            if found != expected {
                return Err(StoreError::Conflict { expected, found });
            }
        }
        states.extend(saves.iter().map(|saving| (saving.service.clone(), saving.state.clone())));
        Ok(())
    }

    fn brake(&self, _service: &str, _brake: &Brake) -> Result<(), StoreError> {
        Ok(())
    }

    fn audit(&self, members: &str) -> Result<(), StoreError> {
        let mut audit = lock(&self.audit);
        let (line, link) = audit.anchor.last.next(members);
        audit.lines.push_back(line);
        audit.anchor.last = link;
        if audit.lines.len() > MOST_LINES {
            audit.lines.pop_front();
            // The first that stays says what the last that went was.
            if let Some(stamp) = audit.lines.front().and_then(|line| Stamp::of(line.as_bytes())) {
                audit.anchor.dropped = stamp.before();
            }
        }
        Ok(())
    }

    fn audit_tail(&self, most: usize) -> Result<Vec<String>, StoreError> {
        let lines = &lock(&self.audit).lines;
        Ok(lines.iter().skip(lines.len().saturating_sub(most)).cloned().collect())
    }

    fn audit_after(&self, seq: u64, most: usize) -> Result<Vec<String>, StoreError> {
        let audit = lock(&self.audit);
        let skipped = usize::try_from(seq.saturating_sub(audit.anchor.dropped.seq)).unwrap_or(usize::MAX);
        Ok(audit.lines.iter().skip(skipped).take(most).cloned().collect())
    }

    fn audit_verify(&self) -> Result<Report, StoreError> {
        let audit = lock(&self.audit);
        let mut checker = Checker::new(Ok(audit.anchor.clone()));
        checker.file("memory");
        let _ = audit.lines.iter().all(|line| checker.line(line.as_bytes()));
        Ok(checker.end(0))
    }

    fn keep_dead_letter(&self, line: &str) -> Result<(), StoreError> {
        let mut letters = lock(&self.letters);
        letters.push_back(line.to_owned());
        if letters.len() > MOST_LETTERS {
            letters.pop_front();
        }
        Ok(())
    }

    fn dead_letters(&self, most: usize) -> Result<Vec<String>, StoreError> {
        let letters = lock(&self.letters);
        Ok(letters.iter().skip(letters.len().saturating_sub(most)).cloned().collect())
    }

    fn keep_record(&self, service: &str, id: &str, record: &RecordText) -> Result<(), StoreError> {
        if !is_record_id(id) {
            return Err(StoreError::of_record(id));
        }
        let mut all = lock(&self.records);
        let records = all.entry(service.to_owned()).or_default();
        records.retain(|one| one.id != id);
        records.push(Remembered { id: id.to_owned(), written: since_epoch(), text: record.clone() });
        let beyond = records.len().saturating_sub(MOST_RECORDS);
        records.drain(..beyond);
        Ok(())
    }

    fn records(&self, service: &str) -> Result<Vec<String>, StoreError> {
        let all = lock(&self.records);
        Ok(all.get(service).into_iter().flatten().map(|one| one.text.json.clone()).collect())
    }

    fn record(&self, service: &str, id: &str, form: RecordForm) -> Result<Option<String>, StoreError> {
        let all = lock(&self.records);
        let found = all.get(service).into_iter().flatten().find(|one| one.id == id);
        Ok(found.map(|one| match form {
            RecordForm::Json => one.text.json.clone(),
            RecordForm::Markdown => one.text.markdown.clone(),
        }))
    }

    fn prune_records(&self, service: &str, before: Duration, most: usize) -> Result<usize, StoreError> {
        let mut all = lock(&self.records);
        let Some(records) = all.get_mut(service) else { return Ok(0) };
        let count = records.len();
        records.retain(|one| one.written >= before);
        let beyond = records.len().saturating_sub(most);
        records.drain(..beyond);
        Ok(count - records.len())
    }

    fn is_durable(&self) -> bool {
        false
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
