//! The wiring: the only place that knows everyone.
//!
//! ```text
//! threads   traffic-0 … -N      accept, and serve: one runtime and one set of endpoint connections each
//!           control             admin, control, checks, metrics: traffic never waits for it
//! ```

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};

use crate::admin::{self, Office, Token};
use crate::config::{Config, ConfigError, Source};
use crate::control::outreach::Notifier;
use crate::control::{Audit, Beginning, Conductor, Configuration, Evictions, Resolver, Setup, resolve};
use crate::domain::Phase;
use crate::live::Reader;
use crate::proxy::{Front, Interrupted, Sessions, Site, Stage, Tuning, Via};
use crate::telemetry::clock::Clock;
use crate::tls;

mod demo;
mod limits;
mod listeners;
mod signals;
mod vault;
mod wishes;

pub use demo::run_demo;
use listeners::Listeners;
use signals::Signals;
use vault::{Vault, random};
use wishes::{Wishes, reload_on_demand};

/// After the last words of streams, connections have so long to take them.
const PARTING: Duration = Duration::from_secs(1);

/// At the end, tasks that hang get so long before they are left behind.
const LEFT_BEHIND: Duration = Duration::from_millis(200);

/// At the end, the last save and the last lines of the audit get so long each.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Why dualgate does not start, or did not end well.
#[derive(Debug)]
pub enum AppError {
    /// The configuration is wrong.
    Config(Vec<String>),
    /// Anything else.
    Other(String),
}

impl AppError {
    /// 3 for the configuration, 1 for anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 3,
            Self::Other(_) => 1,
        }
    }

    fn config(what: impl fmt::Display) -> Self {
        Self::Config(vec![what.to_string()])
    }

    fn other(what: impl fmt::Display) -> Self {
        Self::Other(what.to_string())
    }
}

impl From<Vec<ConfigError>> for AppError {
    fn from(errors: Vec<ConfigError>) -> Self {
        Self::Config(errors.iter().map(ToString::to_string).collect())
    }
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => f.write_str(&errors.join("\nerror: ")),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for AppError {}

/// Where everything listens; ports that were 0 are known now.
#[derive(Clone)]
pub struct Bound {
    /// The traffic listener.
    pub traffic: SocketAddr,
    /// The traffic listener that speaks TLS.
    pub tls: Option<SocketAddr>,
    /// The admin listener.
    pub admin: SocketAddr,
    /// The metrics listener.
    pub metrics: Option<SocketAddr>,
    /// The admin token.
    pub token: String,
}

/// Without the token: what is printed for looking at ends up in logs.
impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { traffic, tls, admin, metrics, token: _ } = self;
        let mut shown = f.debug_struct("Bound");
        shown.field("traffic", traffic).field("tls", tls).field("admin", admin).field("metrics", metrics).finish_non_exhaustive()
    }
}

/// Where tests and benches put something of their own in the world's place. No configuration leads here.
pub struct Seams {
    /// Looks up hosts of endpoints with `resolve = "each"`.
    pub resolver: Resolver,
    /// Whether answers are read for their outcome.
    pub reads_answers: bool,
    /// How entries are rid of their sessions, besides what the machines say; looked at with every publish.
    pub evictions: Evictions,
}

impl Default for Seams {
    fn default() -> Self {
        Self { resolver: resolve::system(), reads_answers: true, evictions: Evictions::default() }
    }
}

/// A running dualgate.
pub struct App {
    bound: Bound,
    reader: Reader,
    wishes: Wishes,
    control: JoinHandle<Result<(), AppError>>,
}

impl App {
    /// Starts everything, and returns when all listeners are bound and serving.
    pub fn start(config: Config) -> Result<Self, AppError> {
        Self::begin(config, Source::none(), Seams::default())
    }

    /// The same, with what the configuration is read again from.
    pub fn start_from(config: Config, source: Source) -> Result<Self, AppError> {
        Self::begin(config, source, Seams::default())
    }

    /// The same, with something else in the world's place.
    pub fn start_with(config: Config, seams: Seams) -> Result<Self, AppError> {
        Self::begin(config, Source::none(), seams)
    }

    fn begin(config: Config, source: Source, seams: Seams) -> Result<Self, AppError> {
        let wishes = Wishes::none();
        let asked = wishes.clone();
        let (started, ready) = oneshot::channel();
        let control = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AppError::other)?;
            let ended = runtime.block_on(control(config, source, seams, asked, started));
            // To drop it would wait for every blocking task: a hung fsync, a hung look-up of a name.
            runtime.shutdown_timeout(LEFT_BEHIND);
            ended
        });
        let control = control.map_err(AppError::other)?;
        match ready.blocking_recv() {
            Ok((bound, reader)) => Ok(Self { bound, reader, wishes, control }),
            Err(_) => Err(match control.join() {
                Ok(Err(error)) => error,
                Ok(Ok(())) | Err(_) => AppError::other("the control thread ended at once"),
            }),
        }
    }

    /// Where everything listens.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// The snapshot in force.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Asks for a graceful stop; asked twice, the drain is cut short.
    pub fn stop(&self) {
        self.wishes.stop();
    }

    /// Asks for the configuration to be read again, as SIGHUP does.
    pub fn reload(&self) {
        self.wishes.reload();
    }

    /// Waits until everything has ended. Blocks.
    pub fn join(self) -> Result<(), AppError> {
        self.control.join().map_err(|_| AppError::other("the control thread panicked"))?
    }
}

/// Runs until SIGTERM or SIGINT, then stops gracefully; SIGHUP has the configuration read again.
pub fn run(config: Config, source: Source) -> Result<(), AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AppError::other)?;
    // Before the start, so that no signal finds us without an answer to it.
    let signals = {
        let _inside = runtime.enter();
        Signals::catch().map_err(AppError::other)?
    };
    let App { wishes, control, .. } = App::start_from(config, source)?;
    let reloading = wishes.clone();
    runtime.spawn(signals.each(move || wishes.stop(), move || reloading.reload()));
    // The signals are waited for beside the control thread, which may end by itself.
    let ended = runtime.block_on(async { tokio::task::spawn_blocking(move || control.join()).await });
    ended.map_err(AppError::other)?.map_err(|_| AppError::other("the control thread panicked"))?
}

async fn control(
    mut config: Config,
    source: Source,
    seams: Seams,
    wishes: Wishes,
    started: oneshot::Sender<(Bound, Reader)>,
) -> Result<(), AppError> {
    limits::fit(&mut config);
    for warning in &config.warnings {
        tracing::warn!(warning, "configuration");
    }
    let shown = tls::Shown::open(&config)
        .map_err(|errors| AppError::Config(errors.into_iter().map(|(key, error)| format!("{key}: {error}")).collect()))?;
    // Addresses before the state: what cannot listen must not touch it.
    let listeners = Listeners::bind(&config).await?;
    let vault = Vault::open(&config)?;
    let bound = listeners.bound(&vault.token)?;
    let clock = Clock::start();
    let run = hex(random::<4>()?);
    let scheme = if shown.admin.is_some() { "https" } else { "http" };
    let (admin_url, token_file) = (format!("{scheme}://{}", bound.admin), vault.token_file.clone());
    let audit = Audit::start(vault.store.clone());
    let store = vault.store.clone();
    let notifier = Notifier::start(&config.notify, store.clone());
    let setup = Setup {
        services: config.services.iter().cloned().zip(shown.connectors.iter().cloned()).collect(),
        store: vault.store,
        keys: vault.keys.clone(),
        clock,
        phase: Phase::from_random(u64::from_be_bytes(random()?)),
        run: run.clone(),
        audit: audit.clone(),
        resolver: seams.resolver,
        notifier: notifier.clone(),
        evictions: seams.evictions,
        keep_records: config.records.keep,
        gate_secret_file: config.gate_secret_file.clone(),
    };
    let (conductor, handle, reader) = Conductor::start(setup).map_err(AppError::other)?;
    tokio::spawn(async move {
        // Traffic goes on without its conductor, on the snapshot in force; /health says so.
        if let Err(error) = tokio::spawn(conductor.run()).await {
            tracing::error!(%error, "the conductor is dead: nothing can be changed until a restart");
        }
    });
    let (stage, stage_seen) = watch::channel(Stage::Running);
    let (leaving, leaving_seen) = watch::channel(false);
    let site = Arc::new(Site {
        reader: reader.clone(),
        keys: vault.keys,
        tuning: ArcSwap::from_pointee(Tuning::of(&config)),
        via: Via::new(&format!("dualgate-{run}")).map_err(AppError::other)?,
        stage: stage_seen.clone(),
        refused: Default::default(),
        in_flight: Default::default(),
        refusing: Default::default(),
        clock,
        reads_answers: seams.reads_answers,
        channels: Default::default(),
        interrupted: Default::default(),
        sessions: Sessions::new(u32::from_be_bytes(random()?)),
    });
    let (tuned, tuning, told) = (site.clone(), site.clone(), notifier.clone());
    let configuration = Configuration::begin(Beginning {
        source,
        config: config.clone(),
        connectors: shown.connectors.clone(),
        store,
        audit: audit.clone(),
        control: handle.clone(),
        tune: Box::new(move |config| {
            limits::fit(config);
            tuned.tuning.store(Arc::new(Tuning::of(config)));
            told.configure(&config.notify);
        }),
    });
    let Listeners { traffic, secure, admin, metrics } = listeners;
    let secure = secure.map(|listener| (listener, shown.traffic.clone()));
    let traffic = [(traffic, None)].into_iter().chain(secure).collect();
    let front = Front::start(traffic, workers(config.threads), &site).map_err(AppError::other)?;
    tokio::spawn(Interrupted::watch(site.clone()));
    let office = Arc::new(Office {
        control: handle.clone(),
        reader: reader.clone(),
        audit: audit.clone(),
        token: Token::new(&bound.token),
        hosts: own_hosts(bound.admin, &config.admin.allowed_hosts),
        site,
        load: front.load(),
        tls: shown.servers(),
        configuration: configuration.clone(),
        is_secure: shown.admin.is_some(),
        rotation: vault.rotation,
        notifier: notifier.clone(),
        leaving: leaving_seen,
    });
    let (servers, connecting) = (shown.servers(), configuration.clone());
    tokio::spawn(tls::watch(move || tls::files(&servers, connecting.connectors())));
    tokio::spawn(configuration.clone().watch());
    tokio::spawn(reload_on_demand(configuration, wishes.reload.subscribe()));
    let asked = wishes.stop.subscribe();
    tokio::spawn(admin::serve(admin, shown.admin, admin::admin_routes(office.clone()), stage_seen.clone()));
    if let Some(metrics) = metrics {
        tokio::spawn(admin::serve(metrics, None, admin::metrics_routes(office), stage_seen));
    }
    let tls = bound.tls.map(|address| address.to_string());
    tracing::info!(traffic = %bound.traffic, tls, admin = %bound.admin, "dualgate serves");
    // With another address or directory than the default the command line has to be told.
    tracing::info!(DUALGATE_ADMIN_URL = admin_url, DUALGATE_TOKEN_FILE = %token_file.display(), "for the command line");
    let _ = started.send((bound, reader));
    stop_gracefully(&tuning, asked, &stage, &leaving, front).await;
    // What was promised to the disk gets there, where the disk is alive.
    handle.settled(LAST_WORDS).await;
    notifier.close(2 * LAST_WORDS).await;
    audit.flush(LAST_WORDS).await;
    tracing::info!("stopped");
    Ok(())
}

/// Not ready, but accepting; then no new connections; then last words; then the end.
async fn stop_gracefully(
    site: &Site,
    mut asked: watch::Receiver<u8>,
    stage: &watch::Sender<Stage>,
    leaving: &watch::Sender<bool>,
    front: Front,
) {
    // An error means that nobody is left who could ask: that is a wish to stop, too.
    let _ = asked.wait_for(|times| *times >= 1).await;
    let shutdown = site.tuning().shutdown;
    let mut hurry = asked.clone();
    let mut hurried = async move || {
        let _ = hurry.wait_for(|times| *times >= 2).await;
    };
    tracing::info!(delay = ?shutdown.delay, "stopping: not ready, still accepting");
    leaving.send_replace(true);
    tokio::select! {
        () = tokio::time::sleep(shutdown.delay) => {}
        () = hurried() => {}
    }
    tracing::info!(drain = ?shutdown.drain, "stopping: not accepting, draining");
    stage.send_replace(Stage::Draining);
    let load = front.load();
    tokio::select! {
        () = all_closed(&load) => {}
        () = tokio::time::sleep(shutdown.drain) => {}
        () = hurried() => {}
    }
    stage.send_replace(Stage::Parting);
    let _ = tokio::time::timeout(PARTING, all_closed(&load)).await;
    stage.send_replace(Stage::Ended);
    let joined = tokio::time::timeout(PARTING, tokio::task::spawn_blocking(move || front.join())).await;
    if !matches!(joined, Ok(Ok(()))) {
        tracing::error!("a traffic worker did not end; it is left behind");
    }
}

async fn all_closed(load: &crate::proxy::Load) {
    while load.connections().iter().any(|count| *count > 0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn hex(bytes: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(bytes))
}

fn workers(threads: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if threads == 0 { cores() } else { threads }
}

fn own_hosts(admin: SocketAddr, more: &[String]) -> Vec<String> {
    let port = admin.port();
    let mut hosts = vec![admin.to_string()];
    hosts.extend(["localhost", "127.0.0.1", "[::1]"].map(|name| format!("{name}:{port}")));
    hosts.extend(more.iter().flat_map(|name| [name.clone(), format!("{name}:{port}")]));
    hosts
}
