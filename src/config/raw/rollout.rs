//! What rollouts go by: plans, the judge, sessions, records.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::config::value::{Percent, Size, Span};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Records {
    pub(in crate::config) keep: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Gates {
    pub(in crate::config) secret_file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Sessions {
    pub(in crate::config) on_loss: Option<String>,
    pub(in crate::config) on_drain: Option<String>,
    pub(in crate::config) drain_deadline: Option<Span>,
    pub(in crate::config) drain_pace: Option<Span>,
    pub(in crate::config) rollback_deadline: Option<Span>,
    pub(in crate::config) rollback_pace: Option<Span>,
    pub(in crate::config) hold: Option<Span>,
    pub(in crate::config) handshakes_per_second: Option<u32>,
    pub(in crate::config) check: Option<String>,
    pub(in crate::config) resend: Option<String>,
    pub(in crate::config) remember: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Judge {
    pub(in crate::config) window: Option<Span>,
    pub(in crate::config) windows: Option<u32>,
    pub(in crate::config) min_samples: Option<u32>,
    pub(in crate::config) min_clients: Option<u32>,
    pub(in crate::config) max_error_rate: Option<f64>,
    pub(in crate::config) min_latency_samples: Option<u32>,
    pub(in crate::config) max_latency_ratio: Option<f64>,
    pub(in crate::config) min_throughput_ratio: Option<f64>,
    pub(in crate::config) on_fail: Option<String>,
    #[serde(default)]
    pub(in crate::config) triggers: Triggers,
    #[serde(default)]
    pub(in crate::config) metric: Vec<Metric>,
}

/// What follows from each; none: what `on_fail` says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Triggers {
    pub(in crate::config) health: Option<String>,
    pub(in crate::config) errors: Option<String>,
    pub(in crate::config) latency: Option<String>,
    pub(in crate::config) throughput: Option<String>,
    pub(in crate::config) tools: Option<String>,
    pub(in crate::config) signal: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Metric {
    pub(in crate::config) name: String,
    pub(in crate::config) prometheus: Option<String>,
    pub(in crate::config) query: Option<String>,
    pub(in crate::config) json: Option<String>,
    pub(in crate::config) pointer: Option<String>,
    pub(in crate::config) min: Option<f64>,
    pub(in crate::config) max: Option<f64>,
    pub(in crate::config) interval: Option<Span>,
    pub(in crate::config) times: Option<u32>,
    pub(in crate::config) on_fail: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Plan {
    pub(in crate::config) name: String,
    pub(in crate::config) steps: Vec<Step>,
    #[serde(default)]
    pub(in crate::config) gates: Vec<GateText>,
    pub(in crate::config) soak: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Step {
    pub(in crate::config) share: Percent,
    pub(in crate::config) hold: Option<Span>,
    #[serde(default)]
    pub(in crate::config) gates: Vec<GateText>,
}

/// A gate as it is written: a word, or a table with an address.
#[derive(Debug)]
pub(in crate::config) enum GateText {
    /// `health`, `validation`, `approval`, `approval:2`.
    Word(String),
    /// `{ webhook = "https://…", timeout = "10s" }`.
    Webhook {
        /// Where to ask.
        url: String,
        /// How long to wait for the answer.
        timeout: Option<Span>,
    },
}

impl<'de> Deserialize<'de> for GateText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            webhook: String,
            timeout: Option<Span>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = GateText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a gate: \"health\", \"validation\", \"approval\", \"approval:2\" or { webhook = \"https://…\" }")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<GateText, E> {
                Ok(GateText::Word(word.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<GateText, A::Error> {
                let Table { webhook: url, timeout } = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(GateText::Webhook { url, timeout })
            }
        }
        deserializer.deserialize_any(Either)
    }
}
