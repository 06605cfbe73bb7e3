//! Plans, the judge, sessions, records: what is read, and what is refused.

use super::{SMALLEST, said};
use crate::config::{Config, MoveCheck, OnDrain, OnLoss, Resend, Sessions, load};
use crate::domain::judge::{MetricSource, Reaction, Rules};
use crate::domain::machine::{Leave, Paced};
use crate::domain::{Gate, Plan};
use std::time::Duration;

fn with(more: &str) -> String {
    format!("{SMALLEST}{more}")
}

fn loaded(more: &str) -> Config {
    load("f", &with(more), None).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn plan(rest: &str) -> String {
    with(&format!("[[plan]]\nname = \"p\"\n{rest}"))
}

fn check(cases: &[(String, &str)]) {
    for (text, expected) in cases {
        assert_eq!(said(text), [*expected], "\n{text}");
    }
}

#[test]
fn the_shipped_plan_is_there_unless_the_file_has_a_default_of_its_own() {
    let names = |more: &str| loaded(more).plans.into_iter().map(|plan| plan.name).collect::<Vec<_>>();
    assert_eq!(loaded("").plans, [Plan::shipped()]);
    assert_eq!(names("[[plan]]\nname = \"p\"\nsteps = [{ share = 100, hold = \"10m\" }]"), ["default", "p"]);
    let own = loaded("[[plan]]\nname = \"default\"\nsteps = [{ share = 20, hold = \"10m\" }, { share = 100 }]");
    assert_eq!(own.plans.iter().map(ToString::to_string).collect::<Vec<_>>(), ["20:10m, 100"]);
}

#[test]
fn a_plan_is_read_with_its_gates_and_its_soak() {
    let config = loaded(
        "[[plan]]\nname = \"p\"\nsoak = \"1h\"\ngates = [\"health\", \"approval\"]\nsteps = [\n\
         { share = 12.5, hold = \"10m\", gates = [\"approval:2\", { webhook = \"https://h/x\" }] },\n\
         { share = 100, gates = [\"validation\", { webhook = \"http://h\", timeout = \"3s\" }] }]",
    );
    let plan = &config.plans[1];
    assert_eq!(plan.to_string(), "12.5:10m, 100:1h");
    let webhook = |url: &str, seconds| Gate::Webhook { url: url.to_owned(), timeout: Duration::from_secs(seconds) };
    assert_eq!(
        plan.steps[0].gates,
        [Gate::Approval { persons: 2 }, webhook("https://h/x", 10), Gate::Health],
        "a step's own approval counts, not the plan's"
    );
    let second = [Gate::Validation, webhook("http://h", 3), Gate::Health, Gate::Approval { persons: 1 }];
    assert_eq!(plan.steps[1].gates, second);
}

#[test]
fn a_plan_that_makes_no_sense_is_refused_by_its_step() {
    let steps = |steps: &str| plan(&format!("steps = [{steps}]"));
    let many: Vec<String> = (0..10_000).map(|_| "{ share = 1 }".to_owned()).collect();
    check(&[
        (steps(""), "dualgate.toml:12: plan[0].steps: a plan has at least one step, like { share = 10, hold = \"10m\" }"),
        (
            steps("{ share = 50, hold = \"10m\" }, { share = 10 }"),
            "dualgate.toml:12: plan[0].steps[1].share: 10 % after 50 %: every step gives the candidate more than the one before",
        ),
        (
            steps("{ share = 0 }"),
            "dualgate.toml:12: plan[0].steps[0].share: 0 % after 0 %: every step gives the candidate more than the one before",
        ),
        (
            steps("{ share = 10 }, { share = 101 }"),
            "dualgate.toml:12: plan[0].steps[1].share: `101` is not a share: a number from 0 to 100 with at most two decimals",
        ),
        (
            steps("{ share = 10, hold = \"0s\" }"),
            "dualgate.toml:12: plan[0].steps[0].hold: must be longer than 0: leave it out for a step that waits for nobody",
        ),
        (
            steps("{ share = 10, holt = \"1m\" }"),
            "dualgate.toml:12: plan[0].steps[0].holt: unknown key `holt`, did you mean `hold`?",
        ),
        (steps(&many.join(", ")), "dualgate.toml:12: plan[0].steps: 10000 steps: at most 100"),
        (
            format!("{}\n[[plan]]\nname = \"p\"\nsteps = [{{ share = 100 }}]", steps("{ share = 100 }")),
            "dualgate.toml:14: plan[1].name: `p` is the name of another plan",
        ),
        (
            steps("{ share = 100 }").replace("\"p\"", "\"\""),
            "dualgate.toml:11: plan[0].name: a plan needs a name, like \"default\"",
        ),
        (
            steps("{ share = 100 }").replace("\"p\"", "\"a b\""),
            "dualgate.toml:11: plan[0].name: `a b` is not a name: 1 to 64 letters, digits and - _ ., a letter or digit first",
        ),
        (
            steps("{ share = 100 }").replace("\"p\"", "\"inline\""),
            "dualgate.toml:11: plan[0].name: `inline` is what plans of the command line are called: take another name",
        ),
        (
            plan("soak = \"1h\"\nsteps = [{ share = 50, hold = \"10m\" }]"),
            "dualgate.toml:12: plan[0].soak: the last step is 50 %: a soak is the hold of a last step of 100",
        ),
        (
            plan("soak = \"1h\"\nsteps = [{ share = 100, hold = \"10m\" }]"),
            "dualgate.toml:12: plan[0].soak: the last step has a hold of 10m already, which is the soak: take out one of the two",
        ),
        (
            plan("soak = \"0s\"\nsteps = [{ share = 100 }]"),
            "dualgate.toml:12: plan[0].soak: must be longer than 0: leave it out for none",
        ),
    ]);
}

#[test]
fn a_gate_that_nobody_knows_is_refused_with_the_nearest() {
    let of_plan = |gate: &str| plan(&format!("steps = [{{ share = 100 }}]\ngates = [{gate}]"));
    let of_step = |gate: &str| plan(&format!("steps = [{{ share = 100, gates = [{gate}] }}]"));
    let long = "dualgate.toml:13: plan[0].gates[0]: invalid type: integer `5`, expected a gate: \"health\", \"validation\", \
                \"approval\", \"approval:2\" or { webhook = \"https://…\" }";
    check(&[
        (of_plan("\"helth\""), "dualgate.toml:13: plan[0].gates[0]: unknown gate `helth`, did you mean `health`?"),
        (
            of_step("\"health\", \"moon\""),
            "dualgate.toml:12: plan[0].steps[0].gates[1]: unknown gate `moon`; known: health, validation, approval, approval:2, and { webhook = \"https://…\" }",
        ),
        (of_step("\"catalog\""), "dualgate.toml:12: plan[0].steps[0].gates[0]: the gate `catalog` is not served by this version"),
        (
            of_step("\"webhook\""),
            "dualgate.toml:12: plan[0].steps[0].gates[0]: a webhook has an address: write { webhook = \"https://…\", timeout = \"10s\" }",
        ),
        (
            of_step("\"approval:3\""),
            "dualgate.toml:12: plan[0].steps[0].gates[0]: approval:3: one person or two have to say yes, not 3",
        ),
        (
            of_step("\"approval:all\""),
            "dualgate.toml:12: plan[0].steps[0].gates[0]: `approval:all`: write \"approval\" for one person, or \"approval:2\" for two",
        ),
        (
            of_step("{ webhook = \"ftp://a\" }"),
            "dualgate.toml:12: plan[0].steps[0].gates[0]: webhook: `ftp:` is not http or https: write http://HOST/PATH or https://HOST/PATH",
        ),
        (
            of_plan("{ webhook = \"http://a\", timeout = \"0s\" }"),
            "dualgate.toml:13: plan[0].gates[0]: timeout: must be longer than 0",
        ),
        (
            of_step("{ webhook = \"http://a\", wait = \"1s\" }"),
            "dualgate.toml:12: plan[0].steps[0].gates[0].wait: unknown key `wait`; known here: webhook, timeout",
        ),
        (of_plan("\"health\", \"health\""), "dualgate.toml:13: plan[0].gates[1]: health is in this list already"),
        (of_plan("5"), long),
    ]);
}

#[test]
fn a_plan_is_measured_by_the_judge_of_every_service() {
    let quick = "[service.judge]\nwindow = \"5s\"\n";
    let other = SMALLEST.replace("notes\"", "tasks\"\npath = \"/tasks\"").replace(":300", ":400");
    let steps =
        |hold: &str| format!("[[plan]]\nname = \"p\"\nsteps = [{{ share = 10, hold = \"{hold}\" }}, {{ share = 100 }}]\n");
    let words = "`p`: the judge of service `tasks` needs 2 full windows of 1m in a row (2m) to say anything, which is longer than \
                 the hold, 10s, of step 1 (10 %)";
    let both = format!("{SMALLEST}{quick}{other}");
    assert_eq!(said(&format!("{both}{}", steps("10s"))), [format!("plan[0]: {words}")], "one of two can: a warning");
    let neither = said(&format!("{both}{}", steps("9s")));
    assert_eq!(neither.len(), 2, "both are named: {neither:?}");
    assert!(
        neither[0].starts_with("dualgate.toml:24: plan[0].steps: `p`: the judge of service `notes` needs 2 full windows of 5s")
    );
    assert!(neither[1].contains("the judge of service `tasks`"), "{neither:?}");
    assert_eq!(said(&with(&steps("2m"))), Vec::<String>::new());
    let off = "[service.judge.triggers]\nerrors = \"off\"\nlatency = \"off\"\nthroughput = \"off\"\ntools = \"off\"\n";
    assert_eq!(said(&with(&format!("{off}{}", steps("1s")))), Vec::<String>::new(), "nobody looks at windows");
    let slow = said(&with("[service.judge]\nwindow = \"1h\""));
    assert_eq!(slow, Vec::<String>::new(), "the shipped plan makes no file wrong that does not name it");
}

#[test]
fn a_plan_that_ends_below_the_whole_is_legal_and_gets_a_word() {
    let said = said(&plan("steps = [{ share = 10 }, { share = 50, hold = \"10m\" }]"));
    assert_eq!(
        said,
        [
            "plan[0]: `p` ends at 50 %: there it is done, and the candidate is not promoted; a last step of 100 would end in a promotion",
            "plan[0]: `p` step 1 (10 %) has neither a hold nor a gate: nothing is learnt from it"
        ]
    );
}

#[test]
fn the_judge_has_its_defaults_and_takes_what_is_written() {
    assert_eq!(loaded("").services[0].judge, Rules::default());
    let config = loaded(
        "[service.judge]\nwindow = \"200ms\"\nwindows = 3\nmin_samples = 5\nmin_clients = 1\nmax_error_rate = 0.1\n\
         min_latency_samples = 30\nmax_latency_ratio = 2\nmin_throughput_ratio = 0\non_fail = \"freeze\"\n\
         triggers = { health = \"rollback\", latency = \"off\" }\n\
         [[service.judge.metric]]\nname = \"orders\"\njson = \"http://h/m\"\npointer = \"/a~1b/0\"\nmin = 1\n\
         [[service.judge.metric]]\nname = \"queue\"\nprometheus = \"http://h\"\nquery = \"q\"\nmax = 5\ninterval = \"10s\"\ntimes = 1\non_fail = \"notify\"\n",
    );
    let judge = &config.services[0].judge;
    assert_eq!(config.services[0].rules.judge, *judge, "the machine goes by the same");
    assert_eq!((judge.window, judge.windows, judge.max_latency_ratio), (Duration::from_millis(200), 3, 2.0));
    assert_eq!((judge.min_samples, judge.min_clients, judge.min_latency_samples), (5, 1, 30));
    assert_eq!((judge.max_error_rate, judge.min_throughput_ratio), (0.1, 0.0));
    let of = judge.reactions;
    assert_eq!(
        (of.health, of.latency, of.errors, of.signal),
        (Reaction::Rollback, Reaction::Off, Reaction::Freeze, Reaction::Freeze)
    );
    let metrics: Vec<_> = judge.metrics.iter().map(|metric| (metric.interval.as_secs(), metric.times, metric.reaction)).collect();
    assert_eq!(metrics, [(60, 2, Reaction::Freeze), (10, 1, Reaction::Notify)]);
    assert_eq!(judge.metrics[0].source, MetricSource::Json { url: "http://h/m".into(), pointer: "/a~1b/0".into() });
    assert_eq!((judge.metrics[1].bound.min, judge.metrics[1].bound.max), (None, Some(5.0)));
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].starts_with("service[0].judge.window: shorter than 1s"));
}

#[test]
fn a_judge_without_reason_is_refused() {
    let judge = |line: &str| with(&format!("[service.judge]\n{line}"));
    let key = |key: &str, what: &str| format!("dualgate.toml:11: service[0].judge.{key}: {what}");
    for (line, expected) in [
        ("on_fail = \"x\"", key("on_fail", "`x` is not one of \"rollback\", \"freeze\", \"notify\"")),
        ("on_fail = \"off\"", key("on_fail", "`off` is not one of \"rollback\", \"freeze\", \"notify\"")),
        (
            "triggers = { tools = \"x\" }",
            key("triggers.tools", "`x` is not one of \"rollback\", \"freeze\", \"notify\", \"off\""),
        ),
        ("triggers = { tool = \"off\" }", key("triggers.tool", "unknown key `tool`, did you mean `tools`?")),
        ("window = \"99ms\"", key("window", "99ms is too short: at least 100ms")),
        ("windows = 0", key("windows", "`0` is not a number of windows: from 1 to 100")),
        ("windows = 101", key("windows", "`101` is not a number of windows: from 1 to 100")),
        ("min_samples = 0", key("min_samples", "must be 1 or more")),
        ("min_clients = 0", key("min_clients", "must be 1 or more")),
        ("min_latency_samples = 0", key("min_latency_samples", "must be 1 or more")),
        ("max_error_rate = 5.0", key("max_error_rate", "`5` is not a rate: a number from 0 to 1, like 0.05")),
        ("max_error_rate = nan", key("max_error_rate", "`NaN` is not a rate: a number from 0 to 1, like 0.05")),
        (
            "max_latency_ratio = 1.0",
            key("max_latency_ratio", "`1` is not a ratio that may be reached: a number above 1, like 1.25"),
        ),
        (
            "max_latency_ratio = inf",
            key("max_latency_ratio", "`inf` is not a ratio that may be reached: a number above 1, like 1.25"),
        ),
        (
            "min_throughput_ratio = 1.0",
            key("min_throughput_ratio", "`1` is not a part of the whole: from 0 to below 1, like 0.8"),
        ),
        ("min_sample = 5", key("min_sample", "unknown key `min_sample`, did you mean `min_samples`?")),
    ] {
        assert_eq!(said(&judge(line)), [expected]);
    }
    let one = said(&judge("windows = 1"));
    assert!(one.len() == 1 && one[0].starts_with("service[0].judge.windows: 1: one bad window is enough"), "{one:?}");
}

#[test]
fn a_metric_without_source_or_bound_is_refused() {
    let metric = |lines: &str| with(&format!("[[service.judge.metric]]\nname = \"m\"\n{lines}"));
    let good = "prometheus = \"http://h\"\nquery = \"q\"\n";
    let source = "service[0].judge.metric[0]: where it is read: either prometheus and query, or json and pointer";
    let pointer = "is not a JSON Pointer (RFC 6901), like /data/orders; ~ is written ~0, and / in a name ~1";
    for (text, line, expected) in [
        (metric(good), 10, "service[0].judge.metric[0]: no bound: say what it must be, by min, max or both".to_owned()),
        (metric("min = 1"), 10, source.to_owned()),
        (metric("min = 1\nprometheus = \"http://h\"\npointer = \"/a\""), 10, source.to_owned()),
        (
            metric(&format!("{good}min = 2\nmax = 1")),
            14,
            "service[0].judge.metric[0].min: 2 is more than max, 1: nothing can be both".to_owned(),
        ),
        (metric(&format!("{good}min = nan")), 14, "service[0].judge.metric[0].min: `NaN` is not a bound: a number".to_owned()),
        (
            metric(&format!("{good}min = 1\ninterval = \"0s\"")),
            15,
            "service[0].judge.metric[0].interval: 0ms is too short: at least 100ms".to_owned(),
        ),
        (metric(&format!("{good}min = 1\ntimes = 0")), 15, "service[0].judge.metric[0].times: must be 1 or more".to_owned()),
        (
            metric("min = 1\njson = \"http://h\"\npointer = \"a\""),
            14,
            format!("service[0].judge.metric[0].pointer: `a` {pointer}"),
        ),
        (
            metric("min = 1\njson = \"http://h\"\npointer = \"/a~b\""),
            14,
            format!("service[0].judge.metric[0].pointer: `/a~b` {pointer}"),
        ),
        (
            metric("min = 1\njson = \"file:///etc/passwd\"\npointer = \"/a\""),
            13,
            "service[0].judge.metric[0].json: `file:` is not http or https: write http://HOST/PATH or https://HOST/PATH"
                .to_owned(),
        ),
        (
            metric("min = 1\nprometheus = \"http://h/api/v1/query\"\nquery = \"q\""),
            13,
            "service[0].judge.metric[0].prometheus: the server only, without /api/v1, which is added".to_owned(),
        ),
        (
            format!("{0}\n[[service.judge.metric]]\nname = \"m\"\n{good}min = 1", metric(&format!("{good}min = 1"))),
            16,
            "service[0].judge.metric[1].name: `m` is the name of another metric".to_owned(),
        ),
    ] {
        assert_eq!(said(&text), [format!("dualgate.toml:{line}: {expected}")], "\n{text}");
    }
}

#[test]
fn sessions_and_records_have_their_defaults_and_take_what_is_written() {
    let sessions = |more: &str| loaded(more).services[0].sessions;
    let seconds = |more: &str| {
        let one = sessions(more);
        let spans = [one.drain_deadline, one.drain_pace, one.rollback_deadline, one.rollback_pace, one.hold];
        spans.map(|span| span.as_secs())
    };
    assert_eq!(
        (sessions("").on_loss, sessions("").on_drain, seconds("")),
        (OnLoss::Rehome, OnDrain::Rehome, [600, 25, 30, 25, 3])
    );
    let all = "[service.sessions]\non_loss = \"wait\"\non_drain = \"end\"\ndrain_deadline = \"2s\"\ndrain_pace = \"1s\"\n\
        rollback_deadline = \"0s\"\nrollback_pace = \"5s\"\nhold = \"0s\"\nhandshakes_per_second = 7\ncheck = \"capabilities\"\n\
        remember = \"1MiB\"";
    assert_eq!((sessions(all).on_loss, sessions(all).on_drain, seconds(all)), (OnLoss::Wait, OnDrain::End, [2, 1, 0, 5, 0]));
    let moves = |more: &str| {
        let Sessions { handshakes_per_second, check, resend, remember, .. } = sessions(more);
        (handshakes_per_second, check, resend, remember)
    };
    assert_eq!(moves(""), (200, MoveCheck::Tools, Resend::Never, 64 << 20));
    assert_eq!(moves(all), (7, MoveCheck::Capabilities, Resend::Never, 1 << 20));
    assert_eq!(sessions("[service.sessions]\nresend = \"annotated\"").resend, Resend::Annotated);
    let leave = |more: &str| loaded(more).services[0].rules.leave;
    assert_eq!(leave(""), Leave::default());
    let paced = |deadline, pace| Paced { deadline: Duration::from_secs(deadline), pace: Duration::from_secs(pace) };
    assert_eq!(leave(all), Leave { on_drain: OnDrain::End, drain: paced(2, 1), rollback: paced(0, 5) });
    assert_eq!(loaded("").records.keep, Duration::from_secs(90 * 86_400));
    let records = |keep: &str| format!("[records]\nkeep = \"{keep}\"\n{SMALLEST}");
    assert_eq!(load("f", &records("7d"), None).unwrap().records.keep, Duration::from_secs(7 * 86_400));
    check(&[
        (records("0s"), "dualgate.toml:2: records.keep: must be longer than 0"),
        (
            with("[service.sessions]\non_drain = \"kill\""),
            "dualgate.toml:11: service[0].sessions.on_drain: `kill` is not one of \"rehome\", \"wait\", \"end\"",
        ),
        (
            with("[service.sessions]\non_drain = \"wait\"\nrollback_pace = \"5s\""),
            "service[0].sessions.rollback_pace: means nothing where on_drain is \"wait\": after a rollback no session is moved or ended",
        ),
        (
            with("[service.sessions]\non_loss = \"end\"\nresend = \"annotated\""),
            "service[0].sessions.resend: means nothing where on_loss is not \"rehome\": no call is sent again",
        ),
        (
            with("[service.sessions]\non_loss = \"move\""),
            "dualgate.toml:11: service[0].sessions.on_loss: `move` is not one of \"rehome\", \"wait\", \"end\"",
        ),
        (
            with("[service.sessions]\ncheck = \"all\""),
            "dualgate.toml:11: service[0].sessions.check: `all` is not one of \"tools\", \"capabilities\"",
        ),
        (
            with("[service.sessions]\nresend = \"always\""),
            "dualgate.toml:11: service[0].sessions.resend: `always` is not one of \"never\", \"annotated\"",
        ),
        (with("[service.sessions]\nhold = \"31s\""), "dualgate.toml:11: service[0].sessions.hold: 31s is too long: at most 30s"),
        (
            with("[service.sessions]\ndrain_deadline = \"0s\""),
            "dualgate.toml:11: service[0].sessions.drain_deadline: must be longer than 0",
        ),
        (
            with("[service.sessions]\nhandshakes_per_second = 0"),
            "dualgate.toml:11: service[0].sessions.handshakes_per_second: `0` is not a number of moves in a second: from 1 to 100000",
        ),
        (
            with("[service.sessions]\nremember = \"4KiB\""),
            "dualgate.toml:11: service[0].sessions.remember: 4096 bytes hold hardly any session: at least 64KiB, or 0B for none",
        ),
        (
            with("[service.sessions]\nremember = 64"),
            "dualgate.toml:11: service[0].sessions.remember: invalid type: integer `64`, expected a size in quotes, like \"64KiB\"",
        ),
    ]);
}
