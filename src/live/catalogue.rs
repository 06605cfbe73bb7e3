//! Which tools each entry lists, from the answers to `tools/list` that pass.
//!
//! Names only, as hashes. What one client is shown may be kept from another, so that names are gathered from all listings
//! of a version, and an entry counts as without a tool only where a listing was seen to its end, not long ago, and
//! none had the tool. Calls read this without a lock, and where both entries list the same not even that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::pins::of_client;
use crate::domain::{ClientKey, Entry, PerEntry};
use crate::mcp::scan::Page;

/// Names of one version; of one that has more, no tool is known to be missing.
const MOST_NAMES: usize = 8192;

/// Listings that wait for their next page.
const MOST_OPEN: usize = 64;

/// After a whole listing, what it had not is believed to be missing for so long: a server may come to have it, and be
/// listed by way of another replica of the proxy.
const LASTS: Duration = Duration::from_secs(10 * 60);

/// The tools of a service's entries, shared by all workers.
#[derive(Debug, Default)]
pub struct Catalogue {
    sides: PerEntry<ArcSwap<Side>>,
    /// Whether one entry lists a tool that the other does not.
    differs: AtomicBool,
    open: Mutex<Vec<Open>>,
}

/// What one entry lists.
#[derive(Clone, Debug, Default)]
struct Side {
    /// Its version: see [`super::pins::version_hash`].
    version: u32,
    /// In order.
    names: Vec<u64>,
    has_more: bool,
    /// Until when a whole listing counts.
    whole_until: Duration,
}

/// A listing of which the next page is to come.
#[derive(Debug)]
struct Open {
    entry: Entry,
    version: u32,
    /// The cursor of the next page, with its client.
    cursor: u64,
}

/// Which page of a list was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The first.
    First,
    /// That of a cursor, as its hash.
    Next(u64),
    /// Nobody has read the request.
    Unknown,
}

impl Catalogue {
    /// A page has been listed by this version of an entry; `now` is the time since the start.
    pub fn note(&self, entry: Entry, version: u32, key: ClientKey, turn: Turn, page: &Page, now: Duration) {
        // One at a time, as what is there is read, added to, and put back.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = match turn {
            Turn::First => true,
            Turn::Next(cursor) => take(&mut open, entry, version, of_client(cursor, key)),
            Turn::Unknown => false,
        };
        let is_whole = begun && page.next.is_none();
        if let Some(next) = page.next.filter(|_| begun) {
            if open.len() == MOST_OPEN {
                open.remove(0);
            }
            open.push(Open { entry, version, cursor: of_client(next, key) });
        }
        let before = self.sides[entry].load();
        let mut side = if before.version == version { Side::clone(&before) } else { Side { version, ..Side::default() } };
        side.add(page);
        if is_whole {
            side.whole_until = now + LASTS;
        }
        let says_more = side.names.len() != before.names.len() || side.has_more != before.has_more;
        // A listing that says nothing new makes the old one last; not each of them is worth a copy.
        let lasts_longer = side.whole_until > before.whole_until + LASTS / 10;
        if before.version != version || says_more || lasts_longer {
            self.sides[entry].store(side.into());
            self.differs.store(self.compare(), Ordering::Relaxed);
        }
    }

    /// Whether anybody need ask [`Self::only`].
    pub fn differs(&self) -> bool {
        self.differs.load(Ordering::Relaxed)
    }

    /// The entry that alone lists a tool, as the hash of its name, while these versions are in force.
    pub fn only(&self, tool: u64, versions: PerEntry<u32>, now: Duration) -> Option<Entry> {
        let sides = PerEntry::from_fn(|entry| self.sides[entry].load());
        let is_known = |entry: Entry| sides[entry].version == versions[entry];
        Entry::BOTH.into_iter().find(|entry| {
            let (own, other) = (&sides[*entry], &sides[entry.other()]);
            is_known(*entry) && own.has(tool) && is_known(entry.other()) && other.lacks(tool) && other.whole_until > now
        })
    }

    fn compare(&self) -> bool {
        let sides = PerEntry::from_fn(|entry| self.sides[entry].load());
        Entry::BOTH.into_iter().any(|entry| sides[entry].names.iter().any(|name| sides[entry.other()].lacks(*name)))
    }
}

impl Side {
    fn add(&mut self, page: &Page) {
        self.has_more |= page.has_more;
        for name in &page.names {
            if let Err(at) = self.names.binary_search(name) {
                if self.names.len() == MOST_NAMES {
                    self.has_more = true;
                    return;
                }
                self.names.insert(at, *name);
            }
        }
    }

    fn has(&self, name: u64) -> bool {
        self.names.binary_search(&name).is_ok()
    }

    /// Whether all listings were without it, of which one was whole.
    fn lacks(&self, name: u64) -> bool {
        self.whole_until > Duration::ZERO && !self.has_more && !self.has(name)
    }
}

/// Whether this is the next page of a listing that was followed from its first.
fn take(open: &mut Vec<Open>, entry: Entry, version: u32, cursor: u64) -> bool {
    let found = open.iter().position(|one| (one.entry, one.version, one.cursor) == (entry, version, cursor));
    found.map(|at| open.remove(at)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::KeySource;

    const SOON: Duration = Duration::from_secs(1);
    const VERSIONS: PerEntry<u32> = PerEntry { primary: 1, secondary: 2 };

    fn key(text: &[u8]) -> ClientKey {
        ClientKey::new(&KeySource::ApiKey, text)
    }

    fn page(names: &[u64], next: Option<u64>) -> Page {
        Page { names: names.to_vec(), has_more: false, next }
    }

    fn note(catalogue: &Catalogue, entry: Entry, turn: Turn, page: &Page) {
        catalogue.note(entry, VERSIONS[entry], key(b"k"), turn, page, Duration::ZERO);
    }

    fn only(catalogue: &Catalogue, tool: u64) -> Option<Entry> {
        let found = catalogue.only(tool, VERSIONS, SOON);
        assert!(found.is_none() || catalogue.differs());
        found
    }

    #[test]
    fn a_tool_is_of_one_entry_alone_where_the_other_was_listed_to_its_end_without_it() {
        let catalogue = Catalogue::default();
        note(&catalogue, Entry::Secondary, Turn::First, &page(&[7, 8], None));
        assert_eq!((only(&catalogue, 7), catalogue.differs()), (None, false), "nothing is known of the other");
        note(&catalogue, Entry::Primary, Turn::First, &page(&[8], None));
        assert_eq!((only(&catalogue, 7), only(&catalogue, 8), only(&catalogue, 9)), (Some(Entry::Secondary), None, None));
        note(&catalogue, Entry::Primary, Turn::First, &page(&[7, 8], None));
        assert_eq!((only(&catalogue, 7), catalogue.differs()), (None, false), "somebody else is shown it there");
    }

    #[test]
    fn a_listing_counts_once_all_its_pages_were_seen_by_one_client() {
        let catalogue = Catalogue::default();
        note(&catalogue, Entry::Secondary, Turn::First, &page(&[7], None));
        note(&catalogue, Entry::Primary, Turn::Next(1), &page(&[8], None));
        note(&catalogue, Entry::Primary, Turn::Unknown, &page(&[8], None));
        assert_eq!(only(&catalogue, 7), None, "nobody saw how that list began");
        note(&catalogue, Entry::Primary, Turn::First, &page(&[1], Some(1)));
        catalogue.note(Entry::Primary, 1, key(b"other"), Turn::Next(1), &page(&[2], None), Duration::ZERO);
        note(&catalogue, Entry::Primary, Turn::Next(1), &page(&[3], Some(2)));
        assert_eq!(only(&catalogue, 7), None, "there is more");
        note(&catalogue, Entry::Primary, Turn::Next(2), &page(&[4], None));
        assert_eq!(only(&catalogue, 7), Some(Entry::Secondary));
        assert_eq!(only(&catalogue, 4), Some(Entry::Primary));
    }

    #[test]
    fn what_a_version_listed_says_nothing_of_the_next_and_of_itself_not_for_ever() {
        let catalogue = Catalogue::default();
        note(&catalogue, Entry::Secondary, Turn::First, &page(&[7], None));
        note(&catalogue, Entry::Primary, Turn::First, &page(&[8], None));
        assert_eq!(catalogue.only(7, PerEntry { primary: 3, ..VERSIONS }, SOON), None);
        assert_eq!(catalogue.only(7, PerEntry { secondary: 3, ..VERSIONS }, SOON), None);
        assert_eq!(catalogue.only(7, VERSIONS, LASTS), None);
        catalogue.note(Entry::Primary, 1, key(b"k"), Turn::First, &page(&[8], None), LASTS);
        assert_eq!(catalogue.only(7, VERSIONS, LASTS), Some(Entry::Secondary), "listed again");
        catalogue.note(Entry::Primary, 3, key(b"k"), Turn::First, &page(&[9], None), LASTS);
        assert_eq!(catalogue.only(8, PerEntry { primary: 3, ..VERSIONS }, LASTS), None);
    }

    #[test]
    fn memory_is_bounded_and_where_it_is_full_nothing_is_known_to_be_missing() {
        let catalogue = Catalogue::default();
        note(&catalogue, Entry::Secondary, Turn::First, &page(&[7 << 40], None));
        for n in 0..3 {
            let names: Vec<u64> = (0..4096).map(|name| n << 32 | name).collect();
            note(&catalogue, Entry::Primary, Turn::First, &page(&names, None));
        }
        assert_eq!(catalogue.sides[Entry::Primary].load().names.len(), MOST_NAMES);
        assert_eq!(only(&catalogue, 7 << 40), None);
        (0..10_000).for_each(|n| note(&catalogue, Entry::Primary, Turn::First, &page(&[], Some(n))));
        assert_eq!(catalogue.open.lock().unwrap().len(), MOST_OPEN);
    }
}
