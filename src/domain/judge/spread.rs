//! Whether the candidate's clients meet errors as those of a bad entry would, busy ones beside busy ones and quiet ones beside
//! quiet ones.
//!
//! A client that repeats what failed makes many errors of one, so episodes are counted: an error that directly follows one of the
//! same client adds none. How often a client errs by itself is its own. Each client's score is the logarithm of how much likelier
//! its episodes are where a tenth of all requests fail besides than where none does, over all rates that a client may have by
//! itself: that busy clients have more of them is in it, and that some err often.
//!
//! Which entry a client is on is chosen by a keyed hash. So, whatever clients do and however their errors cluster, the
//! candidate's are a random draw of all of their stratum, which is clients with about as many requests: a permutation test in
//! strata (Fisher 1935; Mantel and Haenszel 1959), with one draw for all that a client did. The model of the score says how much
//! is found, not how often noise is taken for it.
//!
//! Each client is in or not by a draw of its own with the part of its stratum that is the candidate's, and its score counts from
//! the stratum's mean, so that how many were drawn makes hardly a difference where they are many; of three clients of 33 the chance
//! comes out a quarter of what it is, which the levels have room for. The tail is that of the saddlepoint (Lugannani and
//! Rice 1980; Robinson 1982 for permutation tests), which is nearly as good where a chance is 1e-6 as where it is a half.

use libm::{exp, expm1, log, log1p, pow};

use super::callers::{Caller, Callers};
use super::stats::normal;

/// Strata of requests: 1, 2, 3 to 4, 5 to 8, … and all that is more.
const STRATA: usize = 12;
/// A bad entry fails so many requests besides.
const MORE: f64 = 0.1;
/// Rates at which a client errs by itself: a Beta distribution of this shape about the stable entry's mean, and some clients
/// anywhere.
const SHAPE: f64 = 0.7;
const ANYWHERE: f64 = 0.002;
/// The mean is as if so many requests with so many errors had been seen, too;
const SEEN: (f64, f64) = (50.0, 1.0);
/// and no greater than that.
const GREATEST_MEAN: f64 = 0.5;
/// Rates that are tried: so many, even in their log odds, from 0.15 % to 82 %.
const RATES: usize = 30;
const LOG_ODDS: (f64, f64) = (-6.5, 1.5);
/// Halvings in the search of the saddlepoint: to the last bit or two.
const HALVINGS: usize = 50;
/// The exponential of it is still a number; beyond, only its logarithm is.
const MOST_TILTED: f64 = 600.0;
/// Beyond, all that can be the candidate's is.
const STEEPEST: f64 = 100.0;

/// What clients tell of the candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Chance that it is by accident that clients with such scores are the candidate's.
    pub chance: f64,
    /// The sum of their scores: above 0, what its clients met is likelier of a bad entry than of one like the stable one.
    pub favour: f64,
}

impl Spread {
    /// Where nothing is known.
    pub const NONE: Self = Self { chance: 1.0, favour: 0.0 };

    /// Of the same windows only; nothing is said where clients are not known on both sides.
    pub fn new(candidate: &Callers, stable: &Callers) -> Self {
        if candidate.is_empty() || stable.is_empty() {
            return Self::NONE;
        }
        let odds = Odds::beside(stable);
        let draw = Draw::new(candidate, stable, |caller| odds.score(caller));
        Self { chance: draw.chance(), favour: candidate.iter().map(|caller| odds.score(caller)).sum() }
    }
}

/// How a client's episodes are weighed.
struct Odds {
    rates: Vec<Rate>,
}

/// A rate at which a client may err by itself: all as logarithms.
struct Rate {
    weight: f64,
    /// That a request fails, and that it does not, on an ordinary entry
    ordinary: (f64, f64),
    /// and on a bad one.
    bad: (f64, f64),
}

impl Odds {
    fn beside(stable: &Callers) -> Self {
        let (requests, errors) = stable.iter().fold(SEEN, |(requests, errors), caller| {
            (requests + f64::from(caller.trials()), errors + f64::from(caller.episodes))
        });
        let mean = (errors / requests).min(GREATEST_MEAN);
        let (first, last) = LOG_ODDS;
        let rates = (0..RATES).map(|at| {
            let rate = 1.0 / (1.0 + exp(-(first + (last - first) * at as f64 / (RATES - 1) as f64)));
            let density = pow(rate, SHAPE - 1.0) * pow(1.0 - rate, SHAPE / mean - 1.0) + ANYWHERE;
            let both = |rate: f64| (log(rate), log1p(-rate));
            // Even in their log odds, rates are as much closer to each other as they are nearer to 0 or 1.
            Rate { weight: log(density * rate * (1.0 - rate)), ordinary: both(rate), bad: both(rate + MORE * (1.0 - rate)) }
        });
        Self { rates: rates.collect() }
    }

    /// The logarithm of how much likelier it is of a bad entry.
    fn score(&self, caller: &Caller) -> f64 {
        let episodes = f64::from(caller.episodes);
        let good = f64::from(caller.trials()) - episodes;
        let likely = |of: fn(&Rate) -> (f64, f64)| {
            let all = self.rates.iter().map(move |rate| rate.weight + episodes * of(rate).0 + good * of(rate).1);
            let most = all.clone().fold(f64::NEG_INFINITY, f64::max);
            most + log(all.map(|one| exp(one - most)).sum())
        };
        likely(|rate| rate.bad) - likely(|rate| rate.ordinary)
    }
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
                return exp(cumulant - low * self.seen).min(1.0);
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
        normal(out + log(tilt * variance.sqrt() / out) / out)
    }

    /// Mean and variance of the sum when each client's odds are multiplied by `exp(tilt * score)`, and the cumulant there.
    fn tilted(&self, tilt: f64) -> (f64, f64, f64) {
        self.clients.iter().fold((0.0, 0.0, 0.0), |(mean, variance, cumulant), (part, score)| {
            let tilted = tilt * score;
            if tilted > MOST_TILTED {
                // It is in, for all that a number can say.
                return (mean + score, variance, cumulant + tilted + log(*part));
            }
            let grown = part * expm1(tilted);
            let chance = (part + grown) / (1.0 + grown);
            (mean + chance * score, variance + chance * (1.0 - chance) * score * score, cumulant + log1p(grown))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients with so many requests and faults.
    fn callers(first: u32, all: impl IntoIterator<Item = (u32, u32)>) -> Callers {
        let caller = |(client, (requests, faults))| Caller { client, requests, faults, episodes: faults };
        Callers::new((first..).zip(all).map(caller), 0)
    }

    fn of(candidate: impl IntoIterator<Item = (u32, u32)>, stable: impl IntoIterator<Item = (u32, u32)>) -> f64 {
        Spread::new(&callers(0, candidate), &callers(1_000_000, stable)).chance
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
    fn one_great_score_makes_no_certainty_of_the_small_ones_beside_it() {
        // Of eleven busy ones the one with by far the most, and of 65 quiet ones five with one: nothing unusual, each.
        let own = || [(2_000, 200_000)].into_iter().chain((0..5).map(|_| (7, 1)));
        let stable = || (0..10).map(|_| (2_000, 0)).chain((0..60).map(|n| (7, u32::from(n < 20))));
        let draw = Draw::new(&callers(0, own()), &callers(9_999, stable()), |caller| f64::from(caller.faults));
        let chance = draw.chance();
        assert!((1e-5..0.1).contains(&chance), "{chance}");
    }

    #[test]
    fn errors_of_many_clients_are_clear() {
        let stable = callers(100, (0..300).map(|n| (1 + n % 30, u32::from(n % 10 == 0))));
        let Spread { chance, favour } = Spread::new(&callers(0, (0..30).map(|n| (1 + n, 1))), &stable);
        assert!(chance < 1e-8 && favour > 5.0, "{chance}, {favour}");
    }

    #[test]
    fn a_client_that_repeats_what_failed_tells_less_than_one_that_fails_as_often_here_and_there() {
        let stable = callers(100, (0..300).map(|n| (10 + n % 10, u32::from(n % 5 == 0))));
        let weighed = |episodes| {
            let one = (0..30).map(|client| Caller { client, requests: 14, faults: 4, episodes });
            Spread::new(&Callers::new(one, 0), &stable)
        };
        let (again, apart) = (weighed(1), weighed(4));
        assert!(again.chance > 1e6 * apart.chance && apart.favour > again.favour + 10.0, "{again:?}, {apart:?}");
    }

    #[test]
    fn what_is_usual_on_the_stable_entry_speaks_for_no_bad_one() {
        for usual in [0, 2, 8] {
            let like = || (0..200).map(move |n| (40, if n % 2 == 0 { usual * 2 } else { 0 }));
            let favour = Spread::new(&callers(0, like().take(30)), &callers(1_000, like())).favour;
            assert!(favour < 0.0, "{usual}: {favour}");
        }
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
        assert_eq!(Spread::new(&some, &Callers::default()), Spread::NONE);
        assert_eq!(Spread::new(&Callers::default(), &some), Spread::NONE);
        assert_eq!(of([(3, 1), (200, 9)], [(20, 9), (50, 2)]), 1.0, "nobody is like the other");
    }
}
