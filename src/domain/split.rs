//! Shares, splits, and who falls on which side.
//!
//! Two rules, one for clients that can be told apart and one for those that cannot:
//!
//! * a keyed client has a fixed position on the scale of basis points; the secondary owns the
//!   positions below its share. Raising a share therefore moves only the clients between the old
//!   and the new share, and putting it back restores every one of them;
//! * births without a key are dealt like the steps of a rotation (a Beatty sequence): any run of
//!   N consecutive births is within one of its target, which no draw by chance is.

use std::fmt;
use std::hash::Hasher;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use siphasher::sip::SipHasher24;
use thiserror::Error;

use super::affinity::ClientKey;
use super::entry::Entry;

/// Basis points in the whole.
pub const WHOLE: u16 = 10_000;

/// A part of the clients in basis points (0.01 %), from 0 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

/// Why a number or a text is not a share or a split.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SplitError {
    /// The text is no number with at most two decimals.
    #[error("`{0}` is not a share: a number from 0 to 100 with at most two decimals")]
    NotAShare(String),
    /// The two shares do not make a whole.
    #[error("primary {primary} and secondary {secondary} make {}, but must make 100", Percent(primary.0 as u32 + secondary.0 as u32))]
    Sum {
        /// The primary's share as given.
        primary: Share,
        /// The secondary's share as given.
        secondary: Share,
    },
    /// The text has neither of the two forms.
    #[error("`{0}` is not a split: write `90:10` (primary:secondary) or `primary:90 secondary:10`")]
    Grammar(String),
}

struct Percent(u32);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match rest {
            0 => write!(f, "{whole}"),
            r if r % 10 == 0 => write!(f, "{whole}.{}", r / 10),
            r => write!(f, "{whole}.{r:02}"),
        }
    }
}

impl Share {
    /// No client.
    pub const NONE: Self = Self(0);
    /// Every client.
    pub const ALL: Self = Self(WHOLE);

    /// A share of so many basis points, if there are that many.
    pub fn from_basis_points(points: u16) -> Option<Self> {
        (points <= WHOLE).then_some(Self(points))
    }

    /// In basis points.
    pub fn basis_points(self) -> u16 {
        self.0
    }

    /// In per cent, as a number for JSON and metrics.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// What is left of the whole.
    pub fn rest(self) -> Self {
        Self(WHOLE - self.0)
    }

    /// Reads per cent with at most two decimals: `10`, `12.5`, `99.99`, `10%`.
    pub fn parse(text: &str) -> Result<Self, SplitError> {
        let refuse = || SplitError::NotAShare(text.to_owned());
        let digits = text.strip_suffix('%').unwrap_or(text);
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |s: &str, most: usize| !s.is_empty() && s.len() <= most && s.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole, 3) || !plain(decimals, 2) {
            return Err(refuse());
        }
        let whole: u16 = whole.parse().map_err(|_| refuse())?;
        let hundredths: u16 = format!("{decimals:0<2}").parse().map_err(|_| refuse())?;
        whole
            .checked_mul(100)
            .and_then(|points| points.checked_add(hundredths))
            .and_then(Self::from_basis_points)
            .ok_or_else(refuse)
    }

    /// Reads per cent from a number; more than two decimals are refused rather than rounded.
    pub fn from_percent(percent: f64) -> Result<Self, SplitError> {
        let refuse = || SplitError::NotAShare(percent.to_string());
        if !(0.0..=100.0).contains(&percent) {
            return Err(refuse());
        }
        let points = (percent * 100.0).round();
        // 12.34 is not exact in binary: accept what prints as two decimals, and nothing finer.
        if (percent * 100.0 - points).abs() > 1e-6 {
            return Err(refuse());
        }
        Self::parse(&Percent(points as u32).to_string())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Percent(u32::from(self.0)).fmt(f)
    }
}

/// The two shares of a service. There is no split that does not make 100 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    secondary: Share,
}

impl Split {
    /// Everything to one entry.
    pub fn all_to(entry: Entry) -> Self {
        Self::giving(entry, Share::ALL)
    }

    /// So much to one entry, the rest to the other.
    pub fn giving(entry: Entry, share: Share) -> Self {
        match entry {
            Entry::Primary => Self { secondary: share.rest() },
            Entry::Secondary => Self { secondary: share },
        }
    }

    /// Both shares, which must make a whole.
    pub fn new(primary: Share, secondary: Share) -> Result<Self, SplitError> {
        if primary.rest() != secondary {
            return Err(SplitError::Sum { primary, secondary });
        }
        Ok(Self { secondary })
    }

    /// What one entry has.
    pub fn share(self, entry: Entry) -> Share {
        match entry {
            Entry::Primary => self.secondary.rest(),
            Entry::Secondary => self.secondary,
        }
    }

    /// The entry with more; the primary where both have half.
    pub fn larger(self) -> Entry {
        if self.secondary > self.secondary.rest() { Entry::Secondary } else { Entry::Primary }
    }

    /// Reads `90:10` and `primary:90 secondary:10` (in either order).
    pub fn parse(text: &str) -> Result<Self, SplitError> {
        let grammar = || SplitError::Grammar(text.to_owned());
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            [pair] => {
                let (primary, secondary) = pair.split_once(':').ok_or_else(grammar)?;
                if primary.parse::<Entry>().is_ok() {
                    return Err(grammar());
                }
                Self::new(Share::parse(primary)?, Share::parse(secondary)?)
            }
            [one, two] => {
                let named = |word: &str| -> Result<(Entry, Share), SplitError> {
                    let (name, share) = word.split_once(':').ok_or_else(grammar)?;
                    Ok((name.parse().map_err(|_| grammar())?, Share::parse(share)?))
                };
                match (named(one)?, named(two)?) {
                    ((Entry::Primary, primary), (Entry::Secondary, secondary))
                    | ((Entry::Secondary, secondary), (Entry::Primary, primary)) => Self::new(primary, secondary),
                    _ => Err(grammar()),
                }
            }
            _ => Err(grammar()),
        }
    }

    /// Where a keyed client belongs. Monotone: see the module's first rule.
    pub fn of_client(self, salt: &Salt, key: ClientKey) -> Entry {
        self.at(salt.position(key))
    }

    /// Where the `n`-th keyless birth (counted from 0) belongs: to the secondary when
    /// `floor((n+1)·s + φ) > floor(n·s + φ)`, in whole numbers, so that nothing drifts.
    pub fn of_birth(self, n: u64, phase: Phase) -> Entry {
        let whole = u128::from(WHOLE);
        let step = |n: u128| (n * u128::from(self.secondary.0) + u128::from(phase.0)) / whole;
        let n = u128::from(n);
        if step(n + 1) > step(n) { Entry::Secondary } else { Entry::Primary }
    }

    fn at(self, position: u16) -> Entry {
        if position < self.secondary.0 { Entry::Secondary } else { Entry::Primary }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.secondary.rest(), self.secondary)
    }
}

/// Stored and exchanged as the secondary's basis points: one number cannot contradict itself.
/// In basis points.
impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let points = u16::deserialize(deserializer)?;
        Self::from_basis_points(points).ok_or_else(|| serde::de::Error::custom(format!("{points} basis points: at most {WHOLE}")))
    }
}

impl Serialize for Split {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.secondary.0)
    }
}

impl<'de> Deserialize<'de> for Split {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let points = u16::deserialize(deserializer)?;
        let secondary = Share::from_basis_points(points)
            .ok_or_else(|| serde::de::Error::custom(format!("{points} basis points are more than 10000")))?;
        Ok(Self { secondary })
    }
}

/// φ of the rotation in basis points: where the dealing of births starts. Random per process, so
/// that many small replicas do not all give their first client to the same entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase(u16);

impl Phase {
    /// Any number will do; only its rest by 10,000 counts.
    pub fn from_random(dice: u64) -> Self {
        Self((dice % u64::from(WHOLE)) as u16)
    }
}

/// The key of the position hash. Derived from the seal key, the service and the epoch, so that
/// replicas that share the seal key agree on every client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt([u8; 16]);

impl Salt {
    /// From 16 bytes of a keyed hash.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The client's place among the 10,000 basis points. SipHash-2-4 mixes all 64 bits; a bare
    /// multiplicative hash was measured 8 standard deviations off on sequential ids.
    pub fn position(&self, key: ClientKey) -> u16 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write_u64(key.hash());
        ((u128::from(hasher.finish()) * u128::from(WHOLE)) >> 64) as u16
    }

    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A salt lets one compute where every client falls; it is kept out of logs.
impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(…)")
    }
}

impl Serialize for Salt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> Deserialize<'de> for Salt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let refuse = || serde::de::Error::custom("a salt is 32 hexadecimal digits");
        if text.len() != 32 || !text.is_ascii() {
            return Err(refuse());
        }
        let mut bytes = [0; 16];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| refuse())?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_grammars_name_the_same_split() {
        let split = Split::parse("90:10").unwrap();
        assert_eq!(Split::parse("primary:90 secondary:10").unwrap(), split);
        assert_eq!(Split::parse("secondary:10 primary:90").unwrap(), split);
        assert_eq!(split.to_string(), "90:10");
        assert_eq!(Split::parse("87.5:12.5").unwrap().share(Entry::Secondary).basis_points(), 1250);
        assert_eq!(Split::parse("99.99:0.01").unwrap().to_string(), "99.99:0.01");
    }

    #[test]
    fn what_is_not_a_split_is_named() {
        for (text, said) in [
            ("90:20", "primary 90 and secondary 20 make 110, but must make 100"),
            ("90", "`90` is not a split: write `90:10` (primary:secondary) or `primary:90 secondary:10`"),
            ("primary:90", "`primary:90` is not a split: write `90:10` (primary:secondary) or `primary:90 secondary:10`"),
            (
                "primary:90 primary:10",
                "`primary:90 primary:10` is not a split: write `90:10` (primary:secondary) or `primary:90 secondary:10`",
            ),
            ("101:-1", "`101` is not a share: a number from 0 to 100 with at most two decimals"),
            ("99.999:0.001", "`99.999` is not a share: a number from 0 to 100 with at most two decimals"),
            ("656:99.36", "`656` is not a share: a number from 0 to 100 with at most two decimals"),
            ("999:1", "`999` is not a share: a number from 0 to 100 with at most two decimals"),
            ("ten:90", "`ten` is not a share: a number from 0 to 100 with at most two decimals"),
            ("", "`` is not a split: write `90:10` (primary:secondary) or `primary:90 secondary:10`"),
        ] {
            assert_eq!(Split::parse(text).unwrap_err().to_string(), said, "{text}");
        }
    }

    #[test]
    fn numbers_with_two_decimals_are_shares_and_finer_ones_are_refused() {
        assert_eq!(Share::from_percent(12.34).unwrap().basis_points(), 1234);
        assert_eq!(Share::from_percent(0.1 + 0.2).unwrap().basis_points(), 30);
        for wrong in [-0.01, 100.01, f64::NAN, f64::INFINITY, 12.345] {
            assert!(Share::from_percent(wrong).is_err(), "{wrong}");
        }
    }
}
