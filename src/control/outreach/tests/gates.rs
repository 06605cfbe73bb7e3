use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use serde_json::json;

use super::{Fake, Reply, file, nobody};
use crate::config::{ClientTls, Health, HealthKind};
use crate::control::outreach::Client;
use crate::control::outreach::gates::{Means, Question, Seen, ask};
use crate::domain::judge::Calls;
use crate::domain::machine::EndpointSpec;
use crate::domain::{Entry, Gate, PerEntry};
use crate::tls::Connector;
use crate::upstream::Endpoint;

fn question() -> Question {
    let mut calls = Calls { requests: 100, faults: 5, ..Calls::default() };
    calls.times.note(Duration::from_millis(10));
    Question {
        service: "notes".to_owned(),
        rollout: "r-1".to_owned(),
        plan: "default".to_owned(),
        step: 2,
        share: 50.0,
        candidate: Entry::Secondary,
        versions: PerEntry { primary: "1.4.2".to_owned(), secondary: "1.5.0".to_owned() },
        revision: 7,
        candidate_figures: Some(Seen::of(&calls)),
        stable_figures: None,
    }
}

fn means(endpoints: &[&str]) -> Means {
    let connector = Connector::new("service/notes".to_owned(), &ClientTls::default());
    let endpoint = |url: &&str| Endpoint::new(&EndpointSpec::new(url.trim_start_matches("http://"), *url), &connector).unwrap();
    let second = Duration::from_secs(1);
    Means {
        client: Client::new(),
        secret_file: None,
        endpoints: endpoints.iter().map(endpoint).collect::<Vec<Arc<Endpoint>>>(),
        health: Health {
            kind: HealthKind::Http,
            path: "/healthz".to_owned(),
            interval: second,
            timeout: second,
            resolve_interval: second,
        },
    }
}

fn webhook(url: &str, timeout: Duration) -> Gate {
    Gate::Webhook { url: url.to_owned(), timeout }
}

const LONG: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_webhook_says_yes_with_2xx_and_no_with_anything_else() {
    let fake = Fake::start(|asked, _| match asked {
        0 => Reply::Says(204, String::new()),
        1 => Reply::Says(409, "the change board\nhas not met".to_owned()),
        2 => Reply::With(303, "location: /yes"),
        _ => Reply::Hangs,
    })
    .await;
    let mut answers = Vec::new();
    for timeout in [LONG, LONG, LONG, Duration::from_millis(20)] {
        let answer = ask(&webhook(&format!("{}/hook/secret", fake.url), timeout), &question(), &means(&[])).await.unwrap();
        answers.push((answer.passed, answer.detail.trim_start_matches(&fake.url).to_owned()));
    }
    let expected = [
        (true, "/…: answers 204 No Content"),
        (false, "/…: answers 409 Conflict: the change board has not met"),
        (false, "/…: answers 303 See Other"),
        (false, "/…: no answer within 20ms"),
    ];
    assert_eq!(answers, expected.map(|(passed, detail)| (passed, detail.to_owned())));
}

#[tokio::test]
async fn a_webhook_is_asked_with_all_that_there_is_to_know_and_signed() {
    let fake = Fake::saying(200).await;
    let secret = file("gate-secret", "hunter2\n");
    let means = Means { secret_file: Some(secret.clone()), ..means(&[]) };
    assert!(ask(&webhook(&fake.url, LONG), &question(), &means).await.unwrap().passed);
    let asked = &fake.asked()[0];
    let expected = json!({
        "service": "notes", "rollout": "r-1", "plan": "default", "step": 2, "share": 50.0, "candidate": "secondary",
        "versions": { "primary": "1.4.2", "secondary": "1.5.0" }, "revision": 7,
        "candidate_figures": { "requests": 100, "faults": 5, "error_rate": 0.05, "p95_seconds": asked.json()["candidate_figures"]["p95_seconds"] },
    });
    assert_eq!((asked.json(), asked.line.as_str()), (expected, "POST / HTTP/1.1"));
    let (time, mac) = asked.headers["dualgate-signature"].strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"hunter2");
    let signed = hmac::sign(&key, format!("{time}.{}", asked.body).as_bytes());
    assert_eq!(mac, signed.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    std::fs::remove_file(secret).unwrap();
    assert!(!ask(&webhook(&fake.url, LONG), &question(), &means).await.unwrap().passed, "not unsigned");
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn validation_shakes_hands_with_every_endpoint_whatever_the_health_check_does() {
    let sound = Fake::start(|_, asked| {
        if asked.line.starts_with("POST /mcp ") && asked.body.contains("\"initialize\"") {
            Reply::Says(
                200,
                r#"{"jsonrpc":"2.0","id":"dualgate-health","result":{"serverInfo":{"name":"n","version":"1"}}}"#.to_owned(),
            )
        } else {
            Reply::Says(400, String::new())
        }
    })
    .await;
    let broken = Fake::saying(500).await;
    let dead = nobody().await;
    let asked = async |endpoints: &[&str]| ask(&Gate::Validation, &question(), &means(endpoints)).await.unwrap();
    let answer = asked(&[&sound.url]).await;
    assert_eq!((answer.passed, answer.detail.as_str()), (true, "1 of 1 endpoints pass the handshake"));
    let answer = asked(&[&sound.url, &broken.url, &dead]).await;
    assert!(!answer.passed && answer.detail.starts_with("2 of 3 endpoints do not pass the handshake: "), "{}", answer.detail);
    for (url, why) in [(&broken.url, "answers initialize with 500"), (&dead, "refused")] {
        let name = url.trim_start_matches("http://");
        assert!(answer.detail.contains(name) && answer.detail.contains(why), "{}", answer.detail);
    }
    assert!(!asked(&[]).await.passed);
}

#[tokio::test]
async fn what_the_machine_decides_is_asked_of_nobody() {
    assert_eq!(ask(&Gate::Health, &question(), &means(&[])).await, None);
    assert_eq!(ask(&Gate::Approval { persons: 1 }, &question(), &means(&[])).await, None);
}
