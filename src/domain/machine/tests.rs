use super::*;
use crate::domain::Salt;
use crate::domain::plan::Gate;
use crate::domain::rollout::Refused;
use proptest::prelude::*;

mod departures;
mod figures;
mod instances;
mod reload;
mod rollout;
mod stranding;

fn spec(version: &str, port: u16) -> EntrySpec {
    let url = format!("http://127.0.0.1:{port}");
    EntrySpec { version: version.into(), endpoints: vec![EndpointSpec::new("a", url)] }
}

fn rules() -> Rules {
    Rules {
        split: Split::parse("100:0").unwrap(),
        entries: PerEntry { primary: spec("1.0", 3000), secondary: spec("2.0", 3001) },
        authority: Authority::State,
        confirm_after: Duration::from_secs(3600),
        thresholds: Thresholds { rise: 2, fall: 3 },
        failover: true,
        grace: Duration::from_secs(1),
        volatile: false,
        judge: judge::Rules::default(),
        leave: Leave::default(),
    }
}

fn saved(state: &Durable) -> Found {
    Found { state: Some(state.clone()), brake: None }
}

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn fresh(split: &str) -> Durable {
    Durable::first(Split::parse(split).unwrap(), 1, Salt::new([1; 16]))
}

/// A machine on a disk that works, as it stands when its start has been saved and is over.
fn machine(split: &str) -> Machine {
    let mut machine = starting(split);
    machine.step(at(1), Event::Tick);
    machine
}

fn starting(split: &str) -> Machine {
    let (mut machine, effects) =
        Machine::start(at(0), Duration::ZERO, rules(), Found::default(), fresh(split), Phase::from_random(0));
    assert_eq!(effects[0], Effect::Publish);
    settle(&mut machine, effects);
    machine
}

fn order(ticket: u64, command: Command) -> Event {
    let ticket = Ticket(ticket);
    Event::Ordered(Order { ticket, actor: "test".into(), reason: None, if_match: None, dry_run: false, command })
}

fn split(ticket: u64, text: &str) -> Event {
    order(ticket, Command::Split(Split::parse(text).unwrap()))
}

fn rollback(ticket: u64) -> Event {
    order(ticket, Command::Rollback)
}

/// Carries saves and brakes out until nothing is left to do, and gives the answers.
fn settle(machine: &mut Machine, effects: Vec<Effect>) -> Vec<(Ticket, Result<Change, Refusal>)> {
    let mut answers = Vec::new();
    let mut todo: VecDeque<Effect> = effects.into();
    while let Some(effect) = todo.pop_front() {
        match effect {
            Effect::Save(state) => todo.extend(machine.step(at(0), Event::Saved { revision: state.revision, failure: None })),
            Effect::Brake(brake) => todo.extend(machine.step(at(0), Event::Braked { revision: brake.revision, written: true })),
            Effect::Answer(ticket, answer) => answers.push((ticket, answer)),
            Effect::Publish | Effect::Tell(_) | Effect::Ask { .. } | Effect::Record(_) => {}
        }
    }
    answers
}

fn failed(revision: u64) -> Event {
    Event::Saved { revision, failure: Some("No space left on device".into()) }
}

#[test]
fn a_raise_is_in_force_only_once_the_disk_has_it() {
    let mut machine = machine("100:0");
    let effects = machine.step(at(1), split(1, "90:10"));
    assert!(matches!(effects[..], [Effect::Save(_)]), "no publish yet: {effects:?}");
    assert_eq!(machine.state().split.to_string(), "100:0");
    let answers = settle(&mut machine, effects);
    assert_eq!(machine.state().split.to_string(), "90:10");
    let change = answers[0].1.clone().unwrap();
    assert!(change.changed && change.durable && change.revision == 2 && change.old_revision == 1);
}

#[test]
fn a_raise_that_the_disk_refuses_is_not_made() {
    let mut machine = machine("100:0");
    machine.step(at(1), split(1, "90:10"));
    let effects = machine.step(at(1), failed(2));
    let expected = Refusal::NotStored { reason: "No space left on device".into() };
    assert!(effects.contains(&Effect::Answer(Ticket(1), Err(expected))));
    assert_eq!((machine.state().split.to_string().as_str(), machine.state().revision), ("100:0", 1));
}

#[test]
fn a_rollback_is_in_force_before_any_disk_and_answers_when_the_brake_has_it() {
    let mut machine = machine("50:50");
    let effects = machine.step(at(1), rollback(1));
    assert_eq!(effects[0], Effect::Publish);
    assert!(matches!(&effects[1], Effect::Brake(brake) if brake.revision == 2 && brake.condemned.secondary.is_some()));
    assert_eq!(machine.state().split.to_string(), "100:0");
    assert!(!machine.is_durable());
    let answers = machine.step(at(1), Event::Braked { revision: 2, written: true });
    assert!(matches!(&answers[..], [Effect::Answer(Ticket(1), Ok(change))] if change.durable && change.changed));
    assert!(machine.is_durable());
}

#[test]
fn a_rollback_on_a_dead_disk_is_in_force_and_says_that_it_is_not_durable() {
    let mut machine = machine("50:50");
    machine.step(at(1), rollback(1));
    let answers = machine.step(at(1), Event::Braked { revision: 2, written: false });
    assert!(matches!(&answers[..], [Effect::Answer(_, Ok(change))] if !change.durable && change.changed));
    assert!(!machine.is_durable());
    assert!(machine.step(at(1), failed(2)).is_empty(), "it is tried again at the next tick, not at once");
    let again = machine.step(at(2), Event::Tick);
    assert!(
        matches!(&again[..], [Effect::Brake(_), Effect::Save(state)] if state.revision == 2),
        "both are tried again: {again:?}"
    );
}

#[test]
fn a_rollback_cancels_the_raise_that_waits_and_stands_above_what_the_disk_may_have() {
    let mut machine = machine("90:10");
    machine.step(at(1), split(1, "50:50"));
    machine.step(at(1), split(2, "0:100"));
    let effects = machine.step(at(1), rollback(3));
    let overtaken = Err(Refusal::Overtaken { revision: 3 });
    assert!(effects.contains(&Effect::Answer(Ticket(1), overtaken.clone())));
    assert!(effects.contains(&Effect::Answer(Ticket(2), overtaken)));
    assert!(matches!(&effects[1], Effect::Brake(brake) if brake.revision == 3));
    // The save of the raise ends now: it must not come into force, and the rollback is saved after it.
    let effects = machine.step(at(1), Event::Saved { revision: 2, failure: None });
    assert!(matches!(&effects[..], [Effect::Save(state)] if state.revision == 3 && state.split.to_string() == "100:0"));
    assert_eq!(machine.state().split.to_string(), "100:0");
}

#[test]
fn a_rollback_of_a_raise_that_only_waits_is_a_change_too() {
    let mut machine = machine("100:0");
    machine.step(at(1), split(1, "90:10"));
    let effects = machine.step(at(1), rollback(2));
    assert!(matches!(&effects[1], Effect::Brake(brake) if brake.revision == 3));
}

#[test]
fn a_rollback_at_rest_changes_nothing_and_condemns_nobody() {
    let mut machine = machine("100:0");
    let effects = machine.step(at(1), rollback(1));
    assert!(matches!(&effects[..], [Effect::Answer(_, Ok(change))] if !change.changed && change.durable && change.revision == 1));
    assert_eq!(machine.state().condemned, PerEntry::default());
}

#[test]
fn raising_a_condemned_entry_by_hand_clears_it_and_says_so() {
    let mut machine = machine("50:50");
    let effects = machine.step(at(1), rollback(1));
    settle(&mut machine, effects);
    assert!(machine.scene().condemned.secondary);
    let effects = machine.step(at(1), split(2, "90:10"));
    let answers = settle(&mut machine, effects);
    assert!(answers[0].1.as_ref().unwrap().warnings.iter().any(|warning| warning.contains("was condemned")));
    assert!(!machine.scene().condemned.secondary);
}

#[test]
fn a_stale_command_is_refused_with_what_is_current() {
    let mut machine = machine("90:10");
    let Event::Ordered(mut stale) = split(1, "50:50") else { unreachable!() };
    stale.if_match = Some(7);
    let effects = machine.step(at(1), Event::Ordered(stale));
    let refusal = Refusal::Stale { given: 7, current: 1, split: Split::parse("90:10").unwrap() };
    assert_eq!(effects, [Effect::Answer(Ticket(1), Err(refusal))]);
}

#[test]
fn of_two_writers_who_saw_the_same_revision_one_wins() {
    let mut machine = machine("90:10");
    let conditional = |ticket, text| {
        let Event::Ordered(mut order) = split(ticket, text) else { unreachable!() };
        order.if_match = Some(1);
        Event::Ordered(order)
    };
    let mut effects = machine.step(at(1), conditional(1, "50:50"));
    effects.extend(machine.step(at(1), conditional(2, "40:60")));
    let answers = settle(&mut machine, effects);
    assert!(answers[0].1.is_ok());
    assert!(matches!(answers[1].1, Err(Refusal::Stale { current: 2, .. })), "{answers:?}");
}

#[test]
fn an_entry_at_full_share_for_long_enough_is_in_charge() {
    let mut machine = machine("100:0");
    let effects = machine.step(at(10), split(1, "0:100"));
    settle(&mut machine, effects);
    machine.step(at(10), Event::Tick);
    assert_eq!(machine.state().stable, Entry::Primary);
    assert!(machine.step(at(3599), Event::Tick).is_empty());
    let effects = machine.step(at(3610), Event::Tick);
    assert_eq!(effects[0], Effect::Publish);
    assert_eq!((machine.state().stable, machine.state().revision), (Entry::Secondary, 2));
    assert!(matches!(effects.last(), Some(Effect::Save(state)) if state.stable == Entry::Secondary));
}

#[test]
fn a_deploy_goes_to_the_idle_slot_and_its_endpoints_must_be_proven() {
    let mut machine = machine("100:0");
    machine.step(at(1), Event::Probed { entry: Entry::Secondary, endpoint: "a".into(), success: true });
    let deploy = |entry, force| order(1, Command::Deploy(Deploy { entry, spec: spec("3.0", 3002), force }));
    let refused = machine.step(at(1), deploy(Entry::Primary, false));
    assert!(matches!(&refused[..], [Effect::Answer(_, Err(Refusal::EntryInUse { .. }))]));
    let effects = machine.step(at(1), deploy(Entry::Secondary, false));
    assert_eq!(machine.entry(Entry::Secondary).version, "2.0", "durable first");
    settle(&mut machine, effects);
    assert_eq!(machine.entry(Entry::Secondary).version, "3.0");
    assert_eq!(machine.standing(Entry::Secondary), Standing::Unknown);
}

#[test]
fn one_endpoint_cannot_be_in_both_entries() {
    let mut machine = machine("100:0");
    let same = Deploy { entry: Entry::Secondary, spec: spec("3.0", 3000), force: true };
    let effects = machine.step(at(1), order(1, Command::Deploy(same)));
    assert!(matches!(&effects[..], [Effect::Answer(_, Err(Refusal::EndpointOfBoth { .. }))]));
}

#[test]
fn a_restart_finds_the_newer_of_state_and_brake() {
    let stored = fresh("50:50");
    let mut rolled_back = stored.clone();
    (rolled_back.revision, rolled_back.sequence) = (2, 2);
    rolled_back.split = Split::all_to(Entry::Primary);
    assert_eq!(stored.clone().braked(Some(rolled_back.brake())).split.to_string(), "100:0");
    rolled_back.sequence = 0;
    assert_eq!(stored.clone().braked(Some(rolled_back.brake())).split.to_string(), "50:50", "the state was saved after it");
}

#[test]
fn the_file_counts_at_first_start_only_unless_it_is_the_authority() {
    let found = Durable { revision: 9, ..fresh("50:50") };
    let (kept, effects) = Machine::start(at(0), Duration::ZERO, rules(), saved(&found), fresh("100:0"), Phase::from_random(0));
    assert_eq!(kept.state(), &found);
    assert_eq!(effects, [Effect::Publish], "nothing new to save");
    let rules = Rules { authority: Authority::Config, ..rules() };
    let (mut bound, _) = Machine::start(at(0), Duration::ZERO, rules, saved(&found), fresh("100:0"), Phase::from_random(0));
    assert_eq!((bound.state().split.to_string().as_str(), bound.state().revision), ("100:0", 10));
    let refused = bound.step(at(0), split(1, "50:50"));
    assert!(matches!(&refused[..], [Effect::Answer(_, Err(Refusal::FileIsAuthority))]));
}

#[test]
fn another_version_label_is_not_condemned() {
    let mut machine = machine("50:50");
    let effects = machine.step(at(1), rollback(1));
    settle(&mut machine, effects);
    let found = machine.state().clone();
    let same = Machine::start(at(0), Duration::ZERO, rules(), saved(&found), fresh("100:0"), Phase::from_random(0)).0;
    assert!(same.scene().condemned.secondary);
    let mut newer = rules();
    newer.entries.secondary = spec("2.1", 3001);
    assert!(
        !Machine::start(at(0), Duration::ZERO, newer, saved(&found), fresh("100:0"), Phase::from_random(0))
            .0
            .scene()
            .condemned
            .secondary
    );
}

#[test]
fn a_start_ends_with_the_first_checks_or_with_its_grace() {
    let mut machine = starting("50:50");
    assert!(machine.is_starting());
    machine.step(at(0), Event::Probed { entry: Entry::Primary, endpoint: "a".into(), success: true });
    assert!(machine.is_starting(), "the secondary is not known yet");
    machine.step(at(0), Event::Probed { entry: Entry::Secondary, endpoint: "a".into(), success: true });
    assert!(!machine.is_starting());
    let mut silent = starting("50:50");
    assert!(silent.step(at(1), Event::Tick).contains(&Effect::Publish) && !silent.is_starting());
}

#[derive(Clone, Debug)]
enum Act {
    Split(u16),
    Rollback,
    /// Whether it says that it worked, and whether it landed although it did not say so.
    SaveEnds(bool, bool),
    BrakeEnds(bool),
    Tick,
    Crash,
    /// The port of the secondary.
    Reload(u16),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0u16..=10_000).prop_map(Act::Split),
        2 => Just(Act::Rollback),
        5 => (prop::bool::weighted(0.8), any::<bool>()).prop_map(|(works, lands)| Act::SaveEnds(works, lands)),
        3 => prop::bool::weighted(0.8).prop_map(Act::BrakeEnds),
        1 => Just(Act::Tick),
        1 => Just(Act::Crash),
        1 => (0u16..3).prop_map(Act::Reload),
    ];
    prop::collection::vec(act, 1..60)
}

proptest! {
    /// A disk in a box: saves and brakes end in any order and may fail, and the process may die
    /// between any two events.
    #[test]
    fn no_order_of_commands_disk_and_crashes_loses_an_acknowledged_change_or_answers_twice(acts in acts()) {
        let mut disk = (None::<Durable>, None::<Brake>);
        let restart = |disk: &(Option<Durable>, Option<Brake>)| {
            Machine::start(at(0), Duration::ZERO, rules(), Found { state: disk.0.clone(), brake: disk.1.clone() }, fresh("100:0"), Phase::from_random(0)).0
        };
        let mut machine = restart(&disk);
        let (mut saving, mut braking) = (None::<Durable>, VecDeque::<Brake>::new());
        let (mut asked, mut answered) = (0u64, Vec::new());
        let mut acknowledged = machine.state().clone();
        for act in acts {
            let effects = match act {
                Act::Split(points) => {
                    asked += 1;
                    let secondary = Share::from_basis_points(points).unwrap();
                    machine.step(at(0), order(asked, Command::Split(Split::giving(Entry::Secondary, secondary))))
                }
                Act::Rollback => {
                    asked += 1;
                    let effects = machine.step(at(0), rollback(asked));
                    prop_assert_eq!(machine.state().split.share(machine.candidate()), Share::NONE, "in force at once");
                    effects
                }
                Act::SaveEnds(works, lands) => {
                    let Some(state) = saving.take() else { continue };
                    let failure = (!works).then(|| "full".to_owned());
                    let revision = state.revision;
                    if works || lands { disk.0 = Some(state); }
                    machine.step(at(0), Event::Saved { revision, failure })
                }
                Act::BrakeEnds(written) => {
                    let Some(brake) = braking.pop_front() else { continue };
                    let revision = brake.revision;
                    if written { disk.1 = Some(brake); }
                    machine.step(at(0), Event::Braked { revision, written })
                }
                Act::Tick => machine.step(at(0), Event::Tick),
                Act::Reload(port) => {
                    let mut rules = rules();
                    rules.entries.secondary = spec("2.0", 4000 + port);
                    machine.step(at(0), Event::Configured(Box::new(rules)))
                }
                Act::Crash => {
                    machine = restart(&disk);
                    (saving, braking) = (None, VecDeque::new());
                    prop_assert!(machine.state().revision >= acknowledged.revision, "an acknowledged change is lost");
                    if machine.state().revision == acknowledged.revision {
                        prop_assert_eq!(machine.state().split, acknowledged.split);
                    }
                    Vec::new()
                }
            };
            for effect in effects {
                match effect {
                    Effect::Save(state) => {
                        prop_assert!(saving.is_none(), "two saves at once");
                        saving = Some(state);
                    }
                    Effect::Brake(brake) => braking.push_back(brake),
                    Effect::Answer(ticket, answer) => {
                        prop_assert!(!answered.contains(&ticket), "answered twice");
                        answered.push(ticket);
                        if answer.is_ok_and(|change| change.durable) && machine.is_durable() {
                            acknowledged = machine.state().clone();
                        }
                    }
                    Effect::Publish | Effect::Tell(_) | Effect::Ask { .. } | Effect::Record(_) => {}
                }
            }
        }
    }
}

#[test]
fn a_save_that_landed_although_it_was_reported_as_failed_does_not_come_into_force() {
    let mut machine = machine("100:0");
    let Some(Effect::Save(landed)) = machine.step(at(1), split(1, "0:100")).pop() else { panic!("it is saved first") };
    let effects = machine.step(at(1), failed(landed.revision));
    let Some(Effect::Brake(brake)) = effects.into_iter().find(|effect| matches!(effect, Effect::Brake(_))) else {
        panic!("a brake")
    };
    let again = landed.clone().braked(Some(brake));
    assert_eq!((again.split.to_string().as_str(), again.revision), ("100:0", 1), "what was refused is not what a restart finds");
    let effects = machine.step(at(1), rollback(2));
    assert!(matches!(&effects[..], [Effect::Answer(_, Ok(change))] if !change.changed));
}

#[test]
fn a_brake_counts_where_the_state_is_missing() {
    let brake = Durable { revision: 2, sequence: 2, ..fresh("100:0") }.brake();
    let found = Found { state: None, brake: Some(brake) };
    let (machine, effects) = Machine::start(at(0), Duration::ZERO, rules(), found, fresh("90:10"), Phase::from_random(0));
    assert_eq!((machine.state().split.to_string().as_str(), machine.state().revision), ("100:0", 2));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Save(_))));
}

#[test]
fn a_deploy_that_a_rollback_overtook_is_not_what_a_restart_finds() {
    let mut machine = machine("90:10");
    let deploy = Command::Deploy(Deploy { entry: Entry::Primary, spec: spec("9.0", 3009), force: true });
    let Some(Effect::Save(landed)) = machine.step(at(1), order(1, deploy)).pop() else { panic!("it is saved first") };
    let effects = machine.step(at(1), rollback(2));
    let Some(Effect::Brake(brake)) = effects.into_iter().find(|effect| matches!(effect, Effect::Brake(_))) else {
        panic!("a brake")
    };
    assert_eq!(landed.braked(Some(brake)).overlay, PerEntry::default());
}

#[test]
fn a_deploy_does_not_replace_what_a_rollback_goes_back_to() {
    let mut machine = machine("0:100");
    let effects = machine.step(at(1), split(1, "0:100"));
    settle(&mut machine, effects);
    let deploy = |force| order(2, Command::Deploy(Deploy { entry: Entry::Primary, spec: spec("3.0", 3002), force }));
    // At first start the larger share is stable, so make the primary stable and cut over.
    let (mut cut_over, _) = Machine::start(
        at(0),
        Duration::ZERO,
        rules(),
        saved(&Durable { stable: Entry::Primary, ..fresh("0:100") }),
        fresh("0:100"),
        Phase::from_random(0),
    );
    let refused = cut_over.step(at(0), deploy(false));
    assert!(matches!(&refused[..], [Effect::Answer(_, Err(Refusal::Refuge { .. }))]), "{refused:?}");
    assert!(cut_over.step(at(0), deploy(true)).iter().any(|effect| matches!(effect, Effect::Save(_))));
    assert!(machine.step(at(1), deploy(false)).iter().any(|effect| matches!(effect, Effect::Save(_))), "idle and not stable");
}

#[test]
fn a_file_that_is_the_authority_does_not_revive_what_was_rolled_back() {
    let bound = Rules { authority: Authority::Config, split: Split::parse("90:10").unwrap(), ..rules() };
    let (mut machine, effects) =
        Machine::start(at(0), Duration::ZERO, bound.clone(), Found::default(), fresh("90:10"), Phase::from_random(0));
    settle(&mut machine, effects);
    let effects = machine.step(at(0), rollback(1));
    settle(&mut machine, effects);
    let again =
        Machine::start(at(0), Duration::ZERO, bound.clone(), saved(machine.state()), fresh("90:10"), Phase::from_random(0)).0;
    assert_eq!(again.state().split.to_string(), "100:0");
    let mut newer = bound;
    newer.entries.secondary = spec("2.1", 3001);
    let renewed = Machine::start(at(0), Duration::ZERO, newer, saved(machine.state()), fresh("90:10"), Phase::from_random(0)).0;
    assert_eq!(renewed.state().split.to_string(), "90:10", "another version may have its clients");
}

#[test]
fn a_lower_share_does_not_wait_behind_a_raise() {
    let mut machine = machine("50:50");
    machine.step(at(1), split(1, "0:100"));
    let effects = machine.step(at(1), split(2, "90:10"));
    assert_eq!(effects[0], Effect::Publish);
    assert_eq!(machine.state().split.to_string(), "90:10");
    assert!(effects.contains(&Effect::Answer(Ticket(1), Err(Refusal::Overtaken { revision: 3 }))));
}

#[test]
fn the_split_in_force_set_again_over_a_raise_that_waits_is_a_change_and_says_so() {
    let mut machine = machine("90:10");
    machine.step(at(1), split(1, "50:50"));
    let effects = machine.step(at(1), split(2, "90:10"));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Tell(note) if note.is_change())), "{effects:?}");
    let answers = settle(&mut machine, effects);
    let (_, made) = answers.iter().find(|(ticket, _)| *ticket == Ticket(2)).unwrap();
    let made = made.as_ref().unwrap();
    assert_eq!((made.changed, made.revision), (true, machine.state().revision));
}

#[test]
fn a_swap_of_stable_that_the_disk_does_not_have_is_not_durable() {
    let mut machine = machine("0:100");
    let (mut swapped, _) = Machine::start(
        at(0),
        Duration::ZERO,
        rules(),
        saved(&Durable { stable: Entry::Primary, ..fresh("0:100") }),
        fresh("0:100"),
        Phase::from_random(0),
    );
    assert!(swapped.is_durable());
    let effects = swapped.step(at(3600), Event::Tick);
    assert_eq!(swapped.state().stable, Entry::Secondary);
    assert!(!swapped.is_durable());
    settle(&mut swapped, effects);
    assert!(swapped.is_durable());
    assert!(machine.step(at(3600), Event::Tick).is_empty(), "stable already");
}

#[test]
fn without_a_disk_nothing_is_durable_and_everything_works() {
    let volatile = Rules { volatile: true, ..rules() };
    let (mut machine, effects) =
        Machine::start(at(0), Duration::ZERO, volatile, Found::default(), fresh("100:0"), Phase::from_random(0));
    settle(&mut machine, effects);
    let effects = machine.step(at(0), split(1, "50:50"));
    let answers = settle(&mut machine, effects);
    assert!(answers[0].1.as_ref().is_ok_and(|change| change.changed && !change.durable));
    assert_eq!(machine.state().split.to_string(), "50:50");
}

/// Two endpoints in the primary, one in the secondary, all proven up.
fn three_endpoints() -> Machine {
    let mut rules = rules();
    let second = EndpointSpec::new("b", "http://127.0.0.1:3009");
    rules.entries.primary.endpoints.push(second);
    let (mut machine, effects) =
        Machine::start(at(0), Duration::ZERO, rules, Found::default(), fresh("50:50"), Phase::from_random(0));
    settle(&mut machine, effects);
    for (entry, endpoint) in [(Entry::Primary, "a"), (Entry::Primary, "b"), (Entry::Secondary, "a")] {
        machine.step(at(0), Event::Probed { entry, endpoint: endpoint.into(), success: true });
    }
    machine
}

fn suspect(machine: &mut Machine, second: u64, entry: Entry, endpoint: &str) -> Vec<Effect> {
    machine.step(at(second), Event::Suspected { entry, endpoint: endpoint.into() })
}

#[test]
fn an_endpoint_that_fails_its_clients_is_out_for_longer_each_time_whatever_its_checks_say() {
    let mut machine = three_endpoints();
    let effects = suspect(&mut machine, 10, Entry::Primary, "a");
    assert!(matches!(&effects[..], [Effect::Publish, Effect::Tell(Note::Ejected { seconds: 30, .. })]), "{effects:?}");
    machine.step(at(11), Event::Probed { entry: Entry::Primary, endpoint: "a".into(), success: true });
    assert_eq!(machine.standing_of(Entry::Primary, "a"), Standing::Down, "a green check does not bring it back");
    machine.step(at(39), Event::Tick);
    assert!(machine.is_ejected(Entry::Primary, "a"));
    machine.step(at(40), Event::Tick);
    assert_eq!(machine.standing_of(Entry::Primary, "a"), Standing::Up);
    let again = suspect(&mut machine, 50, Entry::Primary, "a");
    assert!(matches!(again[1], Effect::Tell(Note::Ejected { seconds: 60, .. })));
    machine.step(at(110), Event::Tick);
    let much_later = suspect(&mut machine, 800, Entry::Primary, "a");
    assert!(matches!(much_later[1], Effect::Tell(Note::Ejected { seconds: 30, .. })), "forgiven");
}

#[test]
fn at_most_half_of_an_entry_is_out_and_never_the_last_one_that_is_up() {
    let mut machine = three_endpoints();
    suspect(&mut machine, 1, Entry::Primary, "a");
    assert!(suspect(&mut machine, 1, Entry::Primary, "b").is_empty(), "half of the primary is out already");
    assert!(!suspect(&mut machine, 1, Entry::Secondary, "a").is_empty(), "the primary has one left");
    let mut last = three_endpoints();
    for _ in 0..3 {
        last.step(at(1), Event::Probed { entry: Entry::Secondary, endpoint: "a".into(), success: false });
        last.step(at(1), Event::Probed { entry: Entry::Primary, endpoint: "b".into(), success: false });
    }
    assert!(suspect(&mut last, 2, Entry::Primary, "a").is_empty(), "nobody else is up");
}

#[test]
fn an_entry_is_not_emptied_onto_one_that_was_rolled_back() {
    let mut machine = three_endpoints();
    let effects = machine.step(at(1), rollback(1));
    settle(&mut machine, effects);
    suspect(&mut machine, 2, Entry::Primary, "a");
    let mut single = starting("50:50");
    single.step(at(1), Event::Tick);
    for entry in Entry::BOTH {
        single.step(at(1), Event::Probed { entry, endpoint: "a".into(), success: true });
    }
    let effects = single.step(at(1), rollback(1));
    settle(&mut single, effects);
    assert!(suspect(&mut single, 2, Entry::Primary, "a").is_empty());
}

#[test]
fn a_rollback_that_has_nothing_to_do_says_where_it_would_go() {
    let mut machine = machine("0:100");
    let effects = machine.step(at(1), rollback(1));
    let [Effect::Answer(_, Ok(change))] = &effects[..] else { panic!("{effects:?}") };
    assert!(!change.changed && change.warnings[0].starts_with("secondary is the stable entry"), "{:?}", change.warnings);
}

#[test]
fn a_share_for_an_entry_that_has_not_passed_a_check_is_warned_of() {
    let mut machine = machine("100:0");
    machine.step(at(1), Event::Probed { entry: Entry::Primary, endpoint: "a".into(), success: true });
    let effects = machine.step(at(1), split(1, "90:10"));
    let answers = settle(&mut machine, effects);
    let warnings = &answers[0].1.as_ref().unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("secondary has not passed a check yet"), "{warnings:?}");
}

#[test]
fn an_ejected_endpoint_that_the_checks_saw_fall_and_rise_is_back_at_once() {
    let mut machine = three_endpoints();
    suspect(&mut machine, 1, Entry::Primary, "a");
    let probe = |success| Event::Probed { entry: Entry::Primary, endpoint: "a".into(), success };
    for _ in 0..3 {
        machine.step(at(2), probe(false));
    }
    machine.step(at(3), probe(true));
    assert_eq!(machine.standing_of(Entry::Primary, "a"), Standing::Down, "rise is two");
    machine.step(at(4), probe(true));
    assert_eq!(machine.standing_of(Entry::Primary, "a"), Standing::Up);
}

/// One endpoint each, both proven up, the primary ejected for failing its clients.
fn with_the_primary_out() -> Machine {
    let mut machine = machine("50:50");
    for entry in Entry::BOTH {
        machine.step(at(1), Event::Probed { entry, endpoint: "a".into(), success: true });
    }
    suspect(&mut machine, 2, Entry::Primary, "a");
    assert!(machine.is_ejected(Entry::Primary, "a"));
    machine
}

#[test]
fn an_ejection_ends_when_nobody_is_left_to_serve_its_clients() {
    let taken = |machine: &Machine| machine.scene().decide(crate::domain::Asked::Stable, None, || 0).map(|choice| choice.entry);
    let mut rolled_back = with_the_primary_out();
    let effects = rolled_back.step(at(3), rollback(1));
    settle(&mut rolled_back, effects);
    assert_eq!(taken(&rolled_back), Ok(Entry::Primary), "the other one is condemned");

    let mut fallen = with_the_primary_out();
    for _ in 0..3 {
        fallen.step(at(3), Event::Probed { entry: Entry::Secondary, endpoint: "a".into(), success: false });
    }
    assert_eq!(taken(&fallen), Ok(Entry::Primary), "the other one is down");

    let mut replaced = with_the_primary_out();
    let deploy = Command::Deploy(Deploy { entry: Entry::Secondary, spec: spec("3.0", 3002), force: true });
    let effects = replaced.step(at(3), order(1, deploy));
    settle(&mut replaced, effects);
    assert_eq!(taken(&replaced), Ok(Entry::Primary), "the other one is not proven");
}

#[test]
fn a_restart_too_short_for_the_checks_to_count_it_ends_an_ejection_too() {
    let mut machine = three_endpoints();
    suspect(&mut machine, 1, Entry::Primary, "a");
    let probe = |success| Event::Probed { entry: Entry::Primary, endpoint: "a".into(), success };
    machine.step(at(2), probe(false));
    machine.step(at(4), probe(true));
    assert!(machine.is_ejected(Entry::Primary, "a"));
    machine.step(at(6), probe(true));
    assert_eq!(machine.standing_of(Entry::Primary, "a"), Standing::Up);
}
