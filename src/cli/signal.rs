//! `signal`: evidence against a candidate, from somebody's own monitoring.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::args::SignalArgs;
use super::change::{until_durable, warn};
use super::client::{Admin, Change, segment};
use super::failure::{Exit, Failure};
use super::print::put;
use super::rollout::answers::RolloutChange;
use super::status::the_service;

/// The answer: what of it is beside that of a rollout.
#[derive(Deserialize)]
struct Heard {
    signal: Option<Understood>,
}

#[derive(Deserialize)]
struct Understood {
    severity: String,
    source: String,
    summary: String,
}

/// `signal`.
pub(super) async fn signal(args: &SignalArgs) -> Result<Exit, Failure> {
    let common = &args.common;
    let admin = Admin::new(common)?;
    let service = the_service(&admin, common.service()).await?;
    let mut body = json!({ "severity": args.severity.as_str(), "source": args.source, "summary": args.summary });
    if let Some(entry) = args.entry {
        body["entry"] = json!(entry.to_string());
    }
    let path = format!("/v1/services/{}/signals", segment(&service));
    let answer = admin.change(&Change { method: Method::POST, path, body, common }).await?;
    let (made, heard): (RolloutChange, Heard) = (answer.read()?, answer.read()?);
    put(&if common.json() { answer.line() } else { text(&made, heard.signal.as_ref()) })?;
    warn(&made.warnings, made.durable || made.dry_run);
    if common.wait && !made.dry_run {
        until_durable(&admin, &made.service, common).await?;
    }
    Ok(Exit::Done)
}

fn text(made: &RolloutChange, signal: Option<&Understood>) -> String {
    let heard = signal.map_or_else(
        || "it says nothing of this service".to_owned(),
        |signal| format!("{}: {}: {}", signal.severity, signal.source, signal.summary),
    );
    let what = match (made.changed, made.dry_run) {
        (true, _) => format!("{} → {}", made.old.text(), made.new.text()),
        (false, true) => format!("{}; dry run, nothing was said", made.new.text()),
        (false, false) => format!("nothing has changed: {}", made.new.text()),
    };
    format!("{heard}\n{what} (revision {})\n", made.revision)
}
