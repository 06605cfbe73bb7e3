//! It is a session's time to leave its entry, and a request of its is at hand: it is moved before that, or stays for now.

use std::sync::Arc;

use tokio::time::Instant;

use super::deliver::Delivery;
use super::mover::{NotMoved, Wanted, Why};
use super::replay::Recipe;
use super::resident::Session;
use super::stay::Stay;
use crate::domain::{Departure, Eviction};
use crate::live::ServiceView;
use crate::mcp::{SessionPin, StandsFor};
use crate::proxy::Worker;
use crate::proxy::asker::Kind;
use crate::proxy::error::ProxyError;

impl Worker {
    /// The eviction by which it is this session's time to leave its entry, with this request.
    pub(super) fn leaves(&self, resident: &Session, delivery: &Delivery<'_, '_>) -> Option<Eviction> {
        let place = delivery.facts.pin.as_ref()?;
        let eviction = delivery.service.evictions[place.entry]?;
        let has_ended = eviction.has_ended(resident.client().hash(), place.revision, self.site.clock.now());
        (has_ended && !resident.state().stays_despite(eviction.before_revision)).then_some(eviction)
    }

    /// Whether a session is still to leave a place.
    pub(super) fn must_leave(&self, service: &ServiceView, session: &Session, place: &SessionPin) -> bool {
        let now = self.site.clock.now();
        service.evictions[place.entry].is_some_and(|eviction| eviction.has_ended(session.client().hash(), place.revision, now))
    }

    /// Whether it has been moved; else it stays for now. An error where it is ended.
    pub(super) async fn leave(
        &self,
        resident: &Arc<Session>,
        delivery: &Delivery<'_, '_>,
        stay: &Stay,
        eviction: Eviction,
    ) -> Result<bool, ProxyError> {
        let ended = || {
            if self.has_ended(&delivery.service, delivery.facts, delivery.asker.kind) {
                Err(ProxyError::SessionEnded)
            } else {
                Ok(false)
            }
        };
        let Departure::Moves { forced, or_ends } = eviction.how else { return ended() };
        let born = delivery.facts.pin.as_ref().map_or(0, |pin| pin.revision);
        let has_cut = eviction.has_cut(born, self.site.clock.now());
        // What belongs to calls that go on goes on with them.
        let resumes = || delivery.facts.session.as_ref().is_some_and(|id| self.site.interrupted.has_calls(id.as_bytes()));
        let goes_on = match delivery.asker.kind {
            Kind::Message | Kind::End => true,
            Kind::Listen => resumes(),
            _ => false,
        };
        if goes_on && !has_cut {
            return Ok(false);
        }
        // Nobody waits for a move that somebody else makes, or again and again for a server that hangs.
        if !has_cut && resident.is_not_to_be_moved_now() {
            return Ok(false);
        }
        let moved = match self.wanted(resident, delivery, stay, (Why::Leaves { forced, waits: false }, true)) {
            Some(wanted) => self.rehome(resident, &wanted, delivery.service.clone()).await,
            None => Err(NotMoved::Refused("nothing is known of how it was opened".to_owned())),
        };
        match moved {
            Ok(()) => Ok(true),
            // What was in the way may be gone in a moment; at the end nobody stays.
            Err(NotMoved::Refused(_)) if or_ends => ended(),
            Err(_) if or_ends && has_cut => ended(),
            Err(NotMoved::Refused(_)) => {
                resident.state().note_stays(eviction.before_revision);
                Ok(false)
            }
            Err(NotMoved::NobodyThere(_)) => {
                resident.state().rare().held_up = Some(Instant::now());
                Ok(false)
            }
            Err(_) => Ok(false),
        }
    }
}

impl Worker {
    /// A session has moved, while its client spoke to the server before: what that has granted is asked of the new one, too.
    pub(super) fn catch_up(&self, session: &Arc<Session>, before: &Recipe) {
        let now = session.state().memory.as_ref().and_then(|memory| Recipe::of(memory));
        let missed = now.map(|now| before.missed(&now)).unwrap_or_default();
        missed.iter().for_each(|body| self.say_where_it_lives(session, body));
    }

    /// Says something in a session that has an answer which nobody waits for. On HTTP+SSE its client would see that.
    pub(super) fn say_where_it_lives(&self, session: &Arc<Session>, body: &str) {
        let place = session.place_of(None).filter(|place| place.stands_for == StandsFor::SessionId);
        place.into_iter().for_each(|place| self.site.sessions.errands.tell(session.clone(), place, body.to_owned().into()));
    }
}

impl Wanted {
    /// Whether the session rather stays than goes on without its stream: it has a server, and is not ended for staying.
    pub(super) fn may_wait_for_a_stream(&self, service: &ServiceView) -> bool {
        let ends = |eviction: Eviction| !matches!(eviction.how, Departure::Moves { or_ends: false, .. });
        let is_ended = service.evictions[self.from.entry].is_some_and(ends);
        matches!(self.why, Why::Leaves { forced: false, .. }) && !is_ended
    }
}
