//! How fast sessions are opened at an endpoint: so many in a second, at even distances (GCRA, ITU-T I.371, with room for a few
//! at once).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many may come at once where none came before.
const AT_ONCE: u32 = 10;

/// Endpoints that are remembered; of more, those that nobody waits for are forgotten.
const MOST: usize = 1024;

/// When the next session may be opened at each endpoint, by its id.
#[derive(Default)]
pub(super) struct Pace(Mutex<HashMap<u64, Instant>>);

impl Pace {
    /// Waits for a turn at an endpoint. False where it would not come before `deadline`; no turn is used up then.
    pub(super) async fn turn(&self, endpoint: u64, per_second: u32, deadline: Instant) -> bool {
        let Some(at) = self.book(endpoint, per_second, Instant::now(), deadline) else { return false };
        tokio::time::sleep_until(at).await;
        true
    }

    fn book(&self, endpoint: u64, per_second: u32, now: Instant, deadline: Instant) -> Option<Instant> {
        let apart = Duration::from_secs(1) / per_second.max(1);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, next| *next > now);
        }
        let next = all.entry(endpoint).or_insert(now);
        let arrival = (*next).max(now);
        let at = arrival.checked_sub(apart * (AT_ONCE - 1)).map_or(now, |at| at.max(now));
        if at > deadline {
            return None;
        }
        *next = arrival + apart;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_turns_than_it_should_but_for_those_at_once() {
        let (pace, now) = (Pace::default(), Instant::now());
        let far = now + Duration::from_secs(3600);
        let turns: Vec<Instant> = (0..1_000).map(|_| pace.book(1, 100, now, far).unwrap()).collect();
        assert!(turns.is_sorted());
        for (first, from) in turns.iter().enumerate() {
            let within = turns[first..].iter().take_while(|at| **at < *from + Duration::from_secs(1)).count();
            assert!(within <= 100 + AT_ONCE as usize, "{within} in the second from {first}");
        }
        let last = *turns.last().unwrap() - now;
        assert!((Duration::from_millis(9_890)..=Duration::from_millis(9_910)).contains(&last), "{last:?}");
        assert_eq!(pace.book(2, 100, now, far), Some(now), "another endpoint has turns of its own");
    }

    #[test]
    fn who_cannot_wait_uses_up_no_turn() {
        let (pace, now) = (Pace::default(), Instant::now());
        let soon = now + Duration::from_millis(95);
        let got = (0..100).filter(|_| pace.book(1, 10, now, soon).is_some()).count();
        assert_eq!(got, AT_ONCE as usize);
        assert_eq!(pace.book(1, 10, now, soon + Duration::from_secs(1)), Some(now + Duration::from_millis(100)));
    }
}
