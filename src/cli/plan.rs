//! `plan`: plans from elsewhere.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::args::ImportArgoArgs;
use super::failure::{Exit, Failure, plain_io};
use super::print::{put, say};
use crate::config::{self, LARGEST_MANIFEST};

/// `plan import-argo`.
pub(super) fn import_argo(args: &ImportArgoArgs) -> Result<Exit, Failure> {
    let name = if args.file == Path::new("-") { "stdin".to_owned() } else { args.file.display().to_string() };
    let bytes =
        read(&args.file).map_err(|error| Failure::new(Exit::Invalid, format!("cannot read {name}: {}", plain_io(&error))))?;
    let wrong = |what: String| Failure::new(Exit::Invalid, format!("{name}: {what}"));
    let text = config::text(bytes).map_err(wrong)?;
    let (plan, warnings) = config::plan_from_argo(&text).map_err(wrong)?;
    for warning in warnings {
        say(&format!("warning: {name}: {warning}"));
    }
    put(&config::plan_as_toml(&plan))?;
    Ok(Exit::Done)
}

/// One byte more than may be, so that who takes it sees that there is more.
fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = LARGEST_MANIFEST as u64 + 1;
    match file.to_str() {
        Some("-") => io::stdin().lock().take(most).read_to_end(&mut bytes)?,
        _ => File::open(file)?.take(most).read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}
