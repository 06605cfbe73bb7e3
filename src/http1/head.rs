//! The head of an answer.

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, response};

use super::lines::{self, CRLF};
use super::{Fields, Framing};

/// Fields of a head; more are refused.
pub const MOST_FIELDS: usize = 100;

/// The longest length, so that no sum of it and what is at hand wraps round; hyper has the same.
const MOST_LENGTH: u64 = u64::MAX - 2;

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault(pub &'static str);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// What the first bytes of an answer come to.
#[derive(Debug)]
pub enum Read {
    /// There is no whole head yet.
    More,
    /// An informational answer (1xx but 101) of so many bytes: the next one follows.
    Interim(usize),
    /// The answer.
    Final(Answer),
}

/// An answer whose head is complete.
#[derive(Debug)]
pub struct Answer {
    /// Status and fields; by a pointer, since answers change hands often.
    pub head: Box<Head>,
    /// How the body is framed.
    pub framing: Framing,
    /// Bytes of the head; the body begins behind them.
    pub length: usize,
    /// Whether the connection carries another request after the body's end (RFC 9112, 9.3).
    pub persists: bool,
}

/// Status and fields of an answer as they came: names in the case in which they were written, values without the
/// whitespace around them.
#[derive(Clone, Debug)]
pub struct Head {
    status: StatusCode,
    /// In the text of the fields.
    reason: Range<usize>,
    fields: Fields,
}

/// Reads the head of the answer to a request of this method.
///
/// Strict where the end of the message depends on it: a length beside a transfer coding, a coding that is not
/// `chunked`, a coding in HTTP/1.0, lengths that differ or are no number, folded lines and whitespace before a
/// colon are refused (RFC 9112, 5.1, 5.2, 6.1, 6.3). hyper's client lets the first two pass.
///
/// # Errors
/// What is wrong with the head; nothing of the connection can be used after that.
pub fn answer(bytes: &[u8], asked: &Method) -> Result<Read, Fault> {
    let found = match by_lines(bytes) {
        Some(found) => found,
        None => match by_httparse(bytes)? {
            Some(found) => found,
            None => return Ok(Read::More),
        },
    };
    let Found { status, is_http10, reason, fields, length } = found;
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Read::Interim(length));
    }
    let mut said = Said::default();
    for (name, value) in fields.iter() {
        said.hear(name, value)?;
    }
    let framing = said.framing(status, asked, is_http10)?;
    let persists = said.persists(is_http10) && framing != Framing::ToClose && status != StatusCode::SWITCHING_PROTOCOLS;
    let mut head = Box::new(Head { status, reason, fields });
    said.say_once(&mut head);
    Ok(Read::Final(Answer { head, framing, length, persists }))
}

/// A head that is whole.
struct Found {
    status: StatusCode,
    is_http10: bool,
    reason: Range<usize>,
    fields: Fields,
    length: usize,
}

/// Of lines as nearly everybody writes them.
fn by_lines(bytes: &[u8]) -> Option<Found> {
    const VERSION: usize = "HTTP/1.1 ".len();
    const CODE: usize = "200 ".len();
    let first = lines::visible(bytes)?;
    let [code @ .., b' '] = bytes[..first].strip_prefix(b"HTTP/1.1 ")?.first_chunk::<CODE>()? else { return None };
    let status = StatusCode::from_bytes(code).ok()?;
    let (fields, length) = Fields::read(bytes, first + CRLF, |_, _| Some(()))?;
    Some(Found { status, is_http10: false, reason: VERSION + CODE..first, fields, length })
}

/// Nothing where it is not whole yet.
fn by_httparse(bytes: &[u8]) -> Result<Option<Found>, Fault> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let length = match httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields)
        .map_err(wrong)?
    {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(length) => length,
    };
    let code = parsed.code.unwrap_or_default();
    let status = StatusCode::from_u16(code).map_err(|_| Fault("the status is no number from 100 to 999"))?;
    let reason = parsed.reason.unwrap_or_default();
    let start = if reason.is_empty() { 0 } else { (reason.as_ptr() as usize).saturating_sub(bytes.as_ptr() as usize) };
    let fields = Fields::copy(&bytes[..length], parsed.headers);
    let is_http10 = parsed.version == Some(0);
    Ok(Some(Found { status, is_http10, reason: start..start + reason.len(), fields, length }))
}

fn wrong(error: httparse::Error) -> Fault {
    Fault(match error {
        httparse::Error::HeaderName => "a field name is not valid",
        httparse::Error::HeaderValue => "a field value is not valid",
        httparse::Error::TooManyHeaders => "more than 100 fields",
        httparse::Error::Status => "the status line is not valid",
        httparse::Error::Version => "this is not HTTP/1.1",
        _ => "the head is not valid",
    })
}

/// What a head says of the message's end and the connection.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    /// How often it is said.
    lengths: u32,
    is_chunked: bool,
    has_coding: bool,
    closes: bool,
    keeps: bool,
}

impl Said {
    fn hear(&mut self, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        // By length first: nearly every field is none of them.
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.closes |= mentions(value, b"close");
                // Whoever reads no strange bytes in a list does not see this word in it: in doubt it is not kept.
                self.keeps |= value.is_ascii() && mentions(value, b"keep-alive");
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                // One number, nearly always.
                if !value.contains(&b',') {
                    return self.hear_length(value);
                }
                for one in value.split(|byte| *byte == b',') {
                    self.hear_length(one.trim_ascii())?;
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.has_coding || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault("a transfer coding that is not chunked alone"));
                }
                (self.has_coding, self.is_chunked) = (true, true);
            }
            _ => {}
        }
        Ok(())
    }

    fn hear_length(&mut self, digits: &[u8]) -> Result<(), Fault> {
        let length = number(digits).ok_or(Fault("the content length is no number"))?;
        self.lengths += 1;
        if self.length.replace(length).is_some_and(|other| other != length) {
            return Err(Fault("two content lengths that differ"));
        }
        Ok(())
    }

    /// RFC 9112, 6.3.
    fn framing(&self, status: StatusCode, asked: &Method, is_http10: bool) -> Result<Framing, Fault> {
        let has_none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::SWITCHING_PROTOCOLS);
        if self.has_coding && (is_http10 || self.length.is_some()) && !has_none {
            return Err(Fault(if is_http10 { "a transfer coding in HTTP/1.0" } else { "a length beside a transfer coding" }));
        }
        Ok(match self.length {
            _ if has_none || asked == Method::HEAD => Framing::Length(0),
            _ if self.is_chunked => Framing::chunked(),
            Some(length) => Framing::Length(length),
            None => Framing::ToClose,
        })
    }

    /// A length that was said again and again is passed on once.
    fn say_once(&self, head: &mut Head) {
        if let Some(length) = self.length.filter(|_| self.lengths > 1) {
            head.set("content-length", length.to_string().as_bytes());
        }
    }

    /// RFC 9112, 9.3.
    fn persists(&self, is_http10: bool) -> bool {
        !self.closes && (!is_http10 || self.keeps)
    }
}

/// Digits and nothing else: no sign, no space, and no more than fits.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let and = |number: u64, digit: &u8| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    };
    digits.iter().try_fold(0, and).filter(|length| *length <= MOST_LENGTH)
}

fn mentions(list: &[u8], element: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(element))
}

impl Head {
    /// The head of an answer that hyper has read, under the same rules (see [`answer`]): what it lets pass would be
    /// framed twice.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_by_hyper(parts: &response::Parts, asked: &Method) -> Result<Self, Fault> {
        let mut said = Said::default();
        for (name, value) in &parts.headers {
            said.hear(name.as_str().as_bytes(), value.as_bytes())?;
        }
        said.framing(parts.status, asked, parts.version == Version::HTTP_10)?;
        let mut head = Self::from(parts);
        said.say_once(&mut head);
        Ok(head)
    }

    /// A head without fields.
    pub fn new(status: StatusCode) -> Self {
        Self { status, reason: 0..0, fields: Fields::default() }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The value of the first field of this name, in whatever case it is written.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.get(name)
    }

    /// Whether the content is said to be a stream of events (HTML, "Server-sent events").
    pub fn is_event_stream(&self) -> bool {
        const KIND: &[u8] = b"text/event-stream";
        self.get("content-type").and_then(|kind| kind.get(..KIND.len())).is_some_and(|kind| kind.eq_ignore_ascii_case(KIND))
    }

    /// The values of all fields of this name, in their order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.all(name)
    }

    /// Names and values in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter()
    }

    /// Takes off all fields of this name; the value of the first is given back.
    pub fn remove(&mut self, name: &str) -> Option<Vec<u8>> {
        let first = self.get(name)?.to_vec();
        self.retain(|one, _| !one.eq_ignore_ascii_case(name.as_bytes()));
        Some(first)
    }

    /// Keeps those fields of which this says so, by name and value.
    pub fn retain(&mut self, keeps: impl FnMut(&[u8], &[u8]) -> bool) {
        self.fields.retain(keeps);
    }

    /// Puts one field in the place of all of this name, which are valid characters of a name and a value.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        if self.get(name).is_some() {
            self.retain(|one, _| !one.eq_ignore_ascii_case(name.as_bytes()));
        }
        self.fields.append(name.as_bytes(), value);
    }

    /// Writes the status line and the fields, not the empty line behind them: the last hop's own fields may
    /// follow.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.as_str().as_bytes());
        out.push(b' ');
        match self.fields.part(self.reason.clone()) {
            [] => out.extend_from_slice(self.status.canonical_reason().unwrap_or_default().as_bytes()),
            reason => out.extend_from_slice(reason),
        }
        out.extend_from_slice(b"\r\n");
        self.fields.write(out, |_, _| true);
    }

    /// The same as the parts of a response, for who writes those.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.fields.len());
        for (name, value) in self.fields() {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        headers
    }
}

impl From<&response::Parts> for Head {
    fn from(parts: &response::Parts) -> Self {
        Self { status: parts.status, reason: 0..0, fields: Fields::from(&parts.headers) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http1::lines::tests::heads;

    fn shown(found: &Found) -> String {
        let Found { status, is_http10, reason, fields, length } = found;
        let all: Vec<_> =
            fields.iter().map(|(name, value)| (name.escape_ascii().to_string(), value.escape_ascii().to_string())).collect();
        format!("{status} {is_http10} {} {length} {all:?}", fields.part(reason.clone()).escape_ascii())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn an_answer_that_is_read_by_its_lines_is_read_so_by_httparse(
            head in heads(&["HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found", "HTTP/1.0 200 OK", "HTTP/1.1 200", "HTTP/1.1 299 ", "HTTP/1.1 099 x"]),
        ) {
            if let Some(found) = by_lines(&head) {
                let other = by_httparse(&head).map(|other| other.as_ref().map(shown));
                prop_assert_eq!(other, Ok(Some(shown(&found))));
                let mut written = Vec::new();
                found.fields.write(&mut written, |_, _| true);
                prop_assert!(head[..found.length].ends_with(&[&written[..], b"\r\n"].concat()));
            }
        }
    }

    #[test]
    fn what_servers_write_is_read_by_its_lines() {
        for head in [
            "HTTP/1.1 200 OK\r\ndate: Fri, 20 Nov 2026 10:00:00 GMT\r\nserver: uvicorn\r\nmcp-session-id: 5f2c\r\ncontent-length: 38\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\nX-Powered-By: Express\r\nETag: W/\"2-vyGp\"\r\nKeep-Alive: timeout=5\r\n\r\n",
        ] {
            assert!(by_lines(head.as_bytes()).is_some(), "{head}");
        }
    }
}
