//! Who has to leave an entry, from when on, and what becomes of them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::clock::Moment;
use crate::domain::entry::Entry;
use crate::domain::eviction::{Departure, Eviction};

/// How sessions leave an entry, as the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leave {
    /// What becomes of them.
    pub on_drain: OnDrain,
    /// When they leave an entry without a share.
    pub drain: Paced,
    /// When they leave one that was rolled back.
    pub rollback: Paced,
}

/// A time to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paced {
    /// They may stay so long,
    pub deadline: Duration,
    /// and then leave one after the other, over so long. Zero: all at once.
    pub pace: Duration,
}

/// What becomes of sessions that do not end by themselves, after a drain or a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDrain {
    /// They are moved. Those that cannot be are ended after a rollback, and else they stay.
    Rehome,
    /// They stay until their clients end them.
    Wait,
    /// They are ended, in the way that their clients survive.
    End,
}

/// Why an entry is to be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It has had no share for long enough.
    Drain,
    /// It was rolled back.
    Rollback,
    /// An operator wants it drained.
    OrderedDrain,
    /// An operator wants its sessions on the other entry,
    OrderedMove {
        /// also where their clients may notice.
        forced: bool,
    },
    /// An operator wants them ended.
    OrderedEnd,
}

/// An entry that is being left, or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Why.
    pub cause: Cause,
    /// Since when; the deadline counts from here.
    pub since: Moment,
    /// When its sessions leave, and what becomes of them.
    pub eviction: Eviction,
}

/// What an operator wants of an entry's sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depart {
    /// The entry that they are to leave.
    pub entry: Entry,
    /// What is to become of them.
    pub what: Wish,
    /// When.
    pub times: Paced,
    /// Also where new sessions come to the entry, or the other one is not well.
    pub force: bool,
}

/// `drain primary: after 600 s, over 25 s`, `sessions-move primary by force: after 0 s, over 25 s`.
impl fmt::Display for Depart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Paced { deadline, pace } = self.times;
        let force = if self.force { " by force" } else { "" };
        let (what, entry) = (self.what.name(), self.entry);
        write!(f, "{what} {entry}{force}: after {} s, over {} s", deadline.as_secs_f64(), pace.as_secs_f64())
    }
}

/// What is to become of the sessions of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// What the configuration says of drains, after a deadline.
    Drain,
    /// They are moved.
    Move,
    /// They are moved, also where their clients may notice.
    MoveByForce,
    /// They are ended.
    End,
}

impl Wish {
    /// As the audit and the command line name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Move | Self::MoveByForce => "sessions-move",
            Self::End => "sessions-end",
        }
    }

    fn cause(self) -> Cause {
        match self {
            Self::Drain => Cause::OrderedDrain,
            Self::Move => Cause::OrderedMove { forced: false },
            Self::MoveByForce => Cause::OrderedMove { forced: true },
            Self::End => Cause::OrderedEnd,
        }
    }
}

/// An operator's order, as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// What was ordered.
    pub what: Wish,
    /// After so many milliseconds; a restart begins them anew.
    pub deadline_millis: u64,
    /// Over so many.
    pub pace_millis: u64,
    /// Under which revision: sessions that were born before have to leave.
    pub revision: u64,
}

impl Ordered {
    pub(super) fn of(depart: &Depart, revision: u64) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let Paced { deadline, pace } = depart.times;
        Self { what: depart.what, deadline_millis: millis(deadline), pace_millis: millis(pace), revision }
    }

    pub(super) fn due(self) -> Due {
        let [deadline, pace] = [self.deadline_millis, self.pace_millis].map(Duration::from_millis);
        Due { cause: self.what.cause(), before_revision: self.revision, times: Paced { deadline, pace } }
    }
}

/// Why an entry is to be left, by whom, and in which times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) cause: Cause,
    /// By those that were born under an earlier revision.
    pub(super) before_revision: u64,
    pub(super) times: Paced,
}

impl Due {
    /// Where it has been so since this moment.
    pub(super) fn leaving(&self, since: Moment, on_drain: OnDrain) -> Option<Leaving> {
        let Self { cause, before_revision, times: Paced { deadline, pace } } = *self;
        let how = cause.departure(on_drain)?;
        let from = since.plus(deadline);
        let cut = from.plus(pace).plus(Leave::LAST_CALLS);
        Some(Leaving { cause, since, eviction: Eviction { from, over: pace, cut, before_revision, how } })
    }
}

impl Cause {
    /// Whether somebody has said so, and not the configuration.
    pub fn is_ordered(self) -> bool {
        matches!(self, Self::OrderedDrain | Self::OrderedMove { .. } | Self::OrderedEnd)
    }

    /// What becomes of the sessions; none: they stay. A candidate that was taken back is sick, so that nobody may stay on it;
    /// whoever may not be moved from a sound entry is better off there. An operator's word is stronger than the configuration,
    /// which is there for what happens by itself; but a drain ends nobody by force unless the configuration says so.
    pub fn departure(self, on_drain: OnDrain) -> Option<Departure> {
        let moves = |forced, or_ends| Some(Departure::Moves { forced, or_ends });
        match (self, on_drain) {
            (Self::OrderedMove { forced }, _) => moves(forced, false),
            (Self::OrderedEnd, _) | (Self::Drain | Self::Rollback | Self::OrderedDrain, OnDrain::End) => Some(Departure::Ends),
            (Self::Drain | Self::Rollback, OnDrain::Wait) => None,
            (Self::Rollback, OnDrain::Rehome) => moves(false, true),
            (Self::Drain, OnDrain::Rehome) | (Self::OrderedDrain, OnDrain::Rehome | OnDrain::Wait) => moves(false, false),
        }
    }

    /// As events and answers name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Rollback => "rollback",
            Self::OrderedDrain => "drain-ordered",
            Self::OrderedMove { .. } => "move-ordered",
            Self::OrderedEnd => "end-ordered",
        }
    }
}

impl Leave {
    /// What a session has begun when its time comes may take so long.
    pub const LAST_CALLS: Duration = Duration::from_secs(5);

    /// The time in which sessions have to leave after a rollback; none: they may stay.
    pub fn time(&self) -> Option<Duration> {
        let Paced { deadline, pace } = self.rollback;
        Cause::Rollback.departure(self.on_drain).map(|_| deadline.saturating_add(pace).saturating_add(Self::LAST_CALLS))
    }
}

impl Default for Leave {
    fn default() -> Self {
        let pace = Duration::from_secs(25);
        Self {
            on_drain: OnDrain::Rehome,
            drain: Paced { deadline: Duration::from_secs(600), pace },
            rollback: Paced { deadline: Duration::from_secs(30), pace },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_departure_under_each_configuration() {
        use OnDrain::{End, Rehome, Wait};
        let moves = |forced, or_ends| Some(Departure::Moves { forced, or_ends });
        let (ends, stay) = (Some(Departure::Ends), None);
        for (cause, on_rehome, on_wait, on_end) in [
            (Cause::Drain, moves(false, false), stay, ends),
            (Cause::Rollback, moves(false, true), stay, ends),
            (Cause::OrderedDrain, moves(false, false), moves(false, false), ends),
            (Cause::OrderedMove { forced: false }, moves(false, false), moves(false, false), moves(false, false)),
            (Cause::OrderedMove { forced: true }, moves(true, false), moves(true, false), moves(true, false)),
            (Cause::OrderedEnd, ends, ends, ends),
        ] {
            let found = [Rehome, Wait, End].map(|on_drain| cause.departure(on_drain));
            assert_eq!(found, [on_rehome, on_wait, on_end], "{cause:?}");
        }
    }
}
