//! The records of rollouts.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::Office;
use super::ask::{Path, Query};
use super::contract::prefers;
use super::problem::{Problem, kinds};
use super::wire::records::{Briefs, RecordInBrief, RecordsQuery};
use crate::control::{Record, Records};
use crate::live::{RecordForm, StoreError};

const MOST_RECORDS: usize = 1_000;

const JSON: &str = "application/json";
const MARKDOWN: &str = "text/markdown";

/// What happened to each rollout in brief, newest first.
#[utoipa::path(get, path = "/v1/services/{service}/records", params(("service" = String, Path), RecordsQuery),
    responses((status = 200, body = Briefs)))]
pub(super) async fn records(
    State(office): State<Arc<Office>>,
    Path(service): Path<String>,
    Query(RecordsQuery { limit }): Query<RecordsQuery>,
) -> Result<Json<Briefs>, Problem> {
    let limit = limit.unwrap_or(100);
    if limit > MOST_RECORDS {
        return Err(Problem::new(kinds::INVALID_QUERY, format!("limit: {limit} is more than the most, {MOST_RECORDS}")));
    }
    office.control.status(&service).await?;
    let name = service.clone();
    let records = read(&office, move |records| records.newest(&name, limit)).await?;
    Ok(Json(Briefs { service, records: records.into_iter().map(RecordInBrief::from).collect() }))
}

/// All that was noted of one rollout: for programs, or for people (`Accept: text/markdown`).
#[utoipa::path(get, path = "/v1/services/{service}/records/{id}", params(("service" = String, Path), ("id" = String, Path)),
    responses((status = 200, content((Record = "application/json"), (String = "text/markdown")))))]
pub(super) async fn record(
    State(office): State<Arc<Office>>,
    Path((service, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    office.control.status(&service).await?;
    let (form, kind) = match prefers(&headers, MARKDOWN, JSON) {
        true => (RecordForm::Markdown, "text/markdown; charset=utf-8"),
        false => (RecordForm::Json, JSON),
    };
    let (of, name) = (service.clone(), id.clone());
    let found = read(&office, move |records| records.one(&of, &name, form)).await?;
    // Byte by byte as it was written: a later version must not say more of an old rollout than was known.
    found.map(|text| ([(header::CONTENT_TYPE, kind)], text).into_response()).ok_or_else(|| {
        Problem::new(kinds::NO_SUCH_RECORD, format!("there is no record `{id}` of {service}"))
            .hint("dualgate rollout list, or GET …/records, lists those that are kept")
    })
}

/// Reads beside the runtime.
async fn read<T: Send + 'static>(
    office: &Office,
    how: impl FnOnce(&Records) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    let records = office.control.records().clone();
    let read = tokio::task::spawn_blocking(move || how(&records)).await;
    let read = read.unwrap_or_else(|error| Err(StoreError::of_task(&error)));
    read.map_err(|error| Problem::new(kinds::RECORDS_UNREADABLE, error.to_string()))
}
