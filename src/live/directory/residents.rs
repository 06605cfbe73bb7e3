//! The journal of sessions: frames one after the other, appended in batches.
//!
//! ```text
//! frame: ff fd | version | 0 | length of the body (4) | check (8) | body        big-endian
//! body:  key (16) | when it was written, in seconds since 1970 (8) | traces
//! ```
//!
//! Of what is torn or altered, the next frame is looked for, so that it costs itself alone. What a client has written is in
//! the bodies, but cannot look like a frame: it is UTF-8, in which there is no `ff`.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use super::sync_folder;
use crate::live::residents::{ResidentBatch, ResidentJournal, ResidentKey, ResidentRecord, Traces, still_counts};
use crate::telemetry::clock::since_epoch;

const MARK: [u8; 2] = [0xff, 0xfd];
const VERSION: u8 = 1;
const HEADER: usize = 16;

/// What the check is over, of the header: version, zero, and length.
const CHECKED: std::ops::Range<usize> = 2..8;

/// Key and time.
const FIXED: usize = 24;

/// The longest body, in bytes: a session has 16 KiB of memory, and essentials of 8.
const MOST_BODY: usize = 64 << 10;

/// Read at once, in bytes.
const CHUNK: usize = 256 << 10;

/// What a journal says. A later record of a session takes the place of an earlier one; what is torn, altered or has run out is
/// passed over, and so is what a later version has written.
pub(super) fn read(path: &Path) -> io::Result<ResidentJournal> {
    let mut frames = match File::open(path) {
        Ok(file) => Frames::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ResidentJournal::default()),
        Err(error) => return Err(error),
    };
    let now = since_epoch();
    let mut found = HashMap::new();
    while let Some((_, body)) = frames.next()? {
        if let Some(ResidentRecord { key, written, text }) = read_body(body) {
            found.insert(key, (written, text));
        }
    }
    found.retain(|_, (written, text)| counts(*written, text, now));
    let (later, length) = (frames.later, frames.at);
    if later > 0 {
        tracing::warn!(path = %path.display(), records = later, "records of sessions that a later version has written are passed over");
    }
    let needed = needed(found.values().map(|(_, text)| text));
    let records = found.into_iter().map(|(key, (written, text))| ResidentRecord { key, written, text }).collect();
    Ok(ResidentJournal { records, length, needed })
}

/// Writes a batch. When it returns, it is on the disk; gives the length of the journal in bytes.
pub(super) fn write(path: &Path, batch: &ResidentBatch) -> io::Result<u64> {
    if batch.anew { write_anew(path, batch) } else { append(path, &batch.records) }
}

fn append(path: &Path, records: &[ResidentRecord]) -> io::Result<u64> {
    let open = |create| OpenOptions::new().create_new(create).append(true).mode(0o600).open(path);
    let (file, is_new) = match open(false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (open(true)?, true),
        opened => (opened?, false),
    };
    let before = file.metadata()?.len();
    if let Err(error) = write_records(BufWriter::with_capacity(CHUNK, &file), records) {
        // It is tried again, whole: what there is of it now only takes up room.
        let _ = file.set_len(before);
        return Err(error);
    }
    // The name, too: what a loss of power takes away was not kept.
    if is_new {
        sync_folder(path.parent())?;
    }
    Ok(file.metadata()?.len())
}

/// Copies what still counts, so that neither is in memory as a whole.
fn write_anew(path: &Path, batch: &ResidentBatch) -> io::Result<u64> {
    let records = &batch.records;
    // No service's own: names do not begin with a dot.
    let anew = path.with_file_name(format!(".{}", path.file_name().unwrap_or_default().display()));
    let file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&anew)?;
    let mut buffered = BufWriter::with_capacity(CHUNK, &file);
    match File::open(path) {
        Ok(before) => {
            let mut places = last_places(before.try_clone()?)?;
            for record in records {
                places.remove(&record.key);
            }
            let places = newest(places, batch.room.saturating_sub(needed(records.iter().map(|record| &record.text))));
            let mut frame = Vec::new();
            for (at, length) in places {
                frame.resize(length, 0);
                before.read_exact_at(&mut frame, at)?;
                buffered.write_all(&frame)?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    write_records(buffered, records)?;
    fs::rename(&anew, path)?;
    sync_folder(path.parent())?;
    Ok(file.metadata()?.len())
}

/// The places of the newest frames that take up so many bytes, in the order of the places.
fn newest(places: HashMap<ResidentKey, Place>, room: u64) -> Vec<(u64, usize)> {
    let mut places: Vec<Place> = places.into_values().collect();
    places.sort_unstable_by_key(|place| std::cmp::Reverse(place.written));
    let mut taken = 0;
    let fits = |place: &Place| {
        taken += place.length as u64;
        taken <= room
    };
    let mut newest: Vec<_> = places.into_iter().take_while(fits).map(|place| (place.at, place.length)).collect();
    newest.sort_unstable();
    newest
}

/// How long the frames of these texts are.
fn needed<'t>(texts: impl Iterator<Item = &'t Box<[u8]>>) -> u64 {
    texts.map(|text| (HEADER + FIXED + text.len()) as u64).sum()
}

/// A frame.
struct Place {
    written: Duration,
    at: u64,
    length: usize,
}

/// Where the last frame of each session is that still counts.
fn last_places(file: File) -> io::Result<HashMap<ResidentKey, Place>> {
    let now = since_epoch();
    let mut places = HashMap::new();
    let mut frames = Frames::new(file);
    while let Some((at, body)) = frames.next()? {
        let Some((key, written, text)) = parts(body) else { continue };
        match counts(written, text, now) {
            true => places.insert(key, Place { written, at, length: HEADER + body.len() }),
            false => places.remove(&key),
        };
    }
    Ok(places)
}

/// When it returns, they are on the disk.
fn write_records(mut buffered: BufWriter<&File>, records: &[ResidentRecord]) -> io::Result<()> {
    // Those that cannot be read again are not worth the room.
    let fit = records.iter().filter(|record| FIXED + record.text.len() <= MOST_BODY);
    fit.into_iter().try_for_each(|record| buffered.write_all(&frame_of(record)))?;
    buffered.flush()?;
    buffered.get_ref().sync_data()
}

fn frame_of(record: &ResidentRecord) -> Vec<u8> {
    let body = FIXED + record.text.len();
    let mut frame = Vec::with_capacity(HEADER + body);
    frame.extend_from_slice(&MARK);
    frame.extend_from_slice(&[VERSION, 0]);
    frame.extend_from_slice(&u32::try_from(body).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&[0; 8]);
    frame.extend_from_slice(&record.key);
    frame.extend_from_slice(&record.written.as_secs().to_be_bytes());
    frame.extend_from_slice(&record.text);
    let check = check(&frame[CHECKED], &frame[HEADER..]);
    frame[CHECKED.end..HEADER].copy_from_slice(&check);
    frame
}

fn read_body(body: &[u8]) -> Option<ResidentRecord> {
    let (key, written, text) = parts(body)?;
    Some(ResidentRecord { key, written, text: text.into() })
}

fn parts(body: &[u8]) -> Option<(ResidentKey, Duration, &[u8])> {
    let (key, rest) = body.split_first_chunk()?;
    let (written, text) = rest.split_first_chunk()?;
    Some((*key, Duration::from_secs(u64::from_be_bytes(*written)), text))
}

/// Whether a record is still of use.
fn counts(written: Duration, text: &[u8], now: Duration) -> bool {
    still_counts(written, text, now) && Traces::decode(text).is_some_and(|traces| !traces.is_nothing())
}

fn check(header: &[u8], body: &[u8]) -> [u8; 8] {
    let mut hasher = SipHasher13::new_with_key(b"dualgate.session");
    hasher.write(header);
    hasher.write(body);
    hasher.finish().to_be_bytes()
}

/// The frames of a journal, read a chunk at a time.
struct Frames<R> {
    input: R,
    buffer: Vec<u8>,
    /// What of the buffer was looked at.
    from: usize,
    /// Where in the journal that is.
    at: u64,
    is_at_end: bool,
    /// Frames of later versions.
    later: u64,
}

impl<R: Read> Frames<R> {
    fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), from: 0, at: 0, is_at_end: false, later: 0 }
    }

    /// The next frame of this version: where it begins, and its body.
    fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        loop {
            self.fill(HEADER)?;
            if self.from == self.buffer.len() {
                return Ok(None);
            }
            let Some(length) = body_length(&self.buffer[self.from..]) else {
                self.skip();
                continue;
            };
            self.fill(HEADER + length)?;
            let Some(frame) = self.buffer[self.from..].get(..HEADER + length).filter(|frame| is_whole(frame)) else {
                self.skip();
                continue;
            };
            let is_later = frame[2] != VERSION;
            let (at, body) = (self.at, self.from + HEADER..self.from + HEADER + length);
            self.pass(HEADER + length);
            if !is_later {
                return Ok(Some((at, &self.buffer[body])));
            }
            self.later += 1;
        }
    }

    /// Reads until there are so many bytes to look at, if there are.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        while self.buffer.len() - self.from < wanted && !self.is_at_end {
            self.buffer.drain(..self.from);
            self.from = 0;
            let before = self.buffer.len();
            self.input.by_ref().take(CHUNK as u64).read_to_end(&mut self.buffer)?;
            self.is_at_end = self.buffer.len() == before;
        }
        Ok(())
    }

    /// There is no frame here: on to where one may begin.
    fn skip(&mut self) {
        let rest = &self.buffer[self.from + 1..];
        self.pass(1 + rest.iter().position(|byte| *byte == MARK[0]).unwrap_or(rest.len()));
    }

    fn pass(&mut self, count: usize) {
        self.from += count;
        self.at += count as u64;
    }
}

/// How long the body of a frame is that begins here, if one does.
fn body_length(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<HEADER>().filter(|header| header[..2] == MARK)?;
    let length = header[4..8].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    (length <= MOST_BODY).then_some(length)
}

fn is_whole(frame: &[u8]) -> bool {
    frame[CHECKED.end..HEADER] == check(&frame[CHECKED], &frame[HEADER..])
}

#[cfg(test)]
mod tests;
