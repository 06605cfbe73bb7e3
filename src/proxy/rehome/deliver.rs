//! A request of a session on its way to the server that has the session now, and once more where that turns out to have it no
//! longer.
//!
//! | what came back | carried out? | the request |
//! |---|---|---|
//! | no connection, or its endpoint is configured no more, or silent before it was asked | no | sent again after a move |
//! | 404 or 400, and a `ping` in the same session fails, too | no: refused at the session check | sent again after a move |
//! | the connection was lost before a byte came | unknown | lists and pings are asked again; the rest fails, once |
//! | anything else | | is the answer |
//!
//! One move for a request, and no more: a server that answers 404 to everything is answered by that.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::StatusCode;

use super::ask::Within;
use super::journal::Newcomer;
use super::memory::Memory;
use super::mover::{NotMoved, Wanted, Why};
use super::replay::{self, Recipe};
use super::resident::Session;
use super::route::{Route, Routed};
use super::stay::Stay;
use crate::config::OnLoss;
use crate::domain::{Asked, Departure, Eviction};
use crate::http1::Head;
use crate::live::ServiceView;
use crate::mcp::SessionPin;
use crate::mcp::essentials::Essentials;
use crate::proxy::Worker;
use crate::proxy::asker::{Asker, Kind};
use crate::proxy::body::{Answer, ToClient};
use crate::proxy::cargo::Cargo;
use crate::proxy::error::ProxyError;
use crate::proxy::facts::Facts;
use crate::proxy::forward::Replied;
use crate::proxy::headers::Outgoing;
use crate::proxy::keys::{caller, credentials};
use crate::proxy::seat::Seat;
use crate::proxy::vigil::Post;
use crate::upstream::Client;

/// What became of a request.
pub(in crate::proxy) enum Delivered {
    /// An endpoint has answered.
    Answered(Seat, Replied, Option<Stay>),
    /// There is nobody to ask, and this is to be said.
    Said(Answer),
}

/// A request on its way.
pub(in crate::proxy) struct Delivery<'a, 'b> {
    pub(in crate::proxy) service: Arc<ServiceView>,
    pub(in crate::proxy) facts: &'a mut Facts,
    pub(in crate::proxy) outgoing: &'a mut Outgoing<'b>,
    pub(in crate::proxy) cargo: Cargo,
    pub(in crate::proxy) post: &'a Post,
    pub(in crate::proxy) asker: &'a mut Asker,
}

/// Why an answer is none that the client should see, if there is another way.
enum Lost {
    /// It was not delivered.
    Undelivered(ProxyError),
    /// It was refused, since the server does not know the session.
    Unknown(Seat, Replied),
    /// The connection was lost on its way; it may have been carried out, and asking twice may do no harm.
    Unsure(String),
}

impl Worker {
    /// The session of a request, where it has one that is known here; else it is bound to where its id says.
    pub(in crate::proxy) fn resident(&self, delivery: &Delivery<'_, '_>) -> Option<Arc<Session>> {
        let Delivery { service, facts, outgoing, .. } = delivery;
        let (Some(id), Some(pin)) = (&facts.session, &facts.pin) else { return None };
        if facts.target.is_some() {
            return None;
        }
        let sessions = &self.site.sessions;
        outgoing.peer().sessions.resident(id, credentials(outgoing.headers()), || {
            let caller = caller(outgoing.headers());
            let remember = || {
                let essentials = self.site.keys.essentials(&service.config.name, id.as_bytes()).map(Arc::new);
                let letterhead = Some(Arc::new(outgoing.letterhead()));
                let memory = Box::new(Memory { essentials, letterhead, is_initialized: true, ..Memory::default() });
                Newcomer { key: self.site.keys.resident_key(id.as_bytes(), &caller), memory }
            };
            let client = Client::of_session(id.as_bytes());
            let found = sessions.find(service, (client, sessions.caller(&caller)), pin, self.site.clock.now(), remember);
            if found.is_none() {
                sessions.note_full(&service.config.name);
            }
            found
        })
    }

    /// A session is born, and what opens it again is remembered: it may not be in its id.
    pub(in crate::proxy) fn note_birth(
        &self,
        seat: &Seat,
        id: &str,
        pin: &SessionPin,
        (essentials, is_in_id): (Option<Essentials>, bool),
        outgoing: &Outgoing<'_>,
    ) {
        let (sessions, service) = (&self.site.sessions, &seat.service);
        let caller = caller(outgoing.headers());
        let client = Client::of_session(id.as_bytes());
        let remember = || {
            let letterhead = Some(Arc::new(outgoing.letterhead()));
            let is_beyond_id = essentials.is_some() && !is_in_id;
            let memory = Memory { essentials: essentials.map(Arc::new), letterhead, is_beyond_id, ..Memory::default() };
            Newcomer { key: self.site.keys.resident_key(id.as_bytes(), &caller), memory: Box::new(memory) }
        };
        if sessions.find(service, (client, sessions.caller(&caller)), pin, self.site.clock.now(), remember).is_none() {
            service.tally.remembered.forgotten.fetch_add(1, Ordering::Relaxed);
            sessions.note_full(&service.config.name);
        }
    }

    /// Delivers a request of a session.
    pub(in crate::proxy) async fn deliver_resident(
        &self,
        resident: &Arc<Session>,
        mut delivery: Delivery<'_, '_>,
    ) -> Result<Delivered, ProxyError> {
        let mut has_moved = false;
        loop {
            let kind = delivery.asker.kind;
            let Route { stay, place, is_bound } = match self.binding(resident, &mut delivery) {
                Routed::To(route) => route,
                Routed::Said(answer) => return Ok(Delivered::Said(answer)),
                // Its client has ended it, and says something all the same: the server will know what that is.
                Routed::Nowhere => return self.deliver_bound(delivery).await,
            };
            if delivery.facts.pin.as_ref() != Some(&place) {
                (delivery.facts.asked, delivery.facts.pin) = (Asked::Pinned(place.entry), Some(place.clone()));
                delivery.asker.entry = Some(place.entry);
            }
            delivery.facts.lodged = Some((resident.clone(), stay.epoch()));
            if !has_moved
                && !is_bound
                && let Some(eviction) = self.leaves(resident, &delivery, &place)
                && self.leave(resident, &delivery, &stay, &place, eviction).await?
            {
                has_moved = true;
                continue;
            }
            let lost = match self.deliver_to(&mut delivery).await {
                Ok((seat, replied)) if self.is_unknown(resident, &delivery, &seat, &replied).await => {
                    Lost::Unknown(seat, replied)
                }
                Ok((seat, replied)) => {
                    if kind == Kind::End && (replied.head.status().is_success() || replied.head.status() == StatusCode::NOT_FOUND)
                    {
                        resident.close(Some(stay.epoch()));
                    }
                    if delivery.facts.initializes && replied.head.status().is_success() {
                        resident.remember(usize::MAX, |memory| memory.is_initialized = true);
                    }
                    return Ok(Delivered::Answered(seat, replied, Some(stay)));
                }
                Err(ProxyError::Lost(cause)) if !has_moved && self.may_ask_again(&delivery) => Lost::Unsure(cause),
                Err(ProxyError::TakenBack) => {
                    if delivery.asker.knows_ids() {
                        self.cancel(resident, &place, &delivery.asker.pending);
                    }
                    return Err(ProxyError::TakenBack);
                }
                Err(error) if is_undelivered(&error) && !is_awaited(&delivery.service, &place) => Lost::Undelivered(error),
                Err(error) => return Err(error),
            };
            if kind == Kind::End {
                resident.close(Some(stay.epoch()));
                return lost.told(stay);
            }
            let policy = delivery.service.config.sessions.on_loss;
            if !is_bound && policy == OnLoss::End && matches!(lost, Lost::Undelivered(_)) {
                resident.close(Some(stay.epoch()));
                return Err(ProxyError::SessionLost);
            }
            if has_moved || is_bound || policy != OnLoss::Rehome {
                return lost.told(stay);
            }
            if let Lost::Unsure(cause) = &lost
                && Box::pin(self.is_there(resident, &delivery, &place)).await
            {
                return self.ask_again(resident, delivery, cause.clone()).await;
            }
            let has_spoken = matches!(lost, Lost::Unknown(..));
            let Some(wanted) = self.wanted(resident, &delivery, &stay, &place, (Why::Lost, has_spoken)) else {
                return lost.told(stay);
            };
            match Box::pin(self.rehome(resident, &wanted, delivery.service.clone())).await {
                Ok(()) => drop(resident.write_with(delivery.outgoing.letterhead())),
                Err(NotMoved::Credential(head)) => return Ok(Delivered::Said(refused(&head))),
                // Not that the server does not know it: that would be the end of it, and it may be moved a moment later.
                Err(NotMoved::NobodyThere(why)) if has_spoken => return Err(ProxyError::Unreachable(why)),
                Err(NotMoved::BackedOff) if has_spoken => return Err(ProxyError::Unreachable("its session is lost".to_owned())),
                Err(_) => return lost.told(stay),
            }
            if let Lost::Unsure(cause) = lost {
                return self.ask_again(resident, delivery, cause).await;
            }
            if !delivery.cargo.can_be_sent() {
                return Err(ProxyError::Lost("its session had been lost, and is there again; it was not carried out".to_owned()));
            }
            has_moved = true;
        }
    }

    /// Once more, where the call's tool says that this does no harm.
    async fn ask_again(
        &self,
        resident: &Arc<Session>,
        mut delivery: Delivery<'_, '_>,
        cause: String,
    ) -> Result<Delivered, ProxyError> {
        if !Box::pin(self.does_no_harm(resident, &delivery)).await {
            return Err(ProxyError::Lost(cause));
        }
        let Some((stay, place)) = resident.check_in() else { return Err(ProxyError::Lost(cause)) };
        (delivery.facts.asked, delivery.facts.pin) = (Asked::Pinned(place.entry), Some(place));
        delivery.facts.lodged = Some((resident.clone(), stay.epoch()));
        let (seat, replied) = Box::pin(self.deliver_to(&mut delivery)).await?;
        Ok(Delivered::Answered(seat, replied, Some(stay)))
    }

    /// What it takes to move a session for this request, with its credentials; nothing where that is not known.
    fn wanted(
        &self,
        resident: &Arc<Session>,
        delivery: &Delivery<'_, '_>,
        stay: &Stay,
        place: &SessionPin,
        (why, has_spoken): (Why, bool),
    ) -> Option<Wanted> {
        // Remembered once a server has taken its credentials, and not before.
        let letterhead = Arc::new(delivery.outgoing.letterhead());
        let state = resident.state();
        let recipe = state.memory.as_ref().and_then(|memory| Recipe::of(memory));
        drop(state);
        let mut recipe = recipe?;
        // It says so itself.
        recipe.is_initialized &= !delivery.facts.initializes;
        Some(Wanted { seen: stay.epoch(), from: place.clone(), why, has_spoken, letterhead, recipe, dial: None })
    }

    /// The eviction by which it is this session's time to leave its entry, with this request.
    fn leaves(&self, resident: &Session, delivery: &Delivery<'_, '_>, place: &SessionPin) -> Option<Eviction> {
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
    async fn leave(
        &self,
        resident: &Arc<Session>,
        delivery: &Delivery<'_, '_>,
        stay: &Stay,
        place: &SessionPin,
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
        // What belongs to calls that go on goes on with them.
        let resumes = || delivery.facts.session.as_ref().is_some_and(|id| self.site.interrupted.has_calls(id.as_bytes()));
        let goes_on = match delivery.asker.kind {
            Kind::Message | Kind::End => true,
            Kind::Listen => resumes(),
            _ => false,
        };
        if goes_on && !eviction.has_cut(place.revision, self.site.clock.now()) {
            return Ok(false);
        }
        let moved = match self.wanted(resident, delivery, stay, place, (Why::Leaves { forced, waits: false }, true)) {
            Some(wanted) => Box::pin(self.rehome(resident, &wanted, delivery.service.clone())).await,
            None => Err(NotMoved::Refused("nothing is known of how it was opened".to_owned())),
        };
        match moved {
            Ok(()) => Ok(true),
            // What was in the way may be gone in a moment; at the end nobody stays.
            Err(NotMoved::Refused(_)) if or_ends => ended(),
            Err(_) if or_ends && eviction.has_cut(place.revision, self.site.clock.now()) => ended(),
            Err(NotMoved::Refused(_)) => {
                resident.state().note_stays(eviction.before_revision);
                Ok(false)
            }
            Err(_) => Ok(false),
        }
    }

    /// Whether the server does not know the session. It says so by 404, or by 400, and by either it may mean something else: it
    /// is asked.
    async fn is_unknown(&self, resident: &Session, delivery: &Delivery<'_, '_>, seat: &Seat, replied: &Replied) -> bool {
        let Some(upstream) = delivery.facts.pin.as_ref().and_then(|pin| pin.upstream.as_deref()) else { return false };
        if !matches!(delivery.asker.kind, Kind::Call | Kind::Message | Kind::Listen) {
            return false;
        }
        if !matches!(replied.head.status(), StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST) {
            return false;
        }
        let letterhead = Arc::new(delivery.outgoing.letterhead());
        let voice = self.voice(&seat.service, seat.ticket.endpoint(), &letterhead);
        // Not the revision that this request names, which may be what the server does not take.
        let version = resident.version();
        !Box::pin(replay::knows(&voice, Within { session: Some(upstream), version: &version })).await
    }
}

impl Lost {
    /// Where nothing can be done about it.
    fn told(self, stay: Stay) -> Result<Delivered, ProxyError> {
        match self {
            Self::Undelivered(error) => Err(error),
            Self::Unsure(cause) => Err(ProxyError::Lost(cause)),
            Self::Unknown(seat, replied) => Ok(Delivered::Answered(seat, replied, Some(stay))),
        }
    }
}

/// What a server said that does not take the client's credential, so that its client can get another one (RFC 9110, 15.5.2).
fn refused(head: &Head) -> Answer {
    let mut answer = Head::new(head.status());
    head.all("www-authenticate").for_each(|value| answer.set("www-authenticate", value));
    Answer { head: Box::new(answer), body: ToClient::Own(Bytes::new()) }
}

/// Whether its endpoint may still turn up: it is an instance of a name that has not been found yet.
pub(super) fn is_awaited(service: &ServiceView, place: &SessionPin) -> bool {
    service.entries[place.entry].awaits(&place.endpoint)
}

/// Whether no server has seen it.
pub(super) fn is_undelivered(error: &ProxyError) -> bool {
    matches!(error, ProxyError::Unreachable(_) | ProxyError::SessionLost | ProxyError::NothingUsable(_))
}
