//! The event stream of a binding of a later epoch, on its way to the client: its event ids and the ids of the server's
//! requests say their epoch, and nothing else is altered.
//!
//! What kind an event is may stand behind its data, so an event is held until it is whole; no more than one is, and what
//! stands between events is not.

use std::mem;

use memchr::memchr2;
use smallvec::SmallVec;

use super::endpoint::{BYTE_ORDER_MARK, field, lines, without_end};
use super::event_id::{EventTag, Stream};
use super::splice::Splice;

mod data;
mod line;
#[cfg(test)]
mod tests;

use line::LineTagger;

/// The longest event whose data is looked at, in bytes. Of a longer one the id is tagged and all else passes as it came.
pub const MOST_HELD: usize = 1 << 20;

/// Room for an event that is kept for the next one.
const ROOM_KEPT: usize = 16 << 10;

/// Progress tokens that are kept until they are taken; further ones are lost, and their progress with them.
const MOST_TOKENS: usize = 1024;

/// Progress tokens as the server wrote them.
pub type Tokens = SmallVec<[Box<str>; 1]>;

/// Writes epochs into a stream.
#[derive(Debug)]
pub struct Retag {
    epoch: u32,
    ids: LineTagger,
    /// So many bytes of a byte order mark have come; as many as it has, too, where none has.
    mark: usize,
    place: Place,
    /// Nothing of the present line has come.
    at_start: bool,
    after_cr: bool,
    /// The event so far, from the start of its first line.
    held: Vec<u8>,
    tokens: Tokens,
    passed_over: u32,
}

/// Where in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between events; comments and blank lines pass.
    Between,
    /// In an event, which is held.
    Event,
    /// In one that is too long for that.
    LongEvent,
}

impl Retag {
    /// For the stream of a binding; in epoch 0 nothing is altered.
    pub fn new(epoch: u32, stream: Stream) -> Self {
        let tag = if epoch == 0 { String::new() } else { EventTag { epoch, stream }.prefix() };
        Self {
            epoch,
            ids: LineTagger::new(tag),
            mark: 0,
            place: Place::Between,
            at_start: true,
            after_cr: false,
            held: Vec::new(),
            tokens: Tokens::new(),
            passed_over: 0,
        }
    }

    /// Takes in the next bytes, in any cut, and puts out what need not wait.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = self.behind_mark(bytes, out);
        while !rest.is_empty() {
            let (run, behind) = rest.split_at(memchr2(b'\n', b'\r', rest).unwrap_or(rest.len()));
            self.take_run(run, out);
            let Some((end, behind)) = behind.split_first() else { return };
            self.take_end(*end, out);
            rest = behind;
        }
    }

    /// The stream has ended: what was held, as it came. It is no event, for its end is missing.
    pub fn end(&mut self) -> Vec<u8> {
        let half_a_mark = if self.mark < BYTE_ORDER_MARK.len() { mem::take(&mut self.mark) } else { 0 };
        [&BYTE_ORDER_MARK[..half_a_mark], &mem::take(&mut self.held)].concat()
    }

    /// The progress tokens of the server's requests that have passed since this was asked last: the client's progress
    /// with them belongs to this binding.
    pub fn take_tokens(&mut self) -> Tokens {
        mem::take(&mut self.tokens)
    }

    /// Events that were longer than [`MOST_HELD`], so that their data was not looked at.
    pub fn passed_over(&self) -> u32 {
        self.passed_over
    }

    /// One byte order mark at the very start is no part of the stream (HTML living standard, 9.2.5).
    fn behind_mark<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let mut rest = bytes;
        while self.mark < BYTE_ORDER_MARK.len() {
            let Some((byte, behind)) = rest.split_first() else { return rest };
            if *byte != BYTE_ORDER_MARK[self.mark] {
                // What looked like one is the beginning of a line.
                let looked = mem::replace(&mut self.mark, BYTE_ORDER_MARK.len());
                self.take_run(&BYTE_ORDER_MARK[..looked], out);
                return rest;
            }
            (self.mark, rest) = (self.mark + 1, behind);
            if self.mark == BYTE_ORDER_MARK.len() {
                out.extend_from_slice(BYTE_ORDER_MARK);
            }
        }
        rest
    }

    /// A part of a line.
    fn take_run(&mut self, run: &[u8], out: &mut Vec<u8>) {
        let Some(first) = run.first() else { return };
        if self.at_start && self.place == Place::Between && *first != b':' {
            self.place = Place::Event;
        }
        self.at_start = false;
        self.after_cr = false;
        self.put(run, out);
    }

    /// The end of a line, or the second byte of one.
    fn take_end(&mut self, byte: u8, out: &mut Vec<u8>) {
        let is_second = mem::replace(&mut self.after_cr, byte == b'\r') && byte == b'\n';
        self.put(&[byte], out);
        if is_second {
            return;
        }
        let is_blank = mem::replace(&mut self.at_start, true);
        if !is_blank {
            return;
        }
        if self.place == Place::Event {
            self.end_event(out);
        }
        self.place = Place::Between;
    }

    fn put(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.place {
            Place::Between => out.extend_from_slice(bytes),
            Place::LongEvent => self.ids.feed(bytes, out),
            Place::Event if self.held.len() + bytes.len() <= MOST_HELD => self.held.extend_from_slice(bytes),
            Place::Event => {
                self.place = Place::LongEvent;
                self.passed_over = self.passed_over.saturating_add(1);
                self.ids.feed(&mem::take(&mut self.held), out);
                self.ids.feed(bytes, out);
            }
        }
    }

    fn end_event(&mut self, out: &mut Vec<u8>) {
        let mut event = mem::take(&mut self.held);
        let mut at = 0;
        // They are in lines of data, which say nothing to the tagger.
        for (place, with) in self.splices(&event).unwrap_or_default() {
            self.ids.feed(&event[at..place.start], out);
            out.extend_from_slice(with.as_bytes());
            at = place.end;
        }
        self.ids.feed(&event[at..], out);
        if event.capacity() <= ROOM_KEPT {
            event.clear();
            self.held = event;
        }
    }

    /// What is to be altered in the data of an event.
    fn splices(&mut self, event: &[u8]) -> Option<Vec<Splice>> {
        let (mut kind, mut at) = (&b""[..], 0);
        // With their places in the event.
        let mut data = SmallVec::<[(usize, &[u8]); 1]>::new();
        for line in lines(event) {
            let content = without_end(line);
            match field(content) {
                (b"data", value) => data.push((at + content.len() - value.len(), value)),
                (b"event", value) => kind = value,
                _ => {}
            }
            at += line.len();
        }
        if !(kind.is_empty() || kind == b"message") {
            return None;
        }
        let read = match &data[..] {
            [] => return None,
            [(_, one)] => data::read(str::from_utf8(one).ok()?, self.epoch)?,
            _ => {
                let joined = data.iter().map(|(_, line)| *line).collect::<Vec<_>>().join(&b'\n');
                data::read(str::from_utf8(&joined).ok()?, self.epoch)?
            }
        };
        let in_event = |(place, with): Splice| {
            let mut line_at = 0;
            for (at, line) in &data {
                if place.start <= line_at + line.len() {
                    let is_inside = place.start >= line_at && place.end <= line_at + line.len();
                    return is_inside.then(|| (at + place.start - line_at..at + place.end - line_at, with));
                }
                line_at += line.len() + 1;
            }
            None
        };
        let splices = read.splices.into_iter().map(in_event).collect::<Option<Vec<_>>>()?;
        let room = MOST_TOKENS.saturating_sub(self.tokens.len());
        self.tokens.extend(read.tokens.into_iter().take(room));
        Some(splices)
    }
}
