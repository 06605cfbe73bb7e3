//! Decisions: one actor owns the machine of every service, and carries its effects out.
//!
//! Commands, checks and time arrive in one mailbox, so their order is a fact and not a race. The
//! actor does no I/O itself: saves, brakes and checks are tasks that it spawns and hears back from.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::domain::machine::{Change, Command, Machine, Refusal};
use crate::domain::{Entry, PerEntry};
use crate::upstream::probe::Finding;

mod audit;
mod charge;
mod conductor;
mod events;

pub use audit::Audit;
pub use conductor::{Conductor, Setup};
pub use events::{EventLog, Happening};

use conductor::Mail;

/// The way to the actor.
#[derive(Clone)]
pub struct Handle {
    mailbox: mpsc::Sender<Mail>,
    events: Arc<EventLog>,
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
    /// The last check of each endpoint.
    pub checks: PerEntry<Vec<(String, Option<Finding>)>>,
    /// Requests of each entry when the split in force was set.
    pub requests_before: PerEntry<u64>,
    /// Births of each entry when the split in force was set.
    pub births_before: PerEntry<u64>,
    /// Rollbacks by hand in this process.
    pub rollbacks: u64,
}

impl Handle {
    /// Wants a change, and waits until it is in force (and, for a raise, durable) or refused.
    pub async fn order(&self, service: &str, command: Command, by: By) -> Result<Change, OrderError> {
        let (reply, answer) = oneshot::channel();
        let mail = Mail::Order { service: service.to_owned(), command, by, reply };
        self.mailbox.send(mail).await.map_err(|_| OrderError::Stopping)?;
        answer.await.map_err(|_| OrderError::Stopping)?
    }

    /// How a service stands.
    pub async fn status(&self, service: &str) -> Result<Status, OrderError> {
        let (reply, answer) = oneshot::channel();
        let mail = Mail::Look { service: service.to_owned(), reply };
        self.mailbox.send(mail).await.map_err(|_| OrderError::Stopping)?;
        let status = answer.await.map_err(|_| OrderError::Stopping)?;
        status.map(|status| *status).ok_or_else(|| OrderError::NoService(service.to_owned()))
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
