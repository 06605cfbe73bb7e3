//! Files and folders that a crash leaves whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::io_error;
use crate::live::store::StoreError;

/// Writes a file whole: what is under its name is the old content or the new. `before` runs when
/// the new content is safe beside it, so that a disk that is full has changed nothing by then.
pub(super) fn write_new(path: &Path, content: &[u8], before: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), StoreError> {
    let temporary = path.with_extension("tmp");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        before(path)?;
        fs::rename(&temporary, path)?;
        sync_folder(path.parent())
    };
    write().map_err(|error| io_error(path, error))
}

/// Keeps the present file under a second name, without a moment in which there is none.
pub(super) fn keep_previous(path: &Path, link: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    let second = path.with_extension("json.link");
    // Left of a crash between the two steps.
    match fs::remove_file(&second) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match link(path, &second) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Not every file system has hard links.
        Err(_) => {
            fs::copy(path, &second)?;
            File::open(&second)?.sync_all()?;
        }
    }
    fs::rename(&second, path.with_extension("json.prev"))
}

/// Makes a folder and those above it, and has each of their names on the disk.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made.and_then(|()| sync_folder(folder.parent())),
    }
}

pub(super) fn sync_folder(folder: Option<&Path>) -> io::Result<()> {
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
