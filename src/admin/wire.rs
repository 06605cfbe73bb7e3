//! The stable outside names: what goes over the wire.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::{ClientTls, EndpointText, Service};
use crate::control::Status;
use crate::domain::machine::{Change, EntrySpec, Machine};
use crate::domain::{Entry, Eras, Outcome, PerEntry, Split};
use crate::live::{EntryView, ServiceView};
use crate::upstream::StreamKind;

/// `PUT …/split`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SplitBody {
    pub(super) primary: Value,
    pub(super) secondary: Value,
    pub(super) reason: Option<String>,
}

/// `POST …/rollback`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackBody {
    pub(super) reason: Option<String>,
}

/// `PUT …/entries/{e}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeployBody {
    pub(super) version: String,
    pub(super) endpoints: Vec<EndpointText>,
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) force: bool,
}

/// Both shares in per cent.
pub(super) fn shares(split: Split) -> Value {
    json!({ "primary": split.share(Entry::Primary).percent(), "secondary": split.share(Entry::Secondary).percent() })
}

/// The split with its revision, as a stale caller is told.
pub(super) fn split_now(split: Split, revision: u64) -> Value {
    let mut now = shares(split);
    now["revision"] = json!(revision);
    now
}

/// `GET …/split`.
pub(super) fn split(service: &str, machine: &Machine) -> Value {
    let mut now = split_now(machine.state().split, machine.state().revision);
    now["service"] = json!(service);
    now["durable"] = json!(machine.is_durable());
    now
}

/// The answer to a change.
pub(super) fn change(service: &str, change: &Change, dry_run: bool) -> Value {
    json!({
        "service": service,
        "old": shares(change.old),
        "new": shares(change.new),
        "revision": change.revision,
        "changed": change.changed,
        "durable": change.durable,
        "dry_run": dry_run,
        "warnings": change.warnings,
    })
}

/// The answer to a deploy.
pub(super) fn deployed(service: &str, entry: Entry, spec: &EntrySpec, made: &Change, dry_run: bool) -> Value {
    json!({
        "service": service,
        "entry": entry,
        "version": spec.version,
        "endpoints": spec.endpoints,
        "revision": made.revision,
        "changed": made.changed,
        "durable": made.durable,
        "dry_run": dry_run,
        "warnings": made.warnings,
    })
}

/// Everything about a service; `more` are warnings that are not only its own.
pub(super) fn service(view: &ServiceView, status: &Status, more: Vec<String>) -> Value {
    let machine = &status.machine;
    let state = machine.state();
    json!({
        "name": view.config.name,
        "hosts": view.config.hosts,
        "path": if view.config.path.is_empty() { "/" } else { &view.config.path },
        "revision": state.revision,
        "durable": machine.is_durable(),
        "authority": format!("{:?}", machine.rules().authority).to_lowercase(),
        "stable": state.stable,
        "candidate": machine.candidate(),
        "starting": machine.is_starting(),
        "era": view.scene.serves.offered(),
        "split": { "target": shares(state.split), "achieved": achieved(view, status) },
        "entries": PerEntry::from_fn(|entry| entry_json(&view.entries[entry], status, entry)),
        "health": health(&view.config),
        "tls": tls(&view.config.tls),
        "drift": machine.drift(),
        "dominant_key": view.tally.dominant_key(),
        "rollout": null,
        "warnings": warnings(view, status, more),
    })
}

fn outcomes_json(count: impl Fn(Outcome) -> u64) -> Value {
    Outcome::ALL.into_iter().map(|outcome| (outcome.as_str().to_owned(), json!(count(outcome)))).collect()
}

fn entry_json(view: &EntryView, status: &Status, entry: Entry) -> Value {
    let state = status.machine.state();
    let streams: serde_json::Map<String, Value> =
        StreamKind::ALL.iter().map(|kind| (kind.as_str().to_owned(), json!(view.tally.streams(*kind)))).collect();
    let endpoints: Vec<Value> = status
        .machine
        .endpoints(entry)
        .iter()
        .map(|spec| {
            let in_flight = view.named(&spec.name).map_or(0, |view| view.endpoint.gate.inside());
            let finding =
                status.checks[entry].iter().find(|(name, _)| *name == spec.name).and_then(|(_, finding)| finding.as_ref());
            let serves = status.serves[entry].iter().find(|(name, _)| *name == spec.name);
            json!({
                "name": spec.name,
                "url": spec.url,
                "address": spec.address,
                "standing": status.machine.standing_of(entry, &spec.name),
                "era": serves.and_then(|(_, serves)| serves.as_str()),
                "leaving": status.machine.is_leaving(entry, &spec.name),
                "ejected": status.machine.is_ejected(entry, &spec.name),
            "in_flight": in_flight,
            "requests": view.named(&spec.name).map(|view| outcomes_json(|outcome| view.endpoint.outcomes.count(outcome))),
                "check": finding.map(|finding| json!({
                    "success": finding.success,
                    "detail": finding.detail,
                    "took_ms": finding.took.as_secs_f64() * 1e3,
                })),
            })
        })
        .collect();
    json!({
        "version": status.machine.entry(entry).version,
        "share": state.split.share(entry).percent(),
        "standing": status.machine.standing(entry),
        "era": Eras::of_all(status.serves[entry].iter().map(|(_, serves)| *serves)).as_str(),
        "condemned": state.condemned[entry],
        "overlay": state.overlay[entry].is_some(),
        "unresolved": status.machine.is_unresolved(entry),
        "sessions": view.tally.sessions().count(),
        "streams": streams,
        "requests": outcomes_json(|outcome| view.tally.outcomes(outcome)),
        "endpoints": endpoints,
    })
}

/// What the split has achieved: births and requests since it was set, sessions and streams now.
fn achieved(view: &ServiceView, status: &Status) -> Value {
    let in_unit = |count: &dyn Fn(Entry) -> u64| {
        let both = PerEntry::from_fn(count);
        let total = both.primary + both.secondary;
        (total > 0).then(|| PerEntry::from_fn(|entry| (both[entry] as f64 * 10_000.0 / total as f64).round() / 100.0))
    };
    let tally = |entry: Entry| &view.entries[entry].tally;
    json!({
        "births": in_unit(&|entry| tally(entry).births().saturating_sub(status.births_before[entry])),
        "requests": in_unit(&|entry| tally(entry).requests().saturating_sub(status.requests_before[entry])),
        "sessions": in_unit(&|entry| tally(entry).sessions().count() as u64),
        "streams": in_unit(&|entry| StreamKind::ALL.iter().map(|kind| tally(entry).streams(*kind)).sum()),
    })
}

fn health(config: &Service) -> Value {
    json!({
        "kind": format!("{:?}", config.health.kind).to_lowercase(),
        "path": config.health.path,
        "interval_ms": config.health.interval.as_millis() as u64,
        "timeout_ms": config.health.timeout.as_millis() as u64,
    })
}

/// How endpoints with https:// URLs are met: paths and names only.
fn tls(tls: &ClientTls) -> Value {
    json!({
        "roots": tls.roots,
        "server_name": tls.server_name,
        "client_certificate": tls.client_certificate.as_ref().map(|pair| json!({ "cert": pair.cert, "key": pair.key })),
        "insecure": tls.insecure,
    })
}

fn warnings(view: &ServiceView, status: &Status, more: Vec<String>) -> Vec<String> {
    let mut warnings: Vec<String> = status.warning.iter().cloned().chain(more).collect();
    warnings.extend(status.machine.warnings());
    if !status.machine.is_durable() {
        warnings.push("the state in force is not on the disk: a restart would lose it".to_owned());
    }
    if let Some(reason) = &status.pins_failure {
        warnings
            .push(format!("words of the modern era are not journalled ({reason}): a restart would forget where the newest lead"));
    }
    if view.config.tls.insecure {
        warnings.push("tls.insecure: any certificate of an endpoint is accepted".to_owned());
    }
    if let Some(share) = view.tally.dominant_key() {
        warnings
            .push(format!("one client (one key, or one address) sends {:.0} % of the requests that are placed by client, and they all go to one entry: give clients an X-API-Key each, or let them use sessions", share * 100.0));
    }
    if view.scene.serves.meet_nowhere() {
        warnings.push("no era of the protocol is served by both entries: clients of either era reach only the entry that speaks theirs, whatever the split".to_owned());
    }
    warnings
}
