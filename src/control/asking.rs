//! What a rollout asks of the world outside: gates, and business metrics. Answers come back as mail.

use super::charge::Charge;
use super::conductor::Conductor;
use super::mail::Mail;
use super::outreach::{gates, metrics};
use crate::domain::Gate;
use crate::domain::judge::{Finding, MetricRule, Trigger};
use crate::domain::rollout::Rollout;

/// Metrics that are read for a service, and the rules that they are read by.
#[derive(Default)]
pub(super) struct Readings {
    rules: Vec<MetricRule>,
    /// Kept for what it does when it is dropped.
    _reading: Option<metrics::Watch>,
}

impl Conductor {
    pub(super) fn ask(&self, at: usize, number: u64, gate: Gate) {
        let charge = &self.charges[at];
        let Some(question) = charge.machine.rollout().map(|rollout| charge.question(rollout)) else { return };
        let candidate = question.candidate;
        let means = gates::Means {
            client: self.client.clone(),
            secret_file: self.gate_secret_file.clone(),
            endpoints: charge.endpoints_of(candidate),
            health: charge.config.health.clone(),
        };
        let own_box = self.own_box.clone();
        tokio::spawn(async move {
            let Some(answer) = gates::ask(&gate, &question, &means).await else { return };
            let Some(own_box) = own_box.upgrade() else { return };
            let (passed, detail) = (answer.passed, answer.detail);
            let _ = own_box.send(Mail::Answered { service: at, number, passed, detail }).await;
        });
    }

    /// Reads the metrics of a service while a rollout runs, and no longer.
    pub(super) fn follow_metrics(&mut self, at: usize) {
        let is_served = self.order.contains(&at);
        let charge = &mut self.charges[at];
        let runs = is_served && charge.machine.rollout().is_some_and(Rollout::is_running);
        let wanted = if runs { charge.machine.rules().judge.metrics.as_slice() } else { &[] };
        if charge.readings.rules == wanted {
            return;
        }
        let rules = wanted.to_vec();
        let own_box = self.own_box.clone();
        let tell = move |reading: metrics::Reading| {
            let Some(own_box) = own_box.upgrade() else { return };
            let mail = Mail::Read { service: at, metric: reading.metric, reading: reading.result };
            // A mailbox that is full has more urgent things in it; the next reading comes soon.
            let _ = own_box.try_send(mail);
        };
        let _reading = (!rules.is_empty()).then(|| metrics::Watch::start(&self.client, &rules, tell));
        charge.readings = Readings { rules, _reading };
    }
}

impl Charge {
    fn question(&self, rollout: &Rollout) -> gates::Question {
        gates::Question {
            service: self.config.name.clone(),
            rollout: rollout.id.clone(),
            plan: rollout.plan.name.clone(),
            step: rollout.step + 1,
            share: self.machine.state().split.share(rollout.candidate).percent(),
            candidate: rollout.candidate,
            versions: rollout.versions.clone(),
            revision: self.machine.state().revision,
            candidate_figures: self.errors().map(|found| seen(found.samples, found.value)),
            stable_figures: self.errors().and_then(|found| Some(seen(found.reference_samples, found.reference?))),
        }
    }

    /// What the judge found of the errors of the entry as a whole.
    fn errors(&self) -> Option<&Finding> {
        let findings = self.machine.report().map(|report| report.findings.iter());
        findings.into_iter().flatten().find(|finding| finding.trigger == Trigger::Errors)
    }
}

fn seen(requests: u64, error_rate: f64) -> gates::Seen {
    let faults = (error_rate * requests as f64).round() as u64;
    gates::Seen { requests, faults, error_rate: Some(error_rate), p95_seconds: None }
}
