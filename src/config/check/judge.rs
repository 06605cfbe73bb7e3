//! `[service.judge]`: what a candidate may be like, and what follows when it is not.

use std::time::Duration;

use super::Checker;
use crate::config::{Span, raw};
use crate::domain::judge::{Bound, MetricRule, MetricSource, Reaction, Reactions, Rules};
use crate::domain::plan::{http_url, plain_name};

/// Shorter ones hold next to nothing, and cost as much as long ones.
const SHORTEST: Duration = Duration::from_millis(100);
/// Windows that are remembered.
const MOST_WINDOWS: u32 = 100;
/// Metrics of a service: each is a request every interval.
const MOST_METRICS: usize = 20;

const DEFAULTS: [(&str, Reaction); 3] =
    [("rollback", Reaction::Rollback), ("freeze", Reaction::Freeze), ("notify", Reaction::Notify)];
const REACTIONS: [(&str, Reaction); 4] =
    [("rollback", Reaction::Rollback), ("freeze", Reaction::Freeze), ("notify", Reaction::Notify), ("off", Reaction::Off)];

impl Checker<'_> {
    pub(super) fn judge(&mut self, at: usize, raw: &raw::Judge) -> Rules {
        let key = |name: &str| format!("service[{at}].judge.{name}");
        let usual = Rules::default();
        let on_fail = self.one_of(&key("on_fail"), raw.on_fail.as_deref(), &DEFAULTS);
        let samples = |raw: Option<u32>, usual: u64| raw.map_or(usual, u64::from);
        let rules = Rules {
            window: raw.window.map_or(usual.window, |span| span.0),
            windows: raw.windows.unwrap_or(usual.windows),
            min_samples: samples(raw.min_samples, usual.min_samples),
            min_clients: samples(raw.min_clients, usual.min_clients),
            max_error_rate: raw.max_error_rate.unwrap_or(usual.max_error_rate),
            min_latency_samples: samples(raw.min_latency_samples, usual.min_latency_samples),
            max_latency_ratio: raw.max_latency_ratio.unwrap_or(usual.max_latency_ratio),
            min_throughput_ratio: raw.min_throughput_ratio.unwrap_or(usual.min_throughput_ratio),
            reactions: self.reactions(&key("triggers"), &raw.triggers, on_fail),
            metrics: self.metrics(&key("metric"), &raw.metric, on_fail),
        };
        self.windows(at, &rules);
        self.bounds(at, &rules);
        rules
    }

    fn windows(&mut self, at: usize, rules: &Rules) {
        let key = |name: &str| format!("service[{at}].judge.{name}");
        if rules.window < SHORTEST {
            self.wrong(&key("window"), format!("{} is too short: at least {}", Span(rules.window), Span(SHORTEST)));
        } else if rules.window < Duration::from_secs(1) {
            let what = "shorter than 1s: for tests, as hardly any traffic fills such a window";
            self.warnings.push(format!("{}: {what}", key("window")));
        }
        if !(1..=MOST_WINDOWS).contains(&rules.windows) {
            self.wrong(&key("windows"), format!("`{}` is not a number of windows: from 1 to {MOST_WINDOWS}", rules.windows));
        }
        if rules.windows == 1 {
            self.warnings.push(format!("{}: 1: one bad window is enough, whatever came in its way", key("windows")));
        }
        for (name, count) in [
            ("min_samples", rules.min_samples),
            ("min_clients", rules.min_clients),
            ("min_latency_samples", rules.min_latency_samples),
        ] {
            if count == 0 {
                self.wrong(&key(name), "must be 1 or more");
            }
        }
    }

    fn bounds(&mut self, at: usize, rules: &Rules) {
        let key = |name: &str| format!("service[{at}].judge.{name}");
        let rate = rules.max_error_rate;
        if !(0.0..=1.0).contains(&rate) {
            self.wrong(&key("max_error_rate"), format!("`{rate}` is not a rate: a number from 0 to 1, like 0.05"));
        } else if rate == 1.0 {
            let what = "1: nothing is worse than that; triggers.errors = \"off\" says it plainly";
            self.warnings.push(format!("{}: {what}", key("max_error_rate")));
        }
        let ratio = rules.max_latency_ratio;
        if !(ratio > 1.0 && ratio.is_finite()) {
            let what = format!("`{ratio}` is not a ratio that may be reached: a number above 1, like 1.25");
            self.wrong(&key("max_latency_ratio"), what);
        }
        let ratio = rules.min_throughput_ratio;
        if !(0.0..1.0).contains(&ratio) {
            self.wrong(
                &key("min_throughput_ratio"),
                format!("`{ratio}` is not a part of the whole: from 0 to below 1, like 0.8"),
            );
        }
    }

    fn reactions(&mut self, key: &str, raw: &raw::Triggers, on_fail: Reaction) -> Reactions {
        let mut of = |name: &str, text: &Option<String>| self.reaction(&format!("{key}.{name}"), text.as_deref(), on_fail);
        Reactions {
            health: of("health", &raw.health),
            errors: of("errors", &raw.errors),
            latency: of("latency", &raw.latency),
            throughput: of("throughput", &raw.throughput),
            tools: of("tools", &raw.tools),
            signal: of("signal", &raw.signal),
        }
    }

    fn reaction(&mut self, key: &str, text: Option<&str>, on_fail: Reaction) -> Reaction {
        if text.is_some() { self.one_of(key, text, &REACTIONS) } else { on_fail }
    }

    fn metrics(&mut self, key: &str, raw: &[raw::Metric], on_fail: Reaction) -> Vec<MetricRule> {
        if raw.len() > MOST_METRICS {
            self.wrong(key, format!("{} metrics: at most {MOST_METRICS}", raw.len()));
            return Vec::new();
        }
        let mut rules: Vec<MetricRule> = Vec::with_capacity(raw.len());
        for (at, metric) in raw.iter().enumerate() {
            let key = format!("{key}[{at}]");
            if rules.iter().any(|earlier| earlier.name == metric.name) {
                self.wrong(&format!("{key}.name"), format!("`{}` is the name of another metric", metric.name));
            }
            rules.extend(self.metric(&key, metric, on_fail));
        }
        rules
    }

    fn metric(&mut self, key: &str, raw: &raw::Metric, on_fail: Reaction) -> Option<MetricRule> {
        let of = |name: &str| format!("{key}.{name}");
        if let Err(what) = plain_name(&raw.name) {
            self.wrong(&of("name"), what);
        }
        let bound = Bound { min: raw.min, max: raw.max };
        match (bound.min, bound.max) {
            (None, None) => self.wrong(key, "no bound: say what it must be, by min, max or both"),
            (Some(min), Some(max)) if min > max => {
                self.wrong(&of("min"), format!("{min} is more than max, {max}: nothing can be both"));
            }
            _ => {}
        }
        for (name, limit) in [("min", bound.min), ("max", bound.max)] {
            if let Some(limit) = limit.filter(|limit| !limit.is_finite()) {
                self.wrong(&of(name), format!("`{limit}` is not a bound: a number"));
            }
        }
        let interval = raw.interval.map_or(Duration::from_secs(60), |span| span.0);
        if interval < SHORTEST {
            self.wrong(&of("interval"), format!("{} is too short: at least {}", Span(interval), Span(SHORTEST)));
        }
        let times = raw.times.unwrap_or(2);
        if times == 0 {
            self.wrong(&of("times"), "must be 1 or more");
        }
        let reaction = self.reaction(&of("on_fail"), raw.on_fail.as_deref(), on_fail);
        let source = self.metric_source(key, raw)?;
        Some(MetricRule { name: raw.name.clone(), source, bound, interval, times, reaction })
    }

    fn metric_source(&mut self, key: &str, raw: &raw::Metric) -> Option<MetricSource> {
        let of = |name: &str| format!("{key}.{name}");
        match (&raw.prometheus, &raw.query, &raw.json, &raw.pointer) {
            (Some(url), Some(query), None, None) => {
                self.web(&of("prometheus"), url);
                if query.trim().is_empty() {
                    self.wrong(&of("query"), "empty: a query in PromQL, like \"sum(rate(orders_total[5m]))\"");
                }
                if url.contains("/api/v1") {
                    self.wrong(&of("prometheus"), "the server only, without /api/v1, which is added");
                }
                Some(MetricSource::Prometheus { url: url.clone(), query: query.clone() })
            }
            (None, None, Some(url), Some(pointer)) => {
                self.web(&of("json"), url);
                if let Err(what) = json_pointer(pointer) {
                    self.wrong(&of("pointer"), what);
                }
                Some(MetricSource::Json { url: url.clone(), pointer: pointer.clone() })
            }
            _ => {
                self.wrong(key, "where it is read: either prometheus and query, or json and pointer");
                None
            }
        }
    }

    fn web(&mut self, key: &str, url: &str) {
        if let Err(what) = http_url(url) {
            self.wrong(key, what);
        }
    }
}

/// RFC 6901, 3.
fn json_pointer(text: &str) -> Result<(), String> {
    let is_rooted = text.is_empty() || text.starts_with('/');
    let is_escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if is_rooted && is_escaped {
        return Ok(());
    }
    Err(format!("`{text}` is not a JSON Pointer (RFC 6901), like /data/orders; ~ is written ~0, and / in a name ~1"))
}
