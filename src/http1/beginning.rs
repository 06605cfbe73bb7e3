//! What comes before an answer's body: informational answers and a head, in whatever pieces.

use http::Method;

use super::head::{Answer, Fault, Read, answer};

/// Bound on the head of an answer.
const MOST_HEAD: usize = 64 << 10;

/// Informational answers to one request; more are refused (RFC 9110, 15.2 sets no bound, and who sends them without
/// end keeps a worker busy for as long as the first byte is waited for).
const MOST_INTERIM: u32 = 16;

/// An answer of which the head is not whole yet.
#[derive(Debug, Default)]
pub struct Beginning {
    bytes: Vec<u8>,
    interim: u32,
    has_begun: bool,
}

impl Beginning {
    /// Whether anything has come, informational answers among it.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Looks for a head in what has come. The rest of it is given with the answer.
    ///
    /// # Errors
    /// Why it is no answer; nothing of the connection can be used after that.
    pub fn look(&mut self, new: &[u8], asked: &Method) -> Result<Option<(Answer, Vec<u8>)>, Fault> {
        self.has_begun = true;
        if self.bytes.is_empty() {
            match self.find(new, asked)? {
                Ok((answer, at)) => return Ok(Some((answer, new[at..].to_vec()))),
                Err(at) => self.bytes.extend_from_slice(&new[at..]),
            }
        } else {
            self.bytes.extend_from_slice(new);
            // Only a line's end can end a head: one that comes byte by byte is not read anew for each of them.
            if new.contains(&b'\n') {
                let bytes = std::mem::take(&mut self.bytes);
                match self.find(&bytes, asked)? {
                    Ok((answer, at)) => return Ok(Some((answer, bytes[at..].to_vec()))),
                    Err(at) => self.bytes = if at == 0 { bytes } else { bytes[at..].to_vec() },
                }
            }
        }
        if self.bytes.len() > MOST_HEAD { Err(Fault("the head is longer than 64 KiB")) } else { Ok(None) }
    }

    /// The answer and where its body begins; or where the bytes begin that are not read yet.
    fn find(&mut self, bytes: &[u8], asked: &Method) -> Result<Result<(Answer, usize), usize>, Fault> {
        let mut at = 0;
        loop {
            match answer(&bytes[at..], asked)? {
                Read::More => return Ok(Err(at)),
                Read::Interim(_) if self.interim == MOST_INTERIM => return Err(Fault("more than 16 informational answers")),
                Read::Interim(length) => (at, self.interim) = (at + length, self.interim + 1),
                Read::Final(found) if found.length > MOST_HEAD => return Err(Fault("the head is longer than 64 KiB")),
                Read::Final(found) => {
                    at += found.length;
                    return Ok(Ok((found, at)));
                }
            }
        }
    }
}
