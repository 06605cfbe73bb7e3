//! How cost grows with services, endpoints, tools and sessions: it should not. And what a change of split costs those who are
//! connected: nothing.

use super::child::{Child, Tools};
use super::gate::{Gate, INFO, Setting};
use super::load::{CONNECTIONS, Calls, HOST};
use super::measure::{self, spread};
use super::{LOAD_CORE, Plan, SETTLE, Side, interleaved};

/// A change of split is made so often.
const CHANGES: usize = 41;

/// All of it.
pub fn flat(tools: &Tools, plan: &Plan) {
    let mut backend = Child::role(tools, LOAD_CORE, &["role", "backend", "100"]);
    let ports = backend.ports();
    let (two, all) = (Setting::plain(&ports[..2]), Setting::plain(&ports));
    let thousand = Setting { services: 1_000, ..two.clone() };
    let calls = |gate: &Gate, tools| Calls { port: gate.port, host: HOST.to_owned(), tools, sealed: true };
    println!(
        "\nhow cost grows: small POST, {} interleaved rounds of {:?}, medians (least to greatest)\n",
        plan.rounds, plan.window
    );
    println!("{:12} {:>22} {:>14} {:>14} {:>24}", "", "from, to", "µs/request", "µs/request", "ratio, side by side");
    let row = |name: &str, counts: &str, settings: [&Setting; 2], tool_names: [u32; 2], prepare: &dyn Fn(&Gate)| {
        let gates = settings.map(|setting| Gate::binary(tools, setting));
        // Both answer, and have asked all their endpoints, before anything is measured.
        gates.iter().for_each(|gate| fill(tools, gate, "sessions", CONNECTIONS));
        prepare(&gates[1]);
        let sides = [0, 1].map(|at| Side { process: gates[at].child.id(), calls: calls(&gates[at], tool_names[at]) });
        let windows = interleaved(tools, plan, &sides);
        let [from, to] = [0, 1].map(|at| spread(windows[at].iter().map(|window| window.cpu))[1]);
        let [least, ratio, most] = spread(windows[0].iter().zip(&windows[1]).map(|(from, to)| to.cpu / from.cpu));
        println!("{name:12} {counts:>22} {from:>14.1} {to:>14.1} {:>24}", format!("{ratio:.2} ({least:.2} to {most:.2})"));
    };
    row("services", "1, 1,000", [&two, &thousand], [1, 1], &|_| ());
    row("endpoints", "1, 99 and 1", [&two, &all], [1, 1], &|_| ());
    row("tool names", "1, 200", [&two, &two], [1, 200], &|_| ());
    let sessions = format!("0, {}", plan.sessions);
    row("sessions", &sessions, [&two, &two], [1, 1], &|gate| fill(tools, gate, "sessions", plan.sessions));
    memory(tools, plan, &two);
    changes(tools, plan, &two);
}

fn fill(tools: &Tools, gate: &Gate, what: &str, count: u32) {
    let mut load = Child::role(tools, LOAD_CORE, &["role", "fill", &gate.port.to_string(), what, &count.to_string()]);
    assert_eq!(load.line().trim(), count.to_string());
    std::thread::sleep(SETTLE);
}

/// Growth of resident memory, beyond what one and the same load of few leaves behind.
fn memory(tools: &Tools, plan: &Plan, setting: &Setting) {
    println!("\nmemory of what is known of clients that are not connected\n");
    println!("{:32} {:>12} {:>12} {:>10}", "", "count", "MiB", "bytes each");
    for (what, count, name, labels) in [
        ("sessions", plan.sessions, "dualgate_sessions", [].as_slice()),
        ("words", plan.words, "dualgate_pins", ["kind=\"request_state\""].as_slice()),
    ] {
        let gate = Gate::binary(tools, setting);
        // Buffers and connections to endpoints have their size after so many.
        let few = plan.words / 10;
        fill(tools, &gate, what, few);
        let (before, known) = (measure::resident(gate.child.id()), gate.metrics().sum(name, labels));
        fill(tools, &gate, what, count);
        let (after, now_known) = (measure::resident(gate.child.id()), gate.metrics().sum(name, labels));
        let grown = after.saturating_sub(before) as f64;
        let what = if what == "words" { "remembered requestState" } else { "live session, on average" };
        let each = grown * 1024.0 / (now_known - known).max(1) as f64;
        println!("{what:32} {now_known:>12} {:>12.1} {each:>10.0}", grown / 1024.0);
    }
}

/// Changes of split while many are connected; the next call after it beside calls with no change before them.
fn changes(tools: &Tools, plan: &Plan, setting: &Setting) {
    let gate = Gate::binary(tools, &Setting { log: INFO, ..setting.clone() });
    // dualgate accepts half as many as it has descriptors, less its own.
    let fit = u32::try_from(measure::descriptors(gate.child.id()).saturating_sub(400) / 2).unwrap_or(u32::MAX);
    let connections = plan.connections.min(fit);
    let mut load = Child::role(tools, LOAD_CORE, &["role", "keep", &gate.port.to_string(), &connections.to_string()]);
    assert_eq!(load.line().trim(), connections.to_string());
    let (mut raised, mut lowered) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let (mut after, mut without) = (Vec::new(), Vec::new());
    let mut ask = || {
        load.go_on();
        let line = load.line();
        let (nanos, server) = line.trim().split_once(' ').unwrap();
        (nanos.parse::<f64>().unwrap() / 1e3, server.to_owned())
    };
    gate.split(0);
    for at in 0..CHANGES {
        let share = if at % 2 == 0 { 100 } else { 0 };
        let told = gate.split(share);
        let (call, server) = ask();
        let expected = if share == 100 { "1" } else { "0" };
        assert_eq!(server, expected, "the first session after the answer is not where the new split says");
        let [in_force, answered] = if share == 100 { &mut raised } else { &mut lowered };
        in_force.push(gate.in_force(&told).as_secs_f64() * 1e6);
        answered.push(told.answered.as_secs_f64() * 1e6);
        after.push(call);
        // The same pause and the same threads at work, and nothing changes.
        gate.look();
        without.push(ask().0);
    }
    println!("\na change of split with {connections} connections open, {CHANGES} times; medians (least to greatest), µs\n");
    let ([raised, answered_raised], [lowered, answered_lowered]) = (raised, lowered);
    for (what, figures) in [
        ("share raised: from the admin request's start until it is in force (it is on the disk)", raised),
        ("share raised: until the answer (it is in the audit, which is on the disk)", answered_raised),
        ("share lowered: until it is in force (before it is on the disk)", lowered),
        ("share lowered: until the answer", answered_lowered),
        ("the next call on a connection that was open", after),
        ("the same after an admin request that changes nothing", without),
    ] {
        let [least, middle, most] = spread(figures.into_iter());
        println!("{what:84} {middle:>8.0} ({least:.0} to {most:.0})");
    }
}
