//! `rollout list`, `rollout show`: what became of rollouts.

use serde::Deserialize;

use super::args::{RecordArgs, RecordsArgs};
use super::client::{Admin, segment};
use super::failure::{Exit, Failure};
use super::print::{left, put, right, table};
use super::status::the_service;
use crate::control::{FiguresTold, Record, Side, StepTold, TurnTold};

/// `GET /v1/services/{s}/records`.
#[derive(Deserialize)]
struct Records {
    service: String,
    records: Vec<Brief>,
}

#[derive(Deserialize)]
struct Brief {
    id: String,
    phase: String,
    candidate: Side,
    stable: Side,
    by: String,
    began: Option<String>,
    trigger: Option<String>,
    culprit: Option<String>,
}

/// `rollout list`.
pub(super) async fn list(args: &RecordsArgs) -> Result<Exit, Failure> {
    let admin = Admin::new(&args.common)?;
    let service = the_service(&admin, args.common.service()).await?;
    let answer = admin.get(&format!("/v1/services/{}/records?limit={}", segment(&service), args.limit)).await?;
    let records: Records = answer.read()?;
    put(&if args.common.json() { answer.line() } else { page_of_all(&records) })?;
    Ok(Exit::Done)
}

/// `rollout show`.
pub(super) async fn show(args: &RecordArgs) -> Result<Exit, Failure> {
    let admin = Admin::new(&args.common)?;
    let service = the_service(&admin, args.common.service()).await?;
    let path = format!("/v1/services/{}/records/{}", segment(&service), segment(&args.id));
    if args.markdown {
        put(admin.get_as(&path, "text/markdown").await?.text())?;
        return Ok(Exit::Done);
    }
    let answer = admin.get(&path).await?;
    if args.common.json() {
        put(&answer.line())?;
    } else {
        put(&page(&answer.read()?))?;
    }
    Ok(Exit::Done)
}

fn page_of_all(Records { service, records }: &Records) -> String {
    if records.is_empty() {
        return format!("{service}: there is no record of a rollout\n");
    }
    let columns =
        [left("ID"), left("BEGAN"), left("FROM"), left("TO"), left("ENTRY"), left("PHASE"), left("TRIGGER"), left("BY")];
    let row = |brief: &Brief| {
        let trigger = brief.trigger.as_ref().map(|trigger| named(trigger, brief.culprit.as_deref()));
        vec![
            brief.id.clone(),
            or_dash(brief.began.clone()),
            brief.stable.version.clone(),
            brief.candidate.version.clone(),
            brief.candidate.entry.clone(),
            brief.phase.clone(),
            or_dash(trigger),
            brief.by.clone(),
        ]
    };
    format!("{service}:\n{}", table(&columns, &records.iter().map(row).collect::<Vec<_>>()))
}

fn page(record: &Record) -> String {
    let Record { candidate, stable, .. } = record;
    let head = format!(
        "{} {}: {} → {} on {}: {}\n",
        record.service, record.id, stable.version, candidate.version, candidate.entry, record.phase
    );
    let mut lines: Vec<(&str, Option<String>)> = vec![
        ("begun by", Some(record.by.clone())),
        ("reason", record.reason.clone()),
        ("plan", Some(format!("{}: {}", record.plan.name, record.plan.text))),
        ("began", record.began.clone()),
        ("ended", record.ended.clone()),
        ("stands still", record.still.clone()),
    ];
    if let Some(trigger) = &record.trigger {
        lines.push(("trigger", Some(format!("{}: {}", named(&trigger.trigger, trigger.culprit()), trigger.detail))));
    }
    let after = record.revert_ms.map_or_else(String::new, |after| format!(", in force after {after} ms"));
    lines.push(("taken back", record.reverted.as_ref().map(|reverted| format!("{reverted}{after}"))));
    let sessions = &record.sessions;
    let counts =
        [(sessions.before, "at the rollback"), (sessions.moved, "moved"), (sessions.ended, "ended"), (sessions.left, "left")];
    let counts: Vec<String> = counts.iter().filter_map(|(count, what)| Some(format!("{} {what}", (*count)?))).collect();
    lines.push(("sessions", (!counts.is_empty()).then(|| counts.join(", "))));
    lines.push(("last request", record.last_request.clone()));
    lines.push(("stable after", record.stable_after.clone()));
    for approval in &record.approvals {
        lines.push(("approved", Some(format!("step {} by {}", approval.step, approval.who))));
    }
    let told = lines.iter().filter_map(|(name, value)| Some(format!("  {name:<13} {}\n", value.as_ref()?)));
    let mut out = head + &told.collect::<String>();
    out += "steps:\n";
    out += &table(
        &[right("STEP"), right("SHARE"), left("BEGAN"), right("HELD"), left("VERDICT"), left("CANDIDATE"), left("STABLE")],
        &record.steps.iter().map(step).collect::<Vec<_>>(),
    );
    out += "timeline:\n";
    let turn = |turn: &TurnTold| vec![turn.at.clone(), turn.phase.clone(), turn.step.to_string(), turn.why.clone()];
    out += &table(&[left("WHEN"), left("PHASE"), right("STEP"), left("WHY")], &record.turns.iter().map(turn).collect::<Vec<_>>());
    out
}

fn step(step: &StepTold) -> Vec<String> {
    vec![
        step.step.to_string(),
        format!("{} %", step.share),
        step.began.clone(),
        or_dash(step.held_s.map(|held| format!("{held:.1} s"))),
        or_dash(step.verdict.clone()),
        figures(&step.candidate),
        figures(&step.stable),
    ]
}

fn figures(figures: &FiguresTold) -> String {
    let rate = figures.error_rate.map_or_else(String::new, |rate| format!(" ({:.1} %)", rate * 100.0));
    let p95 = figures.p95_ms.map_or_else(String::new, |p95| format!(", p95 {p95:.1} ms"));
    format!("{} requests, {} faults{rate}{p95}", figures.requests, figures.faults)
}

fn named(trigger: &str, culprit: Option<&str>) -> String {
    culprit.map_or_else(|| trigger.to_owned(), |name| format!("{trigger} of {name}"))
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_at_a_record_sees_what_fired_and_when() {
        let text = r#"{"id":"r-1","service":"notes","phase":"rolled-back","by":"ada","candidate":{"entry":"secondary","version":"2"},
            "stable":{"entry":"primary","version":"1"},"plan":{"name":"default","text":"10:10m"},"reverted":"then","revert_ms":1.5,
            "trigger":{"trigger":"tool-errors","tool":"delete","detail":"62 %"},"sessions":{"ended":4},
            "steps":[{"step":1,"share":10.0,"began":"now","candidate":{"requests":118,"faults":73,"error_rate":0.6186}}],
            "turns":[{"at":"then","phase":"rolling-back","step":1,"why":"tool-errors of delete"}],"newer":1}"#;
        let page = page(&serde_json::from_str(text).unwrap());
        for line in [
            "notes r-1: 1 → 2 on secondary: rolled-back\n",
            "  trigger       tool-errors of delete: 62 %\n",
            "  taken back    then, in force after 1.5 ms\n",
            "  sessions      4 ended\n",
            "118 requests, 73 faults (61.9 %)",
            "then  rolling-back     1  tool-errors of delete\n",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }
}
