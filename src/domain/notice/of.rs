//! What people are told of what a machine tells.

use super::{Notice, Occasion};
use crate::domain::Severity::{self, Critical, Info, Warning};
use crate::domain::machine::Note;
use crate::domain::rollout::STABLE_IS_SICK;

impl Notice {
    /// Of a note about a service; nothing, where it is no matter of a rollout. `time` is the wall clock's (RFC 3339).
    pub fn of(service: &str, note: &Note, time: String) -> Option<Self> {
        let told = Told::of(note)?;
        let mut fields: Vec<(String, String)> = told
            .fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        fields.insert(0, ("service".to_owned(), service.to_owned()));
        Some(Self {
            service: service.to_owned(),
            rollout: told.rollout,
            occasion: told.occasion,
            severity: told.severity,
            title: format!("{service}: {}", told.title),
            detail: told.detail,
            fields,
            time,
            revision: told.revision,
        })
    }
}

struct Told {
    rollout: Option<String>,
    occasion: Occasion,
    severity: Severity,
    title: String,
    detail: String,
    fields: Vec<(&'static str, String)>,
    revision: u64,
}

impl Told {
    fn of(note: &Note) -> Option<Self> {
        match note {
            Note::Started { actor, reason, rollout, plan, candidate, version, revision } => Some(Self {
                rollout: Some(rollout.clone()),
                occasion: Occasion::Started,
                severity: Info,
                title: format!("a rollout of {version} ({candidate}) has begun"),
                detail: format!("The plan is {plan}."),
                fields: vec![("by", actor.clone()), ("reason", reason.clone().unwrap_or_default()), ("rollout", rollout.clone())],
                revision: *revision,
            }),
            Note::Rollout { .. } => Self::turn(note),
            Note::Rollback { actor, reason, candidate, trigger, rollout, before, after, revision } => {
                // A person who calls it off knows of it; what dualgate did by itself is news.
                let by_hand = matches!(*trigger, "operator" | "abort");
                let occasion = if *trigger == "abort" { Occasion::Aborted } else { Occasion::Rollback };
                Some(Self {
                    rollout: rollout.clone(),
                    occasion,
                    severity: if by_hand { Warning } else { Critical },
                    title: format!("{candidate} was taken back ({trigger})"),
                    detail: reason.clone().unwrap_or_default(),
                    fields: vec![
                        ("trigger", (*trigger).to_owned()),
                        ("by", actor.clone()),
                        ("split", format!("{before} to {after}")),
                    ],
                    revision: *revision,
                })
            }
            Note::Steered { actor, reason, rollout, command: "resume", step, revision } => Some(Self {
                rollout: Some(rollout.clone()),
                occasion: Occasion::Resumed,
                severity: Info,
                title: format!("the rollout goes on at step {step}"),
                detail: reason.clone().unwrap_or_default(),
                fields: vec![("by", actor.clone()), ("rollout", rollout.clone())],
                revision: *revision,
            }),
            // At the end of a plan the rollout says that it is done. Its own name has a blank, which no person's has.
            Note::Promoted { actor, reason, entry, before, revision } if !actor.contains(' ') => Some(Self {
                rollout: None,
                occasion: Occasion::Promoted,
                severity: Info,
                title: format!("{entry} is stable now, in place of {before}"),
                detail: reason.clone().unwrap_or_default(),
                fields: vec![("by", actor.clone())],
                revision: *revision,
            }),
            Note::Warned { rollout, trigger, detail } => Some(Self {
                rollout: rollout.clone(),
                occasion: if detail.contains(STABLE_IS_SICK) { Occasion::StableSick } else { Occasion::Trigger },
                severity: Warning,
                title: format!("{} fails, and nothing follows from it by itself", trigger.as_str()),
                detail: detail.clone(),
                fields: vec![("trigger", trigger.as_str().to_owned())],
                revision: 0,
            }),
            Note::Signal { actor, critical, entry, detail } => Some(Self {
                rollout: None,
                occasion: Occasion::Signal,
                severity: if *critical { Critical } else { Warning },
                title: format!("a signal{}", entry.map_or_else(String::new, |entry| format!(" about {entry}"))),
                detail: detail.clone(),
                fields: vec![("by", actor.clone())],
                revision: 0,
            }),
            _ => None,
        }
    }

    /// Phases that somebody should know of; to be taken back, called off or not, has a note of its own.
    fn turn(note: &Note) -> Option<Self> {
        let Note::Rollout { rollout, phase, step, of, candidate, share, why, revision } = note else { return None };
        let (occasion, severity, title) = match phase.as_str() {
            "holding" | "soaking" => (Occasion::Step, Info, format!("{candidate} has {share} % (step {step} of {of})")),
            "paused" => (Occasion::Paused, Warning, format!("the rollout is paused at step {step} of {of}")),
            "frozen" => (Occasion::Frozen, Critical, format!("the rollout is frozen at step {step} of {of}")),
            "done" => (Occasion::Done, Info, format!("the rollout is done: {candidate} has {share} %")),
            _ => return None,
        };
        Some(Self {
            rollout: Some(rollout.clone()),
            occasion,
            severity,
            title,
            detail: why.clone(),
            fields: vec![("share", format!("{share} %")), ("rollout", rollout.clone())],
            revision: *revision,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Entry;
    use crate::domain::judge::Trigger;

    fn told(note: &Note) -> Option<(Occasion, Severity, String)> {
        let notice = Notice::of("notes", note, "t".to_owned())?;
        Some((notice.occasion, notice.severity, notice.title))
    }

    fn turn(phase: &str) -> Note {
        Note::Rollout {
            rollout: "r-1".to_owned(),
            phase: phase.to_owned(),
            step: 2,
            of: 3,
            candidate: Entry::Secondary,
            share: 50.0,
            why: "why".to_owned(),
            revision: 7,
        }
    }

    fn rollback(trigger: &'static str) -> Note {
        Note::Rollback {
            actor: "dualgate".to_owned(),
            reason: Some("search fails".to_owned()),
            candidate: Entry::Secondary,
            trigger,
            rollout: Some("r-1".to_owned()),
            before: "50:50".to_owned(),
            after: "100:0".to_owned(),
            revision: 8,
        }
    }

    #[test]
    fn what_dualgate_did_by_itself_is_critical_and_what_a_person_did_is_not() {
        let said = |trigger| told(&rollback(trigger)).unwrap();
        let expected = "notes: secondary was taken back (tool-errors)".to_owned();
        assert_eq!(said("tool-errors"), (Occasion::Rollback, Critical, expected));
        assert_eq!((said("operator").0, said("operator").1), (Occasion::Rollback, Warning));
        assert_eq!(said("abort").0, Occasion::Aborted);
        let notice = Notice::of("notes", &rollback("errors"), "t".to_owned()).unwrap();
        assert_eq!((notice.detail.as_str(), notice.rollout.as_deref(), notice.revision), ("search fails", Some("r-1"), 8));
    }

    #[test]
    fn every_phase_that_matters_is_told_once() {
        assert_eq!(told(&turn("holding")), Some((Occasion::Step, Info, "notes: secondary has 50 % (step 2 of 3)".to_owned())));
        for (phase, occasion) in [
            ("soaking", Some(Occasion::Step)),
            ("gating", None),
            ("paused", Some(Occasion::Paused)),
            ("frozen", Some(Occasion::Frozen)),
            ("rolling-back", None),
            ("rolled-back", None),
            ("aborted", None),
            ("done", Some(Occasion::Done)),
        ] {
            assert_eq!(told(&turn(phase)).map(|told| told.0), occasion, "{phase}");
        }
    }

    #[test]
    fn the_end_of_a_plan_is_told_as_that_and_not_as_somebodys_doing() {
        let promoted = |actor: &str| Note::Promoted {
            actor: actor.to_owned(),
            reason: None,
            entry: Entry::Secondary,
            before: Entry::Primary,
            revision: 9,
        };
        assert_eq!(told(&promoted("ada@127.0.0.1")).unwrap().0, Occasion::Promoted);
        assert_eq!(told(&promoted("rollout r-1")), None);
    }

    #[test]
    fn a_warning_has_its_trigger_and_what_is_of_no_rollout_is_not_told() {
        let warned = Note::Warned { rollout: None, trigger: Trigger::Latency, detail: "1.6 times".to_owned() };
        assert_eq!(told(&warned).unwrap().0, Occasion::Trigger);
        let detail = format!("errors: primary, {STABLE_IS_SICK} (6 %)");
        let sick = Note::Warned { rollout: None, trigger: Trigger::Errors, detail };
        assert_eq!(told(&sick).unwrap().0, Occasion::StableSick);
        let ejected = Note::Ejected { entry: Entry::Primary, endpoint: "a".to_owned(), seconds: 30 };
        assert_eq!(told(&ejected), None);
    }
}
