//! Who leaves an entry, when, and what becomes of them.

use super::*;
use crate::domain::{Departure, Eviction};

const MOVES: Departure = Departure::Moves { forced: false, or_ends: false };

fn up(machine: &mut Machine, now: u64, entries: [Entry; 2]) {
    for entry in entries {
        for _ in 0..2 {
            machine.step(at(now), Event::Probed { entry, endpoint: "a".into(), success: true });
        }
    }
}

fn down(machine: &mut Machine, now: u64, entry: Entry) {
    for _ in 0..3 {
        machine.step(at(now), Event::Probed { entry, endpoint: "a".into(), success: false });
    }
}

/// Both entries up, and the clients are where the split says.
fn sound(split: &str) -> Machine {
    let mut machine = machine(split);
    up(&mut machine, 1, Entry::BOTH);
    machine
}

fn set(machine: &mut Machine, now: u64, text: &str) {
    let mut todo: VecDeque<Effect> = machine.step(at(now), split(900 + now, text)).into();
    while let Some(effect) = todo.pop_front() {
        match effect {
            Effect::Save(state) => todo.extend(machine.step(at(now), Event::Saved { revision: state.revision, failure: None })),
            Effect::Brake(brake) => todo.extend(machine.step(at(now), Event::Braked { revision: brake.revision, written: true })),
            _ => {}
        }
    }
}

fn depart(entry: Entry, what: Wish, times: (u64, u64), force: bool) -> Command {
    let (deadline, pace) = (Duration::from_secs(times.0), Duration::from_secs(times.1));
    Command::Depart(Depart { entry, what, times: Paced { deadline, pace }, force })
}

fn ask(machine: &mut Machine, now: u64, command: Command, reason: Option<&str>) -> Result<Change, Refusal> {
    let Event::Ordered(mut order) = order(7, command) else { unreachable!() };
    order.reason = reason.map(str::to_owned);
    let effects = machine.step(at(now), Event::Ordered(order));
    let answers = settle(machine, effects);
    answers.into_iter().find(|(ticket, _)| *ticket == Ticket(7)).unwrap().1
}

fn due(machine: &Machine, entry: Entry) -> Option<(&'static str, Moment, Departure, u64)> {
    let leaving = machine.leaving(entry)?;
    let Eviction { from, how, before_revision, .. } = leaving.eviction;
    Some((leaving.cause.as_str(), from, how, before_revision))
}

#[test]
fn an_entry_without_a_share_is_drained_after_its_deadline_and_testers_who_come_later_stay() {
    let mut machine = sound("100:0");
    let of_an_idle_slot = machine.eviction(Entry::Secondary).unwrap();
    assert!(!of_an_idle_slot.concerns(1), "nobody is there");
    set(&mut machine, 100, "0:100");
    let revision = machine.state().revision;
    assert_eq!(due(&machine, Entry::Primary), Some(("drain", at(700), MOVES, revision)));
    assert_eq!(due(&machine, Entry::Secondary), None);
    let eviction = machine.eviction(Entry::Primary).unwrap();
    assert!(eviction.concerns(revision - 1) && !eviction.concerns(revision));
    assert_eq!((eviction.over, eviction.cut), (Duration::from_secs(25), at(730)));
    set(&mut machine, 650, "1:99");
    assert_eq!(due(&machine, Entry::Primary), None, "its share was raised");
    set(&mut machine, 660, "0:100");
    assert_eq!(due(&machine, Entry::Primary).unwrap().1, at(1_260), "its time begins anew");
}

#[test]
fn another_revision_at_the_same_split_drains_nobody_who_came_meanwhile() {
    let mut machine = sound("100:0");
    set(&mut machine, 100, "0:100");
    let before = machine.eviction(Entry::Primary).unwrap();
    let spec = spec("3.0", 3002);
    let deploy = order(5, Command::Deploy(Deploy { entry: Entry::Primary, spec, force: true }));
    let effects = machine.step(at(110), deploy);
    settle(&mut machine, effects);
    assert_eq!(machine.state().revision, 3);
    assert_eq!(machine.eviction(Entry::Primary), Some(before));
}

#[test]
fn nobody_is_drained_onto_an_entry_that_is_not_well_and_the_time_counts_from_when_it_is() {
    let mut machine = sound("100:0");
    set(&mut machine, 100, "0:100");
    down(&mut machine, 200, Entry::Secondary);
    assert_eq!(due(&machine, Entry::Primary), None);
    up(&mut machine, 300, Entry::BOTH);
    assert_eq!(due(&machine, Entry::Primary).unwrap().1, at(900));
}

#[test]
fn what_the_configuration_says_of_drains_holds_for_those_that_run() {
    let mut machine = sound("100:0");
    set(&mut machine, 100, "0:100");
    let configured = |on_drain, deadline| {
        let drain = Paced { deadline: Duration::from_secs(deadline), pace: Duration::from_secs(1) };
        Event::Configured(Box::new(Rules { leave: Leave { on_drain, drain, ..Leave::default() }, ..rules() }))
    };
    let effects = machine.step(at(150), configured(OnDrain::End, 60));
    assert!(effects.contains(&Effect::Publish));
    assert_eq!(due(&machine, Entry::Primary), Some(("drain", at(160), Departure::Ends, 2)), "counted from when it began");
    machine.step(at(151), configured(OnDrain::Wait, 60));
    assert_eq!(due(&machine, Entry::Primary), None);
}

#[test]
fn a_rollback_moves_those_that_may_be_moved_and_ends_the_rest() {
    let mut machine = sound("50:50");
    let effects = machine.step(at(10), rollback(1));
    settle(&mut machine, effects);
    let how = Departure::Moves { forced: false, or_ends: true };
    assert_eq!(due(&machine, Entry::Secondary), Some(("rollback", at(40), how, 2)));
}

#[test]
fn an_order_is_in_force_at_once_and_is_kept_over_a_restart_with_its_deadline_begun_anew() {
    let mut machine = sound("100:0");
    set(&mut machine, 100, "0:100");
    let effects = machine.step(at(110), order(1, depart(Entry::Primary, Wish::Drain, (60, 5), false)));
    assert_eq!(effects[0], Effect::Publish);
    assert!(matches!(&effects[1], Effect::Brake(brake) if brake.departures.as_ref().unwrap().primary.is_some()), "{effects:?}");
    assert_eq!(due(&machine, Entry::Primary), Some(("drain-ordered", at(170), MOVES, 3)));
    assert_eq!(machine.state().split.to_string(), "0:100", "it changes no split");
    let (state, brake) = (fresh("100:0"), machine.state().brake());
    for found in [Found { state: Some(machine.state().clone()), brake: None }, Found { state: Some(state), brake: Some(brake) }] {
        let (mut next, _) = Machine::start(at(0), Duration::ZERO, rules(), found, fresh("100:0"), Phase::from_random(0));
        assert_eq!(due(&next, Entry::Primary), None, "the other entry is not proven yet");
        up(&mut next, 5, Entry::BOTH);
        assert_eq!(due(&next, Entry::Primary), Some(("drain-ordered", at(65), MOVES, 3)));
    }
}

#[test]
fn an_order_on_a_dead_disk_is_in_force_and_says_that_it_is_not_durable() {
    let mut machine = sound("100:0");
    machine.step(at(10), order(1, depart(Entry::Secondary, Wish::End, (0, 5), false)));
    assert_eq!(due(&machine, Entry::Secondary).unwrap().0, "end-ordered");
    let answers = machine.step(at(10), Event::Braked { revision: 2, written: false });
    assert!(matches!(&answers[..], [Effect::Answer(Ticket(1), Ok(change))] if !change.durable && change.changed), "{answers:?}");
}

#[test]
fn an_order_waits_behind_a_raise_that_is_on_its_way_to_the_disk_and_does_not_cancel_it() {
    let mut machine = sound("100:0");
    let mut effects = machine.step(at(10), split(1, "0:100"));
    effects.extend(machine.step(at(10), order(2, depart(Entry::Primary, Wish::Move, (0, 5), false))));
    let answers = settle(&mut machine, effects);
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    assert_eq!(machine.state().split.to_string(), "0:100");
    assert_eq!(due(&machine, Entry::Primary).unwrap().0, "move-ordered");
}

#[test]
fn the_same_order_twice_changes_nothing_until_the_first_is_over() {
    let mut machine = sound("100:0");
    let wanted = || depart(Entry::Secondary, Wish::Move, (0, 20), false);
    assert!(ask(&mut machine, 10, wanted(), None).unwrap().changed);
    let first = due(&machine, Entry::Secondary);
    assert!(!ask(&mut machine, 20, wanted(), None).unwrap().changed);
    assert_eq!(due(&machine, Entry::Secondary), first);
    assert!(ask(&mut machine, 35, wanted(), None).unwrap().changed, "20 s and the last calls are over");
    assert_ne!(due(&machine, Entry::Secondary), first);
    assert!(ask(&mut machine, 36, depart(Entry::Secondary, Wish::End, (0, 20), false), None).unwrap().changed, "another order");
}

#[test]
fn an_order_is_taken_back_by_a_word_by_a_share_and_by_a_rollback() {
    let mut machine = sound("100:0");
    let drain = || depart(Entry::Secondary, Wish::Drain, (60, 5), false);
    ask(&mut machine, 10, drain(), None).unwrap();
    let taken = ask(&mut machine, 20, Command::Stay(Entry::Secondary), None).unwrap();
    assert!(taken.changed && taken.warnings[0].contains("sessions leave secondary all the same"), "{taken:?}");
    assert_eq!(due(&machine, Entry::Secondary), Some(("drain", at(620), MOVES, 1)));
    assert!(!ask(&mut machine, 21, Command::Stay(Entry::Secondary), None).unwrap().changed);

    ask(&mut machine, 30, drain(), None).unwrap();
    set(&mut machine, 40, "90:10");
    assert_eq!((due(&machine, Entry::Secondary), machine.state().departures.secondary), (None, None));

    let by_force = depart(Entry::Secondary, Wish::MoveByForce, (0, 5), true);
    ask(&mut machine, 50, by_force, Some("why")).unwrap();
    assert_eq!(due(&machine, Entry::Secondary).unwrap().2, Departure::Moves { forced: true, or_ends: false });
    set(&mut machine, 55, "95:5");
    assert_eq!(due(&machine, Entry::Secondary).unwrap().0, "move-ordered", "a lower share takes nothing back");
    let effects = machine.step(at(60), rollback(1));
    settle(&mut machine, effects);
    assert_eq!(due(&machine, Entry::Secondary).unwrap().0, "rollback");
}

#[test]
fn what_would_do_harm_is_refused_without_force_and_force_wants_a_reason() {
    use Wish::{Drain, End, Move, MoveByForce};
    let refused = |machine: &mut Machine, command| match ask(machine, 10, command, Some("why")) {
        Err(Refusal::Rollout(Refused::Obstructed { obstacles })) => obstacles.join("; "),
        other => panic!("{other:?}"),
    };
    let mut shared = sound("90:10");
    for what in [Move, End] {
        let words = refused(&mut shared, depart(Entry::Primary, what, (0, 5), false));
        assert!(words.contains("primary has 90 % of the clients"), "{words}");
    }
    let drain = depart(Entry::Secondary, Drain, (60, 5), false);
    assert!(matches!(ask(&mut shared, 10, drain, None), Err(Refusal::DrainsAtZero { .. })));
    let forced = || depart(Entry::Primary, MoveByForce, (0, 5), true);
    assert!(matches!(ask(&mut shared, 10, forced(), None), Err(Refusal::Rollout(Refused::ForceWithoutReason))));
    assert!(ask(&mut shared, 10, forced(), Some("a broken pod")).unwrap().changed);

    let mut alone = sound("100:0");
    down(&mut alone, 5, Entry::Primary);
    assert!(refused(&mut alone, depart(Entry::Secondary, Move, (0, 5), false)).contains("primary is down"));
    let warned = ask(&mut alone, 10, depart(Entry::Secondary, Drain, (60, 5), false), None).unwrap();
    assert!(warned.warnings[0].contains("primary is down"), "{warned:?}");
    assert_eq!(due(&alone, Entry::Secondary), None, "a drain waits");

    let mut back = sound("50:50");
    let effects = back.step(at(6), rollback(1));
    settle(&mut back, effects);
    let words = refused(&mut back, depart(Entry::Primary, Move, (0, 5), false));
    assert!(words.contains("version 2.0 of secondary was rolled back"), "{words}");
}

#[test]
fn orders_are_legal_where_the_file_decides_and_answer_to_the_revision_that_was_seen() {
    let mut machine = sound("100:0");
    machine.rules.authority = Authority::Config;
    let Event::Ordered(mut stale) = order(1, depart(Entry::Secondary, Wish::Move, (0, 5), false)) else { unreachable!() };
    stale.if_match = Some(9);
    let effects = machine.step(at(5), Event::Ordered(stale.clone()));
    assert!(matches!(&effects[..], [Effect::Answer(_, Err(Refusal::Stale { given: 9, current: 1, .. }))]), "{effects:?}");
    (stale.if_match, stale.dry_run) = (Some(1), true);
    let effects = machine.step(at(5), Event::Ordered(stale.clone()));
    assert!(matches!(&effects[..], [Effect::Answer(_, Ok(change))] if change.changed && change.revision == 1), "{effects:?}");
    stale.dry_run = false;
    let effects = machine.step(at(5), Event::Ordered(stale));
    settle(&mut machine, effects);
    assert_eq!(machine.state().revision, 2);
}

#[test]
fn a_state_of_before_drains_those_that_were_born_before_this_process() {
    let mut text = serde_json::to_value(Durable { revision: 9, ..fresh("0:100") }).unwrap();
    for new in ["emptied", "departures"] {
        text.as_object_mut().unwrap().remove(new).unwrap();
    }
    let found = Found { state: Some(serde_json::from_value(text).unwrap()), brake: None };
    let (mut machine, _) = Machine::start(at(0), Duration::ZERO, rules(), found, fresh("100:0"), Phase::from_random(0));
    up(&mut machine, 1, Entry::BOTH);
    assert_eq!(due(&machine, Entry::Primary), Some(("drain", at(601), MOVES, 9)));
}
