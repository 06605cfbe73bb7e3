//! The common message in one pass, where all of it is there.
//!
//! What is read here is read as the checker reads it. What is in any way unusual (a batch, an escape or a second time where
//! a member matters, a task in a result, nesting beyond bounds) is not judged here at all, and neither is what is wrong: then there
//! is nothing, and the checker is asked.

use super::json::{hash_of, hash_of_id, is_blank};
use super::{Message, ResultType, Ttl};
use crate::mcp::cursor::Cursor;

/// Digits of a number whose value is read.
const MOST_DIGITS: usize = 18;

/// A member of a message.
enum Key {
    Id,
    Result,
    Error,
    Method,
    Other,
}

/// Reads one message.
pub(super) fn glance(bytes: &[u8]) -> Option<Message> {
    // The beginning of a longer text is seldom read twice for that.
    let last = bytes.iter().rfind(|byte| !is_blank(**byte))?;
    if *last != b'}' {
        return None;
    }
    let mut cursor = Cursor::of_bytes(bytes);
    let mut message = Message::default();
    let mut has_id = false;
    cursor.blank();
    cursor.take(b'{')?;
    if cursor.takes(br#""jsonrpc":"2.0","#) || !cursor.is_empty(b'}') {
        loop {
            match key(&mut cursor)? {
                Key::Id if !has_id => {
                    message.id = id(&mut cursor)?;
                    has_id = true;
                }
                Key::Result if !message.has_result => {
                    message.has_result = true;
                    members(&mut cursor, &mut message, of_result)?;
                }
                Key::Error if message.code.is_none() && !message.has_error => {
                    message.has_error = cursor.peek()? != b'n';
                    members(&mut cursor, &mut message, of_error)?;
                }
                Key::Method => {
                    message.has_method = true;
                    cursor.pass()?;
                }
                Key::Other => cursor.pass()?,
                _ => return None,
            }
            if !cursor.goes_on(b'}')? {
                break;
            }
        }
    }
    cursor.blank();
    cursor.is_at_end().then_some(message)
}

#[inline(always)]
fn key(cursor: &mut Cursor<'_, false>) -> Option<Key> {
    let common = [(&b"\"id\":"[..], Key::Id), (b"\"result\":", Key::Result), (b"\"method\":", Key::Method)];
    if let Some(key) = cursor.common_key(common) {
        return Some(key);
    }
    Some(match cursor.key()? {
        b"id" => Key::Id,
        b"result" => Key::Result,
        b"error" => Key::Error,
        b"method" => Key::Method,
        _ => Key::Other,
    })
}

/// An object's members, each by what knows of it; or another value, which has none.
#[inline(always)]
fn members<'a>(
    cursor: &mut Cursor<'a, false>,
    message: &mut Message,
    read: impl Fn(&[u8], &mut Cursor<'a, false>, &mut Message) -> Option<()>,
) -> Option<()> {
    if cursor.peek()? != b'{' {
        return cursor.pass();
    }
    cursor.take(b'{')?;
    if cursor.is_empty(b'}') {
        return Some(());
    }
    loop {
        if cursor.takes(b"\"content\":") {
            cursor.blank();
            cursor.pass()?;
        } else {
            read(cursor.key()?, cursor, message)?;
        }
        if !cursor.goes_on(b'}')? {
            return Some(());
        }
    }
}

/// One of a result's. A member given twice counts as given last.
#[inline(always)]
fn of_result(key: &[u8], cursor: &mut Cursor<'_, false>, message: &mut Message) -> Option<()> {
    match key {
        b"isError" => message.is_error = cursor.peek()? == b't',
        b"resultType" => {
            message.result_type = ResultType::of(text(cursor)?);
            return Some(());
        }
        b"requestState" => return text(cursor).map(|word| message.request_state = word.map(hash_of)),
        b"nextCursor" => return text(cursor).map(|word| message.cursor = word.map(hash_of)),
        b"taskId" => return text(cursor).map(|word| message.task = word.map(hash_of)),
        b"task" => return None,
        b"ttlMs" | b"ttl" => {
            let is_null = cursor.peek()? == b'n';
            let number = whole(cursor)?;
            message.ttl = if is_null { Some(Ttl::Unlimited) } else { number.map(Ttl::Millis) };
            return Some(());
        }
        b"pollIntervalMs" | b"pollInterval" => return whole(cursor).map(|number| message.poll = number),
        _ => {}
    }
    cursor.pass()
}

/// One of an error's.
#[inline(always)]
fn of_error(key: &[u8], cursor: &mut Cursor<'_, false>, message: &mut Message) -> Option<()> {
    if key != b"code" {
        return cursor.pass();
    }
    let is_negative = cursor.take(b'-').is_some();
    if is_negative && !cursor.peek()?.is_ascii_digit() {
        return None;
    }
    message.code = whole(cursor)?.map(|code| code as i64 * if is_negative { -1 } else { 1 });
    Some(())
}

/// The hash of an id; none of what is no id.
fn id(cursor: &mut Cursor<'_, false>) -> Option<Option<u64>> {
    match cursor.peek()? {
        b'"' => cursor.word().map(|word| Some(hash_of_id(true, word))),
        b'-' | b'0'..=b'9' => cursor.id().map(|number| Some(hash_of_id(false, number))),
        _ => cursor.pass().map(|()| None),
    }
}

/// A value, and what it says where it is a string.
fn text<'a>(cursor: &mut Cursor<'a, false>) -> Option<Option<&'a [u8]>> {
    if cursor.peek()? == b'"' { cursor.word().map(Some) } else { cursor.pass().map(|()| None) }
}

/// A value, and which one it is where it is a whole number; those that are hard to read are not.
fn whole(cursor: &mut Cursor<'_, false>) -> Option<Option<u64>> {
    if !cursor.peek()?.is_ascii_digit() {
        // A negative one is nobody's.
        return if cursor.peek()? == b'-' { None } else { cursor.pass().map(|()| None) };
    }
    let from = cursor.rest();
    cursor.number()?;
    let digits = cursor.since(from).filter(|digits| digits.len() <= MOST_DIGITS)?;
    str::from_utf8(digits).ok()?.parse().ok().map(Some)
}
