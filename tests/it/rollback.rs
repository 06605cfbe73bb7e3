use serde_json::json;

use crate::support::{Client, Fake, Options, TestApp};

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

#[tokio::test]
async fn a_rollback_sends_new_clients_to_stable_at_once_and_is_durable() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    app.admin.split("0:100").await;
    let pinned = Client::new(&app).open().await;
    let (status, answer) = app.admin.send("POST", "/v1/services/notes/rollback", None).await;
    assert_eq!(status, 200);
    assert_eq!((&answer["changed"], &answer["durable"]), (&json!(true), &json!(true)));
    assert_eq!(answer["new"], json!({ "primary": 100.0, "secondary": 0.0 }));
    assert_eq!(Client::new(&app).open().await.who().await, "v1");
    assert_eq!(pinned.who().await, "v2", "a session stays where it lives");
    let service = app.admin.service().await;
    assert_eq!(service["entries"]["secondary"]["condemned"]["version"], "2.0");
}

#[tokio::test]
async fn a_second_rollback_changes_nothing() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    app.admin.split("50:50").await;
    let first = app.admin.send("POST", "/v1/services/notes/rollback", Some(json!({ "reason": "errors" }))).await.1;
    let second = app.admin.send("POST", "/v1/services/notes/rollback", None).await.1;
    assert_eq!(second["changed"], false);
    assert_eq!(first["revision"], second["revision"]);
}

#[tokio::test]
async fn a_rollback_works_on_a_disk_that_takes_nothing_new_and_a_raise_is_refused() {
    let (v1, v2) = pair().await;
    let folder = crate::support::Folder::new();
    let app = TestApp::from_text(TestApp::file(folder.path(), &[&v1], &[&v2], "100:0", "")).await;
    app.admin.split("50:50").await;
    // As on a full disk: no new file can be made where states are saved.
    let services = folder.path().join("services");
    std::fs::rename(&services, folder.path().join("away")).unwrap();
    std::fs::write(&services, "not a folder").unwrap();
    let (status, problem) =
        app.admin.send("PUT", "/v1/services/notes/split", Some(json!({ "primary": 10, "secondary": 90 }))).await;
    assert_eq!((status, &problem["type"]), (507, &json!("urn:dualgate:problem:not-stored")));
    assert_eq!(app.admin.service().await["split"]["target"]["secondary"], 50.0);
    let (status, answer) = app.admin.send("POST", "/v1/services/notes/rollback", None).await;
    assert_eq!((status, &answer["durable"]), (200, &json!(true)), "the brake needs nothing new");
    drop(app);
    std::fs::remove_file(&services).unwrap();
    std::fs::rename(folder.path().join("away"), &services).unwrap();
    let again = TestApp::from_text(TestApp::file(folder.path(), &[&v1], &[&v2], "50:50", "")).await;
    assert_eq!(again.admin.service().await["split"]["target"]["secondary"], 0.0, "rolled back after the restart, too");
}

#[tokio::test]
async fn nobody_fails_over_to_what_was_rolled_back() {
    let (v1, v2) = pair().await;
    let health = "health = { interval = \"200ms\", timeout = \"200ms\", fall = 1, rise = 1 }";
    let app = TestApp::start(&v1, &v2, "50:50", health).await;
    app.admin.send("POST", "/v1/services/notes/rollback", None).await;
    v1.kill();
    let answer = Client::new(&app).post(&crate::support::initialize()).await;
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(v2.births(), 0);
}
