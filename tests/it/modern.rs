//! The modern era: words that lead back, eras that are one answer, streams that end well.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, Fake, Folder, Options, TestApp, eventually};

const LEGACY: Options = Options { sessions: true, modern: false, legacy: true };
const DUAL: Options = Options { sessions: true, modern: true, legacy: true };
const MODERN: Options = Options { sessions: false, modern: true, legacy: false };

async fn pair(primary: Options, secondary: Options) -> (Fake, Fake) {
    (Fake::start("v1", primary).await, Fake::start("v2", secondary).await)
}

/// A modern client with a key of its own.
pub struct Modern {
    client: Client,
    method: &'static str,
}

impl Modern {
    pub fn new(app: &TestApp, key: &str) -> Self {
        let client = Client::new(app).with("x-api-key", key).with("mcp-protocol-version", "2026-07-28");
        Self { client, method: "tools/call" }
    }

    pub fn method(&self, method: &'static str) -> Self {
        Self { client: self.client.clone(), method }
    }

    pub async fn send(&self, params: Value) -> reqwest::Response {
        let message = json!({ "jsonrpc": "2.0", "id": 7, "method": self.method, "params": params });
        let client = match params["name"].as_str().or(params["taskId"].as_str()) {
            Some(name) => self.client.with("mcp-name", name),
            None => self.client.clone(),
        };
        client.with("mcp-method", self.method).post(&message).await
    }

    pub async fn ask(&self, params: Value) -> Value {
        let answer = self.send(params).await.bytes().await.unwrap();
        serde_json::from_slice::<Value>(&answer).unwrap()
    }

    pub async fn who(&self) -> String {
        self.ask(json!({ "name": "echo" })).await["result"]["server"].as_str().unwrap().to_owned()
    }
}

/// Sets the split so that this client goes to the other entry than before.
pub async fn turn_away(app: &TestApp, modern: &Modern) -> (String, String) {
    let before = modern.who().await;
    app.admin.split(if before == "v1" { "0:100" } else { "100:0" }).await;
    let after = modern.who().await;
    assert_ne!(before, after);
    (before, after)
}

#[tokio::test]
async fn words_of_a_server_lead_back_to_it_through_every_split() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let app = TestApp::start(&v1, &v2, "50:50", "affinity = { list_lease = \"0s\" }").await;
    for key in 0..8 {
        let modern = Modern::new(&app, &format!("key-{key}"));
        let asked = modern.ask(json!({ "name": "ask" })).await;
        let begun = modern.ask(json!({ "name": "begin" })).await;
        let listed = modern.method("tools/list").ask(json!({})).await;
        let (state, task) = (&asked["result"]["requestState"], &begun["result"]["taskId"]);
        turn_away(&app, &modern).await;
        let retried = modern.ask(json!({ "name": "ask", "requestState": state, "inputResponses": {} })).await;
        assert!(retried["error"].is_null(), "{retried}");
        let polled = modern.method("tasks/get").ask(json!({ "taskId": task })).await;
        assert!(polled["error"].is_null(), "{polled}");
        let page = modern.method("tools/list").ask(json!({ "cursor": listed["result"]["nextCursor"] })).await;
        assert_eq!(page["result"]["server"], listed["result"]["server"], "{page}");
        let stream = modern.method("subscriptions/listen").send(json!({ "notifications": { "taskIds": [task] } })).await;
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
    }
}

#[tokio::test]
async fn a_task_is_found_by_another_client_and_by_its_header_alone() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let app = TestApp::start(&v1, &v2, "50:50", "traffic = { peek_limit = \"1KiB\" }").await;
    let modern = Modern::new(&app, "one");
    let task = modern.ask(json!({ "name": "begin" })).await["result"]["taskId"].clone();
    turn_away(&app, &modern).await;
    let padding = "x".repeat(2_000);
    let polled = Modern::new(&app, "two").method("tasks/get").ask(json!({ "taskId": task, "padding": padding })).await;
    assert!(polled["error"].is_null(), "{polled}");
}

#[tokio::test]
async fn a_stream_for_several_tasks_finds_the_one_that_is_known() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let modern = Modern::new(&app, "key");
    let task = modern.ask(json!({ "name": "begin" })).await["result"]["taskId"].clone();
    app.admin.split("0:100").await;
    let tasks = json!({ "notifications": { "taskIds": ["v1-task-forgotten", task] } });
    let response = modern.method("subscriptions/listen").send(tasks).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream", "the server of the second one was not asked");
}

#[tokio::test]
async fn only_lists_have_cursors() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let app = TestApp::start(&v1, &v2, "50:50", "").await;
    let cursors = async || {
        let metrics = reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap();
        let line = metrics.lines().find(|line| line.starts_with("dualgate_pins{service=\"notes\",kind=\"cursor\"}")).unwrap();
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    for key in 0..8 {
        Modern::new(&app, &format!("key-{key}")).ask(json!({ "name": "pretend" })).await;
    }
    assert_eq!(cursors().await, 0.0);
    Modern::new(&app, "key-0").method("tools/list").ask(json!({})).await;
    assert_eq!(cursors().await, 1.0);
}

#[tokio::test]
async fn the_same_cursor_of_two_clients_leads_each_to_its_own_server() {
    let (v1, v2) = (Fake::start("v-", DUAL).await, Fake::start("v-", DUAL).await);
    let app = TestApp::start(&v1, &v2, "50:50", "affinity = { list_lease = \"0s\" }").await;
    for key in 0..8 {
        let modern = Modern::new(&app, &format!("key-{key}")).method("tools/list");
        let seen = |fake: &Fake| fake.seen().len();
        let before = (seen(&v1), seen(&v2));
        let cursor = modern.ask(json!({})).await["result"]["nextCursor"].clone();
        modern.ask(json!({ "cursor": cursor })).await;
        let came = (seen(&v1) - before.0, seen(&v2) - before.1);
        assert!(came == (2, 0) || came == (0, 2), "{came:?}");
    }
}

#[tokio::test]
async fn what_was_just_listed_can_be_called_across_a_change_of_split_but_not_after_a_rollback() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let app = TestApp::start(&v1, &v2, "50:50", "affinity = { list_lease = \"1h\" }").await;
    let modern = Modern::new(&app, "key");
    let listed = modern.method("tools/list").ask(json!({})).await;
    let tool = listed["result"]["tools"][0]["name"].as_str().unwrap().to_owned();
    let home = listed["result"]["server"].as_str().unwrap().to_owned();
    app.admin.split(if home == "v1" { "0:100" } else { "100:0" }).await;
    assert_eq!(modern.ask(json!({ "name": tool })).await["result"]["server"], home.as_str());
    assert_ne!(modern.method("prompts/list").ask(json!({})).await["result"]["server"], home.as_str(), "what lists, moves");

    app.admin.split("0:100").await;
    let listed = modern.method("tools/list").ask(json!({})).await;
    assert_eq!(listed["result"]["server"], "v2");
    app.admin.send("POST", "/v1/services/notes/rollback", None).await;
    assert_eq!(modern.ask(json!({ "name": "echo" })).await["result"]["server"], "v1", "nobody stays on what was rolled back");
}

#[tokio::test]
async fn pins_survive_a_restart() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let folder = Folder::new();
    let file = || TestApp::file(folder.path(), &[&v1], &[&v2], "50:50", "");
    let app = TestApp::from_text(file()).await;
    let modern = Modern::new(&app, "key");
    let state = modern.ask(json!({ "name": "ask" })).await["result"]["requestState"].clone();
    turn_away(&app, &modern).await;
    app.stop();
    app.stopped().await;
    let app = TestApp::from_text(file()).await;
    let retried = Modern::new(&app, "key").ask(json!({ "name": "ask", "requestState": state })).await;
    assert!(retried["error"].is_null(), "{retried}");
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_is_shown_and_made_good_when_the_disk_is_well() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let folder = Folder::new();
    let file = || TestApp::file(folder.path(), &[&v1], &[&v2], "50:50", "");
    // In the journal's place, what no file can be written over.
    let in_the_way = folder.path().join("pins/notes/x");
    std::fs::create_dir_all(&in_the_way).unwrap();
    let app = TestApp::from_text(file()).await;
    let trouble = async || {
        let metrics = reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap();
        let durable = metrics.lines().find_map(|line| line.strip_prefix("dualgate_pins_durable{service=\"notes\"} ")).unwrap();
        let warned = app.admin.service().await["warnings"].to_string().contains("not journalled");
        (durable.parse::<f64>().unwrap(), warned)
    };
    assert_eq!(trouble().await, (1.0, false));
    let modern = Modern::new(&app, "key");
    let state = modern.ask(json!({ "name": "ask" })).await["result"]["requestState"].clone();
    eventually("it is shown", async || (trouble().await == (0.0, true)).then_some(())).await;
    std::fs::remove_dir_all(in_the_way.parent().unwrap()).unwrap();
    eventually("it is over", async || (trouble().await == (1.0, false)).then_some(())).await;
    turn_away(&app, &modern).await;
    app.stop();
    app.stopped().await;
    let app = TestApp::from_text(file()).await;
    let retried = Modern::new(&app, "key").ask(json!({ "name": "ask", "requestState": state })).await;
    assert!(retried["error"].is_null(), "what could not be written first is there: {retried}");
}

#[tokio::test]
async fn what_a_stop_finds_in_memory_is_journalled_however_the_disk_was() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let folder = Folder::new();
    let file = || TestApp::file(folder.path(), &[&v1], &[&v2], "50:50", "");
    let in_the_way = folder.path().join("pins/notes/x");
    std::fs::create_dir_all(&in_the_way).unwrap();
    let app = TestApp::from_text(file()).await;
    let modern = Modern::new(&app, "key");
    let state = modern.ask(json!({ "name": "ask" })).await["result"]["requestState"].clone();
    turn_away(&app, &modern).await;
    eventually("it has failed", async || {
        app.admin.service().await["warnings"].to_string().contains("not journalled").then_some(())
    })
    .await;
    // Well again, while nobody is due to try.
    std::fs::remove_dir_all(in_the_way.parent().unwrap()).unwrap();
    app.stop();
    app.stopped().await;
    let app = TestApp::from_text(file()).await;
    let retried = Modern::new(&app, "key").ask(json!({ "name": "ask", "requestState": state })).await;
    assert!(retried["error"].is_null(), "{retried}");
}

#[tokio::test]
async fn a_word_of_a_version_that_was_replaced_leads_to_it_while_it_is_there_then_fails_once_and_goes_nowhere_else() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let v3 = Fake::start("v3", DUAL).await;
    let health = "health = { interval = \"100ms\", timeout = \"100ms\", fall = 1, rise = 1 }";
    let app = TestApp::start(&v1, &v2, "100:0", health).await;
    app.admin.split("0:100").await;
    let modern = Modern::new(&app, "key");
    let task = modern.ask(json!({ "name": "begin" })).await["result"]["taskId"].clone();
    app.admin.split("100:0").await;
    let poll = async || modern.method("tasks/get").ask(json!({ "taskId": task })).await;
    assert!(poll().await["error"].is_null());
    let body = json!({ "version": "3.0", "endpoints": [v3.url()] });
    assert_eq!(app.admin.send("PUT", "/v1/services/notes/entries/secondary", Some(body)).await.0, 200);
    assert_eq!(poll().await["result"]["server"], "v2", "it is kept for those who are bound to it");
    v2.kill();
    let endpoints = async || app.admin.service().await["entries"]["secondary"]["endpoints"].as_array().unwrap().len();
    eventually("it is let go", async || (endpoints().await == 1).then_some(())).await;
    let before = v1.seen().len();
    let polled = poll().await;
    assert_eq!((&polled["id"], &polled["error"]["code"]), (&json!(7), &json!(-32603)), "{polled}");
    assert!(polled["error"]["message"].as_str().unwrap().contains("is gone"), "{polled}");
    assert_eq!((v1.seen().len(), v3.seen().len()), (before, 0), "nobody else is asked about it");
    // Once: then it is forgotten, and the server of its client says what it makes of it.
    let polled = poll().await;
    assert_eq!(polled["error"]["code"], -32602, "{polled}");
    assert_eq!(v1.last().headers["mcp-method"], "tasks/get");
}

#[tokio::test]
async fn modern_is_offered_only_where_both_entries_serve_it() {
    for (primary, secondary, offered, era) in [
        (LEGACY, DUAL, false, json!("legacy")),
        (DUAL, LEGACY, false, json!("legacy")),
        (DUAL, MODERN, true, json!("modern")),
        (DUAL, DUAL, true, json!("dual")),
        (LEGACY, MODERN, false, Value::Null),
    ] {
        let (v1, v2) = pair(primary, secondary).await;
        let app = TestApp::start(&v1, &v2, "50:50", "").await;
        for key in 0..6 {
            let modern = Modern::new(&app, &format!("key-{key}")).method("server/discover");
            let response = modern.send(json!({})).await;
            assert_eq!(response.status() == 200, offered, "{primary:?} {secondary:?}");
            if !offered {
                assert_eq!(response.status(), 400);
                let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
                assert_eq!(answer["error"]["code"], -32603, "no code by which a client would stay modern: {answer}");
            }
        }
        assert_eq!(app.admin.service().await["era"], era, "{primary:?} {secondary:?}");
    }
}

#[tokio::test]
async fn legacy_clients_of_a_pair_that_is_half_modern_all_reach_the_half_that_speaks_to_them() {
    let (v1, v2) = pair(DUAL, MODERN).await;
    let app = TestApp::start(&v1, &v2, "0:100", "").await;
    for _ in 0..6 {
        assert_eq!(Client::new(&app).open().await.who().await, "v1");
    }
    assert_eq!(Modern::new(&app, "key").who().await, "v2", "the split counts where both speak");
}

#[tokio::test]
async fn the_era_is_learnt_anew_when_another_version_takes_the_address_over() {
    let (v1, v2) = pair(DUAL, LEGACY).await;
    let health = "health = { interval = \"200ms\", timeout = \"200ms\", fall = 1, rise = 1 }";
    let app = TestApp::start(&v1, &v2, "50:50", health).await;
    assert_eq!(app.admin.service().await["era"], "legacy");
    v2.kill();
    eventually("it is down", async || (app.admin.service().await["entries"]["secondary"]["standing"] == "down").then_some(()))
        .await;
    let _v2 = v2.restart_as(DUAL).await;
    eventually("both are dual", async || (app.admin.service().await["era"] == "dual").then_some(())).await;
}

#[tokio::test]
async fn a_modern_client_that_leaves_is_felt_at_once() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let modern = Modern::new(&app, "key");
    let response = modern.send(json!({ "name": "half" })).await;
    assert_eq!(v1.gone(), 0);
    drop(response);
    eventually("the server feels it", async || (v1.gone() == 1).then_some(())).await;
}

#[tokio::test]
async fn a_subscription_is_no_call_and_ends_without_a_result_when_the_proxy_stops() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let mut stream = Modern::new(&app, "key").method("subscriptions/listen").send(json!({ "notifications": {} })).await;
    let ack = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\"}\n\n";
    v1.say(ack.as_bytes());
    assert_eq!(stream.chunk().await.unwrap().unwrap(), ack);
    let service = app.admin.service().await;
    assert_eq!(service["entries"]["primary"]["streams"], json!({ "listen": 1, "call": 0 }));
    app.stop();
    let rest = stream.chunk().await;
    assert_eq!(rest.unwrap(), None, "a clean end, and no error for its id");
    app.stopped().await;
}

#[tokio::test]
async fn a_subscription_counts_once_and_is_nobodys_fault_when_its_client_leaves() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let stream = Modern::new(&app, "key").method("subscriptions/listen").send(json!({ "notifications": {} })).await;
    drop(stream);
    let requests = eventually("it is counted", async || {
        let requests = app.admin.service().await["entries"]["primary"]["requests"].clone();
        (requests["ok"] == 1).then_some(requests)
    })
    .await;
    assert_eq!(requests["client_fault"], 0);
}

#[tokio::test]
async fn a_modern_request_that_nobody_can_serve_gets_a_proper_status() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let health = "health = { interval = \"200ms\", timeout = \"200ms\", fall = 1 }";
    let app = TestApp::start(&v1, &v2, "50:50", health).await;
    v1.kill();
    v2.kill();
    eventually("both are down", async || {
        let entries = app.admin.service().await["entries"].clone();
        (entries["primary"]["standing"] == "down" && entries["secondary"]["standing"] == "down").then_some(())
    })
    .await;
    let response = Modern::new(&app, "key").send(json!({ "name": "echo" })).await;
    assert!(matches!(response.status().as_u16(), 502 | 503), "{}", response.status());
    let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(7), &json!(-32603)));
}

#[tokio::test]
async fn modern_answers_are_booked_by_tool_also_where_nobody_has_read_the_body() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let app = TestApp::start(&v1, &v2, "100:0", "traffic = { peek_limit = \"1KiB\" }").await;
    let modern = Modern::new(&app, "key");
    modern.ask(json!({ "name": "ask" })).await;
    modern.ask(json!({ "name": "fail", "padding": "x".repeat(2_000) })).await;
    let metrics = reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap();
    for line in [
        "mcp_tool_calls_total{service=\"notes\",entry=\"primary\",tool_name=\"ask\",outcome=\"ok\"} 1",
        "mcp_tool_calls_total{service=\"notes\",entry=\"primary\",tool_name=\"fail\",outcome=\"tool_error\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn a_request_without_a_length_is_read_only_while_its_words_are_known() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let app = TestApp::start(&v1, &v2, "50:50", "").await;
    let modern = Modern::new(&app, "key");
    let chunked = async |params: Value| {
        let message = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params }).to_string();
        let (sender, body) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(1);
        sender.send(Ok(message)).await.unwrap();
        drop(sender);
        let body = reqwest::Body::wrap(http_body_util::StreamBody::new(futures::stream::unfold(body, async |mut body| {
            let next = body.recv().await?;
            Some((next.map(|text| hyper::body::Frame::data(bytes::Bytes::from(text))), body))
        })));
        let request = modern.client.with("mcp-method", "tools/call").with("mcp-name", "ask").request("POST");
        let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
        serde_json::from_slice::<Value>(&answer.bytes().await.unwrap()).unwrap()
    };
    let asked = chunked(json!({ "name": "ask" })).await;
    turn_away(&app, &modern).await;
    let retried = chunked(json!({ "name": "ask", "requestState": asked["result"]["requestState"] })).await;
    assert!(retried["error"].is_null(), "{retried}");
}

#[tokio::test]
async fn a_task_whose_endpoint_is_away_for_a_moment_is_not_said_to_be_unknown() {
    let (v1, v2) = pair(DUAL, DUAL).await;
    let app = TestApp::start(&v1, &v2, "50:50", "").await;
    let modern = Modern::new(&app, "key");
    let task = modern.ask(json!({ "name": "begin" })).await["result"]["taskId"].clone();
    let (home, _) = turn_away(&app, &modern).await;
    let holder = if home == "v1" { &v1 } else { &v2 };
    holder.kill();
    let response = modern.method("tasks/get").send(json!({ "taskId": task })).await;
    assert!(response.status().is_server_error(), "{}", response.status());
    let _back = holder.restart().await;
    let polled = tokio::time::timeout(Duration::from_secs(10), modern.method("tasks/get").ask(json!({ "taskId": task }))).await;
    assert!(polled.unwrap()["error"].is_null());
}
