//! The log of a process, as JSON lines: what it tells, and what it never does.

use std::slice::from_ref;

use serde_json::{Value, json};

use crate::support::{
    Authority, Client, Fake, Folder, Options, Process, TestApp, WAITS, call, eventually, initialize, pair as certificate,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A dualgate with its log in a file, behind `[log]` as given.
struct Logged {
    folder: Folder,
    traffic: String,
    admin: String,
    _process: Process,
}

impl Logged {
    async fn start(v1: &Fake, v2: &Fake, level: &str, log: &str) -> Self {
        Self::within(Folder::new(), v1, v2, level, &format!("log = {{ {log} }}")).await
    }

    /// With more in its folder, and lines of configuration for that.
    async fn within(folder: Folder, v1: &Fake, v2: &Fake, level: &str, before: &str) -> Self {
        let text = TestApp::file(&folder.path().join("state"), &[v1], &[v2], "100:0", WAITS);
        std::fs::write(folder.path().join("dualgate.toml"), format!("{before}\n{text}")).unwrap();
        let config = folder.path().join("dualgate.toml");
        let process = Process::logging(&["run", "--config", config.to_str().unwrap()], level, &folder.path().join("log"));
        let mut logged = Self { folder, traffic: String::new(), admin: String::new(), _process: process };
        let serves = eventually("it serves", async || logged.lines("dualgate serves").pop()).await;
        logged.traffic = format!("http://{}", serves["traffic"].as_str().unwrap());
        logged.admin = format!("http://{}", serves["admin"].as_str().unwrap());
        eventually("it has looked at its servers", async || {
            let answer = reqwest::get(format!("{}/health/ready", logged.admin)).await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
        logged
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The lines with this message.
    fn lines(&self, message: &str) -> Vec<Value> {
        let text = self.text();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines =
            whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")));
        lines.filter(|line| line["message"] == message).collect()
    }

    async fn wait_for(&self, message: &str, count: usize) -> Vec<Value> {
        eventually(message, async || {
            let lines = self.lines(message);
            (lines.len() >= count).then_some(lines)
        })
        .await
    }
}

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

/// Some fields of lines, in the order of the lines.
fn told(lines: &[Value], fields: &[&str]) -> Vec<Value> {
    lines.iter().map(|line| fields.iter().map(|field| line[field].clone()).collect()).collect()
}

#[tokio::test]
async fn every_request_and_every_call_has_its_line_with_its_trace() {
    let (v1, v2) = pair().await;
    let logged = Logged::start(&v1, &v2, "dualgate=debug", "tool_calls = true, tool_errors = true").await;
    let client = Client::at(&format!("{}/mcp", logged.traffic));
    let traced = client.with("traceparent", &format!("00-{TRACE}-{SPAN}-01")).with("tracestate", "a=b").with("baggage", "c=d");
    let session = traced.open().await;
    assert_eq!(v1.last().headers["traceparent"].to_str().unwrap(), format!("00-{TRACE}-{SPAN}-01"));
    assert_eq!(
        (&v1.last().headers["tracestate"], &v1.last().headers["baggage"]),
        (&"a=b".parse().unwrap(), &"c=d".parse().unwrap())
    );
    for tool in ["echo", "fail", "stream-fail", "unknown", "busy", "cut"] {
        let _ = session.post(&call(1, tool)).await.bytes().await;
    }
    let batch = json!([call(1, "good"), call(2, "fail")]);
    session.post(&batch).await.bytes().await.unwrap();
    client.with("traceparent", "00-nonsense").bind("never-sealed").post(&call(1, "echo")).await;
    let leaving = tokio::spawn({
        let session = session.clone();
        async move { session.post(&call(9, "wait")).await }
    });
    eventually("the call is there", async || v1.calls().contains(&json!(9)).then_some(())).await;
    leaving.abort();
    logged.wait_for("request", 10).await;
    v1.kill();
    session.post(&call(7, "echo")).await.bytes().await.unwrap();
    let requests = logged.wait_for("request", 11).await;
    let expected = [
        json!(["initialize", "birth", 200, "ok"]),
        json!(["call", "pin", 200, "ok"]),
        json!(["call", "pin", 200, "tool_error"]),
        json!(["call", "pin", 200, "tool_error"]),
        json!(["call", "pin", 200, "client_fault"]),
        json!(["call", "pin", 503, "entry_fault"]),
        json!(["call", "pin", 200, "entry_fault"]),
        json!(["call", "pin", 200, "tool_error"]),
        json!(["call", null, 404, "client_fault"]),
        json!(["call", "pin", null, "client_fault"]),
        json!(["call", "pin", 200, "entry_fault"]),
    ];
    assert_eq!(told(&requests, &["kind", "why", "status", "outcome"]), expected);
    let endpoint = v1.address.to_string();
    for (at, line) in requests.iter().enumerate() {
        assert_eq!((&line["service"], &line["era"]), (&json!("notes"), &json!("legacy")));
        assert!(line["duration_ms"].is_number() && line["level"] == "DEBUG", "{line}");
        let (place, trace) = match at {
            8 => (json!([null, null, null]), json!([null, null])),
            _ => (json!(["primary", "1.0", endpoint]), json!([TRACE, SPAN])),
        };
        assert_eq!(told(from_ref(line), &["entry", "version", "endpoint"]), [place], "{line}");
        assert_eq!(told(from_ref(line), &["trace_id", "span_id"]), [trace], "{line}");
    }
    let calls = logged.wait_for("tool_call", 10).await;
    let of_calls = [
        json!(["echo", "ok"]),
        json!(["fail", "tool_error"]),
        json!(["stream-fail", "tool_error"]),
        json!(["unknown", "client_fault"]),
        json!(["busy", "entry_fault"]),
        json!(["cut", "entry_fault"]),
        json!(["good", "ok"]),
        json!(["fail", "tool_error"]),
        json!(["wait", "client_fault"]),
        json!(["echo", "entry_fault"]),
    ];
    assert_eq!(told(&calls, &["tool_name", "outcome"]), of_calls);
    for line in &calls {
        let place = json!(["notes", "primary", "1.0", endpoint, TRACE, SPAN, "INFO"]);
        assert_eq!(told(from_ref(line), &["service", "entry", "version", "endpoint", "trace_id", "span_id", "level"]), [place]);
        assert!(line["duration_ms"].is_number());
    }
    let of_errors: Vec<Value> = of_calls.into_iter().filter(|line| line[1] != "ok").collect();
    let errors = logged.wait_for("tool_error", of_errors.len()).await;
    assert_eq!(told(&errors, &["tool_name", "outcome"]), of_errors);
}

#[tokio::test]
async fn calls_are_told_of_only_when_asked() {
    let (v1, v2) = pair().await;
    for (log, calls, errors) in [("", 0, 0), ("tool_errors = true", 0, 1), ("tool_calls = true", 2, 0)] {
        let logged = Logged::start(&v1, &v2, "info", log).await;
        let session = Client::at(&format!("{}/mcp", logged.traffic)).open().await;
        for tool in ["fail", "echo"] {
            session.post(&call(1, tool)).await.bytes().await.unwrap();
        }
        logged.wait_for("tool_call", calls).await;
        logged.wait_for("tool_error", errors).await;
        // A line of control comes after all lines of before.
        let rolled = reqwest::Client::new().post(format!("{}/v1/services/notes/rollback", logged.admin)).send().await.unwrap();
        assert_eq!(rolled.status(), 401);
        eventually("the line of control", async || logged.text().contains("denied").then_some(())).await;
        assert_eq!((logged.lines("tool_call").len(), logged.lines("tool_error").len()), (calls, errors), "{log}");
        assert!(logged.lines("request").is_empty());
    }
}

#[tokio::test]
async fn no_line_of_any_level_tells_a_secret() {
    const SECRET: &str = "s3cr3t";
    let secret = |place: &str| format!("{SECRET}-{place}");
    let (v1, v2) = pair().await;
    let logged = Logged::start(&v1, &v2, "trace", "tool_calls = true, tool_errors = true").await;
    let token = std::fs::read_to_string(logged.folder.path().join("state/admin-token")).unwrap();
    let query = format!("{}/mcp?access_token={SECRET}-query", logged.traffic);
    let named = |client: Client| {
        let basic = client.with("x-api-key", &secret("key")).with("cookie", &format!("id={SECRET}-cookie"));
        basic.with("authorization", &format!("Bearer {SECRET}-bearer")).with("baggage", &format!("user={SECRET}-baggage"))
    };
    let client = named(Client::at(&format!("{}/mcp", logged.traffic)));
    let session = client.open().await;
    let with_arguments = |tool: &str| {
        json!({ "jsonrpc": "2.0", "id": secret("id"), "method": "tools/call",
                "params": { "name": tool, "arguments": { "password": secret("argument") }, "_meta": { "k": secret("meta") } } })
    };
    for tool in ["echo", "fail", "stream-fail", "error", "garbled", "cut", "busy"] {
        let _ = session.post(&with_arguments(tool)).await.bytes().await;
    }
    let mut retry = with_arguments("echo");
    retry["params"]["requestState"] = json!(secret("state"));
    let modern = client.with("mcp-protocol-version", "2026-07-28").with("mcp-method", "tools/call");
    modern.with("mcp-param-city", &secret("param")).post(&retry).await.bytes().await.unwrap();
    named(Client::at(&query)).post(&with_arguments("echo")).await.bytes().await.unwrap();
    client.bind(&secret("session")).post(&with_arguments("echo")).await.bytes().await.unwrap();
    client.post(&json!({ "jsonrpc": "2.0", "method": secret("method") })).await.bytes().await.unwrap();
    client.with("x-twice", "1").with("mcp-session-id", &secret("twice")).bind(&session.id).post(&initialize()).await;
    let listening = session.listen().await;
    for path in ["services/notes/rollback", "audit"] {
        let asked = reqwest::Client::new().post(format!("{}/v1/{path}?token={SECRET}-admin", logged.admin));
        asked.header("authorization", secret("admin-bearer")).send().await.unwrap();
    }
    let rolled = reqwest::Client::new().post(format!("{}/v1/services/notes/rollback", logged.admin));
    rolled.header("authorization", format!("Bearer {}", token.trim())).send().await.unwrap();
    v1.kill();
    drop(listening);
    session.post(&with_arguments("echo")).await.bytes().await.unwrap();
    session.delete().await;
    logged.wait_for("request", 15).await;
    let text = logged.text();
    assert!(text.contains("\"TRACE\"") || text.contains("\"DEBUG\""), "the log was as talkative as it gets");
    for told in [SECRET, &session.id, token.trim(), "v1-session-"] {
        let line = text.lines().find(|line| line.contains(told));
        assert_eq!(line, None, "`{told}` is in the log");
    }
}

/// Over HTTP+SSE (2024-11-05) the answer comes on the session's stream, and the trace with the POST.
#[tokio::test]
async fn a_call_answered_on_its_sessions_stream_is_told_with_the_trace_of_its_post() {
    let (v1, v2) = pair().await;
    let dualgate = Logged::start(&v1, &v2, "trace", "tool_calls = true").await;
    let http = reqwest::Client::new();
    let url = |path: &str| format!("{}{path}", dualgate.traffic);
    let mut stream = http.get(url("/sse")).header("accept", "text/event-stream").send().await.unwrap();
    let first = String::from_utf8(stream.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    let endpoint = first.split("data: ").nth(1).unwrap().trim_end().to_owned();
    let post = http.post(url(&endpoint)).header("content-type", "application/json");
    let post = post.header("traceparent", format!("00-{TRACE}-{SPAN}-01")).body(call(1, "fail").to_string());
    assert_eq!(post.send().await.unwrap().status(), 202);
    let line = dualgate.wait_for("tool_call", 1).await.pop().unwrap();
    for (field, value) in [("entry", "primary"), ("tool_name", "fail"), ("outcome", "tool_error"), ("trace_id", TRACE)] {
        assert_eq!(line[field], value, "{line}");
    }
    drop(stream);
    // The stream's and the POST's.
    dualgate.wait_for("request", 2).await;
    let token = endpoint.split_once('=').unwrap().1;
    assert!(!dualgate.text().contains(token) && !dualgate.text().contains("v1_sse_0"), "neither id is for the log");
}

#[tokio::test]
async fn a_certificate_that_is_not_in_order_is_told_of_with_its_file_and_its_reason() {
    let ((v1, v2), folder, authority) = (pair().await, Folder::new(), Authority::new("tests"));
    let names = ["a", "b", "c"];
    let pairs = names.map(|name| certificate(&authority.issue(&[&format!("{name}.example")]).write(folder.path(), name)));
    let tls = format!("tls = {{ listen = \"127.0.0.1:0\", certificates = [{}] }}", pairs.join(", "));
    let logged = Logged::within(folder, &v1, &v2, "info", &tls).await;
    let at = |name: &str| logged.folder.path().join(name);
    std::fs::write(at("b.crt"), authority.issue_for(&["b.example"], 2019, 2020).cert).unwrap();
    std::fs::remove_file(at("c.key")).unwrap();
    authority.issue(&["a.example"]).write(logged.folder.path(), "a");
    logged.wait_for("certificates are read again", 1).await;
    let wrong = "certificates have changed, and one is not in order; its old one stays";
    let said = eventually("both are told of", async || {
        let said = logged.lines(wrong);
        let all = said.iter().map(|line| line["error"].as_str().unwrap()).collect::<Vec<_>>().join("\n");
        let [b, c] = ["b.crt", "c.key"].map(|name| all.contains(&format!("{}: ", at(name).display())));
        (b && c).then_some(all)
    })
    .await;
    assert!(said.contains("b.crt: the certificate has expired, at 2020-01-01"), "{said}");
    assert!(said.contains("c.key: cannot be read: No such file or directory"), "{said}");
}
