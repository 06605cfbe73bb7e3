//! YAML 1.2 as a tree with lines, of somebody else's file: no deeper than [`DEEPEST`], and without aliases, which can make a
//! small text into a large tree. JSON is read, too, as it is YAML.

use saphyr_parser::{Event, Parser, ScalarStyle};

/// Manifests are a dozen levels deep.
const DEEPEST: usize = 64;

/// One value, and where it begins.
#[derive(Debug)]
pub(super) struct Node {
    /// The line, counted from 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    /// Anything that is neither list nor table, as it is written; nothing at all (also `~` and `null`) is none.
    Scalar(Option<String>),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
}

impl Node {
    /// A member of a table.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.members().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// A member of a member, as often as there are keys.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// What a table holds; nothing where it is none.
    pub(super) fn members(&self) -> &[(String, Self)] {
        if let Value::Table(members) = &self.value { members } else { &[] }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Scalar(text) = &self.value { text.as_deref() } else { None }
    }
}

/// The documents of a text.
pub(super) fn read(text: &str) -> Result<Vec<Node>, String> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| format!("line {}: not YAML: {}", error.marker().line(), error.info()))?;
        let line = span.start.line();
        builder.take(event, line).map_err(|what| format!("line {line}: {what}"))?;
    }
    Ok(builder.documents)
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    /// What is open: the outermost first.
    open: Vec<Open>,
}

struct Open {
    line: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    /// With the key whose value is next.
    Table(Vec<(String, Node)>, Option<String>),
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), String> {
        match event {
            Event::Scalar(text, style, ..) => {
                let is_nothing = style == ScalarStyle::Plain && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL");
                self.put(Node { line, value: Value::Scalar((!is_nothing).then(|| text.into_owned())) })
            }
            Event::SequenceStart(..) => self.enter(line, Inside::List(Vec::new())),
            Event::MappingStart(..) => self.enter(line, Inside::Table(Vec::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => self.leave(),
            Event::Alias(_) => Err("aliases (`*name`) are not read: write out what is meant".to_owned()),
            _ => Ok(()),
        }
    }

    fn enter(&mut self, line: usize, inside: Inside) -> Result<(), String> {
        if self.open.len() >= DEEPEST {
            return Err(format!("nested deeper than {DEEPEST} levels"));
        }
        self.open.push(Open { line, inside });
        Ok(())
    }

    fn leave(&mut self) -> Result<(), String> {
        let Some(Open { line, inside }) = self.open.pop() else { return Ok(()) };
        let value = match inside {
            Inside::List(list) => Value::List(list),
            Inside::Table(members, _) => Value::Table(members),
        };
        self.put(Node { line, value })
    }

    fn put(&mut self, node: Node) -> Result<(), String> {
        match self.open.last_mut().map(|open| &mut open.inside) {
            None => self.documents.push(node),
            Some(Inside::List(list)) => list.push(node),
            Some(Inside::Table(members, next)) => match next.take() {
                Some(key) => members.push((key, node)),
                None => {
                    let Value::Scalar(Some(key)) = node.value else { return Err("a key is a word".to_owned()) };
                    if members.iter().any(|(other, _)| *other == key) {
                        return Err(format!("`{key}` is there twice"));
                    }
                    *next = Some(key);
                }
            },
        }
        Ok(())
    }
}
