//! Trace context as it comes in (W3C Trace Context, level 1): read for the log, never changed.

use crate::http1::{Fields, text};

/// The trace that a request belongs to, and the caller's span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    ids: String,
}

const TRACE: std::ops::Range<usize> = 3..35;
const SPAN: std::ops::Range<usize> = 36..52;
const LENGTH: usize = 55;

impl Trace {
    /// From `traceparent`, where there is exactly one and it is valid (section 3.2.2.3): two digits of
    /// version, 32 of trace, 16 of span, two of flags, in lower case, neither id all zero. Of a later
    /// version than 00 more may follow, behind a dash.
    pub fn of(headers: &Fields) -> Option<Self> {
        let mut given = headers.all("traceparent");
        let (Some(value), None) = (given.next(), given.next()) else { return None };
        Self::parse(text(value)?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (ids, more) = text.split_at_checked(LENGTH)?;
        let is_fit = |(at, byte): (usize, u8)| match at {
            2 | 35 | 52 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        };
        let version = &ids[..2];
        let is_whole = ids.bytes().enumerate().all(is_fit) && version != "ff";
        let ends_well = more.is_empty() || (version != "00" && more.starts_with('-'));
        let is_zero = |ids: &str| ids.bytes().all(|digit| digit == b'0');
        let is_good = is_whole && ends_well && !is_zero(&ids[TRACE]) && !is_zero(&ids[SPAN]);
        is_good.then(|| Self { ids: ids.to_owned() })
    }

    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.ids[TRACE]
    }

    /// 16 hexadecimal digits.
    pub fn span_id(&self) -> &str {
        &self.ids[SPAN]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_parent_is_a_trace() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = Trace::parse(good).unwrap();
        assert_eq!((trace.trace_id(), trace.span_id()), ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"));
        assert_eq!(Trace::parse(&good.replacen("00", "cc", 1)).as_ref().map(Trace::span_id), Some("b7ad6b7169203331"));
        assert!(Trace::parse(&format!("{}-what-the-future-brings", good.replacen("00", "cc", 1))).is_some());
        for bad in [
            String::new(),
            good[..54].to_owned(),
            format!("{good}-more"),
            good.replacen("00", "ff", 1),
            good.replace('-', "_"),
            good.to_uppercase(),
            good.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            good.replace("b7ad6b7169203331", &"0".repeat(16)),
            good.replace("b7ad", "b7\u{e9}"),
            format!("{}more", good.replacen("00", "cc", 1)),
        ] {
            assert_eq!(Trace::parse(&bad), None, "{bad}");
        }
        let mut headers = Fields::default();
        headers.append(b"traceparent", good.as_bytes());
        assert!(Trace::of(&headers).is_some());
        headers.append(b"traceparent", good.as_bytes());
        assert_eq!(Trace::of(&headers), None, "of two, none is the one");
    }
}
