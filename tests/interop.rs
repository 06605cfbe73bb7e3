//! Real servers and clients that nobody here wrote, through the binary: `tests/interop/README.md`.
//! Packages are installed by name; one that is missing is a failure.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Instant;

/// Of what a failed run said, so much is repeated at the end.
const CAUSE_LINES: usize = 40;

/// One run: a script and what it is told.
type Run<'a> = (&'a str, &'a [&'a str]);

fn main() -> ExitCode {
    // Asked for its list of tests, as runners do, it has one.
    if std::env::args().any(|argument| argument == "--list") {
        println!("interop: test");
        return ExitCode::SUCCESS;
    }
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_dualgate"));
    let example = binary.with_file_name("examples").join("interop_rmcp");
    // `cargo test` builds the examples, `cargo test --test interop` does not.
    if !example.exists() && !build_example() {
        eprintln!("test interop ... FAILED: the example interop_rmcp does not build");
        return ExitCode::FAILURE;
    }
    let rmcp = example.display().to_string();
    let quick: &[&str] = &["--rmcp-client", &rmcp, "--quick"];
    let rmcp: &[&str] = &["--rmcp-client", &rmcp];
    // What is in one row runs side by side: the first keeps all cores busy by itself, the second mostly waits.
    let rows: [&[Run]; 8] = [
        &[("run.py", rmcp)],
        &[("rehome.py", quick)],
        &[("survive.py", rmcp), ("march.py", &["--kill-server"])],
        &[("march.py", &[])],
        &[("march.py", &["--kill-proxy"])],
        &[("ten_thousand.py", &["--direct-roundrobin", "--sequences", "1000"])],
        &[("ten_thousand.py", &[])],
        &[("admin_api.py", &[])],
    ];
    let mut failed: Vec<(String, String)> = Vec::new();
    let mut took = Vec::new();
    for row in rows {
        let done = thread::scope(|scope| {
            let runs: Vec<_> = row.iter().map(|run| scope.spawn(|| carry_out(&binary, run))).collect();
            runs.into_iter()
                .map(|run| run.join().unwrap_or_else(|_| Done::broken("a run", "its thread panicked")))
                .collect::<Vec<_>>()
        });
        for Done { name, ok, said, seconds } in done {
            took.push(format!("{name}: {seconds:.0} s"));
            if !ok {
                failed.push((name, said));
            }
        }
    }
    println!("\n{}", took.join("\n"));
    if failed.is_empty() {
        println!("test interop ... ok");
        return ExitCode::SUCCESS;
    }
    // The last that is said, so that the tail of a log shows the causes.
    for (name, said) in &failed {
        println!("\n== {name} failed:\n{}", causes(said));
    }
    let names: Vec<_> = failed.iter().map(|(name, _)| name.as_str()).collect();
    println!("test interop ... FAILED: {}", names.join(", "));
    ExitCode::FAILURE
}

/// The lines that begin with FAIL and the indented ones below each (`harness/report.py`), or the last lines of a run that
/// ended without such: at most `CAUSE_LINES`.
fn causes(said: &str) -> String {
    let mut below = false;
    let failures: Vec<_> = said
        .lines()
        .filter(|line| {
            below = line.starts_with("FAIL") || (below && line.starts_with(' '));
            below
        })
        .collect();
    if failures.is_empty() {
        let last: Vec<_> = said.lines().collect();
        return last[last.len().saturating_sub(CAUSE_LINES)..].join("\n");
    }
    let left_out = failures.len().saturating_sub(CAUSE_LINES);
    let mut shown = failures[..failures.len() - left_out].join("\n");
    if left_out > 0 {
        shown += &format!("\n({left_out} more lines above)");
    }
    shown
}

fn build_example() -> bool {
    let built = Command::new(env!("CARGO")).args(["build", "--locked", "--example", "interop_rmcp"]).status();
    built.is_ok_and(|status| status.success())
}

/// What became of a run: all that it said, and the seconds it took.
struct Done {
    name: String,
    ok: bool,
    said: String,
    seconds: f64,
}

impl Done {
    /// A run that never began.
    fn broken(name: &str, why: &str) -> Self {
        Self { name: name.to_owned(), ok: false, said: format!("FAIL {why}"), seconds: 0.0 }
    }
}

/// What a run says is printed when it is over.
#[expect(clippy::disallowed_methods, reason = "no clock is turned here: real processes take their time")]
fn carry_out(binary: &Path, (script, arguments): &Run) -> Done {
    let name = [&[*script], *arguments].concat().into_iter().filter(|word| !word.contains('/')).collect::<Vec<_>>().join(" ");
    let began = Instant::now();
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(script));
    let output = match command.arg("--dualgate").arg(binary).args(*arguments).output() {
        Ok(output) => output,
        Err(error) => return Done::broken(&name, &format!("no python3: {error}")),
    };
    let said = format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    print!("\n== {name}\n{said}");
    Done { name, ok: output.status.success(), said, seconds: began.elapsed().as_secs_f64() }
}
