//! Below the SDK: rmcp's own HTTP client, watched.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures::StreamExt;
use http::{HeaderName, HeaderValue};
use rmcp::{
    model::ClientJsonRpcMessage,
    transport::{
        common::client_side_sse::BoxedSseResponse,
        streamable_http_client::{StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse},
    },
};

use crate::{Failure, Task};

pub type Headers = HashMap<HeaderName, HeaderValue>;

/// As rmcp's own default client, no idle connection is kept with HTTP/1.1: each request opens one. With HTTP/2 there is
/// nothing to fall back to, so every answer is one over HTTP/2.
pub fn http_client(task: &Task) -> Result<reqwest::Client, Failure> {
    let builder = reqwest::Client::builder();
    let builder = if task.http == "1.1" { builder.pool_max_idle_per_host(0) } else { builder.http2_prior_knowledge() };
    Ok(builder.build()?)
}

/// Notes the session id and, when asked, loses one answer in the middle.
#[derive(Clone)]
pub struct Wire {
    inner: reqwest::Client,
    pub session_id: Arc<OnceLock<Arc<str>>>,
    pub cut_next: Arc<AtomicBool>,
    /// How often the session was begun: rmcp begins it anew by itself when it is told that there is none.
    pub begun: Arc<AtomicUsize>,
    answers: Arc<AtomicUsize>,
}

impl Wire {
    /// `answers` counts what came back, over all sessions.
    pub fn new(inner: reqwest::Client, answers: Arc<AtomicUsize>) -> Self {
        Self { inner, session_id: Arc::default(), cut_next: Arc::default(), begun: Arc::default(), answers }
    }
}

impl StreamableHttpClient for Wire {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        auth_header: Option<String>,
        custom_headers: Headers,
    ) -> Result<StreamableHttpPostResponse, StreamableHttpError<reqwest::Error>> {
        use StreamableHttpPostResponse::{Json, Sse};
        let method = serde_json::to_value(&message)?["method"].take();
        let calls_a_tool = method == "tools/call";
        if method == "initialize" {
            self.begun.fetch_add(1, Ordering::Relaxed);
        }
        let answer = self.inner.post_message(uri, message, session_id, auth_header, custom_headers).await?;
        self.answers.fetch_add(1, Ordering::Relaxed);
        if let Json(_, Some(id)) | Sse(_, Some(id)) = &answer {
            self.session_id.get_or_init(|| id.as_str().into());
        }
        Ok(match answer {
            // After the first event the client holds an id to come back with.
            Sse(events, id) if calls_a_tool && self.cut_next.swap(false, Ordering::Relaxed) => Sse(events.take(1).boxed(), id),
            whole => whole,
        })
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        auth_header: Option<String>,
        custom_headers: Headers,
    ) -> Result<(), StreamableHttpError<reqwest::Error>> {
        self.inner.delete_session(uri, session_id, auth_header, custom_headers).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        auth_header: Option<String>,
        custom_headers: Headers,
    ) -> Result<BoxedSseResponse, StreamableHttpError<reqwest::Error>> {
        self.inner.get_stream(uri, session_id, last_event_id, auth_header, custom_headers).await
    }
}
