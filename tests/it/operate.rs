use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{Client, Fake, Folder, Options, TestApp, call, dualgate, eventually};

async fn fakes() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

/// With a second service beside `notes`.
fn two_services(v1: &Fake, v2: &Fake) -> String {
    let (one, two) = (v1.url(), v2.url());
    format!(
        r#"
            [[service]]
            name = "tasks"
            path = "/tasks"
            primary = {{ version = "1", endpoints = ["{one}"] }}
            secondary = {{ version = "2", endpoints = ["{two}"] }}
        "#
    )
}

async fn on(folder: &Folder, (v1, v2): &(Fake, Fake), more: &str) -> TestApp {
    let app = TestApp::from_text(TestApp::file(folder.path(), &[v1], &[v2], "90:10", more)).await;
    eventually("the start is on the disk", async || {
        let (_, services) = app.admin.send("GET", "/v1/services", None).await;
        services["services"].as_array()?.iter().all(|service| service["durable"] == true).then_some(())
    })
    .await;
    app
}

async fn end(app: TestApp) {
    app.stop();
    app.stopped().await;
}

async fn splits(app: &TestApp) -> Vec<f64> {
    let (_, services) = app.admin.send("GET", "/v1/services", None).await;
    let mut services = services["services"].as_array().unwrap().clone();
    services.sort_by_key(|service| service["name"].as_str().unwrap().to_owned());
    services.iter().map(|service| service["split"]["target"]["secondary"].as_f64().unwrap()).collect()
}

#[tokio::test]
async fn sessions_are_listed_by_entry_and_endpoint_and_never_by_id() {
    let fakes = fakes().await;
    let folder = Folder::new();
    let app = on(&folder, &fakes, "").await;
    let mut sessions = Vec::new();
    for _ in 0..10 {
        sessions.push(Client::new(&app).open().await);
    }
    let (status, answer) = app.admin.send("GET", "/v1/services/notes/sessions", None).await;
    assert_eq!(status, 200, "{answer}");
    let counts = ["primary", "secondary"].map(|entry| answer["entries"][entry]["endpoints"][0]["sessions"].as_u64().unwrap());
    assert_eq!(counts, [9, 1]);
    assert!(sessions.iter().all(|session| !answer.to_string().contains(&session.id)));
    let said = app.admin.cli(&["sessions", "list"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let lines: Vec<Vec<&str>> = said.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((lines[0][0], lines[1][3], lines[2][0], lines[2][3]), ("notes:", "SESSIONS", "primary", "9"), "{}", said.out);
    let said = app.admin.cli(&["sessions", "list", "-o", "json"]).await;
    let without_times = |mut entries: Value| {
        for entry in ["primary", "secondary"] {
            assert!(entries[entry]["last_request_s"].take().is_number(), "the candidate has clients, so that both are watched");
        }
        entries
    };
    let said: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(without_times(said["entries"].clone()), without_times(answer["entries"].clone()));
    assert_eq!(app.admin.cli(&["sessions", "list", "--service", "nothing"]).await.code, 4);
}

#[tokio::test]
async fn an_entry_drains_at_0_and_drain_waits_until_the_last_session_has_gone() {
    let fakes = fakes().await;
    let folder = Folder::new();
    let app = on(&folder, &fakes, "").await;
    let mut sessions = Vec::new();
    for _ in 0..10 {
        sessions.push(Client::new(&app).open().await);
    }
    let said = app.admin.cli(&["drain", "secondary"]).await;
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.err.contains("secondary has 10 % of the clients: it drains only at 0 %"), "{}", said.err);
    assert_eq!(app.admin.cli(&["drain"]).await.code, 5, "neither is idle");
    app.admin.split("100:0").await;
    let said = app.admin.cli(&["drain", "-o", "json"]).await;
    let holds: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (said.code, &holds["entry"], &holds["sessions"], &holds["drained"]),
        (0, &json!("secondary"), &json!(1), &json!(false))
    );
    let said = app.admin.cli(&["drain", "secondary", "--wait", "--timeout", "500ms"]).await;
    assert_eq!((said.code, said.out.as_str()), (9, ""), "{said:?}");
    assert!(said.err.contains("secondary 2.0 still has 1 sessions, 0 streams, 0 in flight after 500ms"), "{}", said.err);
    let admin = app.admin.clone();
    let waiting = tokio::spawn(async move { admin.cli(&["drain", "secondary", "--wait", "--reason", "2.0 goes"]).await });
    eventually("it waits", async || {
        let (_, audit) = app.admin.send("GET", "/v1/audit", None).await;
        audit["entries"].as_array()?.iter().any(|entry| entry["reason"] == "2.0 goes").then_some(())
    })
    .await;
    for session in &sessions {
        if session.who().await == "v2" {
            session.delete().await;
        }
    }
    let said = waiting.await.unwrap();
    assert_eq!((said.code, said.out.as_str()), (0, "secondary 2.0: empty\n"), "{said:?}");
    let (status, problem) = app.admin.send("POST", "/v1/services/notes/entries/primary/drain", None).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:dualgate:problem:entry-in-use")));
    assert_eq!(app.admin.send("POST", "/v1/services/notes/entries/third/drain", None).await.0, 404);
}

#[tokio::test]
async fn a_state_that_was_exported_is_put_in_force_again_for_all_services_and_survives() {
    let fakes = fakes().await;
    let folder = Folder::new();
    let more = two_services(&fakes.0, &fakes.1);
    let app = on(&folder, &fakes, &more).await;
    app.admin.split("70:30").await;
    let exported = app.admin.cli(&["state", "export"]).await;
    assert_eq!(exported.code, 0, "{exported:?}");
    let file = folder.path().join("exported.json");
    let indented = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&exported.out).unwrap()).unwrap();
    std::fs::write(&file, indented).unwrap();
    let file = file.to_str().unwrap();
    app.admin.split("0:100").await;
    let tasks = json!({ "primary": 40, "secondary": 60 });
    assert_eq!(app.admin.send("PUT", "/v1/services/tasks/split", Some(tasks)).await.0, 200);
    let dry = app.admin.cli(&["state", "import", file, "--dry-run"]).await;
    assert_eq!(dry.code, 0, "{dry:?}");
    assert_eq!(splits(&app).await, [100.0, 60.0], "{}", dry.out);
    let stale = app.admin.cli(&["state", "import", file, "--if-match", "1"]).await;
    assert_eq!((stale.code, splits(&app).await), (5, vec![100.0, 60.0]), "{stale:?}");
    let current = app.admin.request("GET", "/v1/state").send().await.unwrap().headers()["etag"].to_str().unwrap().to_owned();
    let said = app.admin.cli(&["state", "import", file, "--if-match", &current, "--reason", "back"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("notes: 0:100 → 70:30") && said.out.contains("tasks: 40:60 → 100:0"), "{}", said.out);
    assert_eq!(splits(&app).await, [30.0, 0.0]);
    let again = app.admin.cli(&["state", "import", file]).await;
    assert!(again.code == 0 && again.out.contains("notes: already so"), "{again:?}");
    let (_, audit) = app.admin.send("GET", "/v1/audit", None).await;
    let restored: Vec<&Value> = audit["entries"].as_array().unwrap().iter().filter(|entry| entry["type"] == "restored").collect();
    assert_eq!(restored.len(), 2, "{audit}");
    assert!(restored[0]["before"].as_str().unwrap().starts_with("0:100, stable primary"), "{audit}");
    assert_eq!((&restored[0]["actor"], &restored[0]["reason"]), (&json!("ada@127.0.0.1"), &json!("back")));
    end(app).await;
    assert_eq!(splits(&on(&folder, &fakes, &more).await).await, [30.0, 0.0]);
}

#[tokio::test]
async fn a_state_that_is_wrong_anywhere_is_imported_nowhere() {
    let fakes = fakes().await;
    let folder = Folder::new();
    let app = on(&folder, &fakes, &two_services(&fakes.0, &fakes.1)).await;
    app.admin.split("70:30").await;
    let (_, good) = app.admin.send("GET", "/v1/state", None).await;
    app.admin.split("50:50").await;
    let mut foreign = good.clone();
    foreign["state"]["others"] = good["state"]["tasks"].clone();
    let state: Value = foreign["state"].clone();
    foreign["checksum"] = json!(sha256(&state.to_string()));
    let mut shared = good.clone();
    shared["state"]["tasks"]["overlay"]["secondary"] =
        json!({ "version": "3", "endpoints": [{ "name": "a", "url": "ftp://a" }] });
    shared["checksum"] = json!(sha256(&shared["state"].to_string()));
    let with = |pointer: &str, value: Value| {
        let mut document = good.clone();
        *document.pointer_mut(pointer).unwrap() = value;
        document
    };
    let mut more = good.clone();
    more["colour"] = json!("red");
    let cases = [
        (foreign, 404, "others: there is no service `others`"),
        (with("/format", json!(9)), 422, "/format: 9 is not known here: this version reads 1"),
        (with("/checksum", json!("0")), 422, "/checksum: it does not fit the state: something was changed or cut"),
        (with("/state/tasks/secondary_basis_points", json!(1)), 422, "/checksum: it does not fit"),
        (shared, 422, "/state/tasks/overlay/secondary/endpoints: "),
        (json!({}), 422, "/format is missing"),
        (more, 400, "/colour: not known"),
    ];
    for (document, status, detail) in cases {
        let (answered, problem) = app.admin.send("PUT", "/v1/state", Some(document)).await;
        assert_eq!(answered, status, "{problem}");
        assert!(problem["detail"].as_str().unwrap().starts_with(detail), "{problem}");
        assert_eq!(splits(&app).await, [50.0, 0.0], "{detail}");
    }
    let file = folder.path().join("broken.json");
    std::fs::write(&file, "{\"format\":1,").unwrap();
    let said = app.admin.cli(&["state", "import", file.to_str().unwrap()]).await;
    assert!(said.code == 2 && said.err.contains("broken.json is not JSON"), "{said:?}");
    assert_eq!(app.admin.cli(&["state", "import", "/nowhere"]).await.code, 2);
}

fn sha256(text: &str) -> String {
    let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn after_a_rotation_of_keys_sessions_of_before_and_after_go_on_even_over_a_restart() {
    let fakes = fakes().await;
    let folder = Folder::new();
    let app = on(&folder, &fakes, "").await;
    let mut sessions = vec![Client::new(&app).open().await];
    let key_file = folder.path().join("seal.key");
    let keys = || std::fs::read_to_string(&key_file).unwrap().lines().count();
    assert_eq!(keys(), 1);
    let dry = app.admin.cli(&["keys", "rotate", "--dry-run"]).await;
    assert_eq!((dry.code, keys()), (0, 1), "{dry:?}");
    for rotation in 1..=2 {
        let said = app.admin.cli(&["keys", "rotate", "--reason", "quarter"]).await;
        assert_eq!((said.code, keys()), (0, rotation + 1), "{said:?}");
        assert!(said.out.ends_with(&format!(" seals; {} keys open\n", rotation + 1)), "{}", said.out);
        sessions.push(Client::new(&app).open().await);
    }
    assert_eq!(std::fs::metadata(&key_file).unwrap().permissions().mode() & 0o777, 0o600);
    let key_id = |id: &str| id[..6].to_owned();
    assert!(key_id(&sessions[0].id) != key_id(&sessions[1].id) && key_id(&sessions[1].id) != key_id(&sessions[2].id));
    for session in &sessions {
        assert_eq!(session.post(&call(1, "echo")).await.status(), 200);
    }
    let (_, audit) = app.admin.send("GET", "/v1/audit", None).await;
    let lines: Vec<&Value> =
        audit["entries"].as_array().unwrap().iter().filter(|entry| entry["type"] == "keys-rotated").collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[1]["before"], &lines[1]["actor"]), (&lines[0]["after"], &json!("ada@127.0.0.1")));
    end(app).await;
    let app = on(&folder, &fakes, "").await;
    for session in &sessions {
        assert_eq!(Client::new(&app).bind(&session.id).post(&call(1, "echo")).await.status(), 200);
    }
    assert_eq!(key_id(&Client::new(&app).open().await.id), key_id(&sessions[2].id), "the newest seals");
}

#[tokio::test]
async fn keys_of_the_configuration_are_not_rotated_and_it_is_said_how_they_are() {
    let (v1, v2) = fakes().await;
    let folder = Folder::new();
    let key = folder.path().join("key");
    std::fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    let text = TestApp::file(folder.path(), &[&v1], &[&v2], "90:10", "");
    let app = TestApp::from_text(format!("seal = {{ key_files = ['{}'] }}\n{text}", key.display())).await;
    let said = app.admin.cli(&["keys", "rotate"]).await;
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.err.contains("[seal] key_files") && said.err.contains("openssl rand -base64 32"), "{}", said.err);
    assert!(!folder.path().join("seal.key").exists());
}

#[tokio::test]
async fn completions_and_manual_pages_are_there_for_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let said = dualgate(&["completions", shell], &[]).await;
        assert_eq!(said.code, 0);
        for command in ["rollback", "health-check", "set-traffic-split", "audit"] {
            assert!(said.out.contains(command), "{shell}: {command}");
        }
    }
    let folder = Folder::new();
    let pages = folder.path().join("man/man1");
    let said = dualgate(&["man", pages.to_str().unwrap()], &[]).await;
    assert_eq!((said.code, said.out), (0, format!("{}\n", pages.join("dualgate.1").display())));
    for page in ["dualgate.1", "dualgate-split.1", "dualgate-audit-verify.1", "dualgate-state-import.1"] {
        assert!(std::fs::read_to_string(pages.join(page)).unwrap().contains(".TH"), "{page}");
    }
    let said = dualgate(&["man", "/proc/nowhere"], &[]).await;
    assert!(said.code == 1 && said.err.starts_with("error: cannot write manual pages into /proc/nowhere: "), "{said:?}");
}
