//! Where a stream goes on whose server is gone, or is to be left.

use std::time::Duration;

use super::super::feed::{is_silent, is_well, note_refused};
use super::super::mover::{NotMoved, Wanted, Why};
use super::super::replay::Recipe;
use super::{FIRST_PAUSE, Splice};
use crate::config::OnLoss;

/// Between two tries at the most.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What became of a stream whose server has ended it, or is to be left.
#[derive(Clone, Copy)]
pub(super) enum Ended {
    /// The session lives elsewhere now.
    Moved,
    /// It was the stream alone that ended: its server is well.
    Alone,
    /// There is no other place for it.
    Stays,
    /// There was none just now.
    Later,
}

impl Splice {
    /// Moves the session; where its server is gone, for as long as it takes.
    pub(super) fn find_place(&self, why: Why, may_be_well: bool) -> impl Future<Output = Ended> + 'static {
        let (worker, session, letterhead, at) =
            (self.worker.clone(), self.session.clone(), self.latest_letterhead(), self.current.at.clone());
        async move {
            let mut pause = FIRST_PAUSE;
            let mut must_ask = may_be_well;
            loop {
                let Some(service) = worker.reader.named(session.service()) else {
                    return Ended::Stays;
                };
                if why == Why::Lost && service.config.sessions.on_loss != OnLoss::Rehome {
                    return Ended::Stays;
                }
                // What was told may be over by now, or have been said of where it was before.
                let is_so = match why {
                    Why::Leaves { .. } => worker.must_leave(&service, &session, &at.place),
                    Why::Lost => may_be_well || is_silent(&service, &at.place),
                };
                if !session.is_current(at.epoch) || !is_so {
                    return Ended::Moved;
                }
                if std::mem::take(&mut must_ask) && is_well(&worker, &service, &session, &letterhead, &at.place).await {
                    return Ended::Alone;
                }
                let recipe = session.state().memory.as_ref().and_then(|memory| Recipe::of(memory));
                let Some(recipe) = recipe else { return Ended::Stays };
                let (seen, from, letterhead) = (at.epoch, at.place.clone(), letterhead.clone());
                let wanted = Wanted { seen, from, why, has_spoken: false, letterhead, recipe, dial: None };
                match worker.rehome(&session, &wanted, service.clone()).await {
                    Ok(()) => return Ended::Moved,
                    Err(NotMoved::NobodyThere(_) | NotMoved::BackedOff) if why == Why::Lost => {}
                    Err(NotMoved::Refused(_)) => {
                        if let Why::Leaves { .. } = why {
                            note_refused(&service, &session, &at.place);
                        }
                        return Ended::Stays;
                    }
                    Err(NotMoved::Over) => return Ended::Stays,
                    Err(_) => {
                        tokio::time::sleep(FIRST_PAUSE).await;
                        return Ended::Later;
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
