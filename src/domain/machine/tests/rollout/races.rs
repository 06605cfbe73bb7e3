//! Steps, orders, the disk and crashes in the way of each other.

use super::*;

#[test]
fn a_raise_that_the_disk_refuses_is_asked_for_again_and_not_at_once() {
    let mut case = Case::begin(plan(1_000, false), Reaction::Rollback);
    case.now += 11;
    let effects = case.machine.step(at(case.now), Event::Tick);
    let asked = |effects: &[Effect]| {
        effects.iter().any(|effect| matches!(effect, Effect::Save(state) if state.split.share(Entry::Secondary) == Share::ALL))
    };
    assert!(asked(&effects));
    let revision = effects.iter().find_map(|effect| match effect {
        Effect::Save(state) => Some(state.revision),
        _ => None,
    });
    let effects = case.machine.step(at(case.now), failed(revision.unwrap()));
    assert_eq!((case.phase(), case.share()), ("gating", Share::from_basis_points(1_000).unwrap()));
    assert!(!asked(&effects));
    case.settle(effects);
    case.now += 2;
    let effects = case.machine.step(at(case.now), Event::Tick);
    case.settle(effects);
    assert_eq!((case.phase(), case.share()), ("soaking", Share::ALL));
}

#[test]
fn a_rollback_overtakes_a_step_that_waits_for_the_disk() {
    let mut case = Case::begin(plan(1_000, false), Reaction::Rollback);
    case.now += 11;
    let raising = case.machine.step(at(case.now), Event::Tick);
    case.signal();
    assert_eq!((case.phase(), case.share()), ("rolling-back", Share::NONE));
    case.settle(raising);
    assert_eq!((case.phase(), case.share()), ("rolling-back", Share::NONE), "the save that comes late changes nothing");
    assert!(matches!(case.machine.rollout().unwrap().phase, At::RollingBack));
}

#[test]
fn a_rollback_that_only_the_brake_has_is_known_after_a_crash_with_what_caused_it() {
    let mut case = Case::at("holding", Reaction::Rollback);
    let before = case.machine.state().clone();
    case.signal();
    let brake = case.machine.state().brake();
    let found = Found { state: Some(before), brake: Some(brake) };
    let (machine, _) = Machine::start(at(0), Duration::ZERO, rules(), found, fresh("100:0"), Phase::from_random(0));
    let rollout = machine.rollout().unwrap();
    assert_eq!(rollout.phase, At::RollingBack);
    assert!(rollout.account.fired.as_ref().unwrap().detail.contains("an alert"));
    assert_eq!(machine.state().split.to_string(), "100:0");
}

#[test]
fn a_disk_that_refuses_is_not_asked_again_at_once_while_a_rollout_runs() {
    let mut case = Case::begin(plan(1_000, false), Reaction::Rollback);
    let effects = case.machine.step(at(case.now), order(5, Command::Steer(Wanted::Pause)));
    let saved = effects.iter().find_map(|effect| match effect {
        Effect::Save(state) => Some(state.revision),
        _ => None,
    });
    let effects = case.machine.step(at(case.now), failed(saved.unwrap()));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Save(_))), "{effects:?}");
    case.now += 60;
    let effects = case.machine.step(at(case.now), Event::Tick);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Save(_))), "later it is");
}

#[test]
fn another_version_by_the_file_and_a_service_that_goes_make_a_rollout_stand_still() {
    let mut case = Case::begin(plan(1_000, false), Reaction::Rollback);
    let mut rules = case.machine.rules.clone();
    rules.entries.secondary = spec("2.1", 3001);
    case.take(Event::Configured(Box::new(rules)));
    assert_eq!(case.phase(), "paused");
    let (answers, _) = case.take(order(5, Command::Steer(Wanted::Resume)));
    assert!(matches!(&answers[0].1, Err(Refusal::Rollout(Refused::OtherVersion { found, .. })) if found == "2.1"));
    let mut case = Case::begin(plan(1_000, false), Reaction::Rollback);
    case.take(Event::Dismissed);
    assert_eq!(case.phase(), "paused");
}

#[test]
fn what_goes_on_by_itself_never_takes_the_place_of_an_order_that_waits_for_the_disk() {
    let mut case = Case::begin(plan(1_000, false), Reaction::Rollback);
    let effects = case.machine.step(at(case.now), split(7, "80:20"));
    case.now += 11;
    let more = case.machine.step(at(case.now), Event::Tick);
    assert!(!more.iter().any(|effect| matches!(effect, Effect::Save(_))), "{more:?}");
    let answers = case.settle(effects);
    assert!(matches!(&answers[..], [(Ticket(7), Ok(change))] if change.changed), "{answers:?}");
    assert_eq!((case.phase(), case.machine.state().split.to_string().as_str()), ("paused", "80:20"));
}

#[test]
fn a_pause_waits_for_no_step_that_waits_for_the_disk_and_is_durable_by_the_brake() {
    let mut case = Case::begin(plan(1_000, false), Reaction::Rollback);
    case.now += 11;
    let raising = case.machine.step(at(case.now), Event::Tick);
    let before = case.machine.state().revision;
    let (answers, _) = case.take(order(8, Command::Steer(Wanted::Pause)));
    let own = answers.iter().find(|(ticket, _)| *ticket == Ticket(8)).unwrap();
    let change = own.1.clone().unwrap();
    assert!(change.changed && change.durable && change.revision > before);
    case.settle(raising);
    assert_eq!((case.phase(), case.share()), ("paused", Share::from_basis_points(1_000).unwrap()));
}

#[test]
fn a_critical_signal_about_the_stable_entry_makes_the_rollout_stand_still() {
    let mut case = Case::begin(plan(1_000, false), Reaction::Rollback);
    let evidence = Evidence { critical: true, entry: Some(Entry::Primary), words: "the disk is full".into() };
    let (_, effects) = case.take(order(8, Command::Signal(vec![evidence])));
    assert_eq!((case.phase(), case.share()), ("frozen", Share::from_basis_points(1_000).unwrap()));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Tell(Note::Warned { sick_stable: true, .. }))));
}

#[test]
fn nobody_resumes_onto_a_candidate_that_is_down() {
    let mut case = Case::at("paused", Reaction::Rollback);
    case.take(split(5, "100:0"));
    case.probe(true, false);
    let (answers, _) = case.take(order(6, Command::Steer(Wanted::Resume)));
    assert!(matches!(&answers[0].1, Err(Refusal::Rollout(Refused::Obstructed { .. }))), "{answers:?}");
}

#[test]
fn a_crash_between_a_step_on_the_disk_and_the_brake_that_cancelled_it_leaves_what_was_in_force() {
    // A start that a rollback overtook.
    let mut machine = machine("100:0");
    let started = machine.step(at(2), order(1, Command::Split(Split::parse("99:1").unwrap())));
    settle(&mut machine, started);
    for entry in Entry::BOTH {
        machine.step(at(2), Event::Probed { entry, endpoint: "a".into(), success: true });
    }
    let effects = machine.step(at(2), start(2, plan(1_000, false)));
    let on_the_disk = effects.iter().find_map(|effect| match effect {
        Effect::Save(state) => Some(state.clone()),
        _ => None,
    });
    machine.step(at(2), rollback(3));
    let found = Found { state: on_the_disk, brake: Some(machine.state().brake()) };
    let after = Machine::start(at(0), Duration::ZERO, rules(), found, fresh("100:0"), Phase::from_random(0)).0;
    assert_eq!((after.rollout(), after.state().split.to_string().as_str()), (None, "100:0"));
    // A step that a freeze overtook.
    let mut case = Case::begin(plan(1_000, false), Reaction::Freeze);
    case.now += 11;
    let effects = case.machine.step(at(case.now), Event::Tick);
    let on_the_disk = effects.iter().find_map(|effect| match effect {
        Effect::Save(state) => Some(state.clone()),
        _ => None,
    });
    case.signal();
    let found = Found { state: on_the_disk, brake: Some(case.machine.state().brake()) };
    let after = Machine::start(at(0), Duration::ZERO, rules(), found, fresh("100:0"), Phase::from_random(0)).0;
    let rollout = after.rollout().unwrap();
    assert_eq!((rollout.phase.as_str(), rollout.step, after.state().split.to_string().as_str()), ("frozen", 0, "90:10"));
    assert!(rollout.account.fired.is_some());
}

#[test]
fn a_signal_that_takes_the_candidate_back_is_answered_when_the_brake_has_it() {
    let mut case = Case::begin(plan(1_000, false), Reaction::Rollback);
    let evidence = Evidence { critical: true, entry: None, words: "an alert".into() };
    let effects = case.machine.step(at(case.now), order(8, Command::Signal(vec![evidence])));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Answer(Ticket(8), _))));
    let answers = case.settle(effects);
    let own = answers.iter().filter(|(ticket, _)| *ticket == Ticket(8)).collect::<Vec<_>>();
    assert!(matches!(own[..], [(_, Ok(change))] if change.changed && change.durable), "{answers:?}");
}
