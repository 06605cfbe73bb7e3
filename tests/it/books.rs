//! The books: what the proxy counts is what the servers' own logs say, request by request.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Channel, Client, Fake, Options, TestApp, call, eventually};

/// What each tool of the servers comes to. "wait" and "mute" are called by clients that leave.
const TOOLS: [(&str, &str); 14] = [
    ("echo", "ok"),
    ("stream-ok", "ok"),
    ("ask", "ok"),
    ("begin", "ok"),
    ("fail", "tool_error"),
    ("stream-fail", "tool_error"),
    ("error", "protocol_error"),
    ("unknown", "client_fault"),
    ("wait", "client_fault"),
    ("cut", "entry_fault"),
    ("garbled", "entry_fault"),
    ("busy", "entry_fault"),
    ("encoded", "opaque"),
    ("mute", "client_fault"),
];

/// Counts by entry, tool and outcome.
type Books = BTreeMap<(String, String, String), u64>;

/// What a server has executed, by its own log.
fn log_of(entry: &str, server: &Fake) -> (Books, u64) {
    let mut books = Books::new();
    let mut others = 0;
    for seen in server.seen() {
        let message: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        let (messages, is_batch) = match message {
            Value::Array(all) => (all, true),
            one => (vec![one], false),
        };
        for message in messages {
            match message["params"]["name"].as_str() {
                Some(tool) => {
                    let outcome = TOOLS.iter().find(|(name, _)| *name == tool).unwrap().1;
                    *books.entry((entry.into(), tool.into(), outcome.into())).or_default() += 1;
                }
                // A notification in a batch is no exchange of its own.
                None => others += u64::from(!is_batch),
            }
        }
    }
    (books, others)
}

async fn metrics(app: &TestApp) -> String {
    reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap()
}

fn figure(line: &str, name: &str, labels: &[&str]) -> Option<(Vec<String>, u64)> {
    let rest = line.strip_prefix(name)?.strip_prefix('{')?;
    let (all, figure) = rest.split_once("} ")?;
    let value = |label: &&str| Some(all.split(&format!("{label}=\"")).nth(1)?.split('"').next()?.to_owned());
    Some((labels.iter().map(value).collect::<Option<_>>()?, figure.parse::<f64>().ok()? as u64))
}

/// What the proxy has counted: tool calls, and requests in all.
async fn counted(app: &TestApp) -> (Books, BTreeMap<(String, String), u64>) {
    let page = metrics(app).await;
    let tools = page.lines().filter_map(|line| figure(line, "mcp_tool_calls_total", &["entry", "tool_name", "outcome"]));
    let tools = tools.filter(|(_, figure)| *figure > 0).map(|(labels, figure)| {
        let [entry, tool, outcome] = labels.try_into().unwrap();
        ((entry, tool, outcome), figure)
    });
    let requests = page.lines().filter_map(|line| figure(line, "dualgate_requests_total", &["entry", "outcome"]));
    let requests = requests.filter(|(_, figure)| *figure > 0).map(|(labels, figure)| {
        let [entry, outcome] = labels.try_into().unwrap();
        ((entry, outcome), figure)
    });
    let requests: BTreeMap<_, _> = requests.collect();
    // Each entry has one endpoint here.
    let endpoints = page.lines().filter_map(|line| figure(line, "dualgate_endpoint_requests_total", &["entry", "outcome"]));
    let endpoints = endpoints.filter(|(_, figure)| *figure > 0).map(|(labels, figure)| {
        let [entry, outcome] = labels.try_into().unwrap();
        ((entry, outcome), figure)
    });
    assert_eq!(endpoints.collect::<BTreeMap<_, _>>(), requests);
    (tools.collect(), requests)
}

/// A client with a legacy session, or a modern one: forty steps, each with another fault.
async fn walk(client: Client, modern: bool, seed: u64, servers: &[Fake; 2]) {
    let session = if modern { None } else { Some(client.open().await) };
    let post = async |message: &Value, tool: &str| match &session {
        Some(session) => session.post(message).await,
        None => client.with("mcp-method", "tools/call").with("mcp-name", tool).post(message).await,
    };
    for step in 0..40u64 {
        let dice = (seed * 40 + step).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let (tool, _) = TOOLS[(dice % 13) as usize];
        let id = seed * 1000 + step;
        match (tool, &session) {
            ("ask" | "begin", Some(session)) => {
                let batch = json!([call(id, "echo"), call(format!("{id}b"), "fail"), { "jsonrpc": "2.0", "method": "n" }]);
                session.post(&batch).await.bytes().await.unwrap();
            }
            ("wait", _) => {
                let waits = call(id, tool);
                let is_there = || servers.iter().any(|server| server.calls().contains(&json!(id)));
                tokio::select! {
                    _ = post(&waits, tool) => unreachable!("nobody releases it"),
                    () = eventually("the call is there", async || is_there().then_some(())) => {}
                }
            }
            _ => {
                let _ = post(&call(id, tool), tool).await.bytes().await;
            }
        }
        if step.is_multiple_of(10)
            && let Some(session) = &session
        {
            session.post(&json!({ "jsonrpc": "2.0", "method": "notifications/progress" })).await.bytes().await.unwrap();
        }
    }
    if let Some(session) = session {
        session.delete().await.bytes().await.unwrap();
    }
}

/// The same over HTTP+SSE, where answers come on the stream.
async fn walk_sse(app: &TestApp, seed: u64) {
    let mut channel = Channel::open(app).await;
    for step in 0..40 {
        let tool = ["echo", "fail", "error", "busy"][((seed + step) % 4) as usize];
        let response = channel.post(&call(step, tool)).await;
        if response.status() == 202 {
            assert_eq!(channel.message().await["id"], step);
        }
        if step.is_multiple_of(10) {
            channel.post(&json!({ "jsonrpc": "2.0", "method": "notifications/progress" })).await;
        }
    }
    // It leaves with a request that nobody has answered.
    assert_eq!(channel.post(&call(99, "mute")).await.status(), 202);
}

#[tokio::test]
async fn counters_equal_the_servers_own_logs_over_faults_of_every_kind() {
    let dual = Options { modern: true, ..Options::default() };
    let servers = [Fake::start("v1", dual).await, Fake::start("v2", dual).await];
    // No pins to follow, so that both servers get some of everything.
    let app = TestApp::start(&servers[0], &servers[1], "50:50", "").await;
    let walks = (0..12u64).map(|seed| {
        let modern = seed % 3 == 0;
        // Sessions without a key are dealt out evenly; modern clients need one.
        let client = Client::new(&app);
        let keyed = || client.with("x-api-key", &format!("key-{seed}")).with("mcp-protocol-version", "2026-07-28");
        let client = if modern { keyed() } else { client };
        walk(client, modern, seed, &servers)
    });
    let steps = async {
        for split in ["10:90", "50:50", "90:10", "50:50"].iter().cycle().take(12) {
            app.admin.split(split).await;
        }
    };
    let over_sse = futures::future::join_all((0..4).map(|seed| walk_sse(&app, seed)));
    tokio::join!(futures::future::join_all(walks), over_sse, steps);

    let (mut logged, mut requests) = (Books::new(), BTreeMap::<(String, String), u64>::new());
    for (entry, server) in [("primary", &servers[0]), ("secondary", &servers[1])] {
        let (books, others) = log_of(entry, server);
        assert!(books.len() >= 10, "{entry} has seen too little to prove anything: {books:?}");
        for ((_, _, outcome), count) in &books {
            *requests.entry((entry.into(), outcome.clone())).or_default() += count;
        }
        *requests.entry((entry.into(), "ok".into())).or_default() += others;
        logged.extend(books);
    }
    let total: u64 = logged.values().sum();
    assert!(total > 400, "{total}");
    // The last client to leave is counted when that is felt.
    eventually("everybody who left is felt", async || {
        let in_flight = metrics(&app).await;
        let mut held = in_flight.lines().filter_map(|line| figure(line, "dualgate_requests_in_flight", &["endpoint"]));
        held.all(|(_, count)| count == 0).then_some(())
    })
    .await;
    let (tools, all) = counted(&app).await;
    let differs: Vec<_> = logged.iter().filter(|(what, count)| tools.get(what) != Some(count)).collect();
    assert_eq!(tools, logged, "the servers say otherwise: {differs:?}");
    assert_eq!(all, requests);
}
