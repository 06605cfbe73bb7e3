//! `rollout`: begun, steered, looked at, and waited for.

use http::Method;
use serde_json::{Value, json};

use super::args::{AdvanceArgs, Common, PromoteArgs, RolloutArgs, RolloutCommand, RolloutStartArgs};
use super::change::{until_durable, warn};
use super::client::{Admin, Change, segment};
use super::deploy::agreed;
use super::failure::{Exit, Failure};
use super::forecast::forecast_table;
use super::print::{put, say};
use super::records;
use super::status::the_service;
use crate::domain::Plan;

pub(super) mod answers;
mod follow;
mod show;

use answers::{Rollout, RolloutChange};

/// What follows on an order, where it is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// The end of the rollout.
    Over,
    /// The disk.
    Durable,
}

/// `rollout`.
pub(super) async fn rollout(args: &RolloutArgs) -> Result<Exit, Failure> {
    match &args.command {
        RolloutCommand::List(args) => records::list(args).await,
        RolloutCommand::Show(args) => records::show(args).await,
        RolloutCommand::Start(args) => start(args).await,
        RolloutCommand::Status(args) => status(&args.common).await,
        RolloutCommand::Pause(args) => plain("pause", &args.common, Then::Durable).await,
        RolloutCommand::Resume(args) => plain("resume", &args.common, Then::Over).await,
        RolloutCommand::Advance(args) => advance(args).await,
        RolloutCommand::Approve(args) => of_step("approve", args.step, json!({}), &args.common).await,
        RolloutCommand::Promote(args) => promote(args).await,
        RolloutCommand::Abort(args) => abort(&args.common).await,
    }
}

async fn start(args: &RolloutStartArgs) -> Result<Exit, Failure> {
    let RolloutStartArgs { plan, steps, to, force, common } = args;
    // Said here, before anything is looked up.
    if let Some(Err(error)) = steps.as_deref().map(Plan::parse_steps) {
        return Err(Failure::new(Exit::Invalid, format!("--steps: {error}")).with_hint("like --steps 10:10m,50:20m,100"));
    }
    let admin = Admin::new(common)?;
    let service = the_service(&admin, common.service()).await?;
    let to = to.map(|entry| entry.to_string());
    let body = json!({ "plan": plan, "steps": steps, "to": to, "reason": common.reason, "force": force });
    order(&admin, &service, "", body, common, Then::Over).await
}

async fn plain(command: &str, common: &Common, then: Then) -> Result<Exit, Failure> {
    let admin = Admin::new(common)?;
    let service = the_service(&admin, common.service()).await?;
    order(&admin, &service, command, json!({ "reason": common.reason }), common, then).await
}

async fn advance(args: &AdvanceArgs) -> Result<Exit, Failure> {
    of_step("advance", args.step, json!({ "force": args.force }), &args.common).await
}

/// The step that is meant is sent along: whoever is overtaken by another step is told so, and nothing happens to that one.
async fn of_step(command: &str, step: Option<usize>, mut body: Value, common: &Common) -> Result<Exit, Failure> {
    let admin = Admin::new(common)?;
    let service = the_service(&admin, common.service()).await?;
    let step = match step {
        Some(step) => step,
        None => look(&admin, &service).await?.step,
    };
    (body["step"], body["reason"]) = (json!(step), json!(common.reason));
    order(&admin, &service, command, body, common, Then::Over).await
}

async fn promote(args: &PromoteArgs) -> Result<Exit, Failure> {
    let common = &args.common;
    let admin = Admin::new(common)?;
    let service = the_service(&admin, common.service()).await?;
    confirm(common, &format!("Give the candidate of {service} all clients, and make it the stable entry? [y/N]"))?;
    let body = json!({ "force": args.force, "reason": common.reason });
    order(&admin, &service, "promote", body, common, Then::Durable).await
}

async fn abort(common: &Common) -> Result<Exit, Failure> {
    let admin = Admin::new(common)?;
    let service = the_service(&admin, common.service()).await?;
    confirm(common, &format!("Call the rollout of {service} off, and take the candidate to 0 %? [y/N]"))?;
    order(&admin, &service, "abort", json!({ "reason": common.reason }), common, Then::Durable).await
}

/// A person at a terminal is asked; a script is not.
fn confirm(common: &Common, question: &str) -> Result<(), Failure> {
    let asks = common.can_ask() && !common.dry_run;
    if asks && !agreed(question) { Err(Failure::new(Exit::Aborted, "called off: nothing was changed")) } else { Ok(()) }
}

async fn order(admin: &Admin, service: &str, command: &str, body: Value, common: &Common, then: Then) -> Result<Exit, Failure> {
    let slash = if command.is_empty() { "" } else { "/" };
    let path = format!("/v1/services/{}/rollout{slash}{command}", segment(service));
    let answer = admin.change(&Change { method: Method::POST, path, body, common }).await?;
    let made: RolloutChange = answer.read()?;
    put(&if common.json() { answer.line() } else { text(&made) })?;
    warn(&made.warnings, made.durable || made.dry_run);
    let forecast = made.forecast.iter().flat_map(|forecast| &forecast.warnings);
    forecast.for_each(|warning| say(&format!("warning: {warning}")));
    if !common.wait || made.dry_run {
        return Ok(Exit::Done);
    }
    match (then, &made.rollout) {
        (Then::Over, Some(rollout)) => follow::until_over(&made.service, rollout, common).await,
        _ => until_durable(admin, &made.service, common).await.map(|()| Exit::Done),
    }
}

/// What an order has done, in a line; of a dry run of a start, its timeline.
fn text(made: &RolloutChange) -> String {
    if let Some(forecast) = made.forecast.as_ref().filter(|_| made.dry_run) {
        let table = forecast_table(forecast);
        return format!("{table}first {} → {}; dry run, nothing was changed\n", made.old.text(), made.new.text());
    }
    let name = made.rollout.as_ref().map_or_else(|| "rollout".to_owned(), show::in_short);
    let already = if made.changed { "" } else { "; that was so already" };
    let dry = if made.dry_run { "; dry run, nothing was changed" } else { "" };
    let split = match made.changed && made.old.text() != made.new.text() {
        true => format!(": {} → {}", made.old.text(), made.new.text()),
        false => format!(": {}", made.new.text()),
    };
    format!("{name}{split} (revision {}{already}{dry})\n", made.revision)
}

/// The rollout that runs, or the last one.
pub(super) async fn look(admin: &Admin, service: &str) -> Result<Rollout, Failure> {
    admin.get(&format!("/v1/services/{}/rollout", segment(service))).await?.read()
}

async fn status(common: &Common) -> Result<Exit, Failure> {
    let admin = Admin::new(common)?;
    let service = the_service(&admin, common.service()).await?;
    let answer = admin.get(&format!("/v1/services/{}/rollout", segment(&service))).await?;
    let rollout: Rollout = answer.read()?;
    put(&if common.json() { answer.line() } else { show::page(&service, &rollout) })?;
    Ok(Exit::Done)
}
