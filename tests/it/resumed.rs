//! A call whose stream ends before its answer, and whose client takes it up again (2025-03-26, resumability).

use std::sync::{Arc, Mutex};

use http::StatusCode;
use serde_json::Value;

use crate::outcomes::{requests, tools};
use crate::support::scripted::{Sender, in_front_of, result, running, scripted, whole};
use crate::support::{Client, Fake, Options, TestApp, call, eventually};

/// What the server does with the stream of a call once its first event is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    GoesOn,
    Ends,
}

/// A server whose call 7 is answered where it is resumed, with `answer`.
async fn gate(stream: Stream, answer: &'static str) -> (TestApp, Fake) {
    let other = Fake::start("other", Options::default()).await;
    let kept: Arc<Mutex<Vec<Sender>>> = Arc::default();
    let server = scripted(move |head, message| {
        let kept = kept.clone();
        async move {
            let events = [("content-type", "text/event-stream"), ("mcp-session-id", "s1")];
            if head.method == "GET" {
                return match answer {
                    "" => whole(StatusCode::NOT_FOUND.as_u16(), &[], ""),
                    answer => whole(200, &events, &format!("id: 2\nevent: message\ndata: {answer}\n\n")),
                };
            }
            if head.method == "DELETE" {
                return whole(200, &[], "");
            }
            if message["method"] == "initialize" {
                return whole(200, &[("content-type", "application/json"), ("mcp-session-id", "s1")], &result(&message));
            }
            let begin = "id: 1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n";
            let (response, sender) = running(200, &events, begin).await;
            if stream == Stream::GoesOn {
                kept.lock().unwrap().push(sender);
            }
            response
        }
    })
    .await;
    (in_front_of(server, &other, "").await, other)
}

const OK: &str = r#"{"jsonrpc":"2.0","id":7,"result":{}}"#;
const BROKEN_TOOL: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"isError":true}}"#;

async fn nothing_in_flight(app: &TestApp) {
    eventually("nothing is in flight", async || {
        (app.admin.service().await["entries"]["primary"]["endpoints"][0]["in_flight"] == 0).then_some(())
    })
    .await;
}

fn all(booked: &Value) -> u64 {
    booked.as_object().unwrap().values().filter_map(Value::as_u64).sum()
}

#[tokio::test]
async fn a_call_that_its_client_takes_up_again_is_booked_once_and_by_its_tool() {
    let (app, _other) = gate(Stream::GoesOn, BROKEN_TOOL).await;
    let session = Client::new(&app).open().await;
    let mut running = session.post(&call(7, "echo")).await;
    running.chunk().await.unwrap().unwrap();
    drop(running);
    nothing_in_flight(&app).await;
    session.listen().await.bytes().await.unwrap();
    let booked = eventually("all is booked", async || Some(requests(&app).await).filter(|booked| all(booked) >= 3)).await;
    assert_eq!((all(&booked), &booked["tool_error"]), (3, &1.into()), "initialize, the call, and the GET: {booked}");
    assert_eq!(tools(&app).await, [("echo tool_error".to_owned(), 1)].into());
}

/// A server may end a stream and go on with the call (2025-11-25, transports).
#[tokio::test]
async fn a_call_whose_stream_the_server_ends_is_booked_where_it_is_answered() {
    let (app, _other) = gate(Stream::Ends, OK).await;
    let session = Client::new(&app).open().await;
    session.post(&call(7, "echo")).await.bytes().await.unwrap();
    nothing_in_flight(&app).await;
    assert_eq!(all(&requests(&app).await), 1, "the call is not over");
    session.listen().await.bytes().await.unwrap();
    let booked = eventually("all is booked", async || Some(requests(&app).await).filter(|booked| all(booked) >= 3)).await;
    assert_eq!((all(&booked), &booked["ok"]), (3, &3.into()), "{booked}");
}

#[tokio::test]
async fn a_call_whose_session_its_server_has_lost_is_the_entrys_fault() {
    let (app, _other) = gate(Stream::Ends, "").await;
    let session = Client::new(&app).open().await;
    session.post(&call(7, "echo")).await.bytes().await.unwrap();
    nothing_in_flight(&app).await;
    assert_eq!(session.listen().await.status(), 404);
    let booked = eventually("all is booked", async || Some(requests(&app).await).filter(|booked| all(booked) >= 3)).await;
    assert_eq!((all(&booked), &booked["entry_fault"]), (3, &2.into()), "the call and the GET: {booked}");
}

#[tokio::test]
async fn a_call_that_is_left_with_its_session_is_its_clients_doing() {
    let (app, _other) = gate(Stream::Ends, OK).await;
    let session = Client::new(&app).open().await;
    session.post(&call(7, "echo")).await.bytes().await.unwrap();
    nothing_in_flight(&app).await;
    assert!(session.delete().await.status().is_success());
    let booked = eventually("all is booked", async || Some(requests(&app).await).filter(|booked| all(booked) >= 3)).await;
    assert_eq!((all(&booked), &booked["client_fault"]), (3, &1.into()), "{booked}");
}

/// What was taken of a call's answer before its client left, the server says again where the client resumes.
#[derive(Clone, Copy, PartialEq)]
enum First {
    /// The POST's stream has the answer.
    Answers,
    /// It stays open and says nothing more.
    Hangs,
}
async fn replaying(first: First) -> (TestApp, Fake) {
    let other = Fake::start("other", Options::default()).await;
    let kept: Arc<Mutex<Vec<Sender>>> = Arc::default();
    let server = scripted(move |head, message| {
        let kept = kept.clone();
        async move {
            let events = [("content-type", "text/event-stream"), ("mcp-session-id", "s1")];
            let answer = "id: 2\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}\n\n";
            if head.method == "GET" {
                return whole(200, &events, answer);
            }
            if head.method == "DELETE" {
                return whole(200, &[], "");
            }
            if message["method"] == "initialize" {
                return whole(200, &[("content-type", "application/json"), ("mcp-session-id", "s1")], &result(&message));
            }
            let begin = "id: 1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n";
            let begin = if first == First::Answers { format!("{begin}{answer}") } else { begin.to_owned() };
            let (response, sender) = running(200, &events, &begin).await;
            kept.lock().unwrap().push(sender);
            response
        }
    })
    .await;
    (in_front_of(server, &other, "").await, other)
}

/// initialize, GET, DELETE; and the call: once.
async fn all_booked(app: &TestApp) -> u64 {
    // The DELETE is the last: what the call is booked by comes before it.
    let booked = eventually("all is booked", async || Some(requests(app).await).filter(|booked| all(booked) >= 4)).await;
    all(&booked)
}

#[tokio::test]
async fn an_answer_that_is_said_again_to_a_client_that_resumes_is_booked_once() {
    let (app, _other) = replaying(First::Answers).await;
    let session = Client::new(&app).open().await;
    let mut running = session.post(&call(7, "echo")).await;
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("result") {
        seen.extend_from_slice(&running.chunk().await.unwrap().unwrap());
    }
    drop(running);
    nothing_in_flight(&app).await;
    session.listen().await.bytes().await.unwrap();
    session.delete().await;
    assert_eq!(all_booked(&app).await, 4);
}

#[tokio::test]
async fn a_call_resumed_before_its_first_stream_is_felt_to_have_ended_is_booked_once() {
    let (app, _other) = replaying(First::Hangs).await;
    let session = Client::new(&app).open().await;
    let mut running = session.post(&call(7, "echo")).await;
    running.chunk().await.unwrap().unwrap();
    // The client has lost its network, and comes back by another connection: the first is not felt to be dead.
    session.listen().await.bytes().await.unwrap();
    eventually("the stream is booked", async || (all(&requests(&app).await) >= 2).then_some(())).await;
    drop(running);
    nothing_in_flight(&app).await;
    session.delete().await;
    assert_eq!(all_booked(&app).await, 4);
    assert_eq!(tools(&app).await, [("echo ok".to_owned(), 1)].into());
}
