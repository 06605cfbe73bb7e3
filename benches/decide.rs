//! What the pure parts of a request cost: nanoseconds and allocations.
//!
//! `cargo bench --bench decide`

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use divan::{AllocProfiler, Bencher, black_box, black_box_drop};
use dualgate::config::{self, ClientTls};
use dualgate::domain::machine::EndpointSpec;
use dualgate::domain::{Asked, ClientKey, Entry, Era, KeySource, Outcome, PerEntry, Phase, Salt, Scene, Split, Standing};
use dualgate::live::cell::cell;
use dualgate::live::{EndpointView, Endpoints, EntryView, Reader, ServiceView, Snapshot};
use dualgate::mcp::sse::Boundary;
use dualgate::mcp::{Envelope, SealKeys, Secret, SessionPin, StandsFor};
use dualgate::tls::Connector;
use dualgate::upstream::{Endpoint, EntryTally, ServiceTally, Ticket};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn scene() -> Scene {
    Scene {
        split: Split::parse("90:10").unwrap(),
        salt: salt(),
        phase: Phase::from_random(4_711),
        stable: Entry::Primary,
        condemned: PerEntry::default(),
        standing: PerEntry { primary: Standing::Up, secondary: Standing::Up },
        failover: true,
        serves: Default::default(),
        offers_modern: true,
    }
}

fn salt() -> Salt {
    Salt::new(*b"0123456789abcdef")
}

fn key() -> ClientKey {
    ClientKey::new(&KeySource::ApiKey, API_KEY)
}

const API_KEY: &[u8] = b"sk-3f9a6c1e77d04b52a8e01b6f";

#[divan::bench_group(sample_size = 500)]
mod choice {
    use super::*;

    fn decide(bencher: Bencher<'_, '_>, asked: Asked) {
        let scene = scene();
        let mut births = 0;
        bencher.bench_local(|| {
            black_box(&scene).decide(black_box(asked), None, || {
                births += 1;
                births
            })
        });
    }

    #[divan::bench]
    fn decide_pin(bencher: Bencher<'_, '_>) {
        decide(bencher, Asked::Pinned(Entry::Secondary));
    }

    #[divan::bench]
    fn decide_keyed_client(bencher: Bencher<'_, '_>) {
        decide(bencher, Asked::Client(key()));
    }

    #[divan::bench]
    fn decide_birth(bencher: Bencher<'_, '_>) {
        decide(bencher, Asked::Birth);
    }

    #[divan::bench]
    fn salt_position(bencher: Bencher<'_, '_>) {
        let (salt, key) = (salt(), key());
        bencher.bench_local(|| black_box(&salt).position(black_box(key)));
    }

    #[divan::bench]
    fn client_key_new(bencher: Bencher<'_, '_>) {
        bencher.bench_local(|| ClientKey::new(black_box(&KeySource::ApiKey), black_box(API_KEY)));
    }
}

#[divan::bench_group(sample_size = 500)]
mod endpoint {
    use super::*;

    pub(super) fn entry(endpoints: usize) -> EntryView {
        let spec = |at: usize| EndpointSpec::new(format!("notes-{at}"), format!("http://127.0.0.1:{}", 3_000 + at));
        let connector = Connector::new("bench".to_owned(), &ClientTls::default());
        let view = |at| EndpointView {
            standing: Standing::Up,
            leaving: false,
            endpoint: Endpoint::new(&spec(at), &connector).unwrap(),
            version: "1".to_owned(),
            tally: Arc::default(),
        };
        EntryView {
            version: "1".to_owned(),
            endpoints: (0..endpoints).map(view).collect(),
            unresolved: false,
            tally: Arc::default(),
        }
    }

    #[divan::bench(args = [1, 10, 100])]
    fn rendezvous(bencher: Bencher<'_, '_>, endpoints: usize) {
        let entry = entry(endpoints);
        let key = key();
        bencher.bench_local(|| black_box(&entry).pick(black_box(Some(key)), &[], 0).is_some());
    }

    #[divan::bench(args = [1, 10, 100])]
    fn least_held(bencher: Bencher<'_, '_>, endpoints: usize) {
        let entry = entry(endpoints);
        let mut turn = 0;
        bencher.bench_local(|| {
            turn += 1;
            black_box(&entry).pick(None, &[], black_box(turn)).is_some()
        });
    }

    /// What a pinned request asks for; the last name of all.
    #[divan::bench(args = [1, 10, 100])]
    fn by_name(bencher: Bencher<'_, '_>, endpoints: usize) {
        let entry = entry(endpoints);
        let name = format!("notes-{}", endpoints - 1);
        bencher.bench_local(|| black_box(&entry).named(black_box(&name)).is_some());
    }
}

#[divan::bench_group(sample_size = 500)]
mod session {
    use super::*;

    pub(super) fn keys() -> SealKeys {
        SealKeys::new(&[Secret::new([7; 32])], [3; 12])
    }

    pub(super) fn pin() -> SessionPin {
        let upstream = Some("0123456789abcdef0123456789abcdef".into());
        let stands_for = StandsFor::SessionId;
        SessionPin { stands_for, entry: Entry::Primary, endpoint: "127.0.0.1:3000".into(), revision: 42, upstream }
    }

    #[divan::bench]
    fn seal(bencher: Bencher<'_, '_>) {
        let (keys, pin) = (keys(), pin());
        bencher.bench_local(|| keys.seal(black_box("notes"), black_box(&pin)));
    }

    #[divan::bench]
    fn open(bencher: Bencher<'_, '_>) {
        let keys = keys();
        let id = keys.seal("notes", &pin()).unwrap();
        bencher.bench_local(|| keys.open(black_box("notes"), black_box(id.as_bytes())));
    }

    /// One of so many sessions used again; of a million, no two in a row.
    #[divan::bench(args = [1, 10_000, 1_000_000])]
    fn roster_seen(bencher: Bencher<'_, '_>, sessions: usize) {
        let tally = EntryTally::default();
        let id = |at: usize| format!("{at:0>120}");
        (0..sessions).for_each(|at| tally.sessions().seen(id(at).as_bytes(), 1, 1, Duration::ZERO));
        let ids: Vec<String> = (0..10_000).map(|at| id(at * 99 % sessions)).collect();
        let mut ids = ids.iter().cycle();
        bencher.bench_local(|| tally.sessions().seen(ids.next().unwrap().as_bytes(), 1, 1, Duration::from_secs(1)));
    }
}

#[divan::bench_group(sample_size = 500)]
mod tally {
    use super::*;
    use dualgate::upstream::Ended;

    /// A request that calls no tool, which nobody watches.
    const ENDED: Ended<'static> =
        Ended { tool: None, outcome: Outcome::Ok, elapsed: Duration::from_micros(300), is_answered: true, client: None };

    /// A call of one of so many tools has ended.
    #[divan::bench(args = [1, 20, 200])]
    fn tool_note(bencher: Bencher<'_, '_>, tools: usize) {
        let tally = EntryTally::default();
        let names: Vec<String> = (0..tools).map(|at| format!("search-{at}")).collect();
        for name in &names {
            tally.tools().note(name, Outcome::Ok, Duration::ZERO);
        }
        let mut names = names.iter().cycle();
        bencher.bench_local(|| {
            black_box(tally.tools().note(names.next().unwrap(), Outcome::Ok, black_box(Duration::from_micros(300))).0)
        });
    }

    #[divan::bench]
    fn result_note(bencher: Bencher<'_, '_>) {
        let tally = EntryTally::default();
        bencher.bench_local(|| black_box(&tally).end(black_box(ENDED)));
    }

    /// The same, while another thread does nothing else.
    #[divan::bench]
    fn result_note_beside_another(bencher: Bencher<'_, '_>) {
        let tally = Arc::new(EntryTally::default());
        let (other, stop) = (tally.clone(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let told = stop.clone();
        let busy = std::thread::spawn(move || {
            while !told.load(std::sync::atomic::Ordering::Relaxed) {
                other.end(ENDED);
            }
        });
        bencher.bench_local(|| black_box(&tally).end(black_box(ENDED)));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        busy.join().unwrap();
    }
}

/// All that a request needs to be placed, from its head and body to the endpoint: the bar is 500 ns, and no allocation but
/// the id.
#[divan::bench_group(sample_size = 500)]
mod decision {
    use super::*;

    fn reader(services: usize, endpoints: usize) -> (Reader, String) {
        let mut snapshot = service::snapshot(services);
        let last = &snapshot.services[services - 1];
        let host = last.config.hosts[0].clone();
        let entries = PerEntry::from_fn(|_| endpoint::entry(endpoints));
        let view = ServiceView { entries, ..service::view((*last.config).clone()) };
        let mut services = std::mem::take(&mut snapshot.services);
        services.pop();
        services.push(Arc::new(view));
        (cell(Snapshot::first(services)).1, host)
    }

    const SIZES: [(usize, usize); 3] = [(1, 1), (1_000, 1), (1_000, 100)];

    /// A call of a session: the service, the message, the seal, the split, the endpoint, its ticket.
    #[divan::bench(args = SIZES)]
    fn of_a_call(bencher: Bencher<'_, '_>, (services, endpoints): (usize, usize)) {
        let (reader, host) = reader(services, endpoints);
        let (local, keys, body) = (reader.local(), session::keys(), message::call(300));
        let pin = SessionPin { endpoint: format!("notes-{}", endpoints - 1).into(), ..session::pin() };
        let service = local.look(|snapshot| snapshot.route(&host, "/mcp").unwrap().config.name.clone());
        let id = keys.seal(&service, &pin).unwrap();
        bencher.bench_local(|| {
            let service = local.look(|snapshot| snapshot.route(black_box(&host), black_box("/mcp")).cloned()).unwrap();
            let envelope = Envelope::read(black_box(body.as_bytes())).unwrap();
            let pin = keys.open(&service.config.name, black_box(id.as_bytes())).unwrap();
            let choice = service.scene.decide(Asked::Pinned(pin.entry), Some(Era::Legacy), || 0).unwrap();
            let named = service.entries[choice.entry].named(&pin.endpoint).unwrap();
            black_box_drop((envelope, Ticket::take(&named.endpoint).unwrap(), pin));
        });
    }

    /// A birth by a client with a key, and the id that it gets.
    #[divan::bench(args = SIZES)]
    fn of_a_birth(bencher: Bencher<'_, '_>, (services, endpoints): (usize, usize)) {
        let (reader, host) = reader(services, endpoints);
        let (local, keys, body) = (reader.local(), session::keys(), message::call(300));
        let server = session::pin();
        bencher.bench_local(|| {
            let service = local.look(|snapshot| snapshot.route(black_box(&host), black_box("/mcp")).cloned()).unwrap();
            let envelope = Envelope::read(black_box(body.as_bytes())).unwrap();
            let key = key();
            let choice = service.scene.decide(Asked::Client(key), Some(Era::Legacy), || 0).unwrap();
            let view = service.entries[choice.entry].pick(Some(key), &[], 0).unwrap();
            let pin = SessionPin { entry: choice.entry, endpoint: view.endpoint.name.as_str().into(), ..server.clone() };
            let id = keys.seal(&service.config.name, &pin).unwrap();
            black_box_drop((envelope, Ticket::take(&view.endpoint).unwrap(), id));
        });
    }
}

#[divan::bench_group(sample_size = 500)]
mod message {
    use super::*;

    /// A `tools/call` of so many bytes.
    pub(super) fn call(length: usize) -> String {
        let open = r#"{"jsonrpc":"2.0","id":10000001,"method":"tools/call","params":{"name":"search","arguments":{"query":""#;
        let close = r#""}}}"#;
        format!("{open}{}{close}", "q".repeat(length - open.len() - close.len()))
    }

    #[divan::bench(args = [300, 16 << 10])]
    fn envelope_read(bencher: Bencher<'_, '_>, length: usize) {
        let body = call(length);
        bencher.bench_local(|| black_box_drop(Envelope::read(black_box(body.as_bytes())).unwrap()));
    }

    fn event() -> String {
        let (open, close) = (
            "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"data\":\"",
            "\"}}\n\n",
        );
        format!("{open}{}{close}", "e".repeat(200 - open.len() - close.len()))
    }

    #[divan::bench]
    fn boundary_feed_whole_event(bencher: Bencher<'_, '_>) {
        let event = event();
        let mut boundary = Boundary::default();
        bencher.bench_local(|| black_box(&mut boundary).feed(black_box(event.as_bytes())));
    }

    /// The same bytes cut before the end of the event, so that each of them is looked at.
    #[divan::bench]
    fn boundary_feed_cut_event(bencher: Bencher<'_, '_>) {
        let event = event();
        let cut = &event.as_bytes()[..199];
        let mut boundary = Boundary::default();
        bencher.bench_local(|| black_box(&mut boundary).feed(black_box(cut)));
    }
}

#[divan::bench_group(sample_size = 500)]
mod service {
    use super::*;

    pub(super) fn snapshot(services: usize) -> Snapshot {
        let service = |at| {
            format!(
                "[[service]]\nname = \"s{at}\"\nhosts = [\"s{at}.example\"]\npath = \"/\"\n\
                 [service.primary]\nversion = \"1\"\nendpoints = [\"http://127.0.0.1:{}\"]\n\
                 [service.secondary]\nversion = \"2\"\nendpoints = [\"http://127.0.0.1:{}\"]\n",
                10_000 + at,
                20_000 + at,
            )
        };
        let text: String = (0..services).map(service).collect();
        let config = config::load("bench.toml", &text, None).unwrap();
        Snapshot::first(config.services.into_iter().map(|config| Arc::new(view(config))).collect())
    }

    pub(super) fn view(config: config::Service) -> ServiceView {
        let entry =
            |_| EntryView { version: "1".to_owned(), endpoints: Endpoints::default(), unresolved: false, tally: Arc::default() };
        ServiceView {
            pins: Default::default(),
            catalogue: Arc::default(),
            is_in_rollout: false,
            residents: Default::default(),
            config: Arc::new(config),
            revision: 1,
            scene: scene(),
            births: Arc::default(),
            starting: false,
            entries: PerEntry::from_fn(entry),
            evictions: PerEntry::default(),
            tally: Arc::new(ServiceTally::default()),
        }
    }

    /// The service that is looked at last.
    #[divan::bench(args = [1, 10, 1_000], sample_size = 20)]
    fn route_to_the_last(bencher: Bencher<'_, '_>, services: usize) {
        let snapshot = snapshot(services);
        let host = snapshot.services[services - 1].config.hosts[0].clone();
        bencher.bench_local(|| black_box(&snapshot).route(black_box(&host), black_box("/mcp")).is_some());
    }

    #[divan::bench]
    fn current_snapshot(bencher: Bencher<'_, '_>) {
        let (_publisher, reader) = cell(snapshot(1));
        bencher.bench_local(|| black_box(&reader).current().number);
    }

    #[divan::bench]
    fn look_at_current_snapshot(bencher: Bencher<'_, '_>) {
        let (_publisher, reader) = cell(snapshot(1));
        let local = reader.local();
        bencher.bench_local(|| black_box(&local).look(|snapshot| snapshot.number));
    }
}
