//! The page: one request, start to end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, VARY};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, request, response};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::body::{Held, ToClient, ToEntry};
use super::channel::Downstream;
use super::error::{self, ProxyError};
use super::facts::{self, Asker, Facts, Kind};
use super::handles::{Gives, Scribe};
use super::interrupted::Thread;
use super::ledger::{Ledger, Opening};
use super::peer::Peer;
use super::progress::Progress;
use super::rim::{self, Permit, Room};
use super::seat::{Search, Seat};
use super::socket::Exchange;
use super::stream::EventStream;
use super::table::Case;
use super::witness::Witness;
use super::{Stage, Worker, headers, oauth};
use crate::config::ErrorShape;
use crate::domain::{Era, Outcome};
use crate::live::ServiceView;
use crate::upstream::{Reply, StreamGuard, StreamKind, Trouble};

/// What an answer takes over from its request.
struct Holding {
    permit: Permit,
    progress: Rc<Progress>,
}

type Sent = Result<Reply<ToEntry>, Trouble<ToEntry>>;

impl Worker {
    /// Answers a request, whatever happens.
    pub(super) async fn serve(
        self: Rc<Self>,
        peer: Peer,
        request: Request<Incoming>,
        exchange: Rc<Exchange>,
    ) -> Response<ToClient> {
        let mut asker = Asker::default();
        let version = request.version();
        let answer = self.forward(&peer, request, exchange, &mut asker).await;
        asker.is_settled = true;
        let mut response = match answer {
            Ok(response) => response,
            Err(error) => self.refuse(&error, &mut asker),
        };
        if version == Version::HTTP_2 {
            // What ends a connection of HTTP/1 is for one stream here (RFC 9113, 8.2.2).
            response.headers_mut().remove(CONNECTION);
        }
        response
    }

    async fn forward(
        &self,
        peer: &Peer,
        request: Request<Incoming>,
        exchange: Rc<Exchange>,
        asker: &mut Asker,
    ) -> Result<Response<ToClient>, ProxyError> {
        let begun = Instant::now();
        asker.begun = Some(begun);
        let room = Room::find(&self.site)?;
        let (mut head, body) = request.into_parts();
        let host = rim::check(&head, &self.site)?;
        let service = self.route(&host, &head)?;
        asker.service = Some(service.clone());
        asker.witness = Witness::begin(&self.site, &service.config, &head.headers, begun);
        rim::guard(&head, &host, &service.config, peer)?;
        asker.origin = head.headers.get(ORIGIN).cloned();
        let pause = self.site.tuning().limits.body_timeout;
        let body = room.look(&head, body, &service, pause).await?;
        let facts = facts::read(&head, &body, &service, peer, &self.site, asker)?;
        headers::prepare(&mut head, &service.config, &host, peer, &self.site, asker.is_mcp())?;
        if let Some(target) = &facts.target {
            head.uri = target.clone();
        }
        if let Some(posted) = &mut asker.posted {
            let trace = asker.witness.as_ref().and_then(|witness| witness.trace());
            posted.claim(&mut asker.pending, begun, trace);
        }
        let permit = room.permit()?;
        let (body, progress) = ToEntry::new(body, pause, exchange);
        headers::frame(&mut head, &body);
        let parcel = Request::from_parts(head, body);
        let (seat, reply) = self.deliver(service, &facts, parcel, &progress, asker).await?;
        self.answer(&facts, seat, reply, Holding { permit, progress }, asker)
    }

    fn route(&self, host: &str, head: &request::Parts) -> Result<Arc<ServiceView>, ProxyError> {
        let snapshot = self.site.reader.current();
        let path = head.uri.path();
        let found = snapshot.route(host, oauth::subject(path)).or_else(|| snapshot.route(host, path));
        found.cloned().ok_or(ProxyError::NoService)
    }

    /// Finds a seat and sends, and does both again where nothing can have been done twice.
    async fn deliver(
        &self,
        service: Arc<ServiceView>,
        facts: &Facts,
        mut parcel: Request<ToEntry>,
        progress: &Progress,
        asker: &mut Asker,
    ) -> Result<(Seat, Reply<ToEntry>), ProxyError> {
        let mut search = Search::default();
        let mut may_repeat = facts.repeatable;
        loop {
            let seat = self.seat(service.clone(), facts, &mut search).await?;
            (asker.service, asker.entry) = (Some(seat.service.clone()), Some(seat.entry));
            asker.endpoint = Some(seat.ticket.endpoint().clone());
            if let Some(witness) = &mut asker.witness {
                witness.seated(&seat, asker.era, asker.kind);
            }
            let (mut head, body) = parcel.into_parts();
            headers::address(&mut head, &service.config, seat.ticket.endpoint(), facts.pin.as_ref());
            let spare = if may_repeat { body.copy().map(|body| Request::from_parts(head.clone(), body)) } else { None };
            match self.send(&seat, Request::from_parts(head, body), progress).await? {
                Ok(reply) => return Ok((seat, reply)),
                // The session's state is at its endpoint and nowhere else.
                Err(Trouble::Unsent(_, cause)) if facts.only(seat.entry, &seat.service.entries[seat.entry]).is_some() => {
                    seat.ticket.endpoint().note_failure();
                    return Err(ProxyError::Unreachable(cause));
                }
                Err(Trouble::Unsent(back, cause)) => {
                    tracing::debug!(endpoint = seat.ticket.endpoint().name, cause, "unreachable");
                    seat.ticket.endpoint().note_failure();
                    search.note_unreachable(&seat);
                    parcel = *back;
                }
                Err(Trouble::Lost { cause, heard }) => {
                    if let Some(fault) = progress.fault() {
                        return Err(fault.error());
                    }
                    seat.ticket.endpoint().note_failure();
                    match spare {
                        _ if cause.is_parse() => return Err(ProxyError::BadAnswer(cause.to_string())),
                        Some(spare) if !heard => {
                            may_repeat = false;
                            parcel = spare;
                        }
                        _ => return Err(ProxyError::Lost(cause.to_string())),
                    }
                }
            }
        }
    }

    /// Sends. The time for the first byte runs from the end of the upload, which has a clock of its own;
    /// and nobody waits for an endpoint that has fallen silent, or beyond the end of the process.
    async fn send(&self, seat: &Seat, request: Request<ToEntry>, progress: &Progress) -> Result<Sent, ProxyError> {
        let traffic = &seat.service.config.traffic;
        let endpoint = seat.ticket.endpoint();
        let (mut stage, mut silent) = (self.site.stage.clone(), endpoint.silent.subscribe());
        let late = async {
            tokio::select! {
                () = async {
                    progress.done().await;
                    tokio::time::sleep(traffic.first_byte_timeout).await;
                } => {}
                // And an endpoint that takes no more of an upload has no longer either.
                () = progress.stalled(traffic.first_byte_timeout) => {}
            }
        };
        tokio::select! {
            biased;
            result = self.wire.send(endpoint, request, traffic.connect_timeout) => Ok(result),
            () = late => {
                endpoint.note_failure();
                Err(ProxyError::TimedOut)
            }
            _ = silent.wait_for(|silent| *silent) => Err(ProxyError::Silent),
            _ = stage.wait_for(|stage| *stage >= Stage::Parting) => Err(ProxyError::Stopping),
        }
    }

    fn answer(
        &self,
        facts: &Facts,
        seat: Seat,
        reply: Reply<ToEntry>,
        rest: Holding,
        asker: &mut Asker,
    ) -> Result<Response<ToClient>, ProxyError> {
        let (mut head, incoming) = reply.response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(ProxyError::BadAnswer("101, which nobody asked for".to_owned()));
        }
        let tally = seat.tally().clone();
        let Holding { permit, progress } = rest;
        tally.note_first_byte(asker.elapsed());
        // The version is each hop's own (RFC 9110, 2.5): an endpoint of 1.0 must not cost the client its connection.
        head.version = Version::HTTP_11;
        headers::clean_answer(&mut head.headers);
        let outcome = self.seal_session(facts, &seat, head.status, &mut head.headers, asker.kind)?;
        let stream = is_event_stream(&head.headers).then(|| self.event_stream(&mut head.headers, &seat, asker.case()));
        let opens = facts.opens.as_ref().filter(|_| stream.is_some());
        let downstream = opens.map(|opens| Downstream::begin(&self.site, opens, &seat, &head)).transpose()?.flatten();
        let ledger = self.ledger(facts, &seat, &head, outcome, stream.as_ref().map(EventStream::kind), asker);
        let lease = Some(reply.lease);
        let held = Held {
            incoming,
            lease,
            stream,
            downstream,
            ledger,
            finished: false,
            progress,
            patience: seat.service.config.traffic.first_byte_timeout,
            _ticket: seat.ticket,
            _permit: permit,
        };
        Ok(Response::from_parts(head, ToClient::held(held)))
    }

    fn event_stream(&self, headers: &mut HeaderMap, seat: &Seat, case: Case) -> EventStream {
        let kind = if matches!(case.kind, Kind::Listen | Kind::Subscribe) { StreamKind::Listen } else { StreamKind::Call };
        let interval = seat.service.config.traffic.keep_alive;
        headers.remove(CONTENT_LENGTH);
        let is_encoded = headers::is_encoded(headers);
        let open = StreamGuard::open(seat.tally(), kind);
        let silent = seat.ticket.endpoint().silent.subscribe();
        EventStream::new(case, is_encoded, interval, self.site.stage.clone(), silent, open)
    }

    /// What the answer is booked by.
    fn ledger(
        &self,
        facts: &Facts,
        seat: &Seat,
        head: &response::Parts,
        outcome: Outcome,
        stream: Option<StreamKind>,
        asker: &mut Asker,
    ) -> Ledger {
        if let Some(posted) = &mut asker.posted {
            posted.settle(head.status, &mut asker.pending);
        }
        let session = facts.session.as_ref().filter(|_| facts.target.is_none());
        let thread = stream.zip(session).map(|(kind, session)| Thread::of(&self.site, session, kind));
        let witness = asker.witness.take().map(|witness| witness.answered(head.status));
        let opening = Opening {
            tally: seat.tally().clone(),
            endpoint: seat.ticket.endpoint().clone(),
            begun: asker.begun.unwrap_or_else(Instant::now),
            era: asker.era,
            is_booked_elsewhere: asker.is_booked_elsewhere(),
            pending: std::mem::take(&mut asker.pending),
            outcome,
            scribe: self.scribe(facts, seat, asker.gives),
            is_subscription: asker.kind == Kind::Subscribe,
            stream,
            thread,
            witness,
            reads_answers: self.site.reads_answers,
        };
        Ledger::new(opening, head)
    }

    fn scribe(&self, facts: &Facts, seat: &Seat, gives: Gives) -> Option<Scribe> {
        let key = facts.key.filter(|_| facts.era == Some(Era::Modern))?;
        let service = &seat.service;
        let pin = service.entries[seat.entry].pin(seat.entry, &seat.ticket.endpoint().name);
        let lease = if facts.lists { service.config.affinity.list_lease } else { Duration::ZERO };
        Some(Scribe { site: self.site.clone(), pins: service.pins.clone(), key, pin, gives, lease })
    }

    /// The proxy's own answer, counted and logged.
    fn refuse(&self, error: &ProxyError, asker: &mut Asker) -> Response<ToClient> {
        if let Some(posted) = &mut asker.posted {
            posted.take_back(&mut asker.pending);
        }
        self.count(error, asker);
        let shape = asker.service.as_ref().map_or(ErrorShape::JsonRpc, |service| service.config.traffic.error_shape);
        let posted = asker.posted.as_ref().filter(|_| error::is_told_on_stream(error, asker, shape));
        let mut response = match posted {
            Some(posted) if posted.tell(&asker.pending, error) => error::accepted(),
            _ => error::answer(error, asker, shape),
        };
        // A page that may not read the answer takes it for a broken network, and gives up.
        if let Some(origin) = asker.origin.take() {
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            response.headers_mut().insert(VARY, HeaderValue::from_static("origin"));
        }
        match asker.witness.take() {
            Some(witness) => witness.refused(error, response.status(), asker),
            None => tracing::debug!(%error, status = response.status().as_u16(), "request of no service"),
        }
        response
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().starts_with(b"text/event-stream"))
}
