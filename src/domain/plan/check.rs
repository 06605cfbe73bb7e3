//! Whether a plan makes sense: one set of rules for the file, the API and the command line.

use std::fmt;
use std::time::Duration;

use thiserror::Error;
use url::{Position, Url};

use super::{Gate, Plan, Spoken, Step};
use crate::domain::judge::{Reaction, Rules};
use crate::domain::split::Share;

/// Steps of a plan. More would be a slope, and nobody could judge any of them.
pub const MOST_STEPS: usize = 100;
/// Gates of a step.
const MOST_GATES: usize = 16;
/// An answer that takes longer is no answer.
const LONGEST_ANSWER: Duration = Duration::from_secs(300);

/// One thing that is wrong in a plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct PlanError {
    /// The step, counted from 0; none: the plan as a whole.
    pub step: Option<usize>,
    /// The key inside of the step or of the plan, as `share`; empty: all of it.
    pub field: String,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl PlanError {
    pub(super) fn of_step(step: usize, field: impl Into<String>, what: impl Into<String>) -> Self {
        Self { step: Some(step), field: field.into(), what: what.into() }
    }

    pub(super) fn of_steps(what: impl Into<String>) -> Self {
        Self { step: None, field: "steps".to_owned(), what: what.into() }
    }

    /// The key inside of the plan, as a file has it: `steps[1].share`.
    pub fn key(&self) -> String {
        match self.step {
            None => self.field.clone(),
            Some(step) if self.field.is_empty() => format!("steps[{step}]"),
            Some(step) => format!("steps[{step}].{}", self.field),
        }
    }
}

/// `step 2: share: 10 % after 50 %: …`, steps counted from 1, as people do.
impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(step) = self.step {
            write!(f, "step {}: ", step + 1)?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.what)
    }
}

impl Plan {
    /// All that is wrong with it; nothing: it can be carried out.
    pub fn check(&self) -> Vec<PlanError> {
        let mut errors = Vec::new();
        if let Err(what) = plain_name(&self.name) {
            let what = if self.name.is_empty() { "a plan needs a name, like \"default\"".to_owned() } else { what };
            errors.push(PlanError { step: None, field: "name".to_owned(), what });
        }
        match self.steps.len() {
            0 => errors.push(PlanError::of_steps("a plan has at least one step, like { share = 10, hold = \"10m\" }")),
            1..=MOST_STEPS => {}
            count => {
                errors.push(PlanError::of_steps(format!("{count} steps: at most {MOST_STEPS}")));
                return errors;
            }
        }
        let mut before = Share::NONE;
        for (at, step) in self.steps.iter().enumerate() {
            if step.share <= before {
                let what = format!("{} % after {before} %: every step gives the candidate more than the one before", step.share);
                errors.push(PlanError::of_step(at, "share", what));
            }
            before = before.max(step.share);
            if step.hold.is_some_and(|hold| hold.is_zero()) {
                let what = "must be longer than 0: leave it out for a step that waits for nobody";
                errors.push(PlanError::of_step(at, "hold", what));
            }
            errors.extend(gates(at, &step.gates));
        }
        errors
    }

    /// What is legal and deserves a word.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(last) = self.steps.last().filter(|step| step.share != Share::ALL) {
            remarks.push(format!(
                "ends at {} %: there it is done, and the candidate is not promoted; a last step of 100 would end in a promotion",
                last.share
            ));
        }
        let before_last = self.steps.split_last().map_or(&[][..], |(_, before)| before);
        for (at, step) in before_last.iter().enumerate() {
            if step.hold.is_none() && step.gates.is_empty() {
                remarks.push(format!(
                    "step {} ({} %) has neither a hold nor a gate: nothing is learnt from it",
                    at + 1,
                    step.share
                ));
            }
        }
        remarks
    }

    /// Steps (counted from 0) with a hold that is too short for the judge of a service: it needs so many full windows in a row
    /// to say anything. None where nothing that traffic shows is looked at.
    pub fn unjudged(&self, rules: &Rules) -> Vec<usize> {
        if !rules.looks_at_traffic() {
            return Vec::new();
        }
        let needs = rules.span();
        let is_short = |step: &Step| step.hold.is_some_and(|hold| hold < needs);
        self.steps.iter().enumerate().filter(|(_, step)| is_short(step)).map(|(at, _)| at).collect()
    }

    /// Whether there is a step whose hold is long enough for the judge of a service, or no hold that would have to be.
    pub fn is_judged(&self, rules: &Rules) -> bool {
        let held = self.steps.iter().filter(|step| step.hold.is_some()).count();
        held == 0 || self.unjudged(rules).len() < held
    }
}

impl Rules {
    /// Whether anything that traffic shows is looked at.
    pub fn looks_at_traffic(&self) -> bool {
        let of = &self.reactions;
        [of.errors, of.latency, of.throughput, of.tools].iter().any(|reaction| *reaction != Reaction::Off)
    }

    /// All the windows that it takes until something fails.
    pub fn span(&self) -> Duration {
        self.window.saturating_mul(self.windows)
    }
}

/// A plan, if nothing is wrong with it; else the first thing that is.
pub(super) fn sound(plan: Plan) -> Result<Plan, PlanError> {
    match plan.check().into_iter().next() {
        Some(error) => Err(error),
        None => Ok(plan),
    }
}

fn gates(step: usize, gates: &[Gate]) -> Vec<PlanError> {
    if gates.len() > MOST_GATES {
        return vec![PlanError::of_step(step, "gates", format!("{} gates: at most {MOST_GATES}", gates.len()))];
    }
    let mut errors = Vec::new();
    for (at, one) in gates.iter().enumerate() {
        let twice = gates[..at].iter().any(|other| one.is_same(other));
        let what = gate(one).err().or_else(|| twice.then(|| format!("{one} is a gate of this step already")));
        errors.extend(what.map(|what| PlanError::of_step(step, format!("gates[{at}]"), what)));
    }
    errors
}

/// Whether a gate makes sense by itself. The error says what would.
pub fn gate(gate: &Gate) -> Result<(), String> {
    match gate {
        Gate::Health | Gate::Validation => Ok(()),
        Gate::Approval { persons: 1 | 2 } => Ok(()),
        Gate::Approval { persons } => Err(format!("approval:{persons}: one person or two have to say yes, not {persons}")),
        Gate::Webhook { timeout, .. } if timeout.is_zero() => Err("timeout: must be longer than 0".to_owned()),
        Gate::Webhook { timeout, .. } if *timeout > LONGEST_ANSWER => {
            Err(format!("timeout: {} is too long: at most {}", Spoken(*timeout), Spoken(LONGEST_ANSWER)))
        }
        Gate::Webhook { url, .. } => http_url(url).map_err(|what| format!("webhook: {what}")),
    }
}

/// Whether a text is an address that can be asked over HTTP. The error does not repeat what stands behind the host: it
/// may be a secret.
pub fn http_url(text: &str) -> Result<(), String> {
    const RIGHT: &str = "write http://HOST/PATH or https://HOST/PATH";
    let url = Url::parse(text).map_err(|error| format!("not a URL ({error}): {RIGHT}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("`{}:` is not http or https: {RIGHT}", url.scheme()));
    }
    if url[Position::BeforeHost..Position::AfterHost].is_empty() {
        return Err(format!("no host: {RIGHT}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("no user or password in it: they would stand in every record; {RIGHT}"));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("no blanks or control characters in it".to_owned());
    }
    Ok(())
}

/// Whether a text will do as a name: 1 to 64 letters, digits and `- _ .`, a letter or digit first.
pub fn plain_name(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = text.len() <= 64 && text.chars().all(plain) && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if is_name {
        Ok(())
    } else {
        Err(format!("`{text}` is not a name: 1 to 64 letters, digits and - _ ., a letter or digit first"))
    }
}

impl Gate {
    /// Whether one is the other over again: of webhooks there may be several, with an address each.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Webhook { url: one, .. }, Self::Webhook { url: two, .. }) => one == two,
            (one, two) => one.as_str() == two.as_str(),
        }
    }
}

/// As people name it: `health`, `approval`, `approval:2`, and of a webhook scheme and host only, as the rest may be a secret.
impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approval { persons: 2.. } => write!(f, "approval:2"),
            Self::Webhook { url, .. } => match Url::parse(url) {
                Ok(url) => write!(f, "webhook {}", &url[..Position::BeforePath]),
                Err(_) => f.write_str("webhook"),
            },
            gate => f.write_str(gate.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Plan {
        Plan::parse_steps(text).unwrap()
    }

    fn with_gates(gates: &[Gate]) -> Vec<String> {
        let mut plan = plan("10:10m,100");
        plan.steps[0].gates = gates.to_vec();
        plan.check().iter().map(|error| format!("{} {error}", error.key())).collect()
    }

    fn webhook(url: &str, seconds: u64) -> Gate {
        Gate::Webhook { url: url.to_owned(), timeout: Duration::from_secs(seconds) }
    }

    #[test]
    fn the_shipped_plan_is_sound_and_every_default_judge_can_judge_all_of_it() {
        assert_eq!(Plan::shipped().check(), []);
        assert_eq!(Plan::shipped().remarks(), Vec::<String>::new());
        assert_eq!(Plan::shipped().unjudged(&Rules::default()), Vec::<usize>::new());
    }

    #[test]
    fn a_gate_that_makes_no_sense_is_refused_by_its_place() {
        let at = "steps[0].gates[0] step 1: gates[0]: ";
        for (gate, expected) in [
            (Gate::Approval { persons: 0 }, "approval:0: one person or two have to say yes, not 0"),
            (Gate::Approval { persons: 3 }, "approval:3: one person or two have to say yes, not 3"),
            (webhook("ftp://a/b", 5), "webhook: `ftp:` is not http or https: write http://HOST/PATH or https://HOST/PATH"),
            (webhook("a/b", 5), "webhook: not a URL (relative URL without a base): write http://HOST/PATH or https://HOST/PATH"),
            (webhook("http://", 5), "webhook: not a URL (empty host): write http://HOST/PATH or https://HOST/PATH"),
            (
                webhook("https://u:p@a/b", 5),
                "webhook: no user or password in it: they would stand in every record; write http://HOST/PATH or https://HOST/PATH",
            ),
            (webhook("http://a/b c", 5), "webhook: no blanks or control characters in it"),
            (webhook("http://a", 0), "timeout: must be longer than 0"),
            (webhook("http://a", 301), "timeout: 301s is too long: at most 5m"),
        ] {
            assert_eq!(with_gates(&[gate]), [format!("{at}{expected}")]);
        }
        let good =
            [Gate::Health, Gate::Validation, webhook("http://a/1", 5), webhook("https://a/2", 5), Gate::Approval { persons: 2 }];
        assert_eq!(with_gates(&good), Vec::<String>::new());
        let twice = [Gate::Approval { persons: 1 }, Gate::Approval { persons: 2 }];
        assert_eq!(with_gates(&twice), ["steps[0].gates[1] step 1: gates[1]: approval:2 is a gate of this step already"]);
    }

    #[test]
    fn what_is_said_of_a_webhook_holds_none_of_its_secrets() {
        let secret = webhook("https://hooks.example:8443/T0/hunter2?token=hunter2", 5);
        assert_eq!(secret.to_string(), "webhook https://hooks.example:8443");
        for wrong in ["https://hooks.example/hunter2 x", "ftp://a/hunter2", "//hunter2", "https://u:hunter2@a/"] {
            let said = http_url(wrong).unwrap_err();
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_hold_shorter_than_the_windows_of_the_judge_is_not_judged() {
        let plan = plan("1:119s,10:2m,50,100:1m");
        let mut rules = Rules::default();
        assert_eq!(plan.unjudged(&rules), [0, 3]);
        assert!(plan.is_judged(&rules));
        rules.windows = 3;
        assert!(!plan.is_judged(&rules));
        let off = Reaction::Off;
        rules.reactions.errors = off;
        rules.reactions.latency = off;
        rules.reactions.throughput = off;
        assert!(!plan.is_judged(&rules), "tools are looked at still");
        rules.reactions.tools = off;
        assert!(plan.is_judged(&rules) && plan.unjudged(&rules).is_empty(), "nobody looks");
        assert!(Plan::parse_steps("100").unwrap().is_judged(&Rules::default()), "no hold, nothing to be short of");
    }

    #[test]
    fn a_plan_that_stops_below_the_whole_or_rushes_through_a_step_is_legal_and_gets_a_word() {
        assert_eq!(
            plan("10:10m,20,50:10m").remarks(),
            [
                "ends at 50 %: there it is done, and the candidate is not promoted; a last step of 100 would end in a promotion",
                "step 2 (20 %) has neither a hold nor a gate: nothing is learnt from it"
            ]
        );
    }
}
