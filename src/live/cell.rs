//! One snapshot, one swap: readers never wait, and there is one writer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::snapshot::Snapshot;

struct Cell {
    current: ArcSwap<Snapshot>,
    number: watch::Sender<u64>,
}

/// The right to read.
#[derive(Clone)]
pub struct Reader(Arc<Cell>);

/// The right to write. There is one, and it is not `Clone`: two writers could each publish a
/// snapshot that lacks the other's change.
pub struct Publisher(Arc<Cell>);

/// A cell with its first snapshot.
pub fn cell(first: Snapshot) -> (Publisher, Reader) {
    let (number, _) = watch::channel(first.number);
    let cell = Arc::new(Cell { current: ArcSwap::from_pointee(first), number });
    (Publisher(cell.clone()), Reader(cell))
}

impl Reader {
    /// The snapshot in force. Owned, so that nothing is held across a suspension point.
    pub fn current(&self) -> Arc<Snapshot> {
        self.0.current.load_full()
    }

    /// Tells when a later snapshot is in force; to be made before looking at the current one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.number.subscribe()
    }
}

impl Publisher {
    /// Puts a snapshot in force, and gives it the next number.
    pub fn publish(&self, make: impl FnOnce(u64) -> Snapshot) -> u64 {
        let number = self.0.current.load().number + 1;
        self.0.current.store(Arc::new(make(number)));
        // After the store: who is woken must find the new one.
        self.0.number.send_replace(number);
        number
    }
}
