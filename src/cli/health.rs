//! `health-check`: asks the endpoints itself, so that the answer is what this machine meets now and
//! not what dualgate met a while ago.

use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::answers::{EndpointState, Service, Services};
use super::args::{Common, HealthArgs};
use super::client::{Admin, POLL};
use super::failure::{Exit, Failure};
use super::print::{left, put, right, say, table};
use super::status::fetch;
use crate::config::{Config, Health};
use crate::domain::Entry;
use crate::domain::machine::EndpointSpec;
use crate::tls::Connector;
use crate::upstream::Endpoint;
use crate::upstream::probe::{Finding, Prober};

/// What a check came to: whether all is well, data for stdout, words for stderr.
struct Verdict {
    passed: bool,
    /// Whether another look may find something else.
    may_pass: bool,
    data: String,
    talk: Option<String>,
}

/// `health-check`. Of checks that are repeated, only the last is shown.
pub(super) async fn health_check(args: &HealthArgs) -> Result<Exit, Failure> {
    let deadline = Instant::now() + args.common.timeout();
    let verdict = loop {
        let verdict = if args.own { own(&args.common).await? } else { endpoints(args).await? };
        if verdict.passed || !verdict.may_pass || !args.common.wait || Instant::now() + POLL >= deadline {
            break verdict;
        }
        sleep(POLL).await;
    };
    put(&verdict.data)?;
    if let Some(talk) = verdict.talk {
        say(&talk);
    }
    Ok(if verdict.passed { Exit::Done } else { Exit::Unhealthy })
}

/// Whether dualgate is ready. Whatever is wrong with it, an orchestrator gets the one answer.
async fn own(common: &Common) -> Result<Verdict, Failure> {
    let failure = Admin::without_token(common)?.ready().await.err();
    // Not there yet, not ready yet, slow: waiting may mend that, and no other mistake.
    let may_pass =
        failure.as_ref().is_some_and(|failure| failure.may_pass || matches!(failure.exit, Exit::Unexpected | Exit::TimedOut));
    let talk = failure.map(|failure| format!("not ready: {failure}"));
    Ok(Verdict { passed: talk.is_none(), may_pass, data: String::new(), talk })
}

async fn endpoints(args: &HealthArgs) -> Result<Verdict, Failure> {
    let admin = Admin::new(&args.common)?;
    let services: Services = fetch(&admin, args.common.service()).await?.read()?;
    let rows = check_all(&services.services, args).await?;
    let passed = rows.iter().all(|row| row.finding.success);
    let data = if args.common.json() { json_of(&rows, passed) } else { page(&rows) };
    Ok(Verdict { passed, may_pass: true, data, talk: None })
}

/// One endpoint and what was found there.
struct Row {
    service: String,
    entry: Entry,
    version: String,
    endpoint: String,
    url: String,
    place: String,
    finding: Finding,
}

/// Checks every endpoint at the same time: the slowest sets how long it takes, not their number.
async fn check_all(services: &[Service], args: &HealthArgs) -> Result<Vec<Row>, Failure> {
    let mut checks = JoinSet::new();
    for service in services {
        let health = service.health.with_timeout(args.common.timeout()).ok_or_else(|| {
            Failure::new(
                Exit::Unexpected,
                format!("{} has a health check of a kind not known here: {}", service.name, service.health.kind),
            )
        })?;
        let connector = Connector::new(service.name.clone(), &service.tls.settings());
        for (entry, state) in service.entries.iter().filter(|(entry, _)| args.entry.is_none_or(|wanted| wanted == *entry)) {
            // What is leaving takes no new clients, and may be stopped at any time.
            for endpoint in state.endpoints.iter().filter(|endpoint| !endpoint.leaving) {
                let (at, row) = (checks.len(), row(service, entry, &state.version, endpoint));
                let spec = EndpointSpec { address: endpoint.address, ..EndpointSpec::new(&endpoint.name, &endpoint.url) };
                let (health, connector) = (health.clone(), connector.clone());
                checks.spawn(async move { (at, Row { finding: check(&spec, &connector, health).await, ..row }) });
            }
        }
    }
    let mut rows = checks.join_all().await;
    rows.sort_by_key(|(at, _)| *at);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn row(service: &Service, entry: Entry, version: &str, endpoint: &EndpointState) -> Row {
    Row {
        service: service.name.clone(),
        entry,
        version: version.to_owned(),
        endpoint: endpoint.name.clone(),
        url: endpoint.url.clone(),
        place: endpoint.place(),
        finding: Finding::default(),
    }
}

/// `check --probe`: asks every endpoint of a configuration that need not run anywhere.
pub(super) async fn probe(config: &Config, json: bool) -> Result<Exit, Failure> {
    let mut checks = JoinSet::new();
    for service in &config.services {
        let connector = Connector::new(service.name.clone(), &service.tls);
        for (entry, wanted) in service.rules.entries.iter() {
            for spec in &wanted.endpoints {
                let row = Row {
                    service: service.name.clone(),
                    entry,
                    version: wanted.version.clone(),
                    endpoint: spec.name.clone(),
                    url: spec.url.clone(),
                    place: spec.url.clone(),
                    finding: Finding::default(),
                };
                let (at, spec, health, connector) = (checks.len(), spec.clone(), service.health.clone(), connector.clone());
                checks.spawn(async move { (at, Row { finding: check(&spec, &connector, health).await, ..row }) });
            }
        }
    }
    let mut rows = checks.join_all().await;
    rows.sort_by_key(|(at, _)| *at);
    let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
    let passed = rows.iter().all(|row| row.finding.success);
    put(&if json { json_of(&rows, passed) } else { page(&rows) })?;
    Ok(if passed { Exit::Done } else { Exit::Unhealthy })
}

async fn check(spec: &EndpointSpec, connector: &Arc<Connector>, health: Health) -> Finding {
    match Endpoint::new(spec, connector) {
        Ok(endpoint) => Prober::new(endpoint, health).check().await,
        Err(detail) => Finding { detail, ..Finding::default() },
    }
}

fn page(rows: &[Row]) -> String {
    let columns =
        [left("SERVICE"), left("ENTRY"), left("VERSION"), left("ENDPOINT"), left("RESULT"), right("TIME"), left("DETAIL")];
    let cells = |row: &Row| {
        let result = if row.finding.success { "pass" } else { "FAIL" };
        vec![
            row.service.clone(),
            row.entry.to_string(),
            row.version.clone(),
            row.place.clone(),
            result.to_owned(),
            format!("{:.1} ms", milliseconds(row)),
            row.finding.detail.clone(),
        ]
    };
    table(&columns, &rows.iter().map(cells).collect::<Vec<_>>())
}

fn json_of(rows: &[Row], healthy: bool) -> String {
    let one = |row: &Row| {
        json!({
            "service": row.service, "entry": row.entry, "version": row.version, "endpoint": row.endpoint, "url": row.url,
            "success": row.finding.success, "detail": row.finding.detail, "took_ms": milliseconds(row),
        })
    };
    format!("{}\n", json!({ "healthy": healthy, "checks": rows.iter().map(one).collect::<Vec<_>>() }))
}

fn milliseconds(row: &Row) -> f64 {
    (row.finding.took.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn found(success: bool, detail: &str, took: u64) -> Row {
        Row {
            service: "notes".into(),
            entry: Entry::Secondary,
            version: "2".into(),
            endpoint: "a".into(),
            url: "http://127.0.0.1:3001".into(),
            place: "http://127.0.0.1:3001".into(),
            finding: Finding { success, detail: detail.into(), took: Duration::from_micros(took), ..Finding::default() },
        }
    }

    #[test]
    fn each_endpoint_has_a_row_with_its_time_and_detail() {
        let rows = [found(true, "notes 2", 3_210), found(false, "Connection refused", 12_040)];
        let expected = "  \
  SERVICE  ENTRY      VERSION  ENDPOINT               RESULT     TIME  DETAIL
  notes    secondary  2        http://127.0.0.1:3001  pass     3.2 ms  notes 2
  notes    secondary  2        http://127.0.0.1:3001  FAIL    12.0 ms  Connection refused
";
        assert_eq!(page(&rows), expected);
        let json: serde_json::Value = serde_json::from_str(&json_of(&rows, false)).unwrap();
        assert_eq!((&json["healthy"], &json["checks"][0]["took_ms"]), (&json!(false), &json!(3.2)));
    }
}
