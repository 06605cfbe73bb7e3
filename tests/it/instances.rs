//! `resolve = "each"`: every address of a name is an endpoint, with a resolver of the test's own.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dualgate::app::Seams;
use dualgate::control::resolve::Found;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::{Client, Fake, Folder, Options, TestApp, WAITS, call, eventually};

/// A name server that says what it is told to, and nothing before.
#[derive(Clone)]
struct Names(Arc<watch::Sender<Option<Found>>>);

impl Names {
    fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    fn say(&self, fakes: &[&Fake]) {
        self.0.send_replace(Some(Ok(fakes.iter().map(|fake| fake.address.ip()).collect())));
    }

    fn fail(&self) {
        self.0.send_replace(Some(Err("no such host".to_owned())));
    }

    fn seams(&self) -> Seams {
        let names = self.clone();
        let resolver = move |host: String| -> std::pin::Pin<Box<dyn Future<Output = Found> + Send>> {
            assert_eq!(host, "notes.test");
            let mut said = names.0.subscribe();
            Box::pin(async move { said.wait_for(Option::is_some).await.unwrap().clone().unwrap() })
        };
        Seams { resolver: Arc::new(resolver), ..Seams::default() }
    }
}

const DUAL: Options = Options { sessions: true, modern: true, legacy: true };

/// Servers at one port of several addresses of this machine.
async fn servers<const N: usize>() -> [Fake; N] {
    let first = Fake::start("i1", DUAL).await;
    let port = first.address.port();
    let mut all = vec![first];
    for at in 2..=N {
        let address: IpAddr = format!("127.0.0.{at}").parse().unwrap();
        all.push(Fake::start_at((address, port).into(), &format!("i{at}"), DUAL).await);
    }
    all.try_into().unwrap_or_else(|_| unreachable!())
}

fn file(folder: &Folder, port: u16, idle: &Fake) -> String {
    let health = format!("health = {{ interval = \"200ms\", timeout = \"200ms\", resolve_interval = \"20ms\" }}\n{WAITS}");
    let text = TestApp::file(folder.path(), &[], &[idle], "100:0", &health);
    let each = format!("endpoints = [{{ name = \"a\", url = \"http://notes.test:{port}\", resolve = \"each\" }}]");
    text.replacen("endpoints = []", &each, 1)
}

/// Waits until these are there and up; those that are leaving have a `-` before their names.
async fn standing(app: &TestApp, wanted: &[&str]) {
    eventually("the instances are these, and up", async || {
        let endpoints = app.admin.service().await["entries"]["primary"]["endpoints"].clone();
        let leaving = |one: &Value| if one["leaving"] == true { "-" } else { "" };
        let up = |one: &Value| (one["standing"] == "up").then(|| format!("{}{}", leaving(one), one["name"].as_str().unwrap()));
        let found: Vec<Option<String>> = endpoints.as_array().unwrap().iter().map(up).collect();
        (found == wanted.iter().map(|name| Some((*name).to_owned())).collect::<Vec<_>>()).then_some(())
    })
    .await;
}

async fn requests(app: &TestApp, instance: &str) -> u64 {
    let endpoints = app.admin.service().await["entries"]["primary"]["endpoints"].clone();
    let found = endpoints.as_array().unwrap().iter().find(|one| one["name"] == instance).unwrap();
    found["requests"]["ok"].as_u64().unwrap()
}

#[tokio::test]
async fn instances_come_and_go_under_traffic_and_nothing_fails() {
    let [one, two, three] = servers().await;
    let idle = Fake::start("idle", DUAL).await;
    let (names, folder) = (Names::new(), Folder::new());
    names.say(&[&one]);
    let app = TestApp::with_seams(file(&folder, one.address.port(), &idle), names.seams()).await;
    standing(&app, &["a@127.0.0.1"]).await;
    let client = Client::new(&app);
    let settled = client.open().await;
    let (running, births) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let traffic: Vec<_> = (0..4)
        .map(|worker| {
            let (client, settled, running, births) = (client.clone(), settled.clone(), running.clone(), births.clone());
            tokio::spawn(async move {
                while running.load(Ordering::SeqCst) {
                    // `open` and `who` fail the test on anything but a good answer.
                    client.open().await;
                    births.fetch_add(1, Ordering::SeqCst);
                    client
                        .with("mcp-protocol-version", "2026-07-28")
                        .with("x-api-key", &worker.to_string())
                        .who(&call(1, "echo"))
                        .await;
                    assert_eq!(settled.who().await, "i1", "a session stays where it is");
                }
            })
        })
        .collect();
    names.say(&[&two, &one]);
    standing(&app, &["a@127.0.0.1", "a@127.0.0.2"]).await;
    names.say(&[&one, &two, &three]);
    standing(&app, &["a@127.0.0.1", "a@127.0.0.2", "a@127.0.0.3"]).await;
    let on_two = eventually("somebody lives on the second", async || {
        let session = client.open().await;
        (session.who().await == "i2").then_some(session)
    })
    .await;
    let slow = tokio::spawn({
        let session = on_two.clone();
        async move { session.post(&call("slow", "wait")).await.bytes().await.unwrap() }
    });
    eventually("the slow call is there", async || two.calls().contains(&json!("slow")).then_some(())).await;
    names.say(&[&one, &three]);
    standing(&app, &["a@127.0.0.1", "a@127.0.0.3", "-a@127.0.0.2"]).await;
    assert_eq!(on_two.who().await, "i2", "who lives there stays, while it serves");
    for _ in 0..9 {
        assert_ne!(client.open().await.who().await, "i2", "and nobody comes");
    }
    names.say(&[&two, &three, &one]);
    standing(&app, &["a@127.0.0.1", "a@127.0.0.2", "a@127.0.0.3"]).await;
    assert_ne!(requests(&app, "a@127.0.0.2").await, 0, "it is the same one");
    names.say(&[&one, &three]);
    standing(&app, &["a@127.0.0.1", "a@127.0.0.3", "-a@127.0.0.2"]).await;
    two.release();
    assert_eq!(serde_json::from_slice::<Value>(&slow.await.unwrap()).unwrap()["result"]["server"], "i2", "what runs may finish");
    two.kill();
    standing(&app, &["a@127.0.0.1", "a@127.0.0.3"]).await;
    assert_eq!(on_two.post(&call(2, "echo")).await.status(), 404, "as for an endpoint that was taken out");
    names.fail();
    eventually("the trouble is shown", async || {
        let warnings = app.admin.service().await["warnings"].to_string();
        warnings.contains("no such host").then_some(())
    })
    .await;
    standing(&app, &["a@127.0.0.1", "a@127.0.0.3"]).await;
    names.say(&[&one]);
    standing(&app, &["a@127.0.0.1", "-a@127.0.0.3"]).await;
    let before = births.load(Ordering::SeqCst);
    eventually("traffic goes on", async || (births.load(Ordering::SeqCst) > before).then_some(())).await;
    running.store(false, Ordering::SeqCst);
    for worker in traffic {
        worker.await.unwrap();
    }
    assert_eq!(idle.births(), 0);
    assert_eq!(one.last().headers["host"].to_str().unwrap(), format!("notes.test:{}", one.address.port()));
}

#[tokio::test]
async fn who_comes_before_the_name_is_known_waits_for_it() {
    let [one, two] = servers().await;
    let idle = Fake::start("idle", DUAL).await;
    let (names, folder) = (Names::new(), Folder::new());
    names.say(&[&one, &two]);
    let text = file(&folder, one.address.port(), &idle);
    let app = TestApp::with_seams(text.clone(), names.seams()).await;
    standing(&app, &["a@127.0.0.1", "a@127.0.0.2"]).await;
    let session = Client::new(&app).open().await;
    let home = session.who().await;
    app.stop();
    app.stopped().await;
    // The next one, on the same state: until it knows the name, a session's instance is not lost.
    let later = Names::new();
    let app = TestApp::with_seams(text, later.seams()).await;
    assert_eq!(app.admin.service().await["entries"]["primary"]["unresolved"], true);
    let moved = Client::new(&app).bind(&session.id);
    let unresolved: Value = serde_json::from_slice(&moved.post(&call(9, "echo")).await.bytes().await.unwrap()).unwrap();
    assert_eq!(unresolved["error"]["code"], -32603, "an error that spares the session: {unresolved}");
    let waiting = tokio::spawn(async move { moved.who().await });
    later.say(&[&two, &one]);
    assert_eq!(waiting.await.unwrap(), home);
}

#[tokio::test]
async fn a_name_is_deployed_like_a_url() {
    let [one, two] = servers().await;
    let names = Names::new();
    names.say(&[&two]);
    let idle = Fake::start("idle", DUAL).await;
    let folder = Folder::new();
    let app = TestApp::with_seams(TestApp::file(folder.path(), &[&one], &[&idle], "100:0", ""), names.seams()).await;
    let endpoint = json!({ "name": "a", "url": format!("http://notes.test:{}", two.address.port()), "resolve": "each" });
    let deploy = async |endpoint: Value| {
        let body = json!({ "version": "3.0", "endpoints": [endpoint] });
        app.admin.send("PUT", "/v1/services/notes/entries/secondary", Some(body)).await
    };
    let (status, answer) = deploy(endpoint.clone()).await;
    assert_eq!((status, &answer["endpoints"][0]), (200, &endpoint));
    eventually("the instance is up", async || {
        let endpoints = app.admin.service().await["entries"]["secondary"]["endpoints"].clone();
        (endpoints[0]["name"] == "a@127.0.0.2" && endpoints[0]["standing"] == "up").then_some(())
    })
    .await;
    app.admin.split("0:100").await;
    assert_eq!(Client::new(&app).open().await.who().await, "i2");
    let (status, problem) = deploy(json!({ "url": "http://10.0.0.1:1", "resolve": "each" })).await;
    assert_eq!(status, 422, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("is for a name"), "{problem}");
}

#[tokio::test]
async fn a_word_of_an_instance_waits_for_its_name_too() {
    let [one, two] = servers().await;
    let idle = Fake::start("idle", DUAL).await;
    let (names, folder) = (Names::new(), Folder::new());
    names.say(&[&one, &two]);
    let text = file(&folder, one.address.port(), &idle);
    let app = TestApp::with_seams(text.clone(), names.seams()).await;
    standing(&app, &["a@127.0.0.1", "a@127.0.0.2"]).await;
    let modern = |app: &TestApp, key: u32| {
        let client = Client::new(app).with("x-api-key", &key.to_string()).with("mcp-protocol-version", "2026-07-28");
        client.with("mcp-method", "tools/call").with("mcp-name", "ask")
    };
    let ask = async |client: Client, params: Value| -> Value {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        serde_json::from_slice(&client.post(&message).await.bytes().await.unwrap()).unwrap()
    };
    let state = ask(modern(&app, 0), json!({ "name": "ask" })).await["result"]["requestState"].clone();
    assert!(state.is_string());
    // Another key that lives on the other instance: only the word can lead back.
    let home = modern(&app, 0).who(&call(1, "echo")).await;
    let mut stranger = 1;
    while modern(&app, stranger).who(&call(1, "echo")).await == home {
        stranger += 1;
    }
    app.stop();
    app.stopped().await;
    let later = Names::new();
    let app = TestApp::with_seams(text, later.seams()).await;
    let waiting = tokio::spawn({
        let client = modern(&app, stranger);
        async move { ask(client, json!({ "name": "ask", "requestState": state })).await }
    });
    eventually("the client is there", async || {
        let page = reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap();
        let connected = |line: &str| line.starts_with("dualgate_client_connections{") && line.ends_with(" 1.0");
        page.lines().any(connected).then_some(())
    })
    .await;
    later.say(&[&two, &one]);
    let retried = waiting.await.unwrap();
    assert!(retried["error"].is_null() && retried["result"].is_object(), "{retried}");
}
