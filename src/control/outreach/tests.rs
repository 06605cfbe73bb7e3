//! Somebody outside, over real sockets on port zero.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

mod client;
mod gates;
mod metrics;

/// What was asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) line: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What is answered.
pub(super) enum Reply {
    Says(u16, String),
    /// With further lines of the head.
    With(u16, &'static str),
    /// The head of a 200, and a body that never ends.
    Endless,
    Hangs,
}

pub(super) struct Fake {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    pub(super) async fn start(reply: impl Fn(usize, &Asked) -> Reply + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let seen = asked.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, seen.clone(), reply.clone()));
            }
        });
        Self { url, asked }
    }

    pub(super) async fn saying(status: u16) -> Self {
        Self::start(move |_, _| Reply::Says(status, String::new())).await
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits for so many requests.
    pub(super) async fn asked_times(&self, times: usize) -> Vec<Asked> {
        eventually("the requests", async || Some(self.asked()).filter(|asked| asked.len() >= times)).await
    }
}

/// One request, and its answer.
pub(super) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    seen: Arc<Mutex<Vec<Asked>>>,
    reply: impl Fn(usize, &Asked) -> Reply,
) {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
        break (head.to_owned(), length.unwrap_or(0));
    };
    while bytes.len() < head.len() + 4 + length {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    let mut lines = head.lines();
    let line = lines.next().unwrap().to_owned();
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let body = String::from_utf8(bytes[head.len() + 4..].to_vec()).unwrap();
    let asked = Asked { line, headers: headers.collect(), body };
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(asked.clone());
        seen.len() - 1
    };
    let answer = match reply(before, &asked) {
        Reply::Says(status, body) => format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        Reply::With(status, head) => format!("HTTP/1.1 {status} x\r\n{head}\r\ncontent-length: 0\r\n\r\n"),
        Reply::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 9\r\n\r\nhalf").await;
            std::future::pending().await
        }
        Reply::Hangs => std::future::pending().await,
    };
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// Waits until a condition holds; fails after ten seconds with what was waited for.
pub(super) async fn eventually<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("not within ten seconds: {what}"))
}

/// An address that nobody listens on.
pub(super) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A file of this test's own.
pub(super) fn file(name: &str, text: &str) -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("dualgate-outreach-{name}-{}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}
