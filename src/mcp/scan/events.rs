//! Outcomes in an event stream (HTML living standard, 9.2.6): the JSON in the data of `message`
//! events.

use memchr::memchr2;
use smallvec::SmallVec;

use super::fnv;
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

/// A scanner of an event stream, whose messages are read on so many levels. Between two events, where a stream is nearly always, it
/// holds little: what an event needs is made where it begins, and kept only where it does not end in the same bytes.
#[derive(Clone, Default)]
pub struct EventsOf<const N: usize> {
    kept: Kept,
    event: Option<Box<Event<N>>>,
}

/// What outlasts an event.
#[derive(Clone, Default)]
struct Kept {
    /// So many bytes of a byte order mark have come; as many as it has, too, where none has.
    mark: u8,
    after_cr: bool,
    has_ids: bool,
    garbled: u32,
    /// Of the last id; see [`hash_of_id`].
    last_id: u64,
    /// Of those before it, the newest first; zero where there was none.
    earlier_ids: [u64; EARLIER_IDS],
}

/// An event that has begun.
#[derive(Clone, Default)]
struct Event<const N: usize> {
    at: At,
    data: JsonOf<N>,
    has_data: bool,
    is_other: bool,
    /// In place while there is one, which is all that most events have.
    held: SmallVec<[Message; 1]>,
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
    /// Then what an event listed is asked for after its end.
    const READS_LISTS: bool = JsonOf::<N>::READS_LISTS;

    /// Takes in the next bytes, and tells of every message that they complete.
    pub fn feed(&mut self, bytes: &[u8], tell: &mut impl FnMut(Message)) {
        let Self { kept, event } = self;
        if let Some(underway) = event {
            underway.feed(kept, bytes, tell);
            if underway.is_over() && !Self::READS_LISTS {
                *event = None;
            }
            return;
        }
        let mut begun = Event::default();
        begun.feed(kept, bytes, tell);
        if !begun.is_over() || Self::READS_LISTS {
            *event = Some(Box::new(begun));
        }
    }

    /// Events whose data was not JSON.
    pub fn garbled(&self) -> u32 {
        self.kept.garbled
    }

    /// Whether events have ids, so that the stream can be resumed.
    pub fn has_ids(&self) -> bool {
        self.kept.has_ids
    }

    /// The hash of the last event's id ([`hash_of_id`]); nothing where none has one.
    pub fn last_id(&self) -> Option<u64> {
        self.kept.has_ids.then_some(self.kept.last_id)
    }

    /// The hashes of the last events' ids, the newest first; a few at the most.
    pub fn last_ids(&self) -> impl Iterator<Item = u64> {
        self.last_id().into_iter().chain(self.kept.earlier_ids.into_iter().filter(|id| *id != 0))
    }

    /// Whether the last byte was one of the number that is `result.ttlMs` of a message.
    pub(super) fn is_in_ttl(&self) -> bool {
        self.event.as_ref().is_some_and(|event| event.at == At::DataValue && event.data.is_in_ttl())
    }

    /// The tools that were listed since the last message began, where this reads deep enough for them.
    pub(super) fn tools(&self) -> Option<&Tools> {
        self.event.as_ref().map(|event| event.data.tools())
    }

    /// Whether the stream may end here: between two events.
    pub fn end(&self) -> End {
        let half_a_mark = (1..MARK.len()).contains(&usize::from(self.kept.mark));
        let is_between = self.event.as_ref().is_none_or(|event| event.at == At::Start && !event.has_data);
        if is_between && !half_a_mark { End::Whole } else { End::Cut }
    }
}

impl Kept {
    fn begin_id(&mut self) {
        if self.has_ids {
            self.earlier_ids.rotate_right(1);
            self.earlier_ids[0] = self.last_id;
        }
        self.has_ids = true;
    }
}

impl<const N: usize> Event<N> {
    /// Whether nothing of an event has come since the end of the one before.
    fn is_over(&self) -> bool {
        self.at == At::Start && !self.has_data && !self.is_other
    }

    fn feed(&mut self, kept: &mut Kept, bytes: &[u8], tell: &mut impl FnMut(Message)) {
        let mut rest = self.behind_mark(kept, bytes);
        while let Some((byte, behind)) = rest.split_first() {
            let whole = match self.at {
                At::Start => self.whole_line(kept, rest, tell),
                At::DataValue | At::Passed => self.more_of_line(kept, rest, tell),
                _ => None,
            };
            rest = whole.unwrap_or_else(|| {
                self.step(kept, *byte, tell);
                behind
            });
        }
    }

    /// A line that is whole in the bytes at hand, and what ends it; one of nearly all that there are.
    fn whole_line<'a>(&mut self, kept: &mut Kept, bytes: &'a [u8], tell: &mut impl FnMut(Message)) -> Option<&'a [u8]> {
        if let Some(rest) = bytes.strip_prefix(b"event: message\n").or_else(|| bytes.strip_prefix(b"event: message\r\n")) {
            (kept.after_cr, self.is_other) = (false, false);
            return Some(rest);
        }
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
                kept.begin_id();
                kept.last_id = hash_of_id(value.strip_prefix(b" ").unwrap_or(value));
            }
            [b':', ..] => {}
            _ => return None,
        }
        kept.after_cr = false;
        Some(match rest {
            [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] => rest,
            _ => {
                self.at = At::Passed;
                rest
            }
        })
    }

    /// The rest of a line of which no more is to be understood but data.
    fn more_of_line<'a>(&mut self, kept: &mut Kept, bytes: &'a [u8], tell: &mut impl FnMut(Message)) -> Option<&'a [u8]> {
        let end = memchr2(b'\n', b'\r', bytes).unwrap_or(bytes.len());
        let (run, rest) = bytes.split_at(end);
        if run.is_empty() {
            return None;
        }
        if self.at == At::DataValue {
            self.take_data(run, tell);
        }
        kept.after_cr = false;
        Some(rest)
    }

    /// One byte order mark at the very start is no part of the stream (9.2.5).
    fn behind_mark<'a>(&mut self, kept: &mut Kept, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while let Some(expected) = MARK.get(usize::from(kept.mark)) {
            let Some((byte, behind)) = rest.split_first() else { break };
            if byte == expected {
                (kept.mark, rest) = (kept.mark + 1, behind);
                continue;
            }
            // What looked like one was the beginning of a line that says nothing here.
            if kept.mark > 0 {
                self.at = At::Passed;
            }
            kept.mark = MARK.len() as u8;
        }
        rest
    }

    fn step(&mut self, kept: &mut Kept, byte: u8, tell: &mut impl FnMut(Message)) {
        let second_of_pair = kept.after_cr && byte == b'\n';
        kept.after_cr = byte == b'\r';
        if second_of_pair {
            return;
        }
        if matches!(byte, b'\r' | b'\n') {
            return self.end_line(kept, tell);
        }
        self.at = match (self.at, byte) {
            (At::Start, b'd') => At::Data(1),
            (At::Start, b'e') => At::Event(1),
            (At::Start, b'i') => At::Id(1),
            (At::Id(1), b'd') => At::Id(2),
            (At::Id(2), b':') => {
                kept.begin_id();
                kept.last_id = hash_of_id(b"");
                At::IdColon
            }
            (At::IdColon, b' ') => At::IdValue,
            (At::IdColon | At::IdValue, byte) => {
                kept.last_id = fnv::and(kept.last_id, &[byte]);
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

    fn take_data(&mut self, bytes: &[u8], tell: &mut impl FnMut(Message)) {
        let held = &mut self.held;
        self.data.feed(bytes, &mut |message| if held.len() < HELD { held.push(message) } else { tell(message) });
    }

    fn end_line(&mut self, kept: &mut Kept, tell: &mut impl FnMut(Message)) {
        match self.at {
            At::Start => return self.end_event(kept, tell),
            // A field without a colon has an empty value.
            At::Data(4) => self.begin_data(tell),
            At::Event(5) | At::EventColon => self.is_other = false,
            At::EventValue(read) => self.is_other = !matches!(read, Some(0)) && read != Some(MESSAGE.len() as u8),
            _ => {}
        }
        self.at = At::Start;
    }

    fn end_event(&mut self, kept: &mut Kept, tell: &mut impl FnMut(Message)) {
        // Empty data primes a stream for resumption (2025-11-25, SEP-1699) and says nothing.
        if self.has_data && !self.is_other && !self.data.is_untouched() {
            if self.data.end() == End::Whole {
                self.held.iter().for_each(|message| tell(*message));
            } else {
                kept.garbled += 1;
            }
        }
        self.held.clear();
        self.data.reset();
        self.has_data = false;
        self.is_other = false;
    }
}

/// By which an event's id is known again.
pub fn hash_of_id(id: &[u8]) -> u64 {
    fnv::and(fnv::NOTHING, id)
}

fn matches_next(read: Option<u8>, byte: u8) -> Option<u8> {
    read.filter(|read| MESSAGE.get(usize::from(*read)) == Some(&byte)).map(|read| read + 1)
}
