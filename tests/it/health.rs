use serde_json::{Value, json};

use crate::support::scripted::{chunked, in_front_of, scripted};
use crate::support::{Client, Fake, Options, TestApp, WAITS, call, eventually, initialize};

const QUICK: &str = "health = { interval = \"200ms\", timeout = \"200ms\", fall = 2, rise = 2 }";

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options { modern: true, ..Options::default() }).await)
}

async fn standing(app: &TestApp, entry: &str, wanted: &str) {
    eventually(wanted, async || (app.admin.service().await["entries"][entry]["standing"] == wanted).then_some(())).await;
}

#[tokio::test]
async fn new_clients_of_a_dead_server_go_to_the_other_and_come_back_when_it_rises() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "0:100", QUICK).await;
    assert_eq!(Client::new(&app).open().await.who().await, "v2");
    v2.kill();
    // At once, even before the checks know: the request was not delivered, so it may go elsewhere.
    assert_eq!(Client::new(&app).open().await.who().await, "v1");
    standing(&app, "secondary", "down").await;
    assert_eq!(Client::new(&app).open().await.who().await, "v1");
    let _v2 = v2.restart().await;
    standing(&app, "secondary", "up").await;
    assert_eq!(Client::new(&app).open().await.who().await, "v2");
}

#[tokio::test]
async fn a_call_pending_on_a_dead_server_gets_an_error_that_spares_its_session() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", WAITS).await;
    let session = Client::new(&app).open().await;
    v1.kill();
    let answer = session.post(&call(77, "echo")).await;
    assert_eq!(answer.status(), 200);
    let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!((answer["id"].as_i64(), answer["error"]["code"].as_i64()), (Some(77), Some(-32603)));
    let batch = json!([call(1, "a"), call(2, "b")]);
    let answer: Value = serde_json::from_slice(&session.post(&batch).await.bytes().await.unwrap()).unwrap();
    assert_eq!(answer.as_array().unwrap().len(), 2);
    let notification = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(session.post(&notification).await.status(), 202);
    assert_eq!(session.listen().await.status(), 503);
    assert_eq!(session.delete().await.status(), 200);
    let modern = session.client.with("mcp-protocol-version", "2026-07-28").with("x-api-key", "k");
    v2.kill();
    app.admin.split("0:100").await;
    assert_eq!(modern.post(&call(1, "echo")).await.status(), 503);
}

#[tokio::test]
async fn http_errors_instead_of_json_rpc_ones_can_be_asked_for() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", &format!("traffic = {{ error_shape = \"http\" }}\n{WAITS}")).await;
    let session = Client::new(&app).open().await;
    v1.kill();
    assert_eq!(session.post(&call(1, "echo")).await.status(), 502);
}

#[tokio::test]
async fn a_tool_call_is_never_sent_twice_and_a_list_may_be() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.post(&call(1, "wait")).await.bytes().await.unwrap() }
    });
    eventually("the call has arrived", async || (v1.calls().len() == 1).then_some(())).await;
    v1.kill();
    let answer: Value = serde_json::from_slice(&waiting.await.unwrap()).unwrap();
    assert!(answer["error"]["message"].as_str().unwrap().contains("may have been carried out"));
    assert_eq!(v1.calls().len(), 1);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_an_error_for_its_id() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "traffic = { first_byte_timeout = \"100ms\" }").await;
    let session = Client::new(&app).open().await;
    let answer: Value = serde_json::from_slice(&session.post(&call(4, "wait")).await.bytes().await.unwrap()).unwrap();
    assert_eq!(answer["id"], 4);
    assert!(answer["error"]["message"].as_str().unwrap().contains("did not answer in time"));
}

#[tokio::test]
async fn with_both_servers_dead_nobody_is_ready_and_initialize_says_503() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "50:50", QUICK).await;
    let ready = async || reqwest::get(format!("http://{}/health/ready", app.metrics)).await.unwrap().status().as_u16();
    assert_eq!(ready().await, 200);
    v1.kill();
    v2.kill();
    standing(&app, "primary", "down").await;
    standing(&app, "secondary", "down").await;
    assert_eq!(ready().await, 503);
    assert_eq!(Client::new(&app).post(&initialize()).await.status(), 503);
}

#[tokio::test]
async fn checks_speak_the_era_of_their_server_and_leave_no_session_behind() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "50:50", QUICK).await;
    let detail = async |entry: &str| app.admin.service().await["entries"][entry]["endpoints"][0]["check"]["detail"].clone();
    assert_eq!(detail("primary").await, "v1 1");
    assert_eq!(detail("secondary").await, "serves 2026-07-28");
}

#[tokio::test]
async fn checks_of_the_other_kinds_see_what_they_should() {
    let (v1, v2) = pair().await;
    for (health, wanted) in [
        ("health = { kind = \"tcp\" }", "accepts connections"),
        ("health = { kind = \"http\", path = \"/status/204\" }", "answers 204 No Content"),
        ("health = { kind = \"http\", path = \"/status/503\" }", "answers 503 Service Unavailable"),
        ("health = { path = \"/status/421\" }", "answers initialize with 421 Misdirected Request"),
        ("health = { path = \"/status/401\" }", "answers 401: it wants a credential"),
    ] {
        let app = TestApp::start(&v1, &v2, "50:50", health).await;
        eventually(wanted, async || {
            let check = &app.admin.service().await["entries"]["primary"]["endpoints"][0]["check"];
            (check["detail"] == wanted).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn faults_of_clients_are_not_counted_against_the_entry() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let client = Client::new(&app);
    let session = client.open().await;
    session.who().await;
    for path in ["/status/400", "/status/404", "/status/500"] {
        reqwest::get(app.url(path)).await.unwrap().bytes().await.unwrap();
    }
    let count = async || app.admin.service().await["entries"]["primary"]["requests"].clone();
    eventually("all is counted", async || {
        (count().await == json!({ "ok": 2, "tool_error": 0, "protocol_error": 0, "opaque": 0, "client_fault": 2, "entry_fault": 1, "proxy_fault": 0 })).then_some(())
    })
    .await;
}

/// Five faults in a row eject, whatever their shape: a 200 that is no answer is one, too.
#[tokio::test]
async fn answers_that_are_none_eject_as_errors_do() {
    for (name, status, kind, body) in [
        ("500", 500, "text/plain", ""),
        ("garbled", 200, "application/json", "{\"jsonrpc\":"),
        ("no answer", 200, "text/event-stream", "data: {\"method\":\"notifications/progress\"}\n\n"),
        ("empty", 200, "application/json", ""),
    ] {
        let other = Fake::start("other", Options::default()).await;
        let server = scripted(move |_, _| async move { chunked(status, &[("content-type", kind)], body).await }).await;
        let app = in_front_of(server, &other, "").await;
        for id in 0..5 {
            let _ = Client::new(&app).post(&call(id, "echo")).await.bytes().await;
        }
        eventually(&format!("{name}: it is ejected"), async || {
            (app.admin.service().await["entries"]["primary"]["endpoints"][0]["ejected"] == true).then_some(())
        })
        .await;
    }
}
