//! Looking around: back where something fails, on where everything passes, and otherwise nothing.

use super::{Around, Effect, Fired, Live, Moment, Outcome, Phase, Rollout, reaction_of};
use crate::domain::health::Standing;
use crate::domain::judge::{Finding, Reaction, Trigger, Verdict};
use crate::domain::plan::Gate;
use crate::domain::split::Share;

/// Beyond the time that sessions have to leave, what is still there is left there.
const LEAVING_AT_MOST_AFTER: std::time::Duration = std::time::Duration::from_secs(5);

pub(super) fn look(rollout: &mut Rollout, live: &mut Live, now: Moment, around: &Around<'_>, effects: &mut Vec<Effect>) {
    match rollout.phase {
        Phase::Ended { .. } => {}
        Phase::RollingBack => wait_for_sessions(rollout, live, now, around, effects),
        _ => {
            note_report(rollout, around);
            // Back comes before on: what fails and passes at once fails.
            if fail(rollout, live, now, around, effects) {
                return;
            }
            go_on(rollout, live, now, around, effects);
        }
    }
}

fn note_report(rollout: &mut Rollout, around: &Around<'_>) {
    if let (Some(report), Some(last)) = (around.report, rollout.account.steps.last_mut())
        && last.ended.is_none()
        && last.report.as_ref() != Some(report)
    {
        last.report = Some(report.clone());
    }
}

/// Whether the candidate is taken back or the rollout frozen.
fn fail(rollout: &mut Rollout, live: &mut Live, now: Moment, around: &Around<'_>, effects: &mut Vec<Effect>) -> bool {
    let mut all = failing(rollout, live, around);
    live.alarm = None;
    let worst = |fired: &Fired| match reaction_of(around.rules, fired) {
        Reaction::Rollback => 0,
        Reaction::Freeze => 1,
        Reaction::Notify => 2,
        Reaction::Off => 3,
    };
    all.sort_by_key(worst);
    for fired in all {
        let why = fired.to_string();
        if fired.sick_stable {
            warn(live, fired.clone(), effects);
            return freeze(rollout, live, now, around, fired, why, effects);
        }
        let reaction = reaction_of(around.rules, &fired);
        match reaction {
            Reaction::Rollback => match unfit(rollout, around) {
                None => {
                    effects.push(Effect::Back(fired));
                    return true;
                }
                Some(sick) => {
                    return freeze(rollout, live, now, around, fired, format!("{why}; not rolled back, since {sick}"), effects);
                }
            },
            Reaction::Freeze => return freeze(rollout, live, now, around, fired, why, effects),
            Reaction::Notify => warn(live, fired, effects),
            Reaction::Off => {}
        }
    }
    let sick = around.report.and_then(|report| report.stable_is_sick.as_ref());
    if let Some(finding) = sick {
        let stable = rollout.stable();
        let detail = format!("{stable}, the stable entry, is the sick one ({}): nothing is moved", words(finding));
        warn(live, Fired { detail, sick_stable: true, ..of_finding(finding) }, effects);
    }
    false
}

/// Everything that fails now.
fn failing(rollout: &Rollout, live: &Live, around: &Around<'_>) -> Vec<Fired> {
    let mut all: Vec<Fired> = live.alarm.iter().cloned().collect();
    // Who has no clients fails nobody.
    if around.share == Share::NONE {
        all.clear();
        return all;
    }
    let candidate = rollout.candidate;
    if around.standing[candidate] == Standing::Down {
        let detail = format!("{candidate} is down");
        all.push(Fired::new(Trigger::Health, detail));
    }
    let findings = around.report.into_iter().flat_map(|report| &report.findings);
    all.extend(findings.filter(|finding| finding.verdict == Verdict::Fail).map(of_finding));
    for rule in &around.rules.metrics {
        if let Some(state) = live.metrics.get(&rule.name).filter(|state| state.out >= rule.times) {
            let value = state.reading.as_ref().and_then(|reading| reading.as_ref().ok());
            let value = value.map_or_else(String::new, ToString::to_string);
            let detail = format!("{value} is out of bounds ({}), {} readings in a row", bounds(rule.bound), state.out);
            all.push(Fired { metric: Some(rule.name.clone()), ..Fired::new(Trigger::Metric, detail) });
        }
    }
    all
}

/// Why nobody may be sent back to the stable entry without a person saying so.
fn unfit(rollout: &Rollout, around: &Around<'_>) -> Option<String> {
    let stable = rollout.stable();
    if around.standing[stable] == Standing::Down {
        return Some(format!("{stable}, the stable entry, is down"));
    }
    if around.condemned[stable] {
        return Some(format!("{stable}, the stable entry, is condemned"));
    }
    let sick = around.report.and_then(|report| report.stable_is_sick.as_ref());
    sick.map(|finding| format!("{stable}, the stable entry, is sick, too ({})", words(finding)))
}

/// True: nothing else is to be done. A rollout that is frozen already stays as it is.
fn freeze(
    rollout: &mut Rollout,
    live: &mut Live,
    now: Moment,
    around: &Around<'_>,
    fired: Fired,
    why: String,
    effects: &mut Vec<Effect>,
) -> bool {
    if !matches!(rollout.phase, Phase::Frozen { .. }) {
        rollout.account.fired = Some(fired);
        live.stop_clock(now);
        live.entering = false;
        turn(rollout, around, Phase::Frozen { why: why.clone() }, why, effects);
        effects.push(Effect::Hold);
    }
    true
}

/// Once a step.
fn warn(live: &mut Live, fired: Fired, effects: &mut Vec<Effect>) {
    let name = fired.tool.as_ref().or(fired.metric.as_ref()).cloned().unwrap_or_default();
    let key = format!("{} {name}", fired.trigger.as_str());
    if !live.warned.contains(&key) {
        live.warned.push(key);
        effects.push(Effect::Warn(fired));
    }
}

fn go_on(rollout: &mut Rollout, live: &mut Live, now: Moment, around: &Around<'_>, effects: &mut Vec<Effect>) {
    if matches!(rollout.phase, Phase::Holding | Phase::Soaking) && (live.hurried || hold_is_over(rollout, live, now)) {
        let why = if live.hurried { "somebody said to go on" } else { "the hold is over" };
        turn(rollout, around, Phase::Gating, format!("{why}: health, verdict and gates have to pass"), effects);
        effects.push(Effect::Keep);
    }
    if rollout.phase != Phase::Gating || live.entering {
        return;
    }
    let gates = rollout.current().map(|step| step.gates.clone()).unwrap_or_default();
    if !live.forced {
        let asks = live.ask(now, &gates, around.rules.window);
        effects.extend(asks.into_iter().map(|(number, gate)| Effect::Ask { number, gate }));
    }
    let obstacles = obstacles(rollout, live, around);
    if let Some(last) = rollout.account.steps.last_mut() {
        last.gates.clone_from(&said(live));
    }
    if !obstacles.is_empty() {
        return tell_held(live, obstacles, effects);
    }
    if let Some((_, reason)) = &live.not_stored {
        let what = format!("the next step could not be stored ({reason}), and is tried again");
        tell_held(live, vec![what], effects);
    }
    if around.is_busy || !live.may_enter(now) {
        return;
    }
    let next = rollout.step + 1;
    if next < rollout.plan.steps.len() {
        live.entering = true;
        effects.push(Effect::Enter(next));
    } else if around.share == Share::ALL {
        live.entering = true;
        effects.push(Effect::Promote);
    } else {
        let why = format!("the plan ends at {} %: every step is through", around.share);
        *rollout = rollout.finish(around.wall, why);
        effects.extend(rollout.account.turns.last().cloned().map(Effect::Turned));
        effects.extend([Effect::Keep, Effect::Record]);
    }
}

/// Once in a step for each kind of obstacle: figures in it change all the time.
fn tell_held(live: &mut Live, obstacles: Vec<String>, effects: &mut Vec<Effect>) {
    let is_letter = |c: &char| !c.is_ascii_digit();
    let key = format!("held {}", obstacles.join("; ").chars().filter(is_letter).collect::<String>());
    // An answer that is on its way is no news.
    if !live.warned.contains(&key) && !obstacles.iter().all(|what| what.ends_with("has not answered yet")) {
        live.warned.push(key);
        effects.push(Effect::Held(obstacles));
    }
}

fn hold_is_over(rollout: &Rollout, live: &Live, now: Moment) -> bool {
    let hold = rollout.current().and_then(|step| step.hold).unwrap_or_default();
    live.held(now) >= hold
}

/// What keeps the rollout from going on, in words; empty: nothing does.
pub fn obstacles(rollout: &Rollout, live: &Live, around: &Around<'_>) -> Vec<String> {
    if live.forced {
        return Vec::new();
    }
    let (candidate, stable, step) = (rollout.candidate, rollout.stable(), rollout.current());
    let mut all = Vec::new();
    let unfit = [(candidate, around.standing[candidate]), (stable, around.standing[stable])];
    // At 100 % nobody is sent to the stable entry any more.
    let matter = unfit.iter().filter(|(entry, _)| *entry == candidate || around.share != Share::ALL);
    all.extend(
        matter
            .filter(|(_, standing)| *standing != Standing::Up)
            .map(|(entry, standing)| format!("{entry} is {}", standing.as_str())),
    );
    if around.condemned[candidate] {
        all.push(format!("{candidate} is condemned"));
    }
    let judges = step.is_some_and(|step| step.hold.is_some()) && !live.hurried;
    match around.report {
        Some(report) if report.verdict == Verdict::Pass && report.stable_is_sick.is_none() => {}
        Some(report) if report.stable_is_sick.is_some() => all.push(format!("{stable}, the stable entry, is sick")),
        Some(report) if judges => {
            let why = report.unsure.clone().unwrap_or_else(|| "something fails".to_owned());
            all.push(format!("the verdict is {}: {why}", report.verdict.as_str()));
        }
        None if judges => all.push("the verdict is unsure: no window is full yet".to_owned()),
        _ => {}
    }
    for rule in around.rules.metrics.iter().filter(|rule| judges && !matches!(rule.reaction, Reaction::Off | Reaction::Notify)) {
        match live.metrics.get(&rule.name).and_then(|state| state.reading.as_ref().map(|reading| (reading, state.out))) {
            None => all.push(format!("metric {} has not been read yet", rule.name)),
            Some((Err(error), _)) => all.push(format!("metric {} cannot be read: {error}", rule.name)),
            Some((Ok(value), 1..)) => {
                all.push(format!("metric {} is {value}, out of bounds ({})", rule.name, bounds(rule.bound)))
            }
            Some((Ok(_), 0)) => {}
        }
    }
    all.extend(step.into_iter().flat_map(|step| &step.gates).filter_map(|gate| shut(rollout, live, around, gate)));
    all
}

/// Why a gate does not let pass.
fn shut(rollout: &Rollout, live: &Live, around: &Around<'_>, gate: &Gate) -> Option<String> {
    use super::GateState::{Asked, Failed, Passed};
    let name = gate.as_str();
    match gate {
        Gate::Health => (!around.all_up).then(|| format!("gate {name}: not every endpoint of {} is up", rollout.candidate)),
        Gate::Approval { persons } => (!rollout.is_approved(*persons)).then(|| {
            let who = if *persons > 1 { ", and not of who began the rollout" } else { "" };
            format!("gate {name}: step {} waits for the approval of {persons}{who}", rollout.step + 1)
        }),
        Gate::Validation | Gate::Webhook { .. } => {
            match live.gates.iter().find(|asking| asking.gate == *gate).map(|one| &one.state) {
                Some(Passed { .. }) => None,
                Some(Failed { detail, .. }) => Some(format!("gate {name}: {detail}")),
                Some(Asked) | None => Some(format!("gate {name} has not answered yet")),
            }
        }
    }
}

fn said(live: &Live) -> Vec<String> {
    use super::GateState::{Asked, Failed, Passed};
    let word = |asking: &super::Asking| match &asking.state {
        Asked => format!("{}: asked", asking.gate.as_str()),
        Passed { detail } => format!("{}: passed: {detail}", asking.gate.as_str()),
        Failed { detail, .. } => format!("{}: failed: {detail}", asking.gate.as_str()),
    };
    live.gates.iter().map(word).collect()
}

/// The end of a rollback: when nobody is left, or their time is over.
fn wait_for_sessions(rollout: &mut Rollout, live: &mut Live, now: Moment, around: &Around<'_>, effects: &mut Vec<Effect>) {
    let since = *live.back_since.get_or_insert(now);
    let (candidate, left) = (rollout.candidate, around.held);
    let why = match (left, around.leave) {
        (Some(0), _) => format!("nothing is left on {candidate}"),
        (_, Some(leave)) if now.since(since) >= leave.saturating_add(LEAVING_AT_MOST_AFTER) => {
            format!("the time is over in which sessions had to leave {candidate}")
        }
        (_, None) => format!("sessions may stay on {candidate} until their clients end them"),
        _ => return,
    };
    rollout.account.kept.left = left;
    rollout.account.stable_after = Some(around.standing[rollout.stable()].as_str().to_owned());
    rollout.account.ended = Some(around.wall);
    turn(rollout, around, Phase::Ended { outcome: Outcome::RolledBack }, why, effects);
    effects.extend([Effect::Keep, Effect::Record]);
}

pub(super) fn turn(rollout: &mut Rollout, around: &Around<'_>, phase: Phase, why: String, effects: &mut Vec<Effect>) {
    rollout.turn(around.wall, phase, why);
    effects.extend(rollout.account.turns.last().cloned().map(Effect::Turned));
}

fn of_finding(finding: &Finding) -> Fired {
    Fired { tool: finding.tool.clone(), finding: Some(finding.clone()), ..Fired::new(finding.trigger, words(finding)) }
}

/// `6.1 % of 1,204 requests, stable 0.4 % of 10,400; at most 5 %; 2 windows in a row`.
pub(super) fn words(finding: &Finding) -> String {
    let is_rate = matches!(finding.trigger, Trigger::Errors | Trigger::ToolErrors);
    let figure = |value: f64| if is_rate { format!("{:.1} %", value * 100.0) } else { format!("{value:.2}") };
    let against = finding.reference.map_or_else(String::new, |reference| {
        let reference = if is_rate { figure(reference) } else { format!("{reference:.4} s") };
        format!(", {} {reference} of {}", format!("{:?}", finding.against).to_lowercase(), finding.reference_samples)
    });
    let times = if is_rate { "" } else { " times" };
    format!(
        "{}{times} of {} requests{against}; the bound is {}; {} windows in a row",
        figure(finding.value),
        finding.samples,
        figure(finding.limit),
        finding.windows
    )
}

fn bounds(bound: crate::domain::judge::Bound) -> String {
    let least = bound.min.map(|min| format!("at least {min}"));
    let most = bound.max.map(|max| format!("at most {max}"));
    least.into_iter().chain(most).collect::<Vec<_>>().join(", ")
}
