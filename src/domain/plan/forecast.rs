//! What a plan will take, and what the judge will see on the way, if traffic stays as it is.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Plan, Step};
use crate::domain::judge::{Reaction, Rules};
use crate::domain::split::Share;

/// Names of tools in one warning.
const NAMED: usize = 5;

/// What a service answered in the recent past, both entries together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Requests per second that ended by an entry's doing.
    pub rate: f64,
    /// Calls per second of each tool.
    pub tools: BTreeMap<String, f64>,
}

/// The timeline of a plan, at the earliest, and the samples that each step will see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// The plan's name.
    pub plan: String,
    /// From the start to the end, in milliseconds, if nothing has to be waited for.
    pub total_ms: u64,
    /// Requests per second that it goes by.
    pub rate: f64,
    /// Each step.
    pub steps: Vec<StepForecast>,
    /// What deserves a word, most of all where there is too little traffic to judge.
    pub warnings: Vec<String>,
}

/// One step of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepForecast {
    /// Counted from 1.
    pub step: usize,
    /// What the candidate gets, in per cent.
    pub share: f64,
    /// From the start of the rollout, in milliseconds, at the earliest.
    pub begins_ms: u64,
    /// The same of its end.
    pub ends_ms: u64,
    /// How long it is held, in milliseconds.
    pub hold_ms: Option<u64>,
    /// Whether it is the soak: everything goes to the candidate.
    pub soak: bool,
    /// What has to be so before it is left, as people name it.
    pub gates: Vec<String>,
    /// How long a window will be, in milliseconds: longer than configured where it takes longer until there are enough samples;
    /// none where there is no traffic.
    pub window_ms: Option<u64>,
    /// Samples of the candidate in a window as it is configured.
    pub per_window: f64,
    /// Samples of the candidate in the hold.
    pub per_hold: f64,
    /// The same of each tool.
    pub tools: Vec<ToolForecast>,
}

/// One tool in one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolForecast {
    /// Its name.
    pub tool: String,
    /// Samples of the candidate in the hold.
    pub per_hold: f64,
    /// Whether they are enough to judge its errors.
    pub judged: bool,
}

impl Forecast {
    /// Of a plan, judged by rules, in traffic as it was.
    pub fn of(plan: &Plan, rules: &Rules, traffic: &Traffic) -> Self {
        let mut steps = Vec::with_capacity(plan.steps.len());
        let mut begins = Duration::ZERO;
        for (at, step) in plan.steps.iter().enumerate() {
            let ends = begins.saturating_add(step.hold.unwrap_or_default());
            steps.push(forecast(at + 1, step, begins, ends, rules, traffic));
            begins = ends;
        }
        let mut forecast = Self {
            plan: plan.name.clone(),
            total_ms: millis(begins),
            rate: traffic.rate.max(0.0),
            steps,
            warnings: plan.remarks(),
        };
        forecast.warn(plan, rules, traffic);
        forecast
    }

    fn warn(&mut self, plan: &Plan, rules: &Rules, traffic: &Traffic) {
        if !rules.looks_at_traffic() {
            self.warnings
                .push("errors, latency, throughput and tools are all off: nothing that traffic shows is judged".to_owned());
            return;
        }
        if !traffic.is_there() {
            let what = "no traffic in the recent past: no step can be judged, and a step that cannot be judged is held until there \
                        is enough of it, or until somebody advances the rollout";
            self.warnings.push(what.to_owned());
            return;
        }
        for (step, forecast) in plan.steps.iter().zip(&self.steps) {
            let Some(hold) = step.hold else { continue };
            self.warnings.extend(of_errors(hold, forecast, rules).or_else(|| of_latency(hold, forecast, rules)));
        }
        self.warnings.extend(of_tools(&self.steps, rules));
    }
}

impl Traffic {
    fn is_there(&self) -> bool {
        self.rate > 0.0
    }
}

fn forecast(step: usize, of: &Step, begins: Duration, ends: Duration, rules: &Rules, traffic: &Traffic) -> StepForecast {
    let hold = of.hold.unwrap_or_default().as_secs_f64();
    let part = of.share.percent() / 100.0;
    let rate = (traffic.rate * part).max(0.0);
    let tool = |(tool, rate): (&String, &f64)| {
        let per_hold = (rate * part * hold).max(0.0);
        ToolForecast { tool: tool.clone(), per_hold, judged: per_hold >= rules.least() }
    };
    StepForecast {
        step,
        share: of.share.percent(),
        begins_ms: millis(begins),
        ends_ms: millis(ends),
        hold_ms: of.hold.map(millis),
        soak: of.share == Share::ALL,
        gates: of.gates.iter().map(ToString::to_string).collect(),
        window_ms: (rate > 0.0).then(|| millis(window(rate, rules))),
        per_window: rate * rules.window.as_secs_f64(),
        per_hold: rate * hold,
        tools: traffic.tools.iter().map(tool).collect(),
    }
}

/// How long it takes until the candidate has enough samples for a window.
fn window(rate: f64, rules: &Rules) -> Duration {
    let needs = Duration::try_from_secs_f64(rules.min_samples as f64 / rate).unwrap_or(Duration::MAX);
    needs.max(rules.window)
}

impl Rules {
    /// The least number of samples by which errors can be judged.
    fn least(&self) -> f64 {
        self.min_samples as f64 * f64::from(self.windows)
    }
}

/// Too few samples for windows as they are configured: either more patience, or no judgement in this hold at all.
fn of_errors(hold: Duration, step: &StepForecast, rules: &Rules) -> Option<String> {
    let window = Duration::from_millis(step.window_ms?);
    let needs = window.saturating_mul(rules.windows);
    let name = step.name();
    let has = format!("{name}: about {} samples in a window of {}", Count(step.per_window), About(rules.window));
    if window > rules.window {
        let few = format!("{has}, {} are needed: windows stretch to {}", rules.min_samples, About(window));
        let windows = rules.windows;
        return Some(if needs > hold {
            let (needs, hold) = (About(needs), About(hold));
            format!(
                "{few}, and the {windows} that it takes to judge do not fit into the hold of {hold}: it is held for {needs} or so"
            )
        } else {
            few
        });
    }
    let (windows, needs) = (rules.windows, About(needs));
    (rules.span() > hold).then(|| {
        format!("{name}: the judge needs {windows} windows, {needs}, to say anything: the hold of {} is shorter", About(hold))
    })
}

fn of_latency(hold: Duration, step: &StepForecast, rules: &Rules) -> Option<String> {
    let is_off = rules.reactions.latency == Reaction::Off && rules.reactions.throughput == Reaction::Off;
    let few = step.per_window < rules.min_latency_samples as f64;
    (few && !is_off && !hold.is_zero()).then(|| {
        let (name, window, needs) = (step.name(), About(rules.window), rules.min_latency_samples);
        let has = Count(step.per_window);
        format!("{name}: about {has} samples in a window of {window}, latency and throughput need {needs}: they are not judged")
    })
}

/// Tools that no step has enough calls of.
fn of_tools(steps: &[StepForecast], rules: &Rules) -> Option<String> {
    if rules.reactions.tools == Reaction::Off {
        return None;
    }
    let all = steps.first()?.tools.iter().map(|tool| tool.tool.as_str());
    let judged = |name: &str| steps.iter().flat_map(|step| &step.tools).any(|tool| tool.judged && tool.tool == name);
    let never: Vec<&str> = all.filter(|name| !judged(name)).collect();
    let (named, rest) = never.split_at(never.len().min(NAMED));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    let least = Count(rules.least());
    (!never.is_empty()).then(|| {
        format!("tools with fewer than {least} calls in every hold, so not judged by themselves: {}{more}", named.join(", "))
    })
}

impl StepForecast {
    /// `step 2 (50 %)`.
    fn name(&self) -> String {
        format!("step {} ({} %)", self.step, self.share)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A duration in two units, rounded up: `3m20s`, `1h5m`, `2d`, `450ms`.
#[derive(Clone, Copy, Debug)]
pub struct About(pub Duration);

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_micros().div_ceil(1_000);
        let units: [(u128, &str); 5] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
        let Some(at) = units.iter().position(|(unit, _)| millis >= *unit) else { return f.write_str("0s") };
        let Some((small, _)) = units.get(at + 1) else { return write!(f, "{millis}ms") };
        // Rounding up may reach a whole unit above: 59.9 minutes are an hour.
        let rounded = millis.div_ceil(*small) * small;
        let at = units.iter().position(|(unit, _)| rounded >= *unit).unwrap_or(at);
        let (large, name) = units[at];
        write!(f, "{}{name}", rounded / large)?;
        match units.get(at + 1) {
            Some((small, name)) if rounded % large >= *small => write!(f, "{}{name}", rounded % large / small),
            _ => Ok(()),
        }
    }
}

/// A number of samples that is expected: one decimal where there are few, else none.
#[derive(Clone, Copy, Debug)]
pub struct Count(pub f64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= 10.0 || self.0.fract() == 0.0 { write!(f, "{:.0}", self.0) } else { write!(f, "{:.1}", self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(rate: f64, tools: &[(&str, f64)]) -> Traffic {
        Traffic { rate, tools: tools.iter().map(|(tool, rate)| ((*tool).to_owned(), *rate)).collect() }
    }

    fn shipped(rate: f64) -> Forecast {
        Forecast::of(&Plan::shipped(), &Rules::default(), &traffic(rate, &[]))
    }

    #[test]
    fn a_forecast_is_the_timeline_and_the_samples_of_each_step() {
        let forecast = shipped(50.0);
        let minutes = |step: &StepForecast| (step.begins_ms / 60_000, step.ends_ms / 60_000, step.soak);
        assert_eq!(forecast.steps.iter().map(minutes).collect::<Vec<_>>(), [(0, 10, false), (10, 30, false), (30, 40, true)]);
        assert_eq!(forecast.total_ms, 40 * 60_000);
        let samples: Vec<(f64, f64)> = forecast.steps.iter().map(|step| (step.per_window, step.per_hold)).collect();
        assert_eq!(samples, [(300.0, 3_000.0), (1_500.0, 30_000.0), (3_000.0, 30_000.0)]);
        assert!(forecast.steps.iter().all(|step| step.window_ms == Some(60_000)), "long enough as they are");
        assert_eq!(forecast.warnings, Vec::<String>::new());
    }

    #[test]
    fn too_little_traffic_is_said_step_by_step() {
        assert_eq!(
            shipped(1.0).warnings,
            [
                "step 1 (10 %): about 6 samples in a window of 1m, 20 are needed: windows stretch to 3m20s",
                "step 2 (50 %): about 30 samples in a window of 1m, latency and throughput need 100: they are not judged",
                "step 3 (100 %): about 60 samples in a window of 1m, latency and throughput need 100: they are not judged",
            ]
        );
        let slow = shipped(0.1);
        assert_eq!(slow.steps[0].window_ms, Some(2_000_000));
        assert_eq!(
            slow.warnings[0],
            "step 1 (10 %): about 0.6 samples in a window of 1m, 20 are needed: windows stretch to 33m20s, and the 2 that it takes \
             to judge do not fit into the hold of 10m: it is held for 1h7m or so"
        );
        let short = Forecast::of(&Plan::parse_steps("10:90s,100").unwrap(), &Rules::default(), &traffic(1e3, &[]));
        let expected = "step 1 (10 %): the judge needs 2 windows, 2m, to say anything: the hold of 1m30s is shorter";
        assert_eq!(short.warnings, [expected]);
    }

    #[test]
    fn without_traffic_a_forecast_says_that_nothing_can_be_judged() {
        for rate in [0.0, -1.0, f64::NAN] {
            let forecast = shipped(rate);
            assert_eq!(forecast.warnings.len(), 1);
            assert!(forecast.warnings[0].starts_with("no traffic in the recent past: no step can be judged"), "{forecast:?}");
            assert!(forecast.steps.iter().all(|step| step.window_ms.is_none()), "{rate}");
            assert_eq!(forecast.total_ms, 2_400_000, "the timeline is there all the same");
        }
    }

    #[test]
    fn tools_that_no_hold_has_enough_calls_of_are_named() {
        let many: Vec<(String, f64)> = (0..7).map(|n| (format!("rare-{n}"), 0.001)).collect();
        let mut tools: Vec<(&str, f64)> = many.iter().map(|(tool, rate)| (tool.as_str(), *rate)).collect();
        // 40 samples in the hold of 20 min at 50 %, and no other.
        tools.push(("just", 40.0 / 600.0));
        let mut rules = Rules::default();
        let forecast = Forecast::of(&Plan::shipped(), &rules, &traffic(50.0, &tools));
        let judged = |at: usize| forecast.steps[at].tools.iter().find(|tool| tool.tool == "just").unwrap().judged;
        assert_eq!((judged(0), judged(1), judged(2)), (false, true, true));
        let expected = "tools with fewer than 40 calls in every hold, so not judged by themselves: rare-0, rare-1, rare-2, rare-3, \
                        rare-4 and 2 more";
        assert_eq!(forecast.warnings, [expected]);
        rules.reactions.tools = Reaction::Off;
        assert_eq!(Forecast::of(&Plan::shipped(), &rules, &traffic(50.0, &tools)).warnings, Vec::<String>::new());
    }

    #[test]
    fn a_forecast_goes_through_json() {
        let mut plan = Plan::shipped();
        plan.steps[1].gates.push(crate::domain::Gate::Approval { persons: 2 });
        let forecast = Forecast::of(&plan, &Rules::default(), &traffic(1.0, &[("a", 0.5)]));
        let text = serde_json::to_string(&forecast).unwrap();
        assert!(text.contains(r#""gates":["approval:2"]"#), "{text}");
        assert_eq!(serde_json::from_str::<Forecast>(&text).unwrap(), forecast);
    }

    #[test]
    fn durations_are_rounded_up_to_two_units() {
        for (millis, said) in [
            (0, "0s"),
            (450, "450ms"),
            (1_000, "1s"),
            (60_000, "1m"),
            (200_000, "3m20s"),
            (3_599_500, "1h"),
            (3_900_000, "1h5m"),
            (90_061_000, "1d2h"),
            (172_800_000, "2d"),
        ] {
            assert_eq!(About(Duration::from_millis(millis)).to_string(), said);
        }
    }
}
