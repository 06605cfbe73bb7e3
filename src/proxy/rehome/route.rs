//! To which of its bindings a request of a session goes.
//!
//! | the client says | it goes to |
//! |---|---|
//! | an answer to a server's request | the binding that asked: its ids say which; dropped where that is no more |
//! | `notifications/cancelled` | every binding that is still there: ids of clients are one count, and who does not know one says nothing |
//! | `notifications/progress` | the binding whose request gave the token out |
//! | GET with the last event's id | the binding that gave the id out, where that is still there; see [`resumption`](Worker::resumption) |
//! | anything else | the current one |

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use super::deliver::Delivery;
use super::resident::Session;
use super::stay::Stay;
use crate::http1::Head;
use crate::mcp::event_id::{EventTag, Stream};
use crate::mcp::scan::hash_of_id;
use crate::mcp::{Envelope, Kind as Message, SessionPin, cancelled, request_id, words};
use crate::proxy::Worker;
use crate::proxy::asker::Kind;
use crate::proxy::body::{Answer, ToClient};
use crate::proxy::cargo::Cargo;
use crate::proxy::headers::Resume;

/// What a client is told of calls whose server is gone.
const GONE: &str = "the connection to the server was lost; the request may have been carried out";

/// Where a request goes.
pub(super) enum Routed {
    /// There.
    To(Route),
    /// Nowhere, and this is to be said.
    Said(Answer),
    /// Its session has ended.
    Nowhere,
}

/// A binding, and what runs there now.
pub(super) struct Route {
    pub(super) stay: Stay,
    /// Where that is; none: where its id says.
    pub(super) place: Option<Box<SessionPin>>,
    /// It belongs to this binding, and means nothing to another.
    pub(super) is_bound: bool,
    /// It takes the place of a stream that its client has lost, and may be open still.
    pub(super) is_instead: bool,
}

impl Route {
    fn current(session: &Arc<Session>) -> Routed {
        let found = session.check_in();
        found.map_or(Routed::Nowhere, |(stay, place)| {
            Routed::To(Self { stay, place: Some(Box::new(place)), is_bound: false, is_instead: false })
        })
    }

    /// The same, for a stream that takes the place of one which its client has lost.
    fn instead(session: &Arc<Session>) -> Routed {
        match Self::current(session) {
            Routed::To(route) => Routed::To(Self { is_instead: true, ..route }),
            other => other,
        }
    }

    /// On this binding alone.
    fn at(session: &Arc<Session>, epoch: u32) -> Option<Self> {
        let found = session.check_in_at(epoch);
        found.map(|(stay, place)| Self { stay, place: Some(Box::new(place)), is_bound: true, is_instead: false })
    }
}

impl Worker {
    /// Finds the binding.
    pub(super) fn binding(&self, session: &Arc<Session>, delivery: &mut Delivery<'_, '_>) -> Routed {
        if let Some(stay) = session.check_in_at_birth() {
            return self.at_birth(stay, delivery);
        }
        match delivery.asker.kind {
            Kind::Message => self.message(session, delivery),
            Kind::Listen => self.resumption(session, delivery),
            _ => Route::current(session),
        }
    }

    /// Where its id says, as far as is known here. A tag of a later binding is of another process, which has moved it: that
    /// binding cannot be found from here, and no server knows the id.
    fn at_birth(&self, stay: Stay, delivery: &mut Delivery<'_, '_>) -> Routed {
        if delivery.asker.kind == Kind::Listen {
            match delivery.outgoing.header("last-event-id").and_then(EventTag::read).map(|(tag, _)| tag.stream) {
                Some(Stream::Get) => delivery.outgoing.resume(Resume::Fresh),
                Some(Stream::Post(_)) => return Routed::Said(not_to_be_resumed()),
                None => {}
            }
        }
        Routed::To(Route { stay, place: None, is_bound: false, is_instead: false })
    }

    fn message(&self, session: &Arc<Session>, delivery: &mut Delivery<'_, '_>) -> Routed {
        let Cargo::Whole(body) = &mut delivery.cargo else { return Route::current(session) };
        let dropped = || Routed::Said(said(StatusCode::ACCEPTED, "", Bytes::new()));
        let to = |epoch| Route::at(session, epoch).map_or_else(dropped, Routed::To);
        if let Some(replies) = request_id::replies(body) {
            let mut replies = replies.into_iter().map(|reply| (reply.epoch, Bytes::from(reply.body)));
            let Some((epoch, first)) = replies.next() else { return Route::current(session) };
            // The rest of a batch that answers several.
            replies.for_each(|(epoch, body)| self.tell_beside(session, epoch, &body));
            *body = first;
            return epoch.map_or_else(|| Route::current(session), to);
        }
        if cancelled(body).is_some() {
            session
                .draining()
                .into_iter()
                .for_each(|place| self.site.sessions.errands.tell(session.clone(), place, body.clone()));
            return Route::current(session);
        }
        if let Some(token) = request_id::progress_token(body) {
            return to(session.epoch_of_token(token));
        }
        match Envelope::read(body).map(|envelope| envelope.kind) {
            // Untagged: what the first binding had asked.
            Some(Message::Response) => to(0),
            _ => Route::current(session),
        }
    }

    fn tell_beside(&self, session: &Arc<Session>, epoch: Option<u32>, body: &Bytes) {
        let place = session.place_of(epoch);
        place.into_iter().for_each(|place| self.site.sessions.errands.tell(session.clone(), place, body.clone()));
    }

    /// A GET that goes on behind an event. The answer to a call is where the call was begun, and nowhere else: where that is
    /// no more, its client is told so once, and after that that there is nothing to go on with (405, which ends it quietly; an
    /// event stream would be taken for another one to listen on). Who only listens gets a fresh stream where the session is now.
    fn resumption(&self, session: &Arc<Session>, delivery: &mut Delivery<'_, '_>) -> Routed {
        let Some(last) = delivery.outgoing.header("last-event-id").map(<[u8]>::to_vec) else { return Route::current(session) };
        let id = delivery.facts.session.as_ref().map(|id| id.as_bytes()).unwrap_or_default().to_vec();
        let interrupted = &self.site.interrupted;
        match EventTag::read(&last) {
            Some((tag, original)) => {
                let is_current = session.is_current(tag.epoch);
                let is_instead = tag.stream == Stream::Get && session.lose_who_heard(hash_of_id(&last));
                if let Some(route) = Route::at(session, tag.epoch)
                    && (tag.stream != Stream::Get || is_current)
                {
                    delivery.outgoing.resume(Resume::Behind(original.to_vec()));
                    // Where its server turns out to be gone, the session is moved, and this is looked at anew.
                    return Routed::To(Route { is_bound: !is_current, is_instead, ..route });
                }
                if tag.stream == Stream::Get {
                    if !is_instead {
                        session.lose_who_was_at(tag.epoch);
                    }
                    delivery.outgoing.resume(Resume::Fresh);
                    return Route::instead(session);
                }
                self.give_up(session, (&last, tag.epoch), &id)
            }
            None => {
                // The first binding's own: of the stream that listens, though that may not be felt to have ended yet, or of a call.
                if session.lose_who_heard(hash_of_id(&last)) {
                    delivery.outgoing.resume(Resume::Fresh);
                    return Route::instead(session);
                }
                if interrupted.has_calls(&id) {
                    return Route::at(session, 0).map_or_else(|| self.give_up(session, (&last, 0), &id), Routed::To);
                }
                if session.was_given_up(&last) {
                    return Routed::Said(not_to_be_resumed());
                }
                // Where it listens already, this is the answer to a call: one that runs there still, as its first stream is not
                // felt to have ended yet; or one that is over.
                if session.state().is_listened_to() {
                    return Route::at(session, 0).map_or_else(|| Routed::Said(not_to_be_resumed()), Routed::To);
                }
                delivery.outgoing.resume(Resume::Fresh);
                Route::current(session)
            }
        }
    }

    /// Tells a client of calls whose answers will not come.
    fn give_up(&self, session: &Session, (last, epoch): (&[u8], u32), id: &[u8]) -> Routed {
        let calls = self.site.interrupted.lose(id, epoch);
        if calls.is_empty() {
            return Routed::Said(not_to_be_resumed());
        }
        session.note_given_up(hash_of_id(last));
        let events = words::error_events(&calls, GONE);
        Routed::Said(said(StatusCode::OK, "text/event-stream", events.into()))
    }
}

fn not_to_be_resumed() -> Answer {
    let mut answer = said(StatusCode::METHOD_NOT_ALLOWED, "", Bytes::new());
    answer.head.set("allow", b"POST, DELETE");
    answer
}

fn said(status: StatusCode, kind: &str, body: Bytes) -> Answer {
    let mut head = Head::new(status);
    if !kind.is_empty() {
        head.set("content-type", kind.as_bytes());
        head.set("cache-control", b"no-store");
    }
    Answer { head: Box::new(head), body: ToClient::Own(body) }
}
