//! What comes into the actor's mailbox.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tokio::sync::oneshot;

use super::import::{AllStates, Imported};
use super::keeping::Writing;
use super::records::Written;
use super::reload::{Loaded, Wanted};
use super::residents::ResidentsKept;
use super::{By, Checked, OrderError, Status};
use crate::domain::Entry;
use crate::domain::machine::{Change, Command, Durable, EndpointSpec};
use crate::live::StoreError;
use crate::upstream::probe::Finding;

/// What comes into the mailbox.
pub(super) enum Mail {
    /// Somebody wants a change.
    Order { service: String, command: Command, by: By, reply: oneshot::Sender<Result<Change, OrderError>> },
    /// Somebody wants the states of all services,
    Export { reply: oneshot::Sender<AllStates> },
    /// or to put such states in force.
    Import { states: BTreeMap<String, Durable>, by: By, reply: oneshot::Sender<Imported> },
    /// Somebody wants to know.
    Look { service: String, reply: oneshot::Sender<Option<Box<Status>>> },
    /// A check ended.
    Checked(Checked, Finding),
    /// Traffic met one failure after the other.
    Suspected(Checked),
    /// A host was looked up.
    Resolved { service: usize, entry: Entry, endpoint: EndpointSpec, answer: Result<Vec<IpAddr>, String> },
    /// A save ended.
    Saved { service: usize, revision: u64, failure: Option<String>, writing: Writing },
    /// A brake was written, or its bound ran out.
    Braked { service: usize, revision: u64, written: bool },
    /// A batch of pins was written, or not.
    PinsKept { service: usize, failure: Option<StoreError>, writing: Writing },
    /// A batch of what is remembered of sessions was written, or not.
    ResidentsKept { service: usize, kept: ResidentsKept },
    /// A gate has answered.
    Answered { service: usize, number: u64, passed: bool, detail: String },
    /// A business metric was read, or not.
    Read { service: usize, metric: String, reading: Result<f64, String> },
    /// A record was written, or not.
    RecordKept { service: usize, written: Box<Written>, writing: Writing },
    /// There is another configuration.
    Configure { services: Vec<Wanted>, loaded: Vec<Loaded>, reply: oneshot::Sender<()> },
    /// What has not been written yet should be now.
    KeepPins { reply: oneshot::Sender<()> },
}
