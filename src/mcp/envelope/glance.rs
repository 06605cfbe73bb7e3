//! The common request in one pass, nothing of it copied.
//!
//! What is read here is read as serde reads it. What is in any way unusual (a batch, an escape or a second time where
//! a member matters, a value of another kind than it should have, nesting beyond bounds) is not judged here at all,
//! and neither is what is wrong: then there is nothing, and serde is asked.

use super::Raw;
use crate::mcp::cursor::Cursor;
use crate::mcp::names;

/// A member of a message.
enum Key {
    Version,
    Method,
    Id,
    Params,
    Other,
}

/// Reads one message, and the tool that it calls.
pub(super) fn glance(text: &str) -> Option<(Raw<'_>, Option<&str>)> {
    let mut glance = Glance { text, cursor: Cursor::of_text(text) };
    let (mut raw, mut name) = (Raw::default(), None);
    glance.cursor.blank();
    glance.cursor.take(b'{')?;
    let mut is_json_rpc = glance.cursor.takes(br#""jsonrpc":"2.0","#);
    loop {
        match glance.key()? {
            Key::Method if raw.method.is_none() => raw.method = Some(glance.word()?.into()),
            Key::Id if raw.id.is_none() => raw.id = Some(glance.read(|cursor| cursor.id().map(drop))?),
            Key::Params if raw.params.is_none() => raw.params = Some(glance.params(&mut name)?),
            Key::Version if !is_json_rpc && glance.cursor.word()? == b"2.0" => is_json_rpc = true,
            Key::Other => glance.cursor.pass()?,
            _ => return None,
        }
        if !glance.cursor.goes_on(b'}')? {
            break;
        }
    }
    glance.cursor.blank();
    let is_call = raw.method.as_deref() == Some(names::CALL_TOOL);
    (is_json_rpc && glance.cursor.is_at_end()).then(|| (raw, name.filter(|_| is_call)))
}

struct Glance<'a> {
    text: &'a str,
    cursor: Cursor<'a, true>,
}

impl<'a> Glance<'a> {
    #[inline(always)]
    fn key(&mut self) -> Option<Key> {
        let common = [(&b"\"id\":"[..], Key::Id), (b"\"method\":", Key::Method), (b"\"params\":", Key::Params)];
        if let Some(key) = self.cursor.common_key(common) {
            return Some(key);
        }
        Some(match self.cursor.key()? {
            b"jsonrpc" => Key::Version,
            b"method" => Key::Method,
            b"id" => Key::Id,
            b"params" => Key::Params,
            _ => Key::Other,
        })
    }

    /// What is passed over, as text.
    #[inline(always)]
    fn read(&mut self, pass: impl FnOnce(&mut Cursor<'a, true>) -> Option<()>) -> Option<&'a str> {
        let from = self.at()?;
        pass(&mut self.cursor)?;
        self.text.get(from..self.at()?)
    }

    #[inline(always)]
    fn at(&self) -> Option<usize> {
        self.text.len().checked_sub(self.cursor.rest().len())
    }

    /// A string that is not escaped.
    #[inline(always)]
    fn word(&mut self) -> Option<&'a str> {
        let quoted = self.read(|cursor| cursor.word().map(drop))?;
        quoted.get(1..quoted.len().checked_sub(1)?)
    }

    /// Params; and the name in them, where they are an object that has one.
    fn params(&mut self, name: &mut Option<&'a str>) -> Option<&'a str> {
        let from = self.at()?;
        match self.cursor.peek()? {
            b'{' => self.members(name)?,
            // serde takes null for none.
            b'n' => return None,
            _ => self.cursor.pass()?,
        }
        self.text.get(from..self.at()?)
    }

    fn members(&mut self, name: &mut Option<&'a str>) -> Option<()> {
        self.cursor.take(b'{')?;
        if self.cursor.is_empty(b'}') {
            return Some(());
        }
        loop {
            let is_name = self.cursor.takes(b"\"name\":") || self.cursor.key()? == b"name";
            self.cursor.blank();
            if !is_name {
                self.cursor.pass()?;
            } else if name.replace(self.word()?).is_some() {
                return None;
            }
            if !self.cursor.goes_on(b'}')? {
                return Some(());
            }
        }
    }
}
