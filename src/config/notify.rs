//! `[[notify]]`: whom to tell, and of what.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::Occasion;

/// Where PagerDuty takes events (Events API v2).
pub const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";

/// `[[notify]]`: one to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    /// Its name, one of a kind.
    pub name: String,
    /// In which form it is told.
    pub kind: SinkKind,
    /// Where.
    pub url: SinkUrl,
    /// Of what; empty: of everything.
    pub events: Vec<Occasion>,
    /// Of which services; empty: of all.
    pub services: Vec<String>,
    /// A try must be over in this time.
    pub timeout: Duration,
}

/// In which form a sink is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkKind {
    /// The notice itself, as JSON.
    Generic {
        /// The file of the secret that signs.
        secret_file: Option<PathBuf>,
    },
    /// An incoming webhook of Slack.
    Slack,
    /// The Events API v2 of PagerDuty.
    PagerDuty {
        /// The file of the integration's routing key.
        routing_key_file: PathBuf,
    },
}

impl SinkKind {
    /// The word of configuration and output.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Generic { .. } => "generic",
            Self::Slack => "slack",
            Self::PagerDuty { .. } => "pagerduty",
        }
    }
}

/// Where a sink is. The address of a webhook is a secret as often as not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkUrl {
    /// As the configuration has it.
    Written(Hidden),
    /// In a file, which is read for every try.
    File(PathBuf),
}

/// A text that is not for logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(pub String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Sink {
    /// Whether it is told of this. What settles a matter goes to who keeps matters open, whatever else it is told of.
    pub fn takes(&self, service: &str, occasion: Occasion) -> bool {
        let settles = occasion.settles() && matches!(self.kind, SinkKind::PagerDuty { .. });
        let is_wanted = settles || self.events.is_empty() || self.events.contains(&occasion);
        is_wanted && (service.is_empty() || self.services.is_empty() || self.services.iter().any(|name| name == service))
    }
}
