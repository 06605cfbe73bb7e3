//! The head of a request.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::Bytes;
use http::{Method, Uri, Version, request};

use super::{Fields, MOST_FIELDS};

/// What a client asks for. Names of fields are in lower case.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// As the client wrote it.
    pub version: Version,
    /// The fields.
    pub headers: Fields,
}

impl From<request::Parts> for RequestHead {
    fn from(parts: request::Parts) -> Self {
        let headers = Fields::from(&parts.headers);
        Self { method: parts.method, uri: parts.uri, version: parts.version, headers }
    }
}

/// A request that is of the plainest form, and whole.
#[derive(Debug)]
pub struct Plain {
    /// Its head.
    pub head: Box<RequestHead>,
    /// Where its body is. Behind that is what comes next.
    pub body: Range<usize>,
}

/// The target that was asked for last: most requests ask for the same, which then is neither checked nor copied anew.
#[derive(Debug, Default)]
pub struct Targets(RefCell<Option<Uri>>);

impl Targets {
    /// A target that begins with a slash.
    fn read(&self, target: &str) -> Option<Uri> {
        let mut last = self.0.borrow_mut();
        // A path that is written like this one is read like it: of what is not a path, nothing is left in one.
        if let Some(uri) = last.as_ref().filter(|uri| uri.path_and_query().is_some_and(|path| path.as_str() == target)) {
            return Some(uri.clone());
        }
        let uri = Uri::from_maybe_shared(Bytes::copy_from_slice(target.as_bytes())).ok()?;
        Some(last.insert(uri).clone())
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
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let status = httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, came, &mut fields).ok()?;
    let httparse::Status::Complete(head) = status else { return None };
    if head > most_head || parsed.version != Some(1) {
        return None;
    }
    let method = method(parsed.method?)?;
    let target = parsed.path.filter(|path| path.starts_with('/'))?;
    let mut length = None;
    for field in parsed.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            6 if is("expect") => return None,
            7 if is("upgrade") => return None,
            17 if is("transfer-encoding") => return None,
            14 if is("content-length") => {
                let is_first = length.replace(number(field.value)?).is_none();
                is_first.then_some(())?;
            }
            _ => {}
        }
    }
    let length = head.checked_add(length.unwrap_or(0))?;
    if length > came.len() {
        return Some(Coming::Short(length));
    }
    let uri = targets.read(target)?;
    let headers = Fields::copy(&came[..head], parsed.headers).in_lower_case();
    let body = head..length;
    let head = Box::new(RequestHead { method, uri, version: Version::HTTP_11, headers });
    Some(Coming::Whole(Plain { head, body }))
}

fn method(word: &str) -> Option<Method> {
    Some(match word {
        "POST" => Method::POST,
        "GET" => Method::GET,
        "DELETE" => Method::DELETE,
        "OPTIONS" => Method::OPTIONS,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
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
