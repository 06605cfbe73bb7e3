use super::*;
use crate::domain::judge::{Calls, Figures, Times};
use crate::domain::machine::Start;
use crate::domain::plan::{Plan, Step};

fn window(requests: u64, faults: u64, clients: u64, millis: u64) -> Box<Figures> {
    let mut times = Times::default();
    (0..requests).for_each(|_| times.note(Duration::from_millis(millis)));
    Box::new(Figures { all: Calls { requests, faults, times, ..Calls::default() }, clients, ..Figures::default() })
}

#[test]
fn a_step_adds_up_what_its_windows_showed_and_a_split_by_hand_is_no_part_of_it() {
    let mut machine = machine("100:0");
    for entry in Entry::BOTH {
        machine.step(at(2), Event::Probed { entry, endpoint: "a".to_owned(), success: true });
    }
    let hold = Some(Duration::from_secs(3_600));
    let step = Step { share: Share::from_percent(10.0).unwrap(), hold, gates: Vec::new() };
    let plan = Plan { name: "inline".to_owned(), steps: vec![step] };
    let start = Start { id: "r".to_owned(), plan, to: None, force: false, salt: Salt::new([1; 16]) };
    let effects = machine.step(at(10), order(1, Command::Start(Box::new(start))));
    settle(&mut machine, effects);
    let watch = |machine: &mut Machine| {
        let number = machine.watching().unwrap().number;
        machine.step(at(11), Event::Watched { number, baseline: Box::default() });
        number
    };
    let number = watch(&mut machine);
    for (faults, millis) in [(1, 10), (2, 10), (0, 200)] {
        let (candidate, stable) = (window(100, faults, 5 + faults, millis), window(900, 1, 50, 10));
        machine.step(at(20), Event::Seen { number, candidate, stable });
    }
    let step = |machine: &Machine| machine.rollout().unwrap().account.steps[0].clone();
    let (candidate, stable) = (step(&machine).candidate, step(&machine).stable);
    assert_eq!((candidate.requests, candidate.faults, candidate.clients), (300, 3, 7));
    assert_eq!((stable.requests, stable.faults), (2_700, 3));
    // A third of all took 200 ms: more than 5 of 100, and less than half.
    let near = |micros: Option<u64>, wanted: f64| (micros.unwrap() as f64 / wanted - 1.0).abs() < 0.07;
    assert!(near(candidate.p50_micros, 10_000.0) && near(candidate.p95_micros, 200_000.0), "{candidate:?}");
    let effects = machine.step(at(30), split(2, "50:50"));
    settle(&mut machine, effects);
    let number = watch(&mut machine);
    machine.step(at(40), Event::Seen { number, candidate: window(500, 500, 9, 10), stable: window(1, 0, 1, 10) });
    assert_eq!(step(&machine).candidate, candidate, "what was seen at 50 % says nothing of the step at 10 %");
}
