//! What the judge says of windows that are written down, and of some hundred rollouts.

use std::time::Duration;

use dualgate::domain::judge::{Caller, Callers, Calls, Faulty, Figures, Judge, Reaction, Report, Rules, Times, Trigger, Verdict};

use super::traffic::Ailment;
use super::{onset, quiet};

/// Requests of an entry, of `clients` clients; the first of them (from `first` on) have these faults; all take this long.
fn figures(requests: u64, faults: &[u32], first: u64, millis: u64) -> Figures {
    Figures { all: calls(requests, faults, first, millis), clients: 100, ..Figures::default() }
}

fn calls(requests: u64, faults: &[u32], first: u64, millis: u64) -> Calls {
    let mut times = Times::default();
    // Spread evenly from half to one and a half of it.
    (0..requests).for_each(|n| times.note(Duration::from_micros(millis * (500 + 1_000 * n / requests))));
    let faulty = Faulty::new((first..).zip(faults.iter().copied()), 0);
    Calls { requests, faults: faults.iter().map(|n| u64::from(*n)).sum(), faulty, times }
}

fn clean() -> Figures {
    figures(1_000, &[], 0, 100)
}

/// So many errors in a thousand, spread over clients.
fn errors(count: usize) -> Figures {
    figures(1_000, &vec![1; count], 0, 100)
}

/// The same, and it is known who asked how much: ten times each of `clients`, the first of which (from `first` on) have faults.
fn known(clients: u32, faults: &[u32], first: u32) -> Figures {
    let of = |n: u32| {
        let faults = faults.get(n as usize).copied().unwrap_or(0).min(10);
        // As far apart as they can be.
        Caller { client: first + n, requests: 10, faults, episodes: faults.min(11 - faults) }
    };
    let callers = Callers::new((0..clients).map(of), 0);
    let faults: Vec<u32> = callers.iter().map(|caller| caller.faults).filter(|faults| *faults > 0).collect();
    Figures { callers, ..figures(u64::from(clients) * 10, &faults, first.into(), 100) }
}

fn judge() -> Judge {
    judge_by(Rules::default())
}

fn judge_by(rules: Rules) -> Judge {
    let mut judge = Judge::new(rules, Some(figures(10_000, &[], 0, 100)));
    judge.begin_step();
    judge
}

fn verdicts(candidate: impl IntoIterator<Item = Figures>) -> Vec<Verdict> {
    let mut judge = judge();
    candidate.into_iter().map(|candidate| judge.window(candidate, clean()).verdict).collect()
}

#[test]
fn forty_nine_errors_in_a_thousand_never_fail_and_fifty_one_do_in_the_second_window() {
    assert!(verdicts((0..50).map(|_| errors(49))).into_iter().all(|verdict| verdict == Verdict::Pass));
    assert_eq!(verdicts([errors(51), errors(51)]), [Verdict::Unsure, Verdict::Fail]);
}

#[test]
fn one_bad_window_does_not_fail() {
    assert_eq!(verdicts([clean(), errors(900), clean()]), [Verdict::Pass, Verdict::Unsure, Verdict::Pass]);
    let alternating = (0..40).map(|n| if n % 2 == 0 { errors(300) } else { errors(49) });
    assert!(verdicts(alternating).into_iter().all(|verdict| verdict != Verdict::Fail));
}

#[test]
fn one_clients_bad_arguments_do_not_fail_nor_those_of_two() {
    for faults in [vec![200], vec![200, 200], vec![300, 1, 1]] {
        let windows = (0..40).map(|_| figures(1_000, &faults, 0, 100));
        assert!(verdicts(windows).into_iter().all(|verdict| verdict != Verdict::Fail), "{faults:?}");
    }
}

#[test]
fn where_it_is_known_who_asks_how_much_it_takes_more_than_a_few_clients_too() {
    let verdicts = |faults: &[u32]| {
        let mut judge = Judge::new(Rules::default(), Some(known(1_000, &[1; 300], 100_000)));
        // As many errors as the stable entry has, and so many more.
        (0..10).map(|_| judge.window(known(30, faults, 0), known(300, &[1; 90], 1_000)).verdict).collect::<Vec<_>>()
    };
    for faults in [vec![10], vec![10, 10], vec![10, 10, 1, 1, 1, 1, 1, 1, 1]] {
        assert!(verdicts(&faults).into_iter().all(|verdict| verdict != Verdict::Fail), "{faults:?}");
    }
    assert_eq!(verdicts(&[1; 14]), [Verdict::Pass; 10], "below the bound");
    assert_eq!(verdicts(&[2; 29])[1], Verdict::Fail);
}

#[test]
fn windows_that_were_bad_by_accident_do_not_hide_what_comes_after_them() {
    let mut judge = Judge::new(Rules::default(), None);
    let mut window = |faults: &[u32]| judge.window(known(30, faults, 0), known(300, &[1; 90], 1_000)).verdict;
    // Two clients that fail always are over the bound, and prove nothing.
    assert!((0..8).all(|_| window(&[10, 10]) != Verdict::Fail));
    let after = [10, 10].into_iter().chain([1; 26]).collect::<Vec<_>>();
    assert_eq!([(); 2].map(|()| window(&after) == Verdict::Fail), [false, true]);
}

#[test]
fn what_ails_both_is_not_the_candidates() {
    // No baseline, so that nobody is called sick.
    let mut judge = Judge::new(Rules::default(), None);
    for _ in 0..20 {
        let report = judge.window(errors(300), figures(1_000, &[1; 290], 1_000, 100));
        assert_ne!(report.verdict, Verdict::Fail);
    }
}

#[test]
fn a_sick_stable_entry_is_told_and_holds() {
    let mut judge = judge();
    let reports: Vec<Report> = (0..2).map(|_| judge.window(errors(300), figures(1_000, &[1; 200], 1_000, 100))).collect();
    let last = reports.last().unwrap();
    let sick = last.stable_is_sick.as_ref().unwrap();
    assert_eq!((last.verdict, sick.trigger, sick.value), (Verdict::Unsure, Trigger::Errors, 0.2));
    assert!(last.unsure.as_ref().unwrap().contains("stable entry is the sick one: errors at 20.0 %"), "{:?}", last.unsure);
}

#[test]
fn at_a_hundred_percent_the_baseline_is_what_it_is_compared_with() {
    let mut judge = judge();
    judge.window(errors(100), Figures::default());
    let report = judge.window(errors(100), Figures::default());
    assert_eq!(report.verdict, Verdict::Fail);
    assert_eq!(report.findings[0].against, dualgate::domain::judge::Against::Baseline);
}

#[test]
fn too_few_requests_say_nothing_and_are_gathered_until_they_say_something() {
    let mut judge = judge();
    let minute = |faults: &[u32], first| figures(6, faults, first, 100);
    let first = judge.window(minute(&[], 0), clean());
    assert_eq!(first.verdict, Verdict::Unsure);
    assert_eq!(first.unsure.as_deref(), Some("6 requests of the candidate in 1 window, 20 are needed"));
    assert_eq!((0..3).map(|_| judge.window(minute(&[], 0), clean()).verdict).last(), Some(Verdict::Pass));
    let mut seen = (1..=10).map(|n| judge.window(minute(&[1; 5], 10 * n), clean()).verdict);
    assert_eq!(seen.position(|verdict| verdict == Verdict::Fail), Some(7), "two full windows of four minutes");
    judge.begin_step();
    assert_eq!(judge.report().unsure.as_deref(), Some("no full window has ended since the step began"));
}

#[test]
fn the_reaction_says_whether_the_report_fails() {
    for (reaction, verdict, found) in [
        (Reaction::Rollback, Verdict::Fail, true),
        (Reaction::Freeze, Verdict::Fail, true),
        (Reaction::Notify, Verdict::Pass, true),
        (Reaction::Off, Verdict::Pass, false),
    ] {
        let mut rules = Rules::default();
        rules.reactions.errors = reaction;
        let mut judge = judge_by(rules);
        judge.window(errors(200), clean());
        let report = judge.window(errors(200), clean());
        let failing = report.findings.iter().any(|finding| finding.verdict == Verdict::Fail);
        assert_eq!((report.verdict, failing), (verdict, found), "{reaction:?}: {report:?}");
    }
}

#[test]
fn a_candidate_that_is_half_as_slow_again_fails_in_latency_and_throughput() {
    let mut judge = judge();
    judge.window(figures(1_000, &[], 0, 150), clean());
    let report = judge.window(figures(1_000, &[], 0, 150), clean());
    assert_eq!(report.verdict, Verdict::Fail);
    let failing = report.findings.iter().filter(|finding| finding.verdict == Verdict::Fail).map(|finding| finding.trigger);
    assert_eq!(failing.collect::<Vec<_>>(), [Trigger::Latency, Trigger::Throughput]);
}

#[test]
fn a_candidate_that_is_asked_for_slower_tools_is_not_slow() {
    let of = |quick: u64, slow: u64| {
        let tools = [("quick".to_owned(), calls(quick, &[], 0, 10)), ("slow".to_owned(), calls(slow, &[], 0, 1_000))];
        let mut all = Calls::default();
        tools.iter().for_each(|(_, calls)| all.merge(calls));
        Figures { all, tools: tools.into(), clients: 100, ..Figures::default() }
    };
    let mut judge = Judge::new(Rules::default(), Some(of(9_000, 1_000)));
    for _ in 0..20 {
        assert_eq!(judge.window(of(100, 900), of(900, 100)).verdict, Verdict::Pass);
    }
}

#[test]
fn quiet_rollouts_are_left_alone() {
    for (rate, seeds) in [(1.0, 0..200), (50.0, 0..10)] {
        for seed in seeds {
            let failed = quiet(seed, rate).failed;
            assert!(failed.is_none(), "{rate}/s, seed {seed}: {failed:?}");
        }
    }
}

#[test]
fn one_broken_tool_of_forty_is_found_and_named() {
    for seed in 2_000_000..2_000_008 {
        let ailment = Ailment { errors: 1.0, tool: Some(19), ..Ailment::default() };
        let (_, report) = onset(seed, 50.0, 1, ailment, 20).1.unwrap();
        // The entry as a whole may fail a window earlier; the tool is named all the same.
        let tools = report.findings.iter().filter(|finding| finding.trigger == Trigger::ToolErrors && finding.value > 0.5);
        let tools: Vec<_> = tools.filter_map(|finding| finding.tool.as_deref()).collect();
        assert!(tools.contains(&"tool-19"), "seed {seed}: {report:?}");
        let failing = report
            .findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Fail)
            .filter_map(|finding| finding.tool.as_deref());
        assert!(failing.into_iter().all(|tool| tool == "tool-19"), "seed {seed}: {report:?}");
    }
}

#[test]
fn a_candidate_with_ten_percent_errors_is_caught_within_two_full_windows() {
    for seed in 2_000_000..2_000_010 {
        let seen = onset(seed, 50.0, 1, Ailment { errors: 0.1, ..Ailment::default() }, 2).1;
        assert!(seen.is_some(), "seed {seed}");
    }
}
