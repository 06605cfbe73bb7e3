//! Everything about a service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use utoipa::ToSchema;

use super::rollout::{self, RolloutBrief};
use super::verdict::{Answers, VerdictState};
use super::{Both, EntryName, Shares, StandingName};
use crate::config;
use crate::control::Status;
use crate::domain::machine::EndpointSpec;
use crate::domain::{Entry, Eras, Outcome, PerEntry};
use crate::live::{EntryView, ServiceView};
use crate::upstream::StreamKind;

/// All services.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Services {
    pub(in crate::admin) services: Vec<Service>,
}

/// Everything about a service.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Service {
    name: String,
    /// Hosts it is served under; empty: any.
    hosts: Vec<String>,
    /// The prefix it is served under.
    path: String,
    /// Counts changes; the ETag.
    revision: u64,
    /// Whether the disk has the state in force.
    durable: bool,
    /// Who may write the split: `state` or `config`.
    authority: String,
    stable: EntryName,
    candidate: EntryName,
    /// Whether new clients wait for the first checks.
    starting: bool,
    /// The era that is offered.
    era: Option<&'static str>,
    split: SplitFigures,
    entries: Both<EntryState>,
    health: Health,
    tls: Tls,
    /// Where the configuration file and what is in force differ.
    drift: Vec<String>,
    /// The part of the requests that one client key sends, where it is more than half.
    dominant_key: Option<f64>,
    /// The one that runs, or the last one.
    rollout: Option<RolloutBrief>,
    /// The judge's word; null: the candidate has no clients.
    verdict: Option<VerdictState>,
    /// What an operator should know.
    warnings: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct SplitFigures {
    target: Shares,
    achieved: Achieved,
}

/// In per cent: births and requests since the split was set, sessions and streams now; null: none yet.
#[derive(Debug, Serialize, ToSchema)]
struct Achieved {
    births: Option<Both<f64>>,
    requests: Option<Both<f64>>,
    sessions: Option<Both<f64>>,
    streams: Option<Both<f64>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EntryState)]
struct EntryState {
    version: String,
    share: f64,
    standing: StandingName,
    /// The eras it was seen to serve.
    era: Option<&'static str>,
    condemned: Option<Condemned>,
    /// Whether it was deployed over the file's.
    overlay: bool,
    /// Whether a name of its endpoints has no address.
    unresolved: bool,
    sessions: usize,
    /// Open streams by kind.
    streams: BTreeMap<&'static str, u64>,
    /// Requests by outcome.
    requests: BTreeMap<&'static str, u64>,
    /// Since this version came into the slot, as the judge counts.
    answers: Answers,
    endpoints: Vec<EndpointState>,
}

/// Rolled back: no failover to it and no rollout towards it.
#[derive(Debug, Serialize, ToSchema)]
struct Condemned {
    version: String,
    reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct EndpointState {
    name: String,
    url: String,
    /// Of an instance of a name.
    address: Option<String>,
    standing: StandingName,
    era: Option<&'static str>,
    /// Whether it gets no new clients.
    leaving: bool,
    ejected: bool,
    in_flight: u64,
    /// Requests by outcome.
    requests: Option<BTreeMap<&'static str, u64>>,
    /// The last check.
    check: Option<Check>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Check {
    success: bool,
    detail: String,
    took_ms: f64,
}

#[derive(Debug, Serialize, ToSchema)]
struct Health {
    /// `mcp`, `http` or `tcp`.
    kind: String,
    path: String,
    interval_ms: u64,
    timeout_ms: u64,
}

/// How endpoints with `https://` URLs are met: paths and names only.
#[derive(Debug, Serialize, ToSchema)]
struct Tls {
    #[schema(value_type = Vec<String>)]
    roots: Vec<PathBuf>,
    server_name: String,
    client_certificate: Option<Pair>,
    insecure: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CertificateFiles)]
struct Pair {
    #[schema(value_type = String)]
    cert: PathBuf,
    #[schema(value_type = String)]
    key: PathBuf,
}

/// Everything about a service; `more` are warnings that are not only its own.
pub(in crate::admin) fn service(view: &ServiceView, status: &Status, more: Vec<String>) -> Service {
    let machine = &status.machine;
    let state = machine.state();
    Service {
        name: view.config.name.clone(),
        hosts: view.config.hosts.clone(),
        path: if view.config.path.is_empty() { "/".to_owned() } else { view.config.path.clone() },
        revision: state.revision,
        durable: machine.is_durable(),
        authority: format!("{:?}", machine.rules().authority).to_lowercase(),
        stable: state.stable.into(),
        candidate: machine.candidate().into(),
        starting: machine.is_starting(),
        era: view.scene.serves.offered(),
        split: SplitFigures { target: Shares::of(state.split), achieved: achieved(view, status) },
        entries: PerEntry::from_fn(|entry| entry_state(&view.entries[entry], status, entry)).into(),
        health: health(&view.config),
        tls: tls(&view.config.tls),
        drift: machine.drift(),
        dominant_key: view.tally.dominant_key(),
        rollout: rollout::brief(status),
        verdict: machine.report().map(VerdictState::of),
        warnings: warnings(view, status, more),
    }
}

fn by_outcome(count: impl Fn(Outcome) -> u64) -> BTreeMap<&'static str, u64> {
    Outcome::ALL.into_iter().map(|outcome| (outcome.as_str(), count(outcome))).collect()
}

fn entry_state(view: &EntryView, status: &Status, entry: Entry) -> EntryState {
    let state = status.machine.state();
    let endpoints = status.machine.endpoints(entry);
    EntryState {
        version: status.machine.entry(entry).version.clone(),
        share: state.split.share(entry).percent(),
        standing: status.machine.standing(entry).into(),
        era: Eras::of_all(status.serves[entry].iter().map(|(_, serves)| *serves)).as_str(),
        condemned: state.condemned[entry]
            .as_ref()
            .map(|condemned| Condemned { version: condemned.version.clone(), reason: condemned.reason.clone() }),
        overlay: state.overlay[entry].is_some(),
        unresolved: status.machine.is_unresolved(entry),
        sessions: view.tally.sessions().count(),
        streams: StreamKind::ALL.iter().map(|kind| (kind.as_str(), view.tally.streams(*kind))).collect(),
        requests: by_outcome(|outcome| view.tally.outcomes(outcome)),
        answers: Answers::of(&view.tally),
        endpoints: endpoints.into_iter().map(|spec| endpoint_state(view, status, entry, spec)).collect(),
    }
}

fn endpoint_state(view: &EntryView, status: &Status, entry: Entry, spec: EndpointSpec) -> EndpointState {
    let machine = &status.machine;
    let known = view.named(&spec.name).map(|view| &view.endpoint);
    let finding = status.checks[entry].iter().find(|(name, _)| *name == spec.name).and_then(|(_, finding)| finding.as_ref());
    let serves = status.serves[entry].iter().find(|(name, _)| *name == spec.name);
    EndpointState {
        standing: machine.standing_of(entry, &spec.name).into(),
        era: serves.and_then(|(_, serves)| serves.as_str()),
        leaving: machine.is_leaving(entry, &spec.name),
        ejected: machine.is_ejected(entry, &spec.name),
        in_flight: known.map_or(0, |endpoint| endpoint.gate.inside()),
        requests: known.map(|endpoint| by_outcome(|outcome| endpoint.outcomes.count(outcome))),
        check: finding.map(|finding| Check {
            success: finding.success,
            detail: finding.detail.clone(),
            took_ms: finding.took.as_secs_f64() * 1e3,
        }),
        name: spec.name,
        url: spec.url,
        address: spec.address.map(|address| address.to_string()),
    }
}

/// What the split has achieved: births and requests since it was set, sessions and streams now.
fn achieved(view: &ServiceView, status: &Status) -> Achieved {
    let in_unit = |count: &dyn Fn(Entry) -> u64| {
        let both = PerEntry::from_fn(count);
        let total = both.primary + both.secondary;
        let percent = |entry| (both[entry] as f64 * 10_000.0 / total as f64).round() / 100.0;
        (total > 0).then(|| Both::from(PerEntry::from_fn(percent)))
    };
    let tally = |entry: Entry| &view.entries[entry].tally;
    Achieved {
        births: in_unit(&|entry| tally(entry).births().saturating_sub(status.births_before[entry])),
        requests: in_unit(&|entry| tally(entry).requests().saturating_sub(status.requests_before[entry])),
        sessions: in_unit(&|entry| tally(entry).sessions().count() as u64),
        streams: in_unit(&|entry| StreamKind::ALL.iter().map(|kind| tally(entry).streams(*kind)).sum()),
    }
}

fn health(config: &config::Service) -> Health {
    Health {
        kind: format!("{:?}", config.health.kind).to_lowercase(),
        path: config.health.path.clone(),
        interval_ms: config.health.interval.as_millis() as u64,
        timeout_ms: config.health.timeout.as_millis() as u64,
    }
}

fn tls(tls: &config::ClientTls) -> Tls {
    let pair = tls.client_certificate.as_ref();
    Tls {
        roots: tls.roots.clone(),
        server_name: tls.server_name.clone(),
        client_certificate: pair.map(|pair| Pair { cert: pair.cert.clone(), key: pair.key.clone() }),
        insecure: tls.insecure,
    }
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
    if let Some(reason) = &status.records_failure {
        warnings.push(format!("a record of a rollout is not written ({reason}): it is tried again"));
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
