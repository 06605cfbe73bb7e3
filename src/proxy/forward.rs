//! The page: one request, start to end.

use std::rc::Rc;
use std::time::Duration;

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN, VARY};
use http::{HeaderValue, StatusCode};
use tokio::time::Instant;

use super::asker::{Asker, Kind};
use super::body::{Answer, Held, ToClient};
use super::cargo::Cargo;
use super::channel::{Downstream, Posted};
use super::error::{self, ProxyError};
use super::facts::{self, Facts};
use super::handles::{Gives, Scribe};
use super::headers::Outgoing;
use super::interrupted::Thread;
use super::ledger::{Ledger, Opening};
use super::lists::{self, Learner};
use super::peek::{Came, Peeked};
use super::peer::Peer;
use super::progress::Progress;
use super::rehome::{self, Delivered, Delivery, Stay};
use super::rim::{self, Permit, Room};
use super::seat::{Search, Seat};
use super::socket::Exchange;
use super::source::Source;
use super::stalls::Order;
use super::stream::EventStream;
use super::table::Case;
use super::vigil::Post;
use super::witness::Witness;
use super::{Worker, boxed, headers, keys, oauth};
use crate::config::ErrorShape;
use crate::domain::{Era, Outcome};
use crate::http1::{Head, RequestHead};
use crate::live::LocalView;
use crate::mcp::essentials::Essentials;
use crate::upstream::{StreamGuard, StreamKind, Trouble};

/// A request whose head is in order, and whose body has been looked at as far as that serves what will become of it.
pub(super) struct Admitted {
    head: Rc<RequestHead>,
    body: Peeked,
    service: LocalView,
    room: Room,
    /// How long its client may keep an endpoint waiting for more of its body.
    pause: Duration,
}

/// What an endpoint said.
pub(super) struct Replied {
    pub(super) head: Box<Head>,
    pub(super) source: Source,
    /// Of the upload that it is an answer to.
    pub(super) progress: Option<Rc<Progress>>,
}

/// An answer that has begun, and what it is to.
struct Answered<'a> {
    /// The service as it was admitted to.
    service: &'a LocalView,
    facts: &'a Facts,
    outgoing: &'a Outgoing<'a>,
    seat: Seat,
    replied: Replied,
    stay: Option<Stay>,
    /// Of a session that is born.
    essentials: Option<Essentials>,
    permit: Permit,
    post: Rc<Post>,
}

impl Admitted {
    /// The head.
    pub(super) fn head(&self) -> &RequestHead {
        &self.head
    }

    /// Whether nothing more of it is to come.
    pub(super) fn is_whole(&self) -> bool {
        self.body.whole().is_some()
    }
}

impl Worker {
    /// Reads a request, up to where it could go somewhere.
    pub(super) async fn admit(
        &self,
        peer: &Peer,
        head: Rc<RequestHead>,
        came: Came,
        asker: &mut Asker,
    ) -> Result<Admitted, ProxyError> {
        let begun = Instant::now();
        asker.begun = Some(begun);
        let (most, pause, log) = self.tuned(|tuning| (tuning.limits.requests, tuning.limits.body_timeout, tuning.log));
        let room = self.rooms.find(most)?;
        let host = rim::check(&head, &self.site)?;
        let service = self.route(&host, &head)?;
        asker.service = Some(service.clone());
        asker.witness = Witness::begin(log, &service.config, &head.headers, begun);
        rim::guard(&head, &host, &service.config, peer)?;
        asker.origin = head.headers.get(ORIGIN).and_then(|origin| HeaderValue::from_bytes(origin).ok()).map(Box::new);
        let body = room.look(&head, came, &service, pause, self.site.sessions.have_moved()).await?;
        drop(host);
        Ok(Admitted { head, body, service, room, pause })
    }

    /// Answers a request that came whole, whatever happens.
    pub(super) async fn serve_whole(order: Order) -> Answer {
        let Order { worker, peer, head, body, post } = order;
        let mut asker = Asker::default();
        let mut admitted = worker.admit(&peer, head, Came::Whole(body), &mut asker).await;
        worker.serve(&peer, admitted.as_mut(), (None, post), &mut asker).await
    }

    /// The same, of one that was looked at before.
    pub(super) async fn serve_taken(
        &self,
        peer: &Rc<Peer>,
        mut admitted: Admitted,
        mut asker: Box<Asker>,
        post: Rc<Post>,
    ) -> Answer {
        self.serve(peer, Ok(&mut admitted), (None, post), &mut asker).await
    }

    /// Answers a request, whatever happens.
    pub(super) async fn serve(
        &self,
        peer: &Rc<Peer>,
        admitted: Result<&mut Admitted, &mut ProxyError>,
        (exchange, post): (Option<Rc<Exchange>>, Rc<Post>),
        asker: &mut Asker,
    ) -> Answer {
        let answer = match admitted {
            Ok(admitted) => self.forward(peer, admitted, exchange, post, asker).await,
            Err(error) => {
                asker.is_settled = true;
                return self.refuse(error, asker);
            }
        };
        asker.is_settled = true;
        answer.unwrap_or_else(|error| self.refuse(&error, asker))
    }

    async fn forward(
        &self,
        peer: &Rc<Peer>,
        admitted: &mut Admitted,
        exchange: Option<Rc<Exchange>>,
        post: Rc<Post>,
        asker: &mut Asker,
    ) -> Result<Answer, ProxyError> {
        let body = std::mem::take(&mut admitted.body);
        let permit = admitted.room.permit();
        let Admitted { head, service, pause, .. } = &*admitted;
        let mut facts = Facts::unknown();
        facts::read(head, &body, service, peer, &self.site, (&mut facts, asker))?;
        if service.is_watched() {
            asker.client = Some(keys::client(&facts, head, peer, &self.site));
        }
        let target = facts.target.clone();
        let mut outgoing = Outgoing::new(head, &service.config, peer, &self.site.via, target.as_deref(), asker.is_mcp())?;
        if let Some(posted) = &mut asker.posted {
            let trace = asker.witness.as_ref().and_then(|witness| witness.trace());
            posted.claim(&mut asker.pending, asker.begun.unwrap_or_else(Instant::now), trace);
        }
        let permit = permit?;
        let opening = if asker.kind == Kind::Initialize { body.whole_bytes() } else { None };
        let cargo = Cargo::new(body, *pause, exchange);
        let (facts_of, outgoing_of) = (&mut facts, &mut outgoing);
        let mut delivery =
            Delivery { service: service.clone(), facts: facts_of, outgoing: outgoing_of, cargo, post: &post, asker };
        let (seat, mut replied, stay) = match self.deliver(&mut delivery).await? {
            Delivered::Answered(seat, replied, stay) => (seat, replied, stay),
            Delivered::Said(answer) => return Ok(answer),
        };
        let essentials = match opening {
            Some(request) => boxed(|| rehome::read_birth(&mut replied, request)).await,
            None => None,
        };
        let (facts, outgoing) = (&facts, &outgoing);
        self.answer(Answered { service, facts, outgoing, seat, replied, stay, essentials, permit, post }, asker)
    }

    fn route(&self, host: &str, head: &RequestHead) -> Result<LocalView, ProxyError> {
        let path = head.uri.path();
        let found =
            self.reader.view(|snapshot| snapshot.route_to(host, oauth::subject(path)).or_else(|| snapshot.route_to(host, path)));
        found.ok_or(ProxyError::NoService)
    }

    /// To the server that has its session, or to wherever its facts say.
    async fn deliver(&self, delivery: &mut Delivery<'_, '_>) -> Result<Delivered, ProxyError> {
        if let Some((channel, session)) = delivery.asker.posted.as_deref().and_then(Posted::moving) {
            return boxed(|| self.deliver_posted(&session, &channel, delivery)).await;
        }
        match self.resident(delivery) {
            Some(resident) => self.deliver_resident(&resident, delivery).await,
            None => self.deliver_bound(delivery).await,
        }
    }

    /// Where a request may go to one place only, or has no session.
    pub(super) async fn deliver_bound(&self, delivery: &mut Delivery<'_, '_>) -> Result<Delivered, ProxyError> {
        if self.has_ended(&delivery.service, delivery.facts, delivery.asker.kind) {
            return Err(ProxyError::SessionEnded);
        }
        let (seat, replied) = self.deliver_to(delivery).await?;
        Ok(Delivered::Answered(seat, replied, None))
    }

    /// Finds a seat and sends, and does both again where nothing can have been done twice.
    pub(super) async fn deliver_to(&self, delivery: &mut Delivery<'_, '_>) -> Result<(Seat, Replied), ProxyError> {
        let Delivery { service, facts, outgoing, cargo, post, asker } = delivery;
        let (facts, outgoing): (&Facts, &Outgoing<'_>) = (facts, outgoing);
        let mut search = Search::default();
        let mut may_repeat = facts.repeatable;
        loop {
            let seat = self.seat(service.clone(), facts, &mut search).await?;
            (asker.service, asker.entry) = (Some(seat.service.clone()), Some(seat.entry));
            asker.endpoint = Some(seat.ticket.endpoint().clone());
            if let Some(witness) = &mut asker.witness {
                witness.seated(&seat, asker.era, asker.kind);
            }
            // Known where somebody watches: to look for the tally costs more than that.
            if asker.client.is_some() {
                seat.tally().note_sent(self.site.clock.at(self.vigil.now()));
            }
            let sent = match &mut *cargo {
                Cargo::Whole(body) => self.send(&seat, facts, outgoing, body, post).await?,
                Cargo::Running(upload) => boxed(|| self.send_upload(&seat, facts, outgoing, upload, post)).await?,
            };
            match sent {
                Ok(replied) => return Ok((seat, replied)),
                // The session's state is at its endpoint and nowhere else.
                Err(Trouble::Unsent(cause)) if facts.only(seat.entry, &seat.service.entries[seat.entry]).is_some() => {
                    seat.ticket.endpoint().note_failure();
                    if let Some(led) = &facts.handle {
                        led.note_unreachable(&seat.service, &self.site);
                    }
                    return Err(ProxyError::Unreachable(cause));
                }
                Err(Trouble::Unsent(cause)) => {
                    tracing::debug!(endpoint = seat.ticket.endpoint().name, cause, "unreachable");
                    seat.ticket.endpoint().note_failure();
                    search.note_unreachable(&seat);
                }
                Err(Trouble::Lost { cause, heard }) => {
                    if let Some(fault) = cargo.fault() {
                        return Err(fault.error());
                    }
                    seat.ticket.endpoint().note_failure();
                    match cause {
                        cause if cause.is_parse() => return Err(ProxyError::BadAnswer(cause.to_string())),
                        _ if may_repeat && !heard && cargo.is_whole() => may_repeat = false,
                        cause => return Err(ProxyError::Lost(cause.to_string())),
                    }
                }
            }
        }
    }

    fn answer(&self, answered: Answered<'_>, asker: &mut Asker) -> Result<Answer, ProxyError> {
        let Answered { service, facts, outgoing, seat, replied, stay, essentials, permit, post } = answered;
        let Replied { mut head, source, progress } = replied;
        if head.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(ProxyError::BadAnswer("101, which nobody asked for".to_owned()));
        }
        let came = asker.elapsed();
        seat.tally().note_first_byte(came);
        let at_once = source.is_here().then_some(came);
        headers::clean_answer(&mut head);
        let outcome = self.seal_session(facts, &seat, &mut head, asker.kind, (essentials, outgoing))?;
        let stream = is_event_stream(&head).then(|| event_stream(&mut head, &seat, facts, post, asker.case()));
        let clamp = lists::clamp(facts.lists, &head, &seat.service);
        let may_be_channel = facts.opens && stream.is_some();
        let downstream = if may_be_channel { Downstream::begin(self, (&seat, &head), (outgoing, service))? } else { None };
        let mut ledger = self.ledger(facts, &seat, &head, (outcome, at_once), stream.as_ref().map(EventStream::kind), asker);
        let patience = seat.service.config.traffic.first_byte_timeout;
        let (source, ticket) = match stay {
            None => (source, Some(seat.ticket)),
            Some(stay) => self.lodge(stay, (facts, outgoing), (source, seat), &mut ledger, stream.as_ref()),
        };
        let held = Held {
            source,
            stream,
            downstream,
            clamp,
            ledger,
            finished: false,
            progress,
            patience,
            _ticket: ticket,
            _permit: permit,
        };
        Ok(Answer { head, body: ToClient::Held(Box::new(held)) })
    }

    /// What the answer is booked by.
    fn ledger(
        &self,
        facts: &Facts,
        seat: &Seat,
        head: &Head,
        (outcome, at_once): (Outcome, Option<Duration>),
        stream: Option<StreamKind>,
        asker: &mut Asker,
    ) -> Ledger {
        if let Some(posted) = &mut asker.posted {
            posted.settle(head.status(), &mut asker.pending);
        }
        let session = facts.session.as_ref().filter(|_| facts.target.is_none());
        let thread = stream.zip(session).map(|(kind, session)| Box::new(Thread::of(&self.site, session, kind)));
        let witness = asker.witness.take().map(|witness| witness.answered(head.status()));
        let opening = Opening {
            tally: seat.tally().clone(),
            // Nothing goes wrong any more that would have to name it.
            endpoint: asker.endpoint.take().unwrap_or_else(|| seat.ticket.endpoint().clone()),
            client: asker.client,
            begun: asker.begun.unwrap_or_else(Instant::now),
            at_once,
            era: asker.era,
            is_booked_elsewhere: asker.is_booked_elsewhere(),
            pending: std::mem::take(&mut asker.pending),
            outcome,
            scribe: self.scribe(facts, seat, asker.gives, head),
            is_subscription: asker.kind == Kind::Subscribe,
            stream,
            thread,
            witness,
            reads_answers: self.site.reads_answers,
        };
        Ledger::new(opening, head)
    }

    fn scribe(&self, facts: &Facts, seat: &Seat, gives: Gives, head: &Head) -> Option<Box<Scribe>> {
        let key = facts.key.filter(|_| facts.era == Some(Era::Modern))?;
        let service = &seat.service;
        let pin = service.entries[seat.entry].pin(seat.entry, seat.ticket.endpoint());
        let lease = if facts.lists { service.config.affinity.list_lease } else { Duration::ZERO };
        // What a version lists that is leaving is of no use any more.
        let turn = facts.turn.filter(|_| self.site.reads_answers && service.entries[seat.entry].made(&pin));
        let learner = turn.and_then(|turn| Learner::new(head, service, pin, key, turn));
        Some(Box::new(Scribe { site: self.site.clone(), pins: service.pins.clone(), key, pin, gives, lease, learner }))
    }

    /// The proxy's own answer, counted and logged.
    fn refuse(&self, error: &ProxyError, asker: &mut Asker) -> Answer {
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
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, *origin);
            response.headers_mut().insert(VARY, HeaderValue::from_static("origin"));
        }
        match asker.witness.take() {
            Some(witness) => witness.refused(error, response.status(), asker),
            None => tracing::debug!(%error, status = response.status().as_u16(), "request of no service"),
        }
        let (parts, words) = response.into_parts();
        Answer { head: Box::new(Head::from(&parts)), body: ToClient::Own(words) }
    }
}

fn event_stream(head: &mut Head, seat: &Seat, facts: &Facts, post: Rc<Post>, case: Case) -> EventStream {
    let kind = if matches!(case.kind, Kind::Listen | Kind::Subscribe) { StreamKind::Listen } else { StreamKind::Call };
    let interval = seat.service.config.traffic.keep_alive;
    head.remove("content-length");
    let open = StreamGuard::open(seat.tally(), kind);
    let guest = if kind == StreamKind::Listen { seat.guest_that_listens(facts) } else { seat.guest(facts) };
    EventStream::new(case, headers::is_encoded(head), interval, post, seat.ticket.endpoint(), open, guest)
}

/// Whether there is a stream of events. Into an answer that has no content nothing of ours is written either.
fn is_event_stream(head: &Head) -> bool {
    let has_none = matches!(head.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    !has_none && head.is_event_stream()
}
