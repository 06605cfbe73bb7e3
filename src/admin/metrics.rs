//! The metrics page: traffic counts in its own tallies, and here they are read, at the moment of
//! the scrape.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Office;
use crate::control::Status;
use crate::domain::{Entry, Outcome, Standing};
use crate::live::{Handle, ServiceView, Snapshot};
use crate::telemetry::log;
use crate::telemetry::names::{self, Metric};
use crate::tls::{self, Reload};
use crate::upstream::rehomed::{Moving, Rehomed, Remembered};
use crate::upstream::tally::{BOUNDS, Histogram};
use crate::upstream::{Endpoint, EntryTally, StreamKind};

/// The metrics page.
#[utoipa::path(get, path = "/metrics",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn page(State(office): State<Arc<Office>>) -> Response {
    let snapshot = office.reader.current();
    let mut statuses = Vec::with_capacity(snapshot.services.len());
    for service in &snapshot.services {
        if let Ok(status) = office.control.status(&service.config.name).await {
            statuses.push((service.clone(), status));
        }
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { office, snapshot, statuses }));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

struct Scrape {
    office: Arc<Office>,
    snapshot: Arc<Snapshot>,
    statuses: Vec<(Arc<ServiceView>, Status)>,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        self.encode_traffic(out)?;
        self.encode_tools(out)?;
        self.encode_split(out)?;
        self.encode_service(out)?;
        self.encode_process(out)
    }
}

/// The values of a metric's labels, in their order, and a figure.
type Sample = (Vec<String>, f64);

/// The labels of exemplars, which there are none of.
type NoLabels = Vec<(String, String)>;

impl Scrape {
    fn encode_traffic(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let requests = self.per_entry(|view, _, entry| {
            let tally = &view.entries[entry].tally;
            Outcome::ALL.iter().map(|outcome| (vec![outcome.as_str().to_owned()], tally.outcomes(*outcome) as f64)).collect()
        });
        counter(out, &names::REQUESTS, requests)?;
        self.histograms(out, &names::FIRST_BYTE, EntryTally::first_byte)?;
        self.histograms(out, &names::RESULT, EntryTally::result)?;
        let sessions = self.per_entry(|view, _, entry| vec![(vec![], view.entries[entry].tally.sessions().count() as f64)]);
        gauge(out, &names::SESSIONS, sessions)?;
        let ended = self.per_entry(|view, _, entry| vec![(vec![], view.entries[entry].tally.ended() as f64)]);
        counter(out, &names::SESSIONS_ENDED, ended)?;
        self.encode_moves(out)?;
        let streams = |figure: fn(&EntryTally, StreamKind) -> u64| {
            self.per_entry(move |view, _, entry| {
                let tally = &view.entries[entry].tally;
                StreamKind::ALL.iter().map(|kind| (vec![kind.as_str().to_owned()], figure(tally, *kind) as f64)).collect()
            })
        };
        gauge(out, &names::STREAMS, streams(EntryTally::streams))?;
        counter(out, &names::STREAMS_BROKEN, streams(EntryTally::broken))?;
        let endpoint = |figure: fn(Standing, u64) -> f64| {
            self.per_entry(move |view, _, entry| {
                let endpoints = view.entries[entry].endpoints.iter();
                endpoints.map(|one| (vec![one.endpoint.name.clone()], figure(one.standing, one.endpoint.gate.inside()))).collect()
            })
        };
        gauge(
            out,
            &names::ENDPOINT_UP,
            endpoint(|standing, _| match standing {
                Standing::Up => 1.0,
                Standing::Unknown => 0.5,
                Standing::Down => 0.0,
            }),
        )?;
        gauge(out, &names::IN_FLIGHT, endpoint(|_, inside| inside as f64))?;
        let requests = self.per_entry(|view, _, entry| {
            let endpoints = view.entries[entry].endpoints.iter();
            let each = endpoints.flat_map(|one| Outcome::ALL.map(|outcome| (&one.endpoint, outcome)));
            let labels = |endpoint: &Endpoint, outcome: Outcome| vec![endpoint.name.clone(), outcome.as_str().to_owned()];
            each.map(|(endpoint, outcome)| (labels(endpoint, outcome), endpoint.outcomes.count(outcome) as f64)).collect()
        });
        counter(out, &names::ENDPOINT_REQUESTS, requests)
    }

    fn encode_moves(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let moves = self.per_entry(|view, _, from| {
            let tally = &view.entries[from].tally;
            let each = Entry::BOTH.into_iter().flat_map(|to| Rehomed::ALL.map(|result| (to, result)));
            let count =
                |to, result| [Moving::Departure, Moving::Loss].map(|why| tally.rehomed(to, why, result)).iter().sum::<u64>();
            each.map(|(to, result)| (vec![to.to_string(), result.as_str().to_owned()], count(to, result) as f64)).collect()
        });
        counter(out, &names::REHOMED, moves)?;
        let of = |figure: fn(&Remembered) -> &AtomicU64| {
            self.per_service(move |view, _| figure(&view.tally.remembered).load(Ordering::Relaxed) as f64)
        };
        gauge(out, &names::REMEMBERED, of(|remembered| &remembered.sessions))?;
        counter(out, &names::FORGOTTEN, of(|remembered| &remembered.forgotten))
    }

    fn histograms(&self, out: &mut DescriptorEncoder<'_>, metric: &Metric, of: fn(&EntryTally) -> &Histogram) -> fmt::Result {
        let mut family = out.encode_descriptor(metric.name, metric.help, None, MetricType::Histogram)?;
        for (view, _) in &self.statuses {
            for entry in Entry::BOTH {
                let labels = pairs(metric, &[view.config.name.clone(), entry.to_string()]);
                histogram(&mut family.encode_family(&labels)?, of(&view.entries[entry].tally))?;
            }
        }
        Ok(())
    }

    fn encode_tools(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let calls = self.per_entry(|view, _, entry| {
            let tools = view.entries[entry].tally.tools().all();
            let each = tools.iter().flat_map(|(name, tally)| {
                Outcome::ALL
                    .iter()
                    .map(move |outcome| (vec![name.clone(), outcome.as_str().to_owned()], tally.outcomes(*outcome) as f64))
            });
            each.collect()
        });
        counter(out, &names::TOOL_CALLS, calls)?;
        let mut family = out.encode_descriptor(names::TOOL_TIME.name, names::TOOL_TIME.help, None, MetricType::Histogram)?;
        for (view, _) in &self.statuses {
            for entry in Entry::BOTH {
                for (name, tally) in view.entries[entry].tally.tools().all() {
                    let labels = pairs(&names::TOOL_TIME, &[view.config.name.clone(), entry.to_string(), name]);
                    histogram(&mut family.encode_family(&labels)?, &tally.duration)?;
                }
            }
        }
        Ok(())
    }

    fn encode_split(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let target = self.per_entry(|_, status, entry| {
            vec![(vec![], f64::from(status.machine.state().split.share(entry).basis_points()) / 10_000.0)]
        });
        gauge(out, &names::SPLIT_TARGET, target)?;
        let achieved = self.per_entry(|view, status, entry| {
            let share = |unit: &str, count: &dyn Fn(Entry) -> u64| {
                let (own, total) = (count(entry), Entry::BOTH.iter().map(|entry| count(*entry)).sum::<u64>());
                (total > 0).then(|| (vec![unit.to_owned()], own as f64 / total as f64))
            };
            let tally = |entry: Entry| &view.entries[entry].tally;
            [
                share("births", &|entry| tally(entry).births().saturating_sub(status.births_before[entry])),
                share("requests", &|entry| tally(entry).requests().saturating_sub(status.requests_before[entry])),
                share("sessions", &|entry| tally(entry).sessions().count() as u64),
                share("streams", &|entry| StreamKind::ALL.iter().map(|kind| tally(entry).streams(*kind)).sum()),
            ]
            .into_iter()
            .flatten()
            .collect()
        });
        gauge(out, &names::SPLIT_ACHIEVED, achieved)
    }

    fn encode_service(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let rollbacks = self.statuses.iter().flat_map(|(view, status)| {
            // By hand, also while there were none: a counter that is not there cannot be seen to rise.
            let mut by_trigger = std::collections::BTreeMap::from([("operator", 0)]);
            by_trigger.extend(&status.rollbacks);
            by_trigger.into_iter().map(|(trigger, count)| (vec![view.config.name.clone(), trigger.to_owned()], count as f64))
        });
        counter(out, &names::ROLLBACKS, rollbacks.collect())?;
        let running = |status: &Status| status.machine.rollout().filter(|rollout| !rollout.is_over()).cloned();
        let steps = self.statuses.iter().filter_map(|(view, status)| {
            let rollout = running(status)?;
            Some((vec![view.config.name.clone(), rollout.phase.as_str().to_owned()], (rollout.step + 1) as f64))
        });
        gauge(out, &names::ROLLOUT_STEP, steps.collect())?;
        let verdicts = self.statuses.iter().filter_map(|(view, status)| {
            let verdict = status.machine.report()?.verdict.as_str();
            Some((vec![view.config.name.clone(), verdict.to_owned()], 1.0))
        });
        gauge(out, &names::VERDICT, verdicts.collect())?;
        gauge(out, &names::REVISION, self.per_service(|_, status| status.machine.state().revision as f64))?;
        gauge(out, &names::DURABLE, self.per_service(|_, status| f64::from(u8::from(status.machine.is_durable()))))?;
        gauge(out, &names::KEY_SKEW, self.per_service(|view, _| view.tally.dominant_key().unwrap_or(0.0)))?;
        counter(out, &names::UNKNOWN_IDS, self.per_service(|view, _| view.tally.unknown_ids.load(Ordering::Relaxed) as f64))?;
        counter(out, &names::UNPEEKED, self.per_service(|view, _| view.tally.unpeeked.load(Ordering::Relaxed) as f64))?;
        counter(out, &names::UNDELIVERED, self.per_service(|view, _| view.tally.undelivered.load(Ordering::Relaxed) as f64))?;
        let pins = self.statuses.iter().flat_map(|(view, _)| {
            let name = &view.config.name;
            Handle::ALL.map(|kind| (vec![name.clone(), kind.as_str().to_owned()], view.pins.count(kind) as f64))
        });
        gauge(out, &names::PINS, pins.collect())?;
        counter(out, &names::PINS_EVICTED, self.per_service(|view, _| view.pins.evicted() as f64))?;
        let is_kept = |status: &Status| !status.machine.rules().volatile && status.pins_failure.is_none();
        gauge(out, &names::PINS_DURABLE, self.per_service(|_, status| f64::from(u8::from(is_kept(status)))))?;
        let moved = |view: &ServiceView, entry: Entry| view.tally.by_catalogue[entry].load(Ordering::Relaxed) as f64;
        counter(out, &names::CALLS_BY_CATALOGUE, self.per_entry(|view, _, entry| vec![(vec![], moved(view, entry))]))
    }

    fn encode_process(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let connections = self.office.load.connections().into_iter().enumerate();
        gauge(out, &names::CONNECTIONS, connections.map(|(at, count)| (vec![at.to_string()], count as f64)).collect())?;
        gauge(out, &names::SNAPSHOT, vec![(vec![], self.snapshot.number as f64)])?;
        let refused = self.office.site.refused.counts();
        counter(
            out,
            &names::REFUSED,
            refused.into_iter().map(|(reason, count)| (vec![reason.to_owned()], count as f64)).collect(),
        )?;
        self.encode_tls(out)?;
        let standing = self.office.configuration.standing();
        gauge(out, &names::CONFIG_GENERATION, vec![(vec![], standing.generation.number as f64)])?;
        let reloads = [("done", standing.applied), ("refused", standing.refused)];
        counter(out, &names::CONFIG_RELOADS, reloads.map(|(result, count)| (vec![result.to_owned()], count as f64)).to_vec())?;
        gauge(out, &names::CONFIG_REFUSED, vec![(vec![], f64::from(u8::from(standing.failure.is_some())))])?;
        self.encode_notifications(out)?;
        gauge(out, &names::AUDIT_BEHIND, vec![(vec![], self.office.audit.behind() as f64)])?;
        counter(out, &names::LOG_DROPPED, vec![(vec![], log::dropped_lines() as f64)])?;
        let process = Process::read();
        gauge(out, &names::MEMORY, vec![(vec![], process.resident_bytes)])?;
        gauge(out, &names::DESCRIPTORS, vec![(vec![], process.descriptors)])?;
        counter(out, &names::CPU, vec![(vec![], process.cpu_seconds)])?;
        gauge(out, &names::INFO, vec![(vec![env!("CARGO_PKG_VERSION").to_owned()], 1.0)])
    }

    fn encode_notifications(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let sinks = self.office.notifier.counts();
        let results = sinks.iter().flat_map(|one| {
            let results = [("delivered", one.delivered), ("failed", one.failed), ("dead", one.dead)];
            results.map(|(result, count)| (vec![one.sink.clone(), result.to_owned()], count as f64))
        });
        counter(out, &names::NOTIFICATIONS, results.collect())?;
        let waiting = sinks.iter().map(|one| (vec![one.sink.clone()], one.waiting as f64));
        gauge(out, &names::NOTIFICATIONS_WAITING, waiting.collect())
    }

    fn encode_tls(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let labelled = |scope: &str, label: &str, figure: u64| (vec![scope.to_owned(), label.to_owned()], figure as f64);
        let servers = &self.office.tls;
        let reloads = tls::files(servers, self.office.configuration.connectors());
        let handshakes = servers
            .iter()
            .flat_map(|server| server.handshakes().counts().map(|(result, count)| labelled(server.scope(), result, count)));
        counter(out, &names::TLS_HANDSHAKES, handshakes.collect())?;
        let reloads = reloads.iter().flat_map(|one| {
            let [done, failed] = one.reloads();
            [labelled(one.scope(), "done", done), labelled(one.scope(), "failed", failed)]
        });
        counter(out, &names::TLS_RELOADS, reloads.collect())?;
        let expiries = servers.iter().flat_map(|server| {
            server.expiries().into_iter().map(|expiry| labelled(server.scope(), &expiry.name, expiry.not_after))
        });
        gauge(out, &names::TLS_EXPIRY, expiries.collect())
    }

    fn per_entry(&self, samples: impl Fn(&ServiceView, &Status, Entry) -> Vec<Sample>) -> Vec<Sample> {
        let mut all = Vec::new();
        for (view, status) in &self.statuses {
            for entry in Entry::BOTH {
                for (labels, figure) in samples(view, status, entry) {
                    all.push(([vec![view.config.name.clone(), entry.to_string()], labels].concat(), figure));
                }
            }
        }
        all
    }

    fn per_service(&self, figure: impl Fn(&ServiceView, &Status) -> f64) -> Vec<Sample> {
        self.statuses.iter().map(|(view, status)| (vec![view.config.name.clone()], figure(view, status))).collect()
    }
}

fn gauge(out: &mut DescriptorEncoder<'_>, metric: &Metric, samples: Vec<Sample>) -> fmt::Result {
    let mut family = out.encode_descriptor(metric.name, metric.help, None, MetricType::Gauge)?;
    for (labels, figure) in samples {
        family.encode_family(&pairs(metric, &labels))?.encode_gauge(&figure)?;
    }
    Ok(())
}

fn counter(out: &mut DescriptorEncoder<'_>, metric: &Metric, samples: Vec<Sample>) -> fmt::Result {
    let mut family = out.encode_descriptor(metric.name, metric.help, None, MetricType::Counter)?;
    for (labels, figure) in samples {
        family.encode_family(&pairs(metric, &labels))?.encode_counter::<NoLabels, _, f64>(&figure, None)?;
    }
    Ok(())
}

fn histogram(out: &mut MetricEncoder<'_>, times: &Histogram) -> fmt::Result {
    let (counts, sum) = times.read();
    let buckets: Vec<(f64, u64)> = BOUNDS.into_iter().chain([f64::INFINITY]).zip(counts).collect();
    out.encode_histogram::<NoLabels>(sum, counts.iter().sum(), &buckets, None)
}

fn pairs(metric: &Metric, values: &[String]) -> Vec<(String, String)> {
    metric.labels.iter().map(|label| (*label).to_owned()).zip(values.iter().cloned()).collect()
}

/// What the kernel says about this process (proc(5)).
struct Process {
    resident_bytes: f64,
    descriptors: f64,
    cpu_seconds: f64,
}

impl Process {
    fn read() -> Self {
        /// The unit of times in /proc, fixed by the kernel's interface to programs.
        const TICKS_A_SECOND: f64 = 100.0;
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The second field may hold blanks; behind its bracket, user and system time are 12th and 13th.
        let times = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().skip(11).take(2);
        let ticks: f64 = times.filter_map(|time| time.parse::<f64>().ok()).sum();
        Self {
            resident_bytes: resident.unwrap_or(0.0) * 1024.0,
            descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as f64,
            cpu_seconds: ticks / TICKS_A_SECOND,
        }
    }
}
