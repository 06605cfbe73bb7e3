//! Numbers (RFC 8259, 6).

use super::super::fnv;
use super::{At, JsonOf, Slot};

/// Where in a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digits {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl<const N: usize> JsonOf<N> {
    pub(super) fn digit(&mut self, byte: u8, digits: Digits) -> bool {
        use Digits::{E, Exponent, Fraction, Minus, Point, Sign, Whole, Zero};
        let next = match (digits, byte) {
            (Minus, b'0') => Zero,
            (Minus, b'1'..=b'9') | (Whole, b'0'..=b'9') => Whole,
            (Zero | Whole, b'.') => Point,
            (Point | Fraction, b'0'..=b'9') => Fraction,
            (Zero | Whole | Fraction, b'e' | b'E') => E,
            (E, b'+' | b'-') => Sign,
            (E | Sign | Exponent, b'0'..=b'9') => Exponent,
            (digits, _) if may_end(digits) => {
                self.end_number();
                return false;
            }
            _ => {
                self.at = At::Bad;
                return true;
            }
        };
        if self.slot() == Slot::Id {
            self.id = fnv::and(self.id, &[byte]);
        }
        self.number = match next {
            Whole | Zero => self.number.and_then(|number| number.checked_mul(10)?.checked_add(i64::from(byte - b'0'))),
            _ => None,
        };
        self.at = At::Number(next);
        true
    }

    pub(super) fn end_number(&mut self) {
        match self.slot() {
            Slot::Code => self.message.code = self.number.map(|number| if self.negative { -number } else { number }),
            Slot::Id => self.message.id = Some(self.id),
            slot => self.note_number(slot, self.number.filter(|_| !self.negative).and_then(|number| number.try_into().ok())),
        }
        self.at = At::Behind;
    }
}

/// Whether a number may end here.
pub(super) fn may_end(digits: Digits) -> bool {
    matches!(digits, Digits::Zero | Digits::Whole | Digits::Fraction | Digits::Exponent)
}
