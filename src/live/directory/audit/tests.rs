use std::collections::BTreeMap;

use proptest::prelude::*;

use super::read::*;
use super::*;
use crate::live::Report;

/// A folder of this test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("dualgate-audit-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), text).unwrap();
    }

    /// An audit of so many lines, in files of about five.
    fn with_lines(name: &str, count: u64) -> Self {
        let folder = Self::new(name);
        let mut audit = folder.open();
        (1..=count).for_each(|n| audit.append(&members(n)).unwrap());
        folder
    }

    fn open(&self) -> AuditFile {
        AuditFile::open_with(&self.0, 500).unwrap()
    }

    fn report(&self) -> Report {
        verify(&self.0).unwrap().unwrap()
    }

    /// What is wrong, in words.
    fn damage(&self) -> String {
        self.report().damage.map(|damage| damage.to_string()).unwrap_or_default()
    }

    fn all(&self) -> BTreeMap<String, Vec<u8>> {
        let names = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.map(|name| (name.clone(), fs::read(self.0.join(name)).unwrap())).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn members(n: u64) -> String {
    format!("{{\"n\":{n}}}")
}

/// The numbers of a file's lines.
fn numbers(text: &str) -> Vec<u64> {
    text.lines().map(|line| number_of(line.as_bytes()).unwrap()).collect()
}

/// The third and the fourth line of a file of lines change places.
fn swapped(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.swap(2, 3);
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn without(text: &str, gone: usize) -> String {
    text.lines().enumerate().filter(|(at, _)| *at != gone).map(|(_, line)| format!("{line}\n")).collect()
}

#[test]
fn the_chain_goes_on_over_rotations_and_restarts_and_past_what_was_dropped() {
    let folder = Folder::new("whole");
    for restart in 0..8 {
        let mut audit = folder.open();
        (1..=5).for_each(|n| audit.append(&members(restart * 5 + n)).unwrap());
        drop(audit);
        let report = folder.report();
        assert_eq!((report.damage, report.notes, report.last), (None, Vec::new(), Some(restart * 5 + 5)));
    }
    let report = folder.report();
    assert!(report.intact && report.dropped > 0 && report.first == Some(report.dropped + 1));
    assert_eq!(report.lines, 40 - report.dropped);
    assert!(!folder.0.join("audit.jsonl.4").exists());
    assert_eq!(tail(&folder.0, 1).unwrap(), [folder.read("audit.jsonl").lines().last().unwrap()]);
}

#[test]
fn lines_are_read_on_from_a_number_over_all_files() {
    let folder = Folder::with_lines("after", 12);
    let numbers = |lines: Vec<String>| lines.iter().map(|line| number_of(line.as_bytes()).unwrap()).collect::<Vec<_>>();
    assert_eq!(numbers(after(&folder.0, 0, 100).unwrap()), (1..=12).collect::<Vec<_>>());
    assert_eq!(numbers(after(&folder.0, 3, 4).unwrap()), [4, 5, 6, 7]);
    assert!(after(&folder.0, 12, 4).unwrap().is_empty());
}

#[test]
fn what_was_done_to_the_files_is_found_and_named() {
    let changed = |text: &str| text.replacen("\"n\":8", "\"n\":9", 1);
    let cut = |text: &str| text[..text.len() - 30].to_owned();
    type Deed<'a> = (&'a str, &'a dyn Fn(&str) -> String, &'a str);
    let second = "audit.jsonl.1";
    let cases: [Deed<'_>; 7] = [
        (second, &changed, "audit.jsonl.1:4: line 8 was changed, or the `prev` of line 9: they do not fit"),
        (second, &|text| without(text, 2), "audit.jsonl.1:3: line 8 is missing before line 9"),
        (
            second,
            &|text| format!("{text}{}\n", text.lines().next().unwrap()),
            "audit.jsonl.1:6: line 6 stands where line 11 belongs",
        ),
        (second, &swapped, "audit.jsonl.1:3: line 8 is missing before line 9"),
        (
            second,
            &|text| text.replacen("{\"seq\":7", "[\"seq\":7", 1),
            "audit.jsonl.1:2: not a line of the audit: it was changed, or written by somebody else",
        ),
        ("audit.jsonl", &cut, "audit.jsonl: line 14 is missing from the end"),
        ("audit.jsonl", &|text| without(&without(text, 3), 2), "audit.jsonl: lines 13 to 14 are missing from the end"),
    ];
    for (file, deed, wanted) in cases {
        let folder = Folder::with_lines("deeds", 14);
        assert_eq!(numbers(&folder.read("audit.jsonl.2")), [1, 2, 3, 4, 5]);
        folder.write(file, deed(&folder.read(file)));
        assert!(!folder.report().intact);
        assert_eq!(folder.damage(), wanted);
    }
}

#[test]
fn a_file_that_is_gone_is_found_whichever_it_is() {
    let cases = [
        ("audit.jsonl.2", "audit.jsonl.1:1: lines 1 to 5 are missing before line 6 (a file before this one is missing or cut)"),
        ("audit.jsonl.1", "audit.jsonl:1: lines 6 to 10 are missing before line 11 (a file before this one is missing or cut)"),
        ("audit.jsonl", "audit.jsonl.1: lines 11 to 14 are missing from the end"),
        ("audit.anchor", "audit.anchor: the file is gone"),
    ];
    for (file, wanted) in cases {
        let folder = Folder::with_lines("gone", 14);
        fs::remove_file(folder.0.join(file)).unwrap();
        assert_eq!(folder.damage(), wanted);
    }
}

#[test]
fn a_break_does_not_heal_when_the_next_line_is_written() {
    let deeds: [&dyn Fn(&str) -> String; 3] =
        [&|text| without(text, 3), &|text| text.replacen("\"n\":14", "\"n\":15", 1), &|_| String::new()];
    for deed in deeds {
        let folder = Folder::with_lines("heal", 14);
        folder.write("audit.jsonl", deed(&folder.read("audit.jsonl")));
        let before = folder.report();
        assert!(!before.intact);
        AuditFile::open(&folder.0).unwrap().append(&members(15)).unwrap();
        drop(AuditFile::open(&folder.0).unwrap());
        let after = folder.report();
        assert!(!after.intact, "{after:?}");
        assert!(folder.read("audit.jsonl").contains("audit-broken"));
    }
}

#[test]
fn a_line_that_a_crash_cut_short_is_closed_off_and_breaks_nothing() {
    for cut in [1, 10, 60] {
        let folder = Folder::with_lines("torn", 3);
        let (next, _) = AuditFile::open(&folder.0).unwrap().anchor.last.next(&members(4));
        let half = &next[..next.len() - cut];
        folder.write("audit.jsonl", format!("{}{half}", folder.read("audit.jsonl")));
        let report = folder.report();
        assert!(report.intact && report.notes[0].contains("cut short"), "{report:?}");
        AuditFile::open(&folder.0).unwrap().append(&members(5)).unwrap();
        let report = folder.report();
        assert_eq!((report.intact, report.lines, report.last), (true, 5, Some(5)), "{report:?}");
        assert_eq!(report.notes, ["audit.jsonl:4: cut short by a crash; line 4 closes it off"]);
        // From now on the half counts like any other.
        let whole = folder.read("audit.jsonl");
        for deed in [whole.replacen(&format!("{half}\n"), "", 1), whole.replacen(half, &half.replacen("seq", "sex", 1), 1)] {
            folder.write("audit.jsonl", deed);
            assert!(folder.damage().starts_with("audit.jsonl:4: "), "{}", folder.damage());
        }
    }
}

#[test]
fn a_line_that_lacks_but_its_end_is_whole() {
    let folder = Folder::with_lines("almost", 3);
    let (next, _) = folder.open().anchor.last.next(&members(4));
    folder.write("audit.jsonl", format!("{}{next}", folder.read("audit.jsonl")));
    folder.open().append(&members(5)).unwrap();
    let report = folder.report();
    assert_eq!((report.intact, report.lines, report.notes.len()), (true, 5, 0), "{report:?}");
}

#[test]
fn lines_after_the_anchor_are_those_of_a_crash_and_are_taken_up() {
    let folder = Folder::with_lines("lags", 3);
    let anchor = folder.all()["audit.anchor"].clone();
    folder.open().append(&members(4)).unwrap();
    folder.write("audit.anchor", anchor);
    let report = folder.report();
    assert!(report.intact && report.notes[0].contains("1 written after the anchor"), "{report:?}");
    folder.open().append(&members(5)).unwrap();
    let report = folder.report();
    assert_eq!((report.intact, report.lines, report.notes.len()), (true, 5, 0), "{report:?}");
}

#[test]
fn without_its_anchor_the_audit_goes_on_and_says_so() {
    let folder = Folder::with_lines("anchorless", 14);
    fs::remove_file(folder.0.join("audit.anchor")).unwrap();
    AuditFile::open(&folder.0).unwrap().append(&members(15)).unwrap();
    assert!(folder.read("audit.jsonl").contains("audit-anchor-lost"));
    assert!(folder.report().intact);
}

#[test]
fn lines_of_before_there_was_a_chain_are_kept_under_another_name() {
    let folder = Folder::new("unchained");
    folder.write("audit.jsonl", "{\"type\":\"split\"}\n");
    folder.write("audit.jsonl.1", "{\"type\":\"deploy\"}\n");
    folder.open().append(&members(1)).unwrap();
    assert_eq!(folder.read("audit-unchained.jsonl"), "{\"type\":\"split\"}\n");
    assert_eq!(folder.read("audit-unchained.jsonl.1"), "{\"type\":\"deploy\"}\n");
    assert_eq!((folder.report().intact, folder.report().lines), (true, 2));
    assert!(folder.read("audit.jsonl").contains("audit-began"));
}

#[test]
fn half_a_line_is_taken_back() {
    let folder = Folder::with_lines("half", 1);
    let mut audit = folder.open();
    let full = |mut file: &File, _: &[u8]| {
        file.write_all(b"tw")?;
        Err(io::Error::from(io::ErrorKind::StorageFull))
    };
    assert_eq!(audit.append_by(&members(2), full).unwrap_err().kind(), io::ErrorKind::StorageFull);
    audit.append(&members(2)).unwrap();
    assert_eq!(numbers(&folder.read("audit.jsonl")), [1, 2]);
    assert!(folder.report().intact);
}

#[test]
fn a_crash_between_the_anchor_and_the_drop_breaks_nothing() {
    let folder = Folder::with_lines("between", 20);
    let mut audit = folder.open();
    audit.anchor_what_is_dropped().unwrap();
    drop(audit);
    let report = folder.report();
    assert_eq!((report.intact, report.first, report.dropped), (true, Some(1), 5), "{report:?}");
}

#[test]
fn who_looks_while_lines_are_written_and_dropped_finds_nothing_wrong() {
    let folder = Folder::new("meanwhile");
    let mut audit = folder.open();
    audit.append(&members(1)).unwrap();
    let root = folder.0.clone();
    let looking = std::thread::spawn(move || {
        let mut last = 0;
        while last < 400 {
            let report = verify(&root).unwrap().unwrap();
            assert!(report.intact, "{report:?}");
            last = report.last.unwrap();
        }
    });
    let mut n = 1;
    while !looking.is_finished() {
        n += 1;
        audit.append(&members(n)).unwrap();
    }
    looking.join().unwrap();
}

proptest! {
    /// Every file, the anchor too. One case is apart: what a crash left half written behind the last line feed is
    /// covered by nothing until the next start closes it off.
    #[test]
    fn any_single_byte_that_changes_is_found(count in 1u64..30, file: prop::sample::Index, at: prop::sample::Index, by in 1u8..=255) {
        let folder = Folder::with_lines("byte", count);
        prop_assert!(folder.report().intact);
        let (name, mut bytes) = { let all = folder.all(); let at = file.index(all.len()); all.into_iter().nth(at).unwrap() };
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        bytes[at] = bytes[at].wrapping_add(by);
        folder.write(&name, &bytes);
        prop_assert!(!folder.report().intact, "{name} at {at}");
    }
}
