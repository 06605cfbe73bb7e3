//! A listener's side.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::handshake::{self, Handshakes, Peek, Places};
use super::kept::{Files, Kept, Made, Reload};
use super::material::Certified;
use super::names::ByName;
use super::{TlsError, material, provider};
use crate::config::{ClientAuth, KeyPair, ServerTls};

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
    certificates: Vec<Certificate>,
    clients: Clients,
    ticketer: Arc<dyn ProducesTickets>,
}

/// A certificate, with a digest of the files that it was read from.
#[derive(Clone)]
struct Certificate {
    certified: Certified,
    read_from: Vec<u8>,
}

/// Who looks at clients' certificates, and the bytes of the authority that they need.
#[derive(Clone)]
struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    authority: Vec<u8>,
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

    /// Shakes hands, which has one time from the first look at the connection to the end. Beyond the places
    /// for that, those that have said something wait for one; who speaks HTTP is told so. What fails is
    /// counted, and the log is not for it: any scanner of ports could fill it.
    pub async fn accept<S>(&self, stream: S, address: IpAddr, places: &Places) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Peek + Unpin,
    {
        let Some(_guest) = places.enter(address) else {
            self.handshakes.failed();
            return Err(io::Error::other("too many handshakes of this address are not complete"));
        };
        match tokio::time::timeout(self.handshake_timeout, self.shake(stream, places)).await {
            Ok(Ok(Shaken::Done(stream))) => {
                self.handshakes.done();
                Ok(*stream)
            }
            Ok(Ok(Shaken::Http(stream))) => {
                self.handshakes.failed();
                handshake::say_https(stream).await;
                Err(io::Error::new(io::ErrorKind::InvalidData, "plain HTTP"))
            }
            Ok(Err(error)) => {
                self.handshakes.failed();
                Err(error)
            }
            Err(_) => {
                self.handshakes.slow();
                Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake was not complete in time"))
            }
        }
    }

    async fn shake<S>(&self, stream: S, places: &Places) -> io::Result<Shaken<S>>
    where
        S: AsyncRead + AsyncWrite + Peek + Unpin,
    {
        // Before a place is taken: who says nothing takes up none.
        if handshake::speaks_http(&stream).await? {
            return Ok(Shaken::Http(stream));
        }
        let _place = places.take().await;
        let acceptor = TlsAcceptor::from(self.kept.current().config.clone());
        acceptor.accept(stream).await.map(|stream| Shaken::Done(Box::new(stream)))
    }

    /// Handshakes so far.
    pub fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    /// When the certificates in force end.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.kept.current().certificates.iter().map(Certificate::expiry).collect()
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

/// What a handshake comes to.
enum Shaken<S> {
    Done(Box<TlsStream<S>>),
    Http(S),
}

/// Each certificate, and the authority, by itself: what is not in order stays as it was before, and must
/// not keep the others from being renewed.
fn shown(
    files: &Files,
    before: Option<&Shown>,
    tls: &ServerTls,
    protocols: Protocols,
    provider: &Arc<CryptoProvider>,
) -> Made<Shown> {
    let mut wrong = Vec::new();
    let mut certificates = Vec::with_capacity(tls.certificates.len());
    for (at, pair) in tls.certificates.iter().enumerate() {
        let old = before.and_then(|before| before.certificates.get(at));
        certificates.extend(or_old(Certificate::read(files, pair, provider), old, &mut wrong));
    }
    let clients = or_old(Clients::read(files, tls, provider), before.map(|before| &before.clients), &mut wrong);
    let (Some(clients), true) = (clients, certificates.len() == tls.certificates.len()) else {
        return Made { new: None, wrong };
    };
    let is_old = |before: &Shown| {
        let read_from = |certificates: &[Certificate]| -> Vec<Vec<u8>> {
            certificates.iter().map(|certificate| certificate.read_from.clone()).collect()
        };
        before.clients.authority == clients.authority && read_from(&before.certificates) == read_from(&certificates)
    };
    if !wrong.is_empty() && before.is_some_and(is_old) {
        return Made { new: None, wrong };
    }
    let made = assemble(certificates, clients, before, tls, protocols, provider);
    let new = made.map_err(|error| wrong.push(error)).ok();
    Made { new, wrong }
}

fn or_old<T: Clone>(read: Result<T, TlsError>, old: Option<&T>, wrong: &mut Vec<TlsError>) -> Option<T> {
    match read {
        Ok(new) => Some(new),
        Err(error) => {
            wrong.push(error);
            old.cloned()
        }
    }
}

fn assemble(
    certificates: Vec<Certificate>,
    clients: Clients,
    before: Option<&Shown>,
    tls: &ServerTls,
    protocols: Protocols,
    provider: &Arc<CryptoProvider>,
) -> Result<Shown, TlsError> {
    let first = tls.certificates.first().map_or(Path::new(""), |pair| &pair.cert);
    let by_name = ByName::new(certificates.iter().map(|certificate| &certificate.certified));
    let by_name = by_name.ok_or_else(|| TlsError::new(first, "no certificate is named"))?;
    let wrong = |error: rustls::Error| TlsError::new(first, error.to_string());
    // Tickets outlive a new certificate; not a new authority, which may be there because of the old one: a
    // session that is resumed shows no certificate anew.
    let ticketer = match before {
        Some(before) if before.clients.authority == clients.authority => before.ticketer.clone(),
        _ => aws_lc_rs::Ticketer::new().map_err(wrong)?,
    };
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let mut config = builder
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(wrong)?
        .with_client_cert_verifier(clients.verifier.clone())
        .with_cert_resolver(Arc::new(by_name));
    config.alpn_protocols = match protocols {
        Protocols::Http2And1 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Protocols::Http1 => vec![b"http/1.1".to_vec()],
    };
    config.ticketer = ticketer.clone();
    Ok(Shown { config: Arc::new(config), certificates, clients, ticketer })
}

impl Certificate {
    fn read(files: &Files, pair: &KeyPair, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let certified = material::certified(files, pair, provider)?;
        let read_from = files.digest_of(|path| path == pair.cert || path == pair.key);
        Ok(Self { certified, read_from })
    }

    fn expiry(&self) -> Expiry {
        Expiry { name: self.certified.file.display().to_string(), not_after: self.certified.not_after }
    }
}

impl Clients {
    fn read(files: &Files, tls: &ServerTls, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let Some(path) = tls.client_ca.as_deref().filter(|_| tls.client_auth != ClientAuth::None) else {
            return Ok(Self { verifier: WebPkiClientVerifier::no_client_auth(), authority: Vec::new() });
        };
        let roots = Arc::new(material::roots(files, std::iter::once(path))?);
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        if tls.client_auth == ClientAuth::Optional {
            builder = builder.allow_unauthenticated();
        }
        let verifier = builder.build().map_err(|error| TlsError::new(path, error.to_string()))?;
        Ok(Self { verifier, authority: files.get(path)?.to_vec() })
    }
}
