//! Configurations that were in force, a file each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{io_error, write_new};
use crate::live::store::{Generation, StoreError};

/// All that are kept, oldest first. One that cannot be read is left out, and said to be.
pub(super) fn read(folder: &Path) -> Result<Vec<Generation>, StoreError> {
    let mut kept = Vec::new();
    for (number, path) in files(folder)? {
        let text = fs::read_to_string(&path).map_err(|error| io_error(&path, error))?;
        match serde_json::from_str::<Generation>(&text) {
            Ok(generation) if generation.number == number => kept.push(generation),
            Ok(_) => {
                tracing::warn!(file = %path.display(), "a configuration of before is left out: it is another one than its name says")
            }
            Err(error) => tracing::warn!(file = %path.display(), %error, "a configuration of before is left out"),
        }
    }
    Ok(kept)
}

/// Keeps one more, and lets go of the oldest.
pub(super) fn keep(folder: &Path, generation: &Generation, most: usize) -> Result<(), StoreError> {
    let path = folder.join(format!("{:06}.json", generation.number));
    let text = serde_json::to_string(generation).map_err(|error| io_error(&path, error.into()))?;
    write_new(&path, text.as_bytes(), |_| Ok(()))?;
    let kept = files(folder)?;
    for (_, path) in kept.iter().take(kept.len().saturating_sub(most)) {
        fs::remove_file(path).map_err(|error| io_error(path, error))?;
    }
    Ok(())
}

/// In the order of their numbers.
fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error(folder, error)),
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let numbered = |path: PathBuf| Some((path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()?, path));
    let mut files: Vec<(u64, PathBuf)> = paths.filter_map(numbered).collect();
    files.sort_unstable();
    Ok(files)
}
