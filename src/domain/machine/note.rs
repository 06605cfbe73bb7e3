//! What has happened, as audit, events and log tell it.

use serde::Serialize;

use super::leaving::{Depart, Paced, Wish};
use super::{Change, EntrySpec, Order};
use crate::domain::entry::Entry;
use crate::domain::health::Standing;
use crate::domain::judge::Trigger;
use crate::domain::rollout::Fired;

/// Something that happened, for audit, events and log.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Note {
    /// The split was set by hand.
    Split {
        /// Who.
        actor: String,
        /// Why.
        reason: Option<String>,
        /// `90:10` before.
        before: String,
        /// and after.
        after: String,
        /// The new revision.
        revision: u64,
    },
    /// The candidate was taken to 0.
    Rollback {
        /// Who.
        actor: String,
        /// Why.
        reason: Option<String>,
        /// The entry that was taken to 0.
        candidate: Entry,
        /// What set it off: `operator`, `abort`, or a trigger.
        trigger: &'static str,
        /// The tool or the business metric that it was about, where it was about one.
        #[serde(skip_serializing_if = "Option::is_none")]
        about: Option<String>,
        /// The rollout that it ends.
        #[serde(skip_serializing_if = "Option::is_none")]
        rollout: Option<String>,
        /// The split before.
        before: String,
        /// and after.
        after: String,
        /// The new revision.
        revision: u64,
    },
    /// A slot was filled.
    Deploy {
        /// Who.
        actor: String,
        /// Why.
        reason: Option<String>,
        /// The slot.
        entry: Entry,
        /// What was there.
        before: EntrySpec,
        /// What is there.
        after: EntrySpec,
        /// The new revision.
        revision: u64,
    },
    /// A state that was exported before was put in force.
    Restored {
        /// Who.
        actor: String,
        /// Why.
        reason: Option<String>,
        /// The state before, in words.
        before: String,
        /// and after.
        after: String,
        /// The new revision.
        revision: u64,
    },
    /// An entry was at 100 % for long enough and is in charge now.
    Stable {
        /// The entry.
        entry: Entry,
        /// The one that was in charge before.
        before: Entry,
        /// The revision, which this does not change.
        revision: u64,
    },
    /// A rollout begins.
    Started {
        /// Who.
        actor: String,
        /// Why.
        reason: Option<String>,
        /// Its id.
        rollout: String,
        /// `10:10m, 50:20m, 100:10m`.
        plan: String,
        /// The entry that is given the clients.
        candidate: Entry,
        /// Its version.
        version: String,
        /// The new revision.
        revision: u64,
    },
    /// A rollout has turned: another step, another phase.
    Rollout {
        /// Its id.
        rollout: String,
        /// The phase that began.
        phase: String,
        /// The step, from 1.
        step: usize,
        /// How many there are.
        of: usize,
        /// The entry that is given the clients.
        candidate: Entry,
        /// Its share in force, in per cent.
        share: f64,
        /// Why.
        why: String,
        /// The revision.
        revision: u64,
    },
    /// Somebody steers a rollout.
    Steered {
        /// Who.
        actor: String,
        /// Why.
        reason: Option<String>,
        /// Its id.
        rollout: String,
        /// `pause`, `resume`, `advance`, `approve`.
        command: &'static str,
        /// The step that it is at, from 1.
        step: usize,
        /// The revision.
        revision: u64,
    },
    /// The candidate is in charge from now on.
    Promoted {
        /// Who.
        actor: String,
        /// Why.
        reason: Option<String>,
        /// The rollout that this ends.
        #[serde(skip_serializing_if = "Option::is_none")]
        rollout: Option<String>,
        /// The entry that is stable now.
        entry: Entry,
        /// The one before.
        before: Entry,
        /// The new revision.
        revision: u64,
    },
    /// Something fails, and nothing follows from it by itself.
    Warned {
        /// The rollout.
        rollout: Option<String>,
        /// What was looked at.
        trigger: Trigger,
        /// Whether it is the stable entry that fails.
        sick_stable: bool,
        /// In words, with figures.
        detail: String,
    },
    /// A step is not left although its hold is over.
    Held {
        /// The rollout.
        rollout: String,
        /// The step, from 1.
        step: usize,
        /// What keeps it there.
        obstacles: Vec<String>,
        /// The revision.
        revision: u64,
    },
    /// Somebody wants the sessions of an entry to leave it.
    Departs {
        /// Who.
        actor: String,
        /// Why.
        reason: Option<String>,
        /// The entry.
        entry: Entry,
        /// `drain`, `sessions-move`, `sessions-end`.
        what: &'static str,
        /// Whatever was in the way.
        forced: bool,
        /// They may stay so long, in seconds,
        deadline_s: f64,
        /// and then leave over so long.
        pace_s: f64,
        /// The new revision.
        revision: u64,
    },
    /// Somebody has taken that back.
    Stays {
        /// Who.
        actor: String,
        /// Why.
        reason: Option<String>,
        /// The entry.
        entry: Entry,
        /// What was ordered.
        what: &'static str,
        /// The new revision.
        revision: u64,
    },
    /// Nobody is left on an entry that was to be left.
    Left(Left),
    /// Somebody outside has said something.
    Signal {
        /// Who.
        actor: String,
        /// Whether the candidate had to go.
        critical: bool,
        /// The entry that it is about.
        entry: Option<Entry>,
        /// What.
        detail: String,
    },
    /// An endpoint failed its clients and is out for a while.
    Ejected {
        /// Its entry.
        entry: Entry,
        /// Its name.
        endpoint: String,
        /// For how long.
        seconds: u64,
    },
    /// A host has other addresses than before.
    Instances {
        /// The entry.
        entry: Entry,
        /// The endpoint whose host it is.
        endpoint: String,
        /// Instances that came, by name.
        joined: Vec<String>,
        /// Instances that are leaving: they get no new clients.
        left: Vec<String>,
        /// Instances that have left.
        gone: Vec<String>,
    },
    /// A host cannot be looked up any more; the instances known so far stay.
    Unresolved {
        /// The entry.
        entry: Entry,
        /// The endpoint whose host it is.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// Checks turned an endpoint.
    Health {
        /// Its entry.
        entry: Entry,
        /// Its name.
        endpoint: String,
        /// Where it stands now.
        standing: Standing,
    },
}

/// What became of the sessions of an entry that was to be left, when none was there any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The entry.
    pub entry: Entry,
    /// Its version.
    pub version: String,
    /// Why it was to be left.
    pub cause: &'static str,
    /// Sessions that were moved to the other entry,
    pub moved: u64,
    /// that were ended,
    pub ended: u64,
    /// and attempts to move one that was not to be moved.
    pub refused: u64,
    /// When a request was last sent there, after it had begun: `T+12.4s`. None: none was.
    pub last_request: Option<String>,
}

impl Note {
    pub(super) fn departs(order: &Order, depart: &Depart, revision: u64) -> Self {
        let Depart { entry, what, times: Paced { deadline, pace }, force } = *depart;
        Self::Departs {
            actor: order.actor.clone(),
            reason: order.reason.clone(),
            entry,
            what: what.name(),
            forced: force,
            deadline_s: deadline.as_secs_f64(),
            pace_s: pace.as_secs_f64(),
            revision,
        }
    }

    pub(super) fn stays(order: &Order, entry: Entry, what: Wish, revision: u64) -> Self {
        let (actor, reason) = (order.actor.clone(), order.reason.clone());
        Self::Stays { actor, reason, entry, what: what.name(), revision }
    }

    pub(super) fn split(order: &Order, change: &Change) -> Self {
        Self::Split {
            actor: order.actor.clone(),
            reason: order.reason.clone(),
            before: change.old.to_string(),
            after: change.new.to_string(),
            revision: change.revision,
        }
    }

    /// The same, of another revision.
    pub(super) fn at(self, revision: u64) -> Self {
        match self {
            Self::Steered { actor, reason, rollout, command, step, .. } => {
                Self::Steered { actor, reason, rollout, command, step, revision }
            }
            other => other,
        }
    }

    pub(super) fn rollback(
        order: &Order,
        candidate: Entry,
        change: &Change,
        fired: Option<&Fired>,
        trigger: &'static str,
        rollout: Option<String>,
    ) -> Self {
        Self::Rollback {
            actor: order.actor.clone(),
            reason: order.reason.clone(),
            candidate,
            trigger,
            about: fired.and_then(|fired| fired.tool.clone().or_else(|| fired.metric.clone())),
            rollout,
            before: change.old.to_string(),
            after: change.new.to_string(),
            revision: change.revision,
        }
    }

    pub(super) fn deploy(order: &Order, entry: Entry, before: &EntrySpec, after: &EntrySpec, revision: u64) -> Self {
        Self::Deploy {
            actor: order.actor.clone(),
            reason: order.reason.clone(),
            entry,
            before: before.clone(),
            after: after.clone(),
            revision,
        }
    }

    /// Whether somebody should look at it.
    pub fn is_trouble(&self) -> bool {
        matches!(self, Self::Unresolved { .. } | Self::Ejected { .. } | Self::Warned { .. } | Self::Signal { critical: true, .. })
    }

    /// Whether the durable state is another now, so that the audit must have it.
    pub fn is_change(&self) -> bool {
        matches!(
            self,
            Self::Split { .. }
                | Self::Rollback { .. }
                | Self::Deploy { .. }
                | Self::Stable { .. }
                | Self::Restored { .. }
                | Self::Started { .. }
                | Self::Rollout { .. }
                | Self::Steered { .. }
                | Self::Promoted { .. }
                | Self::Signal { .. }
                | Self::Departs { .. }
                | Self::Stays { .. }
                | Self::Left(_)
        )
    }
}
