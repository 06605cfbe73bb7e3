//! Decisions: one actor owns the machine of every service, and carries its effects out.
//!
//! Commands, checks and time arrive in one mailbox, so their order is a fact and not a race. The
//! actor does no I/O itself: saves, brakes and checks are tasks that it spawns and hears back from.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use crate::domain::machine::{Change, Command, Machine, Refusal};
use crate::domain::plan::Traffic;
use crate::domain::{Entry, Eras, Eviction, Moment, PerEntry};
use crate::upstream::probe::Finding;

mod asking;
mod audit;
mod charge;
mod checks;
mod conductor;
mod configuration;
mod departing;
mod events;
mod import;
mod keeping;
mod legacy;
mod mail;
pub mod outreach;
mod recent;
mod record;
mod records;
mod reload;
mod residents;
pub mod resolve;
mod rotation;
mod start;
mod telling;
mod watching;

pub use audit::{Audit, Denied};
pub use conductor::{Conductor, Setup};
pub use configuration::{Applied, Beginning, Configuration, ConfigureError, Failure, KEPT, Standing, Wish};
pub use departing::Departing;
pub use events::{EventLog, Gap, Happening};
pub use import::{AllStates, ImportError, Imported};
pub use record::{
    ApprovalTold, FiguresTold, FindingTold, PlanStepTold, PlanTold, Record, SessionsTold, Side, StateTold, StepTold, TriggerTold,
    TurnTold,
};
pub use records::Records;
pub use reload::{Loaded, Wanted};
pub use resolve::Resolver;
pub use rotation::{KEY_FILE, Rotated, Rotation, RotationError};
pub use start::start_by;

use audit::Refused;
use mail::Mail;

/// Evictions that are in force where the machine has none; those of the one service of a test.
pub type Evictions = Arc<ArcSwap<PerEntry<Option<Eviction>>>>;

/// The way to the actor.
#[derive(Clone)]
pub struct Handle {
    mailbox: mpsc::Sender<Mail>,
    events: Arc<EventLog>,
    audit: Audit,
    writing: watch::Receiver<usize>,
    records: Records,
}

/// Who wants a change, and on what condition.
#[derive(Clone, Debug, Default)]
pub struct By {
    /// Who, for the audit.
    pub actor: String,
    /// Why.
    pub reason: Option<String>,
    /// Only if this revision is in force.
    pub if_match: Option<u64>,
    /// Say what would happen, and do nothing.
    pub dry_run: bool,
}

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OrderError {
    /// No service of that name.
    #[error("there is no service `{0}`")]
    NoService(String),
    /// The machine said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The process is stopping.
    #[error("dualgate is stopping")]
    Stopping,
}

/// A service as its machine has it, for looking at.
#[derive(Clone, Debug)]
pub struct Status {
    /// The machine, as it stood at the moment of asking.
    pub machine: Machine,
    /// That moment.
    pub now: Moment,
    /// What both entries together have answered in the last minutes.
    pub traffic: Traffic,
    /// How far the entries are that are being left.
    pub departing: PerEntry<Option<Departing>>,
    /// The last check of each endpoint.
    pub checks: PerEntry<Vec<(String, Option<Finding>)>>,
    /// The eras that each endpoint was seen to serve.
    pub serves: PerEntry<Vec<(String, Eras)>>,
    /// Requests of each entry when the split in force was set.
    pub requests_before: PerEntry<u64>,
    /// Births of each entry when the split in force was set.
    pub births_before: PerEntry<u64>,
    /// Rollbacks in this process, by what set them off.
    pub rollbacks: BTreeMap<&'static str, u64>,
    /// What the store had to say when the service was loaded.
    pub warning: Option<String>,
    /// Why the newest pins are not on the disk, where they are not.
    pub pins_failure: Option<String>,
    /// Why the newest record is not on the disk, where it is not.
    pub records_failure: Option<String>,
}

impl Handle {
    /// Wants a change, and waits until it is in force (and, for a raise, durable) or refused. What is refused is on the
    /// record, too.
    pub async fn order(&self, service: &str, command: Command, by: By) -> Result<Change, OrderError> {
        let (reply, answer) = oneshot::channel();
        let refused = (!by.dry_run).then(|| Refused::of(service, &command, &by));
        let mail = Mail::Order { service: service.to_owned(), command, by, reply };
        self.mailbox.send(mail).await.map_err(|_| OrderError::Stopping)?;
        let answer = answer.await.map_err(|_| OrderError::Stopping)?;
        if let (Some(refused), Err(error)) = (&refused, &answer) {
            self.audit.refuse(refused, error);
        }
        answer
    }

    /// Serves these services and no others from now on, in this order; `loaded` has those that were never served before.
    /// What stays keeps its state, its counts, and its streams.
    pub async fn configure(&self, services: Vec<Wanted>, loaded: Vec<Loaded>) -> Result<(), OrderError> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.send(Mail::Configure { services, loaded, reply }).await.map_err(|_| OrderError::Stopping)?;
        answer.await.map_err(|_| OrderError::Stopping)
    }

    /// How a service stands.
    pub async fn status(&self, service: &str) -> Result<Status, OrderError> {
        let (reply, answer) = oneshot::channel();
        let mail = Mail::Look { service: service.to_owned(), reply };
        self.mailbox.send(mail).await.map_err(|_| OrderError::Stopping)?;
        let status = answer.await.map_err(|_| OrderError::Stopping)?;
        status.map(|status| *status).ok_or_else(|| OrderError::NoService(service.to_owned()))
    }

    /// Whether there is still somebody who reads the mailbox.
    pub fn is_alive(&self) -> bool {
        !self.mailbox.is_closed()
    }

    /// Waits until no save and no brake is on its way to the disk, but not for long.
    pub async fn settled(&self, at_most: Duration) {
        let mut writing = self.writing.clone();
        let settle = async {
            let (reply, begun) = oneshot::channel();
            if self.mailbox.send(Mail::KeepPins { reply }).await.is_ok() {
                let _ = begun.await;
            }
            let _ = writing.wait_for(|count| *count == 0).await;
        };
        let _ = tokio::time::timeout(at_most, settle).await;
    }

    /// The records of rollouts.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// What happens.
    pub fn events(&self) -> &Arc<EventLog> {
        &self.events
    }
}

/// Names an endpoint for the actor: an endpoint that a deploy has replaced meanwhile is another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Checked {
    service: usize,
    entry: Entry,
    endpoint: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Phase;
    use crate::live::Memory;
    use crate::mcp::{SealKeys, Secret};
    use crate::telemetry::clock::Clock;

    #[tokio::test]
    async fn a_dead_actor_is_seen_and_nobody_waits_for_it() {
        let store: Arc<dyn crate::live::Store> = Arc::new(Memory::default());
        let setup = Setup {
            services: Vec::new(),
            store: store.clone(),
            keys: Arc::new(SealKeys::new(&[Secret::new([1; 32])], [2; 12])),
            clock: Clock::start(),
            phase: Phase::from_random(0),
            run: "r".to_owned(),
            audit: Audit::start(store),
            resolver: resolve::system(),
            notifier: outreach::Notifier::start(&[], Arc::new(Memory::default())),
            evictions: Evictions::default(),
            keep_records: Duration::MAX,
            gate_secret_file: None,
        };
        let (conductor, handle, _reader) = Conductor::start(setup).unwrap();
        assert!(handle.is_alive());
        drop(conductor);
        assert!(!handle.is_alive());
        assert_eq!(handle.status("notes").await.unwrap_err(), OrderError::Stopping);
        handle.settled(Duration::from_secs(60)).await;
    }
}
