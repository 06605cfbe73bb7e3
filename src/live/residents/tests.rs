use super::*;
use crate::domain::Entry;
use crate::mcp::essentials::Essentials;
use crate::mcp::{SessionPin, StandsFor};
use proptest::prelude::*;

const NOW: Duration = Duration::from_secs(1_800_000_000);

/// A session that was moved to an endpoint.
struct Moved {
    key: ResidentKey,
    to: Mutex<Option<&'static str>>,
    waits: AtomicBool,
}

impl Moved {
    fn new(n: u8, to: &'static str) -> Arc<Self> {
        Arc::new(Self { key: [n; 16], to: Mutex::new(Some(to)), waits: AtomicBool::new(false) })
    }
}

impl Resident for Moved {
    fn key(&self) -> ResidentKey {
        self.key
    }

    fn traces(&self) -> Option<Traces> {
        let place = lock(&self.to).map(pin)?;
        Some(Traces { place: Some(place), ..Traces::default() })
    }

    fn waits(&self) -> &AtomicBool {
        &self.waits
    }
}

fn pin(endpoint: &str) -> SessionPin {
    let upstream = Some("6f1e0b7a5d".into());
    SessionPin { stands_for: StandsFor::SessionId, entry: Entry::Secondary, endpoint: endpoint.into(), revision: 7, upstream }
}

fn essentials(name: &str) -> Essentials {
    let params = serde_json::json!({ "protocolVersion": "2025-06-18", "clientInfo": { "name": name } });
    let request = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    let result = serde_json::json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": {} } });
    let answer = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "result": result });
    Essentials::agreed(request.to_string().as_bytes(), answer.to_string().as_bytes()).unwrap()
}

/// Where each record of a batch says that its session lives.
fn places(batch: Option<ResidentBatch>) -> Vec<(u8, String)> {
    let records = batch.map(|batch| batch.records).unwrap_or_default();
    let place = |text: &[u8]| Traces::decode(text).unwrap().place.unwrap().endpoint.to_string();
    records.iter().map(|record| (record.key[0], place(&record.text))).collect()
}

fn record(n: u8, written: Duration) -> ResidentRecord {
    let text = Traces { place: Some(pin("a")), ..Traces::default() }.encode().into();
    ResidentRecord { key: [n; 16], written, text }
}

fn journal(records: Vec<ResidentRecord>) -> ResidentJournal {
    ResidentJournal { records, length: 0, needed: 0 }
}

#[test]
fn what_changes_is_journalled_once_and_as_it_is_by_then() {
    let (residents, one, two) = (Residents::default(), Moved::new(1, "a"), Moved::new(2, "b"));
    assert_eq!(residents.take_batch(NOW, 10, 1 << 20), None);
    for _ in 0..3 {
        residents.mark(one.clone());
    }
    residents.mark(two);
    *lock(&one.to) = Some("c");
    assert_eq!(places(residents.take_batch(NOW, 10, 1 << 20)), [(1, "c".to_owned()), (2, "b".to_owned())]);
    residents.kept(100, false);
    assert_eq!(residents.take_batch(NOW, 10, 1 << 20), None);
    residents.mark(one);
    assert_eq!(places(residents.take_batch(NOW, 10, 1 << 20)), [(1, "c".to_owned())], "marked anew");
}

#[test]
fn a_batch_that_was_not_written_is_in_the_next_one_with_what_came_since_and_nobody_is_in_it_twice() {
    let (residents, one, two) = (Residents::default(), Moved::new(1, "a"), Moved::new(2, "b"));
    residents.mark(one.clone());
    for _ in 0..5 {
        assert!(residents.take_batch(NOW, 10, 1 << 20).is_some());
        residents.mark(one.clone());
        residents.mark(two.clone());
        residents.lost();
    }
    let mut again = places(residents.take_batch(NOW, 10, 1 << 20));
    again.sort();
    assert_eq!(again, [(1, "a".to_owned()), (2, "b".to_owned())]);
    residents.kept(100, false);
    residents.lost();
    assert_eq!(residents.take_batch(NOW, 10, 1 << 20), None, "what was written is");
}

#[test]
fn what_is_too_much_for_one_batch_is_in_the_next_ones() {
    let residents = Residents::default();
    (0..25).for_each(|n| residents.mark(Moved::new(n, "a")));
    let mut written = Vec::new();
    for expected in [10, 10, 5, 0] {
        let batch = places(residents.take_batch(NOW, 10, 1 << 20));
        assert_eq!(batch.len(), expected);
        written.extend(batch.into_iter().map(|(n, _)| n));
        residents.kept(100, false);
    }
    assert_eq!(written, (0..25).collect::<Vec<_>>());
}

#[test]
fn of_a_session_whose_id_says_everything_nothing_is_written() {
    let (residents, one) = (Residents::default(), Moved::new(1, "a"));
    *lock(&one.to) = None;
    residents.mark(one);
    assert_eq!(residents.take_batch(NOW, 10, 1 << 20), None);
}

#[test]
fn the_journal_is_written_anew_when_it_is_twice_as_long_as_it_need_be() {
    let (residents, one) = (Residents::default(), Moved::new(1, "a"));
    let anew = |length: u64| {
        residents.mark(one.clone());
        let anew = residents.take_batch(NOW, 10, 1 << 20).unwrap().anew;
        residents.kept(length, anew);
        anew
    };
    assert!(!anew(SHORT));
    assert!(!anew(SHORT + 1), "as short as that");
    assert!(anew(SHORT * 3));
    assert!(!anew(SHORT * 6), "it need be half as long");
    assert!(!anew(SHORT * 6 + 1));
    assert!(anew(SHORT));
}

#[test]
fn a_journal_of_the_dead_is_written_anew_though_nothing_has_changed() {
    let residents = Residents::default();
    residents.restore(ResidentJournal { records: Vec::new(), length: SHORT * 4, needed: 0 }, usize::MAX);
    assert_eq!(residents.take_batch(NOW, 10, 1 << 20), Some(ResidentBatch { records: Vec::new(), anew: true, room: 1 << 20 }));
}

#[test]
fn what_was_restored_is_there_until_its_session_is_known_or_it_has_run_out() {
    let residents = Residents::default();
    assert_eq!(residents.restore(journal(vec![record(1, NOW), record(2, NOW - KEPT / 2)]), usize::MAX), 2);
    assert_eq!(residents.look(&[1; 16]).unwrap().place, Some(pin("a")));
    assert!(residents.look(&[1; 16]).is_some() && residents.look(&[3; 16]).is_none());
    let size = residents.size();
    residents.forget(&[1; 16]);
    assert_eq!((residents.look(&[1; 16]), residents.size()), (None, size / 2));
    residents.sweep(NOW);
    assert!(residents.look(&[2; 16]).is_some());
    residents.sweep(NOW + KEPT / 2);
    assert_eq!((residents.look(&[2; 16]), residents.size()), (None, 0));
}

#[test]
fn that_a_session_was_ended_is_kept_for_a_shorter_while() {
    let mut over = record(1, NOW);
    over.text = Traces { is_over: true, ..Traces::default() }.encode().into();
    let residents = Residents::default();
    residents.restore(journal(vec![over, record(2, NOW)]), usize::MAX);
    residents.sweep(NOW + KEPT_OVER - Duration::from_secs(1));
    assert!(residents.look(&[1; 16]).unwrap().is_over);
    residents.sweep(NOW + KEPT_OVER);
    assert!(residents.look(&[1; 16]).is_none() && residents.look(&[2; 16]).is_some());
}

#[test]
fn of_what_was_journalled_the_newest_is_restored_when_there_is_no_room() {
    let residents = Residents::default();
    let all = (0..100).map(|n| record(n, NOW + Duration::from_secs(u64::from(n)))).collect();
    let each = SIZE + record(0, NOW).text.len();
    assert_eq!(residents.restore(journal(all), 2 * (10 * each + each / 2)), 10);
    assert!(residents.size() <= 10 * each + each / 2);
    assert!(residents.look(&[89; 16]).is_none() && residents.look(&[90; 16]).is_some());
}

fn any_traces() -> impl Strategy<Value = Traces> {
    let flags = (any::<bool>(), any::<bool>());
    let place =
        prop::option::of((any::<bool>(), any::<bool>(), any::<u64>(), "[a-z@.0-9]{1,60}", prop::option::of("[!-~]{0,80}")));
    let name = prop::option::of("\\PC{0,40}");
    let params = prop::collection::vec("\\PC{0,40}", 0..4);
    (flags, place, name, prop::option::of("\\PC{0,40}"), params).prop_map(|(flags, place, name, level, subscriptions)| Traces {
        is_over: flags.0,
        is_incomplete: flags.1,
        essentials: name.map(|name| essentials(&name)),
        level: level.map(Into::into),
        subscriptions: subscriptions.into_iter().map(Into::into).collect(),
        place: place.map(|(secondary, uri, revision, endpoint, upstream)| SessionPin {
            stands_for: if uri { StandsFor::EndpointUri } else { StandsFor::SessionId },
            entry: if secondary { Entry::Secondary } else { Entry::Primary },
            endpoint: endpoint.into(),
            revision,
            upstream: upstream.map(Into::into),
        }),
    })
}

proptest! {
    #[test]
    fn traces_are_read_as_they_were_written(traces in any_traces(), unknown in prop::collection::vec(any::<u8>(), 0..9)) {
        let mut bytes = traces.encode();
        prop_assert_eq!(Traces::decode(&bytes), Some(traces.clone()));
        bytes.extend_from_slice(&[100, 0, 0, 0, unknown.len() as u8]);
        bytes.extend_from_slice(&unknown);
        prop_assert_eq!(Traces::decode(&bytes), Some(traces), "a later version says more");
    }

    #[test]
    fn no_bytes_are_too_strange_to_be_read(traces in any_traces(), at: prop::sample::Index, with: u8, cut: prop::sample::Index) {
        let mut bytes = traces.encode();
        let at = at.index(bytes.len());
        bytes[at] = with;
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Some(read) = Traces::decode(&bytes) {
            prop_assert_eq!(Traces::decode(&read.encode()), Some(read));
        }
    }
}
