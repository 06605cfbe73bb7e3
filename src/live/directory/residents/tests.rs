use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::live::residents::{KEPT, Residents};

const ROOM: u64 = 64 << 20;

fn fresh(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("dualgate-residents-{}-{name}", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

fn record(n: u64) -> ResidentRecord {
    let level = Some(format!(r#"{{"level":"debug","n":{n}}}"#).into());
    let mut key = [0; 16];
    key[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    ResidentRecord { key, written: since_epoch(), text: Traces { level, ..Traces::default() }.encode().into() }
}

fn more(numbers: impl IntoIterator<Item = u64>) -> ResidentBatch {
    ResidentBatch { records: numbers.into_iter().map(record).collect(), anew: false, room: ROOM }
}

/// The numbers of the records that count.
fn numbers(journal: &ResidentJournal) -> Vec<u64> {
    let number = |record: &ResidentRecord| {
        let level = Traces::decode(&record.text).unwrap().level.unwrap();
        serde_json::from_str::<serde_json::Value>(&level).unwrap()["n"].as_u64().unwrap()
    };
    let mut numbers: Vec<u64> = journal.records.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn what_is_written_is_read_and_the_last_word_of_a_session_counts() {
    let path = fresh("plain");
    assert_eq!(read(&path).unwrap(), ResidentJournal::default());
    let length = write(&path, &more([1, 2])).unwrap();
    let mut again = record(1);
    again.text = Traces { is_over: true, ..Traces::default() }.encode().into();
    let longer = write(&path, &ResidentBatch { records: vec![again.clone(), record(3)], anew: false, room: ROOM }).unwrap();
    let journal = read(&path).unwrap();
    assert_eq!((journal.length, journal.records.len()), (longer, 3));
    assert!(journal.needed < longer && longer > length);
    let text = &journal.records.iter().find(|record| record.key == again.key).unwrap().text;
    assert!(Traces::decode(text).unwrap().is_over);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::remove_file(path).unwrap();
}

#[test]
fn what_counts_no_more_goes_when_the_journal_is_written_anew() {
    let path = fresh("anew");
    let mut old = record(3);
    old.written = since_epoch() - KEPT;
    let mut nothing = record(4);
    nothing.text = Traces::default().encode().into();
    let mut batch = more([1, 2, 2, 2, 4]);
    batch.records.extend([old, nothing]);
    let before = write(&path, &batch).unwrap();
    assert_eq!(numbers(&read(&path).unwrap()), [1, 2]);
    let after = write(&path, &ResidentBatch { anew: true, ..more([2, 5]) }).unwrap();
    let journal = read(&path).unwrap();
    assert_eq!(numbers(&journal), [1, 2, 5]);
    assert!(after < before && (journal.length, journal.needed) == (after, after), "{after} of {before}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::remove_file(path).unwrap();
}

#[test]
fn of_what_finds_no_room_the_oldest_goes() {
    let path = fresh("room");
    let aged = |n: u64| ResidentRecord { written: since_epoch() - Duration::from_secs(100 - n), ..record(n) };
    write(&path, &ResidentBatch { records: (10..60).rev().map(aged).collect(), anew: false, room: ROOM }).unwrap();
    let each = frame_of(&record(10)).len() as u64;
    let length = write(&path, &ResidentBatch { anew: true, room: 10 * each, ..more([10, 99]) }).unwrap();
    assert_eq!(numbers(&read(&path).unwrap()), [10, 52, 53, 54, 55, 56, 57, 58, 59, 99]);
    assert_eq!(length, 10 * each);
    fs::remove_file(path).unwrap();
}

#[test]
fn what_a_later_version_has_written_is_passed_over() {
    let path = fresh("later");
    write(&path, &more([1])).unwrap();
    let mut frame = frame_of(&record(2));
    frame[2] = VERSION + 1;
    let check = check(&frame[CHECKED], &frame[HEADER..]);
    frame[CHECKED.end..HEADER].copy_from_slice(&check);
    let bytes = [fs::read(&path).unwrap(), frame].concat();
    fs::write(&path, &bytes).unwrap();
    write(&path, &more([3])).unwrap();
    assert_eq!(numbers(&read(&path).unwrap()), [1, 3]);
    let mut frames = Frames::new(File::open(&path).unwrap());
    while frames.next().unwrap().is_some() {}
    assert_eq!(frames.later, 1);
    fs::remove_file(path).unwrap();
}

#[test]
fn records_are_found_across_the_chunks_in_which_a_journal_is_read() {
    let path = fresh("chunks");
    let count = 3 * CHUNK as u64 / 60;
    let length = write(&path, &more(0..count)).unwrap();
    assert!(length > 3 * CHUNK as u64, "{length}");
    assert_eq!(numbers(&read(&path).unwrap()), (0..count).collect::<Vec<_>>());
    write(&path, &ResidentBatch { anew: true, ..more([count]) }).unwrap();
    assert_eq!(numbers(&read(&path).unwrap()), (0..=count).collect::<Vec<_>>());
    fs::remove_file(path).unwrap();
}

#[test]
fn a_disk_that_refuses_leaves_what_was_there() {
    let path = fresh("refused");
    write(&path, &more([1])).unwrap();
    let folder = path.with_file_name(format!(".{}", path.file_name().unwrap().display()));
    fs::create_dir(&folder).unwrap();
    write(&path, &ResidentBatch { anew: true, ..more([2]) }).unwrap_err();
    assert_eq!(numbers(&read(&path).unwrap()), [1]);
    fs::remove_dir(folder).unwrap();
    fs::remove_file(path).unwrap();
}

#[test]
fn a_hundred_thousand_sessions_are_read() {
    let path = fresh("many");
    write(&path, &more(0..100_000)).unwrap();
    let begun = Instant::now();
    let journal = read(&path).unwrap();
    let (length, read_in) = (journal.length, begun.elapsed());
    let residents = Residents::default();
    assert_eq!(residents.restore(journal, usize::MAX), 100_000);
    println!("{length} bytes: read in {read_in:?}, restored after {:?}, {} bytes in memory", begun.elapsed(), residents.size());
    let begun = Instant::now();
    write(&path, &ResidentBatch { records: Vec::new(), anew: true, room: ROOM }).unwrap();
    println!("written anew in {:?}", begun.elapsed());
    assert_eq!(read(&path).unwrap().records.len(), 100_000);
    fs::remove_file(path).unwrap();
}

fn all_of(bytes: &[u8]) -> Vec<u64> {
    let mut frames = Frames::new(bytes);
    let mut records = Vec::new();
    while let Some((_, body)) = frames.next().unwrap() {
        records.extend(read_body(body));
    }
    numbers(&ResidentJournal { records, ..ResidentJournal::default() })
}

proptest! {
    #[test]
    fn a_record_that_is_torn_costs_itself_alone(cut: prop::sample::Index) {
        let frames: Vec<Vec<u8>> = [1, 2, 3].map(|n| frame_of(&record(n))).into();
        let kept = cut.index(frames[1].len());
        let bytes = [&frames[0], &frames[1][..kept], &frames[2]].concat();
        prop_assert_eq!(all_of(&bytes), [1, 3]);
        prop_assert_eq!(all_of(&[&frames[0], &frames[1][..kept]].concat()), [1]);
    }

    #[test]
    fn a_record_that_is_altered_costs_itself_alone(at: prop::sample::Index, by in 1u8..) {
        let frames: Vec<Vec<u8>> = [1, 2, 3].map(|n| frame_of(&record(n))).into();
        let mut altered = frames[1].clone();
        let at = at.index(altered.len());
        altered[at] ^= by;
        prop_assert_eq!(all_of(&[&frames[0][..], &altered, &frames[2]].concat()), [1, 3]);
    }

    #[test]
    fn what_lies_between_records_is_passed_over(noise in prop::collection::vec(prop::sample::select(vec![0u8, 0xff, 0xfd, 1, 7]), 0..99)) {
        let [one, two] = [1, 2].map(|n| frame_of(&record(n)));
        prop_assert_eq!(all_of(&[&noise[..], &one, &noise, &two, &noise].concat()), [1, 2]);
    }
}
