//! Dead letters: appended to one file, which is put aside when it is long.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A file of this length is put aside; the one that was before goes.
const LONG: u64 = 4 << 20;

pub(super) fn path(root: &Path) -> PathBuf {
    root.join("dead-letters.jsonl")
}

/// Appends a line, whole or not at all. When it returns, the line survives a loss of power.
pub(super) fn append(root: &Path, line: &str) -> io::Result<()> {
    append_with(root, line, LONG)
}

fn append_with(root: &Path, line: &str, long: u64) -> io::Result<()> {
    let path = path(root);
    let mut file = open(&path)?;
    let mut length = file.metadata()?.len();
    if length > 0 && length + line.len() as u64 >= long {
        fs::rename(&path, aside(&path))?;
        file = open(&path)?;
        length = 0;
    }
    // Half a line that a loss of power has left stays a line of its own.
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    let feed = if last == [b'\n'] { "" } else { "\n" };
    let written = file.write_all(format!("{feed}{line}\n").as_bytes()).and_then(|()| file.sync_data());
    if written.is_err() {
        file.set_len(length)?;
    }
    written
}

/// The last lines, oldest first.
pub(super) fn tail(root: &Path, most: usize) -> io::Result<Vec<String>> {
    let path = path(root);
    let mut lines = Vec::new();
    for file in [aside(&path), path] {
        match fs::read(&file) {
            Ok(bytes) => lines.extend(String::from_utf8_lossy(&bytes).lines().map(str::to_owned)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(lines.split_off(lines.len().saturating_sub(most)))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)
}

fn aside(path: &Path) -> PathBuf {
    path.with_extension("jsonl.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("dualgate-letters-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).unwrap();
        root
    }

    #[test]
    fn letters_are_bounded_by_two_files_and_the_oldest_go() {
        let root = folder("bounded");
        for at in 0..10 {
            append_with(&root, &format!("letter {at}"), 40).unwrap();
        }
        assert_eq!(tail(&root, 100).unwrap(), (4..10).map(|at| format!("letter {at}")).collect::<Vec<_>>());
        assert_eq!(tail(&root, 2).unwrap(), ["letter 8", "letter 9"]);
        assert!(fs::read_dir(&root).unwrap().count() == 2 && fs::metadata(path(&root)).unwrap().len() <= 40);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn half_a_line_of_before_does_not_spoil_the_next() {
        let root = folder("torn");
        fs::write(path(&root), "whole\nha").unwrap();
        append(&root, "next").unwrap();
        assert_eq!(tail(&root, 10).unwrap(), ["whole", "ha", "next"]);
        fs::remove_dir_all(&root).unwrap();
    }
}
