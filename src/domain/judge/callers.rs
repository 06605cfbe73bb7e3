//! Clients, each with its requests, its faults and how many of those came after a success: what tells a busy client from one that
//! asks the same wrong thing again and again.

/// So many clients are told apart; of more, a part that a hash chooses.
const MOST: usize = 4_096;

/// A client in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Hash of the client.
    pub client: u32,
    /// Its requests, the faulty ones among them.
    pub requests: u32,
    /// Its faults.
    pub faults: u32,
    /// Those that did not follow a fault of the same client: a retry loop is one.
    pub episodes: u32,
}

/// Clients of a span of time. Where there are too many, those of the lower hashes: which of them are known has nothing to do with
/// what they did, and in two spans it is the same ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callers {
    /// In the order of the hash.
    all: Vec<Caller>,
    /// Known are those whose hash begins with so many zeros.
    zeros: u32,
}

impl Caller {
    /// Its requests, where what follows a fault and is one counts no more than it.
    pub fn trials(&self) -> u32 {
        self.requests.saturating_sub(self.faults.saturating_sub(self.episodes))
    }

    /// What it did besides.
    fn add(&mut self, besides: &Self) {
        self.requests = self.requests.saturating_add(besides.requests);
        self.faults = self.faults.saturating_add(besides.faults);
        self.episodes = self.episodes.saturating_add(besides.episodes);
    }
}

impl Callers {
    /// In any order; `zeros`: only those whose hash begins with so many zeros are all there.
    pub fn new(all: impl IntoIterator<Item = Caller>, zeros: u32) -> Self {
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_unstable_by_key(|caller| caller.client);
        all.dedup_by(|again, first| {
            let is_same = first.client == again.client;
            if is_same {
                first.add(again);
            }
            is_same
        });
        let mut callers = Self { all, zeros };
        callers.bound();
        callers
    }

    /// All of another span.
    pub fn merge(&mut self, other: &Self) {
        self.zeros = self.zeros.max(other.zeros);
        let mut all = Vec::with_capacity(self.all.len() + other.all.len());
        let (mut ours, mut theirs) = (self.all.iter().peekable(), other.all.iter().peekable());
        while let Some(caller) = match (ours.peek(), theirs.peek()) {
            (Some(our), Some(their)) if our.client > their.client => theirs.next(),
            (None, _) => theirs.next(),
            _ => ours.next(),
        } {
            let mut caller = *caller;
            if let Some(same) = theirs.next_if(|their| their.client == caller.client) {
                caller.add(same);
            }
            all.push(caller);
        }
        self.all = all;
        self.bound();
    }

    fn bound(&mut self) {
        self.keep();
        while self.all.len() > MOST {
            self.zeros += 1;
            self.keep();
        }
    }

    fn keep(&mut self) {
        let known = self.all.partition_point(|caller| caller.client.leading_zeros() >= self.zeros);
        self.all.truncate(known);
    }

    /// Those that are known.
    pub fn iter(&self) -> impl Iterator<Item = &Caller> {
        self.all.iter()
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(client: u32, requests: u32, faults: u32) -> Caller {
        Caller { client, requests, faults, episodes: faults.min(1) }
    }

    #[test]
    fn the_same_client_of_two_windows_adds_up() {
        let mut all = Callers::new([caller(7, 3, 1), caller(2, 5, 0), caller(7, 1, 0)], 0);
        all.merge(&Callers::new([caller(9, 4, 4), caller(7, 6, 2), caller(1, 1, 0)], 0));
        let merged: Vec<_> = all.iter().copied().collect();
        assert_eq!(merged, [caller(1, 1, 0), caller(2, 5, 0), Caller { episodes: 2, ..caller(7, 10, 3) }, caller(9, 4, 4)]);
    }

    #[test]
    fn of_too_many_clients_the_same_ones_are_known_of_each_window() {
        let window = || Callers::new((0..10_000u32).map(|n| caller(n.wrapping_mul(0x9E37_79B9), 2, 1)), 0);
        let mut all = window();
        let known = all.iter().count();
        assert!((1_000..=MOST).contains(&known), "{known}");
        // One that knows fewer of its own accord takes the others along.
        all.merge(&Callers::new(window().iter().copied(), 4));
        assert!((400..1_000).contains(&all.iter().count()));
        assert!(all.iter().all(|caller| caller.requests == 4 && caller.client.leading_zeros() >= 4));
    }
}
