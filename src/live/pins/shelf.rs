//! Pins of one kind in one shard: found by their hash, pushed out in the order in which they run out.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use super::Pin;
use crate::domain::Entry;

/// A pin that was used again stands in its old place of the order, and is put back when its turn comes. The order is a
/// heap, since pins are kept for different times.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    held: HashMap<u64, Held>,
    /// Each pin once.
    order: BinaryHeap<Reverse<(Instant, u64)>>,
}

/// Milliseconds since the start.
type Instant = u64;

/// Small, since there are many: 32 bytes with its hash.
#[derive(Clone, Copy, Debug)]
struct Held {
    endpoint: u32,
    version: u32,
    /// In seconds since the start, and so good for 136 years.
    journalled_until: u32,
    /// Minutes by which a use keeps it, at most 45 days; 0: by none.
    lease: u16,
    entry: Entry,
    until: Instant,
}

/// What became of a pin that was put here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Put {
    /// Nobody had put it here before.
    pub(super) is_new: bool,
    /// Another one had to go for it.
    pub(super) pushed_out: bool,
    /// What the journal says of it is not enough any more.
    pub(super) is_due: bool,
}

impl Shelf {
    /// Puts a pin here, or in the place of what its hash led to before; a use keeps it for the time of the lease, in whole
    /// minutes.
    pub(super) fn put(&mut self, hash: u64, pin: Pin, until: Duration, lease: Duration, most: usize) -> Put {
        if let Some(held) = self.held.get_mut(&hash) {
            let is_another = held.pin() != pin;
            *held = Held { journalled_until: held.journalled_until, ..Held::new(pin, until, lease) };
            let is_due = held.is_due(is_another);
            return Put { is_due, ..Put::default() };
        }
        // Before there is one too many, so that the map does not grow for it.
        let pushed_out = self.held.len() >= most && self.push_out();
        self.held.insert(hash, Held::new(pin, until, lease));
        self.order.push(Reverse((millis(until), hash)));
        Put { is_new: true, pushed_out, is_due: true }
    }

    /// What is found is kept for its lease at least. Whether it is due for the journal again.
    pub(super) fn find(&mut self, hash: u64, now: Duration) -> Option<(Pin, bool)> {
        let held = self.held.get_mut(&hash).filter(|held| held.until > millis(now))?;
        held.until = held.until.max(millis(now + held.lease()));
        Some((held.pin(), held.is_due(false)))
    }

    /// One leads nowhere from now on. It goes when its turn comes, so that it is in the order once and no more.
    pub(super) fn forget(&mut self, hash: u64) {
        if let Some(held) = self.held.get_mut(&hash) {
            held.until = 0;
        }
    }

    /// Where a hash leads, without that being a use of it.
    pub(super) fn look(&self, hash: u64, now: Duration) -> Option<Pin> {
        self.held.get(&hash).filter(|held| held.until > millis(now)).map(Held::pin)
    }

    /// A pin and how long it is kept from now on.
    pub(super) fn left(&self, hash: u64, now: Duration) -> Option<(Pin, Duration)> {
        self.held.get(&hash)?.left(now)
    }

    /// All pins with the time that they have left.
    pub(super) fn all(&self, now: Duration) -> impl Iterator<Item = (u64, Pin, Duration)> {
        self.held.iter().filter_map(move |(hash, held)| held.left(now).map(|(pin, left)| (*hash, pin, left)))
    }

    /// Pushes out the one that would run out first, as far as is known without looking at all of them.
    fn push_out(&mut self) -> bool {
        for _ in 0..8 {
            let Some(Reverse((until, hash))) = self.order.pop() else { return false };
            match self.held.get(&hash) {
                Some(held) if held.until > until => self.order.push(Reverse((held.until, hash))),
                Some(_) => return self.held.remove(&hash).is_some(),
                None => {}
            }
        }
        // All of them in use: the first goes all the same.
        self.order.pop().is_some_and(|Reverse((_, hash))| self.held.remove(&hash).is_some())
    }

    /// Forgets what has run out: how many.
    pub(super) fn sweep(&mut self, now: Duration) -> usize {
        let (before, now) = (self.held.len(), millis(now));
        while let Some(Reverse((until, hash))) = self.order.peek().copied().filter(|Reverse((until, _))| *until <= now) {
            self.order.pop();
            match self.held.get(&hash) {
                Some(held) if held.until > until.max(now) => self.order.push(Reverse((held.until, hash))),
                Some(_) => {
                    self.held.remove(&hash);
                }
                None => {}
            }
        }
        if self.held.len() < self.held.capacity() / 4 {
            self.held.shrink_to(2 * self.held.len());
            self.order.shrink_to(2 * self.held.len());
        }
        before - self.held.len()
    }

    /// What the allocator has been asked for, in bytes: places of the map, each with a control byte, seven
    /// eighths of which may be used; and of the order.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let places = (self.held.capacity() * 8 / 7).next_power_of_two();
        places * (size_of::<(u64, Held)>() + 1) + self.order.capacity() * size_of::<(Instant, u64)>()
    }
}

impl Held {
    fn new(pin: Pin, until: Duration, lease: Duration) -> Self {
        let Pin { entry, endpoint, version } = pin;
        let minutes = u16::try_from(lease.as_secs().div_ceil(60)).unwrap_or(u16::MAX);
        Self { endpoint, version, journalled_until: seconds(until), lease: minutes, entry, until: millis(until) }
    }

    fn pin(&self) -> Pin {
        Pin { entry: self.entry, endpoint: self.endpoint, version: self.version }
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(60 * u64::from(self.lease))
    }

    fn left(&self, now: Duration) -> Option<(Pin, Duration)> {
        Some((self.pin(), Duration::from_millis(self.until.checked_sub(millis(now))?)))
    }

    /// Takes what it says for journalled, where it is worth that: a use that lengthens what the journal has by a quarter of
    /// its lease or less is not.
    fn is_due(&mut self, is_another: bool) -> bool {
        let until = seconds(Duration::from_millis(self.until));
        let is_due = is_another || until > self.journalled_until.saturating_add(seconds(self.lease() / 4));
        if is_due {
            self.journalled_until = until;
        }
        is_due
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
