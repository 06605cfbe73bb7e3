//! Where a request that came whole is served. What that needs is a few kilobytes, more than the allocator keeps at hand, so it goes
//! from one request to the next; an idle connection has none.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::Worker;
use super::body::Answer;
use super::peer::Peer;
use super::vigil::Post;
use crate::http1::RequestHead;

/// Kept for the next request; the others are freed.
const MOST_KEPT: usize = 128;

/// A request that came whole, and who serves it.
pub(super) struct Order {
    pub(super) worker: Rc<Worker>,
    pub(super) peer: Rc<Peer>,
    pub(super) head: Rc<RequestHead>,
    pub(super) body: Bytes,
    pub(super) post: Rc<Post>,
}

/// Those of one worker that are free.
#[derive(Default)]
pub(super) struct Stalls(RefCell<Vec<Box<dyn Stall>>>);

/// A request that is being served. Dropped before its end, it is given up.
pub(super) struct Served {
    /// None only while it is dropped.
    stall: Option<Box<dyn Stall>>,
    worker: Rc<Worker>,
}

impl Served {
    /// Begins with it.
    pub(super) fn begin(order: Order) -> Self {
        let worker = order.worker.clone();
        let kept = worker.stalls.0.borrow_mut().pop();
        let mut stall = kept.unwrap_or_else(|| stall(Worker::serve_whole));
        stall.begin(order);
        Self { stall: Some(stall), worker }
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        self.stall.as_mut().map_or(Poll::Pending, |stall| stall.poll(context))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let Some(mut stall) = self.stall.take() else { return };
        // Before anybody else may have it.
        stall.clear();
        let mut kept = self.worker.stalls.0.borrow_mut();
        if kept.len() < MOST_KEPT {
            kept.push(stall);
        }
    }
}

trait Stall {
    fn begin(&mut self, order: Order);

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer>;

    fn clear(&mut self);
}

/// The type of what a function makes has no name, but that of the function.
struct Of<M, F> {
    make: M,
    inside: Pin<Box<Option<F>>>,
}

fn stall<M: Fn(Order) -> F + 'static, F: Future<Output = Answer> + 'static>(make: M) -> Box<dyn Stall> {
    Box::new(Of { make, inside: Box::pin(None) })
}

impl<M: Fn(Order) -> F, F: Future<Output = Answer>> Stall for Of<M, F> {
    fn begin(&mut self, order: Order) {
        self.inside.set(Some((self.make)(order)));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        self.inside.as_mut().as_pin_mut().map_or(Poll::Pending, |inside| inside.poll(context))
    }

    fn clear(&mut self) {
        self.inside.set(None);
    }
}
