//! The HTTP+SSE side of the server (2024-11-05).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Method, Response, StatusCode, request};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Body, Endpoint, State, closed, events, text};

/// An answer, where the request is of this transport.
pub(super) async fn answer(state: &Arc<State>, head: &request::Parts, message: &Value) -> Option<Response<Body>> {
    if head.method == Method::GET && head.uri.path().ends_with("/sse") {
        return Some(open(state, head));
    }
    if head.method == Method::POST && head.uri.path().ends_with("/sse") && head.uri.query().is_none() {
        return Some(text(StatusCode::METHOD_NOT_ALLOWED, ""));
    }
    let target = head.uri.to_string();
    if head.method != Method::POST || !["session_id=", "/messages/"].iter().any(|mark| target.contains(mark)) {
        return None;
    }
    Some(match channel_of(state, &target) {
        Some(channel) => post(state, message, &channel).await,
        None => text(StatusCode::NOT_FOUND, "no such session"),
    })
}

fn channel_of(state: &State, target: &str) -> Option<mpsc::UnboundedSender<Bytes>> {
    let channels = state.channels.lock().unwrap();
    let id = target.split(['=', '/', '&']).find(|part| channels.contains_key(*part))?;
    channels.get(id).cloned()
}

fn open(state: &Arc<State>, head: &request::Parts) -> Response<Body> {
    let id = format!("{}_sse_{}", state.name, state.opened.fetch_add(1, Ordering::SeqCst));
    let (mut sender, response) = events();
    let (say, mut said) = mpsc::unbounded_channel();
    for chunk in first_event(state.endpoint, &id, head.headers["host"].to_str().unwrap()) {
        say.send(chunk).unwrap();
    }
    state.channels.lock().unwrap().insert(id.clone(), say);
    let state = state.clone();
    tokio::spawn(async move {
        while let Some(bytes) = tokio::select! {
            biased;
            bytes = said.recv() => bytes,
            () = closed(&mut sender) => None,
        } {
            if sender.send_data(bytes).await.is_err() {
                break;
            }
        }
        state.channels.lock().unwrap().remove(&id);
        state.gone.fetch_add(1, Ordering::SeqCst);
    });
    response
}

fn first_event(form: Endpoint, id: &str, host: &str) -> Vec<Bytes> {
    let event = |uri: String| vec![Bytes::from(format!("event: endpoint\ndata: {uri}\n\n"))];
    match form {
        Endpoint::Root => event(format!("/messages?session_id={id}")),
        Endpoint::Relative => event(format!("messages?session_id={id}")),
        Endpoint::Query => event(format!("?session_id={id}")),
        Endpoint::Absolute => event(format!("http://{host}/messages?session_id={id}")),
        Endpoint::Half => vec![Bytes::from(format!("id: 7\nevent: endpoint\ndata: /messages?session_id={id}\n"))],
        Endpoint::InPath => event(format!("/messages/{id}")),
        Endpoint::Long => event(format!("/messages?session_id={id}&x={}", "x".repeat(1000))),
        Endpoint::Crumbs => {
            let text = format!(": hello\r\n\r\nid: 7\r\nevent: endpoint\r\ndata: /messages?session_id={id}\r\n\r\n");
            text.bytes().map(|byte| Bytes::from(vec![byte])).collect()
        }
        Endpoint::None => vec![Bytes::from_static(b"event: message\ndata: {\"method\":\"x\"}\n\n")],
        Endpoint::HalfMessage => vec![Bytes::from_static(b": hello\nevent: mess")],
    }
}

async fn post(state: &Arc<State>, message: &Value, channel: &mpsc::UnboundedSender<Bytes>) -> Response<Body> {
    let say = |answer: Value| {
        let end = if state.endpoint == Endpoint::Crumbs { "\r\n" } else { "\n" };
        let _ = channel.send(Bytes::from(format!("event: message{end}data: {answer}{end}{end}")));
    };
    let result = |result: Value| json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
    let mut response = text(StatusCode::ACCEPTED, "Accepted");
    match message["params"]["name"].as_str().unwrap_or_default() {
        // The POST is accepted, and the answer comes when it is released.
        "wait" => {
            let (state, channel, answer) = (state.clone(), channel.clone(), result(json!({ "server": state.name })));
            tokio::spawn(async move {
                state.release.notified().await;
                let _ = channel.send(Bytes::from(format!("event: message\ndata: {answer}\n\n")));
            });
        }
        // The answer comes at once, and the POST is accepted when it is released.
        "early" => {
            say(result(json!({ "server": state.name })));
            state.release.notified().await;
        }
        // The answer comes at once, and the POST fails when it is released.
        "early-busy" => {
            say(result(json!({ "server": state.name })));
            state.release.notified().await;
            response = text(StatusCode::SERVICE_UNAVAILABLE, "");
        }
        "mute" => {}
        // Half an event, and no more.
        "half" => {
            let _ = channel.send(Bytes::from_static(b"event: message\ndata: {\"met"));
        }
        "hang" => match std::future::pending::<Infallible>().await {},
        // Accepted, and the connection is not to be used again.
        "bye" => {
            say(result(json!({ "server": state.name })));
            response.headers_mut().insert("connection", "close".parse().unwrap());
        }
        "busy" => response = text(StatusCode::SERVICE_UNAVAILABLE, ""),
        "fail" => say(result(json!({ "isError": true }))),
        "error" => say(json!({ "jsonrpc": "2.0", "id": message["id"], "error": { "code": -32603, "message": "no" } })),
        _ if message["method"] == "tools/list" && state.lists.load(Ordering::SeqCst) => {
            let tool = json!({ "name": format!("{}-only", state.name), "inputSchema": { "type": "object" } });
            say(result(json!({ "tools": [tool] })));
        }
        // Notifications, and answers to what it has asked.
        _ if message["id"].is_null() || message["method"].is_null() => {}
        _ => say(result(
            json!({ "server": state.name, "protocolVersion": "2024-11-05", "capabilities": {}, "serverInfo": { "name": state.name } }),
        )),
    }
    response
}
