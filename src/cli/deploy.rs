//! `deploy`: fill the idle entry and wait until it is up.

use std::io::{self, BufRead};

use http::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::answers::{Deployed, EntryState, Service};
use super::args::DeployArgs;
use super::change::warn;
use super::client::{Admin, Change, POLL, segment};
use super::failure::{Exit, Failure};
use super::print::{put, say};
use super::status::the_service;
use crate::config;
use crate::domain::Entry;

/// `deploy`.
pub(super) async fn deploy(args: &DeployArgs) -> Result<Exit, Failure> {
    // Said here with the reason, before anything is looked up.
    config::endpoints(args.endpoints.iter().map(String::as_str)).map_err(|what| Failure::new(Exit::Usage, what))?;
    let common = &args.common;
    let admin = Admin::new(common)?;
    let service = the_service(&admin, common.service()).await?;
    let entry = match args.to {
        Some(entry) if !args.force => entry,
        named => choose(&look(&admin, &service).await?, named, args)?,
    };
    let change = Change {
        method: Method::PUT,
        path: format!("/v1/services/{}/entries/{entry}", segment(&service)),
        body: json!({ "version": args.version, "endpoints": args.endpoints, "reason": common.reason, "force": args.force }),
        common,
    };
    let answer = admin.change(&change).await?;
    let made: Deployed = answer.read()?;
    put(&if common.json() { answer.line() } else { line(&made) })?;
    warn(&made.warnings, made.durable || made.dry_run);
    if made.dry_run { Ok(Exit::Done) } else { wait_until_up(&admin, &made, args).await }
}

async fn look(admin: &Admin, service: &str) -> Result<Service, Failure> {
    admin.get(&format!("/v1/services/{}", segment(service))).await?.read()
}

/// The entry to fill. To replace one that clients are on is asked for twice: by a flag, and by a
/// person who sees how many clients that are.
fn choose(service: &Service, named: Option<Entry>, args: &DeployArgs) -> Result<Entry, Failure> {
    let Some(entry) = named else { return idle(service) };
    let share = service.entries[entry].share;
    let asks = share > 0.0 && args.common.can_ask() && !args.common.dry_run;
    if asks && !agreed(&format!("{entry} has {share} % of the clients. Replace it? [y/N]")) {
        return Err(Failure::new(Exit::Aborted, "called off"));
    }
    Ok(entry)
}

/// The entry without clients.
fn idle(service: &Service) -> Result<Entry, Failure> {
    let found = [service.candidate, service.stable].into_iter().find(|entry| service.entries[*entry].share == 0.0);
    found.ok_or_else(|| {
        let share = |entry: Entry| format!("{entry} has {} %", service.entries[entry].share);
        let error = format!("neither entry is idle: {}, {}", share(Entry::Primary), share(Entry::Secondary));
        Failure::new(Exit::Conflict, error)
            .with_hint("finish the change or roll it back first (dualgate rollback), or name one: --to, --force")
    })
}

/// Asks, and hears a yes.
pub(super) fn agreed(question: &str) -> bool {
    say(question);
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn line(made: &Deployed) -> String {
    let urls: Vec<&str> = made.endpoints.iter().map(|endpoint| endpoint.url.as_str()).collect();
    let already = if made.changed { "" } else { "already " };
    let dry = if made.dry_run { "; dry run, nothing was changed" } else { "" };
    format!("{}: {already}{} at {} (revision {}{dry})\n", made.entry, made.version, urls.join(", "), made.revision)
}

async fn wait_until_up(admin: &Admin, made: &Deployed, args: &DeployArgs) -> Result<Exit, Failure> {
    let started = Instant::now();
    say(&format!("waiting for {} {} to be up", made.entry, made.version));
    loop {
        let service = look(admin, &made.service).await?;
        let state = &service.entries[made.entry];
        if state.version != made.version {
            let error =
                format!("{} was deployed over meanwhile: it is {} at revision {}", made.entry, state.version, service.revision);
            return Err(Failure::new(Exit::Conflict, error));
        }
        if all_up(state) {
            say(&format!("{} {} is up", made.entry, made.version));
            return Ok(Exit::Done);
        }
        if started.elapsed() + POLL >= args.common.timeout() {
            return Err(not_up(made, &service, args));
        }
        sleep(POLL).await;
    }
}

/// Every one: an entry with one endpoint of three is up, and not what was asked for.
fn all_up(state: &EntryState) -> bool {
    state.standing == "up" && state.endpoints.iter().all(|endpoint| endpoint.leaving || endpoint.standing == "up")
}

/// Why it is not up, in the words of the last checks.
fn not_up(made: &Deployed, service: &Service, args: &DeployArgs) -> Failure {
    let state = &service.entries[made.entry];
    let said = |endpoint: &super::answers::EndpointState| match &endpoint.check {
        Some(check) => format!("{}: {}", endpoint.place(), check.detail),
        None => format!("{}: not checked yet", endpoint.place()),
    };
    let wanted = || state.endpoints.iter().filter(|endpoint| !endpoint.leaving);
    let details: Vec<String> = wanted().filter(|endpoint| endpoint.standing != "up").map(said).collect();
    let (entry, version) = (made.entry, &made.version);
    let (count, details) = match wanted().count() {
        // A name without an address yet; the warnings say why.
        0 => ("no endpoint found".to_owned(), service.warnings.join("; ")),
        all => (format!("{} of {all} endpoints not up", details.len()), details.join("; ")),
    };
    let error = format!("{entry} {version}: {count} after {:?}: {details}", args.common.timeout());
    Failure::new(Exit::Unhealthy, error).with_hint("it stays deployed; deploy again, or wait longer with --timeout")
}

#[cfg(test)]
mod tests {
    use super::super::answers::Services;
    use super::*;

    fn services() -> Vec<Service> {
        serde_json::from_str::<Services>(include_str!("status/document.json")).unwrap().services
    }

    #[test]
    fn the_idle_entry_is_the_one_without_clients_whichever_slot_it_is() {
        assert_eq!(idle(&services()[1]).unwrap(), Entry::Primary);
        let failure = idle(&services()[0]).unwrap_err();
        assert_eq!(
            (failure.exit, failure.to_string().as_str()),
            (Exit::Conflict, "neither entry is idle: primary has 90 %, secondary has 10 %")
        );
    }

    #[test]
    fn an_entry_is_deployed_when_every_endpoint_is_up() {
        let mut service = services().remove(0);
        let state = &mut service.entries[Entry::Primary];
        state.standing = "up".to_owned();
        state.endpoints.iter_mut().for_each(|endpoint| endpoint.standing = "up".to_owned());
        assert!(all_up(state));
        state.endpoints[0].standing = "down".to_owned();
        assert!(!all_up(state));
        state.endpoints[0].leaving = true;
        assert!(all_up(state), "what is on its way out is not waited for");
    }

    #[test]
    fn a_deploy_is_one_line() {
        let made: Deployed = serde_json::from_str(
            r#"{"service":"notes","entry":"secondary","version":"1.5.0","endpoints":[{"name":"a","url":"http://a:1"},{"name":"b","url":"http://b:1"}],
                "revision":8,"changed":true,"durable":true,"dry_run":false,"warnings":[]}"#,
        )
        .unwrap();
        assert_eq!(line(&made), "secondary: 1.5.0 at http://a:1, http://b:1 (revision 8)\n");
    }
}
