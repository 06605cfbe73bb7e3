//! What an answer has to do with the session that it belongs to.

use std::rc::Weak;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::memory::Wish;
use super::resident::Session;
use super::splice::Splice;
use super::stay::Stay;
use crate::mcp::event_id::{EventTag, Stream};
use crate::mcp::retag::Retag;
use crate::mcp::scan::{Message, hash_of_id};
use crate::proxy::Worker;
use crate::proxy::body::{Next, Piece};
use crate::proxy::facts::Facts;
use crate::proxy::headers::Outgoing;
use crate::proxy::ledger::Ledger;
use crate::proxy::seat::Seat;
use crate::proxy::source::Source;
use crate::proxy::stream::EventStream;
use crate::upstream::{StreamKind, Ticket};

/// An answer's place in its session.
pub(in crate::proxy) struct Lodging {
    /// What runs, to the end of the answer.
    pub(in crate::proxy) stay: Stay,
    /// What holds from then on, once it is granted.
    wish: Option<Box<Wish>>,
    most: usize,
    /// It is the answer to a call that was begun on another stream, and has not come yet.
    resumes: bool,
    worker: Weak<Worker>,
}

impl Worker {
    /// An answer begins in a session: what it comes from, and the ticket that its owner keeps. The stream that listens goes
    /// on wherever the session lives, and so keeps no binding alive; anything else runs on its own.
    pub(in crate::proxy) fn lodge(
        &self,
        stay: Stay,
        (facts, outgoing): (&Facts, &Outgoing<'_>),
        (source, seat): (Source, Seat),
        ledger: &mut Ledger,
        stream: Option<&EventStream>,
    ) -> (Source, Option<Ticket>) {
        let most = seat.service.config.sessions.remember;
        if stream.is_none() {
            ledger.lodge(Lodging { stay, wish: facts.wish.clone(), most, resumes: false, worker: self.own.clone() });
            return (source, Some(seat.ticket));
        }
        let id = facts.session.as_ref().map(|id| id.as_bytes()).unwrap_or_default();
        let last = outgoing.goes_on_behind();
        let listens = stream.is_some_and(|stream| stream.kind() == StreamKind::Listen && !stream.is_encoded());
        let resumes_calls = last.is_some_and(|last| self.resumes_call(&stay, last, id));
        if let (true, false, Some(stream), Some(place), Some(own)) =
            (listens, resumes_calls, stream, &facts.pin, self.own.upgrade())
        {
            if stay.session().can_move() {
                stream.can_move(seat.ticket.endpoint());
            }
            let view = seat.service.entries[place.entry].named(&place.endpoint);
            let home = view.map(|view| (view.endpoint.clone(), view.tally.clone()));
            let may_be_call =
                last.is_some_and(|last| EventTag::read(last).is_none() && !stay.session().has_heard(hash_of_id(last)));
            let behind = outgoing.header("last-event-id").filter(|_| !may_be_call).map(hash_of_id);
            let (letterhead, from) = (outgoing.letterhead(), (source, home, seat.ticket));
            let splice = Splice::begin(own, &stay, place, letterhead, (may_be_call, behind), from);
            return (Source::Spliced(Box::new(splice)), None);
        }
        let epoch = stay.epoch();
        let session = stay.session().clone();
        let (wish, worker) = (facts.wish.clone(), self.own.clone());
        ledger.lodge(Lodging { stay, wish, most, resumes: listens && resumes_calls, worker });
        if epoch == 0 || stream.is_none_or(EventStream::is_encoded) {
            return (source, Some(seat.ticket));
        }
        let resumed = last.and_then(EventTag::read).map(|(tag, _)| tag.stream);
        let asked = || ledger.pending().first().map_or(Stream::Get, |request| Stream::of_request(request.as_ref()));
        let retag = Retag::new(epoch, resumed.unwrap_or_else(asked));
        (Source::Tagged(Box::new(Tagged { source, retag, session, epoch })), Some(seat.ticket))
    }

    /// Whether a stream that goes on behind an event is the answer to a call, and not one that listens: its tag says so; or it
    /// is of a binding that was left, while another one listens.
    fn resumes_call(&self, stay: &Stay, last: &[u8], id: &[u8]) -> bool {
        let session = stay.session();
        match EventTag::read(last) {
            Some((tag, _)) => tag.stream != Stream::Get,
            None if !session.is_current(stay.epoch()) && session.state().is_listened_to() => true,
            _ => self.site.interrupted.has_calls(id),
        }
    }
}

impl Lodging {
    /// Whether the session lives elsewhere now.
    pub(in crate::proxy) fn is_left(&self) -> bool {
        !self.stay.session().is_current(self.stay.epoch())
    }

    /// Whether an answer is to come to what was asked elsewhere, though that may not be felt to have ended yet.
    pub(in crate::proxy) fn resumes(&self) -> bool {
        self.resumes
    }

    /// What still runs is cut: its server is told.
    pub(in crate::proxy) fn cancel(&self, ids: &[impl AsRef<str>]) {
        let session = self.stay.session();
        if let (Some(place), Some(worker)) = (session.place_of(Some(self.stay.epoch())), self.worker.upgrade()) {
            worker.cancel(session, &place, ids);
        }
    }

    /// Its client was told that what it waits for will not come: there is nothing behind this event (by the hash of its id).
    pub(in crate::proxy) fn note_last_words(&self, last: u64) {
        self.stay.session().note_given_up(last);
    }

    /// A message of the answer has passed.
    pub(in crate::proxy) fn note(&mut self, message: &Message) {
        self.resumes &= !message.is_answer();
        if message.is_answer()
            && let Some(wish) = self.wish.take()
            && message.has_result
        {
            if self.is_left()
                && let Some(worker) = self.worker.upgrade()
            {
                worker.say_where_it_lives(self.stay.session(), &wish.request());
            }
            self.stay.session().remember(self.most, |memory| memory.grant(*wish));
        }
    }
}

/// The answer of a later binding to a call, as a stream: what its server asks for, and the ids of its events, say the epoch.
pub(in crate::proxy) struct Tagged {
    source: Source,
    retag: Retag,
    session: Arc<Session>,
    epoch: u32,
}

impl Tagged {
    /// The next part.
    pub(in crate::proxy) fn poll(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Next> {
        loop {
            let piece = match ready!(self.source.poll(context, buffer)) {
                Some(Ok(piece)) => piece,
                other => return Poll::Ready(other),
            };
            let mut out = Vec::new();
            self.retag.feed(piece.of(buffer), &mut out);
            let tokens = self.retag.take_tokens();
            if !tokens.is_empty() {
                self.session.note_tokens(tokens, self.epoch);
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Piece::Apart(out.into()))));
            }
        }
    }

    /// It has ended well.
    pub(in crate::proxy) fn give_back(&mut self) {
        if let Source::Wire(flow) = &mut self.source {
            flow.give_back();
        }
    }
}
