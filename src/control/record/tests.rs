use super::*;
use crate::domain::judge::{Against, Finding, Report, Trigger, Verdict};
use crate::domain::machine::Durable;
use crate::domain::plan::{Gate, Plan};
use crate::domain::rollout::{Approval, Fired, Kept, Rollout, Shown};
use crate::domain::{Entry, PerEntry, Salt, Split};

const START: u64 = 1_795_219_199_000;

fn finding() -> Finding {
    Finding {
        trigger: Trigger::ToolErrors,
        tool: Some("delete_note".to_owned()),
        verdict: Verdict::Fail,
        value: 0.62,
        reference: Some(0.01),
        limit: 0.05,
        against: Against::Stable,
        samples: 118,
        reference_samples: 1_000,
        windows: 2,
        of: 2,
    }
}

fn begun(reason: &str) -> Rollout {
    let versions = PerEntry { primary: "1.4.2".to_owned(), secondary: "1.5.0".to_owned() };
    let mut plan = Plan::shipped();
    plan.steps[0].gates = vec![
        Gate::Webhook { url: "https://hooks/s3cret".to_owned(), timeout: std::time::Duration::from_secs(5) },
        Gate::Approval { persons: 2 },
    ];
    Rollout::begin("r-1".to_owned(), plan, Entry::Secondary, versions, "ada@127.0.0.1".to_owned(), Some(reason.to_owned()))
}

/// A rollout that was taken back in its first step, and is over.
fn taken_back(reason: &str) -> Rollout {
    let mut rollout = begun(reason).enter(0, START);
    rollout.approvals.push(Approval { step: 0, who: "bob@127.0.0.1".to_owned() });
    let step = rollout.account.steps.last_mut().unwrap();
    step.candidate = Shown { requests: 1_204, faults: 73, clients: 40, p50_micros: Some(12_000), p95_micros: Some(120_500) };
    step.stable = Shown { requests: 10_400, faults: 42, clients: 300, p50_micros: None, p95_micros: None };
    step.gates = vec!["webhook: passed: fine".to_owned()];
    step.report = Some(Report {
        verdict: Verdict::Fail,
        unsure: None,
        findings: vec![finding()],
        stable_is_sick: None,
        samples: 1_204,
        stable_samples: 10_400,
    });
    let fired = Fired {
        tool: Some("delete_note".to_owned()),
        finding: Some(finding()),
        ..Fired::new(Trigger::ToolErrors, "62.0 % of 118 requests")
    };
    let why = fired.to_string();
    let mut rollout = rollout.taken_back(START + 90_500, Some(fired), why);
    rollout.account.revert_micros = Some(12_345);
    rollout.account.kept =
        Kept { before: Some(7), moved: None, ended: Some(5), left: Some(2), last_request: Some(START + 95_000) };
    rollout.account.stable_after = Some("up".to_owned());
    rollout.overruled(START + 100_000, "nothing is left on secondary".to_owned())
}

fn state(split: &str) -> Durable {
    Durable { revision: 3, ..Durable::first(Split::parse(split).unwrap(), 1, Salt::new([0; 16])) }
}

fn record(rollout: &Rollout) -> Record {
    Record::of("notes", rollout, &state("100:0"))
}

#[test]
fn a_record_has_who_what_when_and_with_which_figures() {
    let record: serde_json::Value = serde_json::from_str(&record(&taken_back("faster")).text().json).unwrap();
    let at = |pointer: &str| record.pointer(pointer).unwrap_or_else(|| panic!("{pointer}: {record}"));
    for (pointer, wanted) in [
        ("/id", "r-1"),
        ("/service", "notes"),
        ("/by", "ada@127.0.0.1"),
        ("/reason", "faster"),
        ("/outcome", "rolled-back"),
        ("/candidate/entry", "secondary"),
        ("/candidate/version", "1.5.0"),
        ("/stable/version", "1.4.2"),
        ("/plan/text", "10:10m, 50:20m, 100:10m"),
        ("/plan/steps/0/gates/1", "approval of 2"),
        ("/began", "2026-11-20T23:59:59.000Z"),
        ("/reverted", "2026-11-21T00:01:29.500Z"),
        ("/ended", "2026-11-21T00:01:39.000Z"),
        ("/trigger/tool", "delete_note"),
        ("/trigger/finding/against", "stable"),
        ("/steps/0/verdict", "fail"),
        ("/steps/0/gates/0", "webhook: passed: fine"),
        ("/approvals/0/who", "bob@127.0.0.1"),
        ("/last_request", "2026-11-21T00:01:34.000Z"),
        ("/stable_after", "up"),
        ("/turns/1/phase", "rolling-back"),
        ("/turns/1/why", "tool-errors of delete_note: 62.0 % of 118 requests"),
        ("/state/split", "100:0"),
    ] {
        assert_eq!(at(pointer), wanted, "{pointer}");
    }
    for (pointer, wanted) in [
        ("/format", 1.0),
        ("/revert_ms", 12.345),
        ("/steps/0/step", 1.0),
        ("/steps/0/share", 10.0),
        ("/steps/0/held_s", 90.5),
        ("/steps/0/candidate/requests", 1_204.0),
        ("/steps/0/candidate/faults", 73.0),
        ("/steps/0/candidate/p95_ms", 120.5),
        ("/steps/0/findings/0/samples", 118.0),
        ("/steps/0/stable/requests", 10_400.0),
        ("/sessions/before", 7.0),
        ("/sessions/ended", 5.0),
        ("/sessions/left", 2.0),
    ] {
        assert_eq!(at(pointer).as_f64(), Some(wanted), "{pointer}");
    }
    assert!(!record.to_string().contains("s3cret"), "the address of a webhook may be a secret");
}

#[test]
fn what_is_written_is_read_back_and_an_older_record_too() {
    let record = record(&taken_back("faster"));
    assert_eq!(serde_json::from_str::<Record>(&record.text().json).unwrap(), record);
    let old: Record = serde_json::from_str(r#"{"format":1,"id":"r-0","service":"notes","outcome":"done"}"#).unwrap();
    assert_eq!((old.id.as_str(), old.steps.len()), ("r-0", 0));
}

#[test]
fn how_the_service_stands_later_makes_no_other_record_and_another_turn_does() {
    let rollout = taken_back("faster");
    let kept = record(&rollout).text().json;
    let later =
        Record { written: "later".to_owned(), dualgate: "9".to_owned(), ..Record::of("notes", &rollout, &state("50:50")) };
    assert!(later.says_no_more_than(&kept));
    let mut more = rollout.clone();
    more.account.kept.left = Some(1);
    assert!(!record(&more).says_no_more_than(&kept));
    assert!(!later.says_no_more_than("") && !later.says_no_more_than("{}"), "what is torn is written anew");
}

#[test]
fn people_read_the_outcome_first_and_every_row_of_a_table_is_whole() {
    let hostile = "x | y\n\n# fake\u{202e} [click](https://evil) <b> `code` **bold** @all \u{7}";
    let mut rollout = taken_back(hostile);
    rollout.versions.secondary = hostile.to_owned();
    rollout.plan.name = hostile.to_owned();
    let fired = rollout.account.fired.as_mut().unwrap();
    (fired.tool, fired.detail) = (Some(hostile.to_owned()), hostile.to_owned());
    rollout.account.turns[1].why = fired.to_string();
    rollout.account.turns[0].why = hostile.to_owned();
    rollout.account.steps[0].gates = vec![hostile.to_owned()];
    let text = record(&rollout).text().markdown;
    assert!(text.starts_with("# notes: 1.4.2 → x \\| y"), "{text}");
    let title = text.lines().next().unwrap();
    assert!(title.contains("on secondary: rolled back, tool-errors of "), "{title}");
    let headings: Vec<_> = text.lines().filter(|line| line.starts_with('#')).skip(1).collect();
    assert_eq!(headings, ["## Steps", "## Timeline"]);
    // Of each table, every row has as many cells as its head.
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    let mut head = None;
    for line in text.lines() {
        if line.starts_with('|') {
            assert_eq!(bars(line), *head.get_or_insert(bars(line)), "{line}");
        } else {
            head = None;
        }
    }
    for raw in ["[click]", "<b>", "`code`", "**bold**", "https://", "\u{202e}", "\u{7}"] {
        assert!(!text.contains(raw), "{raw}: {text}");
    }
}

#[test]
fn the_markdown_of_a_plain_record_reads_well() {
    let mut record = record(&taken_back("faster"));
    (record.written, record.dualgate) = ("2026-11-21T00:01:39.000Z".to_owned(), "1.2.3".to_owned());
    let wanted = include_str!("tests/taken_back.md");
    assert_eq!(record.text().markdown, wanted);
}

#[test]
fn what_froze_a_rollout_is_not_said_to_have_taken_it_back_when_a_person_did() {
    let mut rollout = begun("faster").enter(0, START);
    rollout.account.fired = Some(Fired { metric: Some("orders".to_owned()), ..Fired::new(Trigger::Metric, "18 readings") });
    let back = record(&rollout.taken_back(START + 1, None, "rolled back by ada".to_owned()));
    let trigger = back.trigger.as_ref().unwrap();
    assert_eq!((trigger.metric.as_deref(), trigger.took_back), (Some("orders"), false));
    let text = back.text().markdown;
    assert!(text.contains("**metric of orders** has frozen the rollout: 18 readings."), "{text}");
    assert!(text.starts_with("# notes: 1.4.2 → 1.5.0 on secondary: rolling back in step 1 of 3\n"), "{text}");
}

#[test]
fn a_rollout_that_is_not_over_says_where_it_is() {
    let mut running = record(&begun("faster").enter(0, START));
    assert_eq!((running.outcome.clone(), running.phase.as_str()), (None, "holding"));
    assert!(running.text().markdown.starts_with("# notes: 1.4.2 → 1.5.0 on secondary: holding in step 1 of 3\n"));
    running.steps.clear();
    assert!(running.text().markdown.contains("None was entered."));
}

#[test]
fn the_page_names_every_member_and_none_that_is_not_there() {
    fn names(value: &serde_json::Value, into: &mut std::collections::BTreeSet<String>) {
        match value {
            serde_json::Value::Object(members) => members.iter().for_each(|(name, value)| {
                into.insert(name.clone());
                names(value, into);
            }),
            serde_json::Value::Array(all) => all.iter().for_each(|value| names(value, into)),
            _ => {}
        }
    }
    let mut known = std::collections::BTreeSet::new();
    names(&serde_json::to_value(record(&taken_back("faster"))).unwrap(), &mut known);
    let page = include_str!("../../../docs/records.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|(name, _)| name));
    let listed: std::collections::BTreeSet<String> =
        rows.map(|path| path.rsplit(['.', ']']).next().unwrap().to_owned()).collect();
    assert_eq!(listed, known);
}
