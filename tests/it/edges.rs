//! Edges of HTTP and of time, each of which was wrong once.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::scripted;
use crate::support::{
    Authority, Client, Fake, Folder, Http2, Options, TestApp, WAITS, at_rest, call, connections, eventually, initialize,
    narrow_listener,
};

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

async fn primary(app: &TestApp) -> Value {
    app.admin.service().await["entries"]["primary"].clone()
}

/// The address of a server that answers every connection's first bytes with these, and closes when it
/// has read `until` bytes.
async fn raw_server(answer: &'static [u8], until: usize) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let mut read = 0;
                while read < until {
                    match stream.read(&mut buffer).await {
                        Ok(0) | Err(_) => return,
                        Ok(more) => read += more,
                    }
                }
                let _ = stream.write_all(answer).await;
            });
        }
    });
    address
}

async fn in_front_of(address: std::net::SocketAddr, other: &Fake) -> TestApp {
    let folder = Folder::new();
    let text = TestApp::file(folder.path(), &[other], &[other], "100:0", "health = { kind = \"tcp\" }");
    let text = text.replacen(&other.url(), &format!("http://{address}"), 1);
    TestApp::from_text(text).await
}

#[tokio::test]
async fn a_session_its_server_knows_nothing_of_moves_to_a_sibling_and_keeps_its_version() {
    let stateless = Options { sessions: false, ..Options::default() };
    let (a, b) = (Fake::start("a", stateless).await, Fake::start("b", stateless).await);
    let other = Fake::start("other", stateless).await;
    let app = TestApp::with(&[&a, &b], &[&other], "100:0", WAITS).await;
    let session = Client::new(&app).open().await;
    // A list may be asked for again, if the connection was parked and dies just now.
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let bound = session.client.with("mcp-session-id", &session.id);
    let home = bound.who(&list).await;
    let gone = if home == "a" { &a } else { &b };
    gone.kill();
    let answer = tokio::time::timeout(Duration::from_secs(5), bound.who(&list)).await.expect("not for ever");
    assert_ne!(answer, home);
    assert_ne!(answer, "other");
    a.kill();
    b.kill();
    let refused: Value = serde_json::from_slice(&session.post(&call(1, "echo")).await.bytes().await.unwrap()).unwrap();
    assert_eq!(refused["error"]["code"], -32603, "a restart does not take it to the other version");
}

#[tokio::test]
async fn an_initialize_longer_than_is_looked_at_follows_the_split_and_gets_its_session() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "0:100", "traffic = { peek_limit = \"1KiB\" }").await;
    app.admin.split("50:50").await;
    for _ in 0..4 {
        let mut long = initialize();
        long["params"]["clientInfo"]["icon"] = json!("x".repeat(100_000));
        let answer = Client::new(&app).post(&long).await;
        let id = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let session = Client::new(&app).with("mcp-session-id", &id);
        session.who(&call(1, "echo")).await;
    }
    assert_eq!((v1.births(), v2.births()), (2, 2));
}

#[tokio::test]
async fn a_body_that_ends_after_a_split_change_is_born_on_the_new_split() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "0:100", "").await;
    let body = initialize().to_string();
    let (begin, end) = body.split_at(20);
    let mut socket = TcpStream::connect(app.address).await.unwrap();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{begin}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    app.admin.split("100:0").await;
    socket.write_all(end.as_bytes()).await.unwrap();
    eventually("it is born", async || (v1.births() + v2.births() == 1).then_some(())).await;
    assert_eq!(v1.births(), 1);
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_an_upload_reaches_the_client() {
    let other = Fake::start("other", Options::default()).await;
    let refusing = raw_server(b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", 1000).await;
    let app = in_front_of(refusing, &other).await;
    let mut told = 0;
    for _ in 0..20 {
        let answer = reqwest::Client::new().put(app.url("/plain")).body(vec![b'x'; 3 << 20]).send().await;
        // The client may meet the closed connection itself; what it must never meet is 502.
        assert!(answer.as_ref().map_or(true, |answer| answer.status() == 413), "{answer:?}");
        told += usize::from(answer.is_ok());
    }
    assert!(told > 0, "not one client was told");
    assert_eq!(primary(&app).await["requests"]["entry_fault"], 0);
}

#[tokio::test]
async fn a_client_that_leaves_behind_unread_bytes_is_felt() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    let in_flight = async || primary(&app).await["endpoints"][0]["in_flight"].as_u64().unwrap();
    let listen = format!("GET /mcp HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nmcp-session-id: {}\r\n\r\n", session.id);
    let body = call(1, "wait").to_string();
    let wait = format!(
        "POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nmcp-session-id: {}\r\ncontent-length: {}\r\n\r\n{body}\r\n",
        session.id,
        body.len(),
    );
    for request in [wait, format!("{listen}GET /plain HTTP/1.1\r\nhost: x\r\n\r\n")] {
        let mut socket = TcpStream::connect(app.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        eventually("it runs", async || (in_flight().await == 1).then_some(())).await;
        drop(socket);
        eventually("it is felt", async || (in_flight().await == 0).then_some(())).await;
    }
}

/// A server that says this to a connection's first bytes, if anything, and reads no more: it keeps its
/// connections open.
fn deaf_server(answer: &'static [u8], tls: Option<TlsAcceptor>) -> std::net::SocketAddr {
    let listener = narrow_listener();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let _secure = match tls {
                    Some(tls) => Some(tls.accept(stream).await),
                    None => {
                        let _ = stream.read(&mut [0; 1000]).await;
                        let _ = stream.write_all(answer).await;
                        std::future::pending().await
                    }
                };
                std::future::pending::<()>().await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_client_that_leaves_an_upload_which_nobody_takes_leaves_no_connection_behind() {
    for secure in [false, true] {
        let (other, folder, authority) = (Fake::start("other", Options::default()).await, Folder::new(), Authority::new("x"));
        let root = folder.path().join("root.pem");
        std::fs::write(&root, authority.pem()).unwrap();
        let address = deaf_server(b"", secure.then(|| authority.issue(&["127.0.0.1"]).server(None)));
        let (scheme, tls) =
            if secure { ("https", format!("tls = {{ roots = ['{}'] }}", root.display())) } else { ("http", String::new()) };
        let more = format!("health = {{ kind = \"tcp\", interval = \"60s\" }}\n{tls}");
        let text = TestApp::file(&folder.path().join("state"), &[&other], &[&other], "100:0", &more);
        let app = TestApp::from_text(text.replacen(&other.url(), &format!("{scheme}://{address}"), 1)).await;
        let http2 = Http2::plain(app.address).await;
        let uploads: Vec<_> = (0..5)
            .map(|_| {
                let http2 = http2.clone();
                tokio::spawn(async move { http2.send(http2.builder("PUT", "/plain"), vec![b'x'; 32 << 20]).await })
            })
            .collect();
        let in_flight = async || primary(&app).await["endpoints"][0]["in_flight"].as_u64().unwrap();
        eventually("all are on their way", async || (in_flight().await == 5).then_some(())).await;
        at_rest(address).await;
        connections(address, 5).await;
        uploads.iter().for_each(|upload| upload.abort());
        eventually("all have left", async || (in_flight().await == 0).then_some(())).await;
        connections(address, 0).await;
    }
}

#[tokio::test]
async fn an_upload_that_nobody_takes_after_its_answer_is_given_up() {
    let other = Fake::start("other", Options::default()).await;
    let address = deaf_server(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n", None);
    let more = "traffic = { first_byte_timeout = \"1s\" }";
    let app = scripted::in_front_of(address, &other, more).await;
    let http2 = Http2::plain(app.address).await;
    let answer = http2.send(http2.builder("PUT", "/plain"), vec![b'x'; 32 << 20]).await.unwrap();
    assert_eq!(answer.status(), 413);
    at_rest(address).await;
    connections(address, 0).await;
    assert!(!http2.is_closed());
}

/// Whoever were cut off in the middle of an upload might not read the answer.
#[tokio::test]
async fn an_upload_that_is_taken_goes_on_after_its_answer() {
    let other = Fake::start("other", Options::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (all, taken) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut all = Some(all);
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; 1 << 16];
            // A check connects and says nothing.
            let Ok(mut read @ 1..) = stream.read(&mut buffer).await else { continue };
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            while let Ok(more @ 1..) = stream.read(&mut buffer).await {
                read += more;
                if buffer[..more].ends_with(b"the end") {
                    break;
                }
            }
            let _ = all.take().unwrap().send(read);
        }
    });
    let app = in_front_of(address, &other).await;
    let mut socket = TcpStream::connect(app.address).await.unwrap();
    let head = format!("PUT /plain HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", (8 << 20) + 7);
    socket.write_all(format!("{head}x").as_bytes()).await.unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 1000]);
    while !answer.ends_with(b"\r\n\r\nok") {
        let read = socket.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
    socket.write_all(&vec![b'x'; (8 << 20) - 1]).await.unwrap();
    socket.write_all(b"the end").await.unwrap();
    let taken = tokio::time::timeout(Duration::from_secs(10), taken).await.expect("in time").unwrap();
    assert!(taken > 8 << 20, "{taken}");
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_is_counted_once() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.post(&call(1, "wait")).await }
    });
    eventually("it runs", async || (primary(&app).await["endpoints"][0]["in_flight"] == 1).then_some(())).await;
    waiting.abort();
    eventually("it is counted", async || (primary(&app).await["requests"]["client_fault"] == 1).then_some(())).await;
}

#[tokio::test]
async fn nothing_of_ours_is_written_into_an_encoded_stream() {
    let other = Fake::start("other", Options::default()).await;
    let stream: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n\x1f\x8b";
    let encoded = raw_server(stream, 1).await;
    let folder = Folder::new();
    let more = "health = { kind = \"tcp\" }\ntraffic = { keep_alive = \"1ms\" }";
    let text =
        TestApp::file(folder.path(), &[&other], &[&other], "100:0", more).replacen(&other.url(), &format!("http://{encoded}"), 1);
    let app = TestApp::from_text(text).await;
    let answer = reqwest::get(app.url("/plain")).await.unwrap().bytes().await.unwrap();
    assert_eq!(&answer[..], b"\x1f\x8b");
}

#[tokio::test]
async fn an_absolute_target_replaces_the_host_everywhere() {
    let (v1, v2) = pair().await;
    let lists = "traffic = { host = \"client\", allowed_hosts = [\"good.example\"] }";
    let app = TestApp::start(&v1, &v2, "100:0", lists).await;
    let ask = async |target: &str, host: &str| {
        let mut socket = TcpStream::connect(app.address).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer[9..12].to_owned()
    };
    assert_eq!(ask("http://good.example/plain", "evil.example").await, "200");
    let headers = v1.last().headers;
    assert_eq!(
        (&headers["host"], &headers["x-forwarded-host"]),
        (&"good.example".parse().unwrap(), &"good.example".parse().unwrap())
    );
    assert!(!headers["forwarded"].to_str().unwrap().contains("evil"));
    assert_eq!(ask("http://evil.example/plain", "good.example").await, "421");
    assert_eq!(ask("http://u@good.example/plain", "good.example").await, "400");
}

#[tokio::test]
async fn the_clients_own_faults_in_a_running_exchange_are_its_own() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    session.delete().await;
    assert_eq!(session.post(&call(1, "echo")).await.status(), 404, "ended by the client itself");
    let other = Client::new(&app).open().await;
    let nowhere = format!("http://{}/nope", app.address);
    reqwest::Client::new().get(nowhere).header("mcp-session-id", &other.id).send().await.unwrap();
    eventually("both are counted", async || {
        let requests = primary(&app).await["requests"].clone();
        (requests["client_fault"] == 1 && requests["entry_fault"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_session_that_was_alive_and_is_unknown_now_is_the_entrys_fault_once() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", WAITS).await;
    let session = Client::new(&app).open().await;
    v1.kill();
    let _v1 = v1.restart().await;
    for _ in 0..2 {
        assert_eq!(session.post(&call(1, "echo")).await.status(), 404);
    }
    eventually("both are counted", async || {
        let requests = primary(&app).await["requests"].clone();
        (requests["entry_fault"] == 1 && requests["client_fault"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_sent_again_once_bytes_of_an_answer_came() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let other = Fake::start("other", Options::default()).await;
    for partial in [&b"HTTP/1.1 200 OK\r\ncontent-le"[..], b"garbage\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"] {
        let asked = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counter = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let counter = counter.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    // A check connects and says nothing.
                    if stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                        counter.fetch_add(1, Ordering::SeqCst);
                        let _ = stream.write_all(partial).await;
                    }
                });
            }
        });
        let app = in_front_of(address, &other).await;
        Client::new(&app).post(&initialize()).await;
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{partial:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_outlives_the_time_for_a_head() {
    let (v1, v2) = pair().await;
    let text = TestApp::file(Folder::new().path(), &[&v1], &[&v2], "100:0", "");
    let app = TestApp::from_text(format!("limits = {{ header_timeout = \"50ms\" }}\n{text}")).await;
    let mut socket = TcpStream::connect(app.address).await.unwrap();
    let mut buffer = [0; 1024];
    for _ in 0..2 {
        socket.write_all(b"GET /plain HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(socket.read(&mut buffer).await.unwrap() > 0);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_slow_upload_is_not_the_endpoints_to_answer_for() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "traffic = { first_byte_timeout = \"100ms\" }").await;
    let mut socket = TcpStream::connect(app.address).await.unwrap();
    socket.write_all(b"POST /plain HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n").await.unwrap();
    for byte in b"abcde" {
        tokio::time::sleep(Duration::from_millis(50)).await;
        socket.write_all(&[*byte]).await.unwrap();
    }
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_call_that_waits_for_a_frozen_server_is_answered_when_the_checks_find_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let frozen = listener.local_addr().unwrap();
    // It accepts, as a stopped process's kernel does, and never says a word.
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let other = Fake::start("other", Options::default()).await;
    let folder = Folder::new();
    let more = "health = { interval = \"200ms\", timeout = \"200ms\", fall = 2 }\ntraffic = { failover = false }";
    let text =
        TestApp::file(folder.path(), &[&other], &[&other], "100:0", more).replacen(&other.url(), &format!("http://{frozen}"), 1);
    let app = TestApp::from_text(text).await;
    let tester = Client::new(&app).with("x-api-key", "k");
    let answer = tokio::time::timeout(Duration::from_secs(5), tester.post(&call(7, "echo"))).await.expect("not for ever");
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!((answer["id"].as_i64(), answer["error"]["code"].as_i64()), (Some(7), Some(-32603)));
}

#[tokio::test]
async fn an_empty_post_says_that_it_is_empty() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    reqwest::Client::new().post(app.url("/plain")).send().await.unwrap();
    assert_eq!(v1.last().headers["content-length"], "0");
}

#[tokio::test]
async fn one_key_that_carries_nearly_everything_is_warned_of() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let client = Client::new(&app);
    for n in 0..300 {
        let key = if n % 4 == 0 { n.to_string() } else { "big".to_owned() };
        client.with("x-api-key", &key).post(&call(1, "echo")).await.bytes().await.unwrap();
    }
    let share = app.admin.service().await["dominant_key"].as_f64().unwrap();
    assert!((0.6..0.8).contains(&share), "{share}");
}

#[tokio::test]
async fn during_a_start_only_clients_of_the_unknown_entry_wait() {
    let hanging = raw_server(b"", usize::MAX).await;
    let v1 = Fake::start("v1", Options::default()).await;
    let folder = Folder::new();
    let text = TestApp::file(folder.path(), &[&v1], &[&v1], "100:0", "");
    let at = text.rfind(&v1.url()).unwrap();
    let text = format!("{}http://{hanging}{}", &text[..at], &text[at + v1.url().len()..]);
    let config = dualgate::config::load("test", &text, None).unwrap();
    let app = tokio::task::spawn_blocking(move || dualgate::app::App::start(config)).await.unwrap().unwrap();
    let url = format!("http://{}/mcp", app.bound().traffic);
    let begun = tokio::time::Instant::now();
    let request = reqwest::Client::new().post(url).header("content-type", "application/json").body(initialize().to_string());
    assert_eq!(request.send().await.unwrap().status(), 200);
    // The start is still on, since the other entry is not known: whoever waited, waited for it.
    assert!(app.reader().current().services[0].starting || begun.elapsed() < Duration::from_millis(900));
    app.stop();
    app.stop();
    tokio::task::spawn_blocking(move || app.join()).await.unwrap().unwrap();
}

/// A server that answers a connection's first bytes, and then takes `step` bytes each `pace` until `most`
/// have come or there are no more; tells how many came.
async fn early(step: usize, pace: Duration, most: usize) -> (std::net::SocketAddr, tokio::sync::oneshot::Receiver<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (all, taken) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut all = Some(all);
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = vec![0; step];
            let Ok(mut read @ 1..) = stream.read(&mut buffer).await else { continue };
            while !String::from_utf8_lossy(&buffer[..read.min(step)]).contains("\r\n\r\n") {
                read += stream.read(&mut buffer).await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            let mut body = 0;
            while body < most {
                match stream.read(&mut buffer).await {
                    Ok(more @ 1..) => body += more,
                    _ => break,
                }
                tokio::time::sleep(pace).await;
            }
            let _ = all.take().unwrap().send(body);
            std::future::pending::<()>().await;
        }
    });
    (address, taken)
}

async fn with_limits(address: std::net::SocketAddr, other: &Fake, limits: &str) -> TestApp {
    let folder = Folder::new();
    let more = "health = { kind = \"tcp\", interval = \"60s\" }";
    let text = TestApp::file(folder.path(), &[other], &[other], "100:0", more);
    let text = text.replacen(&other.url(), &format!("http://{address}"), 1);
    TestApp::from_text(format!("{limits}\n{text}")).await
}

async fn answered(socket: &mut TcpStream) {
    let (mut answer, mut buffer) = (Vec::new(), [0; 1000]);
    while !answer.ends_with(b"\r\n\r\nok") {
        let read = socket.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
}

/// What comes of it is no head that does not come to its end.
#[tokio::test]
async fn an_upload_that_goes_on_after_its_answer_is_no_slow_head() {
    let other = Fake::start("other", Options::default()).await;
    let (address, taken) = early(1 << 16, Duration::ZERO, 20_000).await;
    let app = with_limits(address, &other, "limits = { header_timeout = \"300ms\" }").await;
    let mut socket = TcpStream::connect(app.address).await.unwrap();
    socket.write_all(b"PUT /plain HTTP/1.1\r\nhost: x\r\ncontent-length: 20001\r\n\r\nx").await.unwrap();
    answered(&mut socket).await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        socket.write_all(&[b'x'; 1000]).await.unwrap();
    }
    let taken = tokio::time::timeout(Duration::from_secs(5), taken).await.expect("in time").unwrap();
    assert!(taken >= 20_000, "{taken} of 20000 bytes reached the server");
}

/// The same where the upload ends well within the time: the connection is idle then, and has 75 s.
#[tokio::test]
async fn a_connection_is_kept_after_an_upload_that_went_on_after_its_answer() {
    let other = Fake::start("other", Options::default()).await;
    let (address, taken) = early(1 << 16, Duration::ZERO, 1_000).await;
    let app = with_limits(address, &other, "limits = { header_timeout = \"300ms\" }").await;
    let mut socket = TcpStream::connect(app.address).await.unwrap();
    socket.write_all(b"PUT /plain HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\n\r\nx").await.unwrap();
    answered(&mut socket).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    socket.write_all(&[b'x'; 1000]).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), taken).await.expect("in time").unwrap();
    let end = tokio::time::timeout(Duration::from_millis(1_000), socket.read(&mut [0; 10])).await;
    assert!(end.is_err(), "the idle connection was closed: {end:?}");
}
