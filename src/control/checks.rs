//! Health checks, each a task that the actor hears from.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Checked;
use super::mail::Mail;
use crate::config;
use crate::domain::Entry;
use crate::upstream::Endpoint;
use crate::upstream::probe::Prober;

/// Checks an endpoint every interval until aborted; the first check runs at once.
pub(super) fn check_for_ever(
    service: usize,
    entry: Entry,
    endpoint: Arc<Endpoint>,
    config: &config::Service,
    own_box: mpsc::WeakSender<Mail>,
) -> AbortHandle {
    let health = config.health.clone();
    let task = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(health.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let checked = Checked { service, entry, endpoint: endpoint.id };
        let mut suspicions = endpoint.suspicions();
        let mut prober = Prober::new(endpoint, health);
        loop {
            let mail = tokio::select! {
                _ = ticks.tick() => Mail::Checked(checked.clone(), prober.check().await),
                changed = suspicions.changed() => match changed {
                    Ok(()) => Mail::Suspected(checked.clone()),
                    Err(_) => return,
                },
            };
            let Some(own_box) = own_box.upgrade() else { return };
            if own_box.send(mail).await.is_err() {
                return;
            }
        }
    });
    task.abort_handle()
}
