//! What talks to the world outside: people who are told, gates that are asked, figures that are read, signals.
//!
//! Nothing here decides anything, and nobody waits for it who must not: what is told goes into queues, and answers come
//! back as messages.

mod client;
pub mod gates;
pub mod metrics;
pub mod notify;
mod sign;
pub mod signals;
mod target;

pub use client::Client;
pub use notify::{Notifier, SinkCounts, Tested};

#[cfg(test)]
mod tests;
