use super::*;
use crate::live::Memory;

fn record(id: &str, phase: &str) -> Record {
    Record { id: id.to_owned(), service: "notes".to_owned(), phase: phase.to_owned(), ..Record::default() }
}

#[test]
fn of_each_rollout_the_newest_waits_and_what_failed_does_not_come_back_over_it() {
    let mut keeper = Keeper::default();
    keeper.take(record("a", "holding"));
    keeper.take(record("b", "holding"));
    keeper.take(record("a", "done"));
    keeper.put_back(record("a", "gating"));
    let waiting: Vec<_> = keeper.waiting.iter().map(|one| (one.id.as_str(), one.phase.as_str())).collect();
    assert_eq!(waiting, [("b", "holding"), ("a", "done")]);
}

#[test]
fn what_waits_is_bounded() {
    let mut keeper = Keeper::default();
    (0..100).for_each(|n| keeper.take(record(&n.to_string(), "done")));
    keeper.put_back(record("old", "done"));
    assert_eq!(keeper.waiting.len(), MOST_WAITING);
    assert_eq!(keeper.waiting.back().unwrap().id, "99");
}

#[test]
fn a_record_that_says_the_same_is_not_written_again() {
    let store = Memory::default();
    let mut first = record("a", "done");
    first.written = "first".to_owned();
    keep(&store, "notes", &first).unwrap();
    keep(&store, "notes", &Record { written: "second".to_owned(), ..first.clone() }).unwrap();
    let text = store.record("notes", "a", RecordForm::Json).unwrap().unwrap();
    assert!(text.contains("\"first\""), "{text}");
    keep(&store, "notes", &Record { reason: Some("more".to_owned()), written: "third".to_owned(), ..first }).unwrap();
    assert!(store.record("notes", "a", RecordForm::Json).unwrap().unwrap().contains("\"third\""));
}

#[test]
fn the_newest_come_first_and_what_cannot_be_read_is_left_out() {
    let store = Arc::new(Memory::default());
    for (id, began) in [("b", "2026-01-02"), ("c", "2026-01-03"), ("a", "2026-01-01")] {
        keep(&*store, "notes", &Record { began: Some(began.to_owned()), ..record(id, "done") }).unwrap();
    }
    let torn = crate::live::RecordText { json: "{".to_owned(), markdown: String::new() };
    store.keep_record("notes", "torn", &torn).unwrap();
    let ids = |most| Records::new(store.clone()).newest("notes", most).unwrap().into_iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(ids(10), ["c", "b", "a"]);
    assert_eq!(ids(2), ["c", "b"]);
    assert!(Records::new(store.clone()).newest("tasks", 10).unwrap().is_empty());
}
