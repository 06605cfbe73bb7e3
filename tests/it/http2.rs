use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Client, Fake, Folder, Http2, Options, TestApp, call, eventually, read_until, text};

async fn pair() -> (Fake, Fake) {
    (Fake::start("v1", Options::default()).await, Fake::start("v2", Options::default()).await)
}

async fn start(more: &str) -> (Fake, Fake, TestApp) {
    let (v1, v2) = pair().await;
    let app = TestApp::start(&v1, &v2, "100:0", more).await;
    (v1, v2, app)
}

async fn in_flight(app: &TestApp, wanted: u64) {
    eventually("so many requests are in flight", async || {
        (app.admin.service().await["entries"]["primary"]["endpoints"][0]["in_flight"] == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_session_stays_where_it_began_and_its_id_is_good_over_either_version() {
    let (v1, _v2, app) = start("").await;
    let http2 = Http2::plain(app.address).await;
    let id = http2.open().await;
    app.admin.split("0:100").await;
    assert_eq!(http2.who(&id).await, "v1");
    assert_ne!(v1.last().headers["mcp-session-id"], id.as_str(), "the server sees its own id");
    let http1 = Client::new(&app).with("mcp-session-id", &id);
    assert_eq!(http1.who(&call(2, "echo")).await, "v1");
    assert_eq!(http2.who(&http2.open().await).await, "v2");
}

#[tokio::test]
async fn a_hundred_streams_over_one_connection_are_each_delivered_unbroken() {
    let (v1, _v2, app) = start("traffic = { keep_alive = \"0s\" }").await;
    let http2 = Http2::plain(app.address).await;
    let id = http2.open().await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(http2.listen(&id).await);
    }
    let events: Vec<&'static str> =
        (0..20).map(|n| &*Box::leak(format!("id: {n}\ndata: {n} of 20\n\n").into_boxed_str())).collect();
    events.iter().for_each(|event| v1.say(event.as_bytes()));
    for stream in &mut streams {
        assert_eq!(read_until(stream, "19 of 20\n\n").await, events.concat());
    }
}

#[tokio::test]
async fn a_stream_that_is_reset_is_felt_by_the_server_and_the_others_go_on() {
    let (v1, _v2, app) = start("").await;
    let http2 = Http2::plain(app.address).await;
    let id = http2.open().await;
    let (left, mut kept) = (http2.listen(&id).await, http2.listen(&id).await);
    drop(left);
    eventually("the server has felt it", async || (v1.gone() == 1).then_some(())).await;
    in_flight(&app, 1).await;
    v1.say(b"data: still here\n\n");
    read_until(&mut kept, "still here\n\n").await;
    // And before the answer has begun.
    let waiting = tokio::spawn({
        let (http2, id) = (http2.clone(), id.clone());
        async move { http2.post(Some(&id), &call(1, "wait")).await }
    });
    in_flight(&app, 2).await;
    waiting.abort();
    in_flight(&app, 1).await;
}

#[tokio::test]
async fn a_connection_that_is_lost_is_felt_by_the_server_for_all_of_its_streams() {
    let (v1, _v2, app) = start("").await;
    let http2 = Http2::plain(app.address).await;
    let id = http2.open().await;
    let _streams = [http2.listen(&id).await, http2.listen(&id).await];
    let waiting = tokio::spawn({
        let (http2, id) = (http2.clone(), id.clone());
        async move {
            http2.send(http2.builder("POST", "/mcp").header("mcp-session-id", id), call(1, "wait").to_string()).await.is_err()
        }
    });
    in_flight(&app, 3).await;
    http2.kill();
    eventually("the server has felt it", async || (v1.gone() == 2).then_some(())).await;
    in_flight(&app, 0).await;
    assert!(waiting.await.unwrap());
}

#[tokio::test]
async fn quiet_streams_get_comments() {
    let (_v1, _v2, app) = start("traffic = { keep_alive = \"50ms\" }").await;
    let http2 = Http2::plain(app.address).await;
    let mut stream = http2.listen(&http2.open().await).await;
    read_until(&mut stream, ": keep-alive\n\n: keep-alive\n\n").await;
}

#[tokio::test]
async fn what_runs_may_finish_and_after_the_drain_there_are_last_words() {
    let (v1, v2) = pair().await;
    let folder = Folder::new();
    let text_of = TestApp::file(folder.path(), &[&v1], &[&v2], "100:0", "");
    let app = TestApp::from_text(text_of.replace("drain = \"1s\"", "drain = \"500ms\"")).await;
    let http2 = Http2::plain(app.address).await;
    let id = http2.open().await;
    let listening = http2.listen(&id).await;
    let mut finishing = http2.post(Some(&id), &call("f", "stream")).await;
    read_until(&mut finishing, "progress").await;
    let waiting = tokio::spawn({
        let (http2, id) = (http2.clone(), id.clone());
        async move { text(http2.post(Some(&id), &call("w", "wait")).await).await }
    });
    in_flight(&app, 3).await;
    app.stop();
    eventually("the client is told to go away", async || {
        http2.send(http2.builder("GET", "/mcp"), "").await.is_err().then_some(())
    })
    .await;
    let finished = tokio::spawn(async move { read_until(&mut finishing, "\"id\":\"f\"").await });
    let within = |future| tokio::time::timeout(Duration::from_secs(10), future);
    let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    assert!(waited.contains("\"id\":\"w\"") && waited.contains("the proxy is stopping"), "{waited}");
    assert!(finished.await.unwrap().contains("\"id\":\"f\""));
    assert_eq!(within(text(listening)).await.unwrap(), "");
    app.stopped().await;
}

#[tokio::test]
async fn what_goes_on_is_http_1_and_says_where_it_came_from() {
    let (v1, _v2, app) = start("").await;
    let http2 = Http2::plain(app.address).await;
    let request = http2.builder("GET", "/plain").header("cookie", "a=1").header("cookie", "b=2").header("te", "trailers");
    let answer = http2.send(request, "").await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
    for name in ["connection", "keep-alive", "transfer-encoding", "upgrade"] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    let seen = v1.last().headers;
    assert_eq!(seen.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    assert!(seen["via"].to_str().unwrap().starts_with("2.0 dualgate-"), "{seen:?}");
    assert_eq!(
        (&seen["x-forwarded-proto"], &seen["x-forwarded-host"]),
        (&"http".parse().unwrap(), &"notes.example".parse().unwrap())
    );
    assert_eq!(seen["host"], v1.address.to_string().as_str());
    assert!(!seen.contains_key("te"));
    // What has been here over one version is known over the other.
    let again = http2.builder("GET", "/plain").header("via", seen["via"].clone());
    assert_eq!(http2.send(again, "").await.unwrap().status(), 508);
    let again = reqwest::Client::new().get(app.url("/plain")).header("via", seen["via"].clone());
    assert_eq!(again.send().await.unwrap().status(), 508);
}

#[tokio::test]
async fn what_is_malformed_is_refused_before_any_server_sees_it() {
    let (v1, _v2, app) = start("").await;
    let http2 = Http2::plain(app.address).await;
    let before = v1.seen().len();
    let get = || http2.builder("GET", "/plain");
    let status =
        async |request| http2.send(request, "").await.map(|answer| answer.status().as_u16()).map_err(|error| error.to_string());
    assert_eq!(status(get().header("host", "other.example")).await, Ok(400));
    assert_eq!(status(get().header("host", "notes.example:81")).await, Ok(400));
    assert_eq!(status(get().header("host", "not valid")).await, Ok(400));
    assert_eq!(status(get().header("expect", "tea")).await, Ok(417));
    assert_eq!(status(http2.builder("TRACE", "/plain")).await, Ok(405));
    let many = (0..101).fold(get(), |request, n| request.header(format!("x-{n}"), "1"));
    assert_eq!(status(many).await, Ok(431));
    assert_eq!(status(get().header("x-long", "x".repeat(40 << 10))).await, Ok(431));
    // The library ends such a stream by itself.
    for (length, body) in [("10", "01234"), ("2", "01234")] {
        let request = http2.builder("POST", "/plain").header("content-length", length);
        let answer = http2.send(request, body).await;
        assert!(answer.is_err() || answer.unwrap().status() == 400, "{length}");
    }
    assert_eq!(v1.seen().iter().skip(before).filter(|seen| seen.body == b"01234").count(), 0);
    // What names one host twice is in order, and none of it has cost the connection.
    assert_eq!(status(get().header("host", "Notes.example:80")).await, Ok(200));
}

/// A frame (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The client of the tests takes such fields off by itself, so these are bytes.
#[tokio::test]
async fn fields_of_a_connection_end_their_stream() {
    let (v1, _v2, app) = start("").await;
    for (name, value) in [("te", "gzip"), ("connection", "close"), ("transfer-encoding", "chunked"), ("upgrade", "h2c")] {
        let before = v1.seen().len();
        let mut socket = TcpStream::connect(app.address).await.unwrap();
        // GET, http, /, a literal :authority, and a literal field (RFC 7541, 6.2.2 and appendix A).
        let field = [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat();
        let head = [&[0x82, 0x86, 0x84, 0x41, 13][..], b"notes.example", &field].concat();
        let bytes = [PREFACE.to_vec(), frame(4, 0, 0, &[]), frame(1, 0x5, 1, &head)].concat();
        socket.write_all(&bytes).await.unwrap();
        let kind = async {
            loop {
                let mut header = [0; 9];
                socket.read_exact(&mut header).await.unwrap();
                let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
                socket.read_exact(&mut vec![0; length as usize]).await.unwrap();
                if header[8] == 1 {
                    return header[3];
                }
            }
        };
        let kind = tokio::time::timeout(Duration::from_secs(10), kind).await.expect("an answer");
        assert_eq!(kind, 3, "{name}: RST_STREAM, and no HEADERS");
        assert_eq!(v1.seen().len(), before);
    }
}

/// CVE-2023-44487.
#[tokio::test]
async fn who_opens_and_resets_streams_without_end_is_sent_away_and_hurts_nobody() {
    let (_v1, _v2, app) = start("").await;
    let bystander = Http2::plain(app.address).await;
    let id = bystander.open().await;
    // GET, http, /, and a literal :authority (RFC 7541, appendix A).
    let head = [&[0x82, 0x86, 0x84, 0x41, 13][..], b"notes.example"].concat();
    let mut flood = [PREFACE.to_vec(), frame(4, 0, 0, &[])].concat();
    for stream in (1..4_001).step_by(2) {
        flood.extend(frame(1, 0x5, stream, &head));
        flood.extend(frame(3, 0, stream, &8u32.to_be_bytes()));
    }
    let mut socket = TcpStream::connect(app.address).await.unwrap();
    // It may be closed before it has taken all of it.
    let _ = socket.write_all(&flood).await;
    let mut heard = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut heard)).await;
    read.expect("the connection is ended").ok();
    let calm_down = 11u32.to_be_bytes();
    assert!(heard.is_empty() || heard.windows(4).any(|window| window == calm_down), "{heard:?}");
    assert_eq!(bystander.who(&id).await, "v1");
    in_flight(&app, 0).await;
}

#[tokio::test]
async fn the_first_bytes_tell_the_version_however_they_come() {
    let (_v1, _v2, app) = start("").await;
    let mut socket = TcpStream::connect(app.address).await.unwrap();
    let request = b"PUT /plain HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    for cut in [0..1, 1..2, 2..request.len()] {
        socket.write_all(&request[cut]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut socket = TcpStream::connect(app.address).await.unwrap();
    for byte in PREFACE {
        socket.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    socket.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let mut settings = [0; 9];
    socket.read_exact(&mut settings).await.unwrap();
    assert_eq!(settings[3], 4, "a SETTINGS frame");
}

#[tokio::test]
async fn a_word_that_does_not_come_to_its_end_is_cut_off() {
    let (v1, v2) = pair().await;
    let folder = Folder::new();
    let file = TestApp::file(folder.path(), &[&v1], &[&v2], "100:0", "");
    let app = TestApp::from_text(format!("limits = {{ header_timeout = \"100ms\" }}\n{file}")).await;
    let mut socket = TcpStream::connect(app.address).await.unwrap();
    socket.write_all(b"PR").await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(10), socket.read(&mut [0; 1])).await.expect("in time");
    assert!(matches!(read, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_client_that_does_not_read_stalls_its_server_and_not_its_other_streams() {
    let (v1, _v2, app) = start("").await;
    let http2 = Http2::plain(app.address).await;
    let id = http2.open().await;
    let mut stream = http2.listen(&id).await;
    let chunk: &'static [u8] = Box::leak(vec![b'x'; 1 << 20].into_boxed_slice());
    (0..16).for_each(|_| v1.say(chunk));
    assert_eq!(http2.who(&id).await, "v1");
    let mut read = 0;
    while read < 16 << 20 {
        let frame = tokio::time::timeout(Duration::from_secs(10), stream.body_mut().frame()).await.expect("in time");
        read += frame.unwrap().unwrap().data_ref().map_or(0, bytes::Bytes::len);
    }
    assert!(!http2.is_closed());
}
