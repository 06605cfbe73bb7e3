//! Plans of one line: `10:10m,50:20m,100`.

use super::check::{PlanError, sound};
use super::spoken::parse_duration;
use super::{Plan, Step};
use crate::domain::split::Share;

/// The name of a plan that was given step by step.
pub const INLINE: &str = "inline";

impl Plan {
    /// Reads steps as `SHARE:HOLD`, with a comma between them; without a hold a step is left as soon as it may be. Shares are
    /// in per cent with at most two decimals. The error is the first thing that is wrong, with its step.
    pub fn parse_steps(text: &str) -> Result<Self, PlanError> {
        if text.trim().is_empty() {
            return Err(PlanError::of_steps("a plan has at least one step: write SHARE:HOLD, like 10:10m,50:20m,100"));
        }
        let steps = text.split(',').enumerate().map(|(at, piece)| step(at, piece.trim()));
        let plan = Self { name: INLINE.to_owned(), steps: steps.collect::<Result<_, _>>()? };
        sound(plan)
    }
}

fn step(at: usize, text: &str) -> Result<Step, PlanError> {
    if text.is_empty() {
        return Err(PlanError::of_step(at, "", "there is nothing between the commas: write SHARE:HOLD, like 10:10m"));
    }
    let (share, hold) = text.split_once(':').map_or((text, None), |(share, hold)| (share.trim_end(), Some(hold.trim_start())));
    let share = Share::parse(share).map_err(|error| PlanError::of_step(at, "share", error.to_string()))?;
    let hold = hold.map(parse_duration).transpose().map_err(|what| PlanError::of_step(at, "hold", what))?;
    Ok(Step { share, hold, gates: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_steps_is_a_plan_and_comes_back_as_written() {
        for (text, again) in [
            ("10:10m,50:20m,100", "10:10m, 50:20m, 100"),
            (" 12.5 : 90s , 99.99:1h,100:10m ", "12.5:90s, 99.99:1h, 100:10m"),
            ("100", "100"),
            ("0.01:200ms", "0.01:200ms"),
            ("10%:1d", "10:1d"),
        ] {
            assert_eq!(Plan::parse_steps(text).unwrap().to_string(), again);
        }
        assert_eq!(Plan::parse_steps("10:10m,50:20m,100:10m").unwrap().steps, Plan::shipped().steps);
    }

    #[test]
    fn what_is_wrong_in_a_line_of_steps_is_said_with_its_step() {
        let many = vec!["1"; 101].join(",");
        for (text, expected) in [
            ("", "steps: a plan has at least one step: write SHARE:HOLD, like 10:10m,50:20m,100"),
            ("10:10m,,100", "step 2: there is nothing between the commas: write SHARE:HOLD, like 10:10m"),
            ("ten:10m", "step 1: share: `ten` is not a share: a number from 0 to 100 with at most two decimals"),
            ("10:10m,150", "step 2: share: `150` is not a share: a number from 0 to 100 with at most two decimals"),
            ("10:600", "step 1: hold: `600` is not a duration: write a whole number and a unit, like 500ms, 2s, 10m, 1h, 2d"),
            ("10:", "step 1: hold: `` is not a duration: write a whole number and a unit, like 500ms, 2s, 10m, 1h, 2d"),
            (
                "10:10m:5m",
                "step 1: hold: `10m:5m` is not a duration: write a whole number and a unit, like 500ms, 2s, 10m, 1h, 2d",
            ),
            ("10:0s", "step 1: hold: must be longer than 0: leave it out for a step that waits for nobody"),
            ("50:1m,10:1m", "step 2: share: 10 % after 50 %: every step gives the candidate more than the one before"),
            ("50,50", "step 2: share: 50 % after 50 %: every step gives the candidate more than the one before"),
            ("0:1m", "step 1: share: 0 % after 0 %: every step gives the candidate more than the one before"),
            (&many, "steps: 101 steps: at most 100"),
        ] {
            assert_eq!(Plan::parse_steps(text).unwrap_err().to_string(), expected, "{text}");
        }
    }
}
