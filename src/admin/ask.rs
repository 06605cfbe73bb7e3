//! What is asked, read strictly: the path, the query, the condition and the body of a request.

use std::sync::Arc;

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::{self, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::problem::{Current, Problem, kinds};
use super::wire::Body;
use super::{Caller, Office, who};
use crate::control::{By, Wish};
use crate::domain::Entry;
use crate::domain::machine::{Change, Command};

mod body;
mod condition;

pub(super) use condition::Condition;

/// Longer reasons belong in a ticket.
const MOST_REASON: usize = 1000;

/// What every change can be asked with.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct Options {
    /// Say what would happen, and do nothing.
    pub(super) dry_run: bool,
    /// Answer when the change is durable and, for a deploy, its endpoints are up; after this time (`30s`, at most `10m`) with 504.
    #[param(value_type = Option<String>, pattern = "^[1-9][0-9]{0,5}(ms|s|m)$")]
    pub(super) wait: Option<String>,
}

/// A change that is asked for.
pub(super) struct Asked<B> {
    pub(super) body: B,
    pub(super) options: Options,
    pub(super) condition: Condition,
    actor: String,
}

impl<B> Asked<B> {
    /// Gives the order, and waits for its answer.
    pub(super) async fn order(
        &self,
        office: &Office,
        service: &str,
        command: Command,
        reason: Option<&String>,
    ) -> Result<Change, Problem> {
        let if_match = match &self.condition {
            // Nothing to ask about first: a rollback waits for as little as it can.
            Condition::Always => None,
            condition => {
                let status = office.control.status(service).await?;
                let number = condition.number(status.machine.state().revision);
                number.map_err(|problem| problem.current((&status).into()))?
            }
        };
        Ok(office.control.order(service, command, self.by(reason, if_match)?).await?)
    }

    /// Who asks, why, and on what condition.
    pub(super) fn by(&self, reason: Option<&String>, if_match: Option<u64>) -> Result<By, Problem> {
        Ok(By { actor: self.actor.clone(), reason: fitting(reason)?, if_match, dry_run: self.options.dry_run })
    }

    /// The same wish, for another configuration than the one in force.
    pub(super) fn wish(&self, office: &Office, reason: Option<&String>) -> Result<Wish, Problem> {
        let generation = office.configuration.standing().generation.number;
        let if_match = self.condition.number(generation);
        let if_match = if_match.map_err(|problem| problem.current(Current::generation(generation)))?;
        Ok(Wish { actor: self.actor.clone(), reason: fitting(reason)?, if_match })
    }
}

/// Why, in the words of whoever asks.
fn fitting(reason: Option<&String>) -> Result<Option<String>, Problem> {
    if reason.is_some_and(|reason| reason.chars().count() > MOST_REASON) {
        return Err(Problem::invalid(kinds::REASON, "/reason", format!("at most {MOST_REASON} characters")));
    }
    Ok(reason.cloned())
}

impl<B: Body> FromRequest<Arc<Office>> for Asked<B> {
    type Rejection = Problem;

    async fn from_request(request: Request, office: &Arc<Office>) -> Result<Self, Problem> {
        let (asked, headers, bytes) = whole(request, office).await?;
        Ok(asked.with(body::read(&headers, &bytes)?))
    }
}

/// The same, where no body is as good as an empty one.
pub(super) struct MayBeEmpty<B>(pub(super) Asked<B>);

impl<B: Body + Default> FromRequest<Arc<Office>> for MayBeEmpty<B> {
    type Rejection = Problem;

    async fn from_request(request: Request, office: &Arc<Office>) -> Result<Self, Problem> {
        let (asked, headers, bytes) = whole(request, office).await?;
        let body = if bytes.is_empty() { B::default() } else { body::read(&headers, &bytes)? };
        Ok(Self(asked.with(body)))
    }
}

async fn whole(request: Request, office: &Arc<Office>) -> Result<(Asked<()>, HeaderMap, Bytes), Problem> {
    let (mut head, body) = request.into_parts();
    let Query(options) = Query::<Options>::from_request_parts(&mut head, office).await?;
    let condition = Condition::read(&head.headers)?;
    let caller = head.extensions.get::<Caller>().copied();
    let caller = caller.ok_or_else(|| Problem::new(kinds::UNEXPECTED, "nobody knows who calls"))?;
    let actor = who::actor(caller, &head.headers)?;
    Ok((Asked { body: (), options, condition, actor }, head.headers, collected(body).await?))
}

impl Asked<()> {
    fn with<B>(self, body: B) -> Asked<B> {
        let Self { body: (), options, condition, actor } = self;
        Asked { body, options, condition, actor }
    }
}

/// A body that has been read already: see `whole_body`.
pub(super) async fn collected(body: HttpBody) -> Result<Bytes, Problem> {
    body.collect().await.map(|body| body.to_bytes()).map_err(|_| Problem::new(kinds::INVALID_BODY, "the body broke off"))
}

/// The query, or a problem that names what is wrong with it.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = extract::Query::from_request_parts(head, state).await;
        let wrong = |error: extract::rejection::QueryRejection| Problem::new(kinds::INVALID_QUERY, error.body_text());
        read.map(|extract::Query(query)| Self(query)).map_err(wrong)
    }
}

/// What the path names, or a problem.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = extract::Path::from_request_parts(head, state).await;
        let wrong = |error: extract::rejection::PathRejection| Problem::new(kinds::INVALID_PATH, error.body_text());
        read.map(|extract::Path(path)| Self(path)).map_err(wrong)
    }
}

/// A service, by whatever name, and a slot that there is.
pub(super) struct Slot {
    pub(super) service: String,
    pub(super) entry: Entry,
}

impl<S: Send + Sync> FromRequestParts<S> for Slot {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((service, entry)) = Path::<(String, String)>::from_request_parts(head, state).await?;
        let entry = entry.parse().map_err(|error: String| Problem::new(kinds::NO_SUCH_ENTRY, error))?;
        Ok(Self { service, entry })
    }
}

/// The value of a header that may be there once, as text; a value that is no text is none that could be right.
pub(super) fn once<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Result<Option<&'a str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(|text| Some(text.trim())).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}
