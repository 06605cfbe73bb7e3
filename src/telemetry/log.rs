//! Setting up the log: JSON lines on stderr, or plain ones for a person at a terminal.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging. `LOG_LEVEL` filters (`info`, `debug`, `dualgate::proxy=debug`); `LOG_FORMAT` is
/// `json` or `text`, and by default text on a terminal and JSON elsewhere. Does nothing when a
/// log is set up already.
pub fn start() {
    let level = std::env::var("LOG_LEVEL").unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let json = match std::env::var("LOG_FORMAT").as_deref() {
        Ok("json") => true,
        Ok("text") => false,
        _ => !std::io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let colour = std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal();
    // A second start, as in tests, finds a log and leaves it.
    let _ = if json { builder.json().flatten_event(true).try_init() } else { builder.with_ansi(colour).try_init() };
}
