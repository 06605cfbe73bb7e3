//! Real servers and clients that nobody here wrote, through the binary: `tests/interop/README.md`.
//! Packages are installed by name; one that is missing is a failure.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Instant;

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
    let rmcp: &[&str] = &["--rmcp-client", &rmcp];
    // What is in one row runs side by side: the first keeps all cores busy by itself, the second mostly waits.
    let rows: [&[Run]; 6] = [
        &[("run.py", rmcp)],
        &[("survive.py", rmcp), ("march.py", &["--kill-server"])],
        &[("march.py", &[])],
        &[("march.py", &["--kill-proxy"])],
        &[("ten_thousand.py", &["--direct-roundrobin", "--sequences", "1000"])],
        &[("ten_thousand.py", &[])],
    ];
    let mut failed = Vec::new();
    let mut took = Vec::new();
    for row in rows {
        let done = thread::scope(|scope| {
            let runs: Vec<_> = row.iter().map(|run| scope.spawn(|| carry_out(&binary, run))).collect();
            runs.into_iter().map(|run| run.join().unwrap_or_else(|_| ("a run".to_owned(), false, 0.0))).collect::<Vec<_>>()
        });
        for (name, ok, seconds) in done {
            took.push(format!("{name}: {seconds:.0} s"));
            if !ok {
                failed.push(name);
            }
        }
    }
    println!("{}", took.join("\n"));
    if failed.is_empty() {
        println!("test interop ... ok");
        return ExitCode::SUCCESS;
    }
    eprintln!("test interop ... FAILED: {}", failed.join(", "));
    ExitCode::FAILURE
}

fn build_example() -> bool {
    let built = Command::new(env!("CARGO")).args(["build", "--locked", "--example", "interop_rmcp"]).status();
    built.is_ok_and(|status| status.success())
}

/// Its name, whether it passed, and its seconds; what it says is printed when it is over.
#[expect(clippy::disallowed_methods, reason = "no clock is turned here: real processes take their time")]
fn carry_out(binary: &Path, (script, arguments): &Run) -> (String, bool, f64) {
    let name = [&[*script], *arguments].concat().into_iter().filter(|word| !word.contains('/')).collect::<Vec<_>>().join(" ");
    let began = Instant::now();
    let mut command = Command::new("python3");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(script));
    let output = command.arg("--dualgate").arg(binary).args(*arguments).output();
    let ok = match output {
        Ok(output) => {
            print!("\n== {name}\n{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
            output.status.success()
        }
        Err(error) => {
            println!("\n== {name}\nno python3: {error}");
            false
        }
    };
    (name, ok, began.elapsed().as_secs_f64())
}
