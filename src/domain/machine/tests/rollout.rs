//! Every phase of a rollout × everything that happens: the table is the one in `rollout/mod.rs`, read from there.

use super::*;
use crate::domain::judge::{Calls, Figures, Reaction, Times};
use crate::domain::plan::{Plan, Step};
use crate::domain::rollout::{Kept, Phase as At, Wanted};

mod races;

const HOLD: Duration = Duration::from_secs(10);

/// The columns of the table.
const PHASES: [&str; 6] = ["holding, soaking", "gating", "paused", "frozen", "rolling back", "ended"];

fn plan(share: u16, gated: bool) -> Plan {
    let gates = if gated { vec![Gate::Approval { persons: 1 }] } else { Vec::new() };
    let step = |points| Step { share: Share::from_basis_points(points).unwrap(), hold: Some(HOLD), gates: gates.clone() };
    let mut steps = vec![step(share)];
    if share < 10_000 {
        steps.push(step(10_000));
    }
    Plan { name: "p".into(), steps }
}

fn start(ticket: u64, plan: Plan) -> Event {
    let start = Start { id: "r1".into(), plan, to: None, force: false, salt: Salt::new([7; 16]) };
    order(ticket, Command::Start(Box::new(start)))
}

type Answers = Vec<(Ticket, Result<Change, Refusal>)>;

/// Both entries up, and traffic that is well.
struct Case {
    machine: Machine,
    now: u64,
}

impl Case {
    fn begin(plan: Plan, reaction: Reaction) -> Self {
        let mut machine = machine("100:0");
        machine.rules.judge.reactions.signal = reaction;
        let mut case = Self { machine, now: 2 };
        case.probe(true, true);
        case.take(start(1, plan));
        assert_eq!(case.phase(), if case.share() == Share::ALL { "soaking" } else { "holding" });
        let number = case.machine.watching().unwrap().number;
        case.take(Event::Watched { number, baseline: Box::default() });
        case.good_window();
        case
    }

    fn probe(&mut self, primary: bool, secondary: bool) {
        for (entry, success) in [(Entry::Primary, primary), (Entry::Secondary, secondary)] {
            for _ in 0..3 {
                self.take(Event::Probed { entry, endpoint: "a".into(), success });
            }
        }
    }

    /// Enough of it, and all well.
    fn good_window(&mut self) {
        let Some(watching) = self.machine.watching() else { return };
        let mut times = Times::default();
        (0..500).for_each(|_| times.note(Duration::from_millis(2)));
        let all = Calls { requests: 500, times, ..Calls::default() };
        let figures = || Box::new(Figures { all: all.clone(), clients: 50, ..Figures::default() });
        self.take(Event::Seen { number: watching.number, candidate: figures(), stable: figures() });
    }

    fn take(&mut self, event: Event) -> (Answers, Vec<Effect>) {
        let effects = self.machine.step(at(self.now), event);
        let told = effects.clone();
        (self.settle(effects), told)
    }

    fn settle(&mut self, effects: Vec<Effect>) -> Answers {
        let mut answers = Vec::new();
        let mut todo: VecDeque<Effect> = effects.into();
        while let Some(effect) = todo.pop_front() {
            let event = match effect {
                Effect::Save(state) => Event::Saved { revision: state.revision, failure: None },
                Effect::Brake(brake) => Event::Braked { revision: brake.revision, written: true },
                Effect::Answer(ticket, answer) => {
                    answers.push((ticket, answer));
                    continue;
                }
                _ => continue,
            };
            todo.extend(self.machine.step(at(self.now), event));
        }
        answers
    }

    fn phase(&self) -> &'static str {
        self.machine.rollout().map_or("none", |rollout| rollout.phase.as_str())
    }

    fn share(&self) -> Share {
        self.machine.state().split.share(Entry::Secondary)
    }

    /// A rollout in this phase.
    fn at(phase: &str, reaction: Reaction) -> Self {
        let mut case = Self::begin(plan(1_000, true), reaction);
        match phase {
            "holding" => {}
            "soaking" => case = Self::begin(plan(10_000, true), reaction),
            "gating" => {
                case.now += 11;
                case.take(Event::Tick);
            }
            "paused" => drop(case.take(order(2, Command::Steer(Wanted::Pause)))),
            "frozen" => {
                case.machine.rules.judge.reactions.signal = Reaction::Freeze;
                case.signal();
                case.machine.rules.judge.reactions.signal = reaction;
            }
            "rolling back" => drop(case.take(rollback(2))),
            "ended" => {
                case.take(rollback(2));
                case.take(Event::Counted { held: 0, kept: Kept::default() });
            }
            other => panic!("no phase {other}"),
        }
        let word = if phase == "ended" { "rolled-back".to_owned() } else { phase.replace(' ', "-") };
        assert_eq!(case.phase(), word);
        case
    }

    fn signal(&mut self) -> Vec<Effect> {
        let command = Command::Signal(vec![Evidence { critical: true, entry: None, words: "an alert".into() }]);
        self.take(order(3, command)).1
    }

    /// What follows from an event of the table, in its words.
    fn outcome(&mut self, event: &str, cell: &str) -> String {
        let (was, turns, approvals) = self.state();
        let steer = |wanted| order(9, Command::Steer(wanted));
        let (answers, effects) = match event {
            "the hold is over" => {
                self.now += 11;
                self.take(Event::Tick)
            }
            "health, verdict and gates pass" => {
                // The last gate is the approval, which lets a rollout go on that waits for nothing else.
                let at = self.machine.rollout().unwrap().step;
                let who = Approval { step: at, who: "ada".into() };
                self.machine.state.rollout.as_mut().unwrap().approvals.push(who);
                let taken = self.take(Event::Tick);
                self.machine.state.rollout.as_mut().unwrap().approvals.clear();
                taken
            }
            "unsure" => self.take(Event::Tick),
            "fail: rollback" | "fail: freeze" | "fail: notify" => (Vec::new(), self.signal()),
            "fail: rollback, and the stable entry is sick" => {
                self.probe(false, true);
                (Vec::new(), self.signal())
            }
            "pause" => self.take(steer(Wanted::Pause)),
            "resume" => self.take(steer(Wanted::Resume)),
            "advance" => self.take(steer(Wanted::Advance { step: 0, force: false })),
            "approve" => self.take(steer(Wanted::Approve { step: 0 })),
            "promote" => self.take(order(9, Command::Promote { force: false })),
            "abort" => self.take(order(9, Command::Abort)),
            "rollback by hand" => self.take(rollback(9)),
            "split by hand" => self.take(split(9, "70:30")),
            "restart" => {
                let found = saved(self.machine.state());
                let (machine, effects) = Machine::start(
                    at(self.now),
                    Duration::ZERO,
                    self.machine.rules.clone(),
                    found,
                    fresh("100:0"),
                    Phase::from_random(0),
                );
                self.machine = machine;
                (self.settle(effects.clone()), effects)
            }
            "the last session has left, or their time is over" => self.take(Event::Counted { held: 0, kept: Kept::default() }),
            other => panic!("no event {other}"),
        };
        let (is, turns_now, approvals_now) = self.state();
        if answers.iter().any(|(_, answer)| answer.is_err()) {
            assert_eq!((was, turns, approvals), (is, turns_now, approvals_now), "refused, and changed");
            return "refused".to_owned();
        }
        if effects.iter().any(|effect| matches!(effect, Effect::Tell(Note::Warned { .. }))) && was == is {
            return "told".to_owned();
        }
        if approvals_now > approvals {
            return "noted".to_owned();
        }
        if was == is && turns == turns_now {
            return "-".to_owned();
        }
        assert!(turns_now > turns, "{event}: another phase and no reason");
        let is_next = was == "gating" && matches!(is, "holding" | "soaking" | "done") && cell.starts_with("next");
        match is {
            _ if is_next => "next step, or done".to_owned(),
            "aborted" | "rolled-back" => "ended".to_owned(),
            "rolling-back" => "rolling back".to_owned(),
            "soaking" => "holding".to_owned(),
            other => other.to_owned(),
        }
    }

    fn state(&self) -> (&'static str, usize, usize) {
        let rollout = self.machine.rollout();
        let count = |of: &dyn Fn(&Rollout) -> usize| rollout.map_or(0, of);
        (self.phase(), count(&|one| one.account.turns.len()), count(&|one| one.approvals.len()))
    }
}

use crate::domain::rollout::Approval;

#[test]
fn what_happens_in_which_phase_is_as_the_table_says() {
    let rows: Vec<Vec<&str>> = include_str!("../../rollout/mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .map(|line| line.trim_end_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows[0][1..], PHASES);
    assert!(rows.len() > 15, "the table is there");
    let mut wrong = Vec::new();
    for row in &rows[1..] {
        for (column, cell) in PHASES.iter().zip(&row[1..]) {
            for phase in column.split(", ") {
                let reaction = match row[0] {
                    "fail: freeze" => Reaction::Freeze,
                    "fail: notify" => Reaction::Notify,
                    _ => Reaction::Rollback,
                };
                let mut case = Case::at(phase, reaction);
                let found = case.outcome(row[0], cell);
                let wanted = match *cell {
                    "- if done" => "refused",
                    cell => cell,
                };
                if found != wanted {
                    wrong.push(format!("{} while {phase}: {found}, not {wanted}", row[0]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_done_stays_done_when_it_is_promoted_again() {
    let mut case = Case::at("holding", Reaction::Rollback);
    let (answers, _) = case.take(order(5, Command::Promote { force: false }));
    assert!(answers[0].1.as_ref().unwrap().changed);
    assert_eq!((case.phase(), case.machine.state().stable), ("done", Entry::Secondary));
    let (answers, _) = case.take(order(6, Command::Promote { force: false }));
    assert!(!answers[0].1.as_ref().unwrap().changed);
}

#[test]
fn clients_are_dealt_anew_for_a_version_that_nobody_has_met_and_for_no_other() {
    let mut case = Case::at("holding", Reaction::Rollback);
    assert_eq!((case.machine.state().epoch, case.machine.state().salt), (2, Salt::new([7; 16])));
    case.take(order(5, Command::Abort));
    case.take(start(6, plan(1_000, false)));
    assert_eq!(case.machine.state().epoch, 2, "the same version again");
}

#[test]
fn of_two_who_begin_a_rollout_one_wins_and_the_other_is_told_which_runs() {
    let mut case = Case::at("holding", Reaction::Rollback);
    let (answers, _) = case.take(start(7, plan(5_000, false)));
    let expected = Refused::Active { id: "r1".into(), phase: "holding".into() };
    assert_eq!(answers[0].1, Err(Refusal::Rollout(expected)));
}

#[test]
fn two_persons_approve_and_neither_is_the_one_who_began_it() {
    let mut two = plan(1_000, false);
    two.steps[0].gates = vec![Gate::Approval { persons: 2 }];
    let mut case = Case::begin(two, Reaction::Rollback);
    case.now += 11;
    case.take(Event::Tick);
    let approve = |case: &mut Case, who: &str| {
        let command = Command::Steer(Wanted::Approve { step: 0 });
        let order = Order { ticket: Ticket(8), actor: who.into(), reason: None, if_match: None, dry_run: false, command };
        case.take(Event::Ordered(order)).0[0].1.clone()
    };
    assert!(matches!(approve(&mut case, "test"), Err(Refusal::Rollout(Refused::OwnApproval { .. }))));
    assert!(approve(&mut case, "ada").unwrap().changed);
    assert!(!approve(&mut case, "ada").unwrap().changed, "once is enough");
    assert_eq!(case.phase(), "gating");
    assert!(approve(&mut case, "bob").unwrap().changed);
    case.take(Event::Tick);
    assert_eq!((case.phase(), case.share()), ("soaking", Share::ALL));
}
