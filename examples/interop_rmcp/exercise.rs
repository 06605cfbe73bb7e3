//! The features of the task's dialect, in as many sessions as it asks for, and the report.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use http::{HeaderName, HeaderValue};
use rmcp::transport::streamable_http_client::{StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse};
use serde_json::{Map, Value, json};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use crate::{
    Failure, Task,
    session::{CALL_TIMEOUT, NOTICE_TIMEOUT, Session},
    wire::{Wire, http_client},
};

/// Sessions are born over a whole cycle of the moving split rather than in one moment of it.
const BIRTH_INTERVAL: Duration = Duration::from_millis(250);
const DIALECTS: &str = include_str!("../../tests/interop/dialects.json");

#[derive(Default)]
struct Tally(Mutex<Map<String, Value>>);

impl Tally {
    async fn update(&self, feature: &str, change: impl FnOnce(&mut Value)) {
        let mut features = self.0.lock().await;
        let empty = || json!({"calls": 0, "failed": 0, "detail": [], "ids": {}});
        change(features.entry(feature).or_insert_with(empty));
    }

    async fn call(&self, feature: &str, session: usize, call: &str) {
        self.update(feature, |entry| {
            let ids = &mut entry["ids"][session.to_string()];
            match ids.as_array_mut() {
                Some(ids) => ids.push(call.into()),
                None => *ids = json!([call]),
            }
        })
        .await;
    }

    async fn outcome(&self, feature: &str, outcome: Result<(), String>) {
        self.update(feature, |entry| {
            entry["calls"] = json!(entry["calls"].as_u64().unwrap_or(0) + 1);
            if let (Err(error), Some(detail)) = (outcome, entry["detail"].as_array_mut()) {
                detail.push(error.into());
                entry["failed"] = json!(entry["failed"].as_u64().unwrap_or(0) + 1);
            }
        })
        .await;
    }
}

fn filled(step: &Value, call: &str) -> Map<String, Value> {
    let fill = |value: &Value| {
        if value == "$call" { call.into() } else { value.clone() }
    };
    step["arguments"].as_object().into_iter().flatten().map(|(key, value)| (key.clone(), fill(value))).collect()
}

async fn plain_call(session: &mut Session, tool: &str, step: &Value, spec: &Value, call: &str) -> Result<(), Failure> {
    let text = timeout(CALL_TIMEOUT, session.call(tool, filled(step, call), spec["cut"] == true)).await??;
    if let Some(expected) = spec["expect"].as_str()
        && !text.contains(&expected.replace("$call", call))
    {
        return Err(format!("unexpected answer: {text}").into());
    }
    if let Some(steps) = spec["progress"].as_u64() {
        session.progress(steps).await?;
    }
    if let Some(wanted) = spec["notice"].as_str() {
        session.notice(&wanted.replace("$call", call), NOTICE_TIMEOUT).await?;
    }
    Ok(())
}

async fn one_step(session: &mut Session, step: &Value, spec: &Value, call: &str) -> Result<(), Failure> {
    let tool = step["tool"].as_str().ok_or("a step without a tool")?;
    match step["act"].as_str() {
        // What was listed is called: only the version that listed it has a tool of that name.
        Some("listed") => {
            let names = session.tools().await?;
            let named: Vec<_> = names.iter().filter(|name| name.starts_with(tool)).collect();
            let [name] = named[..] else { return Err(format!("of {tool} there were {named:?}").into()) };
            plain_call(session, name, step, spec, call).await
        }
        Some("listen") => session.listen(step["events"].as_u64().unwrap_or(1), tool, filled(step, call)).await,
        Some("cancel") => session.cancelled(tool, filled(step, call)).await,
        _ => plain_call(session, tool, step, spec, call).await,
    }
}

struct Exercise {
    task: Task,
    features: Map<String, Value>,
    tally: Tally,
    versions: Mutex<Map<String, Value>>,
    answers: Arc<AtomicUsize>,
}

impl Exercise {
    async fn run_feature(&self, session: &mut Session, number: usize, feature: &str, spec: &Value) {
        for round in 0..spec["repeat"].as_u64().unwrap_or(1) {
            for (case, step) in spec["calls"].as_array().into_iter().flatten().enumerate() {
                let mut outcome = Ok(());
                for attempt in 0..spec["attempts"].as_u64().unwrap_or(1) {
                    let call = format!("{}-{feature}-{round}-{case}-{attempt}", self.task.key(number));
                    self.tally.call(feature, number, &call).await;
                    outcome = one_step(session, step, spec, &call).await.map_err(|error| format!("{call}: {error}"));
                    if outcome.is_ok() {
                        break;
                    }
                }
                self.tally.outcome(feature, outcome).await;
                sleep(Duration::from_millis(spec["pace_ms"].as_u64().unwrap_or(0))).await;
            }
        }
    }

    /// All features in one session, which is then ended; `left` names those not reached.
    async fn try_session(&self, client: reqwest::Client, number: usize, left: &mut Vec<&String>) -> Result<(), Failure> {
        let wire = Wire::new(client, self.answers.clone());
        let mut session = Session::open(&self.task, number, wire.clone()).await?;
        self.versions.lock().await.insert(number.to_string(), session.version.clone().into());
        while let Some(feature) = left.first().copied() {
            self.run_feature(&mut session, number, feature, &self.features[feature]).await;
            left.remove(0);
        }
        session.end().await?;
        if self.task.delete { self.must_be_gone(&wire).await } else { Ok(()) }
    }

    async fn must_be_gone(&self, wire: &Wire) -> Result<(), Failure> {
        let list = serde_json::from_value(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}))?;
        let version = [(HeaderName::from_static("mcp-protocol-version"), HeaderValue::from_static("2025-11-25"))];
        let session_id = wire.session_id.get().cloned();
        let answer = wire.post_message(self.task.url.as_str().into(), list, session_id, None, version.into()).await;
        match answer {
            Err(StreamableHttpError::SessionExpired) => Ok(()),
            // server-everything answers 400, which rmcp hands over as the JSON-RPC error in its body.
            Ok(StreamableHttpPostResponse::Json(message, _)) if serde_json::to_value(&message)?["error"].is_object() => Ok(()),
            other => Err(format!("after DELETE: {other:?}").into()),
        }
    }

    async fn run_session(&self, client: reqwest::Client, number: usize) {
        sleep(BIRTH_INTERVAL * number as u32).await;
        let mut left = self.features.keys().collect();
        let ended = self.try_session(client, number, &mut left).await;
        let ended = ended.map_err(|error| format!("session {number}: {error}"));
        for feature in left {
            self.tally.outcome(feature, ended.clone()).await;
        }
        if self.task.delete {
            self.tally.outcome("delete", ended).await;
        }
    }
}

/// Exercises the server and prints the report.
pub async fn run(task: Task) -> Result<(), Failure> {
    let dialects: Value = serde_json::from_str(DIALECTS)?;
    let dialect = &dialects[&task.dialect];
    let features = dialect[&task.server].as_object().or(dialect["ours"].as_object()).cloned().unwrap_or_default();
    let client = http_client(&task)?;
    let (tally, versions, answers) = Default::default();
    let exercise = Exercise { task, features, tally, versions, answers };
    join_all((0..exercise.task.sessions).map(|session| exercise.run_session(client.clone(), session))).await;
    let http = if exercise.task.http == "1.1" { "HTTP/1.1" } else { "HTTP/2" };
    let report = json!({
        "client": "rmcp",
        "server": exercise.task.server,
        "features": exercise.tally.0.into_inner(),
        "versions": exercise.versions.into_inner(),
        "wire": {http: exercise.answers.load(Ordering::Relaxed)},
    });
    println!("{report}");
    Ok(())
}
