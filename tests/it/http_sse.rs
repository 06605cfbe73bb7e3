use std::time::Duration;

use serde_json::{Value, json};

use crate::outcomes::{requests, tools};
use crate::support::{Channel, Client, Endpoint, Fake, Folder, Options, TestApp, call, eventually, initialize};

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

async fn speaking(endpoint: Endpoint) -> (Fake, Fake) {
    (Fake::speaking("v1", endpoint).await, Fake::speaking("v2", endpoint).await)
}

fn notification() -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })
}

/// What a claim about outcomes is compared with: requests by outcome, the GET stream left out while it is open.
async fn booked(app: &TestApp, wanted: Value) {
    let zero = ["ok", "tool_error", "protocol_error", "opaque", "client_fault", "entry_fault", "proxy_fault"];
    let mut all: Value = zero.iter().map(|name| ((*name).to_owned(), json!(0))).collect::<serde_json::Map<_, _>>().into();
    wanted.as_object().unwrap().iter().for_each(|(name, count)| all[name] = count.clone());
    let mut found = Value::Null;
    let outcome = tokio::time::timeout(Duration::from_secs(10), async {
        while found != all {
            found = requests(app).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    if outcome.await.is_err() {
        panic!("{found} is booked, {all} is right");
    }
}

#[tokio::test]
async fn a_call_beyond_the_limit_is_answered_on_its_sessions_stream() {
    let (v1, v2) = speaking(Endpoint::Root).await;
    let folder = Folder::new();
    let file = TestApp::file(folder.path(), &[&v1], &[&v2], "100:0", "");
    // The one place is the stream's.
    let app = TestApp::from_text(format!("limits = {{ requests = 1 }}\n{file}")).await;
    let mut channel = Channel::open(&app).await;
    for message in [call(7, "echo"), notification()] {
        assert_eq!(channel.post(&message).await.status(), 202);
    }
    let answer = channel.message().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(7), &json!(-32603)), "{answer}");
    assert!(v1.calls().is_empty());
    booked(&app, json!({ "ok": 0, "proxy_fault": 2 })).await;
}

#[tokio::test]
async fn posts_follow_their_stream_across_every_split() {
    for form in [Endpoint::Root, Endpoint::Relative, Endpoint::Query, Endpoint::Absolute, Endpoint::InPath, Endpoint::Crumbs] {
        let (v1, v2) = speaking(form).await;
        let app = TestApp::start(&v1, &v2, "90:10", "").await;
        let mut sessions = Vec::new();
        for split in ["90:10", "50:50", "0:100", "100:0"] {
            app.admin.split(split).await;
            for _ in 0..4 {
                let mut channel = Channel::open(&app).await;
                let home = channel.who().await;
                sessions.push((channel, home));
            }
            for (channel, home) in &mut sessions {
                assert_eq!(&channel.who().await, home, "{form:?} at {split}");
            }
        }
        let homes: Vec<&str> = sessions.iter().map(|(_, home)| home.as_str()).collect();
        assert!(homes.contains(&"v1") && homes.contains(&"v2"));
    }
}

#[tokio::test]
async fn the_client_sees_a_path_of_its_own_origin_and_nothing_of_the_servers_id() {
    for form in [Endpoint::Root, Endpoint::Relative, Endpoint::Query, Endpoint::Absolute, Endpoint::InPath, Endpoint::Crumbs] {
        let (v1, v2) = speaking(form).await;
        let app = TestApp::start(&v1, &v2, "100:0", "").await;
        let channel = Channel::open_at(&app, "/deep/sse", &[]).await;
        assert!(channel.endpoint.starts_with("/deep/sse?dualgate="), "{}", channel.endpoint);
        assert!(!channel.endpoint.contains("v1_sse") && !channel.endpoint.contains("messages"));
        channel.post(&notification()).await;
        let target = match form {
            Endpoint::Relative => "/deep/messages?session_id=v1_sse_0",
            Endpoint::Query => "/deep/sse?session_id=v1_sse_0",
            Endpoint::InPath => "/messages/v1_sse_0",
            _ => "/messages?session_id=v1_sse_0",
        };
        assert_eq!(v1.last().target, target, "{form:?}");
        assert!(v1.last().headers.get("mcp-session-id").is_none());
    }
}

#[tokio::test]
async fn a_stream_that_begins_with_another_event_is_not_altered() {
    let (v1, v2) = speaking(Endpoint::None).await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let mut stream = Channel::get(&app, "/sse", &[]).await;
    let first = stream.chunk().await.unwrap().unwrap();
    assert_eq!(first, &b"event: message\ndata: {\"method\":\"x\"}\n\n"[..]);
    v1.say_on_channels(b"event: endpoint\ndata: /too/late\n\n");
    assert_eq!(stream.chunk().await.unwrap().unwrap(), &b"event: endpoint\ndata: /too/late\n\n"[..]);
    assert_eq!(app.admin.service().await["entries"]["primary"]["sessions"], 0);
}

#[tokio::test]
async fn of_another_first_event_that_comes_in_halves_nothing_is_lost_or_said_twice() {
    let (v1, v2) = speaking(Endpoint::HalfMessage).await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let mut stream = Channel::get(&app, "/sse", &[]).await;
    let mut said = Vec::new();
    for (words, seen) in [
        (&b""[..], &b": hello\n"[..]),
        (b"age\ndata: 1\n\nda", b": hello\nevent: message\ndata: 1\n\nda"),
        (b"ta: 2\n\n", b": hello\nevent: message\ndata: 1\n\ndata: 2\n\n"),
    ] {
        v1.say_on_channels(words);
        while said.len() < seen.len() {
            said.extend_from_slice(&stream.chunk().await.unwrap().unwrap());
        }
        assert_eq!(said, seen);
    }
}

#[tokio::test]
async fn half_an_endpoint_is_held_back_and_comments_go_before_it() {
    let (v1, v2) = speaking(Endpoint::Half).await;
    let app = TestApp::start(&v1, &v2, "100:0", "traffic = { keep_alive = \"20ms\" }").await;
    let mut stream = Channel::get(&app, "/sse", &[]).await;
    for _ in 0..3 {
        assert_eq!(stream.chunk().await.unwrap().unwrap(), &b": keep-alive\n\n"[..]);
    }
    v1.say_on_channels(b"\ndata: next\n\n");
    let mut rest = String::new();
    while !rest.contains("data: next\n\n") {
        rest += std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap();
    }
    let event = rest.trim_start_matches(": keep-alive\n\n");
    assert!(event.starts_with("id: 7\nevent: endpoint\ndata: /sse?dualgate=") && !event.contains("v1_sse"), "{event}");
}

#[tokio::test]
async fn a_server_without_the_transport_says_so_itself() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    assert_eq!(Channel::get(&app, "/status/405", &[]).await.status(), 405);
}

#[tokio::test]
async fn an_altered_token_is_404_and_reaches_no_server() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "50:50", "").await;
    let channel = Channel::open(&app).await;
    let before = (v1.seen().len(), v2.seen().len());
    let (path, token) = channel.endpoint.split_once('=').unwrap();
    for at in 0..token.len() {
        let mut altered = token.to_owned();
        altered.replace_range(at..=at, if token.as_bytes()[at] == b'A' { "B" } else { "A" });
        assert_eq!(channel.post_to(&format!("{path}={altered}"), &call(1, "echo")).await.status(), 404, "character {at}");
    }
    for foreign in ["", "x", &format!("{token}&dualgate={token}")] {
        assert_eq!(channel.post_to(&format!("{path}={foreign}"), &initialize()).await.status(), 404, "{foreign}");
    }
    assert_eq!((v1.seen().len(), v2.seen().len()), before);
}

#[tokio::test]
async fn a_token_is_no_session_id_and_a_session_id_no_token() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let channel = Channel::open(&app).await;
    let session = Client::new(&app).open().await;
    let before = v1.seen().len();
    let token = channel.endpoint.split_once('=').unwrap().1;
    let posed = Client::new(&app).with("mcp-session-id", token).post(&call(1, "echo")).await;
    assert_eq!(posed.status(), 404);
    assert_eq!(channel.post_to(&format!("/sse?dualgate={}", session.id), &call(1, "echo")).await.status(), 404);
    assert_eq!(v1.seen().len(), before);
}

#[tokio::test]
async fn a_uri_that_cannot_be_sealed_ends_the_stream() {
    let (v1, v2) = speaking(Endpoint::Long).await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let stream = Channel::get(&app, "/sse", &[]).await;
    assert_eq!(stream.status(), 200);
    assert_eq!(stream.text().await.unwrap(), "", "nothing of it is shown");
    booked(&app, json!({ "entry_fault": 1 })).await;
}

/// The stream ends with the proxy, and the session with its stream; a POST that comes to another process
/// with the same key still finds the server, which says what it knows.
#[tokio::test]
async fn a_post_finds_its_server_in_a_process_that_has_no_table() {
    let (v1, v2) = pair().await;
    let one = Folder::new();
    let (other, key) = (Folder::new(), one.path().join("seal.key"));
    let text = TestApp::file(one.path(), &[&v1], &[&v2], "0:100", "");
    let first = TestApp::from_text(text).await;
    let mut channel = Channel::open(&first).await;
    let text = TestApp::file(other.path(), &[&v1], &[&v2], "100:0", "");
    let replica = TestApp::from_text(format!("seal = {{ key_files = ['{}'] }}\n{text}", key.display())).await;
    let posted = channel.http.post(replica.url(&channel.endpoint)).header("content-type", "application/json");
    let answer = posted.body(call(5, "echo").to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    assert_eq!(channel.message().await["result"]["server"], "v2");
    // Booked once, where the POST went: by its status.
    let page = |app: &TestApp| reqwest::get(format!("http://{}/metrics", app.metrics));
    let line = "mcp_tool_calls_total{service=\"notes\",entry=\"secondary\",tool_name=\"echo\",outcome=\"ok\"} 1";
    eventually("it is booked", async || page(&replica).await.unwrap().text().await.unwrap().contains(line).then_some(())).await;
    assert!(!page(&first).await.unwrap().text().await.unwrap().contains(line));

    let endpoint = channel.endpoint.clone();
    drop(channel);
    eventually("the server has felt it", async || (v2.channels() == 0).then_some(())).await;
    let http = reqwest::Client::new();
    let late = http.post(replica.url(&endpoint)).header("content-type", "application/json");
    assert_eq!(late.body(call(6, "echo").to_string()).send().await.unwrap().status(), 404, "the server's own word");
}

#[tokio::test]
async fn two_hundred_streams_at_90_10_land_within_one_of_180_and_20() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "90:10", "").await;
    let mut births = [0, 0];
    for _ in 0..200 {
        let mut channel = Channel::open(&app).await;
        births[usize::from(channel.who().await == "v2")] += 1;
    }
    assert!((19..=21).contains(&births[1]), "{births:?}");
}

#[tokio::test]
async fn a_server_of_this_transport_alone_is_checked_by_its_own_handshake() {
    for path in ["/sse", "/status/404"] {
        let (v1, v2) = pair().await;
        let app = TestApp::start(&v1, &v2, "100:0", &format!("health = {{ path = \"{path}\" }}")).await;
        let primary = app.admin.service().await["entries"]["primary"].clone();
        assert_eq!(primary["standing"], "up", "{primary}");
        assert!(primary.to_string().contains("v1 over HTTP+SSE"), "{primary}");
        eventually("the check has left", async || (v1.channels() == 0).then_some(())).await;
        assert_eq!(Channel::open(&app).await.who().await, "v1");
    }
}

/// Clients that try Streamable HTTP first use up a birth of each kind.
#[tokio::test]
async fn clients_that_try_initialize_first_are_not_all_on_one_side() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "50:50", "").await;
    let mut births = [0, 0];
    for _ in 0..20 {
        Client::new(&app).post(&initialize()).await;
        births[usize::from(Channel::open(&app).await.who().await == "v2")] += 1;
    }
    assert!((9..=11).contains(&births[1]), "{births:?}");
}

#[tokio::test]
async fn a_keyed_client_opens_all_its_streams_on_one_entry() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "50:50", "").await;
    for key in ["a", "b", "c", "d", "e"] {
        let mut homes = Vec::new();
        for _ in 0..3 {
            homes.push(Channel::open_at(&app, "/sse", &[("x-api-key", key)]).await.who().await);
        }
        assert!(homes.iter().all(|home| home == &homes[0]), "{homes:?}");
    }
}

#[tokio::test]
async fn no_server_for_a_stream_is_503() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "50:50", "").await;
    v1.kill();
    v2.kill();
    assert_eq!(Channel::get(&app, "/sse", &[]).await.status(), 503);
}

#[tokio::test]
async fn a_session_is_counted_while_its_stream_is_open() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let counts = async || {
        let primary = app.admin.service().await["entries"]["primary"].clone();
        (primary["sessions"].as_u64().unwrap(), primary["streams"]["listen"].as_u64().unwrap())
    };
    let mut channel = Channel::open(&app).await;
    channel.who().await;
    assert_eq!(counts().await, (1, 1));
    assert_eq!(app.admin.service().await["split"]["achieved"]["births"]["primary"], 100.0);
    drop(channel);
    eventually("it has ended", async || (counts().await == (0, 0)).then_some(())).await;
    eventually("the server has felt it", async || (v1.gone() == 1).then_some(())).await;
}

#[tokio::test]
async fn a_prefix_that_is_stripped_is_stripped_for_both() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "path = \"/notes\"\nstrip_prefix = true").await;
    let mut channel = Channel::open_at(&app, "/notes/sse", &[]).await;
    assert!(channel.endpoint.starts_with("/notes/sse?dualgate="), "{}", channel.endpoint);
    assert_eq!(v1.last().target, "/sse");
    assert_eq!(channel.who().await, "v1");
    assert_eq!(v1.last().target, "/messages?session_id=v1_sse_0");
}

#[tokio::test]
async fn an_answer_on_the_stream_is_booked_once_with_its_tool_and_the_post_is_not() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let mut channel = Channel::open(&app).await;
    for (id, tool) in [(1, "echo"), (2, "fail"), (3, "error"), (4, "echo")] {
        channel.call(id, tool).await;
    }
    assert_eq!(channel.post(&call(5, "busy")).await.status(), 503, "the server's own word");
    booked(&app, json!({ "ok": 2, "tool_error": 1, "protocol_error": 1, "entry_fault": 1 })).await;
    assert_eq!(channel.post(&notification()).await.status(), 202);
    booked(&app, json!({ "ok": 3, "tool_error": 1, "protocol_error": 1, "entry_fault": 1 })).await;
    let counted: Vec<(String, u64)> = tools(&app).await.into_iter().collect();
    let wanted = [("busy entry_fault", 1), ("echo ok", 2), ("error protocol_error", 1), ("fail tool_error", 1)];
    assert_eq!(counted, wanted.map(|(name, count)| (name.to_owned(), count)));
    drop(channel);
    booked(&app, json!({ "ok": 4, "tool_error": 1, "protocol_error": 1, "entry_fault": 1 })).await;
}

/// The POST and the stream are on different workers here, as in every test of two connections.
#[tokio::test]
async fn an_answer_may_overtake_the_end_of_its_post() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let mut channel = Channel::open(&app).await;
    for (id, tool, status) in [(1, "early", 202), (2, "early-busy", 503)] {
        let posted = tokio::spawn({
            let request = channel.http.post(app.url(&channel.endpoint)).header("content-type", "application/json");
            async move { request.body(call(id, tool).to_string()).send().await.unwrap().status().as_u16() }
        });
        assert_eq!(channel.message().await["id"], id);
        let page = reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap();
        for worker in 0..2 {
            let line = format!("dualgate_client_connections{{worker=\"{worker}\"}} 1");
            assert!(page.contains(&line), "one connection on each worker");
        }
        v1.release();
        assert_eq!(posted.await.unwrap(), status);
        booked(&app, json!({ "ok": id })).await;
    }
}

#[tokio::test]
async fn a_post_that_cannot_be_delivered_is_accepted_and_fails_on_the_stream() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "health = { interval = \"1h\" }").await;
    let mut channel = Channel::open(&app).await;
    channel.call(1, "bye").await;
    v1.stop_accepting();
    let answer = channel.call(2, "echo").await;
    assert_eq!(answer["error"]["code"], -32603);
    assert!(answer["error"]["message"].as_str().unwrap().contains("could not be reached"), "{answer}");
    booked(&app, json!({ "ok": 1, "entry_fault": 1 })).await;
    assert_eq!(channel.post(&notification()).await.status(), 202);
    let page = reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap();
    assert!(page.contains("dualgate_undelivered_messages_total{service=\"notes\"} 1"));
    v1.say_on_channels(b"event: message\ndata: {\"method\":\"x\"}\n\n");
    assert_eq!(channel.message().await["method"], "x", "the stream goes on");
}

#[tokio::test]
async fn a_session_whose_server_is_configured_no_more_goes_on_there_until_it_is_gone() {
    let (v1, v2) = pair().await;
    let v3 = Fake::start("v3", Options::default()).await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    app.admin.split("0:100").await;
    let mut channel = Channel::open(&app).await;
    app.admin.split("100:0").await;
    let body = json!({ "version": "3.0", "endpoints": [v3.url()] });
    let (status, answer) = app.admin.send("PUT", "/v1/services/notes/entries/secondary", Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(channel.who().await, "v2");
    v2.say_on_channels(b"event: message\ndata: {\"method\":\"x\"}\n\n");
    assert_eq!(channel.message().await["method"], "x", "what its server says still comes");
    v2.stop_accepting();
    let gone = async || {
        let answer = channel.call(1, "echo").await;
        answer["error"]["message"].as_str().is_some_and(|message| message.contains("is gone")).then_some(())
    };
    eventually("it hears of its end on its stream", gone).await;
    assert!(v3.calls().is_empty());
}

#[tokio::test]
async fn a_body_too_long_to_look_at_is_delivered_and_booked_by_its_status() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "traffic = { peek_limit = \"1KiB\" }").await;
    let mut channel = Channel::open(&app).await;
    let mut long = call(1, "echo");
    long["params"]["arguments"] = json!({ "text": "x".repeat(2048) });
    assert_eq!(channel.post(&long).await.status(), 202);
    assert_eq!(channel.message().await["result"]["server"], "v1");
    booked(&app, json!({ "ok": 1 })).await;
}

#[tokio::test]
async fn a_post_without_an_answer_in_time_fails_on_the_stream() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "traffic = { first_byte_timeout = \"100ms\" }").await;
    let mut channel = Channel::open(&app).await;
    let answer = channel.call(1, "hang").await;
    assert!(answer["error"]["message"].as_str().unwrap().contains("in time"), "{answer}");
    assert_eq!(channel.who().await, "v1", "the session lives");
}

#[tokio::test]
async fn the_shape_of_errors_can_be_the_status() {
    let (v1, v2) = pair().await;
    let more = "traffic = { first_byte_timeout = \"100ms\", error_shape = \"http\" }";
    let app = TestApp::start(&v1, &v2, "100:0", more).await;
    let channel = Channel::open(&app).await;
    assert_eq!(channel.post(&call(1, "hang")).await.status(), 504);
    booked(&app, json!({ "entry_fault": 1 })).await;
}

#[tokio::test]
async fn without_its_stream_a_post_that_cannot_be_delivered_gets_the_status() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let channel = Channel::open(&app).await;
    let (http, endpoint) = (channel.http.clone(), app.url(&channel.endpoint));
    drop(channel);
    eventually("the server has felt it", async || (v1.gone() == 1).then_some(())).await;
    v1.kill();
    let answer = http.post(endpoint).header("content-type", "application/json").body(initialize().to_string()).send().await;
    assert_eq!(answer.unwrap().status(), 502);
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_for_every_request_that_waits() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let mut channel = Channel::open(&app).await;
    for id in ["a", "b"] {
        assert_eq!(channel.post(&call(id, "mute")).await.status(), 202);
    }
    channel.post(&call("c", "half")).await;
    v1.kill();
    let mut failed = Vec::new();
    while let Some(event) = channel.event().await {
        if event.kind == "message" {
            let message: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!(message["error"]["code"], -32603);
            failed.push(message["id"].as_str().unwrap().to_owned());
        }
    }
    failed.sort();
    assert_eq!(failed, ["a", "b", "c"]);
    // The stream itself is no request; it is counted apart.
    booked(&app, json!({ "entry_fault": 3 })).await;
}

#[tokio::test]
async fn a_stream_that_its_server_ends_fails_what_waits() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let mut channel = Channel::open(&app).await;
    channel.post(&call(1, "mute")).await;
    v1.end_channels();
    assert_eq!(channel.message().await["error"]["code"], -32603);
    assert_eq!(channel.event().await, None);
    booked(&app, json!({ "ok": 1, "entry_fault": 1 })).await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_the_blame_for_what_waits() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let channel = Channel::open(&app).await;
    channel.post(&call(1, "mute")).await;
    drop(channel);
    booked(&app, json!({ "ok": 1, "client_fault": 1 })).await;
    assert_eq!(tools(&app).await.get("mute client_fault"), Some(&1));
}

#[tokio::test]
async fn a_request_that_its_client_cancels_waits_no_longer() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let channel = Channel::open(&app).await;
    channel.post(&call(1, "mute")).await;
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
    assert_eq!(channel.post(&cancel).await.status(), 202);
    booked(&app, json!({ "ok": 1, "client_fault": 1 })).await;
}

#[tokio::test]
async fn a_server_that_falls_silent_fails_what_waits_and_the_stream_stays_open() {
    let (v1, v2) = pair().await;
    let health = "health = { interval = \"200ms\", timeout = \"200ms\", fall = 2, rise = 1 }";
    let app = TestApp::start(&v1, &v2, "100:0", health).await;
    let mut channel = Channel::open(&app).await;
    for round in 1..=2 {
        channel.post(&call(round, "mute")).await;
        v1.be_silent(true);
        let answer = channel.message().await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(round), &json!(-32603)));
        booked(&app, json!({ "entry_fault": round })).await;
        v1.be_silent(false);
        let standing = async || app.admin.service().await["entries"]["primary"]["standing"] == "up";
        eventually("it is back", async || standing().await.then_some(())).await;
    }
    v1.say_on_channels(b"event: message\ndata: {\"method\":\"x\"}\n\n");
    assert_eq!(channel.message().await["method"], "x");
}

#[tokio::test]
async fn a_stopping_proxy_ends_its_streams_with_an_error_for_what_waits() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let mut channel = Channel::open(&app).await;
    channel.post(&call(1, "mute")).await;
    app.stop();
    let answer = channel.message().await;
    assert!(answer["error"]["message"].as_str().unwrap().contains("stopping"), "{answer}");
    assert_eq!(channel.event().await, None);
    app.stopped().await;
}

/// Within an event nothing can be said: its stream is over.
#[tokio::test]
async fn a_server_that_falls_silent_within_an_event_ends_the_stream_with_an_error_for_what_waits() {
    let (v1, v2) = pair().await;
    let health = "health = { interval = \"200ms\", timeout = \"200ms\", fall = 2, rise = 1 }";
    let app = TestApp::start(&v1, &v2, "100:0", health).await;
    let mut channel = Channel::open(&app).await;
    channel.post(&call(1, "mute")).await;
    v1.say_on_channels(b"event: message\ndata: {\"half");
    v1.be_silent(true);
    // What was cut becomes an event of a kind that no client knows.
    assert_eq!(channel.event().await.unwrap().kind, "dualgate-cut");
    let answer = channel.message().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(-32603)));
    assert_eq!(channel.event().await, None);
    booked(&app, json!({ "entry_fault": 1 })).await;
}

/// The request may never have been read.
#[tokio::test]
async fn a_post_that_its_client_gives_up_is_not_the_entrys_fault() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let mut channel = Channel::open(&app).await;
    let (url, http) = (app.url(&channel.endpoint), channel.http.clone());
    let post = http.post(url).header("content-type", "application/json").body(call(1, "hang").to_string()).send();
    let posted = tokio::spawn(post);
    eventually("it is there", async || (!v1.calls().is_empty()).then_some(())).await;
    posted.abort();
    let in_flight = async || app.admin.service().await["entries"]["primary"]["endpoints"][0]["in_flight"].as_u64().unwrap();
    eventually("it has left", async || (in_flight().await == 1).then_some(())).await;
    v1.end_channels();
    while channel.event().await.is_some() {}
    booked(&app, json!({ "ok": 1, "client_fault": 1, "entry_fault": 0 })).await;
}

/// The stream has ended, and with it the session.
#[tokio::test]
async fn a_post_behind_the_end_of_its_stream_counts_no_session() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let channel = Channel::open(&app).await;
    let (url, http) = (app.url(&channel.endpoint), channel.http.clone());
    let post = http.post(url).header("content-type", "application/json").body(call(1, "early").to_string()).send();
    let slow = tokio::spawn(post);
    eventually("it is there", async || (!v1.calls().is_empty()).then_some(())).await;
    drop(channel);
    eventually("the stream is gone", async || (v1.channels() == 0).then_some(())).await;
    v1.release();
    assert_eq!(slow.await.unwrap().unwrap().status(), 202);
    assert_eq!(app.admin.service().await["entries"]["primary"]["sessions"], 0);
}

/// It would open a stream, whose endpoint nobody seals.
#[tokio::test]
async fn a_sealed_uri_takes_messages_and_opens_nothing() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let channel = Channel::open(&app).await;
    let before = v1.seen().len();
    let answer = Channel::get(&app, &channel.endpoint, &[]).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()), (405, "POST, OPTIONS"));
    assert_eq!(v1.seen().len(), before);
}
