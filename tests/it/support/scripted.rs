//! A server that is a function, for answers that no well-behaved one gives.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, channel};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Fake, Folder, TestApp};

pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Says more on a running body; dropped, it ends it.
pub type Sender = channel::Sender<Bytes, std::io::Error>;

/// Serves it, and says where.
pub async fn scripted<F, R>(answer: F) -> SocketAddr
where
    F: Fn(request::Parts, Value) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let answer = answer.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                    Ok::<_, Infallible>(answer(head, serde_json::from_slice(&body).unwrap_or_default()).await)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// An answer that says how long it is.
pub fn whole(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {}).boxed_unsync()).unwrap()
}

/// One that does not, and goes on until its sender is dropped.
pub async fn running(status: u16, headers: &[(&str, &str)], begin: &str) -> (Response<Body>, Sender) {
    let (mut sender, body) = channel::Channel::<Bytes, std::io::Error>::new(64);
    sender.send_data(Bytes::from(begin.to_owned())).await.unwrap();
    (whole(status, headers, "").map(|_| body.boxed_unsync()), sender)
}

/// One that does not, and ends.
pub async fn chunked(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Body> {
    running(status, headers, body).await.0
}

/// A JSON-RPC result for this request.
pub fn result(message: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": message["id"], "result": {} }).to_string()
}

/// A dualgate with this server as its primary.
pub async fn in_front_of(server: SocketAddr, other: &Fake, more: &str) -> TestApp {
    let folder = Folder::new();
    let text = TestApp::file(folder.path(), &[other], &[other], "100:0", &format!("health = {{ kind = \"tcp\" }}\n{more}"));
    TestApp::from_text(text.replacen(&other.url(), &format!("http://{server}"), 1)).await.keeping(folder)
}
