//! Rehoming: a session outlives its server.
//!
//! ```text
//! deliver ── route ────── which binding; ids of server requests and of events say their epoch
//!    │
//!    └ lost, or to leave ── mover ── replay ── ask      opened anew in the client's name, compared, then moved in one step
//!                             │
//! splice ── the GET stream ───┘                         goes on from there, without the client seeing it
//! sse ──── the same for sessions of HTTP+SSE, which are their GET stream
//! keeper ── idle sessions; bindings that were left are ended
//! ```
//!
//! What a session needs for that is in its sealed id where it fits, so that it works after a restart and on another
//! replica; the rest is in `table` and `memory`, bounded. What of that is no credential is journalled (`journal`), and so
//! survives a restart; credentials are lost with the process.

mod ask;
mod birth;
mod compare;
mod deliver;
mod feed;
mod journal;
mod keeper;
mod leave;
mod letterhead;
mod listeners;
mod lodging;
mod memory;
mod mover;
mod pace;
mod replay;
mod resend;
mod resident;
mod route;
mod splice;
mod sse;
mod stay;
mod table;

pub use table::Sessions;

pub(super) use birth::read_birth;
pub(super) use deliver::{Delivered, Delivery};
pub(super) use letterhead::{Letterhead, is_of_one_request};
pub(super) use lodging::{Lodging, Tagged};
pub(super) use memory::Wish;
pub(super) use mover::Why;
pub(super) use resident::{Lodger, Session};
pub(super) use splice::{News, Splice};
pub(super) use sse::ChannelSplice;
pub(super) use stay::Stay;
