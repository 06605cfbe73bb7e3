//! A session's GET stream goes on when the session moves: what comes from the new server is spliced into the stream that the
//! client has open, between two events, and what the old one still says is passed on until nothing runs there.
//!
//! The stream is opened at the new server before the session lives there, so that nothing which is said in between is lost.
//! Where the server is gone, the client's stream is held open until there is another one.

use std::hint::black_box;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Sleep;

use super::feed::{Feed, Gave, Home, Opened, open};
use super::letterhead::Letterhead;
use super::mover::Why;
use super::resident::Session;
use super::stay::Stay;
use crate::domain::rehome::{Binding, Epoch};
use crate::mcp::SessionPin;
use crate::mcp::sse::Boundary;
use crate::proxy::Worker;
use crate::proxy::body::{Next, Piece};
use crate::proxy::source::Source;
use crate::upstream::{Cause, Endpoint, EntryTally, Ticket};

mod search;

use search::Ended;

/// Between two tries to find a server for a stream that has none.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Between two tries to open the stream where the session lives, at the most: it has a server, which may have none to give.
const LONGEST_PATIENCE: Duration = Duration::from_secs(60);

/// What a client is told whose session is at another version now: what it has listed may be out of date (2024-11-05).
pub(super) const LISTS_CHANGED: &[u8] =
    b"event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n\
event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/prompts/list_changed\"}\n\n\
event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/list_changed\"}\n\n";

/// A session's GET stream, from wherever the session lives.
pub(in crate::proxy) struct Splice {
    worker: Rc<Worker>,
    session: Arc<Session>,
    letterhead: Arc<Letterhead>,
    /// It goes on behind an event that nobody knows: it may be the answer to a call, for all that can be seen.
    may_be_call: bool,
    /// Of its place among the session's streams.
    number: u32,
    current: Feed,
    /// Servers before, which have not ended it.
    before: Vec<Feed>,
    /// Where, whether that is asked for a stream, and what it says.
    opening: Option<(Binding<SessionPin>, bool, Opening)>,
    /// Its server gave no stream; it is asked again then.
    again: Option<Pin<Box<Sleep>>>,
    patience: Duration,
    moving: Option<(Why, Search)>,
    /// How the server of a binding has ended it, as long as it is not known what that means.
    end: Option<(Epoch, Result<(), Cause>)>,
    /// One of them is in the middle of an event: nobody else may speak then.
    speaking: Option<Epoch>,
    words: Vec<u8>,
    news: Option<News>,
    /// It may not be moved: that was tried.
    stays: bool,
    /// Its client goes on elsewhere.
    is_lost: bool,
    /// What was looked at last, and who is woken when there is more.
    looked: Option<(u32, Waker)>,
}

type Search = Pin<Box<dyn Future<Output = Ended>>>;

type Opening = Pin<Box<dyn Future<Output = Option<Opened>>>>;

/// Where a stream comes from now, which its owner has to know.
pub(in crate::proxy) struct News {
    pub(in crate::proxy) endpoint: Arc<Endpoint>,
    /// What its version has seen.
    pub(in crate::proxy) tally: Arc<EntryTally>,
    /// The revision under which the session came there.
    pub(in crate::proxy) born: u64,
}

impl Splice {
    /// For a stream that begins at the session's server now.
    pub(in crate::proxy) fn begin(
        worker: Rc<Worker>,
        stay: &Stay,
        place: &SessionPin,
        letterhead: Letterhead,
        (may_be_call, behind): (bool, Option<u64>),
        (source, home, ticket): (Source, Home, Ticket),
    ) -> Self {
        let (session, at) = (stay.session().clone(), Binding { epoch: stay.epoch(), place: place.clone() });
        let letterhead = session.write_with(letterhead);
        let number = session.listen(at.epoch, behind);
        let current = Feed::new(at, source, home, Some(ticket));
        let (before, words, moving, end, speaking, news) = (Vec::new(), Vec::new(), None, None, None, None);
        Self {
            worker,
            session,
            letterhead,
            may_be_call,
            number,
            current,
            before,
            opening: None,
            again: None,
            patience: FIRST_PAUSE,
            moving,
            end,
            speaking,
            words,
            news,
            stays: false,
            is_lost: false,
            looked: None,
        }
    }

    /// The next part: whole events of one server after the other, whoever has something to say.
    pub(in crate::proxy) fn poll(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Next> {
        loop {
            self.poll_place(context);
            if self.is_lost {
                return Poll::Ready(None);
            }
            if !self.words.is_empty() && self.speaking.is_none() {
                return Poll::Ready(Some(Ok(Piece::Apart(std::mem::take(&mut self.words).into()))));
            }
            if let Poll::Ready(piece) = self.poll_feeds(context, buffer) {
                return Poll::Ready(Some(Ok(piece)));
            }
            let Some((why, moving)) = &mut self.moving else { return Poll::Pending };
            let ended = ready!(moving.as_mut().poll(context));
            let why = *why;
            self.moving = None;
            // Of a binding where the session does not live, that means nothing any more.
            self.end.take_if(|(epoch, _)| !self.session.is_current(*epoch));
            match (ended, why) {
                (Ended::Moved | Ended::Stays | Ended::Later, Why::Leaves { .. }) | (Ended::Moved, Why::Lost) => {
                    self.stays |= matches!(ended, Ended::Stays);
                    // Its server has ended it meanwhile: the one before, or the new one at once.
                    if self.end.is_some() {
                        self.look_for_another();
                    }
                }
                (Ended::Alone | Ended::Stays | Ended::Later, _) => match self.end.take() {
                    Some((_, Err(cause))) => return Poll::Ready(Some(Err(cause))),
                    Some((_, Ok(()))) => return Poll::Ready(None),
                    // It was said to be silent, and goes on.
                    None => {}
                },
            }
        }
    }

    /// Reads here and there in what the next event needs, so that the processor has it at hand.
    pub(in crate::proxy) fn look_ahead(&self) {
        black_box((self.session.stirred(), self.number, self.is_lost, self.words.len(), self.speaking));
        black_box((
            self.before.len(),
            self.looked.is_some(),
            self.opening.is_some(),
            self.again.is_some(),
            self.moving.is_some(),
        ));
        self.current.look_ahead();
    }

    /// The session is to leave its server, or is to be taken for lost. Whether that is under way.
    pub(in crate::proxy) fn leave(&mut self, why: Why) -> bool {
        if self.moving.is_some() {
            return true;
        }
        let may = self.session.can_move() && (why == Why::Lost || !self.stays);
        if may {
            self.moving = Some((why, Box::pin(self.find_place(why, false))));
        }
        may
    }

    /// It has brought these events: who comes back behind one of them has listened, and has lost it.
    pub(in crate::proxy) fn note_heard(&self, ids: impl Iterator<Item = u64>) {
        if !self.may_be_call {
            self.session.note_heard(self.number, ids);
        }
    }

    /// Whether a server that it has left may still say something.
    pub(in crate::proxy) fn hears_others(&self) -> bool {
        !self.before.is_empty()
    }

    /// Whether it ends because its client has lost it.
    pub(in crate::proxy) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// What its owner has to know, once.
    pub(in crate::proxy) fn take_news(&mut self) -> Option<News> {
        self.news.take()
    }

    /// Has the stream opened where the session lives, or is about to.
    fn poll_place(&mut self, context: &mut Context<'_>) {
        let stirred = self.session.stirred();
        let is_known = self.looked.as_ref().is_some_and(|(at, waker)| *at == stirred && waker.will_wake(context.waker()));
        if is_known && self.opening.is_none() && self.again.is_none() {
            return;
        }
        self.looked = Some((stirred, context.waker().clone()));
        self.is_lost = self.session.is_lost(self.number, context.waker());
        if self.is_lost {
            return;
        }
        loop {
            if let Some(opening) = &mut self.opening {
                let Poll::Ready(opened) = opening.2.as_mut().poll(context) else { return };
                if let Some((at, asked, _)) = self.opening.take() {
                    self.switch(at, asked, opened);
                }
            }
            self.again.take_if(|again| again.as_mut().poll(context).is_ready());
            let Some((wanted, asks)) = self.session.wanted_at(self.number, self.again.is_some(), context.waker()) else { return };
            self.again = None;
            if let Some(at) = self.before.iter().position(|feed| feed.at.epoch == wanted.epoch) {
                // The move came to nothing.
                let back = self.before.swap_remove(at);
                self.session.listens_at(self.number, wanted.epoch, back.is_mute);
                let given_up = std::mem::replace(&mut self.current, back);
                self.drop_feed(&given_up);
                self.tell_home();
                continue;
            }
            let (worker, session, letterhead) = (self.worker.clone(), self.session.clone(), self.latest_letterhead());
            let place = wanted.place.clone();
            let opening = Box::pin(async move { open(&worker, &session, &letterhead, &place, asks).await });
            self.opening = Some((wanted, asks, opening));
        }
    }

    /// It comes from there from now on; what the server before still says is passed on.
    fn switch(&mut self, at: Binding<SessionPin>, asked: bool, opened: Option<Opened>) {
        let is_another = at.epoch != self.current.at.epoch;
        let (home, gave) = match opened {
            Some(Opened { endpoint, tally, gave }) => (Some((endpoint, tally)), gave),
            None => (None, Gave::Nothing),
        };
        let (is_mute, is_gone) = (matches!(gave, Gave::NotNow | Gave::Gone), matches!(gave, Gave::Gone));
        self.session.listens_at(self.number, at.epoch, is_mute);
        self.stays &= !is_another;
        self.wait_to_ask_again(is_mute && asked, is_another);
        let (before, after) = (self.current.at.place.entry, at.place.entry);
        let (source, ticket) = match gave {
            Gave::Stream(source, ticket) => (source, Some(ticket)),
            Gave::Nothing | Gave::NotNow | Gave::Gone => (Source::None, None),
        };
        let left = std::mem::replace(&mut self.current, Feed { is_mute, ..Feed::new(at, source, home, ticket) });
        self.tell_home();
        if is_gone && self.moving.is_none() && self.session.is_current(self.current.at.epoch) && self.session.can_move() {
            self.look_for_another();
        }
        if before != after && !self.worker.site.sessions.verdicts.agree(left.endpoint(), self.current.endpoint()) {
            self.words.extend_from_slice(LISTS_CHANGED);
        }
        let is_over = !is_another || self.session.place_of(Some(left.at.epoch)).is_none();
        if matches!(left.source, Source::None) && is_over {
            return self.drop_feed(&left);
        }
        self.before.push(left);
    }

    /// Where there is no stream for now, it is asked for again, less and less often.
    fn wait_to_ask_again(&mut self, was_refused: bool, is_another: bool) {
        if is_another || !was_refused {
            self.patience = FIRST_PAUSE;
        }
        self.again = was_refused.then(|| Box::pin(tokio::time::sleep(self.patience)));
        self.patience = (self.patience * 2).min(LONGEST_PATIENCE);
    }

    /// Its owner is told where it comes from.
    fn tell_home(&mut self) {
        if let Some((endpoint, tally)) = &self.current.home {
            let born = self.current.at.place.revision;
            self.news = Some(News { endpoint: endpoint.clone(), tally: tally.clone(), born });
        }
    }

    /// Nothing more comes from it; what it has left half said ends here, or nobody else could speak.
    fn drop_feed(&mut self, feed: &Feed) {
        if self.speaking.take_if(|epoch| *epoch == feed.at.epoch).is_some() {
            let mut words = feed.boundary.abandon_event().to_vec();
            words.append(&mut self.words);
            self.words = words;
        }
    }

    fn poll_feeds(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Piece> {
        let mut at = 0;
        while at <= self.before.len() {
            let is_current = at == self.before.len();
            let feed = if is_current { &mut self.current } else { &mut self.before[at] };
            if self.speaking.is_some_and(|epoch| epoch != feed.at.epoch) {
                at += 1;
                continue;
            }
            match feed.poll(context, buffer) {
                Poll::Ready(Some(Ok(piece))) => {
                    self.speaking = (!feed.boundary.is_between_events()).then_some(feed.at.epoch);
                    if let Some(retag) = &mut feed.retag {
                        let tokens = retag.take_tokens();
                        if !tokens.is_empty() {
                            self.session.note_tokens(tokens, feed.at.epoch);
                        }
                    }
                    return Poll::Ready(piece);
                }
                Poll::Ready(ended) => {
                    let words = feed.boundary.abandon_event();
                    feed.source = Source::None;
                    feed.boundary = Boundary::default();
                    let was_speaking = self.speaking.take_if(|epoch| *epoch == feed.at.epoch).is_some();
                    if is_current {
                        self.has_ended(ended.transpose().map(|_| ()));
                    } else {
                        // Should the session stay there after all, it is opened again.
                        feed.is_mute = true;
                    }
                    if was_speaking {
                        return Poll::Ready(Piece::Apart(Bytes::from_static(words)));
                    }
                    at += 1;
                }
                Poll::Pending => at += 1,
            }
        }
        // What is left of those whose bindings are gone has been said by now.
        let is_over = |feed: &Feed| self.session.place_of(Some(feed.at.epoch)).is_none();
        if let Some(at) = self.before.iter().position(is_over) {
            let feed = self.before.swap_remove(at);
            self.drop_feed(&feed);
            if !self.words.is_empty() {
                return Poll::Ready(Piece::Apart(std::mem::take(&mut self.words).into()));
            }
            return self.poll_feeds(context, buffer);
        }
        Poll::Pending
    }

    /// Its server has ended the stream: it may be gone, or have meant to.
    fn has_ended(&mut self, end: Result<(), Cause>) {
        self.end = Some((self.current.at.epoch, end));
        if self.moving.is_none() {
            self.look_for_another();
        }
    }

    /// Looks for another server, unless its own turns out to be well.
    fn look_for_another(&mut self) {
        self.moving = Some((Why::Lost, Box::pin(self.find_place(Why::Lost, true))));
    }

    /// How its client has spoken last: its credential may be another one by now.
    fn latest_letterhead(&self) -> Arc<Letterhead> {
        let state = self.session.state();
        state.memory.as_ref().and_then(|memory| memory.letterhead.clone()).unwrap_or_else(|| self.letterhead.clone())
    }
}

impl Drop for Splice {
    fn drop(&mut self) {
        // Its servers see it end before anybody asks them for another one, of which they give out one a session.
        self.opening = None;
        self.before.clear();
        self.current.source = Source::None;
        self.session.listen_no_more(self.number);
    }
}
