//! The checker (RFC 8259), fed in any cut.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use super::glance::glance;
use super::{End, Message, fnv};

mod escapes;
mod members;
mod number;
mod utf8;
mod whole;

use members::Slot;
pub(super) use members::Tools;
use number::{Digits, may_end};
use utf8::Utf8;

/// Containers open at a time; deeper is refused, as full parsers do.
const DEEPEST: u8 = 127;

const HASH_KEY: &[u8; 16] = b"dualgate.words..";

pub(super) fn hash_of(word: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(HASH_KEY);
    hasher.write(word);
    hasher.finish()
}

/// `1` and `"1"` are two ids.
pub(super) fn hash_of_id(is_text: bool, id: &[u8]) -> u64 {
    fnv::and(before_id(is_text), id)
}

fn before_id(is_text: bool) -> u64 {
    fnv::and(fnv::NOTHING, &[u8::from(is_text)])
}

/// Where in the grammar the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// A value must come.
    Value,
    /// A value, or the end of an array that has just begun.
    FirstElement,
    /// A key, or the end of an object that has just begun.
    FirstKey,
    /// A key must come.
    Key,
    /// A colon must come.
    Colon,
    /// A comma, or the end of the container; behind the outermost value, nothing.
    Behind,
    /// Inside a string.
    Text,
    /// Behind a backslash.
    Escape,
    /// In the four digits of `\u`; so many are left.
    Hex(u8),
    /// Behind a high surrogate: a backslash must come.
    LowBackslash,
    /// And a `u`.
    LowU,
    /// In a number.
    Number(Digits),
    /// In `true`, `false` or `null`; so many bytes are in.
    Word(Literal, u8),
    /// It is not JSON.
    Bad,
}

/// A value of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Literal {
    True,
    False,
    Null,
}

impl Literal {
    fn letters(self) -> &'static [u8] {
        match self {
            Self::True => b"true",
            Self::False => b"false",
            Self::Null => b"null",
        }
    }
}

/// Levels on which members matter in most answers: message, result and task.
pub(super) const LEVELS: usize = 3;

/// The checker of most answers.
pub type Json = JsonOf<LEVELS>;

/// The checker and what it has read of the present message, on so many levels.
#[derive(Clone)]
pub struct JsonOf<const N: usize> {
    at: At,
    depth: u8,
    /// A bit per open container, the innermost lowest: set for an object.
    objects: u128,
    /// The depth at which messages stand: 1, or 2 in a batch.
    base: u8,
    /// What the present member is, on each level.
    slots: [Slot; N],
    is_key: bool,
    /// A short string, as far as it fits: keys and the words that matter are shorter.
    text: [u8; 16],
    length: u8,
    hasher: SipHasher13,
    /// The hash of an id, so far.
    id: u64,
    unicode: u32,
    high: u32,
    utf8: Utf8,
    number: Option<i64>,
    negative: bool,
    message: Message,
    tools: Tools,
}

impl<const N: usize> Default for JsonOf<N> {
    fn default() -> Self {
        Self {
            at: At::Value,
            depth: 0,
            objects: 0,
            base: 1,
            slots: [Slot::None; N],
            is_key: false,
            text: [0; 16],
            length: 0,
            hasher: SipHasher13::new_with_key(HASH_KEY),
            id: fnv::NOTHING,
            unicode: 0,
            high: 0,
            utf8: Utf8::default(),
            number: None,
            negative: false,
            message: Message::default(),
            tools: Tools::default(),
        }
    }
}

impl<const N: usize> JsonOf<N> {
    /// Whether it reads deep enough for the tools of a list.
    pub(super) const READS_LISTS: bool = N > LEVELS;

    /// Takes in the next bytes, and tells of every message that they complete. What is whole in them is taken as a
    /// whole; what they cut, byte by byte.
    pub fn feed(&mut self, bytes: &[u8], tell: &mut impl FnMut(Message)) {
        if self.is_untouched()
            && !Self::READS_LISTS
            && let Some(message) = glance(bytes)
        {
            self.at = At::Behind;
            return tell(message);
        }
        self.check(bytes, tell);
    }

    /// The same, of a text that is not to be glanced at.
    pub(super) fn check(&mut self, bytes: &[u8], tell: &mut impl FnMut(Message)) {
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first() {
            let whole = match self.at {
                At::Behind => {
                    if !is_blank(*byte) {
                        self.behind(*byte, tell);
                    }
                    Some(behind)
                }
                At::Key | At::FirstKey if *byte == b'"' => self.whole_key(behind),
                At::Value | At::FirstElement if matches!(byte, b'{' | b'[') => {
                    self.begin_value(*byte);
                    Some(behind)
                }
                At::Value | At::FirstElement => self.whole_value(*byte, behind),
                At::Text if !self.utf8.is_open() => self.more_text(rest),
                At::Bad => return,
                _ => None,
            };
            rest = match whole {
                Some(rest) => rest,
                None if self.step(*byte, tell) => behind,
                None => rest,
            };
        }
    }

    /// Begins anew, for the next text.
    pub fn reset(&mut self) {
        // All else is set before it is read.
        (self.at, self.depth, self.objects, self.utf8) = (At::Value, 0, 0, Utf8::default());
    }

    /// What the text was, if it ends here.
    pub fn end(&mut self) -> End {
        // A number ends with whatever comes behind it, so at the end of the text, too.
        if let At::Number(digits) = self.at
            && self.depth == 0
            && may_end(digits)
        {
            self.at = At::Behind;
        }
        self.over().unwrap_or(End::Cut)
    }

    /// What the text is whatever follows, or as long as nothing but white space does; nothing where it goes on.
    pub(super) fn over(&self) -> Option<End> {
        match self.at {
            At::Bad => Some(End::Garbled),
            At::Behind if self.depth == 0 => Some(End::Whole),
            _ => None,
        }
    }

    /// Whether the last byte was one of the number that is `result.ttlMs` of a message.
    pub fn is_in_ttl(&self) -> bool {
        matches!(self.at, At::Number(_)) && self.slot() == Slot::ListTtl
    }

    /// The tools that were listed since the last message began, where this reads deep enough for them.
    pub(super) fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Whether nothing but white space has come.
    pub fn is_untouched(&self) -> bool {
        self.at == At::Value && self.depth == 0
    }

    /// One byte. Whether it is used up: what ends a number is looked at once more.
    fn step(&mut self, byte: u8, tell: &mut impl FnMut(Message)) -> bool {
        match self.at {
            At::Bad => {}
            At::Text => self.text_byte(byte),
            At::Escape => self.escape(byte),
            At::Hex(left) => self.hex(byte, left),
            At::LowBackslash => self.expect(byte, b'\\', At::LowU),
            At::LowU => {
                self.unicode = 0;
                self.expect(byte, b'u', At::Hex(4));
            }
            At::Number(digits) => return self.digit(byte, digits),
            At::Word(word, read) => self.word(byte, word, read),
            _ if is_blank(byte) => {}
            At::Colon => self.expect(byte, b':', At::Value),
            At::Key => self.begin_key(byte),
            At::FirstKey if byte == b'}' => self.close(tell),
            At::FirstKey => self.begin_key(byte),
            At::FirstElement if byte == b']' => self.close(tell),
            At::FirstElement | At::Value => self.begin_value(byte),
            At::Behind => self.behind(byte, tell),
        }
        true
    }

    fn expect(&mut self, byte: u8, wanted: u8, next: At) {
        self.at = if byte == wanted { next } else { At::Bad };
    }

    fn in_object(&self) -> bool {
        self.depth > 0 && self.objects & 1 == 1
    }

    fn behind(&mut self, byte: u8, tell: &mut impl FnMut(Message)) {
        match byte {
            b',' if self.depth > 0 => self.at = if self.in_object() { At::Key } else { At::Value },
            b'}' if self.in_object() => self.close(tell),
            b']' if self.depth > 0 && !self.in_object() => self.close(tell),
            _ => self.at = At::Bad,
        }
    }

    fn open(&mut self, object: bool) {
        if self.depth == DEEPEST {
            self.at = At::Bad;
            return;
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(object);
        if self.depth == 1 {
            self.base = if object { 1 } else { 2 };
        }
        if self.depth == self.base && object {
            self.message = Message::default();
        }
        if let Some(level) = self.level() {
            self.slots[level] = Slot::None;
        }
        self.at = if object { At::FirstKey } else { At::FirstElement };
    }

    fn close(&mut self, tell: &mut impl FnMut(Message)) {
        if self.depth == self.base && self.in_object() {
            tell(self.message);
        }
        self.depth -= 1;
        self.objects >>= 1;
        self.at = At::Behind;
    }

    fn begin_key(&mut self, byte: u8) {
        self.is_key = true;
        self.expect(byte, b'"', At::Text);
        self.length = 0;
    }

    fn begin_value(&mut self, byte: u8) {
        let slot = self.slot();
        self.note_value(slot, byte);
        self.is_key = false;
        match byte {
            b'{' => self.open(true),
            b'[' => self.open(false),
            b'"' => {
                self.length = 0;
                match slot {
                    Slot::Id => self.id = before_id(true),
                    _ if slot.is_hashed() => self.hasher = SipHasher13::new_with_key(HASH_KEY),
                    _ => {}
                }
                self.at = At::Text;
            }
            b'-' | b'0'..=b'9' => {
                if slot == Slot::Id {
                    self.id = fnv::and(before_id(false), &[byte]);
                }
                self.negative = byte == b'-';
                self.number = Some(i64::from(byte.wrapping_sub(b'0')) * i64::from(!self.negative));
                self.at = At::Number(match byte {
                    b'-' => Digits::Minus,
                    b'0' => Digits::Zero,
                    _ => Digits::Whole,
                });
            }
            b't' => self.at = At::Word(Literal::True, 1),
            b'f' => self.at = At::Word(Literal::False, 1),
            b'n' => self.at = At::Word(Literal::Null, 1),
            _ => self.at = At::Bad,
        }
    }

    fn text_byte(&mut self, byte: u8) {
        if self.utf8.is_open() || byte >= 0x80 {
            if self.utf8.feed(byte) {
                self.take_text(&[byte])
            } else {
                self.at = At::Bad
            }
            return;
        }
        match byte {
            b'"' => self.end_string(),
            b'\\' => self.at = At::Escape,
            0..0x20 => self.at = At::Bad,
            _ => self.take_text(&[byte]),
        }
    }

    fn word(&mut self, byte: u8, literal: Literal, read: u8) {
        let letters = literal.letters();
        if letters[usize::from(read)] != byte {
            self.at = At::Bad;
        } else if usize::from(read) + 1 == letters.len() {
            self.at = At::Behind;
        } else {
            self.at = At::Word(literal, read + 1);
        }
    }
}

pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}
