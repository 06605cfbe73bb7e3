//! Sessions outlive their servers.

use std::time::Duration;

use dualgate::domain::{Departure, Entry, Eviction};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::moves::{
    LONG, dual_app as app, dual_pair as pair, has_called, json_of, kill, leaving, messages, methods, read_until,
};
use crate::support::{Client, Fake, Folder, Options, TestApp, call, eventually};

#[tokio::test]
async fn a_session_goes_on_elsewhere_when_its_server_dies() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    session.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    assert_eq!(session.who().await, "v1");
    kill(&v1).await;
    for _ in 0..3 {
        assert_eq!(session.who().await, "v2");
    }
    assert_eq!(methods(&v2)[..2], ["initialize", "notifications/initialized"].map(str::to_owned));
    assert_eq!((messages(&v2, "initialize").len(), v2.calls().len()), (1, 3), "moved once, and no call was made twice");
    let counts = app.admin.service().await["entries"].clone();
    assert_eq!(
        (&counts["primary"]["sessions"], &counts["secondary"]["sessions"]),
        (&json!(0), &json!(1)),
        "counted where it lives"
    );
}

#[tokio::test]
async fn a_server_that_was_started_anew_is_told_again_what_its_client_once_said() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).with("x-mine", "kept").open().await;
    let message = |method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": 5, "method": method, "params": params });
    for (method, params) in [
        ("logging/setLevel", json!({ "level": "debug" })),
        ("logging/setLevel", json!({ "level": "error" })),
        ("resources/subscribe", json!({ "uri": "a:1" })),
        ("resources/subscribe", json!({ "uri": "a:2" })),
        ("resources/unsubscribe", json!({ "uri": "a:1" })),
    ] {
        session.post(&message(method, params)).await.bytes().await.unwrap();
    }
    let born = messages(&v1, "initialize")[0].clone();
    kill(&v1).await;
    let v1 = v1.restart().await;
    assert_eq!(session.who().await, "v1", "where it was, where that can be");
    assert_eq!(v2.calls(), Vec::<Value>::new());
    let again = messages(&v1, "initialize");
    assert_eq!((again.len(), &again[0]["params"]["clientInfo"]), (1, &born["params"]["clientInfo"]));
    assert_eq!(again[0]["params"]["protocolVersion"], "2025-06-18", "what was agreed on");
    let level = messages(&v1, "logging/setLevel");
    assert_eq!((level.len(), &level[0]["params"]["level"]), (1, &json!("error")));
    let subscribed = messages(&v1, "resources/subscribe");
    assert_eq!((subscribed.len(), &subscribed[0]["params"]["uri"]), (1, &json!("a:2")));
    let seen = v1.seen().into_iter().find(|seen| seen.headers.contains_key("via")).unwrap();
    assert_eq!(
        (&seen.headers["x-mine"], &seen.headers["accept"]),
        (&"kept".parse().unwrap(), &"application/json, text/event-stream".parse().unwrap())
    );
}

#[tokio::test]
async fn a_call_in_flight_on_a_server_that_dies_fails_once_and_its_session_lives() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let running = tokio::spawn({
        let session = session.clone();
        async move { json_of(session.post(&call("mine", "wait")).await).await }
    });
    has_called(&v1, "mine").await;
    kill(&v1).await;
    let failed = running.await.unwrap();
    assert_eq!((&failed["id"], &failed["error"]["code"]), (&json!("mine"), &json!(-32603)), "{failed}");
    assert_eq!(session.who().await, "v2");
    assert!(!v2.calls().contains(&json!("mine")), "it may have been carried out");
}

#[tokio::test]
async fn what_the_new_server_says_comes_on_the_stream_that_its_client_has_open() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let mut stream = session.listen().await;
    v1.say(b"data: {\"from\":\"one\"}\n\n");
    read_until(&mut stream, "one").await;
    kill(&v1).await;
    // Nobody asks for anything: the stream itself finds out.
    eventually("the stream is open there", async || methods(&v2).contains(&"GET".to_owned()).then_some(())).await;
    v2.say(b"data: {\"from\":\"two\"}\n\n");
    read_until(&mut stream, "two").await;
    assert_eq!(session.who().await, "v2");
    assert_eq!(messages(&v2, "initialize").len(), 1);
}

#[tokio::test]
async fn what_was_begun_before_a_planned_move_ends_where_it_began() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let mut stream = session.listen().await;
    let running = tokio::spawn({
        let session = session.clone();
        async move { json_of(session.post(&call("mine", "wait")).await).await }
    });
    has_called(&v1, "mine").await;
    app.evict(leaving(LONG), "0:100").await;
    eventually("it has moved", async || (session.who().await == "v2").then_some(())).await;
    let cancelled = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "mine" } });
    assert_eq!(session.post(&cancelled).await.status(), StatusCode::ACCEPTED);
    eventually("who has the call is told", async || (messages(&v1, "notifications/cancelled").len() == 1).then_some(())).await;
    v1.say(b"data: {\"from\":\"one\"}\n\n");
    v2.say(b"data: {\"from\":\"two\"}\n\n");
    let both = read_until(&mut stream, "two").await;
    assert!(
        both.contains("one") || read_until(&mut stream, "one").await.contains("one"),
        "the old one is heard while something runs there"
    );
    assert!(!methods(&v1).contains(&"DELETE".to_owned()));
    v1.release();
    assert_eq!(running.await.unwrap()["result"]["server"], "v1");
    eventually("what was left is ended", async || methods(&v1).contains(&"DELETE".to_owned()).then_some(())).await;
    assert_eq!(session.who().await, "v2");
    v2.say(b"data: {\"from\":\"three\"}\n\n");
    read_until(&mut stream, "three").await;
}

#[tokio::test]
async fn idle_sessions_are_moved_when_their_time_has_come() {
    let (v1, v2, app) = app().await;
    let client = Client::new(&app);
    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(client.open().await);
    }
    app.evict(leaving(LONG), "0:100").await;
    let (here, there) = (app.tally(Entry::Primary), app.tally(Entry::Secondary));
    eventually("nobody is left", async || (here.sessions().count() == 0 && there.sessions().count() == 20).then_some(())).await;
    eventually("all were ended there", async || {
        (methods(&v1).iter().filter(|method| *method == "DELETE").count() == 20).then_some(())
    })
    .await;
    kill(&v1).await;
    for session in &sessions {
        assert_eq!(session.who().await, "v2");
    }
    assert_eq!(messages(&v2, "initialize").len(), 20);
}

#[tokio::test]
async fn what_still_runs_on_a_binding_that_was_left_is_cut_at_the_end_and_told_so() {
    let (v1, _v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let running = tokio::spawn({
        let session = session.clone();
        async move { session.post(&call("mine", "stream")).await.text().await.unwrap() }
    });
    has_called(&v1, "mine").await;
    app.evict(leaving(LONG), "0:100").await;
    eventually("it has moved", async || (session.who().await == "v2").then_some(())).await;
    app.evict(leaving(Duration::ZERO), "1:99").await;
    let cut = running.await.unwrap();
    assert!(cut.contains("\"id\":\"mine\"") && cut.contains("-32603"), "{cut}");
    eventually("and its server is told", async || (messages(&v1, "notifications/cancelled").len() == 1).then_some(())).await;
    eventually("and so is its session there", async || methods(&v1).contains(&"DELETE".to_owned()).then_some(())).await;
    assert_eq!(session.who().await, "v2");
}

#[tokio::test]
async fn a_session_is_opened_again_from_its_id_alone() {
    let (v1, v2) = pair().await;
    let folder = Folder::new();
    let text = TestApp::file(folder.path(), &[&v1], &[&v2], "100:0", "");
    let app = TestApp::from_text(text.clone()).await;
    let session = Client::new(&app).open().await;
    assert!(session.id.len() <= 1024);
    app.stop();
    app.stopped().await;
    kill(&v1).await;
    let app = TestApp::from_text(text).await;
    let session = Client::new(&app).bind(&session.id);
    assert_eq!(session.who().await, "v2");
    assert_eq!(messages(&v2, "initialize")[0]["params"]["clientInfo"]["name"], "it");
}

#[tokio::test]
async fn a_request_is_held_until_its_server_is_there_again() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    // Somebody who takes nobody, and tells how often it was looked for a place.
    v2.no_births();
    app.admin.split("90:10").await;
    kill(&v1).await;
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.who().await }
    });
    eventually("it is held", async || (messages(&v2, "initialize").len() >= 2).then_some(())).await;
    assert!(!waiting.is_finished());
    let _v1 = v1.restart().await;
    assert_eq!(waiting.await.unwrap(), "v1");
}

#[tokio::test]
async fn where_nobody_is_there_a_request_fails_in_a_shape_that_its_client_survives() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "sessions = { hold = \"200ms\" }").await;
    let session = Client::new(&app).open().await;
    kill(&v1).await;
    kill(&v2).await;
    let answer = session.post(&call(7, "echo")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer = json_of(answer).await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(7), &json!(-32603)), "{answer}");
    let v1 = v1.restart().await;
    eventually("it lives", async || {
        let answer = json_of(session.post(&call(8, "echo")).await).await;
        (answer["result"]["server"] == "v1").then_some(())
    })
    .await;
    assert_eq!(messages(&v1, "initialize").len(), 1);
}

#[tokio::test]
async fn a_client_ends_its_session_wherever_it_has_been() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let running = tokio::spawn({
        let session = session.clone();
        async move { session.post(&call("mine", "wait")).await.status() }
    });
    has_called(&v1, "mine").await;
    app.evict(leaving(LONG), "0:100").await;
    eventually("it has moved", async || (session.who().await == "v2").then_some(())).await;
    assert_eq!(session.delete().await.status(), StatusCode::OK);
    eventually("both are ended", async || {
        [&v1, &v2].iter().all(|server| methods(server).contains(&"DELETE".to_owned())).then_some(())
    })
    .await;
    assert_eq!(session.post(&call(1, "echo")).await.status(), StatusCode::NOT_FOUND, "it does not come back to life");
    v1.release();
    running.await.unwrap();
}

#[tokio::test]
async fn callers_with_different_credentials_share_no_session_that_was_opened_for_one_of_them() {
    let (v1, v2, app) = app().await;
    let one = Client::new(&app).with("authorization", "Bearer one").open().await;
    let two = Client::new(&app).with("authorization", "Bearer two").bind(&one.id);
    kill(&v1).await;
    assert_eq!((one.who().await, two.who().await), ("v2".to_owned(), "v2".to_owned()));
    let opened: Vec<_> =
        v2.seen().into_iter().filter(|seen| String::from_utf8_lossy(&seen.body).contains("\"initialize\"")).collect();
    let by: Vec<_> = opened.iter().filter_map(|seen| seen.headers.get("authorization")).collect();
    assert_eq!(by, ["Bearer one", "Bearer two"], "each with its own");
    let used: Vec<_> = v2
        .seen()
        .iter()
        .filter(|seen| String::from_utf8_lossy(&seen.body).contains("tools/call"))
        .map(|seen| (seen.headers["authorization"].clone(), seen.headers["mcp-session-id"].clone()))
        .collect();
    assert_ne!(used[0].1, used[1].1);
}

#[tokio::test]
async fn a_session_that_is_to_wait_waits() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "sessions = { on_loss = \"wait\" }").await;
    let session = Client::new(&app).open().await;
    kill(&v1).await;
    assert_eq!(json_of(session.post(&call(7, "echo")).await).await["error"]["code"], -32603);
    assert_eq!(v2.births(), 0);
}

#[tokio::test]
async fn a_session_that_is_to_end_ends() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "sessions = { on_loss = \"end\" }").await;
    let session = Client::new(&app).open().await;
    kill(&v1).await;
    assert_eq!(session.post(&call(7, "echo")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(v2.births(), 0);
}

#[tokio::test]
async fn a_request_in_a_moved_session_whose_server_died_again_moves_it_again() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    kill(&v1).await;
    assert_eq!(session.who().await, "v2");
    let v1 = v1.restart().await;
    kill(&v2).await;
    assert_eq!(session.who().await, "v1");
    assert!(v1.seen().iter().any(|seen| seen.method == Method::POST));
}

#[tokio::test]
async fn a_session_on_a_server_that_hangs_goes_on_elsewhere() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "health = { interval = \"100ms\", timeout = \"100ms\" }").await;
    let session = Client::new(&app).open().await;
    let mut stream = session.listen().await;
    assert_eq!(session.who().await, "v1");
    v1.hang();
    eventually("it is felt", async || {
        let endpoint = app.admin.service().await["entries"]["primary"]["endpoints"][0].clone();
        (endpoint["standing"] == "down").then_some(())
    })
    .await;
    assert_eq!(session.who().await, "v2");
    eventually("the stream is open there", async || methods(&v2).contains(&"GET".to_owned()).then_some(())).await;
    v2.say(b"data: {\"from\":\"two\"}\n\n");
    read_until(&mut stream, "two").await;
    assert_eq!(messages(&v2, "initialize").len(), 1);
}

#[tokio::test]
async fn a_session_that_has_left_does_not_come_back_where_its_new_server_has_no_stream() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let _stream = session.listen().await;
    v2.listen_with(405);
    // As a drain has it: it concerns those that were born before.
    let revision = app.admin.service().await["revision"].as_u64().unwrap();
    app.evict(leaving(LONG).map(|eviction| Eviction { before_revision: revision + 1, ..eviction }), "0:100").await;
    eventually("it has moved", async || (session.who().await == "v2").then_some(())).await;
    eventually("what was left is ended", async || methods(&v1).contains(&"DELETE".to_owned()).then_some(())).await;
    for _ in 0..20 {
        assert_eq!(session.who().await, "v2");
        // Nothing tells that a stream, or whoever looks after idle sessions, has found that there is nothing to do.
        tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>()).await.unwrap_err();
    }
    assert_eq!((messages(&v1, "initialize").len(), messages(&v2, "initialize").len()), (1, 1));
}

#[tokio::test]
async fn half_an_event_of_the_old_server_does_not_keep_the_new_one_from_speaking() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let mut stream = session.listen().await;
    v1.say(b"data: {\"half\":");
    read_until(&mut stream, "half").await;
    app.evict(leaving(LONG), "0:100").await;
    eventually("it has moved", async || (session.who().await == "v2").then_some(())).await;
    v2.say(b"data: {\"from\":\"two\"}\n\n");
    let read = read_until(&mut stream, "two").await;
    assert!(read.contains("event: dualgate-cut\n\n"), "the half is no message: {read}");
}

/// Testers may be born where no clients are sent; and no turn to move is so near to the one before that a request has none.
async fn with_testers() -> (Fake, Fake, TestApp) {
    let (v1, v2) = pair().await;
    let more = "affinity = { tester_header = \"x-try\" }\nsessions = { handshakes_per_second = 10000 }";
    let app = TestApp::start(&v1, &v2, "100:0", more).await;
    (v1, v2, app)
}

#[tokio::test]
async fn an_idle_session_that_is_refused_is_not_asked_for_again_and_again() {
    let (v1, v2, app) = with_testers().await;
    let session = Client::new(&app).open().await;
    v2.no_births();
    let how = Departure::Moves { forced: false, or_ends: true };
    app.evict(leaving(LONG).map(|eviction| Eviction { how, ..eviction }), "0:100").await;
    eventually("it was tried", async || (messages(&v2, "initialize").len() == 1).then_some(())).await;
    // Those who come later are looked for with it: each look that finds one has passed it over.
    for tried in 2..5 {
        Client::new(&app).with("x-try", "primary").open().await;
        eventually("the next one was tried", async || (messages(&v2, "initialize").len() >= tried).then_some(())).await;
        assert_eq!(messages(&v2, "initialize").len(), tried);
    }
    assert_eq!(session.post(&call(1, "echo")).await.status(), StatusCode::NOT_FOUND, "nobody stays after a rollback");
    assert_eq!(v1.calls(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_session_that_another_caller_uses_too_is_not_ended_under_it() {
    let (v1, _v2, app) = with_testers().await;
    let one = Client::new(&app).open().await;
    let two = Client::new(&app).with("authorization", "Bearer two").bind(&one.id);
    let running = tokio::spawn({
        let two = two.clone();
        async move { json_of(two.post(&call("mine", "wait")).await).await }
    });
    has_called(&v1, "mine").await;
    app.evict(leaving(LONG), "0:100").await;
    eventually("the idle one has moved", async || (one.who().await == "v2").then_some(())).await;
    // What is left of one that is moved after it is ended after it.
    Client::new(&app).with("x-try", "primary").open().await;
    let ended = || -> Vec<_> {
        let ends = v1.seen().into_iter().filter(|seen| seen.method == Method::DELETE);
        ends.map(|seen| seen.headers["mcp-session-id"].clone()).collect()
    };
    let call = v1.seen().into_iter().find(|seen| String::from_utf8_lossy(&seen.body).contains("\"mine\"")).unwrap();
    eventually("the later one is ended", async || (!ended().is_empty()).then_some(())).await;
    assert!(!ended().contains(&call.headers["mcp-session-id"]));
    v1.release();
    assert_eq!(running.await.unwrap()["result"]["server"], "v1");
}

#[tokio::test]
async fn a_planned_move_that_waits_for_its_turn_is_in_nobodys_way() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "sessions = { handshakes_per_second = 1 }").await;
    let client = Client::new(&app);
    let mut open = Vec::new();
    for _ in 0..10 {
        let session = client.open().await;
        let stream = session.listen().await;
        open.push((session, stream));
    }
    app.evict(leaving(LONG), "0:100").await;
    eventually("one has moved", async || (messages(&v2, "initialize").len() == 1).then_some(())).await;
    for who in futures::future::join_all(open.iter().map(|(session, _)| session.who())).await {
        assert!(["v1", "v2"].contains(&who.as_str()));
    }
    assert!(messages(&v2, "initialize").len() < 9, "nobody has waited for a turn: at this pace all take ten seconds");
}

#[tokio::test]
async fn a_404_that_is_about_something_else_moves_nobody() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    assert_eq!(session.post(&call(1, "missing")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(session.post(&call(2, "wrong")).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!((session.who().await.as_str(), messages(&v1, "initialize").len(), v2.births()), ("v1", 1, 0));
    assert_eq!(v1.calls(), [json!(1), json!(2), json!(1)], "each once");
}

#[tokio::test]
async fn a_call_of_a_tool_that_only_reads_is_asked_again_where_that_is_wanted() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "sessions = { resend = \"annotated\" }").await;
    let session = Client::new(&app).open().await;
    let running = ["mine", "ours"].map(|id| {
        let session = session.clone();
        let tool = if id == "mine" { "wait" } else { "dwell" };
        tokio::spawn(async move { json_of(session.post(&call(id, tool)).await).await })
    });
    has_called(&v1, "mine").await;
    has_called(&v1, "ours").await;
    kill(&v1).await;
    has_called(&v2, "mine").await;
    v2.release();
    let [mine, ours] = running;
    assert_eq!(mine.await.unwrap()["result"]["server"], "v2");
    assert_eq!(ours.await.unwrap()["error"]["code"], -32603, "nobody says that this does no harm");
    assert!(!v2.calls().contains(&json!("ours")));
}

#[tokio::test]
async fn where_no_more_is_remembered_sessions_are_bound_and_nothing_fails() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "sessions = { remember = \"64KiB\", hold = \"100ms\" }").await;
    let client = Client::new(&app);
    let mut sessions = Vec::new();
    for _ in 0..100 {
        sessions.push(client.open().await);
    }
    for session in &sessions {
        assert_eq!(session.who().await, "v1");
    }
    let page = reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap();
    let figure = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap_or_else(|| panic!("{name}: {page}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() as usize
    };
    let (remembered, forgotten) = (figure("dualgate_sessions_remembered"), figure("dualgate_sessions_forgotten_total"));
    assert!(remembered > 10 && forgotten > 10 && remembered + forgotten == 100, "{remembered} and {forgotten}");
    kill(&v1).await;
    let mut moved = 0;
    for session in &sessions {
        let answer = session.post(&call(1, "echo")).await;
        assert_eq!(answer.status(), StatusCode::OK, "in a shape that its client survives");
        let answer = json_of(answer).await;
        assert!(answer["result"]["server"] == "v2" || answer["error"]["code"] == -32603, "{answer}");
        moved += usize::from(answer["result"]["server"] == "v2");
    }
    assert_eq!(moved, remembered);
}

#[tokio::test]
async fn a_restart_takes_nobody_to_a_version_that_is_given_no_clients() {
    let (v1, v2) = pair().await;
    // Of the same version, it takes nobody, and tells how often it was looked for a place.
    let full = Fake::start("full", Options { modern: true, ..Options::default() }).await;
    let app = TestApp::with(&[&v1, &full], &[&v2], "100:0", "").await;
    let session = eventually("one is born there", async || {
        let session = Client::new(&app).open().await;
        (session.who().await == "v1").then_some(session)
    })
    .await;
    let mut stream = session.listen().await;
    full.no_births();
    let looked = messages(&full, "initialize").len();
    kill(&v1).await;
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.who().await }
    });
    eventually("it is held", async || (messages(&full, "initialize").len() >= looked + 2).then_some(())).await;
    let v1 = v1.restart().await;
    assert_eq!(waiting.await.unwrap(), "v1");
    eventually("the stream is open there", async || methods(&v1).contains(&"GET".to_owned()).then_some(())).await;
    v1.say(b"data: {\"from\":\"one\"}\n\n");
    read_until(&mut stream, "one").await;
    assert_eq!(messages(&v2, "initialize").len(), 0);
}

#[tokio::test]
async fn a_session_that_is_moved_within_its_handshake_is_told_what_was_said_and_no_more() {
    let (v1, v2, app) = app().await;
    let session = Client::new(&app).open().await;
    kill(&v1).await;
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(session.post(&initialized).await.status(), StatusCode::ACCEPTED);
    assert_eq!(methods(&v2), ["initialize", "notifications/initialized"], "its own, once");
    assert_eq!(session.who().await, "v2");
}
