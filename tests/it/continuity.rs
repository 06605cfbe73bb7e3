//! The modern era while versions change: words whose server is gone, tools that only one entry lists, lists that are not to
//! be kept for long.

use serde_json::{Value, json};

use crate::modern::{Modern, turn_away};
use crate::support::{Client, Fake, Options, TestApp, eventually};

const DUAL: Options = Options { sessions: true, modern: true, legacy: true };
const QUICK: &str = "health = { interval = \"100ms\", timeout = \"100ms\", fall = 1, rise = 1 }";

async fn app(split: &str, more: &str) -> (Fake, Fake, TestApp) {
    let (v1, v2) = (Fake::start("v1", DUAL).await, Fake::start("v2", DUAL).await);
    let app = TestApp::start(&v1, &v2, split, more).await;
    (v1, v2, app)
}

/// A state, a task and a cursor of the server that a client is sent to now.
async fn words(modern: &Modern) -> [(Modern, Value); 3] {
    let asked = modern.ask(json!({ "name": "ask" })).await;
    let begun = modern.ask(json!({ "name": "begin" })).await;
    let listed = modern.method("tools/list").ask(json!({})).await;
    [
        (modern.method("tools/call"), json!({ "name": "ask", "requestState": asked["result"]["requestState"] })),
        (modern.method("tasks/get"), json!({ "taskId": begun["result"]["taskId"] })),
        (modern.method("tools/list"), json!({ "cursor": listed["result"]["nextCursor"] })),
    ]
}

/// The proxy's own words, for the request that was asked.
async fn fails(who: &Modern, params: &Value, words: &str) {
    let response = who.send(params.clone()).await;
    let status = response.status();
    let answer: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(status, 502, "{params} {answer}");
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(7), &json!(-32603)), "{params} {answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains(words), "{params} {answer}");
}

async fn is(app: &TestApp, entry: &str, standing: &str) {
    eventually(standing, async || (app.admin.service().await["entries"][entry]["standing"] == standing).then_some(())).await;
}

async fn metric(app: &TestApp, line: &str) -> f64 {
    let metrics = reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap();
    metrics.lines().find_map(|one| one.strip_prefix(line)?.trim().parse().ok()).unwrap()
}

#[tokio::test]
async fn a_word_whose_endpoint_was_removed_fails_once_and_nobody_else_of_that_version_is_asked() {
    let (v1, v2, app) = app("100:0", &format!("affinity = {{ list_lease = \"0s\" }}\n{QUICK}")).await;
    let other = Fake::start("other", DUAL).await;
    app.admin.split("0:100").await;
    let modern = Modern::new(&app, "key");
    let words = words(&modern).await;
    app.admin.split("100:0").await;
    for (who, params) in &words {
        assert!(who.ask(params.clone()).await["error"].is_null(), "{params}");
    }
    let version = app.admin.service().await["entries"]["secondary"]["version"].clone();
    let body = json!({ "version": version, "endpoints": [other.url()] });
    assert_eq!(app.admin.send("PUT", "/v1/services/notes/entries/secondary", Some(body)).await.0, 200);
    for (who, params) in &words {
        assert!(who.ask(params.clone()).await["error"].is_null(), "kept for those who are bound to it: {params}");
    }
    v2.kill();
    let endpoints = async || app.admin.service().await["entries"]["secondary"]["endpoints"].as_array().unwrap().len();
    eventually("it is let go", async || (endpoints().await == 1).then_some(())).await;
    for (who, params) in &words {
        let before = v1.seen().len();
        fails(who, params, "is gone").await;
        assert_eq!((v1.seen().len(), other.seen().len()), (before, 0), "{params}");
        // What it is then told, it is told by the server of its key.
        assert_eq!(who.ask(params.clone()).await["error"]["code"], -32602, "{params}");
        assert_eq!(v1.seen().len(), before + 1);
    }
}

#[tokio::test]
async fn words_hold_across_a_rollback_after_which_no_session_stays() {
    let sessions = "sessions = { on_drain = \"end\", rollback_deadline = \"1ms\", rollback_pace = \"1ms\" }";
    let (_v1, v2, app) = app("100:0", sessions).await;
    app.admin.split("0:100").await;
    let session = Client::new(&app).open().await;
    let mut all = Vec::new();
    for key in 0..6 {
        all.extend(words(&Modern::new(&app, &format!("key-{key}"))).await);
    }
    assert_eq!(app.admin.send("POST", "/v1/services/notes/rollback", None).await.0, 200);
    eventually("its sessions are ended", async || {
        (session.post(&crate::support::call(1, "echo")).await.status() == 404).then_some(())
    })
    .await;
    for (who, params) in &all {
        let answer = who.ask(params.clone()).await;
        assert!(answer["error"].is_null(), "{params} {answer}");
    }
    let before = v2.seen().len();
    assert_eq!(Modern::new(&app, "key-0").who().await, "v1");
    assert_eq!(v2.seen().len(), before, "and nothing else goes there");
}

#[tokio::test]
async fn of_a_server_that_is_down_what_can_be_begun_anew_is_given_up_and_a_task_is_not() {
    let (_v1, v2, app) = app("100:0", QUICK).await;
    app.admin.split("0:100").await;
    let modern = Modern::new(&app, "key");
    let [state, task, cursor] = words(&modern).await;
    v2.kill();
    is(&app, "secondary", "down").await;
    for (who, params) in [&state, &cursor] {
        fails(who, params, "could not be reached").await;
        assert_eq!(who.ask(params.clone()).await["error"]["code"], -32602, "by the server that its key leads to now");
    }
    for _ in 0..2 {
        fails(&task.0, &task.1, "could not be reached").await;
    }
    let _v2 = v2.restart().await;
    is(&app, "secondary", "up").await;
    assert!(task.0.ask(task.1.clone()).await["error"].is_null());
}

/// Both pages, at the server of this client.
async fn list_all(modern: &Modern) -> String {
    let list = modern.method("tools/list");
    let first = list.ask(json!({})).await;
    let second = list.ask(json!({ "cursor": first["result"]["nextCursor"] })).await;
    assert!(second["result"]["nextCursor"].is_null(), "{second}");
    second["result"]["server"].as_str().unwrap().to_owned()
}

/// A client of each entry.
async fn one_of_each(app: &TestApp) -> (Modern, Modern) {
    let mut found = (None, None);
    for key in 0.. {
        let modern = Modern::new(app, &format!("key-{key}"));
        if modern.who().await == "v1" {
            found.0 = Some(modern)
        } else {
            found.1 = Some(modern)
        }
        if let (Some(_), Some(_)) = found {
            break;
        }
    }
    (found.0.unwrap(), found.1.unwrap())
}

#[tokio::test]
async fn a_tool_that_only_one_entry_lists_is_called_there() {
    let (v1, v2, app) = app("50:50", "affinity = { list_lease = \"0s\" }").await;
    let (first, second) = one_of_each(&app).await;
    let only = |name: &str| json!({ "name": format!("{name}-only") });
    assert_eq!(list_all(&second).await, "v2");
    assert_eq!(first.ask(only("v2")).await["error"]["code"], -32602, "nobody knows what the other one has");
    first.method("tools/list").ask(json!({})).await;
    assert_eq!(first.ask(only("v2")).await["error"]["code"], -32602, "its list was not seen to the end");
    assert_eq!(list_all(&first).await, "v1");
    let moved = async |entry: &str| {
        metric(&app, &format!("dualgate_calls_by_catalogue_total{{service=\"notes\",entry=\"{entry}\"}}")).await
    };
    assert_eq!((moved("primary").await, moved("secondary").await), (0.0, 0.0));
    assert_eq!(first.ask(only("v2")).await["result"]["server"], "v2");
    assert_eq!(second.ask(only("v1")).await["result"]["server"], "v1");
    assert_eq!((first.ask(only("v1")).await["result"]["server"].clone(), first.who().await), (json!("v1"), "v1".to_owned()));
    assert_eq!((moved("primary").await, moved("secondary").await), (1.0, 1.0));
    // Nobody reads a long body: the header tells.
    let long = json!({ "name": "v2-only", "padding": "x".repeat(100_000) });
    assert_eq!(first.ask(long).await["result"]["server"], "v2");

    assert_eq!(app.admin.send("POST", "/v1/services/notes/rollback", None).await.0, 200);
    let before = v2.seen().len();
    assert_eq!(first.ask(only("v2")).await["error"]["code"], -32602, "not to what was rolled back");
    assert_eq!(v2.seen().len(), before);
    drop(v1);
}

#[tokio::test]
async fn a_tool_of_an_entry_without_clients_is_no_way_to_it_and_a_client_goes_by_its_own_list_first() {
    let (_v1, v2, app) = app("50:50", "affinity = { list_lease = \"1h\" }").await;
    let (first, second) = one_of_each(&app).await;
    assert_eq!(list_all(&second).await, "v2");
    assert_eq!(list_all(&first).await, "v1");
    assert_eq!(first.ask(json!({ "name": "v2-only" })).await["error"]["code"], -32602, "it has just been told so");
    let third = Modern::new(&app, "third");
    assert_eq!(third.ask(json!({ "name": "v2-only" })).await["result"]["server"], "v2");
    app.admin.split("100:0").await;
    let before = v2.seen().len();
    assert_eq!(third.ask(json!({ "name": "v2-only" })).await["error"]["code"], -32602);
    assert_eq!(v2.seen().len(), before);
}

#[tokio::test]
async fn a_client_calls_by_its_list_for_as_long_as_the_server_says_that_it_counts() {
    let (_v1, _v2, app) = app("100:0", "affinity = { list_lease = \"1ms\" }").await;
    let (long, short) = (Modern::new(&app, "long"), Modern::new(&app, "short"));
    long.method("tools/list").ask(json!({ "ttlMs": 60_000 })).await;
    short.method("tools/list").ask(json!({ "ttlMs": 0 })).await;
    app.admin.split("0:100").await;
    eventually("the short one has run out", async || (short.who().await == "v2").then_some(())).await;
    assert_eq!(long.who().await, "v1");
}

/// A list that counts for an hour, as it came over the wire.
async fn hour(modern: &Modern, stream: bool) -> (Option<u64>, String) {
    let response = modern.method("tools/list").send(json!({ "ttlMs": 3_600_000, "stream": stream })).await;
    let length = response.content_length();
    (length, String::from_utf8(response.bytes().await.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn lists_count_for_less_while_a_rollout_runs_and_nothing_else_in_them_is_altered() {
    let (_v1, _v2, app) = app("100:0", &format!("affinity = {{ list_lease = \"0s\", clamp_list_ttl = \"5s\" }}\n{QUICK}")).await;
    is(&app, "secondary", "up").await;
    let modern = Modern::new(&app, "key");
    let plain = [hour(&modern, false).await, hour(&modern, true).await];
    plain.iter().for_each(|(_, text)| assert!(text.contains("\"ttlMs\":3600000"), "nothing moves: {text}"));
    assert_eq!(plain[0].0, Some(plain[0].1.len() as u64));
    let steps = json!({ "steps": "50:1h,100:1h" });
    assert_eq!(app.admin.send("POST", "/v1/services/notes/rollout", Some(steps)).await.0, 200);
    // Also where all clients are at the candidate.
    for split in ["50:50", "100"] {
        if split == "100" {
            let (status, answer) = app
                .admin
                .send("POST", "/v1/services/notes/rollout/advance", Some(json!({ "step": 1, "force": true, "reason": "test" })))
                .await;
            assert_eq!(status, 200, "{answer}");
            eventually("it has all", async || (app.admin.service().await["split"]["target"]["secondary"] == 100.0).then_some(()))
                .await;
        }
        let server = modern.who().await;
        for (at, stream) in [false, true].into_iter().enumerate() {
            let (length, text) = hour(&modern, stream).await;
            let expected = plain[at].1.replace("v1", &server).replace("\"ttlMs\":3600000", "\"ttlMs\":5000   ");
            assert_eq!((length, text), (plain[at].0, expected));
        }
        let shorter = modern.method("tools/list").ask(json!({ "ttlMs": 4_000 })).await;
        assert_eq!(shorter["result"]["ttlMs"], 4_000);
        let call = modern.method("tasks/list").ask(json!({ "ttlMs": 3_600_000 })).await;
        assert!(call["error"].is_null());
    }
}

#[tokio::test]
async fn lists_are_not_touched_unless_that_is_asked_for() {
    let (_v1, _v2, app) = app("50:50", "").await;
    let modern = Modern::new(&app, "key");
    turn_away(&app, &modern).await;
    app.admin.split("50:50").await;
    for stream in [false, true] {
        assert!(hour(&modern, stream).await.1.contains("\"ttlMs\":3600000"));
    }
}
