//! One client connection, from its first byte to its end: TLS where the listener wants it, then
//! HTTP/1.1 or HTTP/2.
//!
//! Of HTTP/1.1, hyper reads the requests, and is let go of when one is whole: the answer is written here, and an idle
//! connection or a quiet stream is a socket and nothing more. What is rare it keeps to the end: uploads that stream,
//! HEAD, HTTP/1.0, expectations, and what is refused before it was read.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::rt::{Executor, Read, Write};
use hyper::server::conn::http2;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::asker::Asker;
use super::body::{Answer, Written};
use super::line::{Line, Opening};
use super::listen::Door;
use super::peek::Came;
use super::peer::Peer;
use super::reader::{self, Taken};
use super::rim::MOST_HEAD;
use super::socket::{Raw, Watched};
use super::stalls::{Order, Served};
use super::vigil::{Heed, Post};
use super::writer::{Unfinished, Writer};
use super::{Stage, Worker, boxed, doze, headers};
use crate::http1::{self, Coming, Plain};
use crate::tls;

/// A connection without a request is closed after this time. Clients give theirs up after 5 s to 60 s;
/// who closes first decides who meets a request on a closing connection, and that should be they.
pub(super) const MOST_IDLE: Duration = Duration::from_secs(75);

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

/// Serves a connection to its end, of which some may have been read; then lets go of what says that it is open. An `async fn` would
/// keep all that it is given beside where it puts that, for as long as the connection is idle.
pub(super) fn serve(
    worker: Rc<Worker>,
    mut line: Line<Raw>,
    address: SocketAddr,
    (door, open): (Arc<Door>, impl Sized),
) -> impl Future<Output = ()> {
    let (peer, header_timeout) =
        { worker.tuned(|tuning| (Peer::new(address, &door, &tuning.limits), tuning.limits.header_timeout)) };
    let connection = Connection {
        peer: Rc::new(peer),
        stage: worker.site.stage.clone(),
        watched: line.watched.clone(),
        post: Rc::new(worker.vigil.post()),
        worker,
    };
    // Each in a box: an idle connection should not cost what the largest of them needs.
    async move {
        if let Some(tls) = &door.tls {
            doze::noticed(boxed(|| connection.secure(line.stream, tls))).await;
        } else {
            match line.opening(&connection.worker, &connection.post, header_timeout).await {
                Some(Opening::Http1) => doze::noticed(boxed(|| connection.http1(line))).await,
                Some(Opening::Http2) => doze::noticed(boxed(|| connection.http2(line.replayed()))).await,
                None => {}
            }
        }
        drop(open);
    }
}

/// A request on its way to an answer.
enum Serving<'a> {
    Whole(Served),
    Taken(Pin<Box<dyn Future<Output = Answer> + 'a>>),
}

impl Serving<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Answer> {
        match self {
            Self::Whole(served) => served.poll(context),
            Self::Taken(serving) => serving.as_mut().poll(context),
        }
    }
}

/// A client, as its requests are served.
pub(super) struct Connection {
    pub(super) worker: Rc<Worker>,
    pub(super) watched: Rc<Watched>,
    pub(super) peer: Rc<Peer>,
    pub(super) stage: watch::Receiver<Stage>,
    /// For what an idle connection waits for.
    post: Rc<Post>,
}

impl Connection {
    async fn secure(self, raw: Raw, tls: &tls::Server) {
        let mut stage = self.stage.clone();
        let shaken = tokio::select! {
            shaken = tls.accept(raw, self.peer.address.ip(), &self.worker.places) => shaken,
            _ = stage.wait_for(|stage| *stage >= Stage::Parting) => return,
        };
        match shaken {
            Err(error) => tracing::debug!(%error, "no TLS with a client"),
            Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => boxed(|| self.http2(stream)).await,
            Ok(stream) => {
                let line = Line::new(stream, self.watched.clone());
                boxed(|| self.http1(line)).await
            }
        }
    }

    /// One request after the other.
    async fn http1<S: AsyncRead + AsyncWrite + Unpin>(self, mut line: Line<S>) {
        let mut is_first = true;
        loop {
            if line.early.is_empty() {
                let due = Some(self.worker.vigil.now() + MOST_IDLE);
                self.post.heed(Heed { due, ..Heed::stage(Stage::Draining) });
                if line.fill(&self.worker, &self.post).await.is_none() {
                    return;
                }
            }
            let mut coming = http1::plain(&line.early, MOST_HEAD, &self.worker.targets);
            if std::mem::take(&mut is_first) && !matches!(coming, Coming::Whole(_)) {
                self.watched.wants_more();
            }
            if let Coming::Short(length) = coming
                && line.gather(&self.worker, &self.post, length).await
            {
                coming = http1::plain(&line.early, MOST_HEAD, &self.worker.targets);
            }
            self.post.rest();
            let (closes, serving) = match coming {
                Coming::Whole(Plain { head, body }) => {
                    let body = line.take(body);
                    let closes = headers::says_close(&head.headers);
                    let (worker, peer, post) = (self.worker.clone(), self.peer.clone(), self.post.clone());
                    (closes, Serving::Whole(Served::begin(Order { worker, peer, head, body, post })))
                }
                Coming::Short(_) | Coming::Other => {
                    let Some(Taken { line: back, admitted, asker }) = boxed(|| reader::take(&self, line)).await else {
                        return;
                    };
                    line = back;
                    let closes = headers::says_close(&admitted.head().headers);
                    let serving = boxed(|| self.worker.serve_taken(&self.peer, admitted, asker, self.post.clone()));
                    (closes, Serving::Taken(serving))
                }
            };
            if !self.answer(&mut line, serving, closes).await {
                return;
            }
        }
    }

    /// Whether the connection can go on after it.
    async fn answer<S>(&self, line: &mut Line<S>, mut serving: Serving<'_>, mut closes: bool) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let worker = &self.worker;
        let answer = poll_fn(|context| match serving.poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => line.poll_gone(worker, context).map(|()| None),
        })
        .await;
        drop(serving);
        let Some(answer) = answer else {
            tracing::debug!("a client has left");
            return false;
        };
        closes |= answer.head.get("connection").is_some() || worker.vigil.stage() >= Stage::Draining;
        let desk = worker.wire.desk();
        let is_stream = answer.body.is_stream();
        if is_stream {
            // It may last for hours, and nothing else is asked on this connection meanwhile.
            self.peer.forget();
        }
        let mut writer = Writer::new(answer, closes.then(|| self.watched.clone()), worker);
        let written = poll_fn(|context| {
            if is_stream && !writer.has_given_way() {
                writer.look_ahead();
                line.look_ahead();
            }
            match writer.poll(context, &mut line.stream, desk) {
                Poll::Ready(written) => Poll::Ready(Some(written)),
                // What was read is written, also to a client that has just shut down its own direction.
                Poll::Pending if writer.has_given_way() => Poll::Pending,
                Poll::Pending => line.poll_gone(worker, context).map(|()| None),
            }
        })
        .await;
        match written {
            Some(Ok(())) if !closes => true,
            Some(Ok(())) => {
                // Whoever waits for the end of the connection has it.
                let _ = poll_fn(|context| Pin::new(&mut line.stream).poll_shutdown(context)).await;
                false
            }
            Some(Err(Unfinished::Client(error))) => {
                tracing::debug!(%error, "connection of a client ended");
                false
            }
            Some(Err(Unfinished::Cut)) => false,
            None => {
                tracing::debug!("a client has left");
                false
            }
        }
    }

    /// Answers requests, each of them watched from its head to the end of its answer and of its own body.
    fn service(&self) -> impl HttpService<Incoming, ResBody = Written, Error = Infallible, Future: 'static> + use<> {
        let (worker, watched, peer) = (self.worker.clone(), self.watched.clone(), self.peer.clone());
        service_fn(move |request: Request<Incoming>| {
            let (worker, peer, exchange) = (worker.clone(), peer.clone(), Rc::new(watched.begin()));
            async move {
                let mut asker = Asker::default();
                let (parts, body) = request.into_parts();
                let mut admitted = worker.admit(&peer, Rc::new(parts.into()), Came::Running(body), &mut asker).await;
                let post = Rc::new(worker.vigil.post());
                let answer = boxed(|| worker.serve(&peer, admitted.as_mut(), (Some(exchange.clone()), post), &mut asker)).await;
                let mut response = answer.into_response(&worker.wire, exchange);
                // What ends a connection of HTTP/1 is for one stream here (RFC 9113, 8.2.2).
                response.headers_mut().remove(http::header::CONNECTION);
                Ok::<_, Infallible>(response)
            }
        })
    }

    /// A head that comes slowly is not seen here, as what is read may be of any stream: it ends with
    /// the connection, which without a stream is idle, and with one answers no ping.
    async fn http2(mut self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut connection = std::pin::pin!(http2_connection(TokioIo::new(stream), self.service()));
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
                () = self.watched.idle(MOST_IDLE + self.worker.tuned(|tuning| tuning.limits.header_timeout)), if leaving => return,
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
    S: HttpService<Incoming, ResBody = Written, Error = Infallible, Future: 'static>,
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
pub(super) async fn beyond(stage: &mut watch::Receiver<Stage>, heeded: Stage) -> Stage {
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
