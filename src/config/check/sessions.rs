//! `[service.sessions]` and `[records]`.

use super::{Checker, or};
use crate::config::{OnDrain, Records, Sessions, raw};

impl Checker<'_> {
    pub(super) fn sessions(&mut self, at: usize, raw: &raw::Sessions) -> Sessions {
        let key = |name: &str| format!("service[{at}].sessions.{name}");
        let choices = [("rehome", OnDrain::Rehome), ("wait", OnDrain::Wait), ("end", OnDrain::End)];
        let on_drain = self.one_of(&key("on_drain"), raw.on_drain.as_deref(), &choices);
        let mut warn = |name: &str, what: &str| self.warnings.push(format!("{}: {what}", key(name)));
        if on_drain == OnDrain::Rehome && raw.on_drain.is_some() {
            warn("on_drain", "moving sessions is not served by this version: after a rollback they are ended, as with \"end\"");
        }
        if raw.drain_deadline.is_some() {
            warn("drain_deadline", "read, but in this version only a rollback ends sessions");
        }
        if on_drain == OnDrain::Wait {
            for (name, is_there) in
                [("rollback_deadline", raw.rollback_deadline.is_some()), ("rollback_pace", raw.rollback_pace.is_some())]
            {
                if is_there {
                    warn(name, "means nothing where on_drain is \"wait\": no session is ended");
                }
            }
        }
        Sessions {
            on_drain,
            drain_deadline: self.positive(&key("drain_deadline"), or(raw.drain_deadline, 600_000)),
            rollback_deadline: or(raw.rollback_deadline, 30_000),
            rollback_pace: or(raw.rollback_pace, 25_000),
        }
    }

    pub(super) fn records(&mut self, raw: &raw::Records) -> Records {
        Records { keep: self.positive("records.keep", or(raw.keep, 90 * 86_400_000)) }
    }
}
