use std::collections::{BTreeMap, BTreeSet};

use super::*;

#[test]
fn what_began_before_a_move_ends_where_it_began() {
    let mut session = Residence::new('a');
    assert_eq!(session.begin().epoch, 0);
    assert_eq!(session.start_move(0), Start::Go);
    assert_eq!(session.start_move(0), Start::Busy, "one move at a time");
    assert_eq!(session.finish_move(5, 'b', false), Finished::Moved { left: None });
    assert_eq!((session.current().place, session.start_move(0)), ('b', Start::Done));
    assert_eq!(session.begin_on(0).map(|binding| binding.place), Some('a'), "an answer to what the old server asked");
    assert_eq!(session.end(0), None);
    assert_eq!(session.end(0), Some(Binding { epoch: 0, place: 'a' }), "the last one of the old binding");
    assert_eq!(session.begin_on(0), None);
}

#[test]
fn an_idle_binding_is_left_at_once_and_a_lost_one_is_not_ended() {
    let mut session = Residence::new('a');
    session.start_move(0);
    assert_eq!(session.finish_move(1, 'b', false), Finished::Moved { left: Some(Binding { epoch: 0, place: 'a' }) });
    session.start_move(1);
    assert_eq!(session.finish_move(2, 'c', true), Finished::Moved { left: None });
}

#[test]
fn a_lost_binding_finishes_what_it_has_and_takes_nothing_new() {
    let mut session = Residence::new('a');
    session.begin();
    session.start_move(0);
    session.finish_move(1, 'b', true);
    assert_eq!(session.begin_on(0), None);
    assert_eq!(session.running(), 1);
    assert_eq!(session.end(0), None, "there is nobody to tell");
    assert_eq!(session.running(), 0);
}

#[test]
fn an_end_during_a_move_ends_what_is_being_made_too() {
    let mut session = Residence::new('a');
    session.begin();
    session.start_move(0);
    assert_eq!(session.close(), [Binding { epoch: 0, place: 'a' }]);
    assert_eq!(session.finish_move(1, 'b', false), Finished::Over('b'));
    assert_eq!((session.close(), session.start_move(1)), (vec![], Start::Over));
}

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % most
    }
}

/// A server's session: which server, and its number there.
type Place = (usize, u64);

#[derive(Default)]
struct Server {
    is_up: bool,
    sessions: BTreeSet<u64>,
    /// What runs, whether somebody reads its answer or not.
    calls: BTreeMap<usize, Epoch>,
    /// GET streams, by their sessions: open until who reads them lets go, whatever became of the session.
    streams: BTreeSet<u64>,
}

/// A call of the client's, as the proxy goes about it. Its answer is a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    /// Where it will be sent is chosen.
    Bound {
        epoch: Epoch,
        place: Place,
        has_moved: bool,
    },
    /// At its server, and its stream is read.
    Running {
        epoch: Epoch,
        place: Place,
    },
    /// Its stream has ended before the answer: its client has left, or its server means to go on elsewhere. `holds`: the binding
    /// is kept for it.
    Left {
        epoch: Epoch,
        place: Place,
        holds: bool,
    },
    /// Not delivered: its session is to be moved.
    Moving {
        seen: Epoch,
        is_mover: bool,
        tries: usize,
    },
    Answered,
    Failed,
}

/// A part of the client's GET stream: what comes from one binding. It keeps none alive, and is let go of with it; the core
/// says when that is ([`Residence::of`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Feed {
    epoch: Epoch,
    place: Place,
    is_open: bool,
}

/// A planned move: begun, opened at the new server (where its GET stream is opened, too), and made or given up.
#[derive(Clone, Copy)]
enum Plan {
    Begun,
    Opened { epoch: Epoch, place: Place },
}

#[derive(Default, Debug)]
struct Counts {
    moves: usize,
    given_up: usize,
    left: usize,
    resumed: usize,
    polled: usize,
    listened: usize,
    let_go: usize,
}

struct World {
    dice: Dice,
    servers: Vec<Server>,
    session: Residence<Place>,
    calls: Vec<Call>,
    /// The client's GET stream, while there is one.
    listening: Option<Vec<Feed>>,
    /// Bindings that are to be ended at their servers.
    errands: Vec<Place>,
    planned: Option<Plan>,
    executed: BTreeMap<usize, usize>,
    next: u64,
    next_epoch: Epoch,
    counts: Counts,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut servers: Vec<Server> = (0..3).map(|_| Server { is_up: true, ..Server::default() }).collect();
        servers[0].sessions.insert(0);
        Self {
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            servers,
            session: Residence::new((0, 0)),
            calls: Vec::new(),
            listening: None,
            errands: Vec::new(),
            planned: None,
            executed: BTreeMap::new(),
            next: 1,
            next_epoch: 7,
            counts: Counts::default(),
        }
    }

    fn begin(&mut self) {
        let Binding { epoch, place } = self.session.begin().clone();
        self.calls.push(Call::Bound { epoch, place, has_moved: false });
    }

    fn step(&mut self) {
        match self.dice.below(16) {
            0 if self.calls.len() < 40 && !self.session.is_over() => self.begin(),
            1 => {
                let server = self.dice.below(3);
                // A crash forgets all; what ran there is cut, and so are its streams.
                self.servers[server] = Server { is_up: !self.servers[server].is_up, ..Server::default() };
            }
            2 => self.plan(),
            3 => self.run_errand(),
            4..8 => self.stream(),
            _ => self.go_on(),
        }
    }

    /// Ends a binding at its server. As long as its client has not ended the session, nothing is cut by that.
    fn run_errand(&mut self) {
        let Some(place) = self.errands.pop() else { return };
        let runs_there = |call: &Call| match call {
            Call::Bound { place: at, .. } | Call::Running { place: at, .. } => *at == place,
            Call::Left { place: at, holds, .. } => *holds && *at == place,
            _ => false,
        };
        assert!(self.session.is_over() || !self.calls.iter().any(runs_there), "ended under {:?}", self.calls);
        assert!(self.session.is_over() || self.session.current().place != place, "it lives there");
        self.servers[place.0].sessions.remove(&place.1);
    }

    fn plan(&mut self) {
        match self.planned.take() {
            None => {
                let seen = self.session.current().epoch;
                if self.session.start_move(seen) == Start::Go {
                    self.planned = Some(Plan::Begun);
                }
            }
            Some(Plan::Begun) => match self.open(self.session.current().place.0) {
                Some(place) => {
                    self.next_epoch += 1;
                    self.planned = Some(Plan::Opened { epoch: self.next_epoch, place });
                }
                None => self.session.abandon_move(),
            },
            Some(Plan::Opened { place, .. }) if self.dice.below(4) == 0 => {
                self.counts.given_up += 1;
                self.errands.push(place);
                self.session.abandon_move();
            }
            Some(Plan::Opened { epoch, place }) => self.finish(epoch, place, false),
        }
    }

    /// Opens the session at a server that is up, but for one.
    fn open(&mut self, but: usize) -> Option<Place> {
        let from = self.dice.below(3);
        let server = (0..3).map(|at| (from + at) % 3).find(|at| *at != but && self.servers[*at].is_up)?;
        self.next += 1;
        self.servers[server].sessions.insert(self.next);
        Some((server, self.next))
    }

    fn finish(&mut self, epoch: Epoch, place: Place, is_lost: bool) {
        self.counts.moves += 1;
        match self.session.finish_move(epoch, place, is_lost) {
            Finished::Moved { left } => self.errands.extend(left.map(|left| left.place)),
            Finished::Over(place) => self.errands.push(place),
        }
    }

    fn end(&mut self, epoch: Epoch) {
        let left = self.session.end(epoch);
        self.errands.extend(left.map(|left| left.place));
    }

    fn knows(&self, place: Place) -> bool {
        self.servers[place.0].is_up && self.servers[place.0].sessions.contains(&place.1)
    }

    fn go_on(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let at = self.dice.below(self.calls.len());
        self.calls[at] = match self.calls[at].clone() {
            Call::Bound { epoch, place, has_moved } => {
                if self.knows(place) {
                    *self.executed.entry(at).or_default() += 1;
                    self.servers[place.0].calls.insert(at, epoch);
                    Call::Running { epoch, place }
                } else {
                    // Refused, by the system or by the server: not carried out. One move for a request.
                    self.end(epoch);
                    if has_moved { Call::Failed } else { Call::Moving { seen: epoch, is_mover: false, tries: 0 } }
                }
            }
            Call::Running { epoch, place } => match self.dice.below(4) {
                0 => self.leave(epoch, place),
                _ => {
                    let is_there = self.servers[place.0].calls.remove(&at) == Some(epoch);
                    self.end(epoch);
                    if is_there { Call::Answered } else { Call::Failed }
                }
            },
            Call::Left { epoch, place, holds } => self.come_back(at, epoch, place, holds),
            Call::Moving { seen, is_mover, tries } => self.move_for(seen, is_mover, tries),
            done => done,
        };
    }

    /// The stream of a call ends before its answer. What was kept for it comes before what the stream had is let go of.
    fn leave(&mut self, epoch: Epoch, place: Place) -> Call {
        self.counts.left += 1;
        let holds = self.session.begin_on(epoch).is_some();
        self.end(epoch);
        Call::Left { epoch, place, holds }
    }

    /// Its client resumes it, where it was begun and nowhere else; or gives it up.
    fn come_back(&mut self, at: usize, epoch: Epoch, place: Place, holds: bool) -> Call {
        let resumed = match self.dice.below(8) {
            0 => None,
            _ => self.session.begin_on(epoch).cloned(),
        };
        if holds {
            assert!(self.session.of(epoch).is_some() || self.session.is_over(), "it is kept for whoever comes back");
            self.end(epoch);
        }
        let Some(resumed) = resumed else { return Call::Failed };
        assert_eq!(resumed.place, place);
        if self.knows(place) && self.servers[place.0].calls.get(&at) == Some(&epoch) {
            self.counts.resumed += 1;
            return Call::Running { epoch, place };
        }
        self.end(epoch);
        Call::Failed
    }

    fn move_for(&mut self, seen: Epoch, is_mover: bool, tries: usize) -> Call {
        if is_mover {
            return match self.open(usize::MAX) {
                Some(place) => {
                    self.next_epoch += 1;
                    self.finish(self.next_epoch, place, true);
                    self.rebound()
                }
                None if tries < 5 => Call::Moving { seen, is_mover, tries: tries + 1 },
                None => {
                    self.session.abandon_move();
                    Call::Failed
                }
            };
        }
        match self.session.start_move(seen) {
            Start::Go => Call::Moving { seen, is_mover: true, tries },
            Start::Busy => Call::Moving { seen, is_mover, tries },
            Start::Done => self.rebound(),
            Start::Over => Call::Failed,
        }
    }

    fn rebound(&mut self) -> Call {
        if self.session.is_over() {
            return Call::Failed;
        }
        let Binding { epoch, place } = self.session.begin().clone();
        Call::Bound { epoch, place, has_moved: true }
    }

    /// Something happens to the client's GET stream.
    fn stream(&mut self) {
        let Some(feeds) = self.listening.take() else {
            if !self.session.is_over() {
                self.listen();
            }
            return;
        };
        match self.dice.below(8) {
            // The client leaves.
            0 => feeds.into_iter().for_each(|feed| self.let_go(feed)),
            // A server ends it: where the session lives and is well, that is the end of it; anywhere else it goes on without.
            1 => {
                let at = self.dice.below(feeds.len());
                let ended = feeds[at];
                self.let_go(ended);
                let is_current = ended.epoch == self.session.current().epoch;
                let feeds: Vec<Feed> =
                    feeds.into_iter().map(|feed| if feed == ended { Feed { is_open: false, ..feed } } else { feed }).collect();
                if is_current && self.knows(ended.place) {
                    return feeds.into_iter().for_each(|feed| self.let_go(feed));
                }
                self.listening = Some(feeds);
            }
            _ => {
                self.listening = Some(feeds);
                self.poll_stream();
            }
        }
    }

    /// It begins where the session lives, and keeps no binding alive.
    fn listen(&mut self) {
        let Binding { epoch, place } = self.session.begin().clone();
        if self.knows(place) {
            self.counts.listened += 1;
            let feed = self.feed(epoch, place);
            self.listening = Some(vec![feed]);
        }
        self.end(epoch);
    }

    fn feed(&mut self, epoch: Epoch, place: Place) -> Feed {
        let is_open = self.knows(place) && self.servers[place.0].streams.insert(place.1);
        Feed { epoch, place, is_open }
    }

    fn let_go(&mut self, feed: Feed) {
        if feed.is_open {
            self.servers[feed.place.0].streams.remove(&feed.place.1);
        }
    }

    /// It is opened where the session is about to live, or lives, and lets go of what is over.
    fn poll_stream(&mut self) {
        let Some(mut feeds) = self.listening.take() else { return };
        self.counts.polled += 1;
        let candidate = match self.planned {
            Some(Plan::Opened { epoch, place }) => Some((epoch, place)),
            _ => None,
        };
        let current = self.session.current().clone();
        let (epoch, place) = candidate.unwrap_or((current.epoch, current.place));
        if !feeds.iter().any(|feed| feed.epoch == epoch) {
            let feed = self.feed(epoch, place);
            feeds.push(feed);
        }
        let is_over =
            |feed: &Feed| self.session.of(feed.epoch).is_none() && Some(feed.epoch) != candidate.map(|(epoch, _)| epoch);
        let (over, feeds): (Vec<Feed>, Vec<Feed>) = feeds.into_iter().partition(is_over);
        self.counts.let_go += over.len();
        over.into_iter().for_each(|feed| self.let_go(feed));
        self.listening = Some(feeds);
    }

    /// Everything comes to its end, with servers that are up.
    fn settle(&mut self) {
        self.servers.iter_mut().for_each(|server| server.is_up = true);
        for _ in 0..3 {
            if self.planned.is_some() {
                self.plan();
            }
        }
        let is_open = |call: &Call| !matches!(call, Call::Answered | Call::Failed);
        let mut rounds = 0;
        while self.calls.iter().any(is_open) {
            self.go_on();
            rounds += 1;
            assert!(rounds < 100_000, "a call hangs: {:?}", self.calls);
        }
        self.poll_stream();
    }

    /// The session is there, for whoever asks next, and on one binding.
    fn lives(&mut self, seed: u64) {
        let before = self.calls.len();
        // It may be left in the middle of its answer, and given up.
        while self.calls[before..].iter().all(|call| *call != Call::Answered) {
            assert!(self.calls.len() < before + 50, "seed {seed}: it is lost");
            self.begin();
            self.settle();
        }
        assert_eq!((self.session.running(), self.session.draining().count()), (0, 0), "seed {seed}");
        let current = self.session.current().epoch;
        let feeds = self.listening.iter().flatten();
        assert!(feeds.clone().all(|feed| feed.epoch == current), "seed {seed}: {:?}", self.listening);
    }

    /// The client has ended it: nothing of it is anywhere.
    fn leaves_nothing(&mut self, seed: u64) {
        let left = self.session.close();
        self.errands.extend(left.into_iter().map(|binding| binding.place));
        while !self.errands.is_empty() {
            self.run_errand();
        }
        let feeds = self.listening.take().into_iter().flatten();
        feeds.for_each(|feed| self.let_go(feed));
        for server in &self.servers {
            assert!(server.sessions.is_empty(), "seed {seed}: a server's session is left behind: {:?}", server.sessions);
            assert!(server.streams.is_empty(), "seed {seed}: a stream is left open: {:?}", server.streams);
        }
    }
}

/// Requests, moves for want of a server, planned moves, crashes, and ends of what was left, in any order; streams that begin,
/// that end on either side and are resumed, and a client that ends it all in the middle.
#[test]
fn no_call_runs_twice_no_session_is_lost_and_nothing_is_left_behind() {
    let (mut all, mut answered, mut failed) = (Counts::default(), 0, 0);
    for seed in 1..2_000 {
        let mut world = World::new(seed);
        let ends_early = seed % 3 == 0;
        (0..600).for_each(|_| world.step());
        if ends_early {
            let left = world.session.close();
            world.errands.extend(left.into_iter().map(|binding| binding.place));
            (0..50).for_each(|_| world.step());
        }
        world.settle();
        if !ends_early {
            world.lives(seed);
        }
        assert!(world.executed.values().all(|times| *times == 1), "seed {seed}: {:?}", world.executed);
        for (at, call) in world.calls.iter().enumerate() {
            assert!(*call != Call::Answered || world.executed.contains_key(&at), "seed {seed}: answered out of nothing");
        }
        world.leaves_nothing(seed);
        let Counts { moves, given_up, left, resumed, polled, listened, let_go } = world.counts;
        all.moves += moves;
        all.given_up += given_up;
        all.left += left;
        all.resumed += resumed;
        all.polled += polled;
        all.listened += listened;
        all.let_go += let_go;
        answered += world.calls.iter().filter(|call| **call == Call::Answered).count();
        failed += world.calls.iter().filter(|call| **call == Call::Failed).count();
    }
    assert!(all.moves > 5_000 && answered > 5_000 && failed > 500, "{all:?}, {answered} answered, {failed} failed");
    assert!(all.given_up > 500 && all.left > 2_000 && all.resumed > 1_000, "{all:?}");
    assert!(all.listened > 2_000 && all.let_go > 2_000 && all.polled > 10_000, "{all:?}");
}
