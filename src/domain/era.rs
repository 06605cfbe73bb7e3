//! The two eras of the protocol, and who serves which.

use super::{Entry, PerEntry};

/// An era of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// 2024-11-05 to 2025-11-25: a handshake, and sessions.
    Legacy,
    /// From 2026-07-28: neither.
    Modern,
}

/// Which eras a server serves, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eras {
    /// Whether it serves the legacy era.
    pub legacy: Option<bool>,
    /// Whether it serves the modern era.
    pub modern: Option<bool>,
}

impl Eras {
    /// Whether a server may be asked in this era: it is not known to refuse.
    pub fn may_serve(self, era: Era) -> bool {
        match era {
            Era::Legacy => self.legacy != Some(false),
            Era::Modern => self.modern != Some(false),
        }
    }

    /// What is known now, over what was known before: an answer that says nothing of an era leaves
    /// standing what earlier ones said.
    pub fn over(self, before: Self) -> Self {
        Self { legacy: self.legacy.or(before.legacy), modern: self.modern.or(before.modern) }
    }

    /// What several servers serve that stand for one: an era that one of them refuses is not served.
    pub fn of_all(all: impl Iterator<Item = Self>) -> Self {
        let both = |one: Option<bool>, two: Option<bool>| match (one, two) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (known, None) | (None, known) => known,
            (Some(true), Some(true)) => Some(true),
        };
        all.fold(Self::default(), |one, two| Self { legacy: both(one.legacy, two.legacy), modern: both(one.modern, two.modern) })
    }

    /// The word for status and logs; nothing while neither is known to be served.
    pub fn as_str(self) -> Option<&'static str> {
        match (self.legacy, self.modern) {
            (Some(true), Some(true)) => Some("dual"),
            (Some(true), _) => Some("legacy"),
            (_, Some(true)) => Some("modern"),
            _ => None,
        }
    }
}

impl PerEntry<Eras> {
    /// Whether a client that asks which era to speak may be shown this one. The answer has to hold for
    /// the origin, not for the entry that happened to be asked: clients remember it.
    pub fn offers(&self, era: Era) -> bool {
        Entry::BOTH.iter().all(|entry| self[*entry].may_serve(era))
    }

    /// The word for what clients are offered; nothing while it is not known.
    pub fn offered(&self) -> Option<&'static str> {
        Eras::of_all(Entry::BOTH.iter().map(|entry| self[*entry])).as_str()
    }

    /// Whether every era is refused by one entry or the other.
    pub fn meet_nowhere(&self) -> bool {
        !self.offers(Era::Legacy) && !self.offers(Era::Modern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEGACY: Eras = Eras { legacy: Some(true), modern: Some(false) };
    const DUAL: Eras = Eras { legacy: Some(true), modern: Some(true) };
    const MODERN: Eras = Eras { legacy: Some(false), modern: Some(true) };

    #[test]
    fn modern_is_offered_only_where_no_entry_refuses_it() {
        let unknown = Eras::default();
        for (primary, secondary, offered) in [
            (LEGACY, LEGACY, false),
            (LEGACY, DUAL, false),
            (LEGACY, MODERN, false),
            (LEGACY, unknown, false),
            (DUAL, DUAL, true),
            (DUAL, MODERN, true),
            (MODERN, MODERN, true),
            (MODERN, unknown, true),
            (unknown, unknown, true),
        ] {
            assert_eq!(PerEntry { primary, secondary }.offers(Era::Modern), offered, "{primary:?} {secondary:?}");
            assert_eq!(PerEntry { primary: secondary, secondary: primary }.offers(Era::Modern), offered);
        }
    }

    #[test]
    fn an_entry_serves_what_none_of_its_endpoints_refuses() {
        assert_eq!(Eras::of_all([DUAL, LEGACY].into_iter()).as_str(), Some("legacy"));
        assert_eq!(Eras::of_all([DUAL, Eras::default()].into_iter()), DUAL);
        assert_eq!(Eras::of_all([LEGACY, MODERN].into_iter()).as_str(), None, "no era that both can speak");
        assert_eq!(Eras::of_all(std::iter::empty()), Eras::default());
    }

    #[test]
    fn a_check_that_learns_nothing_of_an_era_takes_nothing_back() {
        assert_eq!(Eras { legacy: None, modern: Some(false) }.over(DUAL), LEGACY);
        assert_eq!(Eras::default().over(MODERN), MODERN);
    }
}
