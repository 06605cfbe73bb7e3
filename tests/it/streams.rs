use std::time::Duration;

use bytes::BytesMut;
use reqwest::Response;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::raw::{Server, Step, Talk, get, ok, post, say};
use crate::support::scripted::{chunked, in_front_of, scripted, whole};
use crate::support::{Client, Fake, Options, TestApp, WAITS, call, eventually};

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

/// Reads until the text has come.
async fn read_until(response: &mut Response, text: &str) -> String {
    let mut read = BytesMut::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        let chunk = tokio::time::timeout(Duration::from_secs(10), response.chunk()).await.expect("in time").unwrap();
        read.extend_from_slice(&chunk.unwrap_or_else(|| panic!("ended after {read:?}")));
    }
    String::from_utf8(read.to_vec()).unwrap()
}

/// What is left, and whether the end was clean.
async fn read_rest(mut response: Response) -> (String, bool) {
    let mut read = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => read.extend_from_slice(&chunk),
            Ok(None) => return (String::from_utf8(read.to_vec()).unwrap(), true),
            Err(_) => return (String::from_utf8(read.to_vec()).unwrap(), false),
        }
    }
}

#[tokio::test]
async fn events_pass_one_by_one_and_through_every_split() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    let mut stream = session.listen().await;
    for split in ["90:10", "50:50", "0:100", "100:0"] {
        app.admin.split(split).await;
        v1.say(b"id: 7\ndata: still here\n\n");
        assert_eq!(read_until(&mut stream, "here\n\n").await, "id: 7\ndata: still here\n\n", "at {split}");
    }
}

#[tokio::test]
async fn the_answer_on_a_stream_comes_when_it_comes() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    let mut stream = session.post(&call(5, "stream")).await;
    read_until(&mut stream, "progress\"}\n\n").await;
    v1.release();
    assert!(read_until(&mut stream, "\n\n").await.contains("\"id\":5"));
}

#[tokio::test]
async fn a_client_that_leaves_a_silent_stream_is_felt_by_the_server() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    let stream = session.listen().await;
    let streams = async || app.admin.service().await["entries"]["primary"]["streams"]["listen"].as_u64().unwrap();
    assert_eq!(streams().await, 1);
    drop(stream);
    eventually("the server has felt it", async || (v1.gone() == 1).then_some(())).await;
    eventually("and the ticket is back", async || (streams().await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_begins_is_felt_too() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.post(&call(1, "wait")).await }
    });
    let in_flight = async || app.admin.service().await["entries"]["primary"]["endpoints"][0]["in_flight"].as_u64().unwrap();
    eventually("the call is running", async || (in_flight().await == 1).then_some(())).await;
    waiting.abort();
    eventually("the ticket is back", async || (in_flight().await == 0).then_some(())).await;
}

#[tokio::test]
async fn quiet_streams_get_comments_between_events_and_never_inside_one() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "traffic = { keep_alive = \"50ms\" }").await;
    let session = Client::new(&app).open().await;
    let mut stream = session.listen().await;
    read_until(&mut stream, ": keep-alive\n\n: keep-alive\n\n").await;
    v1.say(b"data: half");
    read_until(&mut stream, "data: half").await;
    // Several intervals pass inside the event; what comes next must be its other half.
    tokio::time::sleep(Duration::from_millis(200)).await;
    v1.say(b" and whole\n\n");
    let rest = read_until(&mut stream, ": keep-alive\n\n").await;
    assert!(rest.starts_with(" and whole\n\n"), "{rest:?}");
}

#[tokio::test]
async fn a_call_whose_server_dies_ends_with_an_error_for_its_id_and_a_clean_end() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    let mut stream = session.post(&call("q-1", "stream")).await;
    read_until(&mut stream, "progress\"}\n\n").await;
    v1.kill();
    let (rest, clean) = read_rest(stream).await;
    assert!(
        clean && rest.starts_with("event: message\ndata: {") && rest.contains("\"id\":\"q-1\"") && rest.contains("-32603"),
        "{rest:?}"
    );
}

#[tokio::test]
async fn a_half_sent_event_is_not_taken_for_a_message() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    let mut stream = session.post(&call(3, "half")).await;
    read_until(&mut stream, "{\"met").await;
    v1.kill();
    let (rest, clean) = read_rest(stream).await;
    assert!(clean && rest.starts_with("\nevent: dualgate-cut\n\nevent: message\ndata: {"), "{rest:?}");
}

#[tokio::test]
async fn a_get_stream_whose_server_dies_looks_cut() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", WAITS).await;
    let session = Client::new(&app).open().await;
    let stream = session.listen().await;
    v1.kill();
    assert!(!read_rest(stream).await.1, "a clean end would say that the server had finished");
}

#[tokio::test]
async fn last_event_id_reaches_the_sessions_server() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "0:100", "").await;
    let session = Client::new(&app).open().await;
    app.admin.split("100:0").await;
    let bound = session.client.with("mcp-session-id", &session.id).with("last-event-id", "42");
    let stream = bound.request("GET").send().await.unwrap();
    assert_eq!(stream.status(), 200);
    assert_eq!(v2.last().headers["last-event-id"], "42");
}

#[tokio::test]
async fn uploads_stream_through_before_they_are_complete() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let mut socket = tokio::net::TcpStream::connect(app.address).await.unwrap();
    let head = "POST /plain HTTP/1.1\r\nhost: x\r\ncontent-type: application/octet-stream\r\ncontent-length: 10\r\n\r\n01234";
    socket.write_all(head.as_bytes()).await.unwrap();
    eventually("half the upload is there", async || (v1.uploaded() == 5).then_some(())).await;
    socket.write_all(b"56789").await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

/// 64 MiB pushed at a client that does not read: the server must stall, not the proxy swell.
#[tokio::test]
async fn a_client_that_does_not_read_stalls_its_server() {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", "").await;
    let session = Client::new(&app).open().await;
    let mut socket = tokio::net::TcpStream::connect(app.address).await.unwrap();
    let request = format!("GET /mcp HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\nmcp-session-id: {}\r\n\r\n", session.id);
    socket.write_all(request.as_bytes()).await.unwrap();
    let in_flight = async || app.admin.service().await["entries"]["primary"]["endpoints"][0]["in_flight"].as_u64().unwrap();
    eventually("the stream is open", async || (in_flight().await == 1).then_some(())).await;
    let memory = async || {
        let page = reqwest::get(format!("http://{}/metrics", app.metrics)).await.unwrap().text().await.unwrap();
        let line = page.lines().find(|line| line.starts_with("process_resident_memory_bytes")).unwrap().to_owned();
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    let chunk: &'static [u8] = Box::leak(vec![b'x'; 1 << 20].into_boxed_slice());
    let before = memory().await;
    (0..64).for_each(|_| v1.say(chunk));
    // The pushes share one megabyte; whoever buffered them would have to hold 64.
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(memory().await - before < 24e6, "the proxy buffers what the client does not read");
    }
}

/// An error status may come as an event stream: it is the answer.
#[tokio::test]
async fn a_refusal_as_an_event_stream_is_passed_as_it_is() {
    let (other, _) = pair().await;
    let server = scripted(|_, message| async move {
        let error = json!({ "jsonrpc": "2.0", "id": message["id"], "error": { "code": -32602, "message": "no" } });
        chunked(400, &[("content-type", "text/event-stream")], &format!("event: message\ndata: {error}\n\n")).await
    })
    .await;
    let app = in_front_of(server, &other, "").await;
    let answer = Client::new(&app).post(&call(1, "echo")).await.text().await.unwrap();
    assert_eq!(answer.matches("\"id\":1").count(), 1, "{answer}");
}

#[tokio::test]
async fn a_stream_without_an_answer_ends_with_an_error_however_its_length_is_said() {
    for is_chunked in [true, false] {
        let (other, _) = pair().await;
        let server = scripted(move |_, _| async move {
            let (headers, body) = ([("content-type", "text/event-stream")], "data: {\"method\":\"notifications/progress\"}\n\n");
            if is_chunked { chunked(200, &headers, body).await } else { whole(200, &headers, body) }
        })
        .await;
        let app = in_front_of(server, &other, "").await;
        let answer = Client::new(&app).post(&call(1, "echo")).await.text().await.unwrap();
        assert!(answer.contains("\"id\":1"), "chunked: {is_chunked}: {answer}");
    }
}

/// Streams for `/mcp`, one answer in chunks for others.
async fn streaming() -> Server {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type:";
    Server::start(|ask| {
        let events = say(format!("{HEAD} text/event-stream\r\n\r\n"));
        match ask.head.split(' ').nth(1) {
            Some("/mcp") if ask.head.starts_with("GET") => events.into_iter().chain([Step::Hold]).collect(),
            Some("/mcp") => say(ok(&ask.body)),
            _ => say(format!("{HEAD} application/json\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n")),
        }
    })
    .await
}

#[tokio::test]
async fn where_streams_come_one_after_the_other_a_connection_is_there_for_who_comes_next() {
    let server = streaming().await;
    let app = server.behind("").await;
    let mut streams = Vec::new();
    let mut made = usize::MAX;
    for nth in 0..4 {
        let mut stream = Talk::to(&app).await;
        stream.say(get("/mcp")).await;
        streams.push(stream);
        let over = eventually("the stream has begun", async || server.asked().get(nth).map(|ask| ask.arrival)).await;
        assert!(over < made, "stream {nth} began over {over}, and {made} were made before");
        if nth > 0 {
            made = eventually("one more is made", async || Some(server.arrivals()).filter(|made| *made > over + 1)).await;
        }
    }
    let mut calls = Talk::to(&app).await;
    calls.say(post("{}")).await;
    calls.answer().await;
    let over = server.asked()[4].arrival;
    assert!(over < made, "the call came over {over}, and {made} were made before");
}

#[tokio::test]
async fn for_what_is_no_stream_no_connection_is_made_ahead() {
    let server = streaming().await;
    let app = server.behind("").await;
    for _ in 0..4 {
        let mut talk = Talk::to(&app).await;
        talk.say(get("/mcp/other")).await;
        talk.answer().await;
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|ask| ask.connection == 0), "one carries all of them");
    // The check has one of its own.
    assert!(server.arrivals() <= 2 + asked[0].arrival, "{}", server.arrivals());
}
