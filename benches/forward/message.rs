//! HTTP/1.1 messages at the least cost: load and backend share a core, and must need less of it
//! than the proxy needs of its own. Knows only what the two of them say to each other.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What every body begins with; then come eight digits.
pub const OPENING: &str = r#"{"jsonrpc":"2.0","id":"#;

/// Where the digits of the id are in a body.
pub const ID: std::ops::Range<usize> = OPENING.len()..OPENING.len() + 8;

/// One end of a connection.
pub struct Channel<S> {
    stream: S,
    read: Vec<u8>,
}

/// A head with its body; a body without a length is what came with the head.
pub struct Message {
    /// To the blank line.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    /// A channel over a connection.
    pub fn new(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// Writes all of it.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The next message; nothing when the other end is done.
    pub async fn receive(&mut self) -> io::Result<Option<Message>> {
        let mut read = std::mem::take(&mut self.read);
        let end = loop {
            match find(&read, b"\r\n\r\n") {
                Some(at) => break at + 4,
                None if self.more(&mut read).await? => {}
                None if read.is_empty() => return Ok(None),
                None => return Err(ErrorKind::UnexpectedEof.into()),
            }
        };
        let mut body = read.split_off(end);
        let head = String::from_utf8(read).map_err(|_| ErrorKind::InvalidData)?;
        if let Some(length) = value(&head, "content-length") {
            let length: usize = length.parse().map_err(|_| ErrorKind::InvalidData)?;
            while body.len() < length {
                if !self.more(&mut body).await? {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
            self.read = body.split_off(length);
        }
        Ok(Some(Message { head, body }))
    }

    /// Reads on to the end of what the other end has to say.
    pub async fn drain(&mut self) -> io::Result<()> {
        let mut waste = Vec::new();
        while self.more(&mut waste).await? {
            waste.clear();
        }
        Ok(())
    }

    /// More of a body without a length.
    pub async fn more(&mut self, to: &mut Vec<u8>) -> io::Result<bool> {
        to.reserve(1024);
        Ok(self.stream.read_buf(to).await? > 0)
    }
}

/// The value of a field in a head.
pub fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Where the needle is.
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}
