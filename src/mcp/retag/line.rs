//! Puts a tag in front of the values of `id` lines.

use memchr::memchr2;

/// Follows lines byte by byte; nothing is held back.
#[derive(Debug)]
pub(super) struct LineTagger {
    tag: String,
    at: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    /// Behind `i`, and behind `id`.
    I,
    Id,
    /// Behind the colon: one blank is not part of the value.
    Colon,
    Blank,
    /// In the rest of a line, which says no more.
    Rest,
}

impl LineTagger {
    pub(super) fn new(tag: String) -> Self {
        Self { tag, at: At::Start }
    }

    /// Takes in the next bytes, from the start of a line on, in any cut. An empty value stays empty: it says that there
    /// is no id from now on (HTML living standard, 9.2.6).
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first() {
            if self.at == At::Rest {
                let (run, end) = rest.split_at(memchr2(b'\n', b'\r', rest).unwrap_or(rest.len()));
                out.extend_from_slice(run);
                let Some((end, behind)) = end.split_first() else { return };
                out.push(*end);
                (self.at, rest) = (At::Start, behind);
                continue;
            }
            self.at = match (self.at, byte) {
                (_, b'\r' | b'\n') => At::Start,
                (At::Start, b'i') => At::I,
                (At::I, b'd') => At::Id,
                (At::Id, b':') => At::Colon,
                (At::Colon, b' ') => At::Blank,
                (At::Colon | At::Blank, _) => {
                    out.extend_from_slice(self.tag.as_bytes());
                    At::Rest
                }
                _ => At::Rest,
            };
            out.push(*byte);
            rest = behind;
        }
    }
}
