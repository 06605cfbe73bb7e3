//! Buffers that a worker's connections share: bytes lie in them while they are at hand, and what has to wait for
//! somebody is moved out, so that an idle connection or stream holds none.

use std::cell::{Cell, RefCell};

/// Bytes read at a time: few enough to be in the processor's nearest caches still when they are written, and a little fewer than what
/// TCP takes in one piece between processes of one machine (65,483 bytes: the loopback's packets of 64 KiB without their heads; elsewhere
/// some 65,000 with segmentation offload). A power of two leaves a few bytes over, which go by themselves each time.
pub const READ: usize = 63 << 10;

/// Buffers kept for the next who needs one; the others are freed.
const MOST_KEPT: usize = 4;

/// What has been written in a buffer is kept up to this size.
const MOST_WRITTEN: usize = 64 << 10;

/// The buffers of one worker. A buffer is taken and put back within one poll, or goes with what is left in it: who
/// kept a place in it across an await would find somebody else's bytes there.
#[derive(Default)]
pub struct Desk {
    /// The buffer that goes from hand to hand; empty while somebody has it.
    at_hand: Cell<Vec<u8>>,
    to_read: RefCell<Vec<Vec<u8>>>,
    to_write: RefCell<Vec<Vec<u8>>>,
}

impl Desk {
    /// A buffer of [`READ`] bytes to read into.
    pub fn reading(&self) -> Vec<u8> {
        let at_hand = self.at_hand.take();
        if !at_hand.is_empty() {
            return at_hand;
        }
        self.to_read.borrow_mut().pop().unwrap_or_else(|| vec![0; READ])
    }

    /// Gives a buffer back that was read into, with whatever is in it.
    pub fn put_reading(&self, buffer: Vec<u8>) {
        if buffer.len() != READ {
            return;
        }
        let before = self.at_hand.replace(buffer);
        if before.is_empty() {
            return;
        }
        let mut kept = self.to_read.borrow_mut();
        if kept.len() < MOST_KEPT {
            kept.push(before);
        }
    }

    /// An empty buffer to write in.
    pub fn writing(&self) -> Vec<u8> {
        self.to_write.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives back any buffer.
    pub fn put(&self, mut buffer: Vec<u8>) {
        if buffer.len() == READ {
            return self.put_reading(buffer);
        }
        let mut kept = self.to_write.borrow_mut();
        if (1..=MOST_WRITTEN).contains(&buffer.capacity()) && kept.len() < MOST_KEPT {
            buffer.clear();
            kept.push(buffer);
        }
    }
}
