//! The other side: towards endpoints, and from the command line to the admin API.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::kept::{Files, Kept, Reload};
use super::words::cause;
use super::{TlsError, material, plain, provider};
use crate::config::ClientTls;

/// What stands for a file's name where the system's roots are meant.
const SYSTEM_ROOTS: &str = "system roots";

/// Makes TLS of connections. Files are read when they are first needed or asked for, so that who
/// speaks to no one over TLS has no roots either. Where they are not in order then, they are looked at
/// again until they are.
pub struct Connector {
    scope: String,
    tls: ClientTls,
    kept: OnceLock<Kept<Arc<ClientConfig>>>,
    /// While there is nothing kept: what the last try came to. Never held while files are read, since
    /// traffic asks for it.
    failure: Mutex<Option<Failure>>,
    /// Looks at files after a failure: those that found them in order, and those that did not.
    late: [AtomicU64; 2],
}

/// A try that failed, and the files as they were.
struct Failure {
    error: TlsError,
    digest: Vec<u8>,
}

impl Connector {
    /// `scope` names it in logs and metrics.
    pub fn new(scope: String, tls: &ClientTls) -> Arc<Self> {
        Arc::new(Self { scope, tls: tls.clone(), kept: OnceLock::new(), failure: Mutex::default(), late: Default::default() })
    }

    /// Reads the files, unless that has been done and they were in order. Blocks.
    pub fn ready(&self) -> Result<(), TlsError> {
        match self.kept.get() {
            Some(_) => Ok(()),
            None => self.read().map(|_| ()),
        }
    }

    /// Shakes hands with the server at `host`; the pinned name counts more, where there is one. The
    /// error says why not, for people.
    pub async fn connect(&self, stream: TcpStream, host: &str) -> Result<Stream, String> {
        let config = self.kept().map_err(|error| error.to_string())?.current();
        let name = if self.tls.server_name.is_empty() { host } else { &self.tls.server_name };
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("no certificate can be for the name `{name}`: pin one with server_name"))?;
        let connected = TlsConnector::from((*config).clone()).connect(name, stream).await;
        connected.map(|stream| Stream::Secure(Box::new(stream))).map_err(|error| format!("TLS: {}", cause(&error)))
    }

    /// What failed is not tried again here: traffic waits for it.
    fn kept(&self) -> Result<&Kept<Arc<ClientConfig>>, TlsError> {
        if let Some(kept) = self.kept.get() {
            return Ok(kept);
        }
        let failed = self.failure().as_ref().map(|failure| failure.error.clone());
        failed.map_or_else(|| self.read(), Err)
    }

    fn read(&self) -> Result<&Kept<Arc<ClientConfig>>, TlsError> {
        // Before they are read for good: of a change in between the next look will know.
        let digest = Files::read(self.paths().iter().map(PathBuf::as_path)).digest();
        let (tls, provider) = (self.tls.clone(), provider());
        let opened = Kept::open(&self.scope, self.paths(), Box::new(move |files, _| config(files, &tls, &provider).into()));
        match opened {
            Ok(kept) => Ok(self.kept.get_or_init(|| kept)),
            Err(error) => {
                *self.failure() = Some(Failure { error: error.clone(), digest });
                Err(error)
            }
        }
    }

    /// After a failure: where files are named, once they have changed; the system's roots at every look.
    fn try_again(&self) {
        let Some(before) = self.failure().as_ref().map(|failure| failure.digest.clone()) else { return };
        let paths = self.paths();
        if !paths.is_empty() && Files::read(paths.iter().map(PathBuf::as_path)).digest() == before {
            return;
        }
        match self.read() {
            Ok(_) => {
                self.late[0].fetch_add(1, Ordering::Relaxed);
                tracing::info!(scope = self.scope, "certificates are in order now");
            }
            // Said and counted when the files change, and not at every look.
            Err(_) if paths.is_empty() => {}
            Err(error) => {
                self.late[1].fetch_add(1, Ordering::Relaxed);
                tracing::error!(scope = self.scope, %error, "certificates have changed and are still not in order");
            }
        }
    }

    fn paths(&self) -> Vec<PathBuf> {
        let pair = self.tls.client_certificate.iter().flat_map(|pair| [pair.cert.clone(), pair.key.clone()]);
        self.tls.roots.iter().cloned().chain(pair).collect()
    }

    fn failure(&self) -> MutexGuard<'_, Option<Failure>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("scope", &self.scope).field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// The system's roots are read once; the files that are named, whenever they change.
impl Reload for Connector {
    fn scope(&self) -> &str {
        &self.scope
    }

    fn look(&self) {
        match self.kept.get() {
            Some(kept) => kept.look(),
            None => self.try_again(),
        }
    }

    fn reloads(&self) -> [u64; 2] {
        let [taken, failed] = self.kept.get().map_or([0, 0], Kept::reloads);
        [taken + self.late[0].load(Ordering::Relaxed), failed + self.late[1].load(Ordering::Relaxed)]
    }
}

fn config(files: &Files, tls: &ClientTls, provider: &Arc<CryptoProvider>) -> Result<Arc<ClientConfig>, TlsError> {
    let wrong = |error: rustls::Error| TlsError::new(Path::new(&tls.server_name), error.to_string());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(&[&TLS13, &TLS12]).map_err(wrong)?;
    let builder = if tls.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider.clone())))
    } else if tls.roots.is_empty() {
        builder.with_root_certificates(system_roots()?)
    } else {
        builder.with_root_certificates(material::roots(files, tls.roots.iter().map(PathBuf::as_path))?)
    };
    let mut config = match &tls.client_certificate {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let certified = material::certified(files, pair, provider)?;
            builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified.key)))
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(" ({error})"));
        let what = format!("the system has none{why}: install its ca-certificates, or name files with roots");
        return Err(TlsError::new(Path::new(SYSTEM_ROOTS), what));
    }
    Ok(store)
}

/// `insecure = true`: whoever answers is taken for who was meant.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A connection to a server, with TLS or without.
pub enum Stream {
    /// Without.
    Plain(TcpStream),
    /// With; boxed, since the state of a session is a kilobyte that plain connections need not carry.
    Secure(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Whether it is TLS.
    pub fn is_secure(&self) -> bool {
        matches!(self, Self::Secure(_))
    }

    /// Writes what is first over it, and knows that there is room where the socket was just connected.
    pub fn poll_write_first(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => plain::poll_write_first(stream, context, bytes),
            Self::Secure(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    /// Whether it is plain to see that the server has said nothing since a read found no more. Of TLS it is not: what has
    /// been read may wait above the socket.
    pub fn is_at_rest(&self) -> bool {
        matches!(self, Self::Plain(stream) if plain::is_at_rest(stream))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Secure(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => plain::poll_write(stream, context, bytes),
            Self::Secure(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => plain::poll_write_vectored(stream, context, slices),
            Self::Secure(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secure(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Secure(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().pem()
    }

    fn missing(name: &str) -> (PathBuf, Arc<Connector>) {
        let path = std::env::temp_dir().join(format!("dualgate-roots-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let tls = ClientTls { roots: vec![path.clone()], ..ClientTls::default() };
        (path, Connector::new("service/x".to_owned(), &tls))
    }

    #[test]
    fn roots_that_become_readable_later_are_taken_and_stay_taken() {
        let (path, connector) = missing("later");
        assert!(connector.ready().is_err() && connector.kept().is_err());
        let look = || {
            connector.look();
            (connector.kept().is_ok(), connector.reloads())
        };
        assert_eq!(look(), (false, [0, 0]), "nothing has changed");
        std::fs::write(&path, "no certificate").unwrap();
        assert_eq!(look(), (false, [0, 1]));
        assert_eq!(look(), (false, [0, 1]), "said once");
        std::fs::write(&path, authority()).unwrap();
        assert!(connector.kept().is_err(), "traffic reads no files after a failure");
        assert_eq!(look(), (true, [1, 1]));
        let taken = connector.kept().unwrap().current();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(look(), (true, [1, 2]), "what was good is kept");
        assert!(Arc::ptr_eq(&taken, &connector.kept().unwrap().current()));
        std::fs::write(&path, authority()).unwrap();
        assert_eq!(look(), (true, [2, 2]));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn who_asks_whether_files_are_in_order_has_them_read_again() {
        let (path, connector) = missing("asked");
        assert!(connector.ready().is_err());
        std::fs::write(&path, authority()).unwrap();
        assert!(connector.ready().is_ok() && connector.kept().is_ok());
        std::fs::remove_file(&path).unwrap();
    }
}
