//! The other side: towards endpoints, and from the command line to the admin API.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
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
use super::{TlsError, material, provider};
use crate::config::ClientTls;

/// What stands for a file's name where the system's roots are meant.
const SYSTEM_ROOTS: &str = "system roots";

/// Makes TLS of connections. Files are read when they are first needed or asked for, so that who
/// speaks to no one over TLS has no roots either.
pub struct Connector {
    scope: String,
    tls: ClientTls,
    kept: OnceLock<Result<Kept<Arc<ClientConfig>>, TlsError>>,
}

impl Connector {
    /// `scope` names it in logs and metrics.
    pub fn new(scope: String, tls: &ClientTls) -> Arc<Self> {
        Arc::new(Self { scope, tls: tls.clone(), kept: OnceLock::new() })
    }

    /// Reads the files, if that has not been done.
    pub fn ready(&self) -> Result<(), TlsError> {
        self.kept().map(|_| ())
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

    fn kept(&self) -> Result<&Kept<Arc<ClientConfig>>, TlsError> {
        let kept = self.kept.get_or_init(|| {
            let pair = self.tls.client_certificate.iter().flat_map(|pair| [pair.cert.clone(), pair.key.clone()]);
            let paths: Vec<PathBuf> = self.tls.roots.iter().cloned().chain(pair).collect();
            let (tls, provider) = (self.tls.clone(), provider());
            Kept::open(&self.scope, paths, Box::new(move |files, _| config(files, &tls, &provider).into()))
        });
        kept.as_ref().map_err(Clone::clone)
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
        if let Some(Ok(kept)) = self.kept.get() {
            kept.look();
        }
    }

    fn reloads(&self) -> [u64; 2] {
        self.kept.get().and_then(|kept| kept.as_ref().ok()).map_or([0, 0], Kept::reloads)
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
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secure(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
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
