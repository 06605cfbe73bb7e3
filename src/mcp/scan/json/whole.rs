//! What is whole in the bytes at hand: keys, values and runs of text, taken at once. Nothing is decided here that
//! the steps would not decide: what is cut, escaped or wrong is left to them.

use super::super::ResultType;
use super::{At, JsonOf, Slot, hash_of, hash_of_id};
use crate::swar;

impl<const N: usize> JsonOf<N> {
    /// A key, behind its first quote, and the colon where that comes at once.
    pub(super) fn whole_key<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (key, rest) = whole_text(bytes)?;
        self.end_key(self.slot_of_key(Some(key)));
        match rest {
            [b':', rest @ ..] => {
                self.at = At::Value;
                Some(rest)
            }
            _ => Some(rest),
        }
    }

    /// A value that is no container, from its first byte and what is behind that.
    pub(super) fn whole_value<'a>(&mut self, first: u8, behind: &'a [u8]) -> Option<&'a [u8]> {
        let rest = match first {
            b'"' => {
                let (text, rest) = whole_text(behind)?;
                let slot = self.slot();
                if slot != Slot::None {
                    self.note_value(slot, first);
                    self.note_text(slot, text);
                }
                rest
            }
            b't' => self.whole_word(first, behind.strip_prefix(b"rue")?),
            b'f' => self.whole_word(first, behind.strip_prefix(b"alse")?),
            b'n' => self.whole_word(first, behind.strip_prefix(b"ull")?),
            b'0'..=b'9' => self.whole_number(first, behind)?,
            _ => return None,
        };
        self.at = At::Behind;
        Some(rest)
    }

    fn whole_word<'a>(&mut self, first: u8, rest: &'a [u8]) -> &'a [u8] {
        let slot = self.slot();
        self.note_value(slot, first);
        rest
    }

    /// A whole number of few digits, which is what ids and most others are.
    fn whole_number<'a>(&mut self, first: u8, behind: &'a [u8]) -> Option<&'a [u8]> {
        let more = behind.iter().take(17).take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = behind.split_at(more);
        let ends = !matches!(rest.first()?, b'0'..=b'9' | b'.' | b'e' | b'E');
        if !ends || (first == b'0' && more > 0) {
            return None;
        }
        let slot = self.slot();
        self.note_value(slot, first);
        match slot {
            Slot::Id => {
                let mut id = [first; 18];
                id[1..=more].copy_from_slice(digits);
                self.message.id = Some(hash_of_id(false, &id[..=more]));
            }
            Slot::Code | Slot::ListTtl | Slot::Ttl | Slot::Poll => {
                let value = |digit: u8| i64::from(digit - b'0');
                let number = digits.iter().fold(value(first), |number, digit| number * 10 + value(*digit));
                if slot == Slot::Code {
                    self.message.code = Some(number);
                }
                self.note_number(slot, number.try_into().ok());
            }
            _ => {}
        }
        Some(rest)
    }

    fn note_text(&mut self, slot: Slot, text: &[u8]) {
        match slot {
            Slot::Id => self.note_hash(slot, hash_of_id(true, text)),
            Slot::ResultType => self.message.result_type = ResultType::of(Some(text)),
            _ if slot.is_hashed() => self.note_hash(slot, hash_of(text)),
            _ => {}
        }
    }

    /// So much of a string as can be taken at once; nothing where that is none.
    pub(super) fn more_text<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let is_kept = match self.is_key {
            true => self.level().is_some(),
            false => self.slot().is_hashed() || self.slot() == Slot::ResultType,
        };
        let mut rest = bytes;
        loop {
            let (run, behind) = rest.split_at(if is_kept { swar::json_ascii(rest) } else { escaped(rest) });
            if is_kept && !run.is_empty() {
                self.take_text(run);
            }
            rest = match behind {
                [0x80..=0xff, ..] => {
                    let (run, behind) = behind.split_at(whole_characters(behind));
                    if run.is_empty() {
                        rest = behind;
                        break;
                    }
                    if is_kept {
                        self.take_text(run);
                    }
                    behind
                }
                _ => {
                    rest = behind;
                    break;
                }
            };
        }
        (rest.len() < bytes.len()).then_some(rest)
    }
}

/// A text as it is up to its last quote, from behind the first; and what is behind that.
fn whole_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = swar::json_ascii(bytes);
    match bytes.split_at(length) {
        (text, [b'"', rest @ ..]) => Some((text, rest)),
        _ => None,
    }
}

/// How many bytes from here are ASCII of a string, with escapes passed over, but for those by number.
fn escaped(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    loop {
        rest = &rest[swar::json_ascii(rest)..];
        match rest {
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', behind @ ..] => rest = behind,
            _ => return bytes.len() - rest.len(),
        }
    }
}

/// How many bytes from here are whole characters of a string as they are.
fn whole_characters(bytes: &[u8]) -> usize {
    let run = &bytes[..swar::json_text(bytes)];
    str::from_utf8(run).map_or_else(|error| error.valid_up_to(), str::len)
}
