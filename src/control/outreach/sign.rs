//! The signature of what is posted: `Dualgate-Signature: t=UNIX,v1=HEX`, where HEX is HMAC-SHA256 over `UNIX.body`.
//!
//! The time is signed along, so that a post that somebody has recorded can be refused for its age.

use std::path::Path;

use aws_lc_rs::hmac;

/// Its name.
pub(super) const HEADER: &str = "dualgate-signature";

/// The value, for a body that is sent at a time (seconds since 1970-01-01 UTC).
pub(super) fn signature(secret: &[u8], unix: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(format!("{unix}.").as_bytes());
    context.update(body);
    let hex: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={unix},v1={hex}")
}

/// The text of a secret's file, without what editors put at its end. Read for every use: one that is rotated counts
/// from the next on.
pub(super) async fn read(path: &Path) -> Result<String, String> {
    let text = tokio::fs::read_to_string(path).await.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    match text.trim() {
        "" => Err(format!("{} is empty", path.display())),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret` says.
    #[test]
    fn the_signature_is_what_others_compute() {
        let expected = "t=1700000000,v1=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686";
        assert_eq!(signature(b"secret", 1_700_000_000, br#"{"a":1}"#), expected);
    }
}
