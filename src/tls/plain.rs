//! Sockets without TLS, used with as few questions as tokio's own way allows.

use std::io::{self, ErrorKind, IoSlice};
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Writes. Whether there is room is asked only where there was none: there nearly always is. No budget is used up by it; who
/// writes has read before.
pub fn poll_write(stream: &TcpStream, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    poll(stream, context, || stream.try_write(bytes))
}

/// The same, of several slices.
pub fn poll_write_vectored(stream: &TcpStream, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
    poll(stream, context, || stream.try_write_vectored(slices))
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
