//! One snapshot, one swap: readers never wait, and there is one writer.

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use tokio::sync::watch;

use super::snapshot::{ServiceView, Snapshot};

struct Cell {
    current: ArcSwap<Snapshot>,
    number: watch::Sender<u64>,
}

/// The right to read.
#[derive(Clone)]
pub struct Reader(Arc<Cell>);

/// The right to write. There is one, and it is not `Clone`: two writers could each publish a
/// snapshot that lacks the other's change.
pub struct Publisher(Arc<Cell>);

/// A cell with its first snapshot.
pub fn cell(first: Snapshot) -> (Publisher, Reader) {
    let (number, _) = watch::channel(first.number);
    let cell = Arc::new(Cell { current: ArcSwap::from_pointee(first), number });
    (Publisher(cell.clone()), Reader(cell))
}

impl Reader {
    /// The snapshot in force. Owned, so that nothing is held across a suspension point.
    pub fn current(&self) -> Arc<Snapshot> {
        self.0.current.load_full()
    }

    /// The same right for one thread, which reads often.
    pub fn local(&self) -> LocalReader {
        let kept = Kept { cache: Cache::new(Current(self.0.clone())), number: 0, views: Vec::new() };
        LocalReader { reader: self.clone(), kept: RefCell::new(kept) }
    }

    /// Tells when a later snapshot is in force; to be made before looking at the current one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.number.subscribe()
    }
}

/// The right to read, of one thread: it keeps the snapshot that it has read last, and looks whether that is still the
/// one in force, which is a load of a pointer. Who has seen what was done after a publish, as a gate that is closed,
/// sees the publish, too. What it keeps lives until it is asked again: of a worker that has nothing to do, one snapshot
/// that is out of date.
pub struct LocalReader {
    reader: Reader,
    kept: RefCell<Kept>,
}

struct Kept {
    cache: Cache<Current, Arc<Snapshot>>,
    /// The snapshot that the views are of.
    number: u64,
    /// The services that this thread has been asked for, in the snapshot's order.
    views: Vec<Option<LocalView>>,
}

/// A service of a snapshot, for one thread: every request holds a few of these, and workers that counted them together would
/// wait for each other's counting.
#[derive(Clone)]
pub struct LocalView(Rc<Viewed>);

struct Viewed {
    view: Arc<ServiceView>,
    /// Its place in its snapshot.
    at: usize,
}

impl LocalView {
    fn new(view: &Arc<ServiceView>, at: usize) -> Self {
        Self(Rc::new(Viewed { view: view.clone(), at }))
    }

    /// Whether it is of the same moment.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.view, &other.0.view)
    }
}

impl Deref for LocalView {
    type Target = ServiceView;

    fn deref(&self) -> &ServiceView {
        &self.0.view
    }
}

impl Kept {
    /// The snapshot in force, and the views of it.
    fn load(&mut self) -> (&Snapshot, &mut Vec<Option<LocalView>>) {
        let Self { cache, number, views } = self;
        let snapshot = cache.load();
        if *number != snapshot.number {
            *number = snapshot.number;
            views.clear();
        }
        (snapshot, views)
    }

    fn view(&mut self, find: impl FnOnce(&Snapshot) -> Option<usize>) -> Option<LocalView> {
        let (snapshot, views) = self.load();
        let at = find(snapshot)?;
        let service = snapshot.services.get(at)?;
        if views.is_empty() {
            views.resize(snapshot.services.len(), None);
        }
        let view = views.get_mut(at)?;
        Some(view.get_or_insert_with(|| LocalView::new(service, at)).clone())
    }
}

struct Current(Arc<Cell>);

impl Deref for Current {
    type Target = ArcSwap<Snapshot>;

    fn deref(&self) -> &ArcSwap<Snapshot> {
        &self.0.current
    }
}

impl LocalReader {
    /// Looks at the snapshot in force, without owning it. A second look from within the first one takes the longer way.
    pub fn look<T>(&self, look: impl FnOnce(&Snapshot) -> T) -> T {
        match self.kept.try_borrow_mut() {
            Ok(mut kept) => look(kept.load().0),
            Err(_) => look(&self.reader.current()),
        }
    }

    /// A service in force, to be kept, by its place in the snapshot.
    pub fn view(&self, find: impl FnOnce(&Snapshot) -> Option<usize>) -> Option<LocalView> {
        match self.kept.try_borrow_mut() {
            Ok(mut kept) => kept.view(find),
            Err(_) => {
                let snapshot = self.reader.current();
                let at = find(&snapshot)?;
                Some(LocalView::new(snapshot.services.get(at)?, at))
            }
        }
    }

    /// The service of a name.
    pub fn named(&self, name: &str) -> Option<LocalView> {
        self.view(|snapshot| snapshot.place_of(name))
    }

    /// A service as it stands now; none where it is configured no more.
    pub fn latest(&self, view: &LocalView) -> Option<LocalView> {
        let is_there = |snapshot: &Snapshot| snapshot.services.get(view.0.at).is_some_and(|one| Arc::ptr_eq(one, &view.0.view));
        if self.look(is_there) { Some(view.clone()) } else { self.named(&view.config.name) }
    }
}

impl Publisher {
    /// Puts a snapshot in force, which is made from the one before; its number.
    pub fn publish(&self, make: impl FnOnce(&Snapshot) -> Snapshot) -> u64 {
        let next = make(&self.0.current.load());
        let number = next.number;
        self.0.current.store(Arc::new(next));
        // After the store: who is woken must find the new one.
        self.0.number.send_replace(number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::snapshot::tests::service;

    /// What is in force, by their names.
    fn named(names: &[&str]) -> Vec<Arc<ServiceView>> {
        names.iter().map(|name| Arc::new(service(name))).collect()
    }

    #[test]
    fn a_service_is_the_one_in_force_wherever_it_stands_now() {
        let (publisher, reader) = cell(Snapshot::first(named(&["a", "b"])));
        let local = reader.local();
        let (first, other) = (local.named("b").unwrap(), local.named("a").unwrap());
        assert!(first.is(&local.latest(&first).unwrap()) && first.is(&local.named("b").unwrap()));
        // Another one is published anew, and this one stands elsewhere.
        let b = first.0.view.clone();
        publisher.publish(|before| before.followed_by(vec![b, Arc::new(service("a"))]));
        assert!(first.is(&local.latest(&first).unwrap()) && !other.is(&local.latest(&other).unwrap()));
        // It is published anew itself, where it stood.
        publisher.publish(|before| before.followed_by(named(&["b", "a"])));
        let next = local.latest(&first).unwrap();
        assert!(next.config.name == "b" && !next.is(&first));
        // It is gone, and another has its place.
        publisher.publish(|before| before.followed_by(named(&["c"])));
        assert!(local.latest(&next).is_none() && local.named("c").is_some());
        assert!(local.view(|_| Some(1)).is_none());
        local.look(|_| assert!(local.named("c").is_some() && local.named("b").is_none(), "a look within a look"));
    }

    #[test]
    fn a_service_that_is_gone_is_let_go_of_at_the_next_look_whatever_that_is_for() {
        let (publisher, reader) = cell(Snapshot::first(named(&["a"])));
        let local = reader.local();
        let gone = Arc::downgrade(&local.named("a").unwrap().0.view);
        publisher.publish(|before| before.followed_by(named(&["a"])));
        assert!(gone.upgrade().is_some());
        local.look(|_| ());
        assert!(gone.upgrade().is_none());
    }

    #[test]
    fn a_thread_that_has_looked_sees_what_is_put_in_force_after_it_at_its_next_look() {
        let (publisher, reader) = cell(Snapshot::first(Vec::new()));
        let local = reader.local();
        for number in 0..3 {
            assert_eq!(local.look(|snapshot| (snapshot.number, local.look(|inner| inner.number))), (number, number));
            assert_eq!(publisher.publish(|before| before.followed_by(Vec::new())), number + 1);
            assert_eq!(local.look(|snapshot| snapshot.number), number + 1);
        }
    }
}
