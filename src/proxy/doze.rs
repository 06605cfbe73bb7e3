//! How a worker goes to sleep: where work came soon after the last times, it stays awake for a moment first.
//!
//! To sleep is dear where work comes just then: the worker is put away and fetched again, and who has the work pays for that with an
//! interrupt to another processor (on a virtual machine with an exit from it). To stay awake in vain is dear too, to whoever wants the
//! processor. So nobody stays awake for much longer than a sleep costs, as skis are rented until they would have been bought (Karlin,
//! Manasse, Rudolph, Sleator: "Competitive snoopy caching", Algorithmica 3, 1988); and where that is mostly in vain, as it is for a
//! worker with few clients, it is tried so rarely that it costs next to nothing (ADR 16).
//!
//! ```text
//! works ── not worth it ──────────────────────────────────────────────▶ sleeps
//!   │                                                                     ▲
//!   └── worth it, or its turn ──▶ looks once ──▶ looks until it is late ──┘
//!                                 (what came     (what came
//!                                 tells nothing) spared a sleep)
//! ```

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, LocalRuntime};
use tokio::time::Instant;

/// How long it stays awake. A sleep was measured to cost who ends it 13 µs, on a virtual machine. With half of this too little comes
/// within it to be worth it; with twice as much hardly more does, and the own processor pays for it.
const LONGEST: Duration = Duration::from_micros(9);

/// Where it is not worth it, it is tried before one sleep in so many, by which it is known when it is.
const RARELY: u32 = 64;

/// A share of looks that all found something, to count in.
const ALL: u32 = 1 << 16;

/// With the first share it begins to be worth it, with less than the second it is no longer. For the processors alone a half would be
/// right; but who has the work is also answered sooner by what it takes to wake. Between the two it stays as it is: where it is worth it the
/// share is known sixty-four times as fast as where it is not, and chance would lead away from there sooner than back.
const ENOUGH: u32 = ALL / 8 * 3;
const TOO_LITTLE: u32 = ALL / 4;

/// The last so many looks are what the share is of, the latest more than those before.
const MEMORY: u32 = 32;

thread_local! {
    static HERE: Here = Here::default();
}

/// Of this thread.
#[derive(Default)]
struct Here {
    doze: RefCell<Doze>,
    has_worked: Cell<bool>,
    /// Of a task that does nothing.
    idler: RefCell<Option<Waker>>,
}

/// A runtime for this thread that goes to sleep as said above. [`worked`] has to be called for what it does.
pub(super) fn runtime() -> io::Result<LocalRuntime> {
    let runtime = Builder::new_current_thread().enable_all().on_thread_park(before_sleep).build_local(Default::default())?;
    runtime.spawn_local(idle());
    Ok(runtime)
}

/// Says that there was something to do, on this thread.
pub(super) fn worked() {
    HERE.with(|here| here.has_worked.set(true));
}

/// The same future, each turn of which is something to do.
pub(super) fn noticed<T>(mut future: Pin<Box<impl Future<Output = T>>>) -> impl Future<Output = T> {
    poll_fn(move |context| {
        worked();
        future.as_mut().poll(context)
    })
}

/// Called when nothing is left to do, before the runtime looks for more and sleeps until there is some. It does not sleep where this
/// wakes the idler: it looks, and calls again. Not for a clock that is stopped, on which the time to look would not pass.
fn before_sleep() {
    HERE.with(|here| {
        let stays_awake = here.doze.borrow_mut().stays_awake(here.has_worked.take(), Instant::now);
        if let (true, Some(idler)) = (stays_awake, &*here.idler.borrow()) {
            idler.wake_by_ref();
        }
    });
}

/// Has nothing to do: that there is a task to be run keeps the runtime from sleeping.
async fn idle() {
    poll_fn(|context| {
        let waker = context.waker();
        HERE.with(|here| match &mut *here.idler.borrow_mut() {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        });
        Poll::Pending
    })
    .await
}

/// Whether to stay awake, each time that nothing is left to do.
#[derive(Debug, Default)]
struct Doze {
    /// How often it was not in vain lately, of [`ALL`].
    worth: u32,
    is_worth_it: bool,
    /// Sleeps since it was tried before one.
    sleeps: u32,
    watch: Watch,
}

#[derive(Clone, Copy, Debug, Default)]
enum Watch {
    #[default]
    None,
    /// It looks once, as it would before a sleep.
    Once,
    /// It has looked, and would be asleep since then.
    Since(Instant),
}

impl Doze {
    /// With whether there was something to do since this was asked last.
    fn stays_awake(&mut self, has_worked: bool, now: impl FnOnce() -> Instant) -> bool {
        match self.watch {
            // What is there at once spares no sleep, and tells nothing.
            Watch::Once if !has_worked => {
                self.watch = Watch::Since(now());
                return true;
            }
            Watch::Since(_) if has_worked => self.worth += (ALL - self.worth) / MEMORY,
            Watch::Since(begun) if now().saturating_duration_since(begun) < LONGEST => return true,
            Watch::Since(_) => {
                self.worth -= self.worth / MEMORY;
                (self.watch, self.sleeps) = (Watch::None, 1);
                return false;
            }
            Watch::None | Watch::Once => {}
        }
        self.is_worth_it = self.worth >= if self.is_worth_it { TOO_LITTLE } else { ENOUGH };
        let stays = self.is_worth_it || self.sleeps >= RARELY;
        (self.watch, self.sleeps) = if stays { (Watch::Once, 0) } else { (Watch::None, self.sleeps + 1) };
        stays
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MICRO: Duration = Duration::from_micros(1);

    /// A worker that looks once a microsecond, and its time.
    struct Worker {
        doze: Doze,
        now: Instant,
    }

    impl Worker {
        fn new() -> Self {
            Self { doze: Doze::default(), now: Instant::now() }
        }

        /// Has worked until now, and will so long after that. How long it stays awake, if it does.
        fn rests(&mut self, until_work: Duration) -> Option<Duration> {
            let begun = self.now;
            let stays = self.asks(true);
            let mut still_stays = stays;
            while still_stays && self.now - begun < until_work {
                self.now += MICRO;
                still_stays = self.now - begun >= until_work || self.asks(false);
            }
            let awake = self.now - begun;
            self.now = self.now.max(begun + until_work);
            stays.then_some(awake)
        }

        fn asks(&mut self, has_worked: bool) -> bool {
            self.doze.stays_awake(has_worked, || self.now)
        }

        /// Before how many of so many sleeps it stayed awake.
        fn tries(&mut self, sleeps: usize, mut until_work: impl FnMut() -> Duration) -> usize {
            (0..sleeps).filter(|_| self.rests(until_work()).is_some()).count()
        }
    }

    #[test]
    fn before_every_sleep_where_work_comes_soon_and_before_few_where_it_does_not() {
        let (soon, late) = (5 * MICRO, 15 * MICRO);
        let mut worker = Worker::new();
        assert!((99..=101).contains(&worker.tries(6_400, || late)));
        let learning = worker.tries(6_400, || soon);
        assert!(learning > 4_000, "{learning} of 6,400");
        assert_eq!(worker.tries(1_000, || soon), 1_000);
        let unlearning = worker.tries(6_400, || late);
        assert!((100..150).contains(&unlearning), "{unlearning} of 6,400");
        assert!((99..=101).contains(&worker.tries(6_400, || late)));
    }

    #[test]
    fn what_is_there_at_once_spares_no_sleep_and_tells_nothing() {
        let mut worker = Worker::new();
        worker.tries(10_000, || 5 * MICRO);
        let worth = worker.doze.worth;
        assert_eq!(worker.tries(10_000, || Duration::ZERO), 10_000);
        assert_eq!(worker.doze.worth, worth);
        let mut worker = Worker::new();
        worker.tries(10_000, || Duration::ZERO);
        assert_eq!(worker.doze.worth, 0);
    }

    #[test]
    fn a_half_found_is_worth_it_and_a_fifth_is_not() {
        for (of, is_worth_it) in [(2, true), (5, false)] {
            let mut worker = Worker::new();
            let mut turn = 0u32;
            let mut until_work = || {
                turn = turn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if (turn >> 16).is_multiple_of(of) { 5 * MICRO } else { 15 * MICRO }
            };
            worker.tries(20_000, &mut until_work);
            let tried = worker.tries(6_400, &mut until_work);
            assert_eq!(tried > 6_000, is_worth_it, "one in {of}: {tried} of 6,400");
            assert_eq!(tried < 400, !is_worth_it, "one in {of}: {tried} of 6,400");
        }
    }

    proptest! {
        #[test]
        fn nobody_stays_awake_for_longer_than_a_look_after_the_time(
            worth in 0..=ALL,
            rests in prop::collection::vec(0u64..30, 1..2_000),
        ) {
            let mut worker = Worker::new();
            worker.doze.worth = worth;
            for until_work in rests {
                let awake = worker.rests(Duration::from_micros(until_work)).unwrap_or_default();
                prop_assert!(awake <= LONGEST + 2 * MICRO, "{awake:?}");
            }
        }
    }

    fn worth() -> u32 {
        HERE.with(|here| here.doze.borrow().worth)
    }

    fn is_worth(worth: u32) {
        HERE.with(|here| *here.doze.borrow_mut() = Doze { worth, is_worth_it: worth >= ENOUGH, ..Doze::default() });
    }

    #[test]
    fn each_turn_of_what_is_to_be_noticed_is_work() {
        let has_worked = || HERE.with(|here| here.has_worked.take());
        let mut turns = 0;
        let future = noticed(Box::pin(poll_fn(move |_| {
            turns += 1;
            if turns < 2 { Poll::Pending } else { Poll::Ready(turns) }
        })));
        let mut future = std::pin::pin!(future);
        let context = &mut std::task::Context::from_waker(Waker::noop());
        assert!(!has_worked());
        assert_eq!((future.as_mut().poll(context), has_worked()), (Poll::Pending, true));
        assert!(!has_worked());
        assert_eq!((future.as_mut().poll(context), has_worked()), (Poll::Ready(2), true));
    }

    #[test]
    fn a_runtime_looks_in_vain_before_it_sleeps_only_where_that_is_worth_it() {
        let runtime = runtime().unwrap();
        let rest = || runtime.block_on(async { tokio::time::sleep(Duration::from_millis(50)).await });
        rest();
        for (before, after) in [(0, 0), (ALL, ALL - ALL / MEMORY), (ENOUGH - 1, ENOUGH - 1)] {
            is_worth(before);
            let parks = runtime.metrics().worker_park_count(0);
            rest();
            assert!(worth() <= after && (worth() < before) == (after < before), "{before} became {}", worth());
            assert!(runtime.metrics().worker_park_count(0) > parks, "it does sleep");
        }
    }

    #[test]
    fn a_runtime_finds_what_comes_while_it_is_awake() {
        let (mut writes, reads) = std::os::unix::net::UnixStream::pair().unwrap();
        reads.set_nonblocking(true).unwrap();
        let writer = std::thread::spawn(move || {
            // Until the other end is gone.
            for turn in 0.. {
                if io::Write::write(&mut writes, b"x").is_err() {
                    break;
                }
                // Now sooner, now later, on whatever machine.
                (0..turn % 64 * 50).for_each(|_| std::hint::spin_loop());
            }
        });
        let runtime = runtime().unwrap();
        runtime.block_on(async {
            let reads = tokio::net::UnixStream::from_std(reads).unwrap();
            let mut buffer = [0; 4096];
            let mut before = ALL;
            while worth() <= before {
                if worth() < ENOUGH {
                    is_worth(ALL / 2);
                }
                before = worth();
                let _ = reads.readable().await;
                worked();
                while reads.try_read(&mut buffer).is_ok() {}
            }
        });
        writer.join().unwrap();
    }
}
