//! Clients that are one connection: of HTTP/1.1 or HTTP/2, over TLS or not.

use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{call, initialize};

#[derive(Clone)]
pub struct Http2 {
    sender: http2::SendRequest<Full<Bytes>>,
    base: String,
    socket: Option<Arc<std::net::TcpStream>>,
}

impl Http2 {
    /// By prior knowledge.
    pub async fn plain(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap().into_std().unwrap();
        let socket = Some(Arc::new(stream.try_clone().unwrap()));
        Self { socket, ..Self::over(TcpStream::from_std(stream).unwrap(), "http").await }
    }

    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, scheme: &str) -> Self {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, base: format!("{scheme}://notes.example"), socket: None }
    }

    pub fn builder(&self, method: &str, path: &str) -> http::request::Builder {
        let accept = "application/json, text/event-stream";
        Request::builder().method(method).uri(format!("{}{path}", self.base)).header("accept", accept)
    }

    pub async fn send(&self, request: http::request::Builder, body: impl Into<Bytes>) -> hyper::Result<Response<Incoming>> {
        self.sender.clone().send_request(request.body(Full::new(body.into())).unwrap()).await
    }

    pub async fn post(&self, session: Option<&str>, message: &Value) -> Response<Incoming> {
        let mut request = self.builder("POST", "/mcp").header("content-type", "application/json");
        if let Some(id) = session {
            request = request.header("mcp-session-id", id);
        }
        self.send(request, message.to_string()).await.unwrap()
    }

    /// Opens a session and gives its id.
    pub async fn open(&self) -> String {
        let answer = self.post(None, &initialize()).await;
        assert_eq!(answer.status(), 200);
        let id = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        answer.into_body().collect().await.unwrap();
        id
    }

    pub async fn listen(&self, session: &str) -> Response<Incoming> {
        self.send(self.builder("GET", "/mcp").header("mcp-session-id", session), "").await.unwrap()
    }

    /// The name of the server that answers.
    pub async fn who(&self, session: &str) -> String {
        let answer = self.post(Some(session), &call(1, "echo")).await;
        let answer: Value = serde_json::from_str(&text(answer).await).unwrap();
        answer["result"]["server"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// As by a client that is killed: nothing is said any more. Of those by prior knowledge only.
    pub fn kill(&self) {
        self.socket.as_ref().unwrap().shutdown(Shutdown::Both).unwrap();
    }
}

/// A request over HTTP/1.1 and the answer, with a connection that may go on.
pub struct Http1(http1::SendRequest<Full<Bytes>>);

impl Http1 {
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub async fn get(&mut self, path: &str) -> hyper::Result<(u16, String)> {
        let request = Request::builder().uri(path).header("host", "notes.example").body(Full::default()).unwrap();
        self.0.ready().await?;
        let answer = self.0.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

pub async fn text(answer: Response<Incoming>) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Reads until the text has come.
pub async fn read_until(answer: &mut Response<Incoming>, text: &str) -> String {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        let frame = tokio::time::timeout(Duration::from_secs(10), answer.body_mut().frame()).await.expect("in time");
        let frame = frame.unwrap_or_else(|| panic!("ended after {:?}", String::from_utf8_lossy(&read))).unwrap();
        read.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
    }
    String::from_utf8(read).unwrap()
}
