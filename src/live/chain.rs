//! The audit's chain: every line has a number and the SHA-256 of the line before it.
//!
//! ```text
//! {"seq":7,"prev":"<SHA-256 of line 6, its exact bytes without the line feed>", …}
//! ```
//!
//! The first line of all has the number 1 and a `prev` of zeros. An [`Anchor`] beside the lines holds both ends of what
//! should be there: the last line that was dropped on purpose, and the last that was written. So a line that was changed,
//! removed, moved or added is found, wherever it stands. Whoever can write all files, the anchor included, can make
//! another whole chain: against them, keep a `last` and its hash elsewhere.

use std::fmt;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

/// The type of the line that closes off one that a crash cut short.
pub(super) const TORN: &str = "audit-torn";

/// A line, as far as the chain knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its number, from 1.
    pub seq: u64,
    /// The SHA-256 of its bytes in hex, the line feed not among them.
    pub sha256: String,
}

impl Default for Link {
    /// What the first line of all comes after.
    fn default() -> Self {
        Self { seq: 0, sha256: "0".repeat(64) }
    }
}

impl Link {
    /// The line after this one with the members of a JSON object, and its link.
    pub(super) fn next(&self, members: &str) -> (String, Self) {
        self.next_after(&self.sha256, members)
    }

    /// The same, after something else than a whole line.
    pub(super) fn next_after(&self, prev: &str, members: &str) -> (String, Self) {
        let seq = self.seq + 1;
        let rest = members.trim_start().strip_prefix('{').unwrap_or("}").trim_start();
        let comma = if rest.starts_with('}') { "" } else { "," };
        let line = format!("{{\"seq\":{seq},\"prev\":\"{prev}\"{comma}{rest}");
        let link = Self { seq, sha256: sha256(line.as_bytes()) };
        (line, link)
    }
}

/// Both ends of what should be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The last line that was dropped to make room; number 0: none was.
    pub dropped: Link,
    /// The last line that was written. Lines may follow it: those of a process that was killed before it could say so.
    pub last: Link,
}

/// What a line says about its place.
#[derive(Deserialize)]
pub(super) struct Stamp {
    pub(super) seq: u64,
    pub(super) prev: String,
    #[serde(default, rename = "type")]
    kind: String,
    /// Of a line that closes off a torn one: the SHA-256 of the last whole line before that.
    whole_sha256: Option<String>,
}

impl Stamp {
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The line before.
    pub(super) fn before(self) -> Link {
        Link { seq: self.seq.saturating_sub(1), sha256: self.prev }
    }
}

/// What a look at the whole audit came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whether every line is there, in its place and unchanged.
    pub intact: bool,
    /// Lines that were read, as far as the first damage.
    pub lines: u64,
    /// The number of the first.
    pub first: Option<u64>,
    /// The number of the last.
    pub last: Option<u64>,
    /// The SHA-256 of the last, to be kept elsewhere.
    pub last_sha256: Option<String>,
    /// Lines that were dropped to make room.
    pub dropped: u64,
    /// What is worth knowing and no damage.
    pub notes: Vec<String>,
    /// What is wrong first.
    pub damage: Option<Damage>,
}

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// The line in it, from 1; 0: not one of its lines.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{}:{line}: {}", self.file, self.what),
        }
    }
}

/// Goes through the lines, oldest first, and stops at the first that is wrong.
pub(super) struct Checker {
    anchor: Result<Anchor, Damage>,
    last: Option<Link>,
    place: Place,
    /// A line that is none of the chain: the next one must say that a crash cut it short.
    odd: Option<(Place, String)>,
    report: Report,
}

#[derive(Clone, Default)]
struct Place {
    file: String,
    line: u64,
}

impl Place {
    fn damage(&self, what: impl Into<String>) -> Damage {
        Damage { file: self.file.clone(), line: self.line, what: what.into() }
    }
}

impl Checker {
    /// With the anchor, or what is wrong with it.
    pub(super) fn new(anchor: Result<Anchor, Damage>) -> Self {
        Self { anchor, last: None, place: Place::default(), odd: None, report: Report::default() }
    }

    /// The next lines are of this file.
    pub(super) fn file(&mut self, name: &str) {
        self.place = Place { file: name.to_owned(), line: 0 };
    }

    /// The next line, without its line feed. Whether to go on.
    pub(super) fn line(&mut self, line: &[u8]) -> bool {
        self.place.line += 1;
        self.report.damage = self.check(line).err();
        self.report.damage.is_none()
    }

    /// What stands behind the last line feed of the last file.
    pub(super) fn rest(&mut self, rest: &[u8]) {
        if !rest.is_empty() && self.report.damage.is_none() {
            let Place { file, line } = &self.place;
            self.report.notes.push(format!(
                "{file}:{}: the last line is cut short: it is being written, or a crash cut it, and the next start closes it off",
                line + 1
            ));
        }
    }

    /// What it all came to; the anchor may have moved on to this number meanwhile.
    pub(super) fn end(mut self, by_now: u64) -> Report {
        self.report.damage = self.report.damage.take().or_else(|| self.wrong_at_the_end(by_now));
        self.report.intact = self.report.damage.is_none();
        self.report.last = self.last.as_ref().map(|link| link.seq);
        self.report.last_sha256 = self.last.map(|link| link.sha256);
        self.report.dropped = self.anchor.map_or(0, |anchor| anchor.dropped.seq);
        self.report
    }

    fn check(&mut self, line: &[u8]) -> Result<(), Damage> {
        let own = sha256(line);
        let odd = self.odd.take();
        let Some(stamp) = Stamp::of(line) else {
            if let Some((place, _)) = odd {
                return Err(place.damage(NO_LINE));
            }
            self.odd = Some((self.place.clone(), own));
            return Ok(());
        };
        match &odd {
            Some((place, fragment)) => self.closes(&stamp, place, fragment)?,
            None => self.follows(&stamp)?,
        }
        let link = Link { seq: stamp.seq, sha256: own };
        if let Ok(anchor) = &self.anchor {
            let pinned = [&anchor.dropped, &anchor.last].into_iter().find(|pinned| pinned.seq == link.seq);
            if pinned.is_some_and(|pinned| pinned.sha256 != link.sha256) {
                return Err(self.place.damage(format!("line {} was changed: its SHA-256 is not the anchor's", link.seq)));
            }
        }
        self.report.lines += 1;
        self.report.first.get_or_insert(link.seq);
        self.last = Some(link);
        Ok(())
    }

    /// Whether a line stands behind the right one.
    fn follows(&self, stamp: &Stamp) -> Result<(), Damage> {
        let before = match (&self.last, &self.anchor) {
            (Some(last), _) => last,
            (None, Ok(anchor)) if stamp.seq > anchor.dropped.seq => &anchor.dropped,
            // Dropped, it says, but a crash came before that was done; or there is no anchor to ask.
            (None, _) => return Ok(()),
        };
        let wanted = before.seq + 1;
        let at_the_start = if self.place.line == 1 { " (a file before this one is missing or cut)" } else { "" };
        if stamp.seq > wanted {
            let gone = lines(wanted, stamp.seq - 1);
            return Err(self.place.damage(format!("{gone} missing before line {}{at_the_start}", stamp.seq)));
        }
        if stamp.seq < wanted {
            return Err(self.place.damage(format!("line {} stands where line {wanted} belongs", stamp.seq)));
        }
        if stamp.prev != before.sha256 {
            let what = format!("line {} was changed, or the `prev` of line {wanted}: they do not fit", before.seq);
            return Err(self.place.damage(what));
        }
        Ok(())
    }

    /// Whether a line closes off the torn one before it.
    fn closes(&mut self, stamp: &Stamp, torn: &Place, fragment: &str) -> Result<(), Damage> {
        let before = match (&self.last, &self.anchor) {
            (Some(last), _) => Some(last.clone()),
            (None, Ok(anchor)) => Some(anchor.dropped.clone()),
            (None, Err(_)) => None,
        };
        let follows = before.is_none_or(|last| stamp.seq == last.seq + 1 && stamp.whole_sha256.as_ref() == Some(&last.sha256));
        if stamp.kind != TORN || stamp.prev != fragment || !follows {
            return Err(torn.damage(NO_LINE));
        }
        let Place { file, line } = torn;
        self.report.notes.push(format!("{file}:{line}: cut short by a crash; line {} closes it off", stamp.seq));
        Ok(())
    }

    fn wrong_at_the_end(&mut self, by_now: u64) -> Option<Damage> {
        if let Some((place, _)) = &self.odd {
            return Some(place.damage(NO_LINE));
        }
        let anchor = match &self.anchor {
            Ok(anchor) => anchor,
            Err(damage) => return Some(damage.clone()),
        };
        let last = self.last.as_ref().map_or(anchor.dropped.seq, |link| link.seq);
        if last < anchor.last.seq {
            return Some(Damage {
                file: self.place.file.clone(),
                line: 0,
                what: format!("{} missing from the end", lines(last + 1, anchor.last.seq)),
            });
        }
        let anchored = by_now.max(anchor.last.seq);
        if last > anchored {
            let more = last - anchored;
            self.report.notes.push(format!("{more} written after the anchor: it follows at the next line or start"));
        }
        None
    }
}

const NO_LINE: &str = "not a line of the audit: it was changed, or written by somebody else";

fn lines(from: u64, to: u64) -> String {
    if from == to { format!("line {from} is") } else { format!("lines {from} to {to} are") }
}

/// In hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    let sum = digest::digest(&digest::SHA256, bytes);
    sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_number_and_the_hash_of_the_line_before_first() {
        let (one, link) = Link::default().next(r#"{"type":"split"}"#);
        assert_eq!(one, format!(r#"{{"seq":1,"prev":"{}","type":"split"}}"#, "0".repeat(64)));
        let (two, link) = link.next("{}");
        assert_eq!(two, format!(r#"{{"seq":2,"prev":"{}"}}"#, sha256(one.as_bytes())));
        assert_eq!(link, Link { seq: 2, sha256: sha256(two.as_bytes()) });
    }
}
