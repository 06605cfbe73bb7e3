//! Traffic that knows nothing of the judge: clients come and go, each with its own pace, tools, mistakes and distance.
//!
//! * Clients arrive as a Poisson process and stay as long as a Pareto distribution says (shape 1.5, at most four hours).
//! * Paces are log-normal (the busiest hundredth asks for a fifth of everything), on and off by the minute.
//! * What a client asks wrong is its own: most make few mistakes, some many, one in a hundred every other time; and now and
//!   then one repeats the same wrong call, six times on average, as fast as it can.
//! * 40 tools, their use by Zipf's law, bent by each client's own taste (Gamma, shape 0.3). Tools differ in speed, spread and
//!   in how easily they are asked wrongly.
//! * Times are log-normal by tool, times a factor of the client and one of the client with this tool, and one in a hundred is
//!   three times as long and far more (Pareto, shape 1.2).
//! * Half of the clients are told apart by a key and move when the share passes them; the others have sessions, and stay
//!   where they were born.

use std::collections::BTreeMap;

use dualgate::domain::judge::times::{BUCKETS, bucket};
use dualgate::domain::judge::{Caller, Callers, Calls, Faulty, Figures, Times};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Beta, Distribution, Exp1, Gamma, Geometric, LogNormal, Normal, Pareto, Poisson, StandardNormal};

pub const TOOLS: usize = 40;

/// Requests of one client in a minute, on average.
const PACE: f64 = 6.0;
const PACE_SPREAD: f64 = 1.2;
/// The shortest stay and the longest, in minutes.
const STAY: (f64, f64) = (3.0, 240.0);
const STAY_SHAPE: f64 = 1.5;

/// What ails an entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ailment {
    /// Requests that fail, beside those that clients ask wrongly (0 to 1);
    pub errors: f64,
    /// of this tool only.
    pub tool: Option<usize>,
    /// Times are so many times as long, and as much longer again.
    pub slower: f64,
}

struct Tool {
    use_weight: f64,
    mistakes: f64,
    median: f64,
    spread: f64,
}

struct Client {
    hash: u64,
    position: f64,
    keyed: bool,
    candidate: bool,
    pace: f64,
    leaves: f64,
    mistakes: f64,
    /// Cumulative, and the factor on times.
    tools: Vec<(f64, f64)>,
}

pub struct Traffic {
    dice: Xoshiro256PlusPlus,
    tools: Vec<Tool>,
    clients: Vec<Client>,
    per_minute: f64,
    minute: f64,
    share: f64,
    pub mistakes: f64,
    pub candidate: Ailment,
    pub stable: Ailment,
}

impl Traffic {
    /// So many requests a second, of clients that have been coming and going for two hours. `mistakes`: a factor on what
    /// clients ask wrongly; 1 gives 3 % of all requests.
    pub fn new(seed: u64, per_second: f64, mistakes: f64) -> Self {
        let mut dice = Xoshiro256PlusPlus::seed_from_u64(seed);
        let tools = (1..=TOOLS).map(|rank| Tool {
            use_weight: 1.0 / rank as f64,
            mistakes: LogNormal::new(-0.125, 0.5).unwrap().sample(&mut dice),
            median: LogNormal::new(80_000f64.ln(), 1.0).unwrap().sample(&mut dice),
            spread: dice.random_range(0.3..0.9),
        });
        let tools = tools.collect();
        let none = Ailment::default();
        let mut traffic = Self {
            dice,
            tools,
            clients: Vec::new(),
            per_minute: per_second * 60.0,
            minute: -120.0,
            share: 0.0,
            mistakes,
            candidate: none,
            stable: none,
        };
        while traffic.minute < 0.0 {
            traffic.come_and_go();
        }
        traffic
    }

    /// Another share of the clients (0 to 1) goes to the candidate.
    pub fn share(&mut self, share: f64) {
        self.share = share;
        self.clients.iter_mut().filter(|client| client.keyed).for_each(|client| client.candidate = client.position < share);
    }

    /// The next minute: what the candidate and the stable entry show.
    pub fn minute(&mut self) -> (Figures, Figures) {
        self.come_and_go();
        let mut sides = [Side::default(), Side::default()];
        for at in 0..self.clients.len() {
            let entry = usize::from(!self.clients[at].candidate);
            let ailment = [self.candidate, self.stable][entry];
            let calls = self.calls(at);
            sides[entry].clients += u64::from(calls > 0);
            for _ in 0..calls {
                self.call(at, ailment, &mut sides[entry]);
            }
        }
        let [candidate, stable] = sides.map(Side::figures);
        (candidate, stable)
    }

    fn calls(&mut self, at: usize) -> u64 {
        let client = &self.clients[at];
        let busy = if self.dice.random_bool(0.5) { 1.6 } else { 0.4 };
        let there = (client.leaves - self.minute + 1.0).clamp(0.0, 1.0);
        Poisson::new((client.pace * busy * there).max(1e-9)).unwrap().sample(&mut self.dice) as u64
    }

    fn call(&mut self, at: usize, ailment: Ailment, side: &mut Side) {
        let (client, dice) = (&self.clients[at], &mut self.dice);
        let pick = dice.random::<f64>();
        let tool = client.tools.partition_point(|(below, _)| *below < pick).min(TOOLS - 1);
        let Tool { mistakes, median, spread, .. } = &self.tools[tool];
        let mistaken = dice.random_bool((client.mistakes * mistakes * self.mistakes).min(1.0));
        let again = if mistaken && dice.random_bool(0.15) { Geometric::new(1.0 / 6.0).unwrap().sample(dice) } else { 0 };
        let ails = ailment.tool.is_none_or(|ailing| ailing == tool);
        for _ in 0..=again {
            let failed = mistaken || (ails && ailment.errors > 0.0 && dice.random_bool(ailment.errors));
            let normal: f64 = StandardNormal.sample(dice);
            let mut micros = median * client.tools[tool].1 * (normal * spread).exp();
            if dice.random_bool(0.01) {
                micros *= 3.0 * Pareto::new(1.0, 1.2).unwrap().sample(dice);
            }
            side.note(tool, client.hash, failed, if ails { micros * (1.0 + ailment.slower) } else { micros });
        }
    }

    fn come_and_go(&mut self) {
        self.minute += 1.0;
        let now = self.minute;
        self.clients.retain(|client| client.leaves > now - 1.0);
        let (least, most) = STAY;
        let stay =
            least * STAY_SHAPE / (STAY_SHAPE - 1.0) - least.powf(STAY_SHAPE) * most.powf(1.0 - STAY_SHAPE) / (STAY_SHAPE - 1.0);
        let arrivals = Poisson::new(self.per_minute / PACE / stay).unwrap().sample(&mut self.dice) as u64;
        for _ in 0..arrivals {
            let client = self.client();
            self.clients.push(client);
        }
    }

    fn client(&mut self) -> Client {
        let dice = &mut self.dice;
        let (least, most) = STAY;
        let stay = Pareto::new(least, STAY_SHAPE).unwrap().sample(dice).min(most);
        let pace = PACE * LogNormal::new(-PACE_SPREAD * PACE_SPREAD / 2.0, PACE_SPREAD).unwrap().sample(dice);
        let mistakes = match dice.random_range(0..100) {
            0 => Beta::new(4.0, 4.0).unwrap().sample(dice),
            1..9 => Beta::new(1.2, 24.0).unwrap().sample(dice),
            _ => Beta::new(0.9, 80.0).unwrap().sample(dice),
        };
        let (taste, own) = (Gamma::new(0.3, 1.0).unwrap(), Normal::new(0.0, 0.2).unwrap());
        let distance = own.sample(dice);
        let mut below = 0.0;
        let tools = self.tools.iter().map(|tool| {
            below += tool.use_weight * taste.sample(dice);
            (below, f64::exp(distance + own.sample(dice)))
        });
        let mut tools: Vec<_> = tools.collect();
        tools.iter_mut().for_each(|(below_this, _)| *below_this /= below);
        let (keyed, position) = (dice.random_bool(0.5), dice.random::<f64>());
        let came: f64 = dice.sample::<f64, _>(Exp1).min(1.0);
        Client {
            hash: dice.next_u64(),
            position,
            keyed,
            candidate: position < self.share,
            pace,
            leaves: self.minute - came + stay,
            mistakes,
            tools,
        }
    }
}

/// What one entry shows in one minute.
#[derive(Default)]
struct Side {
    tools: BTreeMap<usize, (Vec<u32>, u64)>,
    faults: Vec<(usize, u64)>,
    /// Who asked, and whether the last answer was a fault.
    asked: BTreeMap<u64, (Caller, bool)>,
    clients: u64,
}

impl Side {
    fn note(&mut self, tool: usize, client: u64, failed: bool, micros: f64) {
        let (counts, sum) = self.tools.entry(tool).or_insert_with(|| (vec![0; BUCKETS], 0));
        counts[bucket(micros as u64)] += 1;
        *sum += micros as u64;
        let none = Caller { client: (client >> 32) as u32, requests: 0, faults: 0, episodes: 0 };
        let (caller, has_failed) = self.asked.entry(client).or_insert((none, false));
        caller.requests += 1;
        caller.faults += u32::from(failed);
        caller.episodes += u32::from(failed && !*has_failed);
        *has_failed = failed;
        if failed {
            self.faults.push((tool, client));
        }
    }

    fn figures(self) -> Figures {
        let mut faults: BTreeMap<usize, BTreeMap<u64, u32>> = BTreeMap::new();
        let mut all: BTreeMap<u64, u32> = BTreeMap::new();
        for (tool, client) in self.faults {
            *faults.entry(tool).or_default().entry(client).or_default() += 1;
            *all.entry(client).or_default() += 1;
        }
        let (mut counts, mut sum) = (vec![0; BUCKETS], 0);
        let tools = self.tools.into_iter().map(|(tool, (times, micros))| {
            counts.iter_mut().zip(&times).for_each(|(all, more)| *all += more);
            sum += micros;
            (format!("tool-{tool:02}"), calls(times, micros, faults.remove(&tool).unwrap_or_default()))
        });
        let tools = tools.collect();
        let callers = Callers::new(self.asked.into_values().map(|(caller, _)| caller), 0);
        Figures { all: calls(counts, sum, all), tools, clients: self.clients, callers }
    }
}

fn calls(counts: Vec<u32>, micros: u64, faulty: BTreeMap<u64, u32>) -> Calls {
    let faults = faulty.values().map(|n| u64::from(*n)).sum();
    let times = Times::new(counts, micros);
    Calls { requests: times.count(), faults, faulty: Faulty::new(faulty, 0), times }
}
