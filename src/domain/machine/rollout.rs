//! The rollout of a service, carried out: shares, the swap of the stable entry, and back.

use super::{Command, Effect, Machine, Note, Order, Ticket};
use crate::domain::clock::Moment;
use crate::domain::entry::Entry;
use crate::domain::entry::PerEntry;
use crate::domain::health::Standing;
use crate::domain::rollout::{self, Around, Fired, Live, Phase as At, Rollout};
use crate::domain::split::{Share, Split};

/// Who is named in the audit where a rollout moves something by itself.
const ACTOR: &str = "rollout";

/// What a state that waits for the disk does to the rollout, once it is in force.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Move {
    /// Nothing.
    None,
    /// It begins.
    Start(Box<Rollout>),
    /// It is at this step.
    Enter(usize),
    /// Its candidate is the stable entry.
    Finish(String),
    /// Somebody has said yes.
    Approve(rollout::Approval),
    /// Somebody has set the split by hand.
    Overrule(String),
    /// Another one, of a state that was exported before.
    Replace(Option<Box<Rollout>>),
}

impl Machine {
    /// The rollout that is running, or the last one.
    pub fn rollout(&self) -> Option<&Rollout> {
        self.state.rollout.as_deref()
    }

    /// What of it does not survive a restart.
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Milliseconds since 1970, for accounts.
    pub(super) fn wall(&self, now: Moment) -> u64 {
        let wall = self.origin.saturating_add(now.since(Moment::default()));
        u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
    }

    /// What keeps the rollout where it is, in words.
    pub fn obstacles(&self, now: Moment) -> Vec<String> {
        self.rollout()
            .filter(|rollout| rollout.is_running())
            .map_or_else(Vec::new, |rollout| rollout::obstacles(rollout, &self.live, &self.around(now, rollout)))
    }

    pub(super) fn around(&self, now: Moment, rollout: &Rollout) -> Around<'_> {
        let candidate = rollout.candidate;
        Around {
            wall: self.wall(now),
            rules: &self.rules.judge,
            share: self.state.split.share(candidate),
            standing: PerEntry::from_fn(|entry| self.standing(entry)),
            all_up: self.all_up(candidate),
            condemned: PerEntry::from_fn(|entry| self.state.condemned[entry].is_some()),
            report: self.sitting.report(),
            held: self.held,
            leave: self.rules.leave.time(),
            is_busy: self.waiting.is_some() || !self.line.is_empty(),
        }
    }

    /// Takes up what the process before left: it stands still until somebody says to go on.
    pub(super) fn restore_rollout(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let wall = self.wall(now);
        let Some(rollout) = self.state.rollout.as_deref() else { return };
        let found = rollout.resumed_after_restart(wall);
        if found != *rollout {
            self.state.rollout = Some(Box::new(found));
            self.owe_a_save();
            self.tell_last_turn(effects);
        } else {
            self.record(effects);
        }
    }

    /// The rollout stands still from now on, by something that is not its own doing.
    pub(super) fn still(&mut self, now: Moment, why: &str, effects: &mut Vec<Effect>) {
        let Some(rollout) = self.rollout().filter(|rollout| rollout.is_running() && rollout.phase.why() != Some(why)) else {
            return;
        };
        self.state.rollout = Some(Box::new(rollout.overruled(self.wall(now), why.to_owned())));
        self.live = self.live.still();
        self.owe_a_save();
        self.tell_last_turn(effects);
        self.save_if_owed(effects);
    }

    /// Another version is in a slot than the one that the rollout is of: what was judged so far says nothing of it.
    fn still_for_versions(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let moves = |rollout: &&Rollout| matches!(rollout.phase, At::Holding | At::Soaking | At::Gating);
        let Some(rollout) = self.rollout().filter(moves) else { return };
        let other = Entry::BOTH.into_iter().find(|entry| self.entry(*entry).version != rollout.versions[*entry]);
        if let Some(entry) = other {
            let (was, is) = (&rollout.versions[entry], &self.entry(entry).version);
            let why = format!("version {is} is in {entry} now, and the rollout is of {was}");
            self.still(now, &why, effects);
        }
    }

    /// Looks whether the rollout goes on or back; the last thing in every step.
    pub(super) fn look_at_rollout(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.still_for_versions(now, effects);
        self.conduct(now, rollout::Event::Look, effects);
    }

    /// Something that the rollout has to know happens.
    pub(super) fn conduct(&mut self, now: Moment, event: rollout::Event, effects: &mut Vec<Effect>) {
        let Some(mut rollout) = self.state.rollout.take() else { return };
        let mut live = std::mem::take(&mut self.live);
        // Whatever overtook the raise: it is not on its way any more.
        live.set_entering(self.waiting.as_ref().is_some_and(|waiting| matches!(waiting.moves, Move::Enter(_) | Move::Finish(_))));
        let around = self.around(now, &rollout);
        let follows = rollout::step(&mut rollout, &mut live, now, &around, event);
        (self.state.rollout, self.live) = (Some(rollout), live);
        self.follow_through(now, None, follows, effects);
    }

    /// Carries out what follows.
    pub(super) fn follow_through(
        &mut self,
        now: Moment,
        order: Option<&Order>,
        follows: Vec<rollout::Effect>,
        effects: &mut Vec<Effect>,
    ) {
        let mut owes = false;
        for effect in follows {
            owes |= matches!(effect, rollout::Effect::Keep | rollout::Effect::Hold);
            match effect {
                rollout::Effect::Enter(step) => self.enter(now, order, step, effects),
                rollout::Effect::Promote => self.promote(now, &self.own_order(None), "the soak is over".to_owned(), effects),
                rollout::Effect::Back(fired) => self.take_back(now, &fired, effects),
                rollout::Effect::Keep => self.owe_a_save(),
                rollout::Effect::Hold => self.hold_still(now, effects),
                rollout::Effect::Ask { number, gate } => effects.push(Effect::Ask { number, gate }),
                rollout::Effect::Turned(turn) => self.tell_turn(turn, effects),
                rollout::Effect::Warn(fired) => {
                    let id = self.rollout().map(|rollout| rollout.id.clone());
                    let (trigger, sick_stable, detail) = (fired.trigger, fired.sick_stable, fired.to_string());
                    effects.push(Effect::Tell(Note::Warned { rollout: id, trigger, sick_stable, detail }));
                }
                rollout::Effect::Held(obstacles) => {
                    if let Some(rollout) = self.rollout() {
                        let (rollout, step) = (rollout.id.clone(), rollout.step + 1);
                        let revision = self.state.revision;
                        effects.push(Effect::Tell(Note::Held { rollout, step, obstacles, revision }));
                    }
                }
                rollout::Effect::Record => self.record(effects),
            }
        }
        // Not after every look: a disk that refuses would be asked again at once, for ever.
        if owes {
            self.save_if_owed(effects);
        }
    }

    fn tell_turn(&self, turn: rollout::Turn, effects: &mut Vec<Effect>) {
        let Some(rollout) = self.rollout() else { return };
        effects.push(Effect::Tell(Note::Rollout {
            rollout: rollout.id.clone(),
            phase: turn.phase,
            step: turn.step + 1,
            of: rollout.plan.steps.len(),
            candidate: rollout.candidate,
            share: self.state.split.share(rollout.candidate).percent(),
            why: turn.why,
            revision: self.state.revision,
        }));
    }

    pub(super) fn record(&self, effects: &mut Vec<Effect>) {
        effects.extend(self.state.rollout.clone().map(Effect::Record));
    }

    /// An order of the rollout itself.
    pub(super) fn own_order(&self, reason: Option<String>) -> Order {
        let actor = self.rollout().map_or_else(|| ACTOR.to_owned(), |rollout| format!("{ACTOR} {}", rollout.id));
        Order { ticket: Ticket::NOBODY, actor, reason, if_match: None, dry_run: false, command: Command::Rollback }
    }

    /// The share of a step, durable first.
    fn enter(&mut self, now: Moment, order: Option<&Order>, step: usize, effects: &mut Vec<Effect>) {
        let Some(rollout) = self.rollout() else { return };
        let Some(share) = rollout.plan.steps.get(step).map(|step| step.share) else { return };
        let (candidate, why) = (rollout.candidate, format!("step {} of {}", step + 1, rollout.plan.steps.len()));
        let own = self.own_order(Some(why));
        let order = order.unwrap_or(&own);
        let split = Split::giving(candidate, share);
        let mut change = self.change_to(split);
        let mut next = self.next_state();
        next.split = split;
        (change.changed, change.revision) = (true, next.revision);
        let note = Note::split(order, &change);
        self.put_in_line_moving(now, next, order.ticket, change, note, Move::Enter(step), effects);
    }

    /// Candidate to 100 % and stable, durable first.
    pub(super) fn promote(&mut self, now: Moment, order: &Order, why: String, effects: &mut Vec<Effect>) {
        let candidate = self.candidate();
        let split = Split::giving(candidate, Share::ALL);
        let mut change = self.change_to(split);
        let mut next = self.next_state();
        (next.split, next.stable) = (split, candidate);
        (change.changed, change.revision) = (true, next.revision);
        let before = candidate.other();
        let note = Note::Promoted {
            actor: order.actor.clone(),
            reason: order.reason.clone(),
            rollout: self.rollout().filter(|rollout| rollout.is_running()).map(|rollout| rollout.id.clone()),
            entry: candidate,
            before,
            revision: next.revision,
        };
        self.put_in_line_moving(now, next, order.ticket, change, note, Move::Finish(why), effects);
    }

    /// The candidate to 0, now, by a trigger.
    pub(super) fn take_back(&mut self, now: Moment, fired: &Fired, effects: &mut Vec<Effect>) {
        let ticket = self.asked_by.take().unwrap_or(Ticket::NOBODY);
        let order = Order { ticket, ..self.own_order(Some(fired.to_string())) };
        self.revert(now, &order, Some(fired), true, effects);
    }

    /// Nothing that waits may carry the rollout on: it is cancelled, and whatever the disk got of it loses.
    fn hold_still(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let is_moving = self.waiting.as_ref().is_some_and(|waiting| matches!(waiting.moves, Move::Enter(_) | Move::Finish(_)));
        if !is_moving {
            return self.owe_a_save();
        }
        let next = self.next_state();
        let order = self.own_order(None);
        let change = self.change_to(next.split);
        let note = Note::split(&order, &change);
        self.ease(now, next, order.ticket, change, note, effects);
        self.overtake(effects);
    }

    /// The rollout as it stands once a state is in force that does this to it.
    pub(super) fn moved(&self, now: Moment, moves: &Move) -> Option<Box<Rollout>> {
        let wall = self.wall(now);
        let current = self.state.rollout.as_deref();
        let moved = match moves {
            Move::None => return self.state.rollout.clone(),
            Move::Replace(other) => other.as_deref().map(|rollout| rollout.resumed_after_restart(wall)),
            Move::Start(rollout) => Some(rollout.enter(rollout.step, wall)),
            Move::Enter(step) => current.map(|rollout| rollout.enter(*step, wall)),
            Move::Finish(why) => {
                current.map(|rollout| if rollout.is_running() { rollout.finish(wall, why.clone()) } else { rollout.clone() })
            }
            Move::Overrule(why) => current.map(|rollout| rollout.overruled(wall, why.clone())),
            Move::Approve(approval) => current.map(|rollout| {
                let mut next = rollout.clone();
                next.approvals.push(approval.clone());
                next
            }),
        };
        moved.map(Box::new)
    }

    /// What follows once such a state is in force.
    pub(super) fn has_moved(&mut self, now: Moment, moves: &Move, effects: &mut Vec<Effect>) {
        match moves {
            Move::None | Move::Approve(_) => return,
            Move::Start(_) | Move::Enter(_) => self.live = self.live.entered(now),
            Move::Finish(_) | Move::Overrule(_) | Move::Replace(_) => self.live = self.live.still(),
        }
        self.tell_last_turn(effects);
    }

    /// With its record.
    pub(super) fn tell_last_turn(&self, effects: &mut Vec<Effect>) {
        if let Some(turn) = self.rollout().and_then(|rollout| rollout.account.turns.last()) {
            self.tell_turn(turn.clone(), effects);
        }
        self.record(effects);
    }

    pub(super) fn not_entered(&mut self, now: Moment, reason: String, effects: &mut Vec<Effect>) {
        self.conduct(now, rollout::Event::NotStored { reason }, effects);
    }

    /// Whether every endpoint that takes new clients is up.
    fn all_up(&self, entry: Entry) -> bool {
        let mut open = self.checks[entry].iter().filter(|watched| !watched.place().1).peekable();
        open.peek().is_some() && open.all(|watched| watched.standing() == Standing::Up)
    }
}
