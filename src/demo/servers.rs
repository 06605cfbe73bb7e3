//! Real MCP servers in this process: two for the demo, and any number for tests.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::notes::Notes;
pub use super::notes::{Counts, Record, Version};

/// Where a server speaks MCP; every other path is 404.
pub const PATH: &str = "/mcp";

/// Between two tries to accept after an error like "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The two servers of the demo. Dropping it stops them.
pub struct Servers {
    /// Where the primary is: version 1.4.2.
    pub primary: SocketAddr,
    /// Where the secondary is: version 1.5.0.
    pub secondary: SocketAddr,
    /// The primary itself.
    pub v1: Server,
    /// The secondary itself.
    pub v2: Server,
}

/// Starts both servers on free ports of the loopback address.
pub async fn start() -> io::Result<Servers> {
    let v1 = serve(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?, Version::V1)?;
    let v2 = serve(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?, Version::V2)?;
    Ok(Servers { primary: v1.address(), secondary: v2.address(), v1, v2 })
}

/// A running server. Dropping it stops it.
pub struct Server {
    address: SocketAddr,
    version: Version,
    counts: Arc<Counts>,
    sessions: Arc<LocalSessionManager>,
    task: JoinHandle<()>,
}

type Service = StreamableHttpService<Notes, LocalSessionManager>;
type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Serves one version of notes on a bound listener. To be called within a tokio runtime.
pub fn serve(listener: TcpListener, version: Version) -> io::Result<Server> {
    let address = listener.local_addr()?;
    let counts = Arc::new(Counts::default());
    let sessions = Arc::new(LocalSessionManager::default());
    let notes = Notes::new(version, counts.clone());
    // rmcp's default config: sessions, event streams, and a Host that must be a loopback name.
    let config = StreamableHttpServerConfig::default();
    let cancel_sessions = config.cancellation_token.clone().drop_guard();
    let service = StreamableHttpService::new(move || Ok(notes.clone()), sessions.clone(), config);
    let task = tokio::spawn(async move {
        // rmcp runs each session as a task of its own, which would outlive the connections.
        let _cancel_sessions = cancel_sessions;
        accept(listener, service).await;
    });
    Ok(Server { address, version, counts, sessions, task })
}

impl Server {
    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where clients find it, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// What it serves.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What it did; may be kept after the server has stopped.
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// Sessions begun and not yet ended.
    pub async fn live_sessions(&self) -> usize {
        self.sessions.sessions.read().await.len()
    }

    /// Stops it the hard way: connections, streams and sessions break off, as when the process is
    /// killed. On return the port is closed, and can be bound again.
    pub async fn stop(mut self) {
        self.task.abort();
        // An error here is the abort itself.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, service: Service) {
    // Its drop ends every connection; with detached tasks they would outlive the server.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, service.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the notes server cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, service: Service) {
    // Small events one by one: waiting to fill a segment would hold each back by a delayed ACK.
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(%error, "connection lost at once");
    }
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(answer(&service, request).await) }
    });
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection to the notes server ended");
    }
}

async fn answer(service: &Service, request: Request<Incoming>) -> Answer {
    if request.uri().path() == PATH {
        return service.handle(request).await;
    }
    let mut response = Response::new(Full::new(Bytes::from_static(b"MCP is at /mcp\n")).boxed());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
