//! From windows to a verdict.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::watch::{Measure, Watch};
use super::windows::Span;
use super::{Figures, Finding, Reaction, Report, Rules, Trigger, Verdict};

/// What traffic shows of the candidate since a rollout began, step by step. Pure: windows come in, reports go out.
#[derive(Clone, Debug, PartialEq)]
pub struct Judge {
    rules: Rules,
    baseline: Option<Figures>,
    /// The baseline of each tool as an entry of its own.
    baselines: BTreeMap<String, Figures>,
    /// Errors, latency, throughput.
    whole: Vec<Watch>,
    /// Errors and latency, by tool.
    tools: BTreeMap<String, Vec<Watch>>,
    /// The stable entry's errors and latency against its own baseline.
    stable: Vec<Watch>,
    windows: u32,
    samples: u64,
    stable_samples: u64,
}

impl Judge {
    /// When a rollout begins or is resumed; `baseline`: what the stable entry was like before the first step.
    pub fn new(rules: Rules, baseline: Option<Figures>) -> Self {
        let watches = |triggers: &[Trigger]| triggers.iter().map(|trigger| Watch::new(*trigger, None)).collect::<Vec<_>>();
        let judged = [Trigger::Errors, Trigger::Latency, Trigger::Throughput];
        let judged: Vec<_> = judged.into_iter().filter(|trigger| rules.reactions.of(*trigger) != Reaction::Off).collect();
        let tools =
            baseline.iter().flat_map(|baseline| baseline.tools.keys().map(|tool| (tool.clone(), of_tool(baseline, tool))));
        Self {
            baselines: tools.collect(),
            whole: watches(&judged),
            tools: BTreeMap::new(),
            stable: watches(&[Trigger::Errors, Trigger::Latency]),
            windows: 0,
            samples: 0,
            stable_samples: 0,
            rules,
            baseline,
        }
    }

    /// Another share is in force: windows, runs and what was seen of the step start anew.
    pub fn begin_step(&mut self) {
        self.tools.clear();
        self.whole.iter_mut().chain(&mut self.stable).for_each(Watch::begin);
        (self.windows, self.samples, self.stable_samples) = (0, 0, 0);
    }

    /// A full window (`rules.window` long) has ended: what each entry showed in it.
    pub fn window(&mut self, candidate: Figures, stable: Figures) -> Report {
        self.windows = self.windows.saturating_add(1);
        self.samples += candidate.all.requests;
        self.stable_samples += stable.all.requests;
        self.of_tools(&candidate, &stable);
        let measure = Measure { rules: &self.rules, baseline: self.baseline.as_ref(), among: 1, of_stable: false };
        let alone = Arc::new(Span { candidate: stable.clone(), stable: Figures::default() });
        if self.baseline.is_some() {
            let itself = Measure { of_stable: true, ..measure };
            self.stable.iter_mut().for_each(|watch| watch.window(&alone, &itself));
        }
        let span = Arc::new(Span { candidate, stable });
        self.whole.iter_mut().for_each(|watch| watch.window(&span, &measure));
        self.report()
    }

    /// Each tool as an entry of its own. One that was not called is none the less in the window: it is a window without.
    fn of_tools(&mut self, candidate: &Figures, stable: &Figures) {
        if self.rules.reactions.tools == Reaction::Off {
            return;
        }
        for tool in candidate.tools.keys() {
            let watches = || [Trigger::ToolErrors, Trigger::ToolLatency].map(|trigger| Watch::new(trigger, Some(tool))).into();
            self.tools.entry(tool.clone()).or_insert_with(watches);
        }
        let among = self.tools.len();
        for (tool, watches) in &mut self.tools {
            let span = Arc::new(Span { candidate: of_tool(candidate, tool), stable: of_tool(stable, tool) });
            let measure = Measure { rules: &self.rules, baseline: self.baselines.get(tool), among, of_stable: false };
            watches.iter_mut().for_each(|watch| watch.window(&span, &measure));
        }
    }

    /// As it stands.
    pub fn report(&self) -> Report {
        let stable_is_sick =
            self.stable.iter().filter_map(Watch::finding).find(|finding| finding.verdict == Verdict::Fail).cloned();
        let mut findings = self.findings();
        if stable_is_sick.is_some() {
            findings
                .iter_mut()
                .filter(|finding| finding.verdict == Verdict::Fail)
                .for_each(|finding| finding.verdict = Verdict::Unsure);
        }
        let fails = findings.iter().any(|finding| finding.verdict == Verdict::Fail && self.acts(finding));
        let unsure = if fails { None } else { self.unsure(stable_is_sick.as_ref()) };
        let verdict = match unsure {
            _ if fails => Verdict::Fail,
            Some(_) => Verdict::Unsure,
            None => Verdict::Pass,
        };
        let (samples, stable_samples) = (self.samples, self.stable_samples);
        Report { verdict, unsure, findings, stable_is_sick, samples, stable_samples }
    }

    fn acts(&self, finding: &Finding) -> bool {
        matches!(self.rules.reactions.of(finding.trigger), Reaction::Rollback | Reaction::Freeze)
    }

    fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.whole.iter().chain(self.tools.values().flatten())
    }

    /// Those that fail first, then those of the entry as a whole, then tools that may be getting worse.
    fn findings(&self) -> Vec<Finding> {
        let told =
            |watch: &&Watch| watch.finding().is_some_and(|finding| finding.tool.is_none() || finding.verdict != Verdict::Pass);
        let mut findings: Vec<Finding> = self.watches().filter(told).filter_map(Watch::finding).cloned().collect();
        findings.sort_by_key(|finding| (finding.verdict != Verdict::Fail, finding.tool.is_some()));
        findings
    }

    /// Why nothing follows yet, in words.
    fn unsure(&self, sick: Option<&Finding>) -> Option<String> {
        if let Some(sick) = sick {
            return Some(format!("the stable entry is the sick one: {}", words(sick)));
        }
        if self.windows == 0 {
            return Some("no full window has ended since the step began".to_owned());
        }
        if self.samples < self.rules.min_samples {
            let windows = if self.windows == 1 { "1 window".to_owned() } else { format!("{} windows", self.windows) };
            let needed = self.rules.min_samples;
            return Some(format!("{} requests of the candidate in {windows}, {needed} are needed", self.samples));
        }
        let worrying = self.watches().filter(|watch| watch.is_worrying()).filter_map(Watch::finding);
        worrying.filter(|finding| self.acts(finding)).map(words).next()
    }
}

/// One tool as if it were all there is. Who called it is not known: as if each client called one tool only.
fn of_tool(figures: &Figures, tool: &str) -> Figures {
    let all = figures.tools.get(tool).cloned().unwrap_or_default();
    let part = all.requests as f64 / figures.all.requests.max(1) as f64;
    Figures { clients: (figures.clients as f64 * part) as u64, all, ..Figures::default() }
}

fn words(finding: &Finding) -> String {
    let what = match (&finding.tool, finding.trigger) {
        (Some(tool), Trigger::ToolErrors) => format!("errors of the tool {tool}"),
        (Some(tool), _) => format!("the latency of the tool {tool}"),
        (None, trigger) => trigger.as_str().to_owned(),
    };
    let Finding { value, limit, windows, of, .. } = finding;
    match finding.trigger {
        Trigger::Errors | Trigger::ToolErrors => {
            let (value, limit) = (value * 100.0, limit * 100.0);
            format!(
                "{what} at {value:.1} %, over {limit:.1} %, in {windows} full windows in a row; it takes {of} that noise does not explain"
            )
        }
        _ => format!(
            "{what} at {value:.2} times the reference, beyond {limit:.2}, in {windows} full windows in a row; it takes {of} that noise does not explain"
        ),
    }
}
