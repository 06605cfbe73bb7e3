//! Waiting for the end of a rollout.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::answers::{Rollout, Turn};
use super::{look, segment, show};
use crate::cli::args::Common;
use crate::cli::client::{Admin, BACK_WITHIN, POLL};
use crate::cli::failure::{Exit, Failure};
use crate::cli::print::{put, say};

/// Where no time is given, it takes as long as it takes.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);

/// What was said so far.
#[derive(Default)]
struct Told {
    last: Option<Turn>,
    waits_for: Vec<String>,
}

/// Follows a rollout to its end, and says every turn of it. A candidate that was taken back is an end, also while its sessions
/// are still leaving. One that stands still is waited for: somebody may let it go on.
pub(super) async fn until_over(service: &str, begun: &Rollout, common: &Common) -> Result<Exit, Failure> {
    // What cannot be reached is tried again here, and for less long than at the start.
    let admin = Admin::new(&common.without_wait())?;
    let deadline = Instant::now() + common.timeout_given().unwrap_or(FOR_EVER);
    let mut told = Told::default();
    let mut now = begun.clone();
    loop {
        told.tell(&now);
        if let Some(end) = end(&now) {
            if common.json() {
                put(&admin.get(&format!("/v1/services/{}/rollout", segment(service))).await?.line())?;
            }
            return end;
        }
        if Instant::now() + POLL >= deadline {
            return Err(late(&now, common));
        }
        sleep(POLL).await;
        now = match timeout_at(deadline, look_again(&admin, service)).await {
            Ok(found) => found?,
            Err(_) => return Err(late(&now, common)),
        };
        if now.id != begun.id {
            let error = format!("rollout {} is not the newest one any more: that is {}", begun.id, show::in_short(&now));
            return Err(Failure::new(Exit::Conflict, error).with_hint(format!("dualgate rollout show {}", begun.id)));
        }
    }
}

/// A dualgate that is restarted is back soon, with the same rollout; one that is not is not waited for.
async fn look_again(admin: &Admin, service: &str) -> Result<Rollout, Failure> {
    let patience = Instant::now() + BACK_WITHIN;
    let mut is_said = false;
    loop {
        match look(admin, service).await {
            Err(failure) if failure.is_of_the_way() && Instant::now() < patience => {
                if !std::mem::replace(&mut is_said, true) {
                    say(&format!("{failure}: going on when dualgate is back"));
                }
                sleep(POLL).await;
            }
            answer => return answer,
        }
    }
}

impl Told {
    fn tell(&mut self, now: &Rollout) {
        let known = self.last.as_ref().and_then(|last| now.turns.iter().rposition(|turn| turn == last));
        for turn in &now.turns[known.map_or(0, |at| at + 1)..] {
            let Turn { at, phase, step, why } = turn;
            say(&format!("{at}  {phase}, step {step} of {}: {why}", now.of));
            if matches!(phase.as_str(), "paused" | "frozen") {
                say(&format!(
                    "WARNING: THE ROLLOUT IS {}, and stands still until somebody says how to go on: dualgate rollout resume, promote or abort",
                    phase.to_uppercase()
                ));
            }
        }
        self.last = now.turns.last().cloned().or(self.last.take());
        // Figures in it change with every window; what is waited for is said when its kind changes.
        let kinds = |all: &[String]| all.iter().map(|one| one.split(':').next().unwrap_or(one).to_owned()).collect::<Vec<_>>();
        let waits_for = if now.phase == "gating" { kinds(&now.obstacles) } else { Vec::new() };
        if self.waits_for != waits_for && !waits_for.is_empty() {
            say(&format!("waits for: {}", now.obstacles.join("; ")));
        }
        self.waits_for = waits_for;
    }
}

/// How it has ended, where it has.
fn end(now: &Rollout) -> Option<Result<Exit, Failure>> {
    let why = now.why.clone().unwrap_or_default();
    let failure = match now.phase.as_str() {
        "done" => return Some(Ok(Exit::Done)),
        "rolling-back" | "rolled-back" => {
            let cause = now.fired.as_ref().map_or(why, super::answers::Fired::words);
            format!("rollout {}: {} {} was taken back: {cause}", now.id, now.candidate, now.versions[now.candidate])
        }
        "aborted" => format!("rollout {} was called off: {why}", now.id),
        // A trigger has fired: whoever waits for the end has to decide first.
        "frozen" => format!("rollout {} is frozen at step {} of {}: {why}", now.id, now.step, now.of),
        _ => return None,
    };
    Some(Err(Failure::new(Exit::Aborted, failure).with_hint(format!("the record: dualgate rollout show {}", now.id))))
}

fn late(now: &Rollout, common: &Common) -> Failure {
    let why = now.why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    let waits = if now.obstacles.is_empty() { String::new() } else { format!("; waits for: {}", now.obstacles.join("; ")) };
    let error = format!("rollout {} is not over after {:?}: {}{why}{waits}", now.id, common.timeout(), show::where_it_is(now));
    Failure::new(Exit::TimedOut, error).with_hint("it goes on; --timeout (DUALGATE_TIMEOUT) waits longer")
}

#[cfg(test)]
mod tests {
    use super::super::show::tests::rollout;
    use super::*;

    #[test]
    fn the_end_is_done_or_8_with_trigger_tool_and_record() {
        let mut now = rollout();
        for phase in ["holding", "soaking", "gating", "paused"] {
            now.phase = phase.to_owned();
            assert!(end(&now).is_none(), "{phase}");
        }
        now.phase = "done".to_owned();
        assert_eq!(end(&now), Some(Ok(Exit::Done)));
        now.phase = "rolling-back".to_owned();
        let failure = end(&now).unwrap().unwrap_err();
        assert_eq!(failure.exit, Exit::Aborted);
        assert_eq!(
            failure.to_string(),
            "rollout 20261121T125800Z-8: secondary 1.5.0 was taken back: trigger tool-errors, tool delete_note: 62.0 % of 118 requests"
        );
        assert_eq!(failure.hint.as_deref(), Some("the record: dualgate rollout show 20261121T125800Z-8"));
        (now.phase, now.why) = ("aborted".to_owned(), Some("aborted by ada".to_owned()));
        assert_eq!(end(&now).unwrap().unwrap_err().to_string(), "rollout 20261121T125800Z-8 was called off: aborted by ada");
    }
}
