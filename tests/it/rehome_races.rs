//! Races of sessions that are moved: each is brought about at a gate that the test holds.
//!
//! What holds whatever comes first: the session lives, in one place; no call is made twice; no server is left with a session
//! that is nobody's, or is told twice what is said once.

use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::moves::{
    LONG, dual_app as app, has_called, has_ended, json_of, kill, leaving, messages, methods, read_until,
};
use crate::support::raw::Talk;
use crate::support::{Client, Fake, Options, Session, TestApp, at_rest, call, eventually};

/// A session whose handshake is over.
async fn open(app: &TestApp) -> Session {
    let session = Client::new(app).open().await;
    let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(session.post(&initialized).await.status(), StatusCode::ACCEPTED);
    session
}

/// A session at the first server, where the second takes clients, too: nobody waits for the first to come back.
async fn shared() -> (Fake, Fake, TestApp, Session) {
    let (v1, v2, app) = app().await;
    let session = open(&app).await;
    app.admin.split("90:10").await;
    (v1, v2, app, session)
}

/// A call that runs while something else happens.
fn begin(session: &Session, id: &str, tool: &str) -> tokio::task::JoinHandle<Value> {
    let (session, message) = (session.clone(), call(id, tool));
    tokio::spawn(async move { json_of(session.post(&message).await).await })
}

async fn sessions(server: &Fake, wanted: usize) {
    eventually("so many sessions are there", async || (server.sessions() == wanted).then_some(())).await;
}

/// The session lives at one of these, and all went well; no other has anything of it. Calls have names of their own, but for
/// those that only ask who is there.
async fn lives_at(home: &Fake, others: &[&Fake], session: &Session) {
    assert_eq!(json_of(session.post(&call("last", "echo")).await).await["id"], "last");
    assert_eq!(home.executed().iter().filter(|id| **id == "last").count(), 1, "it lives there");
    sessions(home, 1).await;
    for other in others {
        sessions(other, 0).await;
    }
    others.iter().chain([&home]).for_each(|server| was_told_once(server));
    let mut calls: Vec<String> = others
        .iter()
        .chain([&home])
        .flat_map(|server| server.executed())
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    let all = calls.len();
    calls.sort();
    calls.dedup();
    assert_eq!(calls.len(), all, "no call was made twice");
}

/// No `initialize` within a session, and `initialized` once in each at most.
fn was_told_once(server: &Fake) {
    let mut told: Vec<String> = Vec::new();
    for seen in server.seen() {
        let message: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        let within = seen.headers.get("mcp-session-id").map(|id| id.to_str().unwrap().to_owned());
        match message["method"].as_str() {
            Some("initialize") => assert_eq!(within, None, "a server takes it for an error"),
            Some("notifications/initialized") => told.push(within.expect("in a session")),
            _ => {}
        }
    }
    let all = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), all, "{told:?}");
}

async fn metrics(app: &TestApp) -> String {
    reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap()
}

/// Moves that were tried, by their results.
async fn moves(app: &TestApp) -> f64 {
    let page = metrics(app).await;
    let lines = page.lines().filter(|line| line.starts_with("dualgate_rehomed_total{"));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

/// A GET stream on a connection of its own, which can be reset.
async fn listen_raw(app: &TestApp, session: &Session) -> Talk {
    let mut talk = Talk::to(app).await;
    let id = &session.id;
    talk.say(format!("GET /mcp HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nmcp-session-id: {id}\r\n\r\n")).await;
    talk
}

async fn post_raw(app: &TestApp, session: &Session, message: &Value) -> Talk {
    let (mut talk, id, body) = (Talk::to(app).await, &session.id, message.to_string());
    talk.say(format!(
        "POST /mcp HTTP/1.1\r\nhost: x\r\naccept: application/json, text/event-stream\r\ncontent-type: application/json\r\n\
mcp-session-id: {id}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    talk
}

/// As by a client that is killed with something unread: the connection is reset.
fn reset(talk: Talk) {
    talk.stream.set_zero_linger().unwrap();
    drop(talk);
}

/// One event that no socket takes at once.
fn flood() -> &'static [u8] {
    Box::leak(format!("data: \"{}\"\n\n", "x".repeat(32 << 20)).into_bytes().into_boxed_slice())
}

// Race 1: two failures at once, or one in the middle of a planned move.

#[tokio::test]
async fn all_who_meet_a_dead_server_at_once_move_their_session_once() {
    let (v1, v2, _app, session) = shared().await;
    let mut stream = session.listen().await;
    kill(&v1).await;
    let calls: Vec<_> = (0..16).map(|at| begin(&session, &format!("c{at}"), "echo")).collect();
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.unwrap()["result"]["server"], "v2");
    }
    assert_eq!(v2.births(), 1);
    eventually("the stream is open there", async || (v2.streams() == 1).then_some(())).await;
    v2.say(b"data: {\"from\":\"two\"}\n\n");
    read_until(&mut stream, "two").await;
    lives_at(&v2, &[], &session).await;
    assert_eq!(v2.births(), 1);
}

#[tokio::test]
async fn a_session_whose_next_server_dies_too_goes_on_where_somebody_is() {
    for gate in ["initialize", "notifications/initialized"] {
        let (v1, v2, _app, session) = shared().await;
        v2.hold(gate);
        kill(&v1).await;
        let running = begin(&session, "mine", "echo");
        v2.holds(gate, 1).await;
        let v1 = v1.restart().await;
        v2.kill();
        assert_eq!(running.await.unwrap()["result"]["server"], "v1", "{gate}");
        assert_eq!((v1.births(), v2.calls()), (1, vec![]), "{gate}");
        lives_at(&v1, &[], &session).await;
    }
}

#[tokio::test]
async fn a_session_whose_old_server_dies_in_the_middle_of_a_planned_move_lives_at_the_new_one() {
    for gate in ["initialize", "notifications/initialized", "GET"] {
        let (v1, v2, app) = app().await;
        let session = open(&app).await;
        let mut stream = session.listen().await;
        v2.hold(gate);
        app.evict(leaving(LONG), "0:100").await;
        v2.holds(gate, 1).await;
        kill(&v1).await;
        let running = ["mine", "ours"].map(|id| begin(&session, id, "echo"));
        v2.let_go(gate);
        for answer in futures::future::join_all(running).await {
            assert_eq!(answer.unwrap()["result"]["server"], "v2", "{gate}");
        }
        eventually("the stream is open there", async || (v2.streams() == 1).then_some(())).await;
        v2.say(b"data: {\"from\":\"two\"}\n\n");
        read_until(&mut stream, "two").await;
        lives_at(&v2, &[], &session).await;
        assert_eq!(v2.births(), 1, "{gate}");
    }
}

#[tokio::test]
async fn a_session_whose_new_server_dies_in_the_middle_of_a_planned_move_goes_on_at_the_old_one() {
    for gate in ["initialize", "notifications/initialized", "GET"] {
        let (v1, v2, app) = app().await;
        let session = open(&app).await;
        let mut stream = session.listen().await;
        v2.hold(gate);
        app.evict(leaving(LONG), "0:100").await;
        v2.holds(gate, 1).await;
        let running = begin(&session, "running", "wait");
        has_called(&v1, "running").await;
        kill(&v2).await;
        assert_eq!(json_of(session.post(&call("mine", "echo")).await).await["result"]["server"], "v1", "{gate}");
        v1.release();
        assert_eq!(running.await.unwrap()["result"]["server"], "v1", "{gate}");
        eventually("the stream is open there", async || (v1.streams() == 1).then_some(())).await;
        v1.say(b"data: {\"from\":\"one\"}\n\n");
        read_until(&mut stream, "one").await;
        sessions(&v1, 1).await;
        // And there it goes, once somebody is.
        let v2 = v2.restart().await;
        eventually("it has moved", async || (v2.sessions() == 1 && v1.sessions() == 0).then_some(())).await;
        lives_at(&v2, &[&v1], &session).await;
        assert_eq!(v2.births(), 1, "{gate}");
    }
}

#[tokio::test]
async fn a_session_whose_new_server_resets_its_connections_in_the_middle_of_a_move_leaves_nothing_there() {
    for gate in ["notifications/initialized", "GET"] {
        let (v1, v2, app) = app().await;
        let session = open(&app).await;
        let _stream = session.listen().await;
        v2.hold(gate);
        app.evict(leaving(LONG), "0:100").await;
        v2.holds(gate, 1).await;
        v2.reset();
        v2.let_go(gate);
        eventually("it has moved", async || (v2.sessions() == 1 && v1.sessions() == 0).then_some(())).await;
        lives_at(&v2, &[&v1], &session).await;
    }
}

#[tokio::test]
async fn a_new_server_that_hangs_in_a_planned_move_holds_up_nobody_who_does_not_make_it() {
    for listens in [true, false] {
        let (v1, v2, app) = app().await;
        let session = open(&app).await;
        let _stream = match listens {
            true => Some(session.listen().await),
            false => None,
        };
        v2.hold("initialize");
        app.evict(leaving(LONG), "0:100").await;
        v2.holds("initialize", 1).await;
        for _ in 0..20 {
            assert_eq!(session.who().await, "v1");
        }
        assert_eq!(v2.births(), 1, "it is still the same move");
        v2.let_go("initialize");
        eventually("it has moved", async || (session.who().await == "v2").then_some(())).await;
        lives_at(&v2, &[&v1], &session).await;
    }
}

// Race 2: the client leaves.

#[tokio::test]
async fn a_client_that_leaves_while_its_stream_is_written_moves_nothing() {
    let (v1, v2, app) = app().await;
    let session = open(&app).await;
    let stream = listen_raw(&app, &session).await;
    eventually("it listens", async || (v1.streams() == 1).then_some(())).await;
    v1.say(flood());
    at_rest(app.address).await;
    reset(stream);
    eventually("its server feels it", async || (v1.gone() == 1).then_some(())).await;
    // The same while a call is answered.
    let running = post_raw(&app, &session, &call("mine", "stream")).await;
    has_called(&v1, "mine").await;
    reset(running);
    let in_flight = async || app.admin.service().await["entries"]["primary"]["endpoints"][0]["in_flight"].clone();
    eventually("that is felt", async || (in_flight().await == 0).then_some(())).await;
    assert_eq!(session.who().await, "v1");
    // Whatever the next request may bring.
    let mut stream = session.listen().await;
    eventually("it listens", async || (v1.streams() == 1).then_some(())).await;
    v1.say(b"data: {\"from\":\"one\"}\n\n");
    read_until(&mut stream, "one").await;
    assert_eq!((v1.births(), v2.births(), moves(&app).await), (1, 0, 0.0));
    lives_at(&v1, &[&v2], &session).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_its_session_moves_is_no_failure_of_a_server() {
    for gate in ["initialize", "GET"] {
        let (v1, v2, app) = app().await;
        let session = open(&app).await;
        let stream = listen_raw(&app, &session).await;
        eventually("it listens", async || (v1.streams() == 1).then_some(())).await;
        v2.hold(gate);
        app.evict(leaving(LONG), "0:100").await;
        v2.holds(gate, 1).await;
        v1.say(flood());
        at_rest(app.address).await;
        reset(stream);
        eventually("its server feels it", async || (v1.gone() == 1).then_some(())).await;
        v2.let_go(gate);
        eventually("it has moved", async || (v2.sessions() == 1 && v1.sessions() == 0).then_some(())).await;
        lives_at(&v2, &[&v1], &session).await;
        assert_eq!(moves(&app).await, 1.0, "{gate}: by the order, and not again");
        assert_eq!(v1.births(), 1, "{gate}");
    }
}

// Race 4: moves without end.

/// Whether a request has failed; its client survives the answer, whatever it is.
async fn fails(answer: Response, id: &Value) -> bool {
    assert_eq!(answer.status(), StatusCode::OK, "404 and 400 would be the end of it");
    let answer = json_of(answer).await;
    assert_eq!(answer["id"], *id);
    assert!(answer["error"]["code"] == -32603 || answer["result"]["server"].is_string(), "{answer}");
    answer["error"].is_object()
}

/// So many moves may have been made since then.
fn allowed(begun: Instant) -> usize {
    5 * (1 + begun.elapsed().as_secs() as usize / 10)
}

#[tokio::test]
async fn servers_that_open_sessions_and_know_none_of_them_are_not_asked_without_end() {
    for status in [400, 404] {
        let (v1, v2, app, session) = shared().await;
        [&v1, &v2].iter().for_each(|server| server.refuse(status));
        let (begun, born) = (Instant::now(), v1.births());
        let made = || v1.births() + v2.births() - born;
        for at in 0..20 {
            let (before, id) = (made(), json!(format!("c{at}")));
            assert!(fails(session.post(&call(id.clone(), "echo")).await, &id).await);
            assert!(made() - before <= 1, "{status}: one move for a request");
        }
        assert!(made() >= 1 && made() <= allowed(begun), "{status}: {} in a row", made());
        let at_once = (0..10).map(|at| {
            let session = session.clone();
            async move { fails(session.post(&call(at, "echo")).await, &json!(at)).await }
        });
        assert!(futures::future::join_all(at_once).await.into_iter().all(|fails| fails));
        assert!(made() <= allowed(begun), "{status}: {} in a row", made());
        // It was not the end: where a server keeps its word, it goes on.
        [&v1, &v2].iter().for_each(|server| server.refuse(0));
        assert!(!fails(session.post(&call("after", "echo")).await, &json!("after")).await);
        [&v1, &v2].iter().for_each(|server| was_told_once(server));
        assert!(moves(&app).await <= allowed(begun) as f64);
    }
}

#[tokio::test]
async fn a_stream_does_not_move_its_session_without_end_either() {
    let (v1, v2, app, session) = shared().await;
    let _stream = session.listen().await;
    eventually("it listens", async || (v1.streams() == 1).then_some(())).await;
    [&v1, &v2].iter().for_each(|server| server.refuse(404));
    let (begun, born) = (Instant::now(), v1.births());
    v1.reset();
    for at in 0..50 {
        // The reset may meet it, too.
        let answer = session.post(&call(at, "echo")).await;
        assert!(fails(answer, &json!(at)).await);
    }
    let made = v1.births() + v2.births() - born;
    assert!(made >= 1 && made <= allowed(begun), "{made} in a row");
    assert!(moves(&app).await <= allowed(begun) as f64);
}

// Race 5: a stream that was resumed after the last word on it.

async fn resume(session: &Session, last: &str) -> Response {
    session.client.with("mcp-session-id", &session.id).with("last-event-id", last).request("GET").send().await.unwrap()
}

fn last_id(read: &str) -> String {
    read.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap_or_else(|| panic!("{read}")).to_owned()
}

/// GETs that a server was asked for.
fn gets(server: &Fake) -> usize {
    methods(server).iter().filter(|method| *method == "GET").count()
}

#[tokio::test]
async fn a_call_that_was_told_to_have_failed_is_not_resumed_and_that_causes_nothing() {
    for (listens, moved_before) in [(true, false), (false, false), (true, true), (false, true)] {
        let case = format!("listens: {listens}, moved before: {moved_before}");
        let (mut v1, mut v2, _app, session) = shared().await;
        if moved_before {
            // At the second server it is of a later epoch, and its ids say so.
            kill(&v1).await;
            assert_eq!(session.who().await, "v2", "{case}");
            (v1, v2) = (v2, v1.restart().await);
        }
        let _stream = match listens {
            true => Some(session.listen().await),
            false => None,
        };
        let mut running = session.post(&call("mine", "resumable")).await;
        let last = last_id(&read_until(&mut running, "progress").await);
        assert_eq!(last == "7", !moved_before, "{case}");
        kill(&v1).await;
        let mut told = running.text().await.unwrap_or_default();
        assert!(!session.who().await.is_empty(), "{case}");
        if !told.contains("-32603") {
            // It may come back for it, and is told there, once.
            let answer = resume(&session, &last).await;
            assert_eq!(answer.status(), StatusCode::OK, "{case}");
            told = answer.text().await.unwrap();
        }
        assert!(told.contains("\"id\":\"mine\"") && told.contains("-32603"), "{case}: {told}");
        if listens {
            eventually("the stream is open there", async || (v2.streams() == 1).then_some(())).await;
        }
        let (births, asked) = (v2.births(), gets(&v2));
        for _ in 0..3 {
            assert_eq!(resume(&session, &last).await.status(), StatusCode::METHOD_NOT_ALLOWED, "{case}");
        }
        assert_eq!(session.who().await, if moved_before { "v1" } else { "v2" }, "{case}");
        assert_eq!((v2.births(), gets(&v2)), (births, asked), "{case}");
    }
}

#[tokio::test]
async fn a_call_that_was_cut_with_its_binding_is_not_resumed_and_that_causes_nothing() {
    for listens in [true, false] {
        let (v1, v2, app) = app().await;
        let session = open(&app).await;
        let _stream = match listens {
            true => Some(session.listen().await),
            false => None,
        };
        let mut running = session.post(&call("mine", "resumable")).await;
        let last = last_id(&read_until(&mut running, "progress").await);
        app.evict(leaving(LONG), "0:100").await;
        eventually("it has moved", async || (session.who().await == "v2").then_some(())).await;
        app.evict(leaving(Duration::ZERO), "1:99").await;
        let told = running.text().await.unwrap();
        assert!(told.contains("\"id\":\"mine\"") && told.contains("-32603"), "{told}");
        sessions(&v1, 0).await;
        let (births, asked) = (v2.births(), gets(&v2));
        for _ in 0..3 {
            assert_eq!(resume(&session, &last).await.status(), StatusCode::METHOD_NOT_ALLOWED, "listens: {listens}");
        }
        assert_eq!(session.who().await, "v2");
        assert_eq!((v2.births(), gets(&v2)), (births, asked), "listens: {listens}");
    }
}

#[tokio::test]
async fn a_call_that_is_resumed_while_its_binding_drains_is_resumed_there() {
    for moved_before in [false, true] {
        let (mut v1, v2, app) = app().await;
        let session = open(&app).await;
        if moved_before {
            kill(&v1).await;
            v1 = v1.restart().await;
            assert_eq!(session.who().await, "v1");
        }
        let _stream = session.listen().await;
        let mut running = session.post(&call("mine", "resumable")).await;
        let last = last_id(&read_until(&mut running, "progress").await);
        assert_eq!(last == "7", !moved_before);
        app.evict(leaving(LONG), "0:100").await;
        eventually("it has moved", async || (session.who().await == "v2").then_some(())).await;
        drop(running);
        let (there, elsewhere) = (gets(&v1), gets(&v2));
        let mut again = resume(&session, &last).await;
        assert_eq!(again.status(), StatusCode::OK);
        assert_eq!((gets(&v1), gets(&v2)), (there + 1, elsewhere), "moved before: {moved_before}");
        let asked = v1.last();
        assert_eq!(asked.headers["last-event-id"], "7", "as its server has said it");
        v1.say(b"id: 8\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"mine\",\"result\":{\"late\":true}}\n\n");
        read_until(&mut again, "late").await;
        drop(again);
        sessions(&v1, 0).await;
        lives_at(&v2, &[&v1], &session).await;
    }
}

/// A client that has slept comes back for both.
#[tokio::test]
async fn a_call_and_a_stream_that_were_lost_together_are_resumed_each_where_it_is() {
    let (v1, v2, app) = app().await;
    let session = open(&app).await;
    let mut stream = session.listen().await;
    v1.say(b"id: l1\ndata: {\"to\":\"who listens\"}\n\n");
    read_until(&mut stream, "who listens").await;
    let mut running = session.post(&call("mine", "resumable")).await;
    let last = last_id(&read_until(&mut running, "progress").await);
    app.evict(leaving(LONG), "0:100").await;
    eventually("it has moved", async || (session.who().await == "v2").then_some(())).await;
    drop(running);
    let mut listens = resume(&session, "l1").await;
    assert_eq!(listens.status(), StatusCode::OK);
    let mut again = resume(&session, &last).await;
    assert_eq!(again.status(), StatusCode::OK);
    assert_eq!(v1.last().headers["last-event-id"], last, "its call is there");
    v1.say(b"id: 8\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"mine\",\"result\":{\"late\":true}}\n\n");
    read_until(&mut again, "late").await;
    has_ended(&mut stream).await;
    v2.say(b"data: {\"to\":\"who listens again\"}\n\n");
    read_until(&mut listens, "who listens again").await;
    let shown = v2.seen().into_iter().filter(|seen| seen.headers.contains_key("last-event-id")).count();
    assert_eq!(shown, 0, "the other server's ids mean nothing to it");
}

// Race 8: the client ends its session while that is moved.

#[tokio::test]
async fn a_session_that_its_client_ends_while_it_is_moved_is_ended_everywhere() {
    for (gate, listens) in [("initialize", false), ("initialize", true), ("notifications/initialized", true), ("GET", true)] {
        let (v1, v2, app) = app().await;
        let session = open(&app).await;
        let _stream = match listens {
            true => Some(session.listen().await),
            false => None,
        };
        v2.hold(gate);
        app.evict(leaving(LONG), "0:100").await;
        v2.holds(gate, 1).await;
        assert_eq!(v2.sessions(), 1, "{gate}: made, and not its home yet");
        assert_eq!(session.delete().await.status(), StatusCode::OK, "{gate}");
        v2.let_go(gate);
        sessions(&v1, 0).await;
        sessions(&v2, 0).await;
        assert_eq!(session.post(&call(1, "echo")).await.status(), StatusCode::NOT_FOUND, "{gate}: it does not come back to life");
        assert_eq!((v1.births(), v2.births()), (1, 1), "{gate}");
        was_told_once(&v2);
    }
}

#[tokio::test]
async fn a_session_that_its_client_ends_while_it_is_opened_for_another_request_is_ended_everywhere() {
    for gate in ["initialize", "notifications/initialized"] {
        let (v1, v2, _app, session) = shared().await;
        v2.hold(gate);
        kill(&v1).await;
        let running = tokio::spawn({
            let session = session.clone();
            async move { session.post(&call("mine", "echo")).await.status() }
        });
        v2.holds(gate, 1).await;
        // Its server is gone, and takes no leave.
        session.delete().await;
        v2.let_go(gate);
        assert_ne!(running.await.unwrap(), StatusCode::ACCEPTED);
        sessions(&v2, 0).await;
        // It does not come back to life, wherever its server may be.
        assert_eq!(json_of(session.post(&call(1, "echo")).await).await["error"]["code"], -32603, "{gate}");
        let v1 = v1.restart().await;
        eventually("its server says that it knows nothing of it", async || {
            (session.post(&call(2, "echo")).await.status() == StatusCode::NOT_FOUND).then_some(())
        })
        .await;
        assert_eq!((v1.births(), v2.births(), v2.sessions()), (0, 1, 0), "{gate}");
    }
}

// Races 9 and 10: both servers speak while the old one is drained.

#[tokio::test]
async fn what_both_servers_say_while_one_is_drained_comes_from_both_and_harms_nothing() {
    let (v1, v2, app) = app().await;
    let session = open(&app).await;
    let mut stream = session.listen().await;
    let running = begin(&session, "mine", "wait");
    has_called(&v1, "mine").await;
    app.evict(leaving(LONG), "0:100").await;
    eventually("it has moved", async || (session.who().await == "v2").then_some(())).await;
    eventually("both are listened to", async || ((v1.streams(), v2.streams()) == (1, 1)).then_some(())).await;
    let changed = b"data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\"}\n\n";
    for _ in 0..10 {
        v2.say(changed);
        v1.say(changed);
    }
    v2.say(b"data: {\"from\":\"two\"}\n\n");
    v1.say(b"data: {\"from\":\"one\"}\n\n");
    let mut read = read_until(&mut stream, "from").await;
    read += &read_until(&mut stream, if read.contains("two") { "one" } else { "two" }).await;
    assert_eq!(read.matches("resources/updated").count(), 20, "what each said, once: {read}");
    assert!(
        read.split("\n\n").filter(|event| event.contains("data")).all(|event| event.matches("data: ").count() == 1),
        "{read}"
    );
    v1.release();
    assert_eq!(running.await.unwrap()["result"]["server"], "v1");
    lives_at(&v2, &[&v1], &session).await;
    assert_eq!((v1.births(), v2.births()), (1, 1));
}

// Race 11: what is said once in a session is not said again in it.

#[tokio::test]
async fn a_move_that_is_tried_again_tells_no_session_twice() {
    for gate in ["initialize", "notifications/initialized"] {
        let (v1, v2, _app, session) = shared().await;
        v2.hold(gate);
        kill(&v1).await;
        let running = begin(&session, "mine", "echo");
        v2.holds(gate, 1).await;
        v2.reset();
        eventually("it is tried again", async || (messages(&v2, gate).len() == 2).then_some(())).await;
        v2.let_go(gate);
        assert_eq!(running.await.unwrap()["result"]["server"], "v2", "{gate}");
        assert_eq!(v2.births(), 2, "{gate}: tried again");
        was_told_once(&v2);
        assert_eq!(messages(&v2, "tools/call").len(), 1, "{gate}");
        // Of one whose id never came nobody could tell.
        sessions(&v2, if gate == "initialize" { 2 } else { 1 }).await;
    }
}

// Race 13: connections to a dead server that are parked.

#[tokio::test]
async fn connections_that_are_parked_when_their_server_is_started_anew_fail_nobody() {
    for sessions in [true, false] {
        let options = Options { modern: true, sessions, ..Options::default() };
        let (v1, v2) = (Fake::start("v1", options).await, Fake::start("v2", options).await);
        let app = TestApp::start(&v1, &v2, "100:0", "health = { interval = \"1h\" }").await;
        let session = open(&app).await;
        let running: Vec<_> = (0..8).map(|at| begin(&session, &format!("c{at}"), "wait")).collect();
        eventually("all run", async || (v1.calls().len() == 8).then_some(())).await;
        (0..8).for_each(|_| v1.release());
        futures::future::join_all(running).await.into_iter().for_each(|answer| drop(answer.unwrap()));
        assert!(v1.open() >= 8);
        v1.kill();
        v1.is_dead().await;
        let v1 = v1.restart().await;
        let calls: Vec<_> = (0..16).map(|at| begin(&session, &format!("d{at}"), "echo")).collect();
        for answer in futures::future::join_all(calls).await {
            let answer = answer.unwrap();
            assert_eq!(answer["result"]["server"], "v1", "sessions: {sessions}, {answer}");
        }
        assert_eq!((v1.executed().len(), v1.births(), v2.births()), (16, usize::from(sessions), 0), "sessions: {sessions}");
    }
}

// What servers ask their clients.

#[tokio::test]
async fn what_two_servers_ask_under_one_id_is_answered_to_each() {
    for moved_before in [false, true] {
        let (mut v1, v2, app) = app().await;
        let session = open(&app).await;
        if moved_before {
            kill(&v1).await;
            v1 = v1.restart().await;
            assert_eq!(session.who().await, "v1");
        }
        let mut stream = session.listen().await;
        let running = begin(&session, "mine", "wait");
        has_called(&v1, "mine").await;
        let asks = |from: &str| -> &'static [u8] {
            let ask = json!({ "jsonrpc": "2.0", "id": 0, "method": "sampling/createMessage", "params": { "from": from } });
            Box::leak(format!("event: message\ndata: {ask}\n\n").into_bytes().into_boxed_slice())
        };
        v1.say(asks("one"));
        let one = asked(&read_until(&mut stream, "\"one\"").await, "one");
        app.evict(leaving(LONG), "0:100").await;
        eventually("it has moved", async || (session.who().await == "v2").then_some(())).await;
        eventually("the stream is open there", async || (v2.streams() == 1).then_some(())).await;
        v2.say(asks("two"));
        let two = asked(&read_until(&mut stream, "\"two\"").await, "two");
        assert_ne!(one, two);
        for (id, to) in [(&two, "two"), (&one, "one")] {
            let answer = json!({ "jsonrpc": "2.0", "id": id, "result": { "to": to } });
            assert_eq!(session.post(&answer).await.status(), StatusCode::ACCEPTED);
        }
        for (server, to) in [(&v1, "one"), (&v2, "two")] {
            let answers = eventually("the answer is there", async || Some(answers(server)).filter(|all| !all.is_empty())).await;
            assert_eq!(answers, [json!({ "jsonrpc": "2.0", "id": 0, "result": { "to": to } })], "moved before: {moved_before}");
        }
        v1.release();
        assert_eq!(running.await.unwrap()["result"]["server"], "v1");
        lives_at(&v2, &[&v1], &session).await;
    }
}

/// The id under which the client is asked by one of them.
fn asked(read: &str, from: &str) -> Value {
    let events = read.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let mut asked = events.filter(|message| message["params"]["from"] == from);
    asked.next().unwrap_or_else(|| panic!("{read}"))["id"].clone()
}

/// What a server was answered.
fn answers(server: &Fake) -> Vec<Value> {
    let all = server.seen().into_iter().filter_map(|seen| serde_json::from_slice::<Value>(&seen.body).ok());
    all.filter(|message| message["result"]["to"].is_string()).collect()
}
