use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Client, Fake, Options, TestApp, eventually};

async fn app() -> (Fake, Fake, TestApp) {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let app = TestApp::start(&v1, &v2, "90:10", "").await;
    (v1, v2, app)
}

const SPLIT: &str = "/v1/services/notes/split";

#[tokio::test]
async fn the_split_is_read_and_set_with_its_revision_as_etag() {
    let (_v1, _v2, app) = app().await;
    // The first state is in force before the disk has it.
    let now = eventually("the start is on the disk", async || {
        let response = app.admin.request("GET", SPLIT).send().await.unwrap();
        assert_eq!(response.headers()["etag"], "\"1\"");
        let now: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        (now["durable"] == true).then_some(now)
    })
    .await;
    assert_eq!(now, json!({ "service": "notes", "primary": 90.0, "secondary": 10.0, "revision": 1, "durable": true }));
    let (status, answer) =
        app.admin.send("PUT", SPLIT, Some(json!({ "primary": 87.5, "secondary": 12.5, "reason": "step" }))).await;
    assert_eq!(status, 200);
    assert_eq!(answer["old"], json!({ "primary": 90.0, "secondary": 10.0 }));
    assert_eq!(answer["new"], json!({ "primary": 87.5, "secondary": 12.5 }));
    assert_eq!((answer["revision"].as_u64(), &answer["durable"]), (Some(2), &json!(true)));
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let (_v1, _v2, app) = app().await;
    let path = format!("{SPLIT}?dry_run=true");
    let (status, answer) = app.admin.send("PUT", &path, Some(json!({ "primary": 0, "secondary": 100 }))).await;
    assert_eq!((status, &answer["changed"], &answer["dry_run"]), (200, &json!(true), &json!(true)));
    assert_eq!(app.admin.send("GET", SPLIT, None).await.1["secondary"], 10.0);
}

#[tokio::test]
async fn of_sixty_writers_who_compare_as_many_win_as_the_revision_rises() {
    let (_v1, _v2, app) = app().await;
    let mut writers = Vec::new();
    for at in 0..60 {
        let admin = app.admin.clone();
        writers.push(tokio::spawn(async move {
            let now = admin.send("GET", SPLIT, None).await.1["revision"].as_u64().unwrap();
            let body = json!({ "primary": at, "secondary": 100 - at }).to_string();
            let request =
                admin.request("PUT", SPLIT).header("if-match", format!("\"{now}\"")).header("content-type", "application/json");
            let status = request.body(body).send().await.unwrap().status().as_u16();
            assert!(status == 200 || status == 412, "{status}");
            u64::from(status == 200)
        }));
    }
    let mut wins = 0;
    for writer in writers {
        wins += writer.await.unwrap();
    }
    assert!(wins >= 1);
    assert_eq!(app.admin.send("GET", SPLIT, None).await.1["revision"].as_u64().unwrap(), 1 + wins);
}

#[tokio::test]
async fn a_stale_writer_is_told_what_is_current() {
    let (_v1, _v2, app) = app().await;
    let request = app.admin.request("PUT", SPLIT).header("if-match", "\"9\"").header("content-type", "application/json");
    let response = request.body(json!({ "primary": 0, "secondary": 100 }).to_string()).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (412, &"application/problem+json".parse().unwrap())
    );
    let problem: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(problem["type"], "urn:dualgate:problem:stale-revision");
    assert_eq!(problem["current"], json!({ "primary": 90.0, "secondary": 10.0, "revision": 1 }));
}

/// Bodies, the status and the end of the type they are refused with, the member that is named, and how.
const BAD_BODIES: &[(&str, u16, &str, &str, &str)] = &[
    (r#"{"primary":90,"secondary":20}"#, 422, "split-sum", "", "primary 90 and secondary 20 make 110, but must make 100"),
    (r#"{"primary":101,"secondary":-1}"#, 422, "share", "/primary", "`101`"),
    (r#"{"primary":100,"secondary":-1}"#, 422, "share", "/secondary", "`-1`"),
    (r#"{"primary":"90","secondary":10}"#, 422, "share", "/primary", "`\"90\"`"),
    (r#"{"primary":99.999,"secondary":0.001}"#, 422, "share", "/primary", "`99.999`"),
    (r#"{"primary":1e400,"secondary":0}"#, 422, "share", "/primary", "`1e400`"),
    (r#"{"primary":null,"secondary":10}"#, 422, "share", "/primary", "`null`"),
    (r#"{"primary":true,"secondary":10}"#, 422, "share", "/primary", "`true`"),
    (r#"{"primary":90,"secondary":[10]}"#, 422, "share", "/secondary", "`[10]`"),
    (r#"{"primary":90,"secondary":{"a":1,"a":1}}"#, 422, "share", "/secondary", "`{\"a\":1,\"a\":1}`"),
    (r#"{"primary":NaN,"secondary":10}"#, 400, "invalid-body", "/primary", "expected value at line 1 column 12"),
    (r#"{"primary":090,"secondary":10}"#, 400, "invalid-body", "/primary", "invalid number at line 1 column 13"),
    (r#"{"primary":90}"#, 400, "invalid-body", "/secondary", "missing field `secondary` at line 1 column 14"),
    (
        r#"{"primary":90,"secundary":10}"#,
        400,
        "invalid-body",
        "/secundary",
        "unknown field `secundary`, expected one of `primary`, `secondary`, `reason` at line 1 column 25; did you mean `secondary`?",
    ),
    (
        r#"{"primary":90,"secondary":10,"x~/":1}"#,
        400,
        "invalid-body",
        "/x~0~1",
        "unknown field `x~/`, expected one of `primary`, `secondary`, `reason` at line 1 column 34",
    ),
    (
        r#"{"primary":90,"primary":90,"secondary":10}"#,
        400,
        "invalid-body",
        "/primary",
        "duplicate field `primary` at line 1 column 23",
    ),
    (
        r#"{"primary":90,"secondary":10,"reason":7}"#,
        400,
        "invalid-body",
        "/reason",
        "invalid type: integer `7`, expected a string at line 1 column 39",
    ),
    (r#"{"primary":90,"secondary":10} x"#, 400, "invalid-body", "", "trailing characters at line 1 column 31"),
    (r#"{"primary":90,"secondary":10"#, 400, "invalid-body", "", "EOF while parsing an object at line 1 column 28"),
    ("[90,10,null]", 400, "invalid-body", "", "the body must be an object"),
    ("null", 400, "invalid-body", "", "the body must be an object"),
    ("", 400, "invalid-body", "", "the body is empty"),
    ("nonsense", 400, "invalid-body", "", "expected ident at line 1 column 2"),
];

#[tokio::test]
async fn every_bad_body_is_refused_by_name_and_changes_nothing() {
    let (_v1, _v2, app) = app().await;
    let before = app.admin.service().await;
    let put = async |body: Vec<u8>| {
        let request = app.admin.request("PUT", SPLIT).header("content-type", "application/json").body(body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice::<Value>(&response.bytes().await.unwrap()).unwrap())
    };
    for (body, status, slug, pointer, detail) in BAD_BODIES {
        let detail = match *slug {
            "share" => format!("{pointer}: {detail} is not a share: a number from 0 to 100 with at most two decimals"),
            _ => (*detail).to_owned(),
        };
        let (answered, problem) = put(body.as_bytes().to_vec()).await;
        assert_eq!((answered, problem["detail"].as_str().unwrap()), (*status, &*detail), "{body}");
        assert_eq!(problem["type"], format!("urn:dualgate:problem:{slug}"), "{body}");
        assert_eq!(problem["pointer"].as_str().unwrap_or_default(), *pointer, "{body}");
        assert!(problem["hint"].is_string() || *slug == "share", "{problem}");
    }
    let digits = format!(r#"{{"primary":{},"secondary":0}}"#, "9".repeat(400));
    let shown = format!("/primary: `{}…` is not a share: a number from 0 to 100 with at most two decimals", "9".repeat(40));
    assert_eq!(put(digits.into()).await.1["detail"], shown);
    let (status, problem) = put(b"{\"reason\":\"\xff\",\"primary\":90,\"secondary\":10}".to_vec()).await;
    assert_eq!((status, &problem["detail"]), (400, &json!("the body is not UTF-8 from its byte 11 on")));
    for depth in [33, 30_000] {
        let nested = format!(r#"{{"primary":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let (status, problem) = put(nested.into()).await;
        assert_eq!((status, &problem["detail"]), (400, &json!("the body is nested deeper than 32")));
    }
    let shallow = format!(r#"{{"secondary":10,"primary":{}{}}}"#, "[".repeat(31), "]".repeat(31));
    assert_eq!(put(shallow.into()).await.0, 422);
    let long = json!({ "primary": 90, "secondary": 10, "reason": "é".repeat(1001) });
    assert_eq!(put(long.to_string().into()).await.1["pointer"], "/reason");
    // Over a connection of its own: the server closes it in the middle of the body.
    let mut stranger = app.admin.clone();
    stranger.http = reqwest::Client::new();
    let large = stranger.request("PUT", SPLIT).header("content-type", "application/json").body("x".repeat(8 << 20)).send().await;
    assert!(large.is_err() || large.unwrap().status() == 413);
    assert_eq!(app.admin.service().await["revision"], before["revision"]);
}

#[tokio::test]
async fn every_bad_deploy_is_refused_by_name_and_changes_nothing() {
    let (_v1, _v2, app) = app().await;
    app.admin.split("100:0").await;
    for (body, status, slug, pointer) in [
        (json!({ "version": "", "endpoints": ["http://a:1"] }), 422, "version", "/version"),
        (json!({ "version": "x".repeat(129), "endpoints": ["http://a:1"] }), 422, "version", "/version"),
        (json!({ "version": 3, "endpoints": ["http://a:1"] }), 400, "invalid-body", "/version"),
        (json!({ "version": "3", "endpoints": [] }), 422, "endpoint", "/endpoints"),
        (json!({ "version": "3", "endpoints": "http://a:1" }), 400, "invalid-body", "/endpoints"),
        (json!({ "version": "3", "endpoints": ["http://a:1", "ftp://a:2"] }), 422, "endpoint", "/endpoints/1"),
        (json!({ "version": "3", "endpoints": ["http://a:1", "http://a:1/"] }), 422, "endpoint", "/endpoints"),
        (json!({ "version": "3", "endpoints": [["a", "http://a:1", null]] }), 400, "invalid-body", "/endpoints/0"),
        (json!({ "version": "3", "endpoints": [{ "name": "a" }] }), 400, "invalid-body", "/endpoints/0/url"),
        (json!({ "version": "3", "endpoints": [{ "url": "http://a:1", "nam": "a" }] }), 400, "invalid-body", "/endpoints/0/nam"),
        (json!({ "version": "3", "endpoints": ["http://a:1"], "force": null }), 400, "invalid-body", "/force"),
        (json!({ "version": "3", "endpoints": ["http://a:1"], "force": "yes" }), 400, "invalid-body", "/force"),
        (json!({ "version": "3", "endpoints": ["http://a:1"], "split": 1 }), 400, "invalid-body", "/split"),
        (json!({ "endpoints": ["http://a:1"] }), 400, "invalid-body", "/version"),
    ] {
        let (answered, problem) = app.admin.send("PUT", "/v1/services/notes/entries/secondary", Some(body.clone())).await;
        assert_eq!((answered, &problem["pointer"]), (status, &json!(pointer)), "{body}: {problem}");
        assert_eq!(problem["type"], format!("urn:dualgate:problem:{slug}"), "{body}");
    }
    let service = app.admin.service().await;
    assert_eq!((&service["revision"], &service["entries"]["secondary"]["overlay"]), (&json!(2), &json!(false)));
}

#[tokio::test]
async fn a_body_that_is_no_json_by_its_headers_is_refused() {
    let (_v1, _v2, app) = app().await;
    let body = r#"{"primary":50,"secondary":50}"#;
    for headers in [
        &[("content-type", "text/plain")][..],
        &[("content-type", "application/jsonx")],
        &[("content-type", "application/json; charset=latin1")],
        &[("content-type", "application/json"), ("content-type", "text/plain")],
        &[("content-type", "application/json"), ("content-encoding", "gzip")],
        &[],
    ] {
        let request =
            headers.iter().fold(app.admin.request("PUT", SPLIT), |request, (name, value)| request.header(*name, *value));
        let answer = request.body(body).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().contains("not-json")), (415, true), "{headers:?}");
    }
    assert_eq!(app.admin.service().await["revision"], 1);
    let request = app.admin.request("PUT", SPLIT).header("content-type", "Application/JSON ; charset=\"UTF-8\"");
    assert_eq!(request.body(body).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn wrong_paths_methods_services_and_entries_are_named() {
    let (_v1, _v2, app) = app().await;
    for (method, path, status) in [
        ("GET", "/v1/services/nothing", 404),
        ("GET", "/v2", 404),
        ("POST", SPLIT, 405),
        ("GET", "/v1/services/notes/rollback", 405),
        ("PUT", "/v1/services/notes/entries/tertiary", 404),
        ("GET", "/v1/services/notes/../notes", 200),
    ] {
        let response = app.admin.request(method, path).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        if status == 405 {
            assert!(response.headers().contains_key("allow"));
        }
    }
}

#[tokio::test]
async fn nobody_comes_in_without_the_token_and_every_attempt_is_on_record() {
    let (_v1, _v2, app) = app().await;
    let offered = ["", "Bearer", "Bearer wrong", &format!("Bearer {}x", app.admin.token), &format!("Basic {}", app.admin.token)];
    for token in offered {
        let request = app.admin.http.put(format!("{}{SPLIT}", app.admin.url)).header("authorization", token);
        let response =
            request.header("content-type", "application/json").body(r#"{"primary":0,"secondary":100}"#).send().await.unwrap();
        assert_eq!(response.status(), 401, "{token}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
    let rebound = app.admin.request("GET", SPLIT).header("host", "evil.example").send().await.unwrap();
    assert_eq!(rebound.status(), 421);
    let page = app.admin.request("GET", SPLIT).header("origin", "https://evil.example").send().await.unwrap();
    assert_eq!(page.status(), 403);
    let own_page = app.admin.request("GET", SPLIT).header("origin", app.admin.url.clone()).send().await.unwrap();
    assert_eq!(own_page.status(), 200);
    let entries = app.admin.send("GET", "/v1/audit?limit=50", None).await.1["entries"].clone();
    let denied: Vec<u64> = entries
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["type"] == "denied")
        .map(|entry| entry["result"].as_u64().unwrap())
        .collect();
    assert_eq!(denied, [401, 401, 401, 401, 401, 421, 403]);
    assert_eq!(app.admin.send("GET", SPLIT, None).await.1["revision"], 1);
}

#[tokio::test]
async fn every_change_is_in_the_audit_before_it_is_acknowledged() {
    let (_v1, _v2, app) = app().await;
    app.admin.send("PUT", SPLIT, Some(json!({ "primary": 50, "secondary": 50, "reason": "step two" }))).await;
    app.admin.send("POST", "/v1/services/notes/rollback", Some(json!({ "reason": "errors" }))).await;
    let entries = app.admin.send("GET", "/v1/audit", None).await.1["entries"].clone();
    let of = |kind: &str| entries.as_array().unwrap().iter().find(|entry| entry["type"] == kind).unwrap().clone();
    let (split, rollback) = (of("split"), of("rollback"));
    assert_eq!((&split["before"], &split["after"], &split["reason"]), (&json!("90:10"), &json!("50:50"), &json!("step two")));
    assert_eq!((&rollback["candidate"], &rollback["after"]), (&json!("secondary"), &json!("100:0")));
    assert!(split["actor"].as_str().unwrap().starts_with("token@127.0.0.1") && split["time"].is_string());
}

#[tokio::test]
async fn events_are_told_as_they_happen_and_a_listener_can_come_back() {
    let (_v1, _v2, app) = app().await;
    let mut stream = app.admin.request("GET", "/v1/events").send().await.unwrap();
    stream.chunk().await.unwrap();
    app.admin.split("50:50").await;
    let event = String::from_utf8(stream.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(event.contains("event: split\n") && event.contains("\"after\":\"50:50\""), "{event}");
    let id = event.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    drop(stream);
    app.admin.split("40:60").await;
    let mut again = app.admin.request("GET", "/v1/events").header("last-event-id", id).send().await.unwrap();
    let mut missed = String::new();
    while !missed.contains("\n\nid:") && !missed.contains("data:") {
        missed.push_str(&String::from_utf8_lossy(&again.chunk().await.unwrap().unwrap()));
    }
    assert!(missed.contains("\"after\":\"40:60\"") && !missed.contains("\"after\":\"50:50\""), "{missed}");
}

#[tokio::test]
async fn a_deploy_fills_the_idle_slot_and_is_kept_over_the_file() {
    let (v1, v2, app) = app().await;
    let v3 = Fake::start("v3", Options::default()).await;
    let entry = "/v1/services/notes/entries/secondary";
    let body = json!({ "version": "3.0", "endpoints": [v3.url()], "reason": "next" });
    let (status, problem) = app.admin.send("PUT", entry, Some(body.clone())).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:dualgate:problem:entry-in-use")));
    app.admin.split("100:0").await;
    let (status, answer) = app.admin.send("PUT", entry, Some(body)).await;
    assert_eq!((status, &answer["changed"], &answer["durable"]), (200, &json!(true), &json!(true)));
    eventually("it is proven", async || (app.admin.service().await["entries"]["secondary"]["standing"] == "up").then_some(()))
        .await;
    let service = app.admin.service().await;
    assert!(
        service["drift"].as_array().unwrap().iter().any(|line| line.as_str().unwrap().contains("deployed and in force is 3.0")),
        "{service}"
    );
    app.admin.split("0:100").await;
    assert_eq!(Client::new(&app).open().await.who().await, "v3");
    let shared = json!({ "version": "4.0", "endpoints": [v3.url()], "force": true });
    assert_eq!(app.admin.send("PUT", "/v1/services/notes/entries/primary", Some(shared)).await.0, 422);
    let wrong = json!({ "version": "4.0", "endpoints": ["ftp://x:1"] });
    let (status, problem) = app.admin.send("PUT", "/v1/services/notes/entries/primary", Some(wrong)).await;
    assert_eq!((status, &problem["type"]), (422, &json!("urn:dualgate:problem:endpoint")));
    drop((v1, v2));
}

#[tokio::test]
async fn where_the_file_is_the_authority_the_split_is_not_the_apis_to_set() {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let folder = crate::support::Folder::new();
    let text = TestApp::file(folder.path(), &[&v1], &[&v2], "90:10", "");
    let app = TestApp::from_text(text.replace("secondary = 10 }", "secondary = 10, authority = \"config\" }")).await;
    let (status, problem) = app.admin.send("PUT", SPLIT, Some(json!({ "primary": 50, "secondary": 50 }))).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:dualgate:problem:file-is-authority")));
    assert_eq!(app.admin.send("POST", "/v1/services/notes/rollback", None).await.0, 200, "legal in every state");
}

#[tokio::test]
async fn the_metrics_listener_shows_figures_and_nothing_else() {
    let (_v1, _v2, app) = app().await;
    Client::new(&app).open().await.who().await;
    let get = async |path: &str| reqwest::get(format!("http://{}{path}", app.metrics)).await.unwrap();
    assert_eq!(get("/health").await.status(), 200);
    assert_eq!(get("/v1/services").await.status(), 404);
    let page = get("/metrics").await.text().await.unwrap();
    for line in [
        "dualgate_split_target{service=\"notes\",entry=\"secondary\"} 0.1",
        "dualgate_endpoint_up{service=\"notes\",entry=\"primary\",endpoint=",
        "dualgate_revision{service=\"notes\"} 1",
        "dualgate_state_durable{service=\"notes\"} 1",
        "dualgate_request_duration_seconds_bucket{le=\"+Inf\",service=\"notes\",entry=\"primary\"}",
        "dualgate_sessions{service=\"notes\",entry=\"primary\"}",
    ] {
        assert!(page.contains(line), "{line} is missing in\n{page}");
    }
    for metric in dualgate::telemetry::names::ALL {
        assert!(page.contains(&format!("# HELP {} ", metric.name)), "{}", metric.name);
    }
}

#[tokio::test]
async fn it_is_ready_only_while_every_client_has_somewhere_to_go() {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let health = "health = { interval = \"200ms\", timeout = \"200ms\", fall = 1, rise = 1 }";
    let app = TestApp::start(&v1, &v2, "50:50", health).await;
    let ready = async || reqwest::get(format!("http://{}/health/ready", app.metrics)).await.unwrap();
    assert_eq!(ready().await.status(), 200);
    // Condemned, so nothing may stand in for the other.
    app.admin.send("POST", "/v1/services/notes/rollback", None).await;
    v1.kill();
    eventually("not ready", async || (ready().await.status() == 503).then_some(())).await;
    let document: Value = serde_json::from_slice(&ready().await.bytes().await.unwrap()).unwrap();
    assert_eq!(document["reasons"], json!(["notes: primary has clients, is down, and nothing stands in for it"]));
    let alive = reqwest::get(format!("http://{}/health", app.metrics)).await.unwrap();
    assert_eq!(alive.status(), 200, "a proxy without entries is alive");
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_a_problem_document() {
    let (_v1, _v2, app) = app().await;
    for (method, path) in [("GET", "/v1/audit?limit=x"), ("PUT", &format!("{SPLIT}?dry_run=perhaps"))] {
        let response =
            app.admin.request(method, path).header("content-type", "application/json").body("{}").send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (400, &"application/problem+json".parse().unwrap())
        );
        let problem: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(problem["type"], "urn:dualgate:problem:invalid-query");
    }
}

#[tokio::test]
async fn two_hosts_are_one_too_many() {
    let (_v1, _v2, app) = app().await;
    let host = app.admin.url.strip_prefix("http://").unwrap();
    let request = format!(
        "GET {SPLIT} HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\nAuthorization: Bearer {}\r\n\r\n",
        app.admin.token
    );
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 400");
}

#[tokio::test]
async fn who_is_slow_to_send_or_to_take_is_cut_off() {
    let (_v1, _v2, app) = app().await;
    let host = app.admin.url.strip_prefix("http://").unwrap().to_owned();
    // Asks for page after page and takes none of them.
    let mut greedy = tokio::net::TcpStream::connect(&host).await.unwrap();
    let pages = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n").repeat(2000);
    let _ = tokio::time::timeout(Duration::from_secs(1), greedy.write_all(pages.as_bytes())).await;
    let mut slow = tokio::net::TcpStream::connect(&host).await.unwrap();
    let head = format!(
        "PUT {SPLIT} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{{",
        app.admin.token
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 2048];
    let length = tokio::time::timeout(Duration::from_secs(9), slow.read(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("application/problem+json"), "{answer}");
    tokio::time::sleep(Duration::from_secs(12)).await;
    let (mut taken, mut buffer) = (0, vec![0; 1 << 20]);
    while let Ok(Ok(length @ 1..)) = tokio::time::timeout(Duration::from_secs(5), greedy.read(&mut buffer)).await {
        taken += String::from_utf8_lossy(&buffer[..length]).matches("HTTP/1.1 200").count();
    }
    assert!(taken < 2000, "{taken} pages were kept for somebody who took none");
}

#[tokio::test]
async fn an_endpoint_that_is_deployed_again_keeps_its_name_and_its_sessions() {
    let (v1, v2) = (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await);
    let folder = crate::support::Folder::new();
    let text = TestApp::file(folder.path(), &[&v1], &[&v2], "0:100", "");
    let url = format!("\"{}\"", v2.url());
    let app = TestApp::from_text(text.replace(&url, &format!("{{ name = \"green\", url = {url} }}"))).await;
    let session = Client::new(&app).open().await;
    assert_eq!(session.who().await, "v2");
    let v3 = Fake::start("v3", Options::default()).await;
    let endpoints = json!([v2.url(), { "name": "blue", "url": v3.url() }]);
    let body = json!({ "version": "2.1", "endpoints": endpoints, "force": true });
    let (status, answer) = app.admin.send("PUT", "/v1/services/notes/entries/secondary", Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    let names: Vec<&str> = answer["endpoints"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["green", "blue"]);
    assert_eq!(session.who().await, "v2");
}
