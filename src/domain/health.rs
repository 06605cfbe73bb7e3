//! Rise and fall of an endpoint under active checks.

use serde::Serialize;

/// What the checks say about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Proven down: `fall` failures in a row.
    Down,
    /// No check has decided yet.
    Unknown,
    /// Proven up.
    Up,
}

impl Standing {
    /// The word for output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Up => "up",
        }
    }
}

/// How many checks in a row turn an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes in a row that raise a *down* endpoint.
    pub rise: u32,
    /// Failures in a row that take an endpoint down.
    pub fall: u32,
}

/// An endpoint's standing and the run of observations against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streak {
    standing: Standing,
    against: u32,
}

impl Default for Streak {
    fn default() -> Self {
        Self { standing: Standing::Unknown, against: 0 }
    }
}

impl Streak {
    /// Where it stands.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Takes one check in; the new standing if it flipped. One success lifts *unknown*, since
    /// nothing speaks against the endpoint; `rise` counts only after *down*.
    pub fn observe(&mut self, success: bool, thresholds: Thresholds) -> Option<Standing> {
        let (next, needed) = match (self.standing, success) {
            (Standing::Up, true) | (Standing::Down, false) => {
                self.against = 0;
                return None;
            }
            (Standing::Unknown, true) => (Standing::Up, 1),
            (Standing::Down, true) => (Standing::Up, thresholds.rise),
            (Standing::Up | Standing::Unknown, false) => (Standing::Down, thresholds.fall),
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        *self = Self { standing: next, against: 0 };
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(checks: &str) -> String {
        let mut streak = Streak::default();
        let thresholds = Thresholds { rise: 2, fall: 3 };
        checks
            .chars()
            .map(|check| {
                streak.observe(check == '+', thresholds);
                streak.standing().as_str().chars().next().unwrap()
            })
            .collect()
    }

    #[test]
    fn every_path_of_rise_and_fall() {
        assert_eq!(run("+"), "u", "one success lifts unknown");
        assert_eq!(run("---"), "uud", "unknown falls as up does");
        assert_eq!(run("+--+---"), "uuuuuud", "a success in between starts the count anew");
        assert_eq!(run("---+-++"), "uuddddu", "and so does a failure while down");
        assert_eq!(run("--+"), "uuu", "failures before the first success are forgotten");
    }
}
