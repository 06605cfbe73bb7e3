//! Streams in a content coding, and those that only seem to be.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;

use crate::outcomes::requests;
use crate::support::scripted::{Sender, chunked, in_front_of, result, running, scripted, whole};
use crate::support::{Channel, Client, Fake, Options, TestApp, call, eventually};

type Say = Arc<Mutex<Option<Sender>>>;

async fn other() -> Fake {
    Fake::start("other", Options::default()).await
}

/// One request is booked as this, which may be a moment after its answer has come.
async fn booked(app: &TestApp, outcome: &str) {
    eventually(outcome, async || (requests(app).await[outcome] == 1).then_some(())).await;
}

/// An HTTP+SSE server with one stream, of this coding.
async fn over_sse(coding: &'static str, say: Say) -> std::net::SocketAddr {
    scripted(move |head, message| {
        let say = say.clone();
        async move {
            if head.method == "GET" {
                let headers = [("content-type", "text/event-stream"), ("content-encoding", coding)];
                let (response, sender) = running(200, &headers, "event: endpoint\ndata: /messages?session_id=secret\n\n").await;
                *say.lock().unwrap() = Some(sender);
                return response;
            }
            let taken = say.lock().unwrap().take();
            if let Some(mut sender) = taken {
                sender.send_data(Bytes::from(format!("event: message\ndata: {}\n\n", result(&message)))).await.unwrap();
                *say.lock().unwrap() = Some(sender);
            }
            whole(202, &[], "")
        }
    })
    .await
}

#[tokio::test]
async fn a_stream_that_says_identity_gets_no_error_behind_its_answer() {
    for coding in ["identity", "Identity", "none"] {
        let other = other().await;
        let server = scripted(move |_, message| async move {
            let headers = [("content-type", "text/event-stream"), ("content-encoding", coding)];
            chunked(200, &headers, &format!("event: message\ndata: {}\n\n", result(&message))).await
        })
        .await;
        let app = in_front_of(server, &other, "").await;
        let answer = Client::new(&app).post(&call(1, "echo")).await.text().await.unwrap();
        assert_eq!(answer.matches("\"id\":1").count(), 1, "{coding}: {answer}");
        booked(&app, "ok").await;
    }
}

#[tokio::test]
async fn answers_on_a_channel_that_says_identity_are_booked() {
    let (other, say) = (other().await, Say::default());
    let app = in_front_of(over_sse("identity", say.clone()).await, &other, "").await;
    let mut channel = Channel::open(&app).await;
    for id in 0..5 {
        channel.call(id, "echo").await;
    }
    *say.lock().unwrap() = None;
    assert_eq!(channel.event().await, None);
    assert_eq!(requests(&app).await["entry_fault"], 0);
}

#[tokio::test]
async fn an_endpoint_is_never_shown_unsealed() {
    for coding in ["none", "Identity", ""] {
        let (other, say) = (other().await, Say::default());
        let app = in_front_of(over_sse(coding, say.clone()).await, &other, "").await;
        let channel = Channel::open(&app).await;
        assert!(!channel.endpoint.contains("secret"), "{coding}: {}", channel.endpoint);
    }
}

/// A real coding hides where the session lives: its client is told that it cannot begin, and the entry is blamed.
#[tokio::test]
async fn a_stream_whose_endpoint_cannot_be_read_is_refused() {
    let (other, say) = (other().await, Say::default());
    let app = in_front_of(over_sse("gzip", say.clone()).await, &other, "").await;
    let answer = Channel::get(&app, "/sse", &[]).await;
    assert_eq!(answer.status(), 503);
    assert!(!answer.text().await.unwrap().contains("secret"));
    booked(&app, "entry_fault").await;
}

/// Without a session there it opens none: `Response` is as the server wrote it.
#[tokio::test]
async fn an_answer_in_a_coding_is_passed_as_it_is_and_booked_as_opaque() {
    let other = other().await;
    let server = scripted(|_, _| async {
        let head = Response::builder().header("content-type", "application/json").header("content-encoding", "gzip");
        head.body(whole(200, &[], "coded").into_body()).unwrap()
    })
    .await;
    let app = in_front_of(server, &other, "").await;
    let answer = Client::new(&app).post(&call(1, "echo")).await;
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    booked(&app, "opaque").await;
}
