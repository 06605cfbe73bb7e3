//! Commands, their answers, and what is told about them.

use serde::Serialize;
use thiserror::Error;

use super::durable::{Durable, EntrySpec};
use crate::domain::entry::Entry;
use crate::domain::health::Standing;
use crate::domain::split::{Share, Split};

/// Ties a command to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// A command with all that is said about it.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where the answer goes.
    pub ticket: Ticket,
    /// Who wants it, for the audit.
    pub actor: String,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// The revision the operator saw; another one refuses the command.
    pub if_match: Option<u64>,
    /// Say what would happen, and do nothing.
    pub dry_run: bool,
    /// What.
    pub command: Command,
}

/// What can be wanted of a service.
#[derive(Clone, Debug)]
pub enum Command {
    /// Set the split.
    Split(Split),
    /// Candidate to 0, now.
    Rollback,
    /// Fill a slot.
    Deploy(Deploy),
    /// Put a state in force that was exported before; its sequence and revision do not count.
    Restore(Box<Durable>),
}

impl Command {
    /// As the audit and the command line name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Split(_) => "split",
            Self::Rollback => "rollback",
            Self::Deploy(_) => "deploy",
            Self::Restore(_) => "import",
        }
    }

    /// What it wants, in words.
    pub fn wanted(&self) -> String {
        match self {
            Self::Split(split) => split.to_string(),
            Self::Rollback => "the candidate at 0".to_owned(),
            Self::Deploy(deploy) => format!("{}: {}", deploy.entry, deploy.spec),
            Self::Restore(state) => format!("split {}, stable {}", state.split, state.stable),
        }
    }
}

/// A version to put in a slot.
#[derive(Clone, Debug)]
pub struct Deploy {
    /// The slot.
    pub entry: Entry,
    /// What goes in.
    pub spec: EntrySpec,
    /// Also while the slot has a share.
    pub force: bool,
}

/// What a command changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The split before.
    pub old: Split,
    /// The split now.
    pub new: Split,
    /// The revision before.
    pub old_revision: u64,
    /// The revision now.
    pub revision: u64,
    /// Whether anything changed.
    pub changed: bool,
    /// Whether the disk has it.
    pub durable: bool,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Why a command was refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Refusal {
    /// Somebody was faster.
    #[error("revision {given} is not the current one: it is {current}, with split {split}")]
    Stale {
        /// What the operator saw.
        given: u64,
        /// What is in force.
        current: u64,
        /// The split in force.
        split: Split,
    },
    /// A rollback, a lowering or another configuration came while the command waited for the disk.
    #[error(
        "a rollback, a lower share or a reload (revision {revision}) came while this change waited for the disk: it was not made"
    )]
    Overtaken {
        /// The revision that overtook it.
        revision: u64,
    },
    /// Too many commands wait for the disk.
    #[error("{waiting} changes wait for the disk already: this one was not made")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// The slot is what a rollback goes back to.
    #[error("{entry} is stable, and a rollback goes back to it: it is not replaced while {other} has clients")]
    Refuge {
        /// The stable entry.
        entry: Entry,
        /// The entry with the clients.
        other: Entry,
    },
    /// The disk did not take it, and a raise that is not durable is not made.
    #[error("the state could not be stored ({reason}), and a change that raises a share is made only once it is stored")]
    NotStored {
        /// The disk's words.
        reason: String,
    },
    /// `authority = "config"`.
    #[error("the configuration file is the authority on this service: edit the file and reload")]
    FileIsAuthority,
    /// The slot to fill has clients.
    #[error("{entry} has {share} % of the clients: a deploy goes to the idle entry")]
    EntryInUse {
        /// The slot.
        entry: Entry,
        /// Its share.
        share: Share,
    },
    /// One endpoint cannot serve both versions.
    #[error("{url} is an endpoint of {other} already: the two entries of a service share none")]
    EndpointOfBoth {
        /// The endpoint.
        url: String,
        /// Who has it.
        other: Entry,
    },
}

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
        /// The entry that was rolled back and is condemned now.
        candidate: Entry,
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

impl Note {
    pub(super) fn split(order: &Order, change: &Change) -> Self {
        Self::Split {
            actor: order.actor.clone(),
            reason: order.reason.clone(),
            before: change.old.to_string(),
            after: change.new.to_string(),
            revision: change.revision,
        }
    }

    pub(super) fn rollback(order: &Order, candidate: Entry, change: &Change) -> Self {
        Self::Rollback {
            actor: order.actor.clone(),
            reason: order.reason.clone(),
            candidate,
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
        matches!(self, Self::Unresolved { .. } | Self::Ejected { .. })
    }

    /// Whether the durable state is another now, so that the audit must have it.
    pub fn is_change(&self) -> bool {
        matches!(
            self,
            Self::Split { .. } | Self::Rollback { .. } | Self::Deploy { .. } | Self::Stable { .. } | Self::Restored { .. }
        )
    }
}
