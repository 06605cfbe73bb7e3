//! Escapes in strings (RFC 8259, 7).

use super::{At, JsonOf};

impl<const N: usize> JsonOf<N> {
    pub(super) fn escape(&mut self, byte: u8) {
        let meant = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                self.unicode = 0;
                self.high = 0;
                self.at = At::Hex(4);
                return;
            }
            _ => {
                self.at = At::Bad;
                return;
            }
        };
        self.at = At::Text;
        self.take_text(&[meant]);
    }

    pub(super) fn hex(&mut self, byte: u8, left: u8) {
        let Some(digit) = char::from(byte).to_digit(16) else {
            self.at = At::Bad;
            return;
        };
        self.unicode = self.unicode << 4 | digit;
        if left > 1 {
            self.at = At::Hex(left - 1);
            return;
        }
        let is_low = (0xdc00..0xe000).contains(&self.unicode);
        let meant = match (self.high, self.unicode) {
            (0, 0xd800..0xdc00) => {
                self.high = self.unicode;
                self.at = At::LowBackslash;
                return;
            }
            (0, plain) => char::from_u32(plain),
            (high, low) if is_low => char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)),
            _ => None,
        };
        match meant {
            Some(meant) => {
                self.at = At::Text;
                self.take_text(meant.encode_utf8(&mut [0; 4]).as_bytes());
            }
            None => self.at = At::Bad,
        }
    }
}
