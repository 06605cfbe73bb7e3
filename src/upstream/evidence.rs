//! What the judge is shown: what has come to an entry since somebody began to watch it.
//!
//! Counts by outcome and fine times are always there, and a watcher goes by how they have grown. Who met the faults, how many
//! clients there were and how much each of them asked is noted while somebody watches and at no other time, for each watcher by itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::callers::Table;
use super::clients::{Client, Clients};
use super::fine::{self, Fine};
use super::tally::EntryTally;
use crate::domain::judge::{Calls, Faulty, Figures};
use crate::domain::{Moment, Outcome};

/// Clients told apart that met a fault, of an entry as a whole; and of its tools, all together. What goes beyond counts as one.
const MOST_CLIENTS: usize = 1_000;
const MOST_OF_TOOLS: usize = 4_000;

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// The tool that it called.
    pub tool: Option<&'a str>,
    /// How it ended.
    pub outcome: Outcome,
    /// From its head to its answer or, where there was none, to its end.
    pub elapsed: Duration,
    /// Whether there was a JSON-RPC answer.
    pub is_answered: bool,
    /// Whose it was, where somebody watches and that is known.
    pub client: Option<Client>,
}

/// What a tally has for those who watch.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    watchers: AtomicU32,
    /// Requests that call no tool; those that do are with their tools.
    toolless: Fine,
    collectors: ArcSwap<Vec<Arc<Collector>>>,
    /// Nanoseconds after the start of the process, and one.
    last_sent: AtomicU64,
}

/// What is noted for one watcher.
#[derive(Debug, Default)]
struct Collector {
    clients: Clients,
    callers: Table,
    faults: Mutex<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    all: Met,
    tools: HashMap<String, Met>,
    of_tools: usize,
}

/// Who met faults, and how many.
#[derive(Debug, Default)]
struct Met {
    by_client: HashMap<u64, u32>,
    others: u64,
}

/// Somebody who watches a version of an entry. Dropped, it watches no more.
#[derive(Debug)]
pub struct Watch {
    tally: Arc<EntryTally>,
    collector: Arc<Collector>,
    before: Reading,
}

/// All counts at some moment.
#[derive(Debug, Default)]
struct Reading {
    requests: u64,
    faults: u64,
    toolless: fine::Read,
    tools: HashMap<String, ToolReading>,
}

#[derive(Clone, Debug, Default)]
struct ToolReading {
    requests: u64,
    faults: u64,
    times: fine::Read,
}

impl EntryTally {
    /// One request has ended.
    pub fn end(&self, ended: Ended<'_>) {
        let Ended { tool, outcome, elapsed, is_answered, .. } = ended;
        self.outcomes.note(outcome);
        if is_answered {
            self.result.note(elapsed);
        }
        let tool = tool.map(|tool| self.tools().note(tool, outcome, elapsed));
        if is_answered && outcome.is_entrys() {
            tool.map_or(&self.evidence.toolless, |(_, tally)| &tally.fine).note(elapsed);
        }
        if self.is_watched() {
            self.evidence.note(tool.map(|(name, _)| name), outcome, ended.client);
        }
    }

    /// Whether anybody watches.
    pub fn is_watched(&self) -> bool {
        self.evidence.watchers.load(Ordering::Relaxed) > 0
    }

    /// Begins to watch. What is in flight now is of nobody: its faults are those of clients that are not told apart.
    pub fn watch(self: &Arc<Self>) -> Watch {
        let collector = Arc::<Collector>::default();
        self.evidence.change(|all| all.push(collector.clone()));
        self.evidence.watchers.fetch_add(1, Ordering::Relaxed);
        Watch { tally: self.clone(), collector, before: Reading::of(self, &Reading::default()) }
    }

    /// All since this version came into its slot. Whose the faults were, and how many clients there were, is not known.
    pub fn total(&self) -> Figures {
        let none = Reading::default();
        Reading::of(self, &none).since(&none)
    }

    /// A request is sent to the entry now, or as near to it as the last look at the clock is; told while somebody watches.
    pub fn note_sent(&self, now: Moment) {
        let nanos = u64::try_from(now.since(Moment::default()).as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        // Written only where it changes something: the line is shared by all workers.
        if nanos > self.evidence.last_sent.load(Ordering::Relaxed) {
            self.evidence.last_sent.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    /// When the last request was sent to the entry, of those that were while somebody watched.
    pub fn last_request(&self) -> Option<Moment> {
        let nanos = self.evidence.last_sent.load(Ordering::Relaxed).checked_sub(1);
        nanos.map(|nanos| Moment::after_start(Duration::from_nanos(nanos)))
    }
}

impl Evidence {
    fn note(&self, tool: Option<&str>, outcome: Outcome, client: Option<Client>) {
        let is_answer = outcome.is_entrys() && !matches!(outcome, Outcome::Failed(_));
        for collector in self.collectors.load().iter() {
            if let Some(client) = client.filter(|_| is_answer) {
                collector.clients.note(client);
            }
            if let Some(client) = client.filter(|_| outcome.is_entrys()) {
                collector.callers.note(client, outcome.is_fault());
            }
            if outcome.is_fault() {
                collector.faults().note(tool, client);
            }
        }
    }

    fn change(&self, change: impl Fn(&mut Vec<Arc<Collector>>)) {
        self.collectors.rcu(|all| {
            let mut all = Vec::clone(all);
            change(&mut all);
            all
        });
    }
}

impl Watch {
    /// All since the last time, or since it began. Tools without a request are not among it.
    pub fn take(&mut self) -> Figures {
        let now = Reading::of(&self.tally, &self.before);
        let mut figures = now.since(&self.before);
        self.before = now;
        figures.clients = self.collector.clients.take();
        figures.callers = self.collector.callers.take();
        let faults = std::mem::take(&mut *self.collector.faults());
        figures.all.faulty = faults.all.into();
        for (tool, met) in faults.tools {
            // One whose counts are not read yet has come in this moment.
            figures.tools.entry(tool).or_default().faulty = met.into();
        }
        figures
    }

    /// Whether it is this tally that it watches: another version in the slot has another one.
    pub fn is_of(&self, tally: &Arc<EntryTally>) -> bool {
        Arc::ptr_eq(&self.tally, tally)
    }

    /// The tally.
    pub fn tally(&self) -> &Arc<EntryTally> {
        &self.tally
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tally.evidence.watchers.fetch_sub(1, Ordering::Relaxed);
        self.tally.evidence.change(|all| all.retain(|one| !Arc::ptr_eq(one, &self.collector)));
    }
}

impl Collector {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults {
    fn note(&mut self, tool: Option<&str>, client: Option<Client>) {
        let has_room = self.all.by_client.len() < MOST_CLIENTS;
        self.all.note(client, has_room);
        let Some(tool) = tool else { return };
        let has_room = self.of_tools < MOST_OF_TOOLS;
        if !self.tools.contains_key(tool) {
            // No more of them than the tally tells apart.
            self.tools.insert(tool.to_owned(), Met::default());
        }
        if let Some(met) = self.tools.get_mut(tool) {
            self.of_tools += usize::from(met.note(client, has_room));
        }
    }
}

impl Met {
    /// Whether the client is one more.
    fn note(&mut self, client: Option<Client>, has_room: bool) -> bool {
        let Some(client) = client.map(Client::hash) else {
            self.others += 1;
            return false;
        };
        if let Some(faults) = self.by_client.get_mut(&client) {
            *faults = faults.saturating_add(1);
            return false;
        }
        if has_room {
            self.by_client.insert(client, 1);
        } else {
            self.others += 1;
        }
        has_room
    }
}

impl From<Met> for Faulty {
    fn from(met: Met) -> Self {
        // In their order, as each then goes to the end.
        let mut by_client: Vec<_> = met.by_client.into_iter().collect();
        by_client.sort_unstable();
        Self::new(by_client, met.others)
    }
}

impl Reading {
    fn of(tally: &EntryTally, before: &Self) -> Self {
        let (requests, faults) = sums(|outcome| tally.outcomes(outcome));
        let tools = tally.tools().all().into_iter().map(|(name, tool)| {
            let (requests, faults) = sums(|outcome| tool.outcomes(outcome));
            let reading = match before.tools.get(&name) {
                // Of most tools nothing has come: 1.5 KiB each that need not be read.
                Some(before) if before.requests == requests => before.clone(),
                _ => ToolReading { requests, faults, times: tool.fine.read() },
            };
            (name, reading)
        });
        Self { requests, faults, toolless: tally.evidence.toolless.read(), tools: tools.collect() }
    }

    fn since(&self, before: &Self) -> Figures {
        let none = ToolReading::default();
        let tools = self.tools.iter().filter_map(|(name, now)| {
            let before = before.tools.get(name).unwrap_or(&none);
            let calls = Calls {
                requests: now.requests.saturating_sub(before.requests),
                faults: now.faults.saturating_sub(before.faults),
                faulty: Faulty::default(),
                times: fine::between(&before.times, &now.times),
            };
            (calls.requests > 0).then(|| (name.clone(), calls))
        });
        let mut figures = Figures { tools: tools.collect(), ..Figures::default() };
        figures.all.requests = self.requests.saturating_sub(before.requests);
        figures.all.faults = self.faults.saturating_sub(before.faults);
        figures.all.times = fine::between(&before.toolless, &self.toolless);
        let Figures { all, tools, .. } = &mut figures;
        tools.values().for_each(|calls| all.times.merge(&calls.times));
        figures
    }
}

/// Requests that ended by the entry's doing, and those of them that count against it.
fn sums(count: impl Fn(Outcome) -> u64) -> (u64, u64) {
    let of = |wanted: fn(Outcome) -> bool| Outcome::ALL.into_iter().filter(|outcome| wanted(*outcome)).map(&count).sum();
    (of(Outcome::is_entrys), of(Outcome::is_fault))
}

#[cfg(test)]
mod tests;
