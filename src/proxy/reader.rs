//! Requests of HTTP/1.1, read by hyper: its parser, its limits, its defence against smuggling.
//!
//! A request that is whole is taken out of it, and hyper with its buffers is dropped. That is sound at this one
//! place: no answer to it has begun, and no end of another one waits to be written (an expectation is not taken out,
//! since `100 Continue` might), and what hyper has read beyond the request comes along.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{EXPECT, TRANSFER_ENCODING};
use http::{Method, Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::asker::Asker;
use super::bell::Woken;
use super::body::Written;
use super::connection::{Connection, MOST_IDLE, beyond};
use super::forward::Admitted;
use super::line::{Line, Replayed};
use super::peek::Came;
use super::rim::{MOST_FIELDS, MOST_HEAD};
use super::socket::{Socket, Watched};
use super::{Stage, boxed};
use crate::upstream::desk::READ;

/// A bound on an HTTP/1 connection's read buffer, which grows where all of it was filled: six of [`READ`], so that what is read at a time
/// and written on is a whole number of what goes to a server on the same machine as one piece. With two thirds of this, an upload
/// cost a tenth more, as what hyper does for each part is dearer than what reading little at a time spares.
const MOST_BUFFERED: usize = 6 * READ;

/// A request that is whole, and the connection that it came over.
pub(super) struct Taken<S> {
    pub(super) line: Line<S>,
    pub(super) admitted: Admitted,
    pub(super) asker: Box<Asker>,
}

/// Where a service leaves what is to be taken.
type Slot = Rc<RefCell<Option<(Admitted, Box<Asker>)>>>;

/// Reads with hyper until a request is taken, or to the end of the connection.
pub(super) async fn take<S>(connection: &Connection, line: Line<S>) -> Option<Taken<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let slot = Slot::default();
    let watched = &connection.watched;
    watched.head_begins();
    let socket = Socket::new(line.replayed(), watched.clone());
    let hyper = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(MOST_BUFFERED)
        .max_header_size(MOST_HEAD)
        .max_headers(MOST_FIELDS)
        .serve_connection(TokioIo::new(socket), service(connection, &slot));
    let mut reading = Reading { hyper, slot };
    // Nearly every request is here, and nothing need be set up for those that are not.
    let (admitted, asker) = match poll_fn(|context| Poll::Ready(reading.poll(context))).await {
        Poll::Ready(taken) => taken?,
        Poll::Pending => boxed(|| reading.slowly(connection)).await?,
    };
    let parts = reading.hyper.into_parts();
    let line = Line::back(parts.io.into_inner().into_inner(), parts.read_buf, watched.clone());
    Some(Taken { line, admitted, asker })
}

/// What can come beside what hyper reads.
enum Between {
    /// The connection is over, for this reason.
    Over(&'static str),
    /// The process is that far.
    Reached(Stage),
}

async fn between(watched: &Watched, stage: &mut watch::Receiver<Stage>, heeded: Stage, header_timeout: Duration) -> Between {
    tokio::select! {
        biased;
        () = watched.left() => Between::Over("a client has left"),
        () = watched.slow_head(header_timeout) => Between::Over("a head did not come to its end"),
        // Between two requests of which hyper has kept the first.
        () = watched.quiet(MOST_IDLE) => Between::Over("it was idle"),
        reached = beyond(stage, heeded) => Between::Reached(reached),
    }
}

/// hyper, reading.
struct Reading<S: AsyncRead + AsyncWrite + Unpin, H: HttpService<Incoming>> {
    hyper: http1::Connection<TokioIo<Socket<Replayed<S>>>, H>,
    slot: Slot,
}

impl<S, H> Reading<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: HttpService<Incoming, ResBody = Written, Error = Infallible>,
{
    /// A request; nothing at the end of the connection.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<(Admitted, Box<Asker>)>> {
        let polled = Pin::new(&mut self.hyper).poll(context);
        if let Some(taken) = self.slot.borrow_mut().take() {
            return Poll::Ready(Some(taken));
        }
        polled.map(|result| {
            if let Err(error) = result {
                tracing::debug!(%error, "connection of a client ended");
            }
            None
        })
    }

    /// The same, with all that can come between.
    async fn slowly(&mut self, connection: &Connection) -> Option<(Admitted, Box<Asker>)> {
        let Connection { watched, worker, .. } = connection;
        let header_timeout = worker.tuned(|tuning| tuning.limits.header_timeout);
        let mut stage = connection.stage.clone();
        let mut heeded = Stage::Running;
        loop {
            let came = {
                let between = pin!(between(watched, &mut stage, heeded, header_timeout));
                let mut between = Woken::new(between);
                tokio::select! {
                    biased;
                    taken = poll_fn(|context| self.poll(context)) => return taken,
                    came = &mut between => came,
                }
            };
            match came {
                Between::Over(why) => {
                    tracing::debug!("the end of a connection: {why}");
                    return None;
                }
                Between::Reached(Stage::Ended) => return None,
                Between::Reached(reached) => {
                    Pin::new(&mut self.hyper).graceful_shutdown();
                    heeded = reached;
                }
            }
        }
    }
}

/// Leaves what can be taken in the slot, and answers the rest; each is watched from its head to the end of its
/// answer and of its own body.
fn service(
    connection: &Connection,
    slot: &Slot,
) -> impl HttpService<Incoming, ResBody = Written, Error = Infallible, Future: 'static> + use<> {
    let (worker, watched, peer) = (connection.worker.clone(), connection.watched.clone(), connection.peer.clone());
    let slot = slot.clone();
    service_fn(move |request: Request<Incoming>| {
        let (worker, watched, peer, slot) = (worker.clone(), watched.clone(), peer.clone(), slot.clone());
        let exchange = Rc::new(watched.begin());
        Woken::new(Box::pin(async move {
            let mut asker = Box::<Asker>::default();
            let (parts, body) = request.into_parts();
            let mut admitted = match worker.admit(&peer, Rc::new(parts.into()), Came::Running(body), &mut asker).await {
                Ok(admitted) if can_be_taken(&admitted) && !watched.is_behind() => {
                    *slot.borrow_mut() = Some((admitted, asker));
                    return std::future::pending().await;
                }
                other => other,
            };
            let post = Rc::new(worker.vigil.post());
            let answer = boxed(|| worker.serve(&peer, admitted.as_mut(), (Some(exchange.clone()), post), &mut asker)).await;
            Ok::<_, Infallible>(answer.into_response(&worker.wire, exchange))
        }))
    })
}

/// Whether an answer to it can be written here. Of a coding nobody can tell whether a length stood beside it: hyper takes
/// that away, remembers it, and closes the connection after the answer (RFC 9112, 6.1).
fn can_be_taken(admitted: &Admitted) -> bool {
    let head = admitted.head();
    let is_common = head.version == Version::HTTP_11 && head.method != Method::HEAD;
    is_common && ![EXPECT, TRANSFER_ENCODING].iter().any(|name| head.headers.contains(name)) && admitted.is_whole()
}
