//! What people are told of what happens: notices, made of notes.

use crate::domain::judge::Trigger;
use crate::domain::machine::Note;
use crate::domain::{Notice, Occasion, Severity};
use crate::telemetry::clock::wall_time;

/// The notice of a note; none: nobody need be told.
pub(super) fn notice(service: &str, revision: u64, note: &Note) -> Option<Notice> {
    let (occasion, severity, rollout, title, detail) = words(note)?;
    Some(Notice {
        service: service.to_owned(),
        rollout,
        occasion,
        severity,
        title: format!("{service}: {title}"),
        detail,
        fields: fields(note),
        time: wall_time(),
        revision,
    })
}

/// The notice that what is in force is not on the disk.
pub(super) fn not_durable(service: &str, revision: u64) -> Notice {
    Notice {
        service: service.to_owned(),
        rollout: None,
        occasion: Occasion::NotDurable,
        severity: Severity::Critical,
        title: format!("{service}: what is in force is not on the disk"),
        detail: "a restart would lose it; it is tried again until the disk takes it".to_owned(),
        fields: Vec::new(),
        time: wall_time(),
        revision,
    }
}

type Words = (Occasion, Severity, Option<String>, String, String);

fn words(note: &Note) -> Option<Words> {
    use Severity::{Critical, Info, Warning};
    let reason = |reason: &Option<String>| reason.clone().unwrap_or_default();
    let told = match note {
        Note::Started { actor, reason: why, rollout, plan, candidate, version, .. } => {
            let title = format!("a rollout of {version} to {candidate} has begun ({plan})");
            (Occasion::Started, Info, Some(rollout.clone()), title, format!("by {actor} {}", reason(why)).trim().to_owned())
        }
        Note::Rollout { rollout, phase, step, of, candidate, share, why, .. } => {
            let (occasion, severity) = match phase.as_str() {
                "holding" | "soaking" => (Occasion::Step, Info),
                "paused" => (Occasion::Paused, Warning),
                "frozen" => (Occasion::Frozen, Critical),
                "done" => (Occasion::Done, Info),
                "aborted" => (Occasion::Aborted, Warning),
                // The rollback itself is told, and gates where they do not pass.
                _ => return None,
            };
            let title = format!("{phase}: {candidate} has {share} % (step {step} of {of})");
            (occasion, severity, Some(rollout.clone()), title, why.clone())
        }
        // Told as the turn that it is.
        Note::Rollback { trigger: "abort", .. } => return None,
        Note::Rollback { actor, reason: why, candidate, trigger, rollout, before, after, .. } => {
            let title = format!("{candidate} was taken back, {before} to {after} ({trigger})");
            (Occasion::Rollback, Critical, rollout.clone(), title, format!("by {actor}: {}", reason(why)))
        }
        Note::Steered { actor, reason: why, rollout, command: "resume", step, .. } => {
            let title = format!("step {step} is resumed");
            (Occasion::Resumed, Info, Some(rollout.clone()), title, format!("by {actor} {}", reason(why)).trim().to_owned())
        }
        // The end of a plan, and of a rollout that somebody promotes, is told as that rollout's end.
        Note::Promoted { rollout: Some(_), .. } => return None,
        Note::Promoted { actor, reason: why, entry, .. } => (
            Occasion::Promoted,
            Info,
            None,
            format!("{entry} is the stable entry now"),
            format!("by {actor} {}", reason(why)).trim().to_owned(),
        ),
        Note::Held { rollout, step, obstacles, .. } => {
            let occasion = match () {
                () if obstacles.iter().any(|what| what.contains("approval")) => Occasion::Approval,
                () if obstacles.iter().any(|what| what.starts_with("gate ")) => Occasion::Gate,
                () => Occasion::Unsure,
            };
            (occasion, Warning, Some(rollout.clone()), format!("step {step} is held"), obstacles.join("; "))
        }
        Note::Warned { rollout, sick_stable: true, detail, .. } => (
            Occasion::StableSick,
            Critical,
            rollout.clone(),
            "the stable entry is the sick one: nothing is moved".to_owned(),
            detail.clone(),
        ),
        Note::Warned { rollout, trigger, detail, .. } => {
            (Occasion::Trigger, Warning, rollout.clone(), format!("{} would have fired", trigger.as_str()), detail.clone())
        }
        Note::Signal { actor, critical, detail, .. } => {
            let severity = if *critical { Critical } else { Info };
            (Occasion::Signal, severity, None, "a signal has come".to_owned(), format!("by {actor}: {detail}"))
        }
        _ => return None,
    };
    Some(told)
}

fn fields(note: &Note) -> Vec<(String, String)> {
    let field = |name: &str, value: String| (name.to_owned(), value);
    match note {
        Note::Started { candidate, version, plan, .. } => {
            vec![field("candidate", candidate.to_string()), field("version", version.clone()), field("plan", plan.clone())]
        }
        Note::Rollout { phase, step, of, share, candidate, .. } => vec![
            field("phase", phase.clone()),
            field("step", format!("{step} of {of}")),
            field("candidate", candidate.to_string()),
            field("share", format!("{share} %")),
        ],
        Note::Rollback { trigger, about, candidate, before, after, .. } => {
            let what = if *trigger == Trigger::Metric.as_str() { "metric" } else { "tool" };
            let mut fields = vec![
                field("trigger", (*trigger).to_owned()),
                field("candidate", candidate.to_string()),
                field("before", before.clone()),
                field("after", after.clone()),
            ];
            fields.extend(about.as_ref().map(|name| field(what, name.clone())));
            fields
        }
        Note::Warned { trigger, .. } => vec![field("trigger", Trigger::as_str(*trigger).to_owned())],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Entry;

    #[test]
    fn a_rollback_by_a_trigger_is_critical_and_names_it() {
        let note = Note::Rollback {
            actor: "rollout r1".into(),
            reason: Some("tool-errors of delete_note: 62 %".into()),
            candidate: Entry::Secondary,
            trigger: "tool-errors",
            about: Some("delete_note".into()),
            rollout: Some("r1".into()),
            before: "50:50".into(),
            after: "100:0".into(),
            revision: 9,
        };
        let notice = notice("notes", 9, &note).unwrap();
        assert_eq!((notice.occasion, notice.severity), (Occasion::Rollback, Severity::Critical));
        assert!(notice.title.contains("50:50 to 100:0 (tool-errors)") && notice.detail.contains("delete_note"));
        assert_eq!(notice.rollout.as_deref(), Some("r1"));
        assert!(notice.fields.contains(&("tool".to_owned(), "delete_note".to_owned())), "{:?}", notice.fields);
    }

    #[test]
    fn a_step_that_waits_for_somebody_asks_for_that_and_one_without_traffic_says_so() {
        let held = |what: &str| Note::Held { rollout: "r1".into(), step: 1, obstacles: vec![what.into()], revision: 2 };
        let occasion = |what| notice("notes", 2, &held(what)).unwrap().occasion;
        assert_eq!(occasion("gate approval: step 1 waits for the approval of 1"), Occasion::Approval);
        assert_eq!(occasion("gate webhook: 503"), Occasion::Gate);
        assert_eq!(occasion("the verdict is unsure: nothing was seen"), Occasion::Unsure);
    }
}
