use proptest::prelude::*;

use super::*;

#[test]
fn the_kind_follows_from_method_and_id() {
    let read = |text: &'static str| {
        Envelope::read(text.as_bytes()).map(|e| {
            let ids: Vec<&str> = e.wanted.iter().map(|wanted| wanted.id).collect();
            (e.kind, e.method.map(Cow::into_owned), ids)
        })
    };
    assert_eq!(
        read(r#"{"jsonrpc":"2.0","id":9007199254740993,"method":"tools/call","params":{"method":"x"}}"#),
        Some((Kind::Request, Some("tools/call".into()), vec!["9007199254740993"])),
    );
    assert_eq!(read(r#" {"method":"a","jsonrpc":"2.0"}"#), Some((Kind::Notification, Some("a".into()), vec![])));
    assert_eq!(read(r#"{"jsonrpc":"2.0","id":"1","result":{}}"#), Some((Kind::Response, None, vec![])));
    assert_eq!(
        read(
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"b"},{"jsonrpc":"2.0","id":"x","method":"c"}]"#
        ),
        Some((Kind::Batch, None, vec!["1", "\"x\""])),
    );
}

#[test]
fn what_is_not_json_rpc_is_nothing() {
    for text in [
        "",
        "[]",
        "{}",
        "3",
        "null",
        r#"{"method":"initialize"}"#,
        r#"{"jsonrpc":"1.0","method":"a"}"#,
        r#"{"jsonrpc":"2.0""#,
        r#"[["2.0","initialize",1,{}]]"#,
    ] {
        assert!(Envelope::read(text.as_bytes()).is_none(), "{text}");
    }
    assert!(Envelope::read(br#"{"jsonrpc":"2.0","method":"a","method":"initialize"}"#).is_none(), "a member given twice");
    assert!(Envelope::read(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}").is_none(), "not UTF-8");
}

#[test]
fn the_tool_of_a_call_is_its_name_and_nothing_elses() {
    let tools = |text: &'static str| -> Vec<Option<String>> {
        let envelope = Envelope::read(text.as_bytes()).unwrap();
        envelope.wanted.into_iter().map(|wanted| wanted.tool.map(Cow::into_owned)).collect()
    };
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"name":"x"},"name":"se\u0061rch"}}"#;
    assert_eq!(tools(call), [Some("search".to_owned())]);
    assert_eq!(tools(r#"{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"p"}}"#), [None]);
    assert_eq!(tools(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["x"]}"#), [None]);
}

#[test]
fn the_words_of_a_server_are_found_where_the_specification_puts_them() {
    let words = |params: &str| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{params}}}"#);
        Envelope::read(body.as_bytes()).unwrap().words()
    };
    let all = words(r#"{"arguments":{"cursor":"x"},"requestState":"s\u00e9","taskId":"t","cursor":"c","_meta":{}}"#);
    let expected = Words { request_state: Some(hash_of("sé")), tasks: vec![hash_of("t")], cursor: Some(hash_of("c")) };
    assert_eq!(all, expected);
    let listened = words(r#"{"notifications":{"toolsListChanged":true,"taskIds":["a","\u0062"]}}"#);
    assert_eq!(listened.tasks, [hash_of("a"), hash_of("b")]);
    let many = serde_json::json!({ "notifications": { "taskIds": vec!["t"; 1_000] } }).to_string();
    assert_eq!(words(&many).tasks.len(), MOST_TASKS);
    for none in ["{}", "[]", "3", r#"{"cursor":1}"#, r#"{"cursor":"a","cursor":"b"}"#, r#"{"notifications":[]}"#] {
        assert_eq!(words(none), Words::default(), "{none}");
    }
}

#[test]
fn a_cancellation_names_its_request_as_it_was_written() {
    let cancel = br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"reason":"r","requestId": "a"}}"#;
    assert_eq!(cancelled(cancel), Some("\"a\""));
    assert_eq!(cancelled(br#"{"jsonrpc":"2.0","method":"notifications/x","params":{"requestId":1}}"#), None);
    assert_eq!(cancelled(br#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#), None);
}

#[test]
fn an_escaped_method_is_read_as_it_is_meant() {
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"initi\u0061lize"}"#;
    assert!(Envelope::read(body).unwrap().is_initialize());
}

/// What is told of a text, to compare.
type Told = (Kind, Option<String>, Vec<(String, Option<String>)>, Option<String>);

fn told(envelope: Envelope<'_>) -> Told {
    let wanted = envelope.wanted.into_iter().map(|wanted| (wanted.id.to_owned(), wanted.tool.map(Cow::into_owned)));
    (envelope.kind, envelope.method.map(Cow::into_owned), wanted.collect(), envelope.params.map(str::to_owned))
}

/// Texts near what clients say, with the members that matter in any order, twice or astray.
fn texts() -> impl Strategy<Value = String> {
    const WORDS: [&str; 22] = [
        "\"2.0\"",
        "\"tools/call\"",
        "\"tools\\/call\"",
        "\"\"",
        "\"a\\u0062\"",
        "\"\\ud800\"",
        "\"\\x\"",
        "\"ü\"",
        "\"a\nb\"",
        "null",
        "true",
        "fals",
        "0",
        "-1",
        "01",
        "1.5e-3",
        "1.",
        "-",
        "99999999999999999999",
        "1e999",
        "{}",
        "[]",
    ];
    const KEYS: [&str; 9] = ["jsonrpc", "method", "id", "params", "name", "arguments", "n\\u0061me", "i\\u0064", "\\ud800"];
    let leaf = prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned);
    let value = leaf.prop_recursive(4, 24, 5, |inner| {
        let member = (prop::sample::select(KEYS.to_vec()), inner.clone(), prop::sample::select(vec!["", " ", "\n"]));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::vec(member, 0..5).prop_map(|all| {
                format!("{{{}}}", all.iter().map(|(k, v, b)| format!("{b}\"{k}\"{b}:{b}{v}{b}")).collect::<Vec<_>>().join(","))
            }),
        ]
    });
    let message = (value.clone(), value.clone(), value, 0usize..8, prop::sample::select(KEYS.to_vec())).prop_map(
        |(params, id, other, shape, key)| {
            let (version, method) = ("\"jsonrpc\":\"2.0\"", "\"method\":\"tools/call\"");
            match shape {
                0 => params,
                1 => format!("{{{version},{method},\"id\":{id}}}"),
                2 => format!("{{{version},\"id\":1,\"params\":{params},{method}}}"),
                3 => format!("{{{version},\"id\":1,{method},\"params\":{{\"name\":{other},\"{key}\":{id}}}}}"),
                4 => format!("{{\"params\":{{\"{key}\":{other},\"name\":\"a\"}},{version},{method},\"id\":\"x\"}} "),
                5 => format!("{{{version},\"result\":{other},\"id\":{id}}}"),
                6 => format!("{{{version},\"method\":{other},\"{key}\":{id}}}"),
                _ => format!("{{{version},{method},\"id\":1,\"params\":{{\"arguments\":{params},\"name\":\"a\"}}}}{{"),
            }
        },
    );
    (message, any::<Option<(prop::sample::Index, char)>>()).prop_map(|(text, change)| match change {
        Some((at, with)) => {
            let at = at.index(text.chars().count().max(1));
            text.chars().enumerate().map(|(here, was)| if here == at { with } else { was }).collect()
        }
        None => text,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_000))]

    #[test]
    fn what_a_glance_reads_serde_reads_the_same(text in texts()) {
        prop_assert_eq!(Envelope::read(text.as_bytes()).map(told), Envelope::read_by_serde(&text).map(told), "{}", text);
    }
}

#[test]
fn a_common_request_takes_no_more_than_a_glance() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"q":"\"x\"\n\u00e9","n":[1,-2.5e3,{}]}}}"#,
        r#" { "method" : "initialize", "id" : "a", "params" : { "capabilities" : {} }, "jsonrpc" : "2.0" } "#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":3,"result":{"roots":[{"name":"x"}]}}"#,
    ] {
        assert!(glance(text).is_some(), "{text}");
    }
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    assert!(glance(&deep).is_none() && Envelope::read(deep.as_bytes()).is_some(), "serde goes as deep as it is asked to");
}
