//! Notifications through the whole house: the admin API, the command line, a reload, metrics.

use serde_json::{Value, json};

use crate::support::{Fake, Folder, Options, TestApp, eventually};

/// Somebody who is told: a server that keeps what it was sent.
struct Listener {
    url: String,
    heard: tokio::sync::watch::Receiver<Vec<Value>>,
}

impl Listener {
    async fn start(status: u16) -> Self {
        use axum::Json;
        use axum::http::StatusCode;
        use axum::routing::post;
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", socket.local_addr().unwrap());
        let (told, heard) = tokio::sync::watch::channel(Vec::new());
        let hear = move |Json(body): Json<Value>| {
            told.send_modify(|heard| heard.push(body));
            std::future::ready(StatusCode::from_u16(status).unwrap())
        };
        let routes = axum::Router::new().route("/hook", post(hear));
        let service = hyper_util::service::TowerToHyperService::new(routes);
        tokio::spawn(async move {
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let stream = hyper_util::rt::TokioIo::new(stream);
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(stream, service.clone()));
            }
        });
        Self { url, heard }
    }

    fn sink(&self, name: &str) -> String {
        format!("\n[[notify]]\nname = \"{name}\"\nurl = \"{}\"\ntimeout = \"2s\"\n", self.url)
    }
}

async fn servers() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

#[tokio::test]
async fn a_test_reaches_every_sink_or_says_which_it_does_not() {
    let ((v1, v2), folder) = (servers().await, Folder::new());
    let (good, bad) = (Listener::start(200).await, Listener::start(403).await);
    let more = format!("{}{}", good.sink("good"), bad.sink("bad"));
    let app = TestApp::from_text(TestApp::file(folder.path(), &[&v1], &[&v2], "100:0", &more)).await;
    let (status, answer) = app.admin.send("POST", "/v1/notify/test", None).await;
    assert_eq!((status, &answer["delivered"]), (200, &json!(false)), "{answer}");
    let sinks: Vec<(&str, bool)> = answer["sinks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|sink| (sink["name"].as_str().unwrap(), sink["delivered"].as_bool().unwrap()))
        .collect();
    assert_eq!(sinks, [("bad", false), ("good", true)]);
    assert_eq!(good.heard.borrow()[0]["event"], "test");
    let one = app.admin.send("POST", "/v1/notify/test", Some(json!({ "sink": "good" }))).await;
    assert_eq!((one.0, &one.1["delivered"], one.1["sinks"].as_array().unwrap().len()), (200, &json!(true), 1));
    let none = app.admin.send("POST", "/v1/notify/test", Some(json!({ "sink": "goood" }))).await;
    assert_eq!((none.0, none.1["type"].as_str().unwrap()), (404, "urn:dualgate:problem:no-such-sink"));
    let said = app.admin.cli(&["notify", "test", "--sink", "good"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("good  generic  delivered"), "{}", said.out);
    let said = app.admin.cli(&["notify", "test", "-o", "json"]).await;
    assert_eq!((said.code, serde_json::from_str::<Value>(&said.out).unwrap()["delivered"].clone()), (1, json!(false)));
    assert!(said.err.contains("error: bad: ") && said.err.contains("answers 403 Forbidden"), "{}", said.err);
    assert_eq!(app.admin.cli(&["notify", "test", "--sink", "other"]).await.code, 4);
    assert_eq!(app.admin.cli(&["notify", "test", "--dry-run"]).await.code, 2);
    let (_, audit) = app.admin.send("GET", "/v1/audit", None).await;
    let tests = audit["entries"].as_array().unwrap().iter().filter(|entry| entry["type"] == "notify-test");
    let results: Vec<&Value> = tests.map(|entry| &entry["result"]).collect();
    assert_eq!(results, ["failed", "done", "done", "failed"]);
    let page = app.admin.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("dualgate_notifications_total{sink=\"good\",result=\"delivered\"} 0"), "a test is no notification");
    assert!(page.contains("dualgate_notifications_waiting{sink=\"bad\"} 0"));
}

#[tokio::test]
async fn a_reload_brings_other_sinks() {
    let ((v1, v2), folder) = (servers().await, Folder::new());
    let (one, two) = (Listener::start(200).await, Listener::start(200).await);
    let path = folder.path().join("dualgate.toml");
    let write = |more: &str| {
        std::fs::write(&path, TestApp::file(&folder.path().join("state"), &[&v1], &[&v2], "100:0", more)).unwrap();
    };
    write(&one.sink("ops"));
    let app = TestApp::from_file(&path).await;
    write(&two.sink("ops"));
    app.hang_up();
    eventually("the second is told", async || {
        let (status, _) = app.admin.send("POST", "/v1/notify/test", None).await;
        assert_eq!(status, 200);
        (!two.heard.borrow().is_empty()).then_some(())
    })
    .await;
}
