//! The audit's file: appended to, and put aside when it is long.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::sync_folder;

/// A file of this length is put aside.
const LONG: u64 = 16 << 20;

/// So many that were put aside are kept.
const KEPT: u32 = 3;

/// At most so much of a file's end is read.
const MOST_READ: u64 = 1 << 20;

pub(super) struct AuditFile {
    path: PathBuf,
    file: File,
    length: u64,
    long: u64,
}

impl AuditFile {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let path = root.join("audit.jsonl");
        let file = open(&path)?;
        mend_last_line(&file)?;
        let length = file.metadata()?.len();
        Ok(Self { path, file, length, long: LONG })
    }

    pub(super) fn path(root: &Path) -> PathBuf {
        root.join("audit.jsonl")
    }

    /// Appends a line, whole or not at all: what could not be written to its end is taken back, so
    /// that the next attempt does not stand behind half a line.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        let line = format!("{line}\n");
        if self.length > 0 && self.length + line.len() as u64 > self.long {
            self.put_aside()?;
        }
        self.append_by(line.len() as u64, |mut file| file.write_all(line.as_bytes()).and_then(|()| file.sync_data()))
    }

    fn append_by(&mut self, length: u64, write: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
        match write(&self.file) {
            Ok(()) => {
                self.length += length;
                Ok(())
            }
            Err(error) => {
                self.file.set_len(self.length)?;
                Err(error)
            }
        }
    }

    fn put_aside(&mut self) -> io::Result<()> {
        // Put aside already, by a try that could not open the next one.
        if !self.path.try_exists()? {
            self.file = open(&self.path)?;
            self.length = 0;
            return Ok(());
        }
        for number in (1..KEPT).rev() {
            match fs::rename(aside(&self.path, number), aside(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, aside(&self.path, 1))?;
        self.file = open(&self.path)?;
        self.length = 0;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    sync_folder(path.parent())?;
    Ok(file)
}

fn aside(path: &Path, number: u32) -> PathBuf {
    path.with_extension(format!("jsonl.{number}"))
}

/// The last lines, oldest first; of the file before, too, where this one has just begun.
pub(super) fn tail(root: &Path, most: usize) -> io::Result<Vec<String>> {
    let path = AuditFile::path(root);
    let mut lines = last_lines(&path)?;
    if lines.len() < most {
        match last_lines(&aside(&path, 1)) {
            Ok(earlier) => lines = [earlier, lines].concat(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(lines.split_off(lines.len().saturating_sub(most)))
}

fn last_lines(path: &Path) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST_READ)))?;
    let mut bytes = Vec::new();
    file.take(MOST_READ).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line may be half a line, when the file is longer than what is read.
    Ok(text.lines().skip(usize::from(length > MOST_READ)).map(str::to_owned).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("dualgate-audit-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn half_a_line_is_taken_back() {
        let root = folder("half");
        let mut audit = AuditFile::open(&root).unwrap();
        audit.append("one").unwrap();
        let full = |mut file: &File| {
            file.write_all(b"tw")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        assert_eq!(audit.append_by(4, full).unwrap_err().kind(), io::ErrorKind::StorageFull);
        audit.append("two").unwrap();
        assert_eq!(fs::read_to_string(root.join("audit.jsonl")).unwrap(), "one\ntwo\n");
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_long_file_is_put_aside_and_three_of_them_are_kept() {
        let root = folder("long");
        let mut audit = AuditFile { long: 8, ..AuditFile::open(&root).unwrap() };
        for line in ["1", "2", "3", "4"].iter().flat_map(|line| [line.repeat(3), line.repeat(3)]).chain(["5".repeat(3)]) {
            audit.append(&line).unwrap();
        }
        audit.append("666").unwrap();
        audit.append("777").unwrap();
        let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
        assert_eq!(
            ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2", "audit.jsonl.3", "audit.jsonl.4"].map(read),
            ["777\n", "555\n666\n", "444\n444\n", "333\n333\n", ""]
        );
        assert_eq!(tail(&root, 2).unwrap(), ["666", "777"]);
        fs::remove_dir_all(root).unwrap();
    }
}
