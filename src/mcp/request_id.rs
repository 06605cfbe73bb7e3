//! Ids of server-to-client requests in the later epochs of a session.
//!
//! Servers count their requests from zero in every session, so those of two bindings would meet. The ids of epoch 0 pass
//! as they are; a later one says its epoch in a string, which every client gives back as it came (JSON-RPC 2.0, 4 and 5):
//!
//! ```text
//! 0          in epoch 1    "r1n.0"         a number, as it was written
//! "a\u00fc"  in epoch 12   "r12s.a\u00fc"  a string, its escapes as they were written
//! ```

use serde::Deserialize;
use serde_json::value::RawValue;

use super::envelope::{Message, object};
use super::splice::{Splice, place, spliced};

/// The id for the client of a request with this id (JSON text), asked by the binding of an epoch. In epoch 0, and where
/// it is neither a number nor a string, it stays as it is.
pub fn tagged(epoch: u32, raw_id: &str) -> String {
    match raw_id.as_bytes() {
        _ if epoch == 0 => raw_id.to_owned(),
        [b'"', .., b'"'] => format!(r#""r{epoch}s.{}"#, &raw_id[1..]),
        [b'-' | b'0'..=b'9', ..] => format!(r#""r{epoch}n.{raw_id}""#),
        _ => raw_id.to_owned(),
    }
}

/// Epoch and JSON text of the id that was tagged so; nothing where this is no such id. A client may have written the
/// same string with other escapes.
pub fn untag(raw: &str) -> Option<(u32, String)> {
    let content = raw.strip_prefix('"')?.strip_suffix('"').filter(|_| is_whole(raw))?;
    untag_content(content, str::to_owned).or_else(|| {
        let plain: String = serde_json::from_str(raw).ok().filter(|_| content.contains('\\'))?;
        untag_content(&plain, escaped)
    })
}

/// A part of what a client has posted, and to whom it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The epoch of the binding that asked what is answered here; none for what is no answer, and goes where requests
    /// go.
    pub epoch: Option<u32>,
    /// The body, with the ids that the server gave.
    pub body: Vec<u8>,
}

/// Reads what a client posts in a session that has moved. Nothing where no answer in it has a tagged id, so that the
/// body can go as it is. Of a batch the messages are given by whom they go to, in their order; a batch that goes to one
/// server is one still.
pub fn replies(body: &[u8]) -> Option<Vec<Reply>> {
    let text = str::from_utf8(body).ok()?;
    match text.trim_start_matches([' ', '\t', '\r', '\n']).as_bytes().first()? {
        b'{' => {
            let (epoch, splice) = answered(text, text)?;
            let splice = splice?;
            Some(vec![Reply { epoch, body: spliced(text, &[splice]).into_bytes() }])
        }
        b'[' => of_batch(text),
        _ => None,
    }
}

/// The `progressToken` of a client's `notifications/progress` (2024-11-05, progress), as it was written: it tells of a
/// request of a server's.
pub fn progress_token(body: &[u8]) -> Option<&str> {
    let message: Message<'_> = object(str::from_utf8(body).ok()?.trim_start_matches([' ', '\t', '\r', '\n']))?;
    let params = message.params.filter(|_| message.method.is_some_and(|method| method.0 == "notifications/progress"))?;
    Some(object::<Progress<'_>>(params.get())?.token?.get())
}

#[derive(Deserialize)]
pub(super) struct Progress<'a> {
    #[serde(borrow, rename = "progressToken")]
    pub(super) token: Option<&'a RawValue>,
}

fn of_batch(text: &str) -> Option<Vec<Reply>> {
    let messages: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let messages: Vec<(&str, Option<u32>, Option<Splice>)> = messages
        .into_iter()
        .map(|message| {
            let (epoch, splice) = answered(text, message.get()).unwrap_or_default();
            (message.get(), epoch, splice)
        })
        .collect();
    if messages.iter().all(|(_, _, splice)| splice.is_none()) {
        return None;
    }
    let mut epochs: Vec<Option<u32>> = Vec::new();
    for (_, epoch, _) in &messages {
        if !epochs.contains(epoch) {
            epochs.push(*epoch);
        }
    }
    if let [epoch] = epochs[..] {
        let splices: Vec<Splice> = messages.into_iter().filter_map(|(_, _, splice)| splice).collect();
        return Some(vec![Reply { epoch, body: spliced(text, &splices).into_bytes() }]);
    }
    let of = |wanted: &Option<u32>| {
        let mine = messages.iter().filter(|(_, epoch, _)| epoch == wanted);
        let mine = mine.map(|(message, _, splice)| match splice {
            Some((at, id)) => {
                let from = place(text, message).map_or(0, |place| place.start);
                spliced(message, &[(at.start - from..at.end - from, id.clone())])
            }
            None => (*message).to_owned(),
        });
        format!("[{}]", mine.collect::<Vec<_>>().join(",")).into_bytes()
    };
    Some(epochs.iter().map(|epoch| Reply { epoch: *epoch, body: of(epoch) }).collect())
}

/// Whom a message answers, and what becomes of its id in the text that it is a part of. Nothing where it is no JSON-RPC
/// message; no epoch where it is no answer.
fn answered(text: &str, message: &str) -> Option<(Option<u32>, Option<Splice>)> {
    let message: Message<'_> = object(message.trim_start_matches([' ', '\t', '\r', '\n']))?;
    let Some(id) = message.id.map(RawValue::get).filter(|_| message.method.is_none()) else { return Some((None, None)) };
    Some(match untag(id) {
        Some((epoch, original)) => (Some(epoch), Some((place(text, id)?, original))),
        None => (Some(0), None),
    })
}

/// What is behind the tag of an id, put into JSON as `write` says.
fn untag_content(content: &str, write: fn(&str) -> String) -> Option<(u32, String)> {
    let (tag, rest) = content.strip_prefix('r')?.split_once('.')?;
    if let Some(epoch) = tag.strip_suffix('s') {
        return Some((epoch_of(epoch)?, format!(r#""{}""#, write(rest))));
    }
    let epoch = epoch_of(tag.strip_suffix('n')?)?;
    is_number(rest).then(|| (epoch, rest.to_owned()))
}

/// A later epoch, as it is written in tags: there is one way.
pub(super) fn epoch_of(digits: &str) -> Option<u32> {
    let is_plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { digits.parse().ok() } else { None }
}

/// Whether this is one JSON text with nothing around it.
pub(super) fn is_whole(raw: &str) -> bool {
    serde_json::from_str::<&RawValue>(raw).is_ok_and(|value| value.get().len() == raw.len())
}

fn is_number(raw: &str) -> bool {
    raw.starts_with(|first: char| first == '-' || first.is_ascii_digit()) && is_whole(raw)
}

fn escaped(content: &str) -> String {
    let quoted = serde_json::Value::from(content).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn shown(replies: Option<Vec<Reply>>) -> Vec<(Option<u32>, String)> {
        let replies = replies.unwrap_or_default().into_iter();
        replies.map(|reply| (reply.epoch, String::from_utf8(reply.body).unwrap())).collect()
    }

    #[test]
    fn ids_of_epoch_0_pass_and_later_ones_say_their_epoch() {
        for (epoch, raw, written) in [
            (0, "0", "0"),
            (0, r#""a""#, r#""a""#),
            (1, "0", r#""r1n.0""#),
            (12, "-1.5e+3", r#""r12n.-1.5e+3""#),
            (1, r#""""#, r#""r1s.""#),
            (2, r#""a\u00fc\"""#, r#""r2s.a\u00fc\"""#),
            (2, r#""r1n.0""#, r#""r2s.r1n.0""#),
            (1, "null", "null"),
        ] {
            assert_eq!(tagged(epoch, raw), written);
        }
    }

    #[test]
    fn a_client_may_write_the_same_string_with_other_escapes() {
        assert_eq!(untag(r#""\u00721n.0""#), Some((1, "0".to_owned())));
        assert_eq!(untag(r#""r1n.1e\u002b2""#), Some((1, "1e+2".to_owned())));
        assert_eq!(untag(r#""r1s\u002ea\"b""#), Some((1, r#""a\"b""#.to_owned())));
    }

    #[test]
    fn what_is_not_exactly_such_an_id_has_no_epoch() {
        for other in [
            "0",
            "null",
            "",
            "\"",
            r#""""#,
            r#""r""#,
            r#""r1""#,
            r#""r1n""#,
            r#""r1n.""#,
            r#""r1n.x""#,
            r#""r1n. 1""#,
            r#""r1n.1 ""#,
            r#""r1n.01""#,
            r#""r0n.1""#,
            r#""r01n.1""#,
            r#""r+1n.1""#,
            r#""rn.1""#,
            r#""r4294967296n.1""#,
            r#""r1x.1""#,
            r#"r1n.1"#,
            r#""r1s.\x""#,
            r#""r1s."x""#,
            r#" "r1n.1""#,
            r#""r1n.true""#,
            r#""r1n.\"1\"""#,
            r#""R1n.1""#,
        ] {
            assert_eq!(untag(other), None, "{other}");
        }
    }

    #[test]
    fn an_answer_goes_to_who_asked_and_but_for_its_id_it_is_as_the_client_wrote_it() {
        let body = r#" {"result" : {"id":"r1n.7"}, "jsonrpc":"2.0","id": "r1n.7" } "#;
        assert_eq!(
            shown(replies(body.as_bytes())),
            [(Some(1), r#" {"result" : {"id":"r1n.7"}, "jsonrpc":"2.0","id": 7 } "#.to_owned())]
        );
        let error = r#"{"jsonrpc":"2.0","id":"r3s.a\n","error":{"code":-1,"message":""}}"#;
        assert_eq!(shown(replies(error.as_bytes())), [(Some(3), error.replace("r3s.", ""))]);
    }

    #[test]
    fn what_is_no_answer_to_a_tagged_request_stays_as_it_is() {
        for body in [
            r#"{"jsonrpc":"2.0","id":"r1n.7","method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"r1n.7"}}"#,
            r#"{"jsonrpc":"2.0","id":"r1n.7","id":"r1n.7","result":{}}"#,
            r#"[{"jsonrpc":"2.0","id":7,"result":{}}]"#,
            r#"["r1n.7"]"#,
            r#"{"id":"r1n.7","result":{}"#,
            "[]",
            "",
            "1",
        ] {
            assert_eq!(replies(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn a_batch_is_split_by_whom_it_goes_to() {
        let one = r#"[ {"id":"r1n.7","result":{}} , {"id":"r1s.8","result":{}} ]"#;
        assert_eq!(
            shown(replies(one.as_bytes())),
            [(Some(1), r#"[ {"id":7,"result":{}} , {"id":"8","result":{}} ]"#.to_owned())]
        );
        let mixed = r#"[{"id":"r2n.7","result":{}}, {"id":1,"method":"ping"},{"id":3,"result":[]},{"id": "r2n.8","result":{}},{"id":"r1n.1","error":{}}]"#;
        let expected = [
            (Some(2), r#"[{"id":7,"result":{}},{"id": 8,"result":{}}]"#),
            (None, r#"[{"id":1,"method":"ping"}]"#),
            (Some(0), r#"[{"id":3,"result":[]}]"#),
            (Some(1), r#"[{"id":1,"error":{}}]"#),
        ];
        assert_eq!(shown(replies(mixed.as_bytes())), expected.map(|(epoch, body)| (epoch, body.to_owned())));
    }

    #[test]
    fn progress_is_found_by_its_token_as_it_was_written() {
        let token = |body: &str| progress_token(body.as_bytes()).map(str::to_owned);
        let fine = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1,"progressToken": 1.50 }}"#;
        assert_eq!(token(fine).as_deref(), Some("1.50"));
        assert_eq!(token(&fine.replace("1.50", r#""a\u0062""#)).as_deref(), Some(r#""a\u0062""#));
        for (from, to) in [
            ("/progress\"", "/message\""),
            ("progressToken", "token"),
            ("1.50", "null"),
            ("params\":{", "params\":[{"),
            ("}}", "}"),
        ] {
            assert_eq!(token(&fine.replace(from, to)), None, "{from} as {to}");
        }
    }

    fn ids() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,5})?",
            any::<String>().prop_map(|text| Value::from(text).to_string()),
            "\"([a-z.~é]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}){0,12}\"",
        ]
    }

    proptest! {
        #[test]
        fn what_is_tagged_is_a_string_and_comes_back_as_it_was_written(epoch in 1u32.., raw in ids()) {
            let written = tagged(epoch, &raw);
            prop_assert!(written.starts_with('"') && is_whole(&written), "{}", written);
            prop_assert_eq!(untag(&written), Some((epoch, raw)));
        }

        #[test]
        fn no_two_requests_have_the_same_id(one in (1u32..20, ids()), other in (1u32..20, ids())) {
            prop_assert_eq!(tagged(one.0, &one.1) == tagged(other.0, &other.1), one == other);
        }

        #[test]
        fn an_id_that_a_client_has_read_and_written_anew_means_the_same(epoch in 1u32.., text: String, number: i64) {
            for raw in [Value::from(text), json!(number)] {
                let read: Value = serde_json::from_str(&tagged(epoch, &raw.to_string())).unwrap();
                let escaped: String = read.as_str().unwrap().encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
                for written in [read.to_string(), format!("\"{escaped}\"")] {
                    let (of, id) = untag(&written).unwrap();
                    prop_assert_eq!((of, serde_json::from_str::<Value>(&id).unwrap()), (epoch, raw.clone()));
                }
            }
        }

        #[test]
        fn any_text_is_an_id_in_its_one_form_or_none(text in "\"?r?[0-9]{0,3}[ns]?[.]?[0-9a\\\\\"]{0,4}\"?") {
            if let Some((epoch, raw)) = untag(&text) {
                prop_assert!(epoch > 0 && (text.contains('\\') || tagged(epoch, &raw) == text));
            }
        }
    }
}
