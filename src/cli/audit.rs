//! `audit`: who did what, and whether the record of it is whole.

use std::path::Path;

use super::answers::Audit;
use super::args::{AuditArgs, AuditCommand, AuditVerifyArgs};
use super::client::Admin;
use super::events::{concerns, line_of};
use super::failure::{Exit, Failure};
use super::print::{put, say};
use crate::live::{Report, verify_audit};

/// `audit`.
pub(super) async fn audit(args: &AuditArgs) -> Result<Exit, Failure> {
    match &args.command {
        Some(AuditCommand::Verify(args)) => verify(args).await,
        None => read(args).await,
    }
}

async fn read(args: &AuditArgs) -> Result<Exit, Failure> {
    let admin = Admin::new(&args.common)?;
    let after = args.after.map(|seq| format!("&after={seq}")).unwrap_or_default();
    let answer = admin.get(&format!("/v1/audit?limit={}{after}", args.limit)).await?;
    let mut audit: Audit = answer.read()?;
    if args.common.json() {
        put(&answer.line())?;
    } else {
        // 64 characters that say nothing to people.
        audit.entries.iter_mut().for_each(|entry| drop(entry.remove("prev")));
        let wanted = audit.entries.iter().filter(|entry| concerns(entry, args.common.service()));
        put(&wanted.map(line_of).collect::<String>())?;
    }
    Ok(Exit::Done)
}

/// `audit verify`. A broken chain is a check that did not pass, as an endpoint that is down is one: scripts must be able to
/// tell it from the case that there was no answer.
async fn verify(args: &AuditVerifyArgs) -> Result<Exit, Failure> {
    let report = match &args.state_dir {
        Some(dir) => of_files(dir)?,
        None => Admin::new(&args.common)?.get("/v1/audit/verify").await?.read()?,
    };
    if args.common.json() {
        put(&format!(
            "{}\n",
            serde_json::to_string(&report).map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?
        ))?;
    } else {
        put(&line(&report))?;
    }
    report.notes.iter().for_each(|note| say(&format!("note: {note}")));
    match report.damage {
        None => Ok(Exit::Done),
        Some(damage) => Err(Failure::new(Exit::Unhealthy, damage.to_string())
            .with_hint("what stands before it is whole; compare with a backup, or with the log, which has every line, too")),
    }
}

fn of_files(dir: &Path) -> Result<Report, Failure> {
    let found = verify_audit(dir).map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?;
    found.ok_or_else(|| {
        let error = format!("there is no audit in {}: no audit.jsonl and no audit.anchor", dir.display());
        Failure::new(Exit::NotFound, error).with_hint("--state-dir DIR is the directory of [state] dir")
    })
}

fn line(report: &Report) -> String {
    let range = match (report.first, report.last) {
        (Some(first), Some(last)) => format!(", {first} to {last}"),
        _ => String::new(),
    };
    let lines = format!("{} line{}{range}", report.lines, if report.lines == 1 { "" } else { "s" });
    let dropped = if report.dropped > 0 { format!(", {} before were dropped", report.dropped) } else { String::new() };
    let last = report.last_sha256.as_ref().map(|sha256| format!("; SHA-256 of the last: {sha256}")).unwrap_or_default();
    if report.intact { format!("intact: {lines}{dropped}{last}\n") } else { format!("BROKEN after {lines}{dropped}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Damage;

    #[test]
    fn a_report_is_one_line() {
        let whole = Report { intact: true, lines: 3, first: Some(5), last: Some(7), dropped: 4, ..Report::default() };
        assert_eq!(line(&whole), "intact: 3 lines, 5 to 7, 4 before were dropped\n");
        let damage = Some(Damage { file: "audit.jsonl".into(), line: 2, what: "gone".into() });
        let broken = Report { lines: 1, first: Some(1), last: Some(1), damage, ..Report::default() };
        assert_eq!(line(&broken), "BROKEN after 1 line, 1 to 1\n");
    }
}
