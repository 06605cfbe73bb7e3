//! What does not survive a restart: clocks of the hold, questions to gates, readings of metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Fired, Gate, Moment, Rules};

/// A gate that has said no is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// The part of a rollout that does not survive a restart.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Since when the present hold runs; none while it stands still.
    pub(super) hold_since: Option<Moment>,
    /// What of the hold was over before that.
    pub(super) held: Duration,
    /// Somebody has said to go on: hold and verdict are not waited for,
    pub(super) hurried: bool,
    /// nor is anything else.
    pub(super) forced: bool,
    /// The gates of the step, as they were asked.
    pub(super) gates: Vec<Asking>,
    pub(super) metrics: BTreeMap<String, MetricState>,
    /// Something outside that says that the candidate must go, until it is dealt with.
    pub(super) alarm: Option<Fired>,
    /// What was warned of in this step.
    pub(super) warned: Vec<String>,
    /// A raise is on its way to the disk.
    pub(super) entering: bool,
    /// Why the last one was not stored, and when.
    pub(super) not_stored: Option<(Moment, String)>,
    /// Since when sessions are leaving.
    pub(super) back_since: Option<Moment>,
    pub(super) number: u64,
}

/// A gate that is being asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Asking {
    /// The gate.
    pub gate: Gate,
    /// The number of the question.
    pub number: u64,
    /// The answer.
    pub state: GateState,
}

/// What a gate has said.
#[derive(Clone, Debug, PartialEq)]
pub enum GateState {
    /// Nothing yet.
    Asked,
    /// Yes.
    Passed {
        /// In its words.
        detail: String,
    },
    /// No.
    Failed {
        /// In its words.
        detail: String,
        /// When.
        at: Moment,
    },
}

/// How a business metric stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricState {
    /// The last reading, or why there is none.
    pub reading: Option<Result<f64, String>>,
    /// Readings in a row that were out of bounds.
    pub out: u32,
}

impl Live {
    /// As a step begins whose share has just come in force. Questions are numbered on: an answer to an earlier step's
    /// counts for nothing.
    #[must_use]
    pub fn entered(&self, now: Moment) -> Self {
        Self { hold_since: Some(now), ..self.still() }
    }

    /// As a rollout stands still.
    #[must_use]
    pub fn still(&self) -> Self {
        Self { number: self.number, ..Self::default() }
    }

    /// As sessions begin to leave.
    #[must_use]
    pub fn leaving(&self, now: Moment) -> Self {
        Self { back_since: Some(now), ..self.still() }
    }

    /// Whether somebody has said to go on, without waiting for hold and verdict.
    pub fn is_hurried(&self) -> bool {
        self.hurried
    }

    /// Whether somebody has said to go on, whatever health, verdict and gates say.
    pub fn is_forced(&self) -> bool {
        self.forced
    }

    /// How much of the hold is over.
    pub fn held(&self, now: Moment) -> Duration {
        self.held + self.hold_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// The gates of this step, as far as they were asked.
    pub fn gates(&self) -> &[Asking] {
        &self.gates
    }

    /// The business metrics, as far as they were read.
    pub fn metrics(&self) -> &BTreeMap<String, MetricState> {
        &self.metrics
    }

    /// Whether the next step is on its way to the disk, and why it did not get there the last time.
    pub fn entering(&self) -> (bool, Option<&str>) {
        (self.entering, self.not_stored.as_ref().map(|(_, reason)| reason.as_str()))
    }

    /// Whether the next step is on its way to the disk.
    pub fn set_entering(&mut self, entering: bool) {
        self.entering = entering;
    }

    pub(super) fn stop_clock(&mut self, now: Moment) {
        self.held = self.held(now);
        self.hold_since = None;
    }

    pub(super) fn answered(&mut self, now: Moment, number: u64, passed: bool, detail: String) {
        let asked = self.gates.iter_mut().find(|asking| asking.number == number && asking.state == GateState::Asked);
        if let Some(asking) = asked {
            asking.state = if passed { GateState::Passed { detail } } else { GateState::Failed { detail, at: now } };
        }
    }

    pub(super) fn read(&mut self, rules: &Rules, metric: &str, reading: Result<f64, String>) {
        let Some(rule) = rules.metrics.iter().find(|rule| rule.name == metric) else { return };
        let state = self.metrics.entry(metric.to_owned()).or_default();
        // What cannot be read is neither in bounds nor out of them: it holds, and a run goes on after it.
        if let Ok(value) = &reading {
            let is_out = rule.bound.min.is_some_and(|min| *value < min) || rule.bound.max.is_some_and(|max| *value > max);
            state.out = if is_out { state.out + 1 } else { 0 };
        }
        state.reading = Some(reading);
    }

    pub(super) fn not_stored(&mut self, now: Moment, reason: String) {
        self.entering = false;
        self.not_stored = Some((now, reason));
    }

    /// Whether the disk may be asked again.
    pub(super) fn may_enter(&self, now: Moment) -> bool {
        !self.entering && self.not_stored.as_ref().is_none_or(|(at, _)| now.since(*at) >= Duration::from_secs(1))
    }

    /// Asks the gates that were not asked, and those again that have said no a while ago. What to ask, by number.
    pub(super) fn ask(&mut self, now: Moment, gates: &[Gate], window: Duration) -> Vec<(u64, Gate)> {
        let again = ASK_AGAIN.min(window);
        let mut asks = Vec::new();
        for gate in gates.iter().filter(|gate| matches!(gate, Gate::Validation | Gate::Webhook { .. })) {
            let known = self.gates.iter().position(|asking| asking.gate == *gate);
            let is_due =
                known.is_none_or(|at| matches!(&self.gates[at].state, GateState::Failed { at, .. } if now.since(*at) >= again));
            if is_due {
                self.number += 1;
                let asking = Asking { gate: gate.clone(), number: self.number, state: GateState::Asked };
                match known {
                    Some(at) => self.gates[at] = asking,
                    None => self.gates.push(asking),
                }
                asks.push((self.number, gate.clone()));
            }
        }
        asks
    }
}
