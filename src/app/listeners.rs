//! The addresses, bound before anything else happens.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::{AppError, Bound};
use crate::config::Config;
use crate::tls::plain;

/// Listeners that nobody serves yet.
pub(super) struct Listeners {
    pub(super) traffic: std::net::TcpListener,
    pub(super) secure: Option<std::net::TcpListener>,
    pub(super) admin: TcpListener,
    pub(super) metrics: Option<TcpListener>,
}

impl Listeners {
    /// Binds all that the configuration names.
    pub(super) async fn bind(config: &Config) -> Result<Self, AppError> {
        Ok(Self {
            traffic: bind_plain(config.listen)?,
            secure: config.tls.as_ref().map(|tls| bind_traffic(tls.listen)).transpose()?,
            admin: bind(config.admin.listen).await?,
            metrics: match config.metrics {
                Some(address) => Some(bind(address).await?),
                None => None,
            },
        })
    }

    /// Where they are; ports that were 0 are known now.
    pub(super) fn bound(&self, token: &str) -> Result<Bound, AppError> {
        Ok(Bound {
            traffic: self.traffic.local_addr().map_err(AppError::other)?,
            tls: self.secure.as_ref().map(std::net::TcpListener::local_addr).transpose().map_err(AppError::other)?,
            admin: self.admin.local_addr().map_err(AppError::other)?,
            metrics: self.metrics.as_ref().map(TcpListener::local_addr).transpose().map_err(AppError::other)?,
            token: token.to_owned(),
        })
    }
}

/// A request is answered before anything but an acknowledgement would go out; with TLS its hello is.
fn bind_plain(address: SocketAddr) -> Result<std::net::TcpListener, AppError> {
    let listener = bind_traffic(address)?;
    plain::acknowledge_by_answers(&listener).map_err(|error| cannot_listen(address, &error))?;
    Ok(listener)
}

fn bind_traffic(address: SocketAddr) -> Result<std::net::TcpListener, AppError> {
    // A long queue: an acceptor that waits at its limit must not refuse connections.
    const QUEUE: u32 = 4096;
    let listen = || -> std::io::Result<std::net::TcpListener> {
        let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        // A small answer must not wait for an acknowledgement of the one before. What is accepted has it from here, without a system
        // call of its own; set later, who has connected by then would never have it.
        socket.set_nodelay(true)?;
        socket.bind(address)?;
        socket.listen(QUEUE)?.into_std()
    };
    listen().map_err(|error| cannot_listen(address, &error))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|error| cannot_listen(address, &error))
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> AppError {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => " (is another dualgate running? --listen, --admin and [metrics] choose addresses)",
        _ => "",
    };
    AppError::other(format!("cannot listen on {address}: {error}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_connects_before_anything_is_accepted_gets_small_answers_at_once_too() {
        let listener = bind_traffic("127.0.0.1:0".parse().unwrap()).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_request_is_acknowledged_by_its_answer() {
        for (listener, is_acknowledged_first) in
            [(bind_plain("127.0.0.1:0".parse().unwrap()), false), (bind_traffic("127.0.0.1:0".parse().unwrap()), true)]
        {
            let listener = listener.unwrap();
            let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            listener.set_nonblocking(false).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            assert_eq!(socket2::SockRef::from(&accepted).tcp_quickack().unwrap(), is_acknowledged_first);
        }
    }
}
