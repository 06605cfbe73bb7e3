//! The connection to the admin API, with TLS where its URL says so.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tower::{BoxError, Service};

use super::args::Common;
use super::failure::{Exit, Failure};
use crate::config::{ClientTls, KeyPair};
use crate::tls::{Connector, SPEAKS_NO_TLS, Stream};

/// No TLS with what answers at the admin URL.
#[derive(Debug, Error)]
#[error("{0}")]
pub(super) struct Untrusted(String);

impl Untrusted {
    /// Whether that is because it does not speak TLS at all.
    pub(super) fn speaks_no_tls(&self) -> bool {
        self.0.ends_with(SPEAKS_NO_TLS)
    }
}

/// Opens connections to the admin API.
#[derive(Clone)]
pub(super) struct Opener {
    tcp: HttpConnector,
    tls: Arc<Connector>,
}

impl Opener {
    /// Reads the files that are named, where the URL makes use of them.
    pub(super) fn new(mut tcp: HttpConnector, common: &Common) -> Result<Self, Failure> {
        tcp.enforce_http(false);
        let client_certificate = match (&common.admin_cert, &common.admin_key) {
            (Some(cert), Some(key)) => Some(KeyPair { cert: cert.clone(), key: key.clone() }),
            (None, None) => None,
            _ => {
                let error = "a client certificate has a key: name both, --admin-cert and --admin-key";
                return Err(Failure::new(Exit::Usage, error));
            }
        };
        let settings = ClientTls { roots: common.admin_ca.iter().cloned().collect(), client_certificate, ..ClientTls::default() };
        let tls = Connector::new("admin API".to_owned(), &settings);
        if common.admin_url.starts_with("https:") {
            let hint = "--admin-ca, --admin-cert and --admin-key name PEM files (DUALGATE_ADMIN_CA, …)";
            tls.ready().map_err(|error| Failure::new(Exit::Usage, error.to_string()).with_hint(hint))?;
        }
        Ok(Self { tcp, tls })
    }
}

impl Service<Uri> for Opener {
    type Response = Opened;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Opened, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (tcp, tls) = (self.tcp.call(uri.clone()), self.tls.clone());
        Box::pin(async move {
            let stream = tcp.await?.into_inner();
            if uri.scheme_str() != Some("https") {
                return Ok(Opened(TokioIo::new(Stream::Plain(stream))));
            }
            let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            let stream = tls.connect(stream, host).await.map_err(Untrusted)?;
            Ok(Opened(TokioIo::new(stream)))
        })
    }
}

/// An open connection.
pub(super) struct Opened(TokioIo<Stream>);

impl Connection for Opened {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Opened {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Opened {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
