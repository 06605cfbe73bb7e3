//! Listeners, workers, and how they stop.
//!
//! Each listener has an acceptor, which hands each connection to the worker that has the
//! fewest: with the kernel's hash over one listener a worker, one run in four of 64 connections over two workers was worse than
//! 36 to 28. A worker is a thread with a runtime and endpoint connections of its own, so a request
//! never changes threads.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{Site, Stage, Worker, connection};
use crate::tls;

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
    /// serves plain HTTP.
    pub fn start(
        listeners: Vec<(std::net::TcpListener, Option<Arc<tls::Server>>)>,
        workers: usize,
        site: &Arc<Site>,
    ) -> io::Result<Self> {
        let load = Load((0..workers).map(|_| AtomicUsize::new(0)).collect());
        let mut threads = Vec::with_capacity(workers + listeners.len());
        let mut hands = Vec::with_capacity(workers);
        for at in 0..workers {
            let (hand, connections) = mpsc::unbounded_channel();
            let (site, load) = (site.clone(), load.clone());
            hands.push(hand);
            threads.push(thread(format!("traffic-{at}"), move || work(site, connections, load, at))?);
        }
        for (at, (listener, tls)) in listeners.into_iter().enumerate() {
            listener.set_nonblocking(true)?;
            let door = Arc::new(Door { tls, is_local: listener.local_addr()?.ip().is_loopback() });
            let (site, load, hands) = (site.clone(), load.clone(), hands.clone());
            threads.push(thread(format!("acceptor-{at}"), move || accept(listener, &door, &hands, &load, &site))?);
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

fn accept(
    listener: std::net::TcpListener,
    door: &Arc<Door>,
    hands: &[mpsc::UnboundedSender<Accepted>],
    load: &Load,
    site: &Site,
) {
    run_local(async move {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the listener cannot be used"),
        };
        let mut stage = site.stage.clone();
        let mut turn = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stage.wait_for(|stage| *stage >= Stage::Draining) => return,
                accepted = accept_below_limit(&listener, load, site.tuning().limits.connections) => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    turn += 1;
                    hand_out((stream, address), door, hands, load, turn);
                }
                Err(error) => {
                    // Out of descriptors, most likely: spinning on it would only add to the load.
                    tracing::warn!(%error, "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    });
}

/// A connection on its way to its worker.
pub(super) struct Accepted {
    pub(super) stream: std::net::TcpStream,
    pub(super) address: SocketAddr,
    pub(super) door: Arc<Door>,
}

async fn accept_below_limit(listener: &TcpListener, load: &Load, most: usize) -> io::Result<(TcpStream, SocketAddr)> {
    while load.connections().iter().sum::<usize>() >= most {
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
    listener.accept().await
}

/// To the worker with the fewest connections; among equals they take turns.
fn hand_out(
    (stream, address): (TcpStream, SocketAddr),
    door: &Arc<Door>,
    hands: &[mpsc::UnboundedSender<Accepted>],
    load: &Load,
    turn: usize,
) {
    let counts = load.connections();
    let count = counts.len();
    let order = (0..count).map(|at| (at + turn) % count);
    let Some(least) = order.min_by_key(|at| counts[*at]) else { return };
    load.0[least].fetch_add(1, Ordering::Relaxed);
    // A worker registers the socket with its own runtime, so it must leave this one first.
    let sent = stream.into_std().ok().and_then(|stream| {
        let accepted = Accepted { stream, address, door: door.clone() };
        hands[least].send(accepted).ok()
    });
    if sent.is_none() {
        load.0[least].fetch_sub(1, Ordering::Relaxed);
    }
}

fn work(site: Arc<Site>, mut connections: mpsc::UnboundedReceiver<Accepted>, load: Load, at: usize) {
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
        let counted = Rc::new(Counted { load, at });
        while let Some(accepted) = connections.recv().await {
            let guard = OpenConnection(counted.clone());
            let worker = worker.clone();
            tokio::task::spawn_local(async move {
                connection::serve(worker, accepted).await;
                drop(guard);
            });
        }
        // The acceptors are gone; what runs goes on until the stage says otherwise.
        let mut stage = site.stage.clone();
        let all_closed = async {
            while counted.load.0[counted.at].load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = all_closed => {}
            _ = stage.wait_for(|stage| *stage >= Stage::Ended) => {}
        }
    });
}

struct Counted {
    load: Load,
    at: usize,
}

struct OpenConnection(Rc<Counted>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.load.0[self.0.at].fetch_sub(1, Ordering::Relaxed);
    }
}

fn run_local(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    match runtime {
        Ok(runtime) => {
            runtime.block_on(future);
            // A name that is being looked up must not hold up the end.
            runtime.shutdown_timeout(Duration::from_millis(200));
        }
        Err(error) => tracing::error!(%error, "no runtime for traffic"),
    }
}
