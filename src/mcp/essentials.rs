//! What is needed to open a legacy session once more, on another server: what the client said at its `initialize`, and
//! what was agreed.
//!
//! ```text
//! length of all that follows (2) | capabilities | params, packed
//! ```

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use thiserror::Error;

use super::envelope::{Message, Text, object};
use super::names::INITIALIZE;
use super::scan::id_hash;
use super::splice::{place, spliced};

mod capabilities;
mod packed;

pub use capabilities::Capabilities;

/// The longest params that are remembered, in bytes. Clients in the field send 200 to 300.
pub const MOST_PARAMS: usize = 8 << 10;

/// The longest revision that is believed, in bytes; they are dates.
const LONGEST_VERSION: usize = 32;

/// Characters of a text of the server's that are shown.
const MOST_SHOWN: usize = 160;

/// The essentials of a session: the `params` of its `initialize`, and what the server offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Essentials {
    /// An object, as the client wrote it, but that `protocolVersion` is what was agreed.
    params: Box<str>,
    /// Where in it the agreed revision is, without its quotes.
    version: Range<usize>,
    offered: Capabilities,
}

/// Why a server cannot go on with a session, by its answer to the `initialize`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Mismatch {
    /// It answered with an error, or with something else.
    #[error("it did not answer `initialize` with a result: {0}")]
    NotAResult(String),
    /// It speaks another revision.
    #[error("the session is at revision {agreed}, and it offers {offered}")]
    Version {
        /// What the session has.
        agreed: String,
        /// What it has.
        offered: String,
    },
    /// It can do less.
    #[error("it lacks capabilities that the session was offered: {}", .0.join(", "))]
    Capabilities(Vec<String>),
}

impl Essentials {
    /// From a client's `initialize` request and the result message that answers it, each a bare JSON-RPC message.
    /// Nothing where one of them is not as it should be, or the params are longer than [`MOST_PARAMS`].
    pub fn agreed(request: &[u8], answer: &[u8]) -> Option<Self> {
        let request = message::<Message<'_>>(request)?;
        let is_initialize = |method: Text<'_>| method.0 == INITIALIZE;
        if request.jsonrpc.is_none_or(|version| version.0 != "2.0") || !request.method.is_some_and(is_initialize) {
            return None;
        }
        let (id, params) = (id_hash(request.id?.get())?, request.params?.get());
        let answer = Answer::read(answer).ok().filter(|answer| answer.id == Some(id))?;
        // The negotiated revision, not the one that the client had asked for: a newer server would agree to that one.
        let asked = place(params, object::<Params<'_>>(params)?.version.get())?;
        let params = spliced(params, &[(asked, format!("\"{}\"", answer.version))]);
        Self::of_params(&params, answer.offered)
    }

    /// The agreed revision.
    pub fn version(&self) -> &str {
        &self.params[self.version.clone()]
    }

    /// What they take up, in bytes, themselves included.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.params.len()
    }

    /// What the server offered that the session was born on.
    pub fn offered(&self) -> &Capabilities {
        &self.offered
    }

    /// The request that opens the session once more; `id` is JSON text.
    pub fn initialize(&self, id: &str) -> Vec<u8> {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{INITIALIZE}","params":{}}}"#, self.params).into_bytes()
    }

    /// Whether the session can go on with a server that answers so to [`Self::initialize`]: the same revision, and
    /// nothing lacking.
    pub fn allows(&self, answer: &[u8]) -> Result<(), Mismatch> {
        let answer = Answer::read(answer).map_err(Mismatch::NotAResult)?;
        if answer.version != self.version() {
            return Err(Mismatch::Version { agreed: self.version().to_owned(), offered: answer.version.into_owned() });
        }
        let lacking = answer.offered.lacks(&self.offered);
        if lacking.is_empty() { Ok(()) } else { Err(Mismatch::Capabilities(lacking)) }
    }

    /// Writes them for a sealed id.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 2];
        self.offered.encode(&mut out);
        packed::pack(&self.params, &mut out);
        // Both parts are bounded far below.
        let length = u16::try_from(out.len() - 2).unwrap_or(u16::MAX);
        out[..2].copy_from_slice(&length.to_be_bytes());
        out
    }

    /// Reads what [`Self::encode`] has written, and nothing else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (offered, params) = Capabilities::decode(rest).filter(|_| usize::from(u16::from_be_bytes(*length)) == rest.len())?;
        Self::of_params(&packed::unpack(params)?, offered)
    }

    fn of_params(params: &str, offered: Capabilities) -> Option<Self> {
        let version = object::<Params<'_>>(params).filter(|_| params.len() <= MOST_PARAMS)?.version.get();
        let text = version.strip_prefix('"')?.strip_suffix('"').filter(|text| is_version(text))?;
        // What an object may have around it is not the params'.
        if !params.ends_with('}') {
            return None;
        }
        Some(Self { version: place(params, text)?, params: params.into(), offered })
    }
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow, rename = "protocolVersion")]
    version: &'a RawValue,
}

/// What a server answers to `initialize`.
struct Answer<'a> {
    id: Option<u64>,
    version: Cow<'a, str>,
    offered: Capabilities,
}

#[derive(Deserialize)]
struct RawAnswer<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Text<'a>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    code: Value,
    #[serde(default)]
    message: Value,
}

#[derive(Deserialize)]
struct Offered<'a> {
    #[serde(borrow, rename = "protocolVersion")]
    version: Option<Text<'a>>,
    capabilities: Option<Map<String, Value>>,
}

impl<'a> Answer<'a> {
    fn read(answer: &'a [u8]) -> Result<Self, String> {
        let raw = message::<RawAnswer<'a>>(answer).filter(|raw| raw.jsonrpc.as_ref().is_some_and(|version| version.0 == "2.0"));
        let raw = raw.ok_or("it is no JSON-RPC 2.0 message")?;
        if let Some(Failure { code, message }) = raw.error {
            return Err(shortened(&format!("error {code}: {}", message.as_str().unwrap_or("without a message"))));
        }
        let result = object::<Offered<'a>>(raw.result.ok_or("it has no `result`")?.get());
        let result = result.ok_or("its `result` is no object with a `protocolVersion` and `capabilities`")?;
        let version = result.version.map(|version| version.0).filter(|version| is_version(version));
        let offered = Capabilities::read(&result.capabilities.ok_or("its `result` has no `capabilities`")?);
        Ok(Self {
            id: raw.id.and_then(|id| id_hash(id.get())),
            version: version.ok_or("its `result.protocolVersion` is no revision")?,
            offered: offered.ok_or("its `result.capabilities` are more than can be compared")?,
        })
    }
}

/// A body that is one object.
fn message<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Option<T> {
    object(str::from_utf8(body).ok()?.trim_matches([' ', '\t', '\r', '\n']))
}

/// A revision goes into a header, and into JSON as it is.
fn is_version(text: &str) -> bool {
    (1..=LONGEST_VERSION).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const ASKED: &str = concat!(
        r#"{"method":"initialize","params":{"protocolVersion":"2025-11-25" , "capabilities":{"roots":{"listChanged":true}},"#,
        r#""clientInfo":{"name":"caf\u00e9","version":"1"},"later":[1e9]},"jsonrpc":"2.0","id":0}"#
    );

    fn answer(version: &str, capabilities: &Value) -> Vec<u8> {
        let result =
            json!({"protocolVersion": version, "capabilities": capabilities, "serverInfo": {"name": "s", "version": "1"}});
        json!({"jsonrpc": "2.0", "id": 0, "result": result}).to_string().into_bytes()
    }

    fn essentials() -> Essentials {
        Essentials::agreed(ASKED.as_bytes(), &answer("2025-06-18", &json!({"tools": {}, "x": {}}))).unwrap()
    }

    #[test]
    fn the_replay_asks_for_what_was_agreed_and_says_all_else_as_the_client_did() {
        let replay = String::from_utf8(essentials().initialize(r#""d-1""#)).unwrap();
        let params = r#"{"protocolVersion":"2025-06-18" , "capabilities":{"roots":{"listChanged":true}},"clientInfo":{"name":"caf\u00e9","version":"1"},"later":[1e9]}"#;
        assert_eq!(replay, format!(r#"{{"jsonrpc":"2.0","id":"d-1","method":"initialize","params":{params}}}"#));
        assert_eq!(essentials().version(), "2025-06-18");
    }

    #[test]
    fn what_is_no_initialize_or_no_answer_to_it_agrees_on_nothing() {
        let fine = answer("2025-06-18", &json!({}));
        assert!(Essentials::agreed(ASKED.as_bytes(), &fine).is_some());
        for (from, to) in [
            ("initialize", "initialise"),
            ("\"2.0\"", "\"1.0\""),
            ("protocolVersion", "version"),
            ("\"id\":0", "\"id\":1"),
            ("\"id\":0", "\"id\":null"),
            ("\"later\"", "\"protocolVersion\""),
            ("\"params\":{", "\"params\":[{"),
        ] {
            assert_eq!(Essentials::agreed(ASKED.replace(from, to).as_bytes(), &fine), None, "{from} as {to}");
        }
        let fine = String::from_utf8(fine).unwrap();
        for (from, to) in [
            ("\"result\"", "\"error\""),
            ("\"result\"", "\"method\":\"x\",\"resolt\""),
            ("\"capabilities\":{}", "\"capabilities\":[]"),
            ("protocolVersion", "version"),
            ("2025-06-18", ""),
            ("2025-06-18", "a b"),
            ("2025-06-18", "a\\\"b"),
            ("\"id\":0", "\"id\":\"0\""),
            ("}}}", "}}"),
        ] {
            assert_eq!(Essentials::agreed(ASKED.as_bytes(), fine.replace(from, to).as_bytes()), None, "{from} as {to}");
        }
        assert_eq!(Essentials::agreed(format!("[{ASKED}]").as_bytes(), fine.as_bytes()), None);
    }

    #[test]
    fn params_beyond_the_bound_are_not_remembered() {
        let of_length = |length: usize| {
            let long = ASKED.replace("caf", &"x".repeat(length));
            Essentials::agreed(long.as_bytes(), &answer("2025-06-18", &json!({})))
        };
        let longest = MOST_PARAMS - (essentials().params.len() - 3);
        assert_eq!(of_length(longest).unwrap().params.len(), MOST_PARAMS);
        assert_eq!(of_length(longest + 1), None);
    }

    #[test]
    fn a_server_that_cannot_go_on_is_refused_with_what_is_in_the_way() {
        let essentials = essentials();
        assert_eq!(essentials.allows(&answer("2025-06-18", &json!({"x": {}, "tools": {}, "more": {}}))), Ok(()));
        let said = |answer: &[u8]| essentials.allows(answer).unwrap_err().to_string();
        assert_eq!(said(&answer("2025-11-25", &json!({}))), "the session is at revision 2025-06-18, and it offers 2025-11-25");
        assert_eq!(
            said(&answer("2025-06-18", &json!({"more": {}}))),
            "it lacks capabilities that the session was offered: tools, x"
        );
        let text = "é".repeat(200);
        let error = json!({"jsonrpc": "2.0", "id": 0, "error": {"code": -32602, "message": text}}).to_string();
        let said = said(error.as_bytes());
        assert!(
            said.starts_with("it did not answer `initialize` with a result: error -32602: éé") && said.chars().count() < 240,
            "{said}"
        );
        assert!(matches!(essentials.allows(b"<html>"), Err(Mismatch::NotAResult(_))));
    }

    #[test]
    fn common_clients_fit_a_sealed_id() {
        assert!(essentials().encode().len() < 50);
    }

    proptest! {
        #[test]
        fn they_are_read_as_they_were_written(name in "\\PC{0,40}", version in "[!#-\\[\\]-~]{1,32}", other in "[a-z]{1,9}", spaced: bool) {
            let params = json!({"protocolVersion": "x", "clientInfo": {"name": name}});
            let request = json!({"jsonrpc": "2.0", "id": "a", "method": "initialize", "params": params});
            let request = if spaced { serde_json::to_string_pretty(&request).unwrap() } else { request.to_string() };
            let answer = json!({"jsonrpc": "2.0", "id": "a", "result": {"protocolVersion": version, "capabilities": {other: {}}}});
            let essentials = Essentials::agreed(request.as_bytes(), answer.to_string().as_bytes()).unwrap();
            prop_assert_eq!(essentials.version(), &version);
            let replayed: Value = serde_json::from_slice(&essentials.initialize("1")).unwrap();
            prop_assert_eq!(&replayed["params"], &json!({"protocolVersion": version, "clientInfo": {"name": name}}));
            prop_assert_eq!(essentials.allows(answer.to_string().as_bytes()), Ok(()));
            prop_assert_eq!(Essentials::decode(&essentials.encode()), Some(essentials));
        }

        #[test]
        fn altered_bytes_are_essentials_in_their_one_encoding_or_nothing(at: prop::sample::Index, with: u8, cut: prop::sample::Index) {
            let mut bytes = essentials().encode();
            let at = at.index(bytes.len());
            bytes[at] = with;
            bytes.truncate(cut.index(bytes.len() * 4).max(1));
            if let Some(read) = Essentials::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }
    }
}
