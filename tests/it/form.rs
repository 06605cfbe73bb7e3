use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::support::{Client, Fake, Options, TestApp, initialize};

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

/// The status line that raw bytes get.
async fn raw(app: &TestApp, bytes: &[u8]) -> String {
    let mut socket = tokio::net::TcpStream::connect(app.address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.windows(2).any(|window| window == b"\r\n") {
        match socket.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
        }
    }
    String::from_utf8_lossy(&answer).lines().next().unwrap_or("closed").to_owned()
}

#[tokio::test]
async fn ambiguous_and_malformed_requests_are_refused_and_reach_no_server() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let table: [(&str, &str); 18] = [
        ("GET /plain HTTP/1.1\r\n\r\n", "400"),
        ("GET /plain HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "400"),
        ("GET /plain HTTP/1.1\r\nhost: a b\r\n\r\n", "400"),
        ("GET /plain HTTP/1.1\r\nhost: u@a\r\n\r\n", "400"),
        ("POST /plain HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", "400"),
        ("POST /plain HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 2\r\n\r\nx", "400"),
        ("POST /plain HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\nx", "400"),
        ("POST /plain HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\nx", "400"),
        ("POST /plain HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        ("POST /plain HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "400"),
        ("GET /plain HTTP/1.1\r\nhost : a\r\n\r\n", "400"),
        ("GET /plain HTTP/1.1\r\nhost: a\r\n x: folded\r\n\r\n", "400"),
        ("GET /plain HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n", "400"),
        ("TRACE /plain HTTP/1.1\r\nhost: a\r\n\r\n", "405"),
        ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", "405"),
        ("GET /plain HTTP/1.1\r\nhost: a\r\nconnection: mcp-session-id\r\n\r\n", "400"),
        ("POST /plain HTTP/1.1\r\nhost: a\r\nexpect: miracles\r\ncontent-length: 0\r\n\r\n", "417"),
        ("GET / HTTP/9.9\r\nhost: a\r\n\r\n", "400"),
    ];
    for (request, status) in table {
        let line = raw(&app, request.as_bytes()).await;
        assert!(line.starts_with(&format!("HTTP/1.1 {status}")) || (line == "closed" && status == "400"), "{request:?}: {line}");
    }
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(9000));
    assert!(raw(&app, long.as_bytes()).await.starts_with("HTTP/1.1 414"));
    let fat = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(40_000));
    assert!(raw(&app, fat.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(120));
    assert!(raw(&app, many.as_bytes()).await.starts_with("HTTP/1.1 431"));
    assert!(v1.seen().is_empty() && v2.seen().is_empty());
}

/// Leniency: hyper drops a Content-Length beside a Transfer-Encoding before anyone can see it. The
/// endpoint gets a message written anew, with one framing; the connection must not live on.
#[tokio::test]
async fn a_length_beside_chunked_smuggles_nothing() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let request = "POST /plain HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    raw(&app, request.as_bytes()).await;
    let seen = v1.seen();
    assert!(
        seen.len() <= 1 && seen.iter().all(|seen| !seen.headers.contains_key("content-length") && seen.body.is_empty()),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_slow_head_and_a_slow_body_are_cut() {
    let (v1, v2) = pair().await;
    let text = TestApp::file(crate::support::Folder::new().path(), &[&v1], &[&v2], "100:0", "");
    let app = TestApp::from_text(format!("limits = {{ header_timeout = \"100ms\", body_timeout = \"100ms\" }}\n{text}")).await;
    assert_eq!(raw(&app, b"GET /plain HTTP/1.1\r\nhost: a\r\nx: ").await, "closed");
    let json = b"POST /mcp HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    assert!(raw(&app, json).await.starts_with("HTTP/1.1 408"));
    let plain = b"POST /plain HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{";
    assert!(raw(&app, plain).await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn a_body_that_pauses_often_is_cut_at_the_first_pause_that_is_too_long() {
    const PAUSE: Duration = Duration::from_secs(2);
    let (v1, v2) = pair().await;
    let text = TestApp::file(crate::support::Folder::new().path(), &[&v1], &[&v2], "100:0", "");
    let app = TestApp::from_text(format!("limits = {{ body_timeout = \"2s\" }}\n{text}")).await;
    let upload = async |parts: usize| {
        let mut stream = tokio::net::TcpStream::connect(app.address).await.unwrap();
        let head = b"POST /plain HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 5\r\n\r\n";
        stream.write_all(head).await.unwrap();
        for _ in 0..parts {
            tokio::time::sleep(PAUSE * 2 / 5).await;
            stream.write_all(b"p").await.unwrap();
        }
        let since = Instant::now();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (answer, since.elapsed())
    };
    let ((whole, _), (cut, waited)) = tokio::join!(upload(5), upload(3));
    assert!(whole.starts_with("HTTP/1.1 200"), "as long as two pauses may be in all: {whole}");
    assert!(cut.starts_with("HTTP/1.1 408"), "{cut}");
    assert!(waited >= PAUSE * 9 / 10, "from its last part on, and not from where the clock was set: {waited:?}");
}

#[tokio::test]
async fn a_clients_bad_chunk_is_its_own_fault() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let bad = b"POST /plain HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    assert!(raw(&app, bad).await.starts_with("HTTP/1.1 400"));
    let requests = app.admin.service().await["entries"]["primary"]["requests"].clone();
    assert_eq!(requests["entry_fault"], 0, "{requests}");
}

#[tokio::test]
async fn the_endpoint_sees_its_own_host_and_who_really_asked() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let client =
        Client::new(&app).with("x-forwarded-for", "6.6.6.6").with("forwarded", "for=6.6.6.6").with("connection", "x-hop");
    client.with("x-hop", "1").with("accept-encoding", "gzip").with("x-kept", "1").post(&initialize()).await;
    let headers = v1.last().headers;
    assert_eq!(headers["host"].to_str().unwrap(), v1.address.to_string(), "with its port");
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["x-forwarded-host"].to_str().unwrap(), app.address.to_string());
    assert!(headers["forwarded"].to_str().unwrap().starts_with("for=127.0.0.1;"));
    assert!(!headers.contains_key("x-hop") && !headers.contains_key("accept-encoding"));
    assert_eq!(headers["x-kept"], "1");
    let kept = TestApp::start(&v1, &v2, "100:0", "traffic = { host = \"client\" }").await;
    Client::new(&kept).post(&initialize()).await;
    assert_eq!(v1.last().headers["host"].to_str().unwrap(), kept.address.to_string());
}

#[tokio::test]
async fn foreign_pages_are_kept_out_of_a_local_listener_and_lists_decide_elsewhere() {
    let (v1, v2) = pair().await;
    let local = TestApp::start(&v1, &v2, "100:0", "").await;
    let from =
        async |app: &TestApp, origin: &str| Client::new(app).with("origin", origin).post(&initialize()).await.status().as_u16();
    assert_eq!(from(&local, "https://evil.example").await, 403);
    assert_eq!(from(&local, "http://localhost:5173").await, 200);
    let lists = "traffic = { allowed_hosts = [\"mcp.example\"], allowed_origins = [\"https://app.example\"] }";
    let listed = TestApp::start(&v1, &v2, "100:0", lists).await;
    let host = async |host: &str| Client::new(&listed).with("host", host).post(&initialize()).await.status().as_u16();
    assert_eq!((host("mcp.example").await, host("other.example").await), (200, 421));
    let named = Client::new(&listed).with("host", "mcp.example");
    assert_eq!(named.with("origin", "https://app.example").post(&initialize()).await.status(), 200);
    assert_eq!(named.with("origin", "https://evil.example").post(&initialize()).await.status(), 403);
}

#[tokio::test]
async fn a_body_of_unknown_length_reaches_the_server_whatever_the_method() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "POST", "ODD"] {
        for (chunks, body) in [("5\r\nhello\r\n4\r\n you\r\n0\r\n\r\n", "hello you"), ("0\r\n\r\n", "")] {
            let head = format!("{method} /plain HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n");
            let line = raw(&app, format!("{head}{chunks}").as_bytes()).await;
            assert!(line.starts_with("HTTP/1.1 200"), "{method}: {line}");
            let seen = v1.last();
            assert_eq!((seen.method.as_str(), String::from_utf8_lossy(&seen.body).as_ref()), (method, body));
            assert!(!seen.headers.contains_key("content-length"), "{method}: one framing");
        }
    }
    // And one of a known length, and none, as they were.
    let known = b"GET /plain HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
    raw(&app, known).await;
    assert_eq!((&v1.last().body[..], v1.last().headers.contains_key("transfer-encoding")), (&b"hello"[..], false));
    raw(&app, b"GET /plain HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert_eq!((&v1.last().body[..], v1.last().headers.contains_key("transfer-encoding")), (&b""[..], false));
}

#[tokio::test]
async fn a_request_that_comes_round_again_is_stopped() {
    let (v1, v2) = pair().await;
    let inner = TestApp::start(&v1, &v2, "100:0", "").await;
    let client = Client::new(&inner);
    client.open().await;
    let via = v1.last().headers["via"].to_str().unwrap().to_owned();
    assert_eq!(client.with("via", &via).post(&initialize()).await.status(), 508);
    assert_eq!(client.with("via", "1.1 another").post(&initialize()).await.status(), 200);
}

#[tokio::test]
async fn more_requests_than_allowed_are_shed_and_streams_count() {
    let (v1, v2) = pair().await;
    let text = TestApp::file(crate::support::Folder::new().path(), &[&v1], &[&v2], "100:0", "");
    let app = TestApp::from_text(format!("limits = {{ requests = 1 }}\n{text}")).await;
    let session = Client::new(&app).open().await;
    let stream = session.listen().await;
    assert_eq!(stream.status(), 200);
    let plain = async || reqwest::get(app.url("/plain")).await.unwrap().status();
    assert_eq!((session.listen().await.status(), plain().await), (503.try_into().unwrap(), 503.try_into().unwrap()));
    drop(stream);
    crate::support::eventually("there is room again", async || (plain().await == 200).then_some(())).await;
}

#[tokio::test]
async fn a_service_that_is_not_there_is_404() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "hosts = [\"notes.example\"]").await;
    assert_eq!(reqwest::get(app.url("/plain")).await.unwrap().status(), 404);
}
