//! Whether many of the candidate's clients meet errors, busy ones beside busy ones and quiet ones beside quiet ones.
//!
//! Which entry a client is on is chosen by a keyed hash. So, whatever clients do and however their errors cluster, the
//! candidate's are a random draw of all of their stratum, which is clients with about as many requests: a permutation test in
//! strata (Fisher 1935; Mantel and Haenszel 1959), with one draw for all that a client did. It has no model of errors to be wrong.
//!
//! Each client is in or not by a draw of its own with the part of its stratum that is the candidate's, and its score counts from
//! the stratum's mean, so that how many were drawn makes no difference. The tail is that of the saddlepoint (Lugannani and
//! Rice 1980; Robinson 1982 for permutation tests), which is as good where a chance is 1e-6 as where it is a half.

use super::callers::{Caller, Callers};
use super::stats::normal;

/// Strata of requests: 1, 2, 3 to 4, 5 to 8, … and all that is more.
const STRATA: usize = 10;
/// A busy client counts with one error, and so many more for each of its requests: less than a retry loop makes.
const MORE: f64 = 0.05;
/// Halvings in the search of the saddlepoint: to the last bit or two.
const HALVINGS: usize = 50;
/// The exponential of it is still a number.
const MOST_TILTED: f64 = 600.0;
/// Beyond, all that can be the candidate's is.
const STEEPEST: f64 = 100.0;

/// Chance that it is by accident that so many of the clients that met an error are the candidate's, times the chance of the
/// same where a busy client counts for more. Each has noise of its own; what both find clear is more than either. For the same
/// windows only; 1 where clients are not known on both sides.
pub fn chance_of_spread(candidate: &Callers, stable: &Callers) -> f64 {
    let met = |caller: &Caller| f64::from(caller.faults.min(1));
    let weighed = |caller: &Caller| f64::from(caller.faults).min(1.0 + MORE * f64::from(caller.requests));
    Draw::new(candidate, stable, met).chance() * Draw::new(candidate, stable, weighed).chance()
}

/// All clients, each with the chance that it is the candidate's and its score as it lies about the mean of its stratum.
struct Draw {
    clients: Vec<(f64, f64)>,
    /// The sum of the scores of those that are the candidate's.
    seen: f64,
}

#[derive(Default)]
struct Stratum {
    own: Vec<f64>,
    all: Vec<f64>,
}

impl Draw {
    fn new(candidate: &Callers, stable: &Callers, score: impl Fn(&Caller) -> f64) -> Self {
        let mut strata: [Stratum; STRATA] = Default::default();
        let stratum = |caller: &Caller| (caller.requests.max(1).next_power_of_two().ilog2() as usize).min(STRATA - 1);
        for caller in candidate.iter() {
            strata[stratum(caller)].own.push(score(caller));
        }
        for caller in candidate.iter().chain(stable.iter()) {
            strata[stratum(caller)].all.push(score(caller));
        }
        let mut draw = Self { clients: Vec::new(), seen: 0.0 };
        for Stratum { own, all } in strata.iter().filter(|stratum| !stratum.own.is_empty()) {
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            let part = own.len() as f64 / all.len() as f64;
            draw.seen += own.iter().map(|score| score - mean).sum::<f64>();
            // Where nobody is on the other side, or all are alike, there is nothing to learn.
            draw.clients
                .extend(all.iter().map(|score| (part, score - mean)).filter(|(part, about)| *part < 1.0 && *about != 0.0));
        }
        draw
    }

    /// Chance of a sum as great as the one that was seen.
    fn chance(&self) -> f64 {
        if self.seen <= 1e-9 || self.clients.is_empty() {
            return 1.0;
        }
        let (mut low, mut high) = (0.0, 0.01);
        while self.tilted(high).0 < self.seen {
            (low, high) = (high, high * 2.0);
            if high > STEEPEST {
                let (.., cumulant) = self.tilted(low);
                return (cumulant - low * self.seen).exp().min(1.0);
            }
        }
        for _ in 0..HALVINGS {
            let middle = (low + high) / 2.0;
            if self.tilted(middle).0 < self.seen { low = middle } else { high = middle }
        }
        let tilt = (low + high) / 2.0;
        let (_, variance, cumulant) = self.tilted(tilt);
        let out = (2.0 * (tilt * self.seen - cumulant)).max(0.0).sqrt();
        if out < 0.1 {
            // Near the mean the formula is zero over zero.
            return normal(out);
        }
        normal(out + (tilt * variance.sqrt() / out).ln() / out)
    }

    /// Mean and variance of the sum when each client's odds are multiplied by `exp(tilt * score)`, and the cumulant there.
    fn tilted(&self, tilt: f64) -> (f64, f64, f64) {
        self.clients.iter().fold((0.0, 0.0, 0.0), |(mean, variance, cumulant), (part, score)| {
            let grown = part * (tilt * score).min(MOST_TILTED).exp_m1();
            let chance = (part + grown) / (1.0 + grown);
            (mean + chance * score, variance + chance * (1.0 - chance) * score * score, cumulant + grown.ln_1p())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients with so many requests and faults.
    fn callers(first: u32, all: impl IntoIterator<Item = (u32, u32)>) -> Callers {
        Callers::new((first..).zip(all).map(|(client, (requests, faults))| Caller { client, requests, faults }), 0)
    }

    fn of(candidate: impl IntoIterator<Item = (u32, u32)>, stable: impl IntoIterator<Item = (u32, u32)>) -> f64 {
        chance_of_spread(&callers(0, candidate), &callers(1_000_000, stable))
    }

    #[test]
    fn the_tail_is_that_of_the_hypergeometric_distribution() {
        for (own, met, other, other_met) in [(30, 12, 300, 30), (30, 20, 300, 30), (200, 60, 200, 20)] {
            let clients = |all: u32, met: u32| (0..all).map(move |n| (7, u32::from(n < met)));
            let [candidate, stable] = [callers(0, clients(own, met)), callers(9_999, clients(other, other_met))];
            let found = Draw::new(&candidate, &stable, |caller| f64::from(caller.faults)).chance();
            let exact = super::super::stats::fisher(met.into(), own.into(), other_met.into(), other.into());
            assert!((0.3..5.0).contains(&(found / exact)), "{found} for {exact}");
        }
    }

    #[test]
    fn one_clients_errors_are_one_clients_and_so_are_a_busy_ones() {
        let stable = || (0..300).map(|n| (1 + n % 30, u32::from(n % 5 == 0)));
        assert!(of((0..30).map(|n| (1 + n, if n == 20 { 20 } else { 0 })), stable()) > 0.1);
        assert!(of([(30, 20), (28, 25), (1, 0), (3, 0), (7, 0), (12, 0), (17, 0), (9, 0)], stable()) > 1e-4);
    }

    #[test]
    fn errors_of_many_clients_are_clear() {
        let stable = || (0..300).map(|n| (1 + n % 30, u32::from(n % 10 == 0)));
        let chance = of((0..30).map(|n| (1 + n, 1)), stable());
        assert!(chance < 1e-20, "{chance}");
    }

    #[test]
    fn busier_clients_are_no_worse_ones() {
        // As many errors for each request: the busy have more of them, and that is all.
        let busy = || (0..40).map(|n| (40, u32::from(n % 2 == 0) * 4));
        let quiet = || (0..400).map(|n| (4, u32::from(n % 10 == 0) * 2));
        assert!(of(busy().chain(quiet().take(10)), busy().chain(quiet())) > 0.1);
    }

    #[test]
    fn where_clients_are_not_known_nothing_is_said() {
        let some = callers(0, [(3, 1), (4, 0)]);
        assert_eq!(chance_of_spread(&some, &Callers::default()), 1.0);
        assert_eq!(chance_of_spread(&Callers::default(), &some), 1.0);
        assert_eq!(of([(3, 1), (200, 9)], [(20, 9), (50, 2)]), 1.0, "nobody is like the other");
    }
}
