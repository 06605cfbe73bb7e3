//! Whether the candidate is slower, or only was asked for slower things.
//!
//! Tools differ far more than entries do. So each tool's times are measured by the reference's own p95 of that tool, and
//! what is compared is how many are beyond it (direct standardisation): a candidate whose clients like slow tools is not slow.
//!
//! Times cluster by client as well (the same arguments, the same distance), and whose a time was is not known. So a client's
//! requests are counted as less the more there are of them: the design effect `1 + (m - 1) ρ` of Kish for clusters of `m`.

use std::time::Duration;

use super::stats::{fisher, normal};
use super::{Figures, Times};

/// The part of times beyond a p95.
const BEYOND: f64 = 0.05;
/// A tool of which the reference has fewer times is left out.
const MIN_REFERENCE: u64 = 20;
/// For the mean, a time counts up to so many times the reference's p95: one hanging call is not the mean of all.
const CLIPPED: f64 = 4.0;
/// How much more a request's client asks than the mean client does: the mean weighted by requests, of log-normal rates whose
/// logarithm has a standard deviation of 1.
const SIZE_BIAS: f64 = 3.0;

/// The candidate's times, and the reference's, tool by tool.
pub struct Strata<'a> {
    strata: Vec<Stratum<'a>>,
    effect: f64,
    reference_effect: f64,
}

struct Stratum<'a> {
    candidate: &'a Times,
    reference: &'a Times,
    /// The reference's.
    p95: Duration,
    samples: f64,
    reference_samples: f64,
}

/// What a comparison gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// The ratio.
    pub ratio: f64,
    /// The chance that noise gives as much.
    pub chance: f64,
}

impl<'a> Strata<'a> {
    /// By tool where tools are most of what is asked, else everything as one. `alike`: how alike the times of one client are
    /// (the correlation within a cluster, 0 to 1).
    pub fn new(candidate: &'a Figures, reference: &'a Figures, alike: f64) -> Option<Self> {
        let tools =
            candidate.tools.iter().filter_map(|(tool, calls)| Stratum::new(&calls.times, &reference.tools.get(tool)?.times));
        let mut strata: Vec<_> = tools.collect();
        let covered = strata.iter().map(|stratum| stratum.samples).sum::<f64>();
        if covered * 2.0 < candidate.all.times.count() as f64 {
            strata = vec![Stratum::new(&candidate.all.times, &reference.all.times)?];
        }
        let compared = Self { strata, effect: 1.0, reference_effect: 1.0 };
        let effect = effect_of(compared.samples(), candidate.clients, alike);
        let reference_effect = effect_of(compared.reference_samples(), reference.clients, alike);
        (!compared.strata.is_empty()).then_some(Self { effect, reference_effect, ..compared })
    }

    /// How many of the candidate's times are compared.
    pub fn samples(&self) -> f64 {
        self.strata.iter().map(|stratum| stratum.samples).sum()
    }

    /// With how many of the reference's.
    pub fn reference_samples(&self) -> f64 {
        self.strata.iter().map(|stratum| stratum.reference_samples).sum()
    }

    /// Whether the candidate's p95 is more than so many times the reference's.
    pub fn is_slower(&self, ratio: f64) -> bool {
        self.beyond(ratio) > BEYOND * self.samples()
    }

    /// The candidate's p95 as a multiple of the reference's, and the chance that noise alone has so many times beyond the
    /// reference's p95.
    pub fn latency(&self) -> Compared {
        let (samples, effect) = (self.samples(), self.effect);
        // As many samples as would make a mean of one kind as sure as the mean weighted by what the candidate was asked.
        let spread: f64 = self.strata.iter().map(|stratum| stratum.samples.powi(2) / stratum.reference_samples).sum();
        let reference = samples * samples / spread / self.reference_effect;
        let chance = fisher(self.beyond(1.0) / effect, samples / effect, BEYOND * reference, reference);
        Compared { ratio: self.ratio(), chance }
    }

    /// Throughput at the same number of clients as a multiple of the reference's, and the chance that noise gives as little.
    /// A client that waits for each answer before it asks again has `1 / mean time` of them (Little's law).
    pub fn throughput(&self) -> Compared {
        let (mut own, mut other, mut variance) = (0.0, 0.0, 0.0);
        for Stratum { candidate, reference, p95, samples, reference_samples } in &self.strata {
            let most = p95.mul_f64(CLIPPED);
            let ((mean, around), (other_mean, other_around)) = (candidate.moments(most), reference.moments(most));
            // In units of the tool's own mean: else the slowest tools, and the few clients that use them, would be all that counts.
            let unit = other_mean.max(f64::MIN_POSITIVE);
            let (around, other_around) = (around / unit.powi(2), other_around / unit.powi(2));
            own += samples * mean / unit;
            other += samples;
            variance +=
                samples * samples * (around * self.effect / samples + other_around * self.reference_effect / reference_samples);
        }
        let deviation = variance.sqrt();
        Compared { ratio: other / own.max(f64::MIN_POSITIVE), chance: normal((own - other) / deviation.max(f64::MIN_POSITIVE)) }
    }

    /// How many are longer than so many times the reference's p95 of their tool.
    fn beyond(&self, ratio: f64) -> f64 {
        self.strata.iter().map(|stratum| stratum.candidate.longer_than(stratum.p95.mul_f64(ratio))).sum()
    }

    /// The multiple of the reference's p95 beyond which one in twenty is: by halving, within 1 %.
    fn ratio(&self) -> f64 {
        let (mut low, mut high) = (1.0f64 / 64.0, 1_024.0f64);
        while high / low > 1.01 {
            let middle = (low * high).sqrt();
            if self.is_slower(middle) { low = middle } else { high = middle }
        }
        (low * high).sqrt()
    }
}

/// How many times of so many clients are worth one.
fn effect_of(samples: f64, clients: u64, alike: f64) -> f64 {
    (1.0 + (SIZE_BIAS * samples / clients.max(1) as f64 - 1.0) * alike).max(1.0)
}

impl<'a> Stratum<'a> {
    fn new(candidate: &'a Times, reference: &'a Times) -> Option<Self> {
        let (samples, reference_samples) = (candidate.count(), reference.count());
        if samples == 0 || reference_samples < MIN_REFERENCE {
            return None;
        }
        let p95 = reference.quantile(1.0 - BEYOND)?.max(Duration::from_micros(1));
        Some(Self { candidate, reference, p95, samples: samples as f64, reference_samples: reference_samples as f64 })
    }
}
