use serde_json::{Value, json};

use crate::support::{Client, Fake, Options, TestApp, call, eventually, initialize};

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

#[tokio::test]
async fn the_client_sees_a_sealed_id_and_the_server_its_own() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    assert!(!session.id.contains("v1-session") && session.id.bytes().all(|byte| byte.is_ascii_graphic()));
    let answer = session.post(&call(1, "echo")).await;
    assert_eq!(answer.headers()["mcp-session-id"].to_str().unwrap(), session.id, "on every response");
    assert!(v1.last().headers["mcp-session-id"].to_str().unwrap().starts_with("v1-session-"));
}

#[tokio::test]
async fn an_id_altered_in_any_character_is_404_and_reaches_no_server() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "50:50", "").await;
    let mut session = Client::new(&app).open().await;
    let before = (v1.seen().len(), v2.seen().len());
    let id = session.id.clone();
    for at in 0..id.len() {
        let other = if id.as_bytes()[at] == b'A' { "B" } else { "A" };
        session.id.replace_range(at..=at, other);
        let answer = session.post(&call(1, "echo")).await;
        assert_eq!(answer.status(), 404, "character {at}");
        assert!(answer.headers().get("mcp-session-id").is_none());
        session.id = id.clone();
    }
    for foreign in ["v1-session-0", "", "x", &"y".repeat(2000)] {
        session.id = foreign.to_owned();
        assert_eq!(session.post(&call(1, "echo")).await.status(), 404, "{foreign:?}");
        assert_eq!(session.listen().await.status(), 404);
        assert_eq!(session.delete().await.status(), 404);
    }
    assert_eq!((v1.seen().len(), v2.seen().len()), before);
}

#[tokio::test]
async fn two_session_ids_in_one_request_are_refused() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    let twice = session.client.with("mcp-session-id", &session.id).with("mcp-session-id", &session.id);
    assert_eq!(twice.post(&call(1, "echo")).await.status(), 400);
}

#[tokio::test]
async fn a_stale_id_on_initialize_is_dropped_and_a_new_session_born() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let old = Client::new(&app).open().await;
    for stale in [old.id.as_str(), "no-id-of-ours"] {
        let again = old.client.with("mcp-session-id", stale).with("mcp-protocol-version", "2025-06-18");
        let answer = again.post(&initialize()).await;
        assert_eq!(answer.status(), 200);
        assert_ne!(answer.headers()["mcp-session-id"].to_str().unwrap(), old.id);
    }
    assert!(v1.last().headers.get("mcp-session-id").is_none());
}

#[tokio::test]
async fn an_id_on_an_error_never_reaches_the_client() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    session.delete().await;
    let answer = session.post(&call(1, "echo")).await;
    assert_eq!(answer.status(), 404, "the server's own word");
    assert_eq!(answer.headers()["mcp-session-id"].to_str().unwrap(), session.id, "not `fresh-from-error`");
}

#[tokio::test]
async fn a_server_without_session_ids_still_keeps_its_clients() {
    let stateless = Options { sessions: false, ..Options::default() };
    let (v1, v2) = (Fake::start("v1", stateless).await, Fake::start("v2", stateless).await);
    let app = TestApp::start(&v1, &v2, "50:50", "").await;
    let mut homes = Vec::new();
    for _ in 0..10 {
        let session = Client::new(&app).open().await;
        let home = session.who().await;
        assert_eq!(session.who().await, home);
        homes.push(home);
    }
    assert_eq!(homes.iter().filter(|home| *home == "v1").count(), 5);
    assert!(v1.last().headers.get("mcp-session-id").is_none(), "it knows of no id");
}

#[tokio::test]
async fn every_replica_with_the_key_takes_every_session_and_agrees_on_every_client() {
    let (v1, v2) = pair().await;
    let folder = crate::support::Folder::new();
    let key = folder.path().join("seal.key");
    std::fs::write(&key, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n").unwrap();
    let text = |name: &str| {
        let state = folder.path().join(name);
        format!("seal = {{ key_files = ['{}'] }}\n{}", key.display(), TestApp::file(&state, &[&v1], &[&v2], "50:50", ""))
    };
    let (one, two) = (TestApp::from_text(text("one")).await, TestApp::from_text(text("two")).await);
    for _ in 0..10 {
        let mut session = Client::new(&one).open().await;
        let home = session.who().await;
        session.client = Client::new(&two);
        assert_eq!(session.who().await, home);
    }
    for key in 0..100 {
        let who = async |app| Client::new(app).with("x-api-key", &key.to_string()).who(&call(1, "echo")).await;
        assert_eq!(who(&one).await, who(&two).await, "client {key}");
    }
}

#[tokio::test]
async fn batches_notifications_and_answers_to_the_server_stay_with_the_session() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "50:50", "").await;
    for _ in 0..4 {
        let session = Client::new(&app).open().await;
        let home = session.who().await;
        for message in [
            json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
            json!({ "jsonrpc": "2.0", "id": 9, "result": {} }),
            json!([{ "jsonrpc": "2.0", "id": 1, "method": "ping" }, { "jsonrpc": "2.0", "id": 2, "method": "ping" }]),
        ] {
            session.post(&message).await;
            let server = if home == "v1" { &v1 } else { &v2 };
            assert_eq!(serde_json::from_slice::<Value>(&server.last().body).unwrap(), message, "byte for byte what was sent");
        }
    }
}

#[tokio::test]
async fn sessions_are_counted_by_entry_until_they_end() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "50:50", "").await;
    let mut sessions = Vec::new();
    for _ in 0..10 {
        sessions.push(Client::new(&app).open().await);
    }
    let count = async |entry: &str| app.admin.service().await["entries"][entry]["sessions"].as_u64().unwrap();
    assert_eq!((count("primary").await, count("secondary").await), (5, 5));
    for session in &sessions {
        session.delete().await;
    }
    eventually("all sessions have ended", async || (count("primary").await + count("secondary").await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_server_id_too_long_to_seal_fails_the_handshake_and_not_the_proxy() {
    let (v1, v2) = (Fake::start(&"v".repeat(900), Options::default()).await, Fake::start("v2", Options::default()).await);
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let answer = Client::new(&app).post(&initialize()).await;
    assert!(answer.headers().get("mcp-session-id").is_none());
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!((answer["id"].as_i64(), answer["error"]["code"].as_i64()), (Some(0), Some(-32603)));
}
