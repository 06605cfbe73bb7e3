//! Listeners, workers, connections, and how they stop.
//!
//! One acceptor hands each connection to the worker that has the fewest: with the kernel's hash
//! over one listener a worker, one run in four of 64 connections over two workers was worse than
//! 36 to 28. A worker is a thread with a runtime and endpoint connections of its own, so a request
//! never changes threads.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::peer::Peer;
use super::socket::Watched;
use super::{Site, Stage, Worker};

/// A bound on a client connection's read buffer.
const MOST_BUFFERED: usize = 64 << 10;

/// Bounds on a request's head (431 beyond).
const MOST_HEAD: usize = 32 << 10;
const MOST_FIELDS: usize = 100;

/// A connection without a request is closed after this time. Clients give theirs up after 5 s to 60 s;
/// who closes first decides who meets a request on a closing connection, and that should be they.
const MOST_IDLE: Duration = Duration::from_secs(75);

/// Between two tries to accept after an error like "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The traffic listener with its workers. Dropping it does not stop them: the [`Stage`] does.
pub struct Front {
    address: SocketAddr,
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
    /// Starts serving on a bound listener with so many workers.
    pub fn start(listener: std::net::TcpListener, workers: usize, site: &Arc<Site>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let load = Load((0..workers).map(|_| AtomicUsize::new(0)).collect());
        let mut threads = Vec::with_capacity(workers + 1);
        let mut hands = Vec::with_capacity(workers);
        for at in 0..workers {
            let (hand, connections) = mpsc::unbounded_channel();
            let (site, load) = (site.clone(), load.clone());
            hands.push(hand);
            threads.push(thread(format!("traffic-{at}"), move || work(site, connections, load, at))?);
        }
        let (acceptor_site, acceptor_load) = (site.clone(), load.clone());
        threads.push(thread("acceptor".to_owned(), move || accept(listener, hands, acceptor_load, acceptor_site))?);
        Ok(Self { address, load, threads })
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
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

fn accept(listener: std::net::TcpListener, hands: Vec<mpsc::UnboundedSender<TcpAccepted>>, load: Load, site: Arc<Site>) {
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
                accepted = accept_below_limit(&listener, &load, site.limits.connections) => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    turn += 1;
                    hand_out(stream, address, &hands, &load, turn);
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

type TcpAccepted = (std::net::TcpStream, SocketAddr);

async fn accept_below_limit(listener: &TcpListener, load: &Load, most: usize) -> io::Result<(TcpStream, SocketAddr)> {
    while load.connections().iter().sum::<usize>() >= most {
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
    listener.accept().await
}

/// To the worker with the fewest connections; among equals they take turns.
fn hand_out(stream: TcpStream, address: SocketAddr, hands: &[mpsc::UnboundedSender<TcpAccepted>], load: &Load, turn: usize) {
    let counts = load.connections();
    let count = counts.len();
    let order = (0..count).map(|at| (at + turn) % count);
    let Some(least) = order.min_by_key(|at| counts[*at]) else { return };
    load.0[least].fetch_add(1, Ordering::Relaxed);
    // A worker registers the socket with its own runtime, so it must leave this one first.
    let sent = stream.into_std().ok().and_then(|stream| hands[least].send((stream, address)).ok());
    if sent.is_none() {
        load.0[least].fetch_sub(1, Ordering::Relaxed);
    }
}

fn work(site: Arc<Site>, mut connections: mpsc::UnboundedReceiver<TcpAccepted>, load: Load, at: usize) {
    run_local(async move {
        let worker = Worker::new(site.clone());
        let sweeper = worker.clone();
        tokio::task::spawn_local(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            loop {
                ticks.tick().await;
                sweeper.wire.sweep();
            }
        });
        let counted = Rc::new(Counted { load, at });
        while let Some((stream, address)) = connections.recv().await {
            let guard = OpenConnection(counted.clone());
            let worker = worker.clone();
            tokio::task::spawn_local(async move {
                serve_connection(worker, stream, address).await;
                drop(guard);
            });
        }
        // The acceptor is gone; what runs goes on until the stage says otherwise.
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

async fn serve_connection(worker: Rc<Worker>, stream: std::net::TcpStream, address: SocketAddr) {
    let stream = match stream.set_nodelay(true).and_then(|()| TcpStream::from_std(stream)) {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "connection lost at once"),
    };
    let peer = Peer::new(address, &worker.site.limits);
    let mut stage = worker.site.stage.clone();
    let header_timeout = worker.site.limits.header_timeout;
    let watched = Watched::new(stream);
    let socket = watched.socket();
    let serving = watched.clone();
    let service = service_fn(move |request| {
        let (worker, exchange) = (worker.clone(), serving.begin());
        async move { Ok::<_, Infallible>(worker.serve(peer, request).await.map(|body| body.ending(exchange))) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(MOST_IDLE)
            .max_buf_size(MOST_BUFFERED)
            .max_header_size(MOST_HEAD)
            .max_headers(MOST_FIELDS)
            .serve_connection(TokioIo::new(socket), service)
    );
    let mut heeded = Stage::Running;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection of a client ended");
                }
                return;
            }
            () = watched.left() => return tracing::debug!("a client has left"),
            () = watched.slow_head(header_timeout) => return tracing::debug!("a head did not come to its end"),
            reached = async { stage.wait_for(|stage| *stage > heeded).await.map(|stage| *stage) } => match reached {
                Ok(Stage::Ended) | Err(_) => return,
                Ok(reached) => {
                    connection.as_mut().graceful_shutdown();
                    heeded = reached;
                }
            },
        }
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
