use std::time::Duration;

use crate::support::{Client, Fake, Options, TestApp, call, eventually};

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

async fn start(v1: &Fake, v2: &Fake, shutdown: &str) -> TestApp {
    let folder = crate::support::Folder::new();
    let text = TestApp::file(folder.path(), &[v1], &[v2], "100:0", "");
    TestApp::from_text(text.replace("shutdown = { delay = \"0s\", drain = \"1s\" }", shutdown)).await
}

async fn in_flight(app: &TestApp, wanted: u64) {
    eventually("the calls are running", async || {
        (app.admin.service().await["entries"]["primary"]["endpoints"][0]["in_flight"] == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_runs_may_finish_and_nothing_new_is_accepted() {
    let (v1, v2) = pair().await;
    let app = start(&v1, &v2, "shutdown = { delay = \"0s\", drain = \"30s\" }").await;
    let session = Client::new(&app).open().await;
    let running = tokio::spawn({
        let session = session.clone();
        async move { session.post(&call(1, "wait")).await.status() }
    });
    in_flight(&app, 1).await;
    app.stop();
    eventually("the listener is closed", async || tokio::net::TcpStream::connect(app.address).await.is_err().then_some(())).await;
    v1.release();
    assert_eq!(running.await.unwrap(), 200);
    app.stopped().await;
}

#[tokio::test]
async fn while_it_waits_it_is_not_ready_and_still_accepts() {
    let (v1, v2) = pair().await;
    let app = start(&v1, &v2, "shutdown = { delay = \"30s\", drain = \"30s\" }").await;
    app.stop();
    let ready = async || reqwest::get(format!("http://{}/health/ready", app.metrics)).await.unwrap().status().as_u16();
    eventually("not ready", async || (ready().await == 503).then_some(())).await;
    assert_eq!(Client::new(&app).open().await.who().await, "v1");
    // Asked a second time, it does not wait any longer.
    app.stop();
    app.stopped().await;
}

#[tokio::test]
async fn after_the_drain_calls_end_with_an_error_for_their_id_and_get_streams_are_ended() {
    let (v1, v2) = pair().await;
    let app = start(&v1, &v2, "shutdown = { delay = \"0s\", drain = \"100ms\" }").await;
    let session = Client::new(&app).open().await;
    let listening = session.listen().await;
    let streaming = session.post(&call("s", "stream")).await;
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.post(&call("w", "wait")).await.text().await.unwrap() }
    });
    in_flight(&app, 3).await;
    app.stop();
    let within = |future| tokio::time::timeout(Duration::from_secs(10), future);
    assert_eq!(within(listening.text()).await.unwrap().unwrap(), "");
    let streamed = within(streaming.text()).await.unwrap().unwrap();
    assert!(streamed.contains("\"id\":\"s\"") && streamed.contains("the proxy is stopping"), "{streamed}");
    let waited = waiting.await.unwrap();
    assert!(waited.contains("\"id\":\"w\"") && waited.contains("the proxy is stopping"), "{waited}");
    app.stopped().await;
}
