//! What traffic showed: counts of one entry in one span of time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Callers;
use super::times::Times;

/// What one entry showed in one span of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// All requests.
    pub all: Calls,
    /// Calls of tools, by name.
    pub tools: BTreeMap<String, Calls>,
    /// How many clients (sessions, or keys where there is no session) had an answer.
    pub clients: u64,
    /// Those clients, each with its requests and faults. Compared is within the same windows only, so it is not kept.
    #[serde(skip)]
    pub callers: Callers,
}

/// Requests of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calls {
    /// How many ended by the entry's doing, well or not; what client or proxy did is not among them.
    pub requests: u64,
    /// How many of them count against the entry: its faults, its JSON-RPC errors, results with `isError`.
    pub faults: u64,
    /// Whose those were.
    pub faulty: Faulty,
    /// Times to the result.
    pub times: Times,
}

/// Faults by the client that met them. Errors come in clusters (one client asks the same wrong thing again and again), so that
/// what counts is how many clients meet them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faulty {
    /// Hash of a client, and its faults; in the order of the hash.
    by_client: Vec<(u64, u32)>,
    /// Faults of clients that are not told apart, since there were too many: they count as one client's.
    pub others: u64,
}

impl Figures {
    /// All of another span.
    pub fn merge(&mut self, other: &Self) {
        self.all.merge(&other.all);
        for (tool, calls) in &other.tools {
            self.tools.entry(tool.clone()).or_default().merge(calls);
        }
        // Who was there in both spans is not known: at least so many there were.
        self.clients = self.clients.max(other.clients);
        self.callers.merge(&other.callers);
    }
}

impl Calls {
    /// All of another span.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.faults += other.faults;
        self.faulty.merge(&other.faulty);
        self.times.merge(&other.times);
    }

    /// Faults per request; none where there was no request.
    pub fn rate(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.faults as f64 / self.requests as f64)
    }
}

impl Faulty {
    /// From each client's faults, in any order.
    pub fn new(by_client: impl IntoIterator<Item = (u64, u32)>, others: u64) -> Self {
        let mut faulty = Self { by_client: Vec::new(), others };
        by_client.into_iter().for_each(|(client, faults)| faulty.note(client, faults));
        faulty
    }

    /// A client has met so many more.
    pub fn note(&mut self, client: u64, faults: u32) {
        match self.by_client.binary_search_by_key(&client, |(client, _)| *client) {
            Ok(at) => self.by_client[at].1 = self.by_client[at].1.saturating_add(faults),
            Err(at) => self.by_client.insert(at, (client, faults)),
        }
    }

    /// All of another span.
    pub fn merge(&mut self, other: &Self) {
        other.by_client.iter().for_each(|(client, faults)| self.note(*client, *faults));
        self.others += other.others;
    }

    /// Clients that met one; those that are not told apart count as one.
    pub fn clients(&self) -> u64 {
        self.by_client.len() as u64 + u64::from(self.others > 0)
    }

    /// The sum of the squares of each client's faults.
    pub fn squares(&self) -> f64 {
        self.capped(f64::INFINITY).1
    }

    /// The sum of each client's faults, and that of their squares, where a client counts with so many at most.
    pub fn capped(&self, most: f64) -> (f64, f64) {
        let faults = self.by_client.iter().map(|(_, faults)| f64::from(*faults)).chain([self.others as f64]);
        faults.map(|faults| faults.min(most)).fold((0.0, 0.0), |(sum, squares), faults| (sum + faults, squares + faults * faults))
    }

    /// The faults of the client that has most.
    pub fn greatest(&self) -> f64 {
        let faults = self.by_client.iter().map(|(_, faults)| f64::from(*faults));
        faults.fold(self.others as f64, f64::max)
    }
}
