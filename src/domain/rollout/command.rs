//! What can be wanted of a rollout by hand, and when it is refused.

use thiserror::Error;

use super::progress::{obstacles, turn};
use super::{Approval, Around, Effect, Live, Moment, Phase, Rollout};
use crate::domain::health::Standing;
use crate::domain::judge::Verdict;
use crate::domain::plan::Gate;

/// What can be wanted of a rollout that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// Leave this step (from 0) now, without waiting for hold and verdict; forced: for nothing at all.
    Advance {
        /// The step that is meant.
        step: usize,
        /// Whatever health, verdict and gates say.
        force: bool,
    },
    /// Say yes to this step (from 0).
    Approve {
        /// The step that is meant.
        step: usize,
    },
}

/// Why something was not done to a rollout. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// There is none, or none that this could be done to.
    #[error("there is no rollout that could be {done}{}", was.as_ref().map_or_else(String::new, |was| format!(": the last one is {was}")))]
    None {
        /// `paused`, `resumed`, …
        done: &'static str,
        /// The phase of the last one.
        was: Option<String>,
    },
    /// One is running already.
    #[error("rollout {id} is {phase}: one at a time")]
    Active {
        /// Its id.
        id: String,
        /// Its phase.
        phase: String,
    },
    /// The step that is meant is not the one that it is at.
    #[error("step {} is meant, and the rollout is at step {} of {of} ({phase})", given + 1, current + 1)]
    StaleStep {
        /// What was given, from 0.
        given: usize,
        /// Where it is, from 0.
        current: usize,
        /// How many there are.
        of: usize,
        /// Its phase.
        phase: String,
    },
    /// It stands still.
    #[error("the rollout is {phase}{}: resume it first", why.as_ref().map_or_else(String::new, |why| format!(" ({why})")))]
    Still {
        /// Its phase.
        phase: String,
        /// Why.
        why: Option<String>,
    },
    /// The candidate may not have more clients.
    #[error("not without force: {}", obstacles.join("; "))]
    Obstructed {
        /// What is in the way.
        obstacles: Vec<String>,
    },
    /// It ends at an entry that does not speak to clients which are there.
    #[error("{} would be stranded on {version}, which serves only 2026-07-28", stranded(*sessions, *requests, *other))]
    StrandsLegacy {
        /// Legacy sessions on the other entry.
        sessions: u64,
        /// Legacy requests of the last day.
        requests: u64,
        /// The entry that speaks to them.
        other: crate::domain::Entry,
        /// The version that does not.
        version: String,
    },
    /// Another version is in the slot by now.
    #[error("the rollout is of version {meant} of {entry}, and {found} is there now: abort it and start another one")]
    OtherVersion {
        /// The entry.
        entry: crate::domain::Entry,
        /// The version that it is of.
        meant: String,
        /// The version that is there.
        found: String,
    },
    /// No gate of this step asks for it.
    #[error("step {} asks for nobody's approval", step + 1)]
    NothingToApprove {
        /// The step, from 0.
        step: usize,
    },
    /// Of two persons, none may be the one who began it.
    #[error("{who} began the rollout, and step {} wants the approval of two others", step + 1)]
    OwnApproval {
        /// Who.
        who: String,
        /// The step, from 0.
        step: usize,
    },
    /// It goes to the entry that is in charge already.
    #[error("{entry} is the stable entry already: a rollout goes to the other one")]
    IsStable {
        /// The entry.
        entry: crate::domain::Entry,
    },
    /// It has more clients already than the plan would give it.
    #[error("the candidate has {share} % already, and the plan ends at {last} %")]
    BeyondPlan {
        /// What it has.
        share: crate::domain::Share,
        /// The last step's share.
        last: crate::domain::Share,
    },
    /// Somebody who forces says why.
    #[error("force needs a reason")]
    ForceWithoutReason,
    /// The plan makes no sense.
    #[error("{what}")]
    Plan {
        /// What is wrong with it.
        what: String,
    },
}

impl Wanted {
    /// As the audit names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Advance { .. } => "advance",
            Self::Approve { .. } => "approve",
        }
    }

    /// As a refusal names it.
    pub fn done(&self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Advance { .. } => "advanced",
            Self::Approve { .. } => "approved",
        }
    }
}

fn stranded(sessions: u64, requests: u64, other: crate::domain::Entry) -> String {
    match (sessions, requests) {
        (0, 1) => "a legacy client (1 request in the last 24 h)".to_owned(),
        (0, requests) => format!("legacy clients ({requests} requests in the last 24 h)"),
        (1, _) => format!("1 legacy session on {other}"),
        (sessions, _) => format!("{sessions} legacy sessions on {other}"),
    }
}

/// Does what is wanted, or says why not. True where something has changed; what follows is among the effects.
pub fn order(
    rollout: &mut Rollout,
    live: &mut Live,
    now: Moment,
    around: &Around<'_>,
    wanted: &Wanted,
    who: &str,
    effects: &mut Vec<Effect>,
) -> Result<bool, Refused> {
    if !rollout.is_running() {
        return Err(Refused::None { done: wanted.done(), was: Some(rollout.phase.as_str().to_owned()) });
    }
    let (at, of) = (rollout.step, rollout.plan.steps.len());
    if let Wanted::Advance { step, .. } | Wanted::Approve { step } = wanted
        && *step != at
    {
        return Err(Refused::StaleStep { given: *step, current: at, of, phase: rollout.phase.as_str().to_owned() });
    }
    match wanted {
        Wanted::Pause if matches!(rollout.phase, Phase::Paused { .. }) => Ok(false),
        Wanted::Pause => {
            live.stop_clock(now);
            let why = format!("paused by {who}");
            turn(rollout, around, Phase::Paused { why: why.clone() }, why, effects);
            Ok(true)
        }
        Wanted::Resume => resume(rollout, live, around, who, effects),
        Wanted::Advance { force, .. } => advance(rollout, live, around, *force, who, effects),
        Wanted::Approve { step } => approve(rollout, *step, who, effects),
    }
}

fn resume(
    rollout: &mut Rollout,
    live: &mut Live,
    around: &Around<'_>,
    who: &str,
    effects: &mut Vec<Effect>,
) -> Result<bool, Refused> {
    if !matches!(rollout.phase, Phase::Paused { .. } | Phase::Frozen { .. }) {
        return Ok(false);
    }
    let candidate = rollout.candidate;
    let mut obstacles = Vec::new();
    if around.condemned[candidate] {
        obstacles.push(format!("{candidate} is condemned"));
    }
    if around.standing[candidate] != Standing::Up {
        obstacles.push(format!("{candidate} is {}", around.standing[candidate].as_str()));
    }
    if !obstacles.is_empty() {
        return Err(Refused::Obstructed { obstacles });
    }
    // The step is entered again: its share may have been set to something else by hand, and the hold begins anew.
    live.entering = true;
    let why = format!("resumed by {who}");
    rollout.account.note(super::Turn { at: around.wall, phase: rollout.phase.as_str().to_owned(), step: rollout.step, why });
    effects.extend(rollout.account.turns.last().cloned().map(Effect::Turned));
    effects.push(Effect::Enter(rollout.step));
    Ok(true)
}

fn advance(
    rollout: &mut Rollout,
    live: &mut Live,
    around: &Around<'_>,
    force: bool,
    who: &str,
    effects: &mut Vec<Effect>,
) -> Result<bool, Refused> {
    if let Phase::Paused { .. } | Phase::Frozen { .. } = rollout.phase {
        let (phase, why) = (rollout.phase.as_str().to_owned(), rollout.phase.why().map(str::to_owned));
        return Err(Refused::Still { phase, why });
    }
    let tried = Live { hurried: true, forced: force, ..live.clone() };
    let mut in_the_way = obstacles(rollout, &tried, around);
    // Gates are asked, and waited for; what the checks and the judge say now is refused now.
    in_the_way.retain(|what| !what.starts_with("gate "));
    let fails = around.report.is_some_and(|report| report.verdict == Verdict::Fail);
    if fails && !force {
        in_the_way.push("the verdict is fail".to_owned());
    }
    if !in_the_way.is_empty() {
        return Err(Refused::Obstructed { obstacles: in_the_way });
    }
    let changed = !live.hurried || (force && !live.forced);
    (live.hurried, live.forced) = (true, live.forced || force);
    if changed {
        let forced = if force { ", whatever health, verdict and gates say" } else { "" };
        let why = format!("{who} said to go on{forced}");
        turn(rollout, around, Phase::Gating, why, effects);
    }
    Ok(changed)
}

fn approve(rollout: &mut Rollout, step: usize, who: &str, effects: &mut Vec<Effect>) -> Result<bool, Refused> {
    let gates = rollout.current().map(|step| step.gates.as_slice()).unwrap_or_default();
    let wanted = gates.iter().filter_map(|gate| match gate {
        Gate::Approval { persons } => Some(*persons),
        _ => None,
    });
    let persons = wanted.max().ok_or(Refused::NothingToApprove { step })?;
    if persons > 1 && who == rollout.by {
        return Err(Refused::OwnApproval { who: who.to_owned(), step });
    }
    let approval = Approval { step, who: who.to_owned() };
    if rollout.approvals.contains(&approval) {
        return Ok(false);
    }
    rollout.approvals.push(approval);
    effects.push(Effect::Keep);
    Ok(true)
}
