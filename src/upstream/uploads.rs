//! Connections for requests whose body is still on its way: hyper's, since an answer may come before the
//! upload is through, and both go on beside each other. A request goes in, an answer and a lease of its
//! connection come out, or the trouble says how far the request got.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::connect;
use super::endpoint::Endpoint;
use super::socket::{Line, Socket};

/// A parked connection is not used again after this time: SDK servers close idle ones after 5 s,
/// and one that is just being closed loses the request.
const IDLE: Duration = Duration::from_secs(4);

/// Parked connections per endpoint and worker; more are closed.
const MOST_PARKED: usize = 256;

/// Bound on a read buffer, and on what waits to be written before no more of an upload is taken: a part of one is larger, most often, so
/// that only one waits.
const MOST_BUFFERED: usize = 128 << 10;

/// Bound on the head of an answer.
const MOST_HEAD: usize = 64 << 10;

/// The connections of one worker.
pub struct Uploads<B> {
    parked: RefCell<HashMap<u64, Vec<Parked<B>>>>,
}

struct Parked<B> {
    connection: Connection<B>,
    since: Instant,
}

/// An answer, and the connection that it is still coming over.
pub struct Begun<B> {
    /// Head and running body.
    pub response: Response<Incoming>,
    /// To be given back when the body has ended well.
    pub lease: Lease<B>,
}

/// A connection in use. Dropped without being given back, it is closed at once, which is how an endpoint
/// learns that a client has left.
pub struct Lease<B> {
    uploads: Rc<Uploads<B>>,
    endpoint: u64,
    /// None once it has been given back.
    connection: Option<Connection<B>>,
}

struct Connection<B> {
    sender: SendRequest<B>,
    line: Rc<Line>,
    /// What reads and writes it. Without a sender it ends by itself, but not while it waits for an
    /// endpoint that takes no more of an upload.
    task: AbortHandle,
}

/// Why there is no answer, by how far the request got.
#[derive(Debug)]
pub enum UploadTrouble<B> {
    /// No byte of the request left: it may go elsewhere. The request comes back.
    Unsent(Box<Request<B>>, String),
    /// Some of it may have been read and acted upon.
    Lost(hyper::Error),
}

impl<B> Uploads<B>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// No connections yet.
    pub fn new() -> Rc<Self> {
        Rc::new(Self { parked: RefCell::default() })
    }

    /// Sends a request over a parked connection or a new one. A parked one that turns out dead
    /// before a byte was written costs nothing but the next try.
    pub async fn send(
        self: &Rc<Self>,
        endpoint: &Arc<Endpoint>,
        mut request: Request<B>,
        connect_timeout: Duration,
    ) -> Result<Begun<B>, UploadTrouble<B>> {
        loop {
            let (connection, reused) = match self.unpark(endpoint.id) {
                Some(connection) => (connection, true),
                None => match open(endpoint, connect_timeout).await {
                    Ok(connection) => (connection, false),
                    Err(cause) => return Err(UploadTrouble::Unsent(Box::new(request), cause)),
                },
            };
            // A lease from here on: who asks may leave before there is an answer.
            let mut lease = Lease { uploads: self.clone(), endpoint: endpoint.id, connection: Some(connection) };
            match lease.ask(request).await {
                Ok(response) => return Ok(Begun { response, lease }),
                Err(UploadTrouble::Unsent(unsent, _)) if reused => request = *unsent,
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Closes connections that have been idle for too long; to be called every second or so.
    pub fn sweep(&self) {
        self.parked.borrow_mut().retain(|_, parked| {
            let over = parked.extract_if(.., |one| one.connection.is_dead() || one.since.elapsed() >= IDLE);
            over.for_each(|one| one.connection.close());
            !parked.is_empty()
        });
    }

    /// The connection parked last that is alive and ready; the last one is the least likely to be
    /// closed by the endpoint just now.
    fn unpark(&self, endpoint: u64) -> Option<Connection<B>> {
        let mut parked = self.parked.borrow_mut();
        let parked = parked.get_mut(&endpoint)?;
        let mut at = parked.len();
        while at > 0 {
            at -= 1;
            let one = &parked[at];
            if one.connection.is_dead() || one.since.elapsed() >= IDLE {
                parked.swap_remove(at).connection.close();
            } else if one.connection.sender.is_ready() {
                return Some(parked.swap_remove(at).connection);
            }
        }
        None
    }
}

impl<B> Lease<B>
where
    B: Body + 'static,
{
    async fn ask(&mut self, request: Request<B>) -> Result<Response<Incoming>, UploadTrouble<B>> {
        let Some(connection) = &mut self.connection else {
            return Err(UploadTrouble::Unsent(Box::new(request), "the connection was given back".to_owned()));
        };
        connection.sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
            Some(unsent) => UploadTrouble::Unsent(Box::new(unsent), error.into_error().to_string()),
            None => UploadTrouble::Lost(error.into_error()),
        })
    }

    /// The answer has ended well before the upload has: an endpoint that takes the rest may have it, since a
    /// client that is cut off in the middle of it may not read the answer. Once
    /// it is `stalled` it is closed. It carries no other request after that.
    pub fn wind_up(mut self, stalled: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(async move {
            let Some(connection) = &mut self.connection else { return };
            tokio::select! {
                // It is through or lost, and ends by itself.
                _ = poll_fn(|context| connection.sender.poll_ready(context)) => drop(self.connection.take()),
                () = stalled => {}
            }
        });
    }
}

impl<B> Lease<B> {
    /// The answer has ended well: the connection may carry the next request.
    pub fn give_back(mut self) {
        let Some(connection) = self.connection.take_if(|connection| !connection.is_dead()) else { return };
        let mut parked = self.uploads.parked.borrow_mut();
        let parked = parked.entry(self.endpoint).or_default();
        if parked.len() < MOST_PARKED {
            parked.push(Parked { connection, since: Instant::now() });
        } else {
            connection.close();
        }
    }
}

impl<B> Drop for Lease<B> {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.task.abort();
        }
    }
}

impl<B> Connection<B> {
    /// Nobody needs it any more; nor the end of an upload that still waits to be written.
    fn close(self) {
        if !self.sender.is_ready() {
            self.task.abort();
        }
    }

    fn is_dead(&self) -> bool {
        self.sender.is_closed() || self.line.broken.get()
    }
}

async fn open<B>(endpoint: &Endpoint, within: Duration) -> Result<Connection<B>, String>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = match tokio::time::timeout(within, connect::connect(endpoint)).await {
        Err(_) => return Err(format!("no connection within {within:?}")),
        Ok(Err(cause)) => return Err(cause),
        Ok(Ok(stream)) => stream,
    };
    let line = Rc::new(Line::default());
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MOST_BUFFERED)
        .max_header_size(MOST_HEAD)
        .handshake(TokioIo::new(Socket::new(stream, line.clone())))
        .await
        .map_err(|error| error.to_string())?;
    let task = tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to endpoint ended");
        }
    });
    let task = task.abort_handle();
    poll_fn(|context| sender.poll_ready(context)).await.map_err(|error| error.to_string())?;
    Ok(Connection { sender, line, task })
}
