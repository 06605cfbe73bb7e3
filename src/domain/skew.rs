//! Notices one client key that dwarfs all others.
//!
//! A split by key is a split of clients; where one key carries most requests, moving 10 % of the
//! clients can move none or nearly all of the load, and the operator should know.

use super::affinity::ClientKey;

/// Space-saving summary (Metwally, Agrawal, El Abbadi 2005) of the keys seen: with `SLOTS`
/// counters a key that carries more than 1/`SLOTS` of the requests is always among them, and its
/// count is too high by at most `total / SLOTS`.
#[derive(Clone, Debug, Default)]
pub struct Skew {
    slots: [(u64, u64, u64); SLOTS],
    total: u64,
}

const SLOTS: usize = 16;

/// Below this many requests one key can have more than half by accident.
const ENOUGH: u64 = 50;

impl Skew {
    /// Counts one request of this key.
    pub fn note(&mut self, key: ClientKey) {
        self.total += 1;
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.0 == key.hash() && slot.1 > 0) {
            slot.1 += 1;
            return;
        }
        if let Some(least) = self.slots.iter_mut().min_by_key(|slot| slot.1) {
            *least = (key.hash(), least.1 + 1, least.1);
        }
    }

    /// The share of the requests that one key carries for certain, when that is more than half.
    pub fn dominant(&self) -> Option<f64> {
        if self.total < ENOUGH {
            return None;
        }
        let certain = self.slots.iter().map(|(_, count, error)| count - error).max()?;
        let share = certain as f64 / self.total as f64;
        (share > 0.5).then_some(share)
    }

    /// Starts a new window.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Requests seen in this window.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::KeySource;

    fn key(n: u64) -> ClientKey {
        ClientKey::new(&KeySource::ApiKey, &n.to_le_bytes())
    }

    #[test]
    fn a_key_with_two_thirds_is_named_and_even_keys_are_not() {
        let mut skew = Skew::default();
        (0..3000).for_each(|n| skew.note(key(if n % 3 == 0 { n } else { 1_000_000 })));
        let share = skew.dominant().unwrap();
        assert!((0.6..0.7).contains(&share), "{share}");

        let mut even = Skew::default();
        (0..3000).for_each(|n| even.note(key(n % 100)));
        assert_eq!(even.dominant(), None);
    }

    #[test]
    fn a_handful_of_requests_says_nothing() {
        let mut skew = Skew::default();
        (0..49).for_each(|_| skew.note(key(7)));
        assert_eq!(skew.dominant(), None);
    }
}
