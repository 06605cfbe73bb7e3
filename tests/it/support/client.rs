//! A client that shows everything: statuses, headers, bodies.

use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use super::TestApp;

/// One client, with connections of its own.
#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    url: String,
    headers: Vec<(String, String)>,
}

/// A legacy session.
#[derive(Clone)]
pub struct Session {
    pub client: Client,
    pub id: String,
}

pub fn initialize() -> Value {
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": { "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "it", "version": "1" } } })
}

pub fn call(id: impl Into<Value>, tool: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": { "name": tool } })
}

impl Client {
    pub fn new(app: &TestApp) -> Self {
        Self::at(&app.url("/mcp"))
    }

    pub fn at(url: &str) -> Self {
        Self { http: reqwest::Client::new(), url: url.to_owned(), headers: Vec::new() }
    }

    /// The same client under another header.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    pub fn request(&self, method: &str) -> reqwest::RequestBuilder {
        let mut request =
            self.http.request(method.parse().unwrap(), &self.url).header("accept", "application/json, text/event-stream");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }

    pub async fn post(&self, message: &Value) -> Response {
        self.request("POST").header("content-type", "application/json").body(message.to_string()).send().await.unwrap()
    }

    /// Opens a session.
    pub async fn open(&self) -> Session {
        let response = self.post(&initialize()).await;
        assert_eq!(response.status(), StatusCode::OK);
        let id = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        response.bytes().await.unwrap();
        Session { client: self.clone(), id }
    }

    /// Opens a session, where somebody answers.
    pub async fn try_open(&self) -> Option<Session> {
        let request = self.request("POST").header("content-type", "application/json").body(initialize().to_string());
        let response = request.send().await.ok()?;
        let id = response.headers().get("mcp-session-id")?.to_str().ok()?.to_owned();
        response.bytes().await.ok()?;
        Some(Session { client: self.clone(), id })
    }

    /// A session that was opened elsewhere.
    pub fn bind(&self, id: &str) -> Session {
        Session { client: self.clone(), id: id.to_owned() }
    }

    /// The name of the server that answers.
    pub async fn who(&self, message: &Value) -> String {
        let answer: Value = serde_json::from_slice(&self.post(message).await.bytes().await.unwrap()).unwrap();
        answer["result"]["server"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }
}

impl Session {
    fn bound(&self) -> Client {
        self.client.with("mcp-session-id", &self.id)
    }

    pub async fn post(&self, message: &Value) -> Response {
        self.bound().post(message).await
    }

    /// The answer, where there is one with a status of success.
    pub async fn try_post(&self, message: &Value) -> Option<()> {
        let request = self.bound().request("POST").header("content-type", "application/json").body(message.to_string());
        let response = request.send().await.ok()?;
        let succeeds = response.status().is_success();
        response.bytes().await.ok().filter(|_| succeeds).map(drop)
    }

    pub async fn try_delete(&self) {
        if let Ok(response) = self.bound().request("DELETE").send().await {
            let _ = response.bytes().await;
        }
    }

    /// The name of the server that answers.
    pub async fn who(&self) -> String {
        self.bound().who(&call(1, "echo")).await
    }

    pub async fn listen(&self) -> Response {
        self.bound().request("GET").send().await.unwrap()
    }

    pub async fn delete(&self) -> Response {
        self.bound().request("DELETE").send().await.unwrap()
    }
}
