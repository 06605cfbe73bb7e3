//! A place in a JSON text that is all there.
//!
//! What is passed over is well-formed (RFC 8259). What is wrong, escaped where it should be read, or nested beyond bounds is not
//! judged: then there is nothing, and whoever asks has a slower reader to ask.

use crate::swar;

/// Containers open at a time inside a value that is passed over.
const DEEPEST: u32 = 64;

/// Where the next byte is; `CHECKED`, where the text is known to be UTF-8. Bytes are taken off the front and not counted, as every
/// sum would be checked.
pub(super) struct Cursor<'a, const CHECKED: bool> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a, true> {
    pub(super) fn of_text(text: &'a str) -> Self {
        Self { rest: text.as_bytes() }
    }
}

impl<'a> Cursor<'a, false> {
    pub(super) fn of_bytes(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a, const CHECKED: bool> Cursor<'a, CHECKED> {
    /// What is ahead.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// What was ahead there and is not any more.
    pub(super) fn since(&self, before: &'a [u8]) -> Option<&'a [u8]> {
        before.get(..before.len().checked_sub(self.rest.len())?)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline(always)]
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    #[inline(always)]
    pub(super) fn take(&mut self, byte: u8) -> Option<()> {
        match self.rest {
            [first, rest @ ..] if *first == byte => self.rest = rest,
            _ => return None,
        }
        Some(())
    }

    /// These bytes, if they come next.
    #[inline(always)]
    pub(super) fn takes(&mut self, bytes: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(bytes);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    #[inline(always)]
    pub(super) fn blank(&mut self) {
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.blanks();
        }
    }

    #[inline(never)]
    fn blanks(&mut self) {
        while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// A key that is not escaped, up to what follows its colon.
    #[inline(always)]
    pub(super) fn key(&mut self) -> Option<&'a [u8]> {
        self.blank();
        let key = self.word()?;
        self.colon()?;
        Some(key)
    }

    /// What one of these stands for that comes next: keys with their colons, as they are written most often. Then this is up to
    /// what follows.
    #[inline(always)]
    pub(super) fn common_key<K, const N: usize>(&mut self, keys: [(&[u8], K); N]) -> Option<K> {
        for (written, key) in keys {
            if self.takes(written) {
                self.blank();
                return Some(key);
            }
        }
        None
    }

    #[inline(always)]
    fn colon(&mut self) -> Option<()> {
        if self.take(b':').is_none() {
            self.blank();
            self.take(b':')?;
        }
        self.blank();
        Some(())
    }

    /// Behind a value: whether another one comes, or this is the end of the container.
    #[inline(always)]
    pub(super) fn goes_on(&mut self, end: u8) -> Option<bool> {
        self.blank();
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        if *byte == b',' { Some(true) } else { (*byte == end).then_some(false) }
    }

    /// Whether a container that has been entered ends before its first member.
    #[inline(always)]
    pub(super) fn is_empty(&mut self, end: u8) -> bool {
        self.blank();
        self.take(end).is_some()
    }

    /// A string that is not escaped.
    #[inline(always)]
    pub(super) fn word(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let from = self.rest;
        self.run()?;
        let word = self.since(from)?;
        self.take(b'"')?;
        Some(word)
    }

    /// So much of a string as is not escaped.
    #[inline(always)]
    fn run(&mut self) -> Option<()> {
        if CHECKED {
            self.rest = self.rest.split_at(swar::json_text(self.rest)).1;
            return Some(());
        }
        self.rest = self.rest.split_at(swar::json_ascii(self.rest)).1;
        match self.rest {
            [0x80..=0xff, ..] => self.strange_run(),
            _ => Some(()),
        }
    }

    #[cold]
    fn strange_run(&mut self) -> Option<()> {
        let (run, rest) = self.rest.split_at(swar::json_text(self.rest));
        str::from_utf8(run).ok()?;
        self.rest = rest;
        Some(())
    }

    /// A number or a string that is not escaped, as it was written.
    #[inline(always)]
    pub(super) fn id(&mut self) -> Option<&'a [u8]> {
        let from = self.rest;
        match self.peek()? {
            b'"' => drop(self.word()?),
            b'-' | b'0'..=b'9' => self.number()?,
            _ => return None,
        }
        self.since(from)
    }

    /// Any value, which is only checked.
    pub(super) fn pass(&mut self) -> Option<()> {
        let (mut depth, mut objects) = (0_u32, 0_u64);
        loop {
            match self.peek()? {
                b'"' => self.string()?,
                open @ (b'{' | b'[') => {
                    let is_object = open == b'{';
                    self.rest = &self.rest[1..];
                    if !self.is_empty(end(is_object)) {
                        if depth == DEEPEST {
                            return None;
                        }
                        (depth, objects) = (depth + 1, objects << 1 | u64::from(is_object));
                        self.begin(is_object)?;
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' if self.takes(b"true") => {}
                b'f' if self.takes(b"false") => {}
                b'n' if self.takes(b"null") => {}
                _ => return None,
            }
            loop {
                if depth == 0 {
                    return Some(());
                }
                let is_object = objects & 1 == 1;
                if self.goes_on(end(is_object))? {
                    self.begin(is_object)?;
                    break;
                }
                (depth, objects) = (depth - 1, objects >> 1);
            }
        }
    }

    /// Up to a value in a container.
    #[inline(always)]
    fn begin(&mut self, is_object: bool) -> Option<()> {
        self.blank();
        if is_object {
            self.string()?;
            self.colon()?;
        }
        Some(())
    }

    /// A string that is only checked. Half a character (`\ud800` without the other one) is for others to judge, who differ.
    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            self.run()?;
            match self.rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Some(());
                }
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', rest @ ..] => self.rest = rest,
                [b'\\', b'u', ..] => self.unit()?,
                _ => return None,
            }
        }
    }

    /// A character that is escaped by its number, or by two: a half that is high, and a low one (RFC 8259, 7).
    #[cold]
    fn unit(&mut self) -> Option<()> {
        let high = self.half()?;
        match high {
            [b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..] => {
                matches!(self.half()?, [b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', ..]).then_some(())
            }
            [b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', ..] => None,
            _ => Some(()),
        }
    }

    /// The four digits behind `\u`.
    fn half(&mut self) -> Option<&'a [u8; 4]> {
        let (digits, rest) = self.rest.strip_prefix(br"\u")?.split_first_chunk::<4>()?;
        self.rest = rest;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)
    }

    /// A number (RFC 8259, 6).
    pub(super) fn number(&mut self) -> Option<()> {
        let _ = self.take(b'-');
        if self.take(b'0').is_none() {
            self.digits()?;
        } else if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return None;
        }
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if self.take(b'e').or_else(|| self.take(b'E')).is_some() {
            let _ = self.take(b'+').or_else(|| self.take(b'-'));
            self.digits()?;
        }
        Some(())
    }

    #[inline(always)]
    fn digits(&mut self) -> Option<()> {
        let digits = swar::digits(self.rest);
        self.rest = self.rest.split_at(digits).1;
        (digits > 0).then_some(())
    }
}

fn end(is_object: bool) -> u8 {
    if is_object { b'}' } else { b']' }
}
