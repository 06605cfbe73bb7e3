//! What is legal and deserves a word.

use super::Checker;
use crate::config::{ErrorShape, HealthKind, Service};
use crate::domain::{Entry, Share};

impl Checker<'_> {
    pub(super) fn foolish(&mut self, at: usize, service: &Service) {
        let (rules, entries) = (&service.rules, &service.rules.entries);
        let mut warn = |key: &str, what: String| self.warnings.push(format!("service[{at}].{key}: {what}"));
        if entries.primary.version == entries.secondary.version {
            let version = &entries.primary.version;
            warn(
                "secondary.version",
                format!("both entries are `{version}`: nobody can tell them apart in records, and a rollback condemns the label"),
            );
        }
        if rules.split.share(Entry::Primary) != Share::ALL && rules.split.share(Entry::Secondary) != Share::ALL && !rules.failover
        {
            warn(
                "traffic.failover",
                "false: new clients of an entry that is down get errors, whatever the other one could do".to_owned(),
            );
        }
        if service.traffic.error_shape == ErrorShape::Http {
            warn(
                "traffic.error_shape",
                "\"http\": a status of 5xx ends the whole session of some clients (docs/survival.md)".to_owned(),
            );
        }
        if service.traffic.keep_alive.is_zero() {
            warn(
                "traffic.keep_alive",
                "0s: quiet event streams look dead to whatever stands in between, and are cut there".to_owned(),
            );
        }
        if service.health.kind != HealthKind::Mcp {
            warn("health.kind", "only \"mcp\" sees which eras of the protocol an endpoint serves, and an MCP server that is broken behind a port that is open".to_owned());
        }
        if rules.thresholds.fall == 1 {
            warn("health.fall", "1: one check that is late takes an endpoint down".to_owned());
        }
        if service.traffic.peek_limit < 1024 {
            warn(
                "traffic.peek_limit",
                "so little is seldom a whole request: requests go unread, and so without their tool and their id".to_owned(),
            );
        }
    }
}
