//! Listeners, workers, and how they stop.
//!
//! Each listener has one acceptor, which hands each connection to the worker that has the
//! fewest: with the kernel's hash over one listener a worker, one run in four of 64 connections over two workers was worse than
//! 36 to 28. It is a task of a worker and no thread of its own: what its worker keeps need not change threads. A
//! worker is a thread with a runtime and endpoint connections of its own, so a request never changes threads either.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::coop::consume_budget;

use super::line::{self, Line};
use super::socket::Watched;
use super::{Site, Stage, Worker, connection, doze};
use crate::tls::{self, plain};
use crate::upstream::count_apart;

/// Between two tries to accept after an error like "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A traffic listener as its connections see it.
pub struct Door {
    /// Whether it speaks TLS, and as whom.
    pub tls: Option<Arc<tls::Server>>,
    /// Whether only this machine can reach it: then browsers of other origins are refused unless
    /// allowed (MCP 2025-11-25, transports, security warning).
    pub is_local: bool,
}

/// The traffic listeners with their workers. Dropping it does not stop them: the [`Stage`] does.
pub struct Front {
    load: Load,
    threads: Vec<JoinHandle<()>>,
}

/// How many connections each worker has.
#[derive(Clone)]
pub struct Load(Arc<[AtomicUsize]>);

impl Load {
    /// Open connections by worker.
    pub fn connections(&self) -> Vec<usize> {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

impl Front {
    /// Starts serving on bound listeners with so many workers. Without a server for TLS a listener
    /// serves plain HTTP. Connections have `TCP_NODELAY` from their listener, where it was set before it listened.
    pub fn start(
        listeners: Vec<(std::net::TcpListener, Option<Arc<tls::Server>>)>,
        workers: usize,
        site: &Arc<Site>,
    ) -> io::Result<Self> {
        let load = Load((0..workers).map(|_| AtomicUsize::new(0)).collect());
        let (hands, connections): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let mut accepts: Vec<Vec<Accepts>> = (0..workers).map(|_| Vec::new()).collect();
        for (at, (listener, tls)) in listeners.into_iter().enumerate() {
            listener.set_nonblocking(true)?;
            let door = Arc::new(Door { tls, is_local: listener.local_addr()?.ip().is_loopback() });
            accepts[at % workers].push(Accepts { listener, door, hands: hands.clone() });
        }
        drop(hands);
        let mut threads = Vec::with_capacity(workers);
        for (at, (connections, accepts)) in connections.into_iter().zip(accepts).enumerate() {
            let (site, load) = (site.clone(), load.clone());
            threads.push(thread(format!("traffic-{at}"), move || work(site, accepts, connections, load, at))?);
        }
        Ok(Self { load, threads })
    }

    /// How many connections each worker has.
    pub fn load(&self) -> Load {
        self.load.clone()
    }

    /// Waits until all workers have ended; may block.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a traffic thread panicked");
            }
        }
    }
}

fn thread(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(run)
}

/// A listener, and the hands that its connections are put in.
struct Accepts {
    listener: std::net::TcpListener,
    door: Arc<Door>,
    hands: Vec<mpsc::UnboundedSender<Accepted>>,
}

impl Accepts {
    async fn accept(self, own: Rc<Own>) {
        let listener = match Listener::new(self.listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the listener cannot be used"),
        };
        let site = &own.worker.site;
        let mut stage = site.stage.clone();
        let mut turn = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stage.wait_for(|stage| *stage >= Stage::Draining) => return,
                accepted = accept_below_limit(&listener, &own.load, site.tuning().limits.connections) => accepted,
            };
            match accepted {
                Ok(caller) => {
                    doze::worked();
                    turn += 1;
                    hand_out(caller, &self.door, &self.hands, &own, turn);
                }
                Err(error) => {
                    // Out of descriptors, most likely: spinning on it would only add to the load.
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// A connection that nobody serves yet.
struct Caller {
    stream: std::net::TcpStream,
    address: SocketAddr,
    /// There is something to read.
    has_spoken: bool,
}

/// A connection on its way to its worker, which registers its socket.
struct Accepted {
    caller: Caller,
    door: Arc<Door>,
}

async fn accept_below_limit(listener: &Listener, load: &Load, most: usize) -> io::Result<Caller> {
    while load.0.iter().map(|count| count.load(Ordering::Relaxed)).sum::<usize>() >= most {
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
    listener.accept().await
}

/// A listener that is asked for no connection where none waits: the kernel would make a socket for it first, which costs seven times as
/// much as a look.
struct Listener {
    socket: std::net::TcpListener,
    /// The same socket, registered as a stream's would be: of a listener's own type the runtime neither shows nor takes back that it
    /// is ready.
    bell: TcpStream,
}

impl Listener {
    fn new(socket: std::net::TcpListener) -> io::Result<Self> {
        let same = std::net::TcpStream::from(OwnedFd::from(socket.try_clone()?));
        Ok(Self { socket, bell: TcpStream::from_std(same)? })
    }

    /// One connection. Dropped before its end it has taken none.
    async fn accept(&self) -> io::Result<Caller> {
        loop {
            // As the runtime's own sockets do: to be ready uses up nothing, and thousands may wait at a time.
            consume_budget().await;
            self.bell.readable().await?;
            match plain::accept(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.rest(),
                Err(error) => return Err(error),
                Ok((stream, address)) => {
                    let mut looks = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&stream, PollFlags::IN)];
                    let has_looked = poll(&mut looks, Some(&Timespec::default())).is_ok();
                    let [waits, has_spoken] = looks.map(|look| has_looked && look.revents().contains(PollFlags::IN));
                    if has_looked && !waits {
                        self.rest();
                    }
                    return Ok(Caller { stream, address, has_spoken });
                }
            }
        }
    }

    /// Nobody waits: whoever comes from now on rings anew.
    fn rest(&self) {
        let _ = self.bell.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    }
}

/// To the worker with the fewest connections; among equals they take turns.
fn hand_out(caller: Caller, door: &Arc<Door>, hands: &[mpsc::UnboundedSender<Accepted>], own: &Rc<Own>, turn: usize) {
    let counts = &own.load.0;
    let order = (0..counts.len()).map(|at| (at + turn) % counts.len());
    let Some(least) = order.min_by_key(|at| counts[*at].load(Ordering::Relaxed)) else { return };
    counts[least].fetch_add(1, Ordering::Relaxed);
    let accepted = Accepted { caller, door: door.clone() };
    if least == own.at {
        own.serve(accepted);
    } else if hands[least].send(accepted).is_err() {
        counts[least].fetch_sub(1, Ordering::Relaxed);
    }
}

fn work(site: Arc<Site>, accepts: Vec<Accepts>, mut connections: mpsc::UnboundedReceiver<Accepted>, load: Load, at: usize) {
    count_apart();
    run_local(async move {
        let worker = Worker::new(site.clone());
        let sweeper = worker.clone();
        tokio::task::spawn_local(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            loop {
                ticks.tick().await;
                sweeper.wire.sweep();
                sweeper.uploads.sweep();
            }
        });
        let watchful = worker.vigil.clone();
        tokio::task::spawn_local(async move { watchful.keep().await });
        tokio::task::spawn_local(worker.clone().run_errands());
        let own = Rc::new(Own { worker, load, at });
        for accepts in accepts {
            tokio::task::spawn_local(accepts.accept(own.clone()));
        }
        while let Some(accepted) = connections.recv().await {
            own.serve(accepted);
        }
        // The acceptors are gone; what runs goes on until the stage says otherwise.
        let mut stage = site.stage.clone();
        let all_closed = async {
            while own.load.0[own.at].load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = all_closed => {}
            _ = stage.wait_for(|stage| *stage >= Stage::Ended) => {}
        }
    });
}

/// A worker, on its own thread, with its place in the count.
struct Own {
    worker: Rc<Worker>,
    load: Load,
    at: usize,
}

impl Own {
    /// Serves a connection that has been counted.
    fn serve(self: &Rc<Self>, accepted: Accepted) {
        doze::worked();
        let guard = OpenConnection(self.clone());
        let Accepted { caller: Caller { stream, address, has_spoken }, door } = accepted;
        // Read before the runtime knows of it, which would have to be asked first whether there is anything.
        let early = match has_spoken && door.tls.is_none() {
            true => line::first_words(&stream, &self.worker),
            false => Bytes::new(),
        };
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%error, "connection lost at once"),
        };
        let line = Line::begun(Watched::new(stream), early);
        tokio::task::spawn_local(connection::serve(self.worker.clone(), line, address, (door, guard)));
    }
}

struct OpenConnection(Rc<Own>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.load.0[self.0.at].fetch_sub(1, Ordering::Relaxed);
    }
}

fn run_local(future: impl Future<Output = ()>) {
    match doze::runtime() {
        Ok(runtime) => {
            runtime.block_on(future);
            // A name that is being looked up must not hold up the end.
            runtime.shutdown_timeout(Duration::from_millis(200));
        }
        Err(error) => tracing::error!(%error, "no runtime for traffic"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(flavor = "local")]
    async fn many_who_connect_at_once_do_not_keep_others_from_their_turn() {
        const MANY: usize = 300;
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        // More than the standard library lets wait.
        socket2::SockRef::from(&socket).listen(MANY as i32).unwrap();
        let address = socket.local_addr().unwrap();
        let _clients: Vec<_> = (0..MANY).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let listener = Listener::new(socket).unwrap();
        let accepted = Rc::new(Cell::new(0));
        let before_others = Rc::new(Cell::new(None));
        let (count, seen) = (accepted.clone(), before_others.clone());
        let acceptor = async {
            listener.bell.readable().await.unwrap();
            // Its turn comes when this one's is over.
            tokio::task::spawn_local(async move { seen.set(Some(count.get())) });
            while accepted.get() < MANY {
                listener.accept().await.unwrap();
                accepted.set(accepted.get() + 1);
            }
        };
        acceptor.await;
        assert!(before_others.get().is_some_and(|before| before < MANY), "{before_others:?} of {MANY}");
    }

    #[tokio::test(flavor = "local")]
    async fn who_has_spoken_by_now_is_known_from_who_has_not() {
        use std::io::Write;

        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Listener::new(socket).unwrap();
        // Words may be on their way for a moment after they were written.
        let mut tries = 0;
        let mut has_spoken = false;
        while !has_spoken && tries < 50 {
            let mut speaks = std::net::TcpStream::connect(address).unwrap();
            speaks.write_all(b"GET").unwrap();
            has_spoken = listener.accept().await.unwrap().has_spoken;
            tries += 1;
        }
        assert!(has_spoken);
        let _listens = std::net::TcpStream::connect(address).unwrap();
        assert!(!listener.accept().await.unwrap().has_spoken);
        let late = async {
            tokio::task::yield_now().await;
            std::net::TcpStream::connect(address).unwrap()
        };
        // Nobody waited: who comes now is told of anew.
        let (accepted, _late) = tokio::join!(listener.accept(), late);
        assert!(!accepted.unwrap().has_spoken);
    }
}
