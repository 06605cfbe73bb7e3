//! Looking up the hosts of endpoints with `resolve = "each"`, again and again.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::mail::Mail;
use crate::domain::machine::{EndpointSpec, Machine, Resolve};
use crate::domain::{Entry, PerEntry};

/// What a look-up says: all addresses of a host, or why there are none.
pub type Found = Result<Vec<IpAddr>, String>;

/// Looks a host up. The system's ([`system`]), or in tests a scripted one.
pub type Resolver = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Found> + Send>> + Send + Sync>;

/// A look-up that takes longer is a failure; its answer counts all the same when it comes.
const PATIENCE: Duration = Duration::from_secs(5);

/// The system's resolver.
pub fn system() -> Resolver {
    Arc::new(|host| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await.map_err(|error| error.to_string())?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// The hosts that are being looked up for one service.
#[derive(Default)]
pub(super) struct Lookups(PerEntry<Vec<(EndpointSpec, AbortHandle)>>);

impl Lookups {
    /// Begins with hosts that are new and ends with those that went.
    pub(super) fn follow(&mut self, machine: &Machine, begin: impl Fn(Entry, &EndpointSpec) -> AbortHandle) {
        for entry in Entry::BOTH {
            let running = &mut self.0[entry];
            let wanted = &machine.entry(entry).endpoints;
            running.retain(|(spec, task)| {
                let stays = wanted.contains(spec);
                if !stays {
                    task.abort();
                }
                stays
            });
            for spec in wanted.iter().filter(|spec| spec.resolve == Some(Resolve::Each)) {
                if running.iter().all(|(known, _)| known != spec) {
                    running.push((spec.clone(), begin(entry, spec)));
                }
            }
        }
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        Entry::BOTH.into_iter().flat_map(|entry| &self.0[entry]).for_each(|(_, task)| task.abort());
    }
}

/// Looks a host up every interval until aborted; the first time at once, and never twice at a time.
pub(super) fn look_up_for_ever(
    endpoint: &EndpointSpec,
    interval: Duration,
    resolver: Resolver,
    own_box: mpsc::WeakSender<Mail>,
    mail: impl Fn(Found) -> Mail + Send + 'static,
) -> AbortHandle {
    let host = crate::config::EndpointAuthority::parse(&endpoint.url).map(|authority| authority.host);
    let task = tokio::spawn(async move {
        // What is deployed has been checked.
        let Ok(host) = host else { return };
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let mut answer = resolver(host.clone());
            let found = match tokio::time::timeout(PATIENCE, &mut answer).await {
                Ok(found) => found,
                Err(_) => {
                    let late = Err(format!("no answer within {PATIENCE:?}"));
                    if !send(&own_box, mail(late)).await {
                        return;
                    }
                    answer.await
                }
            };
            if !send(&own_box, mail(found)).await {
                return;
            }
        }
    });
    task.abort_handle()
}

async fn send(own_box: &mpsc::WeakSender<Mail>, mail: Mail) -> bool {
    match own_box.upgrade() {
        Some(own_box) => own_box.send(mail).await.is_ok(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::machine::EndpointSpec;

    #[tokio::test]
    async fn the_system_knows_this_machine() {
        let found = system()("localhost".to_owned()).await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_hangs_is_a_failure_until_its_answer_comes() {
        let (own_box, mut mailbox) = mpsc::channel(8);
        let endpoint = EndpointSpec { resolve: Some(Resolve::Each), ..EndpointSpec::new("a", "http://notes.test:3000") };
        let slow: Resolver = Arc::new(|host| {
            Box::pin(async move {
                tokio::time::sleep(3 * PATIENCE).await;
                Err(format!("no {host}"))
            })
        });
        let told = endpoint.clone();
        let mail = move |answer| Mail::Resolved { service: 0, entry: Entry::Primary, endpoint: told.clone(), answer };
        let task = look_up_for_ever(&endpoint, Duration::from_secs(1), slow, own_box.downgrade(), mail);
        for expected in ["no answer within 5s", "no notes.test", "no answer within 5s"] {
            let Some(Mail::Resolved { answer, .. }) = mailbox.recv().await else { panic!("an answer") };
            assert_eq!(answer.unwrap_err(), expected);
        }
        task.abort();
    }
}
