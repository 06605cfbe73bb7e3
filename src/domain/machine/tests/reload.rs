//! A configuration that is read anew.

use super::*;

fn reload(machine: &mut Machine, seconds: u64, rules: Rules) -> Vec<Effect> {
    machine.step(at(seconds), Event::Configured(Box::new(rules)))
}

fn with_secondary(spec: EntrySpec) -> Rules {
    Rules { entries: PerEntry { primary: rules().entries.primary, secondary: spec }, ..rules() }
}

fn of_file(split: &str) -> Rules {
    Rules { split: Split::parse(split).unwrap(), authority: Authority::Config, ..rules() }
}

fn names(machine: &Machine, entry: Entry) -> Vec<(String, bool)> {
    let name = |spec: EndpointSpec| (spec.name.clone(), machine.is_leaving(entry, &spec.name));
    machine.endpoints(entry).into_iter().map(name).collect()
}

fn named(version: &str, endpoints: &[(&str, u16)]) -> EntrySpec {
    let endpoint = |(name, port): &(&str, u16)| EndpointSpec::new(*name, format!("http://127.0.0.1:{port}"));
    EntrySpec { version: version.into(), endpoints: endpoints.iter().map(endpoint).collect() }
}

fn prove(machine: &mut Machine, endpoint: &str) {
    machine.step(at(1), Event::Probed { entry: Entry::Secondary, endpoint: endpoint.into(), success: true });
}

#[test]
fn the_same_again_changes_nothing_but_what_is_published() {
    let mut machine = machine("75:25");
    let before = machine.state().clone();
    let effects = reload(&mut machine, 1, rules());
    assert_eq!((effects, machine.state()), (vec![Effect::Publish], &before));
}

#[test]
fn what_stays_is_kept_as_it_is_known_and_what_goes_drains() {
    let mut machine = machine("100:0");
    reload(&mut machine, 1, with_secondary(named("2.0", &[("a", 3001), ("b", 3002)])));
    prove(&mut machine, "a");
    prove(&mut machine, "b");
    let effects = reload(&mut machine, 2, with_secondary(named("2.0", &[("a", 3001), ("c", 3003)])));
    settle(&mut machine, effects);
    let kept = [("a".to_owned(), false), ("c".to_owned(), false), ("b".to_owned(), true)];
    assert_eq!(names(&machine, Entry::Secondary), kept);
    let standing = |name| machine.standing_of(Entry::Secondary, name);
    assert_eq!((standing("a"), standing("b"), standing("c")), (Standing::Up, Standing::Up, Standing::Unknown));
    machine.step(at(2 + 599), Event::Tick);
    assert_eq!(names(&machine, Entry::Secondary).len(), 3);
    machine.step(at(2 + 600), Event::Tick);
    assert_eq!(names(&machine, Entry::Secondary), kept[..2]);
}

#[test]
fn a_dropped_endpoint_is_let_go_when_it_serves_nobody_any_more_and_comes_back_as_it_was() {
    let mut machine = machine("100:0");
    let both = || with_secondary(named("2.0", &[("a", 3001), ("b", 3002)]));
    let one = || with_secondary(named("2.0", &[("a", 3001)]));
    reload(&mut machine, 1, both());
    prove(&mut machine, "b");
    reload(&mut machine, 2, one());
    reload(&mut machine, 3, both());
    assert_eq!(names(&machine, Entry::Secondary), [("a".to_owned(), false), ("b".to_owned(), false)]);
    assert_eq!(machine.standing_of(Entry::Secondary, "b"), Standing::Up);
    reload(&mut machine, 4, one());
    for _ in 0..3 {
        machine.step(at(5), Event::Probed { entry: Entry::Secondary, endpoint: "b".into(), success: false });
    }
    assert_eq!(names(&machine, Entry::Secondary), [("a".to_owned(), false)]);
}

#[test]
fn another_server_under_a_known_name_has_to_be_proven() {
    let mut machine = machine("100:0");
    prove(&mut machine, "a");
    reload(&mut machine, 2, with_secondary(named("2.0", &[("a", 4001)])));
    assert_eq!(machine.standing_of(Entry::Secondary, "a"), Standing::Unknown);
    prove(&mut machine, "a");
    reload(&mut machine, 2, with_secondary(named("2.1", &[("a", 4001)])));
    assert_eq!(machine.standing_of(Entry::Secondary, "a"), Standing::Unknown, "so has another version without clients");
}

#[test]
fn an_overlay_stays_until_the_file_says_the_same() {
    let mut machine = machine("100:0");
    let deployed = spec("2.1", 3005);
    let deploy = Command::Deploy(Deploy { entry: Entry::Secondary, spec: deployed.clone(), force: false });
    let effects = machine.step(at(1), order(1, deploy));
    settle(&mut machine, effects);
    let effects = reload(&mut machine, 2, with_secondary(spec("2.2", 3006)));
    settle(&mut machine, effects);
    assert_eq!(*machine.entry(Entry::Secondary), deployed);
    assert!(machine.drift()[0].contains("2.2"), "{:?}", machine.drift());
    let effects = reload(&mut machine, 3, with_secondary(deployed.clone()));
    settle(&mut machine, effects);
    assert_eq!((machine.entry(Entry::Secondary), machine.drift()), (&deployed, Vec::new()));
    assert_eq!(machine.state().overlay.secondary, None);
}

#[test]
fn a_change_that_waits_for_the_disk_is_overtaken_and_does_not_come_back_from_there() {
    let mut machine = machine("100:0");
    let Some(Effect::Save(waiting)) = machine.step(at(1), split(1, "50:50")).pop() else { panic!("it is saved first") };
    let effects = reload(&mut machine, 1, with_secondary(spec("2.0", 4000)));
    let overtaken = |effect: &Effect| matches!(effect, Effect::Answer(Ticket(1), Err(Refusal::Overtaken { .. })));
    assert!(effects.iter().any(overtaken), "{effects:?}");
    let Some(Effect::Brake(brake)) = effects.into_iter().find(|effect| matches!(effect, Effect::Brake(_))) else {
        panic!("a brake")
    };
    let found = waiting.braked(Some(brake));
    assert_eq!(found.split.to_string(), "100:0");
}

#[test]
fn the_files_split_is_in_force_at_once_and_a_lower_one_is_braked() {
    let mut machine = machine("100:0");
    let effects = reload(&mut machine, 1, of_file("40:60"));
    assert_eq!(effects[0], Effect::Publish);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Tell(Note::Split { after, .. }) if after == "40:60")));
    settle(&mut machine, effects);
    let effects = reload(&mut machine, 2, of_file("90:10"));
    assert!(matches!(&effects[..2], [Effect::Publish, Effect::Brake(_)]), "{effects:?}");
    assert_eq!((machine.state().split.to_string().as_str(), machine.state().revision), ("90:10", 3));
}

#[test]
fn a_rollback_is_not_undone_by_the_file_that_it_rolled_back() {
    let mut machine = machine("100:0");
    let effects = reload(&mut machine, 1, of_file("40:60"));
    settle(&mut machine, effects);
    let effects = machine.step(at(2), rollback(1));
    settle(&mut machine, effects);
    for text in ["40:60", "50:50"] {
        reload(&mut machine, 3, of_file(text));
        assert_eq!(machine.state().split.to_string(), "100:0", "{text}");
    }
    let other =
        Rules { entries: PerEntry { primary: rules().entries.primary, secondary: spec("2.1", 3001) }, ..of_file("50:50") };
    reload(&mut machine, 4, other);
    assert_eq!(machine.state().split.to_string(), "50:50");
}

#[test]
fn a_service_that_goes_leaves_nobody_waiting() {
    let mut machine = machine("100:0");
    machine.step(at(1), split(1, "50:50"));
    let effects = machine.step(at(1), Event::Dismissed);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Answer(Ticket(1), Err(_)))), "{effects:?}");
}

#[test]
fn a_raise_that_waits_does_not_outlive_the_authority_it_was_ordered_under() {
    let mut machine = machine("100:0");
    let mut effects = machine.step(at(1), split(1, "50:50"));
    effects.extend(reload(&mut machine, 1, of_file("100:0")));
    settle(&mut machine, effects);
    assert_eq!(machine.state().split.to_string(), "100:0", "the file is the authority, and was when it landed");
}

#[test]
fn endpoints_that_were_leaving_where_a_state_was_exported_are_not_taken_up_here() {
    let mut machine = machine("100:0");
    let mut given = fresh("90:10");
    given.leaving.primary = vec![EndpointSpec::new("stranger", "not a url")];
    let effects = machine.step(at(1), order(1, Command::Restore(Box::new(given))));
    settle(&mut machine, effects);
    machine.step(at(2), Event::Tick);
    let found = saved(machine.state());
    let (again, _) = Machine::start(at(0), Duration::ZERO, rules(), found, fresh("100:0"), Phase::from_random(0));
    assert!(again.endpoints(Entry::Primary).iter().all(|one| one.name != "stranger"), "it is probed after the next start");
}

#[test]
fn an_endpoint_that_has_left_while_a_raise_waits_does_not_come_back_with_it() {
    let mut machine = machine("100:0");
    let effects = reload(&mut machine, 1, with_secondary(named("2.0", &[("b", 3002)])));
    settle(&mut machine, effects);
    assert_eq!(machine.state().leaving.secondary.len(), 1);
    let raise = machine.step(at(2), split(1, "90:10"));
    machine.step(at(1 + 600), Event::Tick);
    assert!(machine.state().leaving.secondary.is_empty());
    settle(&mut machine, raise);
    machine.step(at(700), Event::Tick);
    assert!(machine.state().leaving.secondary.is_empty(), "it is in the state again: {:?}", machine.state().leaving);
}
