//! Hosts whose every address is an instance.

use super::*;

fn each(name: &str, host: &str) -> EndpointSpec {
    EndpointSpec { resolve: Some(Resolve::Each), ..EndpointSpec::new(name, format!("http://{host}:3000")) }
}

/// Both entries behind names, on a disk that works.
fn named() -> Machine {
    let entry = |version: &str, host: &str| EntrySpec { version: version.into(), endpoints: vec![each("a", host)] };
    let rules = Rules { entries: PerEntry { primary: entry("1.0", "one"), secondary: entry("2.0", "two") }, ..rules() };
    let (mut machine, effects) = Machine::start(at(0), rules, Found::default(), fresh("100:0"), Phase::from_random(0));
    settle(&mut machine, effects);
    machine
}

fn answer(machine: &mut Machine, entry: Entry, answer: Result<&[&str], &str>) -> Vec<Effect> {
    let endpoint = machine.entry(entry).endpoints[0].clone();
    let parsed = |found: &[&str]| found.iter().map(|address| address.parse().unwrap()).collect();
    machine.step(at(0), Event::Resolved { entry, endpoint, answer: answer.map(parsed).map_err(str::to_owned) })
}

fn names(machine: &Machine, entry: Entry) -> Vec<String> {
    machine.endpoints(entry).into_iter().map(|spec| spec.name).collect()
}

fn prove(machine: &mut Machine, entry: Entry, name: &str) {
    machine.step(at(0), Event::Probed { entry, endpoint: name.to_owned(), success: true });
}

#[test]
fn answers_make_instances_and_only_good_ones_unmake_them() {
    let mut machine = named();
    type Row<'a> = (Result<&'a [&'a str], &'a str>, &'a [&'a str], bool);
    let table: [Row<'_>; 8] = [
        (Err("no such host"), &[], true),
        (Ok(&["10.0.0.8", "10.0.0.7"]), &["a@10.0.0.7", "a@10.0.0.8"], true),
        (Ok(&["10.0.0.7", "10.0.0.8", "10.0.0.7"]), &["a@10.0.0.7", "a@10.0.0.8"], false),
        (Ok(&["10.0.0.7", "fd00::9"]), &["a@10.0.0.7", "a@fd00::9"], true),
        (Ok(&[]), &["a@10.0.0.7", "a@fd00::9"], true),
        (Ok(&[]), &["a@10.0.0.7", "a@fd00::9"], false),
        (Err("no such host"), &["a@10.0.0.7", "a@fd00::9"], true),
        (Ok(&["::ffff:10.0.0.7"]), &["a@10.0.0.7"], true),
    ];
    for (found, expected, told) in table {
        let effects = answer(&mut machine, Entry::Primary, found);
        assert_eq!(names(&machine, Entry::Primary), expected, "{found:?}");
        let tells = effects.iter().filter(|effect| matches!(effect, Effect::Tell(_))).count();
        assert_eq!((tells, effects.contains(&Effect::Publish)), (usize::from(told), told), "{found:?}: {effects:?}");
        let warned = machine.warnings().iter().any(|warning| warning.contains("http://one:3000 cannot be looked up"));
        assert_eq!(warned, !found.is_ok_and(|found| !found.is_empty()), "{found:?}");
    }
}

#[test]
fn an_instance_is_at_its_address_and_keeps_the_url_of_its_name() {
    let mut machine = named();
    answer(&mut machine, Entry::Primary, Ok(&["fd00::9"]));
    let [spec] = &machine.endpoints(Entry::Primary)[..] else { panic!("one instance") };
    assert_eq!((spec.url.as_str(), spec.address.unwrap().to_string().as_str()), ("http://one:3000", "[fd00::9]:3000"));
}

#[test]
fn an_entry_is_unknown_until_its_name_is_and_down_when_it_has_none() {
    let mut machine = named();
    assert!(machine.is_starting() && machine.is_unresolved(Entry::Primary));
    assert_eq!(machine.standing(Entry::Primary), Standing::Unknown);
    answer(&mut machine, Entry::Primary, Err("no such host"));
    assert_eq!(machine.standing(Entry::Primary), Standing::Down);
    assert!(machine.is_unresolved(Entry::Primary), "sessions may still turn out to live there");
    answer(&mut machine, Entry::Primary, Ok(&["10.0.0.7"]));
    assert_eq!((machine.standing(Entry::Primary), machine.is_unresolved(Entry::Primary)), (Standing::Unknown, false));
    prove(&mut machine, Entry::Primary, "a@10.0.0.7");
    assert_eq!(machine.standing(Entry::Primary), Standing::Up);
}

#[test]
fn those_that_stay_keep_their_standing_and_those_that_come_are_unknown() {
    let mut machine = named();
    answer(&mut machine, Entry::Primary, Ok(&["10.0.0.7", "10.0.0.8"]));
    prove(&mut machine, Entry::Primary, "a@10.0.0.7");
    answer(&mut machine, Entry::Primary, Ok(&["10.0.0.7", "10.0.0.9"]));
    let standing = |name: &str| machine.standing_of(Entry::Primary, name);
    assert_eq!((standing("a@10.0.0.7"), standing("a@10.0.0.9")), (Standing::Up, Standing::Unknown));
    machine.step(at(0), Event::Probed { entry: Entry::Primary, endpoint: "a@10.0.0.8".into(), success: true });
    assert_eq!(names(&machine, Entry::Primary), ["a@10.0.0.7", "a@10.0.0.9"], "a late check brings nobody back");
}

#[test]
fn an_address_of_both_entries_is_the_stable_ones() {
    let mut machine = named();
    answer(&mut machine, Entry::Secondary, Ok(&["10.0.0.7", "10.0.0.8"]));
    assert_eq!(names(&machine, Entry::Secondary), ["a@10.0.0.7", "a@10.0.0.8"]);
    answer(&mut machine, Entry::Primary, Ok(&["10.0.0.7"]));
    assert_eq!(names(&machine, Entry::Primary), ["a@10.0.0.7"]);
    assert_eq!(names(&machine, Entry::Secondary), ["a@10.0.0.8"]);
    assert!(machine.warnings()[0].contains("a@10.0.0.7 (10.0.0.7:3000) is left out"), "{:?}", machine.warnings());
    answer(&mut machine, Entry::Primary, Ok(&["10.0.0.9"]));
    assert_eq!(names(&machine, Entry::Secondary), ["a@10.0.0.7", "a@10.0.0.8"]);
    assert_eq!(machine.warnings(), Vec::<String>::new());
}

#[test]
fn a_deploy_asks_anew_for_another_name_and_keeps_what_is_known_of_the_same() {
    let mut machine = named();
    let stale = machine.entry(Entry::Secondary).endpoints[0].clone();
    answer(&mut machine, Entry::Secondary, Ok(&["10.0.0.7"]));
    let deploy = |host: &str, version: &str| {
        let spec = EntrySpec { version: version.into(), endpoints: vec![each("a", host)] };
        order(1, Command::Deploy(Deploy { entry: Entry::Secondary, spec, force: false }))
    };
    let effects = machine.step(at(1), deploy("two", "2.1"));
    settle(&mut machine, effects);
    assert_eq!(names(&machine, Entry::Secondary), ["a@10.0.0.7"]);
    let effects = machine.step(at(1), deploy("three", "2.2"));
    settle(&mut machine, effects);
    assert_eq!(names(&machine, Entry::Secondary), Vec::<String>::new());
    machine
        .step(at(1), Event::Resolved { entry: Entry::Secondary, endpoint: stale, answer: Ok(vec!["10.0.0.1".parse().unwrap()]) });
    assert_eq!(names(&machine, Entry::Secondary), Vec::<String>::new(), "an answer about the old name counts no more");
    assert_eq!(machine.standing(Entry::Secondary), Standing::Unknown);
}

#[test]
fn what_is_stored_names_the_host_and_no_address() {
    let spec = EndpointSpec { address: Some("10.0.0.7:3000".parse().unwrap()), ..each("a", "one") };
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(text, r#"{"name":"a","url":"http://one:3000","resolve":"each"}"#);
    assert_eq!(serde_json::from_str::<EndpointSpec>(&text).unwrap(), each("a", "one"));
    let old: EndpointSpec = serde_json::from_str(r#"{"name":"a","url":"http://one:3000"}"#).unwrap();
    assert_eq!(old, EndpointSpec::new("a", "http://one:3000"));
}
