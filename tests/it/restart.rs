use crate::support::{Client, Fake, Folder, Options, Port, Process, TestApp, call, dualgate, eventually, initialize};

/// A file for the binary on fixed ports, since it must come back where its clients look for it.
fn file(folder: &Folder, v1: &Fake, v2: &Fake, ports: &[Port; 2]) -> String {
    let text = TestApp::file(&folder.path().join("state"), &[v1], &[v2], "90:10", "");
    let text = text.replacen("127.0.0.1:0", &ports[0].address.to_string(), 1);
    text.replacen("127.0.0.1:0", &ports[1].address.to_string(), 1)
}

#[tokio::test]
async fn after_kill_9_the_split_is_the_last_acknowledged_and_every_session_goes_on() {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let folder = Folder::new();
    let ports = [Port::any(), Port::any()];
    let path = folder.path().join("dualgate.toml");
    std::fs::write(&path, file(&folder, &v1, &v2, &ports)).unwrap();
    let url = format!("http://{}/mcp", ports[0].address);
    let http = reqwest::Client::new();
    let post = async |id: Option<&str>, body: serde_json::Value| {
        let mut request = http.post(&url).header("content-type", "application/json").body(body.to_string());
        if let Some(id) = id {
            request = request.header("mcp-session-id", id);
        }
        request.send().await
    };
    let split = async |percent: Option<u8>| {
        let token = std::fs::read_to_string(folder.path().join("state/admin-token")).ok()?;
        let admin = format!("http://{}/v1/services/notes/split", ports[1].address);
        let request = match percent {
            Some(secondary) => http
                .put(admin)
                .header("content-type", "application/json")
                .body(serde_json::json!({ "primary": 100 - secondary, "secondary": secondary }).to_string()),
            None => http.get(admin),
        };
        let answer = request.bearer_auth(token.trim()).send().await.ok()?;
        serde_json::from_slice::<serde_json::Value>(&answer.bytes().await.ok()?).ok()
    };
    let mut process = Process::start(&["run", "--config", path.to_str().unwrap()]);
    let ready = async || split(None).await;
    eventually("the first start", ready).await;
    let mut sessions = Vec::new();
    for _ in 0..10 {
        let answer = post(None, initialize()).await.unwrap();
        sessions.push(answer.headers()["mcp-session-id"].to_str().unwrap().to_owned());
    }
    let home = async |id: &str| {
        let answer = post(Some(id), call(1, "echo")).await.unwrap().text().await.unwrap();
        serde_json::from_str::<serde_json::Value>(&answer).unwrap()["result"]["server"].clone()
    };
    let mut homes = Vec::new();
    for id in &sessions {
        homes.push(home(id).await);
    }
    for secondary in [10, 50, 100, 0, 25] {
        assert_eq!(split(Some(secondary)).await.unwrap()["durable"], true);
        process.kill();
        process = Process::start(&["run", "--config", path.to_str().unwrap()]);
        let now = eventually("the next start", ready).await;
        assert_eq!(now["secondary"], f64::from(secondary), "the file says 10, the last acknowledged change {secondary}");
        for (id, before) in sessions.iter().zip(&homes) {
            assert_eq!(&home(id).await, before);
        }
    }
    // The first changed nothing.
    let state = folder.path().join("state");
    let said = dualgate(&["audit", "verify", "--state-dir", state.to_str().unwrap()], &[]).await;
    assert!(said.code == 0 && said.out.starts_with("intact: 4 lines, 1 to 4"), "{said:?}");
}

#[tokio::test]
async fn a_second_dualgate_on_the_same_state_is_refused() {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let folder = Folder::new();
    let _app = TestApp::from_text(TestApp::file(folder.path(), &[&v1], &[&v2], "90:10", "")).await;
    let config = dualgate::config::load("second", &TestApp::file(folder.path(), &[&v1], &[&v2], "90:10", ""), None).unwrap();
    let error = tokio::task::spawn_blocking(move || dualgate::app::App::start(config).err().unwrap()).await.unwrap();
    assert!(error.to_string().contains("is in use by process"), "{error}");
    assert_eq!(error.exit_code(), 1);
}

#[tokio::test]
async fn an_address_in_use_fails_the_start_and_touches_no_state() {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let folder = Folder::new();
    let app = TestApp::start(&v1, &v2, "90:10", "").await;
    let text = TestApp::file(&folder.path().join("state"), &[&v1], &[&v2], "90:10", "");
    let text = text.replacen("127.0.0.1:0", &app.address.to_string(), 1);
    let config = dualgate::config::load("second", &text, None).unwrap();
    let error = tokio::task::spawn_blocking(move || dualgate::app::App::start(config).err().unwrap()).await.unwrap();
    assert!(error.to_string().starts_with(&format!("cannot listen on {}", app.address)), "{error}");
    assert!(!folder.path().join("state").exists());
    assert_eq!(Client::new(&app).open().await.who().await.len(), 2);
}

#[test]
fn what_is_printed_for_looking_at_has_no_token() {
    let address = "127.0.0.1:1".parse().unwrap();
    let bound = dualgate::app::Bound { traffic: address, tls: None, admin: address, metrics: None, token: "hunter2".to_owned() };
    let printed = format!("{bound:?}");
    assert!(printed.contains("127.0.0.1:1") && !printed.contains("hunter2"), "{printed}");
}

#[tokio::test]
async fn after_kill_9_the_words_that_were_journalled_still_lead_back() {
    let dual = Options { modern: true, ..Options::default() };
    let (v1, v2) = (Fake::start("v1", dual).await, Fake::start("v2", dual).await);
    let folder = Folder::new();
    let ports = [Port::any(), Port::any()];
    let path = folder.path().join("dualgate.toml");
    std::fs::write(&path, file(&folder, &v1, &v2, &ports)).unwrap();
    let http = reqwest::Client::new();
    let ask = async |key: usize, method: &str, name: &str| {
        let params = serde_json::json!({ "name": name, "taskId": name });
        let body = serde_json::json!({ "jsonrpc": "2.0", "id": key, "method": method, "params": params });
        let request = http.post(format!("http://{}/mcp", ports[0].address)).header("content-type", "application/json");
        let request = request.header("mcp-protocol-version", "2026-07-28").header("x-api-key", format!("key-{key}"));
        let answer = request.header("mcp-method", method).header("mcp-name", name).body(body.to_string()).send().await.ok()?;
        serde_json::from_slice::<serde_json::Value>(&answer.bytes().await.ok()?).ok()
    };
    let process = Process::start(&["run", "--config", path.to_str().unwrap()]);
    let first = eventually("the first start", async || ask(0, "tools/call", "begin").await).await;
    let mut tasks = vec![first["result"]["taskId"].as_str().unwrap().to_owned()];
    for key in 1..200 {
        let begun = ask(key, "tools/call", "begin").await.unwrap();
        tasks.push(begun["result"]["taskId"].as_str().unwrap().to_owned());
    }
    assert!(tasks.iter().any(|task| task.starts_with("v2")), "the tenth of two hundred");
    let journal = folder.path().join("state/pins/notes");
    let whole = 28 * tasks.len() as u64;
    eventually("the journal has them", async || (std::fs::metadata(&journal).ok()?.len() >= whole).then_some(())).await;
    process.kill();
    let _process = Process::start(&["run", "--config", path.to_str().unwrap()]);
    eventually("the second start", async || ask(0, "tools/call", "echo").await).await;
    // Other clients than those that began them: only the pin knows where.
    for (key, task) in tasks.iter().enumerate() {
        let polled = ask(key + 100, "tasks/get", task).await.unwrap();
        assert!(polled["error"].is_null(), "{task}: {polled}");
    }
}
