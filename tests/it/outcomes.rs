use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Client, Fake, Options, TestApp, WAITS, call, eventually};

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

pub async fn requests(app: &TestApp) -> Value {
    app.admin.service().await["entries"]["primary"]["requests"].clone()
}

/// `tool outcome` and how often, as the metrics page has it.
pub async fn tools(app: &TestApp) -> BTreeMap<String, u64> {
    let page = reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap();
    let label = |line: &str, name: &str| line.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned();
    page.lines()
        .filter(|line| line.starts_with("mcp_tool_calls_total{"))
        .map(|line| {
            let count: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
            (format!("{} {}", label(line, "tool_name"), label(line, "outcome")), count as u64)
        })
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[tokio::test]
async fn every_answer_is_counted_for_what_it_says_and_not_for_its_status() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    for tool in ["echo", "echo", "fail", "stream-fail", "error", "unknown", "cut", "garbled", "encoded", "busy", "poll"] {
        session.post(&call(1, tool)).await.bytes().await.unwrap();
    }
    session.post(&json!([call(1, "echo"), call("x", "fail"), call(3, "echo")])).await.bytes().await.unwrap();
    let wanted = json!({
        "ok": 1 + 2 + 2, "tool_error": 2 + 1, "protocol_error": 1, "opaque": 1, "client_fault": 1, "entry_fault": 3, "proxy_fault": 0,
    });
    eventually("all is counted", async || (requests(&app).await == wanted).then_some(())).await;
    let counted: Vec<(String, u64)> = tools(&app).await.into_iter().collect();
    let wanted = [
        ("busy entry_fault", 1),
        ("cut entry_fault", 1),
        ("echo ok", 4),
        ("encoded opaque", 1),
        ("error protocol_error", 1),
        ("fail tool_error", 2),
        ("garbled entry_fault", 1),
        ("stream-fail tool_error", 1),
        ("unknown client_fault", 1),
    ];
    assert_eq!(counted, wanted.map(|(name, count)| (name.to_owned(), count)));
}

#[tokio::test]
async fn a_lost_connection_is_the_entrys_and_a_client_that_leaves_is_its_own() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    let mut left = session.post(&call(1, "stream")).await;
    left.chunk().await.unwrap();
    drop(left);
    let mut cut = session.post(&call(2, "stream")).await;
    cut.chunk().await.unwrap();
    eventually("the client's leaving is booked", async || (requests(&app).await["client_fault"] == 1).then_some(())).await;
    assert_eq!(tools(&app).await.get("stream client_fault"), Some(&1));
    v1.kill();
    cut.bytes().await.unwrap();
    eventually("the cut is booked", async || (requests(&app).await["entry_fault"] == 1).then_some(())).await;
    assert_eq!(requests(&app).await["ok"], 1, "the initialize");
}

#[tokio::test]
async fn streams_that_only_listen_break_by_the_dozen_and_no_request_has_failed() {
    let dual = Options { modern: true, ..Options::default() };
    let (v1, v2) = (Fake::start("v1", dual).await, Fake::start("v2", dual).await);
    let app = TestApp::start(&v1, &v2, "100:0", WAITS).await;
    let mut streams = Vec::new();
    for n in 0..6 {
        streams.push(Client::new(&app).open().await.listen().await);
        let modern = Client::new(&app).with("x-api-key", &n.to_string()).with("mcp-protocol-version", "2026-07-28");
        let listen = json!({ "jsonrpc": "2.0", "id": n, "method": "subscriptions/listen", "params": { "notifications": {} } });
        streams.push(modern.with("mcp-method", "subscriptions/listen").post(&listen).await);
    }
    v1.kill();
    for stream in streams {
        assert!(stream.bytes().await.is_err(), "what was cut looks cut");
    }
    let broken = async || {
        let metrics = reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap();
        let start = "dualgate_streams_broken_total{service=\"notes\",entry=\"primary\",kind=\"listen\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(start)).unwrap().parse::<f64>().unwrap()
    };
    eventually("they are counted", async || (broken().await == 12.0).then_some(())).await;
    let counts = requests(&app).await;
    assert_eq!((&counts["ok"], &counts["entry_fault"]), (&json!(6), &json!(0)), "the handshakes alone: {counts}");
}

#[tokio::test]
async fn what_the_proxy_answers_itself_is_booked_once_per_request_with_its_blame() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", WAITS).await;
    let session = Client::new(&app).open().await;
    v1.kill();
    session.post(&json!([call(1, "a"), call(2, "b")])).await.bytes().await.unwrap();
    eventually("two are booked", async || (requests(&app).await["entry_fault"] == 2).then_some(())).await;
}

#[tokio::test]
async fn a_server_that_fails_five_times_in_a_row_gets_no_new_clients_although_its_checks_are_green() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    for _ in 0..4 {
        session.post(&call(1, "busy")).await.bytes().await.unwrap();
    }
    session.post(&call(1, "echo")).await.bytes().await.unwrap();
    for _ in 0..4 {
        session.post(&call(1, "busy")).await.bytes().await.unwrap();
    }
    assert_eq!(app.admin.service().await["entries"]["primary"]["standing"], "up", "never five in a row");
    session.post(&call(1, "busy")).await.bytes().await.unwrap();
    eventually("it is out", async || {
        let primary = app.admin.service().await["entries"]["primary"].clone();
        (primary["standing"] == "down" && primary["endpoints"][0]["ejected"] == true).then_some(())
    })
    .await;
    assert_eq!(Client::new(&app).open().await.who().await, "v2");
    assert_eq!(session.who().await, "v1", "a session stays where it lives");
}
