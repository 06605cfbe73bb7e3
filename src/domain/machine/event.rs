//! What happens to a service, and what has to be done about it.

// `core`, not `std`: an address as a value, and no socket to go with it.
use core::net::IpAddr;
use std::time::Duration;

use super::{Brake, Change, Durable, EndpointSpec, Left, LegacySeen, Note, Order, Refusal, Rules, Ticket};
use crate::domain::entry::Entry;
use crate::domain::judge::Figures;
use crate::domain::plan::Gate;
use crate::domain::rollout::{Kept, Rollout};

/// What happens to a service.
#[derive(Clone, Debug)]
pub enum Event {
    /// Somebody wants a change.
    Ordered(Order),
    /// A health check ended.
    Probed {
        /// The entry of the endpoint.
        entry: Entry,
        /// The endpoint's name.
        endpoint: String,
        /// Whether it passed.
        success: bool,
    },
    /// Traffic met one failure after the other at an endpoint.
    Suspected {
        /// The entry of the endpoint.
        entry: Entry,
        /// The endpoint's name.
        endpoint: String,
    },
    /// A host was looked up.
    Resolved {
        /// The entry of the endpoint.
        entry: Entry,
        /// The endpoint as it was configured when it was asked.
        endpoint: EndpointSpec,
        /// All addresses of its host, or why there is no answer.
        answer: Result<Vec<IpAddr>, String>,
    },
    /// A save ended.
    Saved {
        /// The revision that was being saved.
        revision: u64,
        /// The disk's reason, where it failed.
        failure: Option<String>,
    },
    /// The brake was written, or its bound ran out.
    Braked {
        /// The revision in the brake.
        revision: u64,
        /// Whether it is on the disk.
        written: bool,
    },
    /// The configuration was read anew.
    Configured(Box<Rules>),
    /// The service is configured no more: whoever waits is told so, and what is owed to the disk is handed over.
    Dismissed,
    /// Traffic is watched for the judge from now on.
    Watched {
        /// Of [`super::Watching`].
        number: u64,
        /// What the stable entry was like until now.
        baseline: Box<Figures>,
    },
    /// A window is full.
    Seen {
        /// Of [`super::Watching`].
        number: u64,
        /// What the candidate showed in it.
        candidate: Box<Figures>,
        /// What the stable entry showed in it.
        stable: Box<Figures>,
    },
    /// A gate has answered.
    Answered {
        /// The number of the question.
        number: u64,
        /// Whether it lets pass.
        passed: bool,
        /// In its words.
        detail: String,
    },
    /// A business metric was read, or not.
    Read {
        /// The name of its rule.
        metric: String,
        /// The figure, or why there is none.
        reading: Result<f64, String>,
    },
    /// What is left on a candidate that was taken back.
    Counted {
        /// Sessions, streams and calls.
        held: u64,
        /// For the account.
        kept: Kept,
    },
    /// A rollback by a trigger is in force since its event came so long ago.
    Reverted {
        /// From the event to the publish.
        after: Duration,
    },
    /// Nobody is left on an entry that was to be left.
    Left(Left),
    /// Legacy clients were counted.
    Legacy(LegacySeen),
    /// Time passes.
    Tick,
}

/// What has to be done about it, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Put the present state in force.
    Publish,
    /// Overwrite the brake, and say [`Event::Braked`] when done or when the bound has run out.
    Brake(Brake),
    /// Store this state, and say [`Event::Saved`].
    Save(Durable),
    /// Answer a command.
    Answer(Ticket, Result<Change, Refusal>),
    /// Tell the audit and the event stream.
    Tell(Note),
    /// Ask a gate of the rollout, and say [`Event::Answered`].
    Ask {
        /// The number of the question.
        number: u64,
        /// The gate.
        gate: Gate,
    },
    /// Write the record of this rollout, over the last one of it.
    Record(Box<Rollout>),
}
