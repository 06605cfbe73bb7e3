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
        let cursor = &mut self.cursor;
        // As they are written most often.
        let common = [(&b"\"id\":"[..], Key::Id), (b"\"method\":", Key::Method), (b"\"params\":", Key::Params)];
        for (written, key) in common {
            if cursor.takes(written) {
                cursor.blank();
                return Some(key);
            }
        }
        Some(match cursor.key()? {
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
        let at = |cursor: &Cursor<'a, true>| self.text.len().checked_sub(cursor.rest().len());
        let from = at(&self.cursor)?;
        pass(&mut self.cursor)?;
        self.text.get(from..at(&self.cursor)?)
    }

    /// A string that is not escaped.
    #[inline(always)]
    fn word(&mut self) -> Option<&'a str> {
        let quoted = self.read(|cursor| cursor.word().map(drop))?;
        quoted.get(1..quoted.len().checked_sub(1)?)
    }

    /// Params; and the name in them, where they are an object that has one.
    fn params(&mut self, name: &mut Option<&'a str>) -> Option<&'a str> {
        let from = self.text.len().checked_sub(self.cursor.rest().len())?;
        match self.cursor.peek()? {
            b'{' => self.members(name)?,
            // serde takes null for none.
            b'n' => return None,
            _ => self.cursor.pass()?,
        }
        self.text.get(from..self.text.len().checked_sub(self.cursor.rest().len())?)
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
