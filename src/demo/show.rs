//! One line a second: where the traffic goes.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::servers::Version;
use super::traffic::Tally;

/// New sessions are those of so many last seconds: a total would hide a new split for minutes.
const SESSIONS_OVER: usize = 10;

/// Calls a second are a mean over so many: over one second, chance would be most of it.
const CALLS_OVER: usize = 5;

/// Lines that may wait for a terminal that does not take them.
const WAITING_LINES: usize = 16;

/// What to try in a second terminal; talk, so on stderr, where it does not get into a log of the lines.
pub fn heading(commands: &[String]) {
    let mut text = String::from("Live traffic runs through the proxy. In a second terminal, try:\n\n");
    for command in commands {
        text.push_str("    ");
        text.push_str(command);
        text.push('\n');
    }
    text.push_str("\nCtrl-C ends the demo.\n\n");
    // Whoever closed stderr does not want it.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Prints a line a second on stdout; returns only when stdout is closed.
pub async fn lines(tally: &Tally, split: impl Fn() -> String) {
    let stdout = io::stdout();
    let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    lines_to(stdout, colour, tally, split).await;
}

async fn lines_to(out: impl Write + Send + 'static, colour: bool, tally: &Tally, split: impl Fn() -> String) {
    // A thread of its own: a pager that does not read, or Ctrl-S, would hold up everything that
    // runs on this runtime, the servers included.
    let (sender, receiver) = sync_channel(WAITING_LINES);
    let writer = std::thread::Builder::new().name("demo-lines".to_owned()).spawn(move || write_lines(out, &receiver));
    if let Err(error) = writer {
        return tracing::warn!(%error, "no thread for the demo's lines");
    }
    let started = Instant::now();
    let mut window = Window::default();
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        window.add(Sample::of(tally, started.elapsed()));
        if !send(&sender, window.line(&split(), &tally.last_error(), colour)) {
            return;
        }
    }
}

/// False when nobody reads any more. A line that finds no room is dropped.
fn send(sender: &SyncSender<String>, line: String) -> bool {
    !matches!(sender.try_send(line), Err(TrySendError::Disconnected(_)))
}

fn write_lines(mut out: impl Write, lines: &Receiver<String>) {
    for line in lines {
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Sample {
    at: Duration,
    sessions: [u64; 2],
    calls: [u64; 2],
    errors: u64,
    moved: u64,
}

impl Sample {
    fn of(tally: &Tally, at: Duration) -> Self {
        Self {
            at,
            sessions: Version::ALL.map(|version| tally.sessions(version)),
            calls: Version::ALL.map(|version| tally.calls(version)),
            errors: tally.errors(),
            moved: tally.moved(),
        }
    }
}

/// The last samples, one a second, newest last.
#[derive(Default)]
struct Window(VecDeque<Sample>);

impl Window {
    fn add(&mut self, sample: Sample) {
        if self.0.len() > SESSIONS_OVER {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// The sample so many seconds ago, or the oldest.
    fn ago(&self, seconds: usize) -> Sample {
        let at = self.0.len().saturating_sub(seconds + 1);
        self.0.get(at).copied().unwrap_or_default()
    }

    fn line(&self, split: &str, last_error: &str, colour: bool) -> String {
        let (now, before) = (self.ago(0), self.ago(CALLS_OVER));
        let sessions = Version::ALL.map(|version| {
            let at = version as usize;
            format!("v{} {:>2}", version.label(), now.sessions[at] - self.ago(SESSIONS_OVER).sessions[at])
        });
        let seconds = (now.at - before.at).as_secs_f64().max(1.0);
        let calls = Version::ALL.map(|version| {
            let at = version as usize;
            format!("v{} {:>4.1}", version.label(), (now.calls[at] - before.calls[at]) as f64 / seconds)
        });
        let clock = now.at.as_secs();
        let errors = errors(now.errors, last_error, now.errors > self.ago(CALLS_OVER).errors, colour);
        format!(
            "{:02}:{:02}  split {split}  new sessions/{SESSIONS_OVER}s  {}  calls/s  {}  moved {}  {errors}\n",
            clock / 60,
            clock % 60,
            sessions.join("  "),
            calls.join("  "),
            now.moved,
        )
    }
}

/// What went wrong is told as long as it is news.
fn errors(count: u64, last: &str, news: bool, colour: bool) -> String {
    let mut text = format!("errors {count}");
    if news {
        let words: String = last.chars().map(|c| if c.is_control() { ' ' } else { c }).take(100).collect();
        text.push_str(&format!(" ({words})"));
    }
    if count > 0 && colour { format!("\x1b[31m{text}\x1b[0m") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, calls: [u64; 2], sessions: [u64; 2]) -> Sample {
        Sample { at: Duration::from_secs(seconds), calls, sessions, ..Sample::default() }
    }

    #[test]
    fn a_line_tells_recent_traffic_not_all_there_ever_was() {
        let mut window = Window::default();
        for second in 0..=72 {
            let after = second.max(60) - 60;
            window.add(sample(second, [13 * second, after], [2 * second, after]));
        }
        let line = window.line("90:10", "", false);
        assert_eq!(
            line,
            "01:12  split 90:10  new sessions/10s  v1.4.2 20  v1.5.0 10  calls/s  v1.4.2 13.0  v1.5.0  1.0  moved 0  errors 0\n"
        );
    }

    #[test]
    fn an_error_is_red_only_where_colour_is_wanted_and_told_while_it_is_news() {
        let mut window = Window::default();
        window.add(Sample::default());
        window.add(Sample { at: Duration::from_secs(1), errors: 2, ..Sample::default() });
        assert!(window.line("100:0", "version:\nrefused", false).ends_with("  errors 2 (version: refused)\n"));
        assert!(window.line("100:0", "", true).contains("\x1b[31merrors 2"));
        for second in 2..=7 {
            window.add(Sample { at: Duration::from_secs(second), errors: 2, ..Sample::default() });
        }
        assert!(window.line("100:0", "refused", false).ends_with("  errors 2\n"));
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_closed_stdout_ends_the_lines() {
        let tally = Tally::default();
        let ended = tokio::time::timeout(Duration::from_secs(30), lines_to(Closed, false, &tally, String::new));
        ended.await.expect("the writer's end is noticed");
    }
}
