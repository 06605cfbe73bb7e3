//! TLS on both sides: what listeners show, what endpoints must show, and the files behind both,
//! which are read again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use thiserror::Error;

mod client;
mod handshake;
mod kept;
mod material;
mod names;
pub mod plain;
mod server;
mod shown;
mod words;

pub use client::{Connector, Stream};
pub use handshake::{Handshakes, Peek, Places};
pub use kept::{Reload, watch};
pub use server::{Expiry, Protocols, Server};
pub use shown::{Shown, files};
pub use words::SPEAKS_NO_TLS;

/// What is wrong with a file, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {what}", file.display())]
pub struct TlsError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

impl TlsError {
    fn new(file: &Path, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), what: what.into() }
    }
}

/// The one crypto provider, named wherever a configuration is made: none is installed for the process.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
