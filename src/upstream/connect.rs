//! The way to an endpoint, for traffic and for checks: TCP, and TLS where its URL says so.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, lookup_host};

use super::endpoint::Endpoint;
use crate::tls::{Stream, plain};

/// Connects; the error says why not, for people. Who calls has the clock.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<Stream, String> {
    let authority = &endpoint.authority;
    let connected = match endpoint.address {
        Some(address) => plain::connect(address).await,
        None => match lookup_host((authority.host.as_str(), authority.port)).await {
            Ok(addresses) => connect_to_one(addresses).await,
            Err(error) => Err(error),
        },
    };
    let stream = connected.map_err(|error| error.to_string())?;
    if !authority.secure {
        return Ok(Stream::Plain(stream));
    }
    // A handshake is large, and every request has room for what it may come to await.
    Box::pin(endpoint.connector.connect(stream, &authority.host)).await
}

/// To the first of a name's addresses that takes it.
async fn connect_to_one(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match plain::connect(address).await {
            Err(error) => refused = error,
            connected => return connected,
        }
    }
    Err(refused)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn of_several_addresses_the_one_that_answers_is_found_and_without_one_the_last_says_why() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let here = listener.local_addr().unwrap();
        assert_eq!(connect_to_one([gone, here].into_iter()).await.unwrap().peer_addr().unwrap(), here);
        let refused = connect_to_one([gone].into_iter()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect_to_one([].into_iter()).await.unwrap_err().to_string(), "the name has no address");
    }
}
