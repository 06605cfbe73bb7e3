//! The configuration in force, and the way to another one.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;

use super::Office;
use super::ask::{Asked, MayBeEmpty, Path};
use super::contract::QUESTION;
use super::look::with_etag;
use super::problem::{Current, Problem, kinds};
use super::wire::ReasonBody;
use super::wire::configuration::{
    Applied, Configuration, Drift, File, Generation, GenerationInBrief, Generations, RevertBody, Validated,
};
use crate::control::{self, ConfigureError};

/// What is in force, and how the file and the services differ from it.
#[utoipa::path(get, path = "/v1/config", responses((status = 200, body = Configuration)))]
pub(super) async fn show(State(office): State<Arc<Office>>) -> Result<Response, Problem> {
    let standing = office.configuration.standing();
    let file = match office.configuration.file().await {
        Err(ConfigureError::NoFile) => None,
        Err(error) => return Err(error.into()),
        Ok(Err(error)) => Some(File::Unreadable { error }),
        Ok(Ok(text)) if text == standing.generation.text => Some(File::Same { differs: false }),
        Ok(Ok(text)) => Some(File::Other { differs: true, text }),
    };
    let mut drift = Vec::new();
    for view in &office.reader.current().services {
        let service = &view.config.name;
        // A reload may have taken it away meanwhile.
        let Ok(status) = office.control.status(service).await else { continue };
        let lines = status.machine.drift();
        drift.extend(lines.into_iter().map(|what| Drift { service: service.clone(), what }));
    }
    let document = Configuration {
        path: standing.path,
        generation: (&standing.generation).into(),
        failure: standing.failure.map(Into::into),
        applied: standing.applied,
        refused: standing.refused,
        file,
        drift,
    };
    Ok(with_etag(standing.generation.number, document))
}

/// Those that were in force, newest first.
#[utoipa::path(get, path = "/v1/config/history", responses((status = 200, body = Generations)))]
pub(super) async fn history(State(office): State<Arc<Office>>) -> Json<Generations> {
    let kept = office.configuration.history();
    Json(Generations { generations: kept.iter().rev().map(GenerationInBrief::from).collect() })
}

/// One of them, with its text.
#[utoipa::path(get, path = "/v1/config/history/{number}", params(("number" = String, Path)),
    responses((status = 200, body = Generation)))]
pub(super) async fn generation(
    State(office): State<Arc<Office>>,
    Path(number): Path<String>,
) -> Result<Json<Generation>, Problem> {
    let kept = office.configuration.history();
    let found = kept.iter().find(|one| one.number.to_string() == number);
    found.map(|one| Json(one.into())).ok_or_else(|| not_kept(&number))
}

/// What would be wrong with a text. Nothing changes.
#[utoipa::path(post, path = "/v1/config/validate", tag = QUESTION, request_body(content = String, content_type = "application/toml"),
    responses((status = 200, body = Validated)))]
pub(super) async fn validate(State(office): State<Arc<Office>>, body: Bytes) -> Result<Json<Validated>, Problem> {
    let wrong = |_| Problem::new(kinds::INVALID_BODY, "a configuration is text in UTF-8");
    let warnings = office.configuration.validate(std::str::from_utf8(&body).map_err(wrong)?).await?;
    Ok(Json(Validated { valid: true, warnings }))
}

/// The file is read again.
#[utoipa::path(post, path = "/v1/config/reload", request_body = Option<ReasonBody>, responses((status = 200, body = Applied)))]
pub(super) async fn reload(
    State(office): State<Arc<Office>>,
    MayBeEmpty(asked): MayBeEmpty<ReasonBody>,
) -> Result<Response, Problem> {
    let wish = asked.wish(&office, asked.body.reason.as_ref())?;
    Ok(answered(office.configuration.reload(&wish).await?))
}

/// One of before is put in force again.
#[utoipa::path(post, path = "/v1/config/revert", request_body = RevertBody, responses((status = 200, body = Applied)))]
pub(super) async fn revert(State(office): State<Arc<Office>>, asked: Asked<RevertBody>) -> Result<Response, Problem> {
    let wish = asked.wish(&office, asked.body.reason.as_ref())?;
    Ok(answered(office.configuration.revert(asked.body.generation, &wish).await?))
}

fn answered(applied: control::Applied) -> Response {
    with_etag(applied.generation, Applied::from(applied))
}

fn not_kept(number: &str) -> Problem {
    Problem::new(kinds::NO_SUCH_GENERATION, format!("configuration {number} is not kept"))
        .hint("dualgate config history, or GET /v1/config/history, lists those that are kept")
}

impl From<ConfigureError> for Problem {
    fn from(error: ConfigureError) -> Self {
        let said = error.to_string();
        match error {
            ConfigureError::Invalid(errors) => {
                Self::new(kinds::INVALID_CONFIGURATION, said).hint("what was in force stays in force").errors(errors)
            }
            ConfigureError::NoFile => Self::new(kinds::NO_CONFIGURATION_FILE, said).hint("dualgate run --config FILE"),
            ConfigureError::NotKept(number) => not_kept(&number.to_string()),
            ConfigureError::Stale { current, .. } => Self::stale(said).current(Current::generation(current)),
        }
    }
}
