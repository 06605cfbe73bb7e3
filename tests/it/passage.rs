//! Messages on their way from socket to socket: framing, order, ends, and who gets whose bytes.

use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::support::raw::{Ask, Server, Step, Talk, field, get, ok, post, say};
use crate::support::{at_rest, connections, eventually, narrow_listener};

/// Answers with what it was asked, in one of three framings.
fn echo(ask: &Ask) -> Vec<Step> {
    let body = if ask.body.is_empty() { ask.head.split(' ').nth(1).unwrap().as_bytes().to_vec() } else { ask.body.clone() };
    if ask.head.starts_with("HEAD") {
        return say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()));
    }
    match body.len() % 3 {
        0 => say(ok(&body)),
        1 => {
            let (one, other) = body.split_at(body.len() / 2);
            let mut chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for part in [one, other].iter().filter(|part| !part.is_empty()) {
                chunked.extend_from_slice(format!("{:x};a=b\r\n", part.len()).as_bytes());
                chunked.extend_from_slice(part);
                chunked.extend_from_slice(b"\r\n");
            }
            say([&chunked[..], b"0\r\nx: y\r\n\r\n"].concat())
        }
        _ => vec![Step::Say([b"HTTP/1.0 200 OK\r\n\r\n", &body[..]].concat()), Step::Close],
    }
}

/// A request of each kind that takes another way through the proxy, and what is to come back.
fn one_of_each(at: usize) -> (String, &'static str, String) {
    let words = format!("\"{}-{at}\"", "x".repeat(at % 5));
    match at % 7 {
        0 => (get(&format!("/get-{at}")), "GET", format!("/get-{at}")),
        1 => (format!("PUT /put HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{words}", words.len()), "PUT", words),
        2 => (format!("HEAD /head-{at} HTTP/1.1\r\nhost: x\r\n\r\n"), "HEAD", String::new()),
        3 => (
            format!(
                "PUT /put HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{words}\r\n0\r\n\r\n",
                words.len()
            ),
            "PUT",
            words,
        ),
        4 => (
            format!(
                "POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{words}\r\n0\r\n\r\n",
                words.len()
            ),
            "POST",
            words,
        ),
        _ => (post(&words), "POST", words),
    }
}

#[tokio::test]
async fn pipelined_requests_of_every_kind_are_answered_in_their_order() {
    let server = Server::start(echo).await;
    let app = server.behind("").await;
    for count in [2, 7, 16, 50] {
        let mut talk = Talk::to(&app).await;
        let all: Vec<_> = (0..count).map(one_of_each).collect();
        talk.say(all.iter().map(|one| &one.0[..]).collect::<String>()).await;
        for (request, method, expected) in &all {
            let (head, body) = talk.answer_to(method).await;
            assert!(head.starts_with("HTTP/1.1 200"), "{request} {head}");
            assert_eq!(String::from_utf8_lossy(&body), *expected, "{request}");
        }
        assert!(talk.buffer.is_empty());
    }
}

#[tokio::test]
async fn a_request_that_came_in_part_behind_another_is_whole_with_its_rest() {
    let server = Server::start(echo).await;
    let app = server.behind("").await;
    let mut talk = Talk::to(&app).await;
    for kind in 0..6 {
        let (first, second) = (post(&format!("\"first {kind}\"")), one_of_each(kind));
        for cut in 0..=second.0.len() {
            talk.say(format!("{first}{}", &second.0[..cut])).await;
            assert_eq!(talk.answer().await.1, format!("\"first {kind}\"").as_bytes());
            talk.say(&second.0[cut..]).await;
            let (head, body) = talk.answer_to(second.1).await;
            assert_eq!(String::from_utf8_lossy(&body), second.2, "cut at {cut} of {} {head}", second.0);
        }
    }
}

/// hyper closes such a connection after the answer, and so must who takes the request from it.
#[tokio::test]
async fn a_length_beside_a_coding_ends_the_connection_also_where_the_body_is_gathered() {
    let server = Server::start(echo).await;
    let app = server.behind("").await;
    for fields in ["content-length: 6\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 6"] {
        let mut talk = Talk::to(&app).await;
        let head = format!("POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{fields}\r\n\r\n");
        talk.say(format!("{head}2\r\n\"\"\r\n0\r\n\r\n{}", get("/smuggled"))).await;
        let rest = String::from_utf8(talk.rest().await).unwrap();
        assert_eq!(rest.matches("HTTP/1.1 200").count(), 1, "{rest}");
    }
    assert!(server.asked().iter().all(|ask| !ask.head.contains("smuggled")));
}

/// hyper goes on to the next request while the end of an answer still waits for a slow client: who took the
/// connection from it then would lose that end.
#[tokio::test]
async fn no_end_of_an_answer_is_lost_to_a_request_that_follows_an_upload() {
    let server = Server::start(|ask| match ask.head.split_once("/early-") {
        Some((_, length)) => say(ok(vec![b'a'; length.split(' ').next().unwrap().parse().unwrap()])),
        None => echo(ask),
    })
    .await;
    let app = server.behind("").await;
    let mut talks = Vec::new();
    for length in (0..60).map(|step| 40_000 + step * 48_000) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let mut talk = Talk { stream: socket.connect(app.address).await.unwrap(), buffer: Vec::new() };
        talk.say(format!("PUT /early-{length} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345")).await;
        talks.push((length, talk));
    }
    // As much of the answers as fits is on its way; of some of them all, with no room for more.
    at_rest(app.address).await;
    for (_, talk) in &mut talks {
        talk.say("67890PUT /early-0 HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345").await;
    }
    at_rest(app.address).await;
    for (_, talk) in &mut talks {
        talk.say(format!("67890{}", post("\"next\""))).await;
    }
    at_rest(app.address).await;
    for (length, mut talk) in talks {
        let (head, body) = talk.answer().await;
        assert!(body.len() == length && body.iter().all(|byte| *byte == b'a'), "{length} {head}");
        assert_eq!(talk.answer().await.1, b"", "behind {length}");
        assert_eq!(talk.answer().await.1, b"\"next\"", "behind {length}");
    }
}

/// The bytes that an answer comes to, with another one behind it over the same connection.
async fn two_answers(answer: &'static str, request: &str) -> String {
    let server = Server::start(move |ask| if ask.body == b"\"next\"" { say(ok("next")) } else { say(answer) }).await;
    let app = server.behind("").await;
    let mut talk = Talk::to(&app).await;
    talk.say(format!("{request}{}", post("\"next\"").replace("host: x", "host: x\r\nconnection: close"))).await;
    String::from_utf8(talk.rest().await).unwrap()
}

/// What follows the head of the first of two answers, which has no body.
fn behind_the_first(answers: &str) -> (&str, &str) {
    answers.split_once("\r\n\r\n").unwrap()
}

#[tokio::test]
async fn what_has_no_content_has_no_body_and_no_fields_that_say_so() {
    let call = post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}"#);
    let stream = "HTTP/1.1 204 No Content\r\ncontent-type: text/event-stream\r\n\r\n";
    let framed = "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n";
    let coded = "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n";
    let both = "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n";
    let unchanged = "HTTP/1.1 304 Not Modified\r\ncontent-type: text/event-stream\r\ncontent-length: 512\r\n\r\n";
    for answer in [stream, framed, coded, both, unchanged] {
        for request in [&call, &get("/plain"), &"PUT /put HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx".to_owned()] {
            let answers = two_answers(answer, request).await;
            let (head, rest) = behind_the_first(&answers);
            assert!(rest.starts_with("HTTP/1.1 200 OK\r\n") && rest.ends_with("\r\n\r\nnext"), "{answers}");
            // Of a 304 the length says what a 200 would have (RFC 9110, 8.6).
            assert!(field(head, "content-length").is_none() || head.contains(" 304 "), "{answers}");
            assert_eq!(field(head, "transfer-encoding"), None, "{answers}");
        }
    }
}

#[tokio::test]
async fn an_answer_gets_the_date_that_it_lacks_and_keeps_the_one_that_it_has() {
    let head = |answers: &str| answers.split_once("\r\n\r\n").unwrap().0.to_owned();
    let dated = head(
        &two_answers("HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 10:00:00 GMT\r\ncontent-length: 0\r\n\r\n", &get("/x")).await,
    );
    assert_eq!(field(&dated, "date").unwrap(), "fri, 20 nov 2026 10:00:00 gmt");
    assert_eq!(dated.to_ascii_lowercase().matches("date:").count(), 1);
    let bare = head(&two_answers("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", &get("/x")).await);
    assert!(httpdate::parse_http_date(bare.lines().find_map(|line| line.strip_prefix("date: ")).unwrap()).is_ok(), "{bare}");
}

#[tokio::test]
async fn equal_lengths_pass_as_one() {
    for lengths in ["content-length: 5\r\nContent-Length: 5", "content-length: 5, 5"] {
        let answer: &'static str = format!("HTTP/1.1 200 OK\r\n{lengths}\r\n\r\nhello").leak();
        let answers = two_answers(answer, &get("/x")).await;
        assert_eq!(answers.matches("content-length: 5\r\n").count(), 1, "{answers}");
        assert_eq!(answers.to_ascii_lowercase().matches("content-length").count(), 2, "{answers}");
    }
}

/// Two readers of it could see two bodies; nobody is to see either.
#[tokio::test]
async fn a_length_beside_a_coding_is_refused_whatever_the_request() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    let upload = "PUT /put HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx";
    for request in [get("/x"), post("\"x\""), upload.to_owned()] {
        let answers = two_answers(answer, &request).await;
        assert!(answers.starts_with("HTTP/1.1 502 "), "{request} {answers}");
    }
}

/// A server may refuse what it will not read, gathered or not.
#[tokio::test]
async fn an_answer_before_a_long_request_is_taken_is_passed_on() {
    let refusal = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno".to_vec();
    let listener = narrow_listener();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if stream.read(&mut [0; 100]).await.is_ok_and(|read| read > 0) {
                stream.write_all(&refusal).await.unwrap();
            }
            kept.push(stream);
        }
    });
    let app = Server::at(address).behind("traffic = { peek_limit = \"32MiB\", first_byte_timeout = \"60s\" }").await;
    let mut talk = Talk::to(&app).await;
    let long = format!("\"{}\"", "x".repeat(24 << 20));
    let (head, body) = async {
        let (said, answered) = (post(&long), Duration::from_secs(30));
        talk.say(said).await;
        tokio::time::timeout(answered, talk.answer()).await.expect("in time")
    }
    .await;
    assert!(head.starts_with("HTTP/1.1 413 ") && body == b"no", "{head}");
    connections(address, 0).await;
}

#[tokio::test]
async fn heads_and_framing_without_end_are_cut_within_their_bounds() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let cases: [(&str, &str, bool); 7] = [
        ("HTTP/1.1 200 OK\r\nx: ", "yyyyyyyyyyyyyyyy", true),
        ("HTTP/1.1 200 OK\r\n", "x: y\r\n", true),
        ("", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", true),
        ("", "\r\n", true),
        (chunked, "1;xxxxxxxxxxxxxxxxxxxxxxxx\r\ny\r\n", false),
        (&format!("{chunked}0\r\n"), "x: y\r\n", false),
        (&format!("{chunked}1"), ";xxxxxxxx", false),
    ];
    for (begin, again, has_no_answer) in cases {
        let (start, more) = (begin.as_bytes().to_vec(), again.as_bytes().repeat(100));
        let server = Server::start(move |_| vec![Step::Say(start.clone()), Step::Forever(more.clone())]).await;
        let app = server.behind("").await;
        let mut talk = Talk::to(&app).await;
        talk.say(get("/x")).await;
        let answer = talk.try_answer("GET").await;
        match has_no_answer {
            true => assert!(answer.unwrap().0.starts_with("HTTP/1.1 502 "), "{begin:?} {again:?}"),
            false => assert!(answer.is_none(), "what was cut looks cut: {again:?}"),
        }
        server.gone(1).await;
    }
}

#[tokio::test]
async fn a_parked_connection_that_was_closed_or_said_something_unasked_is_not_used() {
    for then in [vec![], b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged".to_vec()] {
        let unasked = then.clone();
        let server = Server::start(move |ask| {
            if ask.connection > 0 {
                return echo(ask);
            }
            let last = if unasked.is_empty() { Step::Close } else { Step::Say(unasked.clone()) };
            vec![Step::Say(ok(&ask.body)), Step::Wait, last]
        })
        .await;
        let app = server.behind("").await;
        let mut talk = Talk::to(&app).await;
        talk.say(post("\"one\"")).await;
        assert_eq!(talk.answer().await.1, b"\"one\"");
        server.go_on().await;
        // A call that nothing would send twice.
        talk.say(post("\"2 three\"")).await;
        let (head, body) = talk.answer().await;
        assert_eq!(String::from_utf8_lossy(&body), "\"2 three\"", "{head}");
        let asked: Vec<_> = server.asked().iter().map(|ask| ask.connection).collect();
        assert_eq!(asked, [0, 1]);
    }
}

#[tokio::test]
async fn bytes_behind_the_end_of_an_answer_poison_their_connection_and_nothing_else() {
    let server = Server::start(|ask| {
        let forged = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
        let answer = match ask.body.len() % 3 {
            0 => format!("{}{forged}", String::from_utf8(ok(&ask.body)).unwrap()),
            1 => {
                let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", ask.body.len(), String::from_utf8_lossy(&ask.body));
                format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{forged}")
            }
            _ => format!("HTTP/1.1 204 No Content\r\n\r\n{forged}"),
        };
        say(answer)
    })
    .await;
    let app = server.behind("").await;
    let (mut one, mut other) = (Talk::to(&app).await, Talk::to(&app).await);
    for at in 0..30 {
        for (talk, name) in [(&mut one, "one"), (&mut other, "other")] {
            let words = format!("\"{name} {}\"", "x".repeat(at));
            talk.say(post(&words)).await;
            let (head, body) = talk.answer().await;
            let expected = if head.contains(" 204 ") { "" } else { &words };
            assert_eq!(String::from_utf8_lossy(&body), expected, "{head}");
        }
    }
    let asked = server.asked();
    assert!(asked.iter().enumerate().all(|(at, ask)| ask.connection == at), "each over a connection of its own");
}

#[tokio::test]
async fn a_client_that_leaves_is_felt_by_the_server_at_once_wherever_it_was() {
    let hold = |answer: &'static str| move |_: &Ask| vec![Step::Say(answer.as_bytes().to_vec()), Step::Hold];
    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n4\r\n: a\n\r\n";
    for answer in ["", stream, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"] {
        let server = Server::start(hold(answer)).await;
        let app = server.behind("").await;
        let mut left = 0;
        let more = [String::new(), "GET ".to_owned(), get("/next"), get("/next").repeat(2_000), get("/next").repeat(20_000)];
        for pipelined in &more {
            for way in [Way::Closed, Way::HalfClosed, Way::Reset] {
                // The end of what is not taken is not seen: it comes behind it.
                if pipelined.len() > 100_000 && way != Way::Reset {
                    continue;
                }
                let mut talk = Talk::to(&app).await;
                talk.say(post("\"x\"")).await;
                match answer {
                    "" => eventually("it is asked", async || (server.asked().len() == left + 1).then_some(())).await,
                    _ => assert!(talk.stream.read(&mut [0; 1000]).await.unwrap() > 0),
                }
                let _ = tokio::time::timeout(Duration::from_secs(1), talk.say(pipelined)).await;
                match way {
                    Way::Closed => {}
                    // Who says that nothing more comes is taken for gone: a socket that was closed looks the same.
                    Way::HalfClosed => talk.stream.shutdown().await.unwrap(),
                    Way::Reset => socket2::SockRef::from(&talk.stream).set_linger(Some(Duration::ZERO)).unwrap(),
                }
                let kept = (way == Way::HalfClosed).then_some(talk);
                left += 1;
                server.gone(left).await;
                drop(kept);
            }
        }
    }
}

/// How a client leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Closed,
    HalfClosed,
    Reset,
}

#[tokio::test]
async fn connections_end_where_client_or_server_says_so_and_go_on_otherwise() {
    let server = Server::start(|ask| match ask.head.contains("/closing") {
        true => vec![Step::Say(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok".to_vec()), Step::Close],
        false => echo(ask),
    })
    .await;
    let app = server.behind("").await;
    let mut talk = Talk::to(&app).await;
    for _ in 0..3 {
        // The server's connection is not the client's.
        talk.say(get("/closing")).await;
        let (head, body) = talk.answer().await;
        assert_eq!((field(&head, "connection"), &body[..]), (None, &b"ok"[..]));
    }
    let asked: Vec<_> = server.asked().iter().map(|ask| ask.connection).collect();
    assert_eq!(asked, [0, 1, 2]);
    talk.say(format!("GET /abc HTTP/1.1\r\nhost: x\r\nconnection: Close\r\n\r\n{}", get("/never"))).await;
    let (head, body) = talk.answer().await;
    assert_eq!((field(&head, "connection").as_deref(), &body[..]), (Some("close"), &b"/abc"[..]));
    assert!(talk.rest().await.is_empty());
    assert!(server.asked().iter().all(|ask| !ask.head.contains("/never")));
}

#[tokio::test]
async fn clients_of_http_1_0_get_an_answer_that_they_can_read() {
    let server = Server::start(echo).await;
    let app = server.behind("").await;
    for path in ["/ab", "/abc", "/abcd"] {
        let mut talk = Talk::to(&app).await;
        talk.say(format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n")).await;
        let answer = String::from_utf8(talk.rest().await).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!((field(head, "transfer-encoding"), body), (None, path), "{head}");
    }
    let mut talk = Talk::to(&app).await;
    for path in ["/ab", "/abcde"] {
        talk.say(format!("GET {path} HTTP/1.0\r\nhost: x\r\nconnection: keep-alive\r\n\r\n")).await;
        assert_eq!(talk.answer().await.1, path.as_bytes());
    }
}

#[tokio::test]
async fn an_expectation_is_met_once_whether_or_not_the_client_waits() {
    let server = Server::start(echo).await;
    let app = server.behind("").await;
    let mut talk = Talk::to(&app).await;
    for waits in [true, false, true] {
        let head = "POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
        match waits {
            true => {
                talk.say(head).await;
                assert!(talk.answer().await.0.starts_with("HTTP/1.1 100 "));
                talk.say("\"ab\"").await;
            }
            false => talk.say(format!("{head}\"ab\"")).await,
        }
        let (mut head, mut body) = talk.answer().await;
        if !waits && head.starts_with("HTTP/1.1 100 ") {
            (head, body) = talk.answer().await;
        }
        assert!(head.starts_with("HTTP/1.1 200 ") && body == b"\"ab\"", "{head}");
        talk.say(post("\"then\"")).await;
        assert_eq!(talk.answer().await.1, b"\"then\"");
    }
}

/// Bytes that say whose they are and where they belong: part of one table, from another place for each.
fn body_of(seed: usize, length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed as u64 + 1);
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state
    };
    // Two tables of lengths that have nothing in common: no part of it comes again within a body.
    let table: Vec<u8> = (0..4099).map(|_| next() as u8).collect();
    let other: Vec<u8> = (0..4093).map(|_| next() as u8).collect();
    let mut body = Vec::with_capacity(length);
    let mut at = 0;
    while body.len() < length {
        body.push(table[at % table.len()] ^ other[at % other.len()]);
        at += 1;
    }
    body
}

const DOWNLOAD: usize = 10 << 20;

/// `/length-n` and `/chunked-n`: the nth body in that framing, in chunks of all sizes; `/stream-n`: events; the rest is echoed.
fn serve_many(ask: &Ask) -> Vec<Step> {
    let path = ask.head.split(' ').nth(1).unwrap();
    let Some((kind, seed)) = path[1..].split_once('-') else { return echo(ask) };
    let seed: usize = seed.parse().unwrap();
    match kind {
        "length" => say(ok(body_of(seed, DOWNLOAD))),
        "chunked" => {
            let body = body_of(seed, DOWNLOAD);
            let mut steps = say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let (mut rest, mut size) = (&body[..], 1);
            while !rest.is_empty() {
                let (chunk, more) = rest.split_at(size.min(rest.len()));
                steps.push(Step::Say([format!("{:X}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()));
                (rest, size) = (more, (size * 7 + 3) % 300_007 + 1);
            }
            steps.push(Step::Say(b"0\r\n\r\n".to_vec()));
            steps
        }
        _ => {
            let mut steps = say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
            steps.extend((0..200).map(|at| {
                let event = format!("data: {seed} {at} {}\n\n", "e".repeat(at * 31 % 5_000));
                Step::Say(format!("{:x}\r\n{event}\r\n", event.len()).into_bytes())
            }));
            steps.push(Step::Say(b"0\r\n\r\n".to_vec()));
            steps
        }
    }
}

/// One download, byte by byte; a slow client takes small parts, and lets the others go first.
async fn download(app: std::net::SocketAddr, seed: usize, is_slow: bool) {
    let socket = TcpSocket::new_v4().unwrap();
    if is_slow {
        socket.set_recv_buffer_size(16 << 10).unwrap();
    }
    let mut stream = socket.connect(app).await.unwrap();
    let kind = if seed.is_multiple_of(2) { "length" } else { "chunked" };
    stream.write_all(get(&format!("/{kind}-{seed}")).as_bytes()).await.unwrap();
    let (mut talk, wanted) = (Talk { stream, buffer: Vec::new() }, body_of(seed, DOWNLOAD));
    if is_slow {
        let mut part = vec![0; 8 << 10];
        while talk.buffer.len() < 2 << 20 {
            let read = talk.stream.read(&mut part).await.unwrap();
            talk.buffer.extend_from_slice(&part[..read]);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let (head, body) = talk.answer().await;
    let differs = body.iter().zip(&wanted).position(|(one, other)| one != other);
    assert!(
        body.len() == wanted.len() && differs.is_none(),
        "{kind} {seed}: {} bytes, differs at {differs:?}; {head}",
        body.len()
    );
    // And the connection is good for more.
    talk.say(post("\"more\"")).await;
    assert_eq!(talk.answer().await.1, b"\"more\"");
}

#[tokio::test]
async fn many_answers_on_one_worker_never_get_each_others_bytes() {
    let server = Server::start(serve_many).await;
    let app = server.behind("").await;
    let address = app.address;
    let mut all: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
    (0..16).for_each(|seed| all.push(Box::pin(download(address, seed, seed % 4 < 2))));
    for client in 0..4 {
        let (mut posts, mut streams) = (Talk::to(&app).await, Talk::to(&app).await);
        all.push(Box::pin(async move {
            for at in 0..100 {
                let words = format!("\"{client} {at} {}\"", "w".repeat(at * 37 % 3_000));
                posts.say(post(&words)).await;
                assert_eq!(String::from_utf8_lossy(&posts.answer().await.1), words);
            }
        }));
        all.push(Box::pin(async move {
            for seed in 0..5 {
                streams.say(get(&format!("/stream-{seed}{client}"))).await;
                let said = String::from_utf8(streams.answer().await.1).unwrap();
                let wanted: String =
                    (0..200).map(|at| format!("data: {} {at} {}\n\n", seed * 10 + client, "e".repeat(at * 31 % 5_000))).collect();
                assert_eq!(said, wanted);
            }
        }));
    }
    futures::future::join_all(all).await;
}

/// A server may begin its answer before it has read all of a request, and go on reading.
#[tokio::test]
async fn a_request_reaches_its_server_whole_also_where_the_answer_begins_before_its_end() {
    for size in [60 << 10, 24 << 20] {
        let listener = narrow_listener();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut first = [0; 100];
                    if !stream.read(&mut first).await.is_ok_and(|read| read == 100) {
                        return;
                    }
                    let begin =
                        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n4\r\n: a\n\r\n";
                    stream.write_all(begin.as_bytes()).await.unwrap();
                    // The rest of the request ends with the quote that ends its body.
                    let mut buffer = vec![0; 1 << 16];
                    loop {
                        match stream.read(&mut buffer).await {
                            Ok(read) if read > 0 && buffer[read - 1] == b'"' => break,
                            Ok(read) if read > 0 => {}
                            _ => return,
                        }
                    }
                    let end = "c\r\ndata: \"all\"\n\r\n1\r\n\n\r\n0\r\n\r\n";
                    stream.write_all(end.as_bytes()).await.unwrap();
                });
            }
        });
        let app = Server::at(address).behind("traffic = { peek_limit = \"32MiB\", first_byte_timeout = \"60s\" }").await;
        let mut talk = Talk::to(&app).await;
        let long = format!("\"{}\"", "x".repeat(size));
        for request in [post(&long).replacen("POST", "PUT", 1), post(&long)] {
            talk.say(&request).await;
            let body = tokio::time::timeout(Duration::from_secs(10), talk.answer()).await;
            let body = body.unwrap_or_else(|_| panic!("{} of {size} bytes is not taken whole", &request[..4])).1;
            assert!(String::from_utf8_lossy(&body).contains("data: \"all\""), "{}", &request[..4]);
        }
    }
}

/// What is idle ends with the beginning of the drain, and what has begun is answered, whoever reads it.
#[tokio::test]
async fn at_a_drain_idle_connections_end_and_what_has_begun_is_answered() {
    let server = Server::start(|ask| match ask.head.contains("/slow") {
        true => vec![Step::Wait, Step::Say(ok(b"slow"))],
        false => echo(ask),
    })
    .await;
    let app = server.behind("").await;
    let uploads = "PUT /put HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let mut idle = vec![Talk::to(&app).await];
    for (request, method) in
        [(post("\"x\""), "POST"), ("HEAD /a HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), "HEAD"), (uploads.to_owned(), "PUT")]
    {
        let mut talk = Talk::to(&app).await;
        talk.say(request).await;
        talk.answer_to(method).await;
        assert!(talk.buffer.is_empty());
        idle.push(talk);
    }
    let mut slow = Talk::to(&app).await;
    slow.say(get("/slow")).await;
    let halves = [post("\"abc\""), "HEAD /abc HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), uploads.to_owned()];
    let mut begun = Vec::new();
    for (request, cut) in
        [(&halves[0], 20), (&halves[0], halves[0].len() - 2), (&halves[1], 20), (&halves[2], halves[2].len() - 8)]
    {
        let mut talk = Talk::to(&app).await;
        talk.say(&request[..cut]).await;
        begun.push((talk, request.clone(), cut));
    }
    eventually("all are asked", async || server.asked().iter().any(|ask| ask.head.contains("/slow")).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    app.stop();
    for talk in idle {
        assert!(talk.rest().await.is_empty());
    }
    for (mut talk, request, cut) in begun {
        talk.say(&request[cut..]).await;
        let (head, _) = talk.answer_to(&request[..4]).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{request}: {head}");
        assert_eq!(field(&head, "connection").as_deref(), Some("close"), "{request}: {head}");
        assert!(talk.rest().await.is_empty());
    }
    server.go_on().await;
    let (head, body) = slow.answer().await;
    assert_eq!((field(&head, "connection").as_deref(), &body[..]), (Some("close"), &b"slow"[..]));
    app.stopped().await;
}

/// Its outcome is the client's, once, in whatever phase it leaves; nothing stays in flight, and no health suffers.
#[tokio::test]
async fn a_client_that_leaves_is_booked_once_in_every_phase_and_nothing_stays_behind() {
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"jsonrpc\":\"2.0\",";
    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let begun = format!("{stream}4\r\n: a\n\r\n");
    let event = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";
    let answered = format!("{stream}{:x}\r\n{event}\r\n", event.len());
    let whole = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 36\r\n\r\n{}",
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#
    );
    for (said, faults, fine) in [("", 1, 0), (json, 1, 0), (stream, 1, 0), (&begun, 1, 0), (&answered, 0, 1), (&whole, 0, 1)] {
        let answer = said.as_bytes().to_vec();
        let server = Server::start(move |_| vec![Step::Say(answer.clone()), Step::Hold]).await;
        let app = server.behind("").await;
        let mut talk = Talk::to(&app).await;
        talk.say(post(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}"#)).await;
        match said {
            "" => eventually("it is asked", async || (server.asked().len() == 1).then_some(())).await,
            _ => {
                let mut seen = Vec::new();
                let wanted = said.split_once("\r\n\r\n").unwrap().1.trim_end_matches("\r\n").lines().last().unwrap_or_default();
                while !String::from_utf8_lossy(&seen).contains(wanted) || seen.is_empty() {
                    assert!(talk.stream.read_buf(&mut seen).await.unwrap() > 0, "{said}");
                }
            }
        }
        drop(talk);
        let service = eventually("nothing is in flight", async || {
            let service = app.admin.service().await;
            let requests = &service["entries"]["primary"]["requests"];
            let counted = requests["client_fault"] == faults && requests["ok"] == fine;
            let endpoint = &service["entries"]["primary"]["endpoints"][0];
            (counted && endpoint["in_flight"] == 0).then(|| service.clone())
        })
        .await;
        let requests = service["entries"]["primary"]["requests"].as_object().unwrap();
        let all: u64 = requests.values().filter_map(serde_json::Value::as_u64).sum();
        assert_eq!((all, &requests["entry_fault"]), (1, &serde_json::json!(0)), "{said}: {requests:?}");
    }
}
