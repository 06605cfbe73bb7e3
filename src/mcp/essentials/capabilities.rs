//! What a server offers, as far as a session depends on it.

use serde_json::{Map, Value};

/// Capabilities by name that are kept beside those that have a bit.
const MOST_NAMES: usize = 32;

/// Bytes of such a name.
const LONGEST_NAME: usize = 64;

/// Objects inside each other that are looked into: `tasks.requests.tools.call` has four.
const DEEPEST: usize = 4;

/// The capabilities of the revisions up to 2025-11-25, a bit each, in this order: it is in sealed ids, so new ones go
/// to the end.
const KNOWN: [&str; 13] = [
    "tools",
    "prompts",
    "resources",
    "resources.subscribe",
    "completions",
    "logging",
    "tasks",
    "tasks.list",
    "tasks.cancel",
    "tasks.requests",
    "tasks.requests.tools",
    "tasks.requests.tools.call",
    "extensions",
];

/// Which capabilities are offered: keys that are there, and keys inside of them that are `true` or objects. What is
/// `experimental` is left out, for servers add an empty one or do not; so is `listChanged`, without which a session
/// goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    known: u16,
    /// Sorted, no more than [`MOST_NAMES`], none twice, none of [`KNOWN`].
    others: Vec<Box<str>>,
}

impl Capabilities {
    /// Reads the `capabilities` of an `initialize` result. Nothing where there are more, or longer ones, than are kept.
    pub fn read(offered: &Map<String, Value>) -> Option<Self> {
        let mut read = Self::default();
        let counted =
            offered.iter().filter(|(key, value)| *key != "experimental" && !matches!(value, Value::Null | Value::Bool(false)));
        for (key, value) in counted {
            read.note(key.clone(), value, 1)?;
        }
        read.others.sort_unstable();
        read.others.dedup();
        Some(read)
    }

    /// What the other has and this has not, by name: `resources.subscribe`.
    pub fn lacks(&self, other: &Self) -> Vec<String> {
        let known = KNOWN.iter().enumerate().filter(|(bit, _)| (other.known & !self.known) >> bit & 1 == 1);
        let others = other.others.iter().filter(|name| self.others.binary_search(name).is_err());
        known.map(|(_, name)| (*name).to_owned()).chain(others.map(|name| name.to_string())).collect()
    }

    fn note(&mut self, path: String, value: &Value, depth: usize) -> Option<()> {
        if let Value::Object(inside) = value
            && depth < DEEPEST
        {
            for (key, value) in inside {
                if key != "listChanged" && matches!(value, Value::Bool(true) | Value::Object(_)) {
                    self.note(format!("{path}.{key}"), value, depth + 1)?;
                }
            }
        }
        match KNOWN.iter().position(|known| *known == path) {
            Some(bit) => self.known |= 1 << bit,
            None if path.len() <= LONGEST_NAME && self.others.len() < MOST_NAMES => self.others.push(path.into()),
            None => return None,
        }
        Some(())
    }

    /// `bits (2) | number of names (1) | ( length (1) | name )*`
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.known.to_be_bytes());
        out.push(self.others.len() as u8);
        for name in &self.others {
            out.push(name.len() as u8);
            out.extend_from_slice(name.as_bytes());
        }
    }

    /// Reads them from the front of these bytes, and gives what is behind them. There is one encoding for them and no
    /// other.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let ([high, low, count], mut rest) = bytes.split_first_chunk()?;
        let known = u16::from_be_bytes([*high, *low]);
        let mut others: Vec<Box<str>> = Vec::new();
        for _ in 0..*count {
            let (length, behind) = rest.split_first()?;
            let (name, behind) = behind.split_at_checked(usize::from(*length))?;
            let name = str::from_utf8(name).ok().filter(|name| name.len() <= LONGEST_NAME && !KNOWN.contains(name))?;
            if others.last().is_some_and(|last| &**last >= name) {
                return None;
            }
            others.push(name.into());
            rest = behind;
        }
        (known >> KNOWN.len() == 0 && others.len() <= MOST_NAMES).then_some((Self { known, others }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn of(offered: &Value) -> Capabilities {
        Capabilities::read(offered.as_object().unwrap()).unwrap()
    }

    #[test]
    fn what_a_session_depends_on_is_lacking_and_nothing_else() {
        let old = json!({
            "tools": {"listChanged": true}, "resources": {"subscribe": true, "listChanged": true}, "logging": {},
            "tasks": {"list": {}, "requests": {"tools": {"call": {}}}}, "extensions": {"io.example/ui": {}}, "experimental": {"x": {}},
        });
        assert_eq!(of(&old).lacks(&of(&old)), [""; 0]);
        let new = json!({"tools": {}, "resources": {"subscribe": false}, "tasks": {"list": {}}, "prompts": {}});
        assert_eq!(
            of(&new).lacks(&of(&old)),
            [
                "resources.subscribe",
                "logging",
                "tasks.requests",
                "tasks.requests.tools",
                "tasks.requests.tools.call",
                "extensions",
                "extensions.io.example/ui",
            ]
        );
        assert_eq!(of(&old).lacks(&of(&new)), ["prompts"]);
        assert_eq!(of(&json!({"logging": false, "prompts": null})), Capabilities::default());
    }

    #[test]
    fn an_empty_experimental_makes_no_difference() {
        let with = of(&json!({"experimental": {}, "tools": {"listChanged": false}}));
        assert_eq!(with, of(&json!({"tools": {}})));
    }

    #[test]
    fn more_than_can_be_kept_is_not_read_at_all() {
        let many = |count: usize| (0..count).map(|at| (format!("x{at:02}"), json!({}))).collect::<Map<_, _>>();
        assert!(Capabilities::read(&many(MOST_NAMES)).is_some());
        assert_eq!(Capabilities::read(&many(MOST_NAMES + 1)), None);
        assert_eq!(Capabilities::read(json!({"x".repeat(LONGEST_NAME + 1): {}}).as_object().unwrap()), None);
    }

    proptest! {
        #[test]
        fn they_are_read_as_they_were_written(
            keys in prop::collection::btree_map("(tools|tasks|resources|extensions|[a-z]{0,9})", "(list|subscribe|é|x)", 0..9), behind: Vec<u8>,
        ) {
            let offered = keys.into_iter().map(|(key, inside)| (key, json!({inside: true}))).collect::<Map<_, _>>();
            let capabilities = Capabilities::read(&offered).unwrap();
            let mut bytes = Vec::new();
            capabilities.encode(&mut bytes);
            bytes.extend_from_slice(&behind);
            prop_assert_eq!(Capabilities::decode(&bytes), Some((capabilities, &behind[..])));
        }

        #[test]
        fn any_bytes_are_capabilities_in_their_one_encoding_or_nothing(bytes: Vec<u8>) {
            if let Some((read, rest)) = Capabilities::decode(&bytes) {
                let mut again = Vec::new();
                read.encode(&mut again);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - rest.len()]);
            }
        }
    }
}
