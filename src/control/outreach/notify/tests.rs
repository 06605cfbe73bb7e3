use super::*;

pub(super) fn notice(occasion: Occasion) -> Notice {
    Notice {
        service: "notes".to_owned(),
        rollout: Some("r-1".to_owned()),
        occasion,
        severity: Severity::Critical,
        title: "notes: 1.5.0 was taken back".to_owned(),
        detail: "search fails".to_owned(),
        fields: vec![("tool".to_owned(), "search".to_owned()), ("rate".to_owned(), "12 %".to_owned())],
        time: "2026-01-12T09:14:03.171Z".to_owned(),
        revision: 7,
    }
}

use std::path::PathBuf;

use aws_lc_rs::hmac;
use serde_json::Value;

use super::super::tests::{Asked, Fake, Reply, eventually, file, nobody};
use crate::config::{Hidden, SinkKind, SinkUrl};
use crate::live::Memory;

const QUICK: Pace =
    Pace { first: Duration::from_millis(1), longest: Duration::from_millis(4), tries: 3, oldest: Duration::from_secs(3600) };

/// A second try is for another day.
const SLOW: Pace = Pace { first: Duration::from_secs(3600), longest: Duration::from_secs(3600), ..QUICK };

fn sink(name: &str, url: &str) -> Sink {
    Sink {
        name: name.to_owned(),
        kind: SinkKind::Generic { secret_file: None },
        url: SinkUrl::Written(Hidden(format!("{url}/hook/secret"))),
        events: Vec::new(),
        services: Vec::new(),
        timeout: Duration::from_secs(10),
    }
}

fn start(sinks: &[Sink], pace: Pace) -> (Notifier, Arc<Memory>) {
    let store = Arc::new(Memory::default());
    (Notifier::start_with(sinks, store.clone(), Client::new(), pace), store)
}

fn figures(notifier: &Notifier, name: &str) -> [u64; 4] {
    let all = notifier.counts();
    let SinkCounts { delivered, failed, dead, waiting, .. } = all.iter().find(|counts| counts.sink == name).unwrap();
    [*delivered, *failed, *dead, *waiting]
}

async fn figures_become(notifier: &Notifier, name: &str, expected: [u64; 4]) {
    let mut last = [0; 4];
    let become_so = async {
        while last != expected {
            tokio::time::sleep(Duration::from_millis(2)).await;
            last = figures(notifier, name);
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), become_so).await;
    assert_eq!(last, expected, "delivered, failed, dead, waiting");
}

async fn letters(store: &Arc<Memory>, count: usize) -> Vec<Value> {
    eventually("the dead letters", async || {
        let letters = store.dead_letters(1000).unwrap();
        (letters.len() >= count).then(|| letters.iter().map(|line| serde_json::from_str(line).unwrap()).collect())
    })
    .await
}

fn is_signed(asked: &Asked, secret: &str) -> bool {
    let (time, mac) = asked.headers["dualgate-signature"].strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mac: Vec<u8> = (0..mac.len()).step_by(2).map(|at| u8::from_str_radix(&mac[at..at + 2], 16).unwrap()).collect();
    hmac::verify(&key, format!("{time}.{}", asked.body).as_bytes(), &mac).is_ok()
}

#[tokio::test]
async fn a_notice_arrives_once_named_and_signed() {
    let (fake, secret) = (Fake::saying(200).await, file("secret", "hunter2\n"));
    let signing = Sink { kind: SinkKind::Generic { secret_file: Some(secret.clone()) }, ..sink("ops", &fake.url) };
    let (notifier, store) = start(&[signing], QUICK);
    notifier.enqueue(notice(Occasion::Rollback));
    figures_become(&notifier, "ops", [1, 0, 0, 0]).await;
    let asked = &fake.asked()[0];
    assert_eq!(
        (asked.line.as_str(), &asked.headers["content-type"]),
        ("POST /hook/secret HTTP/1.1", &"application/json".to_owned())
    );
    let id = asked.headers["dualgate-delivery"].clone();
    assert_eq!((&asked.json()["id"], &asked.headers["idempotency-key"]), (&Value::from(id.clone()), &format!("\"{id}\"")));
    assert!(is_signed(asked, "hunter2") && !is_signed(asked, "hunter3"));
    assert!(store.dead_letters(10).unwrap().is_empty() && notifier.warnings().is_empty());
    std::fs::remove_file(secret).unwrap();
}

#[tokio::test]
async fn what_may_pass_is_tried_again_under_the_same_name() {
    let fake = Fake::start(|asked, _| match asked {
        0 => Reply::Says(503, "later".to_owned()),
        1 => Reply::With(429, "retry-after: 0"),
        _ => Reply::Endless,
    })
    .await;
    let (notifier, _) = start(&[sink("ops", &fake.url)], QUICK);
    notifier.enqueue(notice(Occasion::Rollback));
    figures_become(&notifier, "ops", [1, 2, 0, 0]).await;
    let ids: Vec<String> = fake.asked().iter().map(|asked| asked.headers["dualgate-delivery"].clone()).collect();
    assert!(ids.len() == 3 && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    notifier.enqueue(notice(Occasion::Done));
    assert_ne!(fake.asked_times(4).await[3].headers["dualgate-delivery"], ids[0]);
}

#[tokio::test]
async fn what_is_refused_for_good_is_a_dead_letter_at_once_and_keeps_nobody_waiting() {
    let fake = Fake::start(|asked, _| match asked {
        0 => Reply::Says(400, "invalid_payload".to_owned()),
        1 => Reply::With(301, "location: /elsewhere"),
        _ => Reply::Says(200, String::new()),
    })
    .await;
    let (notifier, store) = start(&[sink("ops", &fake.url)], SLOW);
    for occasion in [Occasion::Rollback, Occasion::Frozen, Occasion::Done] {
        notifier.enqueue(notice(occasion));
    }
    figures_become(&notifier, "ops", [1, 2, 2, 0]).await;
    let letters = letters(&store, 2).await;
    assert_eq!(
        (&letters[0]["sink"], &letters[0]["tries"], &letters[0]["notice"]["event"]),
        (&"ops".into(), &1.into(), &"rollback".into())
    );
    assert_eq!(letters[0]["why"], format!("{}/…: answers 400 Bad Request: invalid_payload", fake.url));
    assert!(letters[1]["why"].as_str().unwrap().contains("redirects are not followed"));
    assert!(!letters.iter().any(|letter| letter.to_string().contains("hook/secret")));
}

#[tokio::test]
async fn what_is_critical_waits_behind_nothing_that_is_only_told() {
    // The first is to be tried again in an hour; two more wait behind it.
    let fake =
        Fake::start(|asked, _| if asked == 0 { Reply::Says(503, "later".to_owned()) } else { Reply::Says(200, String::new()) })
            .await;
    let (notifier, _) = start(&[sink("ops", &fake.url)], SLOW);
    let told = |title: &str| Notice { severity: Severity::Info, title: title.to_owned(), ..notice(Occasion::Step) };
    notifier.enqueue(told("first"));
    figures_become(&notifier, "ops", [0, 1, 0, 1]).await;
    notifier.enqueue(told("second"));
    notifier.enqueue(notice(Occasion::Rollback));
    figures_become(&notifier, "ops", [3, 1, 0, 0]).await;
    let titles: Vec<String> = fake
        .asked()
        .iter()
        .map(|asked| serde_json::from_str::<Value>(&asked.body).unwrap()["title"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(titles, ["first", "notes: 1.5.0 was taken back", "first", "second"]);
}

#[tokio::test]
async fn a_dead_sink_delays_no_other_and_nobody_who_has_something_to_tell() {
    let (hanging, sound) = (Fake::start(|_, _| Reply::Hangs).await, Fake::saying(200).await);
    let dead = nobody().await;
    let (notifier, _) = start(&[sink("hanging", &hanging.url), sink("dead", &dead), sink("sound", &sound.url)], SLOW);
    (0..20).for_each(|_| notifier.enqueue(notice(Occasion::Step)));
    figures_become(&notifier, "sound", [20, 0, 0, 0]).await;
    assert_eq!(figures(&notifier, "hanging"), [0, 0, 0, 20]);
    figures_become(&notifier, "dead", [0, 1, 0, 20]).await;
    let warning = notifier.warnings().concat();
    assert!(warning.contains("notifications to `dead` fail") && warning.contains("20 wait"), "{warning}");
}

/// A file that is missing needs no socket, so that the clock may stand still but for the pauses.
#[tokio::test(start_paused = true)]
async fn after_eight_tries_in_about_ten_minutes_it_is_a_dead_letter() {
    let missing = Sink { url: SinkUrl::File(PathBuf::from("/nowhere/hook")), ..sink("ops", "http://x") };
    let (notifier, store) = start(&[missing], Pace::default());
    let began = Instant::now();
    notifier.enqueue(notice(Occasion::Rollback));
    while figures(&notifier, "ops")[2] == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let took = began.elapsed().as_secs();
    assert_eq!(figures(&notifier, "ops"), [0, 8, 1, 0]);
    assert!((490..=745).contains(&took), "{took}");
    notifier.0.tools.dead.flush(Duration::from_secs(1)).await;
    let letters = store.dead_letters(10).unwrap();
    assert!(
        letters.len() == 1 && letters[0].contains("\"tries\":8") && letters[0].contains("cannot read /nowhere/hook"),
        "{letters:?}"
    );
}

#[tokio::test]
async fn what_waits_follows_its_sink_to_where_it_is_now() {
    let (dead, sound) = (nobody().await, Fake::saying(200).await);
    let (notifier, _) = start(&[sink("ops", &dead)], SLOW);
    (0..3).for_each(|_| notifier.enqueue(notice(Occasion::Step)));
    figures_become(&notifier, "ops", [0, 1, 0, 3]).await;
    notifier.configure(&[sink("ops", &dead)]);
    notifier.configure(&[sink("ops", &sound.url)]);
    figures_become(&notifier, "ops", [3, 1, 0, 0]).await;
}

#[tokio::test]
async fn what_waits_for_a_sink_that_is_gone_is_tried_once_more_and_kept() {
    let (dead, sound) = (nobody().await, Fake::saying(200).await);
    let (notifier, store) = start(&[sink("old", &dead)], SLOW);
    (0..2).for_each(|_| notifier.enqueue(notice(Occasion::Step)));
    figures_become(&notifier, "old", [0, 1, 0, 2]).await;
    notifier.configure(&[sink("new", &sound.url)]);
    figures_become(&notifier, "old", [0, 3, 2, 0]).await;
    assert_eq!(letters(&store, 2).await.len(), 2);
    notifier.enqueue(notice(Occasion::Done));
    figures_become(&notifier, "new", [1, 0, 0, 0]).await;
    assert_eq!(figures(&notifier, "old"), [0, 3, 2, 0], "it is told nothing any more");
    notifier.configure(&[sink("old", &sound.url)]);
    notifier.enqueue(notice(Occasion::Done));
    figures_become(&notifier, "old", [1, 3, 2, 0]).await;
}

#[tokio::test]
async fn a_queue_is_bounded_and_what_it_cannot_hold_is_kept_as_a_dead_letter() {
    let hanging = Fake::start(|_, _| Reply::Hangs).await;
    let (notifier, store) = start(&[sink("ops", &hanging.url)], SLOW);
    notifier.enqueue(notice(Occasion::Started));
    hanging.asked_times(1).await;
    (0..300).for_each(|_| notifier.enqueue(notice(Occasion::Step)));
    assert_eq!(figures(&notifier, "ops"), [0, 0, 44, 257]);
    let letters = letters(&store, 44).await;
    assert!(letters[0]["why"] == "256 others wait for this sink" && letters[0]["notice"]["event"] == "step");
}

#[tokio::test]
async fn what_is_left_at_the_end_becomes_dead_letters() {
    let hanging = Fake::start(|_, _| Reply::Hangs).await;
    let (notifier, store) = start(&[sink("ops", &hanging.url)], SLOW);
    (0..3).for_each(|_| notifier.enqueue(notice(Occasion::Step)));
    hanging.asked_times(1).await;
    notifier.close(Duration::from_millis(100)).await;
    let left = letters(&store, 3).await;
    assert!(left.iter().all(|letter| letter["why"] == STOPPED));
    notifier.enqueue(notice(Occasion::Done));
    assert_eq!(letters(&store, 4).await[3]["notice"]["event"], "done");
    assert_eq!(figures(&notifier, "ops")[2..], [4, 0]);
}

#[tokio::test]
async fn an_end_with_nothing_left_loses_nothing_and_waits_for_nothing() {
    let sound = Fake::saying(200).await;
    let (notifier, store) = start(&[sink("ops", &sound.url)], QUICK);
    (0..5).for_each(|_| notifier.enqueue(notice(Occasion::Step)));
    notifier.close(Duration::from_secs(3600)).await;
    assert_eq!(figures(&notifier, "ops"), [5, 0, 0, 0]);
    assert!(store.dead_letters(10).unwrap().is_empty());
}

#[tokio::test]
async fn a_test_is_delivered_to_every_sink_and_says_how_it_went() {
    let (sound, broken, pager) = (Fake::saying(200).await, Fake::saying(404).await, Fake::saying(202).await);
    let hanging = Fake::start(|_, _| Reply::Hangs).await;
    let key = file("routing-key", "R0\n");
    let sinks = [
        sink("sound", &sound.url),
        sink("broken", &broken.url),
        Sink { timeout: Duration::from_millis(30), ..sink("hanging", &hanging.url) },
        Sink {
            kind: SinkKind::PagerDuty { routing_key_file: key.clone() },
            events: vec![Occasion::Rollback],
            ..sink("pager", &pager.url)
        },
    ];
    let (notifier, store) = start(&sinks, QUICK);
    let tested = notifier.test(None).await;
    let said: Vec<(&str, bool, bool)> = tested.iter().map(|one| (one.sink.as_str(), one.error.is_none(), one.is_late)).collect();
    assert_eq!(said, [("broken", false, false), ("hanging", false, true), ("pager", true, false), ("sound", true, false)]);
    assert_eq!(sound.asked()[0].json()["event"], "test");
    let actions: Vec<Value> = pager.asked().iter().map(|asked| asked.json()["event_action"].clone()).collect();
    assert_eq!(actions, ["trigger", "resolve"], "nobody has to close what was only a test");
    assert!(pager.asked().iter().all(|asked| asked.json()["routing_key"] == "R0"));
    assert_eq!((broken.asked().len(), store.dead_letters(10).unwrap().len()), (1, 0), "no second try, no dead letter");
    assert_eq!(notifier.test(Some("sound")).await.len(), 1);
    assert!(notifier.test(Some("other")).await.is_empty());
    std::fs::remove_file(key).unwrap();
}

#[tokio::test]
async fn a_file_that_is_put_right_counts_from_the_next_try_on() {
    let sound = Fake::saying(200).await;
    let path = file("url", "not a url");
    let by_file = Sink { url: SinkUrl::File(path.clone()), ..sink("ops", "") };
    let (notifier, _) = start(&[by_file], Pace { tries: 10_000, ..QUICK });
    notifier.enqueue(notice(Occasion::Rollback));
    let failure = eventually("a failure", async || notifier.counts()[0].failure.clone()).await;
    assert_eq!(failure, format!("{}: not a URL with a scheme and a host, like https://example.com/path", path.display()));
    std::fs::write(&path, format!("{}/x\n", sound.url)).unwrap();
    assert_eq!(sound.asked_times(1).await[0].line, "POST /x HTTP/1.1");
    std::fs::remove_file(path).unwrap();
}
