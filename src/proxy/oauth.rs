//! OAuth metadata by its path: never MCP, whatever its headers say, and always from one version.

const WELL_KNOWN: &str = "/.well-known/";

/// What clients look for to find out how to get a token (2025-11-25, authorization; RFC 9728, RFC 8414, and OpenID
/// Connect Discovery, which a client falls back to). SDK clients name their protocol revision here as everywhere.
/// The name may also stand behind the path of what the metadata is about (OpenID Connect Discovery 1.0, 4).
pub(super) fn is_metadata(path: &str) -> bool {
    // A dot behind a slash is rare, and to look for that is cheaper than to look for the whole of it.
    memchr::memchr(b'.', path.as_bytes()).is_some()
        && path.split(WELL_KNOWN).skip(1).any(|what| what.starts_with("oauth-") || what.starts_with("openid-configuration"))
}

/// The path of what the metadata is about, which is set behind the well-known name (RFC 9728, 3.1; RFC 8414, 3.1):
/// metadata of `/tasks/mcp` is at `/.well-known/oauth-protected-resource/tasks/mcp`. Other paths are about themselves.
pub(super) fn subject(path: &str) -> &str {
    match path.strip_prefix(WELL_KNOWN).and_then(|what| what.find('/')) {
        Some(at) if is_metadata(path) => &path[WELL_KNOWN.len() + at..],
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_about_the_path_behind_its_name() {
        for (path, is, about) in [
            ("/.well-known/oauth-protected-resource/tasks/mcp", true, "/tasks/mcp"),
            ("/.well-known/oauth-authorization-server", true, "/.well-known/oauth-authorization-server"),
            ("/.well-known/openid-configuration/t", true, "/t"),
            ("/.well-known/security.txt/tasks", false, "/.well-known/security.txt/tasks"),
            ("/tasks/mcp", false, "/tasks/mcp"),
            ("/t/.well-known/openid-configuration", true, "/t/.well-known/openid-configuration"),
            ("/mcp/.well-known/oauth-protected-resource", true, "/mcp/.well-known/oauth-protected-resource"),
            ("/mcp/.well-known/security.txt", false, "/mcp/.well-known/security.txt"),
            ("/mcp/well-known/oauth-x", false, "/mcp/well-known/oauth-x"),
            ("/", false, "/"),
        ] {
            assert_eq!((is_metadata(path), subject(path)), (is, about), "{path}");
        }
    }
}
