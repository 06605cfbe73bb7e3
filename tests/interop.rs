//! Real servers and clients that nobody here wrote, through the binary: `tests/interop/README.md`.
//! Packages are installed by name; one that is missing is a failure.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    // Asked for its list of tests, as runners do, it has one.
    if std::env::args().any(|argument| argument == "--list") {
        println!("interop: test");
        return ExitCode::SUCCESS;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_dualgate"));
    let rmcp = binary.with_file_name("examples").join("interop_rmcp");
    let run = |script: &str, arguments: &[&str]| {
        let mut command = Command::new("python3");
        command.arg(root.join("tests/interop").join(script)).arg("--dualgate").arg(&binary).args(arguments);
        command.status().is_ok_and(|status| status.success())
    };
    let rmcp = rmcp.display().to_string();
    let runs: [(&str, &[&str]); 4] = [
        ("run.py", &["--rmcp-client", &rmcp]),
        ("march.py", &[]),
        ("march.py", &["--kill-proxy"]),
        ("march.py", &["--kill-server"]),
    ];
    let failed: Vec<String> = runs
        .iter()
        .filter(|(script, arguments)| !run(script, arguments))
        .map(|(script, arguments)| format!("{script} {}", arguments.join(" ")))
        .collect();
    if failed.is_empty() {
        println!("test interop ... ok");
        return ExitCode::SUCCESS;
    }
    eprintln!("test interop ... FAILED: {}", failed.join(", "));
    ExitCode::FAILURE
}
