//! Notifications: whether they arrive.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::json;

use super::Office;
use super::ask::MayBeEmpty;
use super::contract::QUESTION;
use super::problem::{Problem, kinds};
use super::wire::notify::{NotifyTestBody, NotifyTested, SinkTested};

/// Delivers one real notice to every sink, or to one of them: 200 however that went, since the question was answered.
#[utoipa::path(post, path = "/v1/notify/test", tag = QUESTION, request_body = Option<NotifyTestBody>,
    responses((status = 200, body = NotifyTested)))]
pub(super) async fn test(
    State(office): State<Arc<Office>>,
    MayBeEmpty(asked): MayBeEmpty<NotifyTestBody>,
) -> Result<Json<NotifyTested>, Problem> {
    let by = asked.by(asked.body.reason.as_ref(), None)?;
    let wanted = asked.body.sink.as_deref();
    let tested = office.notifier.test(wanted).await;
    if let (true, Some(name)) = (tested.is_empty(), wanted) {
        let problem = Problem::new(kinds::NO_SUCH_SINK, format!("there is no sink `{name}`"));
        return Err(problem.hint("[[notify]] in the configuration names sinks"));
    }
    let sinks: Vec<SinkTested> = tested.into_iter().map(SinkTested::from).collect();
    // Nobody was told: that is no success.
    let delivered = !sinks.is_empty() && sinks.iter().all(SinkTested::delivered);
    let (sink, result) = (wanted.unwrap_or("all"), if delivered { "done" } else { "failed" });
    office.audit.write(json!({
        "type": "notify-test", "actor": by.actor, "reason": by.reason, "sink": sink, "result": result,
    }));
    Ok(Json(NotifyTested { delivered, sinks }))
}
