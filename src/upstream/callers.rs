//! How many requests and faults each client has, and how many of those did not follow another, in 32 KiB and without a lock: what
//! the judge tells a busy client from a retry loop by.
//!
//! A table with open addressing; all of a client is in one word, so that a reader takes it or leaves it as a whole. Where there
//! are too many clients, those with the lower hashes are kept: which they are has nothing to do with what they do. The share of
//! an entry goes by another, salted hash.
//!
//! Answers follow each other as they end; those of a client that asks several things at once are in the order of their ends.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::clients::Client;
use crate::domain::judge::{Caller, Callers};

const SLOTS: usize = 4_096;
/// A client is in one of so many slots from its own on; one that finds no room there is not counted.
const REACH: usize = 64;

/// With fewer in use than that, twice as many clients may come in the next time.
const FEW: u32 = SLOTS as u32 / 8;

/// A word: 27 bits of the hash, 13 of requests, 12 of faults, 11 of faults that did not follow one, and whether the last answer was
/// a fault. No word of a client is 0, as it has a request.
const CLIENT: u32 = 37;
const REQUEST: u64 = 1 << 24;
const FAULT: u64 = 1 << 12;
const EPISODE: u64 = 1 << 1;
const IN_FAULT: u64 = 1;
const REQUESTS: u64 = (1 << CLIENT) - REQUEST;
const FAULTS: u64 = REQUEST - FAULT;
const EPISODES: u64 = FAULT - EPISODE;

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
        // One of them has it, or has room for it.
        let _ = (home..home + REACH).any(|slot| self.add(&self.slots[slot % SLOTS], hash >> CLIENT, is_fault));
    }

    /// Whether the slot is this client's.
    fn add(&self, slot: &AtomicU64, client: u64, is_fault: bool) -> bool {
        let mut word = slot.load(Ordering::Relaxed);
        loop {
            if word != 0 && word >> CLIENT != client {
                return false;
            }
            let is_free = word == 0;
            let more = match word {
                0 => after(client << CLIENT, is_fault),
                // All end to be counted together, so that their ratios remain.
                _ if is_full(word) => return true,
                _ => after(word, is_fault),
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
            client: (word >> CLIENT << (CLIENT - 32)) as u32,
            requests: ((word & REQUESTS) / REQUEST) as u32,
            faults: ((word & FAULTS) / FAULT) as u32,
            episodes: ((word & EPISODES) / EPISODE) as u32,
        });
        let (floor, more) = (self.floor.load(Ordering::Relaxed), zeros(used));
        let next = if more > 1 { floor + 2 } else { floor - u32::from(used < FEW).min(floor) };
        self.floor.store(next, Ordering::Relaxed);
        Callers::new(callers, floor + more)
    }
}

/// The word after one request more.
fn after(word: u64, is_fault: bool) -> u64 {
    if !is_fault {
        return (word & !IN_FAULT) + REQUEST;
    }
    let begins = word & IN_FAULT ^ IN_FAULT;
    (word | IN_FAULT) + REQUEST + FAULT + begins * EPISODE
}

/// Whether one of its counts has no room for one more.
fn is_full(word: u64) -> bool {
    [REQUESTS, FAULTS, EPISODES].into_iter().any(|count| word & count == count)
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
        let mut found: Vec<_> = callers.iter().map(|caller| (caller.requests, caller.faults, caller.episodes)).collect();
        found.sort_unstable();
        assert_eq!(found, (0..300).map(|n| (n + 1, n / 3 + 1, n / 3 + 1)).collect::<Vec<_>>());
        assert_eq!(table.take(), Callers::default(), "what was taken is gone");
    }

    #[test]
    fn a_fault_that_follows_one_of_the_same_client_is_no_episode_more() {
        let table = Table::default();
        let note = |answers: &str| {
            answers.chars().for_each(|answer| {
                table.note(client(1), answer == 'x');
                // Another one's answers in between make no difference.
                table.note(client(2), false);
            });
            let callers = table.take();
            let of =
                callers.iter().find(|caller| caller.faults > 0).map(|caller| (caller.faults, caller.episodes, caller.trials()));
            of.unwrap_or_default()
        };
        assert_eq!(note("...."), (0, 0, 0));
        assert_eq!(note("x"), (1, 1, 1));
        assert_eq!(note(".xxxxxx."), (6, 1, 3));
        assert_eq!(note("xx.x..xxx"), (6, 3, 6));
        // Each span is for itself.
        assert_eq!(note("x"), (1, 1, 1));
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
        let counted = |all: u32, is_fault: fn(u32) -> bool| {
            (0..all).for_each(|n| table.note(client(1), is_fault(n)));
            let callers = table.take();
            callers.iter().map(|caller| (caller.requests, caller.faults, caller.episodes)).next()
        };
        assert_eq!(counted(70_000, |_| true), Some((4_095, 4_095, 1)));
        assert_eq!(counted(70_000, |n| n % 100 == 0), Some((8_191, 82, 82)));
        assert_eq!(counted(70_000, |n| n % 2 == 0), Some((4_093, 2_047, 2_047)));
    }
}
