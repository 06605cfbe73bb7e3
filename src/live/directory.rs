//! The store as a directory.
//!
//! ```text
//! lock                  held with flock; says who holds it
//! seal.key admin-token  generated secrets, mode 0600
//! services/NAME.json    state, with a checksum; NAME.json.prev is the one before
//! brake/NAME            two slots of 32 KiB, written in place, the older one first
//! audit.jsonl           one line per change and per denied attempt
//! ```
//!
//! A save is temp file, fsync, rename, fsync of the folder, and only then an acknowledgement. The
//! brake needs no new block, so a rollback is recorded on a full disk; a torn write of one slot
//! leaves the other.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::store::{Store, StoreError};
use crate::domain::machine::{Brake, Durable, Found};

const FORMAT: u32 = 1;
const SLOT: usize = 32 << 10;

/// A state directory, locked for this process.
pub struct Directory {
    root: PathBuf,
    _lock: File,
    revisions: Mutex<HashMap<String, u64>>,
    brakes: Mutex<HashMap<String, Slots>>,
    audit: Mutex<File>,
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
        for folder in [root.to_path_buf(), root.join("services"), root.join("brake")] {
            fs::create_dir_all(&folder).map_err(|error| io_error(&folder, error))?;
        }
        let lock = lock_folder(root)?;
        let audit_path = root.join("audit.jsonl");
        let audit = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(&audit_path);
        let audit = audit.map_err(|error| io_error(&audit_path, error))?;
        mend_last_line(&audit).map_err(|error| io_error(&audit_path, error))?;
        Ok(Self {
            root: root.to_path_buf(),
            _lock: lock,
            revisions: Mutex::default(),
            brakes: Mutex::default(),
            audit: Mutex::new(audit),
        })
    }

    /// The content of a secret file in this directory; generated with mode 0600 where missing.
    pub fn secret(&self, name: &str, generate: impl FnOnce() -> String) -> Result<String, StoreError> {
        let path = self.secret_path(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = generate();
                self.write_new(&path, text.as_bytes(), 0o600)?;
                Ok(text)
            }
            Err(error) => Err(io_error(&path, error)),
        }
    }

    /// Where a secret is.
    pub fn secret_path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn state_path(&self, service: &str) -> PathBuf {
        self.root.join("services").join(format!("{service}.json"))
    }

    fn write_new(&self, path: &Path, content: &[u8], mode: u32) -> Result<(), StoreError> {
        let temporary = path.with_extension("tmp");
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&temporary)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|error| io_error(path, error))
    }

    fn load_state(&self, service: &str) -> Result<Option<Durable>, StoreError> {
        let path = self.state_path(service);
        let previous = path.with_extension("json.prev");
        match read_state(&path) {
            Ok(found) => Ok(found),
            Err(damaged) => match read_state(&previous) {
                // Loud, and never silent: what is used is older than what was acknowledged.
                Ok(Some(state)) => {
                    tracing::error!(error = %damaged, revision = state.revision, "state is damaged; the previous one is used");
                    Ok(Some(state))
                }
                _ => Err(damaged),
            },
        }
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
        let path = self.state_path(service);
        let text = write_state(state).map_err(|error| io_error(&path, error.into()))?;
        keep_previous(&path).map_err(|error| io_error(&path, error))?;
        self.write_new(&path, text.as_bytes(), 0o600)?;
        revisions.insert(service.to_owned(), state.revision);
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
        let mut audit = lock(&self.audit);
        let written = audit.write_all(format!("{line}\n").as_bytes()).and_then(|()| audit.sync_data());
        written.map_err(|error| io_error(&self.root.join("audit.jsonl"), error))
    }

    fn audit_tail(&self, most: usize) -> Result<Vec<String>, StoreError> {
        const MOST_BYTES: u64 = 1 << 20;
        let path = self.root.join("audit.jsonl");
        let read = || -> io::Result<Vec<String>> {
            let mut file = File::open(&path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(MOST_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(MOST_BYTES).read_to_end(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes);
            // The first line may be half a line, when the file is longer than what is read.
            let mut lines: Vec<String> = text.lines().skip(usize::from(length > MOST_BYTES)).map(str::to_owned).collect();
            Ok(lines.split_off(lines.len().saturating_sub(most)))
        };
        read().map_err(|error| io_error(&path, error))
    }

    fn is_durable(&self) -> bool {
        true
    }
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

fn read_state(path: &Path) -> Result<Option<Durable>, StoreError> {
    let damaged = |what: String| StoreError::Damaged {
        path: path.display().to_string(),
        what: format!("{what}; restore it from a backup, or move it away to start from the configuration's split"),
    };
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

/// Keeps the present file under a second name, without a moment in which there is none.
fn keep_previous(path: &Path) -> io::Result<()> {
    let link = path.with_extension("json.link");
    match fs::hard_link(path, &link) {
        Ok(()) => fs::rename(&link, path.with_extension("json.prev")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::remove_file(&link),
        Err(error) => Err(error),
    }
}

/// `checksum length json`. What does not fit is left out, words first: the rollback counts.
fn slot_bytes(brake: &Brake) -> serde_json::Result<Vec<u8>> {
    let mut brake = brake.clone();
    let mut text = serde_json::to_string(&brake)?;
    if text.len() + 80 > SLOT {
        for entry in crate::domain::Entry::BOTH {
            if let Some(condemned) = &mut brake.condemned[entry] {
                condemned.reason = None;
            }
        }
        text = serde_json::to_string(&brake)?;
    }
    if text.len() + 80 > SLOT {
        brake.overlay = None;
        text = serde_json::to_string(&brake)?;
    }
    Ok(format!("{} {} {text}\n", checksum(&text), text.len()).into_bytes())
}

fn read_slot(file: &File, slot: u64) -> Option<Brake> {
    let mut bytes = vec![0; SLOT];
    file.read_exact_at(&mut bytes, slot * SLOT as u64).ok()?;
    // What stands behind the line is left of a longer one, and may end in half a character.
    let text = String::from_utf8_lossy(&bytes);
    let (sum, rest) = text.split_once(' ')?;
    let (length, rest) = rest.split_once(' ')?;
    let text = rest.get(..length.parse().ok()?)?;
    (checksum(text) == sum).then(|| serde_json::from_str(text).ok())?
}

/// A line that a crash cut short is ended, so that the next one starts on its own.
fn mend_last_line(mut file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.read_exact_at(&mut last, length - 1)?;
    if last != [b'\n'] {
        tracing::warn!("the last line of the audit was cut short by a crash");
        file.write_all(b"\n")?;
    }
    Ok(())
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
