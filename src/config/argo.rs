//! Plans from canaries of Argo Rollouts, and plans as they stand in a configuration.
//!
//! Source: <https://argo-rollouts.readthedocs.io/en/stable/features/canary/> and `RolloutPause.DurationSeconds` there: a
//! duration is a number of seconds, in quotes or not, or one of Go (`time.ParseDuration`); without one the pause is until
//! somebody promotes; after the last step everything goes to the new version.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::plan::{INLINE, Spoken, plain_name};
use crate::domain::{Gate, Plan, Share, Step};

mod yaml;

use yaml::{Node, Value};

/// A manifest is a few KiB. Larger ones are not read.
pub const LARGEST_MANIFEST: usize = 64 << 10;

/// Kinds of other documents that are named in an error.
const NAMED: usize = 5;

/// Reads the canary of a manifest with `kind: Rollout`, in YAML or JSON. Beside the plan: what was left out of it or is
/// otherwise than in Argo. The error says where and why it cannot be a plan.
pub fn plan_from_argo(text: &str) -> Result<(Plan, Vec<String>), String> {
    if text.len() > LARGEST_MANIFEST {
        return Err(format!("larger than {} KiB: give it the manifest of one Rollout", LARGEST_MANIFEST >> 10));
    }
    let documents = yaml::read(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    let mut import = Import::default();
    let rollout = import.rollout(&documents)?;
    let canary = canary(rollout)?;
    import.most = most(canary)?;
    let steps = canary.get("steps").map(|steps| &steps.value);
    let Some(Value::List(steps)) = steps else {
        return Err(format!("line {}: spec.strategy.canary has no steps: without them there is no plan", canary.line));
    };
    for (at, step) in steps.iter().enumerate() {
        import.step(at + 1, step).map_err(|what| format!("line {}: step {}: {what}", step.line, at + 1))?;
    }
    if canary.get("analysis").is_some() {
        import
            .warnings
            .push("the `analysis` in the background is left out: the judge watches the candidate all along".to_owned());
    }
    import.finish(rollout)
}

/// The plan as it stands in a configuration.
pub fn plan_as_toml(plan: &Plan) -> String {
    let mut out = format!("[[plan]]\nname = {}\nsteps = [\n", quoted(&plan.name));
    for step in &plan.steps {
        out.push_str(&format!("  {{ share = {}", step.share));
        if let Some(hold) = step.hold {
            out.push_str(&format!(", hold = \"{}\"", Spoken(hold)));
        }
        if !step.gates.is_empty() {
            let gates: Vec<String> = step.gates.iter().map(gate_as_toml).collect();
            out.push_str(&format!(", gates = [{}]", gates.join(", ")));
        }
        out.push_str(" },\n");
    }
    out.push_str("]\n");
    out
}

fn gate_as_toml(gate: &Gate) -> String {
    match gate {
        Gate::Webhook { url, timeout } => {
            format!("{{ webhook = {}, timeout = \"{}\" }}", quoted(url), Spoken(*timeout))
        }
        gate => quoted(&gate.to_string()),
    }
}

/// `${` would be the environment's.
fn quoted(text: &str) -> String {
    toml::Value::String(text.replace("${", "$${")).to_string()
}

fn canary(rollout: &Node) -> Result<&Node, String> {
    let strategy = rollout.at(&["spec", "strategy"]).ok_or("the Rollout has no spec.strategy")?;
    if let Some(canary) = strategy.get("canary") {
        return Ok(canary);
    }
    let other = strategy.members().first().map_or("nothing", |(name, _)| name.as_str());
    Err(format!("line {}: spec.strategy is `{other}`, which has no steps: only `canary` has", strategy.line))
}

/// The weight that is the whole: 100, unless the traffic routing says otherwise.
fn most(canary: &Node) -> Result<u32, String> {
    let Some(node) = canary.at(&["trafficRouting", "maxTrafficWeight"]) else { return Ok(100) };
    let most = node.text().and_then(|text| text.parse().ok()).filter(|most| (1..=1_000_000).contains(most));
    most.ok_or_else(|| format!("line {}: maxTrafficWeight is a whole number from 1 to 1000000", node.line))
}

#[derive(Default)]
struct Import {
    steps: Vec<Step>,
    warnings: Vec<String>,
    most: u32,
}

impl Import {
    fn rollout<'a>(&mut self, documents: &'a [Node]) -> Result<&'a Node, String> {
        let kind = |node: &Node| node.get("kind").and_then(Node::text).unwrap_or("no kind").to_owned();
        let mut rollouts = documents.iter().filter(|node| kind(node) == "Rollout");
        let Some(rollout) = rollouts.next() else {
            let kinds: BTreeSet<String> = documents.iter().map(kind).collect();
            let some: Vec<String> = kinds.into_iter().take(NAMED).collect();
            let there = if some.is_empty() { "nothing".to_owned() } else { some.join(", ") };
            return Err(format!("there is no document with `kind: Rollout` (of Argo Rollouts); there is: {there}"));
        };
        for other in rollouts {
            self.warnings.push(format!("line {}: another Rollout is left out: only the first one is read", other.line));
        }
        Ok(rollout)
    }

    fn step(&mut self, number: usize, step: &Node) -> Result<(), String> {
        let [(key, node)] = step.members() else {
            return Err("a step is one of setWeight, pause and others, like `- setWeight: 10`".to_owned());
        };
        match key.as_str() {
            "setWeight" => self.set_weight(node),
            "pause" => self.pause(number, node),
            other => {
                let why = match other {
                    "analysis" => ": the judge watches the candidate all along",
                    "experiment" => ": there are two entries, and no third for a while",
                    "setCanaryScale" => ": how many endpoints run is not dualgate's",
                    "setHeaderRoute" => ": affinity.tester_header lets testers name an entry",
                    "setMirrorRoute" => ": no request is sent twice",
                    "plugin" => ": a gate with a webhook may do the same",
                    _ => ", as it is not known",
                };
                self.warnings.push(format!("line {}: step {number}, `{other}`, is left out{why}", step.line));
                Ok(())
            }
        }
    }

    fn set_weight(&mut self, node: &Node) -> Result<(), String> {
        let refuse = || format!("setWeight is a whole number from 0 to {}", self.most);
        let weight: u32 =
            node.text().and_then(|text| text.parse().ok()).filter(|weight| *weight <= self.most).ok_or_else(refuse)?;
        let points = u64::from(weight) * u64::from(Share::ALL.basis_points()) / u64::from(self.most);
        let share = u16::try_from(points).ok().and_then(Share::from_basis_points).ok_or_else(refuse)?;
        let before = self.steps.last().map_or(Share::NONE, |step| step.share);
        if share < before {
            return Err(format!(
                "setWeight {share} % after {before} %: a plan gives the candidate more with every step; going back is a rollback"
            ));
        }
        // The same again is the same step, held for longer; nothing before the first is where a rollout begins anyway.
        if share > before {
            self.steps.push(Step { share, hold: None, gates: Vec::new() });
        }
        Ok(())
    }

    fn pause(&mut self, number: usize, node: &Node) -> Result<(), String> {
        if !matches!(node.value, Value::Table(_)) {
            return Err("a pause is a table: {} or { duration: 10m }".to_owned());
        }
        let pause = node.get("duration").map(|duration| seconds(duration.text().unwrap_or_default())).transpose()?;
        let Some(step) = self.steps.last_mut() else {
            let what = "before the first setWeight, is left out: no client is with the candidate yet";
            self.warnings.push(format!("line {}: step {number}, a pause {what}", node.line));
            return Ok(());
        };
        match pause {
            Some(Duration::ZERO) => {}
            Some(pause) => step.hold = Some(step.hold.unwrap_or_default().saturating_add(pause)),
            None if step.gates.is_empty() => step.gates.push(Gate::Approval { persons: 1 }),
            None => {}
        }
        Ok(())
    }

    fn finish(mut self, rollout: &Node) -> Result<(Plan, Vec<String>), String> {
        if self.steps.last().is_none_or(|step| step.share != Share::ALL) {
            self.steps.push(Step { share: Share::ALL, hold: None, gates: Vec::new() });
            self.warnings
                .push("a last step of 100 %, as Argo has it after its steps; give it a hold, and there is a soak".to_owned());
        }
        let written = rollout.at(&["metadata", "name"]).and_then(Node::text).unwrap_or_default();
        let name = if plain_name(written).is_ok() && written != INLINE { written } else { "imported" };
        if name == Plan::shipped().name {
            self.warnings.push(format!("named `{name}`, it takes the place of the shipped plan"));
        }
        let plan = Plan { name: name.to_owned(), steps: self.steps };
        match plan.check().first() {
            Some(error) => Err(error.to_string()),
            None => {
                self.warnings.extend(plan.remarks());
                Ok((plan, self.warnings))
            }
        }
    }
}

/// A duration of Argo: seconds, or one of Go, in milliseconds at the finest.
fn seconds(text: &str) -> Result<Duration, String> {
    let refuse = || format!("`{text}` is not a duration: seconds, like 600, or with units, like 10m or 1h30m");
    let whole = text.parse::<u64>().ok().map(Duration::from_secs);
    let time = whole.or_else(|| of_go(text)).ok_or_else(refuse)?;
    if time > Duration::from_secs(366 * 86_400) {
        return Err(format!("`{text}` is too long: at most 366 days"));
    }
    // A plan is written in whole milliseconds.
    Ok(Duration::from_millis(u64::try_from(time.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)))
}

/// `1h30m`, `1.5h`, `300ms`: decimal numbers, each with a unit. Negative ones are none here.
fn of_go(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut sum = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(unit_at);
        let next = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(next);
        let unit = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        sum = sum.checked_add(Duration::try_from_secs_f64(number * unit).ok()?)?;
        rest = after;
    }
    Some(sum)
}

#[cfg(test)]
mod tests;
