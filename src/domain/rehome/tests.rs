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
    calls: BTreeMap<usize, Epoch>,
}

/// A call of the client's, as the proxy goes about it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    /// Where it will be sent is chosen.
    Bound {
        epoch: Epoch,
        place: Place,
        has_moved: bool,
    },
    /// At its server.
    Running {
        epoch: Epoch,
        place: Place,
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

struct World {
    dice: Dice,
    servers: Vec<Server>,
    session: Residence<Place>,
    calls: Vec<Call>,
    /// Bindings that are to be ended at their servers.
    errands: Vec<Place>,
    /// A planned move that has begun, and what it has made.
    planned: Option<Option<Place>>,
    executed: BTreeMap<usize, usize>,
    next: u64,
    next_epoch: Epoch,
    moves: usize,
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
            errands: Vec::new(),
            planned: None,
            executed: BTreeMap::new(),
            next: 1,
            next_epoch: 7,
            moves: 0,
        }
    }

    fn begin(&mut self) {
        let Binding { epoch, place } = self.session.begin().clone();
        self.calls.push(Call::Bound { epoch, place, has_moved: false });
    }

    fn step(&mut self) {
        match self.dice.below(12) {
            0 if self.calls.len() < 40 => self.begin(),
            1 => {
                let server = self.dice.below(3);
                // A crash forgets all; what ran there is cut.
                self.servers[server] = Server { is_up: !self.servers[server].is_up, ..Server::default() };
            }
            2 => self.plan(),
            3 => {
                if let Some((server, number)) = self.errands.pop() {
                    self.servers[server].sessions.remove(&number);
                }
            }
            _ => self.go_on(),
        }
    }

    /// A planned move, in three steps: begun, opened, and made or given up.
    fn plan(&mut self) {
        match self.planned.take() {
            None => {
                let seen = self.session.current().epoch;
                if self.session.start_move(seen) == Start::Go {
                    self.planned = Some(None);
                }
            }
            Some(None) => match self.open(self.session.current().place.0) {
                Some(place) => self.planned = Some(Some(place)),
                None => self.session.abandon_move(),
            },
            Some(Some(place)) => self.finish(place, false),
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

    fn finish(&mut self, place: Place, is_lost: bool) {
        self.next_epoch += 1;
        self.moves += 1;
        match self.session.finish_move(self.next_epoch, place, is_lost) {
            Finished::Moved { left } => self.errands.extend(left.map(|left| left.place)),
            Finished::Over(place) => self.errands.push(place),
        }
    }

    fn end(&mut self, epoch: Epoch) {
        let left = self.session.end(epoch);
        self.errands.extend(left.map(|left| left.place));
    }

    fn go_on(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let at = self.dice.below(self.calls.len());
        self.calls[at] = match self.calls[at].clone() {
            Call::Bound { epoch, place, has_moved } => {
                let server = &mut self.servers[place.0];
                if server.is_up && server.sessions.contains(&place.1) {
                    *self.executed.entry(at).or_default() += 1;
                    server.calls.insert(at, epoch);
                    Call::Running { epoch, place }
                } else {
                    // Refused, by the system or by the server: not carried out. One move for a request.
                    self.end(epoch);
                    if has_moved { Call::Failed } else { Call::Moving { seen: epoch, is_mover: false, tries: 0 } }
                }
            }
            Call::Running { epoch, place } => {
                let is_there = self.servers[place.0].calls.remove(&at) == Some(epoch);
                self.end(epoch);
                if is_there { Call::Answered } else { Call::Failed }
            }
            Call::Moving { seen, is_mover, tries } => self.move_for(seen, is_mover, tries),
            done => done,
        };
    }

    fn move_for(&mut self, seen: Epoch, is_mover: bool, tries: usize) -> Call {
        if is_mover {
            return match self.open(usize::MAX) {
                Some(place) => {
                    self.finish(place, true);
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
        let Binding { epoch, place } = self.session.begin().clone();
        Call::Bound { epoch, place, has_moved: true }
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
    }
}

/// Requests, moves for want of a server, planned moves, crashes, and ends of what was left, in any order.
#[test]
fn no_call_runs_twice_no_session_is_lost_and_nothing_is_left_behind() {
    let (mut moves, mut answered, mut failed) = (0, 0, 0);
    for seed in 1..2_000 {
        let mut world = World::new(seed);
        (0..400).for_each(|_| world.step());
        world.settle();
        assert!(world.executed.values().all(|times| *times == 1), "seed {seed}: {:?}", world.executed);
        for (at, call) in world.calls.iter().enumerate() {
            assert!(*call != Call::Answered || world.executed.contains_key(&at), "seed {seed}: answered out of nothing");
        }
        // The session is there, for whoever asks next.
        let before = world.calls.len();
        world.begin();
        world.settle();
        assert_eq!(world.calls[before], Call::Answered, "seed {seed}");
        assert_eq!(world.session.running(), 0, "seed {seed}");
        let left = world.session.close();
        world.errands.extend(left.into_iter().map(|binding| binding.place));
        for (server, number) in std::mem::take(&mut world.errands) {
            world.servers[server].sessions.remove(&number);
        }
        assert!(world.servers.iter().all(|server| server.sessions.is_empty()), "seed {seed}: a server's session is left behind");
        moves += world.moves;
        answered += world.calls.iter().filter(|call| **call == Call::Answered).count();
        failed += world.calls.iter().filter(|call| **call == Call::Failed).count();
    }
    assert!(moves > 5_000 && answered > 5_000 && failed > 500, "{moves} moves, {answered} answered, {failed} failed");
}
