use clap::{CommandFactory, Parser};

use super::args::Running;
use super::*;
use crate::domain::{Entry, Split};

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(std::iter::once("dualgate").chain(line.split_whitespace())).map(|cli| cli.command)
}

/// The common options as `status` would have them.
pub(super) fn common(flags: &[&str]) -> Common {
    match Cli::try_parse_from(["dualgate", "status"].iter().chain(flags)).unwrap().command {
        Command::Status(args) => args.common,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn run_read_by_itself_says_what_it_says_among_all_commands() {
    let help = |mut command: clap::Command| {
        command.build();
        command.find_subcommand_mut("run").unwrap().render_long_help().to_string()
    };
    assert_eq!(help(Running::command()), help(Cli::command()));
    let refused =
        |command: clap::Command| command.try_get_matches_from(["dualgate", "run", "--primry", "x"]).unwrap_err().to_string();
    assert_eq!(refused(Running::command()), refused(Cli::command()));
}

#[test]
fn both_grammars_and_the_alias_name_the_same_split() {
    let target = |line: &str| match parse(line).unwrap() {
        Command::Split(args) => args.target(),
        other => panic!("{other:?}"),
    };
    let split = Split::parse("90:10").unwrap();
    for line in [
        "split 90:10",
        "split primary:90 secondary:10",
        "split secondary:10 primary:90",
        "set-traffic-split primary:90 secondary:10",
        "set-traffic-split 90:10 --reason x --if-match 7 --dry-run",
        "split --service notes -o json 90:10",
    ] {
        assert_eq!(target(line), Ok(Some(split)), "{line}");
    }
    assert_eq!(target("split"), Ok(None));
    assert_eq!(target("set-traffic-split"), Ok(None));
    assert_eq!(target("split 90:20").unwrap_err().exit, Exit::Usage);
    assert_eq!(target("split ninety").unwrap_err().exit, Exit::Usage);
}

#[test]
fn what_cannot_be_read_is_a_usage_error_and_exits_2() {
    for line in [
        "",
        "spilt 90:10",
        "status --unknown",
        "split 1 2 3",
        "status --timeout 30",
        "status --timeout 0s",
        "status -o yaml",
        "split 90:10 --if-match abc",
        "deploy --version 2",
        "deploy --endpoint http://a:1",
        "deploy --version 2 --endpoint http://a:1 --to tertiary",
        "health-check --self --entry primary",
        "run --threads many",
        "run --split 90:20",
        "check",
        "token",
        "token old",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
    assert_eq!(parse("--version").unwrap_err().exit_code(), 0);
    assert_eq!(parse("deploy --help").unwrap_err().exit_code(), 0);
}

#[test]
fn flags_arrive_where_they_belong() {
    let Command::Deploy(deploy) =
        parse("deploy --version 1.5.0 --endpoint http://a:1 http://b:1 --endpoint http://c:1 --to secondary").unwrap()
    else {
        panic!()
    };
    assert_eq!((deploy.version.as_str(), deploy.endpoints.len(), deploy.to), ("1.5.0", 3, Some(Entry::Secondary)));
    let Command::HealthCheck(health) = parse("health-check --entry primary --timeout 500ms").unwrap() else { panic!() };
    assert_eq!((health.entry, health.common.timeout().as_millis(), health.own), (Some(Entry::Primary), 500, false));
    let common = common(&["--wait", "--yes", "--if-match", "\"7\"", "--admin-url", "http://a:1"]);
    assert!(common.wait && common.yes && !common.dry_run && !common.json());
    assert_eq!((common.if_match, common.admin_url.as_str(), common.service()), (Some(7), "http://a:1", None));
    let Command::Run(run) = parse("run --primary http://a:1 --secondary http://b:1 --split 90:10 --threads 2").unwrap() else {
        panic!()
    };
    assert_eq!((run.primary.len(), run.split.map(|split| split.to_string()), run.threads), (1, Some("90:10".into()), Some(2)));
}

#[test]
fn who_is_named_counts_more_than_whose_shell_it_is_and_nothing_names_nobody() {
    assert_eq!(common(&["--actor", "pipeline/7"]).actor().as_deref(), Some("pipeline/7"));
    assert_eq!(common(&["--actor", ""]).actor(), common(&[]).actor());
    assert!(Cli::try_parse_from(["dualgate", "status", "--actor", "two words"]).is_err());
}

#[test]
fn exit_codes_are_the_ones_that_scripts_know() {
    let codes = [
        Exit::Done,
        Exit::Unexpected,
        Exit::Usage,
        Exit::Invalid,
        Exit::NotFound,
        Exit::Conflict,
        Exit::Denied,
        Exit::Unhealthy,
        Exit::Aborted,
        Exit::TimedOut,
        Exit::Unreachable,
    ];
    for (at, exit) in codes.into_iter().enumerate() {
        assert_eq!(exit as usize, at);
    }
}
