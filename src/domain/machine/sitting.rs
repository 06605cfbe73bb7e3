//! The judge sits while the candidate has clients, in a rollout or not.

use std::time::Duration;

use super::{Effect, Machine};
use crate::domain::entry::Entry;
use crate::domain::judge::{Figures, Judge, Report, Times};
use crate::domain::rollout::{Kept, Phase, Rollout};
use crate::domain::split::Share;

/// What the judge looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Case {
    candidate: Entry,
    version: String,
    share: Share,
    rollout: Option<(String, usize)>,
}

/// The judge, and what it looks at.
#[derive(Clone, Debug, Default)]
pub(super) struct Sitting {
    case: Option<Case>,
    number: u64,
    judge: Option<Judge>,
    report: Option<Report>,
    /// Times of the candidate and of the stable entry, of all windows of the case.
    times: (Times, Times),
}

/// What is to be watched for the judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watching {
    /// Another number: what was seen so far belongs to another case.
    pub number: u64,
    /// The candidate.
    pub candidate: Entry,
    /// From the end of one window to the end of the next.
    pub window: Duration,
}

impl Sitting {
    pub(super) fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// Notes a window for the record of the step, where it is one of the step and not of a split by hand.
    fn account(&mut self, rollout: &mut Rollout, candidate: &Figures, stable: &Figures) {
        self.times.0.merge(&candidate.all.times);
        self.times.1.merge(&stable.all.times);
        let Some(case) = &self.case else { return };
        let of = case.rollout.as_ref();
        if let Some(step) = rollout.account.steps.last_mut()
            && of.is_some_and(|(id, _)| *id == rollout.id)
            && step.ended.is_none()
            && step.share == case.share
        {
            step.candidate.note(candidate, &self.times.0);
            step.stable.note(stable, &self.times.1);
        }
    }
}

impl Machine {
    /// What is to be watched for the judge; none: nothing.
    pub fn watching(&self) -> Option<Watching> {
        let case = self.sitting.case.as_ref()?;
        Some(Watching { number: self.sitting.number, candidate: case.candidate, window: self.rules.judge.window })
    }

    /// The judge's last word.
    pub fn report(&self) -> Option<&Report> {
        self.sitting.report()
    }

    /// Begins another case where there is one. The last thing before a look at the rollout.
    pub(super) fn sit(&mut self) {
        let candidate = self.candidate();
        let share = self.state.split.share(candidate);
        let rollout = self.rollout().filter(|rollout| rollout.is_running());
        let case = (share != Share::NONE).then(|| Case {
            candidate,
            version: self.entry(candidate).version.clone(),
            share,
            rollout: rollout.map(|rollout| (rollout.id.clone(), rollout.account.steps.len())),
        });
        if case != self.sitting.case {
            let number = self.sitting.number + 1;
            self.sitting = Sitting { case, number, ..Sitting::default() };
        }
    }

    /// The rules are others now: what was seen by the old ones is judged no more.
    pub(super) fn sit_anew(&mut self) {
        self.sitting.case = None;
    }

    /// Traffic is watched from now on; `baseline` is what the stable entry was like until now.
    pub(super) fn watched(&mut self, number: u64, baseline: Figures) {
        if self.sitting.number != number || self.sitting.case.is_none() {
            return;
        }
        let baseline = Some(baseline).filter(|figures| figures.all.requests > 0);
        let baseline = match self.state.rollout.as_mut().filter(|rollout| rollout.is_running()) {
            Some(rollout) if rollout.baseline.is_none() && baseline.is_some() => {
                rollout.baseline.clone_from(&baseline);
                self.owe_a_save();
                baseline
            }
            Some(rollout) => rollout.baseline.clone(),
            None => baseline,
        };
        let judge = Judge::new(self.rules.judge.clone(), baseline);
        self.sitting.report = Some(judge.report());
        self.sitting.judge = Some(judge);
    }

    /// A window is full.
    pub(super) fn seen(&mut self, number: u64, candidate: Figures, stable: Figures) {
        if self.sitting.number != number || self.sitting.judge.is_none() {
            return;
        }
        if let Some(rollout) = self.state.rollout.as_deref_mut() {
            self.sitting.account(rollout, &candidate, &stable);
        }
        if let Some(judge) = &mut self.sitting.judge {
            self.sitting.report = Some(judge.window(candidate, stable));
        }
    }

    /// What is left on a candidate that was taken back, as it was counted.
    pub(super) fn counted(&mut self, held: u64, kept: Kept, effects: &mut Vec<Effect>) {
        self.held = Some(held);
        if let Some(rollout) = self.state.rollout.as_mut().filter(|rollout| rollout.phase == Phase::RollingBack) {
            let before = rollout.account.kept.before.or(kept.before);
            let next = Kept { before, left: None, ..kept };
            if rollout.account.kept != next {
                rollout.account.kept = next;
                self.record(effects);
            }
        }
    }

    /// How long it took to take the candidate back.
    pub(super) fn reverted(&mut self, after: Duration, effects: &mut Vec<Effect>) {
        if let Some(rollout) = self.state.rollout.as_mut().filter(|rollout| rollout.account.reverted.is_some()) {
            rollout.account.revert_micros = u64::try_from(after.as_micros()).ok();
            self.owe_a_save();
            self.record(effects);
        }
    }
}
