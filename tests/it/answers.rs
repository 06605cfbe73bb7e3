//! The table of the proxy's own answers, cell by cell: era, kind of request, what went wrong.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::{Client, Fake, Folder, Options, Port, TestApp, call, eventually, initialize};

/// What a server does to the next requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// Answers as it should.
    Well,
    /// The same, and keeps no connection: one that was kept may be taken for living for a while after its end.
    WellOnce,
    /// Is not there.
    Refuses,
    /// Reads the request and hangs up.
    HangsUp,
    /// Reads the request and says nothing.
    Nothing,
    /// Answers with what is no HTTP.
    Babbles,
    /// Begins an event stream and hangs up in it.
    CutsStream,
    /// The same, with event ids.
    CutsWithIds,
    /// Begins an event stream and ends it well, without an answer.
    EndsStream,
}

/// A server that can be as rude as the network.
struct Rude {
    address: SocketAddr,
    does: Arc<Mutex<Does>>,
    requests: Arc<AtomicUsize>,
    tasks: Arc<Mutex<Vec<JoinHandle<()>>>>,
    /// Keeps the port: where this one is no more, nobody else is to be there instead.
    _port: Port,
}

impl Rude {
    async fn start(does: Does) -> Self {
        let port = Port::any();
        let (address, (requests, tasks)) = (port.address, Default::default());
        let rude = Self { address, does: Arc::new(Mutex::new(does)), requests, tasks, _port: port };
        rude.accept(TcpListener::bind(address).await.unwrap());
        rude
    }

    fn accept(&self, listener: TcpListener) {
        let (does, requests, tasks) = (self.does.clone(), self.requests.clone(), self.tasks.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (does, requests) = (does.clone(), requests.clone());
                let task = tokio::spawn(async move { serve(stream, &does, &requests).await.unwrap_or_default() });
                tasks.lock().unwrap().push(task);
            }
        });
        self.tasks.lock().unwrap().push(task);
    }

    fn becomes(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    async fn goes(&self) {
        for task in self.leave() {
            let _ = task.await;
        }
    }

    fn leave(&self) -> Vec<JoinHandle<()>> {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        tasks.iter().for_each(JoinHandle::abort);
        tasks
    }

    /// Requests that reached it, checks not counted: those only connect.
    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        self.leave();
    }
}

async fn serve(stream: TcpStream, does: &Mutex<Does>, requests: &AtomicUsize) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await?;
        requests.fetch_add(1, Ordering::SeqCst);
        let does = *does.lock().unwrap();
        let events = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = match does {
            Does::Well => well(&head, "", &serde_json::from_slice(&body).unwrap_or_default()),
            Does::WellOnce => well(&head, "connection: close\r\n", &serde_json::from_slice(&body).unwrap_or_default()),
            Does::HangsUp | Does::Refuses => return Ok(()),
            Does::Nothing => std::future::pending().await,
            Does::Babbles => "I'd rather not\r\n\r\n".to_owned(),
            Does::CutsStream => format!("{events}{}", chunk("data: {\"method\":\"notifications/progress\"}\n\n")),
            Does::EndsStream => format!("{events}{}0\r\n\r\n", chunk("data: {\"method\":\"notifications/progress\"}\n\n")),
            Does::CutsWithIds => format!("{events}{}", chunk("id: 1\ndata: {\"method\":\"notifications/progress\"}\n\n")),
        };
        stream.get_mut().write_all(answer.as_bytes()).await?;
        if does != Does::Well {
            return Ok(());
        }
    }
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn well(head: &str, last: &str, message: &Value) -> String {
    let answer = |status: &str, more: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\n{more}{last}content-length: {}\r\n\r\n{body}", body.len())
    };
    let json = "content-type: application/json\r\n";
    match message["method"].as_str() {
        Some("initialize") => {
            let result = json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "serverInfo": { "name": "rude" } } });
            answer("200 OK", &format!("{json}mcp-session-id: s1\r\n"), &result.to_string())
        }
        _ if !message["id"].is_null() && !message["method"].is_null() => {
            let result = json!({ "jsonrpc": "2.0", "id": message["id"], "result": {} });
            answer("200 OK", json, &result.to_string())
        }
        _ if head.starts_with("GET") || head.starts_with("DELETE") => answer("200 OK", "", ""),
        _ => answer("202 Accepted", "", ""),
    }
}

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// A status, and a JSON-RPC error with the request's id.
    Error(u16),
    /// A status, and an error for each request of the batch.
    Errors(u16),
    /// A status, and a JSON-RPC error without an id, or words in plain text.
    Status(u16),
    /// A status and nothing more.
    Silence(u16),
    /// A stream that ends well, with an error event for the id.
    ErrorEvent,
    /// A stream that ends well, with nothing from the proxy.
    Ended,
    /// A stream that looks cut.
    Cut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Initialize,
    Call,
    Batch,
    Notification,
    Response,
    Get,
    Delete,
    ModernCall,
    ModernNotification,
    ModernListen,
    Plain,
}

struct Stage {
    _folder: Folder,
    rude: Rude,
    _nobody: Port,
    app: TestApp,
    session: String,
}

/// A proxy in front of one rude server, with a session that it knows.
async fn stage(more: &str) -> Stage {
    stage_with("", more).await
}

/// The same, with something before the service, too.
async fn stage_with(before: &str, more: &str) -> Stage {
    staged(before, more, Does::Well).await
}

/// The same, with a server that does this while the session begins.
async fn staged(before: &str, more: &str, does: Does) -> Stage {
    let folder = Folder::new();
    let rude = Rude::start(does).await;
    // To fail over to: the cells are about what happens where nobody else is there.
    let nobody = Port::any();
    let text = format!(
        r#"
        listen = "127.0.0.1:0"
        threads = 1
        shutdown = {{ delay = "0s", drain = "100ms" }}
        admin = {{ listen = "127.0.0.1:0" }}
        metrics = {{ listen = "127.0.0.1:0" }}
        state = {{ dir = '{}' }}
        {before}
        [[service]]
        name = "notes"
        primary = {{ version = "1.0", endpoints = ["http://{}"] }}
        secondary = {{ version = "2.0", endpoints = ["http://{}"] }}
        health = {{ kind = "tcp", interval = "1h", timeout = "1s", fall = 1 }}
        {more}
        "#,
        folder.path().display(),
        rude.address,
        nobody.address,
    );
    let app = TestApp::from_text(text).await;
    let session = Client::new(&app).open().await.id;
    Stage { _folder: folder, rude, _nobody: nobody, app, session }
}

async fn ask(stage: &Stage, asks: Asks) -> reqwest::Response {
    let legacy = Client::new(&stage.app).with("mcp-session-id", &stage.session);
    let modern = Client::new(&stage.app).with("mcp-protocol-version", "2026-07-28").with("x-api-key", "k");
    let notification = json!({ "jsonrpc": "2.0", "method": "notifications/progress" });
    match asks {
        Asks::Initialize => Client::new(&stage.app).post(&initialize()).await,
        Asks::Call => legacy.post(&call(7, "echo")).await,
        Asks::Batch => legacy.post(&json!([call(7, "echo"), notification, call("b", "echo")])).await,
        Asks::Notification => legacy.post(&notification).await,
        Asks::Response => legacy.post(&json!({ "jsonrpc": "2.0", "id": 7, "result": {} })).await,
        Asks::Get => legacy.request("GET").send().await.unwrap(),
        Asks::Delete => legacy.request("DELETE").send().await.unwrap(),
        Asks::ModernCall => modern.with("mcp-method", "tools/call").with("mcp-name", "echo").post(&call(7, "echo")).await,
        Asks::ModernNotification => modern.with("mcp-method", "notifications/progress").post(&notification).await,
        Asks::ModernListen => {
            let listen = json!({ "jsonrpc": "2.0", "id": 7, "method": "subscriptions/listen", "params": {} });
            modern.with("mcp-method", "subscriptions/listen").post(&listen).await
        }
        Asks::Plain => reqwest::get(stage.app.url("/plain")).await.unwrap(),
    }
}

async fn told(response: reqwest::Response) -> Told {
    let status = response.status().as_u16();
    if status == 503 {
        assert_eq!(response.headers()["retry-after"], "1");
    }
    let is_stream = response.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let bytes = response.bytes().await;
    if is_stream {
        return match bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()) {
            Err(_) => Told::Cut,
            Ok(text) if !text.contains("\"error\"") => Told::Ended,
            Ok(text) => {
                let data = text.trim_end().rsplit("data: ").next().unwrap();
                let event: Value = serde_json::from_str(data).unwrap();
                assert!(event["id"] == 7 || event["id"] == 0, "{text}");
                assert_eq!(event["error"]["code"], -32603, "{text}");
                Told::ErrorEvent
            }
        };
    }
    let bytes = bytes.unwrap();
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    match &answer {
        _ if bytes.is_empty() => Told::Silence(status),
        Value::Array(all) => {
            let ids: Vec<&Value> = all.iter().map(|one| &one["id"]).collect();
            assert_eq!(ids, [&json!(7), &json!("b")], "{answer}");
            assert!(all.iter().all(|one| one["error"]["code"] == -32603), "{answer}");
            Told::Errors(status)
        }
        Value::Object(error) if error["id"].is_null() => Told::Status(status),
        Value::Object(error) => {
            assert!(error["id"] == 7 || error["id"] == 0, "{answer}");
            assert_eq!(error["error"]["code"], -32603, "{answer}");
            Told::Error(status)
        }
        _ => Told::Status(status),
    }
}

/// Plays a row of cells against a fresh stage each, so that none is touched by what another left behind.
async fn play(more: &str, does: Does, cells: &[(Asks, Told)]) {
    for (asks, expected) in cells {
        let stage = staged("", more, if does == Does::Refuses { Does::WellOnce } else { Does::Well }).await;
        match does {
            Does::Refuses => stage.rude.goes().await,
            _ => stage.rude.becomes(does),
        }
        assert_eq!(told(ask(&stage, *asks).await).await, *expected, "{asks:?} while the server {does:?} ({more})");
    }
}

const SHORT: &str = "traffic = { first_byte_timeout = \"200ms\" }";

#[tokio::test]
async fn when_the_server_hangs_up() {
    let cells = [
        (Asks::Initialize, Told::Error(200)),
        (Asks::Call, Told::Error(200)),
        (Asks::Batch, Told::Errors(200)),
        (Asks::Notification, Told::Silence(202)),
        (Asks::Response, Told::Silence(202)),
        (Asks::Get, Told::Status(503)),
        (Asks::Delete, Told::Silence(200)),
        (Asks::ModernCall, Told::Error(502)),
        (Asks::ModernNotification, Told::Status(502)),
        (Asks::ModernListen, Told::Error(502)),
        (Asks::Plain, Told::Status(502)),
    ];
    play("", Does::HangsUp, &cells).await;
}

#[tokio::test]
async fn when_the_server_is_not_there() {
    let cells = [
        (Asks::Initialize, Told::Error(503)),
        (Asks::Call, Told::Error(200)),
        (Asks::Batch, Told::Errors(200)),
        (Asks::Notification, Told::Silence(202)),
        (Asks::Response, Told::Silence(202)),
        (Asks::Get, Told::Status(503)),
        (Asks::Delete, Told::Silence(200)),
        (Asks::ModernCall, Told::Error(503)),
        (Asks::ModernNotification, Told::Status(503)),
        (Asks::ModernListen, Told::Error(503)),
        (Asks::Plain, Told::Status(503)),
    ];
    play("", Does::Refuses, &cells).await;
}

#[tokio::test]
async fn when_the_server_says_nothing() {
    let cells = [
        (Asks::Initialize, Told::Error(200)),
        (Asks::Call, Told::Error(200)),
        (Asks::Batch, Told::Errors(200)),
        (Asks::Notification, Told::Silence(202)),
        (Asks::Response, Told::Silence(202)),
        (Asks::Get, Told::Status(503)),
        (Asks::Delete, Told::Silence(200)),
        (Asks::ModernCall, Told::Error(504)),
        (Asks::ModernNotification, Told::Status(504)),
        (Asks::ModernListen, Told::Error(504)),
        (Asks::Plain, Told::Status(504)),
    ];
    play(SHORT, Does::Nothing, &cells).await;
}

#[tokio::test]
async fn when_the_servers_answer_is_none() {
    let cells = [
        (Asks::Initialize, Told::Error(200)),
        (Asks::Call, Told::Error(200)),
        (Asks::Batch, Told::Errors(200)),
        (Asks::Notification, Told::Silence(202)),
        (Asks::Response, Told::Silence(202)),
        (Asks::Get, Told::Status(503)),
        (Asks::Delete, Told::Silence(200)),
        (Asks::ModernCall, Told::Error(502)),
        (Asks::ModernNotification, Told::Status(502)),
        (Asks::ModernListen, Told::Error(502)),
        (Asks::Plain, Told::Status(502)),
    ];
    play("", Does::Babbles, &cells).await;
}

#[tokio::test]
async fn when_the_servers_stream_breaks() {
    let cells = [
        (Asks::Initialize, Told::ErrorEvent),
        (Asks::Call, Told::ErrorEvent),
        (Asks::Get, Told::Cut),
        (Asks::ModernCall, Told::ErrorEvent),
        (Asks::ModernListen, Told::Cut),
        (Asks::Plain, Told::Cut),
    ];
    play("", Does::CutsStream, &cells).await;
    let ended = [
        (Asks::Call, Told::ErrorEvent),
        (Asks::ModernCall, Told::ErrorEvent),
        (Asks::Get, Told::Ended),
        (Asks::ModernListen, Told::Ended),
        (Asks::Plain, Told::Ended),
    ];
    play("", Does::EndsStream, &ended).await;
    play("", Does::CutsWithIds, &[(Asks::Call, Told::Cut), (Asks::ModernCall, Told::ErrorEvent)]).await;
}

#[tokio::test]
async fn in_the_shape_of_http_where_that_is_asked_for() {
    let shape = |more: &str| format!("traffic = {{ error_shape = \"http\"{more} }}");
    let kept = [
        (Asks::Notification, Told::Silence(202)),
        (Asks::Response, Told::Silence(202)),
        (Asks::Get, Told::Status(503)),
        (Asks::Delete, Told::Silence(200)),
    ];
    play(&shape(""), Does::HangsUp, &kept).await;
    let told = |status| {
        [(Asks::Initialize, Told::Error(status)), (Asks::Call, Told::Error(status)), (Asks::Batch, Told::Errors(status))]
    };
    play(&shape(""), Does::HangsUp, &told(502)).await;
    play(&shape(""), Does::Babbles, &told(502)).await;
    play(&shape(", first_byte_timeout = \"200ms\""), Does::Nothing, &told(504)).await;
    let refused = [(Asks::Initialize, Told::Error(503)), (Asks::Call, Told::Error(502)), (Asks::Batch, Told::Errors(502))];
    play(&shape(""), Does::Refuses, &refused).await;
}

#[tokio::test]
async fn when_the_proxy_stops_before_the_answer() {
    for (asks, expected) in [
        (Asks::Call, Told::Error(200)),
        (Asks::Batch, Told::Errors(200)),
        (Asks::Notification, Told::Silence(202)),
        (Asks::Get, Told::Status(503)),
        (Asks::Delete, Told::Silence(200)),
        (Asks::ModernCall, Told::Error(503)),
        (Asks::ModernListen, Told::Error(503)),
        (Asks::Plain, Told::Status(503)),
    ] {
        let stage = stage("").await;
        stage.rude.becomes(Does::Nothing);
        let before = stage.rude.requests();
        let (response, ()) = tokio::join!(ask(&stage, asks), async {
            eventually("the request waits", async || (stage.rude.requests() > before).then_some(())).await;
            stage.app.stop();
        });
        assert_eq!(told(response).await, expected, "{asks:?}");
    }
}

/// Holds the one place that `limits = { requests = 1 }` leaves.
async fn hold(stage: &Stage) -> JoinHandle<()> {
    stage.rude.becomes(Does::Nothing);
    let before = stage.rude.requests();
    let client = Client::new(&stage.app).with("mcp-session-id", &stage.session);
    let held = tokio::spawn(async move { drop(client.post(&call("held", "echo")).await) });
    eventually("the place is taken", async || (stage.rude.requests() > before).then_some(())).await;
    held
}

#[tokio::test]
async fn when_there_is_no_room() {
    let cells = [
        (Asks::Initialize, Told::Error(503)),
        (Asks::Call, Told::Error(200)),
        (Asks::Batch, Told::Errors(200)),
        (Asks::Notification, Told::Silence(202)),
        (Asks::Response, Told::Silence(202)),
        (Asks::Get, Told::Status(503)),
        (Asks::Delete, Told::Silence(200)),
        (Asks::ModernCall, Told::Error(503)),
        (Asks::ModernNotification, Told::Status(503)),
        (Asks::ModernListen, Told::Error(503)),
        (Asks::Plain, Told::Status(503)),
    ];
    let stage = stage_with("limits = { requests = 1 }", "").await;
    let held = hold(&stage).await;
    let before = stage.rude.requests();
    for (asks, expected) in cells {
        assert_eq!(told(ask(&stage, asks).await).await, expected, "{asks:?}");
    }
    assert_eq!(stage.rude.requests(), before, "and no server has seen it");
    let page = reqwest::get(format!("http://{}/metrics", stage.app.metrics)).await.unwrap().text().await.unwrap();
    assert!(page.contains("dualgate_refused_total{reason=\"overload\"} 11"), "{page}");
    held.abort();
    let stage = stage_with("limits = { requests = 1 }", "traffic = { error_shape = \"http\" }").await;
    let held = hold(&stage).await;
    for (asks, expected) in [(Asks::Call, Told::Error(503)), (Asks::Notification, Told::Silence(202))] {
        assert_eq!(told(ask(&stage, asks).await).await, expected, "{asks:?} in the shape of HTTP");
    }
    held.abort();
}

#[tokio::test]
async fn a_legacy_call_beyond_the_limit_keeps_its_session() {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let folder = Folder::new();
    let file = TestApp::file(folder.path(), &[&v1], &[&v2], "100:0", "");
    let app = TestApp::from_text(format!("limits = {{ requests = 1 }}\n{file}")).await;
    let session = Client::new(&app).open().await;
    let held = session.listen().await;
    assert_eq!(told(session.post(&call(7, "echo")).await).await, Told::Error(200));
    // What would have streamed on is read, too: only the body has the id.
    let body = call(7, "echo").to_string();
    let mut socket = TcpStream::connect(app.address).await.unwrap();
    let head =
        "POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\ntransfer-encoding: chunked";
    let request = format!("{head}\r\nmcp-session-id: {}\r\n\r\n{}0\r\n\r\n", session.id, chunk(&body));
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"id\":7") && answer.contains("-32603"), "{answer}");
    assert!(v1.calls().is_empty());
    drop(held);
    eventually("there is room again", async || {
        let text = session.post(&call(7, "echo")).await.text().await.unwrap();
        text.contains("\"server\":\"v1\"").then_some(())
    })
    .await;
}

/// A request whose body does not come to its end.
async fn half_a_call(app: &TestApp) -> TcpStream {
    let mut socket = TcpStream::connect(app.address).await.unwrap();
    let head = "POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

#[tokio::test]
async fn those_beyond_the_limit_that_are_read_are_limited_themselves() {
    let stage = stage_with("limits = { requests = 1 }", "").await;
    let held = hold(&stage).await;
    let mut slow = Vec::new();
    for _ in 0..256 {
        slow.push(half_a_call(&stage.app).await);
    }
    eventually("nobody is read any more", async || {
        let answer = ask(&stage, Asks::Call).await;
        let is_bare = answer.status() == 503 && answer.headers()["content-type"] == "text/plain; charset=utf-8";
        assert!(!is_bare || answer.headers()["retry-after"] == "1");
        is_bare.then_some(())
    })
    .await;
    drop(slow);
    eventually("and again, once there is room for that", async || {
        (told(ask(&stage, Asks::Call).await).await == Told::Error(200)).then_some(())
    })
    .await;
    held.abort();
}

#[tokio::test]
async fn a_slow_body_beyond_the_limit_is_not_waited_for() {
    let stage = stage_with("limits = { requests = 1, body_timeout = \"100ms\" }", "").await;
    let held = hold(&stage).await;
    let mut socket = half_a_call(&stage.app).await;
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    held.abort();
}

#[tokio::test]
async fn when_the_session_is_nobodys() {
    let mut stage = stage("").await;
    stage.session = "x".repeat(stage.session.len());
    let before = stage.rude.requests();
    for (asks, expected) in [
        (Asks::Call, Told::Error(404)),
        (Asks::Batch, Told::Errors(404)),
        (Asks::Notification, Told::Status(404)),
        (Asks::Response, Told::Status(404)),
        (Asks::Get, Told::Status(404)),
        (Asks::Delete, Told::Status(404)),
    ] {
        assert_eq!(told(ask(&stage, asks).await).await, expected, "{asks:?}");
    }
    assert_eq!(stage.rude.requests(), before, "and no server has seen it");
}

#[tokio::test]
async fn a_message_that_is_hidden_is_counted() {
    let stage = stage("").await;
    stage.rude.becomes(Does::HangsUp);
    ask(&stage, Asks::Notification).await;
    ask(&stage, Asks::Response).await;
    let metrics = reqwest::get(format!("http://{}/metrics", stage.app.metrics)).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("dualgate_undelivered_messages_total{service=\"notes\"} 2"), "{metrics}");
}
