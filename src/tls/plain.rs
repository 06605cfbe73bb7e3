//! Sockets without TLS, used with as few questions as tokio's own way allows.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Held back until more is written or the direction is shut down; where the system cannot hold it back, it goes at once.
#[cfg(target_os = "linux")]
const UNTIL_THE_END: i32 = libc::MSG_MORE | libc::MSG_NOSIGNAL;
#[cfg(not(target_os = "linux"))]
const UNTIL_THE_END: i32 = libc::MSG_NOSIGNAL;

/// A connection of those that wait at a listener. It does not block.
pub fn accept(listener: &std::net::TcpListener) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    #[cfg(target_os = "linux")]
    {
        use rustix::net::{SocketFlags, acceptfrom_with};
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, address) = rustix::io::retry_on_intr(|| acceptfrom_with(listener, flags))?;
        let address = address.and_then(|address| SocketAddr::try_from(address).ok()).ok_or(ErrorKind::InvalidData)?;
        Ok((socket.into(), address))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let (stream, address) = listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok((stream, address))
    }
}

/// Connects, with `TCP_NODELAY`: a small request must not wait for an acknowledgement of the one before it.
#[cfg(target_os = "linux")]
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    // From here on, all that is done is done while the other side wakes.
    sockopt::set_tcp_nodelay(&socket, true)?;
    let stream = TcpStream::from_std(socket.into())?;
    // On the same machine it is through by now, and a look saves the turn of the runtime that would tell so. From elsewhere it takes
    // a round trip, beside which the look in vain is nothing.
    let mut look = [PollFd::new(&stream, PollFlags::OUT)];
    let seen = poll(&mut look, Some(&Timespec::default()));
    if seen == Ok(1) && look[0].revents() == PollFlags::OUT {
        return Ok(stream);
    }
    stream.writable().await?;
    stream.take_error()?.map_or(Ok(stream), Err)
}

/// Connects, with `TCP_NODELAY`: a small request must not wait for an acknowledgement of the one before it.
#[cfg(not(target_os = "linux"))]
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What comes first over a connection that this listener accepts is acknowledged by the answer to it, and not by itself before: one
/// segment less for each connection. To be called once it listens, as that forgets it. Who can say no more before that is
/// acknowledged has to be helped ([`acknowledge`]).
pub fn acknowledge_by_answers(listener: &std::net::TcpListener) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    SockRef::from(listener).set_tcp_quickack(false)?;
    #[cfg(not(target_os = "linux"))]
    let _ = listener;
    Ok(())
}

/// Acknowledges at once what has come: no answer will, since it is half of something, and a client without `TCP_NODELAY` may keep the
/// other half back until then (RFC 9293, 3.7.4), for 40 ms.
pub fn acknowledge(stream: &TcpStream) {
    // Where it cannot be asked for, it comes later.
    #[cfg(target_os = "linux")]
    let _ = stream.set_quickack(true);
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

/// Writes. Whether there is room is asked only where there was none: there nearly always is. No budget is used up by it; who
/// writes has read before, or has just connected.
pub fn poll_write(stream: &TcpStream, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    poll(stream, context, || stream.try_write(bytes))
}

/// Writes what is first over a connection that was just made: the runtime has not been told yet that there is room, which there is.
pub fn poll_write_first(stream: &TcpStream, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    match SockRef::from(stream).send_with_flags(bytes, libc::MSG_NOSIGNAL) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => poll_write(stream, context, bytes),
        written => Poll::Ready(written),
    }
}

/// Writes what nothing follows but the end of this direction, which is to be told at once (by a shutdown): both go in one segment then,
/// and wake the other side once.
pub fn poll_write_last(stream: &TcpStream, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    poll(stream, context, || stream.try_io(Interest::WRITABLE, || SockRef::from(stream).send_with_flags(bytes, UNTIL_THE_END)))
}

/// The same, of several slices.
pub fn poll_write_vectored(stream: &TcpStream, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
    poll(stream, context, || stream.try_write_vectored(slices))
}

/// Several slices that nothing follows but the end.
pub fn poll_write_last_vectored(
    stream: &TcpStream,
    context: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let write = || SockRef::from(stream).send_vectored_with_flags(slices, UNTIL_THE_END);
    poll(stream, context, || stream.try_io(Interest::WRITABLE, write))
}

/// Whether nothing has come since a read found no more, as far as the last look at all sockets tells. No system call, and nobody is
/// woken when that changes.
pub fn is_at_rest(stream: &TcpStream) -> bool {
    stream.try_io(Interest::READABLE, || Ok(())).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn poll(stream: &TcpStream, context: &mut Context<'_>, write: impl Fn() -> io::Result<usize>) -> Poll<io::Result<usize>> {
    loop {
        match write() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(stream.poll_write_ready(context))?,
            written => return Poll::Ready(written),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    /// The kernel holds it back for 200 ms at the most.
    const SOON: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_new_connection_takes_its_first_words_at_once_and_the_rest_as_there_is_room() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let writes = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        writes.set_nonblocking(true).unwrap();
        let mut writes = TcpStream::from_std(writes).unwrap();
        let (mut reads, address) = accept(&listener).unwrap();
        assert_eq!(address, writes.local_addr().unwrap());
        assert_eq!(io::Read::read(&mut reads, &mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock, "it does not wait");
        // Before it has had a turn the runtime takes no socket for ready.
        assert_eq!(writes.try_write(b"x").unwrap_err().kind(), ErrorKind::WouldBlock);
        let words = [b'w'; 64 << 10];
        let context = &mut Context::from_waker(std::task::Waker::noop());
        let mut written = 0;
        while let Poll::Ready(count) = poll_write_first(&writes, context, &words) {
            written += count.unwrap();
        }
        assert!(written > 0);
        let mut reads = TcpStream::from_std(reads).unwrap();
        let mut read = vec![0; written + words.len()];
        let (rest, all) = tokio::join!(writes.write_all(&words), reads.read_exact(&mut read));
        assert!(rest.is_ok() && all.is_ok() && read.iter().all(|byte| *byte == b'w'));
    }

    #[tokio::test]
    async fn a_connection_is_made_and_does_not_hold_small_writes_back() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(any) else { continue };
            let stream = connect(listener.local_addr().unwrap()).await.unwrap();
            assert!(stream.nodelay().unwrap());
            assert_eq!(listener.accept().unwrap().1, stream.local_addr().unwrap());
        }
    }

    #[tokio::test]
    async fn where_nobody_listens_it_is_said_why_there_is_no_connection() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(gone) = std::net::TcpListener::bind(any).and_then(|listener| listener.local_addr()) else { continue };
            assert_eq!(connect(gone).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
    }

    #[tokio::test]
    async fn the_last_words_and_the_end_come_together() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut tries = 0;
        let (mut reads, writes) = loop {
            let reads = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (writes, _) = listener.accept().await.unwrap();
            writes.set_nodelay(true).unwrap();
            let begun = Instant::now();
            assert_eq!(poll_fn(|context| poll_write_last(&writes, context, b"good")).await.unwrap(), 4);
            let more = [IoSlice::new(b"bye"), IoSlice::new(b"!")];
            assert_eq!(poll_fn(|context| poll_write_last_vectored(&writes, context, &more)).await.unwrap(), 4);
            // Over loopback, what is sent is there when `send` returns.
            let unread = SockRef::from(&reads).peek(&mut [std::mem::MaybeUninit::uninit()]);
            tries += 1;
            if begun.elapsed() < SOON || tries > 20 {
                assert_eq!(unread.unwrap_err().kind(), ErrorKind::WouldBlock);
                break (reads, writes);
            }
        };
        SockRef::from(&writes).shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = String::new();
        reads.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "goodbye!");
    }

    #[tokio::test]
    async fn who_keeps_the_second_half_back_until_the_first_is_acknowledged_need_not_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap().into_std().unwrap();
        acknowledge_by_answers(&listener).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let mut soonest = Duration::MAX;
        for _ in 0..5 {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut served, _) = listener.accept().await.unwrap();
            client.set_nodelay(false).unwrap();
            client.write_all(b"half").await.unwrap();
            client.write_all(b"a half").await.unwrap();
            let mut halves = [0; 10];
            served.read_exact(&mut halves[..4]).await.unwrap();
            let begun = Instant::now();
            acknowledge(&served);
            served.read_exact(&mut halves[4..]).await.unwrap();
            soonest = soonest.min(begun.elapsed());
        }
        // Left to itself the kernel takes 40 ms each time.
        assert!(soonest < Duration::from_millis(30), "{soonest:?}");
    }
}
