//! Legacy clients, and entries that do not speak to them.
//!
//! A client with a session cannot be taken to the modern era: it would have to connect anew, and most do not. While both
//! entries have a share it goes where it is spoken to ([`crate::domain::decide`]); at the end of a rollout nobody is left
//! to speak to it.

use super::Machine;
use crate::domain::entry::{Entry, PerEntry};
use crate::domain::era::Eras;
use crate::domain::rollout::Refused;

/// What is known of legacy clients, by the process that serves them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LegacySeen {
    /// Their sessions that are alive.
    pub sessions: PerEntry<u64>,
    /// Their requests within [`LEGACY_SPAN`].
    pub requests: u64,
    /// What each entry serves.
    pub serves: PerEntry<Eras>,
}

/// Requests count for so many hours.
pub const LEGACY_SPAN: u64 = 24;

impl Eras {
    /// Whether legacy clients are refused, and modern ones served.
    fn is_modern_only(self) -> bool {
        self.legacy == Some(false) && self.modern == Some(true)
    }
}

impl Machine {
    /// Notes what was seen of legacy clients until now.
    pub(super) fn note_legacy(&mut self, seen: LegacySeen) {
        self.legacy = seen;
    }

    /// Who would be stranded where an entry takes all clients: nobody, if it speaks the legacy era, if the other one does
    /// not either, or if there are no such clients.
    pub(super) fn strands(&self, entry: Entry) -> Result<(), Refused> {
        let LegacySeen { sessions, requests, serves } = self.legacy;
        let other = entry.other();
        let sessions = sessions[other];
        if !serves[entry].is_modern_only() || serves[other].is_modern_only() || (sessions == 0 && requests == 0) {
            return Ok(());
        }
        Err(Refused::StrandsLegacy { sessions, requests, other, version: self.entry(entry).version.clone() })
    }
}
