//! HTTP/1.1 as endpoints answer it: heads and the framing of bodies, and nothing that reads or writes.
//!
//! What a stranger sent decides here where a message ends, so the rules are strict, and in this one place
//! (RFC 9112, 6 and 7; ADR 12 has what they gain and risk). hyper's client is the oracle: the same bytes have the
//! same verdict there, but for what is refused here on purpose (see [`answer`]).

mod framing;
mod head;

pub use framing::{Framing, Piece};
pub use head::{Answer, Fault, Head, MOST_FIELDS, Read, answer};
