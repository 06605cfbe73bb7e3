//! HTTP/1.1: answers of endpoints with the framing of their bodies, and requests of the plainest form; nothing here reads
//! from a socket or writes to one.
//!
//! What a stranger sent decides here where a message ends, so the rules are strict, and in this one place
//! (RFC 9112, 6 and 7; ADR 12 has what they gain and risk). hyper's client is the oracle: the same bytes have the
//! same verdict there, but for what is refused here on purpose (see [`answer`]).

mod beginning;
mod fields;
mod framing;
mod head;
mod lines;
mod request;

pub use beginning::Beginning;
pub use fields::{Fields, text};
pub use framing::{Framing, Piece};
pub use head::{Answer, Fault, Head, MOST_FIELDS, Read, answer};
pub use request::{Coming, Plain, RequestHead, Targets, plain};
