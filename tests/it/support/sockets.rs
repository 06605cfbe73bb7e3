//! What the kernel knows of connections to a server: how many have an owner, and how much waits on them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Instant;

use super::eventually;

/// A port that nobody else is given while this lives, and where nobody listens who does not bind it by its number.
///
/// The kernel soon gives one that is let go of to the next who asks for any: where nobody was to be, another test's server is.
#[derive(Clone)]
pub struct Port {
    pub address: SocketAddr,
    _socket: Arc<TcpSocket>,
}

impl Port {
    /// Any.
    pub fn any() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap())
    }

    pub fn at(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        Self { address: socket.local_addr().unwrap(), _socket: Arc::new(socket) }
    }

    pub fn number(&self) -> u16 {
        self.address.port()
    }
}

/// A listener whose connections take little that nobody reads. The kernel's own measure grows for seconds.
pub fn narrow_listener() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(32 << 10).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket.listen(64).unwrap()
}

/// Waits until so many connections to this address are held open on the connecting side.
pub async fn connections(address: SocketAddr, wanted: usize) {
    // Those that nobody holds any more have no inode.
    eventually("so many connections are open", async || {
        let open = lines(address).await.iter().filter(|fields| is_port_of(&fields[2], address) && fields[9] != "0").count();
        (open == wanted).then_some(())
    })
    .await;
}

/// Waits until bytes wait on the connections to this address, and nothing moves any more.
pub async fn at_rest(address: SocketAddr) {
    let (mut before, mut since, mut looks) = (0, Instant::now(), 0);
    eventually("nothing moves any more", async || {
        let waiting = lines(address).await.iter().map(|fields| waiting(&fields[4])).sum::<u64>();
        if waiting == 0 || waiting != before {
            (before, since, looks) = (waiting, Instant::now(), 0);
        }
        looks += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        (looks > 5 && since.elapsed() > Duration::from_millis(300)).then_some(())
    })
    .await;
}

/// The fields of both ends of its connections. Not read on the thread of the test, which has servers and
/// clients to run: with thousands of closed ones in the table it takes a while.
async fn lines(address: SocketAddr) -> Vec<Vec<String>> {
    let table = tokio::task::spawn_blocking(|| std::fs::read_to_string("/proc/net/tcp").unwrap()).await.unwrap();
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|fields| fields[1..3].iter().any(|end| is_port_of(end, address))).collect()
}

fn is_port_of(end: &str, address: SocketAddr) -> bool {
    end.ends_with(&format!(":{:04X}", address.port()))
}

/// To be sent, and to be read.
fn waiting(queues: &str) -> u64 {
    queues.split(':').map(|queue| u64::from_str_radix(queue, 16).unwrap()).sum()
}
