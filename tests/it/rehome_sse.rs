//! Sessions of HTTP+SSE outlive their servers.

use std::time::Duration;

use dualgate::domain::{Departure, Entry, Eviction};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::moves::{LONG, kill, leaving, messages};
use crate::support::{Channel, Endpoint, Fake, Options, Seen, TestApp, WAITS, call, eventually};

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

async fn app() -> (Fake, Fake, TestApp) {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    (v1, v2, app)
}

async fn open(app: &TestApp) -> Channel {
    let mut channel = Channel::open(app).await;
    channel.shake_hands().await;
    channel
}

fn tells_of_lists(message: &Value) -> bool {
    message["method"].as_str().is_some_and(|method| method.ends_with("/list_changed"))
}

/// The next message that is not about lists. What is no message would be an endpoint, or part of the handshake.
async fn next(channel: &mut Channel) -> Value {
    loop {
        let message = channel.message().await;
        if !tells_of_lists(&message) {
            return message;
        }
    }
}

async fn ask(channel: &mut Channel, message: &Value) -> Value {
    assert_eq!(channel.post(message).await.status(), StatusCode::ACCEPTED);
    let answer = next(channel).await;
    assert_eq!(answer["id"], message["id"], "{answer}");
    answer
}

async fn who(channel: &mut Channel) -> String {
    let answer = ask(channel, &call(1, "echo")).await;
    answer["result"]["server"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

async fn has_moved(app: &TestApp) {
    let tally = app.tally(Entry::Secondary);
    eventually("it has moved", async || (tally.sessions().count() == 1).then_some(())).await;
}

#[tokio::test]
async fn a_session_goes_on_elsewhere_when_its_server_dies() {
    let (v1, v2, app) = app().await;
    let mut channel = open(&app).await;
    assert_eq!(who(&mut channel).await, "v1");
    kill(&v1).await;
    // Nobody asks for anything: the stream itself finds out.
    eventually("it is open there", async || (v2.channels() == 1).then_some(())).await;
    for _ in 0..3 {
        assert_eq!(who(&mut channel).await, "v2");
    }
    assert_eq!((messages(&v2, "initialize").len(), messages(&v2, "notifications/initialized").len()), (1, 1));
    let again = messages(&v2, "initialize").remove(0);
    assert_eq!(
        (&again["params"]["protocolVersion"], &again["params"]["clientInfo"]["name"]),
        (&json!("2024-11-05"), &json!("it"))
    );
    assert_eq!((v1.calls().len(), v2.calls().len()), (1, 3));
    let counts = app.admin.service().await["entries"].clone();
    assert_eq!((&counts["primary"]["sessions"], &counts["secondary"]["sessions"]), (&json!(0), &json!(1)));
    drop(channel);
    eventually("its end is felt there", async || (v2.channels() == 0).then_some(())).await;
    let tally = app.tally(Entry::Secondary);
    eventually("and counted", async || (tally.sessions().count() == 0).then_some(())).await;
}

#[tokio::test]
async fn servers_may_write_their_events_in_any_form() {
    for form in [Endpoint::Relative, Endpoint::Query, Endpoint::Absolute, Endpoint::InPath, Endpoint::Crumbs] {
        let (v1, v2) = (Fake::speaking("v1", form).await, Fake::speaking("v2", form).await);
        let app = TestApp::start(&v1, &v2, "100:0", "").await;
        let mut channel = open(&app).await;
        kill(&v1).await;
        assert_eq!(who(&mut channel).await, "v2", "{form:?}");
    }
}

#[tokio::test]
async fn a_call_in_flight_on_a_server_that_dies_fails_once_on_the_stream_and_its_session_lives() {
    let (v1, v2, app) = app().await;
    let mut channel = open(&app).await;
    assert_eq!(channel.post(&call("mine", "mute")).await.status(), StatusCode::ACCEPTED);
    // In the middle of an event, too.
    channel.post(&call("half", "half")).await;
    kill(&v1).await;
    let mut failed = Vec::new();
    while failed.len() < 2 {
        // What was half said becomes an event of a kind that no client knows.
        let event = channel.event().await.expect("the stream goes on");
        let message: Value = serde_json::from_str(&event.data).unwrap_or_default();
        assert!(event.kind == "message" || event.kind == "dualgate-cut", "{event:?}");
        if event.kind == "message" && !tells_of_lists(&message) {
            assert_eq!(message["error"]["code"], -32603, "{message}");
            failed.push(message["id"].clone());
        }
    }
    failed.sort_by_key(Value::to_string);
    assert_eq!(failed, ["half", "mine"]);
    assert_eq!(who(&mut channel).await, "v2");
    assert!(!v2.calls().contains(&json!("mine")), "it may have been carried out");
}

#[tokio::test]
async fn a_message_is_held_until_its_server_is_there_again() {
    let (v1, v2, app) = app().await;
    let mut channel = open(&app).await;
    kill(&v2).await;
    kill(&v1).await;
    let (http, url) = (channel.http.clone(), app.url(&channel.endpoint));
    let posted = tokio::spawn(async move {
        http.post(url).header("content-type", "application/json").body(call(7, "echo").to_string()).send().await.unwrap().status()
    });
    tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>()).await.unwrap_err();
    assert!(!posted.is_finished());
    let v1 = v1.restart().await;
    assert_eq!(posted.await.unwrap(), StatusCode::ACCEPTED);
    let answer = next(&mut channel).await;
    assert_eq!((&answer["id"], &answer["result"]["server"]), (&json!(7), &json!("v1")), "{answer}");
    assert_eq!(messages(&v1, "initialize").len(), 1);
}

#[tokio::test]
async fn where_nobody_is_there_a_call_fails_on_the_stream_which_goes_on_when_somebody_is() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "sessions = { hold = \"200ms\" }").await;
    let mut channel = open(&app).await;
    kill(&v2).await;
    kill(&v1).await;
    let failed = ask(&mut channel, &call(7, "echo")).await;
    assert_eq!(failed["error"]["code"], -32603, "{failed}");
    let v1 = v1.restart().await;
    eventually("it lives", async || (ask(&mut channel, &call(8, "echo")).await["result"]["server"] == "v1").then_some(())).await;
    assert_eq!((messages(&v1, "initialize").len(), v1.channels()), (1, 1));
}

#[tokio::test]
async fn a_new_server_is_told_what_the_client_once_said_and_the_client_hears_nothing_of_that() {
    let (v1, v2, app) = app().await;
    let mut channel = Channel::open_at(&app, "/sse", &[("x-mine", "kept"), ("authorization", "Bearer one")]).await;
    channel.shake_hands().await;
    let message = |method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": 5, "method": method, "params": params });
    for (method, params) in [
        ("logging/setLevel", json!({ "level": "debug" })),
        ("logging/setLevel", json!({ "level": "error" })),
        ("resources/subscribe", json!({ "uri": "a:1" })),
        ("resources/subscribe", json!({ "uri": "a:2" })),
        ("resources/unsubscribe", json!({ "uri": "a:1" })),
    ] {
        ask(&mut channel, &message(method, params)).await;
    }
    kill(&v1).await;
    assert_eq!(who(&mut channel).await, "v2");
    let level = messages(&v2, "logging/setLevel");
    assert_eq!((level.len(), &level[0]["params"]["level"]), (1, &json!("error")));
    let subscribed = messages(&v2, "resources/subscribe");
    assert_eq!((subscribed.len(), &subscribed[0]["params"]["uri"]), (1, &json!("a:2")));
    let opened: Vec<Seen> = v2
        .seen()
        .into_iter()
        .filter(|seen| seen.target == "/sse" || seen.body.windows(10).any(|part| part == b"initialize"))
        .collect();
    assert!(opened.len() >= 2);
    for seen in opened {
        assert_eq!(
            (&seen.headers["x-mine"], &seen.headers["authorization"]),
            (&"kept".parse().unwrap(), &"Bearer one".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn what_was_begun_before_a_planned_move_ends_where_it_began() {
    let (v1, v2, app) = app().await;
    let mut channel = open(&app).await;
    assert_eq!(channel.post(&call("mine", "wait")).await.status(), StatusCode::ACCEPTED);
    app.evict(leaving(LONG), "0:100").await;
    has_moved(&app).await;
    assert_eq!(who(&mut channel).await, "v2");
    v1.say_on_channels(b"event: message\ndata: {\"from\":\"one\"}\n\n");
    assert_eq!(next(&mut channel).await["from"], "one", "the old one is heard while something runs there");
    v2.say_on_channels(b"event: message\ndata: {\"from\":\"two\"}\n\n");
    assert_eq!(next(&mut channel).await["from"], "two");
    let cancelled = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "other" } });
    assert_eq!(channel.post(&cancelled).await.status(), StatusCode::ACCEPTED);
    eventually("who may have it is told", async || (messages(&v1, "notifications/cancelled").len() == 1).then_some(())).await;
    assert_eq!(v1.channels(), 1);
    v1.release();
    let answer = next(&mut channel).await;
    assert_eq!((&answer["id"], &answer["result"]["server"]), (&json!("mine"), &json!("v1")), "{answer}");
    eventually("what was left is ended", async || (v1.channels() == 0).then_some(())).await;
    assert_eq!(who(&mut channel).await, "v2");
    assert_eq!(v1.calls(), ["mine"]);
}

#[tokio::test]
async fn what_still_runs_at_a_server_that_was_left_is_cut_at_the_end_and_told_so() {
    let (v1, _v2, app) = app().await;
    let mut channel = open(&app).await;
    assert_eq!(channel.post(&call("mine", "wait")).await.status(), StatusCode::ACCEPTED);
    app.evict(leaving(LONG), "0:100").await;
    has_moved(&app).await;
    app.evict(leaving(Duration::ZERO), "1:99").await;
    let cut = next(&mut channel).await;
    assert_eq!((&cut["id"], &cut["error"]["code"]), (&json!("mine"), &json!(-32603)), "{cut}");
    eventually("and so is its stream there", async || (v1.channels() == 0).then_some(())).await;
    assert_eq!(who(&mut channel).await, "v2");
}

#[tokio::test]
async fn an_idle_session_is_moved_though_the_cut_comes_at_once() {
    let (v1, _v2, app) = app().await;
    let mut channel = open(&app).await;
    app.evict(leaving(Duration::ZERO), "0:100").await;
    has_moved(&app).await;
    assert_eq!(who(&mut channel).await, "v2");
    eventually("what was left is ended", async || (v1.channels() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_session_whose_tools_are_not_there_stays_unless_it_is_forced() {
    let (v1, v2, app) = app().await;
    let mut channel = open(&app).await;
    v1.list_tools();
    v2.list_tools();
    app.evict(leaving(LONG), "0:100").await;
    eventually("both were asked", async || {
        [&v1, &v2].iter().all(|server| !messages(server, "tools/list").is_empty()).then_some(())
    })
    .await;
    eventually("what was opened to ask is ended", async || ((v1.channels(), v2.channels()) == (1, 0)).then_some(())).await;
    assert_eq!(who(&mut channel).await, "v1");
    let how = Departure::Moves { forced: true, or_ends: false };
    let forced = Eviction { before_revision: u64::MAX - 1, how, ..leaving(LONG).unwrap() };
    app.evict(Some(forced), "1:99").await;
    drop(channel);
    let mut channel = open(&app).await;
    has_moved(&app).await;
    assert_eq!(who(&mut channel).await, "v2");
}

#[tokio::test]
async fn a_session_leaves_a_server_that_is_configured_no_more_when_that_is_gone() {
    let (v1, v2) = pair().await;
    let v3 = Fake::start("v3", Options::default()).await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    app.admin.split("0:100").await;
    let mut channel = open(&app).await;
    app.admin.split("100:0").await;
    let body = json!({ "version": "3.0", "endpoints": [v3.url()] });
    let (status, answer) = app.admin.send("PUT", "/v1/services/notes/entries/secondary", Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(who(&mut channel).await, "v2");
    kill(&v2).await;
    assert_eq!(who(&mut channel).await, "v3", "another endpoint of its entry");
}

#[tokio::test]
async fn each_request_is_booked_once_and_where_it_was() {
    let (v1, _v2, app) = app().await;
    let mut channel = open(&app).await;
    for (id, tool) in [("a", "wait"), ("b", "mute")] {
        assert_eq!(channel.post(&call(id, tool)).await.status(), StatusCode::ACCEPTED);
    }
    app.evict(leaving(LONG), "0:100").await;
    has_moved(&app).await;
    assert_eq!(ask(&mut channel, &call(1, "echo")).await["result"]["server"], "v2");
    v1.release();
    assert_eq!(next(&mut channel).await["id"], "a");
    kill(&v1).await;
    assert_eq!(next(&mut channel).await["error"]["code"], -32603, "the other one is lost with its server");
    let booked = async || {
        let page = reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap();
        let lines = page.lines().filter(|line| line.starts_with("mcp_tool_calls_total{") && !line.ends_with(" 0.0"));
        let mut lines: Vec<String> = lines.map(|line| line.replace("mcp_tool_calls_total{service=\"notes\",", "")).collect();
        lines.sort();
        lines
    };
    let wanted = [
        "entry=\"primary\",tool_name=\"mute\",outcome=\"entry_fault\"} 1.0",
        "entry=\"primary\",tool_name=\"wait\",outcome=\"ok\"} 1.0",
        "entry=\"secondary\",tool_name=\"echo\",outcome=\"ok\"} 1.0",
    ];
    eventually("all is booked", async || (booked().await == wanted).then_some(())).await;
}

#[tokio::test]
async fn what_a_later_server_asks_is_answered_to_it_under_its_own_id() {
    let (v1, v2, app) = app().await;
    let mut channel = open(&app).await;
    kill(&v1).await;
    assert_eq!(who(&mut channel).await, "v2");
    v2.say_on_channels(
        b"event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"sampling/createMessage\",\"params\":{}}\n\n",
    );
    let asked = next(&mut channel).await;
    let id = asked["id"].as_str().unwrap_or_else(|| panic!("a text that says its epoch: {asked}")).to_owned();
    assert!(id.starts_with('r') && id.ends_with("n.0"), "{id}");
    let answer = json!({ "jsonrpc": "2.0", "id": id, "result": { "role": "user" } });
    assert_eq!(channel.post(&answer).await.status(), StatusCode::ACCEPTED);
    let answered = eventually("it is there", async || {
        let all = v2.seen().into_iter().filter_map(|seen| serde_json::from_slice::<Value>(&seen.body).ok());
        all.into_iter().find(|message| message["result"]["role"] == "user")
    })
    .await;
    assert_eq!(answered["id"], 0);
    // What the first one had asked has nobody to go to.
    let late = json!({ "jsonrpc": "2.0", "id": 0, "result": { "role": "nobody" } });
    assert_eq!(channel.post(&late).await.status(), StatusCode::ACCEPTED);
    assert_eq!(who(&mut channel).await, "v2");
    assert!(!v2.seen().iter().any(|seen| String::from_utf8_lossy(&seen.body).contains("nobody")));
}

#[tokio::test]
async fn a_server_that_takes_no_new_connections_finishes_what_it_has_while_its_session_is_elsewhere() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "health = { interval = \"1h\" }").await;
    let mut channel = open(&app).await;
    assert_eq!(channel.post(&call("mine", "wait")).await.status(), StatusCode::ACCEPTED);
    assert_eq!(ask(&mut channel, &call(2, "bye")).await["result"]["server"], "v1");
    v1.stop_accepting();
    // The connections that are parked are no longer used.
    eventually("it has moved", async || {
        let answer = ask(&mut channel, &call(3, "bye")).await;
        (answer["result"]["server"] == "v2").then_some(())
    })
    .await;
    v1.release();
    let answer = next(&mut channel).await;
    assert_eq!((&answer["id"], &answer["result"]["server"]), (&json!("mine"), &json!("v1")), "{answer}");
    eventually("what was left is ended", async || (v1.channels() == 0).then_some(())).await;
    assert_eq!(v2.channels(), 1);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left() {
    let (v1, v2) = pair().await;
    let health = "health = { interval = \"200ms\", timeout = \"200ms\", fall = 2, rise = 1 }";
    let app = TestApp::start(&v1, &v2, "100:0", health).await;
    let mut channel = open(&app).await;
    assert_eq!(channel.post(&call("mine", "mute")).await.status(), StatusCode::ACCEPTED);
    v1.be_silent(true);
    let failed = next(&mut channel).await;
    assert_eq!((&failed["id"], &failed["error"]["code"]), (&json!("mine"), &json!(-32603)), "{failed}");
    assert_eq!(who(&mut channel).await, "v2");
    eventually("it is left", async || (v1.channels() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_session_whose_handshake_was_not_seen_ends_with_its_server() {
    let (v1, _v2, app) = app().await;
    let mut channel = Channel::open(&app).await;
    assert_eq!(who(&mut channel).await, "v1");
    kill(&v1).await;
    assert_eq!(channel.event().await, None);
}

#[tokio::test]
async fn a_session_that_is_to_wait_or_to_end_ends_with_its_server() {
    for more in [WAITS, "sessions = { on_loss = \"end\" }"] {
        let (v1, v2) = pair().await;
        let app = TestApp::start(&v1, &v2, "100:0", more).await;
        let mut channel = open(&app).await;
        channel.post(&call("mine", "mute")).await;
        kill(&v1).await;
        assert_eq!(channel.message().await["id"], "mine");
        assert_eq!(channel.event().await, None);
        assert!(messages(&v2, "initialize").is_empty());
    }
}

#[tokio::test]
async fn a_session_moves_as_often_as_its_servers_die() {
    let (v1, v2, app) = app().await;
    let mut channel = open(&app).await;
    kill(&v1).await;
    assert_eq!(who(&mut channel).await, "v2");
    let v1 = v1.restart().await;
    kill(&v2).await;
    assert_eq!(who(&mut channel).await, "v1");
    assert_eq!((messages(&v1, "initialize").len(), v1.channels()), (1, 1));
}
