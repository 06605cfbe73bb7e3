//! Counters that every worker writes with every request, apart from each other: two workers that wrote to one line of
//! memory would wait for it in turns, and a write that others may make at the same time costs some twenty cycles also where none does.

use std::cell::{Cell, RefCell};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Threads that have a stripe to themselves, at a time.
const OWNED: usize = 16;

/// Those of all others, which count as exactly.
const SHARED: usize = 4;

/// One for each thread that writes, which add up; made when it first does.
#[derive(Debug)]
pub(super) struct Striped<T>([OnceLock<Box<Apart<T>>>; OWNED + SHARED]);

/// Two lines of 64 bytes, as processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// Where the present thread counts.
pub(super) struct Mine<'a, T> {
    counts: &'a T,
    is_own: bool,
}

/// Gives the present thread a stripe of its own, to its end, as long as there are any: for threads that serve traffic.
pub fn count_apart() {
    CLAIM.with(|claim| {
        let mut claim = claim.borrow_mut();
        if claim.is_none() {
            *claim = Claim::take();
        }
    });
}

static FREE: Free = Free(AtomicU32::new((1 << OWNED) - 1));

thread_local! {
    static AT: Cell<Option<usize>> = const { Cell::new(None) };
    static CLAIM: RefCell<Option<Claim>> = const { RefCell::new(None) };
}

/// Owned stripes that nobody has, by their bits.
struct Free(AtomicU32);

impl Free {
    fn take(&self) -> Option<usize> {
        let without_the_lowest = |free: u32| (free != 0).then(|| free & (free - 1));
        // Acquired: who had it before has written all that they will.
        let before = self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, without_the_lowest).ok()?;
        Some(before.trailing_zeros() as usize)
    }

    fn give_back(&self, at: usize) {
        self.0.fetch_or(1 << at, Ordering::Release);
    }
}

/// The right to a stripe.
struct Claim(usize);

impl Claim {
    fn take() -> Option<Self> {
        let at = FREE.take()?;
        AT.set(Some(at));
        Some(Self(at))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // What is still counted while the thread ends is counted with others.
        AT.set(None);
        FREE.give_back(self.0);
    }
}

/// The stripe of a thread that has none of its own.
fn shared() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let at = OWNED + NEXT.fetch_add(1, Ordering::Relaxed) % SHARED;
    AT.set(Some(at));
    at
}

impl<T> Default for Striped<T> {
    fn default() -> Self {
        Self([const { OnceLock::new() }; OWNED + SHARED])
    }
}

impl<T: Default> Striped<T> {
    /// Where the present thread counts.
    pub(super) fn mine(&self) -> Mine<'_, T> {
        let at = AT.get().unwrap_or_else(shared);
        Mine { counts: &self.0[at].get_or_init(Box::default).0, is_own: at < OWNED }
    }

    /// Of all together.
    pub(super) fn sum(&self, of: impl Fn(&T) -> &AtomicU64) -> u64 {
        let counts = self.0.iter().filter_map(|stripe| Some(of(&stripe.get()?.0).load(Ordering::Relaxed)));
        counts.fold(0, u64::wrapping_add)
    }
}

impl<T> Mine<'_, T> {
    /// So many more.
    pub(super) fn add(&self, of: impl FnOnce(&T) -> &AtomicU64, more: u64) {
        let count = of(self.counts);
        if self.is_own {
            count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        } else {
            count.fetch_add(more, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_however_many_threads_count_and_come_and_go() {
        const THREADS: usize = 24;
        let all = Striped::<AtomicU64>::default();
        let counts = &all;
        for _ in 0..3 {
            std::thread::scope(|scope| {
                let count = |thread: usize| {
                    // Not all that there are: another test may want one.
                    if thread.is_multiple_of(3) {
                        count_apart();
                    }
                    (0..1_000).for_each(|_| counts.mine().add(|count| count, 2));
                };
                let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || count(thread))).collect();
                threads.into_iter().for_each(|thread| thread.join().unwrap());
            });
        }
        assert_eq!(counts.sum(|count| count), 3 * 2_000 * THREADS as u64);
    }

    #[test]
    fn a_stripe_has_one_owner_at_a_time_and_is_free_after_them() {
        let free = Free(AtomicU32::new(0b1011));
        let taken = [(); 4].map(|()| free.take());
        assert_eq!(taken, [Some(0), Some(1), Some(3), None]);
        free.give_back(1);
        assert_eq!([free.take(), free.take()], [Some(1), None]);
    }

    #[test]
    fn a_thread_counts_apart_until_it_ends() {
        std::thread::spawn(|| {
            count_apart();
            let own = AT.get();
            assert!(own.is_some_and(|at| at < OWNED));
            count_apart();
            assert_eq!(AT.get(), own);
            let counts = Striped::<AtomicU64>::default();
            counts.mine().add(|count| count, 1);
            drop(CLAIM.take());
            counts.mine().add(|count| count, 1);
            assert!(AT.get().is_some_and(|at| at >= OWNED));
            assert_eq!(counts.sum(|count| count), 2);
        })
        .join()
        .unwrap();
    }
}
