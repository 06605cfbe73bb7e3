//! A client of HTTP+SSE (2024-11-05) that shows everything.

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;

use super::{TestApp, call, initialize};

/// A session: its stream, and where its POSTs go.
pub struct Channel {
    pub http: reqwest::Client,
    /// The data of the endpoint event.
    pub endpoint: String,
    origin: String,
    stream: Response,
    unread: String,
}

/// One event of a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: String,
    pub data: String,
}

impl Channel {
    pub async fn open(app: &TestApp) -> Self {
        Self::open_at(app, "/sse", &[]).await
    }

    pub async fn open_at(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Self {
        let stream = Self::get(app, path, headers).await;
        assert_eq!(stream.status(), 200);
        let (http, origin) = (reqwest::Client::new(), app.url(""));
        let mut channel = Self { http, endpoint: String::new(), origin, stream, unread: String::new() };
        let first = channel.event().await.expect("an event");
        assert_eq!(first.kind, "endpoint");
        channel.endpoint = first.data;
        channel
    }

    /// The GET alone.
    pub async fn get(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Response {
        // A connection of its own, as a stream has.
        let mut request = reqwest::Client::new().get(app.url(path)).header("accept", "text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// What a client says first. Servers that are to be told again what was said need it.
    pub async fn shake_hands(&mut self) {
        assert_eq!(self.post(&initialize()).await.status(), 202);
        assert_eq!(self.message().await["result"]["protocolVersion"], "2024-11-05");
        let initialized = serde_json::json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(self.post(&initialized).await.status(), 202);
    }

    pub async fn post(&self, message: &Value) -> Response {
        self.post_to(&self.endpoint, message).await
    }

    pub async fn post_to(&self, uri: &str, message: &Value) -> Response {
        let request = self.http.post(format!("{}{uri}", self.origin)).header("content-type", "application/json");
        request.body(message.to_string()).send().await.unwrap()
    }

    /// The next event; nothing at the end of the stream, be it clean or not.
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n").map(|(event, rest)| (event.to_owned(), rest.to_owned())) {
                self.unread = rest;
                // Of two fields of a name the last counts.
                let lines = || event.lines().rev();
                let field = |name: &str| lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
                if let Some(data) = field("data:") {
                    return Some(Event { kind: field("event:").unwrap_or_else(|| "message".to_owned()), data });
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(10), self.stream.chunk()).await.expect("in time");
            self.unread += std::str::from_utf8(&chunk.ok()??).unwrap();
            self.unread = self.unread.replace("\r\n", "\n");
        }
    }

    /// The next message.
    pub async fn message(&mut self) -> Value {
        let event = self.event().await.expect("a message");
        assert_eq!(event.kind, "message");
        serde_json::from_str(&event.data).unwrap()
    }

    /// The answer to a call of a tool.
    pub async fn call(&mut self, id: u64, tool: &str) -> Value {
        let response = self.post(&call(id, tool)).await;
        assert_eq!(response.status(), 202);
        let answer = self.message().await;
        assert_eq!(answer["id"], id);
        answer
    }

    /// The name of the server that answers.
    pub async fn who(&mut self) -> String {
        self.call(1, "echo").await["result"]["server"].as_str().unwrap().to_owned()
    }
}
