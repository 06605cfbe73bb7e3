//! Outcomes in an event stream (HTML living standard, 9.2.6): the JSON in the data of `message`
//! events.

use memchr::memchr2;
use smallvec::SmallVec;

use super::json::{JsonOf, LEVELS, Tools};
use super::{End, Message};

/// Messages of one event that are held until its type is known; a batch of more is told at once.
const HELD: usize = 128;

/// So many ids before the last are known again: of a stream whose client has left unfelt, these may have been sent to nobody.
const EARLIER_IDS: usize = 3;

/// U+FEFF in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The type of events that carry messages; an event without a type has it, too.
const MESSAGE: &[u8] = b"message";

/// A scanner of most event streams.
pub type Events = EventsOf<LEVELS>;

/// A scanner of an event stream, whose messages are read on so many levels.
#[derive(Clone, Default)]
pub struct EventsOf<const N: usize> {
    /// So many bytes of a byte order mark have come; as many as it has, too, where none has.
    mark: usize,
    at: At,
    after_cr: bool,
    data: JsonOf<N>,
    has_data: bool,
    is_other: bool,
    has_ids: bool,
    /// Of the last id; see [`hash_of_id`].
    last_id: u64,
    /// Of those before it, the newest first; zero where there was none.
    earlier_ids: [u64; EARLIER_IDS],
    /// In place while there is one, which is all that most events have.
    held: SmallVec<[Message; 1]>,
    garbled: u32,
}

/// Where in a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// At its start.
    #[default]
    Start,
    /// In the name of `data`; so many bytes have matched.
    Data(u8),
    /// In the name of `event`.
    Event(u8),
    /// Behind a colon: one blank is not part of the value.
    DataColon,
    /// The same for the type.
    EventColon,
    /// In the value of data.
    DataValue,
    /// In the value of the type: so many bytes have matched; nothing where one did not.
    EventValue(Option<u8>),
    /// In the name of `id`; so many bytes have matched.
    Id(u8),
    /// Behind its colon.
    IdColon,
    /// In the value of the id.
    IdValue,
    /// In a line that says nothing here.
    Passed,
}

impl<const N: usize> EventsOf<N> {
    /// Takes in the next bytes, and tells of every message that they complete.
    pub fn feed(&mut self, bytes: &[u8], tell: &mut impl FnMut(Message)) {
        let mut rest = self.behind_mark(bytes);
        while let Some((byte, behind)) = rest.split_first() {
            let whole = match self.at {
                At::Start => self.whole_line(rest, tell),
                At::DataValue | At::Passed => self.more_of_line(rest, tell),
                _ => None,
            };
            rest = whole.unwrap_or_else(|| {
                self.step(*byte, tell);
                behind
            });
        }
    }

    /// A line that is whole in the bytes at hand, up to what ends it; one of nearly all that there are.
    fn whole_line<'a>(&mut self, bytes: &'a [u8], tell: &mut impl FnMut(Message)) -> Option<&'a [u8]> {
        let end = memchr2(b'\n', b'\r', bytes).filter(|end| *end > 0)?;
        let (line, rest) = bytes.split_at(end);
        match line {
            [b'd', b'a', b't', b'a', b':', value @ ..] => {
                self.begin_data(tell);
                self.take_data(value.strip_prefix(b" ").unwrap_or(value), tell);
            }
            [b'e', b'v', b'e', b'n', b't', b':', value @ ..] => {
                let value = value.strip_prefix(b" ").unwrap_or(value);
                self.is_other = !value.is_empty() && value != MESSAGE;
            }
            [b'i', b'd', b':', value @ ..] => {
                self.begin_id();
                self.last_id = hash_of_id(value.strip_prefix(b" ").unwrap_or(value));
            }
            [b':', ..] => {}
            _ => return None,
        }
        self.after_cr = false;
        self.at = At::Passed;
        Some(rest)
    }

    /// The rest of a line of which no more is to be understood but data.
    fn more_of_line<'a>(&mut self, bytes: &'a [u8], tell: &mut impl FnMut(Message)) -> Option<&'a [u8]> {
        let end = memchr2(b'\n', b'\r', bytes).unwrap_or(bytes.len());
        let (run, rest) = bytes.split_at(end);
        if run.is_empty() {
            return None;
        }
        if self.at == At::DataValue {
            self.take_data(run, tell);
        }
        self.after_cr = false;
        Some(rest)
    }

    /// One byte order mark at the very start is no part of the stream (9.2.5).
    fn behind_mark<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while self.mark < MARK.len() {
            let Some((byte, behind)) = rest.split_first() else { break };
            if *byte == MARK[self.mark] {
                (self.mark, rest) = (self.mark + 1, behind);
                continue;
            }
            // What looked like one was the beginning of a line that says nothing here.
            if self.mark > 0 {
                self.at = At::Passed;
            }
            self.mark = MARK.len();
        }
        rest
    }

    /// Events whose data was not JSON.
    pub fn garbled(&self) -> u32 {
        self.garbled
    }

    /// Whether events have ids, so that the stream can be resumed.
    pub fn has_ids(&self) -> bool {
        self.has_ids
    }

    /// The hash of the last event's id ([`hash_of_id`]); nothing where none has one.
    pub fn last_id(&self) -> Option<u64> {
        self.has_ids.then_some(self.last_id)
    }

    /// The hashes of the last events' ids, the newest first; a few at the most.
    pub fn last_ids(&self) -> impl Iterator<Item = u64> {
        self.last_id().into_iter().chain(self.earlier_ids.into_iter().filter(|id| *id != 0))
    }

    /// Whether the last byte was one of the number that is `result.ttlMs` of a message.
    pub(super) fn is_in_ttl(&self) -> bool {
        self.at == At::DataValue && self.data.is_in_ttl()
    }

    /// The tools that were listed since the last message began, where this reads deep enough for them.
    pub(super) fn tools(&self) -> &Tools {
        self.data.tools()
    }

    /// Whether the stream may end here: between two events.
    pub fn end(&self) -> End {
        let half_a_mark = (1..MARK.len()).contains(&self.mark);
        if self.at == At::Start && !self.has_data && !half_a_mark { End::Whole } else { End::Cut }
    }

    fn step(&mut self, byte: u8, tell: &mut impl FnMut(Message)) {
        let second_of_pair = self.after_cr && byte == b'\n';
        self.after_cr = byte == b'\r';
        if second_of_pair {
            return;
        }
        if matches!(byte, b'\r' | b'\n') {
            return self.end_line(tell);
        }
        self.at = match (self.at, byte) {
            (At::Start, b'd') => At::Data(1),
            (At::Start, b'e') => At::Event(1),
            (At::Start, b'i') => At::Id(1),
            (At::Id(1), b'd') => At::Id(2),
            (At::Id(2), b':') => {
                self.begin_id();
                self.last_id = hash_of_id(b"");
                At::IdColon
            }
            (At::IdColon, b' ') => At::IdValue,
            (At::IdColon | At::IdValue, byte) => {
                self.last_id = hashed(self.last_id, byte);
                At::IdValue
            }
            (At::Data(4), b':') => {
                self.begin_data(tell);
                At::DataColon
            }
            (At::Event(5), b':') => At::EventColon,
            (At::Data(read), byte) if b"data".get(usize::from(read)) == Some(&byte) => At::Data(read + 1),
            (At::Event(read), byte) if b"event".get(usize::from(read)) == Some(&byte) => At::Event(read + 1),
            (At::DataColon, b' ') => At::DataValue,
            (At::DataColon | At::DataValue, byte) => {
                self.take_data(&[byte], tell);
                At::DataValue
            }
            (At::EventColon, b' ') => At::EventValue(Some(0)),
            (At::EventColon, byte) => At::EventValue(matches_next(Some(0), byte)),
            (At::EventValue(read), byte) => At::EventValue(matches_next(read, byte)),
            _ => At::Passed,
        };
    }

    /// A second line of data goes on behind a line feed.
    fn begin_data(&mut self, tell: &mut impl FnMut(Message)) {
        if self.has_data {
            self.take_data(b"\n", tell);
        }
        self.has_data = true;
    }

    fn begin_id(&mut self) {
        if self.has_ids {
            self.earlier_ids.rotate_right(1);
            self.earlier_ids[0] = self.last_id;
        }
        self.has_ids = true;
    }

    fn take_data(&mut self, bytes: &[u8], tell: &mut impl FnMut(Message)) {
        let held = &mut self.held;
        self.data.feed(bytes, &mut |message| if held.len() < HELD { held.push(message) } else { tell(message) });
    }

    fn end_line(&mut self, tell: &mut impl FnMut(Message)) {
        match self.at {
            At::Start => return self.end_event(tell),
            // A field without a colon has an empty value.
            At::Data(4) => self.begin_data(tell),
            At::Event(5) | At::EventColon => self.is_other = false,
            At::EventValue(read) => self.is_other = !matches!(read, Some(0)) && read != Some(MESSAGE.len() as u8),
            _ => {}
        }
        self.at = At::Start;
    }

    fn end_event(&mut self, tell: &mut impl FnMut(Message)) {
        // Empty data primes a stream for resumption (2025-11-25, SEP-1699) and says nothing.
        if self.has_data && !self.is_other && !self.data.is_untouched() {
            if self.data.end() == End::Whole {
                self.held.iter().for_each(|message| tell(*message));
            } else {
                self.garbled += 1;
            }
        }
        self.held.clear();
        self.data.reset();
        self.has_data = false;
        self.is_other = false;
    }
}

/// By which an event's id is known again (FNV-1a): it comes in pieces, and is not kept. A client that makes two alike can
/// only mistake its own.
pub fn hash_of_id(id: &[u8]) -> u64 {
    id.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| hashed(hash, *byte))
}

fn hashed(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

fn matches_next(read: Option<u8>, byte: u8) -> Option<u8> {
    read.filter(|read| MESSAGE.get(usize::from(*read)) == Some(&byte)).map(|read| read + 1)
}
