//! Errors as RFC 9457 problem documents with stable type slugs.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::control::OrderError;
use crate::domain::machine::Refusal;

/// Why a call was not done. Nothing has changed then.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: String,
    hint: Option<String>,
    current: Option<Box<Value>>,
    errors: Vec<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, slug: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, slug, title, detail: detail.into(), hint: None, current: None, errors: Vec::new() }
    }

    /// The same problem with other words about the case.
    pub(super) fn detailed(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// All that is wrong, one by one.
    pub(super) fn errors(mut self, errors: Vec<String>) -> Self {
        self.errors = errors;
        self
    }

    pub(super) fn bad_body(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-body", "The body cannot be read", detail)
    }

    pub(super) fn body_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large", "at most 64 KiB")
    }

    pub(super) fn bad_query(rejection: &QueryRejection) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-query", "The query cannot be read", rejection.body_text())
    }

    pub(super) fn invalid(slug: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, slug, "The value is not valid", detail)
    }

    pub(super) fn slug(&self) -> &'static str {
        self.slug
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        let detail = error.to_string();
        match error {
            OrderError::NoService(_) => {
                Self::new(StatusCode::NOT_FOUND, "no-such-service", "No such service", detail).hint("GET /v1/services lists them")
            }
            OrderError::Stopping => Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "dualgate is stopping", detail),
            OrderError::Refused(refusal) => of_refusal(&refusal, detail),
        }
    }
}

fn of_refusal(refusal: &Refusal, detail: String) -> Problem {
    let conflict = |slug, title| Problem::new(StatusCode::CONFLICT, slug, title, detail.clone());
    match refusal {
        Refusal::Stale { current, split, .. } => {
            let mut problem = Problem::new(StatusCode::PRECONDITION_FAILED, "stale-revision", "Somebody was faster", detail)
                .hint("look at the current value, and send its revision as If-Match");
            problem.current = Some(Box::new(super::wire::split_now(*split, *current)));
            problem
        }
        Refusal::Overtaken { .. } => {
            conflict("overtaken-by-rollback", "A rollback came first").hint("look before you raise it again")
        }
        Refusal::Busy { .. } => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many changes wait", detail)
            .hint("the disk is slow or stuck; a rollback does not wait for it"),
        Refusal::Refuge { .. } => conflict("refuge", "A rollback needs this entry")
            .hint("wait until the other entry is confirmed as stable (split.confirm_after), or send \"force\": true"),
        Refusal::NotStored { .. } => {
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, "not-stored", "The state could not be stored", detail)
                .hint("the split in force is unchanged; a rollback works without the disk")
        }
        Refusal::FileIsAuthority => conflict("file-is-authority", "The configuration file decides")
            .hint("split.authority = \"state\" lets the API decide"),
        Refusal::EntryInUse { entry, .. } => conflict("entry-in-use", "The entry has clients")
            .hint(format!("deploy to {}, or set the share of {entry} to 0 first, or send \"force\": true", entry.other())),
        Refusal::EndpointOfBoth { .. } => Problem::invalid("endpoint-of-both", detail),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut document = json!({
            "type": format!("urn:dualgate:problem:{}", self.slug),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(hint) = self.hint {
            document["hint"] = json!(hint);
        }
        if !self.errors.is_empty() {
            document["errors"] = json!(self.errors);
        }
        if let Some(current) = self.current {
            document["current"] = *current;
        }
        let mut response = (self.status, Json(document)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

pub(super) async fn no_such_path(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no-such-path", "No such path", format!("there is nothing at {}", uri.path()))
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{method} does nothing at {}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "The method is not served here", detail)
        .hint("the Allow header says which are")
}
