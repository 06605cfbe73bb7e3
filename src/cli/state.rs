//! `state export`, `state import`, `keys rotate`: what a dualgate knows that its configuration does not say.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::{fs, io};

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::Pair;
use super::args::{ImportArgs, ListArgs};
use super::change::warn;
use super::client::{Admin, Change};
use super::failure::{Exit, Failure, plain_io};
use super::print::put;

#[derive(Deserialize)]
struct Imported {
    services: BTreeMap<String, Service>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
struct Service {
    old: Pair,
    new: Pair,
    revision: u64,
    changed: bool,
    durable: bool,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Rotated {
    #[serde(default)]
    dry_run: bool,
    sealing: Option<String>,
    opening: Option<u64>,
}

/// `state export`: the document either way, since it is made for programs; a table would be no export.
pub(super) async fn export(args: &ListArgs) -> Result<Exit, Failure> {
    let answer = Admin::new(&args.common)?.get("/v1/state").await?;
    put(&answer.line())?;
    Ok(Exit::Done)
}

/// `state import`.
pub(super) async fn import(args: &ImportArgs) -> Result<Exit, Failure> {
    let common = &args.common;
    let mut body = read(&args.file)?;
    if let (Some(reason), Some(document)) = (&common.reason, body.as_object_mut()) {
        document.insert("reason".to_owned(), json!(reason));
    }
    let admin = Admin::new(common)?;
    let answer = admin.change(&Change { method: Method::PUT, path: "/v1/state".to_owned(), body, common }).await?;
    let made: Imported = answer.read()?;
    put(&if common.json() { answer.line() } else { lines(&made) })?;
    for service in made.services.values() {
        warn(&service.warnings, service.durable || made.dry_run);
    }
    Ok(Exit::Done)
}

fn read(file: &Path) -> Result<Value, Failure> {
    let name = if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() };
    let text = match file.to_str() {
        Some("-") => {
            let mut text = Vec::new();
            io::stdin().lock().read_to_end(&mut text).map(|_| text)
        }
        _ => fs::read(file),
    };
    let text = text.map_err(|error| Failure::new(Exit::Usage, format!("cannot read {name}: {}", plain_io(&error))))?;
    serde_json::from_slice(&text).map_err(|error| {
        Failure::new(Exit::Usage, format!("{name} is not JSON: {error}")).with_hint("dualgate state export > FILE writes one")
    })
}

fn lines(made: &Imported) -> String {
    let dry = if made.dry_run { "; dry run, nothing was changed" } else { "" };
    let line = |(name, service): (&String, &Service)| match service.changed {
        true => format!("{name}: {} → {} (revision {}{dry})\n", service.old.text(), service.new.text(), service.revision),
        false => format!("{name}: already so, at {} (revision {}{dry})\n", service.new.text(), service.revision),
    };
    made.services.iter().map(line).collect()
}

/// `keys rotate`.
pub(super) async fn rotate_keys(args: &ListArgs) -> Result<Exit, Failure> {
    let common = &args.common;
    let admin = Admin::new(common)?;
    let body = json!({ "reason": common.reason });
    let answer = admin.change(&Change { method: Method::POST, path: "/v1/keys/rotate".to_owned(), body, common }).await?;
    let made: Rotated = answer.read()?;
    put(&if common.json() { answer.line() } else { rotated(&made) })?;
    Ok(Exit::Done)
}

fn rotated(made: &Rotated) -> String {
    match (made.dry_run, &made.sealing, made.opening) {
        (false, Some(sealing), Some(opening)) => format!("key {sealing} seals; {opening} keys open\n"),
        _ => "a new key would seal; dry run, nothing was changed\n".to_owned(),
    }
}
