use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// What a full parser says of a body: the oracle.
fn parsed(body: &[u8]) -> Option<Vec<Message>> {
    let value: Value = serde_json::from_slice(body).ok()?;
    Some(match &value {
        Value::Object(_) => vec![of_value(&value)],
        Value::Array(elements) => elements.iter().filter(|element| element.is_object()).map(of_value).collect(),
        _ => Vec::new(),
    })
}

/// The parser re-spells numbers like `1.5` and `-32e2`; as ids they are compared as written.
fn without_odd_ids(mut messages: Vec<Message>, oracle: &[Message]) -> Vec<Message> {
    for (message, parsed) in messages.iter_mut().zip(oracle) {
        if parsed.id.is_none() {
            message.id = None;
        }
    }
    messages
}

fn of_value(value: &Value) -> Message {
    let result = &value["result"];
    let hash = |word: &Value| word.as_str().map(hash_of);
    Message {
        has_method: value.get("method").is_some(),
        id: value.get("id").filter(|id| id.is_string() || id.is_i64()).and_then(|id| id_hash(&id.to_string())),
        has_result: value.get("result").is_some(),
        has_error: value.get("error").is_some_and(|error| !error.is_null()),
        code: value["error"]["code"].as_i64(),
        is_error: result["isError"] == true,
        result_type: match result["resultType"].as_str() {
            Some("input_required") => ResultType::InputRequired,
            Some("task") => ResultType::Task,
            _ => ResultType::Complete,
        },
        request_state: hash(&result["requestState"]),
        task: hash(&result["taskId"]).or(hash(&result["task"]["taskId"])),
        cursor: hash(&result["nextCursor"]),
        // The member that is given last, and members of these texts are in alphabetical order.
        ttl: ttl(result.get("ttlMs").or_else(|| result["task"].get("ttlMs"))),
        poll: result["task"].get("pollIntervalMs").or_else(|| result.get("pollIntervalMs")).and_then(Value::as_u64),
    }
}

fn ttl(value: Option<&Value>) -> Option<Ttl> {
    match value? {
        Value::Null => Some(Ttl::Unlimited),
        value => value.as_u64().map(Ttl::Millis),
    }
}

fn scanned(pieces: &[&[u8]]) -> (Vec<Message>, End) {
    let mut body = Body::default();
    let mut messages = Vec::new();
    pieces.iter().for_each(|piece| body.feed(piece, &mut |message| messages.push(message)));
    let end = body.end();
    (messages, end)
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

#[test]
fn the_classes_of_answers_are_told_apart() {
    let one = |text: &str| {
        let (messages, end) = scanned(&[text.as_bytes()]);
        assert_eq!((messages.len(), end), (1, End::Whole), "{text}");
        messages[0]
    };
    let fine = one(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"isError":true}]}}"#);
    assert!(fine.is_answer() && !fine.is_error && !fine.has_error, "isError inside content is not the result's");
    assert!(one(r#"{"result":{"isError":true},"id":1}"#).is_error);
    assert!(!one(r#"{"result":{"isError":"true"}}"#).is_error);
    assert_eq!(one(r#"{"id":1,"error":{"code":-32603,"message":"isError"}}"#).code, Some(-32603));
    assert!(!one(r#"{"id":1,"error":null,"result":{}}"#).has_error);
    assert!(!one(r#"{"method":"notifications/progress","params":{"result":{"isError":true}}}"#).is_answer());
    assert_eq!(one(r#"{"result":{"resultType":"input_required","requestState":"s\u00e9"}}"#).request_state, Some(hash_of("sé")));
    assert_eq!(one(r#"{"result":{"task":{"taskId":"t"}}}"#).task, Some(hash_of("t")));
    assert!(one(r#"{"r\u0065sult":{"isErr\u006fr":true}}"#).is_error, "an escaped key is the same key");
}

#[test]
fn an_answer_is_found_by_the_id_as_it_was_written() {
    let id = |text: &str| scanned(&[text.as_bytes()]).0[0].id;
    assert_eq!(id(r#"{"id":9007199254740993,"result":{}}"#), id_hash("9007199254740993"));
    assert_eq!(id(r#"{"result":{},"id":"\u0061-1"}"#), id_hash(r#""a-1""#));
    assert_ne!(id_hash("1"), id_hash(r#""1""#));
    assert_eq!(id(r#"{"id":null,"error":{}}"#), None);
}

#[test]
fn cut_and_garbled_bodies_are_told_apart() {
    let end = |text: &str| scanned(&[text.as_bytes()]).1;
    for whole in ["{}", "[]", " 1 ", "-0.5e+3", "\"\\ud83d\\ude00\"", "[[[]]]", "null"] {
        assert_eq!(end(whole), End::Whole, "{whole}");
    }
    for cut in ["", "{", "[1,", "{\"a\"", "{\"a\":", "\"x", "tru", "-", "1e", "\"\\u12"] {
        assert_eq!(end(cut), End::Cut, "{cut}");
    }
    for garbled in [
        "}",
        "{]",
        "[1 2]",
        "{\"a\" 1}",
        "01",
        "+1",
        "1.e",
        "trux",
        "\"\n\"",
        "\"\\x\"",
        "\"\\ud800x\"",
        "\"\\udc00\"",
        "{}{}",
        "[,]",
        "{,}",
        "[1,]",
    ] {
        assert_eq!(end(garbled), End::Garbled, "{garbled}");
    }
    assert_eq!(scanned(&[b"\"\xff\""]).1, End::Garbled);
    assert_eq!(scanned(&[b"\"\xc3\"x"]).1, End::Garbled, "a character that breaks off");
    assert_eq!(end(&"[".repeat(200)), End::Garbled, "deeper than full parsers go");
}

/// Texts near what servers say, with every member that matters, once or astray.
fn bodies() -> impl Strategy<Value = String> {
    texts(|members| members.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())
}

/// The members of an object.
type Members = Vec<(&'static str, String)>;

/// The same, with an object's members put in order.
fn texts(ordered: fn(Members) -> Members) -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("\"a\""),
        Just("\"input_required\""),
        Just("\"task\""),
        Just("\"\\u00e9\\n\\\"\""),
        Just("\"ü\""),
        Just("\"a word that is longer than is kept\""),
        Just("\"läßt sich 何も \\\\ 切らない\\u00e9\\t, ohne Folgen, nirgends 😀\""),
        Just("\"\"")
    ];
    let scalar = prop_oneof![
        Just("true"),
        Just("false"),
        Just("null"),
        Just("1"),
        Just("-32603"),
        Just("1.5"),
        Just("-32e2"),
        Just("0"),
        Just("12345678901234567"),
        Just("123456789012345678"),
        Just("1234567890123456789"),
        Just("99999999999999999999")
    ];
    let leaf = prop_oneof![word.prop_map(str::to_owned), scalar.prop_map(str::to_owned)];
    let key = || {
        prop::sample::select(vec![
            "jsonrpc",
            "id",
            "method",
            "result",
            "error",
            "code",
            "isError",
            "resultType",
            "requestState",
            "nextCursor",
            "taskId",
            "task",
            "is\\u0045rror",
            "ttlMs",
            "pollIntervalMs",
            "x",
            "resultTypeResultType",
        ])
    };
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
            (prop::collection::vec((key(), inner), 0..6), prop::sample::select(vec!["\":", "\" :\t"])).prop_map(
                move |(members, colon)| {
                    let members = ordered(members).into_iter().map(|(key, value)| format!("\"{key}{colon}{value}"));
                    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
                }
            ),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn it_agrees_with_a_full_parser_in_every_cut(body in bodies(), cuts in prop::collection::vec(any::<usize>(), 0..8)) {
        let (messages, end) = scanned(&pieces(body.as_bytes(), &cuts));
        prop_assert_eq!(end, End::Whole, "{}", body);
        let oracle = parsed(body.as_bytes()).unwrap();
        prop_assert_eq!(without_odd_ids(messages, &oracle), oracle, "{}", body);
    }

    #[test]
    fn a_changed_byte_gets_the_verdict_of_a_full_parser(body in bodies(), at in any::<usize>(), byte in any::<u8>(), cut in any::<usize>()) {
        let mut bytes = body.into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(1 + cut % (bytes.len() * 4));
        let (messages, end) = scanned(&pieces(&bytes, &[at, cut]));
        // Numbers beyond the range of floats are JSON all the same, and what is ignored is not looked
        // at closely enough.
        let is_json = std::str::from_utf8(&bytes).is_ok() && serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
        prop_assert_eq!(end == End::Whole, is_json, "{:?}", String::from_utf8_lossy(&bytes));
        if let Some(parsed) = parsed(&bytes) {
            prop_assert_eq!(without_odd_ids(messages, &parsed), parsed, "{:?}", String::from_utf8_lossy(&bytes));
        }
    }

    #[test]
    fn what_a_glance_reads_the_checker_reads_the_same(
        members in prop::collection::vec((prop::sample::select(vec!["id", "method", "result", "error", "x"]), texts(|members| members)), 0..4),
        change in any::<Option<(prop::sample::Index, u8)>>(),
        behind in prop::sample::select(vec!["", "", " \n", "{}", "}"]),
    ) {
        let members: Vec<String> = members.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let mut text = format!("{{{}}}{behind}", members.join(",")).into_bytes();
        if let Some((at, byte)) = change {
            let at = at.index(text.len());
            text[at] = byte;
        }
        if let Some(message) = glance::glance(&text) {
            let (mut checker, mut told) = (json::Json::default(), Vec::new());
            checker.check(&text, &mut |message| told.push(message));
            prop_assert_eq!((told, checker.end()), (vec![message], End::Whole), "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn a_stream_says_what_its_events_say_in_every_cut(
        events in prop::collection::vec((bodies(), 0u8..6, prop::bool::ANY), 0..5),
        ending in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let mut stream = String::new();
        let (mut expected, mut last) = (Vec::new(), None);
        for (body, shape, spaced) in &events {
            let data = if *spaced { "data: " } else { "data:" };
            let (lines, counts) = match shape {
                0 => (vec![format!("{data}{body}")], true),
                1 => (vec!["event: message".to_owned(), format!("{data}{body}")], true),
                2 => (vec![format!("{data}{body}"), "event: endpoint".to_owned()], false),
                3 => (vec!["id: 7".to_owned(), format!("{data}{body}"), "retry: 1".to_owned()], true),
                4 => (vec![": ping".to_owned(), "id: 8".to_owned(), "data".to_owned()], false),
                _ => (vec![format!("{data}{body}"), "data: ".to_owned(), "event:".to_owned()], true),
            };
            lines.iter().for_each(|line| stream.push_str(&format!("{line}{ending}")));
            stream.push_str(ending);
            if counts {
                expected.extend(parsed(body.as_bytes()).unwrap());
            }
            last = match shape {
                3 => Some(hash_of_id(b"7")),
                4 => Some(hash_of_id(b"8")),
                _ => last,
            };
        }
        let mut scanner = Events::default();
        let mut messages = Vec::new();
        pieces(stream.as_bytes(), &cuts).iter().for_each(|piece| scanner.feed(piece, &mut |message| messages.push(message)));
        prop_assert_eq!(without_odd_ids(messages, &expected), expected, "{:?}", stream);
        prop_assert_eq!((scanner.end(), scanner.garbled(), scanner.last_id()), (End::Whole, 0, last));
    }

    #[test]
    fn strange_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), cuts in prop::collection::vec(any::<usize>(), 0..4)) {
        scanned(&pieces(&bytes, &cuts));
        let mut scanner = Events::default();
        pieces(&bytes, &cuts).iter().for_each(|piece| scanner.feed(piece, &mut |_| {}));
        scanner.end();
    }
}

#[test]
fn a_garbled_event_is_counted_and_the_next_one_is_read() {
    let mut scanner = Events::default();
    let mut messages = Vec::new();
    let stream = format!("data: {{\"id\":1\n\ndata: {}\n\n", json!({ "id": 1, "result": {} }));
    scanner.feed(stream.as_bytes(), &mut |message| messages.push(message));
    assert_eq!((messages.len(), scanner.garbled()), (1, 1));
    scanner.feed(b"data: {", &mut |_| {});
    assert_eq!(scanner.end(), End::Cut);
}

#[test]
fn a_common_answer_takes_no_more_than_a_glance() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"\"ü\"\n\u00e9"}],"isError":true}}"#,
        r#" { "id" : "a" , "error" : { "code" : -32603 , "message" : "no", "data": [1, -2.5e3, {}] } , "jsonrpc" : "2.0" } "#,
        r#"{"id":1,"result":{"content":[{"type":"text","text":"\ud83d\uDE00"}]}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.5}}"#,
        r#"{"result":{"tools":[{"name":"a","inputSchema":{}}],"nextCursor":"c","ttlMs":60000},"id":2}"#,
        "{}",
    ] {
        assert!(glance::glance(text.as_bytes()).is_some(), "{text}");
    }
    for text in
        ["[]", "{", r#"{"id":1,"id":2}"#, r#"{"result":{"task":{"taskId":"t"}}}"#, r#"{"x":"\ud800"}"#, r#"{"x":"\ude00"}"#]
    {
        assert!(glance::glance(text.as_bytes()).is_none(), "{text}");
    }
}

#[test]
fn halves_of_characters_are_judged_alike() {
    const UNITS: [&str; 11] =
        ["\\ud83d", "\\uDBFF", "\\ude00", "\\uDC00", "\\ue000", "\\uD7ff", "\\u0041", "\\ud8g0", "\\n", "x", ""];
    for one in UNITS {
        for two in UNITS {
            for three in UNITS {
                let text = format!("{{\"x\":\"{one}{two}{three}\"}}");
                let mut checker = json::Json::default();
                checker.check(text.as_bytes(), &mut |_| {});
                assert_eq!(glance::glance(text.as_bytes()).is_some(), checker.end() == End::Whole, "{text}");
            }
        }
    }
}
