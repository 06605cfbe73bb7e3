//! An answer of HTTP/1.1 on its way to the client, written from the buffer that it was read into: nothing of a
//! stream that is quiet is held in memory but its sockets.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use http::StatusCode;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::Worker;
use super::body::{Answer, Piece, ToClient};
use super::socket::Watched;
use crate::telemetry::clock;
use crate::upstream::Desk;

/// Small parts are gathered up to so much before they are written.
const MOST_GATHERED: usize = 32 << 10;

/// Events up to this size are written together with those of other streams.
const MOST_TOGETHER: usize = 2 << 10;

/// Room in front of what is read for the head that it follows and the size of a chunk, and behind it for the line's end: a large part
/// is framed where it lies.
const FRONT: usize = 1 << 10;
const BACK: usize = 2;

/// Room for the size of a chunk.
const SIZE: usize = 18;

/// The last chunk, without trailers (RFC 9112, 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Why an answer did not reach its end.
#[derive(Debug)]
pub(super) enum Unfinished {
    /// The client takes no more.
    Client(io::Error),
    /// What was cut looks cut: the connection is closed in the middle.
    Cut,
}

/// An answer that is being written.
pub(super) struct Writer {
    body: ToClient,
    is_chunked: bool,
    /// What is still to be written of this is from `at` to `end`.
    waiting: Vec<u8>,
    at: usize,
    end: usize,
    must_write: bool,
    /// Where an event is at hand that others may follow at once.
    way: Way,
    is_stream: bool,
    over: Option<Over>,
    /// Where the connection ends with this answer.
    closing: Option<Rc<Watched>>,
}

/// The date as it is written, made anew when the time has been looked at anew.
#[derive(Default)]
pub(super) struct Dates(RefCell<Option<(Instant, String)>>);

impl Dates {
    fn put(&self, looked: Instant, out: &mut Vec<u8>) {
        let mut kept = self.0.borrow_mut();
        if let Some((_, date)) = kept.as_ref().filter(|(then, _)| *then == looked) {
            return line(out, b"date", date.as_bytes());
        }
        let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + clock::since_epoch());
        line(out, b"date", date.as_bytes());
        *kept = Some((looked, date));
    }
}

/// Whether an event lets others go first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Keeps,
    Gives,
    Gave,
}

#[derive(Clone, Copy)]
enum Over {
    Whole,
    Cut,
}

impl Writer {
    /// Begins with the head. `closing`: the connection is shut down after this answer, and that is said.
    pub(super) fn new(answer: Answer, closing: Option<Rc<Watched>>, worker: &Worker) -> Self {
        let Answer { head, body } = answer;
        let mut waiting = worker.wire.desk().writing();
        head.write(&mut waiting);
        if head.get("date").is_none() {
            // RFC 9110, 6.6.1: who forwards an answer without one says when it came.
            worker.dates.put(worker.vigil.now(), &mut waiting);
        }
        let has_none = matches!(head.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let is_said = head.get("content-length").is_some();
        let is_chunked = !has_none && !is_said && body.length().is_none();
        if is_chunked {
            line(&mut waiting, b"transfer-encoding", b"chunked");
        } else if !is_said && !has_none {
            line(&mut waiting, b"content-length", itoa::Buffer::new().format(body.length().unwrap_or_default()).as_bytes());
        }
        if closing.is_some() && head.get("connection").is_none() {
            line(&mut waiting, b"connection", b"close");
        }
        waiting.extend_from_slice(b"\r\n");
        let end = waiting.len();
        let is_stream = body.is_stream();
        Self { body, is_chunked, waiting, at: 0, end, must_write: false, way: Way::Keeps, is_stream, over: None, closing }
    }

    /// Reads here and there in what the next event needs. Between two of them, what a stream has in memory leaves the processor's caches;
    /// read where it is used, each piece would be waited for by itself. Here nothing depends on what is read, so that all of it comes
    /// at once.
    pub(super) fn look_ahead(&self) {
        if let ToClient::Held(held) = &self.body {
            held.look_ahead();
        }
    }

    /// Writes on, to the end of the answer. An event gives way, once, to whatever else can run by now: what is there of other streams is
    /// read first, and then all of it is written. Whoever sleeps and has several of them, a client, is woken once for them, and not
    /// for each: to wake somebody is a fifth of what an event costs where they come a few at a time (docs/performance.md).
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut (impl AsyncWrite + Unpin),
        desk: &Desk,
    ) -> Poll<Result<(), Unfinished>> {
        loop {
            self.way = if self.way == Way::Gives { Way::Gave } else { Way::Keeps };
            if self.has_given_way() {
                // Behind the tasks that are ready, and not, as tokio's own way of yielding would have it, behind a look at all sockets.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.must_write || self.over.is_some() || self.left() >= MOST_GATHERED {
                ready!(self.poll_write(context, stream, desk)).map_err(Unfinished::Client)?;
            }
            match self.over {
                None => {}
                Some(Over::Cut) => return Poll::Ready(Err(Unfinished::Cut)),
                Some(Over::Whole) => return Pin::new(&mut *stream).poll_flush(context).map_err(Unfinished::Client),
            }
            let mut buffer = desk.reading();
            let back = buffer.len() - BACK;
            match self.body.poll(context, &mut buffer[FRONT..back]) {
                Poll::Pending => {
                    desk.put_reading(buffer);
                    ready!(self.poll_write(context, stream, desk)).map_err(Unfinished::Client)?;
                    ready!(Pin::new(&mut *stream).poll_flush(context)).map_err(Unfinished::Client)?;
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(piece))) => self.put(piece, buffer, desk),
                Poll::Ready(Some(Err(_))) => {
                    desk.put_reading(buffer);
                    self.over = Some(Over::Cut);
                }
                Poll::Ready(None) => {
                    desk.put_reading(buffer);
                    if self.is_chunked {
                        self.gather(LAST_CHUNK, desk);
                    }
                    self.over = Some(Over::Whole);
                }
            }
        }
    }

    /// Whether it was asked last for nothing but to let others go first: it is asked again at once.
    pub(super) fn has_given_way(&self) -> bool {
        self.way == Way::Gave
    }

    fn left(&self) -> usize {
        self.end - self.at
    }

    /// Takes a part of the body; the buffer goes with it where nothing else waits.
    fn put(&mut self, piece: Piece, mut buffer: Vec<u8>, desk: &Desk) {
        let range = match piece {
            // An empty chunk would be the last one.
            Piece::Apart(bytes) if bytes.is_empty() => return desk.put_reading(buffer),
            Piece::Apart(bytes) => {
                desk.put_reading(buffer);
                if self.is_chunked {
                    let mut size = [0; SIZE];
                    let at = write_size(&mut size, bytes.len());
                    self.gather(&size[at..], desk);
                }
                self.gather(&bytes, desk);
                if self.is_chunked {
                    self.gather(b"\r\n", desk);
                }
                return;
            }
            Piece::Here(range) => range.start + FRONT..range.end + FRONT,
        };
        let (mut start, mut end) = (range.start, range.end);
        if self.is_chunked {
            start = write_size(&mut buffer[..start], range.len());
            buffer[end..end + BACK].copy_from_slice(b"\r\n");
            end += BACK;
        }
        let before = self.left();
        if self.is_stream && before == 0 && end - start <= MOST_TOGETHER {
            // Moved: of buffers to read into there are few.
            self.gather(&buffer[start..end], desk);
            (self.must_write, self.way) = (true, Way::Gives);
            return desk.put_reading(buffer);
        }
        if before > start || (before > 0 && end - start < MOST_GATHERED) {
            self.gather(&buffer[start..end], desk);
            return desk.put_reading(buffer);
        }
        start -= before;
        buffer[start..start + before].copy_from_slice(&self.waiting[self.at..self.end]);
        // It is written from where it lies, and what a slow client leaves of it waits there.
        desk.put(std::mem::replace(&mut self.waiting, buffer));
        (self.at, self.end, self.must_write) = (start, end, true);
    }

    fn gather(&mut self, bytes: &[u8], desk: &Desk) {
        if self.left() == 0 {
            desk.put(std::mem::replace(&mut self.waiting, desk.writing()));
            (self.at, self.end) = (0, 0);
        }
        self.waiting.extend_from_slice(bytes);
        self.end += bytes.len();
    }

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut (impl AsyncWrite + Unpin),
        desk: &Desk,
    ) -> Poll<io::Result<()>> {
        self.must_write = true;
        if let (Some(watched), Some(Over::Whole)) = (&self.closing, self.over) {
            watched.writes_the_last();
        }
        while self.left() > 0 {
            match ready!(Pin::new(&mut *stream).poll_write(context, &self.waiting[self.at..self.end])) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.at += count,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.must_write = false;
        (self.at, self.end) = (0, 0);
        desk.put(std::mem::take(&mut self.waiting));
        Poll::Ready(Ok(()))
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// A chunk's size line, at the end of this room; where it begins.
fn write_size(room: &mut [u8], size: usize) -> usize {
    let mut at = room.len() - 2;
    room[at..].copy_from_slice(b"\r\n");
    let mut left = size;
    loop {
        at -= 1;
        room[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
        if left == 0 {
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bell::tests::task;
    use super::*;

    fn writer(waiting: Vec<u8>, is_chunked: bool, is_stream: bool) -> Writer {
        let (body, end) = (ToClient::Own(bytes::Bytes::new()), waiting.len());
        let (must_write, way, over, closing) = (false, Way::Keeps, None, None);
        Writer { body, is_chunked, waiting, at: 0, end, must_write, way, is_stream, over, closing }
    }

    /// What waits to be written once a part has come behind a head, and whether it is to be written before more is asked for.
    fn behind(head: usize, part: usize, is_chunked: bool, desk: &Desk) -> (Vec<u8>, bool) {
        let mut buffer = desk.reading();
        buffer[FRONT..FRONT + part].fill(b'p');
        let mut writer = writer(vec![b'h'; head], is_chunked, false);
        writer.put(Piece::Here(0..part), buffer, desk);
        (writer.waiting[writer.at..writer.end].to_vec(), writer.must_write)
    }

    #[test]
    fn a_part_follows_its_head_whatever_their_sizes() {
        let desk = Desk::default();
        let most = desk.reading().len() - FRONT - BACK;
        for head in [0, 1, 300, FRONT - SIZE, FRONT - 7, FRONT, FRONT + 1, 20_000] {
            for part in [1, 200, MOST_GATHERED - 1, MOST_GATHERED, MOST_GATHERED + 1, 50_000, most] {
                for is_chunked in [false, true] {
                    let (waits, _) = behind(head, part, is_chunked, &desk);
                    let mut whole = vec![b'h'; head];
                    if is_chunked {
                        whole.extend_from_slice(format!("{part:x}\r\n").as_bytes());
                    }
                    whole.extend(std::iter::repeat_n(b'p', part));
                    if is_chunked {
                        whole.extend_from_slice(b"\r\n");
                    }
                    assert!(waits == whole, "a head of {head}, a part of {part}, chunked: {is_chunked}");
                }
            }
        }
    }

    #[test]
    fn a_small_part_waits_for_the_end_that_may_follow_it() {
        let desk = Desk::default();
        assert!(!behind(300, MOST_GATHERED - SIZE, true, &desk).1, "the last chunk goes in the same write");
        assert!(behind(300, MOST_GATHERED, true, &desk).1, "nothing this large is moved");
        assert!(behind(0, 10, true, &desk).1, "nothing waits that it could follow");
    }

    #[test]
    fn an_event_gives_way_once_and_is_then_written() {
        let (desk, (task, waker)) = (Desk::default(), task());
        let mut context = Context::from_waker(&waker);
        for (head, part, gives_way) in [(0, 10, 1), (0, MOST_TOGETHER, 0), (300, 10, 0)] {
            let mut buffer = desk.reading();
            buffer[FRONT..FRONT + part].fill(b'p');
            let (mut writer, mut out) = (writer(vec![b'h'; head], true, true), Vec::new());
            writer.put(Piece::Here(0..part), buffer, &desk);
            let before = task.times();
            for _ in 0..gives_way {
                assert!(writer.poll(&mut context, &mut out, &desk).is_pending() && out.is_empty());
                assert!(writer.has_given_way(), "nobody is asked meanwhile whether the client is there");
            }
            assert!(writer.poll(&mut context, &mut out, &desk).is_ready() && !writer.has_given_way());
            assert_eq!(task.times() - before, gives_way, "it is asked again at once");
            let expected = [vec![b'h'; head], format!("{part:x}\r\n{}\r\n0\r\n\r\n", "p".repeat(part)).into_bytes()].concat();
            assert!(out == expected, "a head of {head}, an event of {part}");
        }
    }
}
