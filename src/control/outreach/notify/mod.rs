//! Telling people: every sink has a queue and a worker of its own, so that one that is dead delays no other, and nobody
//! who has something to tell waits.
//!
//! What cannot be delivered is tried again with growing pauses, and then becomes a dead letter in the state directory
//! and a line of the log: nothing is lost without a word.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Client;
use crate::config::Sink;
use crate::domain::{Notice, Occasion, Severity};
use crate::live::Store;
use crate::telemetry::clock::{since_epoch, wall_time};

mod dead;
mod line;
mod pace;
mod post;
mod shape;
#[cfg(test)]
mod tests;

use dead::DeadLetters;
use line::{Line, State, Tools};
use pace::Pace;

/// Sinks that were taken out of the configuration and are remembered for their counts.
const MOST_GONE: usize = 64;

/// Why a notice is a dead letter that nobody could deliver any more; it may have arrived.
const STOPPED: &str = "dualgate was stopped before the sink had said that it took it";

/// The way to all sinks.
#[derive(Clone)]
pub struct Notifier(Arc<Shared>);

struct Shared {
    tools: Arc<Tools>,
    lines: Mutex<Vec<Arc<Line>>>,
    /// Names this run of the process in the ids of deliveries.
    run: u64,
    number: AtomicU64,
}

/// A notice on its way to one sink.
#[derive(Clone)]
struct Parcel {
    /// The same for every try, and another for every sink.
    id: String,
    notice: Arc<Notice>,
    since: Instant,
}

/// How a sink stands, since the start of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkCounts {
    /// Its name.
    pub sink: String,
    /// Notices that it took.
    pub delivered: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Notices that were given up.
    pub dead: u64,
    /// Notices that wait, the one on its way included.
    pub waiting: u64,
    /// Why the last try failed, until one succeeds.
    pub failure: Option<String>,
}

/// How a test went.
#[derive(Clone, Debug)]
pub struct Tested {
    /// The sink.
    pub sink: String,
    /// Its kind.
    pub kind: &'static str,
    /// How long it took.
    pub took: Duration,
    /// Why it did not arrive, where it did not.
    pub error: Option<String>,
    /// Whether that is because it took too long.
    pub is_late: bool,
}

impl Notifier {
    /// Starts a worker for every sink on the current runtime.
    pub fn start(sinks: &[Sink], store: Arc<dyn Store>) -> Self {
        Self::start_with(sinks, store, Client::new(), Pace::default())
    }

    fn start_with(sinks: &[Sink], store: Arc<dyn Store>, client: Client, pace: Pace) -> Self {
        let tools = Arc::new(Tools { client, pace, dead: DeadLetters::start(store) });
        let mut run = [0; 8];
        // Without dice, the clock names the run well enough.
        let run = rand::fill(&mut run).map_or_else(|_| since_epoch().as_nanos() as u64, |()| u64::from_be_bytes(run));
        let notifier = Self(Arc::new(Shared { tools, lines: Mutex::default(), run, number: AtomicU64::new(0) }));
        notifier.configure(sinks);
        notifier
    }

    /// Tells every sink that wants to know. Never blocks.
    pub fn enqueue(&self, notice: Notice) {
        let notice = Arc::new(notice);
        for line in self.0.lines().iter() {
            let standing = line.standing();
            let takes = standing.sink.takes(&notice.service, notice.occasion) && shape::has_form(&standing.sink.kind, &notice);
            match standing.state {
                State::Open if takes => line.push(self.parcel(notice.clone())),
                State::Over if takes => line.refuse(&self.parcel(notice.clone()), STOPPED),
                State::Open | State::Closing | State::Over => {}
            }
        }
    }

    /// These sinks and no others from now on. What waits for one that stays goes where it is now; what waits for one
    /// that is gone is tried once more.
    pub fn configure(&self, sinks: &[Sink]) {
        let mut lines = self.0.lines();
        for line in lines.iter() {
            let wanted = sinks.iter().find(|sink| sink.name == line.standing().sink.name);
            line.stand(wanted, if wanted.is_some() { State::Open } else { State::Closing });
        }
        for sink in sinks {
            if lines.iter().all(|line| line.standing().sink.name != sink.name) {
                lines.push(Line::start(sink.clone(), self.0.tools.clone()));
            }
        }
        let mut too_many = lines.len().saturating_sub(sinks.len() + MOST_GONE);
        lines.retain(|line| {
            let goes = too_many > 0 && line.standing().state == State::Closing && line.counts().waiting == 0;
            if goes {
                too_many -= 1;
                line.stand(None, State::Over);
            }
            !goes
        });
    }

    /// How each sink stands.
    pub fn counts(&self) -> Vec<SinkCounts> {
        self.0.lines().iter().map(|line| line.counts()).collect()
    }

    /// What an operator should know about notifications.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.0.tools.dead.warnings();
        for SinkCounts { sink, dead, waiting, failure, .. } in self.counts() {
            if let Some(failure) = failure {
                warnings.push(format!("notifications to `{sink}` fail ({failure}): {waiting} wait, {dead} were given up"));
            }
        }
        warnings
    }

    /// Delivers one real notice to every sink, or to the one of a name, without another try. Nothing, where there is
    /// none.
    pub async fn test(&self, name: Option<&str>) -> Vec<Tested> {
        let notice = Arc::new(test_notice());
        let mut tests = JoinSet::new();
        for line in self.0.lines().iter() {
            let standing = line.standing();
            if standing.state != State::Open || name.is_some_and(|name| standing.sink.name != name) {
                continue;
            }
            let (tools, parcel) = (self.0.tools.clone(), self.parcel(notice.clone()));
            tests.spawn(async move {
                let done = post::test(&tools.client, &standing.sink, &parcel).await;
                let is_late = done.as_ref().is_err_and(|failure| failure.is_late);
                let (sink, kind, took) = (standing.sink.name.clone(), standing.sink.kind.as_str(), parcel.since.elapsed());
                Tested { sink, kind, took, error: done.err().map(|failure| failure.what), is_late }
            });
        }
        let mut tested = tests.join_all().await;
        tested.sort_by(|one, two| one.sink.cmp(&two.sink));
        tested
    }

    /// Before the process ends: what waits is tried once more, and what is left then becomes dead letters, each in half
    /// of the time.
    pub async fn close(&self, at_most: Duration) {
        let lines: Vec<Arc<Line>> = self.0.lines().clone();
        lines.iter().for_each(|line| line.stand(None, State::Closing));
        let settled = async {
            for line in &lines {
                line.settled().await;
            }
        };
        let _ = tokio::time::timeout(at_most / 2, settled).await;
        lines.iter().for_each(|line| line.end(STOPPED));
        self.0.tools.dead.flush(at_most / 2).await;
    }

    fn parcel(&self, notice: Arc<Notice>) -> Parcel {
        let number = self.0.number.fetch_add(1, Ordering::Relaxed) + 1;
        Parcel { id: format!("{:016x}-{number}", self.0.run), notice, since: Instant::now() }
    }
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Vec<Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn test_notice() -> Notice {
    Notice {
        service: String::new(),
        rollout: None,
        occasion: Occasion::Test,
        severity: Severity::Info,
        title: "dualgate: a test".to_owned(),
        detail: "Somebody wants to see whether notifications of dualgate arrive here. Nothing has happened.".to_owned(),
        fields: Vec::new(),
        time: wall_time(),
        revision: 0,
    }
}

/// 0 to 1.
fn dice() -> f64 {
    let mut bytes = [0; 4];
    // Without dice, pauses are of one length.
    rand::fill(&mut bytes).map_or(0.5, |()| f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))
}
