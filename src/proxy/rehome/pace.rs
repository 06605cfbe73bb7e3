//! How fast sessions are opened at an endpoint: at most so many in a second, at even distances.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Of what is allowed so much is used: who is woken late meets the next one.
const USED: f64 = 0.9;

/// Endpoints that are remembered; of more, those that nobody waits for are forgotten.
const MOST: usize = 1024;

/// Who can wait does not book further ahead than this: those who have lost their server come in between.
const AHEAD: Duration = Duration::from_millis(500);

/// An endpoint that has just refused a connection is not asked by the next one at once.
const REFUSED: Duration = Duration::from_millis(100);

/// When the next session may be opened at each endpoint, by its id.
#[derive(Default)]
pub(super) struct Pace(Mutex<HashMap<u64, Turns>>);

struct Turns {
    next: Instant,
    refused: Option<Instant>,
}

impl Pace {
    /// Waits for a turn at an endpoint. False where it would not come before `deadline`, but for one that is free now; no turn
    /// is used up then.
    pub(super) async fn turn(&self, endpoint: u64, per_second: u32, deadline: Instant) -> bool {
        let Some(at) = self.book(endpoint, per_second, Instant::now(), deadline) else { return false };
        tokio::time::sleep_until(at).await;
        true
    }

    /// The same for who can wait: the others go first.
    pub(super) async fn turn_at_leisure(&self, endpoint: u64, per_second: u32, deadline: Instant) -> bool {
        loop {
            let now = Instant::now();
            if let Some(at) = self.book(endpoint, per_second, now, (now + AHEAD).min(deadline)) {
                tokio::time::sleep_until(at).await;
                return true;
            }
            if now + AHEAD > deadline {
                return false;
            }
            tokio::time::sleep(AHEAD).await;
        }
    }

    /// An endpoint has refused a connection.
    pub(super) fn note_refused(&self, endpoint: u64) {
        let now = Instant::now();
        self.all().entry(endpoint).or_insert(Turns { next: now, refused: None }).refused = Some(now);
    }

    /// Whether it has just done so.
    pub(super) fn has_refused(&self, endpoint: u64) -> bool {
        self.all().get(&endpoint).and_then(|turns| turns.refused).is_some_and(|refused| refused.elapsed() < REFUSED)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u64, Turns>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self, endpoint: u64, per_second: u32, now: Instant, deadline: Instant) -> Option<Instant> {
        let apart = Duration::from_secs_f64(1.0 / (f64::from(per_second.max(1)) * USED).max(1.0));
        let mut all = self.all();
        if all.len() >= MOST {
            all.retain(|_, turns| turns.next > now);
        }
        let turns = all.entry(endpoint).or_insert(Turns { next: now, refused: None });
        let at = turns.next.max(now);
        if at > deadline && at > now {
            return None;
        }
        turns.next = at + apart;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_turns_than_it_should() {
        let (pace, now) = (Pace::default(), Instant::now());
        let far = now + Duration::from_secs(3600);
        let turns: Vec<Instant> = (0..1_000).map(|_| pace.book(1, 100, now, far).unwrap()).collect();
        assert!(turns.is_sorted());
        for (first, from) in turns.iter().enumerate() {
            let within = turns[first..].iter().take_while(|at| **at < *from + Duration::from_secs(1)).count();
            assert!(within <= 91, "{within} in the second from {first}");
        }
        let last = *turns.last().unwrap() - now;
        assert!((Duration::from_millis(11_000)..=Duration::from_millis(11_200)).contains(&last), "{last:?}");
        assert_eq!(pace.book(2, 100, now, far), Some(now), "another endpoint has turns of its own");
    }

    #[test]
    fn who_cannot_wait_uses_up_no_turn() {
        let (pace, now) = (Pace::default(), Instant::now());
        let soon = now + Duration::from_millis(95);
        let got = (0..100).filter(|_| pace.book(1, 100, now, soon).is_some()).count();
        assert_eq!(got, 9);
        let next = pace.book(1, 100, now, soon + Duration::from_secs(1)).unwrap() - now;
        assert!((99..=100).contains(&next.as_millis()), "{next:?}");
    }
}
