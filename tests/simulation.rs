//! A seeded simulation of rollouts: traffic of any quality, checks that flap, a disk that fails, commands at any moment, crashes,
//! and clocks that jump, in virtual time. What holds whatever happens is said in `hold`.
//!
//! `SEEDS=10000 cargo test --release --test simulation` runs more of it; a seed that fails is named, and `SEED=n` runs it alone.

#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

use std::collections::VecDeque;
use std::time::Duration;

use dualgate::domain::judge::{self, Calls, Faulty, Figures, Reaction, Reactions, Times, Verdict};
use dualgate::domain::machine::{
    Authority, Brake, Cause, Command, Depart, Durable, Effect, EndpointSpec, EntrySpec, Event, Evidence, Found, Leave, Machine,
    Note, OnDrain, Order, Paced, Refusal, Rules, Start, Ticket, Wish,
};
use dualgate::domain::rollout::{Kept, Phase as RolloutPhase, Rollout, Wanted};
use dualgate::domain::{Entry, Gate, Moment, PerEntry, Phase, Plan, Salt, Share, Split, Standing, Step, Thresholds};

const SEEDS: u64 = 400;
const STEPS: usize = 1_500;
const WINDOW: Duration = Duration::from_secs(10);

#[test]
fn whatever_happens_a_rollout_keeps_its_promises() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let mut ends = std::collections::BTreeMap::<String, u64>::new();
    for seed in seeds {
        for (end, count) in World::new(seed).run() {
            *ends.entry(end).or_default() += count;
        }
    }
    println!("{ends:?}");
    // A simulation in which something never happens proves nothing about it.
    if number("SEED").is_none() {
        let of_rollouts = ["done", "rolled-back", "aborted", "frozen", "paused", "crash", "automatic", "advanced"];
        let of_departures =
            ["drain", "rollback", "drain-ordered", "move-ordered", "end-ordered", "drained true", "drained false"];
        for end in of_rollouts.into_iter().chain(of_departures) {
            assert!(ends.get(end).is_some_and(|count| *count > 0), "{end} never happened: {ends:?}");
        }
    }
}

/// xorshift64*, seeded through splitmix64.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((mixed ^ (mixed >> 31)) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// What is on its way: it arrives in this order, or with a crash not at all.
enum Way {
    Save(Durable),
    Brake(Brake),
    Ask(u64),
}

struct World {
    dice: Dice,
    now: Duration,
    machine: Machine,
    disk: Found,
    way: VecDeque<Way>,
    disk_works: bool,
    up: PerEntry<bool>,
    /// Error rates of both entries, as of now.
    rates: PerEntry<f64>,
    traffic: u64,
    watched: Option<(u64, Duration)>,
    held: u64,
    /// Since when the candidate is being taken back.
    back_since: Option<Duration>,
    tickets: u64,
    /// Orders that wait for their answer.
    open: std::collections::BTreeSet<u64>,
    brakes_work: bool,
    ended: std::collections::BTreeMap<String, u64>,
    trace: VecDeque<String>,
    seed: u64,
}

fn spec(version: &str, port: u16) -> EntrySpec {
    EntrySpec { version: version.into(), endpoints: vec![EndpointSpec::new("a", format!("http://127.0.0.1:{port}"))] }
}

fn rules(dice: &mut Dice) -> Rules {
    let reaction = |dice: &mut Dice| {
        dice.of(&[Reaction::Rollback, Reaction::Rollback, Reaction::Rollback, Reaction::Freeze, Reaction::Notify])
    };
    let reactions = Reactions {
        health: reaction(dice),
        errors: reaction(dice),
        latency: Reaction::Off,
        throughput: Reaction::Off,
        tools: Reaction::Off,
        signal: reaction(dice),
    };
    Rules {
        split: Split::parse("100:0").unwrap(),
        entries: PerEntry { primary: spec("1.0", 3000), secondary: spec("2.0", 3001) },
        authority: Authority::State,
        confirm_after: Duration::from_secs(3600),
        thresholds: Thresholds { rise: 2, fall: 3 },
        failover: true,
        grace: Duration::from_secs(1),
        volatile: false,
        judge: judge::Rules { window: WINDOW, reactions, ..judge::Rules::default() },
        leave: Leave { on_drain: dice.of(&[OnDrain::Rehome, OnDrain::Rehome, OnDrain::End, OnDrain::Wait]), ..Leave::default() },
    }
}

/// Steps that rise, with holds and gates.
fn plan(dice: &mut Dice) -> Plan {
    let mut shares: Vec<u16> = (0..1 + dice.below(3)).map(|_| 100 * (1 + dice.below(99) as u16)).collect();
    shares.push(10_000);
    shares.sort_unstable();
    shares.dedup();
    let step = |dice: &mut Dice, points: u16| {
        let hold = (!dice.one_in(5)).then(|| WINDOW * (2 + dice.below(4) as u32));
        let gates = match dice.below(6) {
            0 => vec![Gate::Approval { persons: 1 + dice.below(2) as u8 }],
            1 => vec![Gate::Validation],
            2 => vec![Gate::Health],
            _ => Vec::new(),
        };
        Step { share: Share::from_basis_points(points).unwrap(), hold, gates }
    };
    Plan { name: "p".into(), steps: shares.into_iter().map(|points| step(dice, points)).collect() }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let fresh = Durable::first(Split::parse("100:0").unwrap(), 1, Salt::new([1; 16]));
        let rules = rules(&mut dice);
        let (machine, effects) =
            Machine::start(Moment::default(), Duration::ZERO, rules, Found::default(), fresh, Phase::from_random(0));
        let mut world = Self {
            dice,
            now: Duration::ZERO,
            machine,
            disk: Found::default(),
            way: VecDeque::new(),
            disk_works: true,
            up: PerEntry { primary: true, secondary: true },
            rates: PerEntry::default(),
            traffic: 2_000,
            watched: None,
            held: 0,
            back_since: None,
            tickets: 0,
            open: std::collections::BTreeSet::new(),
            brakes_work: true,
            ended: std::collections::BTreeMap::new(),
            trace: VecDeque::new(),
            seed,
        };
        world.take(effects);
        world
    }

    fn run(mut self) -> std::collections::BTreeMap<String, u64> {
        for _ in 0..STEPS {
            self.happen();
        }
        self.ended
    }

    fn happen(&mut self) {
        // A quarter of a second at a time, as the actor ticks; seldom the machine was asleep.
        let pause = if self.dice.one_in(400) {
            Duration::from_secs(self.dice.below(20_000))
        } else {
            Duration::from_millis(250 * (1 + self.dice.below(8)))
        };
        self.now += pause;
        self.change_the_world();
        match self.dice.below(100) {
            0 if self.dice.one_in(2) => self.crash(),
            0 => self.configure(),
            1..=8 => self.command(),
            9..=14 => self.answer_or_read(),
            15..=34 => self.arrive(),
            35..=54 => self.probe(),
            _ => self.tick(),
        }
    }

    fn change_the_world(&mut self) {
        if self.dice.one_in(150) {
            let entry = self.dice.of(&Entry::BOTH);
            self.up[entry] = !self.up[entry];
        }
        if self.dice.one_in(120) {
            let entry = self.dice.of(&[Entry::Secondary, Entry::Secondary, Entry::Primary]);
            self.rates[entry] = self.dice.of(&[0.0, 0.0, 0.01, 0.04, 0.08, 0.3, 1.0]);
        }
        if self.dice.one_in(200) {
            self.traffic = self.dice.of(&[0, 5, 200, 2_000, 2_000, 20_000]);
        }
        if self.dice.one_in(100) {
            self.disk_works = !self.dice.one_in(3);
            self.brakes_work = !self.dice.one_in(6);
        }
    }

    fn tick(&mut self) {
        self.step(Event::Tick, None);
        let Some(of) = self.machine.watching() else { return self.watched = None };
        match self.watched {
            Some((number, next)) if number == of.number => {
                if self.now >= next {
                    self.watched = Some((number, self.now + of.window));
                    let share = self.machine.state().split.share(of.candidate).percent() / 100.0;
                    let candidate = Box::new(self.figures(of.candidate, share));
                    let stable = Box::new(self.figures(of.candidate.other(), 1.0 - share));
                    self.step(Event::Seen { number, candidate, stable }, None);
                }
            }
            _ => {
                self.watched = Some((of.number, self.now + of.window));
                let baseline = Box::new(self.figures(of.candidate.other(), 1.0));
                self.step(Event::Watched { number: of.number, baseline }, None);
            }
        }
        let leaves = self.machine.rollout().is_some_and(|rollout| rollout.phase == RolloutPhase::RollingBack);
        if leaves {
            self.held = self.held.saturating_sub(self.dice.below(3));
            let kept =
                Kept { before: Some(10), moved: None, ended: Some(10 - self.held.min(10)), left: None, last_request: None };
            self.step(Event::Counted { held: self.held, kept }, None);
        } else {
            self.held = 10;
        }
    }

    /// Each request by a draw of its own; clients in proportion.
    fn figures(&mut self, entry: Entry, share: f64) -> Figures {
        let requests = (self.traffic as f64 * share) as u64;
        let clients = (requests / 7).max(1);
        let (mut faulty, mut faults) = (Faulty::default(), 0);
        for _ in 0..requests {
            if self.dice.part() < self.rates[entry] {
                faulty.note(self.dice.below(clients), 1);
                faults += 1;
            }
        }
        let mut times = Times::default();
        (0..requests.min(200)).for_each(|_| times.note(Duration::from_micros(900 + self.dice.below(200))));
        Figures { all: Calls { requests, faults, faulty, times }, clients: clients.min(requests), ..Figures::default() }
    }

    fn probe(&mut self) {
        for entry in Entry::BOTH {
            let success = self.up[entry] && !self.dice.one_in(20);
            self.step(Event::Probed { entry, endpoint: "a".into(), success }, None);
        }
    }

    fn answer_or_read(&mut self) {
        let asked = self.way.iter().position(|way| matches!(way, Way::Ask(_)));
        if let Some(Way::Ask(number)) = asked.and_then(|at| self.way.remove(at)) {
            let passed = self.dice.one_in(2);
            self.step(Event::Answered { number, passed, detail: "said".into() }, None);
        }
    }

    /// The oldest save or brake comes to the disk, or not.
    fn arrive(&mut self) {
        let Some(at) = self.way.iter().position(|way| !matches!(way, Way::Ask(_))) else { return };
        match self.way.remove(at) {
            Some(Way::Save(state)) => {
                let revision = state.revision;
                let failure = (!self.disk_works).then(|| "No space left on device".to_owned());
                if failure.is_none() {
                    // Through its form on the disk.
                    self.disk.state = Some(serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap());
                }
                self.step(Event::Saved { revision, failure }, None);
            }
            Some(Way::Brake(brake)) => {
                let revision = brake.revision;
                // In place: it works on a full disk, and on none that is dead.
                if !self.brakes_work {
                    return self.step(Event::Braked { revision, written: false }, None);
                }
                self.disk.brake = Some(serde_json::from_str(&serde_json::to_string(&brake).unwrap()).unwrap());
                self.step(Event::Braked { revision, written: true }, None);
            }
            Some(Way::Ask(_)) | None => {}
        }
    }

    fn command(&mut self) {
        let at = self.machine.rollout().map_or(0, |rollout| rollout.step);
        let step = if self.dice.one_in(5) { self.dice.below(4) as usize } else { at };
        let force = self.dice.one_in(6);
        let version = self.dice.of(&["2.0", "2.1", "3.0"]);
        let command = match self.dice.below(24) {
            0..=7 => {
                let plan = plan(&mut self.dice);
                let id = format!("r{}", self.tickets);
                Command::Start(Box::new(Start { id, plan, to: None, force, salt: Salt::new([9; 16]) }))
            }
            8 => Command::Rollback,
            9 => Command::Abort,
            10 => Command::Promote { force },
            11 => Command::Steer(Wanted::Pause),
            12 | 13 => Command::Steer(Wanted::Resume),
            14 => Command::Steer(Wanted::Advance { step, force }),
            15 | 16 => Command::Steer(Wanted::Approve { step }),
            17 => {
                let secondary = Share::from_basis_points(100 * self.dice.below(101) as u16).unwrap();
                Command::Split(Split::giving(Entry::Secondary, secondary))
            }
            18 => {
                let entry = self.machine.candidate();
                let spec = spec(version, if entry == Entry::Primary { 3000 } else { 3001 });
                Command::Deploy(dualgate::domain::machine::Deploy { entry, spec, force })
            }
            19..=21 => {
                let what = self.dice.of(&[Wish::Drain, Wish::Drain, Wish::Move, Wish::MoveByForce, Wish::End]);
                let deadline = Duration::from_secs(self.dice.of(&[0, 0, 20, 600]));
                let times = Paced { deadline, pace: Duration::from_secs(self.dice.of(&[0, 25])) };
                let force = what == Wish::MoveByForce || (what == Wish::End && force);
                Command::Depart(Depart { entry: self.dice.of(&Entry::BOTH), what, times, force })
            }
            22 => Command::Stay(self.dice.of(&Entry::BOTH)),
            _ => Command::Signal(vec![Evidence {
                critical: self.dice.one_in(2),
                entry: self.dice.of(&[None, Some(Entry::Primary), Some(Entry::Secondary)]),
                words: "an alert".into(),
            }]),
        };
        self.tickets += 1;
        self.open.insert(self.tickets);
        let (ticket, actor) = (Ticket(self.tickets), self.dice.of(&["ada", "bob", "cid"]).to_owned());
        let order = Order { ticket, actor, reason: Some("why".into()), if_match: None, dry_run: false, command: command.clone() };
        self.step(Event::Ordered(order), Some(command));
    }

    /// The file has another version, or other rules; or the service goes and comes.
    fn configure(&mut self) {
        let mut rules = self.machine.rules().clone();
        match self.dice.below(4) {
            0 => {
                let version = self.dice.of(&["2.0", "2.2"]);
                rules.entries.secondary = spec(version, 3001);
            }
            1 => rules.judge.max_error_rate = self.dice.of(&[0.05, 0.1]),
            2 => self.step(Event::Dismissed, None),
            _ => {}
        }
        self.step(Event::Configured(Box::new(rules)), None);
    }

    /// What has not come to the disk is lost.
    fn crash(&mut self) {
        *self.ended.entry("crash".into()).or_default() += 1;
        let before = self.machine.state().clone();
        self.way.clear();
        self.open.clear();
        let fresh = Durable::first(Split::parse("100:0").unwrap(), 1, Salt::new([1; 16]));
        let rules = self.machine.rules().clone();
        let now = Moment::after_start(self.now);
        // The wall clock is set back and forth meanwhile.
        let origin = Duration::from_secs(self.dice.below(2_000_000_000));
        let (machine, effects) = Machine::start(now, origin, rules, self.disk.clone(), fresh, Phase::from_random(0));
        self.trace.push_back(format!("crash: {} {:?}", before.split, before.rollout.as_ref().map(|rollout| &rollout.phase)));
        self.machine = machine;
        self.watched = None;
        let braked = self.disk.brake.as_ref().map_or(0, |brake| brake.sequence);
        let stands = |rollout: &&Rollout| matches!(rollout.phase, RolloutPhase::Paused { .. });
        if let Some(found) = self
            .disk
            .state
            .as_ref()
            .filter(|state| state.sequence > braked)
            .and_then(|state| state.rollout.as_deref())
            .filter(|found| found.is_running() && !stands(found))
            && self.machine.rollout().is_some_and(|rollout| stands(&rollout) && rollout.id == found.id)
        {
            let told = effects.iter().any(|effect| matches!(effect, Effect::Tell(Note::Rollout { .. })));
            assert!(told, "{}it stands still since the restart, and nobody was told", self.said());
        }
        if let Some(rollout) = self.machine.rollout() {
            assert!(
                !matches!(rollout.phase, RolloutPhase::Holding | RolloutPhase::Soaking | RolloutPhase::Gating),
                "{}a restart goes on by itself: {:?}",
                self.said(),
                rollout.phase
            );
        }
        // Their time begins anew, with the first that happens.
        self.back_since = None;
        self.take(effects);
    }

    fn step(&mut self, event: Event, command: Option<Command>) {
        let before = self.machine.clone();
        self.trace.push_back(format!("{:?} {}", self.now, short(&event)));
        if self.trace.len() > 40 {
            self.trace.pop_front();
        }
        let effects = self.machine.step(Moment::after_start(self.now), event.clone());
        // Every order is answered, and once.
        for effect in &effects {
            if let Effect::Answer(Ticket(number @ 1..), _) = effect {
                assert!(self.open.remove(number), "{}ticket {number} is answered twice", self.said());
            }
        }
        if self.machine.is_settled() && self.way.iter().all(|way| matches!(way, Way::Ask(_))) && effects.is_empty() {
            assert!(self.open.is_empty(), "{}nobody answers {:?}", self.said(), self.open);
        }
        self.hold(&before, &event, command.as_ref(), &effects);
        self.note_back();
        self.take(effects);
    }

    fn note_back(&mut self) {
        let leaves = self.machine.rollout().is_some_and(|rollout| rollout.phase == RolloutPhase::RollingBack);
        self.back_since = if leaves { self.back_since.or(Some(self.now)) } else { None };
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Save(state) => self.way.push_back(Way::Save(state)),
                Effect::Brake(brake) => self.way.push_back(Way::Brake(brake)),
                Effect::Ask { number, .. } => self.way.push_back(Way::Ask(number)),
                Effect::Publish | Effect::Tell(_) | Effect::Record(_) | Effect::Answer(..) => {}
            }
        }
    }

    /// What holds, whatever happens.
    fn hold(&mut self, before: &Machine, event: &Event, command: Option<&Command>, effects: &[Effect]) {
        let said = self.said();
        let machine = &self.machine;
        let candidate = before.candidate();
        let share = |machine: &Machine| machine.state().split.share(candidate);
        let (old, new) = (share(before), share(machine));
        let phase = |machine: &Machine| machine.rollout().map(|rollout| rollout.phase.clone());
        let by_itself = command.is_none() && !matches!(event, Event::Saved { .. });

        // The share is never above the step allowed: while nobody has set it by hand, it is the step's.
        if let Some(rollout) = machine.rollout()
            && let RolloutPhase::Holding | RolloutPhase::Soaking | RolloutPhase::Gating = rollout.phase
        {
            assert_eq!(
                Some(machine.state().split.share(rollout.candidate)),
                rollout.current().map(|step| step.share),
                "{said}not the step's"
            );
        }

        // Nothing rises but what was stored first.
        assert!(
            new <= old || matches!(event, Event::Saved { failure: None, .. }),
            "{said}raised before it was durable: {old} {new}"
        );

        // What was stopped does not go on: whatever rises was ordered, or is the next step after the gates of the last.
        let is_answer = |effect: &Effect| matches!(effect, Effect::Answer(Ticket(1..), Ok(_)));
        if new > old && !effects.iter().any(is_answer) {
            assert_eq!(phase(before), Some(RolloutPhase::Gating), "{said}rises by itself");
        }

        // What rises by itself rises by a step, onto a candidate that is up, not condemned, and does not fail.
        let entered = effects
            .iter()
            .any(|effect| matches!(effect, Effect::Tell(Note::Split { actor, .. }) if actor.starts_with("rollout")));
        if entered && new > old {
            *self.ended.entry("advanced".into()).or_default() += 1;
        }
        let asks_to_enter =
            |effect: &Effect| matches!(effect, Effect::Save(state) if state.split.share(candidate) > old.max(new));
        if by_itself && effects.iter().any(asks_to_enter) && before.is_settled() {
            let fails = machine.report().is_some_and(|report| report.verdict == Verdict::Fail);
            let forced = machine.live().is_forced();
            let fit = machine.standing(candidate) == Standing::Up && machine.state().condemned[candidate].is_none() && !fails;
            assert!(fit || forced, "{said}a sick entry gains");
            let holds = machine.rollout().and_then(Rollout::current).is_some_and(|step| step.hold.is_some());
            let unsure = machine.report().is_none_or(|report| report.verdict != Verdict::Pass);
            assert!(!holds || !unsure || machine.live().is_hurried(), "{said}advanced without a verdict");
        }

        // Back by itself: only where something fails whose reaction is that, and never onto a sick entry.
        if new < old && command.is_none() && !matches!(event, Event::Saved { .. }) {
            *self.ended.entry("automatic".into()).or_default() += 1;
            assert_eq!(new, Share::NONE, "{said}half back");
            let fails = machine.standing(candidate) == Standing::Down
                || before.report().into_iter().chain(machine.report()).any(|report| report.verdict == Verdict::Fail)
                // What the judge said in this very window is kept in the account alone, since nobody is judged any more.
                || machine.rollout().and_then(|rollout| rollout.account.fired.as_ref()?.finding.as_ref()).is_some_and(|finding| {
                    matches!(event, Event::Seen { .. }) && finding.verdict == Verdict::Fail
                });
            assert!(fails, "{said}back for nothing: unsure reverts");
            assert_ne!(machine.standing(candidate.other()), Standing::Down, "{said}back onto a sick entry");
            assert!(
                matches!(effects.first(), Some(Effect::Publish)) || matches!(event, Event::Probed { .. }),
                "{said}back waits for something"
            );
        }

        // After a fail nobody new goes to the candidate.
        if let Some(report) = machine.report().filter(|report| report.verdict == Verdict::Fail)
            && machine.rollout().is_some_and(Rollout::is_running)
        {
            let rolls_back = report.findings.iter().any(|finding| {
                finding.verdict == Verdict::Fail && machine.rules().judge.reactions.of(finding.trigger) == Reaction::Rollback
            });
            let fit = machine.standing(candidate.other()) != Standing::Down
                && machine.state().condemned[candidate.other()].is_none()
                && report.stable_is_sick.is_none();
            assert!(!rolls_back || !fit || new == Share::NONE, "{said}fails, and still has {new} %");
        }

        // No phase without a reason.
        if phase(before) != phase(machine) {
            let told = effects.iter().any(|effect| matches!(effect, Effect::Tell(Note::Rollout { why, .. }) if !why.is_empty()));
            assert!(told, "{said}{:?} became {:?} and nobody was told why", phase(before), phase(machine));
            if let Some(phase) = phase(machine) {
                *self.ended.entry(phase.as_str().into()).or_default() += 1;
            }
        }

        // By hand, back is legal in every state and at once.
        if let Some(Command::Rollback) = command {
            assert_eq!(new, Share::NONE, "{said}a rollback by hand that waits");
            assert!(
                effects
                    .iter()
                    .all(|effect| !matches!(effect, Effect::Answer(_, Err(_))) || !before.is_settled() || before.is_settled())
            );
            assert!(!machine.rollout().is_some_and(Rollout::is_running), "{said}rolled back and running");
        }

        // Going back comes to rest within its bound.
        if let Some(since) = self.back_since
            && matches!(event, Event::Tick)
        {
            let bound = machine.rules().leave.time().unwrap_or_default() + Duration::from_secs(5);
            let rests = machine.rollout().is_none_or(|rollout| rollout.phase != RolloutPhase::RollingBack);
            assert!(
                rests || self.now - since < bound,
                "{said}going back does not come to rest: since {since:?}, {bound:?}, {:?}",
                machine.live()
            );
        }

        // Every answer is one of those that wait, and nothing has changed where it says no.
        if let Some(Effect::Answer(_, Err(Refusal::Rollout(_)))) = effects.first() {
            assert_eq!(old, new, "{said}refused, and changed");
        }

        self.hold_departures(before, event, command, effects);
    }

    /// Who leaves an entry, and when.
    fn hold_departures(&mut self, before: &Machine, event: &Event, command: Option<&Command>, effects: &[Effect]) {
        let (said, machine, now) = (self.said(), self.machine.clone(), Moment::after_start(self.now));
        let state = machine.state();
        for entry in Entry::BOTH {
            let (share, other) = (state.split.share(entry), entry.other());
            let leaving = machine.leaving(entry);

            // What workers go by is what the machine says.
            if machine.eviction(entry) != before.eviction(entry) {
                assert!(effects.contains(&Effect::Publish), "{said}{entry} is to be left, and nobody is told");
            }

            // Nobody leaves by itself an entry that has clients, nor for one that is not well.
            if let Some(leaving) = leaving.filter(|leaving| matches!(leaving.cause, Cause::Drain | Cause::OrderedDrain)) {
                assert_eq!(share, Share::NONE, "{said}{entry} is drained");
                assert!(machine.standing(other) == Standing::Up, "{said}onto a sick entry: {leaving:?}");
                assert!(state.condemned[other].is_none(), "{said}onto a condemned entry: {leaving:?}");
                *self.ended.entry(format!("drained {}", now >= leaving.eviction.from)).or_default() += 1;
            }

            // Who is born from now on stays: the revision in force is not among those that leave.
            if let Some(leaving) = leaving {
                assert!(!leaving.eviction.concerns(state.revision), "{said}those who come now leave: {leaving:?}");
                assert!(leaving.since <= now, "{said}{leaving:?}");
                *self.ended.entry(leaving.cause.as_str().into()).or_default() += 1;
            }

            // An order goes with a share that is raised, with a rollback, or with a word that takes it back, and not else.
            let taken_back = matches!(command, Some(Command::Stay(of)) if *of == entry);
            let raised = share > before.state().split.share(entry);
            // But for one that waited behind the raise.
            let older = state.departures[entry].is_some_and(|ordered| before.state().departures[entry] == Some(ordered));
            assert!(!raised || !older, "{said}{entry} was raised, and is left all the same");
            if before.state().departures[entry].is_some() && state.departures[entry].is_none() {
                // A raise that comes in force may be taken back in the same breath, and words wait in line behind one.
                let may_have_risen = raised || matches!(event, Event::Saved { .. });
                assert!(may_have_risen || taken_back || state.condemned[entry].is_some(), "{said}an order is gone");
            }

            // Sessions leave no sooner than their time: what was not to be left cannot be past its deadline in the same step.
            if let (Some(leaving), None) = (leaving, before.leaving(entry)) {
                assert_eq!(leaving.since, now, "{said}{leaving:?}");
            }
        }
        // It moves no client that is new.
        if let Some(Command::Depart(_) | Command::Stay(_)) = command {
            let old = before.state();
            assert_eq!(state.split, old.split, "{said}a departure changed the split");
            assert_eq!(state.stable, old.stable, "{said}a departure changed who is stable");
        }
    }

    fn said(&self) -> String {
        let trace: Vec<&str> = self.trace.iter().map(String::as_str).collect();
        format!(
            "seed {}:\n{}\n{:?}\n",
            self.seed,
            trace.join("\n"),
            self.machine.rollout().map(|rollout| (&rollout.phase, rollout.step))
        )
    }
}

fn short(event: &Event) -> String {
    match event {
        Event::Seen { candidate, stable, .. } => format!(
            "seen: {} faults of {}, stable {} of {}",
            candidate.all.faults, candidate.all.requests, stable.all.faults, stable.all.requests
        ),
        Event::Watched { number, .. } => format!("watched {number}"),
        Event::Ordered(order) => format!("{} orders {:?}", order.actor, order.command),
        other => format!("{other:?}"),
    }
}
