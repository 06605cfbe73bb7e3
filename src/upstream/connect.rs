//! The way to an endpoint, for traffic and for checks: TCP, and TLS where its URL says so.

use tokio::net::TcpStream;

use super::endpoint::Endpoint;
use crate::tls::Stream;

/// Connects; the error says why not, for people. Who calls has the clock.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<Stream, String> {
    let authority = &endpoint.authority;
    let connected = match endpoint.address {
        Some(address) => TcpStream::connect(address).await,
        None => TcpStream::connect((authority.host.as_str(), authority.port)).await,
    };
    let stream = connected.map_err(|error| error.to_string())?;
    // A small request must not wait for an acknowledgement of the one before it.
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    if !authority.secure {
        return Ok(Stream::Plain(stream));
    }
    // A handshake is large, and every request has room for what it may come to await.
    Box::pin(endpoint.connector.connect(stream, &authority.host)).await
}
