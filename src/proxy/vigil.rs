//! Who waits for a time, for the end of the process, or with an endpoint that may fall silent.
//!
//! All of a worker's waiting is looked at together, so many times a second: a timer and two watches for each
//! request, set up and taken down, would cost more than the rest of it. The price is that nothing is felt sooner
//! than the next look, which no time in the configuration is fine enough to notice.

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Stage;
use crate::domain::{Departure, Eviction, Moment};
use crate::live::LocalReader;
use crate::telemetry::clock::Clock;
use crate::upstream::{Client, Endpoint};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// The watch of one worker.
pub(super) struct Vigil {
    posts: RefCell<Slab<State>>,
    stage: RefCell<watch::Receiver<Stage>>,
    /// As it was seen last.
    seen: Cell<Stage>,
    now: Cell<Instant>,
    has_begun: Notify,
    reader: LocalReader,
    clock: Clock,
    evictions: RefCell<Evictions>,
}

/// Endpoints whose entry is being rid of what it has, as the snapshot of this number has them; nearly always there are none.
#[derive(Default)]
struct Evictions {
    snapshot: Option<u64>,
    all: Vec<(u64, Eviction)>,
}

/// A place from which somebody is woken. Dropped, nobody is.
pub(super) struct Post {
    vigil: Rc<Vigil>,
    key: usize,
}

/// What to be woken by.
#[derive(Clone)]
pub(super) struct Heed {
    /// At this time.
    pub(super) due: Option<Instant>,
    /// From this stage of the process on.
    pub(super) stage: Stage,
    /// When checks of this endpoint get no answer any more.
    pub(super) silence_of: Option<Arc<Endpoint>>,
    /// When its entry is rid of what it has.
    pub(super) guest: Option<Guest>,
}

/// What is at an endpoint only for as long as its entry keeps what it has.
#[derive(Clone, Copy)]
pub(super) struct Guest {
    /// The endpoint's id.
    pub(super) endpoint: u64,
    /// The revision under which it was begun.
    pub(super) born: u64,
    /// Whose it is, where it leaves when they do; else it goes on until what still runs is cut.
    pub(super) client: Option<Client>,
    /// The eviction, by the revision before which it concerns, that it need not follow.
    pub(super) stays: Option<u64>,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// The time has come.
    Due,
    /// The process is that far.
    Stage,
    /// The endpoint has fallen silent.
    Silent,
    /// The entry is rid of what still runs.
    Cut(Departure),
    /// It is time for the client to leave.
    Leave(Departure),
}

struct State {
    heed: Option<Heed>,
    alarm: Option<Alarm>,
    /// Who was here last: nearly always it is the same task again, and to be noted anew costs more than to be asked.
    waker: Option<Waker>,
    /// The endpoint whose silence was heeded last: most requests of a connection go to the same. An idle connection may have one that
    /// is configured no more, until it is closed.
    last: Option<Arc<Endpoint>>,
}

impl State {
    /// Heeds nothing.
    fn leave(&mut self) {
        self.alarm = None;
        if let Some(endpoint) = self.heed.take().and_then(|heed| heed.silence_of) {
            self.last = Some(endpoint);
        }
    }
}

impl Vigil {
    pub(super) fn new(stage: watch::Receiver<Stage>, reader: LocalReader, clock: Clock) -> Rc<Self> {
        let (posts, now, has_begun) = (RefCell::default(), Cell::new(Instant::now()), Notify::new());
        let seen = Cell::new(*stage.borrow());
        Rc::new(Self { posts, stage: RefCell::new(stage), seen, now, has_begun, reader, clock, evictions: RefCell::default() })
    }

    /// A place that heeds nothing yet.
    pub(super) fn post(self: &Rc<Self>) -> Post {
        let mut posts = self.posts.borrow_mut();
        if posts.is_empty() {
            self.now.set(Instant::now());
            self.has_begun.notify_one();
        }
        let key = posts.insert(State { heed: None, alarm: None, waker: None, last: None });
        drop(posts);
        Post { vigil: self.clone(), key }
    }

    /// How far the process is.
    pub(super) fn stage(&self) -> Stage {
        // Asked with every answer: whether there is another one costs no lock.
        let mut stage = self.stage.borrow_mut();
        if !matches!(stage.has_changed(), Ok(false)) {
            self.seen.set(*stage.borrow_and_update());
        }
        self.seen.get()
    }

    /// The time of the last look: good enough for what is measured in seconds.
    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Looks, again and again, for as long as the worker lives.
    pub(super) async fn keep(&self) {
        loop {
            if self.posts.borrow().is_empty() {
                self.has_begun.notified().await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            self.look();
        }
    }

    fn look(&self) {
        let (now, stage) = (Instant::now(), self.stage());
        self.now.set(now);
        let mut evictions = self.evictions.borrow_mut();
        self.reader.look(|snapshot| {
            if evictions.snapshot != Some(snapshot.number) {
                *evictions = Evictions { snapshot: Some(snapshot.number), all: snapshot.evictions().collect() };
            }
        });
        // The clock of evictions is not read where there are none.
        let moment = if evictions.all.is_empty() { Moment::default() } else { self.clock.now() };
        for (_, post) in self.posts.borrow_mut().iter_mut() {
            let Some(heed) = post.heed.as_ref().filter(|_| post.alarm.is_none()) else { continue };
            post.alarm = heed.alarm(now, stage).or_else(|| heed.guest.as_ref()?.alarm(&evictions.all, moment));
            if post.alarm.is_some()
                && let Some(waker) = post.waker.take()
            {
                waker.wake();
            }
        }
    }
}

impl Heed {
    /// From a stage on, and nothing else.
    pub(super) fn stage(stage: Stage) -> Self {
        Self { due: None, stage, silence_of: None, guest: None }
    }

    fn alarm(&self, now: Instant, stage: Stage) -> Option<Alarm> {
        if self.due.is_some_and(|due| now >= due) {
            Some(Alarm::Due)
        } else if stage >= self.stage {
            Some(Alarm::Stage)
        } else if self.silence_of.as_ref().is_some_and(|endpoint| *endpoint.silent.borrow()) {
            Some(Alarm::Silent)
        } else {
            None
        }
    }
}

impl Guest {
    /// Told again and again, like all that holds; so after what happens once.
    fn alarm(&self, evictions: &[(u64, Eviction)], now: Moment) -> Option<Alarm> {
        let (_, eviction) = evictions.iter().find(|(endpoint, _)| *endpoint == self.endpoint)?;
        if self.stays == Some(eviction.before_revision) {
            return None;
        }
        if eviction.has_cut(self.born, now) {
            return Some(Alarm::Cut(eviction.how));
        }
        self.client.filter(|client| eviction.has_ended(client.hash(), self.born, now)).map(|_| Alarm::Leave(eviction.how))
    }
}

impl Post {
    /// Heeds this from now on, and nothing that it heeded before.
    pub(super) fn heed(&self, heed: Heed) {
        if let Some(post) = self.vigil.posts.borrow_mut().get_mut(self.key) {
            post.leave();
            post.heed = Some(heed);
        }
    }

    /// The same of a request that is sent to this endpoint, of whose silence it is told, too.
    pub(super) fn heed_with(&self, (due, stage): (Instant, Stage), guest: Option<Guest>, silence_of: &Arc<Endpoint>) {
        if let Some(post) = self.vigil.posts.borrow_mut().get_mut(self.key) {
            post.leave();
            let last = post.last.take().filter(|last| Arc::ptr_eq(last, silence_of));
            let silence_of = Some(last.unwrap_or_else(|| silence_of.clone()));
            post.heed = Some(Heed { due: Some(due), stage, silence_of, guest });
        }
    }

    /// Another time, for what is heeded already.
    pub(super) fn heed_at(&self, due: Instant) {
        if let Some(post) = self.vigil.posts.borrow_mut().get_mut(self.key)
            && let Some(heed) = &mut post.heed
        {
            (heed.due, post.alarm) = (Some(due), None);
        }
    }

    /// The endpoint that it is at now, of what is heeded already.
    pub(super) fn heed_at_endpoint(&self, endpoint: &Arc<Endpoint>, born: u64) {
        if let Some(post) = self.vigil.posts.borrow_mut().get_mut(self.key)
            && let Some(heed) = &mut post.heed
        {
            if heed.silence_of.is_some() {
                heed.silence_of = Some(endpoint.clone());
            }
            if let Some(guest) = &mut heed.guest {
                (guest.endpoint, guest.born, guest.stays) = (endpoint.id, born, None);
            }
            post.alarm = None;
        }
    }

    /// Heeds no more the eviction that there is now.
    pub(super) fn heed_no_eviction(&self) {
        let mut posts = self.vigil.posts.borrow_mut();
        if let Some(guest) = posts.get_mut(self.key).and_then(|post| post.heed.as_mut()?.guest.as_mut()) {
            let evictions = &self.vigil.evictions.borrow().all;
            let found = evictions.iter().find(|(endpoint, _)| *endpoint == guest.endpoint);
            guest.stays = found.map(|(_, eviction)| eviction.before_revision);
        }
    }

    /// Heeds the silence of this endpoint, too.
    pub(super) fn heed_silence_of(&self, endpoint: &Arc<Endpoint>) {
        if let Some(post) = self.vigil.posts.borrow_mut().get_mut(self.key)
            && let Some(heed) = &mut post.heed
        {
            heed.silence_of = Some(endpoint.clone());
        }
    }

    /// Whose it is, of what is heeded already.
    pub(super) fn heed_for(&self, client: Client) {
        if let Some(post) = self.vigil.posts.borrow_mut().get_mut(self.key)
            && let Some(guest) = post.heed.as_mut().and_then(|heed| heed.guest.as_mut())
        {
            guest.client = Some(client);
        }
    }

    /// Heeds nothing.
    pub(super) fn rest(&self) {
        if let Some(post) = self.vigil.posts.borrow_mut().get_mut(self.key) {
            post.leave();
        }
    }

    /// As [`Writer`](super::writer::Writer) does.
    pub(super) fn look_ahead(&self) {
        black_box(self.vigil.posts.borrow().get(self.key).map(|post| (post.alarm, post.waker.is_some())));
    }

    /// What has happened. It is told again after the next look, for as long as it holds.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<Alarm> {
        let mut posts = self.vigil.posts.borrow_mut();
        let Some(post) = posts.get_mut(self.key) else { return Poll::Pending };
        if let Some(alarm) = post.alarm.take() {
            return Poll::Ready(alarm);
        }
        if !post.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            post.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// The watch that it belongs to.
    pub(super) fn vigil(&self) -> &Rc<Vigil> {
        &self.vigil
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        let mut posts = self.vigil.posts.borrow_mut();
        let left = posts.try_remove(self.key);
        drop(posts);
        // What it held may have a place here itself.
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::live::{Snapshot, cell};

    async fn wait(post: &Post) -> Alarm {
        poll_fn(|context| post.poll(context)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_post_is_woken_by_what_it_heeds_and_by_nothing_that_it_heeded_before() {
        let (stage, watched) = watch::channel(Stage::Running);
        let (_publisher, reader) = cell::cell(Snapshot::first(Vec::new()));
        let vigil = Vigil::new(watched, reader.local(), Clock::start());
        let post = vigil.post();
        let all = async {
            let begun = Instant::now();
            let at = |seconds| Some(begun + Duration::from_secs(seconds));
            post.heed(Heed { due: at(1), ..Heed::stage(Stage::Parting) });
            post.heed(Heed { due: at(3), ..Heed::stage(Stage::Parting) });
            assert_eq!(wait(&post).await, Alarm::Due);
            assert_eq!(begun.elapsed().as_secs(), 3);
            post.heed(Heed::stage(Stage::Parting));
            assert!(tokio::time::timeout(Duration::from_secs(99), wait(&post)).await.is_err());
            stage.send_replace(Stage::Draining);
            assert!(tokio::time::timeout(Duration::from_secs(99), wait(&post)).await.is_err());
            stage.send_replace(Stage::Ended);
            assert_eq!(wait(&post).await, Alarm::Stage);
            assert_eq!(wait(&post).await, Alarm::Stage, "it holds");
            post.rest();
            assert!(tokio::time::timeout(Duration::from_secs(99), wait(&post)).await.is_err());
        };
        tokio::select! {
            () = all => {}
            () = vigil.keep() => {}
        }
    }
}
