//! The queue of one sink, and who works it off: one after the other, each until it is delivered or given up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::dead::DeadLetters;
use super::pace::Pace;
use super::post::{self, Failure};
use super::{Parcel, SinkCounts};
use crate::config::Sink;
use crate::control::outreach::Client;
use crate::domain::Severity;

/// Notices that wait for one sink; beyond, the oldest becomes a dead letter.
const WAITING: usize = 256;

/// What every line works with.
pub(super) struct Tools {
    pub(super) client: Client,
    pub(super) pace: Pace,
    pub(super) dead: DeadLetters,
}

/// One sink's queue.
pub(super) struct Line {
    /// What the configuration says of it now.
    standing: watch::Sender<Standing>,
    queue: Mutex<Queue>,
    more: Notify,
    /// How many are not settled.
    left: watch::Sender<usize>,
    tools: Arc<Tools>,
}

#[derive(Clone, PartialEq)]
pub(super) struct Standing {
    pub(super) sink: Arc<Sink>,
    pub(super) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It takes notices.
    Open,
    /// It is configured no more: what waits is tried once more.
    Closing,
    /// Nobody works it off any more.
    Over,
}

#[derive(Default)]
struct Queue {
    /// With the tries that each has had.
    waiting: VecDeque<(Parcel, u32)>,
    /// The one that is on its way, with its tries so far.
    current: Option<(Parcel, u32)>,
    delivered: u64,
    failed: u64,
    dead: u64,
    /// Why the last try failed, until one succeeds.
    failure: Option<String>,
}

impl Line {
    /// Starts its worker on the current runtime.
    pub(super) fn start(sink: Sink, tools: Arc<Tools>) -> Arc<Self> {
        let standing = watch::Sender::new(Standing { sink: Arc::new(sink), state: State::Open });
        let line = Arc::new(Self { standing, queue: Mutex::default(), more: Notify::new(), left: watch::Sender::new(0), tools });
        tokio::spawn(line.clone().work());
        line
    }

    pub(super) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// What the configuration says now. What waits for another try is tried at once, where that is something new.
    pub(super) fn stand(&self, sink: Option<&Sink>, state: State) {
        self.standing.send_if_modified(|standing| {
            let sink = sink.map_or_else(|| standing.sink.clone(), |sink| Arc::new(sink.clone()));
            let wanted = Standing { sink, state };
            // What is over stays so.
            if *standing == wanted || standing.state == State::Over {
                return false;
            }
            *standing = wanted;
            true
        });
        self.more.notify_one();
    }

    /// Never blocks.
    pub(super) fn push(&self, parcel: Parcel) {
        let oldest = {
            let mut queue = self.lock();
            let oldest = if queue.waiting.len() == WAITING { queue.waiting.pop_front() } else { None };
            queue.waiting.push_back((parcel, 0));
            queue.dead += u64::from(oldest.is_some());
            self.tell(&queue);
            oldest
        };
        if let Some((oldest, tries)) = oldest {
            self.bury(&oldest, tries, &format!("{WAITING} others wait for this sink"));
        }
        self.more.notify_one();
    }

    /// One that comes after the end.
    pub(super) fn refuse(&self, parcel: &Parcel, why: &str) {
        self.lock().dead += 1;
        self.bury(parcel, 0, why);
    }

    /// Waits until nothing is left.
    pub(super) async fn settled(&self) {
        let mut left = self.left.subscribe();
        // An error cannot be: the sender is here.
        let _ = left.wait_for(|count| *count == 0).await;
    }

    /// Ends the work; what is left becomes dead letters.
    pub(super) fn end(&self, why: &str) {
        self.stand(None, State::Over);
        let left: Vec<(Parcel, u32)> = {
            let mut queue = self.lock();
            let current = queue.current.take();
            let left = current.into_iter().chain(queue.waiting.drain(..).collect::<Vec<_>>());
            let left: Vec<(Parcel, u32)> = left.collect();
            queue.dead += left.len() as u64;
            self.tell(&queue);
            left
        };
        for (parcel, tries) in left {
            self.bury(&parcel, tries, why);
        }
    }

    pub(super) fn counts(&self) -> SinkCounts {
        let (sink, queue) = (self.standing().sink, self.lock());
        SinkCounts {
            sink: sink.name.clone(),
            delivered: queue.delivered,
            failed: queue.failed,
            dead: queue.dead,
            waiting: queue.left() as u64,
            failure: queue.failure.clone(),
        }
    }

    async fn work(self: Arc<Self>) {
        let mut standing = self.standing.subscribe();
        while standing.borrow_and_update().state != State::Over {
            let next = {
                let mut queue = self.lock();
                queue.current = queue.next();
                queue.current.clone()
            };
            match next {
                Some((parcel, tries)) => self.deliver(&parcel, tries, &mut standing).await,
                None => self.more.notified().await,
            }
        }
    }

    /// Until it is delivered, given up, or put back since something critical has come that it must not hold up.
    async fn deliver(&self, parcel: &Parcel, tried: u32, standing: &mut watch::Receiver<Standing>) {
        let pace = &self.tools.pace;
        for tries in tried + 1.. {
            let Standing { sink, state } = standing.borrow_and_update().clone();
            if state == State::Over {
                return;
            }
            let failure = match post::deliver(&self.tools.client, &sink, parcel).await {
                Ok(()) => return self.delivered(),
                Err(failure) => failure,
            };
            tracing::warn!(sink = sink.name, id = parcel.id, tries, error = failure.what, "a notification was not delivered");
            let is_last = failure.is_final || pace.is_over(tries, parcel.since.elapsed()) || state == State::Closing;
            if self.failed(&failure, tries, is_last).is_none() {
                return;
            }
            if is_last {
                return self.bury(parcel, tries, &failure.what);
            }
            if self.gives_way(parcel, tries) {
                return;
            }
            let pause = tokio::time::sleep(pace.pause(tries, failure.retry_after, super::dice()));
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    _ = standing.changed() => break,
                    () = self.more.notified() => if self.gives_way(parcel, tries) {
                        return;
                    },
                }
            }
        }
    }

    /// Puts a notice back that waits for another try, where one waits that is critical and has not been tried yet.
    fn gives_way(&self, parcel: &Parcel, tries: u32) -> bool {
        let mut queue = self.lock();
        let gives_way = parcel.notice.severity != Severity::Critical && queue.urgent().is_some();
        if gives_way && queue.current.take().is_some() {
            queue.waiting.push_front((parcel.clone(), tries));
            self.tell(&queue);
        }
        gives_way
    }

    fn delivered(&self) {
        let mut queue = self.lock();
        // Whoever ended the work meanwhile has counted it.
        if queue.current.take().is_some() {
            queue.delivered += 1;
        }
        queue.failure = None;
        self.tell(&queue);
    }

    /// Nothing, where the work was ended meanwhile.
    fn failed(&self, failure: &Failure, tries: u32, is_last: bool) -> Option<()> {
        let mut queue = self.lock();
        queue.failed += 1;
        queue.failure = Some(failure.what.clone());
        queue.current.as_mut()?.1 = tries;
        if is_last {
            queue.current = None;
            queue.dead += 1;
        }
        self.tell(&queue);
        Some(())
    }

    fn bury(&self, parcel: &Parcel, tries: u32, why: &str) {
        let sink = self.standing().sink;
        self.tools.dead.keep(&sink.name, sink.kind.as_str(), parcel, tries, why);
    }

    fn tell(&self, queue: &Queue) {
        self.left.send_replace(queue.left());
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// The first that is critical and has not been tried yet: nothing that is only told may hold it up.
    fn urgent(&self) -> Option<usize> {
        self.waiting.iter().position(|(parcel, tries)| *tries == 0 && parcel.notice.severity == Severity::Critical)
    }

    fn next(&mut self) -> Option<(Parcel, u32)> {
        let at = self.urgent().unwrap_or(0);
        self.waiting.remove(at)
    }

    fn left(&self) -> usize {
        self.waiting.len() + usize::from(self.current.is_some())
    }
}
