//! Plans: the steps by which a candidate is given more and more of the clients.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::split::Share;

mod check;
mod forecast;
mod inline;
mod spoken;

pub use check::{MOST_STEPS, PlanError, gate as check_gate, http_url, plain_name};
pub use forecast::{About, Count, Forecast, StepForecast, ToolForecast, Traffic};
pub use inline::INLINE;
pub use spoken::{Spoken, parse_duration};

/// The recipe of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its name; `inline` where it was given step by step.
    pub name: String,
    /// Its steps, at least one, each with a greater share than the one before.
    pub steps: Vec<Step>,
}

/// One share of the clients, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What the candidate gets.
    pub share: Share,
    /// How long at least; none: the step is left as soon as its gates pass. At 100 % it is the soak.
    pub hold: Option<Duration>,
    /// What has to be so before the step is left, beside the hold, the health of the candidate, and the verdict.
    #[serde(default)]
    pub gates: Vec<Gate>,
}

/// A condition to go on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "gate")]
pub enum Gate {
    /// Every endpoint of the candidate is up.
    Health,
    /// Every endpoint of the candidate passes the handshake now, in at most 5 s.
    Validation,
    /// Somebody outside is asked by a POST and says yes with a status of 2xx.
    Webhook {
        /// `http://` or `https://`.
        url: String,
        /// The answer must be there in this time.
        timeout: Duration,
    },
    /// So many persons have said yes to this step by the admin API.
    Approval {
        /// 1; or 2, of whom none has started the rollout.
        persons: u8,
    },
}

impl Plan {
    /// The shipped one: 10 % for 10 min, 50 % for 20 min, 100 % with a soak of 10 min.
    pub fn shipped() -> Self {
        let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
        let step = |points, hold| Step { share: Share::from_basis_points(points).unwrap_or(Share::ALL), hold, gates: Vec::new() };
        let steps = vec![step(1_000, minutes(10)), step(5_000, minutes(20)), step(10_000, minutes(10))];
        Self { name: "default".to_owned(), steps }
    }
}

impl Gate {
    /// The word for output: `health`, `validation`, `webhook`, `approval`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Validation => "validation",
            Self::Webhook { .. } => "webhook",
            Self::Approval { .. } => "approval",
        }
    }
}

/// `10:10m, 50:20m, 100:10m`.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{}", step.share)?;
            if let Some(hold) = step.hold {
                write!(f, ":{}", Spoken(hold))?;
            }
        }
        Ok(())
    }
}
