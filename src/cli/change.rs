//! `split`, `rollback`: what moves traffic.

use http::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::answers::{SplitChange, SplitState};
use super::args::{Common, RollbackArgs, SplitArgs};
use super::client::{Admin, Change, POLL, segment};
use super::failure::{Exit, Failure};
use super::print::{put, say};
use super::status::the_service;
use crate::domain::{Entry, Split};

/// `split`, to show it and to set it.
pub(super) async fn split(args: &SplitArgs) -> Result<Exit, Failure> {
    let target = args.target()?;
    let admin = Admin::new(&args.common)?;
    let service = the_service(&admin, args.common.service()).await?;
    let path = format!("/v1/services/{}/split", segment(&service));
    match target {
        None => show(&admin, &path, &args.common).await,
        Some(target) => {
            let change = Change { method: Method::PUT, path, body: body(target, &args.common), common: &args.common };
            carry_out(&admin, &change).await
        }
    }
}

/// `rollback`.
pub(super) async fn rollback(args: &RollbackArgs) -> Result<Exit, Failure> {
    let admin = Admin::new(&args.common)?;
    let service = the_service(&admin, args.common.service()).await?;
    let path = format!("/v1/services/{}/rollback", segment(&service));
    let body = json!({ "reason": args.common.reason });
    carry_out(&admin, &Change { method: Method::POST, path, body, common: &args.common }).await
}

fn body(target: Split, common: &Common) -> serde_json::Value {
    let share = |entry| target.share(entry).percent();
    json!({ "primary": share(Entry::Primary), "secondary": share(Entry::Secondary), "reason": common.reason })
}

async fn show(admin: &Admin, path: &str, common: &Common) -> Result<Exit, Failure> {
    let answer = admin.get(path).await?;
    let state: SplitState = answer.read()?;
    put(&if common.json() { answer.line() } else { format!("{} (revision {})\n", state.split.text(), state.revision) })?;
    if !state.durable {
        say(NOT_DURABLE);
    }
    Ok(Exit::Done)
}

/// Sends the change, says what came of it, and waits for the disk where that is wished.
async fn carry_out(admin: &Admin, change: &Change<'_>) -> Result<Exit, Failure> {
    let answer = admin.change(change).await?;
    let made: SplitChange = answer.read()?;
    put(&if change.common.json() { answer.line() } else { line(&made) })?;
    warn(&made.warnings, made.durable || made.dry_run);
    if change.common.wait && !made.dry_run {
        wait_for_disk(admin, &made, change.common).await?;
    }
    Ok(Exit::Done)
}

fn line(made: &SplitChange) -> String {
    let dry = if made.dry_run { "; dry run, nothing was changed" } else { "" };
    match made.changed {
        true => format!("{} → {} (revision {}{dry})\n", made.old.text(), made.new.text(), made.revision),
        false => format!("already at {} (revision {}{dry})\n", made.new.text(), made.revision),
    }
}

const NOT_DURABLE: &str = "WARNING: NOT DURABLE: this is in force, but the disk does not have it, and a restart may undo it \
                           (dualgate status shows when it has)";

/// Warnings of the admin API, and the one that nobody may overlook.
pub(super) fn warn(warnings: &[String], durable: bool) {
    for warning in warnings {
        say(&format!("warning: {warning}"));
    }
    if !durable {
        say(NOT_DURABLE);
    }
}

/// Waits until what is in force would survive a restart.
pub(super) async fn until_durable(admin: &Admin, service: &str, common: &Common) -> Result<(), Failure> {
    let deadline = Instant::now() + common.timeout();
    let path = format!("/v1/services/{}/split", segment(service));
    while !admin.get(&path).await?.read::<SplitState>()?.durable {
        if Instant::now() + POLL >= deadline {
            return Err(not_on_disk(common));
        }
        sleep(POLL).await;
    }
    Ok(())
}

fn not_on_disk(common: &Common) -> Failure {
    let error = format!("the change is in force, but not on disk after {:?} (--timeout, DUALGATE_TIMEOUT)", common.timeout());
    Failure::new(Exit::TimedOut, error)
}

/// A change is true when it is in force and would survive a restart. It can also become untrue
/// while one waits, by another's hand.
async fn wait_for_disk(admin: &Admin, made: &SplitChange, common: &Common) -> Result<(), Failure> {
    let deadline = Instant::now() + common.timeout();
    let path = format!("/v1/services/{}/split", segment(&made.service));
    loop {
        let state: SplitState = admin.get(&path).await?.read()?;
        if state.split.split() != made.new.split() {
            let error = format!("the split was changed meanwhile: it is {} at revision {}", state.split.text(), state.revision);
            return Err(Failure::new(Exit::Conflict, error));
        }
        if state.durable {
            return Ok(());
        }
        if Instant::now() + POLL >= deadline {
            return Err(not_on_disk(common));
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(changes: &str) -> String {
        let document = r#""service":"notes","old":{"primary":90.0,"secondary":10.0},"new":{"primary":87.5,"secondary":12.5},"revision":7,"durable":true,"#;
        line(&serde_json::from_str(&format!("{{{document}{changes}}}")).unwrap())
    }

    #[test]
    fn a_change_is_one_line_and_so_is_none() {
        assert_eq!(made(r#""changed":true"#), "90:10 → 87.5:12.5 (revision 7)\n");
        assert_eq!(made(r#""changed":false,"dry_run":false"#), "already at 87.5:12.5 (revision 7)\n");
        assert_eq!(made(r#""changed":true,"dry_run":true"#), "90:10 → 87.5:12.5 (revision 7; dry run, nothing was changed)\n");
    }
}
