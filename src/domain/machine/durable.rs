//! What survives a restart.

// `core`, not `std`: an address as a value, and no socket to go with it.
use core::net::SocketAddr;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::entry::{Entry, PerEntry};
use crate::domain::rollout::{self, Rollout};
use crate::domain::split::{Salt, Share, Split};

use super::{Authority, Ordered, Rules};

/// Versions that are remembered as tried.
const MOST_TRIED: usize = 64;

/// The durable state of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Durable {
    /// Counts what was handed to the disk, saves and brakes alike: the highest wins at a start. Not
    /// the revision, since a save may land that was reported as failed, and a swap of the stable
    /// entry has no revision of its own.
    #[serde(default)]
    pub sequence: u64,
    /// Counts operator and rollout changes; the ETag.
    pub revision: u64,
    /// The split, as the secondary's basis points.
    #[serde(rename = "secondary_basis_points")]
    pub split: Split,
    /// The entry in charge.
    pub stable: Entry,
    /// Entries that were rolled back.
    pub condemned: PerEntry<Option<Condemned>>,
    /// Rises only when a rollout starts towards a version not tried before.
    pub epoch: u64,
    /// Key of the position hash in this epoch.
    pub salt: Salt,
    /// Entries as deployed by API, where they differ from the file.
    pub overlay: PerEntry<Option<EntrySpec>>,
    /// Endpoints that are configured no more and kept for those who are bound to them.
    #[serde(default)]
    pub leaving: PerEntry<Vec<EndpointSpec>>,
    /// The revision since which an entry has had no share: sessions that were born before are drained.
    #[serde(default)]
    pub emptied: PerEntry<Option<u64>>,
    /// What operators have ordered of the sessions of each entry.
    #[serde(default)]
    pub departures: PerEntry<Option<Ordered>>,
    /// Versions that clients have met in an epoch of their own, the last ones.
    #[serde(default)]
    pub tried: Vec<String>,
    /// The rollout that is running, or the last one.
    #[serde(default)]
    pub rollout: Option<Box<Rollout>>,
}

impl Durable {
    /// The state of a first start.
    pub fn first(split: Split, epoch: u64, salt: Salt) -> Self {
        let mut first = Self {
            sequence: 0,
            revision: 1,
            split,
            stable: split.larger(),
            condemned: PerEntry::default(),
            epoch,
            salt,
            overlay: PerEntry::default(),
            leaving: PerEntry::default(),
            emptied: PerEntry::default(),
            departures: PerEntry::default(),
            tried: Vec::new(),
            rollout: None,
        };
        first.follow_split(split);
        first
    }

    /// What follows from the split for those who have to leave, where it was this one before: an entry without a share is drained,
    /// and one whose share was raised keeps what it has, whatever was ordered.
    pub(super) fn follow_split(&mut self, before: Split) {
        for entry in Entry::BOTH {
            let share = self.split.share(entry);
            if share > before.share(entry) {
                self.departures[entry] = None;
            }
            let since = self.emptied[entry].unwrap_or(self.revision);
            self.emptied[entry] = (share == Share::NONE).then_some(since);
        }
    }

    /// Notes a version that clients are about to meet; whether that is for the first time.
    pub(super) fn note_tried(&mut self, version: &str) -> bool {
        let is_new = !self.tried.iter().any(|tried| tried == version);
        if is_new {
            self.tried.push(version.to_owned());
            let beyond = self.tried.len().saturating_sub(MOST_TRIED);
            self.tried.drain(..beyond);
        }
        is_new
    }

    /// Brings a state that was found in line with a configuration that may have changed since.
    pub(super) fn follow(&mut self, rules: &Rules) {
        let file_decides = rules.authority == Authority::Config;
        for entry in Entry::BOTH {
            let shares = |overlay: &EntrySpec| {
                let other = &rules.entries[entry.other()].endpoints;
                overlay.endpoints.iter().any(|one| other.iter().any(|two| one.url == two.url))
            };
            let superfluous =
                self.overlay[entry].as_ref().is_some_and(|overlay| *overlay == rules.entries[entry] || shares(overlay));
            if file_decides || superfluous {
                self.overlay[entry] = None;
            }
            let version = &self.overlay[entry].as_ref().unwrap_or(&rules.entries[entry]).version;
            if self.condemned[entry].as_ref().is_some_and(|condemned| condemned.version != *version) {
                self.condemned[entry] = None;
            }
        }
        // A file that still gives clients to a version that was rolled back is not followed: nobody
        // has said since that it may have them.
        let revives =
            Entry::BOTH.into_iter().any(|entry| self.condemned[entry].is_some() && rules.split.share(entry) != Share::NONE);
        let before = self.split;
        if file_decides && self.split != rules.split && !revives {
            self.split = rules.split;
            self.revision += 1;
        }
        self.follow_split(before);
    }

    /// Whether it is what a first start with these rules would find.
    pub(super) fn is_of_file(&self, rules: &Rules) -> bool {
        let Self { split, condemned, overlay, .. } = self;
        *split == rules.split && *condemned == PerEntry::default() && *overlay == PerEntry::default()
    }

    /// The part of the state that a rollback must not lose.
    pub fn brake(&self) -> Brake {
        Brake {
            sequence: self.sequence,
            revision: self.revision,
            split: self.split,
            stable: self.stable,
            condemned: self.condemned.clone(),
            overlay: Some(self.overlay.clone()),
            departures: Some(self.departures),
            rollout: Some(Braked::of(self.rollout.as_deref())),
        }
    }

    /// The state after the brake, where the brake was written after it.
    #[must_use]
    pub fn braked(mut self, brake: Option<Brake>) -> Self {
        if let Some(brake) = brake.filter(|brake| brake.sequence > self.sequence) {
            let before = self.split;
            self.sequence = brake.sequence;
            self.revision = brake.revision;
            self.split = brake.split;
            self.departures = brake.departures.unwrap_or(self.departures);
            self.follow_split(before);
            self.stable = brake.stable;
            self.condemned = brake.condemned;
            // What the state file holds beside it may be a deploy that the rollback overtook.
            self.overlay = brake.overlay.unwrap_or(self.overlay);
            if let Some(braked) = brake.rollout {
                self.rollout = braked.put_on(self.rollout.take());
            }
        }
        self
    }
}

/// Why an entry gets no failover and no rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condemned {
    /// The version label that was rolled back; another label is not condemned.
    pub version: String,
    /// What the one who rolled back said.
    pub reason: Option<String>,
    /// The revision of that: sessions that were born before have to leave.
    #[serde(default)]
    pub revision: u64,
}

/// What the brake file holds: enough to stay rolled back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Brake {
    /// When it was written, in the order of [`Durable::sequence`].
    #[serde(default)]
    pub sequence: u64,
    /// The revision of the rollback.
    pub revision: u64,
    /// The split it set.
    #[serde(rename = "secondary_basis_points")]
    pub split: Split,
    /// The entry in charge.
    pub stable: Entry,
    /// Who is condemned.
    pub condemned: PerEntry<Option<Condemned>>,
    /// Entries as deployed by API; absent where they were too long for the brake.
    #[serde(default)]
    pub overlay: Option<PerEntry<Option<EntrySpec>>>,
    /// What was ordered of sessions; absent in one that was written by an earlier version.
    #[serde(default)]
    pub departures: Option<PerEntry<Option<Ordered>>>,
    /// How the rollout stood; absent in one that was written by an earlier version, or where it was too long.
    #[serde(default)]
    pub rollout: Option<Braked>,
}

/// How the rollout stands while the brake is written, or that there is none: what the state file has of it beside the brake
/// may be of a change that never came in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "one of a brake, which is on its way to the disk")]
pub enum Braked {
    /// There is none.
    None,
    /// This one.
    Rollout {
        /// Its id.
        id: String,
        /// Its phase.
        phase: rollout::Phase,
        /// The step that it is at.
        step: usize,
        /// What took it back, or has frozen it.
        fired: Option<rollout::Fired>,
        /// Its last turn.
        turn: Option<rollout::Turn>,
    },
}

impl Braked {
    fn of(rollout: Option<&Rollout>) -> Self {
        let Some(rollout) = rollout else { return Self::None };
        let Rollout { id, phase, step, account, .. } = rollout;
        let (id, phase, turn) = (id.clone(), phase.clone(), account.turns.last().cloned());
        Self::Rollout { id, phase, step: *step, fired: account.fired.clone(), turn }
    }

    fn put_on(self, found: Option<Box<Rollout>>) -> Option<Box<Rollout>> {
        let mut found = found?;
        match self {
            // One that has begun on the disk alone.
            Self::None => found.is_over().then_some(found),
            Self::Rollout { id, .. } if id != found.id => found.is_over().then_some(found),
            Self::Rollout { phase, step, fired, turn, .. } => {
                if !found.is_running() || (found.phase == phase && found.step == step) {
                    return Some(found);
                }
                let (at, why) = turn.map_or((0, String::new()), |turn| (turn.at, turn.why));
                let is_back = matches!(phase, rollout::Phase::RollingBack | rollout::Phase::Ended { .. });
                if is_back {
                    *found = found.taken_back(at, fired, why);
                    found.account.ended = matches!(phase, rollout::Phase::Ended { .. }).then_some(at);
                    found.phase = phase;
                } else {
                    found.step = step;
                    found.account.fired = fired.or(found.account.fired.take());
                    found.turn(at, phase, why);
                }
                Some(found)
            }
        }
    }
}

/// What was found on the disk at a start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The state that was saved last.
    pub state: Option<Durable>,
    /// The last brake. It counts where it is newer, and where there is no state at all.
    pub brake: Option<Brake>,
}

/// One deployed version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntrySpec {
    /// The version label.
    pub version: String,
    /// Its endpoints, at least one.
    pub endpoints: Vec<EndpointSpec>,
}

/// `1.4.2 at http://127.0.0.1:3000, …`.
impl fmt::Display for EntrySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |endpoint: &EndpointSpec| if endpoint.resolve.is_some() { " (each address)" } else { "" };
        let urls: Vec<String> = self.endpoints.iter().map(|endpoint| format!("{}{}", endpoint.url, each(endpoint))).collect();
        write!(f, "{} at {}", self.version, urls.join(", "))
    }
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// The stable name, which session ids carry. Unique within the entry.
    pub name: String,
    /// `scheme://host:port`.
    pub url: String,
    /// Whether the host's addresses are instances of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolve: Option<Resolve>,
    /// Where an instance is, whatever the host of the URL resolves to for others. Never stored: the next
    /// process asks for itself.
    #[serde(skip)]
    pub address: Option<SocketAddr>,
}

impl EndpointSpec {
    /// An endpoint that is its URL and nothing more.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self { name: name.into(), url: url.into(), resolve: None, address: None }
    }
}

/// What an endpoint's host stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resolve {
    /// Each of its addresses is an instance of its own, as of a headless service.
    Each,
}
