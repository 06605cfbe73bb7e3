//! What the admin API promises for every change and every route: conditions, keys, waits, and the document.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Fake, Folder, Options, TestApp, eventually};

const SPLIT: &str = "/v1/services/notes/split";
const ROLLBACK: &str = "/v1/services/notes/rollback";
const DEPLOY: &str = "/v1/services/notes/entries/secondary";

async fn app(split: &str) -> (Fake, Fake, TestApp) {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let app = TestApp::start(&v1, &v2, split, "health = { interval = \"50ms\", timeout = \"50ms\", fall = 1, rise = 1 }").await;
    (v1, v2, app)
}

fn split(primary: u64) -> Value {
    json!({ "primary": primary, "secondary": 100 - primary })
}

struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Answer {
    fn slug(&self) -> &str {
        self.body["type"].as_str().unwrap_or_default().trim_start_matches("urn:dualgate:problem:")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

async fn send(app: &TestApp, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
    let request = headers.iter().fold(app.admin.request(method, path), |request, (name, value)| request.header(*name, *value));
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        None => request,
    };
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, body: serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default() }
}

async fn revision(app: &TestApp) -> u64 {
    app.admin.send("GET", SPLIT, None).await.1["revision"].as_u64().unwrap()
}

async fn document(app: &TestApp) -> Value {
    app.admin.send("GET", "/v1/openapi.json", None).await.1
}

/// Method and path, as of the document, with names that exist.
fn operations(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let each = paths.flat_map(|(path, item)| item.as_object().unwrap().keys().map(move |method| (method.clone(), path.clone())));
    let named = |path: &str| path.replace("{service}", "notes").replace("{entry}", "secondary").replace("{number}", "1");
    each.map(|(method, path)| (method.to_uppercase(), named(&path))).collect()
}

#[tokio::test]
async fn a_change_that_is_sent_again_with_its_key_is_made_once_and_answered_alike() {
    let (_v1, _v2, app) = app("90:10").await;
    for (method, path, body) in [
        ("PUT", SPLIT, Some(split(50))),
        ("POST", ROLLBACK, None),
        ("PUT", DEPLOY, Some(json!({ "version": "3.0", "endpoints": ["http://127.0.0.1:9"] }))),
    ] {
        let (key, before) = (format!("\"{method} {path}\"").replace(' ', "-"), revision(&app).await);
        let first = send(&app, method, path, &[("idempotency-key", &key)], body.clone()).await;
        assert_eq!((first.status, first.header("idempotency-replayed"), &first.body["changed"]), (200, None, &json!(true)));
        let bare = key.trim_matches('"');
        let again = send(&app, method, path, &[("idempotency-key", bare)], body).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")));
        assert_eq!(again.body, first.body);
        assert_eq!((again.header("etag"), again.header("content-type")), (first.header("etag"), first.header("content-type")));
        assert_eq!(revision(&app).await, before + 1, "{path}");
    }
}

#[tokio::test]
async fn a_refusal_for_good_is_given_again_and_a_disk_that_failed_is_asked_again() {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let folder = Folder::new();
    let app = TestApp::from_text(TestApp::file(folder.path(), &[&v1], &[&v2], "100:0", "")).await;
    let refused = send(&app, "PUT", SPLIT, &[("idempotency-key", "a")], Some(json!({ "primary": 1, "secondary": 1 }))).await;
    let again = send(&app, "PUT", SPLIT, &[("idempotency-key", "a")], Some(json!({ "primary": 1, "secondary": 1 }))).await;
    assert_eq!((refused.status, again.status, again.header("idempotency-replayed")), (422, 422, Some("true")));
    assert_eq!(again.header("content-type"), Some("application/problem+json"));
    app.admin.split("60:40").await;
    // As on a full disk: no new file can be made where states are saved.
    let (services, away) = (folder.path().join("services"), folder.path().join("away"));
    std::fs::rename(&services, &away).unwrap();
    std::fs::write(&services, "not a folder").unwrap();
    let full = send(&app, "PUT", SPLIT, &[("idempotency-key", "b")], Some(split(50))).await;
    assert_eq!((full.status, full.slug()), (507, "not-stored"));
    std::fs::remove_file(&services).unwrap();
    std::fs::rename(&away, &services).unwrap();
    let made = send(&app, "PUT", SPLIT, &[("idempotency-key", "b")], Some(split(50))).await;
    assert_eq!((made.status, made.header("idempotency-replayed"), &made.body["changed"]), (200, None, &json!(true)));
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let (_v1, _v2, app) = app("90:10").await;
    let key = ("idempotency-key", "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"");
    assert_eq!(send(&app, "PUT", SPLIT, &[key], Some(split(50))).await.status, 200);
    for (method, path, more, body) in [
        ("PUT", SPLIT, None, Some(split(40))),
        ("PUT", "/v1/services/notes/split?dry_run=true", None, Some(split(50))),
        ("PUT", SPLIT, Some(("if-match", "\"2\"")), Some(split(50))),
        ("PUT", SPLIT, Some(("if-match", "")), Some(split(50))),
        ("PUT", DEPLOY, None, Some(split(50))),
        ("POST", ROLLBACK, None, None),
    ] {
        let headers: Vec<_> = [key].into_iter().chain(more).collect();
        let answer = send(&app, method, path, &headers, body).await;
        assert_eq!((answer.status, answer.slug()), (422, "idempotency-key-reused"), "{method} {path} {more:?}");
    }
    assert_eq!(revision(&app).await, 2);
    for malformed in ["", "\"", "\"\"", "\"a", "a\"", "a b", "a,b", "\"a\\\"b\"", "é", &"x".repeat(256)] {
        let answer = send(&app, "PUT", SPLIT, &[("idempotency-key", malformed)], Some(split(1))).await;
        assert_eq!((answer.status, answer.slug()), (400, "idempotency-key"), "{malformed}");
    }
    let twice = send(&app, "PUT", SPLIT, &[key, key], Some(split(1))).await;
    assert_eq!((twice.status, twice.slug()), (400, "idempotency-key"));
    assert_eq!(revision(&app).await, 2);
}

#[tokio::test]
async fn of_sixty_requests_at_once_with_one_key_one_is_made() {
    let (_v1, _v2, app) = app("90:10").await;
    let sent = (0..60).map(|_| send(&app, "PUT", SPLIT, &[("idempotency-key", "one")], Some(split(50))));
    let answers = futures::future::join_all(sent).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    assert_eq!(answers.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count(), 1);
    assert_eq!(revision(&app).await, 2);
}

#[tokio::test]
async fn every_change_is_made_on_the_condition_that_it_came_with() {
    let (_v1, _v2, app) = app("90:10").await;
    let deploy = |version: &str| json!({ "version": version, "endpoints": ["http://127.0.0.1:9"] });
    let changes = [("PUT", SPLIT, Some(split(50))), ("POST", ROLLBACK, None), ("PUT", DEPLOY, Some(deploy("3.0")))];
    for (method, path, body) in changes {
        let now = revision(&app).await;
        let stale = format!("\"{}\"", now + 1);
        let weak = format!("W/\"{now}\"");
        let none = format!("\"0{now}\", \"abc\", {stale}, {stale}, {weak}");
        for condition in [&stale, &weak, &none, "\"\"", "\"18446744073709551616\""] {
            let answer = send(&app, method, path, &[("if-match", condition)], body.clone()).await;
            assert_eq!((answer.status, answer.slug()), (412, "stale-revision"), "{path} {condition}");
            assert_eq!(answer.body["current"]["revision"], now, "{path} {condition}");
            assert!(answer.body["current"]["primary"].is_number());
        }
        for condition in ["7", "\"7", "", "*, \"7\"", "w/\"7\"", "\"7\" \"8\""] {
            let answer = send(&app, method, path, &[("if-match", condition)], body.clone()).await;
            assert_eq!((answer.status, answer.slug()), (400, "if-match"), "{path} {condition}");
        }
        assert_eq!(revision(&app).await, now);
        let one_of = format!("\"abc\", W/\"{now}\" ,\"{now}\"");
        let answer = send(&app, method, path, &[("if-match", &one_of)], body).await;
        assert_eq!((answer.status, answer.header("etag")), (200, Some(&*format!("\"{}\"", now + 1))), "{path}");
    }
    assert_eq!(send(&app, "PUT", SPLIT, &[("if-match", "*")], Some(split(40))).await.status, 200);
    let nowhere = send(&app, "POST", "/v1/services/none/rollback", &[("if-match", "W/\"1\"")], None).await;
    assert_eq!((nowhere.status, nowhere.slug()), (404, "no-such-service"));
}

#[tokio::test]
async fn a_dry_run_of_any_change_changes_nothing_and_waits_for_nothing() {
    let (_v1, _v2, app) = app("90:10").await;
    app.admin.split("100:0").await;
    app.admin.split("90:10").await;
    let before = app.admin.service().await;
    let deploy = json!({ "version": "3.0", "endpoints": ["http://127.0.0.1:9"], "force": true });
    for (method, path, body) in [("PUT", SPLIT, Some(split(50))), ("POST", ROLLBACK, None), ("PUT", DEPLOY, Some(deploy))] {
        let answer = send(&app, method, &format!("{path}?dry_run=true&wait=10m"), &[], body).await;
        assert_eq!(
            (answer.status, &answer.body["changed"], &answer.body["dry_run"]),
            (200, &json!(true), &json!(true)),
            "{path}"
        );
    }
    let after = app.admin.service().await;
    for member in ["revision", "split", "stable"] {
        assert_eq!(before[member], after[member]);
    }
    assert_eq!(after["entries"]["secondary"]["version"], "2.0");
}

#[tokio::test]
async fn who_waits_for_a_deploy_is_answered_when_it_is_up_or_told_what_is_not() {
    let (_v1, _v2, app) = app("100:0").await;
    let v3 = Fake::start("v3", Options::default()).await;
    let body = json!({ "version": "3.0", "endpoints": [v3.url()] });
    let answer = send(&app, "PUT", &format!("{DEPLOY}?wait=30s"), &[], Some(body)).await;
    assert_eq!((answer.status, &answer.body["durable"]), (200, &json!(true)));
    assert_eq!(app.admin.service().await["entries"]["secondary"]["standing"], "up");
    let closed = json!({ "version": "4.0", "endpoints": [v3.url(), "http://127.0.0.1:1"] });
    let path = format!("{DEPLOY}?wait=300ms");
    let late = send(&app, "PUT", &path, &[("idempotency-key", "late")], Some(closed.clone())).await;
    assert_eq!((late.status, late.slug()), (504, "wait-timed-out"));
    let now = revision(&app).await;
    assert_eq!(late.body["current"], json!({ "primary": 100.0, "secondary": 0.0, "revision": now }));
    let detail = late.body["detail"].as_str().unwrap();
    assert!(detail.contains("1 of 2 endpoints are not up: http://127.0.0.1:1 (") && detail.contains("after 300ms"), "{detail}");
    // The change stays made; asked for again, it is waited for again.
    assert_eq!(app.admin.service().await["entries"]["secondary"]["version"], "4.0");
    let again = send(&app, "PUT", &path, &[("idempotency-key", "late")], Some(closed)).await;
    assert_eq!((again.status, revision(&app).await), (504, now));
    let path = format!("{DEPLOY}?wait=10m");
    let waits = send(&app, "PUT", &path, &[], Some(json!({ "version": "4.1", "endpoints": ["http://127.0.0.1:1"] })));
    let overtakes = async {
        let deployed = async || (app.admin.service().await["entries"]["secondary"]["version"] == "4.1").then_some(());
        eventually("it is deployed", deployed).await;
        let open = json!({ "version": "5.0", "endpoints": [v3.url()] });
        assert_eq!(app.admin.send("PUT", DEPLOY, Some(open)).await.0, 200);
    };
    let (overtaken, ()) = futures::future::join(waits, overtakes).await;
    assert_eq!((overtaken.status, overtaken.slug()), (409, "deployed-over"));
}

#[tokio::test]
async fn who_waits_for_a_split_is_answered_when_the_disk_has_it() {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let folder = Folder::new();
    let app = TestApp::from_text(TestApp::file(folder.path(), &[&v1], &[&v2], "50:50", "")).await;
    for primary in [60, 40, 100] {
        let answer = send(&app, "PUT", &format!("{SPLIT}?wait=30s"), &[], Some(split(primary))).await;
        assert_eq!((answer.status, &answer.body["durable"]), (200, &json!(true)));
    }
    for (wait, said) in [
        ("0s", "wait: `0s` is not from 1ms to 10m"),
        ("11m", "wait: `11m` is not from 1ms to 10m"),
        ("5", "wait: `5` is not a duration: write a whole number and a unit, like 500ms, 2s, 10m, 1h, 2d"),
        ("", "wait: `` is not a duration: write a whole number and a unit, like 500ms, 2s, 10m, 1h, 2d"),
    ] {
        let answer = send(&app, "PUT", &format!("{SPLIT}?wait={wait}"), &[], Some(split(1))).await;
        assert_eq!((answer.status, answer.slug(), answer.body["detail"].as_str().unwrap()), (400, "invalid-query", said));
    }
}

#[tokio::test]
async fn every_route_is_in_the_document_and_everything_in_the_document_is_served() {
    let (_v1, _v2, app) = app("90:10").await;
    let document = document(&app).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let operations = operations(&document);
    assert!(operations.len() >= 23, "{operations:?}");
    let paths: BTreeSet<&String> = operations.iter().map(|(_, path)| path).collect();
    for path in paths {
        let documented: BTreeSet<&str> = operations.iter().filter(|(_, of)| of == path).map(|(method, _)| &**method).collect();
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            let response = app.admin.request(method, path).send().await.unwrap();
            if documented.contains(method) {
                let status = response.status();
                // What is asked for may not be there; the path is served all the same.
                let is_served = status != 404 || !response.text().await.unwrap().contains("urn:dualgate:problem:no-such-path");
                assert!(status != 405 && is_served, "{method} {path}: {status}");
                continue;
            }
            assert_eq!(response.status(), 405, "{method} {path}");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            let allow = response.headers()["allow"].to_str().unwrap().split(',').filter(|one| *one != "HEAD");
            assert_eq!(allow.collect::<BTreeSet<_>>(), documented, "{path}");
        }
    }
    for (method, path) in operations.iter().filter(|(_, path)| path.starts_with("/v1")) {
        let response = app.admin.http.request(method.parse().unwrap(), format!("{}{path}", app.admin.url)).send().await.unwrap();
        assert_eq!(response.status(), 401, "{method} {path}");
    }
}

#[tokio::test]
async fn a_query_and_an_accept_that_a_route_knows_nothing_of_are_refused_on_every_route() {
    let (_v1, _v2, app) = app("90:10").await;
    let operations = operations(&document(&app).await);
    for (method, path) in operations.iter().filter(|(_, path)| path.starts_with("/v1")) {
        let answer = send(&app, method, &format!("{path}?dryrun=true"), &[], None).await;
        assert_eq!((answer.status, answer.slug()), (400, "invalid-query"), "{method} {path}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.starts_with("unknown parameter `dryrun`"), "{detail}");
        if method != "GET" && path.starts_with("/v1/services") {
            assert_eq!(detail, "unknown parameter `dryrun`, did you mean `dry_run`?");
            let answer = send(&app, method, &format!("{path}?dry_run=true&dry%5Frun=false"), &[], None).await;
            assert_eq!((answer.status, &answer.body["detail"]), (400, &json!("parameter `dry_run` is there twice")));
        }
        let answer = send(&app, method, path, &[("accept", "image/png, text/html;q=0.5")], None).await;
        assert_eq!((answer.status, answer.slug()), (406, "not-acceptable"), "{method} {path}");
    }
    assert_eq!(
        send(&app, "GET", "/v1/audit?limit=1&limit=2", &[], None).await.body["detail"],
        "parameter `limit` is there twice"
    );
    assert_eq!(send(&app, "GET", "/v1/services/%FF", &[], None).await.slug(), "invalid-path");
    assert_eq!(revision(&app).await, 1);
}

#[tokio::test]
async fn others_are_answered_while_three_hundred_hang() {
    let (_v1, _v2, app) = app("90:10").await;
    let host = app.admin.url.strip_prefix("http://").unwrap().to_owned();
    let head = format!("PUT {SPLIT} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n", app.admin.token);
    let half_body = format!("{head}Content-Type: application/json\r\nContent-Length: 30\r\n\r\n{{");
    let mut stuck = Vec::new();
    for at in 0..300 {
        let mut stream = TcpStream::connect(&host).await.unwrap();
        let said = [&b""[..], head.as_bytes(), half_body.as_bytes()][at % 3];
        stream.write_all(said).await.unwrap();
        stuck.push(stream);
    }
    let mut took = Vec::new();
    for at in 0..50 {
        // Each over a connection of its own.
        let mut stranger = app.admin.clone();
        stranger.http = reqwest::Client::new();
        let asked = tokio::time::Instant::now();
        assert_eq!(stranger.send("PUT", SPLIT, Some(split(at))).await.0, 200);
        took.push(asked.elapsed());
    }
    took.sort();
    println!("while 300 hang: median {:?}, longest {:?}", took[25], took[49]);
    let closed = stuck
        .iter()
        .filter(|stream| !matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock));
    assert_eq!(closed.count(), 0, "they hung all the while");
    for mut stream in stuck {
        let ended = tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut Vec::new())).await;
        assert!(ended.is_ok(), "nobody hangs for ever");
    }
}

/// Reads events off a stream until it has so many, or forgets about it.
async fn read(app: &TestApp, after: Option<&str>, most: usize) -> Vec<(Option<String>, Value)> {
    let mut request = app.admin.request("GET", "/v1/events");
    if let Some(id) = after {
        request = request.header("last-event-id", id);
    }
    let (mut stream, mut text) = (request.send().await.unwrap(), String::new());
    loop {
        let whole = text.rfind("\n\n").map_or("", |end| &text[..end + 2]);
        let events: Vec<_> = whole.split_terminator("\n\n").filter(|event| !event.starts_with(':')).map(event).collect();
        if events.len() >= most {
            return events.into_iter().take(most).collect();
        }
        let chunk = tokio::time::timeout(Duration::from_secs(10), stream.chunk()).await.expect("in time").unwrap();
        text.push_str(std::str::from_utf8(&chunk.expect("it goes on")).unwrap());
    }
}

fn event(text: &str) -> (Option<String>, Value) {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    (field("id: "), serde_json::from_str(&field("data: ").unwrap()).unwrap())
}

#[tokio::test]
async fn a_listener_that_comes_back_again_and_again_hears_every_change_once() {
    const CHANGES: usize = 400;
    let (_v1, _v2, app) = app("50:50").await;
    let listens = async {
        // Somewhere to start from.
        app.admin.split("49:51").await;
        let mut heard = read(&app, Some("of-another-run-1"), 2).await;
        assert_eq!((&heard[0].0, &heard[0].1["type"], &heard[0].1["lost"]), (&None, &json!("gap"), &Value::Null));
        heard.remove(0);
        let (mut revisions, newest) = (vec![1], CHANGES as u64 + 2);
        loop {
            let changes = heard.iter().filter(|(_, data)| data["type"] == "split");
            revisions.extend(changes.map(|(_, data)| data["revision"].as_u64().unwrap()));
            let to_come = newest - revisions.last().unwrap();
            if to_come == 0 {
                break;
            }
            let last = heard.last().unwrap().0.clone().unwrap();
            heard = read(&app, Some(&last), to_come.min(1 + revisions.len() as u64 % 7) as usize).await;
        }
        revisions
    };
    let changes = async {
        eventually("the first change", async || (revision(&app).await == 2).then_some(())).await;
        for at in 0..CHANGES as u64 {
            app.admin.split(if at % 2 == 0 { "60:40" } else { "40:60" }).await;
        }
    };
    let (revisions, ()) = futures::future::join(listens, changes).await;
    assert_eq!(revisions, (1..=CHANGES as u64 + 2).collect::<Vec<_>>());
}
