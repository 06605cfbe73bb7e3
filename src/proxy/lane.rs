//! The short way in: a request that came whole in one read and is of the plainest form is read here, everything else by
//! hyper, from its first byte on.
//!
//! Nothing is decided here that hyper would decide otherwise: what this lane takes, hyper reads as the same request with the same
//! bytes behind it (tests/http1.rs holds it), and of what could be read in two ways nothing is taken.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Method, Request, Uri};

use super::rim::{MOST_FIELDS, MOST_HEAD};

/// Takes a request off the front of what has come. Nothing where that is not one of the plainest form: of HTTP/1.1, with a
/// common method and a path, with at most one length, which is digits, and all of its body there; without an
/// upgrade, an expectation or a transfer coding.
pub fn read(came: &mut Bytes) -> Option<Request<Bytes>> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    let status = httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut parsed, came, &mut fields).ok()?;
    let httparse::Status::Complete(head) = status else { return None };
    if head > MOST_HEAD || parsed.version != Some(1) {
        return None;
    }
    let method = method(parsed.method?)?;
    let target = parsed.path.filter(|path| path.starts_with('/'))?;
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_maybe_shared(came.slice_ref(target.as_bytes())).ok()?;
    let headers = request.headers_mut();
    headers.reserve(parsed.headers.len());
    let mut length = None;
    for field in parsed.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        match name {
            TRANSFER_ENCODING | EXPECT | UPGRADE => return None,
            CONTENT_LENGTH => {
                let is_first = length.replace(number(field.value)?).is_none();
                is_first.then_some(())?;
            }
            _ => {}
        }
        headers.append(name, HeaderValue::from_maybe_shared(came.slice_ref(field.value)).ok()?);
    }
    let end = head.checked_add(length.unwrap_or(0))?;
    if end > came.len() {
        return None;
    }
    let mut whole = came.split_to(end);
    *request.body_mut() = whole.split_off(head);
    Some(request)
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
