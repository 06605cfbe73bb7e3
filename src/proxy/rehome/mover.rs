//! Moving a session: who may, where to, and what becomes of those who wait.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::ask::{Voice, Within};
use super::letterhead::Letterhead;
use super::replay::{self, Recipe, Refusal};
use super::resident::Session;
use super::sse::Dial;
use super::stay::Moving;
use crate::domain::rehome::{Epoch, Start};
use crate::domain::{Entry, Era, Eviction, Moment, Share, Standing};
use crate::http1::Head;
use crate::live::{EndpointView, LocalView, ServiceView};
use crate::mcp::{SessionPin, StandsFor};
use crate::proxy::{Stage, Worker};
use crate::upstream::rehomed::{Moving as Reason, Rehomed};
use crate::upstream::{Endpoint, Ticket};

/// Between two looks for a server while a request is held.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The session's own streams have so long to be opened at the new server, before it is moved without them.
const STREAMS_WITHIN: Duration = Duration::from_secs(2);

/// A planned move waits so long for another one of the same session.
const BUSY_WITHIN: Duration = Duration::from_secs(5);

/// And so long for its turn, where it can wait.
const TURN_WITHIN: Duration = Duration::from_secs(60);

/// All of a handshake, at most; while a request waits for it, less.
const HANDSHAKE: Duration = Duration::from_secs(5);
const HANDSHAKE_OF_LOST: Duration = Duration::from_secs(2);

/// Who looks for the last time waits so long for its turn, beyond the time that it is held.
const LAST_TURN: Duration = Duration::from_secs(2);

/// Endpoints of an entry that are tried in one look.
const MOST_TRIED: usize = 3;

/// Why a session is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Why {
    /// Its server is gone, or knows it no more.
    Lost,
    /// Its entry is to be left.
    Leaves {
        /// Also where its client may notice.
        forced: bool,
        /// Whether it can wait for its turn; else it is moved another time.
        waits: bool,
    },
}

/// What it takes.
pub(super) struct Wanted {
    /// Away from here.
    pub(super) seen: Epoch,
    pub(super) from: SessionPin,
    pub(super) why: Why,
    /// Whether a server is there, and has only lost the session.
    pub(super) has_spoken: bool,
    pub(super) letterhead: Arc<Letterhead>,
    pub(super) recipe: Recipe,
    /// Where what was opened is left, of an HTTP+SSE session.
    pub(super) dial: Option<Rc<Dial>>,
}

/// Why it was not moved.
#[derive(Debug, Error)]
pub(in crate::proxy) enum NotMoved {
    /// Its client has ended it.
    #[error("it has ended")]
    Over,
    /// It was tried a moment ago.
    #[error("it was tried a moment ago")]
    BackedOff,
    /// It is not its turn.
    #[error("too many sessions are being moved there")]
    NoTurn,
    /// Nobody could take it.
    #[error("nobody takes it: {0}")]
    NobodyThere(String),
    /// It must not be, as its client might notice.
    #[error("{0}")]
    Refused(String),
    /// The client's credential is not taken there.
    #[error("its credential is not taken: {}", .0.status())]
    Credential(Box<Head>),
}

/// Where a session may go.
pub(super) struct Target {
    pub(super) entry: Entry,
    pub(super) endpoint: Arc<Endpoint>,
}

impl Worker {
    /// Moves a session away from where it was seen; one move of it at a time. Where somebody else has moved it meanwhile, that
    /// is as good.
    pub(super) async fn rehome(&self, session: &Arc<Session>, wanted: &Wanted, service: LocalView) -> Result<(), NotMoved> {
        let begun = Instant::now();
        let deadline = begun + if wanted.why == Why::Lost { service.config.sessions.hold } else { BUSY_WITHIN };
        // Before the session is taken: who has to wait for long must not be in the way of its requests.
        if let Why::Leaves { waits, .. } = wanted.why {
            self.turn_to_leave(&service, wanted, waits).await?;
        }
        let moving = loop {
            match session.start_move(wanted.seen) {
                Ok(moving) => break moving,
                Err(Start::Done) => return Ok(()),
                Err(Start::Over) => return Err(NotMoved::Over),
                Err(Start::Busy | Start::Go) => {
                    let settled = session.changes(|| !session.state().residence.is_moving());
                    let waited = tokio::time::timeout_at(deadline, settled).await;
                    waited.map_err(|_| NotMoved::NobodyThere("somebody else's move takes its time".to_owned()))?;
                }
            }
        };
        if wanted.why == Why::Lost && session.backs_off(wanted.has_spoken) {
            moving.abandon(false);
            return Err(NotMoved::BackedOff);
        }
        let moved = self.look_for_a_place(session, moving, wanted, service, deadline).await;
        let from = &*wanted.from.endpoint;
        match &moved {
            Ok(to) => tracing::debug!(from, to = to.endpoint.name, after = ?begun.elapsed(), "a session was moved"),
            Err(why) => tracing::debug!(from, %why, "a session was not moved"),
        }
        self.note(session, wanted, &moved);
        moved.map(|_| ())
    }

    fn note(&self, session: &Session, wanted: &Wanted, moved: &Result<Target, NotMoved>) {
        let from = wanted.from.entry;
        let (why, likely) = match wanted.why {
            Why::Lost => (Reason::Loss, from),
            Why::Leaves { .. } => (Reason::Departure, from.other()),
        };
        let (to, result) = match moved {
            Ok(to) => (to.entry, Rehomed::Moved),
            Err(NotMoved::Refused(_) | NotMoved::Credential(_)) => (likely, Rehomed::Refused),
            Err(NotMoved::NobodyThere(_)) => (likely, Rehomed::Failed),
            Err(NotMoved::Over | NotMoved::BackedOff | NotMoved::NoTurn) => return,
        };
        let view = self.reader.named(session.service());
        view.into_iter().for_each(|service| service.entries[from].tally.note_rehomed(to, why, result));
    }

    /// Looks again and again where its server is lost, as that may be coming up; once where it is only to leave.
    async fn look_for_a_place(
        &self,
        session: &Arc<Session>,
        moving: Moving,
        wanted: &Wanted,
        service: LocalView,
        deadline: Instant,
    ) -> Result<Target, NotMoved> {
        let mut service = service;
        let mut why = NotMoved::NobodyThere("no endpoint may take it".to_owned());
        // Who only has not had its turn may wait for it again at once.
        let mut has_waited = false;
        loop {
            // One that is not there now may be there in a moment, whatever the others say.
            let mut may_come = false;
            let is_last = Instant::now() + LOOK_AGAIN > deadline;
            let until = if is_last { deadline + LAST_TURN } else { deadline };
            for target in self.targets(&service, wanted, is_last) {
                let sessions = &self.site.sessions;
                let rate = service.config.sessions.handshakes_per_second;
                let id = target.endpoint.id;
                if wanted.why == Why::Lost && (sessions.pace.has_refused(id) || !sessions.pace.turn(id, rate, until).await) {
                    (may_come, has_waited) = (true, !sessions.pace.has_refused(id));
                    why = NotMoved::NobodyThere("it cannot be reached, or too many sessions are being moved there".to_owned());
                    continue;
                }
                match self.open_at(session, &service, &target, wanted).await {
                    Ok(place) => {
                        self.settle(session, moving, wanted, &service, &target, place).await?;
                        return Ok(target);
                    }
                    Err(refused) => {
                        may_come |= matches!(refused, NotMoved::NobodyThere(_));
                        if !may_come || !matches!(refused, NotMoved::Refused(_)) {
                            why = refused;
                        }
                    }
                }
                if wanted.why == Why::Lost && Instant::now() > until {
                    break;
                }
            }
            let is_final = wanted.why != Why::Lost || (!may_come && !matches!(why, NotMoved::NobodyThere(_)));
            if is_final || is_last || self.vigil.stage() >= Stage::Parting {
                moving.abandon(!has_waited);
                return Err(why);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            service = self.latest(&service).map_err(|_| NotMoved::NobodyThere("its service is configured no more".to_owned()))?;
        }
    }

    /// Where it may go, the likeliest first; `is_last`: it will not be looked again. Back to where it was, where that has only
    /// been started anew; then to others of its version, and then to the other version.
    fn targets(&self, service: &ServiceView, wanted: &Wanted, is_last: bool) -> Vec<Target> {
        let from = &wanted.from;
        let (own, other) = (from.entry, from.entry.other());
        let speaks = |entry: Entry| service.scene.serves[entry].may_serve(Era::Legacy);
        let mut found = Vec::new();
        let now = self.site.clock.now();
        let leaves = |eviction: Eviction| eviction.concerns(from.revision) && now >= eviction.from;
        let is_left = service.evictions[own].is_some_and(leaves);
        // One whose checks get no answer is asked when nobody else is there, and one that hangs not at all.
        let same = self.same(service, from);
        let (is_up, hangs) =
            same.as_ref().map_or((false, false), |(view, _)| (view.standing != Standing::Down, *view.endpoint.silent.borrow()));
        let mut same = same.map(|(_, target)| target).filter(|_| !hangs);
        if wanted.why == Why::Lost {
            if !is_left || service.evictions[other].is_some_and(|eviction| now >= eviction.from) {
                found.extend(same.take_if(|_| is_up || is_known_down(service, other)));
                found.extend(self.best_of(service, own, &from.endpoint));
            }
            // A server that is only being started anew takes nobody to a version that is given no clients.
            let is_given_none = service.scene.split.share(other) == Share::NONE && service.scene.stable != other;
            let is_time = !is_given_none || is_left || is_last || is_known_down(service, own);
            let may_change = (service.scene.failover || is_left) && is_time;
            if may_change && !service.scene.condemned[other] && speaks(other) {
                found.extend(self.best_of(service, other, ""));
            }
            found.extend(same);
        } else if speaks(other) && (!service.scene.condemned[other]) {
            found.extend(self.best_of(service, other, ""));
        }
        found
    }

    /// Waits until a planned move may begin.
    async fn turn_to_leave(&self, service: &ServiceView, wanted: &Wanted, waits: bool) -> Result<(), NotMoved> {
        let Some(target) = self.targets(service, wanted, true).into_iter().next() else {
            return Err(NotMoved::NobodyThere("no endpoint may take it".to_owned()));
        };
        let (now, rate) = (Instant::now(), service.config.sessions.handshakes_per_second);
        let (pace, id) = (&self.site.sessions.pace, target.endpoint.id);
        let has_turn = match waits {
            true => pace.turn_at_leisure(id, rate, now + TURN_WITHIN).await,
            false => pace.turn(id, rate, now).await,
        };
        has_turn.then_some(()).ok_or(NotMoved::NoTurn)
    }

    fn same<'a>(&self, service: &'a ServiceView, from: &SessionPin) -> Option<(&'a EndpointView, Target)> {
        let view = service.entries[from.entry].named(&from.endpoint).filter(|view| !view.leaving)?;
        Some((view, Target { entry: from.entry, endpoint: view.endpoint.clone() }))
    }

    /// The endpoints of an entry that stand best and hold least; `without` one of a name.
    fn best_of(&self, service: &ServiceView, entry: Entry, without: &str) -> Vec<Target> {
        let view = &service.entries[entry];
        let mut tried: Vec<u64> = view.named(without).map(|one| one.endpoint.id).into_iter().collect();
        let mut found = Vec::new();
        while found.len() < MOST_TRIED
            && let Some(one) = view.pick(None, &tried, self.next_turn()).filter(|one| is_worth_trying(one))
        {
            tried.push(one.endpoint.id);
            found.push(Target { entry, endpoint: one.endpoint.clone() });
        }
        found
    }

    /// Opens it at an endpoint; gives where it may live from then on.
    async fn open_at(
        &self,
        session: &Arc<Session>,
        service: &ServiceView,
        target: &Target,
        wanted: &Wanted,
    ) -> Result<Made, NotMoved> {
        let Some(ticket) = Ticket::take(&target.endpoint) else {
            return Err(NotMoved::NobodyThere("its endpoint is being replaced".to_owned()));
        };
        let within = if wanted.why == Why::Lost { HANDSHAKE_OF_LOST } else { HANDSHAKE };
        if let Some(dial) = &wanted.dial {
            let place = self.dial(service, target, wanted, (dial, ticket), within).await?;
            return Ok(Made { session: session.clone(), place: Some(place) });
        }
        let voice = self.voice(service, &target.endpoint, &wanted.letterhead);
        let (session, speaks, recipe) = (session.clone(), voice.clone(), wanted.recipe.clone());
        let (entry, endpoint, revision) = (target.entry, target.endpoint.name.as_str().into(), service.revision);
        // A task of its own, to its end: who waits for it may leave in the middle, and the server would keep what nobody ends.
        let opening = tokio::task::spawn_local(async move {
            let upstream = replay::open(&speaks, &recipe, within).await?.as_deref().map(Into::into);
            drop(ticket);
            let place = SessionPin { stands_for: StandsFor::SessionId, entry, endpoint, revision, upstream };
            // From here on it is ended there, should it not be needed, or whoever needs it be gone.
            Ok(Made { session, place: Some(place) })
        });
        let opened = opening.await.unwrap_or_else(|error| Err(Refusal::NobodyThere(error.to_string())));
        if let Err(Refusal::NobodyThere(_)) = &opened {
            self.site.sessions.pace.note_refused(target.endpoint.id);
        }
        let made = opened.map_err(|refusal| NotMoved::of(&target.endpoint, refusal))?;
        let session = made.place.as_ref().and_then(|place| place.upstream.as_deref());
        let within = Within { session, version: wanted.recipe.essentials.version() };
        if let Why::Leaves { forced: false, .. } = wanted.why
            && let Err(breaks) = self.compare(service, target, wanted, (&voice, within)).await
        {
            return Err(NotMoved::Refused(breaks));
        }
        Ok(made)
    }

    /// Its streams are opened there, and then it lives there.
    async fn settle(
        &self,
        session: &Arc<Session>,
        moving: Moving,
        wanted: &Wanted,
        service: &ServiceView,
        target: &Target,
        mut made: Made,
    ) -> Result<(), NotMoved> {
        let Some(place) = made.place.clone() else { return Err(NotMoved::Over) };
        let epoch = moving.announce(&place);
        let opened = session.changes(|| moving.is_listened_to_at(epoch));
        if tokio::time::timeout(STREAMS_WITHIN, opened).await.is_err() {
            tracing::debug!(endpoint = target.endpoint.name, "a session is moved before its stream, whose client reads slowly");
        }
        if wanted.may_wait_for_a_stream(service) && session.is_denied_a_stream_at(epoch) {
            moving.abandon(true);
            return Err(NotMoved::NobodyThere(format!("{}: its GET stream is not opened there", target.endpoint.name)));
        }
        made.place = None;
        if !moving.finish(epoch, place, wanted.why == Why::Lost) {
            return Err(NotMoved::Over);
        }
        self.catch_up(session, &wanted.recipe);
        let from = &service.entries[wanted.from.entry];
        let before = from.named(&wanted.from.endpoint).map(|view| &*view.endpoint);
        from.tally_at(before).sessions().left(session.client());
        let now = self.site.clock.now().since(Moment::default());
        let tally = service.entries[target.entry].tally_at(Some(&target.endpoint));
        tally.sessions().came(session.client(), target.endpoint.id, service.revision, now);
        Ok(())
    }

    /// Who speaks in a session's name at an endpoint.
    pub(super) fn voice(&self, service: &ServiceView, endpoint: &Arc<Endpoint>, letterhead: &Arc<Letterhead>) -> Voice {
        Voice {
            wire: self.wire.clone(),
            endpoint: endpoint.clone(),
            letterhead: letterhead.clone(),
            connect_timeout: service.config.traffic.connect_timeout,
        }
    }
}

/// A server's session that was opened for a client's, and is nobody's yet.
pub(super) struct Made {
    session: Arc<Session>,
    place: Option<SessionPin>,
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.session.end_at(place);
        }
    }
}

/// Whether nobody of an entry can be used, as far as is known.
fn is_known_down(service: &ServiceView, entry: Entry) -> bool {
    service.entries[entry].best(&[]).is_none_or(|best| best == Standing::Down)
}

/// Nobody is sent to an endpoint that checks have found down.
fn is_worth_trying(view: &EndpointView) -> bool {
    view.standing != Standing::Down
}

impl NotMoved {
    pub(super) fn of(endpoint: &Endpoint, refusal: Refusal) -> Self {
        match refusal {
            Refusal::NobodyThere(why) => Self::NobodyThere(format!("{}: {why}", endpoint.name)),
            Refusal::Credential(head) => Self::Credential(head),
            other => Self::Refused(format!("{}: {other}", endpoint.name)),
        }
    }
}
