//! `[[plan]]`: the recipes of rollouts, and whether the judges of the services have anything to say on the way.

use std::time::Duration;

use serde::Deserialize;

use super::Checker;
use crate::config::{Service, Span, nearest, raw};
use crate::domain::plan::{INLINE, check_gate};
use crate::domain::{Gate, Plan, Share, Step};

const KNOWN: [&str; 4] = ["health", "validation", "approval", "approval:2"];
/// A webhook's answer must be there in this time.
const ANSWER: Duration = Duration::from_secs(10);

/// A step as the admin API takes it: written as in a file.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct StepText(raw::Step);

/// Steps that were written like those of a file. The error has the place (RFC 6901, in the list) and what is wrong there.
pub fn steps(texts: &[StepText]) -> Result<Vec<Step>, (String, String)> {
    let mut steps = Vec::with_capacity(texts.len());
    for (n, StepText(step)) in texts.iter().enumerate() {
        let mut gates = Vec::with_capacity(step.gates.len());
        for (at, text) in step.gates.iter().enumerate() {
            gates.push(gate(text).map_err(|what| (format!("/{n}/gates/{at}"), what))?);
        }
        steps.push(Step { share: step.share.0, hold: step.hold.map(|hold| hold.0), gates });
    }
    Ok(steps)
}

impl Checker<'_> {
    /// The plans of the file, and the shipped one, where the file has no `default` of its own.
    pub(super) fn plans(&mut self, raw: &[raw::Plan], services: &[Service]) -> Vec<Plan> {
        let mut plans = Vec::with_capacity(raw.len() + 1);
        if !raw.iter().any(|plan| plan.name == Plan::shipped().name) {
            plans.push(Plan::shipped());
        }
        for (at, one) in raw.iter().enumerate() {
            if raw[..at].iter().any(|earlier| earlier.name == one.name) {
                self.wrong(&format!("plan[{at}].name"), format!("`{}` is the name of another plan", one.name));
            }
            if one.name == INLINE {
                self.wrong(
                    &format!("plan[{at}].name"),
                    "`inline` is what plans of the command line are called: take another name",
                );
            }
            let so_far = self.errors.len();
            let plan = self.plan(at, one);
            for error in plan.check() {
                self.wrong(&format!("plan[{at}].{}", error.key()), error.what);
            }
            // What is not sound is judged by nobody.
            if self.errors.len() == so_far {
                self.plan_words(at, &plan, services);
            }
            plans.push(plan);
        }
        plans
    }

    fn plan(&mut self, at: usize, raw: &raw::Plan) -> Plan {
        let of_plan = self.gates(&format!("plan[{at}].gates"), &raw.gates);
        let mut steps = Vec::with_capacity(raw.steps.len());
        for (n, step) in raw.steps.iter().enumerate() {
            let mut gates = self.gates(&format!("plan[{at}].steps[{n}].gates"), &step.gates);
            // What a step says of itself is more than what the plan says of all.
            let missing: Vec<Gate> = of_plan.iter().filter(|gate| !gates.iter().any(|own| own.is_same(gate))).cloned().collect();
            gates.extend(missing);
            steps.push(Step { share: step.share.0, hold: step.hold.map(|hold| hold.0), gates });
        }
        if let Some(Span(soak)) = raw.soak {
            self.soak(&format!("plan[{at}].soak"), soak, steps.last_mut());
        }
        Plan { name: raw.name.clone(), steps }
    }

    fn soak(&mut self, key: &str, soak: Duration, last: Option<&mut Step>) {
        let Some(last) = last else { return };
        if last.share != Share::ALL {
            let what = format!("the last step is {} %: a soak is the hold of a last step of 100", last.share);
            self.wrong(key, what);
        } else if let Some(hold) = last.hold {
            let what = format!("the last step has a hold of {} already, which is the soak: take out one of the two", Span(hold));
            self.wrong(key, what);
        } else if soak.is_zero() {
            self.wrong(key, "must be longer than 0: leave it out for none");
        } else {
            last.hold = Some(soak);
        }
    }

    /// The gates of a list that make sense; of the others is said why not.
    fn gates(&mut self, key: &str, raw: &[raw::GateText]) -> Vec<Gate> {
        let mut gates: Vec<Gate> = Vec::with_capacity(raw.len());
        for (at, text) in raw.iter().enumerate() {
            let gate = gate(text).and_then(|gate| check_gate(&gate).map(|()| gate));
            match gate {
                Ok(gate) if gates.iter().any(|earlier| earlier.is_same(&gate)) => {
                    self.wrong(&format!("{key}[{at}]"), format!("{gate} is in this list already"));
                }
                Ok(gate) => gates.push(gate),
                Err(what) => self.wrong(&format!("{key}[{at}]"), what),
            }
        }
        gates
    }

    fn plan_words(&mut self, at: usize, plan: &Plan, services: &[Service]) {
        let key = format!("plan[{at}]");
        for remark in plan.remarks() {
            self.warnings.push(format!("{key}: `{}` {remark}", plan.name));
        }
        let too_short = |service: &Service| {
            let (judge, steps) = (&service.judge, plan.unjudged(&service.judge));
            let shortest = steps.iter().filter_map(|step| plan.steps[*step].hold).min()?;
            let steps: Vec<String> = steps.iter().map(|step| format!("{} ({} %)", step + 1, plan.steps[*step].share)).collect();
            let windows = match judge.windows {
                1 => format!("a full window of {}", Span(judge.window)),
                n => format!("{n} full windows of {} in a row ({})", Span(judge.window), Span(judge.span())),
            };
            let (name, service, shortest, steps) = (&plan.name, &service.name, Span(shortest), steps.join(", "));
            Some(format!(
                "`{name}`: the judge of service `{service}` needs {windows} to say anything, which is longer than the hold, {shortest}, of step {steps}"
            ))
        };
        let words: Vec<String> = services.iter().filter_map(too_short).collect();
        if services.is_empty() || services.iter().any(|service| plan.is_judged(&service.judge)) {
            self.warnings.extend(words.into_iter().map(|word| format!("{key}: {word}")));
        } else {
            words.into_iter().for_each(|word| self.wrong(&format!("{key}.steps"), word));
        }
    }
}

fn gate(text: &raw::GateText) -> Result<Gate, String> {
    let word = match text {
        raw::GateText::Word(word) => word.as_str(),
        raw::GateText::Webhook { url, timeout } => {
            return Ok(Gate::Webhook { url: url.clone(), timeout: timeout.map_or(ANSWER, |span| span.0) });
        }
    };
    match word {
        "health" => return Ok(Gate::Health),
        "validation" => return Ok(Gate::Validation),
        "approval" => return Ok(Gate::Approval { persons: 1 }),
        "catalog" => return Err("the gate `catalog` is not served by this version".to_owned()),
        "webhook" => return Err("a webhook has an address: write { webhook = \"https://…\", timeout = \"10s\" }".to_owned()),
        _ => {}
    }
    if let Some(persons) = word.strip_prefix("approval:") {
        let refuse = |_| format!("`{word}`: write \"approval\" for one person, or \"approval:2\" for two");
        return persons.parse().map(|persons| Gate::Approval { persons }).map_err(refuse);
    }
    Err(match nearest(word, KNOWN.into_iter()) {
        Some(guess) => format!("unknown gate `{word}`, did you mean `{guess}`?"),
        None => format!("unknown gate `{word}`; known: {}, and {{ webhook = \"https://…\" }}", KNOWN.join(", ")),
    })
}
