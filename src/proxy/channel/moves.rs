//! A channel whose session may be moved: at which server each of its requests is, and what POSTs and the stream tell each
//! other of servers that are gone.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;

use super::{Channel, Claim, Due};
use crate::domain::rehome::Epoch;
use crate::http1::Fields;
use crate::proxy::books::Books;
use crate::proxy::keys::{CREDENTIALS, caller, credentials};
use crate::proxy::rehome::{Session, Sessions, Stay, Wish};
use crate::upstream::{Endpoint, EntryTally};

/// What is told of a request whose POST was accepted when nobody was left to say its answer.
const TOO_LATE: &str = "its server's stream had ended; the request may have been carried out";

/// Where a request was sent.
pub(in crate::proxy) struct Sent {
    /// It runs there.
    pub(in crate::proxy) stay: Stay,
    /// Where it is booked, wherever its session lives when it is answered.
    pub(in crate::proxy) tally: Arc<EntryTally>,
    pub(in crate::proxy) endpoint: Option<Arc<Endpoint>>,
    /// What holds from then on, once it is granted; and how much may be remembered of that, in bytes.
    pub(in crate::proxy) wish: Option<Box<Wish>>,
    pub(in crate::proxy) most: usize,
}

impl Sent {
    /// The same of another request of its POST.
    fn another(&self) -> Option<Self> {
        let Self { stay, tally, endpoint, wish, most } = self;
        let (tally, endpoint, wish, most) = (tally.clone(), endpoint.clone(), wish.clone(), *most);
        stay.another().map(|stay| Self { stay, tally, endpoint, wish, most })
    }

    pub(super) fn books<'a>(&'a self, books: Books<'a>) -> Books<'a> {
        Books { tally: &self.tally, endpoint: self.endpoint.as_deref(), ..books }
    }
}

impl Due {
    /// It was answered: what it asked for holds, where that was a result.
    pub(super) fn grant(&mut self, has_result: bool) {
        if let Some(sent) = &mut self.sent
            && let Some(wish) = sent.wish.take().filter(|_| has_result)
        {
            sent.stay.session().grant(sent.most, *wish);
        }
    }

    fn is_at(&self, epoch: Epoch) -> bool {
        self.sent.as_ref().is_some_and(|sent| sent.stay.epoch() == epoch)
    }
}

impl Claim {
    /// They are about to be sent there.
    pub(super) fn send(&self, sent: &Sent) {
        let mut state = self.channel.state();
        let mine = state.due.iter_mut().filter(|due| self.serials.contains(&due.serial));
        mine.for_each(|due| due.sent = sent.another());
    }

    /// They wait on the channel from now on: at a server whose stream is open, or they have failed.
    pub(super) fn leave(mut self) {
        self.is_settled = true;
        let mut state = self.channel.state();
        let state = &mut *state;
        let (due, open_at) = (&mut state.due, &state.open_at);
        due.iter_mut().filter(|due| self.serials.contains(&due.serial)).for_each(|due| due.is_accepted = true);
        let is_late = |due: &Due| due.sent.as_ref().is_some_and(|sent| !open_at.contains(&sent.stay.epoch()));
        let late: Vec<Due> = due.extract_if(.., |due| self.serials.contains(&due.serial) && is_late(due)).collect();
        state.remembered -= late.iter().map(|due| due.request.size()).sum::<usize>();
        if state.fail(late, TOO_LATE)
            && let Some(waker) = state.waker.take()
        {
            waker.wake();
        }
    }
}

/// Who has opened a session, and the credentials that they have shown last.
pub(in crate::proxy) struct Owner {
    caller: u64,
    credentials: [Option<Box<[u8]>>; CREDENTIALS.len()],
}

impl Owner {
    pub(super) fn new(sessions: &Sessions, headers: &Fields) -> Self {
        Self { caller: sessions.caller(&caller(headers)), credentials: credentials(headers).map(|value| value.map(Box::from)) }
    }

    /// Whether a request is the owner's, and shows other credentials than the last.
    fn has_others(&mut self, sessions: &Sessions, headers: &Fields) -> bool {
        if self.credentials.iter().map(Option::as_deref).eq(credentials(headers)) {
            return false;
        }
        let now = Self::new(sessions, headers);
        let is_owner = now.caller == self.caller;
        if is_owner {
            *self = now;
        }
        is_owner
    }
}

impl Channel {
    /// Whether a request shows fresher credentials of the session's owner. What others show would open it as somebody else's.
    pub(in crate::proxy) fn has_fresher(&self, sessions: &Sessions, headers: &Fields) -> bool {
        self.state().owner.as_mut().is_some_and(|owner| owner.has_others(sessions, headers))
    }

    /// Its session, where that may be moved.
    pub(in crate::proxy) fn session(&self) -> Option<&Arc<Session>> {
        self.session.as_ref()
    }

    /// At which bindings streams are open from now on.
    pub(in crate::proxy) fn is_open_at(&self, epochs: impl IntoIterator<Item = Epoch>) {
        self.state().open_at = epochs.into_iter().collect();
    }

    /// Whether what is sent to a binding could be answered.
    pub(in crate::proxy) fn answers_at(&self, epoch: Epoch) -> bool {
        self.state().open_at.contains(&epoch)
    }

    /// What waits at a binding has failed, but for POSTs that are still on their way and learn for themselves. Gives their ids.
    pub(in crate::proxy) fn fail_at(&self, epoch: Epoch, what: &str) -> Vec<String> {
        let mut state = self.state();
        let due: Vec<Due> = state.due.extract_if(.., |due| due.is_accepted && due.is_at(epoch)).collect();
        state.remembered -= due.iter().map(|due| due.request.size()).sum::<usize>();
        let ids = due.iter().map(|due| due.as_ref().to_owned()).collect();
        let waker = state.fail(due, what).then(|| state.waker.take()).flatten();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        ids
    }

    /// A POST has not found the server of a binding, or one that knows the session.
    pub(in crate::proxy) fn doubt(&self, epoch: Epoch) {
        let mut state = self.state();
        state.doubted = Some(epoch);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whether that was said of this binding since it was asked last.
    pub(in crate::proxy) fn take_doubt(&self, epoch: Epoch) -> bool {
        self.state().doubted.take_if(|doubted| *doubted == epoch).is_some()
    }

    /// The client opens its session with this, which is to be remembered once it is answered: at most so many bytes of all
    /// sessions.
    pub(in crate::proxy) fn note_opening(&self, body: Bytes, most: usize) {
        self.state().opening = Some((body, most));
    }

    /// What it was opened with; nothing once that was answered.
    pub(in crate::proxy) fn opening(&self) -> Option<(Bytes, usize)> {
        self.state().opening.clone()
    }

    /// It was answered.
    pub(in crate::proxy) fn forget_opening(&self) {
        self.state().opening = None;
    }

    /// Whoever reads the stream is to look again.
    pub(super) fn stir(&self) {
        let waker = self.state().waker.take();
        waker.into_iter().for_each(Waker::wake);
    }
}
