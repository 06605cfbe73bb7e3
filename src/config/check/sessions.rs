//! `[service.sessions]` and `[records]`.

use std::time::Duration;

use super::{Checker, or};
use crate::config::value::{Size, Span};
use crate::config::{MoveCheck, OnDrain, OnLoss, Records, Resend, Sessions, raw};

/// Clients give up by themselves after a while, and a request that is held keeps its place among those in flight.
const LONGEST_HOLD: Duration = Duration::from_secs(30);

/// Each is three requests or more.
const MOST_HANDSHAKES: u32 = 100_000;

/// Less holds hardly anybody: one session may take 16 KiB.
const LEAST_REMEMBERED: usize = 64 << 10;

impl Checker<'_> {
    pub(super) fn sessions(&mut self, at: usize, raw: &raw::Sessions) -> Sessions {
        let key = |name: &str| format!("service[{at}].sessions.{name}");
        let losses = [("rehome", OnLoss::Rehome), ("wait", OnLoss::Wait), ("end", OnLoss::End)];
        let drains = [("rehome", OnDrain::Rehome), ("wait", OnDrain::Wait), ("end", OnDrain::End)];
        let checks = [("tools", MoveCheck::Tools), ("capabilities", MoveCheck::Capabilities)];
        let resends = [("never", Resend::Never), ("annotated", Resend::Annotated)];
        let sessions = Sessions {
            on_loss: self.one_of(&key("on_loss"), raw.on_loss.as_deref(), &losses),
            on_drain: self.one_of(&key("on_drain"), raw.on_drain.as_deref(), &drains),
            drain_deadline: self.positive(&key("drain_deadline"), or(raw.drain_deadline, 600_000)),
            drain_pace: or(raw.drain_pace, 25_000),
            rollback_deadline: or(raw.rollback_deadline, 30_000),
            rollback_pace: or(raw.rollback_pace, 25_000),
            hold: or(raw.hold, 3_000),
            handshakes_per_second: raw.handshakes_per_second.unwrap_or(200),
            check: self.one_of(&key("check"), raw.check.as_deref(), &checks),
            resend: self.one_of(&key("resend"), raw.resend.as_deref(), &resends),
            remember: raw.remember.unwrap_or(Size(64 << 20)).0,
        };
        self.bounds_of_moves(at, &sessions);
        self.idle_keys(at, raw, &sessions);
        sessions
    }

    fn bounds_of_moves(&mut self, at: usize, sessions: &Sessions) {
        let key = |name: &str| format!("service[{at}].sessions.{name}");
        let Sessions { hold, handshakes_per_second: handshakes, remember, .. } = *sessions;
        if hold > LONGEST_HOLD {
            self.wrong(&key("hold"), format!("{} is too long: at most {}", Span(hold), Span(LONGEST_HOLD)));
        }
        if !(1..=MOST_HANDSHAKES).contains(&handshakes) {
            let what = format!("`{handshakes}` is not a number of moves in a second: from 1 to {MOST_HANDSHAKES}");
            self.wrong(&key("handshakes_per_second"), what);
        }
        if remember != 0 && remember < LEAST_REMEMBERED {
            self.wrong(&key("remember"), format!("{remember} bytes hold hardly any session: at least 64KiB, or 0B for none"));
        }
    }

    /// What is legal and means nothing beside the rest.
    fn idle_keys(&mut self, at: usize, raw: &raw::Sessions, sessions: &Sessions) {
        let mut warn = |name: &str, what: &str| self.warnings.push(format!("service[{at}].sessions.{name}: {what}"));
        if sessions.on_drain == OnDrain::Wait {
            for (name, is_there) in
                [("rollback_deadline", raw.rollback_deadline.is_some()), ("rollback_pace", raw.rollback_pace.is_some())]
            {
                if is_there {
                    warn(name, "means nothing where on_drain is \"wait\": after a rollback no session is moved or ended");
                }
            }
        }
        if sessions.on_loss != OnLoss::Rehome && raw.resend.is_some() {
            warn("resend", "means nothing where on_loss is not \"rehome\": no call is sent again");
        }
    }

    pub(super) fn records(&mut self, raw: &raw::Records) -> Records {
        Records { keep: self.positive("records.keep", or(raw.keep, 90 * 86_400_000)) }
    }
}
