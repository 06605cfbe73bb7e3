//! The sessions of an entry that was taken back: what runs goes on for a while, and nobody stays.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dualgate::domain::{Departure, Entry, Eviction, Moment};
use http::StatusCode;
use serde_json::{Value, json};

use crate::outcomes::tools;
use crate::support::scripted::{Sender, in_front_of, result, running, scripted, whole};
use crate::support::{Channel, Client, Fake, Options, TestApp, call, eventually, initialize};

const LONG: Duration = Duration::from_secs(3600);

/// All leave so long after the start of the process, and what still runs is cut so long after it.
fn leaving(from: Duration, cut: Duration) -> Option<Eviction> {
    let at = Moment::after_start;
    Some(Eviction { from: at(from), over: Duration::ZERO, cut: at(cut), before_revision: u64::MAX, how: Departure::Ends })
}

/// Everybody is to leave, and what runs goes on.
fn now() -> Option<Eviction> {
    leaving(Duration::ZERO, LONG)
}

/// And what still runs is cut.
fn cut() -> Option<Eviction> {
    leaving(Duration::ZERO, Duration::ZERO)
}

async fn app() -> (Fake, Fake, TestApp) {
    let dual = Options { modern: true, ..Options::default() };
    let (v1, v2) = (Fake::start("v1", dual).await, Fake::start("v2", dual).await);
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    (v1, v2, app)
}

fn notification() -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })
}

async fn json_of(response: reqwest::Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// So many were ended, and nobody is counted alive.
async fn all_ended(app: &TestApp, wanted: u64) {
    let tally = app.tally(Entry::Primary);
    eventually("they are ended", async || (tally.sessions().count() == 0).then_some(())).await;
    let page = reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap();
    let line = format!("dualgate_sessions_ended_total{{service=\"notes\",entry=\"primary\"}} {wanted}.0");
    assert!(page.contains(&line), "{line} is not in {page}");
}

async fn has_called(server: &Fake, id: u64) {
    eventually("the call is there", async || server.calls().contains(&json!(id)).then_some(())).await;
}

#[tokio::test]
async fn a_session_is_gone_once_its_time_has_come_and_not_before() {
    let (v1, _v2, app) = app().await;
    let client = Client::new(&app);
    let (session, idle) = (client.open().await, client.open().await);
    app.evict(leaving(LONG, LONG), "0:100").await;
    assert_eq!(session.who().await, "v1");
    assert_eq!(app.tally(Entry::Primary).sessions().count(), 2);
    app.evict(now(), "1:99").await;
    let before = v1.seen().len();
    let gone = session.post(&call(7, "echo")).await;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    let answer = json_of(gone).await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(7), &json!(-32603)), "{answer}");
    assert_eq!(session.listen().await.status(), StatusCode::NOT_FOUND);
    assert_eq!(session.delete().await.status(), StatusCode::OK);
    assert_eq!(v1.seen().len(), before, "no server has seen them");
    // A session that says nothing is ended as well.
    all_ended(&app, 2).await;
    assert_eq!(idle.post(&call(1, "echo")).await.status(), StatusCode::NOT_FOUND);
    all_ended(&app, 2).await;
}

#[tokio::test]
async fn whoever_begins_anew_is_where_new_clients_go() {
    let (_v1, _v2, app) = app().await;
    let client = Client::new(&app);
    let session = client.open().await;
    app.evict(now(), "0:100").await;
    // As SDKs do, the new `initialize` of one that has kept its id.
    let response = client.with("mcp-session-id", &session.id).post(&initialize()).await;
    assert_eq!(json_of(response).await["result"]["serverInfo"]["name"], "v2");
    assert_eq!(client.open().await.who().await, "v2");
}

#[tokio::test]
async fn a_call_that_runs_goes_on_and_its_clients_words_reach_the_server() {
    let (v1, _v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let running = tokio::spawn({
        let session = session.clone();
        async move { json_of(session.post(&call(1, "wait")).await).await }
    });
    has_called(&v1, 1).await;
    app.evict(now(), "0:100").await;
    let before = v1.seen().len();
    assert_eq!(session.post(&notification()).await.status(), StatusCode::ACCEPTED);
    assert_eq!(v1.seen().len(), before + 1);
    all_ended(&app, 1).await;
    v1.release();
    assert_eq!(running.await.unwrap()["result"]["server"], "v1");
    // Its answer has not brought the session back to life.
    all_ended(&app, 1).await;
    app.evict(cut(), "1:99").await;
    assert_eq!(session.post(&notification()).await.status(), StatusCode::ACCEPTED);
    assert_eq!(v1.seen().len(), before + 1, "after the cut nothing reaches it");
}

#[tokio::test]
async fn a_call_without_an_answer_at_the_cut_is_told_by_its_id() {
    let (v1, _v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let running = tokio::spawn(async move {
        let response = session.post(&call(5, "wait")).await;
        (response.status(), json_of(response).await)
    });
    has_called(&v1, 5).await;
    app.evict(cut(), "0:100").await;
    let (status, answer) = running.await.unwrap();
    assert_eq!((status, &answer["id"], &answer["error"]["code"]), (StatusCode::OK, &json!(5), &json!(-32603)), "{answer}");
    let tally = app.tally(Entry::Primary);
    assert_eq!(tally.total().all.faults, 0, "it is not the entry's doing");
}

#[tokio::test]
async fn a_stream_that_answers_ends_with_an_error_event_at_the_cut_and_not_before() {
    let (v1, _v2, app) = app().await;
    let client = Client::new(&app);
    let (one, two) = (client.open().await, client.open().await);
    let mut finishes = one.post(&call(1, "stream")).await;
    let progress = finishes.chunk().await.unwrap().unwrap();
    assert!(progress.ends_with(b"\n\n"));
    app.evict(now(), "0:100").await;
    all_ended(&app, 2).await;
    v1.release();
    let answer = finishes.text().await.unwrap();
    assert!(answer.contains(r#""id":1"#) && answer.contains("result"), "{answer}");
    assert_eq!(two.post(&call(2, "echo")).await.status(), StatusCode::NOT_FOUND);

    app.evict(None, "100:0").await;
    let mut is_cut = two.post(&call(3, "stream")).await;
    is_cut.chunk().await.unwrap().unwrap();
    app.evict(cut(), "0:100").await;
    let last = is_cut.text().await.unwrap();
    assert!(last.starts_with("event: message\ndata: ") && last.contains(r#""id":3,"error""#), "{last}");
}

#[tokio::test]
async fn a_stream_that_listens_ends_cleanly_and_finds_its_session_gone() {
    let (_v1, _v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let stream = session.listen().await;
    app.evict(leaving(LONG, LONG), "1:99").await;
    assert_eq!(session.who().await, "v1");
    app.evict(now(), "0:100").await;
    assert_eq!(stream.text().await.unwrap(), "", "its end is no error");
    assert_eq!(session.listen().await.status(), StatusCode::NOT_FOUND);
    all_ended(&app, 1).await;
}

#[tokio::test]
async fn a_stream_that_listens_ends_after_an_event_and_not_within() {
    let (v1, _v2, app) = app().await;
    let session = Client::new(&app).open().await;
    let mut stream = session.listen().await;
    v1.say(b"data: {\"method\":");
    assert_eq!(stream.chunk().await.unwrap().unwrap(), "data: {\"method\":");
    app.evict(now(), "0:100").await;
    all_ended(&app, 1).await;
    v1.say(b"\"x\"}\n\n");
    assert_eq!(stream.text().await.unwrap(), "\"x\"}\n\n");
}

#[tokio::test]
async fn an_idle_stream_of_http_sse_ends_and_the_next_one_is_elsewhere() {
    let (_v1, _v2, app) = app().await;
    let mut channel = Channel::open(&app).await;
    assert_eq!(channel.who().await, "v1");
    app.evict(now(), "0:100").await;
    assert_eq!(channel.event().await, None);
    assert_eq!(channel.post(&call(1, "echo")).await.status(), StatusCode::NOT_FOUND);
    all_ended(&app, 1).await;
    assert_eq!(Channel::open(&app).await.who().await, "v2");
}

#[tokio::test]
async fn a_stream_of_http_sse_ends_when_nothing_is_to_come_on_it() {
    let (v1, _v2, app) = app().await;
    let mut channel = Channel::open(&app).await;
    assert_eq!(channel.post(&call(1, "wait")).await.status(), StatusCode::ACCEPTED);
    app.evict(now(), "0:100").await;
    // What is begun too late is told there, where its client reads.
    assert_eq!(channel.post(&call(2, "echo")).await.status(), StatusCode::ACCEPTED);
    let late = channel.message().await;
    assert_eq!((&late["id"], &late["error"]["code"]), (&json!(2), &json!(-32603)), "{late}");
    v1.release();
    let answer = channel.message().await;
    assert_eq!((&answer["id"], &answer["result"]["server"]), (&json!(1), &json!("v1")), "{answer}");
    assert_eq!(channel.event().await, None);
    assert!(!v1.calls().contains(&json!(2)));
    all_ended(&app, 1).await;
}

#[tokio::test]
async fn what_waits_on_a_stream_of_http_sse_at_the_cut_is_told_so() {
    let (_v1, _v2, app) = app().await;
    let mut channel = Channel::open(&app).await;
    assert_eq!(channel.post(&call(1, "wait")).await.status(), StatusCode::ACCEPTED);
    app.evict(cut(), "0:100").await;
    let last = channel.message().await;
    assert_eq!((&last["id"], &last["error"]["code"]), (&json!(1), &json!(-32603)), "{last}");
    assert_eq!(channel.event().await, None);
    all_ended(&app, 1).await;
}

#[tokio::test]
async fn a_subscription_ends_without_a_result_and_a_modern_call_goes_on() {
    let (v1, _v2, app) = app().await;
    let modern = Client::new(&app).with("x-api-key", "k").with("mcp-protocol-version", "2026-07-28");
    let listen = json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": { "notifications": {} } });
    let stream = modern.with("mcp-method", "subscriptions/listen").post(&listen).await;
    assert_eq!(stream.status(), StatusCode::OK);
    let calling = modern.with("mcp-method", "tools/call").with("mcp-name", "wait");
    let running = tokio::spawn(async move { json_of(calling.post(&call(2, "wait")).await).await });
    has_called(&v1, 2).await;
    app.evict(now(), "0:100").await;
    let said = stream.text().await.unwrap();
    assert!(!said.contains(r#""id":1"#), "{said}");
    v1.release();
    assert_eq!(running.await.unwrap()["result"]["server"], "v1");
}

#[tokio::test]
async fn whoever_was_sent_there_since_stays() {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let app = TestApp::start(&v1, &v2, "100:0", "affinity = { tester_header = \"x-entry\" }").await;
    let client = Client::new(&app);
    let before = client.open().await;
    app.admin.split("0:100").await;
    let revision = app.admin.service().await["revision"].as_u64().unwrap();
    let eviction = Eviction { before_revision: revision, ..cut().unwrap() };
    app.evict(Some(eviction), "1:99").await;
    let tester = client.with("x-entry", "primary").open().await;
    let mut stream = tester.listen().await;
    assert_eq!(before.post(&call(1, "echo")).await.status(), StatusCode::NOT_FOUND);
    let tally = app.tally(Entry::Primary);
    eventually("the other is ended", async || (tally.ended() == 1).then_some(())).await;
    assert_eq!(tester.who().await, "v1");
    assert_eq!(tally.sessions().count(), 1);
    assert_eq!(tester.client.bind(&tester.id).who().await, "v1");
    assert!(tokio::time::timeout(Duration::from_millis(100), stream.chunk()).await.is_err(), "its stream is open");
}

/// A server that ends the stream of a call before its answer, and goes on where the client resumes it.
async fn resuming() -> (TestApp, Arc<Mutex<Vec<Sender>>>) {
    let other = Fake::start("other", Options::default()).await;
    let kept: Arc<Mutex<Vec<Sender>>> = Arc::default();
    let senders = kept.clone();
    let server = scripted(move |head, message| {
        let kept = kept.clone();
        async move {
            let events = [("content-type", "text/event-stream"), ("mcp-session-id", "s1")];
            if head.method == "GET" {
                let (response, sender) = running(200, &events, ": resumed\n\n").await;
                kept.lock().unwrap().push(sender);
                return response;
            }
            if message["method"] == "initialize" {
                return whole(200, &[("content-type", "application/json"), ("mcp-session-id", "s1")], &result(&message));
            }
            whole(200, &events, "id: 1\ndata:\n\n")
        }
    })
    .await;
    (in_front_of(server, &other, "").await, senders)
}

#[tokio::test]
async fn a_stream_on_which_a_call_is_resumed_goes_on_until_the_cut() {
    let (app, senders) = resuming().await;
    let session = Client::new(&app).open().await;
    session.post(&call(7, "echo")).await.bytes().await.unwrap();
    app.evict(now(), "0:100").await;
    let mut stream = eventually("the call is left", async || {
        let stream = session.listen().await;
        (stream.status() == StatusCode::OK).then_some(stream)
    })
    .await;
    assert_eq!(stream.chunk().await.unwrap().unwrap(), ": resumed\n\n");
    all_ended(&app, 1).await;
    app.evict(cut(), "1:99").await;
    let last = stream.text().await.unwrap();
    assert!(last.contains(r#""id":7,"error""#), "{last}");
    assert_eq!(session.listen().await.status(), StatusCode::NOT_FOUND);
    eventually("the call is booked", async || (tools(&app).await == [("echo proxy_fault".to_owned(), 1)].into()).then_some(()))
        .await;
    drop(senders);
}

#[tokio::test]
async fn a_stream_on_which_a_call_was_resumed_ends_once_it_is_answered() {
    let (app, senders) = resuming().await;
    let session = Client::new(&app).open().await;
    session.post(&call(7, "echo")).await.bytes().await.unwrap();
    let stream = session.listen().await;
    app.evict(now(), "0:100").await;
    all_ended(&app, 1).await;
    let answer = "id: 2\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n\n";
    let mut sender = senders.lock().unwrap().pop().unwrap();
    sender.send_data(answer.into()).await.unwrap();
    assert_eq!(stream.text().await.unwrap(), format!(": resumed\n\n{answer}"));
    assert_eq!(tools(&app).await, [("echo ok".to_owned(), 1)].into());
}

#[tokio::test]
async fn a_rollback_has_the_sessions_of_its_entry_end_within_deadline_and_pace() {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let app = TestApp::start(
        &v1,
        &v2,
        "100:0",
        "sessions = { on_drain = \"end\", rollback_deadline = \"0s\", rollback_pace = \"1s\" }",
    )
    .await;
    app.admin.split("0:100").await;
    let client = Client::new(&app);
    let mut sessions = Vec::new();
    for _ in 0..8 {
        sessions.push(client.open().await);
    }
    let (status, _) = app.admin.send("POST", "/v1/services/notes/rollback", None).await;
    assert_eq!(status, 200);
    let tally = app.tally(Entry::Secondary);
    eventually("all are ended", async || (tally.ended() == 8 && tally.sessions().count() == 0).then_some(())).await;
    for session in &sessions {
        assert_eq!(session.post(&call(1, "echo")).await.status(), StatusCode::NOT_FOUND);
    }
    assert_eq!((client.open().await.who().await.as_str(), tally.ended()), ("v1", 8));
}
