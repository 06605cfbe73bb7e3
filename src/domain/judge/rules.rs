//! By what the judge goes, and what follows from it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[service.judge]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Length of a window.
    pub window: Duration,
    /// So many full windows in a row must show it, before something fails.
    pub windows: u32,
    /// Fewer samples of the candidate in a window say nothing about errors.
    pub min_samples: u64,
    /// Errors of fewer clients or sessions than that say nothing.
    pub min_clients: u64,
    /// Error rate (0 to 1) that the candidate may have.
    pub max_error_rate: f64,
    /// Fewer samples of the candidate in a window say nothing about latency and throughput.
    pub min_latency_samples: u64,
    /// The candidate's p95 may be so many times that of the stable entry.
    pub max_latency_ratio: f64,
    /// Answers per client and second may be so many times those of the baseline, at least.
    pub min_throughput_ratio: f64,
    /// What follows from what.
    pub reactions: Reactions,
    /// Business metrics.
    pub metrics: Vec<MetricRule>,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The candidate is down.
    Health,
    /// Its error rate.
    Errors,
    /// Its latency.
    Latency,
    /// Its throughput.
    Throughput,
    /// The error rate of one tool.
    ToolErrors,
    /// The latency of one tool.
    ToolLatency,
    /// Somebody outside says so.
    Signal,
    /// A business metric.
    Metric,
}

impl Trigger {
    /// The word of metrics, records and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::Throughput => "throughput",
            Self::ToolErrors => "tool-errors",
            Self::ToolLatency => "tool-latency",
            Self::Signal => "signal",
            Self::Metric => "metric",
        }
    }
}

/// What follows when something fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reaction {
    /// The candidate goes to 0.
    #[default]
    Rollback,
    /// The rollout stands still where it is, until somebody says how to go on.
    Freeze,
    /// It is told, and the rollout goes on.
    Notify,
    /// It is not looked at.
    Off,
}

/// What follows from each trigger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reactions {
    /// The candidate is down.
    pub health: Reaction,
    /// Errors of the entry as a whole.
    pub errors: Reaction,
    /// Latency of the entry as a whole.
    pub latency: Reaction,
    /// Throughput.
    pub throughput: Reaction,
    /// Errors or latency of one tool.
    pub tools: Reaction,
    /// A signal of severity critical.
    pub signal: Reaction,
}

impl Reactions {
    /// What follows from a trigger; of a metric, its own rule says.
    pub fn of(&self, trigger: Trigger) -> Reaction {
        match trigger {
            Trigger::Health => self.health,
            Trigger::Errors => self.errors,
            Trigger::Latency => self.latency,
            Trigger::Throughput => self.throughput,
            Trigger::ToolErrors | Trigger::ToolLatency => self.tools,
            Trigger::Signal | Trigger::Metric => self.signal,
        }
    }
}

/// A figure from outside that has to stay within bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricRule {
    /// Its name, one of a kind in its service.
    pub name: String,
    /// Where it is read.
    pub source: MetricSource,
    /// What it must be.
    pub bound: Bound,
    /// From one reading to the next.
    pub interval: Duration,
    /// So many readings in a row out of bounds, before it fails.
    pub times: u32,
    /// What follows.
    pub reaction: Reaction,
}

/// Where a business metric is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricSource {
    /// The instant query API of Prometheus (`GET URL/api/v1/query?query=…`); the first sample counts.
    Prometheus {
        /// The server, without `/api/v1`.
        url: String,
        /// PromQL.
        query: String,
    },
    /// A JSON document.
    Json {
        /// Its address.
        url: String,
        /// JSON Pointer (RFC 6901) to a number in it.
        pointer: String,
    },
}

/// What a business metric must be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bound {
    /// No less,
    pub min: Option<f64>,
    /// and no more.
    pub max: Option<f64>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            windows: 2,
            min_samples: 20,
            min_clients: 3,
            max_error_rate: 0.05,
            min_latency_samples: 100,
            max_latency_ratio: 1.25,
            min_throughput_ratio: 0.8,
            reactions: Reactions::default(),
            metrics: Vec::new(),
        }
    }
}
