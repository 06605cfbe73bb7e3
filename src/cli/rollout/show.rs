//! A rollout for people.

use super::answers::{Metric, Rollout};

/// Turns that are shown.
const MOST_TURNS: usize = 10;

/// `rollout 20261121T125800Z-8: holding, step 1 of 3`.
pub(super) fn in_short(rollout: &Rollout) -> String {
    format!("rollout {}: {}", rollout.id, where_it_is(rollout))
}

/// `holding, step 1 of 3`.
pub(super) fn where_it_is(rollout: &Rollout) -> String {
    format!("{}, step {} of {}", rollout.phase, rollout.step, rollout.of)
}

/// Everything about it.
pub(super) fn page(service: &str, rollout: &Rollout) -> String {
    let (candidate, stable) = (rollout.candidate, rollout.candidate.other());
    let why = rollout.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let mut lines = vec![format!("{service}: {}{why}", in_short(rollout))];
    let mut line = |text: String| lines.push(format!("  {text}"));
    let hold = rollout.hold.map_or_else(String::new, |hold| format!(", {}", hold.words()));
    let versions = (&rollout.versions[candidate], &rollout.versions[stable]);
    line(format!("{candidate} {} beside {stable} {}: {} %{hold}", versions.0, versions.1, rollout.share));
    let steps: Vec<String> = rollout
        .plan
        .steps
        .iter()
        .map(|step| match &step.hold {
            Some(hold) => format!("{}:{hold}", step.share),
            None => step.share.to_string(),
        })
        .collect();
    let reason = rollout.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    line(format!("plan {} ({}), by {}{reason}", rollout.plan.name, steps.join(", "), rollout.by));
    if let Some(verdict) = &rollout.verdict {
        let unsure = verdict.unsure.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        line(format!(
            "verdict {}{unsure} ({} requests, {} of {stable})",
            verdict.verdict, verdict.samples, verdict.stable_samples
        ));
        verdict.findings.iter().for_each(|finding| line(format!("  {}", finding.words())));
    }
    rollout.metrics.iter().for_each(|metric| line(said(metric)));
    for gate in &rollout.gates {
        let detail = gate.detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
        line(format!("gate {}: {}{detail}", gate.gate, gate.state));
    }
    for approval in &rollout.approvals {
        line(format!("step {} approved by {}", approval.step, approval.who));
    }
    if !rollout.obstacles.is_empty() {
        line(format!("waits for: {}", rollout.obstacles.join("; ")));
    }
    rollout.not_stored.iter().for_each(|why| line(format!("WARNING: the next step could not be stored: {why}")));
    rollout.fired.iter().for_each(|fired| line(fired.words()));
    for turn in &rollout.turns[rollout.turns.len().saturating_sub(MOST_TURNS)..] {
        line(format!("{}  {}, step {}: {}", turn.at, turn.phase, turn.step, turn.why));
    }
    lines.join("\n") + "\n"
}

fn said(metric: &Metric) -> String {
    let reading = match (&metric.value, &metric.error) {
        (Some(value), _) => value.to_string(),
        (None, Some(error)) => format!("cannot be read: {error}"),
        (None, None) => "not read yet".to_owned(),
    };
    let out = if metric.out > 0 { format!(", out of bounds {} of {} times", metric.out, metric.times) } else { String::new() };
    format!("metric {}: {reading}{out}", metric.name)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli::rollout) fn rollout() -> Rollout {
        serde_json::from_str(include_str!("document.json")).unwrap()
    }

    #[test]
    fn the_page_shows_what_the_document_says() {
        assert_eq!(
            page("notes", &rollout()),
            "\
notes: rollout 20261121T125800Z-8: gating, step 1 of 3: the hold is over: health, verdict and gates have to pass
  secondary 1.5.0 beside primary 1.4.2: 10 %, 10m of 10m over
  plan default (10:10m, 50:20m, 100), by ada@127.0.0.1: 1.5
  verdict unsure: 1 of 2 windows is full (118 requests, 1041 of primary)
    tool-errors of delete_note: unsure: 62.0 %, against 0.4 %; the bound is 5.0 %; 1 of 2 windows
    latency: pass: 1.10 times, against 21.0 ms; the bound is 1.25 times; 0 of 2 windows
  metric orders: 0.97
  metric carts: 3, out of bounds 1 of 3 times
  gate approval:2: waiting
  step 1 approved by bob@127.0.0.1
  waits for: the verdict is unsure: 1 of 2 windows is full; gate approval: step 1 waits for the approval of 2
  trigger tool-errors, tool delete_note: 62.0 % of 118 requests
  2026-11-21T13:08:00.000Z  gating, step 1: the hold is over: health, verdict and gates have to pass
"
        );
    }
}
