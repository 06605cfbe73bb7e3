//! HTTP+SSE (2024-11-05, transports): a session is an open GET stream, its channel, on which every
//! answer comes; what the client has to say it posts to a URI that the stream named first.
//!
//! Routing needs none of what is here: the URI is sealed. What POSTs and their stream share, perhaps
//! on two workers, is who waits for an answer, and what the proxy has to say itself, since a client
//! reads answers on the stream alone. A POST whose stream is in another process goes its way, and is
//! booked and answered by its status.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::books::Books;
use super::pending::{Pending, Requests};
use super::rehome::Session;
use crate::domain::rehome::Epoch;
use crate::domain::{Blame, Outcome};
use crate::mcp::scan::Message;
use crate::mcp::words;
use crate::telemetry::trace::Trace;

mod downstream;
mod moves;
mod posted;

pub(super) use downstream::{Downstream, Home, Passed};
use moves::Owner;
pub(super) use moves::Sent;
pub(super) use posted::{Posted, open, token};

const SHARDS: usize = 16;

/// Requests of one session that may wait at a time. What goes beyond is booked by its status.
const MOST_DUE: usize = 1024;

/// What is remembered of them, ids and tool names, in bytes: the same. Clients' ids are numbers and UUIDs.
const MOST_REMEMBERED: usize = 128 << 10;

/// Words of the proxy that may wait for a client to read, in bytes: beyond, it gets the status.
const MOST_WORDS: usize = 256 << 10;

/// The channels that are open in this process.
#[derive(Default)]
pub struct Channels {
    hasher: RandomState,
    shards: [Mutex<HashMap<String, Arc<Channel>>>; SHARDS],
}

/// What the POSTs of a session and its stream share.
#[derive(Default)]
pub(super) struct Channel {
    state: Mutex<State>,
    /// Where its session lives; nothing where there was no room to remember that, and it is bound to where it was born.
    session: Option<Arc<Session>>,
}

#[derive(Default)]
struct State {
    is_closed: bool,
    due: Vec<Due>,
    remembered: usize,
    serial: u64,
    words: VecDeque<Bytes>,
    waiting: usize,
    waker: Option<Waker>,
    /// The bindings at which a stream is open.
    open_at: SmallVec<[Epoch; 2]>,
    /// The binding whose server a POST has not found.
    doubted: Option<Epoch>,
    /// The `initialize` that was posted.
    opening: Option<(Bytes, usize)>,
    owner: Option<Owner>,
    /// What got no answer, and is to be booked.
    failed: Vec<Due>,
}

/// A request whose answer is to come on the channel.
pub(super) struct Due {
    serial: u64,
    begun: Instant,
    trace: Option<Trace>,
    request: Pending,
    /// Whether its client left before the server had taken it, which may never have read it.
    is_given_up: bool,
    /// Its POST was accepted: the answer can come on the stream alone.
    is_accepted: bool,
    /// Where it was sent, in a session that may be moved.
    sent: Option<Sent>,
}

/// The requests of one POST, handed to the channel. Where it is dropped, its client has left in the middle.
pub(super) struct Claim {
    channel: Arc<Channel>,
    serials: std::ops::Range<u64>,
    is_settled: bool,
}

impl Channels {
    fn open(&self, token: &str, (session, owner): (Option<Arc<Session>>, Option<Owner>)) -> Arc<Channel> {
        let state = Mutex::new(State { open_at: SmallVec::from_slice(&[0]), owner, ..State::default() });
        let channel = Arc::new(Channel { state, session });
        self.shard(token).insert(token.to_owned(), channel.clone());
        channel
    }

    fn find(&self, token: &str) -> Option<Arc<Channel>> {
        self.shard(token).get(token).cloned()
    }

    fn forget(&self, token: &str) {
        self.shard(token).remove(token);
    }

    fn shard(&self, token: &str) -> MutexGuard<'_, HashMap<String, Arc<Channel>>> {
        let at = self.hasher.hash_one(token) as usize % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel {
    /// Hands over requests before they are forwarded, since an answer may overtake the end of its
    /// POST. Nothing is taken by a channel that has ended or is full.
    pub(super) fn claim(self: &Arc<Self>, requests: &mut Requests, begun: Instant, trace: Option<&Trace>) -> Option<Claim> {
        let mut state = self.state();
        let can_be_matched = !requests.is_empty() && requests.iter().all(Pending::is_known);
        let size: usize = requests.iter().map(Pending::size).sum();
        let is_full = state.due.len() + requests.len() > MOST_DUE || state.remembered + size > MOST_REMEMBERED;
        if !can_be_matched || state.is_closed || is_full {
            return None;
        }
        state.remembered += size;
        let first = state.serial;
        for request in requests.drain(..) {
            let serial = state.serial;
            state.serial += 1;
            state.due.push(Due {
                serial,
                begun,
                trace: trace.cloned(),
                request,
                is_given_up: false,
                is_accepted: false,
                sent: None,
            });
        }
        Some(Claim { channel: self.clone(), serials: first..state.serial, is_settled: false })
    }

    /// Books a message of the stream, if it answers a request that waits here.
    pub(super) fn book(&self, books: Books<'_>, message: &Message) {
        if !message.is_answer() || message.id.is_none() {
            return;
        }
        if let Some(mut due) = self.take(message.id) {
            due.grant(message.has_result);
            due.book(books, message.outcome(), true);
        }
    }

    /// The request with this id, which waits no longer.
    fn take(&self, id: Option<u64>) -> Option<Due> {
        let mut state = self.state();
        let at = state.due.iter().position(|due| due.request.hash() == id)?;
        let due = state.due.swap_remove(at);
        state.remembered -= due.request.size();
        Some(due)
    }

    /// Says on the stream that these requests have failed. Whether it will be said.
    fn say(&self, requests: &[Pending], what: &str) -> bool {
        let words = Bytes::from(words::error_events(requests, what));
        let mut state = self.state();
        if state.is_closed || state.waiting + words.len() > MOST_WORDS {
            return false;
        }
        state.push(words);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Everything that waits has failed; the stream goes on. Whether there was anything.
    fn fail_all(&self, what: &str) -> bool {
        let mut state = self.state();
        let due = state.take_all();
        state.fail(due, what)
    }

    /// What has failed since this was asked last, to be booked.
    fn take_failed(&self) -> Vec<Due> {
        std::mem::take(&mut self.state().failed)
    }

    /// The next words, when there are some; else who waits for them is woken in time.
    fn poll_words(&self, context: &mut Context<'_>) -> Poll<Bytes> {
        let mut state = self.state();
        match state.words.pop_front() {
            Some(words) => {
                state.waiting -= words.len();
                Poll::Ready(words)
            }
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether there are words that wait; where there are none, who waits for them is woken in time.
    fn awaits_words(&self, context: &mut Context<'_>) -> bool {
        let mut state = self.state();
        state.waker = Some(context.waker().clone());
        !state.words.is_empty()
    }

    /// The last words: what has not been said yet, and an error for everything that waits. Nothing is
    /// taken from now on.
    pub(super) fn last_words(&self, what: &str) -> Vec<u8> {
        let mut state = self.state();
        state.is_closed = true;
        let mut last: Vec<u8> = state.words.drain(..).flatten().collect();
        last.extend_from_slice(words::error_events(&state.due, what).as_bytes());
        last
    }

    /// Whether anything waits for its answer.
    pub(super) fn has_due(&self) -> bool {
        !self.state().due.is_empty()
    }

    /// Ends it; gives what got no answer.
    pub(super) fn close(&self) -> Vec<Due> {
        let mut state = self.state();
        state.is_closed = true;
        state.words.clear();
        let failed = std::mem::take(&mut state.failed);
        failed.into_iter().chain(state.take_all()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_all(&mut self) -> Vec<Due> {
        self.remembered = 0;
        std::mem::take(&mut self.due)
    }

    /// These have failed, which is said once. Whether there were any.
    fn fail(&mut self, due: Vec<Due>, what: &str) -> bool {
        let has_any = !due.is_empty();
        if has_any {
            self.push(Bytes::from(words::error_events(&due, what)));
            self.failed.extend(due);
        }
        has_any
    }

    fn push(&mut self, words: Bytes) {
        self.waiting += words.len();
        self.words.push_back(words);
    }
}

impl Due {
    pub(super) fn book(&self, books: Books<'_>, outcome: Outcome, is_answered: bool) {
        let books = self.sent.as_ref().map_or(books, |sent| sent.books(books));
        books.note_posted(self.request.tool(), outcome, self.begun.elapsed(), is_answered, self.trace.as_ref());
    }

    /// It got no answer, which is somebody's doing where its client did not give it up.
    pub(super) fn book_unanswered(&self, books: Books<'_>, outcome: Outcome) {
        self.book(books, if self.is_given_up { Outcome::Failed(Blame::Client) } else { outcome }, false);
    }
}

impl AsRef<str> for Due {
    fn as_ref(&self) -> &str {
        self.request.as_ref()
    }
}

impl Claim {
    /// Those requests that still wait; the others were answered, or given up with the stream.
    fn take_back(mut self) -> Requests {
        self.is_settled = true;
        let mut state = self.channel.state();
        let mine: Vec<Due> = state.due.extract_if(.., |due| self.serials.contains(&due.serial)).collect();
        state.remembered -= mine.iter().map(|due| due.request.size()).sum::<usize>();
        drop(state);
        mine.into_iter().map(|due| due.request).collect()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_settled {
            // An answer may come all the same, and is then what counts.
            let mut state = self.channel.state();
            state.due.iter_mut().filter(|due| self.serials.contains(&due.serial)).for_each(|due| due.is_given_up = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::EntryTally;

    fn books(tally: &EntryTally) -> Books<'_> {
        Books { tally, endpoint: None, witness: None, client: None }
    }
    use crate::mcp::Wanted;

    fn requests(ids: &[&str]) -> Requests {
        ids.iter().map(|id| Pending::new(&Wanted { id, tool: None })).collect()
    }

    fn answer(id: &str) -> Message {
        Message { id: crate::mcp::scan::id_hash(id), has_result: true, ..Message::default() }
    }

    fn ids(requests: &[Pending]) -> Vec<&str> {
        requests.iter().map(AsRef::as_ref).collect()
    }

    #[test]
    fn an_answer_is_booked_once_and_only_where_its_request_waits() {
        let (channel, tally) = (Arc::<Channel>::default(), EntryTally::default());
        let _claim = channel.claim(&mut requests(&["1", "\"1\""]), Instant::now(), None).unwrap();
        for id in ["1", "1", "7"] {
            channel.book(books(&tally), &answer(id));
        }
        assert_eq!(tally.requests(), 1);
        assert_eq!(channel.close().len(), 1, "the text is another id than the number");
    }

    #[test]
    fn a_post_takes_back_what_it_brought_and_what_is_not_answered() {
        let (channel, tally) = (Arc::<Channel>::default(), EntryTally::default());
        let one = channel.claim(&mut requests(&["1", "2"]), Instant::now(), None).unwrap();
        let two = channel.claim(&mut requests(&["3"]), Instant::now(), None).unwrap();
        channel.book(books(&tally), &answer("1"));
        assert_eq!(ids(&one.take_back()), ["2"]);
        assert_eq!(ids(&two.take_back()), ["3"]);
    }

    #[test]
    fn last_words_name_what_was_not_said_and_what_waits() {
        let channel = Arc::<Channel>::default();
        let claim = channel.claim(&mut requests(&["1", "2"]), Instant::now(), None).unwrap();
        assert!(channel.say(&requests(&["9"]), "lost"));
        let last = String::from_utf8(channel.last_words("gone")).unwrap();
        assert_eq!(last.matches("event: message").count(), 3, "{last}");
        assert!(!channel.say(&requests(&["3"]), "late"), "nobody reads any more");
        assert!(channel.claim(&mut requests(&["4"]), Instant::now(), None).is_none());
        assert_eq!(channel.close().len(), 2);
        assert!(claim.take_back().is_empty(), "booked with the stream");
    }

    #[test]
    fn a_client_that_reads_nothing_cannot_fill_the_memory() {
        let channel = Arc::<Channel>::default();
        let said = (0..100_000).take_while(|_| channel.say(&requests(&["1"]), "lost")).count();
        assert!(said < 10_000);
        let mut many = requests(&["1"; MOST_DUE]);
        assert!(channel.claim(&mut many, Instant::now(), None).is_some());
        assert!(channel.claim(&mut requests(&["1"]), Instant::now(), None).is_none());
    }

    #[test]
    fn ids_of_any_length_take_up_no_more_than_their_due() {
        let channel = Arc::<Channel>::default();
        let long = format!("\"{}\"", "x".repeat(60_000));
        let claimed = (0..100).filter_map(|_| channel.claim(&mut requests(&[&long]), Instant::now(), None));
        let mut claims: Vec<Claim> = claimed.collect();
        assert_eq!(claims.len(), MOST_REMEMBERED / 60_002);
        assert_eq!(claims.pop().unwrap().take_back().len(), 1);
        assert!(channel.claim(&mut requests(&[&long]), Instant::now(), None).is_some(), "what is taken back is room again");
    }

    #[test]
    fn a_channel_is_found_by_its_whole_token() {
        let channels = Channels::default();
        let channel = channels.open("token", (None, None));
        assert!(channels.find("token").is_some_and(|found| Arc::ptr_eq(&found, &channel)));
        assert!(channels.find("toke").is_none());
        channels.forget("token");
        assert!(channels.find("token").is_none());
    }
}
