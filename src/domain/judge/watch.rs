//! One figure, of an entry or of a tool, watched window by window.

use std::sync::Arc;

use super::compare::{self, Seen};
use super::spread::Spread;
use super::windows::{Span, Track};
use super::{Against, Figures, Finding, Rules, Trigger, Verdict};

/// Noise that is rarer than this no longer explains errors of the entry as a whole, and rarer than `BESIDE` beside the stable
/// entry of the same windows alone: what ails both is not the candidate's. Every window asks anew; measured in ADR 13.
const CLEAR: f64 = 1e-6;
const BESIDE: f64 = 1e-4;
/// Weighed by client, errors of a busy client count too little; counted by client, a busy client's errors are as many as a
/// quiet one's. Where both say the same, it takes less of each: so much together, and so much of the first.
const CLEAR_TOGETHER: f64 = 1e-12;
const SEEN: f64 = 1e-2;
/// Of clients beside clients that are as busy: by itself, and where what they met is likelier of a bad entry, too.
const CLEAR_BY_SPREAD: f64 = 1e-7;
const CLEAR_IN_FAVOUR: f64 = 1e-4;
/// Beside another time, in which other clients were there.
const CLEAR_OF_BASELINE: f64 = 1e-5;
/// The same, of the stable entry itself: a hold for nothing in one of a hundred quiet rollouts would be too many.
const SICK: f64 = 1e-7;
/// In times, of which it is not known whose they were.
const CLEAR_IN_TIME: f64 = 1e-8;
/// In a tool: the tools share one chance among them.
const CLEAR_OF_TOOLS: f64 = 1e-6;
const TOOL_BESIDE: f64 = 1e-3;
/// A difference that is no reason to act, and one not to go on.
const WORRYING: f64 = 1e-3;

/// By what a figure is judged.
pub struct Measure<'a> {
    /// The bounds.
    pub rules: &'a Rules,
    /// What the stable entry was like: as a whole, or with this tool.
    pub baseline: Option<&'a Figures>,
    /// How many share the chance of a false alarm.
    pub among: usize,
    /// Whether it is the stable entry that is measured, beside what it was like before.
    pub of_stable: bool,
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    trigger: Trigger,
    tool: Option<String>,
    track: Track,
    finding: Option<Finding>,
    worrying: bool,
}

impl Watch {
    /// Nothing seen.
    pub fn new(trigger: Trigger, tool: Option<&str>) -> Self {
        Self { trigger, tool: tool.map(str::to_owned), track: Track::default(), finding: None, worrying: false }
    }

    /// Nothing seen, again.
    pub fn begin(&mut self) {
        (self.track, self.finding, self.worrying) = (Track::default(), None, false);
    }

    /// One window more.
    pub fn window(&mut self, span: &Arc<Span>, measure: &Measure<'_>) {
        let of_errors = self.of_errors();
        let samples = |figures: &Figures| if of_errors { figures.all.requests } else { figures.all.times.count() };
        let Some(full) = self.track.add(span, self.need(measure.rules), samples) else { return };
        let Some(seen) = self.compare(&full, measure) else { return self.track.note(&full, false) };
        self.track.note(&full, seen.bad);
        let run = self.track.together().filter(|_| self.track.length() > 1);
        let mut seen = run.and_then(|run| self.compare(&run, measure)).unwrap_or(seen);
        seen.latest = self.latest(&seen, measure.rules);
        self.conclude(&seen, measure);
    }

    /// What clients tell in the last of a longer run: what began with them is not to be outweighed by what was before.
    fn latest(&self, seen: &Seen, rules: &Rules) -> Spread {
        let is_longer = self.trigger == Trigger::Errors && seen.against == Against::Stable && self.track.length() > rules.windows;
        let latest = is_longer.then(|| self.track.latest(rules.windows as usize)).flatten();
        latest.map_or(Spread::NONE, |span| Spread::new(&span.candidate.callers, &span.stable.callers))
    }

    fn conclude(&mut self, seen: &Seen, measure: &Measure<'_>) {
        let (windows, of) = (self.track.length(), measure.rules.windows);
        let clear = self.is_clear(seen, measure);
        self.worrying = windows > 0 && (seen.chance < WORRYING || (windows < of && self.tool.is_none()));
        let verdict = match windows {
            0 => Verdict::Pass,
            windows if windows >= of && clear && seen.clients => Verdict::Fail,
            _ if self.worrying => Verdict::Unsure,
            _ => Verdict::Pass,
        };
        self.finding = Some(Finding {
            trigger: self.trigger,
            tool: self.tool.clone(),
            verdict,
            value: seen.value,
            reference: seen.reference,
            limit: self.limit(measure.rules),
            against: seen.against,
            samples: seen.samples,
            reference_samples: seen.reference_samples,
            windows,
            of,
        });
    }

    fn is_clear(&self, seen: &Seen, measure: &Measure<'_>) -> bool {
        let among = measure.among;
        let Seen { chance, beside_stable, by_client, .. } = *seen;
        match (self.trigger, seen.against) {
            (Trigger::Errors, Against::Stable) => {
                let together = chance * by_client < CLEAR_TOGETHER && chance < SEEN && beside_stable < SEEN;
                together || (chance < CLEAR && beside_stable < BESIDE) || [seen.spread, seen.latest].into_iter().any(is_told)
            }
            (Trigger::Errors, _) => chance < if measure.of_stable { SICK } else { CLEAR_OF_BASELINE },
            (Trigger::Latency | Trigger::Throughput, _) => chance < CLEAR_IN_TIME,
            _ => {
                let level = CLEAR_OF_TOOLS / among.max(1) as f64;
                // The stable entry alone says enough where it says it clearly.
                let beside = self.of_errors() && seen.against == Against::Stable && beside_stable < level;
                beside || (chance < level && beside_stable < TOOL_BESIDE)
            }
        }
    }

    fn compare(&self, span: &Span, measure: &Measure<'_>) -> Option<Seen> {
        match self.trigger {
            Trigger::Latency => compare::latency(span, measure.baseline, measure.rules, false),
            Trigger::ToolLatency => compare::latency(span, measure.baseline, measure.rules, true),
            Trigger::Throughput => compare::throughput(span, measure.baseline, measure.rules),
            _ => compare::errors(span, measure.baseline, measure.rules),
        }
    }

    fn of_errors(&self) -> bool {
        matches!(self.trigger, Trigger::Errors | Trigger::ToolErrors)
    }

    fn need(&self, rules: &Rules) -> u64 {
        if self.of_errors() { rules.min_samples } else { rules.min_latency_samples }
    }

    fn limit(&self, rules: &Rules) -> f64 {
        match self.trigger {
            Trigger::Latency | Trigger::ToolLatency => rules.max_latency_ratio,
            Trigger::Throughput => rules.min_throughput_ratio,
            _ => rules.max_error_rate,
        }
    }

    /// What came of the last full window and the run that it belongs to; none as long as none was full.
    pub fn finding(&self) -> Option<&Finding> {
        self.finding.as_ref()
    }

    /// Whether it may be getting worse, so that it is better to wait.
    pub fn is_worrying(&self) -> bool {
        self.worrying
    }
}

/// Whether clients tell that it is a bad entry.
fn is_told(spread: Spread) -> bool {
    let level = if spread.favour > 0.0 { CLEAR_IN_FAVOUR } else { CLEAR_BY_SPREAD };
    spread.chance < level
}
