//! The lines of a head, written as nearly everybody writes them, in one pass.
//!
//! A line is a name, a colon, one blank, a value, and CR LF (RFC 9112, 5). A name is of letters, digits, `-`, `.` and `_`; a value is of
//! visible ASCII with blanks inside. Such a line has one meaning. What is written in any other way is not judged here: then there is
//! nothing, and httparse is asked.

use crate::swar;

/// What comes first.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A field, by the lengths of its name and value; and whether the name may have large letters.
    Field(usize, usize, bool),
    /// The empty line at the end.
    End,
}

/// Between a name and its value.
pub(super) const COLON: usize = 2;

/// What ends a line.
pub(super) const CRLF: usize = 2;

/// Reads one line.
#[inline(always)]
pub(super) fn line(bytes: &[u8]) -> Option<Line> {
    let small = swar::small_name(bytes);
    let is_small = bytes.get(small).is_some_and(|byte| !IN_NAMES[usize::from(*byte)]);
    let name = if is_small { small } else { whole_name(bytes)? };
    match bytes.get(name..)? {
        [b':', b' ', first, ..] if name > 0 && *first != b' ' => {}
        [b'\r', b'\n', ..] if name == 0 => return Some(Line::End),
        _ => return None,
    }
    let value = visible(bytes.get(name + COLON..)?)?;
    Some(Line::Field(name, value, !is_small))
}

#[inline(never)]
fn whole_name(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| !IN_NAMES[usize::from(*byte)])
}

/// How long a line is that is of visible ASCII and blanks, and does not end with one.
#[inline(always)]
pub(super) fn visible(bytes: &[u8]) -> Option<usize> {
    let length = swar::visible(bytes);
    let (text, behind) = bytes.split_at_checked(length)?;
    let is_line = behind.first_chunk() == Some(b"\r\n") && text.last().is_some_and(|last| *last != b' ');
    is_line.then_some(length)
}

/// Whether it may be in a path or a query (RFC 3986, 3.3 and 3.4).
#[inline(always)]
pub(super) fn is_in_target(byte: u8) -> bool {
    IN_TARGETS[usize::from(byte)]
}

const IN_NAMES: [bool; 256] = letters_digits_and(b"-._");
const IN_TARGETS: [bool; 256] = letters_digits_and(b"-._~!$&'()*+,;=:@/?%");

const fn letters_digits_and(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    /// Heads near what is written: lines with oddities, and sometimes a byte that is another.
    pub(in crate::http1) fn heads(first: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        const NAMES: [&str; 12] = [
            "host",
            "Content-Type",
            "content-length",
            "Content-Length",
            "x_y",
            "a.b",
            "mcp-protocol-version",
            "expect",
            "Transfer-Encoding",
            "x!",
            "",
            " x",
        ];
        const COLONS: [&str; 6] = [": ", ": ", ": ", ":", " : ", ":  "];
        const VALUES: [&str; 10] = [
            "a",
            "application/json, text/event-stream",
            "12",
            "1 2",
            "",
            " ",
            "a ",
            "J\u{f6}rg",
            "a\tb",
            "0123456789abcdef0123456789abcdef01",
        ];
        const ENDS: [&str; 5] = ["\r\n", "\r\n", "\r\n", "\n", "\r"];
        let pick = |all: &'static [&'static str]| prop::sample::select(all);
        let line = (pick(&NAMES), pick(&COLONS), pick(&VALUES), pick(&ENDS));
        let plain = (pick(&NAMES[..8]), pick(&VALUES[..4])).prop_map(|(name, value)| (name, ": ", value, "\r\n"));
        let lines = prop::collection::vec(prop_oneof![6 => plain, 1 => line], 0..8);
        let change = any::<Option<(prop::sample::Index, u8)>>();
        (pick(first), lines, pick(&["\r\n", "\r\n", "\n", ""]), pick(&["", "body", "\r\n", "x: y\r\n\r\n"]), change).prop_map(
            |(first, lines, end, behind, change)| {
                let lines: String =
                    lines.into_iter().map(|(name, colon, value, end)| format!("{name}{colon}{value}{end}")).collect();
                let mut head = format!("{first}\r\n{lines}{end}{behind}").into_bytes();
                if let Some((at, byte)) = change {
                    let at = at.index(head.len());
                    head[at] = byte;
                }
                head
            },
        )
    }
}
