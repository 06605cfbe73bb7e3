//! UTF-8, byte by byte.

/// Well-formed UTF-8 (Unicode 15, table 3-7), byte by byte.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Utf8 {
    left: u8,
    least: u8,
    most: u8,
}

impl Utf8 {
    /// Whether a character has begun and not ended.
    pub(super) fn is_open(self) -> bool {
        self.left > 0
    }

    /// Takes in a byte; whether it fits.
    pub(super) fn feed(&mut self, byte: u8) -> bool {
        if self.left > 0 {
            let fits = (self.least..=self.most).contains(&byte);
            *self = Self { left: self.left - 1, least: 0x80, most: 0xbf };
            return fits;
        }
        let (left, least, most) = match byte {
            0xc2..=0xdf => (1, 0x80, 0xbf),
            0xe0 => (2, 0xa0, 0xbf),
            0xed => (2, 0x80, 0x9f),
            0xe1..=0xef => (2, 0x80, 0xbf),
            0xf0 => (3, 0x90, 0xbf),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            0xf4 => (3, 0x80, 0x8f),
            _ => return false,
        };
        *self = Self { left, least, most };
        true
    }
}
