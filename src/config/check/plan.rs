//! `[[plan]]`: checked, so that what is wrong is known before rollouts are served.

use super::Checker;
use crate::config::raw;
use crate::domain::Share;

/// Steps of a plan. More would be a slope, and nobody could judge any of them.
const MOST_STEPS: usize = 100;

impl Checker<'_> {
    pub(super) fn plans(&mut self, plans: &[raw::Plan]) {
        self.warnings.push("plan: read, but rollouts by plan are not served by this version".to_owned());
        for (at, plan) in plans.iter().enumerate() {
            if plan.name.is_empty() {
                self.wrong(&format!("plan[{at}].name"), "a plan needs a name, like \"default\"");
            }
            if plans[..at].iter().any(|earlier| earlier.name == plan.name) {
                self.wrong(&format!("plan[{at}].name"), format!("`{}` is the name of another plan", plan.name));
            }
            self.steps(&format!("plan[{at}].steps"), &plan.steps);
        }
    }

    fn steps(&mut self, key: &str, steps: &[raw::Step]) {
        if steps.is_empty() {
            self.wrong(key, "a plan has at least one step, like { share = 10, hold = \"10m\" }");
        }
        if steps.len() > MOST_STEPS {
            return self.wrong(key, format!("{} steps: at most {MOST_STEPS}", steps.len()));
        }
        let mut before = Share::NONE;
        for (at, step) in steps.iter().enumerate() {
            let share = step.share.0;
            if share <= before {
                let what = format!("{share} % after {before} %: every step gives the candidate more than the one before");
                self.wrong(&format!("{key}[{at}].share"), what);
            }
            before = before.max(share);
            if step.hold.is_some_and(|hold| hold.0.is_zero()) {
                self.wrong(&format!("{key}[{at}].hold"), "must be longer than 0: leave it out for a step that waits for nobody");
            }
        }
    }
}
