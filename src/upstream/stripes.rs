//! Counters that every worker writes with every request, apart from each other: two workers that wrote to one line of
//! memory would wait for it in turns.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Workers beyond share, and count as exactly.
const STRIPES: usize = 4;

/// One for each of so many threads, which add up.
#[derive(Debug, Default)]
pub(super) struct Striped<T>([Apart<T>; STRIPES]);

/// Two lines of 64 bytes, as processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

impl<T> Striped<T> {
    /// Where the present thread counts.
    pub(super) fn mine(&self) -> &T {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
        }
        // A thread that is ending has none any more.
        &self.0[MINE.try_with(|mine| *mine).unwrap_or(0)].0
    }

    /// Of all together.
    pub(super) fn sum(&self, of: impl Fn(&T) -> u64) -> u64 {
        self.0.iter().map(|stripe| of(&stripe.0)).fold(0, u64::wrapping_add)
    }
}
