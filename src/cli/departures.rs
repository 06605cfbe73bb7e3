//! `sessions move`, `sessions end`: sessions leave an entry on somebody's word.

use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::args::{Common, EndArgs, MoveArgs};
use super::change::warn;
use super::client::{Admin, Change, POLL, segment};
use super::deploy::agreed;
use super::failure::{Exit, Failure};
use super::print::{put, say};
use super::status::the_service;
use crate::config::Span;
use crate::domain::{Entry, PerEntry};

/// Beyond what is forecast, a wait without a --timeout takes so long.
const BEYOND: Duration = Duration::from_secs(30);

/// `POST …/sessions/move`, `…/sessions/end`.
#[derive(Deserialize)]
struct Ordered {
    service: String,
    entry: Entry,
    version: String,
    what: String,
    forecast: Forecast,
    revision: u64,
    changed: bool,
    durable: bool,
    dry_run: bool,
    warnings: Vec<String>,
}

/// What is to be expected.
#[derive(Clone, Copy, Deserialize)]
pub(super) struct Forecast {
    sessions: u64,
    deadline_s: f64,
    pace_s: f64,
    handshakes_per_second: u32,
    takes_s: f64,
}

impl Forecast {
    /// How long somebody waits who has not said so.
    pub(super) fn patience(&self) -> Duration {
        Duration::try_from_secs_f64(self.takes_s).unwrap_or(Duration::MAX).saturating_add(BEYOND)
    }

    /// `12 sessions, from in 10m on, over 25s`.
    pub(super) fn words(&self) -> String {
        let spoken = |seconds: f64| Span(Duration::from_millis((seconds * 1e3) as u64)).to_string();
        let from =
            if self.deadline_s > 0.0 { format!("from in {} on", spoken(self.deadline_s)) } else { "from now on".to_owned() };
        let slower = self.takes_s > self.deadline_s + self.pace_s + 0.5;
        let by_handshakes = format!(" at {} handshakes a second", self.handshakes_per_second);
        let (over, why) = (self.takes_s - self.deadline_s, if slower { by_handshakes.as_str() } else { "" });
        format!("{} sessions, {from}, over {}{why}", self.sessions, spoken(if slower { over.ceil() } else { over }))
    }
}

/// `departure` of an entry.
#[derive(Clone, Deserialize)]
pub(super) struct Departure {
    cause: String,
    how: String,
    from: String,
    until: String,
    moved: u64,
    refused: u64,
    failed: u64,
    ended: u64,
    left: u64,
}

impl Departure {
    /// `primary is left (drain): moves, from … until …: 3 moved, 9 left`.
    pub(super) fn line(&self, entry: Entry) -> String {
        let Self { cause, how, from, until, .. } = self;
        format!("{entry} is left ({cause}): {how}, from {from} until {until}: {}\n", self.counts())
    }

    /// Why some are left that will not leave.
    pub(super) fn hint(&self) -> Option<&'static str> {
        let why = "what is refused may not be moved (dualgate_rehomed_total, the log), and --force moves all that can be";
        (self.refused > 0 && self.left > 0).then_some(why)
    }

    fn counts(&self) -> String {
        let all = [(self.moved, "moved"), (self.ended, "ended"), (self.refused, "refused"), (self.failed, "failed")];
        let some =
            all.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}, ")).collect::<String>();
        format!("{some}{} left", self.left)
    }
}

#[derive(Deserialize)]
struct Sessions {
    entries: PerEntry<OfEntry>,
}

#[derive(Deserialize)]
struct OfEntry {
    departure: Option<Departure>,
}

/// `sessions move`.
pub(super) async fn move_away(args: &MoveArgs) -> Result<Exit, Failure> {
    let question = format!(
        "Move the sessions of {} by force? Those go, too, whose clients may notice, and calls of theirs may fail. [y/N]",
        args.from
    );
    agree(args.force, &question, &args.common)?;
    let mut body = json!({ "from": args.from, "reason": args.common.reason, "force": args.force });
    if let Some(pace) = args.pace {
        body["pace"] = json!(Span(pace).to_string());
    }
    carry_out("move", body, &args.common).await
}

/// `sessions end`.
pub(super) async fn end(args: &EndArgs) -> Result<Exit, Failure> {
    let question = format!("End the sessions of {}? Their clients have to begin new ones. [y/N]", args.entry);
    agree(true, &question, &args.common)?;
    let mut body = json!({ "entry": args.entry, "reason": args.common.reason, "force": args.force });
    if let Some(pace) = args.pace {
        body["pace"] = json!(Span(pace).to_string());
    }
    carry_out("end", body, &args.common).await
}

/// Asks where there is somebody to ask.
fn agree(asks: bool, question: &str, common: &Common) -> Result<(), Failure> {
    let asks = asks && common.can_ask() && !common.dry_run;
    if asks && !agreed(question) { Err(Failure::new(Exit::Aborted, "called off")) } else { Ok(()) }
}

async fn carry_out(verb: &str, body: serde_json::Value, common: &Common) -> Result<Exit, Failure> {
    let admin = Admin::new(common)?;
    let service = the_service(&admin, common.service()).await?;
    let path = format!("/v1/services/{}/sessions/{verb}", segment(&service));
    let answer = admin.change(&Change { method: Method::POST, path, body, common }).await?;
    let ordered: Ordered = answer.read()?;
    put(&if common.json() { answer.line() } else { line(&ordered) })?;
    warn(&ordered.warnings, ordered.durable || ordered.dry_run);
    if common.wait && !ordered.dry_run {
        wait(&admin, &ordered, common.timeout_given().unwrap_or(ordered.forecast.patience())).await?;
    }
    Ok(Exit::Done)
}

fn line(ordered: &Ordered) -> String {
    let Ordered { entry, version, what, revision, .. } = ordered;
    let dry = if ordered.dry_run { "; dry run, nothing was changed" } else { "" };
    let already = if ordered.changed { "" } else { "already ordered: " };
    let how = if what == "sessions-end" { "ended" } else { "moved" };
    format!("{entry} {version}: {already}{how}: {} (revision {revision}{dry})\n", ordered.forecast.words())
}

/// Until nobody is left who has to leave, or somebody takes it back.
async fn wait(admin: &Admin, ordered: &Ordered, patience: Duration) -> Result<(), Failure> {
    let (entry, deadline) = (ordered.entry, Instant::now() + patience);
    let cause = if ordered.what == "sessions-end" { "end-ordered" } else { "move-ordered" };
    let path = format!("/v1/services/{}/sessions", segment(&ordered.service));
    loop {
        let sessions: Sessions = admin.get(&path).await?.read()?;
        let Some(departure) = sessions.entries[entry].departure.as_ref().filter(|departure| departure.cause == cause) else {
            let error = format!("what was ordered of the sessions of {entry} was taken back meanwhile");
            return Err(Failure::new(Exit::Conflict, error).with_hint("dualgate sessions list, dualgate audit"));
        };
        if departure.left == 0 {
            say(&format!("{entry} {}: {}", ordered.version, departure.counts()));
            return Ok(());
        }
        if Instant::now() + POLL >= deadline {
            let error = format!("{entry} after {patience:?} (--timeout, DUALGATE_TIMEOUT): {}", departure.counts());
            let hint = departure.hint().unwrap_or("it goes on: dualgate sessions list");
            return Err(Failure::new(Exit::TimedOut, error).with_hint(hint));
        }
        sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast(sessions: u64, deadline_s: f64, takes_s: f64) -> Forecast {
        Forecast { sessions, deadline_s, pace_s: 25.0, handshakes_per_second: 200, takes_s }
    }

    #[test]
    fn a_forecast_says_what_sets_the_pace() {
        assert_eq!(forecast(12, 0.0, 25.0).words(), "12 sessions, from now on, over 25s");
        assert_eq!(forecast(12, 600.0, 625.0).words(), "12 sessions, from in 10m on, over 25s");
        assert_eq!(forecast(8_100, 0.0, 40.5).words(), "8100 sessions, from now on, over 41s at 200 handshakes a second");
        assert_eq!(forecast(1, 600.0, 625.0).patience(), Duration::from_secs(655));
    }

    #[test]
    fn a_departure_is_one_line_with_what_is_not_nothing() {
        let document = r#"{"cause":"drain","how":"moves","forced":false,"or_ends":false,"from":"A","until":"B","moved":3,"refused":1,"failed":0,"ended":0,"left":9}"#;
        let departure: Departure = serde_json::from_str(document).unwrap();
        assert_eq!(
            departure.line(Entry::Primary),
            "primary is left (drain): moves, from A until B: 3 moved, 1 refused, 9 left\n"
        );
        assert!(departure.hint().is_some_and(|hint| hint.contains("--force")));
        assert_eq!(Departure { refused: 0, ..departure }.hint(), None, "nothing is in the way of the others");
    }
}
