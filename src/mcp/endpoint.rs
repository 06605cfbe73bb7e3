//! The beginning of an HTTP+SSE stream (2024-11-05, transports, HTTP with SSE): its first event is
//! `endpoint`, and its data is the URI to which the client posts everything.

use memchr::{memchr2, memmem};
use url::{Position, Url};

/// The most that is held back until the first event is complete, in bytes.
pub const MOST_HELD: usize = 16 << 10;

pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Waits for the first event of a stream. Lines before it that say nothing pass; of the event
/// itself nothing does before all of it is here.
#[derive(Debug, Default)]
pub struct Opening {
    held: Vec<u8>,
    /// Bytes of `held` that have been looked at, and where the present line began.
    scanned: usize,
    line: usize,
    after_cr: bool,
    has_fields: bool,
    has_data: bool,
    has_begun: bool,
}

/// What the bytes so far have shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing yet; this much may pass.
    Nothing(Vec<u8>),
    /// The first event is `endpoint`.
    Endpoint(EndpointEvent),
    /// It is another one: everything passes as it came.
    Other(Vec<u8>),
    /// It is `endpoint` and goes on beyond [`MOST_HELD`].
    TooLong,
}

/// An `endpoint` event with what stands around it.
#[derive(Debug, PartialEq, Eq)]
pub struct EndpointEvent {
    /// Its data: a URI reference (RFC 3986, 4.1).
    pub reference: String,
    before: Vec<u8>,
    event: Vec<u8>,
    behind: Vec<u8>,
}

impl Opening {
    /// Takes in the next bytes, in any cut. Not to be asked again once something was found.
    pub fn feed(&mut self, bytes: &[u8]) -> Found {
        self.held.extend_from_slice(bytes);
        if !self.has_begun {
            if self.held.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(&self.held) {
                return Found::Nothing(Vec::new());
            }
            self.has_begun = true;
            let mark = if self.held.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
            (self.line, self.scanned) = (mark, mark);
        }
        // Up to here everything has said nothing and may pass.
        let mut passed = self.line * usize::from(!self.has_fields);
        while self.scanned < self.held.len() {
            let rest = &self.held[self.scanned..];
            if std::mem::take(&mut self.after_cr) && rest[0] == b'\n' {
                self.scanned += 1;
                self.line = self.scanned;
            } else if let Some(at) = memchr2(b'\r', b'\n', rest) {
                self.after_cr = rest[at] == b'\r';
                self.scanned += at + 1;
                if self.end_line() {
                    return self.end_event(passed);
                }
                self.line = self.scanned;
            } else {
                self.scanned = self.held.len();
            }
            if !self.has_fields {
                passed = self.line;
            }
        }
        if self.held.len() - passed > MOST_HELD {
            return self.give_up();
        }
        let rest = self.held.split_off(passed);
        let passed = std::mem::replace(&mut self.held, rest);
        self.scanned -= passed.len();
        self.line -= passed.len();
        Found::Nothing(passed)
    }

    /// The stream has ended: what was held back, unless it is half an `endpoint`.
    pub fn end(&mut self) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        if is_endpoint(&held) { Vec::new() } else { held }
    }

    /// Takes note of the line that ends here. Whether an event ends with it: one without data is none
    /// (HTML living standard, 9.2.6).
    fn end_line(&mut self) -> bool {
        let line = &self.held[self.line..self.scanned - 1];
        match line.first() {
            None if self.has_data => return true,
            None => self.has_fields = false,
            Some(b':') => {}
            Some(_) => {
                self.has_fields = true;
                self.has_data |= field(line).0 == b"data";
            }
        }
        false
    }

    fn end_event(&mut self, passed: usize) -> Found {
        let mut held = std::mem::take(&mut self.held);
        if !is_endpoint(&held[passed..self.scanned]) {
            return Found::Other(held);
        }
        let behind = held.split_off(self.scanned);
        let event = held.split_off(passed);
        let data: Vec<&[u8]> = fields(&event).filter(|(name, _)| *name == b"data").map(|(_, value)| value).collect();
        let reference = String::from_utf8_lossy(&data.join(&b'\n')).into_owned();
        Found::Endpoint(EndpointEvent { reference, before: held, event, behind })
    }

    fn give_up(&mut self) -> Found {
        let held = std::mem::take(&mut self.held);
        if is_endpoint(&held) { Found::TooLong } else { Found::Other(held) }
    }
}

impl EndpointEvent {
    /// What has come behind it.
    pub fn into_behind(self) -> Vec<u8> {
        self.behind
    }

    /// The same bytes with this for the event's data; its other lines stay.
    pub fn with(self, uri: &str) -> Vec<u8> {
        let mut bytes = self.before;
        let mut is_said = false;
        for line in lines(&self.event) {
            let content = without_end(line);
            if field(content).0 != b"data" {
                bytes.extend_from_slice(line);
            } else if !is_said {
                is_said = true;
                bytes.extend_from_slice(b"data: ");
                bytes.extend_from_slice(uri.as_bytes());
                bytes.extend_from_slice(&line[content.len()..]);
            }
        }
        bytes.extend_from_slice(&self.behind);
        bytes
    }
}

/// Where on its server a reference of the `endpoint` event points: path and query, in visible ASCII.
/// `authority` (`host:port`) and `target` (path and query) are those of the GET, against which it is
/// resolved (RFC 3986, 5). The host of an absolute one does not matter: servers write the name they
/// know themselves by, and the session is at the one that holds the stream.
pub fn resolve(reference: &str, authority: &str, target: &str) -> Result<String, String> {
    // The reference itself is not for the log: the session's id is in it.
    let said = |error: url::ParseError| format!("its endpoint is no URI reference: {error}");
    let base = Url::parse(&format!("http://{authority}{target}")).map_err(said)?;
    let uri = base.join(reference).map_err(said)?;
    if !matches!(uri.scheme(), "http" | "https") {
        return Err("its endpoint is no http URI".to_owned());
    }
    Ok(uri[Position::BeforePath..Position::AfterQuery].to_owned())
}

fn is_endpoint(event: &[u8]) -> bool {
    if memmem::find(event, b"endpoint").is_none() {
        return false;
    }
    let event = event.strip_prefix(BYTE_ORDER_MARK).unwrap_or(event);
    fields(event).filter(|(name, _)| *name == b"event").last().is_some_and(|(_, kind)| kind == b"endpoint")
}

fn fields(event: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines(event).map(without_end).map(field)
}

/// Name and value of a line: a blank behind the colon is not part of the value.
pub(super) fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return (line, b"") };
    let value = &line[colon + 1..];
    (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
}

pub(super) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Lines with their ends: LF, CRLF or CR.
pub(super) fn lines(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = text.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let length = match end {
            Some(at) if text[at..].starts_with(b"\r\n") => at + 2,
            Some(at) => at + 1,
            None => text.len(),
        };
        let (line, rest) = text.split_at(length);
        text = rest;
        (!line.is_empty()).then_some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes out for a stream in these pieces, the endpoint replaced by `/ours`, and its reference.
    fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Option<String>) {
        let (mut out, mut reference, mut opening) = (Vec::new(), None, Some(Opening::default()));
        for piece in pieces {
            let Some(waiting) = &mut opening else {
                out.extend_from_slice(piece);
                continue;
            };
            match waiting.feed(piece) {
                Found::Nothing(passed) => {
                    out.extend(passed);
                    continue;
                }
                Found::Endpoint(event) => {
                    reference = Some(event.reference.clone());
                    out.extend(event.with("/ours"));
                }
                Found::Other(bytes) => out.extend(bytes),
                Found::TooLong => panic!("too long"),
            }
            opening = None;
        }
        out.extend(opening.map(|mut opening| opening.end()).unwrap_or_default());
        (out, reference)
    }

    fn whole(text: &str) -> (String, Option<String>) {
        let (out, reference) = run([text.as_bytes()]);
        (String::from_utf8(out).unwrap(), reference)
    }

    #[test]
    fn the_endpoint_is_replaced_and_nothing_else_is() {
        for (stream, sent, reference) in [
            ("event: endpoint\ndata: /m?id=1\n\n", "event: endpoint\ndata: /ours\n\n", "/m?id=1"),
            ("event: endpoint\r\ndata: /m\r\n\r\ndata: x\r\n\r\n", "event: endpoint\r\ndata: /ours\r\n\r\ndata: x\r\n\r\n", "/m"),
            ("event:endpoint\rdata:/m\r\r", "event:endpoint\rdata: /ours\r\r", "/m"),
            (
                ": ping\n\nretry: 5\n\nid: 1\nevent: endpoint\n: c\ndata: /m\n\n",
                ": ping\n\nretry: 5\n\nid: 1\nevent: endpoint\n: c\ndata: /ours\n\n",
                "/m",
            ),
            ("data: /m\nevent: x\nevent: endpoint\n\n", "data: /ours\nevent: x\nevent: endpoint\n\n", "/m"),
            ("event: endpoint\ndata: /m?\nid: 2\ndata: a=1\n\n", "event: endpoint\ndata: /ours\nid: 2\n\n", "/m?\na=1"),
            ("\u{feff}event: endpoint\ndata: /m\n\n", "\u{feff}event: endpoint\ndata: /ours\n\n", "/m"),
            ("event: endpoint\ndata\n\n", "event: endpoint\ndata: /ours\n\n", ""),
        ] {
            assert_eq!(whole(stream), (sent.to_owned(), Some(reference.to_owned())), "{stream:?}");
        }
    }

    #[test]
    fn a_stream_that_begins_otherwise_is_not_altered() {
        for stream in [
            "data: {}\n\nevent: endpoint\ndata: /m\n\n",
            "event: message\ndata: {}\n\n",
            "id: 1\ndata:\n\nevent: endpoint\ndata: /m\n\n",
            "event: endpoint \ndata: /m\n\n",
            "event: endpoint\nevent: message\ndata: /m\n\n",
            "event: endpoint\n\ndata: /m\n\n",
            "data: half",
            ": only comments\n\n",
            "",
        ] {
            assert_eq!(whole(stream), (stream.to_owned(), None));
        }
    }

    #[test]
    fn half_an_endpoint_is_never_shown() {
        assert_eq!(whole(": a\nevent: endpoint\ndata: /m?id=secret\n"), (": a\n".to_owned(), None));
    }

    #[test]
    fn comments_before_the_first_event_do_not_wait_for_it() {
        let mut opening = Opening::default();
        assert_eq!(opening.feed(b": one\n\n: tw"), Found::Nothing(b": one\n\n".to_vec()));
        assert_eq!(opening.feed(b"o\nevent: e"), Found::Nothing(b": two\n".to_vec()));
        assert_eq!(opening.feed(b"ndpoint\n: three\n"), Found::Nothing(Vec::new()));
    }

    #[test]
    fn an_event_beyond_the_bound_passes_unless_it_is_the_endpoint() {
        let long = "x".repeat(MOST_HELD);
        let mut opening = Opening::default();
        let stream = format!("data: {long}");
        assert_eq!(opening.feed(stream.as_bytes()), Found::Other(stream.into_bytes()));
        assert_eq!(Opening::default().feed(format!("event: endpoint\ndata: {long}").as_bytes()), Found::TooLong);
    }

    #[test]
    fn a_reference_is_resolved_against_the_get_and_reduced_to_its_path_and_query() {
        let at = |reference: &str| resolve(reference, "10.0.0.1:3000", "/api/sse?k=1").unwrap();
        for (reference, uri) in [
            ("/messages/?session_id=6f", "/messages/?session_id=6f"),
            ("messages?id=1", "/api/messages?id=1"),
            ("../m/6f/post", "/m/6f/post"),
            ("?sessionId=6f", "/api/sse?sessionId=6f"),
            ("http://10.0.0.1:3000/m?id=1#top", "/m?id=1"),
            ("https://public.example/m/6f", "/m/6f"),
            ("//other:1/m", "/m"),
            ("", "/api/sse?k=1"),
            (" /m ", "/m"),
            ("/m?a=é b", "/m?a=%C3%A9%20b"),
            ("http://10.0.0.1:3000", "/"),
        ] {
            assert_eq!(at(reference), uri, "{reference:?}");
        }
        for wrong in ["ftp://10.0.0.1/m", "http://", "mailto:a@b"] {
            assert!(resolve(wrong, "10.0.0.1:3000", "/sse").is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn the_cut_into_chunks_does_not_matter(
            lines in prop::collection::vec("(event: ?endpoint|event: x|data:[ab/?]{0,3}|data|: c|id: 1||)(\n|\r\n|\r)", 0..9),
            cuts in prop::collection::vec(0usize..120, 0..8),
        ) {
            let text = lines.concat();
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            prop_assert_eq!(run(pieces), run([bytes]));
        }

        #[test]
        fn any_bytes_pass_or_are_replaced_by_lines_alone(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let (out, reference) = run(bytes.iter().map(std::slice::from_ref));
            prop_assert!(reference.is_some() || out == bytes || is_endpoint(&bytes[out.len()..]));
        }
    }
}
