//! A waker that remembers whether it was used.
//!
//! tokio is told anew at every look who waits for a socket: a lock and some three hundred instructions, for each event of a stream
//! and twice for each request, of a client that says nothing. With a waker of our own in that place it is enough to ask that.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// What wakes one task for one purpose, and whether it has.
pub(super) struct Bell {
    inner: Arc<Inner>,
    waker: Waker,
}

struct Inner {
    has_rung: AtomicBool,
    task: Waker,
}

impl Bell {
    /// One that wakes the task that asks.
    pub(super) fn of(context: &Context<'_>) -> Self {
        let inner = Arc::new(Inner { has_rung: AtomicBool::new(true), task: context.waker().clone() });
        Self { waker: inner.clone().into(), inner }
    }

    /// Asks with the bell that is kept here, unless it is set: then there would be no answer. One of another task is replaced.
    pub(super) fn ask<T>(
        kept: &mut Option<Self>,
        context: &Context<'_>,
        ask: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        match kept {
            Some(bell) if bell.is_set(context) => Poll::Pending,
            Some(bell) if bell.is_of(context) => bell.poll(ask),
            other => other.insert(Self::of(context)).poll(ask),
        }
    }

    /// Whether it has rung since it was asked with last, whichever task it wakes.
    pub(super) fn has_rung(&self) -> bool {
        self.inner.has_rung.load(Ordering::Acquire)
    }

    /// Whether it wakes the task that asks.
    fn is_of(&self, context: &Context<'_>) -> bool {
        self.inner.task.will_wake(context.waker())
    }

    /// Whether somebody is to ring it who has not, for the task that asks.
    pub(super) fn is_set(&self, context: &Context<'_>) -> bool {
        !self.has_rung() && self.is_of(context)
    }

    /// Asks with this waker, and notes whether there is anything to wait for. A task that has used up its budget is told to wait
    /// without being noted anywhere; the runtime rings for it all the same, before it sleeps.
    pub(super) fn poll<T>(&self, ask: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        // Before the question: what happens during it rings. A plain store could land after the question has been answered, and after
        // the ring of another thread.
        self.inner.has_rung.swap(false, Ordering::AcqRel);
        let polled = ask(&mut Context::from_waker(&self.waker));
        if polled.is_ready() {
            self.inner.has_rung.store(true, Ordering::Release);
        }
        polled
    }
}

/// A future that is looked at when something has woken it, however often its task runs for other reasons: for each part of
/// an upload, say, while this waits for an answer.
pub(super) struct Woken<F> {
    bell: Option<Bell>,
    future: F,
}

impl<F: Future + Unpin> Woken<F> {
    pub(super) fn new(future: F) -> Self {
        Self { bell: None, future }
    }
}

impl<F: Future + Unpin> Future for Woken<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { bell, future } = self.get_mut();
        Bell::ask(bell, context, |context| Pin::new(future).poll(context))
    }
}

impl Wake for Inner {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    pub(in crate::proxy) struct Task(AtomicUsize);

    impl Task {
        pub(in crate::proxy) fn times(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }
    }

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(in crate::proxy) fn task() -> (Arc<Task>, Waker) {
        let task = Arc::new(Task::default());
        (task.clone(), task.into())
    }

    #[test]
    fn it_is_set_from_a_question_without_an_answer_to_its_ring() {
        let (task, waker) = task();
        let context = Context::from_waker(&waker);
        let bell = Bell::of(&context);
        assert!(!bell.is_set(&context), "nobody is to ring it yet");
        assert!(bell.poll(|_| Poll::Ready(())).is_ready() && !bell.is_set(&context));
        let mut ringer = None;
        let asked: Poll<()> = bell.poll(|context| {
            ringer = Some(context.waker().clone());
            Poll::Pending
        });
        assert!(asked.is_pending() && bell.is_set(&context));
        ringer.unwrap().wake();
        assert!(!bell.is_set(&context));
        assert_eq!(task.times(), 1);
    }

    #[test]
    fn what_happens_during_the_question_rings() {
        let (_, waker) = task();
        let context = Context::from_waker(&waker);
        let bell = Bell::of(&context);
        let asked: Poll<()> = bell.poll(|context| {
            context.waker().wake_by_ref();
            Poll::Pending
        });
        assert!(asked.is_pending() && !bell.is_set(&context), "it is asked again");
    }

    #[test]
    fn it_is_not_set_for_another_task() {
        let ((_, one), (_, other)) = (task(), task());
        let bell = Bell::of(&Context::from_waker(&one));
        assert!(bell.poll(|_| Poll::<()>::Pending).is_pending());
        assert!(bell.is_set(&Context::from_waker(&one)));
        assert!(!bell.is_set(&Context::from_waker(&other)) && !bell.is_of(&Context::from_waker(&other)));
    }

    #[test]
    fn a_future_is_looked_at_only_when_it_was_woken() {
        let (_, waker) = task();
        let mut context = Context::from_waker(&waker);
        let (mut looks, mut ringer) = (0, None);
        let mut asked = Woken::new(std::future::poll_fn(|context: &mut Context<'_>| {
            looks += 1;
            ringer = Some(context.waker().clone());
            if looks < 3 { Poll::Pending } else { Poll::Ready(looks) }
        }));
        for _ in 0..5 {
            assert!(Pin::new(&mut asked).poll(&mut context).is_pending());
        }
        // Another task asks, whose waker is to be noted.
        let (_, other) = task();
        assert!(Pin::new(&mut asked).poll(&mut Context::from_waker(&other)).is_pending());
        assert!(Pin::new(&mut asked).poll(&mut Context::from_waker(&other)).is_pending());
        drop(asked);
        assert_eq!(looks, 2);
        let mut woken = Woken::new(std::future::poll_fn(|context: &mut Context<'_>| {
            context.waker().wake_by_ref();
            looks += 1;
            if looks < 4 { Poll::Pending } else { Poll::Ready(looks) }
        }));
        assert!(Pin::new(&mut woken).poll(&mut context).is_pending());
        assert_eq!(Pin::new(&mut woken).poll(&mut context), Poll::Ready(4));
        assert!(ringer.is_some());
    }
}
