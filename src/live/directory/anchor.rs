//! The audit's anchor on the disk: one small record, written over in place.
//!
//! It is shorter than a sector, so that a crash leaves the old one or the new one; and it is written after the line it
//! speaks of, so that it may lag behind the lines, and lines may never lag behind it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::sync_folder;
use crate::live::chain::{Anchor, Damage, sha256};

pub(super) const NAME: &str = "audit.anchor";

/// All of it: the checksum is over what follows it.
const LENGTH: usize = 512;

#[derive(Serialize, Deserialize)]
struct Record {
    checksum: String,
    anchor: Anchor,
}

pub(super) struct AnchorFile(File);

impl AnchorFile {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let path = path(root);
        let file = OpenOptions::new().create(true).read(true).write(true).truncate(false).mode(0o600).open(&path)?;
        sync_folder(path.parent())?;
        Ok(Self(file))
    }

    pub(super) fn write(&self, anchor: &Anchor) -> io::Result<()> {
        self.0.write_all_at(&bytes_of(anchor)?, 0)
    }

    /// The same, and safe from a loss of power.
    pub(super) fn write_safely(&self, anchor: &Anchor) -> io::Result<()> {
        self.write(anchor)?;
        self.0.set_len(LENGTH as u64)?;
        self.0.sync_data()
    }
}

fn path(root: &Path) -> PathBuf {
    root.join(NAME)
}

fn bytes_of(anchor: &Anchor) -> io::Result<Vec<u8>> {
    let text = serde_json::to_string(anchor)?;
    let record = serde_json::to_string(&Record { checksum: sha256(text.as_bytes()), anchor: anchor.clone() })?;
    Ok(format!("{record:<width$}\n", width = LENGTH - 1).into_bytes())
}

/// Nothing, where there is none.
pub(super) fn read(root: &Path) -> io::Result<Option<Result<Anchor, Damage>>> {
    let bytes = match fs::read(path(root)) {
        // Made by a start that came no further.
        Ok(bytes) if bytes.is_empty() => return Ok(None),
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let record = bytes.get(..LENGTH).and_then(|bytes| serde_json::from_slice::<Record>(bytes.trim_ascii_end()).ok());
    // To the byte: what is read is what would be written.
    let anchor = record.map(|record| record.anchor).filter(|anchor| bytes_of(anchor).is_ok_and(|written| written == bytes));
    let damage =
        || Damage { file: NAME.to_owned(), line: 0, what: "not as it was written: its checksum does not fit".to_owned() };
    Ok(Some(anchor.ok_or_else(damage)))
}
