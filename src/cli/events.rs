//! `events`: what happens.

use std::time::Duration;

use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Map, Value};
use tokio::time::sleep;

use super::args::{Common, EventsArgs};
use super::client::{Admin, POLL};
use super::failure::{Exit, Failure};
use super::print::{Audience, put, say};
use super::sse::{Event, Reader};

/// From a drop to the next try, where the server does not wish otherwise.
const RETRY: Duration = Duration::from_secs(1);

/// `events`: follows until interrupted, or until nobody reads on.
pub(super) async fn events(args: &EventsArgs) -> Result<Exit, Failure> {
    let admin = Admin::new(&args.common)?;
    let mut reader = Reader::default();
    let mut stream = open_first(&admin, &args.common).await?;
    loop {
        if follow(stream, &mut reader, &args.common).await? == Audience::Gone {
            return Ok(Exit::Done);
        }
        say("the event stream ended; going on when dualgate is back");
        reader = reader.again();
        stream = reopen(&admin, &reader).await?;
    }
}

/// What is wrong at the start is most likely wrong for good, and is said; with `--wait` a dualgate
/// that is not there yet is waited for.
async fn open_first(admin: &Admin, common: &Common) -> Result<Response<Incoming>, Failure> {
    let deadline = tokio::time::Instant::now() + common.timeout();
    loop {
        match admin.events(None).await {
            Err(failure) if common.wait && failure.may_pass && tokio::time::Instant::now() < deadline => sleep(POLL).await,
            answer => return answer,
        }
    }
}

/// Once it has worked, a dualgate that is away is restarting; only what waiting does not mend ends this.
async fn reopen(admin: &Admin, reader: &Reader) -> Result<Response<Incoming>, Failure> {
    loop {
        sleep(reader.retry.unwrap_or(RETRY)).await;
        match admin.events(reader.last_id.as_deref()).await {
            Err(failure) if matches!(failure.exit, Exit::Unreachable | Exit::TimedOut | Exit::Unexpected) => {}
            answer => return answer,
        }
    }
}

/// Prints events until the stream ends or the reader of stdout has gone.
async fn follow(stream: Response<Incoming>, reader: &mut Reader, common: &Common) -> Result<Audience, Failure> {
    let mut body = stream.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        let Some(bytes) = frame.data_ref() else { continue };
        for event in reader.feed(bytes) {
            if let Some(line) = event_line(&event, common)
                && put(&line)? == Audience::Gone
            {
                return Ok(Audience::Gone);
            }
        }
    }
    Ok(Audience::There)
}

/// One line; nothing for an event of another service than the one asked for.
fn event_line(event: &Event, common: &Common) -> Option<String> {
    let Ok(Value::Object(mut data)) = serde_json::from_str(&event.data) else {
        // Not what was agreed, but better seen than dropped.
        return Some(format!("{}\n", event.data.replace('\n', " ")));
    };
    if !concerns(&data, common.service()) {
        return None;
    }
    if common.json() {
        return Some(format!("{}\n", event.data.replace('\n', " ")));
    }
    if !event.kind.is_empty() {
        data.entry("type").or_insert_with(|| event.kind.clone().into());
    }
    Some(line_of(&data))
}

/// What names no service concerns all of them.
pub(super) fn concerns(data: &Map<String, Value>, service: Option<&str>) -> bool {
    match (service, data.get("service").and_then(Value::as_str)) {
        (Some(wanted), Some(named)) => wanted == named,
        _ => true,
    }
}

/// When, where and what, then the rest as `key=value`.
pub(super) fn line_of(data: &Map<String, Value>) -> String {
    const FIRST: [&str; 4] = ["time", "service", "type", "actor"];
    let first = FIRST.iter().filter_map(|key| data.get(*key)).filter(|value| !value.is_null()).map(word);
    let rest = data.iter().filter(|(key, value)| !FIRST.contains(&key.as_str()) && !value.is_null());
    let words: Vec<String> = first.chain(rest.map(|(key, value)| format!("{key}={}", word(value)))).collect();
    format!("{}\n", words.join("  "))
}

/// A value in a form that ends where it seems to end.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '"') => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::common;
    use super::*;

    const DATA: &str = r#"{"time":"2026-11-21T00:00:00.000Z","service":"notes","actor":"cli","reason":"too slow","before":"90:10","after":"100:0","revision":8,"none":null}"#;

    #[test]
    fn an_event_is_one_line_for_people_and_the_document_for_programs() {
        let event = Event { kind: "rollback".into(), data: DATA.into() };
        let line = event_line(&event, &common(&[])).unwrap();
        assert!(line.starts_with("2026-11-21T00:00:00.000Z  notes  rollback  cli  "), "{line}");
        assert!(line.contains("reason=\"too slow\"") && line.contains("after=100:0") && !line.contains("none"), "{line}");
        assert_eq!(event_line(&event, &common(&["-o", "json"])), Some(format!("{DATA}\n")));
        assert_eq!(event_line(&event, &common(&["--service", "tasks"])), None);
        assert!(event_line(&event, &common(&["--service", "notes"])).is_some());
    }
}
