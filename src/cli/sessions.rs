//! `sessions list`, `drain`: where sessions live, and until when.

use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::answers::Service;
use super::args::{DrainArgs, ListArgs};
use super::change::warn;
use super::client::{Admin, Answer, Change, POLL, segment};
use super::departures::{Departure, Forecast};
use super::failure::{Exit, Failure};
use super::print::{left, put, right, say, table};
use super::status::the_service;
use crate::config::Span;
use crate::domain::{Entry, PerEntry};

/// `GET /v1/services/{s}/sessions`.
#[derive(Deserialize)]
struct Sessions {
    service: String,
    entries: PerEntry<OfEntry>,
}

#[derive(Deserialize)]
struct OfEntry {
    version: String,
    #[serde(default)]
    departure: Option<Departure>,
    endpoints: Vec<OfEndpoint>,
}

#[derive(Deserialize)]
struct OfEndpoint {
    /// None: of endpoints that are configured no more.
    name: Option<String>,
    sessions: u64,
    oldest_s: u64,
    youngest_s: u64,
    longest_idle_s: u64,
}

/// `POST …/entries/{e}/drain`.
#[derive(Deserialize)]
struct Holds {
    service: String,
    entry: Entry,
    version: String,
    drained: bool,
    sessions: u64,
    streams: u64,
    in_flight: u64,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    order: Option<Ordered>,
}

/// What a drain has ordered, or taken back.
#[derive(Deserialize)]
struct Ordered {
    forecast: Option<Forecast>,
    changed: bool,
    durable: bool,
    revision: u64,
    warnings: Vec<String>,
}

/// `sessions list`.
pub(super) async fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let admin = Admin::new(&args.common)?;
    let service = the_service(&admin, args.common.service()).await?;
    let answer = sessions(&admin, &service).await?;
    let sessions: Sessions = answer.read()?;
    put(&if args.common.json() { answer.line() } else { page(&sessions) })?;
    Ok(Exit::Done)
}

fn page(sessions: &Sessions) -> String {
    let columns = [
        left("ENTRY"),
        left("VERSION"),
        left("ENDPOINT"),
        right("SESSIONS"),
        right("OLDEST"),
        right("YOUNGEST"),
        right("LONGEST IDLE"),
    ];
    let mut rows = Vec::new();
    for (entry, of) in sessions.entries.iter() {
        for endpoint in &of.endpoints {
            let age = |seconds: u64| if endpoint.sessions == 0 { "-".to_owned() } else { span(seconds) };
            rows.push(vec![
                entry.to_string(),
                of.version.clone(),
                endpoint.name.clone().unwrap_or_else(|| "(gone)".to_owned()),
                endpoint.sessions.to_string(),
                age(endpoint.oldest_s),
                age(endpoint.youngest_s),
                age(endpoint.longest_idle_s),
            ]);
        }
    }
    let each = sessions.entries.iter();
    let departures: String = each.filter_map(|(entry, of)| Some(of.departure.as_ref()?.line(entry))).collect();
    format!("{}:\n{}{departures}", sessions.service, table(&columns, &rows))
}

/// `47s`, `12m`, `3h 20m`, `2d 4h`.
fn span(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// `drain`.
pub(super) async fn drain(args: &DrainArgs) -> Result<Exit, Failure> {
    let common = &args.common;
    let begun = Instant::now();
    let admin = Admin::new(common)?;
    let service = the_service(&admin, common.service()).await?;
    let entry = match args.entry {
        Some(entry) => entry,
        None => idle(&look(&admin, &service).await?)?,
    };
    let change = Change {
        method: Method::POST,
        path: format!("/v1/services/{}/entries/{entry}/drain", segment(&service)),
        body: wanted(args),
        common,
    };
    let answer = admin.change(&change).await?;
    let holds: Holds = answer.read()?;
    if let Some(order) = &holds.order {
        say(&order.line(entry, holds.dry_run));
        warn(&order.warnings, order.durable || holds.dry_run);
    }
    let patience = holds.order.as_ref().and_then(|order| order.forecast.as_ref()).map(Forecast::patience);
    let timeout = common.timeout_given().or(patience).unwrap_or(common.timeout());
    let deadline = begun + timeout;
    if common.wait && !holds.drained && !holds.dry_run {
        say(&format!("waiting until {entry} {} is empty", holds.version));
        wait(&admin, &holds, deadline, timeout).await?;
        put(&if common.json() { empty(&holds) } else { line(&Holds { drained: true, ..holds }) })?;
        return Ok(Exit::Done);
    }
    put(&if common.json() { answer.line() } else { line(&holds) })?;
    Ok(Exit::Done)
}

/// What the flags say; without any of them it is a question.
fn wanted(args: &DrainArgs) -> Value {
    let spoken = |time: Duration| Span(time).to_string();
    let mut body = json!({ "reason": args.common.reason });
    if let Some(deadline) = args.deadline.or(args.now.then_some(Duration::ZERO)) {
        body["deadline"] = json!(spoken(deadline));
    }
    if let Some(pace) = args.pace {
        body["pace"] = json!(spoken(pace));
    }
    if args.cancel {
        body["cancel"] = json!(true);
    }
    body
}

impl Ordered {
    fn line(&self, entry: Entry, is_dry: bool) -> String {
        let dry = if is_dry { "; dry run, nothing was changed" } else { "" };
        let what = match (&self.forecast, self.changed) {
            (Some(forecast), true) => format!("is drained: {}", forecast.words()),
            (Some(_), false) => "is drained already".to_owned(),
            (None, true) => "keeps its sessions: what was ordered is taken back".to_owned(),
            (None, false) => "nothing was ordered of its sessions".to_owned(),
        };
        format!("{entry}: {what} (revision {}{dry})", self.revision)
    }
}

fn line(holds: &Holds) -> String {
    let Holds { entry, version, .. } = holds;
    if holds.drained { format!("{entry} {version}: empty\n") } else { format!("{entry} {version}: {}\n", left_over(holds)) }
}

fn left_over(holds: &Holds) -> String {
    format!("{} sessions, {} streams, {} in flight", holds.sessions, holds.streams, holds.in_flight)
}

/// As the admin API would say it now.
fn empty(holds: &Holds) -> String {
    let Holds { service, entry, version, .. } = holds;
    let now = json!({
        "service": service, "entry": entry, "version": version, "drained": true, "sessions": 0, "streams": 0, "in_flight": 0, "dry_run": false,
    });
    format!("{now}\n")
}

async fn look(admin: &Admin, service: &str) -> Result<Service, Failure> {
    admin.get(&format!("/v1/services/{}", segment(service))).await?.read()
}

fn idle(service: &Service) -> Result<Entry, Failure> {
    let found = [service.candidate, service.stable].into_iter().find(|entry| service.entries[*entry].share == 0.0);
    found.ok_or_else(|| {
        let share = |entry: Entry| format!("{entry} has {} %", service.entries[entry].share);
        let error = format!("neither entry is at 0 %: {}, {}", share(Entry::Primary), share(Entry::Secondary));
        Failure::new(Exit::Conflict, error).with_hint("an entry drains at 0 %: dualgate split, dualgate rollback")
    })
}

/// Until the entry is empty, another one, or in use again.
async fn wait(admin: &Admin, asked: &Holds, deadline: Instant, timeout: Duration) -> Result<(), Failure> {
    loop {
        let service = look(admin, &asked.service).await?;
        let state = &service.entries[asked.entry];
        if state.share > 0.0 || state.version != asked.version {
            let error = format!("{} was changed meanwhile: it is {} with {} %", asked.entry, state.version, state.share);
            return Err(Failure::new(Exit::Conflict, error));
        }
        let now = Holds {
            service: asked.service.clone(),
            version: asked.version.clone(),
            order: None,
            sessions: state.sessions,
            streams: state.streams.listen + state.streams.call,
            in_flight: state.endpoints.iter().map(|endpoint| endpoint.in_flight).sum(),
            ..*asked
        };
        if now.sessions == 0 && now.streams == 0 && now.in_flight == 0 {
            return Ok(());
        }
        if Instant::now() + POLL >= deadline {
            let error = format!(
                "{} {} still has {} after {timeout:?} (--timeout, DUALGATE_TIMEOUT)",
                asked.entry,
                asked.version,
                left_over(&now)
            );
            let sessions: Sessions = sessions(admin, &asked.service).await?.read()?;
            let hint = match sessions.entries[asked.entry].departure.as_ref().and_then(Departure::hint) {
                Some(why) => format!("{why}: dualgate sessions move --from {} --force --reason …", asked.entry),
                None => "sessions end when their clients end them, or after half an hour without a word".to_owned(),
            };
            return Err(Failure::new(Exit::TimedOut, error).with_hint(hint));
        }
        sleep(POLL).await;
    }
}

async fn sessions(admin: &Admin, service: &str) -> Result<Answer, Failure> {
    admin.get(&format!("/v1/services/{}/sessions", segment(service))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_said_in_the_two_units_that_matter() {
        assert_eq!([0, 59, 60, 3599, 3600, 12_000, 90_000].map(span), ["0s", "59s", "1m", "59m", "1h 0m", "3h 20m", "1d 1h"]);
    }
}
