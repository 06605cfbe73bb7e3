//! Arguments in, exit code out.

use std::io::{self, Write};
use std::process::ExitCode;

use dualgate::app::{self, AppError};
use dualgate::cli::{self, Cli, Command, RunArgs};
use dualgate::telemetry::log;

fn main() -> ExitCode {
    let code = match &Cli::read().command {
        Command::Run(args) => run(args),
        Command::Demo(args) => code_of(app::run_demo(args.listen, args.admin)),
        command => cli::execute(command),
    };
    ExitCode::from(code)
}

fn run(args: &RunArgs) -> u8 {
    let (config, source) = match cli::config_of(args) {
        Ok(begun) => begun,
        Err(failure) => return failure.report(),
    };
    // Held until the last words are said.
    let _log = log::start();
    code_of(app::run(config, source))
}

fn code_of(ended: Result<(), AppError>) -> u8 {
    match ended {
        Ok(()) => 0,
        Err(error) => {
            // A closed stderr is no reason for another exit code.
            let _ = writeln!(io::stderr(), "error: {error}");
            error.exit_code()
        }
    }
}
