//! What all requests of a session have in common, so that the proxy can speak in its name: where they go, who asks, and with
//! which credentials. In memory only.

/// The lines of a request that are the same in the next one.
#[derive(Debug)]
pub(in crate::proxy) struct Letterhead {
    /// Path and query.
    pub(super) target: Box<str>,
    /// The header lines, each with its end; the host among them where endpoints are to see the client's.
    pub(super) lines: Box<[u8]>,
    /// Whether the host is among the lines.
    pub(super) names_host: bool,
}

impl Letterhead {
    pub(in crate::proxy) fn new(target: String, lines: Vec<u8>, names_host: bool) -> Self {
        Self { target: target.into(), lines: lines.into(), names_host }
    }

    /// The same on a request for something else.
    pub(super) fn at(&self, target: &str) -> Self {
        Self { target: target.into(), lines: self.lines.clone(), names_host: self.names_host }
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.target.len() + self.lines.len()
    }
}

/// Of one request alone, and not of the next: what it carries, what it accepts, where it goes on, and whose trace it is in.
pub(in crate::proxy) fn is_of_one_request(name: &[u8]) -> bool {
    matches!(
        name,
        b"accept"
            | b"content-type"
            | b"content-encoding"
            | b"content-language"
            | b"last-event-id"
            | b"mcp-protocol-version"
            | b"mcp-method"
            | b"mcp-name"
            | b"traceparent"
            | b"tracestate"
            | b"idempotency-key"
            | b"if-match"
            | b"if-none-match"
            | b"range"
    ) || name.starts_with(b"mcp-param-")
}
