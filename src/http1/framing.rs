//! Where a body ends, and which of its bytes are payload.

use std::ops::Range;

use super::Fault;

/// Bytes of chunk extensions in one body, and of its trailers; more are refused (CVE-2023-39326 is what the first
/// is for: framing that costs more than what it frames).
const MOST_EXTENSIONS: u32 = 16 << 10;
const MOST_TRAILERS: u32 = 16 << 10;

/// How a body is framed, and how far it is (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// In chunks (RFC 9112, 7.1).
    Chunked(Chunks),
    /// What comes until the connection is closed.
    ToClose,
}

/// The place in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks {
    place: Place,
    /// Of this chunk: what its size line says so far, then what is still to come.
    left: u64,
    /// Bytes of extensions so far.
    extensions: u32,
    /// Bytes of trailers so far.
    trailers: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the first digit of a size.
    Start,
    Size,
    /// Whitespace behind a size, where only an extension or the line's end may follow.
    Space,
    Extension,
    SizeEnd,
    Data,
    DataEnd,
    DataEndLf,
    /// At the beginning of a line behind the last chunk.
    Line,
    /// In the name of a trailer, then in its value.
    Trailer,
    TrailerValue,
    TrailerLf,
    LastLf,
    Done,
}

/// What one step through bytes that came has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Payload, as a range of the bytes; it may be empty.
    pub payload: Range<usize>,
    /// So many bytes are done with.
    pub taken: usize,
}

impl Framing {
    /// In chunks, at their beginning.
    pub fn chunked() -> Self {
        Self::Chunked(Chunks { place: Place::Start, left: 0, extensions: 0, trailers: 0 })
    }

    /// Whether the body is over.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunks { place: Place::Done, .. }))
    }

    /// How long the payload still is, where that is said.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Length(length) => Some(*length),
            Self::Chunked(_) | Self::ToClose => None,
        }
    }

    /// Goes through bytes as far as one run of payload, or all of them. To be asked again with what was not taken; once the
    /// body is over nothing is.
    ///
    /// # Errors
    /// What is wrong with the framing; the body is cut there.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Piece, Fault> {
        match self {
            Self::Length(left) => {
                let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= taken as u64;
                Ok(Piece { payload: 0..taken, taken })
            }
            Self::ToClose => Ok(Piece { payload: 0..bytes.len(), taken: bytes.len() }),
            Self::Chunked(chunks) => chunks.step(bytes),
        }
    }
}

impl Chunks {
    fn step(&mut self, bytes: &[u8]) -> Result<Piece, Fault> {
        let mut at = 0;
        while at < bytes.len() && self.place != Place::Done {
            if self.place == Place::Data {
                let here = usize::try_from(self.left).map_or(bytes.len() - at, |left| left.min(bytes.len() - at));
                self.left -= here as u64;
                if self.left == 0 {
                    self.place = Place::DataEnd;
                }
                let payload = at..at + here;
                // Mostly the line's end is here, too, and a chunk is over in one step.
                let taken = match bytes[payload.end..] {
                    [b'\r', b'\n', ..] if self.left == 0 => {
                        self.place = Place::Start;
                        payload.end + 2
                    }
                    _ => payload.end,
                };
                return Ok(Piece { payload, taken });
            }
            self.take(bytes[at])?;
            at += 1;
        }
        Ok(Piece { payload: at..at, taken: at })
    }

    /// One byte that is no payload.
    fn take(&mut self, byte: u8) -> Result<(), Fault> {
        self.place = match (self.place, byte) {
            (Place::Start | Place::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if self.left >> 60 != 0 {
                    return Err(Fault("a chunk's size is too large"));
                }
                self.left = self.left << 4 | u64::from(digit(byte));
                Place::Size
            }
            (Place::Start | Place::Size, _) if self.place == Place::Start => return Err(Fault("a chunk has no size")),
            (Place::Size | Place::Space, b' ' | b'\t') => Place::Space,
            (Place::Size | Place::Space, b';') => Place::Extension,
            (Place::Size | Place::Space | Place::Extension, b'\r') => Place::SizeEnd,
            (Place::Extension, b'\n') => return Err(Fault("a chunk extension has a bare line feed")),
            (Place::Extension, _) => {
                self.extensions += 1;
                if self.extensions > MOST_EXTENSIONS {
                    return Err(Fault("more than 16 KiB of chunk extensions"));
                }
                Place::Extension
            }
            (Place::SizeEnd, b'\n') if self.left == 0 => Place::Line,
            (Place::SizeEnd, b'\n') => Place::Data,
            (Place::DataEnd, b'\r') => Place::DataEndLf,
            (Place::DataEndLf, b'\n') => Place::Start,
            (Place::Line, b'\r') => Place::LastLf,
            (Place::LastLf, b'\n') => Place::Done,
            (Place::TrailerValue, b'\r') => Place::TrailerLf,
            (Place::TrailerLf, b'\n') => Place::Line,
            (Place::Line | Place::Trailer | Place::TrailerValue, byte) => self.trailer(byte)?,
            _ => return Err(Fault("a chunk does not end as it should")),
        };
        Ok(())
    }

    /// One byte of a trailer, which nobody will see: but what is no field is no trailer either, it may be the
    /// beginning of another answer (RFC 9112, 7.1.2).
    fn trailer(&mut self, byte: u8) -> Result<Place, Fault> {
        self.trailers += 1;
        if self.trailers > MOST_TRAILERS {
            return Err(Fault("more than 16 KiB of trailers"));
        }
        match (self.place, byte) {
            (Place::TrailerValue, b'\t' | b' '..=0x7e | 0x80..) => Ok(Place::TrailerValue),
            (Place::Trailer, b':') => Ok(Place::TrailerValue),
            (Place::Line | Place::Trailer, byte) if is_of_token(byte) => Ok(Place::Trailer),
            _ => Err(Fault("a trailer is no field")),
        }
    }
}

/// RFC 9110, 5.6.2.
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The payload, and how many bytes were done with; in pieces of so many bytes.
    fn read(mut framing: Framing, bytes: &[u8], piece: usize) -> Result<(Vec<u8>, usize, bool), Fault> {
        let (mut payload, mut done) = (Vec::new(), 0);
        for part in bytes.chunks(piece) {
            let mut at = 0;
            while at < part.len() {
                let found = framing.step(&part[at..])?;
                payload.extend_from_slice(&part[at..][found.payload]);
                at += found.taken;
                done += found.taken;
                if found.taken == 0 {
                    return Ok((payload, done, framing.is_done()));
                }
            }
        }
        Ok((payload, done, framing.is_done()))
    }

    #[test]
    fn chunks_are_the_same_in_pieces_of_any_size() {
        let body = b"5\r\nhello\r\n6;name=\"a b\"\r\n world\r\n0A \t\r\n0123456789\r\n0\r\nx-late: 1\r\n\r\nHTTP/1.1 200 OK";
        for piece in 1..=body.len() {
            let (payload, taken, done) = read(Framing::chunked(), body, piece).unwrap();
            assert_eq!((&payload[..], taken, done), (&b"hello world0123456789"[..], body.len() - 15, true), "{piece}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for wrong in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1 1\r\n",
            "1\n",
            "1\r\r\n",
            "1;a\nb\r\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "1\r\na\r\r\n",
            "10000000000000000\r\n",
            "fffffffffffffffff\r\n",
            "0\r\n\n",
            "0\r\na: b\n\r\n",
            "0\r\n\rx",
            "0\r\n: b\r\n",
            "0\r\na b: c\r\n",
            "0\r\n a: b\r\n",
            "0\r\nab\r\n\r\n",
            "0\r\na: \0\r\n",
            "0\r\nHTTP/1.1 200 OK\r\n",
        ] {
            for piece in 1..=wrong.len() {
                assert!(read(Framing::chunked(), wrong.as_bytes(), piece).is_err(), "{wrong:?} {piece}");
            }
        }
        assert!(read(Framing::chunked(), b"ffffffffffffffff\r\n", 1).is_ok(), "the largest that fits");
    }

    #[test]
    fn extensions_and_trailers_have_a_bound() {
        let extension = format!("1;{}\r\na\r\n", "x".repeat(1 << 10));
        assert!(read(Framing::chunked(), extension.repeat(15).as_bytes(), 99).is_ok());
        assert!(read(Framing::chunked(), extension.repeat(17).as_bytes(), 99).is_err());
        let trailers = |count: usize| format!("0\r\n{}\r\n", format!("x: {}\r\n", "y".repeat(1 << 10)).repeat(count));
        assert!(read(Framing::chunked(), trailers(15).as_bytes(), 99).is_ok());
        assert!(read(Framing::chunked(), trailers(17).as_bytes(), 99).is_err());
    }

    #[test]
    fn a_length_ends_where_it_says_and_takes_nothing_of_what_follows() {
        let mut framing = Framing::Length(5);
        assert_eq!(framing.step(b"hel").unwrap(), Piece { payload: 0..3, taken: 3 });
        assert_eq!(framing.step(b"loHTTP").unwrap(), Piece { payload: 0..2, taken: 2 });
        assert!(framing.is_done());
        assert_eq!(framing.step(b"HTTP").unwrap().taken, 0);
    }
}
