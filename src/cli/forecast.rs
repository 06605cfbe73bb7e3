//! What a plan will take, for people.

use std::time::Duration;

use super::print::{left, right, table};
use crate::domain::plan::{About, Count, Forecast, Spoken, StepForecast};

/// The timeline of a plan, at the earliest, and the samples of each step; a line each. What deserves a word
/// (`forecast.warnings`) is not in it: it is for stderr.
pub fn forecast_table(forecast: &Forecast) -> String {
    let columns = [
        right("step"),
        right("share"),
        left("from"),
        left("to"),
        left("hold"),
        right("samples"),
        right("per window"),
        right("tools judged"),
        left("gates"),
    ];
    let rows: Vec<Vec<String>> = forecast.steps.iter().map(row).collect();
    let total = if forecast.total_ms == 0 { "no holds".to_owned() } else { format!("{} at least", at(forecast.total_ms)) };
    let rate = Count(forecast.rate);
    format!("plan {}: {total}, at {rate} requests/s\n{}", forecast.plan, table(&columns, &rows))
}

fn row(step: &StepForecast) -> Vec<String> {
    let soak = if step.soak { " (soak)" } else { "" };
    let hold = step.hold_ms.map_or("-".to_owned(), |hold| format!("{}{soak}", Spoken(Duration::from_millis(hold))));
    let judged = step.tools.iter().filter(|tool| tool.judged).count();
    let tools = if step.tools.is_empty() { "-".to_owned() } else { format!("{judged} of {}", step.tools.len()) };
    let (from, to) = (at(step.begins_ms), at(step.ends_ms));
    let gates = if step.gates.is_empty() { "-".to_owned() } else { step.gates.join(", ") };
    let (samples, window) = match step.hold_ms {
        Some(_) => (Count(step.per_hold).to_string(), Count(step.per_window).to_string()),
        None => ("-".to_owned(), "-".to_owned()),
    };
    vec![step.step.to_string(), format!("{} %", step.share), from, to, hold, samples, window, tools, gates]
}

fn at(millis: u64) -> String {
    About(Duration::from_millis(millis)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::judge::Rules;
    use crate::domain::plan::Traffic;
    use crate::domain::{Gate, Plan};

    #[test]
    fn a_forecast_is_a_line_for_each_step() {
        let mut plan = Plan::parse_steps("10:10m,50,100:90m").unwrap();
        plan.steps[1].gates = vec![Gate::Health, Gate::Approval { persons: 2 }];
        let tools = [("a".to_owned(), 0.5), ("b".to_owned(), 0.01)].into();
        let forecast = Forecast::of(&plan, &Rules::default(), &Traffic { rate: 2.5, tools });
        let expected = "\
plan inline: 1h40m at least, at 2.5 requests/s
  step  share  from  to     hold        samples  per window  tools judged  gates
     1   10 %  0s    10m    10m             150          15        0 of 2  -
     2   50 %  10m   10m    -                 -           -        0 of 2  health, approval:2
     3  100 %  10m   1h40m  90m (soak)    13500         150        2 of 2  -
";
        assert_eq!(forecast_table(&forecast), expected);
    }

    #[test]
    fn without_holds_and_without_tools_there_is_a_dash() {
        let forecast = Forecast::of(&Plan::parse_steps("100").unwrap(), &Rules::default(), &Traffic::default());
        let expected = "\
plan inline: no holds, at 0 requests/s
  step  share  from  to  hold  samples  per window  tools judged  gates
     1  100 %  0s    0s  -           -           -             -  -
";
        assert_eq!(forecast_table(&forecast), expected);
    }
}
