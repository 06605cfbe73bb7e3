use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::raw::{Server, Step};
use crate::support::{
    Client, Fake, Folder, Http2, Options, TestApp, at_rest, call, eventually, narrow_listener, read_until, text,
};

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
        let error = http2.send(request, body).await.expect_err(length);
        assert!(format!("{error:?}").contains("Reset(StreamId(") && format!("{error:?}").contains("PROTOCOL_ERROR"), "{error:?}");
    }
    // What names one host twice is in order, and none of it has cost the connection.
    assert_eq!(status(get().header("host", "Notes.example:80")).await, Ok(200));
    // That one alone is whole: of a body that turns out to be of another length the beginning may have gone on.
    let is_whole = |length: &http::HeaderValue, body: &[u8]| length.to_str().unwrap() == body.len().to_string();
    let seen: Vec<_> = v1.seen().into_iter().filter(|seen| seen.target == "/plain").collect();
    let whole = seen.iter().filter(|seen| seen.headers.get("content-length").is_none_or(|length| is_whole(length, &seen.body)));
    assert_eq!(whole.map(|seen| seen.method.as_str()).collect::<Vec<_>>(), ["GET"], "{seen:?}");
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
    let (mut reader, mut writer) = TcpStream::connect(app.address).await.unwrap().into_split();
    // It may be closed before it has taken all of it.
    let flooding = tokio::spawn(async move { writer.write_all(&flood).await });
    let goodbye = async {
        loop {
            let mut header = [0; 9];
            reader.read_exact(&mut header).await.expect("no end without a GOAWAY");
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let mut payload = vec![0; length as usize];
            reader.read_exact(&mut payload).await.unwrap();
            // A graceful one says 0 (RFC 9113, 6.8).
            if header[3] == 7 && payload[4..8] != [0; 4] {
                return payload;
            }
        }
    };
    let goodbye = tokio::time::timeout(Duration::from_secs(10), goodbye).await.expect("it is sent away");
    assert_eq!(goodbye[4..8], 11u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), reader.read_to_end(&mut rest)).await;
    read.expect("the connection is ended").ok();
    let _ = flooding.await.unwrap();
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
    const ALL: usize = 64 << 20;
    let other = Fake::start("other", Options::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let said = Arc::new(AtomicUsize::new(0));
    let saying = said.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let said = saying.clone();
            tokio::spawn(async move {
                // A check connects and says nothing.
                if !stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {
                    return;
                }
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {ALL}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                while said.load(Ordering::SeqCst) < ALL && stream.write_all(&[b'x'; 1 << 16]).await.is_ok() {
                    said.fetch_add(1 << 16, Ordering::SeqCst);
                }
            });
        }
    });
    let app = hanging_and_well(address, &other).await;
    let http2 = Http2::plain(app.address).await;
    let mut stream = http2.send(http2.builder("GET", "/plain").header("x-try", "primary"), "").await.unwrap();
    at_rest(address).await;
    let stalled = said.load(Ordering::SeqCst);
    assert!(stalled < ALL / 2, "it has said {stalled} bytes to a client that reads none");
    assert_eq!(text(http2.send(http2.builder("GET", "/plain").header("x-try", "secondary"), "").await.unwrap()).await, "other");
    assert_eq!(said.load(Ordering::SeqCst), stalled);
    let mut read = 0;
    while read < ALL {
        let frame = tokio::time::timeout(Duration::from_secs(10), stream.body_mut().frame()).await.expect("in time");
        read += frame.unwrap().unwrap().data_ref().map_or(0, bytes::Bytes::len);
    }
    assert!(!http2.is_closed());
}

#[tokio::test]
async fn uploads_that_nobody_takes_stall_no_other_request_of_their_connection() {
    let other = Fake::start("other", Options::default()).await;
    let listener = narrow_listener();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let app = hanging_and_well(address, &other).await;
    let http2 = Http2::plain(app.address).await;
    let put = |entry: &str, size: usize| {
        let (http2, request) = (http2.clone(), http2.builder("PUT", "/plain").header("x-try", entry));
        async move { http2.send(request, vec![b'x'; size]).await.map(|answer| answer.status().as_u16()) }
    };
    assert_eq!(put("secondary", 100).await.unwrap(), 200);
    // Each takes what the sockets to its server take, and a window.
    let uploads: Vec<_> = (0..24).map(|_| tokio::spawn(put("primary", 16 << 20))).collect();
    in_flight(&app, 24).await;
    at_rest(address).await;
    let answer = tokio::time::timeout(Duration::from_secs(10), put("secondary", 100 << 10)).await;
    assert_eq!(answer.expect("a request to a server that is well waits for those to one that hangs").unwrap(), 200);
    assert!(uploads.iter().all(|upload| !upload.is_finished()));
    uploads.iter().for_each(|upload| upload.abort());
}

/// In front of a server at this address and one that is well; the client says which (`x-try`).
async fn hanging_and_well(address: SocketAddr, other: &Fake) -> TestApp {
    let folder = Folder::new();
    let more = "health = { kind = \"tcp\", interval = \"60s\" }\naffinity = { tester_header = \"x-try\" }";
    let file = TestApp::file(folder.path(), &[other], &[other], "100:0", more);
    TestApp::from_text(file.replacen(&other.url(), &format!("http://{address}"), 1)).await
}

/// The common watch wakes who waits, on whatever task that is: every stream has one of its own.
#[tokio::test]
async fn every_stream_has_its_own_time_for_the_first_byte() {
    let server = Server::start(|_| vec![Step::Hold]).await;
    let app = server.behind("traffic = { first_byte_timeout = \"300ms\" }").await;
    let http2 = Http2::plain(app.address).await;
    let asked = (0..20).map(|_| http2.send(http2.builder("GET", "/plain"), ""));
    let answers = futures::future::join_all(asked).await;
    let told: Vec<u16> = answers.iter().map(|answer| answer.as_ref().unwrap().status().as_u16()).collect();
    // What listens is told so (docs/http.md).
    assert_eq!(told, [503; 20]);
    server.gone(20).await;
}
