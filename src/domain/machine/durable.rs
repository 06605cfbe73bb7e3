//! What survives a restart.

use serde::{Deserialize, Serialize};

use crate::domain::entry::{Entry, PerEntry};
use crate::domain::split::{Salt, Split};

/// The durable state of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Durable {
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
}

impl Durable {
    /// The state of a first start.
    pub fn first(split: Split, epoch: u64, salt: Salt) -> Self {
        Self {
            revision: 1,
            split,
            stable: split.larger(),
            condemned: PerEntry::default(),
            epoch,
            salt,
            overlay: PerEntry::default(),
        }
    }

    /// The part of the state that a rollback must not lose.
    pub fn brake(&self) -> Brake {
        Brake { revision: self.revision, split: self.split, stable: self.stable, condemned: self.condemned.clone() }
    }

    /// The state after the brake, where the brake is the newer of the two; at the same revision
    /// the state is, as it was saved after the brake.
    #[must_use]
    pub fn braked(mut self, brake: Option<Brake>) -> Self {
        if let Some(brake) = brake.filter(|brake| brake.revision > self.revision) {
            self.revision = brake.revision;
            self.split = brake.split;
            self.stable = brake.stable;
            self.condemned = brake.condemned;
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
}

/// What the brake file holds: enough to stay rolled back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Brake {
    /// The revision of the rollback.
    pub revision: u64,
    /// The split it set.
    #[serde(rename = "secondary_basis_points")]
    pub split: Split,
    /// The entry in charge.
    pub stable: Entry,
    /// Who is condemned.
    pub condemned: PerEntry<Option<Condemned>>,
}

/// One deployed version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntrySpec {
    /// The version label.
    pub version: String,
    /// Its endpoints, at least one.
    pub endpoints: Vec<EndpointSpec>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// The stable name, which session ids carry. Unique within the entry.
    pub name: String,
    /// `scheme://host:port`.
    pub url: String,
}
