//! Header and method names, with the revision that brought them.

use http::HeaderName;

/// Names the session on every legacy request after `initialize` (2025-03-26, Streamable HTTP,
/// session management). Visible ASCII, 0x21 to 0x7E.
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// The protocol revision of a request (2025-06-18; required with every modern request).
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The JSON-RPC method, mirrored from the body (2026-07-28).
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");

/// The first revision without sessions: requests that name it, or a later one, are modern.
pub const FIRST_MODERN: &str = "2026-07-28";

/// The newest revision with a handshake; offered by the health check.
pub const LAST_LEGACY: &str = "2025-11-25";

/// Opens a legacy session.
pub const INITIALIZE: &str = "initialize";

/// Says what a modern server serves.
pub const DISCOVER: &str = "server/discover";

/// Whether a revision has no sessions. Revisions are ISO dates, so they compare as text.
pub fn is_modern(version: &[u8]) -> bool {
    version.len() == FIRST_MODERN.len() && version >= FIRST_MODERN.as_bytes()
}

/// Whether a request of this method may be sent a second time when no byte of an answer came: it
/// changes nothing, or what it made is unknown to everyone.
pub fn is_repeatable(method: &str) -> bool {
    matches!(method, INITIALIZE | DISCOVER | "ping")
        || matches!(
            method,
            "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" | "tasks/list" | "roots/list"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_call_is_never_repeatable() {
        for method in ["tools/call", "prompts/get", "resources/read", "tasks/cancel", "x/list", "notifications/cancelled"] {
            assert!(!is_repeatable(method), "{method}");
        }
        assert!(is_repeatable("tools/list") && is_repeatable("ping") && is_repeatable(INITIALIZE));
    }

    #[test]
    fn revisions_before_2026_07_28_are_legacy() {
        assert!(is_modern(b"2026-07-28") && is_modern(b"2027-01-01"));
        assert!(!is_modern(b"2025-11-25") && !is_modern(b"nonsense") && !is_modern(b"zzzz"));
    }
}
