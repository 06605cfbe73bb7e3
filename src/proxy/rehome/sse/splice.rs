//! The client's stream of an HTTP+SSE session, from wherever the session lives.
//!
//! ```text
//! the server's stream ends ─▶ what waits there fails, once ─┐
//! a POST finds nobody, or 404 ──────────────────────────────┼─▶ search ─▶ switch: the new stream, from its next event on
//! it is the session's time to leave ────────────────────────┘             the old one, until nothing runs there, or the cut
//! ```

use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::birth::Birth;
use super::{Dial, Opened};
use crate::config::OnLoss;
use crate::domain::rehome::{Binding, Epoch};
use crate::live::ServiceView;
use crate::proxy::body::{Next, Piece};
use crate::proxy::channel::{Channel, Home};
use crate::proxy::error::ProxyError;
use crate::proxy::rehome::feed::Feed;
use crate::proxy::rehome::mover::{NotMoved, Wanted, Why};
use crate::proxy::rehome::resident::Session;
use crate::proxy::rehome::splice::{LISTS_CHANGED, News};
use crate::proxy::source::Source;
use crate::proxy::vigil::{Alarm, Guest, Heed, Post};
use crate::proxy::{Stage, Worker};
use crate::upstream::{Cause, Ticket};

/// Between two searches for a server, unless a POST comes.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The stream, and what moves its session.
pub(in crate::proxy) struct ChannelSplice {
    worker: Rc<Worker>,
    channel: Arc<Channel>,
    session: Arc<Session>,
    home: Rc<Home>,
    birth: Birth,
    current: Feed,
    /// Servers before, at which something still runs, and what tells when that is cut.
    before: Vec<(Feed, Post)>,
    moving: Option<(Why, Search)>,
    /// How the current server has ended its stream, while another one is looked for.
    end: Option<Result<(), Cause>>,
    /// One of them is in the middle of an event: nobody else may speak then.
    speaking: Option<Epoch>,
    words: Vec<u8>,
    news: Option<News>,
    /// It may not leave: that was tried.
    stays: bool,
}

type Search = Pin<Box<dyn Future<Output = Found>>>;

/// What came of a search.
enum Found {
    Server(Box<Opened>),
    /// The session may not be moved.
    Refused,
}

impl ChannelSplice {
    /// For a stream that has begun, of a session that was just born.
    pub(in crate::proxy) fn begin(
        worker: Rc<Worker>,
        channel: Arc<Channel>,
        session: Arc<Session>,
        home: Rc<Home>,
        (source, ticket): (Source, Option<Ticket>),
    ) -> Self {
        let at = session.state().residence.current().clone();
        let current = Feed::new(at, source, None, ticket);
        let (birth, before, words) = (Birth::default(), Vec::new(), Vec::new());
        let (moving, end, speaking, news, stays) = (None, None, None, None, false);
        Self { worker, channel, session, home, birth, current, before, moving, end, speaking, words, news, stays }
    }

    /// The next part: whole events of one server after the other, whoever has something to say.
    pub(in crate::proxy) fn poll(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Next> {
        loop {
            if !self.is_searching() && self.channel.take_doubt(self.current.at.epoch) && self.can_be_replaced() {
                self.search(Why::Lost);
            }
            self.poll_cuts(context);
            if !self.words.is_empty() && self.speaking.is_none() {
                return Poll::Ready(Some(Ok(Piece::Apart(mem::take(&mut self.words).into()))));
            }
            if let Poll::Ready(next) = self.poll_feeds(context, buffer) {
                return Poll::Ready(next);
            }
            let Some((why, moving)) = &mut self.moving else { return Poll::Pending };
            let (why, found) = (*why, ready!(moving.as_mut().poll(context)));
            self.moving = None;
            match (found, why, self.end.is_some()) {
                (Found::Server(opened), ..) => self.switch(*opened),
                (Found::Refused, Why::Leaves { .. }, _) => self.note_stays(),
                (_, Why::Lost, true) => return Poll::Ready(self.end.take().and_then(Result::err).map(Err)),
                // It was a POST that had doubts, and the stream is as well as before.
                (_, Why::Lost, false) => {}
            }
        }
    }

    /// The session is to leave its server. Whether that is under way.
    pub(in crate::proxy) fn leave(&mut self, why: Why) -> bool {
        if self.moving.is_some() {
            return true;
        }
        let may = self.session.can_move() && !self.stays;
        if may {
            self.search(why);
        }
        may
    }

    /// Its server has fallen silent. Whether another one takes its place.
    pub(in crate::proxy) fn lose(&mut self) -> bool {
        let may = self.end.is_some() || self.can_be_replaced();
        if self.end.is_none() && may {
            self.has_ended(Err(Cause::Closed), &ProxyError::Silent);
        }
        may
    }

    /// Whether it has lost its server, and waits for another one.
    pub(in crate::proxy) fn goes_on(&self) -> bool {
        self.end.is_some()
    }

    /// What its owner has to know, once.
    pub(in crate::proxy) fn take_news(&mut self) -> Option<News> {
        self.news.take()
    }

    fn poll_feeds(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Next> {
        let mut at = 0;
        while at <= self.before.len() {
            let is_current = at == self.before.len();
            let feed = if is_current { &mut self.current } else { &mut self.before[at].0 };
            let epoch = feed.at.epoch;
            if self.speaking.is_some_and(|speaking| speaking != epoch) {
                at += 1;
                continue;
            }
            let ended = match feed.poll(context, buffer) {
                Poll::Pending => {
                    at += 1;
                    continue;
                }
                Poll::Ready(Some(Ok(piece))) => {
                    self.speaking = (!feed.boundary.is_between_events()).then_some(epoch);
                    let tokens = feed.retag.as_mut().map(|retag| retag.take_tokens()).filter(|tokens| !tokens.is_empty());
                    tokens.into_iter().for_each(|tokens| self.session.note_tokens(tokens, epoch));
                    if epoch == 0 {
                        self.birth.pass(piece.of(buffer), &self.channel, &self.session);
                    }
                    return Poll::Ready(Some(Ok(piece)));
                }
                Poll::Ready(ended) => ended.transpose().map(|_| ()),
            };
            let lost = ProxyError::Lost("the stream has ended".to_owned());
            if !is_current {
                let (feed, _) = self.before.swap_remove(at);
                self.give_up(&feed, &lost);
            } else if self.can_be_replaced() {
                self.has_ended(ended, &lost);
            } else {
                self.current.source = Source::None;
                return Poll::Ready(ended.err().map(Err));
            }
            if !self.words.is_empty() && self.speaking.is_none() {
                return Poll::Ready(Some(Ok(Piece::Apart(mem::take(&mut self.words).into()))));
            }
            // All are asked again, since the order has changed.
            at = 0;
        }
        self.let_go();
        Poll::Pending
    }

    /// What still runs at a server that was left is cut when the time has come, and its server is told.
    fn poll_cuts(&mut self, context: &Context<'_>) {
        let is_cut = |(_, post): &mut (Feed, Post)| matches!(post.poll(context), Poll::Ready(Alarm::Cut(_)));
        let cut: Vec<(Feed, Post)> = self.before.extract_if(.., is_cut).collect();
        for (feed, _) in cut {
            let ids = self.give_up(&feed, &ProxyError::TakenBack);
            self.worker.cancel(&self.session, &feed.at.place, &ids);
        }
    }

    /// Those at which nothing runs any more have said everything by now.
    fn let_go(&mut self) {
        let (session, speaking) = (&self.session, self.speaking);
        let before = self.before.len();
        self.before.retain(|(feed, _)| speaking == Some(feed.at.epoch) || session.place_of(Some(feed.at.epoch)).is_some());
        if before != self.before.len() {
            self.tell();
        }
    }

    /// Whether another server may take the place of one that is gone.
    fn can_be_replaced(&self) -> bool {
        let rehomes = |service: &Arc<ServiceView>| service.config.sessions.on_loss == OnLoss::Rehome;
        self.session.can_move() && self.worker.reader.look(|snapshot| snapshot.named(self.session.service()).is_some_and(rehomes))
    }

    /// Whether another server is looked for, its own being gone.
    fn is_searching(&self) -> bool {
        matches!(self.moving, Some((Why::Lost, _)))
    }

    /// The current server says nothing more.
    fn has_ended(&mut self, end: Result<(), Cause>, why: &ProxyError) {
        let at = self.current.at.clone();
        let gone = mem::replace(&mut self.current, Feed::new(at, Source::None, None, None));
        self.end = Some(end);
        self.give_up(&gone, why);
        // One that was to leave has no time to wait for its turn any more.
        if !self.is_searching() {
            self.search(Why::Lost);
        }
    }

    /// Nothing more comes from a server: what waits there has failed. Gives the ids of that.
    fn give_up(&mut self, feed: &Feed, why: &ProxyError) -> Vec<String> {
        if self.speaking.take_if(|epoch| *epoch == feed.at.epoch).is_some() {
            self.words.splice(0..0, feed.boundary.abandon_event().iter().copied());
        }
        self.tell();
        self.channel.fail_at(feed.at.epoch, &why.to_string())
    }

    /// It comes from there from now on; what the server before still says is passed on.
    fn switch(&mut self, opened: Opened) {
        let Opened { source, ticket, tally, place } = opened;
        let epoch = self.session.state().residence.current().epoch;
        let (before, after) = (self.current.at.place.entry, place.entry);
        self.news = Some(News { endpoint: ticket.endpoint().clone(), tally, born: place.revision });
        let current = Feed::new(Binding { epoch, place }, source, None, Some(ticket));
        let left = mem::replace(&mut self.current, current);
        if before != after && !self.worker.site.sessions.verdicts.agree(left.endpoint(), self.current.endpoint()) {
            self.words.extend_from_slice(LISTS_CHANGED);
        }
        (self.end, self.stays) = (None, false);
        if let Some(endpoint) = left.endpoint() {
            let post = self.worker.vigil.post();
            let guest = Some(Guest { endpoint, born: left.at.place.revision, client: None, stays: None });
            post.heed(Heed { guest, ..Heed::stage(Stage::Ended) });
            self.before.push((left, post));
        }
        self.tell();
    }

    /// Tells POSTs at which servers they can be answered.
    fn tell(&self) {
        let current = self.end.is_none().then_some(self.current.at.epoch);
        self.channel.is_open_at(self.before.iter().map(|(feed, _)| feed.at.epoch).chain(current));
        self.session.tell_waiting();
    }

    fn note_stays(&mut self) {
        let entry = self.current.at.place.entry;
        let evictions = |service: &Arc<ServiceView>| service.evictions[entry];
        let eviction = self.worker.reader.look(|snapshot| snapshot.named(self.session.service()).and_then(evictions));
        if let Some(eviction) = eviction {
            self.stays = true;
            self.session.state().note_stays(eviction.before_revision);
        }
    }

    /// Looks for a server; where its own is gone, for as long as it takes.
    fn search(&mut self, why: Why) {
        let (worker, session, channel) = (self.worker.clone(), self.session.clone(), self.channel.clone());
        let (at, dial) = (self.current.at.clone(), Rc::new(Dial::new(self.home.clone())));
        let search = async move {
            let (mut pause, mut is_asked) = (FIRST_PAUSE, false);
            loop {
                let Some(service) = worker.reader.named(session.service()) else {
                    return Found::Refused;
                };
                if why == Why::Lost && service.config.sessions.on_loss != OnLoss::Rehome {
                    return Found::Refused;
                }
                let Some((recipe, letterhead)) = session.recipe() else { return Found::Refused };
                let (seen, from, dial_of) = (at.epoch, at.place.clone(), Some(dial.clone()));
                let wanted = Wanted { seen, from, why, has_spoken: is_asked, letterhead, recipe, dial: dial_of };
                match worker.rehome(&session, &wanted, service).await {
                    Ok(()) => return dial.take().map_or(Found::Refused, |opened| Found::Server(Box::new(opened))),
                    Err(NotMoved::NobodyThere(_) | NotMoved::BackedOff) if why == Why::Lost => {}
                    // Somebody may be there before the time for it is over.
                    Err(NotMoved::NobodyThere(_) | NotMoved::BackedOff | NotMoved::NoTurn)
                        if worker.can_wait(&session, &at.place) => {}
                    Err(_) => return Found::Refused,
                }
                is_asked = rest(&channel, at.epoch, pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        self.moving = Some((why, Box::pin(search)));
    }
}

/// Waits, for a POST at most. Whether one came. It wakes whoever reads the stream, and so this.
async fn rest(channel: &Channel, epoch: Epoch, pause: Duration) -> bool {
    let asked = poll_fn(|_| if channel.take_doubt(epoch) { Poll::Ready(()) } else { Poll::Pending });
    tokio::time::timeout(pause, asked).await.is_ok()
}
