//! The configuration in force, and the way to another one: whole, or not at all.
//!
//! A text is read, checked, and everything fallible is done (certificates, the state of services that are new) before
//! the first thing changes. What was refused is said in the log, in the audit, in a metric and to whoever looks at the
//! status; what runs goes on.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use serde_json::json;

use super::audit::Refused;
use super::{Audit, Handle, Loaded, Wanted};
use crate::config::{Config, Source};
use crate::domain::Plan;
use crate::live::{Generation, Store};
use crate::telemetry::clock::wall_time;
use crate::tls::Connector;

mod fixed;
mod words;

pub use words::{Applied, ConfigureError, Failure, Standing, Wish};

/// Applied configurations that are kept.
pub const KEPT: usize = 20;

/// From one look at the file to the next. Its content is compared: a mounted file is swapped by a link.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The way to it.
#[derive(Clone)]
pub struct Configuration(Arc<Shared>);

struct Shared {
    source: Source,
    control: Handle,
    audit: Audit,
    store: Arc<dyn Store>,
    /// Puts in force what is no service's.
    tune: Box<dyn Fn(&mut Config) + Send + Sync>,
    /// One change at a time.
    turn: tokio::sync::Mutex<()>,
    now: Mutex<Now>,
}

struct Now {
    config: Config,
    connectors: Vec<Arc<Connector>>,
    generations: VecDeque<Generation>,
    /// Services that this process serves or has served.
    known: HashSet<String>,
    /// The text of the file that was looked at last, as its digest.
    seen: String,
    applied: u64,
    refused: u64,
    failure: Option<Failure>,
}

/// What the first configuration of a process brings.
pub struct Beginning {
    /// Where it is from.
    pub source: Source,
    /// What it means.
    pub config: Config,
    /// What makes TLS of connections to endpoints, in the order of the services.
    pub connectors: Vec<Arc<Connector>>,
    /// What survives.
    pub store: Arc<dyn Store>,
    /// The audit.
    pub audit: Audit,
    /// The way to the actor.
    pub control: Handle,
    /// Puts in force what is no service's.
    pub tune: Box<dyn Fn(&mut Config) + Send + Sync>,
}

impl Configuration {
    /// With what the process starts with. May block on the disk.
    pub fn begin(beginning: Beginning) -> Self {
        let Beginning { source, config, connectors, store, audit, control, tune } = beginning;
        let seen = sum(&source.text);
        let kept = store.configs().unwrap_or_else(|error| {
            tracing::error!(%error, "the configurations of before cannot be read");
            Vec::new()
        });
        let known = config.services.iter().map(|service| service.name.clone()).collect();
        let (generations, last) = (kept.into(), seen.clone());
        let mut now = Now { config, connectors, generations, known, seen: last, applied: 0, refused: 0, failure: None };
        if now.generations.back().is_none_or(|last| last.digest != seen) {
            let generation = now.next(&source.text, "start");
            if let Err(error) = store.keep_config(&generation, KEPT) {
                tracing::error!(%error, "the configuration is not kept for later");
            }
            now.take(generation);
        }
        Self(Arc::new(Shared { source, control, audit, store, tune, turn: Default::default(), now: Mutex::new(now) }))
    }

    /// Reads the file again and puts in force what it says.
    pub async fn reload(&self, wish: &Wish) -> Result<Applied, ConfigureError> {
        self.on_record(wish, "reload", String::new(), self.try_reload(wish).await)
    }

    async fn try_reload(&self, wish: &Wish) -> Result<Applied, ConfigureError> {
        let _turn = self.0.turn.lock().await;
        self.0.fresh(wish)?;
        let text = match self.file().await? {
            Ok(text) => text,
            Err(error) => {
                // Whatever is there next is looked at, also the same as before.
                self.0.now().seen.clear();
                return Err(self.refuse(wish, vec![error]));
            }
        };
        self.0.now().seen = sum(&text);
        self.put_in_force(&text, wish).await
    }

    /// Puts a configuration of before in force again. The file stays as it is, and counts when it changes, or at the
    /// next start.
    pub async fn revert(&self, number: u64, wish: &Wish) -> Result<Applied, ConfigureError> {
        self.on_record(wish, "revert", number.to_string(), self.try_revert(number, wish).await)
    }

    async fn try_revert(&self, number: u64, wish: &Wish) -> Result<Applied, ConfigureError> {
        let _turn = self.0.turn.lock().await;
        self.0.fresh(wish)?;
        let found = self.0.now().generations.iter().find(|kept| kept.number == number).map(|kept| kept.text.clone());
        let text = found.ok_or(ConfigureError::NotKept(number))?;
        self.put_in_force(&text, wish).await
    }

    /// What would be wrong with a text, and what deserves a word.
    pub async fn validate(&self, text: &str) -> Result<Vec<String>, ConfigureError> {
        let (shared, text) = (self.0.clone(), text.to_owned());
        let task = tokio::task::spawn_blocking(move || shared.check(&text).map(|(config, _)| config.warnings));
        task.await.unwrap_or_else(|error| Err(vec![error.to_string()])).map_err(ConfigureError::Invalid)
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let now = self.0.now();
        Standing {
            path: self.0.source.path.clone(),
            generation: now.current(),
            failure: now.failure.clone(),
            applied: now.applied,
            refused: now.refused,
        }
    }

    /// The text of the file as it is now, where there is one; or why it cannot be read.
    pub async fn file(&self) -> Result<Result<String, String>, ConfigureError> {
        let path = self.0.source.path.clone().ok_or(ConfigureError::NoFile)?;
        let read = tokio::task::spawn_blocking(move || {
            let cannot = |what: String| format!("cannot read {}: {what}", path.display());
            let bytes = std::fs::read(&path).map_err(|error| cannot(error.to_string()))?;
            crate::config::text(bytes).map_err(cannot)
        });
        Ok(read.await.unwrap_or_else(|error| Err(error.to_string())))
    }

    /// Those that were applied, oldest first.
    pub fn history(&self) -> Vec<Generation> {
        self.0.now().generations.iter().cloned().collect()
    }

    /// The plans by which rollouts can be started.
    pub fn plans(&self) -> Vec<Plan> {
        self.0.now().config.plans.clone()
    }

    /// What makes TLS of connections to the endpoints of what is in force.
    pub fn connectors(&self) -> Vec<Arc<Connector>> {
        self.0.now().connectors.clone()
    }

    /// What an operator should know about it.
    pub fn warnings(&self) -> Vec<String> {
        let failure = self.0.now().failure.clone();
        let said = |failure: Failure| {
            let more = failure.errors.len() - 1;
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            let first = failure.errors.into_iter().next().unwrap_or_default();
            format!("the configuration was refused at {}, and the one before stays in force: {first}{more}", failure.time)
        };
        failure.map(said).into_iter().collect()
    }

    /// Reloads when the content of the file changes. Runs for ever.
    pub async fn watch(self) {
        let mut missing = false;
        let mut last = String::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let text = match self.file().await {
                Err(_) => return,
                Ok(Ok(text)) => text,
                Ok(Err(error)) => {
                    // Between two files of an atomic swap there may be none; what is in force does not need one.
                    if !std::mem::replace(&mut missing, true) {
                        tracing::warn!(error, "the configuration file cannot be read; what is in force stays");
                    }
                    continue;
                }
            };
            missing = false;
            // Who writes in place may be in the middle of it: two looks have to agree.
            let sum = sum(&text);
            let is_settled = std::mem::replace(&mut last, sum.clone()) == sum;
            if is_settled && sum != self.0.now().seen {
                let _ = self.reload(&Wish::of("file")).await;
            }
        }
    }

    async fn put_in_force(&self, text: &str, wish: &Wish) -> Result<Applied, ConfigureError> {
        let (shared, own) = (self.0.clone(), text.to_owned());
        let checked = tokio::task::spawn_blocking(move || shared.check(&own));
        let (mut config, connectors) = match checked.await {
            Ok(Ok(checked)) => checked,
            Ok(Err(errors)) => return Err(self.refuse(wish, errors)),
            Err(error) => return Err(self.refuse(wish, vec![error.to_string()])),
        };
        let generation = {
            let mut now = self.0.now();
            let current = now.current();
            if current.digest == sum(text) {
                now.failure = None;
                return Ok(Applied { generation: current.number, changed: false, warnings: config.warnings });
            }
            now.next(text, &wish.actor)
        };
        let services: Vec<Wanted> = config.services.iter().cloned().zip(connectors.iter().cloned()).collect();
        let loaded = match self.load(&services).await {
            Ok(loaded) => loaded,
            Err(error) => return Err(self.refuse(wish, vec![error])),
        };
        if let Err(error) = self.0.control.configure(services, loaded).await {
            return Err(self.refuse(wish, vec![error.to_string()]));
        }
        // Before it is fitted to the machine, of which the start has told.
        let mut applied = Applied { generation: generation.number, changed: true, warnings: config.warnings.clone() };
        (self.0.tune)(&mut config);
        if let Err(error) = self.keep(&generation).await {
            tracing::error!(error, "the configuration is in force, and not kept for later");
            applied.warnings.push(format!("it is in force, and not kept for later: {error}"));
        }
        applied.warnings.extend(self.drift(&config).await);
        for warning in &applied.warnings {
            tracing::warn!(warning, "configuration");
        }
        tracing::info!(generation = generation.number, actor = wish.actor, "configuration in force");
        self.0.audit.write(json!({
            "type": "configuration", "actor": wish.actor, "reason": wish.reason, "result": "done",
            "before": self.0.now().current().number, "after": generation.number, "sha256": generation.digest,
        }));
        let mut now = self.0.now();
        (now.config, now.connectors, now.failure) = (config, connectors, None);
        now.applied += 1;
        now.take(generation);
        Ok(applied)
    }

    /// What survived of services that this process has never served. Not on the actor, which waits for no disk.
    async fn load(&self, services: &[Wanted]) -> Result<Vec<Loaded>, String> {
        let known = self.0.now().known.clone();
        let names = services.iter().map(|(service, _)| service.name.clone());
        let new: Vec<String> = names.filter(|name| !known.contains(name)).collect();
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let (store, names) = (self.0.store.clone(), new.clone());
        let read = move || names.iter().map(|name| Loaded::read(&*store, name)).collect::<Result<Vec<_>, _>>();
        let loaded = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
        let loaded = loaded.map_err(|error| error.to_string())?;
        self.0.now().known.extend(new);
        Ok(loaded)
    }

    async fn keep(&self, generation: &Generation) -> Result<(), String> {
        let (store, kept) = (self.0.store.clone(), generation.clone());
        let keeping = tokio::task::spawn_blocking(move || store.keep_config(&kept, KEPT)).await;
        keeping.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Where the services are not as the file has them: what most who have just changed it should know.
    async fn drift(&self, config: &Config) -> Vec<String> {
        let mut drift = Vec::new();
        for service in &config.services {
            let Ok(status) = self.0.control.status(&service.name).await else { continue };
            drift.extend(status.machine.drift().into_iter().map(|line| format!("{}: {line}", service.name)));
        }
        drift
    }

    /// What was refused before a text was looked at; a text that was refused is on the record as one.
    fn on_record(
        &self,
        wish: &Wish,
        command: &'static str,
        wanted: String,
        result: Result<Applied, ConfigureError>,
    ) -> Result<Applied, ConfigureError> {
        if let Err(error) = &result
            && !matches!(error, ConfigureError::Invalid(_))
        {
            let (actor, reason, service) = (wish.actor.clone(), wish.reason.clone(), String::new());
            self.0.audit.refuse(&Refused { actor, reason, service, command, wanted }, error);
        }
        result
    }

    fn refuse(&self, wish: &Wish, errors: Vec<String>) -> ConfigureError {
        for error in &errors {
            tracing::error!(error, actor = wish.actor, "the configuration is refused; the one before stays in force");
        }
        self.0.audit.write(json!({
            "type": "configuration", "actor": wish.actor, "reason": wish.reason, "result": "refused", "errors": errors,
        }));
        let mut now = self.0.now();
        now.refused += 1;
        now.failure = Some(Failure { time: wall_time(), actor: wish.actor.clone(), errors: errors.clone() });
        ConfigureError::Invalid(errors)
    }
}

impl Shared {
    fn fresh(&self, wish: &Wish) -> Result<(), ConfigureError> {
        let current = self.now().current().number;
        match wish.if_match {
            Some(given) if given != current => Err(ConfigureError::Stale { given, current }),
            _ => Ok(()),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a text means beside what runs, with what its services need. Reads files.
    fn check(&self, text: &str) -> Result<(Config, Vec<Arc<Connector>>), Vec<String>> {
        let config = self.source.read(text).map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let (running, known) = {
            let now = self.now();
            (now.config.clone(), now.connectors.clone())
        };
        let name = self.source.name();
        let mut errors: Vec<String> = fixed::changes(&running, &config).iter().map(|what| format!("{name}: {what}")).collect();
        let mut connectors = Vec::with_capacity(config.services.len());
        for service in &config.services {
            let same = |(old, _): &(&crate::config::Service, _)| old.name == service.name && old.tls == service.tls;
            let connector = running.services.iter().zip(&known).find(same).map(|(_, connector)| connector.clone());
            let opened = connector.map_or_else(|| Connector::open(service), Ok);
            match opened {
                Ok(connector) => connectors.push(connector),
                Err(error) => errors.push(format!("{name}: service[{}].tls: {error}", service.name)),
            }
        }
        if errors.is_empty() { Ok((config, connectors)) } else { Err(errors) }
    }
}

impl Now {
    fn current(&self) -> Generation {
        self.generations.back().cloned().unwrap_or_default()
    }

    fn next(&self, text: &str, actor: &str) -> Generation {
        let number = self.current().number + 1;
        Generation { number, time: wall_time(), actor: actor.to_owned(), digest: sum(text), text: text.to_owned() }
    }

    fn take(&mut self, generation: Generation) {
        self.generations.push_back(generation);
        while self.generations.len() > KEPT {
            self.generations.pop_front();
        }
    }
}

fn sum(text: &str) -> String {
    let sum = digest::digest(&digest::SHA256, text.as_bytes());
    sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
