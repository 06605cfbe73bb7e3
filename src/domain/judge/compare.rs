//! The candidate beside what it is compared with, in one full window or in a run of them.

use super::errors::{chance, chance_beyond, chance_of_clients};
use super::speed::{Compared, Strata};
use super::spread::Spread;
use super::windows::Span;
use super::{Against, Calls, Figures, Rules};

/// How alike the times of one client are, over all tools;
const ALIKE: f64 = 0.1;
/// and those of one client with one tool. A mean moves with its clients more than the part beyond a p95 does.
const TOOL_ALIKE: f64 = 0.3;
const MEAN_ALIKE: f64 = 0.3;
/// The latency of a tool with fewer clients says nothing.
const TOOL_CLIENTS: u64 = 5;

/// What a comparison gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Whether it is out of bounds.
    pub bad: bool,
    /// The candidate's figure,
    pub value: f64,
    /// and the other's, where it is one of the same kind or tells what the ratio is of.
    pub reference: Option<f64>,
    /// Which is whose.
    pub against: Against,
    /// Samples of the candidate,
    pub samples: u64,
    /// and of the other.
    pub reference_samples: u64,
    /// Chance that noise gives as much.
    pub chance: f64,
    /// The same beside the stable entry of the same windows alone, where it has samples enough.
    pub beside_stable: f64,
    /// Of errors: the chance that so many of the clients that met any are the candidate's; 1 where that is not known.
    pub by_client: f64,
    /// Clients beside clients that are as busy,
    pub spread: Spread,
    /// and the same of the last windows of a longer run alone.
    pub latest: Spread,
    /// Whether enough clients met it.
    pub clients: bool,
}

/// The error rates. Where the stable entry has enough samples, it and the baseline together are what is ordinary.
pub fn errors(span: &Span, baseline: Option<&Figures>, rules: &Rules) -> Option<Seen> {
    let (own, stable) = (&span.candidate.all, &span.stable.all);
    let value = own.rate()?;
    let baseline = baseline.map(|baseline| &baseline.all).filter(|calls| calls.requests >= rules.min_samples);
    let (against, reference) = match baseline {
        _ if stable.requests >= rules.min_samples => (Against::Stable, Some(stable)),
        Some(baseline) => (Against::Baseline, Some(baseline)),
        None => (Against::Nothing, None),
    };
    let bad = value > rules.max_error_rate;
    let chances = || match (against, reference) {
        (Against::Stable, _) => {
            let clients = chance_of_clients(&span.candidate, &span.stable);
            let spread = Spread::new(&span.candidate.callers, &span.stable.callers);
            (chance(own, &joined(stable, baseline)), chance(own, stable), clients, spread)
        }
        (_, Some(reference)) => (chance(own, reference), 0.0, 1.0, Spread::NONE),
        (_, None) => (chance_beyond(own, rules.max_error_rate), 0.0, 1.0, Spread::NONE),
    };
    let (chance, beside_stable, by_client, spread) = if bad { chances() } else { (1.0, 1.0, 1.0, Spread::NONE) };
    Some(Seen {
        bad,
        value,
        reference: reference.and_then(Calls::rate),
        against,
        samples: own.requests,
        reference_samples: reference.map_or(0, |reference| reference.requests),
        chance,
        beside_stable,
        by_client,
        spread,
        latest: Spread::NONE,
        clients: own.faulty.clients() >= rules.min_clients,
    })
}

fn joined(stable: &Calls, baseline: Option<&Calls>) -> Calls {
    let mut all = Calls { requests: stable.requests, faults: stable.faults, faulty: stable.faulty.clone(), ..Calls::default() };
    if let Some(baseline) = baseline {
        all.requests += baseline.requests;
        all.faults += baseline.faults;
        all.faulty.merge(&baseline.faulty);
    }
    all
}

/// The p95 of the entry as a whole, or of one tool.
pub fn latency(span: &Span, baseline: Option<&Figures>, rules: &Rules, of_tool: bool) -> Option<Seen> {
    let (against, reference) = timed(span, baseline, rules)?;
    let strata = Strata::new(&span.candidate, reference, if of_tool { TOOL_ALIKE } else { ALIKE })?;
    let bad = strata.is_slower(rules.max_latency_ratio);
    // Of tools the ratio is not asked for, as long as it is no news.
    let compared = if bad || !of_tool { strata.latency() } else { Compared { ratio: 1.0, chance: 1.0 } };
    let p95 = reference.all.times.quantile(0.95).map(|p95| p95.as_secs_f64());
    let clients = !of_tool || span.candidate.clients >= TOOL_CLIENTS;
    Some(of_speed(&strata, compared, Seen { bad, reference: p95, against, clients, ..Seen::none() }))
}

/// Answers at the same number of clients.
pub fn throughput(span: &Span, baseline: Option<&Figures>, rules: &Rules) -> Option<Seen> {
    let (against, reference) = timed(span, baseline, rules)?;
    let strata = Strata::new(&span.candidate, reference, MEAN_ALIKE)?;
    let compared = strata.throughput();
    let bad = compared.ratio < rules.min_throughput_ratio;
    Some(of_speed(&strata, compared, Seen { bad, against, clients: true, ..Seen::none() }))
}

/// The stable entry where it has times enough, else the baseline, where that has.
fn timed<'a>(span: &'a Span, baseline: Option<&'a Figures>, rules: &Rules) -> Option<(Against, &'a Figures)> {
    let enough = |figures: &Figures| figures.all.times.count() >= rules.min_latency_samples;
    if enough(&span.stable) {
        return Some((Against::Stable, &span.stable));
    }
    baseline.filter(|baseline| enough(baseline)).map(|baseline| (Against::Baseline, baseline))
}

fn of_speed(strata: &Strata<'_>, compared: Compared, seen: Seen) -> Seen {
    let (samples, reference_samples) = (strata.samples() as u64, strata.reference_samples() as u64);
    Seen { value: compared.ratio, chance: compared.chance, samples, reference_samples, ..seen }
}

impl Seen {
    fn none() -> Self {
        Self {
            bad: false,
            value: 0.0,
            reference: None,
            against: Against::Nothing,
            samples: 0,
            reference_samples: 0,
            chance: 1.0,
            beside_stable: 0.0,
            by_client: 1.0,
            spread: Spread::NONE,
            latest: Spread::NONE,
            clients: false,
        }
    }
}
