//! How many different clients there are, in 4 KiB and without a lock.
//!
//! HyperLogLog (Flajolet, Fusy, Gandouet, Meunier 2007) with 4,096 registers, and linear counting below: exact within one or
//! two up to a hundred clients, within 5 % beyond.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::domain::ClientKey;

/// A client as far as it is told from others: hashed, since nothing else is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client(NonZeroU64);

impl Client {
    /// Who holds a session, by the id that it was given. The id is sealed, or it would not be here: its last 22 characters are
    /// the seal's tag, which no client can choose and no two of them share.
    pub fn of_session(id: &[u8]) -> Self {
        let (words, rest) = id[id.len().saturating_sub(24)..].as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word));
        let all = words.chain(rest.iter().map(|byte| u64::from(*byte)));
        Self::of_hash(mixed(all.fold(SEED, mixed), SEED))
    }

    /// Who has a key, where there is no session.
    pub fn of_key(key: ClientKey) -> Self {
        Self::of_hash(key.hash())
    }

    fn of_hash(hash: u64) -> Self {
        Self(NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN))
    }

    /// The 64 bits.
    pub fn hash(self) -> u64 {
        self.0.get()
    }
}

/// The fraction of pi, as far as it fits.
const SEED: u64 = 0x243f_6a88_85a3_08d3;

/// A word more in a hash. What is random already need only be spread over all bits of it.
fn mixed(hash: u64, word: u64) -> u64 {
    // 2^64 divided by the golden ratio, odd.
    let product = u128::from(hash ^ word) * 0x9e37_79b9_7f4a_7c15;
    (product as u64) ^ (product >> 64) as u64
}

const BITS: u32 = 12;
const REGISTERS: usize = 1 << BITS;

/// The clients of a span of time.
pub(super) struct Clients(Box<[AtomicU8; REGISTERS]>);

impl Default for Clients {
    fn default() -> Self {
        Self(Box::new([const { AtomicU8::new(0) }; REGISTERS]))
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clients")
    }
}

impl Clients {
    /// One was there.
    pub(super) fn note(&self, client: Client) {
        let hash = client.hash();
        let register = &self.0[(hash >> (64 - BITS)) as usize];
        // The lowest bits are all used up, or end the count.
        let rank = (hash << BITS | 1 << (BITS - 1)).leading_zeros() as u8 + 1;
        // Written only where it changes something: clients come again and again, on all workers.
        if register.load(Ordering::Relaxed) < rank {
            register.fetch_max(rank, Ordering::Relaxed);
        }
    }

    /// How many there were since the last time.
    pub(super) fn take(&self) -> u64 {
        let ranks = self.0.iter().map(|register| register.swap(0, Ordering::Relaxed));
        let (mut sum, mut empty) = (0.0, 0u32);
        for rank in ranks {
            sum += libm::exp2(-f64::from(rank));
            empty += u32::from(rank == 0);
        }
        let registers = REGISTERS as f64;
        let estimate = 0.7213 / (1.0 + 1.079 / registers) * registers * registers / sum;
        let is_small = estimate <= 2.5 * registers && empty > 0;
        let count = if is_small { registers * libm::log(registers / f64::from(empty)) } else { estimate };
        count.round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::KeySource;

    fn session(n: u64) -> Client {
        Client::of_session(format!("{n:0>40}").as_bytes())
    }

    #[test]
    fn clients_are_counted_once_however_often_they_come() {
        let clients = Clients::default();
        assert_eq!(clients.take(), 0);
        for few in 1..=20 {
            (0..few * 10).for_each(|n| clients.note(session(n % few)));
            assert_eq!(clients.take(), few);
        }
    }

    #[test]
    fn many_clients_are_counted_within_a_twentieth() {
        for many in [100, 1_000, 5_000, 10_000, 12_000, 20_000, 100_000] {
            let clients = Clients::default();
            (0..many).for_each(|n| clients.note(session(n)));
            let found = clients.take();
            assert!((found as f64 / many as f64 - 1.0).abs() < 0.05, "{found} of {many}");
            assert_eq!(clients.take(), 0, "what was taken is gone");
        }
    }

    #[test]
    fn a_session_and_a_key_of_the_same_spelling_are_two_clients() {
        let text = b"0123456789abcdefghijklmn";
        assert_ne!(Client::of_session(text), Client::of_key(ClientKey::new(&KeySource::ApiKey, text)));
        assert_ne!(Client::of_session(text), Client::of_session(b"0123456789abcdefghijklmo"));
    }
}
