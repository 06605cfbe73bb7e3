//! Signals as they are written: a generic form, and Alertmanager's webhook.
//!
//! Alertmanager's payload is that of its documentation (Prometheus, alerting/configuration, `webhook_config`): version
//! "4", with a group of alerts. One that fires counts, one that is resolved says nothing: what was rolled back stays
//! rolled back. Labels `dualgate_service` and `dualgate_entry` say what is meant where a group has alerts of several.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::client::brief;
use crate::domain::{Entry, Severity, Signal};

/// A payload is no longer than that.
const MOST_PAYLOAD: usize = 1 << 20;

/// Alerts of one payload (`max_alerts` of Alertmanager limits them).
const MOST_ALERTS: usize = 1000;

/// What is right, for who sends something else.
const EXPECTED: &str = r#"like {"severity": "critical", "source": "checkout", "summary": "orders have stopped"} (severity critical, warning or info; entry, if any, primary or secondary), or Alertmanager's webhook, version "4""#;

/// What a payload says about a service: of each entry that is meant, and of those that name none, the worst.
pub fn parse(payload: &[u8], service: &str) -> Result<Vec<Signal>, String> {
    if payload.len() > MOST_PAYLOAD {
        return Err(format!("the payload has {} bytes: at most {MOST_PAYLOAD}", payload.len()));
    }
    let wrong = |what: String| format!("{what}; {EXPECTED}");
    let document: Value = serde_json::from_slice(payload).map_err(|error| wrong(format!("not JSON: {error}")))?;
    if !document.is_object() {
        return Err(wrong("a signal is an object".to_owned()));
    }
    if document.get("alerts").is_none() {
        return Generic::deserialize(document)
            .map_err(|error| wrong(error.to_string()))?
            .signal()
            .map(|one| vec![one])
            .map_err(wrong);
    }
    if document["version"] != "4" {
        let version = brief(&document["version"].to_string());
        return Err(wrong(format!("`alerts` with version {version}: of Alertmanager's webhook, version \"4\" is understood")));
    }
    let group = Group::deserialize(document).map_err(|error| wrong(format!("Alertmanager's webhook: {error}")))?;
    group.signals(service)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generic {
    severity: String,
    source: String,
    summary: String,
    entry: Option<String>,
}

impl Generic {
    fn signal(self) -> Result<Signal, String> {
        let known = Severity::ALL.into_iter().find(|severity| severity.as_str() == self.severity);
        let severity = known.ok_or_else(|| format!("`{}` is not a severity", brief(&self.severity)))?;
        let (source, summary) = (brief(&self.source), brief(&self.summary));
        if source.is_empty() || summary.is_empty() {
            return Err("source and summary must say something".to_owned());
        }
        Ok(Signal { severity, source, summary, entry: self.entry.as_deref().map(entry).transpose()? })
    }
}

/// A group of alerts. Whatever else Alertmanager sends is passed over: later versions of it have more.
#[derive(Deserialize)]
struct Group {
    alerts: Vec<Alert>,
    #[serde(default, rename = "commonLabels")]
    labels: Texts,
    #[serde(default, rename = "commonAnnotations")]
    annotations: Texts,
    #[serde(default)]
    receiver: String,
}

type Texts = BTreeMap<String, String>;

#[derive(Deserialize)]
struct Alert {
    status: String,
    #[serde(default)]
    labels: Texts,
    #[serde(default)]
    annotations: Texts,
}

impl Group {
    /// The worst of each entry that is meant, and of those that name none.
    fn signals(&self, service: &str) -> Result<Vec<Signal>, String> {
        if self.alerts.len() > MOST_ALERTS {
            return Err(format!("{} alerts: at most {MOST_ALERTS} (max_alerts of webhook_config)", self.alerts.len()));
        }
        let (mut worst, mut wrong) = (Vec::<Signal>::new(), Vec::new());
        for alert in self.alerts.iter().filter(|alert| alert.status == "firing") {
            if self.label(alert, "dualgate_service").is_some_and(|meant| meant != service) {
                continue;
            }
            let signal = match self.one(alert) {
                Ok(signal) => signal,
                // One label that is wrong must not cost what the others say.
                Err(what) => {
                    wrong.push(what);
                    continue;
                }
            };
            match worst.iter_mut().find(|known| known.entry == signal.entry) {
                Some(known) if known.severity < signal.severity => *known = signal,
                Some(_) => {}
                None => worst.push(signal),
            }
        }
        if worst.is_empty() && !wrong.is_empty() { Err(wrong.join("; ")) } else { Ok(worst) }
    }

    fn one(&self, alert: &Alert) -> Result<Signal, String> {
        let name = self.label(alert, "alertname").unwrap_or("an alert");
        // Nothing is rolled back by a word that nobody has agreed on.
        let severity = match self.label(alert, "severity").map(str::to_ascii_lowercase).as_deref() {
            Some("critical") => Severity::Critical,
            Some("info" | "none") => Severity::Info,
            _ => Severity::Warning,
        };
        let said = ["summary", "description", "message"]
            .into_iter()
            .find_map(|key| alert.annotations.get(key).or_else(|| self.annotations.get(key)))
            .map_or(name, String::as_str);
        let entry = self.label(alert, "dualgate_entry").map(entry).transpose();
        let receiver = if self.receiver.is_empty() { "" } else { " by " };
        Ok(Signal {
            severity,
            source: brief(&format!("alertmanager{receiver}{}: {name}", self.receiver)),
            summary: brief(said),
            entry: entry.map_err(|error| format!("label dualgate_entry of {}: {error}", brief(name)))?,
        })
    }

    fn label<'a>(&'a self, alert: &'a Alert, name: &str) -> Option<&'a str> {
        alert.labels.get(name).or_else(|| self.labels.get(name)).map(String::as_str)
    }
}

fn entry(word: &str) -> Result<Entry, String> {
    brief(word).parse()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As Alertmanager 0.27 posts it.
    fn group(alerts: &Value) -> Vec<u8> {
        json!({
            "receiver": "dualgate",
            "status": "firing",
            "alerts": alerts,
            "groupLabels": { "alertname": "CheckoutErrors" },
            "commonLabels": { "alertname": "CheckoutErrors", "team": "shop" },
            "commonAnnotations": { "runbook_url": "https://runbooks.example.com/checkout" },
            "externalURL": "http://alertmanager.example.com:9093",
            "version": "4",
            "groupKey": "{}:{alertname=\"CheckoutErrors\"}",
            "truncatedAlerts": 0
        })
        .to_string()
        .into_bytes()
    }

    fn alert(status: &str, labels: &Value, summary: &str) -> Value {
        json!({
            "status": status,
            "labels": labels,
            "annotations": { "summary": summary },
            "startsAt": "2026-01-12T09:14:03.171Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example.com:9090/graph?g0.expr=x",
            "fingerprint": "6bd1d2f1b7cf8a4e"
        })
    }

    fn signal(payload: &[u8]) -> Option<Signal> {
        parse(payload, "notes").unwrap().into_iter().next()
    }

    #[test]
    fn of_each_entry_the_worst_is_heard_and_a_wrong_label_costs_its_own_alert_alone() {
        let alerts = json!([
            alert("firing", &json!({ "severity": "critical", "dualgate_entry": "primary" }), "disk"),
            alert("firing", &json!({ "severity": "critical", "dualgate_entry": "Canary" }), "who?"),
            alert("firing", &json!({ "severity": "critical", "dualgate_entry": "secondary" }), "errors"),
        ]);
        let heard = parse(&group(&alerts), "notes").unwrap();
        let said: Vec<_> = heard.iter().map(|one| (one.entry, one.summary.as_str())).collect();
        assert_eq!(said, [(Some(Entry::Primary), "disk"), (Some(Entry::Secondary), "errors")]);
        let wrong = json!([alert("firing", &json!({ "severity": "critical", "dualgate_entry": "Canary" }), "who?")]);
        assert!(parse(&group(&wrong), "notes").unwrap_err().contains("`Canary` is not an entry"));
    }

    #[test]
    fn the_worst_alert_that_fires_is_the_signal() {
        let alerts = json!([
            alert("resolved", &json!({ "severity": "critical" }), "gone by"),
            alert("firing", &json!({ "severity": "warning", "dualgate_entry": "secondary" }), "slow"),
            alert("firing", &json!({ "severity": "critical", "dualgate_entry": "secondary" }), "checkout errors at 12 %"),
            alert("firing", &json!({ "severity": "critical" }), "later"),
        ]);
        let expected = Signal {
            severity: Severity::Critical,
            source: "alertmanager by dualgate: CheckoutErrors".to_owned(),
            summary: "checkout errors at 12 %".to_owned(),
            entry: Some(Entry::Secondary),
        };
        assert_eq!(signal(&group(&alerts)), Some(expected));
    }

    #[test]
    fn what_is_resolved_says_nothing() {
        assert_eq!(signal(&group(&json!([alert("resolved", &json!({ "severity": "critical" }), "x")]))), None);
        assert_eq!(signal(&group(&json!([]))), None);
    }

    #[test]
    fn an_alert_of_another_service_is_not_meant() {
        let of = |service: &str| json!([alert("firing", &json!({ "severity": "critical", "dualgate_service": service }), "x")]);
        assert_eq!(signal(&group(&of("tasks"))), None);
        assert!(signal(&group(&of("notes"))).is_some());
    }

    #[test]
    fn a_severity_that_nobody_has_agreed_on_rolls_nothing_back() {
        for (labels, expected) in [
            (json!({}), Severity::Warning),
            (json!({ "severity": "page" }), Severity::Warning),
            (json!({ "severity": "Critical" }), Severity::Critical),
            (json!({ "severity": "none" }), Severity::Info),
        ] {
            assert_eq!(signal(&group(&json!([alert("firing", &labels, "x")]))).unwrap().severity, expected, "{labels}");
        }
    }

    #[test]
    fn the_generic_form_says_all_of_it() {
        let payload = br#"{"severity":"critical","source":"till","summary":"no orders\nfor 5 min","entry":"primary"}"#;
        let expected = Signal {
            severity: Severity::Critical,
            source: "till".to_owned(),
            summary: "no orders for 5 min".to_owned(),
            entry: Some(Entry::Primary),
        };
        assert_eq!(signal(payload), Some(expected));
        let long = json!({ "severity": "info", "source": "s", "summary": "x".repeat(10_000) }).to_string();
        assert_eq!(signal(long.as_bytes()).unwrap().summary.chars().count(), 201);
    }

    #[test]
    fn what_is_no_signal_is_answered_with_what_one_looks_like() {
        let group_of = |version: &str| format!("{{\"version\":{version},\"alerts\":[]}}");
        let cases = [
            ("x".to_owned(), "not JSON"),
            ("[]".to_owned(), "a signal is an object"),
            ("{}".to_owned(), "missing field `severity`"),
            (r#"{"severity":"high","source":"s","summary":"x"}"#.to_owned(), "`high` is not a severity"),
            (r#"{"severity":"info","source":"s","summary":" "}"#.to_owned(), "must say something"),
            (r#"{"severity":"info","source":"s","summary":"x","entry":"third"}"#.to_owned(), "`third` is not an entry"),
            (r#"{"severity":"info","source":"s","summary":"x","sumary":"x"}"#.to_owned(), "unknown field `sumary`"),
            (group_of("\"5\""), "version \"4\" is understood"),
            (r#"{"version":"4","alerts":{}}"#.to_owned(), "Alertmanager's webhook: invalid type"),
        ];
        for (payload, expected) in cases {
            let error = parse(payload.as_bytes(), "notes").unwrap_err();
            assert!(error.contains(expected) && error.contains(r#"like {"severity""#), "{payload}: {error}");
        }
    }

    #[test]
    fn size_is_bounded_before_anything_is_built() {
        let many: Vec<Value> = (0..1001).map(|_| alert("firing", &json!({}), "")).collect();
        assert!(parse(&group(&json!(many)), "notes").unwrap_err().contains("max_alerts"));
        assert!(parse(&vec![b' '; MOST_PAYLOAD + 1], "notes").unwrap_err().contains("at most"));
    }
}
