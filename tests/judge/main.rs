//! The judge before traffic that it does not know.
//!
//! What is measured for ADR 13, with `SEEDS` (and `FROM`, `RATE`) in the environment:
//! `cargo test --release --test judge -- --ignored --nocapture --test-threads 1 NAME`

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod claims;
mod traffic;

use dualgate::domain::judge::{Callers, Faulty, Figures, Finding, Judge, Report, Rules, Verdict};
use traffic::{Ailment, Traffic};

/// The default plan: share, and minutes.
const PLAN: [(f64, u32); 3] = [(0.1, 10), (0.5, 20), (1.0, 10)];
/// So many minutes before the first step are the baseline.
const BEFORE: u32 = 10;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// As it is told: nobody watched then, so whose the faults were is not known, nor who was there.
fn baseline(traffic: &mut Traffic) -> Figures {
    let mut all = Figures::default();
    (0..BEFORE).for_each(|_| all.merge(&traffic.minute().1));
    for calls in all.tools.values_mut().chain([&mut all.all]) {
        calls.faulty = Faulty::default();
    }
    Figures { clients: 0, callers: Callers::default(), ..all }
}

/// What went on in a rollout that is not stopped by anything.
#[derive(Default)]
struct Quiet {
    failed: Option<(usize, u32, Finding)>,
    sick: bool,
    passed: [bool; 3],
}

fn quiet(seed: u64, rate: f64) -> Quiet {
    let mut traffic = Traffic::new(seed, rate, 1.0);
    let mut judge = Judge::new(Rules::default(), Some(baseline(&mut traffic)));
    let mut seen = Quiet::default();
    for (step, (share, minutes)) in PLAN.into_iter().enumerate() {
        traffic.share(share);
        judge.begin_step();
        for minute in 1..=minutes {
            let (candidate, stable) = traffic.minute();
            let report = judge.window(candidate, stable);
            seen.sick |= report.stable_is_sick.is_some();
            seen.passed[step] = report.verdict == Verdict::Pass;
            if report.verdict == Verdict::Fail && seen.failed.is_none() {
                seen.failed = Some((step, minute, report.findings[0].clone()));
            }
        }
    }
    seen
}

/// Full windows from the onset to the verdict, and what it says; none where none came within `minutes`.
fn onset(seed: u64, rate: f64, step: usize, ailment: Ailment, minutes: u32) -> (bool, Option<(u32, Report)>) {
    let mut traffic = Traffic::new(seed, rate, 1.0);
    let mut judge = Judge::new(Rules::default(), Some(baseline(&mut traffic)));
    for (share, minutes) in PLAN.into_iter().take(step) {
        traffic.share(share);
        (0..minutes).for_each(|_| drop(traffic.minute()));
    }
    traffic.share(PLAN[step].0);
    judge.begin_step();
    for _ in 0..3 {
        let (candidate, stable) = traffic.minute();
        judge.window(candidate, stable);
    }
    traffic.candidate = ailment;
    let mut over = true;
    let seen = (1..=minutes).find_map(|minute| {
        let (candidate, stable) = traffic.minute();
        over &= minute > 2 || candidate.all.rate().is_some_and(|rate| rate > Rules::default().max_error_rate);
        let report = judge.window(candidate, stable);
        (report.verdict == Verdict::Fail).then_some((minute, report))
    });
    (over, seen)
}

#[test]
#[ignore = "a measurement"]
fn quiet_rollouts() {
    let (from, seeds) = (number("FROM", 0), number("SEEDS", 1_000));
    for rate in [50, 1].into_iter().filter(|rate| number("RATE", *rate) == *rate) {
        let (mut failed, mut sick, mut passed) = (0, 0, [0; 3]);
        for seed in from..from + seeds {
            let seen = quiet(seed, rate as f64);
            if let Some((step, minute, finding)) = &seen.failed {
                failed += 1;
                println!("rate {rate}, seed {seed}: step {step}, minute {minute}: {finding:?}");
            }
            sick += u32::from(seen.sick);
            (0..3).for_each(|step| passed[step] += u32::from(seen.passed[step]));
        }
        println!(
            "quiet: {rate}/s, seeds {from} to {}: {failed} failed, stable called sick in {sick}, passed at the end of a hold {passed:?}",
            from + seeds - 1
        );
    }
}

#[test]
#[ignore = "a measurement"]
fn detection() {
    let (from, seeds) = (number("FROM", 1_000_000), number("SEEDS", 200));
    let none = Ailment::default();
    let ails = [
        ("10 % errors in all", Ailment { errors: 0.072, ..none }),
        ("10 % more errors", Ailment { errors: 0.1, ..none }),
        ("30 % more errors", Ailment { errors: 0.3, ..none }),
        ("all fail", Ailment { errors: 1.0, ..none }),
        ("slower by half", Ailment { slower: 0.5, ..none }),
        ("twice as slow", Ailment { slower: 1.0, ..none }),
        ("tool 1 fails", Ailment { errors: 1.0, tool: Some(0), ..none }),
        ("tool 5 fails", Ailment { errors: 1.0, tool: Some(4), ..none }),
        ("tool 20 fails", Ailment { errors: 1.0, tool: Some(19), ..none }),
        ("tool 40 fails", Ailment { errors: 1.0, tool: Some(39), ..none }),
        ("tool 5 is 3 times as slow", Ailment { slower: 2.0, tool: Some(4), ..none }),
    ];
    for rate in [50, 1].into_iter().filter(|rate| number("RATE", *rate) == *rate) {
        let only = std::env::var("ONLY").unwrap_or_default();
        for (what, ailment) in ails.into_iter().filter(|(what, _)| what.contains(&only)) {
            for (step, (share, minutes)) in
                PLAN.into_iter().enumerate().filter(|(step, _)| number("STEP", *step as u64) == *step as u64)
            {
                let (mut over, mut seen) = (0, Vec::new());
                for seed in from..from + seeds {
                    let (over_in_both, found) = onset(seed, rate as f64, step, ailment, minutes);
                    over += u32::from(over_in_both);
                    seen.extend(found);
                }
                let within =
                    |minutes: u32| 100.0 * seen.iter().filter(|(minute, _)| *minute <= minutes).count() as f64 / seeds as f64;
                let tool = ailment.tool.map(|tool| format!("tool-{tool:02}"));
                let named = seen
                    .iter()
                    .filter(|(_, report)| tool.is_some() && report.findings.iter().any(|finding| finding.tool == tool))
                    .count();
                println!(
                    "{rate}/s, {what}, at {share}: within 2 {:.1} %, 3 {:.1} %, 5 {:.1} %, {minutes} {:.1} %; named {named} of {}; {over} of {seeds} over the error bound in the first two",
                    within(2),
                    within(3),
                    within(5),
                    within(minutes),
                    seen.len()
                );
            }
        }
    }
}
