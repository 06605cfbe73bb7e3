//! The actor: mailbox and ticks in, effects out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};

use super::charge::Charge;
use super::checks::check_for_ever;
use super::mail::Mail;
use super::outreach::{Client, Notifier};
use super::reload::{Loaded, Wanted};
use super::resolve::{self, Resolver};
use super::telling;
use super::{Audit, By, Checked, EventLog, Evictions, Handle, OrderError, Records};
use crate::config;
use crate::domain::machine::{Change, Command, Effect, Event, Note, Order, Ticket};
use crate::domain::{Moment, Phase};
use crate::live::{Publisher, ServiceView, Snapshot, Store, StoreError, cell};
use crate::mcp::SealKeys;
use crate::telemetry::clock::{Clock, since_epoch};
use crate::tls::Connector;
use crate::upstream::Endpoint;
use crate::upstream::probe::Finding;

/// Messages that wait for the actor.
const MAILBOX: usize = 4096;

/// Answers wait so long for their audit line.
const AUDIT_WAIT: Duration = Duration::from_millis(500);

const TICK: Duration = Duration::from_millis(250);

/// Pins are journalled every so many ticks: a crash loses those of the last second at most.
const KEEP_PINS_EVERY: u64 = 2;

/// Session counts are swept every so many ticks.
const SWEEP_EVERY: u64 = 240;

/// What the actor needs to start.
pub struct Setup {
    /// The services, each with what makes TLS of connections to its endpoints.
    pub services: Vec<(config::Service, Arc<Connector>)>,
    /// What survives.
    pub store: Arc<dyn Store>,
    /// Makes the salts.
    pub keys: Arc<SealKeys>,
    /// Time.
    pub clock: Clock,
    /// φ of the birth dealing.
    pub phase: Phase,
    /// Names this run of the process in event ids.
    pub run: String,
    /// The audit.
    pub audit: Audit,
    /// Looks hosts up.
    pub resolver: Resolver,
    /// Tells people.
    pub notifier: Notifier,
    /// What the machines have no say in.
    pub evictions: Evictions,
    /// Records of rollouts are kept so long.
    pub keep_records: Duration,
    /// The file of the secret that signs what webhook gates are asked.
    pub gate_secret_file: Option<PathBuf>,
}

/// The actor.
pub struct Conductor {
    pub(super) charges: Vec<Charge>,
    views: Vec<Arc<ServiceView>>,
    /// The places of those that are served, as the configuration has them. One that is configured no more keeps its
    /// place, since what is on its way there goes by it, and its counts, should it come back.
    pub(super) order: Vec<usize>,
    publisher: Publisher,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    /// The wall clock when that began, once and for all: what is told in milliseconds must not waver.
    pub(super) origin: Duration,
    pub(super) keys: Arc<SealKeys>,
    pub(super) phase: Phase,
    audit: Audit,
    resolver: Resolver,
    notifier: Notifier,
    pub(super) client: Client,
    pub(super) gate_secret_file: Option<PathBuf>,
    pub(super) evictions: Evictions,
    pub(super) keep_records: Duration,
    events: Arc<EventLog>,
    mailbox: mpsc::Receiver<Mail>,
    // Weak, so that the actor ends when every handle is gone.
    pub(super) own_box: mpsc::WeakSender<Mail>,
    tickets: u64,
    pub(super) writing: Arc<watch::Sender<usize>>,
}

impl Conductor {
    /// Loads what survived, puts a first snapshot in force, and starts the checks on the current
    /// runtime. May block on the disk.
    pub fn start(setup: Setup) -> Result<(Self, Handle, crate::live::Reader), StoreError> {
        let (own_box, mailbox) = mpsc::channel(MAILBOX);
        let (publisher, reader) = cell::cell(Snapshot::first(Vec::new()));
        let events = EventLog::new(setup.run.clone());
        let (writing, seen) = watch::channel(0);
        let handle = Handle {
            mailbox: own_box.clone(),
            events: events.clone(),
            audit: setup.audit.clone(),
            writing: seen,
            records: Records::new(setup.store.clone()),
        };
        let mut conductor = Self {
            charges: Vec::new(),
            views: Vec::new(),
            order: Vec::new(),
            publisher,
            store: setup.store,
            clock: setup.clock,
            origin: setup.clock.origin(),
            keys: setup.keys,
            phase: setup.phase,
            audit: setup.audit,
            resolver: setup.resolver,
            notifier: setup.notifier,
            client: Client::default(),
            gate_secret_file: setup.gate_secret_file,
            evictions: setup.evictions,
            keep_records: setup.keep_records,
            events,
            mailbox,
            own_box: own_box.downgrade(),
            tickets: 0,
            writing: Arc::new(writing),
        };
        let read = |(service, _): &Wanted| Loaded::read(&*conductor.store, &service.name);
        let loaded = setup.services.iter().map(read).collect::<Result<_, _>>()?;
        conductor.configure(setup.services, loaded);
        Ok((conductor, handle, reader))
    }

    /// One more, at the next place; it is served once that is in the order.
    pub(super) fn take(&mut self, mut charge: Charge) {
        charge.look_back(self.clock.now());
        self.views.push(Arc::new(charge.view()));
        self.charges.push(charge);
    }

    /// Runs until every handle is gone.
    pub async fn run(mut self) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut count = 0u64;
        loop {
            tokio::select! {
                mail = self.mailbox.recv() => match mail {
                    Some(mail) => self.receive(mail),
                    None => return,
                },
                _ = ticks.tick() => {
                    count += 1;
                    for at in 0..self.charges.len() {
                        self.step(at, Event::Tick);
                        self.show(at);
                    }
                    self.tend_records(count);
                    if count.is_multiple_of(KEEP_PINS_EVERY) {
                        (0..self.charges.len()).for_each(|at| self.keep_words(at));
                    }
                    if count.is_multiple_of(SWEEP_EVERY) {
                        self.sweep();
                    }
                }
            }
        }
    }

    fn receive(&mut self, mail: Mail) {
        match mail {
            Mail::Order { service, command, by, reply } => self.order(&service, command, by, reply),
            Mail::Export { reply } => drop(reply.send(self.export())),
            Mail::Import { states, by, reply } => self.import(states, &by, reply),
            Mail::Look { service, reply } => {
                let status = self.place(&service).map(|at| Box::new(self.charges[at].status(self.clock.now())));
                let _ = reply.send(status);
            }
            Mail::Checked(checked, finding) => self.checked(checked, &finding),
            // Counted until the step is done, which may begin the next save.
            Mail::Suspected(Checked { service, entry, endpoint }) => {
                let Some(name) = self.charges[service].name_of(entry, endpoint) else { return };
                tracing::warn!(%entry, endpoint = name, "traffic meets one failure after the other");
                self.step(service, Event::Suspected { entry, endpoint: name });
            }
            Mail::Resolved { service, entry, endpoint, answer } => {
                self.step(service, Event::Resolved { entry, endpoint, answer });
            }
            Mail::Saved { service, revision, failure, writing: _counted } => {
                match &failure {
                    None => self.charges[service].stored_revision = revision,
                    Some(reason) => tracing::error!(service = self.charges[service].config.name, reason, "state not stored"),
                }
                self.step(service, Event::Saved { revision, failure });
            }
            Mail::Braked { service, revision, written } => {
                let charge = &mut self.charges[service];
                // Once while it lasts, and not where nothing is ever kept.
                let is_news =
                    !written && !charge.machine.rules().volatile && !std::mem::replace(&mut charge.is_not_durable, true);
                charge.is_not_durable &= !written;
                if is_news {
                    self.notifier.enqueue(telling::not_durable(&charge.config.name, revision));
                }
                self.step(service, Event::Braked { revision, written });
            }
            Mail::PinsKept { service, failure, writing: _counted } => self.pins_kept(service, failure),
            Mail::ResidentsKept { service, kept } => self.residents_kept(service, kept),
            Mail::RecordKept { service, written, writing: _counted } => self.record_kept(service, *written),
            Mail::Configure { services, loaded, reply } => {
                self.configure(services, loaded);
                let _ = reply.send(());
            }
            Mail::Answered { service, number, passed, detail } => {
                self.step(service, Event::Answered { number, passed, detail });
            }
            Mail::Read { service, metric, reading } => {
                self.step(service, Event::Read { metric, reading });
            }
            Mail::KeepPins { reply } => {
                (0..self.charges.len()).for_each(|at| self.keep_at_last(at));
                let _ = reply.send(());
            }
        }
    }

    fn checked(&mut self, Checked { service, entry, endpoint }: Checked, finding: &Finding) {
        let Some((name, eras_changed)) = self.charges[service].note_check(entry, endpoint, finding) else { return };
        if !finding.success {
            tracing::debug!(%entry, endpoint = name, detail = finding.detail, "check failed");
        }
        if eras_changed {
            let (service, era) = (&self.charges[service].config.name, self.charges[service].era_of(entry, endpoint));
            tracing::info!(service, %entry, endpoint = name, era, "era seen");
        }
        let published = self.step(service, Event::Probed { entry, endpoint: name, success: finding.success });
        if eras_changed && !published {
            self.publish(service);
        }
        self.charges[service].note_silence();
    }

    fn order(&mut self, service: &str, command: Command, by: By, reply: oneshot::Sender<Result<Change, OrderError>>) {
        let Some(at) = self.place(service) else {
            let _ = reply.send(Err(OrderError::NoService(service.to_owned())));
            return;
        };
        self.count_legacy(at, &command);
        let ticket = self.next_ticket();
        self.charges[at].waiting.insert(ticket, reply);
        let command = self.named(at, command);
        let By { actor, reason, if_match, dry_run } = by;
        self.step(at, Event::Ordered(Order { ticket, actor, reason, if_match, dry_run, command }));
    }

    pub(super) fn place(&self, service: &str) -> Option<usize> {
        self.order.iter().copied().find(|at| self.charges[*at].config.name == service)
    }

    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Whether it published.
    pub(super) fn step(&mut self, at: usize, event: Event) -> bool {
        let begun = self.clock.now();
        let effects = self.charges[at].machine.step(begun, event);
        let publishes = effects.iter().any(|effect| matches!(effect, Effect::Publish));
        let reverts = effects.iter().any(|effect| matches!(effect, Effect::Tell(Note::Rollback { rollout: Some(_), .. })));
        self.charges[at].begin_departures();
        self.carry_out(at, effects);
        if reverts {
            let after = self.clock.now().since(begun);
            self.step(at, Event::Reverted { after });
        }
        self.follow_case(at);
        self.follow_metrics(at);
        publishes
    }

    /// In the order of the list: a rollback is in force before anything else is begun.
    pub(super) fn carry_out(&mut self, at: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Publish => self.publish(at),
                Effect::Brake(brake) => self.brake(at, brake),
                Effect::Save(state) => self.save(at, state),
                Effect::Answer(ticket, answer) => self.answer(at, ticket, answer.map_err(OrderError::from)),
                Effect::Tell(note) => self.tell(at, note),
                Effect::Ask { number, gate } => self.ask(at, number, gate),
                Effect::Record(rollout) => self.record(at, &rollout),
            }
        }
    }

    fn publish(&mut self, at: usize) {
        if self.order.contains(&at) {
            let gone = self.refresh(at);
            self.publish_all(&[at], &gone);
        }
    }

    /// Makes the view of a service anew; gives the endpoints that went.
    pub(super) fn refresh(&mut self, at: usize) -> Vec<Arc<Endpoint>> {
        let own_box = self.own_box.clone();
        let config = self.charges[at].config.clone();
        let probe = |entry, endpoint: &Arc<Endpoint>| check_for_ever(at, entry, endpoint.clone(), &config, own_box.clone());
        let gone = self.charges[at].reconcile(probe);
        self.look_up(at);
        self.views[at] = Arc::new(self.charges[at].view());
        gone
    }

    /// Puts all views in force, of which these are new.
    pub(super) fn publish_all(&mut self, anew: &[usize], gone: &[Arc<Endpoint>]) {
        let services = self.order.iter().map(|at| self.views[*at].clone()).collect();
        self.publisher.publish(|before| before.followed_by(services));
        // After the publish: who finds a gate closed must find a snapshot without it.
        gone.iter().for_each(|endpoint| endpoint.gate.close());
        for charge in anew.iter().map(|at| &self.charges[*at]) {
            let (service, state) = (&charge.config.name, charge.machine.state());
            tracing::info!(service, revision = state.revision, split = %state.split, stable = %state.stable, "in force");
        }
    }

    fn look_up(&mut self, at: usize) {
        let Charge { lookups, machine, config, .. } = &mut self.charges[at];
        let interval = config.health.resolve_interval;
        lookups.follow(machine, |entry, endpoint| {
            let (own_box, told) = (self.own_box.clone(), endpoint.clone());
            let mail = move |answer| Mail::Resolved { service: at, entry, endpoint: told.clone(), answer };
            resolve::look_up_for_ever(endpoint, interval, self.resolver.clone(), own_box, mail)
        });
    }

    fn answer(&mut self, at: usize, ticket: Ticket, answer: Result<Change, OrderError>) {
        let Some(reply) = self.charges[at].waiting.remove(&ticket) else { return };
        let audit = self.audit.clone();
        tokio::spawn(async move {
            // A change is acknowledged when its audit line is written; one that could not even be
            // made durable does not wait for a disk that is in trouble.
            if answer.as_ref().is_ok_and(|change| change.changed && change.durable) {
                audit.flush(AUDIT_WAIT).await;
            }
            let _ = reply.send(answer);
        });
    }

    fn tell(&mut self, at: usize, note: Note) {
        let service = self.charges[at].config.name.clone();
        if let Note::Rollback { trigger, .. } = &note {
            *self.charges[at].rollbacks.entry(trigger).or_default() += 1;
        }
        if let Note::Departs { entry, .. } = &note {
            self.charges[at].departures.note_order(*entry);
        }
        if note.is_change() {
            self.audit.change(&service, &note);
        } else if note.is_trouble() {
            tracing::warn!(service, note = %json!(note), "control");
        } else {
            tracing::info!(service, note = %json!(note), "control");
        }
        let revision = self.charges[at].machine.state().revision;
        if let Some(notice) = telling::notice(&service, revision, &note) {
            self.notifier.enqueue(notice);
        }
        self.events.tell(&service, note);
    }

    fn sweep(&mut self) {
        let moment = self.clock.now();
        let now = moment.since(Moment::default());
        for charge in &mut self.charges {
            charge.look_back(moment);
            for (_, tally) in charge.tallies().iter() {
                tally.sessions().sweep(now);
            }
            charge.pins.sweep(now);
            charge.residents.sweep(since_epoch());
        }
    }
}
