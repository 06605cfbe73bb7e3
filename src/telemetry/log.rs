//! Setting up the log: JSON lines on stderr, or plain ones for a person at a terminal.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that wait for whoever reads the log; beyond, lines are dropped and counted.
const WAITING: usize = 4_096;

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Keeps the log's writer alive. When it goes, what waits is written, unless nobody reads it for a second.
#[must_use = "the log ends with it"]
pub struct LogGuard(#[expect(dead_code, reason = "held for its drop")] Option<WorkerGuard>);

/// Starts logging. `LOG_LEVEL` filters (`info`, `debug`, `dualgate::proxy=debug`); `LOG_FORMAT` is
/// `json` or `text`, and by default text on a terminal and JSON elsewhere. Does nothing when a
/// log is set up already.
///
/// A thread of its own writes: a reader of stderr that stalls must not hold up a rollback, and
/// rather costs lines, which are counted ([`dropped_lines`]).
pub fn start() -> LogGuard {
    let level = std::env::var("LOG_LEVEL").unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let json = match std::env::var("LOG_FORMAT").as_deref() {
        Ok("json") => true,
        Ok("text") => false,
        _ => !std::io::stderr().is_terminal(),
    };
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING).thread_name("log");
    let (writer, guard) = builder.finish(std::io::stderr());
    let dropped = writer.error_counter();
    let own = filter_fn(is_ours).with_max_level_hint(filter.max_level_hint().unwrap_or(LevelFilter::TRACE));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    let colour = std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal();
    // A second start, as in tests, finds a log and leaves it.
    let started = if json {
        builder.json().flatten_event(true).finish().with(own).try_init()
    } else {
        builder.with_ansi(colour).finish().with(own).try_init()
    };
    if started.is_err() {
        return LogGuard(None);
    }
    let _ = DROPPED.set(dropped);
    // The standard hook writes to stderr itself, and would wait for its reader.
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "panicked")));
    LogGuard(Some(guard))
}

/// Of what others log, nothing below info: a protocol library that is asked for detail tells of
/// headers and bodies, and with them of ids and tokens.
fn is_ours(line: &Metadata<'_>) -> bool {
    *line.level() <= Level::INFO || line.target().starts_with(env!("CARGO_CRATE_NAME"))
}

/// Lines that were dropped because nobody read the log.
pub fn dropped_lines() -> usize {
    DROPPED.get().map_or(0, ErrorCounter::dropped_lines)
}
