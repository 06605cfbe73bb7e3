//! Chances: how often noise alone would show as much. Counts need not be whole, since counts of what comes in clusters are
//! divided by the size of a cluster.
//!
//! Logarithms and powers here and in [`spread`](super::spread) are those of the `libm` crate and not the system's: a verdict is the same
//! on every machine.

use libm::{erfc, exp, lgamma, log, log1p};

/// Chance that of `x + y` marked ones among `n + m` at least `x` are among the `n`: Fisher's exact test, one-sided, with the
/// Gamma function in place of factorials where counts are not whole. 1 where the `n` have no greater part of them than the `m`.
pub fn fisher(x: f64, n: f64, y: f64, m: f64) -> f64 {
    if n <= 0.0 || m <= 0.0 || x * m <= y * n {
        return 1.0;
    }
    let (marked, most) = (x + y, n.min(x + y));
    let all = ln_choose(n + m, marked);
    sum(x, most, |k| exp(ln_choose(n, k) + ln_choose(m, marked - k) - all))
}

/// Chance that of `n` at least `x` are marked, where each is with chance `p`: the binomial's upper tail.
pub fn binomial(x: f64, n: f64, p: f64) -> f64 {
    if n <= 0.0 || x <= n * p {
        return 1.0;
    }
    sum(x, n, |k| exp(ln_choose(n, k) + k * log(p) + (n - k) * log1p(-p)))
}

/// Chance that a normal variate is more than `z` standard deviations above its mean.
pub fn normal(z: f64) -> f64 {
    0.5 * erfc(z / std::f64::consts::SQRT_2)
}

/// The sum of the terms at `from`, `from + 1`, … up to `to`; they fall, so that it ends where nothing more is added.
fn sum(from: f64, to: f64, term: impl Fn(f64) -> f64) -> f64 {
    let (mut at, mut sum) = (from, 0.0);
    // A part of a count beyond the last whole step is rounding.
    while at <= to + 1e-9 {
        let more = term(at.min(to));
        sum += more;
        if more <= sum * 1e-12 {
            break;
        }
        at += 1.0;
    }
    f64::min(sum, 1.0)
}

/// The logarithm of the binomial coefficient.
fn ln_choose(n: f64, k: f64) -> f64 {
    let (k, rest) = (k.max(0.0), (n - k).max(0.0));
    lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(rest + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(seen: f64, known: f64) {
        assert!((seen / known - 1.0).abs() < 1e-6, "{seen} for {known}");
    }

    #[test]
    fn fishers_test_gives_the_known_values() {
        // The lady tasting tea (Fisher 1935): 3 of 4 right is 17/70, 4 of 4 is 1/70.
        near(fisher(3.0, 4.0, 1.0, 4.0), 17.0 / 70.0);
        near(fisher(4.0, 4.0, 0.0, 4.0), 1.0 / 70.0);
        // All 10 of 10 against none of 10: one of the 184,756 ways to choose.
        near(fisher(10.0, 10.0, 0.0, 10.0), 1.0 / 184_756.0);
        assert_eq!(fisher(5.0, 100.0, 50.0, 1_000.0), 1.0);
        assert_eq!(fisher(0.0, 0.0, 3.0, 10.0), 1.0);
    }

    #[test]
    fn the_binomials_tail_gives_the_known_values() {
        near(binomial(8.0, 10.0, 0.5), 56.0 / 1_024.0);
        near(binomial(10.0, 10.0, 0.05), 0.05f64.powi(10));
        assert_eq!(binomial(5.0, 100.0, 0.05), 1.0);
    }

    #[test]
    fn the_normals_tail_gives_the_known_values() {
        near(normal(0.0), 0.5);
        near(normal(1.644_853_626_951_472_2), 0.05);
        near(normal(4.753_424_308_822_899), 1e-6);
    }

    #[test]
    fn between_whole_counts_chances_lie_between_theirs() {
        for tenth in 0..10 {
            let (one, next) = (5.0 + f64::from(tenth) / 10.0, 5.1 + f64::from(tenth) / 10.0);
            assert!(fisher(one, 50.0, 3.0, 300.0) > fisher(next, 50.0, 3.0, 300.0), "{one}");
            assert!(binomial(one, 50.0, 0.05) > binomial(next, 50.0, 0.05), "{one}");
        }
    }

    #[test]
    fn great_counts_are_no_trouble() {
        let chance = fisher(51_000.0, 1_000_000.0, 49_000.0, 1_000_000.0);
        assert!((1e-12..1e-9).contains(&chance), "{chance}");
        assert_eq!(fisher(1e6, 1e6, 0.0, 1e6), 0.0);
    }
}
