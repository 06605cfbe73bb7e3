//! The head of a request.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;
use http::{Method, Uri, Version, request};

use super::lines::{self, CRLF};
use super::{Fields, MOST_FIELDS};

/// What a client asks for. Names of fields are in lower case.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Rc<Uri>,
    /// As the client wrote it.
    pub version: Version,
    /// The fields.
    pub headers: Fields,
}

impl From<request::Parts> for RequestHead {
    fn from(parts: request::Parts) -> Self {
        let headers = Fields::from(&parts.headers);
        Self { method: parts.method, uri: Rc::new(parts.uri), version: parts.version, headers }
    }
}

/// A request that is of the plainest form, and whole.
#[derive(Debug)]
pub struct Plain {
    /// Its head.
    pub head: Rc<RequestHead>,
    /// Where its body is. Behind that is what comes next.
    pub body: Range<usize>,
}

/// The target that was asked for last: most requests ask for the same, which then is neither checked nor copied anew.
#[derive(Debug, Default)]
pub struct Targets(RefCell<Option<Rc<Uri>>>);

impl Targets {
    /// A target that begins with a slash.
    fn read(&self, target: &str) -> Option<Rc<Uri>> {
        let mut last = self.0.borrow_mut();
        // A path that is written like this one is read like it: of what is not a path, nothing is left in one.
        if let Some(uri) = last.as_ref().filter(|uri| uri.path_and_query().is_some_and(|path| path.as_str() == target)) {
            return Some(uri.clone());
        }
        let uri = Uri::from_maybe_shared(Bytes::copy_from_slice(target.as_bytes())).ok()?;
        Some(last.insert(Rc::new(uri)).clone())
    }
}

/// What the bytes that have come begin with.
#[derive(Debug)]
pub enum Coming {
    /// A request of the plainest form, and all of it.
    Whole(Plain),
    /// The same, but for the end of its body: it will be so many bytes.
    Short(usize),
    /// Something else, or no whole head.
    Other,
}

/// Reads a request off the front of what has come, in a head of so many bytes at most. Only of
/// the plainest form, which has one meaning: of HTTP/1.1, with a common method and a path, with at most one length,
/// which is digits; without an upgrade, an expectation or a transfer coding.
///
/// Nothing is decided here that hyper would decide otherwise: what this takes, hyper reads as the same request with the
/// same bytes behind it, and of what could be read in two ways nothing is taken.
pub fn plain(came: &[u8], most_head: usize, targets: &Targets) -> Coming {
    read(came, most_head, targets).unwrap_or(Coming::Other)
}

fn read(came: &[u8], most_head: usize, targets: &Targets) -> Option<Coming> {
    let Asked { method, target, fields, head, said } = by_lines(came).or_else(|| by_httparse(came))?;
    if head > most_head {
        return None;
    }
    let length = head.checked_add(said.length.unwrap_or(0))?;
    if length > came.len() {
        return Some(Coming::Short(length));
    }
    let uri = targets.read(target)?;
    let head_of = RequestHead { method, uri, version: Version::HTTP_11, headers: fields.in_lower_case() };
    Some(Coming::Whole(Plain { head: Rc::new(head_of), body: head..length }))
}

/// A head that is whole.
struct Asked<'a> {
    method: Method,
    target: &'a str,
    fields: Fields,
    /// Its length.
    head: usize,
    said: Said,
}

/// Of lines as nearly everybody writes them.
fn by_lines(came: &[u8]) -> Option<Asked<'_>> {
    let first = lines::visible(came)?;
    let (word, rest) = came[..first].split_at_checked(came.iter().position(|byte| *byte == b' ')?)?;
    let target = rest.strip_prefix(b" ")?.strip_suffix(b" HTTP/1.1")?;
    if !target.starts_with(b"/") || !target.iter().all(|byte| lines::is_in_target(*byte)) {
        return None;
    }
    let method = method(word)?;
    let mut said = Said::default();
    let (fields, head) = Fields::read(came, first + CRLF, |name, value| said.hear(name, value))?;
    Some(Asked { method, target: str::from_utf8(target).ok()?, fields, head, said })
}

fn by_httparse(came: &[u8]) -> Option<Asked<'_>> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let status = httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, came, &mut fields).ok()?;
    let httparse::Status::Complete(head) = status else { return None };
    if parsed.version != Some(1) {
        return None;
    }
    let method = method(parsed.method?.as_bytes())?;
    let target = parsed.path.filter(|path| path.starts_with('/'))?;
    let mut said = Said::default();
    for field in parsed.headers.iter() {
        said.hear(field.name.as_bytes(), field.value)?;
    }
    Some(Asked { method, target, fields: Fields::copy(&came[..head], parsed.headers), head, said })
}

/// What a head says of the body's length.
#[derive(Default)]
struct Said {
    length: Option<usize>,
}

impl Said {
    /// Nothing where it says what a plain request does not.
    #[inline(always)]
    fn hear(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        match name.len() {
            6 if name.eq_ignore_ascii_case(b"expect") => None,
            7 if name.eq_ignore_ascii_case(b"upgrade") => None,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => None,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let is_first = self.length.replace(number(value)?).is_none();
                is_first.then_some(())
            }
            _ => Some(()),
        }
    }
}

fn method(word: &[u8]) -> Option<Method> {
    Some(match word {
        b"POST" => Method::POST,
        b"GET" => Method::GET,
        b"DELETE" => Method::DELETE,
        b"OPTIONS" => Method::OPTIONS,
        b"PUT" => Method::PUT,
        b"PATCH" => Method::PATCH,
        _ => return None,
    })
}

/// Digits, and few enough of them.
fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0usize, |number, digit| digit.is_ascii_digit().then(|| number * 10 + usize::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http1::lines::tests::heads;

    fn shown(asked: Asked<'_>) -> String {
        let Asked { method, target, fields, head, said } = asked;
        let fields = fields.in_lower_case();
        let all: Vec<_> =
            fields.iter().map(|(name, value)| (name.escape_ascii().to_string(), value.escape_ascii().to_string())).collect();
        format!("{method} {target} {head} {:?} {all:?}", said.length)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn a_request_that_is_read_by_its_lines_is_read_so_by_httparse(
            head in heads(&["POST /mcp HTTP/1.1", "GET /a?b=%20~c HTTP/1.1", "PUT  / HTTP/1.1", "POST /a b HTTP/1.1", "DELETE * HTTP/1.1", "get / HTTP/1.1", "GET / HTTP/1.0"]),
        ) {
            if let Some(asked) = by_lines(&head) {
                prop_assert_eq!(by_httparse(&head).map(shown), Some(shown(asked)));
            }
        }
    }

    #[test]
    fn what_clients_write_is_read_by_its_lines() {
        for head in [
            "POST /mcp HTTP/1.1\r\nhost: a:1\r\naccept: application/json, text/event-stream\r\nmcp-session-id: a.b_c-d\r\ncontent-length: 2\r\n\r\n",
            "GET /mcp?x=1 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: python-httpx/0.28.1\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
        ] {
            assert!(by_lines(head.as_bytes()).is_some(), "{head}");
        }
    }
}
