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
use crate::control::{Gap, Happening};

const QUIET: Duration = Duration::from_secs(15);

/// What happens, as server-sent events, resumed by `Last-Event-ID`.
///
/// A listener that falls behind by more than is kept is cut and comes back with its last id. Who comes back for
/// more than is kept is told so by an event `gap`, and gets what is left.
#[utoipa::path(get, path = "/v1/events", params(("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub(super) async fn events(State(office): State<Arc<Office>>, headers: HeaderMap) -> Response {
    let after = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let (missed, mut live) = office.control.events().listen(after);
    let (mut sender, body) = Channel::<Bytes>::new(64);
    tokio::spawn(async move {
        if sender.send_data(Bytes::from_static(b": dualgate events\n\n")).await.is_err() {
            return;
        }
        let gap = missed.gap.map(told).into_iter();
        for event in gap.chain(missed.events.iter().map(|happening| event(happening))) {
            if sender.send_data(event).await.is_err() {
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

/// Without an id: the last one that was heard stays the last.
fn told(gap: Gap) -> Bytes {
    let detail = match gap.lost {
        Some(lost) => format!("{lost} events are not kept any more"),
        None => "the last event id is not of this run of dualgate: what came after it is not known".to_owned(),
    };
    let data = json!({ "type": "gap", "lost": gap.lost, "detail": detail });
    Bytes::from(format!("event: gap\ndata: {data}\n\n"))
}
