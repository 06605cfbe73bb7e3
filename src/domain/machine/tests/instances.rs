//! Hosts whose every address is an instance.

use super::*;

fn each(name: &str, host: &str) -> EndpointSpec {
    EndpointSpec { resolve: Some(Resolve::Each), ..EndpointSpec::new(name, format!("http://{host}:3000")) }
}

/// Both entries behind names, on a disk that works.
fn named() -> Machine {
    let entry = |version: &str, host: &str| EntrySpec { version: version.into(), endpoints: vec![each("a", host)] };
    let rules = Rules { entries: PerEntry { primary: entry("1.0", "one"), secondary: entry("2.0", "two") }, ..rules() };
    let (mut machine, effects) =
        Machine::start(at(0), Duration::ZERO, rules, Found::default(), fresh("100:0"), Phase::from_random(0));
    settle(&mut machine, effects);
    machine
}

fn answer(machine: &mut Machine, entry: Entry, answer: Result<&[&str], &str>) -> Vec<Effect> {
    let endpoint = machine.entry(entry).endpoints[0].clone();
    let parsed = |found: &[&str]| found.iter().map(|address| address.parse().unwrap()).collect();
    machine.step(at(0), Event::Resolved { entry, endpoint, answer: answer.map(parsed).map_err(str::to_owned) })
}

fn answer_at(machine: &mut Machine, seconds: u64, found: &[&str]) -> Vec<Effect> {
    let endpoint = machine.entry(Entry::Primary).endpoints[0].clone();
    let answer = Ok(found.iter().map(|address| address.parse().unwrap()).collect());
    machine.step(at(seconds), Event::Resolved { entry: Entry::Primary, endpoint, answer })
}

/// Those that take new clients.
fn open(machine: &Machine, entry: Entry) -> Vec<String> {
    names(machine, entry).into_iter().filter(|name| !machine.is_leaving(entry, name)).collect()
}

fn fail(machine: &mut Machine, entry: Entry, name: &str) {
    for _ in 0..machine.rules().thresholds.fall {
        machine.step(at(0), Event::Probed { entry, endpoint: name.to_owned(), success: false });
    }
}

fn names(machine: &Machine, entry: Entry) -> Vec<String> {
    machine.endpoints(entry).into_iter().map(|spec| spec.name).collect()
}

fn prove(machine: &mut Machine, entry: Entry, name: &str) {
    machine.step(at(0), Event::Probed { entry, endpoint: name.to_owned(), success: true });
}

#[test]
fn answers_make_instances_and_only_good_ones_send_them_away() {
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
        assert_eq!(open(&machine, Entry::Primary), expected, "{found:?}");
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
    assert_eq!(open(&machine, Entry::Primary), ["a@10.0.0.7", "a@10.0.0.9"], "a check brings nobody back");
}

#[test]
fn an_address_that_answers_lack_is_kept_for_its_clients_while_its_checks_pass() {
    let mut machine = named();
    answer(&mut machine, Entry::Primary, Ok(&["10.0.0.7", "10.0.0.8", "10.0.0.9"]));
    let all = ["a@10.0.0.7", "a@10.0.0.8", "a@10.0.0.9"];
    all.into_iter().for_each(|name| prove(&mut machine, Entry::Primary, name));
    let effects = answer(&mut machine, Entry::Primary, Ok(&["10.0.0.9"]));
    assert!(effects.contains(&Effect::Publish));
    assert_eq!(open(&machine, Entry::Primary), ["a@10.0.0.9"]);
    assert_eq!(names(&machine, Entry::Primary), ["a@10.0.0.9", "a@10.0.0.7", "a@10.0.0.8"]);
    fail(&mut machine, Entry::Primary, "a@10.0.0.9");
    assert_eq!(machine.standing(Entry::Primary), Standing::Down, "those that are leaving are no refuge for new clients");
    fail(&mut machine, Entry::Primary, "a@10.0.0.8");
    assert_eq!(names(&machine, Entry::Primary), ["a@10.0.0.9", "a@10.0.0.7"], "it serves nobody any more");
    let gone = vec!["a@10.0.0.7".to_owned()];
    machine.step(at(599), Event::Tick);
    assert_eq!(machine.standing_of(Entry::Primary, &gone[0]), Standing::Up);
    let effects = machine.step(at(600), Event::Tick);
    let told = Note::Instances { entry: Entry::Primary, endpoint: "a".into(), joined: vec![], left: vec![], gone };
    assert_eq!(effects, [Effect::Publish, Effect::Tell(told)]);
    assert_eq!(names(&machine, Entry::Primary), ["a@10.0.0.9"]);
}

#[test]
fn an_address_that_comes_back_is_the_one_that_left() {
    let mut machine = named();
    answer(&mut machine, Entry::Primary, Ok(&["10.0.0.7", "10.0.0.8"]));
    prove(&mut machine, Entry::Primary, "a@10.0.0.7");
    // A name server that answers with a part of what it knows, in turns.
    for turn in 0..1_000 {
        let part = if turn % 2 == 0 { ["10.0.0.8"] } else { ["10.0.0.7"] };
        answer_at(&mut machine, turn * 5, &part);
        assert_eq!(open(&machine, Entry::Primary), [format!("a@{}", part[0])]);
        assert_eq!(names(&machine, Entry::Primary).len(), 2);
        assert_eq!(machine.standing_of(Entry::Primary, "a@10.0.0.7"), Standing::Up);
    }
}

#[test]
fn an_address_that_is_leaving_is_the_other_entrys_as_soon_as_that_has_it() {
    let mut machine = named();
    answer(&mut machine, Entry::Primary, Ok(&["10.0.0.7", "10.0.0.8"]));
    answer(&mut machine, Entry::Primary, Ok(&["10.0.0.8"]));
    answer(&mut machine, Entry::Secondary, Ok(&["10.0.0.7", "10.0.0.8"]));
    assert_eq!(names(&machine, Entry::Primary), ["a@10.0.0.8"], "another server has been given the address");
    assert_eq!(names(&machine, Entry::Secondary), ["a@10.0.0.7"]);
    assert_eq!(machine.warnings().len(), 1, "{:?}", machine.warnings());
    answer(&mut machine, Entry::Secondary, Ok(&["10.0.0.9"]));
    assert_eq!(names(&machine, Entry::Primary), ["a@10.0.0.8", "a@10.0.0.7"]);
    assert_eq!(names(&machine, Entry::Secondary), ["a@10.0.0.9"]);
}

#[test]
fn a_host_has_so_many_addresses_and_no_more() {
    let mut machine = named();
    let many: Vec<String> = (0..300).map(|n| format!("10.0.{}.{}", n / 200, n % 200)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    answer_at(&mut machine, 0, &many);
    assert_eq!(names(&machine, Entry::Primary).len(), 256);
    assert_eq!(machine.warnings(), ["primary: http://one:3000 has 300 addresses: 256 are used"]);
    answer_at(&mut machine, 1, &many[..150]);
    answer_at(&mut machine, 2, &many[100..250]);
    assert_eq!((open(&machine, Entry::Primary).len(), names(&machine, Entry::Primary).len()), (150, 256));
    assert!(names(&machine, Entry::Primary).contains(&"a@10.0.0.0".to_owned()), "the last that left is kept");
    assert_eq!(machine.warnings(), Vec::<String>::new());
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
    assert_eq!(names(&machine, Entry::Secondary), ["a@10.0.0.7"]);
    assert!(machine.is_leaving(Entry::Secondary, "a@10.0.0.7"), "kept for those who are bound to it");
    machine
        .step(at(1), Event::Resolved { entry: Entry::Secondary, endpoint: stale, answer: Ok(vec!["10.0.0.1".parse().unwrap()]) });
    assert_eq!(names(&machine, Entry::Secondary), ["a@10.0.0.7"], "an answer about the old name counts no more");
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

/// "Kept for so long at most, and only while its checks pass": an ejection is no check.
#[test]
fn an_instance_that_is_leaving_and_ejected_keeps_those_that_are_bound_to_it() {
    let mut machine = named();
    answer(&mut machine, Entry::Primary, Ok(&["10.0.0.7", "10.0.0.8"]));
    for _ in 0..5 {
        prove(&mut machine, Entry::Primary, "a@10.0.0.7");
        prove(&mut machine, Entry::Primary, "a@10.0.0.8");
    }
    answer(&mut machine, Entry::Primary, Ok(&["10.0.0.8"]));
    assert_eq!(names(&machine, Entry::Primary), ["a@10.0.0.8", "a@10.0.0.7"]);
    machine.step(at(0), Event::Suspected { entry: Entry::Primary, endpoint: "a@10.0.0.7".to_owned() });
    assert_eq!(names(&machine, Entry::Primary), ["a@10.0.0.8", "a@10.0.0.7"]);
}
