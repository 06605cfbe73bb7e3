//! `monitor`: watches an entry for a while, and says whether it may go on.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::answers::{EntryState, Service};
use super::args::MonitorArgs;
use super::client::{Admin, BACK_WITHIN, POLL, segment};
use super::failure::{Exit, Failure};
use super::print::{Audience, put, say};
use super::status::the_service;
use crate::domain::Entry;
use crate::domain::plan::About;
use crate::telemetry::clock::wall_time;

/// What stays as it is is said again after so long.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// What is watched, and what was seen of it.
struct Watch {
    entry: Entry,
    version: String,
    /// Requests and faults at the start, of the entry and of the other one.
    before: [(u64, u64); 2],
    passed: bool,
    allow_unsure: bool,
}

/// `monitor`. Exit 8 as soon as something fails; at the end 0, or 9 where too little was seen to say so.
pub(super) async fn monitor(args: &MonitorArgs) -> Result<Exit, Failure> {
    let common = &args.common;
    let admin = Admin::new(common)?;
    let service = the_service(&admin, common.service()).await?;
    let first = look(&admin, &service).await?;
    let admin = Admin::new(&common.without_wait())?;
    let mut watch = Watch::begin(&first, args)?;
    let deadline = Instant::now() + args.duration;
    let (mut now, mut said): (Service, Option<(Instant, String)>) = (first, None);
    loop {
        watch.passed |= watch.verdict(&now) == Some("pass");
        let failed = watch.failed(&now);
        let left = deadline.saturating_duration_since(Instant::now());
        let state = watch.state(&now);
        let is_due = said.as_ref().is_none_or(|(at, before)| *before != state || at.elapsed() >= SAY_AGAIN);
        if is_due || failed.is_some() || left.is_zero() {
            said = Some((Instant::now(), state));
            let line = if common.json() { watch.document(&now, left).to_string() } else { watch.line(&now, left) };
            if put(&format!("{line}\n"))? == Audience::Gone && failed.is_none() {
                say("nobody reads on; watching all the same");
            }
        }
        if let Some(failure) = failed {
            return Err(failure);
        }
        if left.is_zero() {
            return watch.end(&now);
        }
        sleep(left.min(POLL)).await;
        now = look_again(&admin, &service).await?;
    }
}

async fn look(admin: &Admin, service: &str) -> Result<Service, Failure> {
    admin.get(&format!("/v1/services/{}", segment(service))).await?.read()
}

/// A dualgate that is restarted is back soon; one that is not watches nothing.
async fn look_again(admin: &Admin, service: &str) -> Result<Service, Failure> {
    let until = Instant::now() + BACK_WITHIN;
    loop {
        match look(admin, service).await {
            Err(failure) if failure.is_of_the_way() && Instant::now() < until => sleep(POLL).await,
            answer => return answer,
        }
    }
}

impl Watch {
    fn begin(service: &Service, args: &MonitorArgs) -> Result<Self, Failure> {
        let entry = args.entry.unwrap_or(service.candidate);
        let state = &service.entries[entry];
        if state.share == 0.0 {
            let error = format!("{entry} has no clients: there is nothing to watch");
            return Err(Failure::new(Exit::Conflict, error).with_hint("dualgate split, or dualgate rollout start, gives it some"));
        }
        let count = |state: &EntryState| (state.answers.requests, state.answers.faults);
        Ok(Self {
            entry,
            version: state.version.clone(),
            before: [count(state), count(&service.entries[entry.other()])],
            passed: false,
            allow_unsure: args.allow_unsure,
        })
    }

    /// The judge speaks of the candidate, and of no other.
    fn verdict<'a>(&self, now: &'a Service) -> Option<&'a str> {
        now.verdict.as_ref().filter(|_| now.candidate == self.entry).map(|verdict| verdict.verdict.as_str())
    }

    fn failed(&self, now: &Service) -> Option<Failure> {
        let (entry, state) = (self.entry, &now.entries[self.entry]);
        let failed = |why: String| Some(Failure::new(Exit::Aborted, format!("{entry} {}: {why}", self.version)));
        if let Some(condemned) = &state.condemned {
            let reason = condemned.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            return failed(format!("was rolled back{reason}"));
        }
        if state.version != self.version {
            let error = format!("{entry} was deployed over meanwhile: it is {} now", state.version);
            return Some(Failure::new(Exit::Conflict, error));
        }
        if state.share == 0.0 {
            return failed("was taken back to 0 %".to_owned());
        }
        if state.standing == "down" {
            return failed(format!("is down{}", last_checks(state)));
        }
        if self.verdict(now) == Some("fail") {
            let findings = now.verdict.iter().flat_map(|verdict| &verdict.findings);
            let all: Vec<String> = findings.filter(|one| one.verdict == "fail").map(|one| one.words()).collect();
            return failed(format!("the verdict is fail: {}", all.join("; ")));
        }
        let rollout = now.rollout.as_ref().filter(|rollout| rollout.phase == "frozen" && rollout.candidate == entry);
        rollout.and_then(|rollout| failed(format!("the rollout is frozen: {}", rollout.why.clone().unwrap_or_default())))
    }

    /// The time has passed, and nothing has failed.
    fn end(&self, now: &Service) -> Result<Exit, Failure> {
        if self.passed || self.allow_unsure {
            return Ok(Exit::Done);
        }
        let unsure = now.verdict.as_ref().filter(|_| now.candidate == self.entry).and_then(|verdict| verdict.unsure.clone());
        let why = match unsure {
            Some(why) => format!("the verdict is unsure: {why}"),
            None if now.candidate == self.entry => "there was no verdict yet".to_owned(),
            None => format!("{} is the stable entry, and the judge speaks of the candidate", self.entry),
        };
        let error = format!("nothing has failed, but too little was seen to say that {} is well: {why}", self.entry);
        Err(Failure::new(Exit::TimedOut, error).with_hint("watch longer (--duration), or take that for enough (--allow-unsure)"))
    }

    /// What a line is worth for: when it changes, it is said.
    fn state(&self, now: &Service) -> String {
        let (state, rollout) = (&now.entries[self.entry], now.rollout.as_ref().map(|rollout| (&rollout.phase, rollout.step)));
        format!("{} {} {:?} {rollout:?}", state.share, state.standing, self.verdict(now))
    }

    /// Requests and the part of them that failed, since the start.
    fn since(&self, now: &Service, at: usize, entry: Entry) -> (u64, Option<f64>) {
        let (requests, faults) = self.before[at];
        let answers = &now.entries[entry].answers;
        let requests = answers.requests.saturating_sub(requests);
        (requests, (requests > 0).then(|| answers.faults.saturating_sub(faults) as f64 / requests as f64))
    }

    fn line(&self, now: &Service, left: Duration) -> String {
        let of = |at: usize, entry: Entry| {
            let (requests, rate) = self.since(now, at, entry);
            let rate = rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", rate * 100.0));
            let p95 = now.entries[entry].answers.p95_ms.map_or_else(|| "-".to_owned(), |p95| format!("{p95:.1} ms"));
            format!("{entry} {} requests, {rate} errors, p95 {p95}", requests)
        };
        let verdict = match (self.verdict(now), now.verdict.as_ref().and_then(|verdict| verdict.unsure.as_ref())) {
            (None, _) => "not judged".to_owned(),
            (Some("unsure"), Some(why)) => format!("unsure: {why}"),
            (Some(verdict), _) => verdict.to_owned(),
        };
        let rollout = now.rollout.as_ref().filter(|rollout| rollout.is_running());
        let rollout = rollout
            .map_or_else(String::new, |rollout| format!("; rollout {}, step {} of {}", rollout.phase, rollout.step, rollout.of));
        let share = now.entries[self.entry].share;
        let left = About(Duration::from_secs(left.as_secs()));
        let (own, other) = (of(0, self.entry), of(1, self.entry.other()));
        format!("{}  {share} %, {own}; {other}; {verdict}{rollout}; {left} left", wall_time())
    }

    fn document(&self, now: &Service, left: Duration) -> Value {
        let of = |at: usize, entry: Entry| {
            let (requests, error_rate) = self.since(now, at, entry);
            let state = &now.entries[entry];
            json!({
                "version": state.version, "share": state.share, "standing": state.standing,
                "requests": requests, "error_rate": error_rate, "p95_ms": state.answers.p95_ms,
            })
        };
        let other = self.entry.other();
        json!({
            "time": wall_time(), "service": now.name, "entry": self.entry.to_string(), "left_ms": left.as_millis() as u64,
            "entries": { self.entry.to_string(): of(0, self.entry), other.to_string(): of(1, other) },
            "verdict": self.verdict(now),
            "unsure": now.verdict.as_ref().and_then(|verdict| verdict.unsure.clone()),
            "rollout": now.rollout.as_ref().map(|rollout| json!({ "id": rollout.id, "phase": rollout.phase, "step": rollout.step })),
        })
    }
}

fn last_checks(state: &EntryState) -> String {
    let failed = state.endpoints.iter().filter_map(|endpoint| endpoint.check.as_ref().filter(|check| !check.success));
    let details: Vec<&str> = failed.map(|check| check.detail.as_str()).collect();
    if details.is_empty() { String::new() } else { format!(": {}", details.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::super::answers::Services;
    use super::super::tests::common;
    use super::*;

    fn service() -> Service {
        let mut service = serde_json::from_str::<Services>(include_str!("status/document.json")).unwrap().services.remove(0);
        service.entries[Entry::Secondary].standing = "up".to_owned();
        service
    }

    fn watch(entry: Option<Entry>, allow_unsure: bool) -> Result<Watch, Failure> {
        let duration = Duration::from_secs(60);
        Watch::begin(&service(), &MonitorArgs { entry, duration, allow_unsure, common: common(&[]) })
    }

    fn judged(verdict: &str) -> Service {
        let verdict = json!({ "verdict": verdict, "unsure": (verdict == "unsure").then_some("1 of 2 windows is full") });
        Service { verdict: Some(serde_json::from_value(verdict).unwrap()), ..service() }
    }

    #[test]
    fn what_fails_ends_it_with_8_and_says_what() {
        let watch = watch(None, false).unwrap();
        let ends = |now: &Service| watch.failed(now).map(|failure| (failure.exit, failure.to_string()));
        assert_eq!(ends(&service()), None);
        assert_eq!(ends(&judged("unsure")), None);
        assert_eq!(ends(&judged("fail")).unwrap().0, Exit::Aborted);
        let changed = |change: &dyn Fn(&mut EntryState)| {
            let mut service = service();
            change(&mut service.entries[Entry::Secondary]);
            ends(&service).unwrap()
        };
        let (exit, said) = changed(&|state| state.standing = "down".to_owned());
        assert_eq!((exit, said.as_str()), (Exit::Aborted, "secondary 1.5.0: is down: connection refused"));
        assert_eq!(changed(&|state| state.share = 0.0), (Exit::Aborted, "secondary 1.5.0: was taken back to 0 %".to_owned()));
        assert_eq!(changed(&|state| state.version = "1.6.0".to_owned()).0, Exit::Conflict);
    }

    #[test]
    fn a_time_that_has_passed_is_no_success_unless_something_was_seen() {
        let end = |passed: bool, allow_unsure: bool, entry: Option<Entry>| {
            let watch = Watch { passed, ..watch(entry, allow_unsure).unwrap() };
            watch.end(&judged("unsure")).map_err(|failure| (failure.exit, failure.to_string()))
        };
        assert_eq!(end(true, false, None), Ok(Exit::Done));
        assert_eq!(end(false, true, None), Ok(Exit::Done));
        let (exit, said) = end(false, false, None).unwrap_err();
        assert_eq!(exit, Exit::TimedOut);
        assert!(
            said.ends_with("too little was seen to say that secondary is well: the verdict is unsure: 1 of 2 windows is full"),
            "{said}"
        );
        let (_, said) = end(false, false, Some(Entry::Primary)).unwrap_err();
        assert!(said.ends_with("primary is the stable entry, and the judge speaks of the candidate"), "{said}");
    }

    #[test]
    fn nobody_is_watched_who_has_no_clients() {
        let mut service = service();
        service.entries[Entry::Secondary].share = 0.0;
        let args = MonitorArgs { entry: None, duration: Duration::from_secs(1), allow_unsure: false, common: common(&[]) };
        assert_eq!(Watch::begin(&service, &args).err().unwrap().exit, Exit::Conflict);
    }
}
