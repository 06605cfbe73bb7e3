//! Who is at the other end.

use std::net::{IpAddr, SocketAddr};

use super::listen::Door;
use crate::config::Limits;
use crate::http1::{self, Fields};

/// The header in which proxies list the clients they speak for.
pub(super) const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// A client connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The address of the connection.
    pub(super) address: SocketAddr,
    /// Whether it is one of `trusted_proxies`.
    pub(super) trusted: bool,
    /// Whether it came over TLS.
    pub(super) secure: bool,
    /// Whether it came to a listener that only this machine can reach.
    pub(super) is_local: bool,
    /// Its address, as it is written for endpoints.
    pub(super) shown: Box<str>,
}

impl Peer {
    pub(super) fn new(address: SocketAddr, door: &Door, limits: &Limits) -> Self {
        let shown = address.ip().to_canonical().to_string().into();
        Self { address, trusted: trusts(limits, address.ip()), secure: door.tls.is_some(), is_local: door.is_local, shown }
    }

    /// The scheme that the client used.
    pub(super) fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// The client's address: behind trusted proxies, the last one in `X-Forwarded-For` that is not
    /// itself trusted. What stands further left was written by the client and counts for nothing.
    pub(super) fn client(&self, headers: &Fields, limits: &Limits) -> IpAddr {
        let connected = self.address.ip().to_canonical();
        if !self.trusted {
            return connected;
        }
        let listed = headers.all(X_FORWARDED_FOR).filter_map(http1::text);
        let hops: Vec<&str> = listed.flat_map(|list| list.split(',')).collect();
        // From the right, as far as it can be read: what the client put in front cannot hide it.
        let mut client = connected;
        for hop in hops.iter().rev().map_while(|hop| hop.trim().parse::<IpAddr>().ok()) {
            client = hop.to_canonical();
            if !trusts(limits, client) {
                break;
            }
        }
        client
    }
}

fn trusts(limits: &Limits, address: IpAddr) -> bool {
    limits.trusted_proxies.iter().any(|network| network.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;
    use std::time::Duration;

    fn client(peer: &str, listed: &str) -> String {
        let limits = Limits {
            header_timeout: Duration::ZERO,
            body_timeout: Duration::ZERO,
            connections: 1,
            requests: 1,
            trusted_proxies: vec![Network::parse("10.0.0.0/8").unwrap()],
        };
        let mut headers = Fields::default();
        headers.append(X_FORWARDED_FOR.as_bytes(), listed.as_bytes());
        let door = Door { tls: None, is_local: true };
        Peer::new(SocketAddr::new(peer.parse().unwrap(), 1), &door, &limits).client(&headers, &limits).to_string()
    }

    #[test]
    fn only_what_trusted_proxies_wrote_counts() {
        assert_eq!(client("192.0.2.1", "1.1.1.1"), "192.0.2.1", "a stranger may write what it likes");
        assert_eq!(client("10.0.0.1", "1.1.1.1"), "1.1.1.1");
        assert_eq!(client("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.9"), "1.1.1.1", "the client cannot prepend itself away");
        assert_eq!(client("10.0.0.1", "10.0.0.7, 10.0.0.9"), "10.0.0.7");
        assert_eq!(client("10.0.0.1", "nonsense"), "10.0.0.1");
        assert_eq!(client("10.0.0.1", "nonsense, 1.1.1.1"), "1.1.1.1", "nor can it hide behind nonsense");
    }
}
