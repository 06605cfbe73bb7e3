//! Who is left behind by an entry that does not speak the legacy era.

use super::*;
use crate::domain::era::Eras;
use crate::domain::plan::Plan;
use crate::domain::rollout::Refused;

const LEGACY: Eras = Eras { legacy: Some(true), modern: Some(false) };
const DUAL: Eras = Eras { legacy: Some(true), modern: Some(true) };
const MODERN: Eras = Eras { legacy: Some(false), modern: Some(true) };

fn both_up(machine: &mut Machine) {
    for entry in Entry::BOTH {
        for _ in 0..3 {
            machine.step(at(1), Event::Probed { entry, endpoint: "a".into(), success: true });
        }
    }
}

fn seen(primary: u64, requests: u64, stable: Eras, candidate: Eras) -> Event {
    let sessions = PerEntry { primary, secondary: 0 };
    Event::Legacy(LegacySeen { sessions, requests, serves: PerEntry { primary: stable, secondary: candidate } })
}

fn start(force: bool) -> Event {
    let plan = Plan::parse_steps("10:10m,100").unwrap();
    let start = Start { id: "r1".into(), plan, to: None, force, salt: Salt::new([7; 16]) };
    let order = order(1, Command::Start(Box::new(start)));
    match order {
        Event::Ordered(order) => Event::Ordered(Order { reason: Some("they were told".into()), ..order }),
        other => other,
    }
}

fn answer(effects: &[Effect]) -> Option<Result<Change, Refusal>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Answer(_, answer) => Some(answer.clone()),
        _ => None,
    })
}

#[test]
fn a_rollout_that_would_strand_somebody_is_refused_with_the_count_and_any_other_is_not() {
    let unknown = Eras::default();
    let version = machine("100:0").entry(Entry::Secondary).version.clone();
    let on = format!("would be stranded on {version}, which serves only 2026-07-28");
    // (sessions, requests, stable, candidate) → whether it is refused, and how
    let table = [
        (37, 900, DUAL, MODERN, Some(format!("37 legacy sessions on primary {on}"))),
        (1, 0, LEGACY, MODERN, Some(format!("1 legacy session on primary {on}"))),
        (0, 12, LEGACY, MODERN, Some(format!("legacy clients (12 requests in the last 24 h) {on}"))),
        (0, 1, LEGACY, MODERN, Some(format!("a legacy client (1 request in the last 24 h) {on}"))),
        (0, 0, DUAL, MODERN, None),
        (37, 900, DUAL, DUAL, None),
        (37, 900, LEGACY, LEGACY, None),
        (37, 900, DUAL, unknown, None),
        (37, 900, DUAL, Eras { legacy: Some(false), modern: None }, None),
        (37, 900, MODERN, MODERN, None),
    ];
    for (sessions, requests, stable, candidate, refused) in table {
        let mut machine = machine("100:0");
        both_up(&mut machine);
        let before = machine.state().clone();
        machine.step(at(2), seen(sessions, requests, stable, candidate));
        assert_eq!(*machine.state(), before, "to count is no change");
        let said = answer(&machine.step(at(3), start(false)));
        match refused {
            Some(words) => {
                let Some(Err(Refusal::Rollout(refusal @ Refused::StrandsLegacy { .. }))) = said else { panic!("{said:?}") };
                assert_eq!(refusal.to_string(), words);
                assert_eq!(*machine.state(), before);
                assert!(answer(&machine.step(at(4), start(true))).is_none(), "by force it is on its way to the disk");
            }
            None => assert!(said.is_none(), "{sessions} {requests} {stable:?} {candidate:?}: {said:?}"),
        }
    }
}

#[test]
fn a_split_by_hand_is_done_and_warned_of_and_the_way_back_is_not() {
    let mut machine = machine("100:0");
    both_up(&mut machine);
    machine.step(at(2), seen(3, 9, DUAL, MODERN));
    let dry = |split: &str| match order(1, Command::Split(Split::parse(split).unwrap())) {
        Event::Ordered(order) => Event::Ordered(Order { dry_run: true, ..order }),
        other => other,
    };
    let mut warnings = |split: &str| answer(&machine.step(at(3), dry(split))).unwrap().unwrap().warnings;
    let all = warnings("50:50");
    assert!(all.len() == 1 && all[0].starts_with("3 legacy sessions on primary would be stranded"), "{all:?}");
    assert_eq!(warnings("100:0"), Vec::<String>::new());
}

#[test]
fn a_promotion_is_refused_unless_it_is_forced() {
    let mut machine = machine("0:100");
    machine.state.stable = Entry::Primary;
    both_up(&mut machine);
    machine.step(at(2), seen(3, 9, DUAL, MODERN));
    let promote = |force| match order(1, Command::Promote { force }) {
        Event::Ordered(order) => Event::Ordered(Order { reason: Some("they were told".into()), ..order }),
        other => other,
    };
    let said = answer(&machine.step(at(3), promote(false)));
    assert!(matches!(said, Some(Err(Refusal::Rollout(Refused::StrandsLegacy { sessions: 3, .. })))), "{said:?}");
    assert!(answer(&machine.step(at(4), promote(true))).is_none_or(|said| said.is_ok()));
}
