//! Evidence from outside: what somebody else's monitoring says.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Entry;

/// What somebody outside has to say, as far as a rollout goes by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// How bad it is: critical sets off the trigger.
    pub severity: Severity,
    /// Who says so.
    pub source: String,
    /// What it says.
    pub summary: String,
    /// The entry that is meant, where one is named.
    pub entry: Option<Entry>,
}

/// How bad something is; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it.
    Warning,
    /// Something had to be done, or has to be.
    Critical,
}

impl Severity {
    /// All of them, from the least to the worst.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The word of payloads and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
