//! `status`: one look at the services.

use serde_json::value::RawValue;

use super::answers::{EndpointState, EntryState, Pair, Requests, RolloutInShort, Service, Services};
use super::args::StatusArgs;
use super::client::{Admin, Answer, segment};
use super::failure::{Exit, Failure};
use super::print::{self, left, right, table};
use crate::domain::Entry;

/// `status`.
pub(super) async fn status(args: &StatusArgs) -> Result<Exit, Failure> {
    let admin = Admin::new(&args.common)?;
    let answer = fetch(&admin, args.common.service()).await?;
    let services: Services = answer.read()?;
    if args.common.json() {
        print::put(&answer.line())?;
    } else {
        print::put(&page(&services.services))?;
    }
    Ok(Exit::Done)
}

/// All services, or the one that is named, in the same shape either way.
pub(super) async fn fetch(admin: &Admin, service: Option<&str>) -> Result<Answer, Failure> {
    let Some(name) = service else { return admin.get("/v1/services").await };
    let answer = admin.get(&format!("/v1/services/{}", segment(name))).await?;
    let one: Box<RawValue> = answer.read()?;
    Ok(answer.with_text(format!("{{\"services\":[{one}]}}")))
}

/// The named service, or the only one there is: what a change is about is never guessed.
pub(super) async fn the_service(admin: &Admin, named: Option<&str>) -> Result<String, Failure> {
    if let Some(name) = named {
        return Ok(name.to_owned());
    }
    let services: Services = fetch(admin, None).await?.read()?;
    let mut names = services.services.into_iter().map(|service| service.name);
    match (names.next(), names.next()) {
        (Some(only), None) => Ok(only),
        (Some(one), Some(two)) => {
            let all: Vec<String> = [one, two].into_iter().chain(names).collect();
            let error =
                format!("there are several services, and none was named: {} (--service, DUALGATE_SERVICE)", all.join(", "));
            Err(Failure::new(Exit::Usage, error))
        }
        _ => Err(Failure::new(Exit::NotFound, "dualgate has no service")),
    }
}

fn page(services: &[Service]) -> String {
    services.iter().map(paragraph).collect::<Vec<_>>().join("\n")
}

fn paragraph(service: &Service) -> String {
    let mut out = header(service);
    let columns = [
        left("ENTRY"),
        left("VERSION"),
        right("SHARE"),
        left("STANDING"),
        right("SESSIONS"),
        right("STREAMS"),
        right("OK"),
        left("FAULTS"),
        left("ENDPOINTS"),
    ];
    let rows: Vec<Vec<String>> = service.entries.iter().map(|(entry, state)| row(entry, state)).collect();
    out.push_str(&table(&columns, &rows));
    for note in notes(service) {
        out.push_str(&format!("  {note}\n"));
    }
    out
}

fn header(service: &Service) -> String {
    let mut parts = vec![format!("revision {}", service.revision), format!("stable {}", service.stable)];
    parts.push(if service.durable { "durable".to_owned() } else { "NOT DURABLE".to_owned() });
    if service.authority == "config" {
        parts.push("authority config".to_owned());
    }
    if service.starting {
        parts.push("starting".to_owned());
    }
    let achieved = &service.split.achieved;
    let units = [
        ("births", achieved.births),
        ("requests", achieved.requests),
        ("sessions", achieved.sessions),
        ("streams", achieved.streams),
    ];
    let known: Vec<String> =
        units.iter().filter_map(|(unit, pair)| pair.map(|pair: Pair| format!("{unit} {}", pair.rounded()))).collect();
    let achieved = if known.is_empty() { "nothing yet".to_owned() } else { known.join(", ") };
    format!("{}: {}\n  split {}, achieved: {achieved}\n", service.name, parts.join(", "), service.split.target.text())
}

fn row(entry: Entry, state: &EntryState) -> Vec<String> {
    let endpoints: Vec<String> = state.endpoints.iter().map(said).collect();
    vec![
        entry.to_string(),
        state.version.clone(),
        format!("{}%", state.share),
        state.standing.clone(),
        state.sessions.to_string(),
        (state.streams.listen + state.streams.call).to_string(),
        state.requests.ok.to_string(),
        faults(&state.requests),
        endpoints.join(", "),
    ]
}

fn said(endpoint: &EndpointState) -> String {
    let leaving = if endpoint.leaving { " (leaving)" } else { "" };
    format!("{} {}{leaving}", endpoint.place(), endpoint.standing)
}

fn faults(requests: &Requests) -> String {
    let kinds = [("client", requests.client_fault), ("entry", requests.entry_fault), ("proxy", requests.proxy_fault)];
    let met: Vec<String> =
        kinds.iter().filter(|(_, count)| *count > 0).map(|(whose, count)| format!("{count} {whose}")).collect();
    if met.is_empty() { "0".to_owned() } else { met.join(", ") }
}

/// What the table has no column for, because on a good day there is none of it.
fn notes(service: &Service) -> Vec<String> {
    let mut notes = Vec::new();
    for (entry, state) in service.entries.iter() {
        if let Some(condemned) = &state.condemned {
            let reason = condemned.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
            notes.push(format!("condemned: {entry} {}{reason}", condemned.version));
        }
        for endpoint in &state.endpoints {
            if let Some(check) = endpoint.check.as_ref().filter(|check| !check.success) {
                notes.push(format!("check: {entry} {} failed: {}", endpoint.name, check.detail));
            }
        }
    }
    notes.extend(service.rollout.as_ref().map(rollout));
    if let Some(verdict) = &service.verdict {
        let unsure = verdict.unsure.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let failing = verdict.findings.iter().filter(|finding| finding.verdict == "fail").map(|finding| finding.words());
        let failing = failing.map(|words| format!("; {words}")).collect::<String>();
        notes.push(format!("verdict: {}{unsure}{failing}", verdict.verdict));
    }
    notes.extend(service.warnings.iter().map(|warning| format!("warning: {warning}")));
    notes.extend(service.drift.iter().map(|drift| format!("drift: {drift}")));
    notes
}

/// `rollout 20261121T125800Z-8 of secondary: holding, step 1 of 3, 4m10s of 10m over`.
fn rollout(rollout: &RolloutInShort) -> String {
    let hold = rollout.hold.map_or_else(String::new, |hold| format!(", {}", hold.words()));
    let why = rollout.why.as_ref().filter(|_| rollout.hold.is_none() || !matches!(rollout.phase.as_str(), "holding" | "soaking"));
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    let RolloutInShort { id, candidate, phase, step, of, .. } = rollout;
    format!("rollout {id} of {candidate}: {phase}, step {step} of {of}{hold}{why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("status/document.json");
    const PAGE: &str = "\
notes: revision 7, stable primary, durable
  split 90:10, achieved: births 89.7:10.3, requests 91:9
  ENTRY      VERSION  SHARE  STANDING  SESSIONS  STREAMS    OK  FAULTS             ENDPOINTS
  primary    1.4.2      90%  up              12        4  4021  0                  http://127.0.0.1:3000 up, http://127.0.0.1:3002 up
  secondary  1.5.0      10%  down             1        0   398  2 client, 7 entry  http://127.0.0.1:3001 down
  check: secondary b failed: connection refused
  rollout 20261121T125800Z-7 of secondary: holding, step 1 of 3, 4m10s of 10m over
  verdict: unsure: 1 of 2 windows is full
  warning: one client key carries 70 % of the keyed requests
  drift: split: the file says 100:0, in force is 90:10

tasks: revision 1, stable secondary, NOT DURABLE, starting
  split 0:100, achieved: nothing yet
  ENTRY      VERSION  SHARE  STANDING  SESSIONS  STREAMS  OK  FAULTS  ENDPOINTS
  primary    1           0%  unknown          0        0   0  0       http://127.0.0.1:4000 unknown
  secondary  2         100%  unknown          0        0   0  0       http://127.0.0.1:4001 unknown
  condemned: primary 1: it was slow
  warning: the state in force is not on the disk
";

    #[test]
    fn the_table_shows_what_the_document_says() {
        let services: Services = serde_json::from_str(DOCUMENT).unwrap();
        assert_eq!(page(&services.services), PAGE);
    }
}
