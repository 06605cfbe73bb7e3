//! Sockets without TLS, used with as few questions as tokio's own way allows.

use std::io::{self, ErrorKind, IoSlice};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Held back until more is written or the direction is shut down; where the system cannot hold it back, it goes at once.
#[cfg(target_os = "linux")]
const UNTIL_THE_END: i32 = libc::MSG_MORE | libc::MSG_NOSIGNAL;
#[cfg(not(target_os = "linux"))]
const UNTIL_THE_END: i32 = libc::MSG_NOSIGNAL;

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
/// writes has read before.
pub fn poll_write(stream: &TcpStream, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    poll(stream, context, || stream.try_write(bytes))
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
