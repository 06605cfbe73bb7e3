//! From what is written to what is meant; every error names its key.

use std::net::SocketAddr;
use std::time::Duration;

pub use plan::{StepText, steps};

use super::expand::expand;
use super::listeners::Listeners;
use super::place::Places;
use super::value::{Percent, Span};
use super::{
    Admin, Affinity, Config, ConfigError, ErrorShape, Health, HealthKind, HostSeen, Limits, Log, Network, Plain, Service,
    Shutdown, Traffic, endpoint, raw,
};
use crate::domain::machine::{Authority, EntrySpec, Leave, Paced, Rules};
use crate::domain::{Entry, KeySource, PerEntry, Share, Split, Thresholds};

mod foolish;
mod judge;
mod notify;
mod plan;
mod sessions;
mod tls;

/// Reads a configuration. `file` names it in errors; `port` is the environment's `PORT`.
/// All that is wrong is said at once, except that what cannot be read as TOML stops the reading.
pub fn load(file: &str, text: &str, port: Option<&str>) -> Result<Config, Vec<ConfigError>> {
    load_with(file, text, port, |name| std::env::var(name).ok())
}

pub(super) fn load_with(
    file: &str,
    text: &str,
    port: Option<&str>,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Config, Vec<ConfigError>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let written = Places::read(file, text).map_err(|error| vec![error])?;
    let expanded = expand(text, lookup).map_err(|wrong| vec![written.at_byte(wrong.at, wrong.what)])?;
    let hidden = |errors: Vec<ConfigError>| errors.into_iter().map(|error| expanded.hide(error)).collect::<Vec<_>>();
    let places = Places::read(file, &expanded.text).map_err(|error| hidden(vec![error]))?;
    let raw: raw::File = toml::from_str(&expanded.text).map_err(|error| hidden(vec![places.of_toml(&error)]))?;
    let mut checker = Checker { places, errors: Vec::new(), warnings: Vec::new() };
    let config = checker.file(raw, port.filter(|port| !port.is_empty()));
    if checker.errors.is_empty() { Ok(config) } else { Err(hidden(checker.errors)) }
}

struct Checker<'a> {
    places: Places<'a>,
    errors: Vec<ConfigError>,
    warnings: Vec<String>,
}

impl Checker<'_> {
    fn file(&mut self, raw: raw::File, port: Option<&str>) -> Config {
        if raw.state.url.is_some() {
            self.wrong("state.url", "a shared store is not served by this version; use state.dir");
        }
        let mut listen = self.address("listen", raw.listen.as_deref().unwrap_or("0.0.0.0:8080"));
        if let Some(port) = port {
            match port.parse() {
                Ok(port) => listen.set_port(port),
                Err(_) => self.wrong("listen", format!("PORT in the environment is `{port}`, which is not a port")),
            }
        }
        let limits = self.limits(&raw.limits);
        let shutdown = Shutdown { delay: or(raw.shutdown.delay, 5_000), drain: or(raw.shutdown.drain, 30_000) };
        let admin = self.admin(&raw.admin);
        let metrics = raw.metrics.map(|metrics| self.address("metrics.listen", &metrics.listen));
        let tls = raw.tls.as_ref().map(|tls| self.tls(tls));
        let listeners = Listeners { traffic: listen, tls: tls.as_ref().map(|tls| tls.listen), admin: admin.listen, metrics };
        for (key, what) in listeners.clashes() {
            self.wrong(key, what);
        }
        if raw.service.is_empty() {
            self.wrong("service", "at least one [[service]] is needed, with name, primary and secondary");
        }
        let mut services: Vec<Service> =
            raw.service.iter().enumerate().map(|(at, service)| self.service(at, service, listeners)).collect();
        self.distinct_services(&services);
        let notify = self.sinks(&raw.notify, &services);
        let state_dir = Some(raw.state.dir.unwrap_or_else(|| "/var/lib/dualgate".to_owned())).filter(|dir| !dir.is_empty());
        if state_dir.is_none() {
            services.iter_mut().for_each(|service| service.rules.volatile = true);
            self.no_state_dir(&services, &raw.seal, &admin);
        }
        let plans = self.plans(&raw.plan, &services);
        Config {
            listen,
            threads: raw.threads.unwrap_or(0),
            tls,
            limits,
            shutdown,
            seal_key_files: raw.seal.key_files.iter().map(Into::into).collect(),
            admin,
            metrics,
            log: Log { tool_calls: raw.log.tool_calls, tool_errors: raw.log.tool_errors },
            state_dir: state_dir.map(Into::into),
            records: self.records(&raw.records),
            gate_secret_file: raw.gates.secret_file.filter(|file| !file.is_empty()).map(Into::into),
            plans,
            services: most_specific_first(services),
            notify,
            warnings: std::mem::take(&mut self.warnings),
        }
    }

    fn limits(&mut self, raw: &raw::Limits) -> Limits {
        let mut trusted_proxies = Vec::new();
        for (at, text) in raw.trusted_proxies.iter().enumerate() {
            match Network::parse(text) {
                Some(network) => trusted_proxies.push(network),
                None => self.wrong(
                    &format!("limits.trusted_proxies[{at}]"),
                    format!("`{text}` is not an address or a block of addresses, like 10.0.0.0/8"),
                ),
            }
        }
        Limits {
            header_timeout: self.positive("limits.header_timeout", or(raw.header_timeout, 5_000)),
            body_timeout: self.positive("limits.body_timeout", or(raw.body_timeout, 30_000)),
            connections: self.at_least_one("limits.connections", raw.connections.unwrap_or(100_000)),
            requests: self.at_least_one("limits.requests", raw.requests.unwrap_or(100_000)),
            trusted_proxies,
        }
    }

    fn admin(&mut self, raw: &raw::Admin) -> Admin {
        let listen = self.address("admin.listen", raw.listen.as_deref().unwrap_or("127.0.0.1:9900"));
        let tls = raw.tls.as_ref().map(|tls| self.admin_tls(tls));
        self.admin_address(listen, tls.is_some());
        Admin {
            listen,
            token_file: raw.token_file.as_ref().map(Into::into),
            allowed_hosts: raw.allowed_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            tls,
        }
    }

    fn service(&mut self, at: usize, raw: &raw::Service, listeners: Listeners) -> Service {
        let key = |name: &str| format!("service[{at}].{name}");
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if raw.name.is_empty() || raw.name.len() > 64 || !raw.name.chars().all(plain) || raw.name.starts_with('.') {
            self.wrong(&key("name"), format!("`{}` is not a service name: 1 to 64 letters, digits and - _ .", raw.name));
        }
        let path = raw.path.as_deref().unwrap_or("/");
        if !path.starts_with('/') || path.contains(['?', '#']) {
            self.wrong(&key("path"), format!("`{path}` is not a path prefix: it starts with `/` and has no `?` or `#`"));
        }
        let tls = self.client_tls(at, &raw.tls);
        let (sessions, judge) = (self.sessions(at, &raw.sessions), self.judge(at, &raw.judge));
        let leave = Leave {
            on_drain: sessions.on_drain,
            drain: Paced { deadline: sessions.drain_deadline, pace: sessions.drain_pace },
            rollback: Paced { deadline: sessions.rollback_deadline, pace: sessions.rollback_pace },
        };
        let rules = Rules { judge: judge.clone(), leave, ..self.rules(at, raw, listeners) };
        self.tls_for_no_one(at, &tls, [&rules.entries.primary, &rules.entries.secondary]);
        let service = Service {
            name: raw.name.clone(),
            hosts: raw.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            path: path.trim_end_matches('/').to_owned(),
            strip_prefix: raw.strip_prefix,
            rules,
            affinity: self.affinity(at, &raw.affinity),
            traffic: self.traffic(at, &raw.traffic),
            health: self.health(at, &raw.health),
            tls,
            sessions,
            judge,
        };
        self.foolish(at, &service);
        service
    }

    fn rules(&mut self, at: usize, raw: &raw::Service, listeners: Listeners) -> Rules {
        let key = |name: &str| format!("service[{at}].{name}");
        let entries = PerEntry::from_fn(|entry| {
            let (name, raw) = match entry {
                Entry::Primary => ("primary", &raw.primary),
                Entry::Secondary => ("secondary", &raw.secondary),
            };
            self.entry(&key(name), raw, listeners)
        });
        for endpoint in &entries.secondary.endpoints {
            if entries.primary.endpoints.iter().any(|other| other.url == endpoint.url) {
                self.wrong(
                    &key("secondary.endpoints"),
                    format!("{} is an endpoint of primary too: the entries share none", endpoint.url),
                );
            }
        }
        let authority = self.one_of(
            &key("split.authority"),
            raw.split.authority.as_deref(),
            &[("state", Authority::State), ("config", Authority::Config)],
        );
        let rise = raw.health.rise.unwrap_or(2);
        let fall = raw.health.fall.unwrap_or(3);
        for (name, count) in [("health.rise", rise), ("health.fall", fall)] {
            if count == 0 {
                self.wrong(&key(name), "must be 1 or more");
            }
        }
        Rules {
            split: self.split(&key("split"), &raw.split),
            entries,
            authority,
            confirm_after: self.positive(&key("split.confirm_after"), or(raw.split.confirm_after, 3_600_000)),
            thresholds: Thresholds { rise: rise.max(1), fall: fall.max(1) },
            failover: raw.traffic.failover.unwrap_or(true),
            grace: Duration::from_secs(1),
            volatile: false,
            judge: crate::domain::judge::Rules::default(),
            leave: Leave::default(),
        }
    }

    fn entry(&mut self, key: &str, raw: &raw::Entry, listeners: Listeners) -> EntrySpec {
        if raw.version.is_empty() || raw.version.len() > 128 {
            self.wrong(&format!("{key}.version"), "a version label has 1 to 128 characters, like \"1.4.2\"");
        }
        let endpoints = endpoint::named(&raw.endpoints).unwrap_or_else(|what| {
            self.wrong(&format!("{key}.endpoints"), what);
            Vec::new()
        });
        for what in endpoints.iter().filter_map(|endpoint| listeners.is_own(&endpoint.url)) {
            self.wrong(&format!("{key}.endpoints"), what);
        }
        EntrySpec { version: raw.version.clone(), endpoints }
    }

    fn split(&mut self, key: &str, raw: &raw::Split) -> Split {
        let split = match (raw.primary, raw.secondary) {
            (None, None) => Ok(Split::all_to(Entry::Primary)),
            (Some(Percent(primary)), None) => Ok(Split::giving(Entry::Primary, primary)),
            (None, Some(Percent(secondary))) => Ok(Split::giving(Entry::Secondary, secondary)),
            (Some(Percent(primary)), Some(Percent(secondary))) => Split::new(primary, secondary),
        };
        split.unwrap_or_else(|error| {
            self.wrong(key, error.to_string());
            Split::giving(Entry::Primary, Share::ALL)
        })
    }

    fn affinity(&mut self, at: usize, raw: &raw::Affinity) -> Affinity {
        let key = |name: &str| format!("service[{at}].affinity.{name}");
        let defaults = || vec!["api-key".to_owned(), "jwt:sub".to_owned(), "address".to_owned()];
        let mut keys = Vec::new();
        for (n, text) in raw.keys.clone().unwrap_or_else(defaults).iter().enumerate() {
            match KeySource::parse(text) {
                Ok(source) => keys.push(source),
                Err(what) => self.wrong(&format!("{}[{n}]", key("keys")), what),
            }
        }
        let tester_header = raw.tester_header.as_deref().unwrap_or("").to_ascii_lowercase();
        if !tester_header.is_empty() && http::HeaderName::try_from(&tester_header).is_err() {
            self.wrong(&key("tester_header"), format!("`{tester_header}` is not a header name"));
        }
        let plain = self.one_of(&key("plain"), raw.plain.as_deref(), &[("stable", Plain::Stable), ("split", Plain::Split)]);
        Affinity { keys, tester_header, plain, list_lease: or(raw.list_lease, 5_000), clamp_list_ttl: or(raw.clamp_list_ttl, 0) }
    }

    fn traffic(&mut self, at: usize, raw: &raw::Traffic) -> Traffic {
        let key = |name: &str| format!("service[{at}].traffic.{name}");
        let lower = |list: &[String]| list.iter().map(|text| text.to_ascii_lowercase()).collect();
        Traffic {
            connect_timeout: self.positive(&key("connect_timeout"), or(raw.connect_timeout, 2_000)),
            first_byte_timeout: self.positive(&key("first_byte_timeout"), or(raw.first_byte_timeout, 300_000)),
            keep_alive: or(raw.keep_alive, 15_000),
            peek_limit: raw.peek_limit.map_or(64 << 10, |size| size.0),
            allowed_hosts: lower(&raw.allowed_hosts),
            allowed_origins: lower(&raw.allowed_origins),
            host: self.one_of(
                &key("host"),
                raw.host.as_deref(),
                &[("endpoint", HostSeen::Endpoint), ("client", HostSeen::Client)],
            ),
            error_shape: self.one_of(
                &key("error_shape"),
                raw.error_shape.as_deref(),
                &[("jsonrpc", ErrorShape::JsonRpc), ("http", ErrorShape::Http)],
            ),
        }
    }

    fn health(&mut self, at: usize, raw: &raw::Health) -> Health {
        let key = |name: &str| format!("service[{at}].health.{name}");
        let kinds = [("mcp", HealthKind::Mcp), ("http", HealthKind::Http), ("tcp", HealthKind::Tcp)];
        let interval = self.positive(&key("interval"), or(raw.interval, 2_000));
        let timeout = self.positive(&key("timeout"), or(raw.timeout, 1_000));
        if timeout > interval {
            self.wrong(&key("timeout"), format!("{} is longer than the interval of {}", Span(timeout), Span(interval)));
        }
        let path = raw.path.clone().unwrap_or_else(|| "/mcp".to_owned());
        let has_odd = path.contains(|c: char| c.is_whitespace() || c.is_control());
        if !path.starts_with('/') || has_odd || http::uri::PathAndQuery::try_from(&path).is_err() {
            let path = path.escape_debug();
            self.wrong(
                &key("path"),
                format!("`{path}` is not a path: it starts with `/` and has no blanks or control characters"),
            );
        }
        let resolve_interval = self.positive(&key("resolve_interval"), or(raw.resolve_interval, 5_000));
        Health { kind: self.one_of(&key("kind"), raw.kind.as_deref(), &kinds), path, interval, timeout, resolve_interval }
    }

    fn no_state_dir(&mut self, services: &[Service], seal: &raw::Seal, admin: &Admin) {
        if let Some(service) = services.iter().find(|service| service.rules.authority == Authority::State) {
            let what = "without a state directory every service needs split.authority = \"config\"";
            self.wrong("state.dir", format!("{what}; `{}` has \"state\"", service.name));
        }
        if seal.key_files.is_empty() {
            self.wrong("seal.key_files", "without a state directory there is nowhere to generate a seal key: name a key file");
        }
        if admin.token_file.is_none() {
            self.wrong("admin.token_file", "without a state directory there is nowhere to generate a token: name a token file");
        }
    }

    fn distinct_services(&mut self, services: &[Service]) {
        for (at, service) in services.iter().enumerate() {
            for earlier in &services[..at] {
                if earlier.name == service.name {
                    self.wrong(&format!("service[{at}].name"), format!("`{}` is the name of another service", service.name));
                }
                let shared_host = earlier.hosts.iter().any(|host| service.hosts.contains(host));
                let both_any = earlier.hosts.is_empty() && service.hosts.is_empty();
                if earlier.path == service.path && (shared_host || both_any) {
                    self.wrong(
                        &format!("service[{at}].path"),
                        format!("`{}` has the same host and path: no request could tell them apart", earlier.name),
                    );
                }
            }
        }
    }

    fn address(&mut self, key: &str, text: &str) -> SocketAddr {
        let text = text.replacen("localhost:", "127.0.0.1:", 1);
        text.parse().unwrap_or_else(|_| {
            self.wrong(key, format!("`{text}` is not an address with a port, like 127.0.0.1:8080 or [::1]:8080"));
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn positive(&mut self, key: &str, duration: Duration) -> Duration {
        if duration.is_zero() {
            self.wrong(key, "must be longer than 0");
        }
        duration
    }

    fn at_least_one(&mut self, key: &str, count: usize) -> usize {
        if count == 0 {
            self.wrong(key, "must be 1 or more");
        }
        count
    }

    /// The first choice is the default.
    fn one_of<T: Copy>(&mut self, key: &str, text: Option<&str>, choices: &[(&str, T)]) -> T {
        let (_, default) = choices[0];
        let Some(text) = text else { return default };
        choices.iter().find(|(name, _)| *name == text).map_or_else(
            || {
                let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
                self.wrong(key, format!("`{text}` is not one of {}", names.join(", ")));
                default
            },
            |(_, choice)| *choice,
        )
    }

    fn wrong(&mut self, key: &str, what: impl Into<String>) {
        self.errors.push(self.places.at(key, what));
    }
}

fn or(span: Option<Span>, milliseconds: u64) -> Duration {
    span.map_or(Duration::from_millis(milliseconds), |span| span.0)
}

/// Named hosts before any host, longer prefixes before shorter: the first match is the best one.
fn most_specific_first(mut services: Vec<Service>) -> Vec<Service> {
    services.sort_by_key(|service| (service.hosts.is_empty(), std::cmp::Reverse(service.path.len())));
    services
}
