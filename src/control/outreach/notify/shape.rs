//! A notice in the form of each kind of sink.

use serde_json::{Value, json};

use super::Parcel;
use crate::config::SinkKind;
use crate::domain::{Notice, Occasion, Severity};

/// Block Kit: lengths of a header, of a section's text, and of a field; and fields of a section.
const SLACK_HEADER: usize = 150;
const SLACK_TEXT: usize = 3000;
const SLACK_FIELD: usize = 2000;
const SLACK_FIELDS: usize = 10;

/// Events API v2: lengths of a summary and of a key.
const PAGERDUTY_SUMMARY: usize = 1024;
const PAGERDUTY_KEY: usize = 255;

/// The key of incidents that are opened to see whether that works.
const PAGERDUTY_TEST: &str = "dualgate/test";

/// The body that a sink is sent. `key`: the routing key of PagerDuty.
pub(super) fn body(kind: &SinkKind, parcel: &Parcel, key: &str) -> Value {
    match kind {
        SinkKind::Generic { .. } => generic(parcel),
        SinkKind::Slack => slack(&parcel.notice),
        SinkKind::PagerDuty { .. } => pagerduty(&parcel.notice, key),
    }
}

/// What closes the incident of a test again.
pub(super) fn test_is_over(key: &str) -> Value {
    json!({ "routing_key": key, "event_action": "resolve", "dedup_key": PAGERDUTY_TEST })
}

/// Whether a kind of sink has a form for it: PagerDuty keeps what is open, and is not told what is merely so.
pub(super) fn has_form(kind: &SinkKind, notice: &Notice) -> bool {
    let is_open = notice.severity > Severity::Info || notice.occasion.settles() || notice.occasion == Occasion::Test;
    is_open || !matches!(kind, SinkKind::PagerDuty { .. })
}

fn generic(parcel: &Parcel) -> Value {
    let mut body = json!(*parcel.notice);
    body["id"] = json!(parcel.id);
    body
}

/// An incoming webhook takes `text` for where blocks are not shown, and blocks.
fn slack(notice: &Notice) -> Value {
    let mark = match notice.severity {
        Severity::Info => "ℹ️",
        Severity::Warning => "⚠️",
        Severity::Critical => "🚨",
    };
    let title = format!("{mark} {}", notice.title);
    let mut blocks = vec![json!({ "type": "header", "text": { "type": "plain_text", "text": cut(&title, SLACK_HEADER) } })];
    if !notice.detail.is_empty() {
        let text = cut(&escaped(&notice.detail), SLACK_TEXT);
        blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } }));
    }
    let fields: Vec<Value> = notice
        .fields
        .iter()
        .take(SLACK_FIELDS)
        .map(|(name, value)| {
            let text = format!("*{}*\n{}", escaped(name), escaped(value));
            json!({ "type": "mrkdwn", "text": cut(&text, SLACK_FIELD) })
        })
        .collect();
    if !fields.is_empty() {
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    let rollout = notice.rollout.as_ref().map(|rollout| format!("rollout {rollout}"));
    let parts = [Some(notice.service.clone()).filter(|name| !name.is_empty()), rollout, Some(notice.occasion.to_string())];
    let parts: Vec<String> =
        parts.into_iter().flatten().chain([format!("revision {}", notice.revision), notice.time.clone()]).collect();
    let context = cut(&escaped(&parts.join(" · ")), SLACK_FIELD);
    blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": context }] }));
    json!({ "text": cut(&escaped(&title), SLACK_TEXT), "blocks": blocks })
}

fn pagerduty(notice: &Notice, key: &str) -> Value {
    let dedup = match (&notice.rollout, notice.occasion) {
        (_, Occasion::Test) => PAGERDUTY_TEST.to_owned(),
        (Some(rollout), _) => format!("dualgate/{}/{rollout}", notice.service),
        (None, _) => format!("dualgate/{}", notice.service),
    };
    let dedup = cut(&dedup, PAGERDUTY_KEY);
    if notice.occasion.settles() {
        return json!({ "routing_key": key, "event_action": "resolve", "dedup_key": dedup });
    }
    let mut details = json!({ "detail": notice.detail, "revision": notice.revision, "rollout": notice.rollout });
    notice.fields.iter().for_each(|(name, value)| details[name] = json!(value));
    let service = if notice.service.is_empty() { "dualgate" } else { &notice.service };
    json!({
        "routing_key": key,
        "event_action": "trigger",
        "dedup_key": dedup,
        "client": "dualgate",
        "payload": {
            "summary": cut(&notice.title, PAGERDUTY_SUMMARY),
            "source": service,
            "severity": notice.severity,
            "timestamp": notice.time,
            "component": service,
            "class": notice.occasion,
            "custom_details": details,
        },
    })
}

/// The three characters that mean something in Slack's text.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn cut(text: &str, most: usize) -> String {
    match text.chars().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::notice;
    use super::*;

    fn pager() -> SinkKind {
        SinkKind::PagerDuty { routing_key_file: "key".into() }
    }

    fn shaped(kind: &SinkKind, notice: Notice) -> Value {
        body(kind, &Parcel { id: "d1".to_owned(), notice: notice.into(), since: tokio::time::Instant::now() }, "R0")
    }

    #[test]
    fn the_generic_form_is_the_notice_and_its_id() {
        let body = shaped(&SinkKind::Generic { secret_file: None }, notice(Occasion::Rollback));
        assert_eq!((&body["id"], &body["event"], &body["severity"]), (&json!("d1"), &json!("rollback"), &json!("critical")));
        assert_eq!(body["fields"], json!({ "tool": "search", "rate": "12 %" }));
    }

    #[test]
    fn pagerduty_opens_and_resolves_one_incident_per_rollout() {
        let opened = shaped(&pager(), notice(Occasion::Rollback));
        assert_eq!((&opened["event_action"], &opened["routing_key"]), (&json!("trigger"), &json!("R0")));
        assert_eq!(opened["payload"]["severity"], "critical");
        assert_eq!(opened["payload"]["custom_details"]["tool"], "search");
        let resolved = shaped(&pager(), Notice { severity: Severity::Info, ..notice(Occasion::Done) });
        assert_eq!((&resolved["event_action"], &resolved["dedup_key"]), (&json!("resolve"), &opened["dedup_key"]));
        let quiet = Notice { severity: Severity::Info, ..notice(Occasion::Step) };
        assert!(!has_form(&pager(), &quiet) && has_form(&SinkKind::Slack, &quiet));
    }

    #[test]
    fn slack_gets_no_markup_of_others_and_no_more_than_it_takes() {
        let long = Notice {
            title: "t".repeat(400),
            detail: "<!channel> & more".to_owned(),
            fields: (0..12).map(|n| (format!("f{n}"), "v".repeat(3000))).collect(),
            ..notice(Occasion::Frozen)
        };
        let body = shaped(&SinkKind::Slack, long);
        let blocks = body["blocks"].as_array().unwrap();
        assert_eq!(blocks[0]["text"]["text"].as_str().unwrap().chars().count(), 150);
        assert_eq!(blocks[1]["text"]["text"], "&lt;!channel&gt; &amp; more");
        let fields = blocks[2]["fields"].as_array().unwrap();
        assert_eq!((fields.len(), fields[0]["text"].as_str().unwrap().chars().count()), (10, 2000));
        assert!(blocks[3]["elements"][0]["text"].as_str().unwrap().starts_with("notes · rollout r-1 · frozen · revision 7 · "));
    }
}
