//! What is done for sessions when no request of theirs is at hand: bindings that were left are ended at their servers, and
//! idle sessions are moved when their time has come.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, MissedTickBehavior};

use super::ask::Within;
use super::mover::{NotMoved, Wanted, Why};
use super::replay::Recipe;
use super::resident::{Session, State};
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

/// An idle session that could not be moved is tried again after so long: where it was refused, and where nobody was there.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);
const FAILED_AGAIN: Duration = Duration::from_secs(2);

/// The end of a session at its server takes at most so long.
const END_WITHIN: Duration = Duration::from_secs(5);

/// What is to be done, by whichever worker comes to it first.
#[derive(Default)]
pub(super) struct Errands {
    queue: Mutex<VecDeque<Errand>>,
    /// Moves of idle sessions, which wait for their turn and for all else.
    moves: Mutex<VecDeque<Errand>>,
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
        // One of HTTP+SSE has ended with its stream.
        if binding.place.stands_for == StandsFor::SessionId {
            self.push(Errand::End(session, binding));
        }
    }

    pub(super) fn tell(&self, session: Arc<Session>, place: SessionPin, body: bytes::Bytes) {
        self.push(Errand::Tell(session, place, body));
    }

    fn push(&self, errand: Errand) {
        let queue = if matches!(errand, Errand::Move(..)) { &self.moves } else { &self.queue };
        queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(errand);
        self.more.notify_one();
    }

    /// The next one; a move only where somebody has a place for it.
    fn pop(&self, moves: bool) -> Option<Errand> {
        let queue = if moves { &self.moves } else { &self.queue };
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
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
        // Moves wait for their turns, and nothing else waits for them.
        let places = [false, true].map(|moves| (moves, Arc::new(Semaphore::new(MOST_AT_ONCE))));
        let mut stage = self.site.stage.clone();
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let errands = &self.site.sessions.errands;
            tokio::select! {
                () = errands.more.notified() => {}
                _ = looks.tick() => self.look_around(),
                _ = stage.wait_for(|stage| *stage >= Stage::Ended) => return,
            }
            for (moves, places) in &places {
                while let Ok(place) = places.clone().try_acquire_owned()
                    && let Some(errand) = errands.pop(*moves)
                {
                    let worker = self.clone();
                    tokio::task::spawn_local(async move {
                        worker.run(errand).await;
                        drop(place);
                        // Somebody may have waited for the place.
                        worker.site.sessions.errands.more.notify_one();
                    });
                }
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
        let now = self.site.clock.now();
        let moves = |eviction: &Eviction| matches!(eviction.how, Departure::Moves { .. }) && now >= eviction.from;
        let evictions = PerEntry::from_fn(|entry| service.evictions[entry].filter(moves));
        if Entry::BOTH.iter().all(|entry| evictions[*entry].is_none()) {
            return;
        }
        let instant = self.vigil.now();
        let is_due = |session: &Session, state: &State| {
            let residence = &state.residence;
            let place = &residence.current().place;
            let eviction = evictions[place.entry].filter(|_| session.service() == service.config.name)?;
            let is_free = !residence.is_over() && !residence.is_moving() && !state.is_listened_to();
            let may = state.memory.as_ref().is_some_and(|memory| memory.suffices() && memory.letterhead.is_some());
            let rests = state.rests_until().is_some_and(|until| instant < until);
            let stays = state.stays_despite(eviction.before_revision) || state.is_being_moved || rests;
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
            // Another caller's session may still live on the binding that both were born with.
            Errand::End(session, binding) if binding.epoch == 0 && session.is_shared() => {}
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
        let within = Within { session: upstream.as_deref(), version: &version };
        if let Err(trouble) = voice.end(within).await {
            tracing::debug!(endpoint = voice.endpoint.name, ?trouble, "a session that was left could not be ended");
        }
    }

    async fn tell_at(&self, session: &Arc<Session>, place: &SessionPin, body: &[u8]) {
        let Some((voice, upstream, version)) = self.speak_at(session, place) else { return };
        let _ = voice.tell(Within { session: upstream.as_deref(), version: &version }, body).await;
    }

    fn speak_at(&self, session: &Session, place: &SessionPin) -> Option<(super::ask::Voice, Option<String>, String)> {
        let upstream = place.upstream.as_deref()?.to_owned();
        let service = self.reader.named(session.service())?;
        let endpoint = &service.entries[place.entry].named(&place.endpoint)?.endpoint;
        let state = session.state();
        let memory = state.memory.as_ref()?;
        let letterhead = memory.letterhead.as_ref()?;
        if place.stands_for == StandsFor::EndpointUri {
            let letterhead = Arc::new(letterhead.at(&upstream));
            return Some((self.voice(&service, endpoint, &letterhead), None, String::new()));
        }
        let version = memory.essentials.as_ref().map(|essentials| essentials.version().to_owned()).unwrap_or_default();
        Some((self.voice(&service, endpoint, letterhead), Some(upstream), version))
    }

    async fn move_idle(&self, session: &Arc<Session>, eviction: Eviction) {
        let Departure::Moves { forced, or_ends } = eviction.how else { return };
        let Some(service) = self.reader.named(session.service()) else { return };
        let wanted = {
            let state = session.state();
            let Some(memory) = &state.memory else { return };
            let (Some(recipe), Some(letterhead)) = (Recipe::of(memory), memory.letterhead.clone()) else { return };
            let current = state.residence.current();
            Wanted {
                seen: current.epoch,
                from: current.place.clone(),
                why: Why::Leaves { forced, waits: true },
                has_spoken: true,
                letterhead,
                recipe,
                dial: None,
            }
        };
        match self.rehome(session, &wanted, service).await {
            Ok(()) | Err(NotMoved::Over) => {}
            // It is moved with the next request, and the credential of that; or it ends then.
            Err(NotMoved::Credential(_)) => session.state().note_stays(eviction.before_revision),
            Err(NotMoved::Refused(_)) if !or_ends => session.state().note_stays(eviction.before_revision),
            // Its next request ends it, or the cut. What was refused is not asked for again and again.
            Err(NotMoved::Refused(_)) => session.state().rare().rests_until = Some(Instant::now() + REFUSED_AGAIN),
            Err(_) => session.state().rare().rests_until = Some(Instant::now() + FAILED_AGAIN),
        }
    }
}
