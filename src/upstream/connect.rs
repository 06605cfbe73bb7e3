//! The way to an endpoint, for traffic and for checks: TCP, and TLS where its URL says so.

use std::io;

use tokio::net::{TcpStream, lookup_host};

use super::endpoint::Endpoint;
use crate::tls::{Stream, plain};

/// Connects; the error says why not, for people. Who calls has the clock.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<Stream, String> {
    let authority = &endpoint.authority;
    let connected = match endpoint.address {
        Some(address) => plain::connect(address).await,
        None => connect_by_name(&authority.host, authority.port).await,
    };
    let stream = connected.map_err(|error| error.to_string())?;
    if !authority.secure {
        return Ok(Stream::Plain(stream));
    }
    // A handshake is large, and every request has room for what it may come to await.
    Box::pin(endpoint.connector.connect(stream, &authority.host)).await
}

/// To the first address of a name that takes it.
async fn connect_by_name(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, port)).await? {
        match plain::connect(address).await {
            Err(error) => refused = error,
            connected => return connected,
        }
    }
    Err(refused)
}
