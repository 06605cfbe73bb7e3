//! Header and method names, with the revision that brought them.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;

/// Names the session on every legacy request after `initialize` (2025-03-26, Streamable HTTP,
/// session management). Visible ASCII, 0x21 to 0x7E.
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// The protocol revision of a request (2025-06-18; required with every modern request).
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The JSON-RPC method, mirrored from the body (2026-07-28).
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");

/// What a request is about: a tool, a prompt, a resource, a task (2026-07-28).
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Calls a tool.
pub const CALL_TOOL: &str = "tools/call";

/// Lists tools.
pub const LIST_TOOLS: &str = "tools/list";

/// Opens a stream of changes (2026-07-28).
pub const LISTEN: &str = "subscriptions/listen";

/// The first revision without sessions: requests that name it, or a later one, are modern.
pub const FIRST_MODERN: &str = "2026-07-28";

/// The newest revision with a handshake; offered by the health check.
pub const LAST_LEGACY: &str = "2025-11-25";

/// Opens a legacy session.
pub const INITIALIZE: &str = "initialize";

/// Says that its client is ready, after the handshake.
pub const INITIALIZED: &str = "notifications/initialized";

/// Sets from which level on a server logs to its client.
pub const SET_LEVEL: &str = "logging/setLevel";

/// Begins to tell of changes of a resource.
pub const SUBSCRIBE: &str = "resources/subscribe";

/// Ends that.
pub const UNSUBSCRIBE: &str = "resources/unsubscribe";

/// Says what a modern server serves.
pub const DISCOVER: &str = "server/discover";

/// Whether a revision has no sessions. Revisions are ISO dates, so they compare as text.
pub fn is_modern(version: &[u8]) -> bool {
    version.len() == FIRST_MODERN.len() && version >= FIRST_MODERN.as_bytes()
}

/// The text of a mirrored header's value: as it is, or from `=?base64?…?=` where it is not plain ASCII
/// (2026-07-28, transports). To look at only: what is sent on stays as it was written.
pub fn decoded(value: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(value).ok()?;
    let Some(encoded) = text.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(Cow::Borrowed(text));
    };
    let bytes = STANDARD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Whether what a request of this method names was found in a list.
pub fn is_by_list(method: &str) -> bool {
    matches!(method, CALL_TOOL | "prompts/get" | "resources/read")
}

/// Whether a method lists what a server offers.
pub fn is_list(method: &str) -> bool {
    matches!(method, "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list")
}

/// Whether answers to this method come in pages, so that it carries cursors (2026-07-28, pagination).
pub fn is_paged(method: &str) -> bool {
    method.ends_with("/list")
}

/// Whether a request of this method is about a task (tasks extension).
pub fn is_of_task(method: &str) -> bool {
    method.starts_with("tasks/")
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
    fn a_mirrored_value_is_read_in_both_its_forms() {
        assert_eq!(decoded(b"search").as_deref(), Some("search"));
        assert_eq!(decoded("=?base64?w7xiZXI=?=".as_bytes()).as_deref(), Some("über"));
        assert_eq!(decoded(b"=?base64??=").as_deref(), Some(""));
        assert_eq!(decoded(b"=?base64?%?="), None);
        assert_eq!(decoded(b"\xff"), None);
    }

    #[test]
    fn revisions_before_2026_07_28_are_legacy() {
        assert!(is_modern(b"2026-07-28") && is_modern(b"2027-01-01"));
        assert!(!is_modern(b"2025-11-25") && !is_modern(b"nonsense") && !is_modern(b"zzzz"));
    }
}
