//! What the judge says, and by what.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::judge::{Against, Finding, Report, Verdict};
use crate::domain::machine::Machine;
use crate::upstream::EntryTally;

/// The judge's last word about the candidate.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Verdict)]
pub(super) struct VerdictState {
    /// `pass`, `fail`, `unsure`.
    verdict: &'static str,
    /// Why it is unsure.
    unsure: Option<String>,
    /// What matters of what was looked at: what fails first.
    findings: Vec<FindingState>,
    /// Where the stable entry is the sick one.
    stable_is_sick: Option<FindingState>,
    /// Requests of the candidate since the step began,
    samples: u64,
    /// and of the stable entry.
    stable_samples: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Finding)]
struct FindingState {
    /// `errors`, `latency`, `throughput`, `tool-errors`, `tool-latency`.
    trigger: &'static str,
    tool: Option<String>,
    /// `pass`, `fail`, `unsure`.
    verdict: &'static str,
    /// The candidate's: an error rate (0 to 1), or a ratio.
    value: f64,
    /// What it was compared with: an error rate, or a p95 in seconds.
    reference: Option<f64>,
    /// The bound.
    limit: f64,
    /// `stable`, `baseline`, `nothing`.
    against: &'static str,
    samples: u64,
    reference_samples: u64,
    /// Full windows in a row that were so,
    windows: u32,
    /// and how many it takes.
    of: u32,
}

/// A business metric.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MetricReading {
    name: String,
    /// The last reading; null: none yet, or it failed.
    value: Option<f64>,
    /// Why it failed.
    error: Option<String>,
    min: Option<f64>,
    max: Option<f64>,
    /// Readings in a row out of bounds,
    out: u32,
    /// and how many of them fail it.
    times: u32,
}

/// What an entry answered since its version came into the slot, as the judge counts it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Answers {
    /// Requests that ended by the entry's doing.
    requests: u64,
    /// Of them: its faults, its JSON-RPC errors, results with `isError`.
    faults: u64,
    /// 95 of 100 took no longer; null: none yet.
    p95_ms: Option<f64>,
}

impl Answers {
    pub(super) fn of(tally: &EntryTally) -> Self {
        let all = tally.total().all;
        let p95 = all.times.quantile(0.95).map(|time| (time.as_secs_f64() * 1e5).round() / 100.0);
        Self { requests: all.requests, faults: all.faults, p95_ms: p95 }
    }
}

impl VerdictState {
    pub(super) fn of(report: &Report) -> Self {
        Self {
            verdict: word(report.verdict),
            unsure: report.unsure.clone(),
            findings: report.findings.iter().map(FindingState::of).collect(),
            stable_is_sick: report.stable_is_sick.as_ref().map(FindingState::of),
            samples: report.samples,
            stable_samples: report.stable_samples,
        }
    }
}

impl FindingState {
    fn of(finding: &Finding) -> Self {
        Self {
            trigger: finding.trigger.as_str(),
            tool: finding.tool.clone(),
            verdict: word(finding.verdict),
            value: finding.value,
            reference: finding.reference,
            limit: finding.limit,
            against: match finding.against {
                Against::Stable => "stable",
                Against::Baseline => "baseline",
                Against::Nothing => "nothing",
            },
            samples: finding.samples,
            reference_samples: finding.reference_samples,
            windows: finding.windows,
            of: finding.of,
        }
    }
}

/// The business metrics of a service, as far as they were read.
pub(super) fn metrics(machine: &Machine) -> Vec<MetricReading> {
    let rules = machine.rules().judge.metrics.iter();
    let readings = rules.map(|rule| {
        let state = machine.live().metrics().get(&rule.name);
        let reading = state.and_then(|state| state.reading.as_ref());
        MetricReading {
            name: rule.name.clone(),
            value: reading.and_then(|reading| reading.as_ref().ok()).copied(),
            error: reading.and_then(|reading| reading.as_ref().err()).cloned(),
            min: rule.bound.min,
            max: rule.bound.max,
            out: state.map_or(0, |state| state.out),
            times: rule.times,
        }
    });
    readings.collect()
}

pub(super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Unsure => "unsure",
    }
}
