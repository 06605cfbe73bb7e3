//! `[[notify]]`. Files are not read here: a secret may be there later, and is read for every try.

use std::time::Duration;

use url::Url;

use super::{Checker, or};
use crate::config::notify::{Hidden, PAGERDUTY, Sink, SinkKind, SinkUrl};
use crate::config::{Service, Span, nearest, raw};
use crate::domain::Occasion;

/// Sinks at a time: every one has a queue and labels of metrics of its own.
const MOST_SINKS: usize = 32;

/// A try may take so long at most.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

impl Checker<'_> {
    pub(super) fn sinks(&mut self, sinks: &[raw::Notify], services: &[Service]) -> Vec<Sink> {
        if sinks.len() > MOST_SINKS {
            self.wrong("notify", format!("{} sinks: at most {MOST_SINKS}", sinks.len()));
            return Vec::new();
        }
        for (at, sink) in sinks.iter().enumerate() {
            if sinks[..at].iter().any(|earlier| earlier.name == sink.name) {
                self.wrong(&format!("notify[{at}].name"), format!("`{}` is the name of another sink", sink.name));
            }
        }
        sinks.iter().enumerate().map(|(at, sink)| self.sink(&format!("notify[{at}]"), sink, services)).collect()
    }

    fn sink(&mut self, key: &str, raw: &raw::Notify, services: &[Service]) -> Sink {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if raw.name.is_empty() || raw.name.len() > 64 || !raw.name.chars().all(plain) {
            self.wrong(&format!("{key}.name"), format!("`{}` is not a sink's name: 1 to 64 letters, digits and - _ .", raw.name));
        }
        let kind = self.sink_kind(key, raw);
        let url = self.sink_url(key, raw, &kind);
        let timeout = self.positive(&format!("{key}.timeout"), or(raw.timeout, 10_000));
        if timeout > LONGEST_TIMEOUT {
            self.wrong(&format!("{key}.timeout"), format!("{} is too long: at most {}", Span(timeout), Span(LONGEST_TIMEOUT)));
        }
        for (at, name) in raw.services.iter().enumerate().filter(|(_, name)| services.iter().all(|one| one.name != **name)) {
            let guess = nearest(name, services.iter().map(|service| service.name.as_str()));
            let right = guess.map_or("name a [[service]] of this file".to_owned(), |guess| format!("did you mean `{guess}`?"));
            self.wrong(&format!("{key}.services[{at}]"), format!("there is no service `{name}`: {right}"));
        }
        let events = self.occasions(key, &raw.events);
        Sink { name: raw.name.clone(), kind, url, events, services: raw.services.clone(), timeout }
    }

    fn sink_kind(&mut self, key: &str, raw: &raw::Notify) -> SinkKind {
        let path = |file: &Option<String>| file.as_ref().filter(|path| !path.is_empty()).map(Into::into);
        let (secret_file, routing_key_file) = (path(&raw.secret_file), path(&raw.routing_key_file));
        let generic = SinkKind::Generic { secret_file: secret_file.clone() };
        let choices = [("generic", 0), ("slack", 1), ("pagerduty", 2)];
        let chosen = self.one_of(&format!("{key}.kind"), raw.kind.as_deref(), &choices);
        if chosen != 0 && secret_file.is_some() {
            self.wrong(&format!("{key}.secret_file"), "only kind = \"generic\" is signed: leave it out");
        }
        if chosen != 2 && routing_key_file.is_some() {
            self.wrong(&format!("{key}.routing_key_file"), "only kind = \"pagerduty\" has a routing key: leave it out");
        }
        match (chosen, routing_key_file) {
            (1, _) => SinkKind::Slack,
            (2, Some(routing_key_file)) => SinkKind::PagerDuty { routing_key_file },
            (2, None) => {
                let what = "kind = \"pagerduty\" needs the file of the integration's routing key (Events API v2)";
                self.wrong(&format!("{key}.routing_key_file"), what);
                generic
            }
            _ => generic,
        }
    }

    fn sink_url(&mut self, key: &str, raw: &raw::Notify, kind: &SinkKind) -> SinkUrl {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (url, file) = (given(&raw.url), given(&raw.url_file));
        let key = format!("{key}.url");
        let url = match (url, file, kind) {
            (Some(_), Some(file), _) => {
                self.wrong(&key, "url and url_file are both there: one of the two");
                return SinkUrl::File(file.into());
            }
            (None, Some(file), _) => return SinkUrl::File(file.into()),
            (Some(url), None, _) => url,
            (None, None, SinkKind::PagerDuty { .. }) => PAGERDUTY.to_owned(),
            (None, None, _) => {
                self.wrong(&key, "where to? url = \"https://…\", or url_file with the name of a file that has it");
                String::new()
            }
        };
        // Without the text: who may read an error may not post in the operators' name.
        match Url::parse(&url) {
            _ if url.is_empty() => {}
            Ok(parsed) if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() => self.sink_in_clear(&key, &parsed),
            _ => self.wrong(&key, "is not a URL with a scheme and a host, like https://hooks.example.com/dualgate"),
        }
        SinkUrl::Written(Hidden(url))
    }

    fn sink_in_clear(&mut self, key: &str, url: &Url) {
        let is_local = match url.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if url.scheme() == "http" && !is_local {
            self.warnings.push(format!("{key}: http:// to another host: who can get in between reads along; use https://"));
        }
    }

    fn occasions(&mut self, key: &str, words: &[String]) -> Vec<Occasion> {
        let mut occasions = Vec::new();
        for (at, word) in words.iter().enumerate() {
            match Occasion::parse(word) {
                Some(occasion) => occasions.push(occasion),
                None => {
                    let known = || Occasion::ALL.iter().map(|occasion| occasion.as_str());
                    let guess = nearest(word, known()).map(|guess| format!("did you mean `{guess}`?"));
                    let right = guess.unwrap_or_else(|| format!("known are {}", known().collect::<Vec<_>>().join(", ")));
                    self.wrong(&format!("{key}.events[{at}]"), format!("`{word}` is no event: {right}"));
                }
            }
        }
        occasions
    }
}
