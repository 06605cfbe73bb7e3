//! Records of rollouts, two files each: JSON for programs, Markdown for people.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::{io_error, make_folder, write_new};
use crate::live::store::{RecordForm, RecordText, StoreError, is_record_id};

/// Writes both files, each whole. The JSON is what counts, so it comes last: where it is, the other is, too.
pub(super) fn keep(folder: &Path, id: &str, record: &RecordText) -> Result<(), StoreError> {
    if !is_record_id(id) {
        return Err(StoreError::of_record(id));
    }
    make_folder(folder).map_err(|error| io_error(folder, error))?;
    write_new(&path(folder, id, RecordForm::Markdown), record.markdown.as_bytes(), |_| Ok(()))?;
    write_new(&path(folder, id, RecordForm::Json), record.json.as_bytes(), |_| Ok(()))
}

/// All of them as JSON.
pub(super) fn all(folder: &Path) -> Result<Vec<String>, StoreError> {
    let mut texts = Vec::new();
    for (_, id) in written(folder)? {
        texts.extend(one(folder, &id, RecordForm::Json)?);
    }
    Ok(texts)
}

/// One of them; nothing, where there is none, or no record can have that name.
pub(super) fn one(folder: &Path, id: &str, form: RecordForm) -> Result<Option<String>, StoreError> {
    if !is_record_id(id) {
        return Ok(None);
    }
    let path = path(folder, id, form);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(&path, error)),
    }
}

/// Removes those that were written last before a time, and the oldest beyond a number; how many.
pub(super) fn prune(folder: &Path, before: Duration, most: usize) -> Result<usize, StoreError> {
    let written = written(folder)?;
    let beyond = written.len().saturating_sub(most);
    let old = written.iter().enumerate().filter(|(at, (time, _))| *at < beyond || *time < before);
    let mut gone = 0;
    for (_, (_, id)) in old {
        // The JSON first: what is listed has both.
        for form in [RecordForm::Json, RecordForm::Markdown] {
            let path = path(folder, id, form);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&path, error)),
                _ => {}
            }
        }
        gone += 1;
    }
    Ok(gone)
}

fn path(folder: &Path, id: &str, form: RecordForm) -> PathBuf {
    let ending = match form {
        RecordForm::Json => "json",
        RecordForm::Markdown => "md",
    };
    folder.join(format!("{id}.{ending}"))
}

/// When each was written last (since 1970), oldest first, and its name.
fn written(folder: &Path) -> Result<Vec<(Duration, String)>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error(folder, error)),
    };
    let named = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let id = entry.file_name().to_str()?.strip_suffix(".json")?.to_owned();
        let modified = entry.metadata().ok()?.modified().ok()?;
        is_record_id(&id).then(|| (modified.duration_since(UNIX_EPOCH).unwrap_or_default(), id))
    };
    let mut all: Vec<_> = entries.filter_map(named).collect();
    all.sort_unstable();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("dualgate-records-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder.join("records/notes")
    }

    fn text(what: &str) -> RecordText {
        RecordText { json: format!("{{\"id\":\"{what}\"}}"), markdown: format!("# {what}") }
    }

    fn gone(folder: &Path) {
        fs::remove_dir_all(folder.parent().unwrap().parent().unwrap()).unwrap();
    }

    #[test]
    fn the_last_of_a_record_is_the_one_that_counts_and_nobody_else_may_read_it() {
        let folder = folder("last");
        assert!(all(&folder).unwrap().is_empty(), "before the first");
        keep(&folder, "r-1", &text("one")).unwrap();
        keep(&folder, "r-1", &text("two")).unwrap();
        assert_eq!(all(&folder).unwrap(), [text("two").json]);
        assert_eq!(one(&folder, "r-1", RecordForm::Markdown).unwrap().as_deref(), Some("# two"));
        assert_eq!(one(&folder, "r-2", RecordForm::Json).unwrap(), None);
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(files.len(), 2, "nothing is left beside the two");
        assert!(files.iter().all(|file| file.metadata().unwrap().permissions().mode() & 0o777 == 0o600));
        gone(&folder);
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let folder = folder("names");
        for id in ["", ".", "..", "../r", "a/b", "/etc/passwd", ".hidden", "a\0b", "a\nb", "ä", &"a".repeat(129)] {
            assert!(keep(&folder, id, &text("x")).unwrap_err().to_string().contains("is not the name of a record"), "{id}");
            assert_eq!(one(&folder, id, RecordForm::Json).unwrap(), None, "{id}");
        }
        assert!(!folder.exists(), "nothing was made");
        keep(&folder, "notes-2.0_a", &text("x")).unwrap();
        gone(&folder);
    }

    #[test]
    fn a_record_that_finds_no_room_leaves_the_one_before() {
        let folder = folder("no-room");
        keep(&folder, "r-1", &text("one")).unwrap();
        // As on a full disk: the new file cannot be made.
        fs::create_dir(folder.join("r-1.tmp")).unwrap();
        keep(&folder, "r-1", &text("two")).unwrap_err();
        assert_eq!(all(&folder).unwrap(), [text("one").json]);
        assert_eq!(one(&folder, "r-1", RecordForm::Markdown).unwrap().as_deref(), Some("# one"));
        fs::remove_dir(folder.join("r-1.tmp")).unwrap();
        keep(&folder, "r-1", &text("two")).unwrap();
        assert_eq!(all(&folder).unwrap(), [text("two").json]);
        gone(&folder);
    }

    #[test]
    fn old_records_go_with_both_files_and_of_too_many_the_oldest() {
        let folder = folder("prune");
        let seconds = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for (at, id) in [(100, "b"), (200, "a"), (300, "d"), (400, "c")] {
            keep(&folder, id, &text(id)).unwrap();
            fs::File::open(folder.join(format!("{id}.json"))).unwrap().set_modified(seconds(at)).unwrap();
        }
        let left = || written(&folder).unwrap().into_iter().map(|(_, id)| id).collect::<Vec<_>>();
        assert_eq!(
            (prune(&folder, Duration::from_secs(200), 10).unwrap(), left()),
            (1, vec!["a".into(), "d".into(), "c".into()])
        );
        assert_eq!((prune(&folder, Duration::ZERO, 2).unwrap(), left()), (1, vec!["d".to_owned(), "c".to_owned()]));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4);
        assert_eq!(prune(&folder.join("nowhere"), Duration::MAX, 0).unwrap(), 0);
        gone(&folder);
    }
}
