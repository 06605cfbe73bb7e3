//! Whether the candidate's errors are more than the other's, or only fall otherwise.
//!
//! Errors come in clusters: one client asks the same wrong thing again and again, and stays where it is. So they are weighed
//! by client: Kish's design effect, the sum of the squares of each client's errors over their sum, says how many errors are
//! worth one, and requests are worth as much less (Kish 1965; Rao and Scott 1992 for tests by it). With the counts that
//! remain, Fisher's exact test.
//!
//! A busy client has many errors that are no cluster, and all the same it would count as one. So each client counts up to so
//! many errors and no more, and that for several bounds; the clearest answer counts, times how many were asked (Bonferroni).
//! Which entry a client is on is chosen by a keyed hash, and the bound is the same for both: the test stays true with any.

use super::stats::{binomial, fisher};
use super::{Calls, Faulty, Figures};

/// A client counts with so many errors at most.
const CAPS: [f64; 6] = [1.0, 2.0, 4.0, 8.0, 16.0, f64::INFINITY];

/// Errors of clients that count up to a bound.
#[derive(Clone, Copy, Default)]
struct Clusters {
    sum: f64,
    squares: f64,
}

impl Clusters {
    fn of(faulty: &Faulty, cap: f64) -> Self {
        let (sum, squares) = faulty.capped(cap);
        Self { sum, squares }
    }

    /// Of faults whose clients are not known: as if they came in clusters like these.
    fn alike(faults: f64, like: Self) -> Self {
        Self { sum: faults, squares: faults * like.effect() }
    }

    fn and(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, squares: self.squares + other.squares }
    }

    /// How many errors are worth one.
    fn effect(self) -> f64 {
        if self.sum > 0.0 { (self.squares / self.sum).max(1.0) } else { 1.0 }
    }
}

/// Chance that noise alone gives the candidate so many more errors than the reference has. Whose those of a baseline were is not
/// known.
pub fn chance(candidate: &Calls, reference: &Calls) -> f64 {
    let known = reference.faulty.capped(f64::INFINITY).0;
    let unknown = (reference.faults as f64 - known).max(0.0);
    // How many of them a bound would leave is not known either.
    let caps = if unknown > 0.0 { &CAPS[CAPS.len() - 1..] } else { &CAPS };
    least(caps, candidate.faulty.greatest().max(reference.faulty.greatest()), |cap| {
        let (own, other) = (Clusters::of(&candidate.faulty, cap), Clusters::of(&reference.faulty, cap));
        let other = other.and(Clusters::alike(unknown, own.and(other)));
        let effect = own.effect().max(own.and(other).effect());
        let [x, n, y, m] = [own.sum, candidate.requests as f64, other.sum, reference.requests as f64];
        fisher(x / effect, n / effect, y / effect, m / effect)
    })
}

/// Chance that of all clients that met errors so many are by accident among the candidate's: exact, whatever clients do, since
/// which entry a client is on is chosen by a hash. For the same windows only: the longer one looks, the more clients have met
/// one. 1 where it is not known how many clients there were, as with tools.
pub fn chance_of_clients(candidate: &Figures, stable: &Figures) -> f64 {
    let [x, y] = [candidate, stable].map(|figures| figures.all.faulty.clients() as f64);
    if candidate.clients == 0 || stable.clients == 0 || candidate.tools.is_empty() {
        return 1.0;
    }
    // Of several windows it is known how many there were at least.
    fisher(x, x.max(candidate.clients as f64), y, y.max(stable.clients as f64))
}

/// Chance that noise alone gives so many errors where `rate` is what is allowed: for want of anything to compare with.
pub fn chance_beyond(candidate: &Calls, rate: f64) -> f64 {
    least(&CAPS, candidate.faulty.greatest(), |cap| {
        let own = Clusters::of(&candidate.faulty, cap);
        binomial(own.sum / own.effect(), candidate.requests as f64 / own.effect(), rate)
    })
}

/// The least over all bounds, times how many of them make a difference.
fn least(caps: &[f64], greatest: f64, chance: impl Fn(f64) -> f64) -> f64 {
    let needed = caps.iter().position(|cap| *cap >= greatest).unwrap_or(caps.len() - 1) + 1;
    let least = caps[..needed].iter().map(|cap| chance(*cap)).fold(1.0, f64::min);
    (least * needed as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(requests: u64, faults: &[u32], first: u64) -> Calls {
        let faulty = Faulty::new((first..).zip(faults.iter().copied()), 0);
        Calls { requests, faults: faults.iter().map(|n| u64::from(*n)).sum(), faulty, ..Calls::default() }
    }

    #[test]
    fn spread_errors_are_counted_one_by_one() {
        let chance = chance(&calls(1_000, &[1; 51], 0), &calls(1_000, &[], 100));
        assert!(chance < 1e-14, "{chance}");
    }

    #[test]
    fn one_clients_errors_are_worth_one() {
        let clean = calls(1_000, &[], 100);
        let one = chance(&calls(1_000, &[51], 0), &clean);
        let three = chance(&calls(1_000, &[300, 1, 1], 0), &clean);
        assert!(one > 0.4 && three > 0.05, "{one}, {three}");
    }

    #[test]
    fn a_busy_clients_errors_do_not_hide_those_of_many_others() {
        let busy: Vec<u32> = [20; 2].into_iter().chain([1; 40]).collect();
        let chance = chance(&calls(600, &busy, 0), &calls(5_400, &[1; 100], 100));
        assert!(chance < 1e-6, "{chance}");
    }

    #[test]
    fn where_both_are_as_bad_noise_explains_it() {
        let chance = chance(&calls(100, &[2; 25], 0), &calls(900, &[2; 220], 100));
        assert!(chance > 0.05, "{chance}");
    }

    #[test]
    fn errors_of_a_baseline_count_though_it_is_not_known_whose_they_were() {
        let baseline = |faults| Calls { requests: 10_000, faults, ..Calls::default() };
        let candidate = calls(1_000, &[2; 30], 0);
        let [as_many, fewer] = [600, 100].map(|faults| chance(&candidate, &baseline(faults)));
        assert!(as_many > 0.3 && fewer < 1e-6, "{as_many}, {fewer}");
        // Beside the same, of which it is known.
        let known = chance(&candidate, &calls(10_000, &[2; 100], 100));
        let unknown = chance(&candidate, &baseline(200));
        assert!((0.5..2.0).contains(&(unknown / known)), "{unknown} for {known}");
    }

    #[test]
    fn with_nothing_to_compare_the_bound_stands_by_itself() {
        assert!(chance_beyond(&calls(200, &[2; 50], 0), 0.05) < 1e-12);
        assert!(chance_beyond(&calls(200, &[1; 11], 0), 0.05) > 0.1);
        assert!(chance_beyond(&calls(200, &[100], 0), 0.05) > 0.05);
    }
}
