//! What tests of sessions that are moved have in common.

use std::time::Duration;

use dualgate::domain::{Departure, Eviction, Moment};
use reqwest::Response;
use serde_json::{Value, json};

use super::{Fake, Options, Seen, TestApp, connections, eventually};

/// Longer than any test.
pub const LONG: Duration = Duration::from_secs(86_400);

/// Two servers, whose checks open no sessions.
pub async fn dual_pair() -> (Fake, Fake) {
    let dual = Options { modern: true, ..Options::default() };
    (Fake::start("v1", dual).await, Fake::start("v2", dual).await)
}

/// With the first for all clients.
pub async fn dual_app() -> (Fake, Fake, TestApp) {
    let (v1, v2) = dual_pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    (v1, v2, app)
}

/// Kills a server, and waits until that is felt: who asks before does not know whether it was heard.
pub async fn kill(server: &Fake) {
    server.kill();
    connections(server.address, 0).await;
}

/// It is everybody's time to leave the primary, and what still runs is cut after so long.
pub fn leaving(cut: Duration) -> Option<Eviction> {
    let how = Departure::Moves { forced: false, or_ends: false };
    let (from, cut) = (Moment::default(), Moment::after_start(cut));
    Some(Eviction { from, over: Duration::ZERO, cut, before_revision: u64::MAX, how })
}

/// What the proxy has sent, or has passed on: methods of JSON-RPC where there is one, else of HTTP.
pub fn methods(server: &Fake) -> Vec<String> {
    let name = |seen: &Seen| {
        let message: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        message["method"].as_str().map_or_else(|| seen.method.to_string(), str::to_owned)
    };
    server.seen().iter().filter(|seen| seen.headers.contains_key("via")).map(name).collect()
}

/// What was said to a server with this method, by the proxy or through it.
pub fn messages(server: &Fake, method: &str) -> Vec<Value> {
    let all = server.seen().into_iter().filter(|seen| seen.headers.contains_key("via"));
    all.filter_map(|seen| serde_json::from_slice::<Value>(&seen.body).ok())
        .filter(|message| message["method"] == method)
        .collect()
}

pub async fn has_called(server: &Fake, id: &str) {
    eventually("the call is there", async || server.calls().contains(&json!(id)).then_some(())).await;
}

pub async fn json_of(response: Response) -> Value {
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// Reads a stream until this is in it; what was read.
pub async fn read_until(stream: &mut Response, wanted: &str) -> String {
    let mut read = String::new();
    while !read.contains(wanted) {
        let chunk = tokio::time::timeout(Duration::from_secs(10), stream.chunk()).await.expect(wanted);
        read += std::str::from_utf8(&chunk.unwrap().unwrap_or_else(|| panic!("it ended before {wanted}: {read}"))).unwrap();
    }
    read
}

/// Waits for the end of a stream, a good one.
pub async fn has_ended(stream: &mut Response) {
    let rest = async { while stream.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(20), rest).await.expect("it does not stay open with nobody behind it");
}
