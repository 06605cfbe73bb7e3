//! The fields of a head: one piece of text, and where in it they are.

use std::ops::Range;

use http::HeaderMap;

use super::MOST_FIELDS;
use super::lines::{self, COLON, CRLF, Line};
use crate::swar;

/// Fields in their order. A look-up goes through them: of a dozen that is less than a hash.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    text: Vec<u8>,
    list: Vec<Field>,
    /// The marks of the names: most look-ups are for a name that is not there, and end here.
    marks: u64,
    /// Whether a name may have large letters.
    may_be_mixed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    name: u32,
    name_length: u32,
    value: u32,
    value_length: u32,
    /// Whether the text around it is as a line is written.
    is_line: bool,
}

impl Fields {
    /// The fields of a head whose first line is so long, where each is written as most are, and the head's length. `look` looks at each name and
    /// value, and can say that it is not to be read here.
    #[inline(always)]
    pub(super) fn read(bytes: &[u8], first: usize, mut look: impl FnMut(&[u8], &[u8]) -> Option<()>) -> Option<(Self, usize)> {
        let mut fields = spare::take();
        let mut rest = bytes.get(first..)?;
        loop {
            let at = (bytes.len() - rest.len()) as u32;
            let Some(Line::Field(name, value, is_mixed)) = lines::line(rest) else { break };
            fields.may_be_mixed |= is_mixed;
            let (line, behind) = rest.split_at_checked(name + COLON + value + CRLF)?;
            if fields.list.len() == MOST_FIELDS {
                return None;
            }
            rest = behind;
            look(&line[..name], &line[name + COLON..][..value])?;
            fields.marks |= mark(&line[..name]);
            let (name_length, value_length) = (name as u32, value as u32);
            fields.list.push(Field {
                name: at,
                name_length,
                value: at + name_length + COLON as u32,
                value_length,
                is_line: true,
            });
        }
        rest = rest.strip_prefix(b"\r\n")?;
        let length = bytes.len() - rest.len();
        // Room for the field or two that take another's place.
        fields.text.reserve(length + 128);
        fields.text.extend_from_slice(&bytes[..length]);
        Some((fields, length))
    }

    /// The fields that httparse has found in a head.
    pub(super) fn copy(bytes: &[u8], found: &[httparse::Header<'_>]) -> Self {
        let base = bytes.as_ptr() as usize;
        let at = |part: &[u8]| (part.as_ptr() as usize).saturating_sub(base) as u32;
        let mut marks = 0;
        let field = |field: &httparse::Header<'_>| {
            marks |= mark(field.name.as_bytes());
            let (name, name_length) = (at(field.name.as_bytes()), field.name.len() as u32);
            let (value, value_length) = (at(field.value), field.value.len() as u32);
            let (colon, end) = ((name + name_length) as usize, (value + value_length) as usize);
            let is_line = bytes.get(colon..value as usize) == Some(b": ") && bytes.get(end..end + 2) == Some(b"\r\n");
            Field { name, name_length, value, value_length, is_line }
        };
        let mut fields = spare::take();
        fields.text.reserve(bytes.len() + 128);
        fields.text.extend_from_slice(bytes);
        fields.list.extend(found.iter().map(field));
        (fields.marks, fields.may_be_mixed) = (marks, true);
        fields
    }

    /// All names in lower case.
    pub(super) fn in_lower_case(mut self) -> Self {
        if self.may_be_mixed {
            for field in &self.list {
                lower(&mut self.text[field.name as usize..][..field.name_length as usize]);
            }
            self.may_be_mixed = false;
        }
        self
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether there may be one of this name. False: there is none.
    pub fn may_have(&self, name: &str) -> bool {
        self.marks & mark(name.as_bytes()) != 0
    }

    /// The value of the first field of this name, in whatever case it is written.
    pub fn get(&self, name: impl AsRef<str>) -> Option<&[u8]> {
        let name = name.as_ref();
        if !self.may_have(name) {
            return None;
        }
        self.list.iter().find(|field| self.is_named(field, name)).map(|field| self.value_of(field))
    }

    /// The same, where it is text: visible ASCII, spaces and tabs.
    pub fn text(&self, name: impl AsRef<str>) -> Option<&str> {
        text(self.get(name)?)
    }

    /// Whether there is one of this name.
    pub fn contains(&self, name: impl AsRef<str>) -> bool {
        self.get(name).is_some()
    }

    /// The values of all fields of this name, in their order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let list = if self.may_have(name) { &self.list[..] } else { &[] };
        list.iter().filter(move |field| self.is_named(field, name)).map(|field| self.value_of(field))
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.list.iter().map(|field| (self.name_of(field), self.value_of(field)))
    }

    /// Writes those of which this says so by name and value, a line each.
    pub fn write(&self, out: &mut Vec<u8>, mut stays: impl FnMut(&[u8], &[u8]) -> bool) {
        for field in &self.list {
            let (name, value) = (self.name_of(field), self.value_of(field));
            if !stays(name, value) {
                continue;
            }
            if field.is_line {
                out.extend_from_slice(part(
                    &self.text,
                    field.name,
                    field.name_length + field.value_length + (COLON + CRLF) as u32,
                ));
                continue;
            }
            for part in [name, b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }

    /// One more, of valid characters.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        let at = self.text.len() as u32;
        self.marks |= mark(name);
        self.may_be_mixed = true;
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(value);
        let (name_length, value_length) = (name.len() as u32, value.len() as u32);
        self.list.push(Field { name: at, name_length, value: at + name_length, value_length, is_line: false });
    }

    pub(super) fn retain(&mut self, mut keeps: impl FnMut(&[u8], &[u8]) -> bool) {
        let Self { text, list, .. } = self;
        list.retain(|field| keeps(part(text, field.name, field.name_length), part(text, field.value, field.value_length)));
    }

    pub(super) fn part(&self, range: Range<usize>) -> &[u8] {
        self.text.get(range).unwrap_or_default()
    }

    fn name_of(&self, field: &Field) -> &[u8] {
        part(&self.text, field.name, field.name_length)
    }

    fn value_of(&self, field: &Field) -> &[u8] {
        part(&self.text, field.value, field.value_length)
    }

    #[inline(always)]
    fn is_named(&self, field: &Field, name: &str) -> bool {
        field.name_length as usize == name.len() && is_same(self.name_of(field), name.as_bytes())
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        spare::keep(std::mem::take(&mut self.text), std::mem::take(&mut self.list));
    }
}

impl From<&HeaderMap> for Fields {
    fn from(headers: &HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            fields.append(name.as_str().as_bytes(), value.as_bytes());
        }
        fields
    }
}

/// Room for fields, from one head to the next. There are as many heads as requests on their way, and of each size the allocator (glibc)
/// keeps seven at hand.
mod spare {
    use std::cell::RefCell;

    use super::{Field, Fields};

    /// Kept by a thread, a quarter of a mebibyte at the most; the others are freed.
    const MOST_KEPT: usize = 128;

    /// Longer ones are rare.
    const LONGEST: usize = 1280;
    const MOST_FIELDS: usize = 32;

    thread_local! {
        static KEPT: RefCell<Vec<(Vec<u8>, Vec<Field>)>> = const { RefCell::new(Vec::new()) };
    }

    /// None, with some room or without.
    pub(super) fn take() -> Fields {
        let (text, list) = KEPT.with_borrow_mut(Vec::pop).unwrap_or_default();
        Fields { text, list, marks: 0, may_be_mixed: false }
    }

    pub(super) fn keep(mut text: Vec<u8>, mut list: Vec<Field>) {
        if text.capacity() == 0 || text.capacity() > LONGEST || list.capacity() > MOST_FIELDS {
            return;
        }
        text.clear();
        list.clear();
        // At the end of a thread there is nothing to keep it in.
        let _ = KEPT.try_with(|kept| {
            if let Ok(mut kept) = kept.try_borrow_mut()
                && kept.len() < MOST_KEPT
            {
                kept.push((text, list));
            }
        });
    }
}

/// Most are written as they are looked for.
fn is_same(written: &[u8], name: &[u8]) -> bool {
    written == name || written.eq_ignore_ascii_case(name)
}

/// One of 64 bits, by a name's length and its first letter in whatever case: no two that are often looked for, or there, share one.
#[inline]
fn mark(name: &[u8]) -> u64 {
    let first = name.first().map_or(0, |first| u64::from(first | 0x20));
    1 << ((name.len() as u64 + 17 * first) % 64)
}

/// Writes a name in lower case, eight bytes at a time: those of a name are ASCII, and to lower one twice changes nothing, so that
/// the last eight may overlap those before.
fn lower(name: &mut [u8]) {
    let length = name.len();
    if length < 4 {
        return name.make_ascii_lowercase();
    }
    if length < 8 {
        for from in [0, length - 4] {
            if let Some(four) = name[from..].first_chunk_mut() {
                *four = (swar::lower(u32::from_le_bytes(*four).into()) as u32).to_le_bytes();
            }
        }
        return;
    }
    let mut at = 0;
    while at < length {
        let from = at.min(length - 8);
        if let Some(eight) = name[from..].first_chunk_mut() {
            *eight = swar::lower(u64::from_le_bytes(*eight)).to_le_bytes();
        }
        at += 8;
    }
}

/// A value as text: visible ASCII, spaces and tabs.
pub fn text(value: &[u8]) -> Option<&str> {
    let is_text = value.iter().all(|byte| (b' '..0x7f).contains(byte) || *byte == b'\t');
    str::from_utf8(value).ok().filter(|_| is_text)
}

fn part(text: &[u8], at: u32, length: u32) -> &[u8] {
    &text[at as usize..][..length as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lowered_as_one_byte_after_the_other_would_be() {
        for length in 0..40usize {
            for step in 1..=255u8 {
                let bytes: Vec<u8> = (0..length).map(|at| (at as u8).wrapping_mul(step).wrapping_add(step)).collect();
                let mut lowered = bytes.clone();
                lower(&mut lowered);
                assert_eq!(lowered, bytes.to_ascii_lowercase(), "{bytes:?}");
            }
        }
    }

    #[test]
    fn names_are_found_whatever_their_length_also_when_they_were_put_in_later() {
        let mut fields = Fields::default();
        for length in 1..100 {
            let (name, written) = ("n".repeat(length), "N".repeat(length));
            assert!(!fields.contains(&name) && fields.all(&name).next().is_none());
            fields.append(written.as_bytes(), b"v");
            assert!(fields.may_have(&name) && fields.may_have(&written));
            assert_eq!((fields.get(&name), fields.all(&name).count()), (Some(&b"v"[..]), 1), "{length}");
        }
    }
}
