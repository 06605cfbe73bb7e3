//! The store as a directory.
//!
//! ```text
//! lock                  held with flock; says who holds it
//! seal.key admin-token  generated secrets, mode 0600; of the seal keys the first seals, all open
//! services/NAME.json    state, with a checksum; NAME.json.prev is the one before
//! brake/NAME            two slots of 32 KiB, written in place, the older one first
//! pins/NAME             hashes of the modern era's words and where they belong, appended twice a second
//! sessions/NAME         what is remembered of sessions beyond their ids, no credentials, appended twice a second
//! config/000007.json    configurations that were in force, the last 20
//! records/NAME/ID.json  the record of a rollout, for programs; ID.md is the same for people
//! services/import       the names of states that were stored together, while they are put in their places
//! audit.jsonl           one line per change and denied attempt, chained; .1 to .3 were put aside at 16 MiB
//! audit.anchor          both ends of that chain
//! dead-letters.jsonl   notifications that nobody took, one a line; .1 was put aside at 4 MiB
//! ```
//!
//! A save is temp file, fsync, link to `.prev`, rename, fsync of the folder, and only then an acknowledgement. The
//! brake needs no new block, so a rollback is recorded on a full disk; a torn write of one slot
//! leaves the other.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use self::audit::AuditFile;
use self::brake::{SLOT, read_slot, slot_bytes};
use self::files::{keep_previous, make_folder, sync_folder, write_new};
use super::chain::Report;
use super::pins::{PinBatch, PinJournal};
use super::residents::{ResidentBatch, ResidentJournal};
use super::store::{Generation, RecordForm, RecordText, Saving, Store, StoreError};
use crate::domain::machine::{Brake, Durable, Found};

mod anchor;
mod audit;
mod brake;
mod files;
mod generations;
mod letters;
mod pins;
mod records;
mod residents;
mod together;

const FORMAT: u32 = 1;

/// A state directory, locked for this process.
pub struct Directory {
    root: PathBuf,
    _lock: File,
    revisions: Mutex<HashMap<String, u64>>,
    brakes: Mutex<HashMap<String, Slots>>,
    fallen_back: Mutex<HashMap<String, String>>,
    audit: Mutex<AuditFile>,
    letters: Mutex<()>,
}

/// The brake of a service, and which slot has which.
struct Slots {
    file: File,
    sequences: [u64; 2],
}

#[derive(Serialize, Deserialize)]
struct Document<'a> {
    format: u32,
    checksum: String,
    #[serde(borrow)]
    state: &'a RawValue,
}

impl Directory {
    /// Opens a directory, makes it where it is missing, and locks it.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        for folder in ["", "services", "brake", "pins", "sessions", "config", "records"] {
            let folder = if folder.is_empty() { root.to_path_buf() } else { root.join(folder) };
            make_folder(&folder).map_err(|error| io_error(&folder, error))?;
        }
        let lock = lock_folder(root)?;
        together::finish(&root.join("services"))?;
        let audit = AuditFile::open(root).map_err(|error| io_error(&AuditFile::path(root), error))?;
        Ok(Self {
            root: root.to_path_buf(),
            _lock: lock,
            revisions: Mutex::default(),
            brakes: Mutex::default(),
            fallen_back: Mutex::default(),
            audit: Mutex::new(audit),
            letters: Mutex::default(),
        })
    }

    /// The content of a secret file in this directory; generated with mode 0600 where missing.
    pub fn secret(&self, name: &str, generate: impl FnOnce() -> String) -> Result<String, StoreError> {
        let path = self.secret_path(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = generate();
                write_new(&path, text.as_bytes(), |_| Ok(()))?;
                Ok(text)
            }
            Err(error) => Err(io_error(&path, error)),
        }
    }

    /// Writes a secret file anew, with mode 0600: under its name is the old content or the new.
    pub fn replace_secret(&self, name: &str, text: &str) -> Result<(), StoreError> {
        write_new(&self.secret_path(name), text.as_bytes(), |_| Ok(()))
    }

    /// Where a secret is.
    pub fn secret_path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn state_path(&self, service: &str) -> PathBuf {
        self.root.join("services").join(format!("{service}.json"))
    }

    fn records_of(&self, service: &str) -> PathBuf {
        self.root.join("records").join(service)
    }

    fn pins_path(&self, service: &str) -> PathBuf {
        self.root.join("pins").join(service)
    }

    fn residents_path(&self, service: &str) -> PathBuf {
        self.root.join("sessions").join(service)
    }

    fn load_state(&self, service: &str) -> Result<Option<Durable>, StoreError> {
        let path = self.state_path(service);
        let previous = path.with_extension("json.prev");
        let damage = match read_state(&path) {
            Ok(Some(state)) => return Ok(Some(state)),
            // There was a state once: a file that is gone is no first start.
            Ok(None) if previous.exists() => damaged(&path, "the file is gone, and the one before it is there"),
            Ok(None) => return Ok(None),
            Err(damage) => damage,
        };
        let Ok(Some(state)) = read_state(&previous) else { return Err(damage) };
        // Loud, and never silent: what is used is older than what was acknowledged.
        tracing::error!(error = %damage, revision = state.revision, "state is damaged; the previous one is used");
        let warning = format!("the state was damaged and the one before is used (revision {}): {damage}", state.revision);
        lock(&self.fallen_back).insert(service.to_owned(), warning);
        Ok(Some(state))
    }

    fn load_brake(&self, service: &str) -> Result<Option<Brake>, StoreError> {
        let path = self.root.join("brake").join(service);
        let open = || -> io::Result<File> {
            let file = OpenOptions::new().create(true).read(true).write(true).truncate(false).mode(0o600).open(&path)?;
            if file.metadata()?.len() < 2 * SLOT as u64 {
                // Real blocks now, so that a rollback needs none later.
                file.write_all_at(&[b' '; 2 * SLOT], 0)?;
                file.sync_all()?;
            }
            // The name, too: a brake that a loss of power takes away has stopped nothing.
            sync_folder(path.parent())?;
            Ok(file)
        };
        let file = open().map_err(|error| io_error(&path, error))?;
        let [one, two] = [0, 1].map(|slot| read_slot(&file, slot));
        let sequences = [&one, &two].map(|brake| brake.as_ref().map_or(0, |brake| brake.sequence));
        lock(&self.brakes).insert(service.to_owned(), Slots { file, sequences });
        Ok(if sequences[0] > sequences[1] { one } else { two })
    }
}

impl Store for Directory {
    fn load(&self, service: &str) -> Result<Found, StoreError> {
        let state = self.load_state(service)?;
        let brake = self.load_brake(service)?;
        lock(&self.revisions).insert(service.to_owned(), state.as_ref().map_or(0, |state| state.revision));
        Ok(Found { state, brake })
    }

    fn stored_revision(&self, service: &str) -> u64 {
        lock(&self.revisions).get(service).copied().unwrap_or(0)
    }

    fn save(&self, service: &str, state: &Durable, expected: u64) -> Result<(), StoreError> {
        let mut revisions = lock(&self.revisions);
        let found = revisions.get(service).copied().unwrap_or(0);
        if found != expected {
            return Err(StoreError::Conflict { expected, found });
        }
        together::finish(&self.root.join("services"))?;
        let path = self.state_path(service);
        let text = write_state(state).map_err(|error| io_error(&path, error.into()))?;
        write_new(&path, text.as_bytes(), |path| keep_previous(path, |from, to| fs::hard_link(from, to)))?;
        revisions.insert(service.to_owned(), state.revision);
        Ok(())
    }

    fn save_all(&self, saves: &[Saving]) -> Result<(), StoreError> {
        let mut revisions = lock(&self.revisions);
        for Saving { service, expected, .. } in saves {
            let (expected, found) = (*expected, revisions.get(service).copied().unwrap_or(0));
            if found != expected {
                return Err(StoreError::Conflict { expected, found });
            }
        }
        together::save(&self.root.join("services"), saves)?;
        revisions.extend(saves.iter().map(|saving| (saving.service.clone(), saving.state.revision)));
        Ok(())
    }

    fn brake(&self, service: &str, brake: &Brake) -> Result<(), StoreError> {
        let path = self.root.join("brake").join(service);
        let mut brakes = lock(&self.brakes);
        let slots = brakes.get_mut(service).ok_or_else(|| StoreError::Damaged {
            path: path.display().to_string(),
            what: "the brake was not opened at the start".to_owned(),
        })?;
        let bytes = slot_bytes(brake).map_err(|error| io_error(&path, error.into()))?;
        // Two brakes may come in either order: what is overwritten is the older one.
        let slot = usize::from(slots.sequences[0] > slots.sequences[1]);
        let written = slots.file.write_all_at(&bytes, (slot * SLOT) as u64).and_then(|()| slots.file.sync_data());
        written.map_err(|error| io_error(&path, error))?;
        slots.sequences[slot] = brake.sequence;
        Ok(())
    }

    fn audit(&self, line: &str) -> Result<(), StoreError> {
        lock(&self.audit).append(line).map_err(|error| io_error(&AuditFile::path(&self.root), error))
    }

    fn audit_tail(&self, most: usize) -> Result<Vec<String>, StoreError> {
        audit::read::tail(&self.root, most).map_err(|error| io_error(&AuditFile::path(&self.root), error))
    }

    fn audit_after(&self, seq: u64, most: usize) -> Result<Vec<String>, StoreError> {
        audit::read::after(&self.root, seq, most).map_err(|error| io_error(&AuditFile::path(&self.root), error))
    }

    fn audit_verify(&self) -> Result<Report, StoreError> {
        verify_audit(&self.root).map(Option::unwrap_or_default)
    }

    fn keep_dead_letter(&self, line: &str) -> Result<(), StoreError> {
        let _one_at_a_time = lock(&self.letters);
        letters::append(&self.root, line).map_err(|error| io_error(&letters::path(&self.root), error))
    }

    fn dead_letters(&self, most: usize) -> Result<Vec<String>, StoreError> {
        letters::tail(&self.root, most).map_err(|error| io_error(&letters::path(&self.root), error))
    }

    fn warning(&self, service: &str) -> Option<String> {
        lock(&self.fallen_back).get(service).cloned()
    }

    fn pins(&self, service: &str) -> Result<PinJournal, StoreError> {
        let path = self.pins_path(service);
        pins::read(&path).map_err(|error| io_error(&path, error))
    }

    fn keep_pins(&self, service: &str, batch: &PinBatch) -> Result<(), StoreError> {
        let path = self.pins_path(service);
        pins::write(&path, batch).map_err(|error| io_error(&path, error))
    }

    fn residents(&self, service: &str) -> Result<ResidentJournal, StoreError> {
        let path = self.residents_path(service);
        residents::read(&path).map_err(|error| io_error(&path, error))
    }

    fn keep_residents(&self, service: &str, batch: &ResidentBatch) -> Result<u64, StoreError> {
        let path = self.residents_path(service);
        residents::write(&path, batch).map_err(|error| io_error(&path, error))
    }

    fn configs(&self) -> Result<Vec<Generation>, StoreError> {
        generations::read(&self.root.join("config"))
    }

    fn keep_config(&self, generation: &Generation, most: usize) -> Result<(), StoreError> {
        generations::keep(&self.root.join("config"), generation, most)
    }

    fn keep_record(&self, service: &str, id: &str, record: &RecordText) -> Result<(), StoreError> {
        records::keep(&self.records_of(service), id, record)
    }

    fn records(&self, service: &str) -> Result<Vec<String>, StoreError> {
        records::all(&self.records_of(service))
    }

    fn record(&self, service: &str, id: &str, form: RecordForm) -> Result<Option<String>, StoreError> {
        records::one(&self.records_of(service), id, form)
    }

    fn prune_records(&self, service: &str, before: Duration, most: usize) -> Result<usize, StoreError> {
        records::prune(&self.records_of(service), before, most)
    }

    fn is_durable(&self) -> bool {
        true
    }
}

/// Looks through the whole audit of a state directory, whether a dualgate runs on it or not. Nothing, where there is none.
pub fn verify_audit(root: &Path) -> Result<Option<Report>, StoreError> {
    audit::read::verify(root).map_err(|error| io_error(&AuditFile::path(root), error))
}

fn lock_folder(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let open = OpenOptions::new().create(true).read(true).write(true).truncate(false).open(&path);
    let mut file = open.map_err(|error| io_error(&path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(StoreError::Locked { path: root.display().to_string(), holder: holder.trim().to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(io_error(&path, error)),
    }
    let write = file.set_len(0).and_then(|()| writeln!(file, "process {}", std::process::id()));
    write.map_err(|error| io_error(&path, error))?;
    Ok(file)
}

fn damaged(path: &Path, what: &str) -> StoreError {
    StoreError::Damaged {
        path: path.display().to_string(),
        what: format!("{what}; restore it from a backup, or move it and its .prev away to start from the configuration's split"),
    }
}

fn read_state(path: &Path) -> Result<Option<Durable>, StoreError> {
    let damaged = |what: String| damaged(path, &what);
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path, error)),
    };
    let document: Document<'_> = serde_json::from_str(&text).map_err(|error| damaged(format!("not a state file ({error})")))?;
    if document.format > FORMAT {
        return Err(damaged(format!("written by a newer version (format {}, this one reads {FORMAT})", document.format)));
    }
    if checksum(document.state.get()) != document.checksum {
        return Err(damaged("the checksum does not fit".to_owned()));
    }
    serde_json::from_str(document.state.get()).map(Some).map_err(|error| damaged(error.to_string()))
}

fn write_state(state: &Durable) -> serde_json::Result<String> {
    let text = serde_json::to_string(state)?;
    let raw: &RawValue = serde_json::from_str(&text)?;
    serde_json::to_string(&Document { format: FORMAT, checksum: checksum(&text), state: raw })
}

fn checksum(text: &str) -> String {
    let sum = digest::digest(&digest::SHA256, text.as_bytes());
    sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn io_error(path: &Path, error: io::Error) -> StoreError {
    StoreError::Io { path: path.display().to_string(), error }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
