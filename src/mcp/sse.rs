//! Where a comment or an event may be put into a running event stream.

use memchr::memchr2;

use super::endpoint::{field, lines, without_end};

/// Follows an event stream byte by byte and knows whether it stands between two events (HTML
/// living standard, 9.2.6: an event ends with a blank line; lines end with LF, CRLF or CR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    in_event: bool,
    line: Line,
    after_cr: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Empty,
    Comment,
    Field,
}

impl Default for Boundary {
    fn default() -> Self {
        Self { in_event: false, line: Line::Empty, after_cr: false }
    }
}

impl Boundary {
    /// Takes in the next bytes, in any cut.
    pub fn feed(&mut self, bytes: &[u8]) {
        // Nearly every chunk is whole events, and two line feeds end an event from any state.
        if bytes.ends_with(b"\n\n") {
            *self = Self::default();
            return;
        }
        let mut rest = bytes;
        while let Some((byte, behind)) = rest.split_first() {
            self.step(*byte);
            // What a line is, its first byte has said.
            rest = match self.line {
                Line::Empty => behind,
                Line::Comment | Line::Field => &behind[memchr2(b'\n', b'\r', behind).unwrap_or(behind.len())..],
            };
        }
    }

    /// Whether the stream stands between two events, so that a comment may go in.
    pub fn is_between_events(&self) -> bool {
        !self.in_event && self.line == Line::Empty
    }

    /// What ends a half-sent event without its being taken for a message: the type makes clients
    /// pass over it, as they act on `message` events alone.
    pub fn abandon_event(&self) -> &'static [u8] {
        if self.is_between_events() { b"" } else { b"\nevent: dualgate-cut\n\n" }
    }

    fn step(&mut self, byte: u8) {
        let second_of_pair = self.after_cr && byte == b'\n';
        self.after_cr = byte == b'\r';
        if second_of_pair {
            return;
        }
        match (byte, self.line) {
            (b'\r' | b'\n', Line::Empty) => self.in_event = false,
            (b'\r' | b'\n', Line::Comment) => self.line = Line::Empty,
            (b'\r' | b'\n', Line::Field) => {
                self.line = Line::Empty;
                self.in_event = true;
            }
            (b':', Line::Empty) => self.line = Line::Comment,
            (_, Line::Empty) => self.line = Line::Field,
            _ => {}
        }
    }
}

/// The comment that keeps a quiet stream alive on its way through impatient middlemen.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// How long the first event of a stream is, with all that is before it; nothing where it is not whole yet.
pub fn first_event(stream: &[u8]) -> Option<usize> {
    let (mut boundary, mut has_begun) = (Boundary::default(), false);
    for (at, byte) in stream.iter().enumerate() {
        boundary.step(*byte);
        if has_begun && boundary.is_between_events() {
            return Some(at + 1);
        }
        has_begun |= boundary.line == Line::Field;
    }
    None
}

/// The JSON-RPC answer that an event is, whatever its lines end with.
pub fn answer_of(event: &[u8]) -> Option<String> {
    let data = lines(event).map(without_end).map(field).filter(|(name, _)| *name == b"data").map(|(_, value)| value);
    let data = String::from_utf8(data.collect::<Vec<_>>().join(&b'\n')).ok()?;
    let message: serde_json::Value = serde_json::from_str(&data).ok()?;
    (message.get("result").is_some() || message.get("error").is_some()).then_some(data)
}

/// The first JSON-RPC answer in as much of an event stream as has come; nothing where none of its events is whole yet.
pub fn first_answer(stream: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(stream).ok()?.replace("\r\n", "\n");
    let (complete, _) = text.rsplit_once("\n\n")?;
    complete.split("\n\n").find_map(|event| {
        let lines: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim_start).collect();
        let data = lines.join("\n");
        let message: serde_json::Value = serde_json::from_str(&data).ok()?;
        (message.get("result").is_some() || message.get("error").is_some()).then_some(data)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(text: &str) -> bool {
        let mut boundary = Boundary::default();
        boundary.feed(text.as_bytes());
        boundary.is_between_events()
    }

    #[test]
    fn a_comment_goes_between_events_and_never_inside_one() {
        for (text, between) in [
            ("", true),
            ("data: a", false),
            ("data: a\n", false),
            ("data: a\n\n", true),
            ("data: a\r\n", false),
            ("data: a\r\n\r\n", true),
            ("data: a\r\n\r", true),
            ("data: a\r\r", true),
            (": ping\n", true),
            (": ping", false),
            ("data: a\n: ping\n", false),
            ("id: 1\ndata\n\nevent: x\n", false),
            ("data: a\n\n\n\n", true),
        ] {
            assert_eq!(after(text), between, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_cut_into_chunks_does_not_matter(text in "[a:\r\n]{0,40}", cuts in prop::collection::vec(0usize..40, 0..6)) {
            let bytes = text.as_bytes();
            let mut whole = Boundary::default();
            bytes.iter().for_each(|byte| whole.step(*byte));
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut pieces = Boundary::default();
            cuts.windows(2).for_each(|pair| pieces.feed(&bytes[pair[0]..pair[1]]));
            prop_assert_eq!(pieces.is_between_events(), whole.is_between_events());
        }
    }

    #[test]
    fn an_event_ends_with_its_blank_line_and_takes_along_what_is_before_it() {
        for (stream, length) in [
            ("", None),
            (": ping\n\n", None),
            ("data: a\n", None),
            ("data: a\n\ndata: b\n\n", Some(9)),
            (": ping\n\n\ndata: a\n\nx", Some(18)),
            // The second half of a line's end may come with the next.
            ("id: 1\r\ndata\r\n\r\n", Some(14)),
            ("data: a\r\rdata", Some(9)),
        ] {
            assert_eq!(first_event(stream.as_bytes()), length, "{stream:?}");
        }
    }

    #[test]
    fn an_event_is_read_whatever_its_lines_end_with() {
        for event in [
            "event: message\ndata: {\"id\":1,\ndata: \"result\":{}}\n\n",
            "data:{\"id\":1,\r\ndata:\"result\":{}}\r\n\r",
            "\ndata: {\"id\":1,\rdata: \"result\":{}}\r\r",
        ] {
            assert_eq!(answer_of(event.as_bytes()).as_deref(), Some("{\"id\":1,\n\"result\":{}}"), "{event:?}");
        }
        assert_eq!(answer_of(b"data: {\"method\":\"x\"}\n\n"), None);
    }

    #[test]
    fn the_answer_is_found_behind_pings_primings_and_notifications() {
        let stream = b": ping\n\nid: 1\ndata:\n\nevent: message\r\ndata: {\"method\":\"x\"}\r\n\r\ndata: {\"id\":1,\ndata: \"result\":{}}\n\n";
        assert_eq!(first_answer(stream).as_deref(), Some("{\"id\":1,\n\"result\":{}}"));
        assert_eq!(first_answer(&stream[..stream.len() - 1]), None, "not complete yet");
    }
}
