//! The audit's files: appended to, put aside when long, and a chain over all of them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::anchor::{self, AnchorFile};
use super::sync_folder;
use crate::live::chain::{Anchor, Damage, Link, Stamp, TORN, sha256};
use crate::telemetry::clock::wall_time;

pub(super) mod read;

/// A file of this length is put aside.
const LONG: u64 = 16 << 20;

/// So many that were put aside are kept.
const KEPT: u32 = 3;

pub(super) struct AuditFile {
    path: PathBuf,
    file: File,
    length: u64,
    long: u64,
    anchor_file: AnchorFile,
    anchor: Anchor,
    /// What has to stand before the next line; the anchor is past it already.
    owed: String,
    /// There may be more in the file than its length says: a write that could not be taken back.
    overhangs: bool,
}

impl AuditFile {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        Self::open_with(root, LONG)
    }

    fn open_with(root: &Path, long: u64) -> io::Result<Self> {
        let path = Self::path(root);
        let found = anchor::read(root)?;
        let began = if found.is_none() { put_unchained_aside(root)? } else { false };
        let file = open(&path)?;
        let length = file.metadata()?.len();
        let anchor_file = AnchorFile::open(root)?;
        let end = End::of(root)?;
        let (anchor, owed) = go_on(root, found, &end, began)?;
        let mut audit = Self { path, file, length, long, anchor_file, anchor, owed, overhangs: false };
        // What cannot be written yet is written with the next line.
        match audit.write_owed().and_then(|()| audit.anchor_file.write_safely(&audit.anchor)) {
            Ok(()) => {}
            Err(error) => tracing::error!(%error, "the audit cannot be written"),
        }
        Ok(audit)
    }

    pub(super) fn path(root: &Path) -> PathBuf {
        root.join("audit.jsonl")
    }

    /// Appends a line with these members, whole or not at all: what could not be written to its end is taken back, so
    /// that the next attempt does not stand behind half a line.
    pub(super) fn append(&mut self, members: &str) -> io::Result<()> {
        self.append_by(members, |mut file, text| file.write_all(text).and_then(|()| file.sync_data()))
    }

    fn append_by(&mut self, members: &str, write: impl FnOnce(&File, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let (line, link) = self.anchor.last.next(members);
        let text = format!("{}{line}\n", self.owed);
        // What closes off half a line stands in the file of that.
        if self.owed.is_empty() && self.length > 0 && self.length + text.len() as u64 > self.long {
            self.put_aside()?;
        }
        self.write(text.as_bytes(), write)?;
        self.owed.clear();
        self.anchor.last = link;
        // The line is on the disk: an anchor behind it is no reason to write the line again.
        if let Err(error) = self.anchor_file.write(&self.anchor) {
            tracing::error!(%error, "the audit's anchor cannot be written");
        }
        Ok(())
    }

    fn write(&mut self, text: &[u8], write: impl FnOnce(&File, &[u8]) -> io::Result<()>) -> io::Result<()> {
        if self.overhangs {
            self.file.set_len(self.length)?;
        }
        self.overhangs = true;
        if let Err(error) = write(&self.file, text) {
            self.file.set_len(self.length)?;
            self.overhangs = false;
            return Err(error);
        }
        self.overhangs = false;
        self.length += text.len() as u64;
        Ok(())
    }

    fn write_owed(&mut self) -> io::Result<()> {
        let owed = self.owed.clone();
        if !owed.is_empty() {
            self.write(owed.as_bytes(), |mut file, text| file.write_all(text).and_then(|()| file.sync_data()))?;
            self.owed.clear();
        }
        Ok(())
    }

    fn put_aside(&mut self) -> io::Result<()> {
        // Put aside already, by a try that could not open the next one.
        if !self.path.try_exists()? {
            self.file = open(&self.path)?;
            self.length = 0;
            return Ok(());
        }
        self.anchor_what_is_dropped()?;
        for number in (1..KEPT).rev() {
            match fs::rename(aside(&self.path, number), aside(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, aside(&self.path, 1))?;
        self.file = open(&self.path)?;
        self.length = 0;
        Ok(())
    }

    /// Before it goes: the first line that stays says what the last that goes was.
    fn anchor_what_is_dropped(&mut self) -> io::Result<()> {
        let stays = aside(&self.path, KEPT - 1);
        if !aside(&self.path, KEPT).try_exists()? || !stays.try_exists()? {
            return Ok(());
        }
        // A line that cannot be read is no line of ours: the anchor stays, and a look at the chain finds it.
        if let Some(stamp) = first_stamp(&stays)? {
            self.anchor.dropped = stamp.before();
        }
        self.anchor_file.write_safely(&self.anchor)
    }
}

/// How the lines end.
#[derive(Default)]
struct End {
    /// The last whole line, if it is one of the chain.
    last: Option<Link>,
    /// What stands behind the last line feed.
    rest: Vec<u8>,
    is_empty: bool,
}

impl End {
    fn of(root: &Path) -> io::Result<Self> {
        let path = AuditFile::path(root);
        for (path, is_current) in [(path.clone(), true), (aside(&path, 1), false)] {
            let bytes = match fs::read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                bytes => bytes?,
            };
            if bytes.is_empty() {
                continue;
            }
            let (whole, rest) = bytes.split_at(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
            let last = whole.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
            let link = last.and_then(|line| Some(Link { seq: Stamp::of(line)?.seq, sha256: sha256(line) }));
            let rest = if is_current { rest.to_vec() } else { Vec::new() };
            return Ok(Self { last: link, rest, is_empty: false });
        }
        Ok(Self { is_empty: true, ..Self::default() })
    }
}

/// Where the chain goes on, and what is to be written first. Never over a break: where lines are gone, or are others than
/// the anchor knows, the next one follows what the anchor knows, so that the break stays to be found.
fn go_on(root: &Path, found: Option<Result<Anchor, Damage>>, end: &End, began: bool) -> io::Result<(Anchor, String)> {
    let mut owed = String::new();
    let mut notes = Vec::new();
    let mut anchor = match found {
        Some(Ok(anchor)) => anchor,
        None if end.is_empty => Anchor::default(),
        lost => {
            let what = lost.and_then(Result::err).map_or("the file is gone".to_owned(), |damage| damage.what);
            notes.push(json!({ "type": "audit-anchor-lost", "what": what }));
            let first = first_stamp(&oldest(root))?;
            Anchor { dropped: first.map(Stamp::before).unwrap_or_default(), last: end.last.clone().unwrap_or_default() }
        }
    };
    let known = end.last.as_ref().map_or(0, |last| last.seq);
    match &end.last {
        Some(last) if last.seq > anchor.last.seq => anchor.last = last.clone(),
        last if last.as_ref() != Some(&anchor.last) && anchor.last.seq > 0 => {
            notes.push(json!({ "type": "audit-broken", "what": "the end is not the one that was written", "found": known, "written": anchor.last.seq }));
        }
        _ => {}
    }
    if !end.rest.is_empty() {
        owed.push('\n');
        let whole = Stamp::of(&end.rest);
        if whole.is_some_and(|stamp| stamp.seq == anchor.last.seq + 1 && stamp.prev == anchor.last.sha256) {
            // All of it but the line feed.
            anchor.last = Link { seq: anchor.last.seq + 1, sha256: sha256(&end.rest) };
        } else {
            let closing =
                json!({ "type": TORN, "whole_sha256": anchor.last.sha256, "bytes": end.rest.len(), "time": wall_time() });
            let (line, link) = anchor.last.next_after(&sha256(&end.rest), &closing.to_string());
            owed.push_str(&format!("{line}\n"));
            anchor.last = link;
        }
    }
    if began {
        notes.push(json!({ "type": "audit-began", "what": "the lines before have no chain: they are in audit-unchained.jsonl" }));
    }
    for mut note in notes {
        tracing::error!(audit = %note, "the audit was not found as it was left");
        note["time"] = json!(wall_time());
        let (line, link) = anchor.last.next(&note.to_string());
        owed.push_str(&format!("{line}\n"));
        anchor.last = link;
    }
    Ok((anchor, owed))
}

/// What was written before there was a chain keeps its lines, under another name.
fn put_unchained_aside(root: &Path) -> io::Result<bool> {
    let path = AuditFile::path(root);
    if !path.try_exists()? || fs::metadata(&path)?.len() == 0 || first_stamp(&path)?.is_some() {
        return Ok(false);
    }
    for (from, number) in files(&path) {
        let to = root.join("audit-unchained.jsonl");
        let to = if number == 0 { to } else { aside(&to, number) };
        match fs::rename(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(true)
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
    sync_folder(path.parent())?;
    Ok(file)
}

fn aside(path: &Path, number: u32) -> PathBuf {
    path.with_extension(format!("jsonl.{number}"))
}

/// All names there can be, oldest first.
fn files(path: &Path) -> Vec<(PathBuf, u32)> {
    (0..=KEPT).rev().map(|number| (if number == 0 { path.to_owned() } else { aside(path, number) }, number)).collect()
}

fn oldest(root: &Path) -> PathBuf {
    let path = AuditFile::path(root);
    files(&path).into_iter().map(|(path, _)| path).find(|path| path.exists()).unwrap_or(path)
}

fn first_stamp(path: &Path) -> io::Result<Option<Stamp>> {
    let mut line = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => BufReader::new(file?).read_until(b'\n', &mut line)?,
    };
    Ok(Stamp::of(line.trim_ascii_end()))
}

#[cfg(test)]
mod tests;
