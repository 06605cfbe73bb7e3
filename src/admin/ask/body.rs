//! A strict body: JSON and nothing after it, no member twice or unknown, and an error that points.

use axum::http::{HeaderMap, header};
use serde::de::IgnoredAny;
use serde_path_to_error::{Path, Segment};

use super::once;
use crate::admin::problem::{Problem, kinds};
use crate::admin::wire::Body;
use crate::config::nearest;

/// Nesting of arrays and objects; no body needs half of it.
const MOST_DEPTH: usize = 32;

/// Reads a body in the form that it is said to have.
pub(super) fn read<B: Body>(headers: &HeaderMap, bytes: &[u8]) -> Result<B, Problem> {
    want_json(headers)?;
    let wrong = |what: String| Problem::new(kinds::INVALID_BODY, what).hint(format!("like {}", B::LIKE));
    if bytes.is_empty() {
        return Err(wrong("the body is empty".to_owned()));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| wrong(format!("the body is not UTF-8 from its byte {} on", error.valid_up_to())))?;
    if is_deeper_than(MOST_DEPTH, bytes) {
        return Err(wrong(format!("the body is nested deeper than {MOST_DEPTH}")));
    }
    // What is no object is refused as that, and an array is not taken for one.
    if !text.trim_ascii_start().starts_with('{') {
        let what = serde_json::from_str::<IgnoredAny>(text);
        return Err(wrong(what.map_or_else(|error| error.to_string(), |_| "the body must be an object".to_owned())));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let body = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let said = error.inner().to_string();
        let (pointer, said) = (pointer(error.path(), &said), with_guess(&said));
        wrong(said).at(pointer)
    })?;
    json.end().map_err(|error| wrong(error.to_string()))?;
    Ok(body)
}

fn want_json(headers: &HeaderMap) -> Result<(), Problem> {
    let refuse = |detail: String| Err(Problem::new(kinds::NOT_JSON, detail).hint("Content-Type: application/json"));
    let kind = once(headers, &header::CONTENT_TYPE).unwrap_or(Some("what cannot be read")).unwrap_or("");
    let mut parts = kind.split(';').map(str::trim);
    let is_json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let is_utf8 = |part: &str| match part.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    };
    if !is_json || !parts.all(is_utf8) {
        return refuse(format!("Content-Type is `{kind}`"));
    }
    match once(headers, &header::CONTENT_ENCODING) {
        Ok(None | Some("identity")) => Ok(()),
        coding => refuse(format!("Content-Encoding is `{}`: send the body as it is", coding.ok().flatten().unwrap_or("several"))),
    }
}

/// Whether brackets outside of strings are nested deeper. Before anything is built of the body.
fn is_deeper_than(most: usize, bytes: &[u8]) -> bool {
    let (mut depth, mut is_string, mut is_escaped) = (0usize, false, false);
    for byte in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            b'[' | b'{' if !is_string => depth += 1,
            b']' | b'}' if !is_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > most {
            return true;
        }
    }
    false
}

/// Where in the body (RFC 6901). A member that is missing, unknown or there twice is named by the error and
/// not always by the path to it.
fn pointer(path: &Path, said: &str) -> String {
    let mut segments: Vec<String> = path
        .iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    let named = ["missing field `", "unknown field `", "duplicate field `"].iter().find_map(|start| said.strip_prefix(start));
    if let Some(name) = named.and_then(|rest| rest.split('`').next())
        && segments.last().is_none_or(|last| last != name)
    {
        segments.push(name.to_owned());
    }
    segments.iter().map(|segment| format!("/{}", segment.replace('~', "~0").replace('/', "~1"))).collect()
}

/// Adds `did you mean` to an unknown member, where one is near.
fn with_guess(said: &str) -> String {
    let mut quoted = said.split('`').skip(1).step_by(2);
    let guess = said.starts_with("unknown field").then(|| quoted.next()).flatten().and_then(|unknown| nearest(unknown, quoted));
    match guess {
        Some(guess) => format!("{said}; did you mean `{guess}`?"),
        None => said.to_owned(),
    }
}
