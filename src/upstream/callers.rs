//! How many requests and faults each client has, in 32 KiB and without a lock: what the judge tells a busy client from a retry
//! loop by.
//!
//! A table with open addressing; all of a client is in one word, so that a reader takes it or leaves it as a whole. Where there
//! are too many clients, those with the lower hashes are kept: which they are has nothing to do with what they do. The share of
//! an entry goes by another, salted hash.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::clients::Client;
use crate::domain::judge::{Caller, Callers};

const SLOTS: usize = 4_096;
/// A client is in one of so many slots from its own on; one that finds no room there is not counted.
const REACH: usize = 64;

/// With fewer in use than that, twice as many clients may come in the next time.
const FEW: u32 = SLOTS as u32 / 8;

/// A word: 30 bits of the hash, 18 of requests, 16 of faults. No word of a client is 0, as it has a request.
const CLIENT: u32 = 34;
const REQUEST: u64 = 1 << 16;
const FAULTS: u64 = REQUEST - 1;
const REQUESTS: u64 = (1 << CLIENT) - REQUEST;

/// The clients of a span of time.
#[derive(Debug)]
pub(super) struct Table {
    slots: Box<[AtomicU64]>,
    /// Slots that are not 0, or are about to be: never fewer than there are.
    used: AtomicU32,
    /// Only clients whose hash begins with so many zeros come in, even into an empty table.
    floor: AtomicU32,
}

impl Default for Table {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(), used: AtomicU32::new(0), floor: AtomicU32::new(0) }
    }
}

impl Table {
    /// One request more.
    pub(super) fn note(&self, client: Client, is_fault: bool) {
        let hash = client.hash();
        let needed = self.floor.load(Ordering::Relaxed) + zeros(self.used.load(Ordering::Relaxed));
        if hash.leading_zeros() < needed {
            return;
        }
        let home = hash as usize % SLOTS;
        let one = REQUEST + u64::from(is_fault);
        // One of them has it, or has room for it.
        let _ = (home..home + REACH).any(|slot| self.add(&self.slots[slot % SLOTS], hash >> CLIENT, one));
    }

    /// Whether the slot is this client's.
    fn add(&self, slot: &AtomicU64, client: u64, one: u64) -> bool {
        let mut word = slot.load(Ordering::Relaxed);
        loop {
            if word != 0 && word >> CLIENT != client {
                return false;
            }
            let is_free = word == 0;
            let more = match word {
                0 => client << CLIENT | one,
                // Requests and faults end to be counted together, so that their ratio remains.
                _ if word & FAULTS == FAULTS || word & REQUESTS == REQUESTS => return true,
                _ => word + one,
            };
            // First counted, then taken: a reader subtracts what it finds.
            if is_free {
                self.used.fetch_add(1, Ordering::Relaxed);
            }
            match slot.compare_exchange(word, more, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
            if is_free {
                self.used.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Who there was since the last time.
    pub(super) fn take(&self) -> Callers {
        let words: Vec<u64> = self.slots.iter().map(|slot| slot.swap(0, Ordering::Relaxed)).filter(|word| *word != 0).collect();
        let used = self.used.fetch_sub(words.len() as u32, Ordering::Relaxed);
        let callers = words.into_iter().map(|word| Caller {
            client: (word >> CLIENT << 2) as u32,
            requests: ((word & REQUESTS) / REQUEST) as u32,
            faults: (word & FAULTS) as u32,
        });
        let (floor, more) = (self.floor.load(Ordering::Relaxed), zeros(used));
        let next = if more > 1 { floor + 2 } else { floor - u32::from(used < FEW).min(floor) };
        self.floor.store(next, Ordering::Relaxed);
        Callers::new(callers, floor + more)
    }
}

/// With so many slots in use, only clients whose hash begins with so many more zeros come in: half of them when half of the table
/// is full, a quarter when a quarter of it is left, and so on. Within a span it only grows.
fn zeros(used: u32) -> u32 {
    let free = (SLOTS as u32).saturating_sub(used).max(1);
    (SLOTS as u32 / free).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: u32) -> Client {
        Client::of_session(format!("{n:0>40}").as_bytes())
    }

    fn sums(callers: &Callers) -> (u32, u32) {
        callers.iter().fold((0, 0), |(requests, faults), caller| (requests + caller.requests, faults + caller.faults))
    }

    #[test]
    fn each_clients_requests_and_faults_are_counted() {
        let table = Table::default();
        assert_eq!(table.take(), Callers::default());
        for n in 0..300 {
            (0..=n).for_each(|request| table.note(client(n), request % 3 == 0));
        }
        let callers = table.take();
        let mut found: Vec<_> = callers.iter().map(|caller| (caller.requests, caller.faults)).collect();
        found.sort_unstable();
        assert_eq!(found, (0..300).map(|n| (n + 1, n / 3 + 1)).collect::<Vec<_>>());
        assert_eq!(table.take(), Callers::default(), "what was taken is gone");
    }

    #[test]
    fn no_request_is_lost_while_a_reader_takes() {
        let table = Table::default();
        let mut all = Callers::default();
        std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..3).map(|_| scope.spawn(|| (0..30_000).for_each(|n| table.note(client(n % 500), n % 10 == 0)))).collect();
            let mut is_over = false;
            while !is_over {
                is_over = workers.iter().all(std::thread::ScopedJoinHandle::is_finished);
                all.merge(&table.take());
            }
        });
        assert_eq!((sums(&all), all.iter().count()), ((90_000, 9_000), 500));
        assert!(all.iter().all(|caller| caller.requests == 180), "each of its client");
        assert_eq!(table.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn of_too_many_clients_those_that_are_known_are_known_wholly() {
        let table = Table::default();
        let span = || {
            (0..200_000).for_each(|n| table.note(client(n % 40_000), n % 40_000 < 10_000));
            table.take()
        };
        // The table learns in a few spans how many there are.
        (0..7).for_each(|_| drop(span()));
        let callers = span();
        let known = callers.iter().count();
        assert!((500..3_000).contains(&known), "{known}");
        let whole = callers.iter().filter(|caller| caller.requests == 5 && [0, 5].contains(&caller.faults)).count();
        // One or two may have found no room when it was full.
        assert!(whole + 2 >= known, "{whole} of {known}");
        let faulty = callers.iter().filter(|caller| caller.faults > 0).count() as f64 / known as f64;
        assert!((0.15..0.35).contains(&faulty), "a quarter of all have faults, and of these {faulty}");
        // There is room again.
        (0..20).for_each(|_| drop(table.take()));
        table.note(client(1), false);
        assert_eq!(sums(&table.take()), (1, 0));
    }

    #[test]
    fn counts_end_before_one_runs_into_the_other() {
        let table = Table::default();
        (0..70_000).for_each(|_| table.note(client(1), true));
        assert_eq!(sums(&table.take()), (65_535, 65_535));
        (0..300_000).for_each(|n| table.note(client(1), n % 100 == 0));
        let (requests, faults) = sums(&table.take());
        assert_eq!((requests, faults), ((1 << 18) - 1, 2_622));
    }
}
