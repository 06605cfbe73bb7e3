//! Sessions leave an entry: by a drain, on an operator's word, and how that is ordered, refused, shown and told.

use dualgate::domain::Entry;
use serde_json::{Value, json};

use crate::support::{Client, Fake, Options, TestApp, call, eventually};

const SESSIONS: &str = "/v1/services/notes/sessions";
const DRAIN: &str = "/v1/services/notes/entries/primary/drain";

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

/// Sessions on the primary, which has no share any more.
async fn emptied(app: &TestApp, count: usize) -> Vec<crate::support::Session> {
    let client = Client::new(app);
    let mut sessions = Vec::new();
    for _ in 0..count {
        sessions.push(client.open().await);
    }
    both_up(app).await;
    app.admin.split("0:100").await;
    sessions
}

async fn both_up(app: &TestApp) {
    eventually("both are up", async || {
        let service = app.admin.service().await;
        let up = |entry: &str| service["entries"][entry]["standing"] == "up";
        (up("primary") && up("secondary")).then_some(())
    })
    .await;
}

async fn departure(app: &TestApp) -> Value {
    app.admin.send("GET", SESSIONS, None).await.1["entries"]["primary"]["departure"].take()
}

async fn post(app: &TestApp, path: &str, body: Value) -> (u16, Value) {
    app.admin.send("POST", path, Some(body)).await
}

/// The audit's lines of a type.
async fn audited(app: &TestApp, kind: &str) -> Vec<Value> {
    let (_, audit) = app.admin.send("GET", "/v1/audit", None).await;
    audit["entries"].as_array().unwrap().iter().filter(|entry| entry["type"] == kind).cloned().collect()
}

#[tokio::test]
async fn an_entry_without_a_share_is_left_after_its_deadline_and_that_is_told_once() {
    let (v1, v2) = pair().await;
    let more = "sessions = { on_drain = \"end\", drain_deadline = \"300ms\", drain_pace = \"200ms\" }";
    let app = TestApp::start(&v1, &v2, "100:0", more).await;
    let sessions = emptied(&app, 6).await;
    let left = eventually("nobody is left", async || audited(&app, "left").await.pop()).await;
    let figures = [&left["entry"], &left["version"], &left["cause"], &left["moved"], &left["ended"], &left["refused"]];
    assert_eq!(figures, [&json!("primary"), &json!("1.0"), &json!("drain"), &json!(0), &json!(6), &json!(0)], "{left}");
    for session in &sessions {
        assert_eq!(session.post(&call(1, "echo")).await.status(), 404);
    }
    assert_eq!(audited(&app, "left").await.len(), 1);
    assert_eq!(app.tally(Entry::Primary).sessions().count(), 0);
    let (_, shown) = app.admin.send("GET", SESSIONS, None).await;
    let departure = &shown["entries"]["primary"]["departure"];
    assert_eq!([&departure["how"], &departure["ended"], &departure["left"]], [&json!("ends"), &json!(6), &json!(0)], "{shown}");
    assert_eq!(shown["entries"]["secondary"]["departure"], Value::Null, "{shown}");
}

#[tokio::test]
async fn an_order_to_end_has_a_forecast_is_idempotent_and_is_over_when_nobody_is_left() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    emptied(&app, 4).await;
    let path = format!("{SESSIONS}/end");
    let body = || json!({ "entry": "primary", "pace": "1s", "reason": "2.0 is there" });
    let (status, dry) = post(&app, &format!("{path}?dry_run=true"), body()).await;
    assert_eq!((status, &dry["changed"], &dry["dry_run"]), (200, &json!(true), &json!(true)), "{dry}");
    assert_eq!(departure(&app).await["cause"], "drain", "nothing was ordered");
    let (status, answer) = post(&app, &path, body()).await;
    assert_eq!((status, &answer["changed"], &answer["durable"]), (200, &json!(true), &json!(true)), "{answer}");
    let forecast = json!({ "sessions": 4, "deadline_s": 0.0, "pace_s": 1.0, "handshakes_per_second": 200, "takes_s": 1.0 });
    assert_eq!(answer["forecast"], forecast, "{answer}");
    let (_, again) = post(&app, &path, body()).await;
    assert_eq!((&again["changed"], &again["revision"]), (&json!(false), &answer["revision"]), "{again}");
    assert_eq!(departure(&app).await["cause"], "end-ordered");
    let left = eventually("nobody is left", async || audited(&app, "left").await.pop()).await;
    assert_eq!((&left["cause"], &left["ended"]), (&json!("end-ordered"), &json!(4)), "{left}");
    let ordered = audited(&app, "departs").await;
    assert_eq!((&ordered[0]["what"], &ordered[0]["reason"]), (&json!("sessions-end"), &json!("2.0 is there")), "{ordered:?}");
    assert_eq!(app.admin.service().await["split"]["target"]["secondary"], 100.0, "the split is as it was");
}

#[tokio::test]
async fn what_would_do_harm_is_a_conflict_with_a_hint_and_force_wants_a_reason() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "90:10", "").await;
    both_up(&app).await;
    let (moves, ends) = (format!("{SESSIONS}/move"), format!("{SESSIONS}/end"));
    for (path, body) in [(&moves, json!({ "from": "primary" })), (&ends, json!({ "entry": "primary" }))] {
        let (status, problem) = post(&app, path, body).await;
        assert_eq!((status, &problem["type"]), (409, &json!("urn:dualgate:problem:obstructed")), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("primary has 90 % of the clients"), "{problem}");
        assert!(problem["hint"].as_str().unwrap().contains("--force"), "{problem}");
    }
    let (status, problem) = post(&app, &moves, json!({ "from": "primary", "force": true })).await;
    assert_eq!((status, &problem["pointer"]), (422, &json!("/reason")), "{problem}");
    let forced = json!({ "from": "primary", "force": true, "reason": "a broken pod" });
    let (status, answer) = post(&app, &moves, forced).await;
    assert_eq!((status, &answer["forced"], &answer["what"]), (200, &json!(true), &json!("sessions-move")), "{answer}");
    let shown = departure(&app).await;
    assert_eq!([&shown["how"], &shown["forced"], &shown["or_ends"]], [&json!("moves"), &json!(true), &json!(false)], "{shown}");
    app.admin.send("POST", "/v1/services/notes/rollback", None).await;
    let (status, problem) = post(&app, &moves, json!({ "from": "primary" })).await;
    assert!(status == 409 && problem["detail"].as_str().unwrap().contains("was rolled back"), "{problem}");
}

#[tokio::test]
async fn a_body_that_makes_no_sense_is_refused_where_it_is_wrong() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "0:100", "").await;
    for (path, body, pointer) in [
        ("/v1/services/notes/sessions/move", json!({ "from": "third" }), "/from"),
        ("/v1/services/notes/sessions/move", json!({}), "/from"),
        ("/v1/services/notes/sessions/move", json!({ "from": "primary", "pace": "fast" }), "/pace"),
        ("/v1/services/notes/sessions/end", json!({ "entry": "primary", "pace": "8d" }), "/pace"),
        ("/v1/services/notes/sessions/end", json!({ "entry": "primary", "sessions": ["x"] }), "/sessions"),
        (DRAIN, json!({ "deadline": "soon" }), "/deadline"),
        (DRAIN, json!({ "deadline": "1m", "cancel": true }), "/deadline"),
        (DRAIN, json!({ "pace": "1s" }), "/pace"),
    ] {
        let (status, problem) = post(&app, path, body.clone()).await;
        assert!((400..=422).contains(&status) && problem["pointer"] == pointer, "{path} {body}: {status} {problem}");
    }
    let request = app.admin.request("POST", DRAIN).header("if-match", "\"99\"").header("content-type", "application/json");
    assert_eq!(request.body("{\"deadline\":\"1m\"}").send().await.unwrap().status(), 412);
    assert_eq!(post(&app, "/v1/services/nothing/sessions/move", json!({ "from": "primary" })).await.0, 404);
}

#[tokio::test]
async fn a_drain_with_a_deadline_is_ordered_shown_kept_over_a_restart_and_taken_back() {
    let (v1, v2) = pair().await;
    let folder = crate::support::Folder::new();
    let text = TestApp::file(folder.path(), &[&v1], &[&v2], "100:0", "");
    let app = TestApp::from_text(text.clone()).await;
    emptied(&app, 2).await;
    let (_, plain) = post(&app, DRAIN, json!({})).await;
    assert_eq!((&plain["sessions"], &plain["drained"], &plain["order"]), (&json!(2), &json!(false), &Value::Null), "{plain}");
    let (status, ordered) = post(&app, DRAIN, json!({ "deadline": "1h", "pace": "5s" })).await;
    assert_eq!((status, &ordered["sessions"], &ordered["order"]["changed"]), (200, &json!(2), &json!(true)), "{ordered}");
    assert_eq!(ordered["order"]["forecast"]["takes_s"], 3605.0, "{ordered}");
    assert_eq!(
        (&ordered["departure"]["cause"], &ordered["departure"]["left"]),
        (&json!("drain-ordered"), &json!(2)),
        "{ordered}"
    );
    drop(app);
    let app = TestApp::from_text(text).await;
    both_up(&app).await;
    assert_eq!(departure(&app).await["cause"], "drain-ordered");
    let (_, taken) = post(&app, DRAIN, json!({ "cancel": true, "reason": "not yet" })).await;
    assert_eq!(taken["order"]["changed"], true, "{taken}");
    assert!(taken["order"]["warnings"][0].as_str().unwrap().contains("leave primary all the same"), "{taken}");
    assert_eq!(departure(&app).await, Value::Null, "of the drain that begins by itself there is nobody yet");
    assert_eq!(audited(&app, "stays").await[0]["reason"], "not yet");
}

#[tokio::test]
async fn the_command_line_orders_waits_and_says_what_is_left() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    emptied(&app, 3).await;
    let said = app.admin.cli(&["drain", "--deadline", "1h"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("primary 1.0: 3 sessions") && said.err.contains("3 sessions, from in 1h on, over 25s"), "{said:?}");
    let said = app.admin.cli(&["sessions", "list"]).await;
    assert!(said.out.contains("primary is left (drain-ordered): moves, from "), "{}", said.out);
    let said = app.admin.cli(&["drain", "primary", "--cancel"]).await;
    assert!(said.code == 0 && said.err.contains("what was ordered is taken back"), "{said:?}");
    let said = app.admin.cli(&["drain", "--now", "--dry-run"]).await;
    assert!(said.code == 0 && said.err.contains("dry run, nothing was changed"), "{said:?}");
    let said = app.admin.cli(&["sessions", "end", "--entry", "primary", "--pace", "200ms", "--wait", "--yes"]).await;
    assert_eq!((said.code, said.out.contains("primary 1.0: ended: 3 sessions, from now on, over 200ms")), (0, true), "{said:?}");
    assert!(said.err.contains("primary 1.0: 3 ended, 0 left"), "{said:?}");
}

#[tokio::test]
async fn who_waits_for_an_order_that_is_taken_back_is_told_so() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    emptied(&app, 3).await;
    let admin = app.admin.clone();
    let waiting =
        tokio::spawn(
            async move { admin.cli(&["sessions", "end", "--entry", "primary", "--pace", "1h", "--wait", "--yes"]).await },
        );
    eventually("it is ordered", async || (departure(&app).await["cause"] == "end-ordered").then_some(())).await;
    app.admin.split("1:99").await;
    let said = waiting.await.unwrap();
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.err.contains("was taken back meanwhile"), "{said:?}");
}

#[tokio::test]
async fn moves_are_counted_by_where_they_lead_and_how_they_end() {
    use dualgate::upstream::rehomed::{Moving, Rehomed};
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let tally = app.tally(Entry::Primary);
    tally.note_rehomed(Entry::Secondary, Moving::Departure, Rehomed::Moved);
    tally.note_rehomed(Entry::Secondary, Moving::Loss, Rehomed::Moved);
    tally.note_rehomed(Entry::Primary, Moving::Loss, Rehomed::Failed);
    let page = reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap();
    let count = |to: &str, result: &str| {
        let name = format!("dualgate_rehomed_total{{service=\"notes\",from=\"primary\",to=\"{to}\",result=\"{result}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_else(|| panic!("{name}\n{page}")).parse::<f64>().unwrap()
    };
    assert_eq!([count("secondary", "moved"), count("primary", "failed"), count("secondary", "refused")], [2.0, 1.0, 0.0]);
    for name in ["dualgate_sessions_remembered{service=\"notes\"} 0", "dualgate_sessions_forgotten_total{service=\"notes\"} 0"] {
        assert!(page.contains(name), "{name}\n{page}");
    }
}

#[tokio::test]
async fn what_is_ordered_to_move_lives_on_at_the_other_entry_and_the_last_is_told() {
    let dual = Options { modern: true, ..Options::default() };
    let (v1, v2) = (Fake::start("v1", dual).await, Fake::start("v2", dual).await);
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let sessions = emptied(&app, 6).await;
    let (status, ordered) = post(&app, DRAIN, json!({ "deadline": "0s", "pace": "300ms" })).await;
    assert_eq!((status, &ordered["order"]["forecast"]["sessions"]), (200, &json!(6)), "{ordered}");
    let left = eventually("nobody is left", async || audited(&app, "left").await.pop()).await;
    assert_eq!([&left["cause"], &left["moved"], &left["ended"]], [&json!("drain-ordered"), &json!(6), &json!(0)], "{left}");
    for session in &sessions {
        assert_eq!(session.who().await, "v2");
    }
    // And back, with the share: those who came by the move are as much at home there as those who were born there.
    app.admin.split("100:0").await;
    let said = app.admin.cli(&["sessions", "move", "--from", "secondary", "--pace", "300ms", "--wait", "--timeout", "10s"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("secondary 2.0: 6 moved, 0 left"), "{said:?}");
    for session in &sessions {
        assert_eq!(session.who().await, "v1");
    }
}

#[tokio::test]
async fn a_rollback_moves_the_sessions_of_the_candidate_to_the_stable_entry() {
    let dual = Options { modern: true, ..Options::default() };
    let (v1, v2) = (Fake::start("v1", dual).await, Fake::start("v2", dual).await);
    let more = "sessions = { rollback_deadline = \"0s\", rollback_pace = \"300ms\" }";
    let app = TestApp::start(&v1, &v2, "100:0", more).await;
    both_up(&app).await;
    app.admin.split("0:100").await;
    let client = Client::new(&app);
    let mut sessions = Vec::new();
    for _ in 0..6 {
        sessions.push(client.open().await);
    }
    app.admin.send("POST", "/v1/services/notes/rollback", None).await;
    let left = eventually("nobody is left", async || audited(&app, "left").await.pop()).await;
    let figures = [&left["entry"], &left["cause"], &left["moved"], &left["ended"]];
    assert_eq!(figures, [&json!("secondary"), &json!("rollback"), &json!(6), &json!(0)], "{left}");
    for session in &sessions {
        assert_eq!(session.who().await, "v1");
    }
}
