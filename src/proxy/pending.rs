//! The requests that wait for their answers.

use smallvec::SmallVec;

use crate::mcp::scan::id_hash;
use crate::mcp::{Brief, Wanted};

/// The requests of one message: but for batches there is one.
pub(super) type Requests = SmallVec<[Pending; 1]>;

/// A request of the client that waits for its answer.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    id: Brief<28>,
    hash: Option<u64>,
    tool: Option<Brief<28>>,
}

impl Pending {
    /// A request that nobody has read: any answer is to it.
    pub(super) fn unread(tool: Option<String>) -> Self {
        Self { id: "null".into(), hash: None, tool: tool.map(Brief::from) }
    }

    pub(super) fn new(wanted: &Wanted<'_>) -> Self {
        Self { id: wanted.id.into(), hash: id_hash(wanted.id), tool: wanted.tool.as_deref().map(Brief::from) }
    }

    /// Whether its id is known, so that an error can name it.
    pub(super) fn is_known(&self) -> bool {
        self.hash.is_some()
    }

    /// The tool that it calls.
    pub(super) fn tool(&self) -> Option<&str> {
        self.tool.as_deref()
    }

    /// How much of it is remembered, in bytes.
    pub(super) fn size(&self) -> usize {
        self.id.len() + self.tool.as_ref().map_or(0, |tool| tool.len())
    }

    /// The hash of its id, to find its answer by.
    pub(super) fn hash(&self) -> Option<u64> {
        self.hash
    }
}

impl AsRef<str> for Pending {
    fn as_ref(&self) -> &str {
        &self.id
    }
}
