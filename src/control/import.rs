//! The state of all services at once: out, and in, whole or not at all.

use std::collections::BTreeMap;

use thiserror::Error;
use tokio::sync::oneshot;

use super::audit::Refused;
use super::charge::Charge;
use super::conductor::Conductor;
use super::keeping::Writing;
use super::mail::Mail;
use super::{By, Handle, OrderError};
use crate::domain::machine::{Change, Command, Durable, Effect, Event, Order, Ticket};
use crate::live::Saving;

/// All states, as they stood at one moment.
#[derive(Clone, Debug)]
pub struct AllStates {
    /// By service.
    pub states: BTreeMap<String, Durable>,
    /// Rises with every change of any of them: the sum of their revisions.
    pub revision: u64,
}

/// Why an import was not made. Nothing has changed then, but for what [`Self::Order`] names.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ImportError {
    /// Somebody was faster.
    #[error("revision {given} is not the current one of all services together: it is {current}")]
    Stale {
        /// What the caller saw.
        given: u64,
        /// What is in force.
        current: u64,
    },
    /// A service has a change on its way to the disk.
    #[error("{service} has a change that is not on the disk yet: nothing was imported")]
    Busy {
        /// The service.
        service: String,
    },
    /// One of the services says no.
    #[error("{service}: {error}{}", beside(made))]
    Order {
        /// The service.
        service: String,
        /// Why.
        error: OrderError,
        /// Services that were imported all the same: a rollback came in between, and waited for nobody.
        made: Vec<String>,
    },
    /// The process is stopping.
    #[error("dualgate is stopping")]
    Stopping,
}

fn beside(made: &[String]) -> String {
    if made.is_empty() { String::new() } else { format!("; imported were {}", made.join(", ")) }
}

/// What an import came to, by service.
pub type Imported = Result<BTreeMap<String, Change>, ImportError>;

impl Handle {
    /// The durable states of all services.
    pub async fn export(&self) -> Result<AllStates, ImportError> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.send(Mail::Export { reply }).await.map_err(|_| ImportError::Stopping)?;
        answer.await.map_err(|_| ImportError::Stopping)
    }

    /// Puts these states in force: on the disk together, and only then in force, or not at all. What is refused is on the
    /// record.
    pub async fn import(&self, states: BTreeMap<String, Durable>, by: By) -> Imported {
        let (reply, answer) = oneshot::channel();
        let refused = (!by.dry_run).then(|| Refused {
            actor: by.actor.clone(),
            reason: by.reason.clone(),
            service: states.keys().cloned().collect::<Vec<_>>().join(", "),
            command: "import",
            wanted: states.iter().map(|(name, state)| format!("{name} at {}", state.split)).collect::<Vec<_>>().join(", "),
        });
        self.mailbox.send(Mail::Import { states, by, reply }).await.map_err(|_| ImportError::Stopping)?;
        let answer = answer.await.map_err(|_| ImportError::Stopping)?;
        if let (Some(refused), Err(error)) = (&refused, &answer) {
            self.audit.refuse(refused, error);
        }
        answer
    }
}

impl Conductor {
    pub(super) fn export(&self) -> AllStates {
        let state = |charge: &Charge| (charge.config.name.clone(), charge.machine.state().clone());
        let states = self.order.iter().map(|at| state(&self.charges[*at])).collect();
        AllStates { states, revision: self.revision_of_all() }
    }

    /// Of those that a reload has dismissed, too: it never falls.
    fn revision_of_all(&self) -> u64 {
        self.charges.iter().map(|charge| charge.machine.state().revision).sum()
    }

    pub(super) fn import(&mut self, states: BTreeMap<String, Durable>, by: &By, reply: oneshot::Sender<Imported>) {
        if let Err(error) = self.may_import(&states, by) {
            let _ = reply.send(Err(error));
            return;
        }
        let (mut answers, mut group) = (Vec::new(), Vec::new());
        for (service, state) in states {
            let Some(at) = self.place(&service) else { continue };
            let ticket = self.next_ticket();
            let (sender, answer) = oneshot::channel();
            self.charges[at].waiting.insert(ticket, sender);
            answers.push((service, answer));
            let effects = self.charges[at].machine.step(self.clock.now(), Event::Ordered(restoring(ticket, by, state)));
            let (saves, others): (Vec<_>, Vec<_>) = effects.into_iter().partition(|effect| matches!(effect, Effect::Save(_)));
            group.extend(saves.into_iter().filter_map(|save| match save {
                Effect::Save(state) => Some((at, state)),
                _ => None,
            }));
            self.carry_out(at, others);
        }
        self.save_together(group);
        tokio::spawn(async move {
            let mut made = BTreeMap::new();
            let mut failed = None;
            for (service, answer) in answers {
                match answer.await.unwrap_or(Err(OrderError::Stopping)) {
                    Ok(change) => drop(made.insert(service, change)),
                    Err(error) => drop(failed.get_or_insert((service, error))),
                }
            }
            let _ = reply.send(match failed {
                None => Ok(made),
                Some((service, error)) => {
                    let made = made.into_iter().filter(|(_, change)| change.changed).map(|(name, _)| name).collect();
                    Err(ImportError::Order { service, error, made })
                }
            });
        });
    }

    /// Whether every one of them would be taken: asked of copies of the machines, so that none has begun when another
    /// says no.
    fn may_import(&self, states: &BTreeMap<String, Durable>, by: &By) -> Result<(), ImportError> {
        let current = self.revision_of_all();
        if let Some(given) = by.if_match.filter(|given| *given != current) {
            return Err(ImportError::Stale { given, current });
        }
        for (service, state) in states {
            let refuse = |error| ImportError::Order { service: service.clone(), error, made: Vec::new() };
            let Some(at) = self.place(service) else { return Err(refuse(OrderError::NoService(service.clone()))) };
            let machine = &self.charges[at].machine;
            if !machine.is_settled() && !by.dry_run {
                return Err(ImportError::Busy { service: service.clone() });
            }
            let order = restoring(Ticket(0), by, state.clone());
            for effect in machine.clone().step(self.clock.now(), Event::Ordered(order)) {
                if let Effect::Answer(_, Err(refusal)) = effect {
                    return Err(refuse(refusal.into()));
                }
            }
        }
        Ok(())
    }

    /// One write for all of them, so that a crash leaves all or none.
    fn save_together(&mut self, group: Vec<(usize, Durable)>) {
        if group.is_empty() {
            return;
        }
        let saving = |(at, state): &(usize, Durable)| {
            let charge = &self.charges[*at];
            Saving { service: charge.config.name.clone(), state: state.clone(), expected: charge.stored_revision }
        };
        let saves: Vec<Saving> = group.iter().map(saving).collect();
        let (store, own_box, writing) = (self.store.clone(), self.own_box.clone(), self.writing.clone());
        let first = Writing::begin(&writing);
        tokio::spawn(async move {
            let _counted = first;
            let saved = tokio::task::spawn_blocking(move || store.save_all(&saves)).await;
            let failure = match saved {
                Ok(result) => result.err().map(|error| error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            let Some(own_box) = own_box.upgrade() else { return };
            for (at, state) in group {
                let (failure, writing) = (failure.clone(), Writing::begin(&writing));
                let _ = own_box.send(Mail::Saved { service: at, revision: state.revision, failure, writing }).await;
            }
        });
    }
}

fn restoring(ticket: Ticket, by: &By, state: Durable) -> Order {
    let By { actor, reason, dry_run, .. } = by.clone();
    Order { ticket, actor, reason, if_match: None, dry_run, command: Command::Restore(Box::new(state)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_imported_all_the_same_is_named() {
        let order = |made: &[&str]| {
            let made = made.iter().map(|name| (*name).to_owned()).collect();
            ImportError::Order { service: "notes".into(), error: OrderError::Stopping, made }.to_string()
        };
        assert_eq!(order(&[]), "notes: dualgate is stopping");
        assert_eq!(order(&["tasks", "files"]), "notes: dualgate is stopping; imported were tasks, files");
    }
}
