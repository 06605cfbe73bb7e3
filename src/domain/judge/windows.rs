//! Windows, gathered until they hold enough, and how many of those in a row were bad.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Figures;

/// So many windows are gathered into a full one; then the oldest go.
const GATHERED: usize = 30;
/// So many full ones in a row are taken together; then the oldest go.
const RUN: usize = 30;

/// What both entries showed in the same time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// The candidate.
    pub candidate: Figures,
    /// The stable entry.
    pub stable: Figures,
}

impl Span {
    fn merge(&mut self, other: &Self) {
        self.candidate.merge(&other.candidate);
        self.stable.merge(&other.stable);
    }
}

/// Windows that are on their way to be a full one, and the run of bad ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Track {
    open: VecDeque<Arc<Span>>,
    run: VecDeque<Arc<Span>>,
    length: u32,
}

impl Track {
    /// One window more: the full one that it completes. A window that is full by itself is one; others are gathered until
    /// `count` of them together reaches `need`.
    pub fn add(&mut self, span: &Arc<Span>, need: u64, count: impl Fn(&Figures) -> u64) -> Option<Arc<Span>> {
        self.open.push_back(span.clone());
        if self.open.iter().map(|span| count(&span.candidate)).sum::<u64>() < need {
            if self.open.len() > GATHERED {
                self.open.pop_front();
            }
            return None;
        }
        let full = together(&self.open);
        self.open.clear();
        full
    }

    /// A full window was bad, or was not: then the run is over.
    pub fn note(&mut self, full: &Arc<Span>, bad: bool) {
        if !bad {
            (self.length, self.run) = (0, VecDeque::new());
            return;
        }
        self.length = self.length.saturating_add(1);
        self.run.push_back(full.clone());
        if self.run.len() > RUN {
            self.run.pop_front();
        }
    }

    /// How many bad ones there were in a row, up to now.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// All of the run; none where the last full window was good.
    pub fn together(&self) -> Option<Arc<Span>> {
        together(&self.run)
    }

    /// The last so many of the run.
    pub fn latest(&self, count: usize) -> Option<Arc<Span>> {
        together(self.run.range(self.run.len().saturating_sub(count)..))
    }
}

fn together<'a>(spans: impl IntoIterator<Item = &'a Arc<Span>, IntoIter: ExactSizeIterator>) -> Option<Arc<Span>> {
    let mut spans = spans.into_iter();
    let first = spans.next()?;
    if spans.len() == 0 {
        return Some(first.clone());
    }
    let mut all = Span::clone(first);
    spans.for_each(|span| all.merge(span));
    Some(Arc::new(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::judge::Calls;

    fn of(requests: u64) -> Arc<Span> {
        let candidate = Figures { all: Calls { requests, ..Calls::default() }, ..Figures::default() };
        Arc::new(Span { candidate, stable: Figures::default() })
    }

    fn add(track: &mut Track, requests: u64) -> Option<u64> {
        track.add(&of(requests), 20, |figures| figures.all.requests).map(|full| full.candidate.all.requests)
    }

    #[test]
    fn windows_are_gathered_until_they_hold_enough_and_a_full_one_is_one_at_once() {
        let mut track = Track::default();
        assert_eq!(
            [6, 6, 6, 6, 20, 19, 1].map(|requests| add(&mut track, requests)),
            [None, None, None, Some(24), Some(20), None, Some(20)]
        );
    }

    #[test]
    fn what_is_longer_ago_than_thirty_windows_is_not_gathered() {
        let mut track = Track::default();
        assert_eq!(add(&mut track, 19), None);
        assert!((0..30).all(|_| add(&mut track, 0).is_none()));
        assert_eq!(add(&mut track, 1), None, "the nineteen are gone");
        assert_eq!(add(&mut track, 19), Some(20));
    }

    #[test]
    fn a_run_is_what_was_bad_without_a_break() {
        let mut track = Track::default();
        for (requests, bad) in [(1, true), (2, false), (4, true), (8, true)] {
            track.note(&of(requests), bad);
        }
        assert_eq!((track.length(), track.together().unwrap().candidate.all.requests), (2, 12));
        assert_eq!([1, 2, 9].map(|count| track.latest(count).unwrap().candidate.all.requests), [8, 12, 12]);
        track.note(&of(16), false);
        assert_eq!((track.length(), track.together()), (0, None));
    }
}
