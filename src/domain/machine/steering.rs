//! Orders that begin a rollout, steer it, or end it; and evidence from outside.

use super::rollout::Move;
use super::{Change, Effect, Evidence, Machine, Note, Order, Refusal, Start};
use crate::domain::clock::Moment;
use crate::domain::entry::{Entry, PerEntry};
use crate::domain::health::Standing;
use crate::domain::judge::{Reaction, Trigger, Verdict};
use crate::domain::rollout::{self, Fired, Refused, Rollout, Wanted};
use crate::domain::split::{Share, Split};

impl Machine {
    pub(super) fn start_rollout(&mut self, now: Moment, order: &Order, start: Start, effects: &mut Vec<Effect>) {
        let checked = self.may_write(order).and_then(|()| self.may_start(order, &start));
        let first = match checked {
            Ok(first) => first,
            Err(refusal) => return effects.push(Effect::Answer(order.ticket, Err(refusal))),
        };
        let candidate = self.candidate();
        let share = start.plan.steps[first].share;
        let split = Split::giving(candidate, share);
        let mut change = self.change_to(split);
        change.changed = true;
        change.warnings = self.unproven(split);
        if order.dry_run {
            return effects.push(Effect::Answer(order.ticket, Ok(change)));
        }
        let mut next = self.next_state();
        next.split = split;
        if next.condemned[candidate].take().is_some() {
            change.warnings.push(format!("{candidate} was condemned by a rollback: a rollout by force clears that"));
        }
        let version = self.entry(candidate).version.clone();
        if self.state.split.share(candidate) == Share::NONE && next.note_tried(&version) {
            // Clients are dealt anew for a version that nobody has met yet, so that not the same ones come first each time.
            next.epoch += 1;
            next.salt = start.salt;
        }
        let versions = PerEntry::from_fn(|entry| self.entry(entry).version.clone());
        let (by, reason) = (order.actor.clone(), order.reason.clone());
        let mut begun = Rollout::begin(start.id, start.plan, candidate, versions, by, reason);
        begun.step = first;
        change.revision = next.revision;
        let note = Note::Started {
            actor: order.actor.clone(),
            reason: order.reason.clone(),
            rollout: begun.id.clone(),
            plan: begun.plan.to_string(),
            candidate,
            version,
            revision: next.revision,
        };
        self.put_in_line_moving(now, next, order.ticket, change, note, Move::Start(Box::new(begun)), effects);
    }

    /// The step that it would begin with.
    fn may_start(&self, order: &Order, start: &Start) -> Result<usize, Refusal> {
        if let Some(rollout) = self.rollout().filter(|rollout| !rollout.is_over()) {
            let (id, phase) = (rollout.id.clone(), rollout.phase.as_str().to_owned());
            return Err(Refused::Active { id, phase }.into());
        }
        if start.force && order.reason.as_ref().is_none_or(|reason| reason.trim().is_empty()) {
            return Err(Refused::ForceWithoutReason.into());
        }
        let candidate = self.candidate();
        if let Some(to) = start.to.filter(|to| *to != candidate) {
            return Err(Refused::IsStable { entry: to }.into());
        }
        let share = self.state.split.share(candidate);
        let last = start.plan.steps.last().map_or(Share::NONE, |step| step.share);
        let Some(first) = Rollout::first_step(&start.plan, share) else {
            return Err(Refused::BeyondPlan { share, last }.into());
        };
        let mut obstacles = Vec::new();
        if let Some(condemned) = &self.state.condemned[candidate] {
            let why = condemned.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
            obstacles.push(format!("version {} of {candidate} was rolled back{why}", condemned.version));
        }
        for entry in [candidate, candidate.other()] {
            if self.standing(entry) != Standing::Up {
                obstacles.push(format!("{entry} is {}", self.standing(entry).as_str()));
            }
        }
        match start.force {
            true => Ok(first),
            false if !obstacles.is_empty() => Err(Refused::Obstructed { obstacles }.into()),
            false => self.strands(candidate).map(|()| first).map_err(Refusal::from),
        }
    }

    pub(super) fn order_rollout(&mut self, now: Moment, order: &Order, wanted: &Wanted, effects: &mut Vec<Effect>) {
        let answer = |effects: &mut Vec<Effect>, answer| effects.push(Effect::Answer(order.ticket, answer));
        if let Err(refusal) = self.may_write(order) {
            return answer(effects, Err(refusal));
        }
        if matches!(wanted, Wanted::Advance { force: true, .. })
            && order.reason.as_ref().is_none_or(|reason| reason.trim().is_empty())
        {
            return answer(effects, Err(Refused::ForceWithoutReason.into()));
        }
        let Some(current) = self.state.rollout.as_deref() else {
            return answer(effects, Err(Refused::None { done: wanted.done(), was: None }.into()));
        };
        let other = Entry::BOTH.into_iter().find(|entry| self.entry(*entry).version != current.versions[*entry]);
        if let Some(entry) = other.filter(|_| current.is_running() && *wanted != Wanted::Pause) {
            let (meant, found) = (current.versions[entry].clone(), self.entry(entry).version.clone());
            return answer(effects, Err(Refused::OtherVersion { entry, meant, found }.into()));
        }
        let (mut rollout, mut live) = (current.clone(), self.live.clone());
        let around = self.around(now, current);
        let mut follows = Vec::new();
        let done = rollout::order(&mut rollout, &mut live, now, &around, wanted, &order.actor, &mut follows);
        let mut change = self.change_to(self.state.split);
        change.changed = match done {
            Ok(changed) => changed,
            Err(refused) => return answer(effects, Err(refused.into())),
        };
        if order.dry_run || !change.changed {
            return answer(effects, Ok(change));
        }
        let note = Note::Steered {
            actor: order.actor.clone(),
            reason: order.reason.clone(),
            rollout: rollout.id.clone(),
            command: wanted.name(),
            step: rollout.step + 1,
            revision: self.state.revision,
        };
        match wanted {
            // Somebody's word counts once it is on the disk.
            Wanted::Approve { step } => {
                let next = self.next_state();
                change.revision = next.revision;
                let moves = Move::Approve(rollout::Approval { step: *step, who: order.actor.clone() });
                self.put_in_line_moving(now, next, order.ticket, change, note, moves, effects);
            }
            Wanted::Resume => {
                effects.push(Effect::Tell(note));
                self.state.rollout = Some(Box::new(rollout));
                self.follow_through(now, Some(order), follows, effects);
            }
            Wanted::Pause | Wanted::Advance { .. } => {
                // In force at once, as a rollback is; and nothing that waits for the disk goes on behind it.
                let mut next = self.next_state();
                next.rollout = Some(Box::new(rollout));
                change.revision = next.revision;
                let note = note.at(next.revision);
                self.ease(now, next, order.ticket, change, note, effects);
                self.live = live;
                self.follow_through(now, Some(order), follows, effects);
                self.overtake(effects);
            }
        }
    }

    pub(super) fn order_promote(&mut self, now: Moment, order: &Order, force: bool, effects: &mut Vec<Effect>) {
        let answer = |effects: &mut Vec<Effect>, answer| effects.push(Effect::Answer(order.ticket, answer));
        if let Err(refusal) = self.may_write(order) {
            return answer(effects, Err(refusal));
        }
        let candidate = self.candidate();
        let running = self.rollout().filter(|rollout| rollout.is_running());
        let at_full = self.state.split.share(candidate) == Share::ALL;
        if running.is_none() && !at_full {
            // What is done already stays done.
            let done =
                self.rollout().is_some_and(|rollout| rollout.phase.as_str() == "done" && rollout.candidate == self.state.stable);
            let was = self.rollout().map(|rollout| rollout.phase.as_str().to_owned());
            let change = self.change_to(self.state.split);
            return answer(effects, if done { Ok(change) } else { Err(Refused::None { done: "promoted", was }.into()) });
        }
        let has_reason = order.reason.as_ref().is_some_and(|reason| !reason.trim().is_empty());
        if force && !has_reason {
            return answer(effects, Err(Refused::ForceWithoutReason.into()));
        }
        let mut obstacles = Vec::new();
        if self.standing(candidate) != Standing::Up {
            obstacles.push(format!("{candidate} is {}", self.standing(candidate).as_str()));
        }
        if self.sitting.report().is_some_and(|report| report.verdict == Verdict::Fail) {
            obstacles.push("the verdict is fail".to_owned());
        }
        if !force && !obstacles.is_empty() {
            return answer(effects, Err(Refused::Obstructed { obstacles }.into()));
        }
        if let Err(refused) = self.strands(candidate)
            && !force
        {
            return answer(effects, Err(refused.into()));
        }
        let split = Split::giving(candidate, Share::ALL);
        if order.dry_run {
            let change = Change { changed: true, ..self.change_to(split) };
            return answer(effects, Ok(change));
        }
        self.promote(now, order, format!("promoted by {}", order.actor), effects);
    }

    pub(super) fn order_abort(&mut self, now: Moment, order: &Order, effects: &mut Vec<Effect>) {
        if let Err(refusal) = self.fresh(order) {
            return effects.push(Effect::Answer(order.ticket, Err(refusal)));
        }
        match self.rollout() {
            None => effects.push(Effect::Answer(order.ticket, Err(Refused::None { done: "aborted", was: None }.into()))),
            Some(rollout) if rollout.phase.as_str() == "done" => {
                let was = Some(rollout.phase.as_str().to_owned());
                effects.push(Effect::Answer(order.ticket, Err(Refused::None { done: "aborted", was }.into())));
            }
            Some(rollout) if !rollout.is_running() || order.dry_run => {
                let candidate = rollout.candidate;
                let change = Change { changed: rollout.is_running(), ..self.change_to(Split::giving(candidate, Share::NONE)) };
                effects.push(Effect::Answer(order.ticket, Ok(change)));
            }
            Some(_) => self.revert(now, order, None, false, effects),
        }
    }

    /// Somebody outside says something. What is critical takes the candidate back; where it is said of the stable entry, nobody
    /// is sent there, and a rollout stands still.
    pub(super) fn signalled(&mut self, now: Moment, order: &Order, all: &[Evidence], effects: &mut Vec<Effect>) {
        if let Err(refusal) = self.fresh(order) {
            return effects.push(Effect::Answer(order.ticket, Err(refusal)));
        }
        let before = self.state.split;
        if !order.dry_run {
            for Evidence { critical, entry, words } in all {
                let (actor, critical, entry) = (order.actor.clone(), *critical, *entry);
                effects.push(Effect::Tell(Note::Signal { actor, critical, entry, detail: words.clone() }));
            }
            self.asked_by = Some(order.ticket);
            let stable = self.state.stable;
            let of = |wanted: bool| all.iter().find(|one| one.critical && (one.entry == Some(stable)) == wanted);
            match (of(true), of(false)) {
                (Some(sick), _) => {
                    self.alarm(now, Fired { sick_stable: true, ..Fired::new(Trigger::Signal, &*sick.words) }, effects)
                }
                (None, Some(one)) => self.alarm(now, Fired::new(Trigger::Signal, &*one.words), effects),
                (None, None) => {}
            }
            if self.asked_by.take().is_none() {
                // Taken back: answered as a rollback is, when the brake has it.
                return;
            }
        }
        let change = Change { old: before, changed: before != self.state.split, ..self.change_to(self.state.split) };
        effects.push(Effect::Answer(order.ticket, Ok(change)));
    }

    fn alarm(&mut self, now: Moment, fired: Fired, effects: &mut Vec<Effect>) {
        if self.rollout().is_some_and(Rollout::is_running) {
            return self.conduct(now, rollout::Event::Alarm(fired), effects);
        }
        let has_clients = self.state.split.share(self.candidate()) != Share::NONE;
        if !has_clients || fired.sick_stable || self.rules.judge.reactions.signal != Reaction::Rollback {
            return;
        }
        match self.unfit() {
            None => self.take_back(now, &fired, effects),
            Some(sick) => {
                let detail = format!("{fired}; not rolled back, since {sick}");
                effects.push(Effect::Tell(Note::Warned { rollout: None, trigger: Trigger::Signal, sick_stable: true, detail }));
            }
        }
    }

    /// Why nobody may be sent back to the stable entry without a person saying so.
    fn unfit(&self) -> Option<String> {
        let stable = self.state.stable;
        if self.standing(stable) == Standing::Down {
            return Some(format!("{stable}, the stable entry, is down"));
        }
        if self.state.condemned[stable].is_some() {
            return Some(format!("{stable}, the stable entry, is condemned"));
        }
        let sick = self.sitting.report().is_some_and(|report| report.stable_is_sick.is_some());
        sick.then(|| format!("{stable}, the stable entry, is sick, too"))
    }
}
