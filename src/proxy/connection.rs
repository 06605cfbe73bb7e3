//! One client connection, from its first byte to its end: TLS where the listener wants it, then
//! HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::{Executor, Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::body::ToClient;
use super::listen::Accepted;
use super::peer::Peer;
use super::rim::{MOST_FIELDS, MOST_HEAD};
use super::socket::{Opening, Raw, Socket, Watched};
use super::{Stage, Worker};
use crate::tls;

/// A bound on an HTTP/1 connection's read buffer.
const MOST_BUFFERED: usize = 64 << 10;

/// A connection without a request is closed after this time. Clients give theirs up after 5 s to 60 s;
/// who closes first decides who meets a request on a closing connection, and that should be they.
const MOST_IDLE: Duration = Duration::from_secs(75);

/// Streams of an HTTP/2 connection at a time (RFC 9113, 5.1.2).
const MOST_STREAMS: u32 = 256;

/// What a client may upload on a stream before somebody has taken it.
const STREAM_WINDOW: u32 = 64 << 10;

/// The same for all streams of a connection, 16 MiB: as much as they may have together. With less, uploads
/// that nobody takes would use it up, and every other request of the connection would wait for them
/// (RFC 9113, 5.2.2 leaves that to the receiver). It is no bound on memory: that is a stream's window for
/// each request in flight, of which `limits.requests` bounds the number over all connections.
const CONNECTION_WINDOW: u32 = MOST_STREAMS * STREAM_WINDOW;

/// What waits on a stream for a client that reads slowly.
const MOST_WAITING: usize = 64 << 10;

/// Streams that a client has reset before they were looked at, and those it makes us reset: more end
/// the connection (CVE-2023-44487, CVE-2025-8671).
const MOST_RESET_EARLY: usize = 20;
const MOST_RESET_FOR_ERRORS: usize = 256;

/// A client with open streams that says nothing is asked this often whether it is there, and has so
/// long to say so.
const PING_EVERY: Duration = Duration::from_secs(30);
const PONG_WITHIN: Duration = Duration::from_secs(20);

/// Serves a connection to its end.
pub(super) async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    let Accepted { stream, address, door } = accepted;
    let stream = match stream.set_nodelay(true).and_then(|()| TcpStream::from_std(stream)) {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "connection lost at once"),
    };
    let connection = Connection {
        peer: Peer::new(address, &door, &worker.site.tuning().limits),
        stage: worker.site.stage.clone(),
        watched: Watched::new(stream),
        worker,
    };
    let raw = connection.watched.raw();
    // Each in a box: an idle connection should not cost what the largest of them needs.
    if let Some(tls) = &door.tls {
        return Box::pin(connection.secure(raw, tls)).await;
    }
    let opening = Box::pin(connection.opening()).await;
    match opening {
        Some(Opening::Http1) => Box::pin(connection.http1(raw)).await,
        Some(Opening::Http2) => Box::pin(connection.http2(raw)).await,
        None => {}
    }
}

struct Connection {
    worker: Rc<Worker>,
    watched: Rc<Watched>,
    peer: Peer,
    stage: watch::Receiver<Stage>,
}

impl Connection {
    /// What the client's first bytes say (RFC 9113, 3.3); nothing where there will be none.
    async fn opening(&self) -> Option<Opening> {
        let mut stage = self.stage.clone();
        tokio::select! {
            biased;
            opening = self.watched.opening(MOST_IDLE, self.worker.site.tuning().limits.header_timeout) => opening,
            _ = stage.wait_for(|stage| *stage >= Stage::Draining) => None,
        }
    }

    async fn secure(self, raw: Raw, tls: &tls::Server) {
        let mut stage = self.stage.clone();
        let shaken = tokio::select! {
            shaken = tls.accept(raw, self.peer.address.ip(), &self.worker.places) => shaken,
            _ = stage.wait_for(|stage| *stage >= Stage::Parting) => return,
        };
        match shaken {
            Err(error) => tracing::debug!(%error, "no TLS with a client"),
            Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => Box::pin(self.http2(stream)).await,
            Ok(stream) => Box::pin(self.http1(stream)).await,
        }
    }

    /// Answers requests, each of them watched from its head to the end of its answer and of its own body.
    fn service(&self) -> impl HttpService<Incoming, ResBody = ToClient, Error = Infallible, Future: 'static> + use<> {
        let (worker, watched, peer) = (self.worker.clone(), self.watched.clone(), self.peer);
        service_fn(move |request: Request<Incoming>| {
            let (worker, exchange) = (worker.clone(), Rc::new(watched.begin()));
            async move {
                let answer: Response<ToClient> = worker.serve(peer, request, exchange.clone()).await;
                Ok::<_, Infallible>(answer.map(|body| body.ending(exchange)))
            }
        })
    }

    async fn http1(mut self, stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
        let header_timeout = self.worker.site.tuning().limits.header_timeout;
        let socket = Socket::new(stream, self.watched.clone());
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(MOST_IDLE)
                .max_buf_size(MOST_BUFFERED)
                .max_header_size(MOST_HEAD)
                .max_headers(MOST_FIELDS)
                .serve_connection(TokioIo::new(socket), self.service())
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
                () = self.watched.left() => return tracing::debug!("a client has left"),
                () = self.watched.slow_head(header_timeout) => return tracing::debug!("a head did not come to its end"),
                reached = beyond(&mut self.stage, heeded) => match reached {
                    Stage::Ended => return,
                    reached => {
                        connection.as_mut().graceful_shutdown();
                        heeded = reached;
                    }
                },
            }
        }
    }

    /// A head that comes slowly is not seen here, as what is read may be of any stream: it ends with
    /// the connection, which without a stream is idle, and with one answers no ping.
    async fn http2(mut self, stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
        let mut connection = pin!(http2_connection(TokioIo::new(stream), self.service()));
        let mut heeded = Stage::Running;
        let mut leaving = false;
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "connection of a client ended");
                    }
                    return;
                }
                () = self.watched.left() => return tracing::debug!("a client has left"),
                // It has been asked to leave, and had the time of a head to say that it has heard.
                () = self.watched.idle(MOST_IDLE + self.worker.site.tuning().limits.header_timeout), if leaving => return,
                () = self.watched.idle(MOST_IDLE), if !leaving => {
                    connection.as_mut().graceful_shutdown();
                    leaving = true;
                }
                reached = beyond(&mut self.stage, heeded) => match reached {
                    Stage::Ended => return,
                    reached => {
                        connection.as_mut().graceful_shutdown();
                        heeded = reached;
                    }
                },
            }
        }
    }
}

fn http2_connection<S, I>(io: I, service: S) -> http2::Connection<I, S, Local>
where
    S: HttpService<Incoming, ResBody = ToClient, Error = Infallible, Future: 'static>,
    I: Read + Write + Unpin,
{
    http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(MOST_WAITING)
        .max_header_list_size(MOST_HEAD as u32)
        .max_pending_accept_reset_streams(MOST_RESET_EARLY)
        .max_local_error_reset_streams(MOST_RESET_FOR_ERRORS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .serve_connection(io, service)
}

/// The stage, once it is beyond this one.
async fn beyond(stage: &mut watch::Receiver<Stage>, heeded: Stage) -> Stage {
    // Without a sender the process is at its end.
    stage.wait_for(|stage| *stage > heeded).await.map_or(Stage::Ended, |stage| *stage)
}

/// Streams run on the worker that has their connection.
#[derive(Clone, Copy)]
struct Local;

impl<F: Future<Output: 'static> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
