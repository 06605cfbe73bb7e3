//! A request's and a stream's way through dualgate, end to end, beside hyper as a bare forwarder:
//! requests a second, CPU a request, memory an idle stream.
//!
//! `cargo bench --bench forward`; a filter (`requests`, `scan`, `streams`, `flat`) chooses. Without `--bench`, as in
//! `cargo test --all-targets`, everything runs once and shortly. `BENCH_DUALGATE` names another binary to measure.
//! `train` and `start` run only where they are asked for: `scripts/pgo.sh`.
//!
//! ```text
//!  core 1                    core 0                 core 1
//!  load (64 sessions)  ──>   dualgate | bare  ──>   backend (primary, secondary)
//! ```

#![allow(clippy::unwrap_used)]

use std::env;
use std::time::Duration;

use dualgate::app::{App, Seams};
use dualgate::config;
use tokio::net::TcpListener;
use tokio::time::Instant;

mod backend;
mod bare;
mod child;
mod flat;
mod gate;
mod load;
mod measure;
mod message;
mod train;

use child::{Child, Tools};
use gate::{Gate, Setting};
use load::{Calls, HOST};
use measure::{Sums, Window, spread};

const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// Freed and fetched pages have settled after so long.
const SETTLE: Duration = Duration::from_secs(1);

/// What looks every second has looked a few times.
const LOOKS: Duration = Duration::from_secs(3);

/// What was answered is counted within so long.
const COUNTED: Duration = Duration::from_secs(5);

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["role", ref role @ ..] => take(role),
        _ => bench(&words),
    }
}

/// One of the processes that a bench is made of.
fn take(role: &[&str]) {
    let number = |text: &str| text.parse::<u32>().unwrap();
    let port = |text: &str| text.parse::<u16>().unwrap();
    match *role {
        ["backend", ports] => with_parent(|| backend::run(ports.parse().unwrap())),
        ["bare", primary, secondary] => with_parent(|| bare::run(port(primary), port(secondary))),
        ["dualgate", file, reads] => with_parent(|| dualgate(file, reads == "reading")),
        ["call", at, host, tools, ids, proxy, millis] => {
            let calls = Calls { port: port(at), host: host.to_owned(), tools: number(tools), sealed: ids == "sealed" };
            load::call(calls, number(proxy), Duration::from_millis(number(millis).into()));
        }
        ["hold", at, ref stages @ ..] => load::hold(port(at), &stages.iter().map(|stage| number(stage)).collect::<Vec<_>>()),
        ["keep", at, connections] => load::keep(port(at), number(connections)),
        ["fill", at, what, count] => load::fill(port(at), what, number(count)),
        ["train", at, tls, how_much] => train::run(port(at), port(tls), how_much == "whole"),
        ["first", at] => train::first(port(at)),
        _ => unreachable!("the bench has no such role: {role:?}"),
    }
}

/// How much is measured.
struct Plan {
    rounds: usize,
    window: Duration,
    streams: [u32; 2],
    sessions: u32,
    words: u32,
    connections: u32,
}

/// `cargo bench`.
const WHOLE: Plan = Plan {
    rounds: 9,
    window: Duration::from_secs(1),
    streams: [1_000, 10_000],
    sessions: 1_000_000,
    words: 100_000,
    connections: 10_000,
};

/// Whether it works at all.
const SHORT: Plan =
    Plan { rounds: 1, window: Duration::from_millis(100), streams: [10, 20], sessions: 1_000, words: 1_000, connections: 20 };

fn bench(words: &[&str]) {
    let whole = words.contains(&"--bench");
    let plan = if whole { WHOLE } else { SHORT };
    let mut filters = words.iter().filter(|word| !word.starts_with('-')).peekable();
    let any = filters.peek().is_none();
    let filters: Vec<_> = filters.collect();
    let wanted = |case: &str| any || filters.iter().any(|filter| case.contains(**filter));
    let tools = Tools::find();
    if filters.iter().any(|filter| **filter == "train") {
        return training(&tools, whole);
    }
    if filters.iter().any(|filter| **filter == "start") {
        return starting(&tools);
    }
    if wanted("forward requests") {
        requests(&tools, &plan);
    }
    if wanted("forward scan") {
        scan(&tools, &plan);
    }
    if wanted("forward streams") {
        streams(&tools, &plan);
    }
    if wanted("forward flat") {
        flat::flat(&tools, &plan);
    }
}

const NAMES: [&str; 2] = ["dualgate", "bare"];

/// dualgate with answers read for their outcome, and passed unread.
const READING: [&str; 2] = ["reading", "blind"];

/// dualgate in this process, with a switch that no configuration has.
fn dualgate(file: &str, reads_answers: bool) {
    let config = config::load(file, &std::fs::read_to_string(file).unwrap(), None).unwrap();
    let app = App::start_with(config, Seams { reads_answers, ..Seams::default() }).unwrap();
    app.join().unwrap();
}

/// The proxies in the order of [`NAMES`].
fn proxies(tools: &Tools, backends: &[u16]) -> (Gate, Child, u16) {
    let [primary, secondary] = [0, 1].map(|at| backends[at].to_string());
    let mut bare = Child::role(tools, PROXY_CORE, &["role", "bare", &primary, &secondary]);
    let port = bare.ports()[0];
    (Gate::binary(tools, &Setting::plain(backends)), bare, port)
}

/// A proxy that is called.
struct Side {
    process: u32,
    calls: Calls,
}

impl Side {
    fn gate(gate: &Gate) -> Self {
        let calls = Calls { port: gate.port, host: HOST.to_owned(), tools: 1, sealed: true };
        Self { process: gate.child.id(), calls }
    }
}

/// Saturation: one window of the one, one of the other, and so on.
fn interleaved(tools: &Tools, plan: &Plan, sides: &[Side; 2]) -> [Vec<Window>; 2] {
    let mut windows: [Vec<Window>; 2] = Default::default();
    for _ in 0..plan.rounds {
        for (Side { process, calls }, windows) in sides.iter().zip(&mut windows) {
            let (port, tools_called) = (calls.port.to_string(), calls.tools.to_string());
            let (ids, process) = (if calls.sealed { "sealed" } else { "plain" }, process.to_string());
            let millis = plan.window.as_millis().to_string();
            let role = ["role", "call", &port, &calls.host, &tools_called, ids, &process, &millis];
            windows.push(Window::read(&Child::role(tools, LOAD_CORE, &role).line()));
        }
    }
    windows
}

fn requests(tools: &Tools, plan: &Plan) {
    let mut backend = Child::role(tools, LOAD_CORE, &["role", "backend", "2"]);
    let (gate, bare, port) = proxies(tools, &backend.ports());
    let calls = Calls { port, host: HOST.to_owned(), tools: 1, sealed: false };
    let windows = interleaved(tools, plan, &[Side::gate(&gate), Side { process: bare.id(), calls }]);
    print(tools, plan, NAMES, &windows);
    let sums = windows[0].iter().fold(Sums::default(), |sums, window| sums + window.sums);
    prove(&gate, sums);
}

/// The features were on while they were measured: what dualgate has counted is what the load has counted, to the last call.
fn prove(gate: &Gate, sums: Sums) {
    let Sums { answers, errors, sessions, refused } = sums;
    let until = Instant::now() + COUNTED;
    let expected = [errors, answers - errors + sessions, errors, answers - errors, refused];
    let counted = loop {
        let metrics = gate.metrics();
        let counted = [
            metrics.sum("dualgate_requests_total", &["outcome=\"tool_error\""]),
            metrics.sum("dualgate_requests_total", &["outcome=\"ok\""]),
            metrics.sum("mcp_tool_calls_total", &["tool_name=\"search_000\"", "outcome=\"tool_error\""]),
            metrics.sum("mcp_tool_calls_total", &["tool_name=\"search_000\"", "outcome=\"ok\""]),
            metrics.sum("dualgate_unknown_session_ids_total", &[]),
        ];
        if counted == expected || Instant::now() > until {
            break counted;
        }
    };
    println!(
        "\nin the same run: of {answers} calls {errors} were answered with isError; {refused} altered session ids were refused"
    );
    assert_eq!(
        counted, expected,
        "what dualgate has counted (left) is not what the load has counted (right): errors, others, both by tool, ids"
    );
    assert!(errors > 0 && refused > 0, "nothing was proved");
    println!("dualgate has counted the same, by outcome and by tool");
}

fn scan(tools: &Tools, plan: &Plan) {
    let mut backend = Child::role(tools, LOAD_CORE, &["role", "backend", "2"]);
    let setting = Setting::plain(&backend.ports());
    let gates = READING.map(|reads| Gate::within(tools, &setting, reads));
    print(tools, plan, READING, &interleaved(tools, plan, &[Side::gate(&gates[0]), Side::gate(&gates[1])]));
}

fn print(tools: &Tools, plan: &Plan, names: [&str; 2], windows: &[Vec<Window>; 2]) {
    let place = if tools.pinned { "proxy on core 0, load and backend on core 1" } else { "not pinned" };
    println!("\nsmall POST (300 B, answer 200 B, 1 % with isError), {} keep-alive connections, {place}", load::CONNECTIONS);
    println!("medians of {} interleaved rounds of {:?} (least to greatest)\n", plan.rounds, plan.window);
    println!("{:10} {:>28} {:>24} {:>10}", "", "requests/s", "CPU µs/request", "core busy");
    for (name, windows) in names.iter().zip(windows) {
        let [slowest, rate, fastest] = spread(windows.iter().map(|window| window.rate));
        let [least, cpu, most] = spread(windows.iter().map(|window| window.cpu));
        let [_, busy, _] = spread(windows.iter().map(|window| window.busy));
        let (rates, cpus) = (format!("({slowest:.0} to {fastest:.0})"), format!("({least:.1} to {most:.1})"));
        println!("{name:10} {rate:>9.0} {rates:>18} {cpu:>8.1} {cpus:>15} {busy:>10.2}");
    }
    // Of windows side by side: a core may change its speed from one round to the next.
    let pairs = || windows[0].iter().zip(&windows[1]);
    let [slowest, rate, fastest] = spread(pairs().map(|(one, other)| one.rate / other.rate));
    let [least, cpu, most] = spread(pairs().map(|(one, other)| one.cpu / other.cpu));
    let (rates, cpus) = (format!("({slowest:.2} to {fastest:.2})"), format!("({least:.2} to {most:.2})"));
    println!("{:10} {rate:>9.2} {rates:>18} {cpu:>8.2} {cpus:>15}", "ratio");
    let [least, more, most] = spread(pairs().map(|(one, other)| one.cpu - other.cpu));
    println!("{:10} {:>28} {more:>8.2} {:>15}", "difference", "", format!("({least:.2} to {most:.2})"));
}

/// What a profile-guided build learns from: dualgate, with all that it listens to, under the load of [`train`].
fn training(tools: &Tools, whole: bool) {
    let mut backend = Child::role(tools, LOAD_CORE, &["role", "backend", "2"]);
    let gate = Gate::binary(tools, &Setting { tls: true, ..Setting::plain(&backend.ports()) });
    let how_much = if whole { "whole" } else { "short" };
    let mut load = Child::role(tools, LOAD_CORE, &["role", "train", &gate.port.to_string(), &gate.tls.to_string(), how_much]);
    assert_eq!(load.line().trim(), "trained");
    // A scrape is no rare event either.
    gate.metrics();
    // A profile is written at an orderly end.
    gate.terminate();
}

/// Starts, with an empty folder and with what the one before has kept; each with what comes first, a few looks of all that looks
/// by the clock, and an orderly end: what that runs is laid out side by side in the binary.
fn starting(tools: &Tools) {
    let mut backend = Child::role(tools, LOAD_CORE, &["role", "backend", "2"]);
    let setting = Setting { tls: true, log: gate::INFO, ..Setting::plain(&backend.ports()) };
    let gate = begun(tools, Gate::binary(tools, &setting)).again(tools, &setting);
    begun(tools, gate).terminate();
}

fn begun(tools: &Tools, gate: Gate) -> Gate {
    let mut client = Child::role(tools, LOAD_CORE, &["role", "first", &gate.port.to_string()]);
    assert_eq!(client.line().trim(), "answered");
    std::thread::sleep(LOOKS);
    gate
}

/// Memory: each proxy fresh, with a session and an idle event stream a connection.
fn streams(tools: &Tools, plan: &Plan) {
    let mut backend = Child::role(tools, LOAD_CORE, &["role", "backend", "2"]);
    let (gate, bare, bare_port) = proxies(tools, &backend.ports());
    println!("\nidle event streams: growth of resident memory\n");
    println!("{:10} {:>10} {:>12} {:>12} {:>12}", "", "start MiB", "streams", "MiB", "KiB/stream");
    for (proxy, port, name) in [(&gate.child, gate.port, NAMES[0]), (&bare, bare_port, NAMES[1])] {
        // Two descriptors a stream, and some to spare.
        let fit = u32::try_from(measure::descriptors(proxy.id()).saturating_sub(500) / 2).unwrap_or(u32::MAX);
        let stages = plan.streams.map(|stage| stage.min(fit));
        if stages != plan.streams {
            println!("{name}: the limit on descriptors has room for {fit} streams");
        }
        std::thread::sleep(SETTLE);
        let start = measure::resident(proxy.id());
        let [few, many] = stages.map(|stage| stage.to_string());
        let mut load = Child::role(tools, LOAD_CORE, &["role", "hold", &port.to_string(), &few, &many]);
        for stage in stages {
            assert_eq!(load.line().trim(), stage.to_string());
            std::thread::sleep(SETTLE);
            let now = measure::resident(proxy.id());
            let growth = now.saturating_sub(start) as f64 / f64::from(stage);
            println!("{name:10} {:>10.1} {stage:>12} {:>12.1} {growth:>12.1}", start as f64 / 1024.0, now as f64 / 1024.0);
            load.go_on();
        }
    }
}

/// Runs a role until the bench lets go of it: then its input ends, however the bench ended.
fn with_parent(role: impl FnOnce()) {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    role();
}

fn run_local(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.unwrap().block_on(future);
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}
