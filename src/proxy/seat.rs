//! From facts to a seat at an endpoint: snapshot, decision, ticket.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::error::ProxyError;
use super::facts::Facts;
use super::vigil::Guest;
use super::{Stage, Worker, boxed, lists};
use crate::domain::{Asked, Choice, Entry, Standing, Unseated, Why};
use crate::live::{EndpointView, EntryView, LocalView, ServiceView};
use crate::upstream::{Client, EntryTally, Ticket};

/// New clients wait at most so long for the first checks after a start.
const START_WAIT: Duration = Duration::from_secs(1);

/// A place at an endpoint.
pub(super) struct Seat {
    /// The service as it was when the seat was taken.
    pub(super) service: LocalView,
    /// The entry.
    pub(super) entry: Entry,
    /// Why this one.
    pub(super) why: Why,
    /// The right to be there.
    pub(super) ticket: Ticket,
}

impl Seat {
    /// Where what happens here is booked.
    pub(super) fn tally(&self) -> &Arc<EntryTally> {
        self.service.entries[self.entry].tally_at(Some(self.ticket.endpoint()))
    }

    /// What is said to a server is there for as long as its entry keeps what it has. What is no MCP has no client to tell.
    pub(super) fn guest(&self, facts: &Facts) -> Option<Guest> {
        let born = facts.pin.as_ref().map_or(self.service.revision, |pin| pin.revision);
        facts.era.map(|_| Guest { endpoint: self.ticket.endpoint().id, born, client: None, stays: None })
    }

    /// The same of a stream that only listens: it leaves when its client does.
    pub(super) fn guest_that_listens(&self, facts: &Facts) -> Option<Guest> {
        let session = facts.session.as_ref().map(|session| Client::of_session(session.as_bytes()));
        let client = session.or_else(|| facts.key.map(Client::of_key));
        // A stream that opens a session is that one's, which is not known yet.
        self.guest(facts).map(|guest| Guest { client: client.filter(|_| !facts.opens), ..guest })
    }
}

/// What has been tried for one request. The choice of the entry is made once, so that a second try
/// does not use up a second birth.
#[derive(Default)]
pub(super) struct Search {
    choice: Option<Choice>,
    tried: Vec<u64>,
    failed_over: bool,
}

impl Search {
    /// Notes an endpoint that could not be reached.
    pub(super) fn note_unreachable(&mut self, seat: &Seat) {
        self.tried.push(seat.ticket.endpoint().id);
    }
}

impl Worker {
    /// A seat for the request, at an endpoint that has not been tried yet.
    pub(super) async fn seat(&self, service: LocalView, facts: &Facts, search: &mut Search) -> Result<Seat, ProxyError> {
        let mut service = self.started(service, facts).await?;
        loop {
            let choice = match search.choice {
                Some(choice) => choice,
                None => {
                    facts.handle.as_ref().map_or(Ok(()), |led| led.check(&service, &self.site))?;
                    let next_birth = || facts.births(&service).fetch_add(1, Ordering::Relaxed);
                    if facts.asks_era && !matches!(facts.asked, Asked::Tester(_)) && !service.scene.offers_modern {
                        return Err(ProxyError::NotModern);
                    }
                    let chosen = service.scene.decide(facts.asks(&service), facts.era, next_birth);
                    let chosen = chosen.map_err(|unseated| match unseated {
                        Unseated::Unusable(entry) => ProxyError::NothingUsable(entry),
                        Unseated::NotModern => ProxyError::NotModern,
                    })?;
                    lists::note_choice(chosen, &service);
                    *search.choice.insert(chosen)
                }
            };
            let Choice { entry, why } = self.choose_endpoint_side(&service, facts, search, choice)?;
            let view = &service.entries[entry];
            let found = self.find_endpoint(view, facts, search, entry)?;
            if let Some(ticket) = Ticket::take(&found.endpoint) {
                return Ok(Seat { service, entry, why, ticket });
            }
            // The gate has closed since the snapshot was made: the endpoint is being replaced, and
            // the snapshot that knows is in force already, as gates are closed after a publish.
            let newer = self.latest(&service)?;
            if newer.is(&service) {
                return Err(ProxyError::NothingUsable(entry));
            }
            service = newer;
        }
    }

    /// The entry of the choice, or the other one when every endpoint of it has been tried in vain.
    fn choose_endpoint_side(
        &self,
        service: &ServiceView,
        facts: &Facts,
        search: &mut Search,
        choice: Choice,
    ) -> Result<Choice, ProxyError> {
        let is_bound = facts.pin.as_ref().is_some_and(|pin| pin.upstream.is_some())
            || facts.only(choice.entry, &service.entries[choice.entry]).is_some()
            || choice.why == Why::Tester;
        if is_bound {
            return Ok(choice);
        }
        let best_left = |entry: Entry| service.entries[entry].best(&search.tried);
        let other = choice.entry.other();
        // The checks may not know yet what this request has just learnt, so an entry whose every
        // endpoint was tried in vain is done with; of the other, the checks' word is taken. A session
        // that its server knows nothing of still keeps its version until that is proven down.
        let settled = facts.pin.is_none() || service.scene.standing[choice.entry] == Standing::Down;
        let speaks = facts.era.is_none_or(|era| service.scene.serves[other].may_serve(era));
        let open = settled && speaks && service.scene.failover && !service.scene.condemned[other] && !search.failed_over;
        let open = open && best_left(other).is_some_and(|standing| standing != Standing::Down);
        let left = best_left(choice.entry);
        // Endpoints known to be down are tried when there is nobody else.
        let is_worth_trying = left.is_some_and(|standing| standing != Standing::Down || !open || search.tried.is_empty());
        if is_worth_trying {
            return Ok(choice);
        }
        if !open {
            return Err(ProxyError::NothingUsable(choice.entry));
        }
        search.failed_over = true;
        Ok(*search.choice.insert(Choice { entry: other, why: Why::Failover }))
    }

    fn find_endpoint<'a>(
        &self,
        view: &'a EntryView,
        facts: &Facts,
        search: &Search,
        entry: Entry,
    ) -> Result<&'a EndpointView, ProxyError> {
        if let Some(only) = facts.only(entry, view) {
            // What is sent to one that answers no checks waits for nothing, and this one can be had elsewhere.
            if only.standing == Standing::Down && facts.lodged.is_some() && *only.endpoint.silent.borrow() {
                return Err(ProxyError::Unreachable("its checks get no answer".to_owned()));
            }
            return Ok(only);
        }
        if let Some(pin) = facts.pin.as_ref().filter(|pin| pin.entry == entry) {
            match view.named(&pin.endpoint) {
                Some(found) if found.standing != Standing::Down && !search.tried.contains(&found.endpoint.id) => {
                    return Ok(found);
                }
                // The server keeps nothing of this session: any endpoint of its version will do.
                Some(_) | None if pin.upstream.is_none() => {}
                // Not lost, as long as its endpoint may still turn up.
                None if view.awaits(&pin.endpoint) => return Err(ProxyError::NothingUsable(entry)),
                Some(_) | None => return Err(ProxyError::SessionLost),
            }
        }
        // Only who has no key takes a turn: the others would use up the turns of the first.
        let turn = if facts.key.is_none() { self.next_turn() } else { 0 };
        view.pick(facts.key, &search.tried, turn).ok_or(ProxyError::NothingUsable(entry))
    }

    /// The service as it is now; during a start, once it is known whether the entry that is meant can
    /// be used, or where the instance of a session or a word is.
    async fn started(&self, service: LocalView, facts: &Facts) -> Result<LocalView, ProxyError> {
        let must_wait = |service: &ServiceView| {
            if let Some(pin) = &facts.pin {
                return service.entries[pin.entry].awaits(&pin.endpoint);
            }
            if let Some(led) = &facts.handle
                && service.entries[led.pin.entry].awaits_pinned(&led.pin)
            {
                return true;
            }
            let meant = service.scene.meant(facts.asks(service), facts.births(service).load(Ordering::Relaxed));
            let unknown = |entry: Entry| service.scene.standing[entry] == Standing::Unknown;
            // Which era is offered depends on both, and so does who speaks the client's.
            let is_foreign = facts.era.is_some_and(|era| !service.scene.serves[meant].may_serve(era));
            service.starting && (unknown(meant) || ((facts.asks_era || is_foreign) && unknown(meant.other())))
        };
        let service = self.latest(&service)?;
        if !must_wait(&service) {
            return Ok(service);
        }
        boxed(|| self.start(service, must_wait)).await
    }

    /// Waits until it need not be waited for.
    async fn start(&self, service: LocalView, must_wait: impl Fn(&ServiceView) -> bool) -> Result<LocalView, ProxyError> {
        let mut changes = self.site.reader.changes();
        let mut stage = self.site.stage.clone();
        let deadline = tokio::time::Instant::now() + START_WAIT;
        loop {
            let service = self.latest(&service)?;
            if !must_wait(&service) {
                return Ok(service);
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return Ok(service) },
                _ = stage.wait_for(|stage| *stage >= Stage::Parting) => return Err(ProxyError::Stopping),
                () = tokio::time::sleep_until(deadline) => return Ok(service),
            }
        }
    }

    pub(super) fn latest(&self, service: &LocalView) -> Result<LocalView, ProxyError> {
        self.reader.latest(service).ok_or(ProxyError::NoService)
    }
}
