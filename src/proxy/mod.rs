//! Traffic: from a client's connection to an endpoint's and back.
//!
//! ```text
//! listen ── connection ── rim ── forward ─────────────────────────────────── body ── writer
//!             │ line                │ facts      headers, and a bounded peek at the body
//!             └ reader (hyper)      │ seat       snapshot + pure decision + ticket
//!                                   │ cargo      send; the trouble says how far it got
//!                                   └ headers    session id sealed; the body keeps the ticket to its end
//! ```
//!
//! Times, the end of the process and silent endpoints are watched for all of a worker's requests together: `vigil`.
//!
//! Beside it, for HTTP+SSE alone, `channel`: what a session's POSTs and its GET stream share.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Cache, Guard};
use http::{HeaderValue, Version};
use tokio::sync::watch;

use crate::config::{Config, Limits, Log, Shutdown};
use crate::http1::Targets;
use crate::live::{LocalReader, Reader};
use crate::mcp::SealKeys;
use crate::telemetry::clock::Clock;
use crate::tls::Places;
use crate::upstream::{Uploads, Wire};

mod asker;
mod bell;
mod body;
mod books;
mod cargo;
mod channel;
mod connection;
mod doze;
mod error;
mod facts;
mod forward;
mod handles;
mod headers;
mod interrupted;
mod keys;
mod ledger;
mod line;
mod listen;
mod lists;
mod local;
mod oauth;
mod peek;
mod peer;
mod pending;
mod progress;
mod reader;
mod rehome;
mod rim;
mod seat;
mod session;
mod socket;
mod source;
mod stalls;
mod stream;
mod table;
mod target;
mod upload;
mod vigil;
mod witness;
mod writer;

pub use channel::Channels;
pub use interrupted::Interrupted;
pub use listen::{Door, Front, Load};
pub use rehome::Sessions;

use rim::Rooms;
use stalls::Stalls;
use upload::Upload;
use vigil::Vigil;
use writer::Dates;

/// How far the process is with stopping. Only ever goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Serving.
    Running,
    /// Not accepting; what runs may finish.
    Draining,
    /// The drain is over: what still runs is ended in the way its client survives.
    Parting,
    /// Connections are dropped.
    Ended,
}

/// What all traffic workers share.
pub struct Site {
    /// The snapshot.
    pub reader: Reader,
    /// Opens and makes session ids.
    pub keys: Arc<SealKeys>,
    /// What a reload may change.
    pub tuning: ArcSwap<Tuning>,
    /// What is put into `Via`, and by which a loop is known.
    pub via: Via,
    /// How far the process is with stopping.
    pub stage: watch::Receiver<Stage>,
    /// Refusals that no service sees.
    pub refused: Refused,
    /// Requests and streams in flight.
    pub in_flight: Arc<AtomicUsize>,
    /// Requests beyond their limit, while they are read to be refused.
    pub refusing: Arc<AtomicUsize>,
    /// The clock of session counts.
    pub clock: Clock,
    /// Whether answers are read for their outcome as they pass. They are; a bench measures what that costs.
    pub reads_answers: bool,
    /// The open streams of HTTP+SSE sessions.
    pub channels: Channels,
    /// Calls whose answer is to come on another stream than began.
    pub interrupted: Interrupted,
    /// Sessions that may be moved.
    pub sessions: Arc<Sessions>,
}

/// What a reload may change of the process as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// Bounds on what clients may do.
    pub limits: Limits,
    /// What is logged of traffic.
    pub log: Log,
    /// How to stop.
    pub shutdown: Shutdown,
}

impl Tuning {
    /// As a configuration has it.
    pub fn of(config: &Config) -> Self {
        Self { limits: config.limits.clone(), log: config.log, shutdown: config.shutdown }
    }
}

impl Site {
    /// As it stands now.
    pub fn tuning(&self) -> Guard<Arc<Tuning>> {
        self.tuning.load()
    }
}

/// Our name in `Via`, with the version of what came (RFC 9110, 7.6.3).
#[derive(Clone, Debug)]
pub struct Via {
    http1: HeaderValue,
    http2: HeaderValue,
}

impl Via {
    /// With a name that no other dualgate has.
    pub fn new(name: &str) -> Result<Self, http::header::InvalidHeaderValue> {
        Ok(Self { http1: HeaderValue::try_from(format!("1.1 {name}"))?, http2: HeaderValue::try_from(format!("2.0 {name}"))? })
    }

    /// For a message of this version.
    fn of(&self, version: Version) -> &HeaderValue {
        if version == Version::HTTP_2 { &self.http2 } else { &self.http1 }
    }
}

/// Refusals by reason.
#[derive(Debug, Default)]
pub struct Refused {
    /// Malformed or ambiguous heads.
    pub form: AtomicU64,
    /// Over the limit of requests in flight.
    pub overload: AtomicU64,
    /// Host or Origin not allowed.
    pub origin: AtomicU64,
    /// No service for host and path.
    pub no_service: AtomicU64,
    /// Modern requests where that era is not offered.
    pub era: AtomicU64,
}

impl Refused {
    /// The counts with the values of the label `reason`.
    pub fn counts(&self) -> [(&'static str, u64); 5] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("form", read(&self.form)),
            ("overload", read(&self.overload)),
            ("origin", read(&self.origin)),
            ("no_service", read(&self.no_service)),
            ("era", read(&self.era)),
        ]
    }
}

/// Handshakes of clients at a time on one worker; more wait. A thread does a few thousand a second, so this
/// is a tenth of a second's work or more, and holds 32 MiB at most (64 KiB are the most of one that rustls keeps).
const MOST_HANDSHAKES: usize = 512;

/// One traffic worker: a thread, a runtime, and its own connections to endpoints.
struct Worker {
    site: Arc<Site>,
    /// The snapshot, as this thread reads it.
    reader: LocalReader,
    /// The same of what a reload changes.
    tuning: RefCell<Cache<Tunable, Arc<Tuning>>>,
    rooms: Rooms,
    wire: Rc<Wire>,
    uploads: Rc<Uploads<Box<Upload>>>,
    vigil: Rc<Vigil>,
    dates: Dates,
    targets: Targets,
    stalls: Stalls,
    turn: Cell<u64>,
    /// For handshakes of its clients.
    places: Places,
    /// Itself, for what outlives a request.
    own: Weak<Self>,
}

struct Tunable(Arc<Site>);

impl Deref for Tunable {
    type Target = ArcSwap<Tuning>;

    fn deref(&self) -> &ArcSwap<Tuning> {
        &self.0.tuning
    }
}

/// A future in a box of its own. The room for it is not part of who awaits it, where `Box::pin(make())` would leave
/// some: what is made in an async block is held there until it has been moved.
fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::pin(make())
}

impl Worker {
    fn new(site: Arc<Site>) -> Rc<Self> {
        let vigil = Vigil::new(site.stage.clone(), site.reader.local(), site.clock);
        let (wire, uploads) = (Wire::new(), Uploads::new());
        let reader = site.reader.local();
        Rc::new_cyclic(|own| Self {
            tuning: RefCell::new(Cache::new(Tunable(site.clone()))),
            rooms: Rooms::of(&site),
            site,
            reader,
            wire,
            uploads,
            vigil,
            dates: Dates::default(),
            targets: Targets::default(),
            stalls: Stalls::default(),
            turn: Cell::new(0),
            places: Places::new(MOST_HANDSHAKES),
            own: own.clone(),
        })
    }

    /// What a reload may change, as it stands now.
    fn tuned<T>(&self, look: impl FnOnce(&Tuning) -> T) -> T {
        look(self.tuning.borrow_mut().load())
    }

    fn next_turn(&self) -> u64 {
        self.turn.replace(self.turn.get().wrapping_add(1))
    }
}
