use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::mcp::request_id::{tagged, untag};

fn retag() -> Retag {
    Retag::new(1, Stream::Get)
}

/// What comes out for a stream in these pieces.
fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Vec<Box<str>>, u32) {
    let (mut retag, mut out, mut tokens) = (retag(), Vec::new(), Vec::new());
    for piece in pieces {
        retag.feed(piece, &mut out);
        tokens.extend(retag.take_tokens());
    }
    out.extend(retag.end());
    (out, tokens, retag.passed_over())
}

fn whole(text: &str) -> String {
    String::from_utf8(run([text.as_bytes()]).0).unwrap()
}

fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

#[test]
fn ids_say_their_epoch_and_nothing_else_is_altered() {
    for (stream, sent) in [
        ("id: 5\ndata: {}\n\n", "id: 1.g~5\ndata: {}\n\n"),
        ("data: {}\nid:5\n\n", "data: {}\nid:1.g~5\n\n"),
        ("id:  5\r\n\r\n", "id: 1.g~ 5\r\n\r\n"),
        ("event: other\rid: 5\rdata: x\r\r", "event: other\rid: 1.g~5\rdata: x\r\r"),
        ("id: 5\nid: 6\n\n", "id: 1.g~5\nid: 1.g~6\n\n"),
        (
            "event: message\ndata: {\"jsonrpc\":\"2.0\", \"id\" : 0 ,\"method\":\"ping\"}\n\n",
            "event: message\ndata: {\"jsonrpc\":\"2.0\", \"id\" : \"r1n.0\" ,\"method\":\"ping\"}\n\n",
        ),
        ("data:{\"method\":\"m\",\"id\":\"a\\u00fc\"}\r\r", "data:{\"method\":\"m\",\"id\":\"r1s.a\\u00fc\"}\r\r"),
        (
            "data: {\"method\":\"m\",\ndata: \"id\":\ndata:  7}\n\n",
            "data: {\"method\":\"m\",\ndata: \"id\":\ndata:  \"r1n.7\"}\n\n",
        ),
        ("data: {\"m\\u0065thod\":\"m\",\"id\":7}\nevent:\n\n", "data: {\"m\\u0065thod\":\"m\",\"id\":\"r1n.7\"}\nevent:\n\n"),
        (
            "data: {\"method\":\"notifications/cancelled\",\"params\":{\"reason\":\"x\",\"requestId\":3}}\n\n",
            "data: {\"method\":\"notifications/cancelled\",\"params\":{\"reason\":\"x\",\"requestId\":\"r1n.3\"}}\n\n",
        ),
        (
            "data: [{\"id\":1,\"method\":\"a\"},7,{\"id\":2,\"result\":{}},{\"id\":\"3\",\"method\":\"b\"}]\n\n",
            "data: [{\"id\":\"r1n.1\",\"method\":\"a\"},7,{\"id\":2,\"result\":{}},{\"id\":\"r1s.3\",\"method\":\"b\"}]\n\n",
        ),
        ("\u{feff}id: 1\n: c\n\n", "\u{feff}id: 1.g~1\n: c\n\n"),
    ] {
        assert_eq!(whole(stream), sent, "{stream:?}");
    }
}

#[test]
fn a_stream_without_ids_and_requests_passes_as_it_came() {
    for stream in [
        "",
        ": ping\n\nretry: 5\n\n",
        "id:\nid\nid: \ndata\n\n",
        "id : 5\n id: 5\nidentity: 5\nID: 5\n\n",
        "data: {\"id\":1,\"result\":{\"method\":\"m\",\"id\":2}}\n\n",
        "data: {\"method\":\"notifications/message\",\"params\":{\"id\":1,\"requestId\":2}}\n\n",
        "data: {\"id\":null,\"method\":\"m\"}\n\n",
        "event: ping\ndata: {\"id\":1,\"method\":\"m\"}\n\n",
        "data: {\"id\":1,\"method\":\"m\"}\nevent: endpoint\n\n",
        "data: {\"id\":1,\"id\":2,\"method\":\"m\"}\n\n",
        "data: {\"id\":1,\"method\":\"m\"\n\n",
        "data: {\"id\":1,\"method\":\"m\"} x\n\n",
        "data: {\"id\":{},\"method\":\"m\"}\n\n",
        "data: [[1,\"m\"]]\n\n",
        "data: {\"id\":1,\"method\":\"m\"}\n",
        "\u{feff}\u{feff}id: 5\n\n",
    ] {
        assert_eq!(whole(stream), stream);
    }
    let strange = b"\xef\xbbid: 5\ndata: {\"id\":1,\"method\":\"\xff\"}\n\n";
    assert_eq!(run([&strange[..]]).0, strange);
}

#[test]
fn the_ids_of_an_answer_say_what_was_asked() {
    let (mut retag, mut out) = (Retag::new(3, Stream::of_request("\"a\"")), Vec::new());
    retag.feed(b"id: 5\ndata: {\"id\":0,\"method\":\"m\"}\n\n", &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), "id: 3.pImEi~5\ndata: {\"id\":\"r3n.0\",\"method\":\"m\"}\n\n");
    assert_eq!(EventTag::read(b"3.pImEi~5").unwrap().0.stream, Stream::of_request("\"a\""));
}

#[test]
fn comments_and_whole_events_do_not_wait_and_an_event_does() {
    let (mut retag, mut out) = (retag(), Vec::new());
    for (bytes, sent) in [
        (&b": pi"[..], &b": pi"[..]),
        (b"ng\n\ndata: {}\n", b"ng\n\n"),
        (b": inside\n", b""),
        (b"\r", b"data: {}\n: inside\n\r"),
        (b"\n: next", b"\n: next"),
        (b"\nid: 1\n", b"\n"),
        (b"\nid", b"id: 1.g~1\n\n"),
    ] {
        retag.feed(bytes, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(sent));
        out.clear();
    }
    assert_eq!((retag.end(), retag.end()), (b"id".to_vec(), Vec::new()));
}

#[test]
fn the_tokens_of_requests_are_told_once_and_as_they_were_written() {
    let request =
        |id: &str, token: &str| format!(r#"{{"id":{id},"method":"m","params":{{"_meta":{{"progressToken":{token}}}}}}}"#);
    let (mut retag, mut out) = (retag(), Vec::new());
    retag.feed(format!("data: [{},{}]\n\n", request("1", "1.50"), request("null", "8")).as_bytes(), &mut out);
    retag.feed(
        format!("data: {}\n\nevent: x\ndata: {}\n\n", request("2", r#""a\u0062""#), request("3", "9")).as_bytes(),
        &mut out,
    );
    assert_eq!(retag.take_tokens().to_vec(), [Box::from("1.50"), Box::from(r#""a\u0062""#)]);
    assert!(retag.take_tokens().is_empty());
    for at in 0..=MOST_TOKENS {
        retag.feed(format!("data: {}\n\n", request("1", &at.to_string())).as_bytes(), &mut out);
    }
    assert_eq!(retag.take_tokens().len(), MOST_TOKENS);
}

#[test]
fn of_an_event_beyond_the_bound_the_ids_are_tagged_and_the_next_one_is_looked_at() {
    let long = "x".repeat(MOST_HELD);
    let stream = |id: &str, request: &str| {
        format!(
            "id: {id}\ndata: {{\"id\":1,\"method\":\"{long}\"}}\nid:{id}\n\nid: {id}\ndata: {{\"id\":{request},\"method\":\"m\"}}\n\n"
        )
    };
    let (given, sent) = (stream("7", "2"), stream("1.g~7", "\"r1n.2\""));
    for size in [given.len(), MOST_HELD, MOST_HELD / 3, 4096, 7] {
        let (out, _, passed_over) = run(given.as_bytes().chunks(size));
        assert!(out == sent.as_bytes() && passed_over == 1, "in pieces of {size}");
    }
    let longest = |more: usize| format!("data: \"{}\"\n\n", "x".repeat(MOST_HELD - 10 + more));
    assert_eq!((run([longest(0).as_bytes()]).2, run([longest(1).as_bytes()]).2), (0, 1));
}

#[test]
fn in_epoch_0_nothing_is_altered() {
    let stream = b"id: 5\ndata: {\"id\":1,\"method\":\"m\"}\n\n";
    let (mut retag, mut out) = (Retag::new(0, Stream::Get), Vec::new());
    retag.feed(stream, &mut out);
    assert_eq!(out, stream);
}

/// The oracle: lines, their fields, and events of them (HTML living standard, 9.2.6).
#[derive(Debug, Default, PartialEq)]
struct Event {
    ids: Vec<String>,
    kind: String,
    data: Option<String>,
    others: Vec<String>,
}

fn events(text: &str) -> Vec<Event> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut event) = (Vec::new(), Event::default());
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
        match name {
            _ if line.is_empty() => events.push(mem::take(&mut event)),
            "id" => event.ids.push(value),
            "event" => event.kind = value,
            "data" => event.data = Some(event.data.map_or(value.clone(), |data| format!("{data}\n{value}"))),
            _ => event.others.push(line.to_owned()),
        }
    }
    events
}

/// What the client should see of a message.
fn expected_message(message: &mut Value) {
    let tag = |id: &mut Value| {
        if id.is_string() || id.is_number() {
            *id = serde_json::from_str(&tagged(1, &id.to_string())).unwrap();
        }
    };
    match (message["method"].as_str().map(str::to_owned), message.get("id").is_some_and(|id| !id.is_null())) {
        (Some(_), true) => tag(&mut message["id"]),
        (Some(method), false) if method == "notifications/cancelled" && message["params"]["requestId"] != Value::Null => {
            tag(&mut message["params"]["requestId"]);
        }
        _ => {}
    }
}

fn expected(mut event: Event) -> Event {
    event.ids.iter_mut().filter(|id| !id.is_empty()).for_each(|id| *id = format!("1.g~{id}"));
    if event.kind.is_empty() || event.kind == "message" {
        event.data = event.data.map(|data| match serde_json::from_str::<Value>(&data) {
            Ok(mut message @ Value::Object(_)) => {
                expected_message(&mut message);
                message.to_string()
            }
            Ok(Value::Array(mut batch)) => {
                batch.iter_mut().filter(|message| message.is_object()).for_each(expected_message);
                Value::Array(batch).to_string()
            }
            _ => data,
        });
    }
    event
}

/// The same data in one spelling.
fn spelled(mut event: Event) -> Event {
    event.data = event.data.map(|data| serde_json::from_str::<Value>(&data).map_or(data, |value| value.to_string()));
    event
}

/// Takes the tags out again.
fn undone(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let Some((byte, behind)) = rest.split_first() {
        let ends = (1..rest.len()).filter(|at| rest.starts_with(b"\"r1") && rest[*at] == b'"');
        let mut ids = ends.filter_map(|at| Some((at, untag(str::from_utf8(&rest[..=at]).ok()?)?.1)));
        if let Some((end, id)) = ids.next() {
            out.extend_from_slice(id.as_bytes());
            rest = &rest[end + 1..];
        } else if let Some(behind) = rest.strip_prefix(b"1.g~") {
            rest = behind;
        } else {
            out.push(*byte);
            rest = behind;
        }
    }
    out
}

fn messages() -> impl Strategy<Value = String> {
    let id = prop_oneof![
        Just(json!(0)),
        any::<i32>().prop_map(|id| json!(id)),
        "[a-zé.\"\\\\]{0,5}".prop_map(|id| json!(id)),
        Just(Value::Null)
    ];
    let method =
        prop::sample::select(vec!["ping", "sampling/createMessage", "notifications/cancelled", "notifications/progress"]);
    let one =
        (prop::option::of(id.clone()), prop::option::of(method), id, any::<bool>()).prop_map(|(id, method, other, is_pretty)| {
            let mut message = json!({"jsonrpc": "2.0"});
            if let Some(id) = id {
                message["id"] = id;
            }
            match method {
                Some(method) => {
                    message["method"] = json!(method);
                    message["params"] = json!({"requestId": other, "text": "né\n", "id": 5, "method": "x"});
                }
                None => message["result"] = json!({"id": other, "method": "m"}),
            }
            if is_pretty { serde_json::to_string_pretty(&message).unwrap() } else { message.to_string() }
        });
    prop_oneof![
        4 => one.clone(),
        1 => prop::collection::vec(one, 0..4).prop_map(|all| format!("[{}]", all.join(" , "))),
        1 => Just("7".to_owned()),
        1 => Just("{\"id\":1,\"method\":".to_owned()),
    ]
}

fn streams() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        3 => messages().prop_map(|message| message.split('\n').map(|line| format!("data: {line}\n")).collect()),
        2 => "id: ?[0-9a-z-]{0,4}\n",
        2 => "event: ?(message|endpoint|x|)\n",
        1 => "(: c|retry: 5|data|id|x: y|: \"method\")\n",
        4 => Just("\n".to_owned()),
    ];
    let ending = prop::sample::select(vec!["\n", "\r\n", "\r"]);
    (any::<bool>(), prop::collection::vec((field, ending), 0..12)).prop_map(|(has_mark, fields)| {
        let fields = fields.into_iter().map(|(field, ending)| field.replace('\n', ending));
        // A CR and an LF would be one end where they meet.
        let text = fields.reduce(|all, next| if next.starts_with('\n') && all.ends_with('\r') { all } else { all + &next });
        format!("{}{}", if has_mark { "\u{feff}" } else { "" }, text.unwrap_or_default())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_client_sees_the_same_events_but_for_the_ids(stream in streams()) {
        // What is behind the last blank line is no event.
        let sent = events(&whole(&stream));
        let given = events(&stream);
        prop_assert_eq!(sent.len(), given.len());
        for (sent, given) in sent.into_iter().zip(given) {
            prop_assert_eq!(spelled(sent), spelled(expected(given)));
        }
    }

    #[test]
    fn the_cut_into_chunks_does_not_matter(stream in streams(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        let bytes = stream.as_bytes();
        prop_assert_eq!(run(cut(bytes, &cuts)), run([bytes]));
        prop_assert_eq!(run(bytes.chunks(1)), run([bytes]));
    }

    #[test]
    fn without_the_tags_it_is_the_stream_that_came(stream in streams()) {
        prop_assert_eq!(String::from_utf8(undone(whole(&stream).as_bytes())).unwrap(), stream);
    }

    #[test]
    fn any_bytes_pass_and_but_for_tags_as_they_came(
        stream in streams(), at: prop::sample::Index, strange in prop::collection::vec(any::<u8>(), 0..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut bytes = stream.into_bytes();
        let at = at.index(bytes.len() + 1);
        bytes.splice(at..at, strange);
        let (out, _, _) = run(cut(&bytes, &cuts));
        prop_assert_eq!(&out, &run([&bytes[..]]).0);
        prop_assert_eq!(undone(&out), undone(&bytes));
    }
}
