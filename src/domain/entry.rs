//! The two slots of a service.

use std::fmt;
use std::ops::{Index, IndexMut};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One of the two deployed versions of a service. The slots are symmetrical: the next deploy
/// goes to whichever is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    /// The first slot.
    Primary,
    /// The second slot.
    Secondary,
}

impl Entry {
    /// Both entries, primary first.
    pub const BOTH: [Self; 2] = [Self::Primary, Self::Secondary];

    /// The other slot.
    pub fn other(self) -> Self {
        match self {
            Self::Primary => Self::Secondary,
            Self::Secondary => Self::Primary,
        }
    }

    /// The word used in configuration, API, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Entry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "primary" => Ok(Self::Primary),
            "secondary" => Ok(Self::Secondary),
            other => Err(format!("`{other}` is not an entry (primary or secondary)")),
        }
    }
}

/// One value for each entry, indexed by [`Entry`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerEntry<T> {
    /// The primary's value.
    pub primary: T,
    /// The secondary's value.
    pub secondary: T,
}

impl<T> PerEntry<T> {
    /// Makes both values from their entry.
    pub fn from_fn(mut make: impl FnMut(Entry) -> T) -> Self {
        Self { primary: make(Entry::Primary), secondary: make(Entry::Secondary) }
    }

    /// Both values with their entries, primary first.
    pub fn iter(&self) -> impl Iterator<Item = (Entry, &T)> {
        Entry::BOTH.into_iter().map(|entry| (entry, &self[entry]))
    }
}

impl<T> Index<Entry> for PerEntry<T> {
    type Output = T;

    fn index(&self, entry: Entry) -> &T {
        match entry {
            Entry::Primary => &self.primary,
            Entry::Secondary => &self.secondary,
        }
    }
}

impl<T> IndexMut<Entry> for PerEntry<T> {
    fn index_mut(&mut self, entry: Entry) -> &mut T {
        match entry {
            Entry::Primary => &mut self.primary,
            Entry::Secondary => &mut self.secondary,
        }
    }
}
