//! What a server's tools are, as far as clients hold on to it.
//!
//! Clients check results against the `outputSchema` that they had read before a move, and fail on their own where results do
//! not fit it; a tool that is gone, or takes other arguments, fails on the server. What else a list says may change, and so
//! may a schema in ways that such clients do not meet: one argument more, which may be left out; one more part of a result.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::envelope::{Text, object};
use schema::{Unlisted, takes};

mod schema;

/// The most tools that are read.
pub const MOST_TOOLS: usize = 10_000;

/// The tools of a server (`tools/list`; 2025-11-25, server/tools).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    tools: BTreeMap<String, Tool>,
}

#[derive(Clone, Debug, PartialEq)]
struct Tool {
    input: Value,
    /// Null where there is none.
    output: Value,
    is_repeatable: bool,
}

/// A difference that a session does not survive unharmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// The tool.
    pub tool: String,
    /// What is with it.
    pub what: Difference,
}

/// What is different about a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It is not there.
    Missing,
    /// It does not take all the arguments that it took.
    Input,
    /// Its results are not all of the form that was stated.
    Output,
    /// Its results have no stated form any more.
    OutputGone,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Difference::Missing => "is missing",
            Difference::Input => "does not take what its inputSchema allowed",
            Difference::Output => "gives out what its outputSchema did not allow",
            Difference::OutputGone => "has no outputSchema any more",
        };
        write!(f, "tool `{}` {what}", self.tool)
    }
}

impl Catalogue {
    /// Reads the answers to `tools/list`, one for each page, each a bare JSON-RPC message. Nothing where one of them is
    /// no such result, or there are more than [`MOST_TOOLS`]. A tool that is listed twice is as it is listed last.
    pub fn read(pages: &[&[u8]]) -> Option<Self> {
        let mut tools = BTreeMap::new();
        for page in pages {
            let page: Page<'_> = object(str::from_utf8(page).ok()?.trim_start_matches([' ', '\t', '\r', '\n']))?;
            let is_rpc = page.jsonrpc.is_some_and(|version| version.0 == "2.0");
            let result: ToolList<'_> = object(page.result.filter(|_| is_rpc)?.get())?;
            for tool in result.tools {
                let Listed { name, input, output, annotations } = object(tool.get())?;
                let hints = |name: &str| annotations.get(name) == Some(&Value::Bool(true));
                let is_repeatable = hints("readOnlyHint") || hints("idempotentHint");
                tools.insert(name, Tool { input, output, is_repeatable });
                if tools.len() > MOST_TOOLS {
                    return None;
                }
            }
        }
        Some(Self { tools })
    }

    /// What breaks for a session that was born with these tools and finds the others, by name. Tools that are new do no
    /// harm, and neither does an output schema where there was none, nor a schema by which all goes on that went before.
    pub fn breaks(&self, new: &Self) -> Vec<Break> {
        let mut breaks = Vec::new();
        for (name, old) in &self.tools {
            let mut note = |what| breaks.push(Break { tool: name.clone(), what });
            let Some(new) = new.tools.get(name) else {
                note(Difference::Missing);
                continue;
            };
            if !takes(&new.input, &old.input, Unlisted::IsRefused) {
                note(Difference::Input);
            }
            match (&old.output, &new.output) {
                (Value::Null, _) => {}
                (_, Value::Null) => note(Difference::OutputGone),
                (old, new) if !takes(old, new, Unlisted::IsTaken) => note(Difference::Output),
                _ => {}
            }
        }
        breaks
    }

    /// Whether a call may be sent a second time, by the tool's own annotations `readOnlyHint` and `idempotentHint`
    /// (2025-03-26). They are the server's word, and nothing else holds them.
    pub fn is_repeatable(&self, tool: &str) -> bool {
        self.tools.get(tool).is_some_and(|tool| tool.is_repeatable)
    }

    /// The names of the tools, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.keys().map(String::as_str)
    }
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Text<'a>>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ToolList<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    #[serde(default, rename = "inputSchema")]
    input: Value,
    #[serde(default, rename = "outputSchema")]
    output: Value,
    #[serde(default)]
    annotations: Value,
}

#[cfg(test)]
mod tests {
    use super::schema::is_alike;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn page(tools: &Value) -> String {
        json!({"jsonrpc": "2.0", "id": 1, "result": {"tools": tools, "nextCursor": "2"}}).to_string()
    }

    fn of(tools: &Value) -> Catalogue {
        Catalogue::read(&[page(tools).as_bytes()]).unwrap()
    }

    fn said(old: &Value, new: &Value) -> Vec<String> {
        of(old).breaks(&of(new)).iter().map(Break::to_string).collect()
    }

    #[test]
    fn what_a_session_holds_on_to_breaks_it_and_nothing_else_does() {
        let old = json!([
            {"name": "a", "inputSchema": {"type": "object"}, "outputSchema": {"type": "object"}},
            {"name": "b", "inputSchema": {"type": "object", "minProperties": 1}, "title": "B"},
            {"name": "c", "inputSchema": {}},
            {"name": "d", "inputSchema": {}, "outputSchema": {"x": 1}},
        ]);
        assert_eq!(said(&old, &old), [""; 0]);
        let harmless = json!([
            {"name": "e", "inputSchema": {}},
            {"outputSchema": {"x": 1.0}, "inputSchema": {}, "name": "d"},
            {"name": "c", "inputSchema": {}, "outputSchema": {}},
            {"name": "b", "inputSchema": {"minProperties": 1, "type": "object"}, "description": "new"},
            {"name": "a", "inputSchema": {"type": "object"}, "outputSchema": {"type": "object"}, "annotations": {"readOnlyHint": true}},
        ]);
        assert_eq!(said(&old, &harmless), [""; 0]);
        let broken = json!([
            {"name": "a", "inputSchema": {"type": "object", "required": ["x"]}},
            {"name": "b", "inputSchema": {"type": "object", "minProperties": 2}},
            {"name": "d", "inputSchema": {}, "outputSchema": {"x": "1"}},
        ]);
        assert_eq!(
            said(&old, &broken),
            [
                "tool `a` does not take what its inputSchema allowed",
                "tool `a` has no outputSchema any more",
                "tool `b` does not take what its inputSchema allowed",
                "tool `c` is missing",
                "tool `d` gives out what its outputSchema did not allow",
            ]
        );
    }

    #[test]
    fn the_pages_of_a_list_are_one_list() {
        let (one, two) = (page(&json!([{"name": "a"}])), page(&json!([{"name": "b"}, {"name": "a", "inputSchema": {}}])));
        let both = Catalogue::read(&[one.as_bytes(), two.as_bytes()]).unwrap();
        assert_eq!(both.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(both, of(&json!([{"name": "b"}, {"name": "a", "inputSchema": {}}])));
    }

    #[test]
    fn what_is_no_list_of_tools_is_not_read() {
        assert_eq!(Catalogue::read(&[]), Some(Catalogue::default()));
        let fine = page(&json!([{"name": "a"}]));
        assert!(Catalogue::read(&[format!(" {fine}\n").as_bytes()]).is_some());
        for (from, to) in [
            ("\"2.0\"", "\"1.0\""),
            ("\"result\"", "\"error\""),
            ("\"tools\"", "\"prompts\""),
            ("\"name\"", "\"title\""),
            ("\"a\"", "1"),
            ("{\"name\":\"a\"}", "[\"a\"]"),
            ("[{", "{\"x\":{"),
            ("}]", "}"),
        ] {
            assert_eq!(Catalogue::read(&[fine.as_bytes(), fine.replace(from, to).as_bytes()]), None, "{from} as {to}");
        }
        let many = |count: usize| page(&Value::Array((0..count).map(|at| json!({"name": at.to_string()})).collect()));
        assert!(Catalogue::read(&[many(MOST_TOOLS).as_bytes()]).is_some());
        assert_eq!(Catalogue::read(&[many(MOST_TOOLS).as_bytes(), fine.as_bytes()]), None);
    }

    #[test]
    fn only_a_tool_that_says_so_is_repeatable() {
        let catalogue = of(&json!([
            {"name": "read", "annotations": {"readOnlyHint": true}},
            {"name": "put", "annotations": {"readOnlyHint": false, "idempotentHint": true}},
            {"name": "add", "annotations": {"idempotentHint": false, "title": "x"}},
            {"name": "odd", "annotations": {"readOnlyHint": "true"}},
            {"name": "none", "annotations": null},
            {"name": "plain"},
        ]));
        let repeatable: Vec<&str> = catalogue.names().filter(|name| catalogue.is_repeatable(name)).collect();
        assert_eq!((repeatable, catalogue.is_repeatable("absent")), (vec!["put", "read"], false));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i8>().prop_map(|n| json!(n)),
            "[ab]{0,2}".prop_map(|t| json!(t)),
            any::<bool>().prop_map(|b| json!(b)),
            Just(Value::Null)
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The same text with the members of every object the other way round, and whole numbers as fractions.
    fn respelled(value: &Value) -> String {
        match value {
            Value::Object(map) => {
                let members: Vec<String> =
                    map.iter().rev().map(|(key, value)| format!("{} : {}", json!(key), respelled(value))).collect();
                format!("{{{}}}", members.join(","))
            }
            Value::Array(all) => format!("[{}]", all.iter().map(respelled).collect::<Vec<_>>().join(", ")),
            Value::Number(number) => format!("{number}.0"),
            other => other.to_string(),
        }
    }

    proptest! {
        #[test]
        fn schemas_are_compared_by_what_they_say(one in values(), other in values()) {
            let again: Value = serde_json::from_str(&respelled(&one)).unwrap();
            prop_assert!(is_alike(&one, &again) && is_alike(&again, &one));
            prop_assert_eq!(is_alike(&one, &other), one == other);
            let schema = |schema: &Value| json!([{"name": "a", "inputSchema": {"s": schema}}]);
            prop_assert_eq!(said(&schema(&one), &schema(&other)).is_empty(), one == other);
        }
    }
}
