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
//! One move for a request, and no more: where its new server does not know the session either, the request fails, and the
//! session goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::ask::Within;
use super::journal::Newcomer;
use super::memory::Memory;
use super::mover::{NotMoved, Wanted, Why};
use super::replay::{self, Recipe};
use super::resident::{Lodger, Session};
use super::route::{Route, Routed};
use super::stay::Stay;
use crate::config::OnLoss;
use crate::domain::Asked;
use crate::http1::Head;
use crate::live::LocalView;
use crate::mcp::SessionPin;
use crate::mcp::essentials::Essentials;
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
use crate::proxy::{Worker, boxed};
use crate::upstream::Client;

/// Between two tries to get a stream from a server that believes in the one before.
const UNTIL_SEEN: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(400)];

/// What became of a request.
pub(in crate::proxy) enum Delivered {
    /// An endpoint has answered.
    Answered(Seat, Replied, Option<Stay>),
    /// There is nobody to ask, and this is to be said.
    Said(Answer),
}

/// A request on its way.
pub(in crate::proxy) struct Delivery<'a, 'b> {
    pub(in crate::proxy) service: LocalView,
    pub(in crate::proxy) facts: &'a mut Facts,
    pub(in crate::proxy) outgoing: &'a mut Outgoing<'b>,
    pub(in crate::proxy) cargo: Cargo,
    pub(in crate::proxy) post: &'a Post,
    pub(in crate::proxy) asker: &'a mut Asker,
}

/// What came of one try.
enum Tried {
    Done(Delivered),
    /// It was its session's time to leave, and it has been moved.
    Left,
    Lost(Route, Lost),
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
    pub(in crate::proxy) fn resident(&self, delivery: &Delivery<'_, '_>) -> Option<Lodger> {
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
        resident: &Lodger,
        delivery: &mut Delivery<'_, '_>,
    ) -> Result<Delivered, ProxyError> {
        let mut has_moved = false;
        loop {
            let (route, lost) = match self.try_once(resident, delivery, has_moved).await? {
                Tried::Done(delivered) => return Ok(delivered),
                Tried::Left => {
                    has_moved = true;
                    continue;
                }
                Tried::Lost(route, lost) => (route, lost),
            };
            if let Some(delivered) = boxed(|| self.recover(resident, delivery, route, lost, has_moved)).await? {
                return Ok(delivered);
            }
            has_moved = true;
        }
    }

    /// Finds the binding, and sends.
    async fn try_once(&self, resident: &Lodger, delivery: &mut Delivery<'_, '_>, has_moved: bool) -> Result<Tried, ProxyError> {
        let route = match self.binding(resident, delivery) {
            Routed::To(route) => route,
            Routed::Said(answer) => return Ok(Tried::Done(Delivered::Said(answer))),
            // Its client has ended it, and says something all the same: the server will know what that is.
            Routed::Nowhere => return boxed(|| self.deliver_bound(delivery)).await.map(Tried::Done),
        };
        if route.is_instead {
            boxed(|| resident.without_the_lost()).await;
        }
        if let Some(place) = &route.place {
            (delivery.facts.asked, delivery.facts.pin) = (Asked::Pinned(place.entry), Some((**place).clone()));
            delivery.asker.entry = Some(place.entry);
        }
        delivery.facts.lodged = Some((resident.clone(), route.stay.epoch()));
        if !has_moved
            && !route.is_bound
            && let Some(eviction) = self.leaves(resident, delivery)
            && boxed(|| self.leave(resident, delivery, &route.stay, eviction)).await?
        {
            return Ok(Tried::Left);
        }
        let delivered = match route.is_instead {
            true => boxed(|| self.deliver_instead(delivery)).await,
            false => self.deliver_to(delivery).await,
        };
        match delivered {
            Ok((seat, replied)) if may_be_unknown(delivery, &replied) => {
                match boxed(|| self.is_unknown(resident, delivery, &seat)).await {
                    true => Ok(Tried::Lost(route, Lost::Unknown(seat, replied))),
                    false => Ok(answered(resident, delivery, (seat, replied), route.stay)),
                }
            }
            Ok(answer) => Ok(answered(resident, delivery, answer, route.stay)),
            Err(ProxyError::Lost(cause)) if !has_moved && self.may_ask_again(delivery) => {
                Ok(Tried::Lost(route, Lost::Unsure(cause)))
            }
            Err(ProxyError::TakenBack) => {
                if let Some(place) = delivery.facts.pin.as_ref().filter(|_| delivery.asker.knows_ids()) {
                    self.cancel(resident, place, &delivery.asker.pending);
                }
                Err(ProxyError::TakenBack)
            }
            Err(error) if is_undelivered(&error) && !is_awaited(delivery) => Ok(Tried::Lost(route, Lost::Undelivered(error))),
            Err(error) => Err(error),
        }
    }

    /// Asks for a stream in the place of one that its client has lost. A server that has not seen yet that this one has ended says
    /// that there is one already (409), which its client might take for the last word.
    async fn deliver_instead(&self, delivery: &mut Delivery<'_, '_>) -> Result<(Seat, Replied), ProxyError> {
        for pause in UNTIL_SEEN {
            let (seat, replied) = self.deliver_to(delivery).await?;
            if replied.head.status() != StatusCode::CONFLICT {
                return Ok((seat, replied));
            }
            drop((seat, replied));
            tokio::time::sleep(pause).await;
        }
        self.deliver_to(delivery).await
    }

    /// Its server is gone, or knows the session no more: it is opened elsewhere. Nothing where it can be sent again then.
    async fn recover(
        &self,
        resident: &Lodger,
        delivery: &mut Delivery<'_, '_>,
        Route { stay, is_bound, .. }: Route,
        lost: Lost,
        has_moved: bool,
    ) -> Result<Option<Delivered>, ProxyError> {
        if delivery.asker.kind == Kind::End {
            resident.close(Some(stay.epoch()));
            return lost.told(stay);
        }
        let policy = delivery.service.config.sessions.on_loss;
        if !is_bound && policy == OnLoss::End && matches!(lost, Lost::Undelivered(_)) {
            resident.close(Some(stay.epoch()));
            return Err(ProxyError::SessionLost);
        }
        if has_moved || is_bound || policy != OnLoss::Rehome {
            return match lost {
                // It was opened there a moment ago. What its client is told must not be the end of it.
                Lost::Unknown(..) if has_moved => Err(ProxyError::Unreachable("its new server does not know it".to_owned())),
                // It lives elsewhere.
                Lost::Unknown(..) if is_bound => Err(ProxyError::Unreachable("its server before does not know it".to_owned())),
                lost => lost.told(stay),
            };
        }
        if let Lost::Unsure(cause) = &lost
            && self.is_there(resident, delivery).await
        {
            return self.ask_again(resident, delivery, cause.clone()).await.map(Some);
        }
        let has_spoken = matches!(lost, Lost::Unknown(..));
        let Some(wanted) = self.wanted(resident, delivery, &stay, (Why::Lost, has_spoken)) else { return lost.told(stay) };
        match self.rehome(resident, &wanted, delivery.service.clone()).await {
            Ok(()) => drop(resident.write_with(delivery.outgoing.letterhead())),
            Err(NotMoved::Credential(head)) => return Ok(Some(Delivered::Said(refused(&head)))),
            // Not that the server does not know it: that would be the end of it, and it may be moved a moment later.
            Err(NotMoved::NobodyThere(why)) if has_spoken => return Err(ProxyError::Unreachable(why)),
            Err(NotMoved::BackedOff) if has_spoken => return Err(ProxyError::Unreachable("its session is lost".to_owned())),
            Err(_) => return lost.told(stay),
        }
        if let Lost::Unsure(cause) = lost {
            return self.ask_again(resident, delivery, cause).await.map(Some);
        }
        if !delivery.cargo.can_be_sent() {
            return Err(ProxyError::Lost("its session had been lost, and is there again; it was not carried out".to_owned()));
        }
        Ok(None)
    }

    /// Once more, where the call's tool says that this does no harm.
    async fn ask_again(
        &self,
        resident: &Lodger,
        delivery: &mut Delivery<'_, '_>,
        cause: String,
    ) -> Result<Delivered, ProxyError> {
        if !self.does_no_harm(resident, delivery).await {
            return Err(ProxyError::Lost(cause));
        }
        let Some((stay, place)) = resident.check_in() else { return Err(ProxyError::Lost(cause)) };
        (delivery.facts.asked, delivery.facts.pin) = (Asked::Pinned(place.entry), Some(place));
        delivery.facts.lodged = Some((resident.clone(), stay.epoch()));
        let (seat, replied) = self.deliver_to(delivery).await?;
        Ok(Delivered::Answered(seat, replied, Some(stay)))
    }

    /// What it takes to move a session for this request, with its credentials; nothing where that is not known.
    pub(super) fn wanted(
        &self,
        resident: &Arc<Session>,
        delivery: &Delivery<'_, '_>,
        stay: &Stay,
        (why, has_spoken): (Why, bool),
    ) -> Option<Wanted> {
        let from = delivery.facts.pin.clone()?;
        // Remembered once a server has taken its credentials, and not before.
        let letterhead = Arc::new(delivery.outgoing.letterhead());
        let state = resident.state();
        let recipe = state.memory.as_ref().and_then(|memory| Recipe::of(memory));
        drop(state);
        let mut recipe = recipe?;
        // It says so itself.
        recipe.is_initialized &= !delivery.facts.initializes;
        recipe.initializes = delivery.facts.initializes;
        Some(Wanted { seen: stay.epoch(), from, why, has_spoken, letterhead, recipe, dial: None })
    }

    /// Whether the server does not know the session. It says so by 404, or by 400, and by either it may mean something else: it
    /// is asked.
    async fn is_unknown(&self, resident: &Session, delivery: &Delivery<'_, '_>, seat: &Seat) -> bool {
        let Some(upstream) = delivery.facts.pin.as_ref().and_then(|pin| pin.upstream.as_deref()) else { return false };
        let letterhead = Arc::new(delivery.outgoing.letterhead());
        let voice = self.voice(&seat.service, seat.ticket.endpoint(), &letterhead);
        // Not the revision that this request names, which may be what the server does not take.
        let version = resident.version();
        !replay::knows(&voice, Within { session: Some(upstream), version: &version }).await
    }
}

/// An answer for the client.
fn answered(resident: &Arc<Session>, delivery: &Delivery<'_, '_>, (seat, replied): (Seat, Replied), stay: Stay) -> Tried {
    let status = replied.head.status();
    if delivery.asker.kind == Kind::End && (status.is_success() || status == StatusCode::NOT_FOUND) {
        resident.close(Some(stay.epoch()));
    }
    if delivery.facts.initializes && status.is_success() {
        resident.remember(usize::MAX, |memory| memory.is_initialized = true);
    }
    Tried::Done(Delivered::Answered(seat, replied, Some(stay)))
}

/// Whether an answer may say that the server does not know the session.
fn may_be_unknown(delivery: &Delivery<'_, '_>, replied: &Replied) -> bool {
    matches!(replied.head.status(), StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST)
        && matches!(delivery.asker.kind, Kind::Call | Kind::Message | Kind::Listen)
        && delivery.facts.pin.as_ref().is_some_and(|pin| pin.upstream.is_some())
}

impl Lost {
    /// Where nothing can be done about it.
    fn told(self, stay: Stay) -> Result<Option<Delivered>, ProxyError> {
        match self {
            Self::Undelivered(error) => Err(error),
            Self::Unsure(cause) => Err(ProxyError::Lost(cause)),
            Self::Unknown(seat, replied) => Ok(Some(Delivered::Answered(seat, replied, Some(stay)))),
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
pub(super) fn is_awaited(delivery: &Delivery<'_, '_>) -> bool {
    delivery.facts.pin.as_ref().is_some_and(|pin| delivery.service.entries[pin.entry].awaits(&pin.endpoint))
}

/// Whether no server has seen it.
pub(super) fn is_undelivered(error: &ProxyError) -> bool {
    matches!(error, ProxyError::Unreachable(_) | ProxyError::SessionLost | ProxyError::NothingUsable(_))
}
