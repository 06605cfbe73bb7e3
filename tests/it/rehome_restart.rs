//! Sessions outlive the proxy, too: with what is more to them than their ids say, and without their credentials.

use std::path::{Path, PathBuf};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::moves::{dual_pair as pair, kill, messages};
use crate::support::{Client, Fake, Folder, Port, Process, Session, TestApp, call, eventually, initialize};

/// A proxy as a process, which comes back where its clients look for it.
struct Proxy {
    folder: Folder,
    port: Port,
    process: Option<Process>,
}

impl Proxy {
    async fn start(v1: &Fake, v2: &Fake) -> Self {
        let folder = Folder::new();
        let port = Port::any();
        let text = TestApp::file(&folder.path().join("state"), &[v1], &[v2], "100:0", "");
        let text = text.replacen("127.0.0.1:0", &port.address.to_string(), 1);
        std::fs::write(folder.path().join("dualgate.toml"), text).unwrap();
        let mut proxy = Self { folder, port, process: None };
        proxy.go_on().await;
        proxy
    }

    /// Kill -9, and the next one.
    async fn go_on(&mut self) {
        self.process.take().into_iter().for_each(Process::kill);
        let config = self.folder.path().join("dualgate.toml");
        self.process = Some(Process::start(&["run", "--config", config.to_str().unwrap()]));
        eventually("it serves", async || tokio::net::TcpStream::connect(self.port.address).await.ok()).await;
    }

    fn client(&self) -> Client {
        Client::at(&format!("http://{}/mcp", self.port.address))
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }
}

/// Waits until the journal of sessions has this.
async fn journalled(state: &Path, text: &str) {
    let path = state.join("sessions/notes");
    eventually(text, async || has(&std::fs::read(&path).ok()?, text).then_some(())).await;
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The id of the session that a server was last asked in.
fn upstream_id(server: &Fake) -> String {
    let mut ids = server.seen().into_iter().filter_map(|seen| seen.headers.get("mcp-session-id").cloned());
    ids.next_back().unwrap().to_str().unwrap().to_owned()
}

async fn ask(session: &Session, method: &str, params: Value) {
    let answer = session.post(&json!({ "jsonrpc": "2.0", "id": 5, "method": method, "params": params })).await;
    assert_eq!(answer.status(), StatusCode::OK, "{method}");
    answer.bytes().await.unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn after_kill_9_a_moved_session_goes_on_where_it_lives_and_is_known_as_before_and_no_credential_was_written() {
    let (v1, v2) = pair().await;
    let mut proxy = Proxy::start(&v1, &v2).await;
    let client = proxy.client().with("authorization", "Bearer sesame-1").with("cookie", "crumb=sesame-2");
    let client = client.with("x-api-key", "sesame-3").with("api-key", "sesame-4").with("x-mine", "sesame-5");
    let session = client.open().await;
    session.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    ask(&session, "logging/setLevel", json!({ "level": "error" })).await;
    ask(&session, "resources/subscribe", json!({ "uri": "a:1" })).await;
    ask(&session, "resources/subscribe", json!({ "uri": "a:2" })).await;
    kill(&v1).await;
    assert_eq!(session.who().await, "v2");
    ask(&session, "resources/unsubscribe", json!({ "uri": "a:1" })).await;
    ask(&session, "resources/subscribe", json!({ "uri": "a:3" })).await;
    journalled(&proxy.state(), "a:3").await;
    let lives = upstream_id(&v2);
    proxy.go_on().await;
    assert_eq!(session.who().await, "v2");
    assert_eq!(upstream_id(&v2), lives);
    assert_eq!(messages(&v2, "initialize").len(), 1, "it was moved once");
    let v1 = v1.restart().await;
    kill(&v2).await;
    assert_eq!(session.who().await, "v1");
    let said = |method: &str, key: &str| -> Vec<Value> {
        messages(&v1, method).into_iter().map(|message| message["params"][key].clone()).collect()
    };
    assert_eq!(said("initialize", "protocolVersion"), ["2025-06-18"]);
    assert_eq!(messages(&v1, "notifications/initialized").len(), 1);
    assert_eq!(said("logging/setLevel", "level"), ["error"]);
    assert_eq!(said("resources/subscribe", "uri"), ["a:2", "a:3"]);
    journalled(&proxy.state(), &upstream_id(&v1)).await;
    let files = files(&proxy.state());
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        assert!(!has(&std::fs::read(&file).unwrap(), "sesame"), "{}", file.display());
    }
}

#[tokio::test]
async fn a_session_whose_id_has_no_room_for_how_it_was_opened_is_opened_again_after_kill_9() {
    let (v1, v2) = pair().await;
    let mut proxy = Proxy::start(&v1, &v2).await;
    let client = proxy.client();
    let mut opening = initialize();
    opening["params"]["clientInfo"]["title"] = "t".repeat(2 << 10).into();
    let answer = client.post(&opening).await;
    let session = client.bind(answer.headers()["mcp-session-id"].to_str().unwrap());
    answer.bytes().await.unwrap();
    journalled(&proxy.state(), "tttttttttt").await;
    proxy.go_on().await;
    kill(&v1).await;
    assert_eq!(session.who().await, "v2");
    assert_eq!(messages(&v2, "initialize")[0]["params"], opening["params"]);
}

#[tokio::test]
async fn what_an_earlier_process_was_asked_and_told_is_not_taken_for_this_ones() {
    let (v1, v2) = pair().await;
    let mut proxy = Proxy::start(&v1, &v2).await;
    let session = proxy.client().open().await;
    kill(&v1).await;
    assert_eq!(session.who().await, "v2");
    journalled(&proxy.state(), &upstream_id(&v2)).await;
    proxy.go_on().await;
    let late = json!({ "jsonrpc": "2.0", "id": 0, "result": { "late": true } });
    assert_eq!(session.post(&late).await.status(), StatusCode::ACCEPTED);
    let tagged = json!({ "jsonrpc": "2.0", "id": "r77n.0", "result": { "late": true } });
    assert_eq!(session.post(&tagged).await.status(), StatusCode::ACCEPTED);
    let listening = session.client.with("mcp-session-id", &session.id).with("last-event-id", "7").request("GET");
    let mut stream = listening.send().await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    v2.say(b"data: {\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"ping\"}\n\n");
    let mut read = String::new();
    while !read.contains("ping") {
        read += std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap();
    }
    let event = read.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let asked: Value = serde_json::from_str(event).unwrap();
    let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "late": false } });
    assert_eq!(session.post(&answer).await.status(), StatusCode::ACCEPTED);
    let seen = v2.seen();
    let answers: Vec<Value> = seen.iter().filter_map(|seen| serde_json::from_slice(&seen.body).ok()).collect();
    let answers: Vec<&Value> = answers.iter().filter(|message: &&Value| message["result"].is_object()).collect();
    assert_eq!(answers, [&json!({ "jsonrpc": "2.0", "id": 0, "result": { "late": false } })]);
    let listened = seen.iter().find(|seen| seen.method == "GET" && seen.headers.contains_key("mcp-session-id")).unwrap();
    assert!(!listened.headers.contains_key("last-event-id"), "another server's event");
    assert_eq!(messages(&v2, "initialize").len(), 1, "it was moved once");
}

#[tokio::test]
async fn a_session_that_was_ended_does_not_come_back_to_life_after_a_restart() {
    let (v1, v2) = pair().await;
    let folder = Folder::new();
    let text = TestApp::file(folder.path(), &[&v1], &[&v2], "100:0", "");
    let app = TestApp::from_text(text.clone()).await;
    let (ended, lives) = (Client::new(&app).open().await, Client::new(&app).open().await);
    assert_eq!(ended.delete().await.status(), StatusCode::OK);
    // At once: what waits to be written is written at the end.
    app.stop();
    app.stopped().await;
    kill(&v1).await;
    let v1 = v1.restart().await;
    let app = TestApp::from_text(text).await;
    let ended = Client::new(&app).bind(&ended.id);
    assert_eq!(ended.post(&call(1, "echo")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(messages(&v1, "initialize").len(), 0);
    assert_eq!(Client::new(&app).bind(&lives.id).who().await, "v1", "it was only lost");
}

#[tokio::test]
async fn a_disk_that_refuses_holds_up_nobody_and_is_tried_again() {
    let (v1, v2) = pair().await;
    let folder = Folder::new();
    let journal = folder.path().join("sessions/notes");
    std::fs::create_dir_all(&journal).unwrap();
    let app = TestApp::from_text(TestApp::file(folder.path(), &[&v1], &[&v2], "100:0", "")).await;
    let session = Client::new(&app).open().await;
    kill(&v1).await;
    assert_eq!(session.who().await, "v2");
    // The first try was in vain, and it is not taken for written.
    tokio::time::timeout(std::time::Duration::from_millis(900), std::future::pending::<()>()).await.unwrap_err();
    std::fs::remove_dir(&journal).unwrap();
    journalled(folder.path(), &upstream_id(&v2)).await;
    assert_eq!(session.who().await, "v2");
}
