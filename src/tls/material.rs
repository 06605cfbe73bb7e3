//! Certificates and keys as they are read from PEM files (RFC 7468): what is wrong is said with the
//! file, and before anybody connects.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use webpki::{EndEntityCert, KeyUsage};

use super::TlsError;
use super::kept::Files;
use crate::config::KeyPair;
use crate::telemetry::clock::utc;

/// Beyond the last second that a certificate can name (9999-12-31, RFC 5280, 4.1.2.5).
const AFTER_ALL: Duration = Duration::from_secs(253_402_300_800);

/// A certificate with its key, ready to be shown.
#[derive(Clone)]
pub(super) struct Certified {
    /// The certificate's file.
    pub(super) file: PathBuf,
    pub(super) key: Arc<CertifiedKey>,
    /// DNS names it is for, lower case; `*.` in front of those with a wildcard.
    pub(super) names: Vec<String>,
    /// Unix time of its end.
    pub(super) not_after: u64,
}

/// Reads a certificate with its key: they fit each other, and today is within its time.
pub(super) fn certified(files: &Files, pair: &KeyPair, provider: &CryptoProvider) -> Result<Certified, TlsError> {
    let chain = certificates(files, &pair.cert)?;
    let (names, not_after) = describe(&pair.cert, &chain[0])?;
    let key = private_key(files, &pair.key)?;
    let signing = provider.key_provider.load_private_key(key).map_err(|_| {
        TlsError::new(&pair.key, "the key is of a kind that is not known here: RSA, ECDSA (P-256, P-384, P-521) and Ed25519 are")
    })?;
    let key = CertifiedKey::new(chain, signing);
    match key.keys_match() {
        // A kind of key that cannot tell is not known to this provider; then nobody can.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(_) => {
            let what = format!(
                "the certificate does not fit the key in {}: its public key is another one (the server's own certificate comes first in its file)",
                pair.key.display()
            );
            return Err(TlsError::new(&pair.cert, what));
        }
    }
    Ok(Certified { file: pair.cert.clone(), key: Arc::new(key), names, not_after })
}

/// The certificates of a file, one or more.
pub(super) fn certificates(files: &Files, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = files.get(path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match read {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(TlsError::new(path, nothing_in(bytes, "certificate", "-----BEGIN CERTIFICATE-----"))),
        Err(error) => Err(TlsError::new(path, format!("is not PEM as it should be: {error}"))),
    }
}

fn private_key(files: &Files, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = files.get(path)?;
    let text = String::from_utf8_lossy(bytes);
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        let what = "the key is encrypted, and nobody is there to type its passphrase: decrypt it (openssl pkey -in … -out …)";
        return Err(TlsError::new(path, what));
    }
    match PrivateKeyDer::from_pem_slice(bytes) {
        Ok(key) => Ok(key),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            Err(TlsError::new(path, nothing_in(bytes, "private key", "-----BEGIN PRIVATE KEY-----")))
        }
        Err(error) => Err(TlsError::new(path, format!("is not PEM as it should be: {error}"))),
    }
}

fn nothing_in(bytes: &[u8], wanted: &str, begin: &str) -> String {
    let text = String::from_utf8_lossy(bytes);
    let found = if bytes.trim_ascii().is_empty() {
        "it is empty"
    } else if text.contains("PRIVATE KEY-----") {
        "it holds a private key; are cert and key mixed up?"
    } else if text.contains("-----BEGIN CERTIFICATE-----") {
        "it holds a certificate; are cert and key mixed up?"
    } else {
        "is it DER, or something else?"
    };
    format!("holds no {wanted} in PEM ({begin}): {found}")
}

/// The names and the end of a certificate whose time is now.
fn describe(path: &Path, der: &CertificateDer<'_>) -> Result<(Vec<String>, u64), TlsError> {
    let wrong = |error: webpki::Error| TlsError::new(path, format!("the certificate cannot be read: {error}"));
    let end = EndEntityCert::try_from(der).map_err(wrong)?;
    // The library tells a certificate's time only as a reason to refuse it.
    let at = |time: UnixTime| end.verify_for_usage(&[], &[], &[], time, KeyUsage::server_auth(), None, None).err();
    let now = UnixTime::now();
    let not_after = match at(UnixTime::since_unix_epoch(AFTER_ALL)) {
        Some(webpki::Error::CertExpired { not_after, .. }) => not_after.as_secs(),
        Some(error) => return Err(wrong(error)),
        None => return Err(TlsError::new(path, "the certificate has no end")),
    };
    if not_after < now.as_secs() {
        return Err(TlsError::new(
            path,
            format!("the certificate has expired, at {}: a new one is needed", utc(Duration::from_secs(not_after))),
        ));
    }
    if let Some(webpki::Error::CertNotValidYet { not_before, .. }) = at(now) {
        let what =
            format!("the certificate is valid from {} only: is the clock right?", utc(Duration::from_secs(not_before.as_secs())));
        return Err(TlsError::new(path, what));
    }
    Ok((end.valid_dns_names().map(str::to_ascii_lowercase).collect(), not_after))
}

/// The roots in files.
pub(super) fn roots<'a>(files: &Files, paths: impl Iterator<Item = &'a Path>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for path in paths {
        for der in certificates(files, path)? {
            store.add(der).map_err(|error| TlsError::new(path, format!("a certificate cannot be a root: {error}")))?;
        }
    }
    Ok(store)
}
