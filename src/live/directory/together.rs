//! Several states stored as one: written beside their places, then agreed on by one file, then put in place. A crash before
//! the agreement leaves the old ones; after it, the next start puts the rest in place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{io_error, keep_previous, sync_folder, write_new, write_state};
use crate::live::store::{Saving, StoreError};

const AGREED: &str = "import";

/// Stores these states; `folder` is the one of the services.
pub(super) fn save(folder: &Path, saves: &[Saving]) -> Result<(), StoreError> {
    finish(folder)?;
    let written = saves.iter().try_for_each(|saving| {
        let path = beside(folder, &saving.service);
        let text = write_state(&saving.state).map_err(|error| io_error(&path, error.into()))?;
        write_new(&path, text.as_bytes(), |_| Ok(()))
    });
    let names: String = saves.iter().map(|saving| format!("{}\n", saving.service)).collect();
    let agreed = written.and_then(|()| write_new(&folder.join(AGREED), names.as_bytes(), |_| Ok(())));
    match agreed {
        Ok(()) => finish(folder),
        Err(error) => {
            // A file that says it is agreed and could not be made sure of must not speak at the next start.
            let _ = fs::remove_file(folder.join(AGREED));
            saves.iter().for_each(|saving| drop(fs::remove_file(beside(folder, &saving.service))));
            Err(error)
        }
    }
}

/// Puts in place what was agreed on. What was not is passed over, and written over by the next.
pub(super) fn finish(folder: &Path) -> Result<(), StoreError> {
    let agreed = folder.join(AGREED);
    let names = match fs::read_to_string(&agreed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        names => names.map_err(|error| io_error(&agreed, error))?,
    };
    let place = |service: &str| -> io::Result<()> {
        let (from, path) = (beside(folder, service), folder.join(format!("{service}.json")));
        // In its place already: a crash came in the middle.
        if !from.try_exists()? {
            return Ok(());
        }
        keep_previous(&path, |from, to| fs::hard_link(from, to))?;
        fs::rename(&from, &path)
    };
    names.lines().try_for_each(place).and_then(|()| sync_folder(Some(folder))).map_err(|error| io_error(&agreed, error))?;
    fs::remove_file(&agreed).and_then(|()| sync_folder(Some(folder))).map_err(|error| io_error(&agreed, error))
}

fn beside(folder: &Path, service: &str) -> PathBuf {
    folder.join(format!("{service}.import"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{folder, state};
    use super::*;
    use crate::live::{Directory, Store};

    const BOTH: [&str; 2] = ["notes", "tasks"];

    /// A folder with both services at 90:10.
    fn two(name: &str) -> (PathBuf, Directory) {
        let root = folder(name);
        let store = Directory::open(&root).unwrap();
        for service in BOTH {
            store.load(service).unwrap();
            store.save(service, &state(1, "90:10"), 0).unwrap();
        }
        (root, store)
    }

    fn saves() -> Vec<Saving> {
        BOTH.map(|service| Saving { service: service.to_owned(), state: state(2, "50:50"), expected: 1 }).into()
    }

    fn splits(store: &Directory) -> Vec<String> {
        BOTH.iter().map(|service| store.load(service).unwrap().state.unwrap().split.to_string()).collect()
    }

    #[test]
    fn all_are_stored_or_none() {
        let (root, store) = two("together");
        fs::create_dir(root.join("services/tasks.tmp")).unwrap();
        store.save_all(&saves()).unwrap_err();
        assert_eq!(splits(&store), ["90:10", "90:10"]);
        fs::remove_dir(root.join("services/tasks.tmp")).unwrap();
        store.save_all(&saves()).unwrap();
        assert_eq!(splits(&store), ["50:50", "50:50"]);
        assert!(!root.join("services/import").exists());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_crash_leaves_all_of_the_old_or_all_of_the_new() {
        for (agreed, placed, wanted) in [(false, 0, "90:10"), (true, 0, "50:50"), (true, 1, "50:50"), (true, 2, "50:50")] {
            let (root, store) = two("together-crash");
            let services = root.join("services");
            for (at, saving) in saves().iter().enumerate() {
                let to = if at < placed {
                    services.join(format!("{}.json", saving.service))
                } else {
                    beside(&services, &saving.service)
                };
                fs::write(to, write_state(&saving.state).unwrap()).unwrap();
            }
            if agreed {
                fs::write(services.join(AGREED), "notes\ntasks\n").unwrap();
            }
            drop(store);
            assert_eq!(splits(&Directory::open(&root).unwrap()), [wanted, wanted], "agreed {agreed}, placed {placed}");
            fs::remove_dir_all(root).unwrap();
        }
    }

    #[test]
    fn an_import_that_was_refused_does_not_come_back_over_what_was_acknowledged_since() {
        let (root, store) = two("together-refused");
        let stuck = root.join("services/tasks.json.prev");
        let _ = fs::remove_file(&stuck);
        fs::create_dir(&stuck).unwrap();
        let refused = store.save_all(&saves()).unwrap_err();
        fs::remove_dir(&stuck).unwrap();
        // The disk is well again, and what is changed now is acknowledged.
        store.save("tasks", &state(3, "80:20"), 1).unwrap();
        drop(store);
        assert_eq!(splits(&Directory::open(&root).unwrap())[1], "80:20", "after: {refused}");
        fs::remove_dir_all(root).unwrap();
    }
}
