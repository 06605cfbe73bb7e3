//! `config`: what is in force, what was, and how the file differs from it.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use similar::TextDiff;

use super::args::{Common, ConfigArgs, ConfigCommand, RevertArgs, StatusArgs};
use super::client::{Admin, Change};
use super::failure::{Exit, Failure};
use super::print::{left, put, right, say, table};

/// `GET /v1/config`, as far as people look at it.
#[derive(Deserialize)]
struct Standing {
    path: Option<String>,
    generation: Generation,
    failure: Option<Refused>,
    #[serde(default)]
    file: Option<File>,
    #[serde(default)]
    drift: Vec<Drift>,
}

#[derive(Deserialize)]
struct Generation {
    number: u64,
    time: String,
    actor: String,
    sha256: String,
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct Refused {
    time: String,
    actor: String,
    errors: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    differs: bool,
    text: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Drift {
    service: String,
    what: String,
}

#[derive(Deserialize)]
struct History {
    generations: Vec<Generation>,
}

/// `POST /v1/config/reload` and `…/revert`.
#[derive(Deserialize)]
struct Applied {
    generation: u64,
    changed: bool,
    #[serde(default)]
    warnings: Vec<String>,
}

pub(super) async fn config(args: &ConfigArgs) -> Result<Exit, Failure> {
    match &args.command {
        ConfigCommand::Show(StatusArgs { common }) => show(common).await,
        ConfigCommand::Diff(StatusArgs { common }) => diff(common).await,
        ConfigCommand::History(StatusArgs { common }) => history(common).await,
        ConfigCommand::Reload(StatusArgs { common }) => change(common, "reload", json!({})).await,
        ConfigCommand::Revert(RevertArgs { generation, common }) => {
            change(common, "revert", json!({ "generation": generation })).await
        }
    }
}

async fn show(common: &Common) -> Result<Exit, Failure> {
    let answer = Admin::new(common)?.get("/v1/config").await?;
    if common.json() {
        put(&answer.line())?;
        return Ok(Exit::Done);
    }
    let standing: Standing = answer.read()?;
    let now = &standing.generation;
    say(&format!("configuration {} in force since {} (by {})", now.number, now.time, now.actor));
    for line in remarks(&standing) {
        say(&line);
    }
    put(&now.text)?;
    Ok(Exit::Done)
}

async fn diff(common: &Common) -> Result<Exit, Failure> {
    let answer = Admin::new(common)?.get("/v1/config").await?;
    if common.json() {
        put(&answer.line())?;
        return Ok(Exit::Done);
    }
    let standing: Standing = answer.read()?;
    put(&text_of(&standing))?;
    for line in remarks(&standing) {
        say(&line);
    }
    Ok(Exit::Done)
}

/// A unified diff from what is in force to the file, and a line for each service that is not as configured.
fn text_of(standing: &Standing) -> String {
    let name = standing.path.as_deref().unwrap_or("the command line");
    let mut out = String::new();
    if let Some(text) = standing.file.as_ref().filter(|file| file.differs).and_then(|file| file.text.as_deref()) {
        let diff = TextDiff::from_lines(standing.generation.text.as_str(), text);
        let from = format!("configuration {} (in force)", standing.generation.number);
        out.push_str(&diff.unified_diff().header(&from, name).to_string());
    }
    for Drift { service, what } in &standing.drift {
        out.push_str(&format!("{service}: {what}\n"));
    }
    out
}

fn remarks(standing: &Standing) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(error) = standing.file.as_ref().and_then(|file| file.error.as_deref()) {
        remarks.push(format!("warning: {error}"));
    }
    if let Some(Refused { time, actor, errors }) = &standing.failure {
        remarks.push(format!("warning: another one was refused at {time} (by {actor}):"));
        remarks.extend(errors.iter().map(|error| format!("  {error}")));
    }
    if remarks.is_empty() && text_of(standing).is_empty() {
        remarks.push("the file, what is in force and the services agree".to_owned());
    }
    remarks
}

async fn history(common: &Common) -> Result<Exit, Failure> {
    let answer = Admin::new(common)?.get("/v1/config/history").await?;
    if common.json() {
        put(&answer.line())?;
        return Ok(Exit::Done);
    }
    let history: History = answer.read()?;
    let row = |one: &Generation| {
        vec![one.number.to_string(), one.time.clone(), one.actor.clone(), one.sha256.chars().take(12).collect()]
    };
    let rows: Vec<Vec<String>> = history.generations.iter().map(row).collect();
    put(&table(&[right("generation"), left("since"), left("by"), left("sha256")], &rows))?;
    Ok(Exit::Done)
}

async fn change(common: &Common, what: &str, mut body: Value) -> Result<Exit, Failure> {
    if common.dry_run {
        let hint = "dualgate check FILE and dualgate config diff say what would come";
        return Err(Failure::new(Exit::Usage, "--dry-run means nothing here").with_hint(hint));
    }
    body["reason"] = json!(common.reason);
    let sent = Change { method: Method::POST, path: format!("/v1/config/{what}"), body, common };
    let answer = Admin::new(common)?.change(&sent).await?;
    let applied: Applied = answer.read()?;
    applied.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    if common.json() {
        put(&answer.line())?;
    } else {
        let how = if applied.changed { "in force" } else { "in force already" };
        put(&format!("configuration {} {how}\n", applied.generation))?;
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(file: &str, drift: &str) -> Standing {
        let text = format!(
            r#"{{"path":"/etc/d.toml","generation":{{"number":3,"time":"t","actor":"file","sha256":"ab","text":"a\nb\n"}},
               "failure":null,"file":{file},"drift":[{drift}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_diff_goes_from_what_is_in_force_to_the_file_and_names_what_the_services_have_otherwise() {
        let both = standing(r#"{"differs":true,"text":"a\nc\n"}"#, r#"{"service":"notes","what":"split: configured is 90:10"}"#);
        let said =
            "--- configuration 3 (in force)\n+++ /etc/d.toml\n@@ -1,2 +1,2 @@\n a\n-b\n+c\nnotes: split: configured is 90:10\n";
        assert_eq!(text_of(&both), said);
        assert_eq!(remarks(&both), Vec::<String>::new());
        let same = standing(r#"{"differs":false}"#, "");
        assert_eq!(text_of(&same), "");
        assert_eq!(remarks(&same), ["the file, what is in force and the services agree"]);
        assert_eq!(remarks(&standing(r#"{"error":"cannot read it"}"#, "")), ["warning: cannot read it"]);
    }
}
