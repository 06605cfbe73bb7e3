//! Rollouts: begun, steered, looked at; and signals from outside.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::value::RawValue;

use super::ask::{Asked, MayBeEmpty, Options, Path};
use super::look::with_etag;
use super::problem::{Problem, kinds};
use super::wait::Awaited;
use super::wire::ReasonBody;
use super::wire::rollout::{
    AdvanceBody, ApproveBody, PromoteBody, RolloutChanged, RolloutState, SignalBody, SignalHeard, SignalText, StartBody,
};
use super::{Office, wire};
use crate::config::{self, StepText, nearest};
use crate::control::outreach::signals;
use crate::control::start_by;
use crate::domain::machine::{Change, Command, Evidence};
use crate::domain::plan::{Forecast, INLINE, Plan};
use crate::domain::rollout::Wanted;
use crate::domain::{Entry, Severity, Signal};

/// Begins a rollout.
#[utoipa::path(post, path = "/v1/services/{service}/rollout", params(("service" = String, Path), Options),
    request_body = Option<StartBody>, responses((status = 200, body = RolloutChanged)))]
pub(super) async fn start(
    State(office): State<Arc<Office>>,
    Path(service): Path<String>,
    MayBeEmpty(asked): MayBeEmpty<StartBody>,
) -> Result<Response, Problem> {
    let body = &asked.body;
    let status = office.control.status(&service).await?;
    let plan = plan(&office, body)?;
    let to = body.to.as_deref().map(entry).transpose()?;
    let forecast = Forecast::of(&plan, &status.machine.rules().judge, &status.traffic);
    let change = asked.order(&office, &service, start_by(plan, to, body.force), body.reason.as_ref()).await?;
    answer(&office, &service, &change, &asked.options, Some(forecast)).await
}

fn entry(name: &str) -> Result<Entry, Problem> {
    name.parse().map_err(|error: String| Problem::invalid(kinds::NO_SUCH_ENTRY, "/to", error))
}

/// The recipe that is meant.
fn plan(office: &Office, body: &StartBody) -> Result<Plan, Problem> {
    match (&body.plan, &body.steps) {
        (Some(_), Some(_)) => {
            Err(Problem::invalid(kinds::PLAN, "/steps", "beside a plan: a rollout goes by the one or by the others"))
        }
        (None, Some(steps)) => inline(steps),
        (name, None) => named(office.configuration.plans(), name.as_deref().unwrap_or("default")),
    }
}

fn named(plans: Vec<Plan>, name: &str) -> Result<Plan, Problem> {
    let names: Vec<String> = plans.iter().map(|plan| plan.name.clone()).collect();
    plans.into_iter().find(|plan| plan.name == name).ok_or_else(|| {
        let guess = nearest(name, names.iter().map(String::as_str));
        let right = guess.map_or(format!("; there are: {}", names.join(", ")), |guess| format!(", did you mean `{guess}`?"));
        Problem::invalid(kinds::PLAN, "/plan", format!("there is no plan `{name}`{right}"))
            .hint("[[plan]] in the configuration, or steps instead: \"10:10m,50:20m,100\"")
    })
}

/// Steps of one line, or one by one, as a file has them.
fn inline(steps: &RawValue) -> Result<Plan, Problem> {
    let wrong = |pointer: &str, what: String| Problem::invalid(kinds::PLAN, pointer, what);
    if let Ok(line) = serde_json::from_str::<String>(steps.get()) {
        return Plan::parse_steps(&line).map_err(|error| wrong("/steps", error.to_string()));
    }
    let mut json = serde_json::Deserializer::from_str(steps.get());
    let texts: Vec<StepText> = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let at = error.path().to_string().replace(['[', '.'], "/").replace(']', "");
        let at = if at.is_empty() || at.starts_with('/') { at } else { format!("/{at}") };
        wrong(&format!("/steps{at}"), error.inner().to_string())
            .hint(r#"like "10:10m,50:20m,100" or [{"share": 10, "hold": "10m"}]"#)
    })?;
    let steps = config::steps(&texts).map_err(|(at, what)| wrong(&format!("/steps{at}"), what))?;
    let plan = Plan { name: INLINE.to_owned(), steps };
    let errors = plan.check();
    match errors.first() {
        None => Ok(plan),
        Some(first) => {
            let pointer = format!("/{}", first.key().replace(['[', '.'], "/").replace(']', ""));
            let all = errors.iter().map(ToString::to_string).collect();
            Err(wrong(&pointer, first.what.clone()).errors(all))
        }
    }
}

/// The rollout that runs, or the last one.
#[utoipa::path(get, path = "/v1/services/{service}/rollout", params(("service" = String, Path)),
    responses((status = 200, body = RolloutState)))]
pub(super) async fn show(State(office): State<Arc<Office>>, Path(service): Path<String>) -> Result<Response, Problem> {
    let status = office.control.status(&service).await?;
    let rollout = wire::rollout::rollout(&status).ok_or_else(|| {
        Problem::new(kinds::NO_SUCH_ROLLOUT, format!("there was no rollout of {service} yet"))
            .hint("dualgate rollout start begins one (POST …/rollout)")
    })?;
    Ok(with_etag(status.machine.state().revision, rollout))
}

/// Makes it stand still.
#[utoipa::path(post, path = "/v1/services/{service}/rollout/pause", params(("service" = String, Path), Options),
    request_body = Option<ReasonBody>, responses((status = 200, body = RolloutChanged)))]
pub(super) async fn pause(
    State(office): State<Arc<Office>>,
    Path(service): Path<String>,
    MayBeEmpty(asked): MayBeEmpty<ReasonBody>,
) -> Result<Response, Problem> {
    carry_out(&office, &service, &asked, Command::Steer(Wanted::Pause), asked.body.reason.as_ref()).await
}

/// Lets one that stands still go on: its step begins anew.
#[utoipa::path(post, path = "/v1/services/{service}/rollout/resume", params(("service" = String, Path), Options),
    request_body = Option<ReasonBody>, responses((status = 200, body = RolloutChanged)))]
pub(super) async fn resume(
    State(office): State<Arc<Office>>,
    Path(service): Path<String>,
    MayBeEmpty(asked): MayBeEmpty<ReasonBody>,
) -> Result<Response, Problem> {
    carry_out(&office, &service, &asked, Command::Steer(Wanted::Resume), asked.body.reason.as_ref()).await
}

/// Leaves the step that is named without waiting for its hold and verdict.
#[utoipa::path(post, path = "/v1/services/{service}/rollout/advance", params(("service" = String, Path), Options),
    request_body = AdvanceBody, responses((status = 200, body = RolloutChanged)))]
pub(super) async fn advance(
    State(office): State<Arc<Office>>,
    Path(service): Path<String>,
    asked: Asked<AdvanceBody>,
) -> Result<Response, Problem> {
    let AdvanceBody { step, force, reason } = &asked.body;
    let wanted = Wanted::Advance { step: from_one(*step)?, force: *force };
    carry_out(&office, &service, &asked, Command::Steer(wanted), reason.as_ref()).await
}

/// Says yes to the step that is named.
#[utoipa::path(post, path = "/v1/services/{service}/rollout/approve", params(("service" = String, Path), Options),
    request_body = ApproveBody, responses((status = 200, body = RolloutChanged)))]
pub(super) async fn approve(
    State(office): State<Arc<Office>>,
    Path(service): Path<String>,
    asked: Asked<ApproveBody>,
) -> Result<Response, Problem> {
    let ApproveBody { step, reason } = &asked.body;
    let wanted = Wanted::Approve { step: from_one(*step)? };
    carry_out(&office, &service, &asked, Command::Steer(wanted), reason.as_ref()).await
}

fn from_one(step: usize) -> Result<usize, Problem> {
    let what = "/step: 0 is no step: they are counted from 1";
    step.checked_sub(1).ok_or_else(|| Problem::new(kinds::INVALID_BODY, what).at("/step"))
}

/// Gives the candidate everything, and makes it the stable entry, now.
#[utoipa::path(post, path = "/v1/services/{service}/rollout/promote", params(("service" = String, Path), Options),
    request_body = Option<PromoteBody>, responses((status = 200, body = RolloutChanged)))]
pub(super) async fn promote(
    State(office): State<Arc<Office>>,
    Path(service): Path<String>,
    MayBeEmpty(asked): MayBeEmpty<PromoteBody>,
) -> Result<Response, Problem> {
    let command = Command::Promote { force: asked.body.force };
    carry_out(&office, &service, &asked, command, asked.body.reason.as_ref()).await
}

/// Calls it off: the candidate to 0, now, and not condemned.
#[utoipa::path(post, path = "/v1/services/{service}/rollout/abort", params(("service" = String, Path), Options),
    request_body = Option<ReasonBody>, responses((status = 200, body = RolloutChanged)))]
pub(super) async fn abort(
    State(office): State<Arc<Office>>,
    Path(service): Path<String>,
    MayBeEmpty(asked): MayBeEmpty<ReasonBody>,
) -> Result<Response, Problem> {
    carry_out(&office, &service, &asked, Command::Abort, asked.body.reason.as_ref()).await
}

async fn carry_out<B>(
    office: &Office,
    service: &str,
    asked: &Asked<B>,
    command: Command,
    reason: Option<&String>,
) -> Result<Response, Problem> {
    match asked.order(office, service, command, reason).await {
        Ok(change) => answer(office, service, &change, &asked.options, None).await,
        Err(problem) => Err(problem),
    }
}

async fn answer(
    office: &Office,
    service: &str,
    change: &Change,
    options: &Options,
    forecast: Option<Forecast>,
) -> Result<Response, Problem> {
    let status = office.control.status(service).await?;
    let document = wire::rollout::rollout_changed(service, change, options.dry_run, &status, forecast);
    Ok(Awaited::change(service, change, options).on(with_etag(change.revision, document)))
}

/// Hears what somebody's monitoring says. What is critical takes the candidate back, unless the configuration says otherwise.
#[utoipa::path(post, path = "/v1/services/{service}/signals", params(("service" = String, Path), Options),
    request_body = SignalText, responses((status = 200, body = SignalHeard)))]
pub(super) async fn signal(
    State(office): State<Arc<Office>>,
    Path(service): Path<String>,
    asked: Asked<SignalBody>,
) -> Result<Response, Problem> {
    let payload = serde_json::to_vec(&asked.body.0).map_err(|error| Problem::new(kinds::INVALID_BODY, error.to_string()))?;
    let all = signals::parse(&payload, &service).map_err(|what| Problem::new(kinds::INVALID_BODY, what))?;
    let evidence = |signal: &Signal| Evidence {
        critical: signal.severity == Severity::Critical,
        entry: signal.entry,
        words: format!("{}: {}", signal.source, signal.summary),
    };
    let change = match all.is_empty() {
        false => asked.order(&office, &service, Command::Signal(all.iter().map(evidence).collect()), None).await?,
        true => nothing_said(&office, &service, &asked).await?,
    };
    let signal = all.iter().max_by_key(|signal| signal.severity);
    let status = office.control.status(&service).await?;
    let document = wire::rollout::heard(&service, &change, asked.options.dry_run, &status, signal);
    Ok(Awaited::change(&service, &change, &asked.options).on(with_etag(change.revision, document)))
}

/// As a change that changes nothing; its condition holds all the same.
async fn nothing_said(office: &Office, service: &str, asked: &Asked<SignalBody>) -> Result<Change, Problem> {
    let status = office.control.status(service).await?;
    let state = status.machine.state();
    asked.condition.number(state.revision).map_err(|problem| problem.current((&status).into()))?;
    Ok(Change {
        old: state.split,
        new: state.split,
        old_revision: state.revision,
        revision: state.revision,
        changed: false,
        durable: status.machine.is_durable(),
        warnings: Vec::new(),
    })
}
