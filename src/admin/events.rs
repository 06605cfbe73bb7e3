//! The event stream.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use http_body_util::channel::Channel;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::Office;
use crate::control::Happening;

const QUIET: Duration = Duration::from_secs(15);

/// Server-sent events, resumed by `Last-Event-ID`. A listener that falls behind by more than is
/// kept is cut, comes back with its last id, and gets what is left.
pub(super) async fn events(State(office): State<Arc<Office>>, headers: HeaderMap) -> Response {
    let after = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let (missed, mut live) = office.control.events().listen(after);
    let (mut sender, body) = Channel::<Bytes>::new(64);
    tokio::spawn(async move {
        if sender.send_data(Bytes::from_static(b": dualgate events\n\n")).await.is_err() {
            return;
        }
        for happening in missed {
            if sender.send_data(event(&happening)).await.is_err() {
                return;
            }
        }
        loop {
            let next = match tokio::time::timeout(QUIET, live.recv()).await {
                Err(_) => Bytes::from_static(b": keep-alive\n\n"),
                Ok(Ok(happening)) => event(&happening),
                Ok(Err(RecvError::Lagged(_) | RecvError::Closed)) => return,
            };
            if sender.send_data(next).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    response
}

fn event(happening: &Happening) -> Bytes {
    let data = json!(happening);
    let kind = data["type"].as_str().unwrap_or("message");
    Bytes::from(format!("id: {}\nevent: {kind}\ndata: {data}\n\n", happening.id))
}
