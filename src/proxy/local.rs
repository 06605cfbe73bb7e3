//! What all threads share, as one worker holds it.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

/// Its clones are counted by this thread alone. Each request takes hold of what it needs many times; counted for all threads, every
/// time costs some twenty cycles, and as soon as another worker does the same, a wait for the line of memory that has the count.
pub(super) struct Local<T>(Rc<Shared<T>>);

struct Shared<T>(Arc<T>);

impl<T> Local<T> {
    pub(super) fn new(shared: Arc<T>) -> Self {
        Self(Rc::new(Shared(shared)))
    }
}

impl<T> Clone for Local<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for Local<T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        &self.0.0
    }
}
