//! A POST of an HTTP+SSE session on its way to the server that has the session now, and once more where that turns out to have
//! it no longer. The rules are those of [`deliver`](super::super::deliver), but that the stream moves the session.

use std::sync::Arc;

use http::StatusCode;

use super::super::deliver::{Delivered, Delivery, is_awaited, is_undelivered};
use super::super::resident::{Lodger, Session};
use super::super::route::{Route, Routed};
use super::super::stay::Stay;
use crate::config::OnLoss;
use crate::domain::rehome::Epoch;
use crate::domain::{Asked, Departure, Eviction};
use crate::mcp::SessionPin;
use crate::proxy::Worker;
use crate::proxy::asker::Kind;
use crate::proxy::cargo::Cargo;
use crate::proxy::channel::{Channel, Sent};
use crate::proxy::error::ProxyError;
use crate::proxy::forward::Replied;

/// What is said of a session that nobody has taken yet.
const LOST: &str = "its session is lost, and no server has taken it yet";

impl Worker {
    /// Delivers a POST.
    pub(in crate::proxy) async fn deliver_posted(
        &self,
        session: &Arc<Session>,
        channel: &Arc<Channel>,
        delivery: &mut Delivery<'_, '_>,
    ) -> Result<Delivered, ProxyError> {
        if let (Kind::Initialize, Cargo::Whole(body), false) = (delivery.asker.kind, &delivery.cargo, session.can_move()) {
            channel.note_opening(body.clone(), delivery.service.config.sessions.remember);
        }
        let (mut has_moved, mut has_waited) = (false, false);
        loop {
            let Route { stay, place, is_bound, .. } = match self.binding(session, delivery) {
                Routed::To(route) => route,
                Routed::Said(answer) => return Ok(Delivered::Said(answer)),
                Routed::Nowhere => return self.deliver_bound(delivery).await,
            };
            let Some(place) = place.map(|place| *place).or_else(|| delivery.facts.pin.clone()) else {
                return Err(ProxyError::SessionLost);
            };
            let epoch = stay.epoch();
            if !is_bound && !channel.answers_at(epoch) {
                drop(stay);
                if std::mem::replace(&mut has_waited, true) || !wait_for_move(session, channel, epoch, delivery).await {
                    return Err(ProxyError::Unreachable(LOST.to_owned()));
                }
                continue;
            }
            point_at(&place, delivery)?;
            delivery.facts.lodged = Some((Lodger::new(session.clone()), epoch));
            if self.must_end(session, delivery, &place) {
                return Err(ProxyError::SessionEnded);
            }
            book_at(&stay, &place, delivery);
            let may_be_moved = !has_moved
                && !is_bound
                && delivery.service.config.sessions.on_loss == OnLoss::Rehome
                && session.can_move()
                && !is_awaited(delivery);
            let (error, answered) = match self.deliver_to(delivery).await {
                Ok((seat, replied)) if may_be_moved && is_unknown(&replied, session, epoch) => {
                    (ProxyError::Unreachable(LOST.to_owned()), Some((seat, replied)))
                }
                Ok((seat, replied)) => {
                    self.note_posted(session, channel, delivery, replied.head.status());
                    return Ok(Delivered::Answered(seat, replied, None));
                }
                Err(error) if may_be_moved && is_undelivered(&error) => (error, None),
                Err(error) => return Err(error),
            };
            drop((stay, answered));
            if !delivery.cargo.can_be_sent() {
                return Err(error);
            }
            channel.doubt(epoch);
            if !wait_for_move(session, channel, epoch, delivery).await {
                return Err(error);
            }
            has_moved = true;
        }
    }

    /// Whether a session is to leave a place, and what runs there is not cut yet.
    pub(super) fn can_wait(&self, session: &Session, place: &SessionPin) -> bool {
        let Some(service) = self.reader.named(session.service()) else { return false };
        let is_cut = |eviction: Eviction| eviction.has_cut(place.revision, self.site.clock.now());
        self.must_leave(&service, session, place) && !service.evictions[place.entry].is_some_and(is_cut)
    }

    /// Whether its session has been ended with those of its entry: one that may be moved is, by its stream.
    fn must_end(&self, session: &Session, delivery: &Delivery<'_, '_>, place: &SessionPin) -> bool {
        let moves = delivery.service.evictions[place.entry].is_some_and(|eviction| {
            let moves = matches!(eviction.how, Departure::Moves { .. });
            moves && session.can_move() && !session.state().stays_despite(eviction.before_revision)
        });
        !moves && self.has_ended(&delivery.service, delivery.facts, delivery.asker.kind)
    }

    /// What a server has taken holds from then on.
    fn note_posted(&self, session: &Arc<Session>, channel: &Channel, delivery: &Delivery<'_, '_>, status: StatusCode) {
        if !status.is_success() {
            return;
        }
        if delivery.facts.initializes {
            session.remember(usize::MAX, |memory| memory.is_initialized = true);
        }
        if channel.has_fresher(&self.site.sessions, delivery.outgoing.headers()) {
            session.write_again(&delivery.outgoing.letterhead());
        }
    }
}

/// Waits until a session lives elsewhere, and can be answered from there; not for longer than a request is held.
async fn wait_for_move(session: &Session, channel: &Channel, seen: Epoch, delivery: &Delivery<'_, '_>) -> bool {
    let hold = delivery.service.config.sessions.hold;
    let is_over = || session.state().residence.is_over();
    let has_moved = || {
        let current = session.state().residence.current().epoch;
        current != seen && channel.answers_at(current)
    };
    let settled = session.changes(|| is_over() || has_moved());
    tokio::time::timeout(hold, settled).await.is_ok() && !is_over()
}

/// A request is to go there.
fn point_at(place: &SessionPin, delivery: &mut Delivery<'_, '_>) -> Result<(), ProxyError> {
    if delivery.facts.pin.as_ref() == Some(place) {
        return Ok(());
    }
    let uri = delivery.asker.posted.as_ref().and_then(|posted| posted.target(place.upstream.as_deref()?));
    let uri = uri.ok_or(ProxyError::Form("the target is not valid"))?;
    delivery.facts.target = Some(Box::new(uri.clone()));
    delivery.outgoing.aim(uri);
    (delivery.facts.asked, delivery.facts.pin) = (Asked::Pinned(place.entry), Some(place.clone()));
    delivery.asker.entry = Some(place.entry);
    Ok(())
}

/// What is asked is at this server from now on, and is booked there.
fn book_at(stay: &Stay, place: &SessionPin, delivery: &mut Delivery<'_, '_>) {
    let view = &delivery.service.entries[place.entry];
    let endpoint = view.named(&place.endpoint).map(|one| one.endpoint.clone());
    let tally = view.tally_at(endpoint.as_deref()).clone();
    let most = delivery.service.config.sessions.remember;
    if let (Some(posted), Some(stay)) = (&delivery.asker.posted, stay.another()) {
        posted.send(&Sent { stay, tally, endpoint, wish: delivery.facts.wish.clone(), most });
    }
}

/// Whether the server does not know the session. Some say so by 400, which says other things, too, unless the stream is lost.
fn is_unknown(replied: &Replied, session: &Session, epoch: Epoch) -> bool {
    match replied.head.status() {
        StatusCode::NOT_FOUND => true,
        StatusCode::BAD_REQUEST => session.state().residence.is_moving() || !session.is_current(epoch),
        _ => false,
    }
}
