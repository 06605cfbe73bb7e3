//! The judge: what traffic shows of the candidate beside the stable entry, and what is to be thought of it.

mod callers;
mod compare;
mod errors;
pub mod figures;
pub mod rules;
mod speed;
mod spread;
mod stats;
pub mod times;
mod verdict;
mod watch;
mod windows;

pub use callers::{Caller, Callers};
pub use figures::{Calls, Faulty, Figures};
pub use rules::{Bound, MetricRule, MetricSource, Reaction, Reactions, Rules, Trigger};
pub use times::Times;
pub use verdict::Judge;

use serde::{Deserialize, Serialize};

/// What is to be thought of the candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Enough was seen, and it is good.
    Pass,
    /// Worse than it may be, and that is no chance.
    Fail,
    /// Too little was seen, or it is not clear: nothing follows from it, neither on nor back.
    Unsure,
}

impl Verdict {
    /// The word of output: `pass`, `fail`, `unsure`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unsure => "unsure",
        }
    }
}

/// One thing that was judged, with what it was judged by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at.
    pub trigger: Trigger,
    /// The tool, where it is of one.
    pub tool: Option<String>,
    /// What is to be thought of it.
    pub verdict: Verdict,
    /// The candidate's figure: an error rate (0 to 1), a ratio.
    pub value: f64,
    /// The same of what it was compared with, where there is such a thing: the stable entry's error rate, its p95 in seconds.
    pub reference: Option<f64>,
    /// The bound.
    pub limit: f64,
    /// What it was compared with.
    pub against: Against,
    /// Samples of the candidate.
    pub samples: u64,
    /// Samples of what it was compared with.
    pub reference_samples: u64,
    /// Full windows in a row that were so,
    pub windows: u32,
    /// and how many it takes.
    pub of: u32,
}

/// What the candidate is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    /// The stable entry in the same windows.
    Stable,
    /// What the stable entry was like before the first step.
    Baseline,
    /// Nothing: the bound stands by itself.
    Nothing,
}

/// What one window, or the hold so far, says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Of all together: fail where one finding whose reaction is not `off` or `notify` fails; pass where none does and enough was
    /// seen since the step began; else unsure.
    pub verdict: Verdict,
    /// Why it is unsure, in words, where it is.
    pub unsure: Option<String>,
    /// The findings that matter: those that fail first, then those of the entry as a whole, then tools that are on their way to fail.
    pub findings: Vec<Finding>,
    /// Whether the stable entry is the sick one: over the bound itself, and worse than its baseline.
    pub stable_is_sick: Option<Finding>,
    /// Requests of the candidate since the step began.
    pub samples: u64,
    /// Requests of the stable entry since the step began.
    pub stable_samples: u64,
}
