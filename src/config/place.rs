//! From a key to its line and from an error to its key.

use std::fmt;
use std::ops::Range;

use thiserror::Error;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong in a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigError {
    /// The file, or what stands for it.
    pub file: String,
    /// The line, counted from 1, where one can be named.
    pub line: Option<usize>,
    /// The key, as `service[0].split.primary`; empty where the file as a whole is meant.
    pub key: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.what)
    }
}

/// The text of a configuration, with its keys and where they stand.
pub(super) struct Places<'a> {
    file: &'a str,
    text: &'a str,
    keys: Vec<(String, Range<usize>)>,
}

impl<'a> Places<'a> {
    pub(super) fn read(file: &'a str, text: &'a str) -> Result<Self, ConfigError> {
        let mut places = Self { file, text, keys: Vec::new() };
        let table = DeTable::parse(text).map_err(|error| places.of_toml(&error))?;
        places.enter_table("", table.get_ref());
        Ok(places)
    }

    /// An error at a key; at the nearest table that exists, where the key itself is not written.
    pub(super) fn at(&self, key: &str, what: impl Into<String>) -> ConfigError {
        let mut nearest = key;
        let line = loop {
            if let Some((_, span)) = self.keys.iter().find(|(path, _)| path == nearest) {
                break Some(self.line(span.start));
            }
            match nearest.rfind(['.', '[']) {
                Some(at) => nearest = &nearest[..at],
                None => break None,
            }
        };
        ConfigError { file: self.file.to_owned(), line, key: key.to_owned(), what: what.into() }
    }

    /// An error at a byte of the text.
    pub(super) fn at_byte(&self, at: usize, what: impl Into<String>) -> ConfigError {
        let key = self.innermost(at).unwrap_or_default();
        ConfigError { file: self.file.to_owned(), line: Some(self.line(at)), key, what: what.into() }
    }

    /// What the TOML reader has to say, with the key it speaks of.
    pub(super) fn of_toml(&self, error: &toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or_default();
        let is_double = error.message().starts_with("duplicate key");
        ConfigError {
            file: self.file.to_owned(),
            line: error.span().map(|span| self.line(span.start)),
            key: self.innermost(span.start).unwrap_or_default(),
            what: if is_double { self.double(span) } else { in_other_words(error.message()) },
        }
    }

    /// Names a key that is there twice, and the line of the first.
    fn double(&self, span: Range<usize>) -> String {
        let name = self.text.get(span.clone()).unwrap_or_default().trim();
        let is_key = |line: &str| line.trim_start().strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with('='));
        let is_header = |line: &str| {
            line.trim_start().starts_with('[') && line.split('#').next().is_some_and(|line| line.trim_end().ends_with(']'))
        };
        let before: Vec<&str> = self.text[..span.start].lines().collect();
        let of_table = before.iter().rposition(|line| is_header(line)).map_or(0, |at| at + 1);
        let of_this_table = before.iter().enumerate().skip(of_table).find(|(_, line)| is_key(line));
        // A table that is opened a second time has its first line further up.
        let first = of_this_table.or_else(|| before.iter().enumerate().find(|(_, line)| is_header(line) && line.contains(name)));
        let there = first.map_or(String::new(), |(at, _)| format!(", first on line {}", at + 1));
        format!("`{name}` is there twice{there} (every service begins with [[service]], in double brackets)")
    }

    /// The innermost key whose text or value holds the place; tables hold their members.
    fn innermost(&self, at: usize) -> Option<String> {
        let holds = |range: &Range<usize>| range.start <= at && at < range.end.max(range.start + 1);
        let key = self.keys.iter().filter(|(_, range)| holds(range)).min_by_key(|(_, range)| range.len());
        key.map(|(key, _)| key.clone())
    }

    fn line(&self, at: usize) -> usize {
        self.text[..at.min(self.text.len())].matches('\n').count() + 1
    }

    fn enter_table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let path = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            let span = name.span().start..value.span().end.max(name.span().end);
            self.enter(path, span, value.get_ref());
        }
    }

    fn enter(&mut self, path: String, span: Range<usize>, value: &DeValue<'_>) {
        match value {
            DeValue::Table(table) => self.enter_table(&path, table),
            DeValue::Array(array) => {
                for (at, element) in array.iter().enumerate() {
                    self.enter(format!("{path}[{at}]"), element.span(), element.get_ref());
                }
            }
            _ => {}
        }
        self.keys.push((path, span));
    }
}

/// What the reader says, in the words of somebody who wrote the file.
fn in_other_words(message: &str) -> String {
    match message {
        "missing field `secondary`" | "missing field `primary`" => format!(
            "{message}: every service has two entries; before there is a second version, give it the address where it will be, at 0 %"
        ),
        "invalid type: map, expected a sequence" => {
            "written twice or with single brackets: every service begins with [[service]]".to_owned()
        }
        "invalid type: string, expected a sequence" => "write a list: [\"http://…\"]".to_owned(),
        _ if message.starts_with("invalid float") || message.starts_with("string values must be quoted") => {
            format!("{message} (a text needs quotes: \"notes\")")
        }
        _ => with_guess(message),
    }
}

/// Adds `did you mean` to the reader's list of keys, where one is near.
fn with_guess(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let [unknown, known @ ..] = quoted.as_slice() else { return message.to_owned() };
    if !message.starts_with("unknown") {
        return message.to_owned();
    }
    match nearest(unknown, known.iter().copied()) {
        Some(guess) => format!("unknown key `{unknown}`, did you mean `{guess}`?"),
        None => format!("unknown key `{unknown}`; known here: {}", known.join(", ")),
    }
}

/// Bytes as text; where they are none, the line that is not.
pub fn text(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not text in UTF-8")
    })
}

/// The candidate within two edits of a word, if there is one.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates.map(|candidate| (edits(word, candidate), candidate)).filter(|(edits, _)| *edits <= 2).min().map(|(_, found)| found)
}

/// Edit distance (Levenshtein): insertions, deletions and replacements from one word to the other.
fn edits(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in two.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[two.len()]
}
