//! The beginning of a rollout: its name, and how clients are dealt in it.

use super::conductor::Conductor;
use crate::domain::machine::{Command, Start};
use crate::domain::{Entry, Plan, Salt};
use crate::telemetry::clock::wall_time;

/// A rollout by a plan; the actor gives it its id and its salt when it takes the order.
pub fn start_by(plan: Plan, to: Option<Entry>, force: bool) -> Command {
    Command::Start(Box::new(Start { id: String::new(), plan, to, force, salt: Salt::new([0; 16]) }))
}

impl Conductor {
    /// With the id and the salt, where a rollout is to begin that has none yet. An id is never given twice: the revision grows with every change.
    pub(super) fn named(&self, at: usize, mut command: Command) -> Command {
        if let Command::Start(start) = &mut command
            && start.id.is_empty()
        {
            let (service, state) = (&self.charges[at].config.name, self.charges[at].machine.state());
            start.id = format!("{}-{}", compact(&wall_time()), state.revision + 1);
            start.salt = self.keys.salt(service, state.epoch + 1);
        }
        command
    }
}

/// `2026-11-21T12:58:00.000Z` as `20261121T125800Z`: it goes into paths and names of files.
fn compact(time: &str) -> String {
    let seconds = time.split('.').next().unwrap_or(time);
    let kept = seconds.chars().filter(|c| c.is_ascii_digit() || *c == 'T');
    kept.chain(['Z']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_begins_with_the_time_in_a_form_that_is_a_name_everywhere() {
        assert_eq!(compact("2026-11-21T12:58:00.123Z"), "20261121T125800Z");
    }
}
