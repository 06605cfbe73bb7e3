//! What is done for sessions when no request of theirs is at hand: bindings that were left are ended at their servers, and
//! idle sessions are moved when their time has come.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::ask::Within;
use super::mover::{NotMoved, Wanted, Why};
use super::replay::Recipe;
use super::table::{Session, State};
use crate::domain::rehome::Binding;
use crate::domain::{Departure, Entry, Eviction, PerEntry};
use crate::live::ServiceView;
use crate::mcp::{SessionPin, StandsFor};
use crate::proxy::{Stage, Worker};

/// Between two looks for sessions whose time has come.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Between two looks for sessions that nobody uses any more.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Errands of one worker at a time.
const MOST_AT_ONCE: usize = 64;

/// The end of a session at its server takes at most so long.
const END_WITHIN: Duration = Duration::from_secs(5);

/// What is to be done, by whichever worker comes to it first.
#[derive(Default)]
pub(super) struct Errands {
    queue: Mutex<VecDeque<Errand>>,
    more: Notify,
    /// When somebody has last looked for idle sessions, and for abandoned ones.
    looked: Mutex<Option<(Instant, Instant)>>,
}

enum Errand {
    /// A binding that nobody needs is ended at its server.
    End(Arc<Session>, Binding<SessionPin>),
    /// An idle session is moved.
    Move(Arc<Session>, Eviction),
    /// A message is sent to a binding beside the one that its POST went to.
    Tell(Arc<Session>, SessionPin, bytes::Bytes),
}

impl Errands {
    pub(super) fn end(&self, session: Arc<Session>, binding: Binding<SessionPin>) {
        self.push(Errand::End(session, binding));
    }

    pub(super) fn tell(&self, session: Arc<Session>, place: SessionPin, body: bytes::Bytes) {
        self.push(Errand::Tell(session, place, body));
    }

    fn push(&self, errand: Errand) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(errand);
        self.more.notify_one();
    }

    fn pop(&self) -> Option<Errand> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let errand = queue.pop_front();
        if !queue.is_empty() {
            self.more.notify_one();
        }
        errand
    }

    /// Whether it is this worker's turn to look for idle sessions; and for abandoned ones.
    fn may_look(&self) -> (bool, bool) {
        let now = Instant::now();
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let (idle, abandoned) = looked.get_or_insert((now, now));
        let look = now.duration_since(*idle) >= LOOK_EVERY;
        let sweep = now.duration_since(*abandoned) >= SWEEP_EVERY;
        if look {
            *idle = now;
        }
        if sweep {
            *abandoned = now;
        }
        (look, sweep)
    }
}

impl Worker {
    /// Runs errands for as long as the process serves.
    pub(in crate::proxy) async fn run_errands(self: Rc<Self>) {
        let places = Arc::new(Semaphore::new(MOST_AT_ONCE));
        let mut stage = self.site.stage.clone();
        loop {
            let errands = &self.site.sessions.errands;
            tokio::select! {
                () = errands.more.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => self.look_around(),
                _ = stage.wait_for(|stage| *stage >= Stage::Ended) => return,
            }
            while let Ok(place) = places.clone().acquire_owned().await
                && let Some(errand) = errands.pop()
            {
                let worker = self.clone();
                tokio::task::spawn_local(async move {
                    worker.run(errand).await;
                    drop(place);
                });
            }
        }
    }

    fn look_around(&self) {
        let sessions = &self.site.sessions;
        let (look, sweep) = sessions.errands.may_look();
        if sweep {
            sessions.sweep(self.site.clock.now());
        }
        if look {
            self.reader.look(|snapshot| snapshot.services.iter().for_each(|service| self.find_leavers(service)));
        }
    }

    /// Those whose time has come, and who have no stream that would notice: moved with what is remembered of them.
    fn find_leavers(&self, service: &ServiceView) {
        let moves = |eviction: &Eviction| matches!(eviction.how, Departure::Moves { .. });
        let evictions = PerEntry::from_fn(|entry| service.evictions[entry].filter(moves));
        if Entry::BOTH.iter().all(|entry| evictions[*entry].is_none()) {
            return;
        }
        let now = self.site.clock.now();
        let is_due = |session: &Session, state: &State| {
            let residence = &state.residence;
            let place = &residence.current().place;
            let eviction = evictions[place.entry].filter(|_| session.service() == service.config.name)?;
            let is_free = !residence.is_over() && !residence.is_moving() && !state.is_listened_to();
            let may = state.memory.as_ref().is_some_and(|memory| memory.suffices() && memory.letterhead.is_some());
            let stays = state.stays_despite(eviction.before_revision) || state.is_being_moved;
            let due = eviction.has_ended(session.client().hash(), place.revision, now);
            (is_free && may && !stays && due).then_some(eviction)
        };
        let errands = &self.site.sessions.errands;
        self.site.sessions.each(|session, state| {
            if let Some(eviction) = is_due(session, state) {
                state.is_being_moved = true;
                errands.push(Errand::Move(session.clone(), eviction));
            }
        });
    }

    async fn run(&self, errand: Errand) {
        match errand {
            Errand::End(session, binding) => {
                let _ = tokio::time::timeout(END_WITHIN, self.end_at(&session, &binding.place)).await;
            }
            Errand::Tell(session, place, body) => {
                let _ = tokio::time::timeout(END_WITHIN, self.tell_at(&session, &place, &body)).await;
            }
            Errand::Move(session, eviction) => {
                self.move_idle(&session, eviction).await;
                session.state().is_being_moved = false;
            }
        }
    }

    /// Ends a session at its server, where that can be: it would end it by itself, some time.
    async fn end_at(&self, session: &Arc<Session>, place: &SessionPin) {
        let Some((voice, upstream, version)) = self.speak_at(session, place) else { return };
        let within = Within { session: Some(&upstream), version: &version };
        if place.stands_for == StandsFor::SessionId
            && let Err(trouble) = voice.end(within).await
        {
            tracing::debug!(endpoint = voice.endpoint.name, ?trouble, "a session that was left could not be ended");
        }
    }

    async fn tell_at(&self, session: &Arc<Session>, place: &SessionPin, body: &[u8]) {
        let Some((voice, upstream, version)) = self.speak_at(session, place) else { return };
        let _ = voice.tell(Within { session: Some(&upstream), version: &version }, body).await;
    }

    fn speak_at(&self, session: &Session, place: &SessionPin) -> Option<(super::ask::Voice, String, String)> {
        let upstream = place.upstream.as_deref()?.to_owned();
        let service = self.reader.look(|snapshot| snapshot.named(session.service()).cloned())?;
        let endpoint = &service.entries[place.entry].named(&place.endpoint)?.endpoint;
        let state = session.state();
        let memory = state.memory.as_ref()?;
        let version = memory.essentials.as_ref().map(|essentials| essentials.version().to_owned()).unwrap_or_default();
        Some((self.voice(&service, endpoint, memory.letterhead.as_ref()?), upstream, version))
    }

    async fn move_idle(&self, session: &Arc<Session>, eviction: Eviction) {
        let Departure::Moves { forced, or_ends } = eviction.how else { return };
        let Some(service) = self.reader.look(|snapshot| snapshot.named(session.service()).cloned()) else { return };
        let wanted = {
            let state = session.state();
            let Some(memory) = &state.memory else { return };
            let (Some(recipe), Some(letterhead)) = (Recipe::of(memory), memory.letterhead.clone()) else { return };
            let current = state.residence.current();
            Wanted {
                seen: current.epoch,
                from: current.place.clone(),
                why: Why::Leaves { forced },
                has_spoken: true,
                letterhead,
                recipe,
            }
        };
        match self.rehome(session, &wanted, service).await {
            Ok(()) | Err(NotMoved::Over) => {}
            // It is moved with the next request, and the credential of that; or it ends then.
            Err(NotMoved::Credential(_)) => session.state().note_stays(eviction.before_revision),
            Err(NotMoved::Refused(_)) if !or_ends => session.state().note_stays(eviction.before_revision),
            Err(_) => {}
        }
    }
}
