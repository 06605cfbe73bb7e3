//! Whether a session's client would notice that it was moved: clients hold on to the list of tools that they were given, and
//! check results by it on their own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::ask::{Voice, Within};
use super::mover::{Target, Wanted};
use super::replay;
use crate::config::MoveCheck;
use crate::live::ServiceView;
use crate::mcp::catalogue::Catalogue;
use crate::proxy::Worker;
use crate::upstream::Endpoint;

/// What was found holds so long: thousands of sessions that move at a time ask once.
const HOLDS: Duration = Duration::from_secs(30);

/// Pairs of endpoints that are remembered.
const MOST: usize = 256;

/// Breaks that are told.
const MOST_TOLD: usize = 5;

/// What was found of pairs of endpoints, by their ids.
#[derive(Default)]
pub(super) struct Verdicts(Mutex<HashMap<(u64, u64), (Instant, Verdict)>>);

/// Whether they are the same, where nothing breaks.
type Verdict = Result<bool, Arc<str>>;

impl Verdicts {
    fn of(&self, pair: (u64, u64)) -> Option<Verdict> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&pair).filter(|(found, _)| found.elapsed() < HOLDS).map(|(_, verdict)| verdict.clone())
    }

    /// Whether what two servers list is known to be the same.
    pub(super) fn agree(&self, one: Option<u64>, two: Option<u64>) -> bool {
        one.zip(two).and_then(|pair| self.of(pair)).is_some_and(|verdict| verdict == Ok(true))
    }

    fn note(&self, pair: (u64, u64), verdict: Verdict) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, (found, _)| found.elapsed() < HOLDS);
        }
        if all.len() < MOST {
            all.insert(pair, (Instant::now(), verdict));
        }
    }
}

impl Worker {
    /// Whether the tools that a session has are those that it would have: an error says what breaks. The one that it has must
    /// be there to be asked; what cannot be asked any more cannot be compared, and is lost anyway.
    pub(super) async fn compare(
        &self,
        service: &ServiceView,
        target: &Target,
        wanted: &Wanted,
        (voice, within): (&Voice, Within<'_>),
    ) -> Result<(), String> {
        let had = Within { session: wanted.from.upstream.as_deref(), version: within.version };
        let lists = async |before: &Arc<Endpoint>| {
            let old = self.voice(service, before, &wanted.letterhead);
            tokio::join!(replay::tools(&old, had), replay::tools(voice, within))
        };
        self.compare_lists(service, target, wanted, lists).await
    }

    /// The same, of tools that are listed in another way: what the endpoint has that it was at, and what the new one has.
    pub(super) async fn compare_lists(
        &self,
        service: &ServiceView,
        target: &Target,
        wanted: &Wanted,
        lists: impl AsyncFnOnce(&Arc<Endpoint>) -> (Option<Vec<String>>, Option<Vec<String>>),
    ) -> Result<(), String> {
        if service.config.sessions.check != MoveCheck::Tools {
            return Ok(());
        }
        let Some(before) = service.entries[wanted.from.entry].named(&wanted.from.endpoint) else { return Ok(()) };
        let pair = (before.endpoint.id, target.endpoint.id);
        if let Some(verdict) = self.site.sessions.verdicts.of(pair) {
            return verdict.map(drop).map_err(|why| why.to_string());
        }
        let (before, after) = lists(&before.endpoint).await;
        let Some(before) = before.and_then(|pages| read(&pages)) else { return Ok(()) };
        let verdict = match after.and_then(|pages| read(&pages)) {
            None => Err("its tools cannot be listed there".into()),
            Some(after) => {
                let breaks = before.breaks(&after);
                let told: Vec<String> = breaks.iter().take(MOST_TOLD).map(ToString::to_string).collect();
                if breaks.is_empty() { Ok(before == after) } else { Err(told.join("; ").into()) }
            }
        };
        self.site.sessions.verdicts.note(pair, verdict.clone());
        if let Err(why) = &verdict {
            tracing::warn!(
                service = service.config.name, to = %target.entry, endpoint = target.endpoint.name, why = &**why,
                "sessions are not moved there: their clients would fail by the list of tools that they have"
            );
        }
        verdict.map(drop).map_err(|why| why.to_string())
    }
}

pub(super) fn read(pages: &[String]) -> Option<Catalogue> {
    let pages: Vec<&[u8]> = pages.iter().map(String::as_bytes).collect();
    Catalogue::read(&pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_by_which_all_goes_on_are_not_the_same_for_that() {
        let verdicts = Verdicts::default();
        verdicts.note((1, 2), Ok(true));
        verdicts.note((1, 3), Ok(false));
        verdicts.note((1, 4), Err("tool `a` is missing".into()));
        let agree = |other| verdicts.agree(Some(1), other);
        assert_eq!([Some(2), Some(3), Some(4), Some(5), None].map(agree), [true, false, false, false, false]);
    }
}
