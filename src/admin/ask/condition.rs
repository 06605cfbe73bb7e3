//! `If-Match` (RFC 9110, 13.1.1).

use axum::http::{HeaderMap, header};

use crate::admin::problem::{Problem, kinds};

/// On what condition a change is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Condition {
    /// None, or `*`: there is always something in force.
    Always,
    /// Only if one of these is in force.
    Among {
        /// Of strong tags that can be an ETag: a weak one never matches, and no other is ever given out.
        numbers: Vec<u64>,
        /// As it was written.
        text: String,
    },
}

impl Condition {
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(header::IF_MATCH).iter().peekable();
        if values.peek().is_none() {
            return Ok(Self::Always);
        }
        let text = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>().join(", ");
        let text = text.trim().to_owned();
        if text == "*" {
            return Ok(Self::Always);
        }
        let Some(tags) = tags(&text) else {
            let problem = Problem::new(kinds::IF_MATCH, format!("`{text}` is neither an entity tag, a list of them, nor `*`"));
            return Err(problem.hint("If-Match: \"7\", as the ETag says"));
        };
        let numbers = tags.into_iter().filter(|(is_weak, _)| !is_weak).filter_map(|(_, opaque)| number(opaque)).collect();
        Ok(Self::Among { numbers, text })
    }

    /// The one number that the change is made on, or what is wrong with all of them; nothing: it is made on any. A race is
    /// decided where the change is made, which compares again.
    pub(in crate::admin) fn number(&self, current: u64) -> Result<Option<u64>, Problem> {
        let (numbers, text) = match self {
            Self::Always => return Ok(None),
            Self::Among { numbers, text } => (numbers, text),
        };
        match numbers.as_slice() {
            [only] => Ok(Some(*only)),
            many if many.contains(&current) => Ok(Some(current)),
            _ => {
                let weak = if text.contains("W/") { "; a weak tag never matches (RFC 9110, 13.1.1)" } else { "" };
                Err(Problem::stale(format!("`{text}` is not the current value: it is \"{current}\"{weak}")))
            }
        }
    }
}

/// A number in its one form; tags are compared byte by byte, so that `"07"` is not `"7"`.
fn number(opaque: &str) -> Option<u64> {
    opaque.parse().ok().filter(|number: &u64| number.to_string() == opaque)
}

/// `#entity-tag` (RFC 9110, 8.8.3 and 5.6.1), each with whether it is weak.
fn tags(text: &str) -> Option<Vec<(bool, &str)>> {
    let is_blank = |c: char| matches!(c, ' ' | '\t');
    let mut tags = Vec::new();
    let mut rest = text.trim_start_matches(|c| is_blank(c) || c == ',');
    while !rest.is_empty() {
        let is_weak = rest.starts_with("W/");
        let (opaque, after) = rest.trim_start_matches("W/").strip_prefix('"')?.split_once('"')?;
        if opaque.chars().any(|c| c <= ' ' || c == '\u{7f}') {
            return None;
        }
        tags.push((is_weak, opaque));
        let after = after.trim_start_matches(is_blank);
        if !after.is_empty() && !after.starts_with(',') {
            return None;
        }
        rest = after.trim_start_matches(|c| is_blank(c) || c == ',');
    }
    (!tags.is_empty()).then_some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Option<Vec<u64>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, value.parse().unwrap());
        }
        match Condition::read(&headers).ok()? {
            Condition::Always => Some(vec![0]),
            Condition::Among { numbers, .. } => Some(numbers),
        }
    }

    #[test]
    fn a_condition_is_a_list_of_strong_tags_or_anything() {
        for (values, wanted) in [
            (&[][..], vec![0]),
            (&["*"], vec![0]),
            (&["\"7\""], vec![7]),
            (&["\"7\" , \"8\""], vec![7, 8]),
            (&["\"7\"", ",\"8\","], vec![7, 8]),
            (&["W/\"7\""], vec![]),
            (&["W/\"7\", \"8\""], vec![8]),
            (&["\"07\", \"+7\", \"\", \"a,b\""], vec![]),
        ] {
            assert_eq!(read(values), Some(wanted), "{values:?}");
        }
        for malformed in ["7", "\"7", "7\"", "", ",", "\"7\" \"8\"", "*, \"7\"", "w/\"7\"", "W/", "\"a b\"", "W/W/\"7\"x"] {
            assert_eq!(read(&[malformed]), None, "{malformed}");
        }
    }
}
