//! The record for people. What others have named is escaped, so that no name makes a heading, a link or a cell.

use std::fmt::Write;

use super::{FiguresTold, Record, StepTold, TriggerTold};

impl Record {
    /// For people.
    pub(super) fn markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# {}\n", self.title())?;
        self.write_facts(out)?;
        if let Some(trigger) = &self.trigger {
            writeln!(out, "\n{}", sentence(trigger))?;
        }
        writeln!(out, "\n## Steps\n")?;
        if self.steps.is_empty() {
            writeln!(out, "None was entered.")?;
        } else {
            write_steps(&self.steps, out)?;
        }
        writeln!(out, "\n## Timeline\n\n| when | phase | step | why |\n|---|---|---|---|")?;
        for turn in &self.turns {
            writeln!(out, "| {} | {} | {} | {} |", turn.at, plain(&turn.phase), turn.step, plain(&turn.why))?;
        }
        if self.turns_left_out > 0 {
            writeln!(out, "\n{} turns in the middle are left out.", self.turns_left_out)?;
        }
        let condemned = match self.state.condemned.as_slice() {
            [] => String::new(),
            entries => format!(", condemned {}", entries.join(" and ")),
        };
        let state = &self.state;
        writeln!(
            out,
            "\nWritten {} by dualgate {}: revision {}, split {}, stable {}{condemned}.",
            self.written, self.dualgate, state.revision, state.split, state.stable
        )
    }

    /// `notes: 1.4.2 → 1.5.0 on secondary: rolled back, tool-errors of delete_note`.
    fn title(&self) -> String {
        let (candidate, stable) = (&self.candidate, &self.stable);
        let at = || format!(" in step {} of {}", self.turns.last().map_or(1, |turn| turn.step), self.plan.steps.len());
        let outcome = match self.outcome.as_deref() {
            Some(outcome) => outcome.replace('-', " "),
            None => self.phase.replace('-', " ") + &at(),
        };
        let because = self.trigger.as_ref().filter(|trigger| trigger.took_back);
        let because = because.map_or_else(String::new, |trigger| format!(", {}", named(trigger)));
        let (service, from, to) = (plain(&self.service), plain(&stable.version), plain(&candidate.version));
        format!("{service}: {from} → {to} on {}: {outcome}{because}", candidate.entry)
    }

    fn write_facts(&self, out: &mut String) -> std::fmt::Result {
        let mut facts: Vec<(&str, String)> = vec![("rollout", plain(&self.id)), ("begun by", plain(&self.by))];
        let mut add = |name: &'static str, value: Option<String>| facts.extend(value.map(|value| (name, value)));
        add("reason", self.reason.as_deref().map(plain));
        add("plan", Some(format!("{}: {}", plain(&self.plan.name), plain(&self.plan.text))));
        add("began", self.began.clone());
        add("taken back", self.reverted.clone());
        add("in force after", self.revert_ms.map(|after| format!("{after} ms")));
        add("ended", self.ended.clone());
        add("stands still", self.still.as_deref().map(plain));
        let yes = self.approvals.iter().map(|approval| format!("step {} by {}", approval.step, plain(&approval.who)));
        add("approved", (!self.approvals.is_empty()).then(|| yes.collect::<Vec<_>>().join(", ")));
        let count = |count: Option<u64>| count.map_or_else(|| "?".to_owned(), |count| count.to_string());
        let sessions = &self.sessions;
        let is_counted = sessions.before.or(sessions.ended).or(sessions.left).is_some();
        add(
            "sessions on the candidate",
            is_counted.then(|| {
                let (before, ended, left) = (count(sessions.before), count(sessions.ended), count(sessions.left));
                let moved = sessions.moved.map_or_else(String::new, |moved| format!(", {moved} moved"));
                format!("{before} when it was taken back{moved}, {ended} ended, {left} left (with streams and calls)")
            }),
        );
        add("last request on the candidate", self.last_request.clone());
        add("stable entry after it", self.stable_after.as_deref().map(plain));
        writeln!(out, "| | |\n|---|---|")?;
        facts.iter().try_for_each(|(name, value)| writeln!(out, "| {name} | {value} |"))
    }
}

fn sentence(trigger: &TriggerTold) -> String {
    let did = if trigger.took_back { "took the candidate back" } else { "has frozen the rollout" };
    format!("**{}** {did}: {}.", named(trigger), plain(&trigger.detail))
}

/// `tool-errors of delete_note`.
fn named(trigger: &TriggerTold) -> String {
    let of = trigger.culprit().map_or_else(String::new, |name| format!(" of {}", plain(name)));
    plain(&trigger.trigger) + &of
}

fn write_steps(steps: &[StepTold], out: &mut String) -> std::fmt::Result {
    writeln!(out, "| step | share | began | held | verdict | candidate | stable | gates |\n|---|---|---|---|---|---|---|---|")?;
    for step in steps {
        let held = step.held_s.map_or_else(|| "-".to_owned(), |held| format!("{held:.1} s"));
        let verdict = match (&step.verdict, &step.unsure) {
            (Some(verdict), Some(why)) => format!("{verdict}: {}", plain(why)),
            (Some(verdict), None) => verdict.clone(),
            (None, _) => "-".to_owned(),
        };
        let gates = if step.gates.is_empty() { "-".to_owned() } else { plain(&step.gates.join("; ")) };
        let (candidate, stable) = (figures(&step.candidate), figures(&step.stable));
        writeln!(
            out,
            "| {} | {} % | {} | {held} | {verdict} | {candidate} | {stable} | {gates} |",
            step.step, step.share, step.began
        )?;
    }
    Ok(())
}

/// `1204 requests, 73 faults (6.1 %), p95 120 ms`.
fn figures(figures: &FiguresTold) -> String {
    let rate = figures.error_rate.map_or_else(String::new, |rate| format!(" ({:.1} %)", rate * 100.0));
    let p95 = figures.p95_ms.map_or_else(String::new, |p95| format!(", p95 {p95:.1} ms"));
    format!("{} requests, {} faults{rate}{p95}", figures.requests, figures.faults)
}

/// Text as it is, and no markup: what means something in Markdown is escaped (CommonMark 0.31, 2.4), what breaks a line is a
/// space, and what turns the direction of writing or cannot be seen is not kept.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{2028}' | '\u{2029}' => out.push(' '),
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {}
            c if c.is_control() => out.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&' | '!' | '$' | '@' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    // No link by itself (GFM, 6.9): its text is to be read and not to be followed.
    out.replace("://", "\\://").replace("www.", "www\\.")
}
