//! The session id on its way back: the client only ever sees ids of ours.

use http::{HeaderValue, StatusCode};

use super::Worker;
use super::asker::Kind;
use super::error::ProxyError;
use super::facts::Facts;
use super::headers::Outgoing;
use super::seat::Seat;
use crate::domain::{Blame, Moment, Outcome};
use crate::http1::Head;
use crate::live::ServiceView;
use crate::mcp::essentials::Essentials;
use crate::mcp::{SessionPin, StandsFor, names};
use crate::upstream::Client;

impl Worker {
    /// A new id is sealed on a 2xx `initialize` and nowhere else; on every other answer the client's own
    /// stands in for the endpoint's, since one widespread client adopts whatever id it sees. What the
    /// status says is given back.
    pub(super) fn seal_session(
        &self,
        facts: &Facts,
        seat: &Seat,
        head: &mut Head,
        kind: Kind,
        (essentials, outgoing): (Option<Essentials>, &Outgoing<'_>),
    ) -> Result<Outcome, ProxyError> {
        let status = head.status();
        let issued = head.remove(names::SESSION_ID.as_str());
        if let Some(session) = &facts.session {
            // An HTTP+SSE session has no id but its URI.
            if issued.is_some() && facts.target.is_none() {
                head.set(names::SESSION_ID.as_str(), session.as_bytes());
            }
            return Ok(self.note_use(facts, seat, session, status, kind));
        }
        // What nobody has read has opened a session, if the server says so.
        let is_birth = kind == Kind::Initialize || (facts.unread && issued.is_some());
        if is_birth && status.is_success() {
            let (id, pin, is_in_id) = self.seal_new(seat, issued.as_deref(), essentials.as_ref())?;
            self.note_birth(seat, &id, &pin, (essentials, is_in_id), outgoing);
            head.set(names::SESSION_ID.as_str(), id.as_bytes());
        }
        Ok(Outcome::of_status(status.as_u16()))
    }

    /// Whether the request's session has been ended with those of its entry. What belongs to calls that go on goes on with them:
    /// words to the server, and streams on which they are resumed.
    pub(super) fn has_ended(&self, service: &ServiceView, facts: &Facts, kind: Kind) -> bool {
        let (Some(pin), Some(session)) = (&facts.pin, &facts.session) else { return false };
        // Those that are only moved stay where they cannot be.
        let Some(eviction) = service.evictions[pin.entry].filter(|eviction| eviction.how.ends()) else { return false };
        let now = self.site.clock.now();
        let goes_on = match kind {
            Kind::Message => true,
            Kind::Listen => self.site.interrupted.has_calls(session.as_bytes()),
            _ => false,
        };
        if goes_on {
            return eviction.has_cut(pin.revision, now);
        }
        eviction.has_ended(Client::of_session(session.as_bytes()).hash(), pin.revision, now)
    }

    fn seal_new(
        &self,
        seat: &Seat,
        issued: Option<&[u8]>,
        essentials: Option<&Essentials>,
    ) -> Result<(String, SessionPin, bool), ProxyError> {
        let upstream = match issued.map(str::from_utf8) {
            Some(Ok(id)) if id.bytes().all(|byte| byte.is_ascii_graphic()) => Some(id.into()),
            Some(_) => return Err(ProxyError::BadAnswer("a session id that is not visible ASCII".to_owned())),
            None => None,
        };
        let endpoint = seat.ticket.endpoint().name.as_str().into();
        let stands_for = StandsFor::SessionId;
        let pin = SessionPin { stands_for, entry: seat.entry, endpoint, revision: seat.service.revision, upstream };
        let sealed = self.site.keys.seal_whole(&seat.service.config.name, &pin, essentials);
        let (id, is_in_id) = sealed.map_err(|too_long| ProxyError::BadAnswer(too_long.to_string()))?;
        let tally = seat.tally();
        let now = self.site.clock.now().since(Moment::default());
        tally.sessions().seen(id.as_bytes(), seat.ticket.endpoint().id, seat.service.revision, now);
        tally.note_birth();
        Ok((id, pin, is_in_id))
    }

    /// Keeps the count of live sessions. A server that does not know a session which was alive has lost
    /// it; one that was ended, or that nobody has seen alive, is the client's to have forgotten.
    fn note_use(&self, facts: &Facts, seat: &Seat, session: &HeaderValue, status: StatusCode, kind: Kind) -> Outcome {
        let sessions = seat.tally().sessions();
        let id = session.as_bytes();
        let is_unknown = status == StatusCode::NOT_FOUND;
        let is_lost = is_unknown
            && matches!(kind, Kind::Call | Kind::Message | Kind::Listen)
            && facts.pin.as_ref().is_some_and(|pin| pin.upstream.is_some())
            && sessions.knows(id);
        if facts.target.is_some() {
            // An HTTP+SSE session lives as long as its stream, which keeps its count.
        } else if is_unknown || (kind == Kind::End && status.is_success()) {
            sessions.ended(id);
            self.site.interrupted.end(id, is_lost.then_some(Outcome::Failed(Blame::Entry)));
        } else if !facts.is_left() {
            // Of one that was moved meanwhile, it is counted where it lives now.
            let born = facts.pin.as_ref().map_or(seat.service.revision, |pin| pin.revision);
            let client = facts.lodged.as_ref().map_or_else(|| Client::of_session(id), |(session, _)| session.client());
            // To the second: the last look at the clock is near enough.
            let now = self.site.clock.at(self.vigil.now()).since(Moment::default());
            sessions.saw(client, seat.ticket.endpoint().id, born, now, || self.site.clock.now().since(Moment::default()));
        }
        if is_lost { Outcome::Failed(Blame::Entry) } else { Outcome::of_status(status.as_u16()) }
    }
}
