//! The fields of a head: one piece of text, and where in it they are.

use std::ops::Range;

use http::HeaderMap;
use smallvec::SmallVec;

/// Fields in their order. A look-up goes through them: of a dozen that is less than a hash.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    text: Vec<u8>,
    list: SmallVec<[Field; 12]>,
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
    /// The fields that were found in a head.
    pub(super) fn copy(bytes: &[u8], found: &[httparse::Header<'_>]) -> Self {
        let base = bytes.as_ptr() as usize;
        let at = |part: &[u8]| (part.as_ptr() as usize).saturating_sub(base) as u32;
        let field = |field: &httparse::Header<'_>| {
            let (name, name_length) = (at(field.name.as_bytes()), field.name.len() as u32);
            let (value, value_length) = (at(field.value), field.value.len() as u32);
            let (colon, end) = ((name + name_length) as usize, (value + value_length) as usize);
            let is_line = bytes.get(colon..value as usize) == Some(b": ") && bytes.get(end..end + 2) == Some(b"\r\n");
            Field { name, name_length, value, value_length, is_line }
        };
        // Room for the field or two that take another's place.
        let mut text = Vec::with_capacity(bytes.len() + 128);
        text.extend_from_slice(bytes);
        Self { text, list: found.iter().map(field).collect() }
    }

    /// All names in lower case.
    pub(super) fn in_lower_case(mut self) -> Self {
        for field in &self.list {
            self.text[field.name as usize..][..field.name_length as usize].make_ascii_lowercase();
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

    /// The value of the first field of this name, in whatever case it is written.
    pub fn get(&self, name: impl AsRef<str>) -> Option<&[u8]> {
        let name = name.as_ref();
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
        self.list.iter().filter(move |field| self.is_named(field, name)).map(|field| self.value_of(field))
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
                out.extend_from_slice(part(&self.text, field.name, field.name_length + field.value_length + 4));
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
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(value);
        let (name_length, value_length) = (name.len() as u32, value.len() as u32);
        self.list.push(Field { name: at, name_length, value: at + name_length, value_length, is_line: false });
    }

    pub(super) fn retain(&mut self, mut keeps: impl FnMut(&[u8], &[u8]) -> bool) {
        let Self { text, list } = self;
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

    fn is_named(&self, field: &Field, name: &str) -> bool {
        field.name_length as usize == name.len() && self.name_of(field).eq_ignore_ascii_case(name.as_bytes())
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

/// A value as text: visible ASCII, spaces and tabs.
pub fn text(value: &[u8]) -> Option<&str> {
    let is_text = value.iter().all(|byte| (b' '..0x7f).contains(byte) || *byte == b'\t');
    str::from_utf8(value).ok().filter(|_| is_text)
}

fn part(text: &[u8], at: u32, length: u32) -> &[u8] {
    &text[at as usize..][..length as usize]
}
