//! Is it alive, and should it get traffic.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Office;
use crate::domain::{Entry, Scene, Standing};

/// The process answers, and somebody decides in it.
#[utoipa::path(get, path = "/health", responses((status = 200, body = Object), (status = 500, body = Object)))]
pub(super) async fn alive(State(office): State<Arc<Office>>) -> (StatusCode, Json<Value>) {
    if office.control.is_alive() {
        (StatusCode::OK, Json(json!({ "status": "ok" })))
    } else {
        let reason = "the conductor is dead: traffic goes on, and nothing can be changed until a restart";
        (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "status": "dead", "reasons": [reason] })))
    }
}

/// Ready when every client of every service has an entry to go to, and the process is not leaving.
#[utoipa::path(get, path = "/health/ready", responses((status = 200, body = Object), (status = 503, body = Object)))]
pub(super) async fn ready(State(office): State<Arc<Office>>) -> (StatusCode, Json<Value>) {
    let mut reasons = Vec::new();
    if *office.leaving.borrow() {
        reasons.push("dualgate is stopping".to_owned());
    }
    for service in &office.reader.current().services {
        reasons.extend(stranded(&service.scene).map(|entry| {
            let standing = service.scene.standing[entry];
            format!("{}: {entry} has clients, is {}, and nothing stands in for it", service.config.name, word(standing))
        }));
    }
    if reasons.is_empty() {
        (StatusCode::OK, Json(json!({ "status": "ready" })))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "not-ready", "reasons": reasons })))
    }
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Up => "up",
        Standing::Down => "down",
        Standing::Unknown => "not yet known",
    }
}

/// Entries with a share whose clients have nowhere to go. What is not known is not promised.
fn stranded(scene: &Scene) -> impl Iterator<Item = Entry> {
    let is_up = |entry: Entry| scene.standing[entry] == Standing::Up;
    Entry::BOTH.into_iter().filter(move |entry| {
        let has_clients = scene.split.share(*entry).basis_points() > 0;
        has_clients && !is_up(*entry) && !(is_up(entry.other()) && scene.may_fail_over_from(*entry))
    })
}
