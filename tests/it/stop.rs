use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::support::{Client, Fake, Folder, Options, Port, TestApp, call, eventually, initialize};

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

async fn start(v1: &Fake, v2: &Fake, shutdown: &str) -> TestApp {
    let folder = Folder::new();
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

/// The binary with a log that nobody reads, as behind a shipper that hangs.
struct Stalled {
    process: Child,
    _folder: Folder,
    http: reqwest::Client,
    token: String,
    ports: [Port; 2],
}

impl Stalled {
    async fn start(v1: &Fake, v2: &Fake) -> Self {
        let folder = Folder::new();
        let ports = [Port::any(), Port::any()];
        let mut text = TestApp::file(&folder.path().join("state"), &[v1], &[v2], "50:50", "");
        for port in &ports {
            text = text.replacen("127.0.0.1:0", &port.address.to_string(), 1);
        }
        let path = folder.path().join("dualgate.toml");
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dualgate"));
        command.args(["run", "--config", path.to_str().unwrap()]).env("LOG_LEVEL", "trace");
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stalled = Self { process, http: reqwest::Client::new(), token: String::new(), ports, _folder: folder };
        eventually("the start", async || stalled.ready().await.then_some(())).await;
        stalled.token = std::fs::read_to_string(stalled._folder.path().join("state/admin-token")).unwrap();
        stalled
    }

    async fn ready(&self) -> bool {
        let url = format!("http://{}/health/ready", self.ports[1].address);
        let asked = self.http.get(url).timeout(Duration::from_secs(2)).send().await;
        asked.is_ok_and(|answer| answer.status() == 200)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    async fn ended(&mut self) -> ExitStatus {
        eventually("the process has ended", async || self.process.try_wait().unwrap()).await
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_neither_a_rollback_nor_the_end() {
    let (v1, v2) = pair().await;
    let mut stalled = Stalled::start(&v1, &v2).await;
    let mcp = format!("http://{}/mcp", stalled.ports[0].address);
    let admin = format!("http://{}", stalled.ports[1].address);
    // Far more than a pipe takes: every denied attempt and every request says something.
    for _ in 0..600 {
        let within = Duration::from_secs(5);
        stalled.http.get(format!("{admin}/v1/audit")).timeout(within).send().await.unwrap();
        let body = initialize().to_string();
        stalled.http.post(&mcp).header("content-type", "application/json").body(body).timeout(within).send().await.unwrap();
    }
    let asked = Instant::now();
    let rollback = stalled.http.post(format!("{admin}/v1/services/notes/rollback")).bearer_auth(stalled.token.trim());
    assert_eq!(rollback.timeout(Duration::from_secs(5)).send().await.unwrap().status(), 200);
    assert!(asked.elapsed() < Duration::from_secs(2));
    let page = stalled.http.get(format!("{admin}/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("dualgate_log_lines_dropped_total{} "), "{page}");
    stalled.signal("TERM");
    let asked = Instant::now();
    assert_eq!(stalled.ended().await.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(6), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_hang_up_is_answered_and_kills_nobody() {
    let (v1, v2) = pair().await;
    let mut process = Stalled::start(&v1, &v2).await;
    process.signal("HUP");
    process.signal("HUP");
    assert!(process.ready().await);
    process.signal("TERM");
    assert_eq!(process.ended().await.code(), Some(0));
    let mut log = String::new();
    std::io::Read::read_to_string(&mut process.process.stderr.take().unwrap(), &mut log).unwrap();
    assert!(log.contains("the configuration is in force already") || log.contains("without a configuration file"), "{log}");
}
