//! `completions`, `man`: what a shell and its manual know of the commands.

use std::fs;

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::failure::{Exit, Failure, plain_io};
use super::print::{put, put_bytes};

/// `completions`.
pub(super) fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    // Into memory first: to a reader that goes away the generator would panic.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "dualgate", &mut script);
    put_bytes(&script)?;
    Ok(Exit::Done)
}

/// `man`: a page for the whole and one for each command, as `dualgate-split.1`.
pub(super) fn man(args: &ManArgs) -> Result<Exit, Failure> {
    let dir = &args.dir;
    let cannot = |error: std::io::Error| {
        Failure::new(Exit::Unexpected, format!("cannot write manual pages into {}: {}", dir.display(), plain_io(&error)))
    };
    fs::create_dir_all(dir).map_err(cannot)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(cannot)?;
    put(&format!("{}\n", dir.join("dualgate.1").display()))?;
    Ok(Exit::Done)
}
