//! Is it alive, and should it get traffic.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Office;
use crate::domain::{Entry, Standing};

/// The process answers.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Ready when every service has an entry that can take clients, and the process is not leaving.
pub(super) async fn ready(State(office): State<Arc<Office>>) -> (StatusCode, Json<Value>) {
    let mut reasons = Vec::new();
    if *office.leaving.borrow() {
        reasons.push("dualgate is stopping".to_owned());
    }
    for service in &office.reader.current().services {
        let name = &service.config.name;
        let standing = Entry::BOTH.map(|entry| service.scene.standing[entry]);
        if service.starting && !standing.contains(&Standing::Up) {
            reasons.push(format!("{name}: the first checks are not in yet"));
        } else if standing == [Standing::Down; 2] {
            reasons.push(format!("{name}: both entries are down"));
        }
    }
    if reasons.is_empty() {
        (StatusCode::OK, Json(json!({ "status": "ready" })))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "not-ready", "reasons": reasons })))
    }
}
