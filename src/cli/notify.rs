//! `notify test`: whether notifications arrive.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::args::NotifyTestArgs;
use super::client::{Admin, Change};
use super::failure::{Exit, Failure};
use super::print::{left, put, right, table};

/// `POST /v1/notify/test`.
#[derive(Deserialize)]
struct Tested {
    sinks: Vec<Sink>,
}

#[derive(Deserialize)]
struct Sink {
    name: String,
    #[serde(default)]
    kind: String,
    delivered: bool,
    took_ms: u64,
    error: Option<String>,
    #[serde(default)]
    timed_out: bool,
}

/// `notify test`.
pub(super) async fn test(args: &NotifyTestArgs) -> Result<Exit, Failure> {
    let common = &args.common;
    if common.dry_run || common.if_match.is_some() {
        let error = "a test sends something and changes nothing: without --dry-run and --if-match";
        return Err(Failure::new(Exit::Usage, error));
    }
    let admin = Admin::new(common)?;
    let body = json!({ "sink": args.sink, "reason": common.reason });
    let answer = admin.change(&Change { method: Method::POST, path: "/v1/notify/test".to_owned(), body, common }).await?;
    let tested: Tested = answer.read()?;
    put(&if common.json() { answer.line() } else { rows(&tested) })?;
    judged(&tested)
}

fn judged(tested: &Tested) -> Result<Exit, Failure> {
    if tested.sinks.is_empty() {
        let failure = Failure::new(Exit::NotFound, "no sink is configured: nobody is told of anything");
        return Err(failure.with_hint("[[notify]] in the configuration (docs/notifications.md)"));
    }
    let failed: Vec<&Sink> = tested.sinks.iter().filter(|sink| !sink.delivered).collect();
    if failed.is_empty() {
        return Ok(Exit::Done);
    }
    let exit = if failed.iter().all(|sink| sink.timed_out) { Exit::TimedOut } else { Exit::Unexpected };
    let error = |sink: &&Sink| format!("{}: {}", sink.name, sink.error.as_deref().unwrap_or("not delivered"));
    let hint = Some("[[notify]] in the configuration; files are read anew for every try".to_owned());
    Err(Failure { errors: failed.iter().map(error).collect(), hint, ..Failure::new(exit, "") })
}

fn rows(tested: &Tested) -> String {
    let columns = [left("SINK"), left("KIND"), left("RESULT"), right("TOOK")];
    let row = |sink: &Sink| {
        let result = match (sink.delivered, sink.timed_out) {
            (true, _) => "delivered",
            (false, true) => "timed out",
            (false, false) => "failed",
        };
        vec![sink.name.clone(), sink.kind.clone(), result.to_owned(), format!("{} ms", sink.took_ms)]
    };
    table(&columns, &tested.sinks.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tested(sinks: &[(bool, bool)]) -> Tested {
        let sink = |(delivered, timed_out): &(bool, bool)| Sink {
            name: "ops".to_owned(),
            kind: "generic".to_owned(),
            delivered: *delivered,
            took_ms: 12,
            error: (!delivered).then(|| "answers 404 Not Found".to_owned()),
            timed_out: *timed_out,
        };
        Tested { sinks: sinks.iter().map(sink).collect() }
    }

    #[test]
    fn the_exit_code_tells_what_is_slow_from_what_is_wrong() {
        assert_eq!(judged(&tested(&[(true, false), (true, false)])), Ok(Exit::Done));
        assert_eq!(judged(&tested(&[(true, false), (false, true)])).unwrap_err().exit, Exit::TimedOut);
        assert_eq!(judged(&tested(&[])).unwrap_err().exit, Exit::NotFound);
        let failure = judged(&tested(&[(false, true), (false, false)])).unwrap_err();
        assert_eq!((failure.exit, failure.errors.len()), (Exit::Unexpected, 2));
        assert_eq!(failure.errors[1], "ops: answers 404 Not Found");
    }

    #[test]
    fn a_test_is_a_table() {
        let text = rows(&tested(&[(true, false), (false, true)]));
        let expected =
            "  SINK  KIND     RESULT      TOOK\n  ops   generic  delivered  12 ms\n  ops   generic  timed out  12 ms\n";
        assert_eq!(text, expected);
    }
}
