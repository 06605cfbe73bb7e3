//! Another configuration for a process that runs: whole or not at all, and nobody loses anything.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::{Client, Fake, Folder, Options, TestApp, WAITS, call, eventually};

struct Gate {
    app: TestApp,
    path: PathBuf,
    folder: Folder,
    v1: Fake,
    v2: Fake,
}

impl Gate {
    async fn start(split: &str, more: &str) -> Self {
        let (v1, v2) = (fake("v1").await, fake("v2").await);
        let folder = Folder::new();
        let path = folder.path().join("dualgate.toml");
        std::fs::write(&path, TestApp::file(&folder.path().join("state"), &[&v1], &[&v2], split, more)).unwrap();
        let app = TestApp::from_file(&path).await;
        Self { app, path, folder, v1, v2 }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap()
    }

    /// Another file, in one step as an editor or a mounted volume does it.
    fn write(&self, text: &str) {
        replace(&self.path, text);
    }

    async fn reload(&self) -> (u16, Value) {
        self.app.admin.send("POST", "/v1/config/reload", None).await
    }

    async fn standing(&self) -> Value {
        self.app.admin.send("GET", "/v1/config", None).await.1
    }

    async fn metric(&self, name: &str) -> f64 {
        let page = reqwest::get(format!("http://{}/metrics", self.app.metrics)).await.unwrap().text().await.unwrap();
        let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {page}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }
}

fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

async fn fake(name: &str) -> Fake {
    Fake::start(name, Options::default()).await
}

#[tokio::test]
async fn a_changed_file_is_followed_by_itself_on_a_hang_up_and_on_request() {
    let gate = Gate::start("100:0", "").await;
    let text = gate.text();
    let generation = async || gate.standing().await["generation"]["number"].as_u64().unwrap();
    assert_eq!(generation().await, 1);
    gate.write(&format!("{text}\n# watched"));
    eventually("the file is watched", async || (generation().await == 2).then_some(())).await;
    gate.write(&format!("{text}\n# on request"));
    let (status, answer) = gate.reload().await;
    assert_eq!((status, &answer["generation"], &answer["changed"]), (200, &json!(3), &json!(true)), "{answer}");
    gate.write(&format!("{text}\n# hung up"));
    gate.app.hang_up();
    eventually("a hang-up reloads", async || (generation().await == 4).then_some(())).await;
    let (status, answer) = gate.reload().await;
    assert_eq!((status, &answer["changed"]), (200, &json!(false)), "the same again is nothing new");
    assert_eq!(gate.metric("dualgate_config_generation").await, 4.0);
}

#[tokio::test]
async fn what_is_wrong_is_refused_whole_named_and_seen_until_it_is_mended() {
    let gate = Gate::start("90:10", "").await;
    let good = gate.text();
    let before = gate.app.admin.service().await;
    let bad = good.replace("version = \"1.0\"", "version = \"1.1\"").replace("split =", "spilt =");
    gate.write(&bad);
    let (status, answer) = gate.reload().await;
    assert_eq!((status, &answer["type"]), (422, &json!("urn:dualgate:problem:invalid-configuration")), "{answer}");
    let said = answer["errors"][0].as_str().unwrap();
    assert!(said.contains("dualgate.toml") && said.contains("spilt") && said.contains("split"), "{said}");
    let after = gate.app.admin.service().await;
    assert_eq!((&after["revision"], &after["entries"]["primary"]["version"]), (&before["revision"], &json!("1.0")));
    assert!(after["warnings"][0].as_str().unwrap().contains("spilt"), "{after}");
    assert_eq!(gate.metric("dualgate_config_last_reload_failed").await, 1.0);
    let audit = gate.app.admin.send("GET", "/v1/audit", None).await.1;
    let refused =
        audit["entries"].as_array().unwrap().iter().any(|line| line["type"] == "configuration" && line["result"] == "refused");
    assert!(refused, "{audit}");
    gate.write(&good);
    assert_eq!(gate.reload().await.0, 200);
    assert_eq!(gate.metric("dualgate_config_last_reload_failed").await, 0.0);
    assert_eq!(gate.app.admin.service().await["warnings"], json!([]));
}

#[tokio::test]
async fn what_only_a_restart_can_change_is_named_and_nothing_else_changes_with_it() {
    let gate = Gate::start("100:0", "").await;
    let text = gate.text().replace("threads = 2", "threads = 3").replace("version = \"1.0\"", "version = \"1.1\"");
    gate.write(&text);
    let (status, answer) = gate.reload().await;
    assert_eq!(status, 422);
    let said = answer["errors"][0].as_str().unwrap();
    assert!(said.contains("threads: cannot change while dualgate runs: restart"), "{said}");
    assert_eq!(gate.app.admin.service().await["entries"]["primary"]["version"], "1.0");
}

#[tokio::test]
async fn the_stored_split_stays_where_the_state_is_the_authority_and_the_drift_is_shown() {
    let gate = Gate::start("100:0", "").await;
    gate.app.admin.split("75:25").await;
    gate.write(&gate.text().replace("primary = 100, secondary = 0", "primary = 90, secondary = 10"));
    assert_eq!(gate.reload().await.0, 200);
    let service = gate.app.admin.service().await;
    assert_eq!(service["split"]["target"], json!({ "primary": 75.0, "secondary": 25.0 }));
    let drift = gate.standing().await["drift"][0]["what"].as_str().unwrap().to_owned();
    assert!(drift.contains("90:10") && drift.contains("75:25"), "{drift}");
}

#[tokio::test]
async fn the_files_split_counts_where_the_file_is_the_authority_and_a_rollback_outlives_it() {
    let gate = Gate::start("100:0", "").await;
    let with = |split: &str| {
        let text = gate.text();
        let at = text.find("split = {").unwrap();
        let end = at + text[at..].find('}').unwrap() + 1;
        format!("{}split = {{ {split}, authority = \"config\" }}{}", &text[..at], &text[end..])
    };
    gate.write(&with("primary = 50, secondary = 50"));
    assert_eq!(gate.reload().await.0, 200);
    let target = async || gate.app.admin.service().await["split"]["target"]["secondary"].as_f64().unwrap();
    assert_eq!(target().await, 50.0);
    let audit = gate.app.admin.send("GET", "/v1/audit", None).await.1;
    let lines = audit["entries"].as_array().unwrap().clone();
    assert!(lines.iter().any(|line| line["type"] == "split" && line["actor"] == "configuration"), "{audit}");
    assert_eq!(gate.app.admin.send("POST", "/v1/services/notes/rollback", None).await.0, 200);
    gate.write(&with("primary = 40, secondary = 60"));
    assert_eq!(gate.reload().await.0, 200);
    assert_eq!(target().await, 0.0, "the version that was rolled back is condemned");
    gate.write(&with("primary = 40, secondary = 60").replace("version = \"2.0\"", "version = \"2.1\""));
    assert_eq!(gate.reload().await.0, 200);
    assert_eq!(target().await, 60.0, "another version is not");
}

#[tokio::test]
async fn a_dropped_endpoint_keeps_its_sessions_and_gets_no_new_clients() {
    let gate = Gate::start("100:0", WAITS).await;
    let v3 = fake("v3").await;
    let session = Client::new(&gate.app).open().await;
    let mut stream = session.listen().await;
    gate.write(&gate.text().replace(&gate.v1.url(), &v3.url()));
    assert_eq!(gate.reload().await.0, 200);
    assert_eq!(session.who().await, "v1");
    gate.v1.say(b"data: {\"still\":true}\n\n");
    let mut read = String::new();
    while !read.contains("still") {
        read += std::str::from_utf8(&stream.chunk().await.unwrap().expect("the stream goes on")).unwrap();
    }
    // Before its first check has passed, clients may go to the other entry.
    let is_up = |endpoint: &Value| endpoint["name"] == v3.address.to_string() && endpoint["standing"] == "up";
    eventually("it is up", async || {
        let service = gate.app.admin.service().await;
        service["entries"]["primary"]["endpoints"].as_array().unwrap().iter().any(is_up).then_some(())
    })
    .await;
    assert_eq!(Client::new(&gate.app).open().await.who().await, "v3");
    gate.v1.kill();
    let gone = async || (session.post(&call(1, "echo")).await.status() == 404).then_some(());
    eventually("it is gone when it is dead", gone).await;
    assert!(gate.v2.calls().is_empty());
}

#[tokio::test]
async fn an_ejection_and_the_counts_outlive_a_reload() {
    let health = format!("health = {{ interval = \"1h\", timeout = \"1s\" }}\n{WAITS}");
    let gate = Gate::start("100:0", &health).await;
    let standing = async |wanted: &str| {
        let service = gate.app.admin.service().await;
        (service["entries"]["primary"]["endpoints"][0][wanted] == true).then_some(())
    };
    let client = Client::new(&gate.app);
    let session = client.open().await;
    gate.v1.kill();
    for id in 0..5 {
        session.post(&call(id, "echo")).await;
    }
    eventually("it is ejected", async || standing("ejected").await).await;
    let before = gate.app.admin.service().await["entries"]["primary"]["requests"].clone();
    gate.write(&format!("{}\n# again", gate.text()));
    assert_eq!(gate.reload().await.0, 200);
    standing("ejected").await.expect("still ejected");
    assert_eq!(gate.app.admin.service().await["entries"]["primary"]["requests"], before);
}

#[tokio::test]
async fn services_come_and_go_and_come_back_with_their_state() {
    let gate = Gate::start("100:0", "").await;
    let text = gate.text();
    let other = format!(
        "{text}\n[[service]]\nname = \"tasks\"\npath = \"/tasks\"\nstrip_prefix = true\nprimary = {{ version = \"1\", endpoints = [\"{}\"] }}\nsecondary = {{ version = \"2\", endpoints = [\"{}\"] }}\n",
        gate.v2.url(),
        gate.v1.url()
    );
    let names = async || {
        let services = gate.app.admin.send("GET", "/v1/services", None).await.1;
        let services = services["services"].as_array().unwrap().clone();
        let mut names: Vec<String> = services.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    gate.write(&other);
    assert_eq!(gate.reload().await.0, 200);
    assert_eq!(names().await, ["notes", "tasks"]);
    let body = json!({ "primary": 70, "secondary": 30 });
    assert_eq!(gate.app.admin.send("PUT", "/v1/services/tasks/split", Some(body)).await.0, 200);
    gate.write(&text);
    assert_eq!(gate.reload().await.0, 200);
    assert_eq!(names().await, ["notes"]);
    assert_eq!(gate.app.admin.send("GET", "/v1/services/tasks", None).await.0, 404);
    gate.write(&other);
    assert_eq!(gate.reload().await.0, 200);
    let back = gate.app.admin.send("GET", "/v1/services/tasks", None).await.1;
    assert_eq!(back["split"]["target"]["secondary"], 30.0);
}

#[tokio::test]
async fn the_last_twenty_are_kept_and_any_of_them_can_be_had_again() {
    let gate = Gate::start("100:0", "").await;
    let text = gate.text();
    for at in 2..=25 {
        gate.write(&format!("{text}\n# {at}"));
        assert_eq!(gate.reload().await.1["generation"], at);
    }
    let history = gate.app.admin.send("GET", "/v1/config/history", None).await.1;
    let numbers: Vec<u64> =
        history["generations"].as_array().unwrap().iter().map(|one| one["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (6..=25).rev().collect::<Vec<_>>());
    assert_eq!(std::fs::read_dir(gate.folder.path().join("state/config")).unwrap().count(), 20);
    let kept = gate.app.admin.send("GET", "/v1/config/history/7", None).await.1;
    assert_eq!(kept["text"], format!("{text}\n# 7"));
    let (status, answer) = gate.app.admin.send("POST", "/v1/config/revert", Some(json!({ "generation": 7 }))).await;
    assert_eq!((status, &answer["generation"]), (200, &json!(26)), "{answer}");
    let standing = gate.standing().await;
    assert_eq!((&standing["generation"]["text"], &standing["file"]["differs"]), (&kept["text"], &json!(true)));
    let (status, answer) = gate.app.admin.send("POST", "/v1/config/revert", Some(json!({ "generation": 3 }))).await;
    assert_eq!((status, &answer["type"]), (404, &json!("urn:dualgate:problem:no-such-generation")));
    let audit = gate.app.admin.send("GET", "/v1/audit", None).await.1;
    let last = audit["entries"].as_array().unwrap().last().unwrap().clone();
    let refused = json!(["refused", "revert", "3", "configuration 3 is not kept: the last 20 are"]);
    assert_eq!(json!([last["type"], last["command"], last["wanted"], last["why"]]), refused, "{last}");
    let Gate { app, path, folder: _folder, .. } = gate;
    drop(app);
    let app = TestApp::from_file(&path).await;
    let standing = app.admin.send("GET", "/v1/config", None).await.1;
    assert_eq!(standing["generation"]["number"], 27, "the file counts at a start, and the numbers go on");
}

#[tokio::test]
async fn it_is_changed_on_the_condition_that_somebody_came_with_and_once_for_a_key() {
    let gate = Gate::start("100:0", "").await;
    let text = gate.text();
    let send = async |path: &str, name: &'static str, value: &str, body: Value| {
        let request = gate.app.admin.request("POST", path).header(name, value).header("content-type", "application/json");
        let response = request.body(body.to_string()).send().await.unwrap();
        let (status, tag) = (response.status().as_u16(), response.headers().get("etag").cloned());
        (status, tag, serde_json::from_slice::<Value>(&response.bytes().await.unwrap()).unwrap())
    };
    gate.write(&format!("{text}\n# 2"));
    for condition in ["\"7\"", "W/\"1\"", "\"7\", \"8\""] {
        for (path, body) in [("/v1/config/reload", json!({})), ("/v1/config/revert", json!({ "generation": 1 }))] {
            let (status, _, problem) = send(path, "if-match", condition, body).await;
            assert_eq!((status, &problem["type"]), (412, &json!("urn:dualgate:problem:stale-revision")), "{path} {condition}");
            assert!(problem["current"]["generation"].is_u64(), "{problem}");
        }
    }
    let (status, tag, answer) = send("/v1/config/reload", "idempotency-key", "a", json!({ "reason": "a remark" })).await;
    assert_eq!((status, &answer["generation"]), (200, &json!(2)), "{answer}");
    assert_eq!(tag.unwrap(), "\"2\"");
    gate.write(&format!("{text}\n# 3"));
    assert_eq!(send("/v1/config/reload", "idempotency-key", "a", json!({ "reason": "a remark" })).await.2, answer);
    let (status, _, problem) = send("/v1/config/reload", "idempotency-key", "a", json!({})).await;
    assert_eq!((status, &problem["type"]), (422, &json!("urn:dualgate:problem:idempotency-key-reused")));
    let (status, _, problem) = send("/v1/config/revert", "if-match", "*", json!({ "generations": 1 })).await;
    assert_eq!((status, &problem["pointer"]), (400, &json!("/generations")));
}

#[tokio::test]
async fn a_text_is_validated_beside_what_runs_and_changes_nothing() {
    let gate = Gate::start("100:0", "").await;
    let validate = async |text: String| {
        let request = gate.app.admin.request("POST", "/v1/config/validate").body(text);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice::<Value>(&answer.bytes().await.unwrap()).unwrap())
    };
    assert_eq!(validate(gate.text()).await.1["valid"], true);
    let (status, answer) = validate(gate.text().replace("threads = 2", "threads = 0\nlisten_on = 1")).await;
    assert_eq!((status, &answer["type"]), (422, &json!("urn:dualgate:problem:invalid-configuration")));
    assert_eq!(gate.standing().await["generation"]["number"], 1);
    assert_eq!(gate.standing().await["failure"], Value::Null, "asking is no failure");
}

/// Requests of sessions and births, and streams that stay open, while the file changes two hundred times: endpoints
/// come and go, checks and timeouts change, a service appears and disappears.
#[tokio::test]
async fn two_hundred_reloads_lose_no_request_cut_no_stream_and_forget_no_count() {
    let gate = Gate::start("50:50", "").await;
    let (v3, text) = (fake("v3").await, gate.text());
    let stop = Arc::new(AtomicBool::new(false));
    let mut streams = Vec::new();
    for _ in 0..20 {
        let session = Client::new(&gate.app).open().await;
        streams.push((session.who().await, session.listen().await, session));
    }
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (client, stop) = (Client::new(&gate.app), stop.clone());
        tasks.push(tokio::spawn(async move {
            let session = client.open().await;
            let (home, mut asked) = (session.who().await, 2);
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(session.who().await, home, "a session that moved");
                assert_eq!(client.open().await.delete().await.status(), 200);
                asked += 3;
            }
            asked
        }));
    }
    let other = format!(
        "[[service]]\nname = \"tasks\"\npath = \"/tasks\"\nprimary = {{ version = \"1\", endpoints = [\"{}\"] }}\nsecondary = {{ version = \"2\", endpoints = [\"{}\"] }}\n",
        gate.v2.url(),
        gate.v1.url()
    );
    let mut resident = Vec::new();
    for at in 1..=200 {
        let mut next =
            format!("{text}\nhealth = {{ interval = \"{}ms\" }}\ntraffic = {{ first_byte_timeout = \"{at}s\" }}\n", 1000 + at);
        if at % 2 == 0 {
            next = next.replace(&format!("\"{}\"", gate.v1.url()), &format!("\"{}\", \"{}\"", gate.v1.url(), v3.url()));
        }
        if at % 3 == 0 {
            next += &other;
        }
        gate.write(&next);
        let (status, answer) = gate.reload().await;
        assert_eq!(status, 200, "{answer}");
        // What they remember is in the same process, and grows with the requests.
        [&gate.v1, &gate.v2, &v3].iter().for_each(|fake| fake.forget());
        if at % 50 == 0 {
            resident.push(gate.metric("process_resident_memory_bytes").await);
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut asked = 20 * 2;
    for task in tasks {
        asked += task.await.unwrap();
    }
    for (_, stream, _) in &mut streams {
        gate.v1.say(b"data: still\n\n");
        gate.v2.say(b"data: still\n\n");
        let mut read = Vec::new();
        while !read.windows(5).any(|some| some == b"still") {
            read.extend_from_slice(&stream.chunk().await.unwrap().expect("the stream goes on"));
        }
    }
    let entries = gate.app.admin.service().await["entries"].clone();
    let counted = |entry: &str| entries[entry]["requests"].as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>();
    assert_eq!(counted("primary") + counted("secondary"), asked, "{entries}");
    assert_eq!(
        entries["primary"]["requests"]["ok"].as_u64().unwrap() + entries["secondary"]["requests"]["ok"].as_u64().unwrap(),
        asked
    );
    assert!(resident[3] - resident[1] < 8e6, "memory grows with every reload: {resident:?}");
}

/// Who stops the old server must be able to see that somebody is still there; and what it does is its own version's.
#[tokio::test]
async fn who_is_bound_to_a_version_that_was_replaced_is_counted_and_booked_there() {
    let gate = Gate::start("100:0", "").await;
    let v3 = fake("v3").await;
    gate.app.admin.split("0:100").await;
    let session = Client::new(&gate.app).open().await;
    let _stream = session.listen().await;
    gate.app.admin.split("100:0").await;
    let body = json!({ "version": "3.0", "endpoints": [v3.url()] });
    let (status, answer) = gate.app.admin.send("PUT", "/v1/services/notes/entries/secondary", Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    let secondary = async || gate.app.admin.service().await["entries"]["secondary"].clone();
    let now = secondary().await;
    assert_eq!((&now["sessions"], &now["streams"]["listen"]), (&json!(1), &json!(1)), "{now}");
    assert_eq!(session.who().await, "v2");
    let now = secondary().await;
    assert_eq!((&now["version"], &now["requests"]["ok"]), (&json!("3.0"), &json!(0)), "3.0 has answered nothing");
    assert_eq!(session.delete().await.status(), 200);
    assert_eq!(secondary().await["sessions"], 0);
}

#[tokio::test]
async fn a_session_whose_endpoint_was_removed_goes_on_at_another_one_of_its_version() {
    let gate = Gate::start("100:0", "").await;
    let v3 = fake("v3").await;
    let session = Client::new(&gate.app).open().await;
    gate.write(&gate.text().replace(&gate.v1.url(), &v3.url()));
    assert_eq!(gate.reload().await.0, 200);
    assert_eq!(session.who().await, "v1", "while it serves");
    gate.v1.kill();
    crate::support::connections(gate.v1.address, 0).await;
    assert_eq!(session.who().await, "v3");
    assert!(gate.v2.calls().is_empty());
}

#[tokio::test]
async fn a_dropped_endpoint_keeps_its_sessions_over_a_restart() {
    let gate = Gate::start("100:0", "").await;
    let v3 = fake("v3").await;
    let session = Client::new(&gate.app).open().await;
    gate.write(&gate.text().replace(&gate.v1.url(), &v3.url()));
    assert_eq!(gate.reload().await.0, 200);
    let Gate { app, path, folder: _folder, v1, .. } = gate;
    drop(app);
    let app = TestApp::from_file(&path).await;
    let answer = Client::new(&app).with("mcp-session-id", &session.id).post(&call(1, "echo")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(v1.calls().len(), 1);
}

#[tokio::test]
async fn a_reload_says_what_of_the_file_is_not_followed() {
    let gate = Gate::start("100:0", "").await;
    gate.write(&gate.text().replace("primary = 100, secondary = 0", "primary = 90, secondary = 10"));
    let warning = gate.reload().await.1["warnings"][0].as_str().unwrap().to_owned();
    assert!(warning.contains("notes: split: configured is 90:10, which counts at first start"), "{warning}");
    let with_authority = |text: &str| text.replace("secondary = 10 }", "secondary = 10, authority = \"config\" }");
    gate.write(&with_authority(&gate.text()));
    assert_eq!(gate.reload().await.1["warnings"], json!([]));
    assert_eq!(gate.app.admin.send("POST", "/v1/services/notes/rollback", None).await.0, 200);
    gate.write(&gate.text().replace("primary = 90, secondary = 10", "primary = 80, secondary = 20"));
    let warning = gate.reload().await.1["warnings"][0].as_str().unwrap().to_owned();
    assert!(warning.contains("version 2.0 of secondary was rolled back: write another version there"), "{warning}");
}

#[tokio::test]
async fn a_file_that_was_gone_and_is_back_as_it_was_ends_the_failure() {
    let gate = Gate::start("100:0", "").await;
    let text = gate.text();
    std::fs::remove_file(&gate.path).unwrap();
    assert_eq!(gate.reload().await.0, 422);
    gate.write(&text);
    eventually("it is seen", async || (gate.standing().await["failure"] == Value::Null).then_some(())).await;
}

/// A disk that takes its time: opening a pipe waits for the other end.
fn slow(path: &Path) -> impl FnOnce() + use<> {
    assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    let path = path.to_owned();
    move || drop(std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap())
}

/// A change without a body, over a connection that is the test's to drop.
async fn begin(gate: &Gate, path: &str) -> tokio::net::TcpStream {
    let host = gate.app.admin.url.strip_prefix("http://").unwrap();
    let mut wire = tokio::net::TcpStream::connect(host).await.unwrap();
    let token = &gate.app.admin.token;
    let head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n");
    wire.write_all(head.as_bytes()).await.unwrap();
    wire
}

async fn audited(gate: &Gate, kind: &str) {
    eventually("the audit has it", async || {
        let audit = gate.app.admin.send("GET", "/v1/audit", None).await.1;
        audit["entries"].as_array().unwrap().iter().any(|line| line["type"] == kind).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_during_a_reload_leaves_no_half_of_it() {
    let gate = Gate::start("100:0", "").await;
    let before = gate.text();
    let go_on = slow(&gate.folder.path().join("state/config/000002.tmp"));
    gate.write(&before.replace("version = \"2.0\"", "version = \"2.1\""));
    let wire = begin(&gate, "/v1/config/reload").await;
    let version = async || gate.app.admin.service().await["entries"]["secondary"]["version"].clone();
    eventually("the services have it", async || (version().await == "2.1").then_some(())).await;
    drop(wire);
    // Nothing tells when the admin has felt that.
    tokio::time::sleep(Duration::from_millis(300)).await;
    tokio::task::spawn_blocking(go_on).await.unwrap();
    audited(&gate, "configuration").await;
    let number = async || (gate.standing().await["generation"]["number"] == 2).then_some(());
    eventually("it is the one in force", number).await;
    gate.write(&before);
    assert_eq!(gate.reload().await.1["changed"], true);
    assert_eq!(version().await, "2.0");
}

#[tokio::test]
async fn a_key_rotation_whose_client_has_gone_is_on_the_record() {
    let gate = Gate::start("100:0", "").await;
    let go_on = slow(&gate.folder.path().join("state/seal.tmp"));
    let wire = begin(&gate, "/v1/keys/rotate").await;
    // Nothing tells when it has begun, nor when the admin has felt that nobody waits any more.
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(wire);
    tokio::time::sleep(Duration::from_millis(300)).await;
    tokio::task::spawn_blocking(go_on).await.unwrap();
    audited(&gate, "keys-rotated").await;
}

#[tokio::test]
async fn a_rollback_does_not_wait_for_the_disk_of_a_service_that_a_reload_adds() {
    let gate = Gate::start("50:50", "").await;
    let go_on = slow(&gate.folder.path().join("state/services/tasks.json"));
    let (one, two) = (gate.v2.url(), gate.v1.url());
    let text = gate.text();
    gate.write(&format!(
        "{text}\n[[service]]\nname = \"tasks\"\npath = \"/tasks\"\nprimary = {{ version = \"1\", endpoints = [\"{one}\"] }}\nsecondary = {{ version = \"2\", endpoints = [\"{two}\"] }}\n"
    ));
    let admin = gate.app.admin.clone();
    let reload = tokio::spawn(async move { admin.send("POST", "/v1/config/reload", None).await.0 });
    for _ in 0..10 {
        let body = json!({ "primary": 50, "secondary": 50 });
        assert_eq!(gate.app.admin.send("PUT", "/v1/services/notes/split", Some(body)).await.0, 200);
        assert_eq!(gate.app.admin.send("POST", "/v1/services/notes/rollback", None).await.0, 200);
    }
    assert!(!reload.is_finished(), "it waits for its disk");
    tokio::task::spawn_blocking(go_on).await.unwrap();
    assert_eq!(reload.await.unwrap(), 422, "what came through the pipe is no state");
}

#[tokio::test]
async fn what_a_restart_would_be_needed_for_is_named_without_the_values_of_the_environment() {
    let gate = Gate::start("100:0", "").await;
    let secret = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let text = gate.text();
    let at = text.find("state = {").unwrap();
    let end = at + text[at..].find('}').unwrap() + 1;
    let text = format!("{}state = {{ dir = \"${{CARGO_MANIFEST_DIR}}/s3cret\" }}{}", &text[..at], &text[end..]);
    let answer = gate.app.admin.request("POST", "/v1/config/validate").body(text).send().await.unwrap().text().await.unwrap();
    assert!(answer.contains("state.dir"), "{answer}");
    assert!(!answer.contains(&secret), "{answer}");
}
