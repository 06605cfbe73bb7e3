use super::*;
use crate::config::load;

fn canary(steps: &str) -> String {
    format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata:\n  name: notes\nspec:\n  strategy:\n    canary:\n      steps:\n{steps}"
    )
}

fn steps(lines: &[&str]) -> String {
    canary(&lines.iter().map(|line| format!("      - {line}\n")).collect::<String>())
}

fn read(lines: &[&str]) -> (String, Vec<String>) {
    let (plan, warnings) = plan_from_argo(&steps(lines)).unwrap();
    (plan.to_string(), warnings)
}

const IMPLICIT: &str = "a last step of 100 %, as Argo has it after its steps; give it a hold, and there is a soak";

#[test]
fn a_canary_becomes_a_plan_with_its_pauses_as_holds_and_approvals() {
    // The one of the Argo Rollouts documentation.
    let text = steps(&["setWeight: 20", "pause: {duration: 1h}", "setWeight: 40", "pause: {}"]);
    let (plan, warnings) = plan_from_argo(&text).unwrap();
    assert_eq!((plan.name.as_str(), plan.to_string().as_str()), ("notes", "20:1h, 40, 100"));
    assert_eq!(plan.steps[1].gates, [Gate::Approval { persons: 1 }]);
    assert_eq!(warnings, [IMPLICIT]);
}

#[test]
fn pauses_add_up_and_a_hundred_with_a_pause_is_a_soak() {
    let lines = [
        "setWeight: 10",
        "pause: {duration: 600}",
        "pause: {duration: \"600\"}",
        "setWeight: 10",
        "pause: {duration: 1h30m}",
        "setWeight: 100",
        "pause: {duration: 1.5m}",
        "pause: {duration: 0}",
    ];
    assert_eq!(read(&lines), ("10:110m, 100:90s".to_owned(), vec![]));
    let (plan, _) = plan_from_argo(&steps(&["setWeight: 5", "pause: {duration: 10m}", "pause: {}", "pause: {}"])).unwrap();
    assert_eq!((plan.to_string().as_str(), plan.steps[0].gates.len()), ("5:10m, 100", 1), "both: a hold, and one approval");
}

#[test]
fn what_no_plan_has_is_left_out_by_name_and_line() {
    let (plan, warnings) = read(&[
        "pause: {duration: 5m}",
        "setWeight: 0",
        "setWeight: 10",
        "analysis: {templates: [{templateName: success-rate}]}",
        "pause: {duration: 10m}",
        "experiment: {duration: 1h}",
        "setCanaryScale: {weight: 25}",
        "setHeaderRoute: {name: x}",
        "setMirrorRoute: {name: x}",
        "wait: {}",
        "setWeight: 50",
        "setWeight: 100",
    ]);
    assert_eq!(plan, "10:10m, 50, 100");
    assert_eq!(
        warnings,
        [
            "line 9: step 1, a pause before the first setWeight, is left out: no client is with the candidate yet",
            "line 12: step 4, `analysis`, is left out: the judge watches the candidate all along",
            "line 14: step 6, `experiment`, is left out: there are two entries, and no third for a while",
            "line 15: step 7, `setCanaryScale`, is left out: how many endpoints run is not dualgate's",
            "line 16: step 8, `setHeaderRoute`, is left out: affinity.tester_header lets testers name an entry",
            "line 17: step 9, `setMirrorRoute`, is left out: no request is sent twice",
            "line 18: step 10, `wait`, is left out, as it is not known",
            "step 2 (50 %) has neither a hold nor a gate: nothing is learnt from it",
        ]
    );
}

#[test]
fn json_several_documents_and_other_scales_are_read() {
    let json = r#"{"kind": "Rollout", "metadata": {"name": "a_b!"}, "spec": {"strategy": {"canary": {
        "trafficRouting": {"maxTrafficWeight": 1000}, "analysis": {"templates": []},
        "steps": [{"setWeight": 125}, {"pause": {"duration": "90s"}}, {"setWeight": 1000}]}}}}"#;
    let (plan, warnings) = plan_from_argo(json).unwrap();
    assert_eq!((plan.name.as_str(), plan.to_string().as_str()), ("imported", "12.5:90s, 100"));
    assert_eq!(warnings, ["the `analysis` in the background is left out: the judge watches the candidate all along"]);
    let one = steps(&["setWeight: 100"]);
    let many = format!("kind: Service\n---\n{one}---\n{}", one.replace("notes", "tasks"));
    let (plan, warnings) = plan_from_argo(&many).unwrap();
    assert_eq!((plan.name.as_str(), warnings.len()), ("notes", 1));
    assert!(warnings[0].contains("another Rollout is left out"), "{warnings:?}");
}

#[test]
fn what_cannot_be_a_plan_is_refused_with_its_line() {
    let deep = format!("kind: {}{}", "[".repeat(200), "]".repeat(200));
    let laughs = "a: &a [x, x]\nb: [*a, *a]\n";
    for (text, expected) in [
        (String::new(), "there is no document with `kind: Rollout` (of Argo Rollouts); there is: nothing"),
        (
            "kind: Deployment\n---\na: 1\n---\nb: 1\n".to_owned(),
            "there is no document with `kind: Rollout` (of Argo Rollouts); there is: Deployment, no kind",
        ),
        ("kind: Rollout\n".to_owned(), "the Rollout has no spec.strategy"),
        (
            "kind: Rollout\nspec:\n  strategy:\n    blueGreen: {}\n".to_owned(),
            "line 4: spec.strategy is `blueGreen`, which has no steps: only `canary` has",
        ),
        (
            "kind: Rollout\nspec:\n  strategy:\n    canary: {}\n".to_owned(),
            "line 4: spec.strategy.canary has no steps: without them there is no plan",
        ),
        (steps(&["setWeight: 101"]), "line 9: step 1: setWeight is a whole number from 0 to 100"),
        (steps(&["setWeight: -1"]), "line 9: step 1: setWeight is a whole number from 0 to 100"),
        (steps(&["setWeight: ten"]), "line 9: step 1: setWeight is a whole number from 0 to 100"),
        (
            steps(&["setWeight: 50", "setWeight: 10"]),
            "line 10: step 2: setWeight 10 % after 50 %: a plan gives the candidate more with every step; going back is a rollback",
        ),
        (steps(&["setWeight"]), "line 9: step 1: a step is one of setWeight, pause and others, like `- setWeight: 10`"),
        (steps(&["pause:"]), "line 9: step 1: a pause is a table: {} or { duration: 10m }"),
        (
            steps(&["setWeight: 1", "pause: {duration: -5s}"]),
            "line 10: step 2: `-5s` is not a duration: seconds, like 600, or with units, like 10m or 1h30m",
        ),
        (
            steps(&["setWeight: 1", "pause: {duration: 5 min}"]),
            "line 10: step 2: `5 min` is not a duration: seconds, like 600, or with units, like 10m or 1h30m",
        ),
        (steps(&["setWeight: 1", "pause: {duration: 9999h}"]), "line 10: step 2: `9999h` is too long: at most 366 days"),
        (laughs.to_owned(), "line 2: aliases (`*name`) are not read: write out what is meant"),
        ("a: 1\na: 2\n".to_owned(), "line 2: `a` is there twice"),
        ("x".repeat(LARGEST_MANIFEST + 1), "larger than 64 KiB: give it the manifest of one Rollout"),
    ] {
        assert_eq!(plan_from_argo(&text).unwrap_err(), expected, "{text}");
    }
    assert!(plan_from_argo(&deep).unwrap_err().contains("deeper than 64 levels"));
    assert!(plan_from_argo("a: [1\n").unwrap_err().contains("not YAML"));
}

#[test]
fn a_plan_as_toml_is_read_as_the_same_plan() {
    let services = "[[service]]\nname = \"n\"\n[service.primary]\nversion = \"1\"\nendpoints = [\"http://127.0.0.1:3000\"]\n\
                    [service.secondary]\nversion = \"2\"\nendpoints = [\"http://127.0.0.1:3001\"]\n";
    let mut plan = Plan::parse_steps("12.5:90m,50,100:1h").unwrap();
    plan.name = "p".to_owned();
    let url = "https://h/\"${X}".to_owned();
    plan.steps[1].gates =
        vec![Gate::Health, Gate::Approval { persons: 2 }, Gate::Webhook { url, timeout: Duration::from_millis(1_500) }];
    let text = plan_as_toml(&plan);
    assert!(text.starts_with("[[plan]]\nname = \"p\"\nsteps = [\n  { share = 12.5, hold = \"90m\" },\n"), "{text}");
    assert_eq!(load("f", &format!("{services}{text}"), None).unwrap().plans[1], plan);
}
