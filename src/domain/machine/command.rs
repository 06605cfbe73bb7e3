//! Commands, their answers, and what is told about them.

use thiserror::Error;

use super::durable::{Durable, EntrySpec};
use super::leaving::Depart;
use crate::domain::entry::Entry;
use crate::domain::plan::Plan;
use crate::domain::rollout::{Refused, Wanted};
use crate::domain::split::{Salt, Share, Split};

/// Ties a command to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

impl Ticket {
    /// Nobody waits for the answer.
    pub const NOBODY: Self = Self(0);
}

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
    /// Begin a rollout.
    Start(Box<Start>),
    /// Steer the one that runs.
    Steer(Wanted),
    /// Candidate to 100 %, and in charge, now.
    Promote {
        /// Whatever health and verdict say.
        force: bool,
    },
    /// Call the rollout off: candidate to 0, now, and not condemned.
    Abort,
    /// The sessions of an entry are to leave it.
    Depart(Depart),
    /// They are not, whatever was ordered.
    Stay(Entry),
    /// Evidence from outside.
    Signal(Vec<Evidence>),
}

/// What somebody outside says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Whether the candidate has to go.
    pub critical: bool,
    /// The entry that it is about; none: the candidate.
    pub entry: Option<Entry>,
    /// Who says so, and what.
    pub words: String,
}

/// A rollout to begin.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its name from now on.
    pub id: String,
    /// Its recipe.
    pub plan: Plan,
    /// The entry that is to be given the clients, where somebody named it.
    pub to: Option<Entry>,
    /// Also to an entry that is down or condemned.
    pub force: bool,
    /// Deals the clients of the next epoch, where one begins.
    pub salt: Salt,
}

impl Command {
    /// As the audit and the command line name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Split(_) => "split",
            Self::Rollback => "rollback",
            Self::Deploy(_) => "deploy",
            Self::Restore(_) => "import",
            Self::Start(_) => "rollout-start",
            Self::Steer(wanted) => wanted.name(),
            Self::Promote { .. } => "promote",
            Self::Abort => "abort",
            Self::Depart(depart) => depart.what.name(),
            Self::Stay(_) => "drain-cancel",
            Self::Signal(_) => "signal",
        }
    }

    /// What it wants, in words.
    pub fn wanted(&self) -> String {
        match self {
            Self::Split(split) => split.to_string(),
            Self::Rollback => "the candidate at 0".to_owned(),
            Self::Deploy(deploy) => format!("{}: {}", deploy.entry, deploy.spec),
            Self::Restore(state) => format!("split {}, stable {}", state.split, state.stable),
            Self::Start(start) => format!("a rollout by {} ({})", start.plan.name, start.plan),
            Self::Steer(Wanted::Advance { step, force: true }) => format!("advance from step {}, by force", step + 1),
            Self::Steer(Wanted::Advance { step, .. }) => format!("advance from step {}", step + 1),
            Self::Steer(Wanted::Approve { step }) => format!("approve step {}", step + 1),
            Self::Steer(wanted) => wanted.name().to_owned(),
            Self::Promote { force } => format!("the candidate in charge{}", if *force { ", by force" } else { "" }),
            Self::Abort => "the rollout called off".to_owned(),
            Self::Depart(depart) => depart.to_string(),
            Self::Stay(entry) => format!("the sessions of {entry} stay"),
            Self::Signal(all) => all.iter().map(|one| one.words.as_str()).collect::<Vec<_>>().join("; "),
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
    /// Whoever leaves would be born there again.
    #[error("{entry} has {share} % of the clients: it drains only at 0 %, else new ones take the place of old")]
    DrainsAtZero {
        /// The entry.
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
    /// The rollout does not allow it.
    #[error(transparent)]
    Rollout(#[from] Refused),
}
