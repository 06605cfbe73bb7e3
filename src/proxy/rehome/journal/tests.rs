use std::time::Duration;

use super::*;
use crate::config;
use crate::domain::Entry;
use crate::live::{ResidentBatch, ResidentJournal, ServiceView, snapshot};
use crate::mcp::StandsFor;
use crate::mcp::essentials::Essentials;
use crate::proxy::rehome::letterhead::Letterhead;
use crate::proxy::rehome::memory::Wish;
use crate::upstream::Client;

const WALL: Duration = Duration::from_secs(1_800_000_000);

const MANY: usize = 64 << 20;

fn after(minutes: u64) -> Moment {
    Moment::after_start(Duration::from_secs(60 * minutes))
}

fn service(remember: usize) -> ServiceView {
    let view = snapshot::tests::service("notes");
    let mut config = config::Service::clone(&view.config);
    config.sessions.remember = remember;
    ServiceView { config: Arc::new(config), ..view }
}

/// A service after a restart, with what was journalled.
fn restarted(next: ServiceView, batch: ResidentBatch) -> ServiceView {
    let journal = ResidentJournal { records: batch.records, length: 0, needed: 0 };
    next.residents.restore(journal, next.config.sessions.remember);
    next
}

fn pin(entry: Entry, endpoint: &str) -> SessionPin {
    let upstream = Some("0123456789abcdef0123456789abcdef".into());
    SessionPin { stands_for: StandsFor::SessionId, entry, endpoint: endpoint.into(), revision: 1, upstream }
}

/// What clients in the field send has 200 bytes, and 120 of headers.
fn essentials() -> Essentials {
    let start = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":"#;
    let more =
        r#"{"roots":{"listChanged":true},"sampling":{},"elicitation":{}},"clientInfo":{"name":"client","version":"1.2.3"}}}"#;
    let answer = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{},"logging":{}}}}"#;
    Essentials::agreed(format!("{start}{more}").as_bytes(), answer.as_bytes()).unwrap()
}

fn memory(letterhead: bool) -> Box<Memory> {
    let lines = "authorization: Bearer 0123456789abcdef0123456789abcdef\r\nuser-agent: client/1.2.3\r\naccept-language: en\r\n";
    let letterhead = letterhead.then(|| Arc::new(Letterhead::new("/mcp".to_owned(), lines.into(), false)));
    Box::new(Memory { essentials: Some(Arc::new(essentials())), letterhead, ..Memory::default() })
}

fn key(n: u64) -> ResidentKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&n.to_be_bytes());
    key
}

fn find(sessions: &Arc<Sessions>, service: &ServiceView, n: u64, now: Moment) -> Option<Arc<Session>> {
    let client = Client::of_session(format!("{n:0>40}").as_bytes());
    let newcomer = || Newcomer { key: Some(key(n)), memory: memory(true) };
    sessions.find(service, (client, 1), &pin(Entry::Primary, "a"), now, newcomer)
}

fn take(service: &ServiceView) -> Option<ResidentBatch> {
    let batch = service.residents.take_batch(WALL, usize::MAX, MANY);
    service.residents.kept(0, false);
    batch
}

fn is_waiting(service: &ServiceView) -> bool {
    take(service).is_some()
}

fn move_to(session: &Arc<Session>, endpoint: &str) {
    let seen = session.state().residence.current().epoch;
    let Ok(moving) = session.start_move(seen) else { panic!("somebody else moves it") };
    let place = pin(Entry::Secondary, endpoint);
    let epoch = moving.announce(&place);
    assert!(moving.finish(epoch, place, true));
}

#[tokio::test]
async fn a_session_that_was_moved_lives_there_after_a_restart_in_an_epoch_of_its_own() {
    let (service, sessions) = (service(MANY), Sessions::new(1));
    let session = find(&sessions, &service, 1, after(0)).unwrap();
    assert!(!is_waiting(&service), "its id says everything");
    session.remember(MANY, |memory| memory.grant(Wish::Level("{\"level\":\"debug\"}".into())));
    session.remember(MANY, |memory| memory.grant(Wish::Subscribe("a:1".into(), "{\"uri\":\"a:1\"}".into())));
    move_to(&session, "b");
    let before = session.state().residence.current().epoch;
    let next = restarted(self::service(MANY), take(&service).unwrap());
    let sessions = Sessions::new(1_000);
    let session = find(&sessions, &next, 1, after(0)).unwrap();
    let state = session.state();
    assert_eq!(state.residence.current().place, pin(Entry::Secondary, "b"));
    assert!(state.residence.has_moved() && state.residence.current().epoch != before);
    assert!(state.residence.of(0).is_none() && state.residence.of(before).is_none(), "those of the process before are foreign");
    let memory = state.memory.as_ref().unwrap();
    assert_eq!(memory.level.as_deref(), Some("{\"level\":\"debug\"}"));
    assert_eq!(memory.subscriptions, [("a:1".into(), "{\"uri\":\"a:1\"}".into())]);
    assert!(memory.letterhead.is_some(), "with the credentials of the request");
    assert_eq!(next.residents.size(), 0, "used up");
    drop(state);
    assert!(is_waiting(&next), "and journalled anew, so that it does not run out");
}

#[tokio::test]
async fn a_session_that_was_ended_is_over_after_a_restart() {
    let (service, sessions) = (service(MANY), Sessions::new(1));
    find(&sessions, &service, 1, after(0)).unwrap().close(None);
    let next = restarted(self::service(MANY), take(&service).unwrap());
    let session = find(&Sessions::new(1_000), &next, 1, after(0)).unwrap();
    assert!(session.check_in().is_none());
}

#[tokio::test]
async fn what_holds_no_longer_is_journalled_too() {
    let (service, sessions) = (service(MANY), Sessions::new(1));
    let session = find(&sessions, &service, 1, after(0)).unwrap();
    session.remember(MANY, |memory| memory.grant(Wish::Subscribe("a:1".into(), "{\"uri\":\"a:1\"}".into())));
    assert!(is_waiting(&service));
    session.remember(MANY, |memory| memory.grant(Wish::Unsubscribe("a:1".into())));
    let batch = take(&service).unwrap();
    assert!(Traces::decode(&batch.records[0].text).unwrap().is_nothing());
    session.remember(MANY, |memory| memory.letterhead = None);
    assert!(!is_waiting(&service), "credentials are no news");
}

#[tokio::test(start_paused = true)]
async fn the_record_of_a_session_in_use_is_written_again_before_it_runs_out() {
    let (service, sessions) = (service(MANY), Sessions::new(1));
    let session = find(&sessions, &service, 1, after(0)).unwrap();
    find(&sessions, &service, 2, after(0)).unwrap();
    move_to(&session, "b");
    let mut written = Vec::new();
    for minute in 0..60 {
        if minute < 25 {
            // As its connection does, which knows it.
            session.touch(after(minute));
        }
        sessions.sweep(after(minute));
        if let Some(batch) = take(&service) {
            assert_eq!(batch.records.iter().map(|record| record.key).collect::<Vec<_>>(), [key(1)]);
            written.push(minute);
        }
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    assert_eq!(written, [0, 10, 20, 30], "and not for ever");
    assert_eq!(sessions.count(), 0);
}

#[tokio::test]
async fn what_was_restored_counts_against_the_bound_and_leaves_room_for_sessions_that_are_there() {
    let before = service(MANY);
    let sessions = Sessions::new(1);
    for n in 0..100 {
        move_to(&find(&sessions, &before, n, after(0)).unwrap(), "b");
    }
    let batch = take(&before).unwrap();
    let bound = 10 * sessions.size() / 100;
    let next = restarted(service(bound), batch);
    let restored = next.residents.size();
    assert!((bound / 3..=bound / 2).contains(&restored), "{restored} of {bound}");
    let sessions = Sessions::new(1_000);
    let met = (0..200).filter(|n| find(&sessions, &next, *n, after(0)).is_some()).count();
    assert!((5..10).contains(&met), "{met}");
    assert!(sessions.size() + next.residents.size() <= bound);
}
