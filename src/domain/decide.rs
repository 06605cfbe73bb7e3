//! The decision: which entry a request goes to, and why.

use super::affinity::ClientKey;
use super::entry::{Entry, PerEntry};
use super::era::{Era, Eras};
use super::health::Standing;
use super::split::{Phase, Salt, Share, Split};

/// All that a decision may look at about the service, from one snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// The split in force.
    pub split: Split,
    /// Key of the position hash.
    pub salt: Salt,
    /// Start of the dealing of births.
    pub phase: Phase,
    /// The entry that is in charge.
    pub stable: Entry,
    /// Entries that were rolled back: no failover to them.
    pub condemned: PerEntry<bool>,
    /// The best standing of each entry's endpoints.
    pub standing: PerEntry<Standing>,
    /// Whether new clients of a dead entry may go to the other.
    pub failover: bool,
    /// The eras that each entry serves.
    pub serves: PerEntry<Eras>,
    /// Whether a client that asks which era to speak is shown the modern one.
    pub offers_modern: bool,
}

/// What a request asks for, as far as the split is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It carries a sealed session id: where it belongs is written there.
    Pinned(Entry),
    /// A tester named the entry.
    Tester(Entry),
    /// A legacy session is born and its client has no key.
    Birth,
    /// A client with a key: a birth, a modern request, a legacy request without a session.
    Client(ClientKey),
    /// A client with a key calls by a list that it had from this entry a moment ago.
    Listed(Entry, ClientKey),
    /// A client with a key calls a tool that only this entry lists.
    Called(Entry, ClientKey),
    /// Belongs to the entry in charge: not MCP, and `plain = "stable"`.
    Stable,
}

/// Why an entry was chosen; logged with every decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The session lives there.
    Pin,
    /// The tester header said so.
    Tester,
    /// It was this birth's turn.
    Birth,
    /// The client's position on the scale.
    Key,
    /// The client has just listed there.
    List,
    /// Only that entry lists the tool.
    Catalogue,
    /// Stable takes what is not MCP.
    Stable,
    /// The entry that was meant does not serve the client's era.
    Era,
    /// The entry that was meant is down, or new and not yet proven.
    Failover,
}

impl Why {
    /// The word for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Tester => "tester",
            Self::Birth => "birth",
            Self::Key => "key",
            Self::List => "list",
            Self::Catalogue => "catalogue",
            Self::Stable => "stable",
            Self::Era => "era",
            Self::Failover => "failover",
        }
    }
}

/// Where to, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The entry.
    pub entry: Entry,
    /// The reason.
    pub why: Why,
}

/// Why no entry takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseated {
    /// None can; the entry that was meant is named.
    Unusable(Entry),
    /// None speaks the modern era. A client that hears so goes back to the handshake.
    NotModern,
}

impl Scene {
    /// The entry that a request is meant for, whatever the checks say of it. `birth` is the number that
    /// a birth would be dealt.
    pub fn meant(&self, asked: Asked, birth: u64) -> Entry {
        match asked {
            Asked::Pinned(entry) | Asked::Tester(entry) => entry,
            Asked::Birth => self.split.of_birth(birth, self.phase),
            Asked::Client(key) => self.split.of_client(&self.salt, key),
            Asked::Listed(entry, _) if self.keeps_its_list(entry) => entry,
            Asked::Called(entry, key) if self.takes_for_its_tool(entry, key) => entry,
            Asked::Listed(_, key) | Asked::Called(_, key) => self.split.of_client(&self.salt, key),
            Asked::Stable => self.stable,
        }
    }

    /// Chooses for a request in an era; none where that does not matter. `next_birth` is drawn only when
    /// a birth is dealt, so that no other request uses up a turn.
    pub fn decide(&self, asked: Asked, era: Option<Era>, next_birth: impl FnOnce() -> u64) -> Result<Choice, Unseated> {
        let why = match asked {
            // A pin is kept whatever the checks say: the session's state is there and nowhere
            // else, and the endpoint may be back before the next check.
            Asked::Pinned(entry) => return Ok(Choice { entry, why: Why::Pin }),
            // Who is turned away is not born.
            Asked::Birth if Entry::BOTH.iter().all(|entry| self.standing[*entry] == Standing::Down) => {
                return Err(Unseated::Unusable(self.stable));
            }
            Asked::Birth => Why::Birth,
            Asked::Tester(_) => Why::Tester,
            Asked::Listed(entry, _) if self.keeps_its_list(entry) => Why::List,
            Asked::Called(entry, key) if self.takes_for_its_tool(entry, key) => Why::Catalogue,
            Asked::Client(_) | Asked::Listed(..) | Asked::Called(..) => Why::Key,
            Asked::Stable => Why::Stable,
        };
        let meant = self.meant(asked, if why == Why::Birth { next_birth() } else { 0 });
        // A tester wants this entry and no other: an answer from the wrong one would be a lie.
        let Choice { entry: meant, why } =
            if why == Why::Tester { Choice { entry: meant, why } } else { self.in_era(meant, why, era)? };
        if self.stands_in(meant) {
            return Ok(Choice { entry: meant, why });
        }
        let speaks = era.is_none_or(|era| self.serves[meant.other()].may_serve(era));
        if why != Why::Tester && speaks && self.may_fail_over_from(meant) {
            return Ok(Choice { entry: meant.other(), why: Why::Failover });
        }
        match self.standing[meant] {
            Standing::Down => Err(Unseated::Unusable(meant)),
            // Unknown, and the other is no better: follow the split.
            Standing::Unknown | Standing::Up => Ok(Choice { entry: meant, why }),
        }
    }

    /// The entry that is meant, or the other where only that one speaks the client's era: a client that
    /// has been shown an era stays with it. As a failover, it goes to nobody who was rolled back or is not
    /// proven; and the modern era, which is not offered then, to nobody who has no clients yet.
    fn in_era(&self, meant: Entry, why: Why, era: Option<Era>) -> Result<Choice, Unseated> {
        let as_meant = Ok(Choice { entry: meant, why });
        let Some(era) = era.filter(|era| !self.serves[meant].may_serve(*era)) else { return as_meant };
        let other = meant.other();
        let may_take = self.failover && !self.condemned[other];
        let has_clients = other == self.stable || self.split.share(other) != Share::NONE;
        match era {
            Era::Legacy if may_take && self.stands_in(other) && self.serves[other].legacy == Some(true) => {
                Ok(Choice { entry: other, why: Why::Era })
            }
            Era::Modern if may_take && has_clients && self.serves[other].modern == Some(true) => {
                // Its clients come back when it does; they are not to be told another era.
                let is_up = self.stands_in(other);
                if is_up { Ok(Choice { entry: other, why: Why::Era }) } else { Err(Unseated::Unusable(other)) }
            }
            Era::Modern => Err(Unseated::NotModern),
            // The server's own refusal tells a legacy client more than ours could.
            Era::Legacy => as_meant,
        }
    }

    /// Whether the other entry may take the new clients of this one.
    pub fn may_fail_over_from(&self, entry: Entry) -> bool {
        let other = entry.other();
        let better = match self.standing[other] {
            Standing::Up => true,
            Standing::Unknown => self.standing[entry] == Standing::Down,
            Standing::Down => false,
        };
        self.failover && better && !self.condemned[other]
    }

    /// Whether clients still call by lists of this entry's: not where that was rolled back, nor where it is
    /// not proven up. A share of 0 is no reason against it: as sessions do, what has begun ends where it is.
    fn keeps_its_list(&self, entry: Entry) -> bool {
        self.stands_in(entry) && !self.condemned[entry]
    }

    /// Whether an entry takes a client of the other's for a tool that only it lists: as for an era, nobody who was rolled
    /// back, is not proven up, or has no clients yet.
    fn takes_for_its_tool(&self, entry: Entry, key: ClientKey) -> bool {
        let has_clients = entry == self.stable || self.split.share(entry) != Share::NONE;
        has_clients && self.keeps_its_list(entry) && self.split.of_client(&self.salt, key) != entry
    }

    fn stands_in(&self, entry: Entry) -> bool {
        self.standing[entry] == Standing::Up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::KeySource;
    use Standing::{Down, Unknown, Up};

    fn scene(primary: Standing, secondary: Standing) -> Scene {
        Scene {
            split: Split::all_to(Entry::Secondary),
            salt: Salt::new([7; 16]),
            phase: Phase::from_random(0),
            stable: Entry::Primary,
            condemned: PerEntry::default(),
            standing: PerEntry { primary, secondary },
            failover: true,
            serves: PerEntry::default(),
            offers_modern: true,
        }
    }

    fn no_birth() -> u64 {
        panic!("a birth was used up")
    }

    #[test]
    fn every_pair_of_standings_is_stated() {
        // Everything is meant for the secondary; expected: who takes a new client.
        let table = [
            (Up, Up, Ok((Entry::Secondary, Why::Birth))),
            (Down, Up, Ok((Entry::Secondary, Why::Birth))),
            (Unknown, Up, Ok((Entry::Secondary, Why::Birth))),
            (Up, Unknown, Ok((Entry::Primary, Why::Failover))),
            (Unknown, Unknown, Ok((Entry::Secondary, Why::Birth))),
            (Down, Unknown, Ok((Entry::Secondary, Why::Birth))),
            (Up, Down, Ok((Entry::Primary, Why::Failover))),
            (Unknown, Down, Ok((Entry::Primary, Why::Failover))),
            (Down, Down, Err(Unseated::Unusable(Entry::Primary))),
        ];
        for (primary, secondary, expected) in table {
            let got = scene(primary, secondary).decide(Asked::Birth, None, || 0);
            let expected = expected.map(|(entry, why)| Choice { entry, why });
            assert_eq!(got, expected, "primary {primary:?}, secondary {secondary:?}");
        }
    }

    #[test]
    fn who_is_turned_away_uses_up_no_birth() {
        assert!(scene(Down, Down).decide(Asked::Birth, None, no_birth).is_err());
    }

    #[test]
    fn nobody_fails_over_to_a_condemned_entry() {
        let mut scene = scene(Up, Down);
        scene.condemned.primary = true;
        assert_eq!(scene.decide(Asked::Birth, None, || 0), Err(Unseated::Unusable(Entry::Secondary)));
    }

    #[test]
    fn failover_can_be_switched_off() {
        let scene = Scene { failover: false, ..scene(Up, Down) };
        assert_eq!(scene.decide(Asked::Birth, None, || 0), Err(Unseated::Unusable(Entry::Secondary)));
    }

    #[test]
    fn a_pin_holds_whatever_the_checks_say_and_uses_up_no_birth() {
        let choice = scene(Up, Down).decide(Asked::Pinned(Entry::Secondary), None, no_birth).unwrap();
        assert_eq!(choice, Choice { entry: Entry::Secondary, why: Why::Pin });
    }

    #[test]
    fn a_tester_reaches_an_entry_at_zero_and_never_the_other() {
        let scene = Scene { split: Split::giving(Entry::Secondary, Share::NONE), ..scene(Up, Up) };
        let choice = scene.decide(Asked::Tester(Entry::Secondary), None, no_birth).unwrap();
        assert_eq!(choice.entry, Entry::Secondary);
        let down = Scene { standing: PerEntry { primary: Up, secondary: Down }, ..scene };
        assert_eq!(down.decide(Asked::Tester(Entry::Secondary), None, no_birth), Err(Unseated::Unusable(Entry::Secondary)));
    }

    #[test]
    fn what_is_not_mcp_goes_to_stable_whatever_the_split() {
        assert_eq!(scene(Up, Up).decide(Asked::Stable, None, no_birth).unwrap().entry, Entry::Primary);
    }

    #[test]
    fn keyed_clients_use_up_no_birth() {
        let key = ClientKey::new(&KeySource::ApiKey, b"k");
        assert_eq!(scene(Up, Up).decide(Asked::Client(key), None, no_birth).unwrap().why, Why::Key);
    }

    #[test]
    fn a_client_goes_where_its_era_is_spoken() {
        let eras = |legacy, modern| Eras { legacy: Some(legacy), modern: Some(modern) };
        let (legacy, dual, modern) = (eras(true, false), eras(true, true), eras(false, true));
        let pair = |primary, secondary| Scene { serves: PerEntry { primary, secondary }, ..scene(Up, Up) };
        let take = |scene: Scene, era| scene.decide(Asked::Birth, Some(era), || 0).map(|choice| (choice.entry, choice.why));
        // Everything is meant for the secondary.
        assert_eq!(take(pair(dual, legacy), Era::Modern), Ok((Entry::Primary, Why::Era)));
        assert_eq!(take(pair(dual, legacy), Era::Legacy), Ok((Entry::Secondary, Why::Birth)));
        assert_eq!(take(pair(dual, modern), Era::Legacy), Ok((Entry::Primary, Why::Era)));
        assert_eq!(take(pair(legacy, legacy), Era::Modern), Err(Unseated::NotModern));
        assert_eq!(take(pair(modern, modern), Era::Legacy), Ok((Entry::Secondary, Why::Birth)), "the server says no itself");
        let unknown = Eras::default();
        assert_eq!(take(pair(unknown, legacy), Era::Modern), Err(Unseated::NotModern), "nobody is known to speak it");
        let tester = pair(dual, legacy).decide(Asked::Tester(Entry::Secondary), Some(Era::Modern), no_birth);
        assert_eq!(tester.map(|choice| choice.entry), Ok(Entry::Secondary));
    }

    #[test]
    fn a_foreign_era_is_no_way_around_a_rollback_a_failover_that_is_off_or_an_unreleased_entry() {
        let eras = |legacy, modern| Eras { legacy: Some(legacy), modern: Some(modern) };
        let (legacy, dual, modern) = (eras(true, false), eras(true, true), eras(false, true));
        // Everything is meant for the secondary, which does not speak the client's era.
        let pair = |primary, secondary| Scene { serves: PerEntry { primary, secondary }, ..scene(Up, Up) };
        let take = |scene: Scene, era| scene.decide(Asked::Birth, Some(era), || 0).map(|choice| choice.entry);
        let condemned = |scene: Scene| Scene { condemned: PerEntry { primary: true, secondary: false }, ..scene };
        assert_eq!(take(condemned(pair(dual, modern)), Era::Legacy), Ok(Entry::Secondary));
        assert_eq!(take(condemned(pair(dual, legacy)), Era::Modern), Err(Unseated::NotModern));
        let off = |scene: Scene| Scene { failover: false, ..scene };
        assert_eq!(take(off(pair(dual, modern)), Era::Legacy), Ok(Entry::Secondary));
        let unreleased = Scene { stable: Entry::Secondary, ..pair(dual, legacy) };
        assert_eq!(take(unreleased, Era::Modern), Err(Unseated::NotModern));
        let down = |scene: Scene| Scene { standing: PerEntry { primary: Down, secondary: Up }, ..scene };
        assert_eq!(take(down(pair(dual, modern)), Era::Legacy), Ok(Entry::Secondary), "its own refusal says more");
        assert_eq!(take(down(pair(dual, legacy)), Era::Modern), Err(Unseated::Unusable(Entry::Primary)), "it comes back");
    }

    #[test]
    fn a_call_goes_where_its_tool_is_unless_that_was_rolled_back_is_not_up_or_has_no_clients() {
        let key = ClientKey::new(&KeySource::ApiKey, b"k");
        let half = Split::giving(Entry::Secondary, Share::from_percent(50.0).unwrap());
        let home = half.of_client(&Salt::new([7; 16]), key);
        let other = home.other();
        let of = |entry: Entry, value: bool| PerEntry::from_fn(|one| one == entry && value);
        // (the entry with the tool, its standing, condemned, the split) → where to, and why
        let table = [
            (home, Up, false, half, home, Why::Key),
            (home, Up, true, half, home, Why::Key),
            (other, Up, false, half, other, Why::Catalogue),
            (other, Up, true, half, home, Why::Key),
            (other, Unknown, false, half, home, Why::Key),
            (other, Down, false, half, home, Why::Key),
            (other, Up, false, Split::all_to(home), home, Why::Key),
        ];
        for (tool_at, standing, condemned, split, to, why) in table {
            let scene = Scene {
                split,
                stable: home,
                condemned: of(tool_at, condemned),
                standing: PerEntry::from_fn(|entry| if entry == other { standing } else { Up }),
                ..scene(Up, Up)
            };
            let asked = Asked::Called(tool_at, key);
            let choice = scene.decide(asked, Some(Era::Modern), no_birth).unwrap();
            assert_eq!(choice, Choice { entry: to, why }, "{tool_at} {standing:?} {condemned} {split}");
            assert_eq!(scene.meant(asked, 0), to);
        }
        // The stable entry takes what only it has, also when all clients are the other's.
        let scene = Scene { split: Split::all_to(other), stable: home, ..scene(Up, Up) };
        let choice = scene.decide(Asked::Called(home, key), None, no_birth).unwrap();
        assert_eq!((choice.entry, choice.why), (home, Why::Catalogue));
    }

    #[test]
    fn a_call_follows_the_list_it_was_found_in_unless_its_entry_was_rolled_back_or_is_down() {
        let key = ClientKey::new(&KeySource::ApiKey, b"k");
        let take = |scene: Scene| {
            scene.decide(Asked::Listed(Entry::Primary, key), None, no_birth).map(|choice| (choice.entry, choice.why))
        };
        // Everything is meant for the secondary.
        assert_eq!(take(scene(Up, Up)), Ok((Entry::Primary, Why::List)));
        assert_eq!(take(scene(Down, Up)), Ok((Entry::Secondary, Why::Key)));
        let mut condemned = scene(Up, Up);
        condemned.condemned.primary = true;
        assert_eq!(take(condemned), Ok((Entry::Secondary, Why::Key)));
    }

    #[test]
    fn nobody_fails_over_to_an_entry_of_another_era() {
        let dual_and_legacy = PerEntry {
            primary: Eras { legacy: Some(true), modern: Some(false) },
            secondary: Eras { legacy: Some(true), modern: Some(true) },
        };
        let scene = Scene { serves: dual_and_legacy, ..scene(Up, Down) };
        assert_eq!(scene.decide(Asked::Birth, Some(Era::Modern), || 0), Err(Unseated::Unusable(Entry::Secondary)));
        assert_eq!(scene.decide(Asked::Birth, Some(Era::Legacy), || 0).map(|choice| choice.entry), Ok(Entry::Primary));
    }
}
