//! Eras learnt from trouble, and clients that must not be sent where nobody has been released.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Client, Fake, Folder, Options, Port, TestApp, call, eventually, initialize};

const LEGACY: Options = Options { sessions: true, modern: false, legacy: true };
const DUAL: Options = Options { sessions: true, modern: true, legacy: true };
const SICK: Options = Options { sessions: false, modern: false, legacy: false };
const FAST: &str = "health = { interval = \"200ms\", timeout = \"200ms\" }";

fn modern(app: &TestApp, key: &str) -> Client {
    Client::new(app).with("x-api-key", key).with("mcp-protocol-version", "2026-07-28")
}

async fn tool(client: &Client, params: Value) -> Value {
    let name = params["name"].as_str().unwrap().to_owned();
    let message = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params });
    let answer = client.with("mcp-method", "tools/call").with("mcp-name", &name).post(&message).await;
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default()
}

async fn is(app: &TestApp, entry: &str, standing: &str) {
    eventually(standing, async || (app.admin.service().await["entries"][entry]["standing"] == standing).then_some(())).await;
}

async fn rollback(app: &TestApp) {
    assert_eq!(app.admin.send("POST", "/v1/services/notes/rollback", None).await.0, 200);
}

#[tokio::test]
async fn nobody_is_born_on_a_condemned_entry_because_stable_refuses_its_checks() {
    let (v1, v2) = (Fake::start("v1", LEGACY).await, Fake::start("v2", LEGACY).await);
    let app = TestApp::start(&v1, &v2, "100:0", FAST).await;
    app.admin.split("50:50").await;
    rollback(&app).await;
    v1.kill();
    is(&app, "primary", "down").await;
    assert_eq!(Client::new(&app).post(&initialize()).await.status(), 503);
    let _v1 = v1.restart_as(SICK).await;
    eventually("its 400s were seen", async || {
        let check = &app.admin.service().await["entries"]["primary"]["endpoints"][0]["check"];
        check["detail"].as_str()?.contains("400").then_some(())
    })
    .await;
    Client::new(&app).post(&initialize()).await;
    assert_eq!(v2.births(), 0);
}

#[tokio::test]
async fn failover_that_is_switched_off_stays_off_and_zero_is_zero() {
    let (v1, v2) = (Fake::start("v1", LEGACY).await, Fake::start("v2", LEGACY).await);
    let more = format!("{FAST}\ntraffic = {{ failover = false }}");
    let app = TestApp::start(&v1, &v2, "100:0", &more).await;
    v1.kill();
    let _v1 = v1.restart_as(SICK).await;
    is(&app, "primary", "down").await;
    Client::new(&app).post(&initialize()).await;
    assert_eq!(v2.births(), 0, "a client is born at 0 %, with failover off");
}

#[tokio::test]
async fn no_modern_request_reaches_what_was_rolled_back() {
    let (v1, v2) = (Fake::start("v1", LEGACY).await, Fake::start("v2", DUAL).await);
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    app.admin.split("50:50").await;
    rollback(&app).await;
    let answer = tool(&modern(&app, "key"), json!({ "name": "echo" })).await;
    assert_ne!(answer["result"]["server"], "v2", "a new client on a condemned entry at 0 %");
}

#[tokio::test]
async fn a_modern_server_is_up_however_long_its_handshake_takes() {
    let server = raw(|body| {
        body.contains("server/discover").then(|| {
            json_answer(&json!({ "jsonrpc": "2.0", "id": "dualgate-health",
        "result": { "supportedVersions": ["2026-07-28"] } }))
        })
    })
    .await;
    let other = Fake::start("other", DUAL).await;
    let (app, _folder) = before(server, &other).await;
    eventually("its standing is known", async || {
        (app.admin.service().await["entries"]["primary"]["standing"] != "unknown").then_some(())
    })
    .await;
    assert_eq!(app.admin.service().await["entries"]["primary"]["standing"], "up");
}

#[tokio::test]
async fn an_internal_error_of_a_discovery_says_nothing_of_an_era() {
    let mode = Arc::new(AtomicU8::new(0));
    let seen = mode.clone();
    let server = raw(move |body| {
        let answer = |result: Value| Some(json_answer(&result));
        match (seen.load(Ordering::SeqCst), body.contains("server/discover"), body.contains("dualgate-health")) {
            // A check fails: the connection is closed, and the next one is in trouble.
            (1, _, true) => {
                seen.store(2, Ordering::SeqCst);
                None
            }
            (2, true, true) => {
                answer(json!({ "jsonrpc": "2.0", "id": "dualgate-health", "error": { "code": -32603, "message": "database" } }))
            }
            (_, true, true) => {
                answer(json!({ "jsonrpc": "2.0", "id": "dualgate-health", "result": { "supportedVersions": ["2026-07-28"] } }))
            }
            (_, false, true) => {
                answer(json!({ "jsonrpc": "2.0", "id": "dualgate-health", "result": { "serverInfo": { "name": "raw" } } }))
            }
            _ => answer(json!({ "jsonrpc": "2.0", "id": 7, "result": { "server": "raw" } })),
        }
    })
    .await;
    let other = Fake::start("other", DUAL).await;
    let (app, _folder) = before(server, &other).await;
    assert_eq!(app.admin.service().await["era"], "dual");
    mode.store(1, Ordering::SeqCst);
    eventually("two checks have passed", async || (mode.load(Ordering::SeqCst) == 2).then_some(())).await;
    eventually("it passes again", async || {
        let primary = app.admin.service().await["entries"]["primary"].clone();
        (primary["endpoints"][0]["check"]["success"] == true).then_some(())
    })
    .await;
    let standing = app.admin.service().await["entries"]["primary"]["standing"].clone();
    let answer = tool(&modern(&app, "key"), json!({ "name": "echo" })).await;
    assert_eq!((standing, &answer["result"]["server"]), (json!("up"), &json!("raw")));
}

#[tokio::test]
async fn a_page_may_read_what_the_proxy_says_itself() {
    let (v1, v2) = (Fake::start("v1", LEGACY).await, Fake::start("v2", DUAL).await);
    let app = TestApp::start(&v1, &v2, "50:50", "").await;
    let discover = json!({ "jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {} });
    let client = modern(&app, "key").with("mcp-method", "server/discover");
    let response = client.with("origin", "http://localhost:5173").post(&discover).await;
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["access-control-allow-origin"], "http://localhost:5173");
    let refused = client.with("origin", "http://evil.example").post(&discover).await;
    assert_eq!(refused.status(), 403);
    assert!(!refused.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn what_was_served_is_taken_back_by_two_checks_and_not_by_one() {
    let said = Arc::new(AtomicU8::new(0));
    let (seen, counted) = (said.clone(), Arc::new(AtomicU8::new(0)));
    let learnt = counted.clone();
    let server = raw(move |body| {
        let result = |result: Value| Some(json_answer(&json!({ "jsonrpc": "2.0", "id": "dualgate-health", "result": result })));
        match (body.contains("server/discover"), seen.load(Ordering::SeqCst)) {
            (true, 0) => result(json!({ "supportedVersions": ["2026-07-28"] })),
            (true, _) => {
                counted.fetch_add(1, Ordering::SeqCst);
                Some("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned())
            }
            (false, _) => result(json!({ "serverInfo": { "name": "raw" } })),
        }
    })
    .await;
    let other = Fake::start("other", DUAL).await;
    let (app, _folder) = before(server, &other).await;
    assert_eq!(app.admin.service().await["era"], "dual");
    said.store(1, Ordering::SeqCst);
    eventually("it is legacy now", async || (app.admin.service().await["era"] == "legacy").then_some(())).await;
    assert!(learnt.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
async fn a_list_of_a_version_that_is_replaced_meanwhile_leads_nowhere() {
    let (v1, v2, v3) = (Fake::start("v1", DUAL).await, Fake::start("v2", DUAL).await, Fake::start("v3", DUAL).await);
    let app = TestApp::start(&v1, &v2, "100:0", "affinity = { list_lease = \"1h\" }").await;
    app.admin.split("0:100").await;
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} });
    modern(&app, "key").with("mcp-method", "tools/list").post(&list).await.bytes().await.unwrap();
    app.admin.split("100:0").await;
    let body = call(7, "echo").to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nx-api-key: key\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: echo\r\n\
         content-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut socket = TcpStream::connect(app.address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&body.as_bytes()[..10]).await.unwrap();
    // It is in before the deploy: a request in flight has its permit.
    eventually("it is in", async || (connections(&app).await > 0).then_some(())).await;
    let deploy = json!({ "version": "3.0", "endpoints": [v3.url()] });
    assert_eq!(app.admin.send("PUT", "/v1/services/notes/entries/secondary", Some(deploy)).await.0, 200);
    is(&app, "secondary", "up").await;
    socket.write_all(&body.as_bytes()[10..]).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\"server\":\"v1\""), "{}", answer.lines().last().unwrap_or_default());
}

#[tokio::test]
async fn a_deploy_that_is_not_up_yet_offers_no_era() {
    let (v1, v2) = (Fake::start("v1", DUAL).await, Fake::start("v2", LEGACY).await);
    let app = TestApp::start(&v1, &v2, "100:0", FAST).await;
    let discover = async || {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {} });
        modern(&app, "key").with("mcp-method", "server/discover").post(&message).await.status().as_u16()
    };
    assert_eq!(discover().await, 400);
    let nobody = Port::any();
    let deploy = json!({ "version": "3.0", "endpoints": [format!("http://{}", nobody.address)] });
    assert_eq!(app.admin.send("PUT", "/v1/services/notes/entries/secondary", Some(deploy)).await.0, 200);
    assert_eq!(discover().await, 400, "offered on the strength of a server that nobody has seen");
}

#[tokio::test]
async fn a_server_that_serves_no_modern_version_is_not_modern() {
    let server = raw(|body| {
        Some(json_answer(&if body.contains("server/discover") {
            json!({ "jsonrpc": "2.0", "id": "dualgate-health", "result": { "supportedVersions": ["2025-11-25"] } })
        } else {
            json!({ "jsonrpc": "2.0", "id": "dualgate-health", "result": { "serverInfo": { "name": "raw" } } })
        }))
    })
    .await;
    let other = Fake::start("other", DUAL).await;
    let (app, _folder) = before(server, &other).await;
    assert_eq!(app.admin.service().await["era"], "legacy");
}

/// Both were dual; then one of them went back to a version that is not.
#[tokio::test]
async fn a_client_that_was_shown_the_modern_era_stays_with_it() {
    let (v1, v2) = (Fake::start("v1", DUAL).await, Fake::start("v2", DUAL).await);
    let app = TestApp::start(&v1, &v2, "50:50", FAST).await;
    let mut clients = Vec::new();
    for key in 0..8 {
        let client = modern(&app, &format!("key-{key}"));
        assert!(tool(&client, json!({ "name": "echo" })).await["error"].is_null());
        clients.push(client);
    }
    v1.kill();
    is(&app, "primary", "down").await;
    let v1 = v1.restart_as(LEGACY).await;
    eventually("its era is seen", async || (app.admin.service().await["era"] == "legacy").then_some(())).await;
    for client in &clients {
        assert_eq!(tool(client, json!({ "name": "echo" })).await["result"]["server"], "v2");
    }
    for _ in 0..4 {
        Client::new(&app).open().await;
    }
    assert_eq!((v1.births(), v2.births()), (2, 2), "new clients follow the split");
}

#[tokio::test]
async fn a_rollout_that_would_strand_legacy_clients_is_refused_with_their_count_unless_forced() {
    let modern_only = Options { sessions: false, modern: true, legacy: false };
    let (v1, v2) = (Fake::start("v1", DUAL).await, Fake::start("v2", modern_only).await);
    let app = TestApp::start(&v1, &v2, "100:0", FAST).await;
    is(&app, "secondary", "up").await;
    let start =
        async |query: &str, body: Value| app.admin.send("POST", &format!("/v1/services/notes/rollout{query}"), Some(body)).await;
    // Nobody is there yet.
    assert_eq!(start("?dry_run=true", json!({ "steps": "10:1h,100" })).await.0, 200);
    let sessions = [Client::new(&app).open().await, Client::new(&app).open().await];
    let (status, problem) = start("", json!({ "steps": "10:1h,100" })).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:dualgate:problem:strands-legacy")), "{problem}");
    let words = "2 legacy sessions on primary would be stranded on 2.0, which serves only 2026-07-28";
    assert_eq!(problem["detail"], words);
    assert!(problem["hint"].as_str().unwrap().contains("serves both eras"), "{problem}");
    assert_eq!(app.admin.service().await["split"]["target"]["secondary"], 0.0);
    // Sessions that have ended leave their requests behind, for a day.
    for session in &sessions {
        session.delete().await;
    }
    let (status, problem) = start("", json!({ "steps": "10:1h,100" })).await;
    assert!(status == 409 && problem["detail"].as_str().unwrap().contains(" requests in the last 24 h) would be"), "{problem}");

    // By hand it is done, and the operator is told.
    let changed = app.admin.split("90:10").await;
    assert!(changed["warnings"][0].as_str().unwrap().contains("would be stranded on 2.0"), "{changed}");
    let back = app.admin.split("100:0").await;
    assert_eq!(back["warnings"], json!([]));
    let forced = json!({ "steps": "10:1h,100", "force": true, "reason": "they know" });
    let (status, answer) = start("", forced).await;
    assert_eq!(status, 200, "{answer}");
    // Where both speak the legacy era, nobody is left behind.
    assert_eq!(Client::new(&app).open().await.who().await, "v1");
}

#[tokio::test]
async fn modern_clients_are_stranded_by_nobody() {
    let modern_only = Options { sessions: false, modern: true, legacy: false };
    let (v1, v2) = (Fake::start("v1", DUAL).await, Fake::start("v2", modern_only).await);
    let app = TestApp::start(&v1, &v2, "100:0", FAST).await;
    is(&app, "secondary", "up").await;
    for key in 0..4 {
        tool(&modern(&app, &format!("key-{key}")), json!({ "name": "echo" })).await;
    }
    let (status, answer) = app.admin.send("POST", "/v1/services/notes/rollout", Some(json!({ "steps": "10:1h,100" }))).await;
    assert_eq!(status, 200, "{answer}");
}

/// Client connections that are open.
async fn connections(app: &TestApp) -> usize {
    let page = reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap();
    let figures = page.lines().filter(|line| line.starts_with("dualgate_client_connections{"));
    figures.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as usize
}

/// A proxy with such a server for its primary.
async fn before(server: std::net::SocketAddr, other: &Fake) -> (TestApp, Folder) {
    let folder = Folder::new();
    let text = TestApp::file(folder.path(), &[], &[other], "100:0", FAST);
    let text = text.replacen("endpoints = []", &format!("endpoints = [\"http://{server}\"]"), 1);
    (TestApp::from_text(text).await, folder)
}

fn json_answer(message: &Value) -> String {
    let body = message.to_string();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// A server that answers once per connection; where it has no answer, it keeps the connection and says nothing,
/// but for an empty one, which closes it.
async fn raw(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut text = Vec::new();
                let mut buffer = [0; 4096];
                loop {
                    let read = socket.read(&mut buffer).await.unwrap_or(0);
                    if read == 0 {
                        return;
                    }
                    text.extend_from_slice(&buffer[..read]);
                    let all = String::from_utf8_lossy(&text).into_owned();
                    let Some((head, body)) = all.split_once("\r\n\r\n") else { continue };
                    let length =
                        head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
                    if body.len() < length.unwrap_or(0) {
                        continue;
                    }
                    match answer(body) {
                        Some(text) => {
                            let _ = socket.write_all(text.as_bytes()).await;
                            let _ = socket.shutdown().await;
                            return;
                        }
                        None => std::future::pending().await,
                    }
                }
            });
        }
    });
    address
}
