//! The common request in one pass, nothing of it copied.
//!
//! What is read here is read as serde reads it. What is in any way unusual (a batch, an escape or a second time where
//! a member matters, a value of another kind than it should have, nesting beyond bounds) is not judged here at all,
//! and neither is what is wrong: then there is nothing, and serde is asked.

use super::Raw;
use crate::mcp::{names, plain};

/// Containers open at a time inside a value that is passed over.
const DEEPEST: u32 = 64;

/// Reads one message.
pub(super) fn glance(text: &str) -> Option<(Raw<'_>, Option<&str>)> {
    let mut cursor = Cursor { text, at: 0 };
    let (mut is_json_rpc, mut raw, mut name) = (false, Raw::default(), None);
    cursor.blank();
    cursor.take(b'{')?;
    loop {
        match cursor.key()? {
            "jsonrpc" if !is_json_rpc && cursor.word()? == "2.0" => is_json_rpc = true,
            "method" if raw.method.is_none() => raw.method = Some(cursor.word()?.into()),
            "id" if raw.id.is_none() => raw.id = Some(cursor.id()?),
            "params" if raw.params.is_none() => {
                let from = cursor.at;
                name = cursor.params()?;
                raw.params = Some(&text[from..cursor.at]);
            }
            "jsonrpc" | "method" | "id" | "params" => return None,
            _ => cursor.pass()?,
        }
        if !cursor.goes_on(b'}')? {
            break;
        }
    }
    cursor.blank();
    let is_call = raw.method.as_deref() == Some(names::CALL_TOOL);
    let is_whole = is_json_rpc && cursor.at == text.len();
    match name.unwrap_or(Name::None) {
        _ if !is_whole => None,
        Name::One(name) if is_call => Some((raw, Some(name))),
        Name::Unclear if is_call => None,
        _ => Some((raw, None)),
    }
}

/// `params.name`, where there are params that are an object.
enum Name<'a> {
    None,
    One(&'a str),
    /// It is escaped, or no text, or there are two.
    Unclear,
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// A key that is not escaped, up to its value.
    fn key(&mut self) -> Option<&'a str> {
        self.blank();
        let key = self.word()?;
        self.colon()?;
        Some(key)
    }

    fn colon(&mut self) -> Option<()> {
        self.blank();
        self.take(b':')?;
        self.blank();
        Some(())
    }

    /// Behind a value: whether another one comes, or this is the end of the container.
    fn goes_on(&mut self, end: u8) -> Option<bool> {
        self.blank();
        let byte = self.peek()?;
        self.at += 1;
        if byte == b',' { Some(true) } else { (byte == end).then_some(false) }
    }

    /// A string that is not escaped.
    fn word(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let from = self.at;
        self.at += plain::text(self.rest());
        let word = self.text.get(from..self.at)?;
        self.take(b'"')?;
        Some(word)
    }

    /// An id as it was written: a number, or a string that is not escaped.
    fn id(&mut self) -> Option<&'a str> {
        let from = self.at;
        match self.peek()? {
            b'"' => drop(self.word()?),
            b'-' | b'0'..=b'9' => self.number()?,
            _ => return None,
        }
        self.text.get(from..self.at)
    }

    /// Params, and the name in them.
    fn params(&mut self) -> Option<Option<Name<'a>>> {
        if self.peek()? != b'{' {
            // serde takes null for none.
            return if self.peek()? == b'n' { None } else { self.pass().map(|()| None) };
        }
        self.at += 1;
        let mut name = Name::None;
        self.blank();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(Some(name));
        }
        loop {
            self.blank();
            let from = self.at;
            self.string()?;
            let key = self.text.get(from + 1..self.at - 1)?;
            self.colon()?;
            if key.contains('\\') {
                name = Name::Unclear;
            }
            if key == "name" {
                name = match (name, self.one()?) {
                    (Name::None, Some(word)) => Name::One(word),
                    _ => Name::Unclear,
                };
            } else {
                self.pass()?;
            }
            if !self.goes_on(b'}')? {
                return Some(Some(name));
            }
        }
    }

    /// A value, and what it says where it is a string that is not escaped.
    fn one(&mut self) -> Option<Option<&'a str>> {
        let from = self.at;
        self.pass()?;
        let value = self.text.get(from..self.at)?;
        let word = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        Some(word.filter(|word| !word.contains('\\')))
    }

    /// Any value, which is only checked.
    fn pass(&mut self) -> Option<()> {
        let (mut depth, mut objects) = (0, 0_u64);
        loop {
            match self.peek()? {
                b'"' => self.string()?,
                open @ (b'{' | b'[') => {
                    let is_object = open == b'{';
                    self.at += 1;
                    self.blank();
                    if self.peek()? == if is_object { b'}' } else { b']' } {
                        self.at += 1;
                    } else {
                        (depth, objects) = (depth + 1, objects << 1 | u64::from(is_object));
                        if depth > DEEPEST {
                            return None;
                        }
                        self.begin(is_object)?;
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => return None,
            }
            loop {
                if depth == 0 {
                    return Some(());
                }
                let is_object = objects & 1 == 1;
                if self.goes_on(if is_object { b'}' } else { b']' })? {
                    self.begin(is_object)?;
                    break;
                }
                (depth, objects) = (depth - 1, objects >> 1);
            }
        }
    }

    /// Up to a value in a container.
    fn begin(&mut self, is_object: bool) -> Option<()> {
        self.blank();
        if is_object {
            self.string()?;
            self.colon()?;
        }
        Some(())
    }

    /// A string that is only checked, as closely as serde checks what it passes over.
    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            self.at += plain::text(self.rest());
            match self.rest() {
                [b'"', ..] => {
                    self.at += 1;
                    return Some(());
                }
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => self.at += 2,
                [b'\\', b'u', digits @ ..] if digits.get(..4)?.iter().all(u8::is_ascii_hexdigit) => self.at += 6,
                _ => return None,
            }
        }
    }

    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        self.rest().starts_with(literal).then(|| self.at += literal.len())
    }

    /// A number (RFC 8259, 6).
    fn number(&mut self) -> Option<()> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        let is_zero = self.peek()? == b'0';
        if self.digits()? > 1 && is_zero {
            return None;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<usize> {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > from).then_some(self.at - from)
    }
}
