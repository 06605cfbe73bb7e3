//! The JSON-RPC errors that the proxy itself writes.

use serde_json::json;

/// The code of all errors that the proxy makes (JSON-RPC 2.0, 5.1: internal error). The codes
/// -32020 to -32099 mean something to MCP clients and are never used.
pub const CODE: i32 = -32603;

/// An error answer to one request, or an array of them for a batch. `ids` are JSON texts as the
/// client wrote them, so that the client finds its request again.
pub fn error_body(ids: &[impl AsRef<str>], is_batch: bool, message: &str) -> String {
    let answers: Vec<String> = ids.iter().map(|id| error_message(id.as_ref(), message)).collect();
    if is_batch { format!("[{}]", answers.join(",")) } else { answers.concat() }
}

/// The same as events of a stream that has begun.
pub fn error_events(ids: &[impl AsRef<str>], message: &str) -> String {
    ids.iter().map(|id| format!("event: message\ndata: {}\n\n", error_message(id.as_ref(), message))).collect()
}

fn error_message(id: &str, message: &str) -> String {
    let error = json!({ "code": CODE, "message": message });
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_comes_back_as_it_was_written() {
        assert_eq!(
            error_body(&["9007199254740993"], false, "gone"),
            r#"{"jsonrpc":"2.0","id":9007199254740993,"error":{"code":-32603,"message":"gone"}}"#,
        );
        assert_eq!(error_body(&["1", "\"a\""], true, "x").matches("\"id\":").count(), 2);
        assert!(
            error_events(&["1"], "a\nb").starts_with("event: message\ndata: {") && !error_events(&["1"], "a\nb").contains("a\nb")
        );
    }
}
