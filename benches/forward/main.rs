//! A request's and a stream's way through dualgate, end to end, beside hyper as a bare forwarder:
//! requests a second, CPU a request, memory an idle stream.
//!
//! `cargo bench --bench forward`; a filter (`requests`, `scan`, `streams`) chooses. Without `--bench`, as in
//! `cargo test --all-targets`, everything runs once and shortly.
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

mod backend;
mod bare;
mod child;
mod load;
mod measure;
mod message;

use child::{Child, Tools};
use measure::{Window, spread};

const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// Freed and fetched pages have settled after so long.
const SETTLE: Duration = Duration::from_secs(1);

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u32>().unwrap();
    let port = |text: &str| text.parse::<u16>().unwrap();
    match words[..] {
        ["role", "backend"] => with_parent(backend::run),
        ["role", "bare", primary, secondary] => with_parent(|| bare::run(port(primary), port(secondary))),
        ["role", "dualgate", file, reads] => with_parent(|| dualgate(file, reads == "reading")),
        ["role", "call", at, proxy, millis] => load::call(port(at), number(proxy), Duration::from_millis(number(millis).into())),
        ["role", "hold", at, ref stages @ ..] => {
            load::hold(port(at), &stages.iter().map(|stage| number(stage)).collect::<Vec<_>>())
        }
        _ => bench(&words),
    }
}

/// How much is measured.
struct Plan {
    rounds: usize,
    window: Duration,
    streams: [u32; 2],
}

fn bench(words: &[&str]) {
    let plan = if words.contains(&"--bench") {
        Plan { rounds: 9, window: Duration::from_secs(1), streams: [1_000, 10_000] }
    } else {
        Plan { rounds: 1, window: Duration::from_millis(100), streams: [10, 20] }
    };
    let mut filters = words.iter().filter(|word| !word.starts_with('-')).peekable();
    let any = filters.peek().is_none();
    let filters: Vec<_> = filters.collect();
    let wanted = |case: &str| any || filters.iter().any(|filter| case.contains(**filter));
    let tools = Tools::find();
    if wanted("forward requests") {
        requests(&tools, &plan, NAMES, proxies);
    }
    if wanted("forward scan") {
        requests(&tools, &plan, READING, |tools, backends| {
            READING.map(|reads| Child::within(tools, PROXY_CORE, backends, reads))
        });
    }
    if wanted("forward streams") {
        streams(&tools, &plan);
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

/// The proxies in the order of [`NAMES`], each with its port.
fn proxies(tools: &Tools, backends: [u16; 2]) -> [(Child, u16); 2] {
    let [primary, secondary] = backends.map(|port| port.to_string());
    let mut bare = Child::role(tools, PROXY_CORE, &["role", "bare", &primary, &secondary]);
    let [port] = bare.ports();
    [Child::dualgate(tools, PROXY_CORE, backends), (bare, port)]
}

/// Saturation: one window of the one, one of the other, and so on.
fn requests(tools: &Tools, plan: &Plan, names: [&str; 2], proxies: impl FnOnce(&Tools, [u16; 2]) -> [(Child, u16); 2]) {
    let mut backend = Child::role(tools, LOAD_CORE, &["role", "backend"]);
    let proxies = proxies(tools, backend.ports());
    let mut windows: [Vec<Window>; 2] = Default::default();
    for _ in 0..plan.rounds {
        for ((proxy, port), windows) in proxies.iter().zip(&mut windows) {
            let (port, id, millis) = (port.to_string(), proxy.id().to_string(), plan.window.as_millis().to_string());
            let mut load = Child::role(tools, LOAD_CORE, &["role", "call", &port, &id, &millis]);
            windows.push(Window::read(&load.line()));
        }
    }
    let place = if tools.pinned { "proxy on core 0, load and backend on core 1" } else { "not pinned" };
    println!("\nsmall POST (300 B, answer 200 B), {} keep-alive connections, {place}", load::CONNECTIONS);
    println!("medians of {} interleaved rounds of {:?} (least to greatest)\n", plan.rounds, plan.window);
    println!("{:10} {:>28} {:>24} {:>10}", "", "requests/s", "CPU µs/request", "core busy");
    for (name, windows) in names.iter().zip(&windows) {
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

/// Memory: each proxy fresh, with a session and an idle event stream a connection.
fn streams(tools: &Tools, plan: &Plan) {
    let mut backend = Child::role(tools, LOAD_CORE, &["role", "backend"]);
    let proxies = proxies(tools, backend.ports());
    println!("\nidle event streams: growth of resident memory\n");
    println!("{:10} {:>10} {:>12} {:>12} {:>12}", "", "start MiB", "streams", "MiB", "KiB/stream");
    for ((proxy, port), name) in proxies.iter().zip(NAMES) {
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
