//! Errors as RFC 9457 problem documents with stable type slugs.

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::control::{OrderError, Status};
use crate::domain::machine::Refusal;
use crate::domain::rollout::Refused;
use crate::domain::{Entry, Split};

pub(super) mod kinds;

use kinds::Kind;

/// Why a call was not done. Nothing has changed then, unless the detail says otherwise.
#[derive(Debug)]
pub(super) struct Problem {
    kind: &'static Kind,
    detail: String,
    pointer: Option<String>,
    hint: Option<String>,
    errors: Vec<String>,
    current: Option<Box<Current>>,
}

/// What is in force, for who has seen something else: a split with its revision, the generation of the configuration, or
/// the revision of all services together.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Current {
    #[serde(skip_serializing_if = "Option::is_none")]
    primary: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secondary: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
}

impl Current {
    fn split(split: Split, revision: u64) -> Self {
        let share = |entry| Some(split.share(entry).percent());
        let (primary, secondary) = (share(Entry::Primary), share(Entry::Secondary));
        Self { primary, secondary, ..Self::revision(revision) }
    }

    pub(super) fn revision(revision: u64) -> Self {
        Self { revision: Some(revision), ..Self::default() }
    }

    pub(super) fn generation(generation: u64) -> Self {
        Self { generation: Some(generation), ..Self::default() }
    }
}

/// A problem over the wire (RFC 9457).
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document {
    /// `urn:dualgate:problem:` and a stable slug.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    /// What was wrong, and where.
    detail: String,
    /// The member of the body that is meant (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// All that is wrong, one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<Box<Current>>,
}

impl Problem {
    pub(super) fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), pointer: None, hint: None, errors: Vec::new(), current: None }
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

    /// Names the member of the body that is meant.
    pub(super) fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }

    /// All that is wrong, one by one.
    pub(super) fn errors(mut self, errors: Vec<String>) -> Self {
        self.errors = errors;
        self
    }

    /// Says what is in force.
    pub(super) fn current(mut self, current: Current) -> Self {
        self.current = Some(Box::new(current));
        self
    }

    /// A member of the body whose value will not do.
    pub(super) fn invalid(kind: &'static Kind, pointer: &str, what: impl std::fmt::Display) -> Self {
        Self::new(kind, format!("{pointer}: {what}")).at(pointer)
    }

    /// A condition that does not hold any more.
    pub(super) fn stale(detail: impl Into<String>) -> Self {
        Self::new(kinds::STALE_REVISION, detail).hint("look at the current value, and send its revision as If-Match")
    }

    pub(super) fn slug(&self) -> &'static str {
        self.kind.slug
    }

    pub(super) fn status(&self) -> StatusCode {
        self.kind.status
    }
}

impl From<&Status> for Current {
    fn from(status: &Status) -> Self {
        Self::split(status.machine.state().split, status.machine.state().revision)
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        let detail = error.to_string();
        match error {
            OrderError::NoService(_) => Self::new(kinds::NO_SUCH_SERVICE, detail).hint("GET /v1/services lists them"),
            OrderError::Stopping => Self::new(kinds::STOPPING, detail),
            OrderError::Refused(refusal) => of_refusal(&refusal, detail),
        }
    }
}

fn of_refusal(refusal: &Refusal, detail: String) -> Problem {
    let of = |kind: &'static Kind| Problem::new(kind, detail.clone());
    match refusal {
        Refusal::Stale { current, split, .. } => Problem::stale(detail).current(Current::split(*split, *current)),
        Refusal::Overtaken { .. } => of(kinds::OVERTAKEN).hint("look before you raise it again"),
        Refusal::Busy { .. } => of(kinds::BUSY).hint("the disk is slow or stuck; a rollback does not wait for it"),
        Refusal::Refuge { .. } => of(kinds::REFUGE)
            .hint("wait until the other entry is confirmed as stable (split.confirm_after), or --force (\"force\": true)"),
        Refusal::NotStored { .. } => {
            of(kinds::NOT_STORED).hint("the split in force is unchanged; a rollback works without the disk")
        }
        Refusal::FileIsAuthority => of(kinds::FILE_IS_AUTHORITY).hint("split.authority = \"state\" lets the API decide"),
        Refusal::EntryInUse { entry, .. } => of(kinds::ENTRY_IN_USE)
            .hint(format!("deploy to {}, or set the share of {entry} to 0 first, or --force (\"force\": true)", entry.other())),
        Refusal::DrainsAtZero { entry, .. } => {
            of(kinds::ENTRY_IN_USE).hint(format!("give its share to {} first, or roll back", entry.other()))
        }
        Refusal::EndpointOfBoth { .. } => of(kinds::ENDPOINT_OF_BOTH).at("/endpoints"),
        Refusal::Rollout(refused) => of_rollout(refused, &detail),
    }
}

fn of_rollout(refused: &Refused, detail: &str) -> Problem {
    let of = |kind: &'static Kind| Problem::new(kind, detail);
    match refused {
        Refused::None { .. } => {
            of(kinds::NO_SUCH_ROLLOUT).hint("GET …/rollout shows the last one, …/records all that there were")
        }
        Refused::Active { .. } => of(kinds::ROLLOUT_ACTIVE).hint("wait for it, or abort it"),
        Refused::StaleStep { current, .. } => {
            of(kinds::STALE_STEP).hint(format!("look what has happened; the step is {} now", current + 1))
        }
        Refused::Still { .. } => of(kinds::STANDS_STILL).hint("resume, then advance"),
        Refused::Obstructed { .. } => of(kinds::OBSTRUCTED).hint("--force with --reason does it all the same, and is audited"),
        Refused::StrandsLegacy { .. } => of(kinds::STRANDS_LEGACY).hint(
            "deploy a version that serves both eras, or wait for the sessions to end; --force with --reason does it all the same",
        ),
        Refused::OtherVersion { .. } => of(kinds::OTHER_VERSION),
        Refused::NothingToApprove { .. } => of(kinds::NOTHING_TO_APPROVE).hint("gates = [\"approval\"] in a step asks for it"),
        Refused::OwnApproval { .. } => of(kinds::OWN_APPROVAL).hint("Dualgate-Actor says who asks"),
        Refused::IsStable { .. } => of(kinds::IS_STABLE),
        Refused::BeyondPlan { .. } => of(kinds::BEYOND_PLAN).hint("promote, or set the split back first"),
        Refused::ForceWithoutReason => of(kinds::REASON).at("/reason"),
        Refused::Plan { .. } => of(kinds::PLAN),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { kind, detail, pointer, hint, errors, current } = self;
        let document = Document {
            kind: kind.urn(),
            title: kind.title,
            status: kind.status.as_u16(),
            detail,
            pointer,
            hint,
            errors,
            current,
        };
        let mut response = (kind.status, Json(document)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if kind == kinds::NO_VALID_TOKEN {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

pub(super) async fn no_such_path(uri: Uri) -> Problem {
    Problem::new(kinds::NO_SUCH_PATH, format!("there is nothing at {}", uri.path()))
        .hint("GET /v1/openapi.json lists what there is")
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    Problem::new(kinds::WRONG_METHOD, format!("{method} does nothing at {}", uri.path())).hint("the Allow header says which are")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_problem_is_in_the_page_with_its_status_and_nothing_else() {
        let page = include_str!("../../docs/admin-api.md");
        let cells = |line: &str| line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Vec<_>>();
        let rows = page.lines().filter(|line| line.starts_with("| `")).map(cells);
        let listed: Vec<_> = rows.filter(|row| row.len() == 5).map(|row| (row[1].clone(), row[2].clone())).collect();
        let known: Vec<_> = kinds::ALL.iter().map(|kind| (kind.slug.to_owned(), kind.status.as_u16().to_string())).collect();
        assert_eq!(listed, known);
    }
}
