//! Admission and drain in one word.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::endpoint::Endpoint;

const CLOSED: u64 = 1 << 63;

/// Counts who is inside and can be closed to newcomers. Both are in one word, so that nobody can
/// be let in between a drain's last look and its end.
#[derive(Debug, Default)]
pub struct Gate(AtomicU64);

impl Gate {
    /// How many are inside.
    pub fn inside(&self) -> u64 {
        self.0.load(Ordering::Acquire) & !CLOSED
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Enter first, then look, and step back out: the other order lets one in after the last look
    /// of a drain.
    fn enter(&self) -> bool {
        let before = self.0.fetch_add(1, Ordering::AcqRel);
        if before & CLOSED != 0 {
            self.leave();
            return false;
        }
        true
    }

    fn leave(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The right to hold a request or a stream at an endpoint; held to the end of the answer's body.
#[derive(Debug)]
pub struct Ticket(Arc<Endpoint>);

impl Ticket {
    /// A ticket, unless the gate is closed.
    pub fn take(endpoint: &Arc<Endpoint>) -> Option<Self> {
        endpoint.gate.enter().then(|| Self(endpoint.clone()))
    }

    /// Whose it is.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.0
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.gate.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_inside_once_a_closed_gate_has_been_seen_empty() {
        let gate = Gate::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while gate.enter() {
                        gate.leave();
                    }
                    assert!(!gate.enter());
                });
            }
            gate.close();
        });
        assert_eq!(gate.inside(), 0);
        assert!(!gate.enter());
    }
}
