//! The outermost level of a JSON-RPC message: what kind it is, its method, its id.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::scan::hash_of;

/// What a POST body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Wants an answer.
    Request,
    /// Wants none.
    Notification,
    /// Answers a request of the server.
    Response,
    /// An array of messages (2025-03-26 only).
    Batch,
}

/// The outermost level of a body. Everything is borrowed from it.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    /// What it is.
    pub kind: Kind,
    /// The method of a request or notification.
    pub method: Option<Cow<'a, str>>,
    /// The requests in it, each of which wants an answer.
    pub wanted: Vec<Wanted<'a>>,
    params: Option<&'a RawValue>,
}

/// Tasks of one request that are looked at.
pub const MOST_TASKS: usize = 64;

/// Words of a server's that a client brings back (2026-07-28), as hashes: see [`super::scan::hash_of`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// `params.requestState`, the state of a request that is repeated with what the server had asked for.
    pub request_state: Option<u64>,
    /// `params.taskId`, or the first of `params.notifications.taskIds` that are listened to: at most
    /// [`MOST_TASKS`].
    pub tasks: Vec<u64>,
    /// `params.cursor`, the place in a list.
    pub cursor: Option<u64>,
}

/// A request that wants an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Its id, as it was written (numbers keep their spelling).
    pub id: &'a str,
    /// The tool that it calls.
    pub tool: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Text<'a>>,
    #[serde(borrow)]
    method: Option<Text<'a>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// The id of the request that a `notifications/cancelled` gives up (2024-11-05, cancellation), as it
/// was written.
pub fn cancelled(body: &[u8]) -> Option<&str> {
    let message: Message<'_> = serde_json::from_slice(body).ok()?;
    let params = message.params.filter(|_| message.method.is_some_and(|method| method.0 == "notifications/cancelled"))?;
    Some(serde_json::from_str::<Cancelled<'_>>(params.get()).ok()?.request?.get())
}

#[derive(Deserialize)]
struct Cancelled<'a> {
    #[serde(borrow, rename = "requestId")]
    request: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Carried<'a> {
    #[serde(borrow, rename = "requestState")]
    request_state: Option<Text<'a>>,
    #[serde(borrow, rename = "taskId")]
    task: Option<Text<'a>>,
    #[serde(borrow)]
    cursor: Option<Text<'a>>,
    #[serde(borrow)]
    notifications: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Subscribed<'a> {
    #[serde(borrow, rename = "taskIds")]
    tasks: Option<Vec<Text<'a>>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
}

/// Borrowed where nothing is escaped: serde does not see the borrow through an `Option<Cow<str>>`.
#[derive(Clone, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Envelope<'a> {
    /// Reads a complete body; nothing if it is not JSON-RPC 2.0. Members are not interpreted
    /// further, and a message with a member given twice is nobody's message.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        match text.trim_start_matches([' ', '\t', '\r', '\n']).as_bytes().first()? {
            b'{' => Self::of_one(&serde_json::from_str::<Message<'a>>(text).ok()?),
            b'[' => Self::of_batch(serde_json::from_str::<Vec<&'a RawValue>>(text).ok()?),
            _ => None,
        }
    }

    fn of_one(message: &Message<'a>) -> Option<Self> {
        if message.jsonrpc.as_ref().is_none_or(|version| version.0 != "2.0") {
            return None;
        }
        let kind = match (&message.method, message.id) {
            (Some(_), Some(_)) => Kind::Request,
            (Some(_), None) => Kind::Notification,
            (None, _) => Kind::Response,
        };
        let id = message.id.filter(|_| kind == Kind::Request).map(RawValue::get);
        let wanted = id.map(|id| Wanted { id, tool: message.tool() }).into_iter().collect();
        Some(Self { kind, method: message.method.clone().map(|method| method.0), wanted, params: message.params })
    }

    fn of_batch(messages: Vec<&'a RawValue>) -> Option<Self> {
        let of_one = |message| Self::of_one(&object::<Message<'a>>(message)?);
        let parts: Option<Vec<Self>> = messages.into_iter().map(of_one).collect();
        let parts = parts.filter(|parts| !parts.is_empty())?;
        let wanted = parts.into_iter().flat_map(|part| part.wanted).collect();
        Some(Self { kind: Kind::Batch, method: None, wanted, params: None })
    }

    /// Whether this opens a legacy session.
    pub fn is_initialize(&self) -> bool {
        self.kind == Kind::Request && self.method.as_deref() == Some(super::names::INITIALIZE)
    }

    /// The words of a server's that it brings back; none where a member is not as it should be.
    pub fn words(&self) -> Words {
        let Some(params) = self.params else { return Words::default() };
        let Ok(carried) = serde_json::from_str::<Carried<'_>>(params.get()) else { return Words::default() };
        let hash = |text: Option<Text<'_>>| text.map(|text| hash_of(&text.0));
        let listened = || {
            let subscribed: Subscribed<'_> = serde_json::from_str(carried.notifications?.get()).ok()?;
            Some(subscribed.tasks?.into_iter().take(MOST_TASKS).map(|task| hash_of(&task.0)).collect())
        };
        Words {
            request_state: hash(carried.request_state),
            tasks: hash(carried.task).map_or_else(|| listened().unwrap_or_default(), |task| vec![task]),
            cursor: hash(carried.cursor),
        }
    }

    /// Whether it may be sent a second time when no byte of an answer came.
    pub fn is_repeatable(&self) -> bool {
        self.kind == Kind::Request && self.method.as_deref().is_some_and(super::names::is_repeatable)
    }
}

impl<'a> Message<'a> {
    fn tool(&self) -> Option<Cow<'a, str>> {
        let is_call = self.method.as_ref().is_some_and(|method| method.0 == "tools/call");
        let params = self.params.filter(|_| is_call)?;
        Some(object::<Named<'a>>(params)?.name?.0)
    }
}

/// An object with these members; serde would take an array of their values for one, too.
fn object<'a, T: Deserialize<'a>>(text: &'a RawValue) -> Option<T> {
    let text = text.get();
    text.starts_with('{').then(|| serde_json::from_str(text).ok())?
}

#[cfg(test)]
mod tests {
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
}
