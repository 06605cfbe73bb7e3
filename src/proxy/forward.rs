//! The page: one request, start to end.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, request};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::body::{Fault, Held, ToClient, ToEntry};
use super::error::{self, ProxyError};
use super::facts::{self, Asker, Facts, Kind};
use super::ledger::Ledger;
use super::peer::Peer;
use super::rim::{self, Permit};
use super::seat::{Search, Seat};
use super::stream::EventStream;
use super::{Stage, Worker, headers, peek};
use crate::config::ErrorShape;
use crate::domain::{Blame, Outcome};
use crate::live::ServiceView;
use crate::mcp::{SessionPin, names};
use crate::upstream::{Reply, StreamGuard, StreamKind, Trouble};

impl Worker {
    /// Answers a request, whatever happens.
    pub(super) async fn serve(self: Rc<Self>, peer: Peer, request: Request<Incoming>) -> Response<ToClient> {
        let mut asker = Asker::default();
        match self.forward(&peer, request, &mut asker).await {
            Ok(response) => response,
            Err(error) => self.refuse(&error, &asker),
        }
    }

    async fn forward(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
        asker: &mut Asker,
    ) -> Result<Response<ToClient>, ProxyError> {
        let begun = Instant::now();
        let permit = Permit::take(&self.site)?;
        let (mut head, body) = request.into_parts();
        let host = rim::check(&head, &self.site)?;
        let service = self.route(&host, &head)?;
        asker.service = Some(service.clone());
        rim::guard(&head, &host, &service.config, &self.site)?;
        let pause = self.site.limits.body_timeout;
        let body = peek::look(&head, body, service.config.traffic.peek_limit, pause).await?;
        let facts = facts::read(&head, &body, &service, peer, &self.site, asker)?;
        headers::prepare(&mut head, &service.config, &host, peer, &self.site, asker.is_mcp())?;
        let fault = Fault::default();
        let parcel = Request::from_parts(head, ToEntry::new(body, pause, &fault));
        let (seat, reply) = self.deliver(service, &facts, parcel, &fault, asker).await?;
        self.answer(&facts, seat, reply, permit, begun, asker)
    }

    fn route(&self, host: &str, head: &request::Parts) -> Result<Arc<ServiceView>, ProxyError> {
        let snapshot = self.site.reader.current();
        snapshot.route(host, head.uri.path()).cloned().ok_or(ProxyError::NoService)
    }

    /// Finds a seat and sends, and does both again where nothing can have been done twice.
    async fn deliver(
        &self,
        service: Arc<ServiceView>,
        facts: &Facts,
        mut parcel: Request<ToEntry>,
        fault: &Fault,
        asker: &mut Asker,
    ) -> Result<(Seat, Reply<ToEntry>), ProxyError> {
        let mut search = Search::default();
        let mut may_repeat = facts.repeatable;
        loop {
            let seat = self.seat(service.clone(), facts, &mut search).await?;
            asker.entry = Some(seat.entry);
            let (mut head, body) = parcel.into_parts();
            headers::address(&mut head, &service.config, seat.ticket.endpoint(), facts.pin.as_ref());
            let spare = if may_repeat { body.copy().map(|body| Request::from_parts(head.clone(), body)) } else { None };
            match self.send(&seat, Request::from_parts(head, body)).await? {
                Ok(reply) => return Ok((seat, reply)),
                // The session's state is at its endpoint and nowhere else.
                Err(Trouble::Unsent(_, cause)) if is_bound(facts) => return Err(ProxyError::Unreachable(cause)),
                Err(Trouble::Unsent(back, cause)) => {
                    tracing::debug!(endpoint = seat.ticket.endpoint().name, cause, "unreachable");
                    search.note_unreachable(&seat);
                    parcel = *back;
                }
                Err(Trouble::Lost { cause, .. }) => match (fault.get(), spare) {
                    (Some(fault), _) => return Err(fault.error()),
                    (None, Some(spare)) => {
                        may_repeat = false;
                        parcel = spare;
                    }
                    (None, None) if cause.is_parse() => return Err(ProxyError::BadAnswer(cause.to_string())),
                    (None, None) => return Err(ProxyError::Lost(cause.to_string())),
                },
            }
        }
    }

    /// Sends, within the time for the first byte and until the process parts.
    async fn send(&self, seat: &Seat, request: Request<ToEntry>) -> Result<Result<Reply<ToEntry>, Trouble<ToEntry>>, ProxyError> {
        let traffic = &seat.service.config.traffic;
        let mut stage = self.site.stage.clone();
        tokio::select! {
            biased;
            result = self.wire.send(seat.ticket.endpoint(), request, traffic.connect_timeout) => Ok(result),
            () = tokio::time::sleep(traffic.first_byte_timeout) => Err(ProxyError::TimedOut),
            _ = stage.wait_for(|stage| *stage >= Stage::Parting) => Err(ProxyError::Stopping),
        }
    }

    fn answer(
        &self,
        facts: &Facts,
        seat: Seat,
        reply: Reply<ToEntry>,
        permit: Permit,
        begun: Instant,
        asker: &mut Asker,
    ) -> Result<Response<ToClient>, ProxyError> {
        let (mut head, incoming) = reply.response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(ProxyError::BadAnswer("101, which nobody asked for".to_owned()));
        }
        let tally = seat.service.entries[seat.entry].tally.clone();
        tally.note_first_byte(begun.elapsed());
        // The version is each hop's own (RFC 9110, 2.5): an endpoint of 1.0 must not cost the client its connection.
        head.version = Version::HTTP_11;
        headers::clean_answer(&mut head.headers);
        self.seal_session(facts, &seat, head.status, &mut head.headers, asker.kind)?;
        let stream = is_event_stream(&head.headers).then(|| {
            let kind = if asker.kind == Kind::Listen { StreamKind::Listen } else { StreamKind::Call };
            let interval = seat.service.config.traffic.keep_alive;
            head.headers.remove(CONTENT_LENGTH);
            let open = StreamGuard::open(&tally, kind);
            EventStream::new(kind, interval, self.site.stage.clone(), open)
        });
        // The endpoint does not know a session that was born there: it has lost it.
        let is_lost = facts.pin.is_some() && asker.kind != Kind::End && head.status == StatusCode::NOT_FOUND;
        let outcome = if is_lost { Outcome::Failed(Blame::Entry) } else { Outcome::of_status(head.status.as_u16()) };
        tracing::debug!(
            service = seat.service.config.name, entry = %seat.entry, endpoint = seat.ticket.endpoint().name,
            why = seat.why.as_str(), kind = ?asker.kind, status = head.status.as_u16(), "request",
        );
        let pending = std::mem::take(&mut asker.pending);
        let ledger = Ledger::new(tally, begun, pending, head.status, &head.headers, outcome);
        let held =
            Held { incoming, lease: Some(reply.lease), stream, ledger, finished: false, _ticket: seat.ticket, _permit: permit };
        Ok(Response::from_parts(head, ToClient::Held(Box::new(held))))
    }

    /// The client only ever sees ids of ours: a new one is sealed on a 2xx `initialize` and nowhere
    /// else, and on every other answer the client's own stands in for the endpoint's, since one
    /// widespread client adopts whatever id it sees.
    fn seal_session(
        &self,
        facts: &Facts,
        seat: &Seat,
        status: StatusCode,
        headers: &mut HeaderMap,
        kind: Kind,
    ) -> Result<(), ProxyError> {
        let issued = headers.remove(names::SESSION_ID);
        let sessions = seat.service.entries[seat.entry].tally.sessions();
        let now = self.site.clock.now().since(crate::domain::Moment::default());
        if let Some(session) = &facts.session {
            if kind == Kind::End && (status.is_success() || status == StatusCode::NOT_FOUND) {
                sessions.ended(session.as_bytes());
            } else if status != StatusCode::NOT_FOUND {
                sessions.seen(session.as_bytes(), now);
            }
            if issued.is_some() {
                headers.insert(names::SESSION_ID, session.clone());
            }
        }
        if kind != Kind::Initialize || !status.is_success() {
            return Ok(());
        }
        let upstream = match issued.map(|id| id.to_str().map(str::to_owned)) {
            Some(Ok(id)) if id.bytes().all(|byte| byte.is_ascii_graphic()) => Some(id),
            Some(_) => return Err(ProxyError::BadAnswer("a session id that is not visible ASCII".to_owned())),
            None => None,
        };
        let endpoint = seat.ticket.endpoint().name.clone();
        let pin = SessionPin { entry: seat.entry, endpoint, revision: seat.service.revision, upstream };
        let sealed = self.site.keys.seal(&seat.service.config.name, &pin);
        let id = sealed.map_err(|too_long| ProxyError::BadAnswer(too_long.to_string()))?;
        sessions.seen(id.as_bytes(), now);
        seat.service.entries[seat.entry].tally.note_birth();
        headers.insert(names::SESSION_ID, HeaderValue::try_from(id).map_err(|error| ProxyError::BadAnswer(error.to_string()))?);
        Ok(())
    }

    /// The proxy's own answer, counted and logged.
    fn refuse(&self, error: &ProxyError, asker: &Asker) -> Response<ToClient> {
        self.count(error, asker);
        let service = asker.service.as_ref();
        tracing::debug!(
            service = service.map(|service| service.config.name.as_str()), entry = asker.entry.map(|entry| entry.as_str()),
            kind = ?asker.kind, %error, cause = error.cause(), "request not served",
        );
        let shape = service.map_or(ErrorShape::JsonRpc, |service| service.config.traffic.error_shape);
        error::answer(error, asker, shape)
    }
}

/// Whether only the endpoint of the pin will do.
fn is_bound(facts: &Facts) -> bool {
    facts.pin.as_ref().is_some_and(|pin| pin.upstream.is_some())
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().starts_with(b"text/event-stream"))
}
