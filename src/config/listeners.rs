//! What the proxy listens on, against itself and against where it sends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::endpoint::Authority;

/// The listeners, by the word for each.
#[derive(Clone, Copy)]
pub(super) struct Listeners {
    pub(super) traffic: SocketAddr,
    pub(super) tls: Option<SocketAddr>,
    pub(super) admin: SocketAddr,
    pub(super) metrics: Option<SocketAddr>,
}

impl Listeners {
    /// Keys that name an address another listener has, with what to say.
    pub(super) fn clashes(&self) -> Vec<(&'static str, String)> {
        let mut clashes = Vec::new();
        if overlap(self.traffic, self.admin) {
            clashes.push(("admin.listen", format!("{} is the traffic listener's address too", self.admin)));
        }
        if let Some(tls) = self.tls.filter(|tls| overlap(*tls, self.traffic) || overlap(*tls, self.admin)) {
            clashes.push(("tls.listen", format!("{tls} is another listener's address too")));
        }
        let others = [Some(self.traffic), self.tls, Some(self.admin)];
        if self.metrics.is_some_and(|metrics| others.into_iter().flatten().any(|other| overlap(metrics, other))) {
            clashes.push(("metrics.listen", "is another listener's address too".to_owned()));
        }
        clashes
    }

    /// What is wrong with an endpoint that is ourselves.
    pub(super) fn is_own(&self, url: &str) -> Option<String> {
        let authority = Authority::parse(url).ok()?;
        let is_at = |listener: SocketAddr| {
            addresses(&authority.host).into_iter().any(|address| overlap(SocketAddr::new(address, authority.port), listener))
        };
        if is_at(self.traffic) || self.tls.is_some_and(is_at) {
            Some(format!("{url} is the address this proxy listens on: it would loop"))
        } else if is_at(self.admin) {
            Some(format!("{url} is the admin listener's address: clients have no business there"))
        } else {
            self.metrics.filter(|metrics| is_at(*metrics)).map(|_| format!("{url} is the metrics listener's address"))
        }
    }
}

/// Where a host certainly leads; names other than localhost are not looked up here.
fn addresses(host: &str) -> Vec<IpAddr> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    match host.parse::<IpAddr>() {
        // To connect to no address in particular is to connect to this host.
        Ok(address) if address.is_unspecified() => loopback.to_vec(),
        Ok(address) => vec![address.to_canonical()],
        Err(_) if host.trim_end_matches('.').eq_ignore_ascii_case("localhost") => loopback.to_vec(),
        Err(_) => Vec::new(),
    }
}

/// Whether a connection to one could arrive at the other. Port 0 is any free one.
fn overlap(one: SocketAddr, two: SocketAddr) -> bool {
    let covers = |any: SocketAddr, own: SocketAddr| {
        let same_family = any.is_ipv6() || own.is_ipv4();
        any.ip().is_unspecified() && same_family && (own.ip().is_loopback() || own.ip().is_unspecified())
    };
    one.port() == two.port() && one.port() != 0 && (one.ip() == two.ip() || covers(one, two) || covers(two, one))
}
