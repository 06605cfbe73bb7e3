//! A listener's side.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::kept::{Files, Kept, Reload};
use super::names::ByName;
use super::{TlsError, material, provider};
use crate::config::{ClientAuth, ServerTls};

/// What a listener offers by ALPN (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/2, and HTTP/1.1 for who offers nothing else or nothing at all.
    Http2And1,
    /// HTTP/1.1 only.
    Http1,
}

/// A listener's certificates, and its handshakes.
pub struct Server {
    kept: Kept<Shown>,
    handshake_timeout: Duration,
    handshakes: Handshakes,
}

/// Handshakes by how they ended.
#[derive(Debug, Default)]
pub struct Handshakes {
    done: AtomicU64,
    failed: AtomicU64,
    slow: AtomicU64,
}

impl Handshakes {
    /// The counts with the values of the label `result`.
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [("done", read(&self.done)), ("failed", read(&self.failed)), ("timeout", read(&self.slow))]
    }
}

/// When a certificate ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Its file.
    pub name: String,
    /// Unix time, in seconds.
    pub not_after: u64,
}

/// What is made of the files.
struct Shown {
    config: Arc<ServerConfig>,
    expiries: Vec<Expiry>,
    ticketer: Arc<dyn ProducesTickets>,
    client_ca: Vec<u8>,
}

impl Server {
    /// Reads the files; `scope` names the listener in logs and metrics.
    pub fn open(scope: &str, tls: &ServerTls, protocols: Protocols, handshake_timeout: Duration) -> Result<Arc<Self>, TlsError> {
        let pairs = tls.certificates.iter().flat_map(|pair| [pair.cert.clone(), pair.key.clone()]);
        let paths: Vec<PathBuf> = pairs.chain(tls.client_ca.clone()).collect();
        let (tls, provider) = (tls.clone(), provider());
        let build = move |files: &Files, before: Option<&Shown>| shown(files, before, &tls, protocols, &provider);
        let kept = Kept::open(scope, paths, Box::new(build))?;
        Ok(Arc::new(Self { kept, handshake_timeout, handshakes: Handshakes::default() }))
    }

    /// Shakes hands within the time for that. What fails is counted, and the log is not for it: any
    /// scanner of ports could fill it.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let acceptor = TlsAcceptor::from(self.kept.current().config.clone());
        let done = tokio::time::timeout(self.handshake_timeout, acceptor.accept(stream)).await;
        let (counter, result) = match done {
            Ok(Ok(stream)) => (&self.handshakes.done, Ok(stream)),
            Ok(Err(error)) => (&self.handshakes.failed, Err(error)),
            Err(_) => {
                (&self.handshakes.slow, Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake was not complete in time")))
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        result
    }

    /// Handshakes so far.
    pub fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// When the certificates in force end.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.kept.current().expiries.clone()
    }
}

impl Reload for Server {
    fn scope(&self) -> &str {
        self.kept.scope()
    }

    fn look(&self) {
        self.kept.look();
    }

    fn reloads(&self) -> [u64; 2] {
        self.kept.reloads()
    }
}

fn shown(
    files: &Files,
    before: Option<&Shown>,
    tls: &ServerTls,
    protocols: Protocols,
    provider: &Arc<CryptoProvider>,
) -> Result<Shown, TlsError> {
    let mut certificates = Vec::with_capacity(tls.certificates.len());
    for pair in &tls.certificates {
        certificates.push(material::certified(files, pair, provider)?);
    }
    let first = tls.certificates.first().map_or(Path::new(""), |pair| &pair.cert);
    let by_name = ByName::new(&certificates).ok_or_else(|| TlsError::new(first, "no certificate is named"))?;
    let (verifier, client_ca) = client_verifier(files, tls, provider)?;
    let wrong = |error: rustls::Error| TlsError::new(first, error.to_string());
    // Tickets outlive a new certificate; not a new authority, which may be there because of the old one.
    let ticketer = match before {
        Some(before) if before.client_ca == client_ca => before.ticketer.clone(),
        _ => aws_lc_rs::Ticketer::new().map_err(wrong)?,
    };
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let mut config = builder
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(wrong)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(by_name));
    config.alpn_protocols = match protocols {
        Protocols::Http2And1 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Protocols::Http1 => vec![b"http/1.1".to_vec()],
    };
    config.ticketer = ticketer.clone();
    let expiries = tls
        .certificates
        .iter()
        .zip(&certificates)
        .map(|(pair, certificate)| Expiry { name: pair.cert.display().to_string(), not_after: certificate.not_after });
    Ok(Shown { config: Arc::new(config), expiries: expiries.collect(), ticketer, client_ca })
}

/// Who looks at clients' certificates, and the bytes of the authority that they need.
fn client_verifier(
    files: &Files,
    tls: &ServerTls,
    provider: &Arc<CryptoProvider>,
) -> Result<(Arc<dyn ClientCertVerifier>, Vec<u8>), TlsError> {
    let Some(path) = tls.client_ca.as_deref().filter(|_| tls.client_auth != ClientAuth::None) else {
        return Ok((WebPkiClientVerifier::no_client_auth(), Vec::new()));
    };
    let roots = Arc::new(material::roots(files, std::iter::once(path))?);
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    if tls.client_auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build().map_err(|error| TlsError::new(path, error.to_string()))?;
    Ok((verifier, files.get(path)?.to_vec()))
}
