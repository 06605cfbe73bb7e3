use super::*;
use crate::domain::machine::Condemned;
use crate::domain::{Salt, Split};

pub(super) fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("dualgate-store-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

pub(super) fn state(revision: u64, split: &str) -> Durable {
    let first = Durable::first(Split::parse(split).unwrap(), 1, Salt::new([9; 16]));
    Durable { revision, sequence: revision, ..first }
}

fn newest(store: &Directory) -> Durable {
    let found = store.load("notes").unwrap();
    found.state.unwrap().braked(found.brake)
}

#[test]
fn a_state_comes_back_after_a_restart_and_the_newer_brake_wins() {
    let root = folder("restart");
    let store = Directory::open(&root).unwrap();
    assert_eq!(store.load("notes").unwrap(), Found::default());
    store.save("notes", &state(1, "90:10"), 0).unwrap();
    store.save("notes", &state(2, "50:50"), 1).unwrap();
    store.brake("notes", &state(3, "100:0").brake()).unwrap();
    drop(store);
    let found = newest(&Directory::open(&root).unwrap());
    assert_eq!((found.revision, found.split.to_string().as_str()), (3, "100:0"));
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_writer_who_saw_another_revision_is_refused() {
    let root = folder("conflict");
    let store = Directory::open(&root).unwrap();
    store.load("notes").unwrap();
    store.save("notes", &state(1, "90:10"), 0).unwrap();
    assert!(matches!(store.save("notes", &state(2, "0:100"), 0), Err(StoreError::Conflict { expected: 0, found: 1 })));
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_second_proxy_on_the_same_directory_is_refused_and_told_who_has_it() {
    let root = folder("locked");
    let _store = Directory::open(&root).unwrap();
    let error = Directory::open(&root).err().unwrap().to_string();
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_damaged_state_falls_back_to_the_previous_one_and_without_it_refuses() {
    let root = folder("damaged");
    let store = Directory::open(&root).unwrap();
    store.load("notes").unwrap();
    store.save("notes", &state(1, "90:10"), 0).unwrap();
    store.save("notes", &state(2, "50:50"), 1).unwrap();
    let path = store.state_path("notes");
    let altered = fs::read_to_string(&path).unwrap().replace("5000", "6000");
    fs::write(&path, altered).unwrap();
    assert_eq!(newest(&store).revision, 1);
    fs::remove_file(path.with_extension("json.prev")).unwrap();
    let error = store.load("notes").unwrap_err().to_string();
    assert!(error.contains("the checksum does not fit") && error.contains("restore it from a backup"), "{error}");
    fs::write(&path, r#"{"format":2,"checksum":"","state":{}}"#).unwrap();
    assert!(store.load("notes").unwrap_err().to_string().contains("written by a newer version"));
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_torn_brake_leaves_the_one_before() {
    let root = folder("torn");
    let store = Directory::open(&root).unwrap();
    store.load("notes").unwrap();
    store.save("notes", &state(1, "50:50"), 0).unwrap();
    store.brake("notes", &state(2, "100:0").brake()).unwrap();
    store.brake("notes", &state(3, "100:0").brake()).unwrap();
    let torn = OpenOptions::new().write(true).open(root.join("brake/notes")).unwrap();
    torn.write_all_at(b"garbage", SLOT as u64 + 100).unwrap();
    assert_eq!(newest(&store).revision, 2);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_brake_needs_no_room_whatever_the_reason_says() {
    let root = folder("long-reason");
    let store = Directory::open(&root).unwrap();
    store.load("notes").unwrap();
    store.save("notes", &state(1, "50:50"), 0).unwrap();
    let mut long = state(2, "100:0");
    long.condemned.secondary = Some(Condemned { version: "2".into(), reason: Some("x".repeat(100_000)), revision: 2 });
    store.brake("notes", &long.brake()).unwrap();
    assert_eq!(fs::metadata(root.join("brake/notes")).unwrap().len(), 2 * SLOT as u64);
    let found = newest(&store);
    assert_eq!((found.revision, found.condemned.secondary.unwrap().version.as_str()), (2, "2"));
    fs::remove_dir_all(root).unwrap();
}

/// A literal old document: what this version writes must be readable by every later one.
#[test]
fn a_state_file_of_format_1_still_loads() {
    let state = r#"{"revision":7,"secondary_basis_points":1000,"stable":"primary","condemned":{"primary":null,"secondary":{"version":"1.5.0","reason":"errors"}},"epoch":1,"salt":"000102030405060708090a0b0c0d0e0f","overlay":{"primary":null,"secondary":{"version":"1.5.1","endpoints":[{"name":"a","url":"http://127.0.0.1:3001"}]}}}"#;
    let root = folder("format-1");
    let store = Directory::open(&root).unwrap();
    fs::write(store.state_path("notes"), format!(r#"{{"format":1,"checksum":"{}","state":{state}}}"#, checksum(state))).unwrap();
    let found = newest(&store);
    assert_eq!((found.revision, found.split.to_string().as_str()), (7, "90:10"));
    assert_eq!(found.overlay.secondary.unwrap().endpoints[0].name, "a");
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn secrets_are_generated_once_and_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let root = folder("secret");
    let store = Directory::open(&root).unwrap();
    assert_eq!(store.secret("admin-token", || "one".into()).unwrap(), "one");
    assert_eq!(store.secret("admin-token", || "two".into()).unwrap(), "one");
    let mode = fs::metadata(store.secret_path("admin-token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_state_that_is_gone_beside_the_one_before_is_no_first_start() {
    let root = folder("gone");
    let store = Directory::open(&root).unwrap();
    store.load("notes").unwrap();
    store.save("notes", &state(1, "90:10"), 0).unwrap();
    store.save("notes", &state(2, "50:50"), 1).unwrap();
    assert_eq!(store.warning("notes"), None);
    fs::remove_file(store.state_path("notes")).unwrap();
    assert_eq!(newest(&store).revision, 1);
    let warning = store.warning("notes").unwrap();
    assert!(warning.contains("revision 1") && warning.contains("is gone"), "{warning}");
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_save_that_finds_no_room_leaves_both_files_as_they_were() {
    let root = folder("no-room");
    let store = Directory::open(&root).unwrap();
    store.load("notes").unwrap();
    store.save("notes", &state(1, "90:10"), 0).unwrap();
    store.save("notes", &state(2, "50:50"), 1).unwrap();
    let path = store.state_path("notes");
    let both = || [fs::read(&path).unwrap(), fs::read(path.with_extension("json.prev")).unwrap()];
    let before = both();
    // As on a full disk: the new file cannot be made.
    fs::create_dir(path.with_extension("tmp")).unwrap();
    store.save("notes", &state(3, "0:100"), 2).unwrap_err();
    assert!(both() == before, "the one before is still the one before");
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn without_hard_links_the_one_before_is_a_copy_and_what_a_crash_left_is_no_obstacle() {
    let root = folder("no-links");
    fs::create_dir_all(&root).unwrap();
    let path = root.join("notes.json");
    fs::write(&path, "one").unwrap();
    fs::write(path.with_extension("json.link"), "left").unwrap();
    keep_previous(&path, |_, _| Err(io::ErrorKind::PermissionDenied.into())).unwrap();
    assert_eq!(fs::read_to_string(path.with_extension("json.prev")).unwrap(), "one");
    assert!(path.exists() && !path.with_extension("json.link").exists());
    fs::write(path.with_extension("json.link"), "left").unwrap();
    fs::write(&path, "two").unwrap();
    keep_previous(&path, |from, to| fs::hard_link(from, to)).unwrap();
    assert_eq!(fs::read_to_string(path.with_extension("json.prev")).unwrap(), "two");
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_deep_root_is_made_whole() {
    let root = folder("deep");
    drop(Directory::open(&root.join("a/b")).unwrap());
    assert!(root.join("a/b/brake").is_dir());
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn dead_letters_are_there_after_a_restart_and_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let root = folder("dead-letters");
    Directory::open(&root).unwrap().keep_dead_letter(r#"{"sink":"ops"}"#).unwrap();
    let directory = Directory::open(&root).unwrap();
    directory.keep_dead_letter(r#"{"sink":"chat"}"#).unwrap();
    assert_eq!(directory.dead_letters(10).unwrap(), [r#"{"sink":"ops"}"#, r#"{"sink":"chat"}"#]);
    assert_eq!(fs::metadata(root.join("dead-letters.jsonl")).unwrap().permissions().mode() & 0o777, 0o600);
    fs::remove_dir_all(root).unwrap();
}
