//! The admin API: words in, words out. Everything it changes goes through the control mailbox.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tower::{ServiceExt, service_fn};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::outreach::Notifier;
use crate::control::{Audit, Configuration, Handle, Rotation};
use crate::live::Reader;
use crate::proxy::{Load, Site, Stage};
use crate::tls;

mod ask;
mod audit;
mod change;
mod configuration;
mod contract;
mod departures;
mod events;
mod guard;
mod health;
mod idempotency;
mod look;
mod metrics;
mod notify;
mod operate;
mod problem;
mod records;
mod rollout;
mod sessions;
mod wait;
mod who;
mod wire;

/// Bodies of changes are small; more is refused with 413.
const MOST_BODY: usize = 64 << 10;

/// Connections at a time; more wait to be accepted.
const MOST_CONNECTIONS: usize = 1024;

/// Handshakes at a time; more wait. And connections of one address that have not shaken hands; more are closed.
const MOST_HANDSHAKES: usize = 256;
const MOST_HANDSHAKES_OF_ONE: usize = 32;

/// A head must be complete in this time, also the one of a connection that has just been opened:
/// who says nothing takes up a connection no longer.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// A body must be complete in this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that takes no byte of its answer for so long is cut off. Event streams say something
/// every 15 s, so one that nobody reads ends, too.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the faces need.
pub struct Office {
    /// The way to the actor.
    pub control: Handle,
    /// The snapshot.
    pub reader: Reader,
    /// The audit.
    pub audit: Audit,
    /// The bearer token.
    pub token: Token,
    /// Values of `Host` that are ours, lower case.
    pub hosts: Vec<String>,
    /// What traffic shares, for its counts.
    pub site: Arc<Site>,
    /// Connections by worker.
    pub load: Load,
    /// Listeners that speak TLS.
    pub tls: Vec<Arc<tls::Server>>,
    /// The configuration in force.
    pub configuration: Configuration,
    /// Rotates the seal keys.
    pub rotation: Rotation,
    /// Whom to tell.
    pub notifier: Notifier,
    /// Whether the admin listener speaks TLS.
    pub is_secure: bool,
    /// Whether the process is about to stop and should get no new traffic.
    pub leaving: watch::Receiver<bool>,
}

impl Office {
    /// What an operator should know, whatever the service.
    fn warnings(&self) -> Vec<String> {
        [self.audit.warnings(), self.configuration.warnings(), self.notifier.warnings()].concat()
    }
}

pub use guard::Token;

use contract::Contract;
use problem::{Problem, kinds};

/// What needs the token: every route with its schemas, in one table that router and document are made of.
fn guarded() -> OpenApiRouter<Arc<Office>> {
    OpenApiRouter::new()
        .routes(routes!(look::services))
        .routes(routes!(look::service))
        .routes(routes!(look::split, change::set_split))
        .routes(routes!(change::roll_back))
        .routes(routes!(change::deploy))
        .routes(routes!(rollout::show, rollout::start))
        .routes(routes!(rollout::pause))
        .routes(routes!(rollout::resume))
        .routes(routes!(rollout::advance))
        .routes(routes!(rollout::approve))
        .routes(routes!(rollout::promote))
        .routes(routes!(rollout::abort))
        .routes(routes!(rollout::signal))
        .routes(routes!(configuration::show))
        .routes(routes!(configuration::validate))
        .routes(routes!(configuration::reload))
        .routes(routes!(configuration::history))
        .routes(routes!(configuration::generation))
        .routes(routes!(configuration::revert))
        .routes(routes!(sessions::sessions))
        .routes(routes!(sessions::drain))
        .routes(routes!(departures::move_away))
        .routes(routes!(departures::end))
        .routes(routes!(records::records))
        .routes(routes!(records::record))
        .routes(routes!(operate::export_state, operate::import_state))
        .routes(routes!(operate::rotate_keys))
        .routes(routes!(notify::test))
        .routes(routes!(events::events))
        .routes(routes!(audit::entries))
        .routes(routes!(audit::verify))
        .routes(routes!(contract::document))
}

/// What needs no token, and is also on the metrics listener, which may be public.
fn public() -> OpenApiRouter<Arc<Office>> {
    OpenApiRouter::new().routes(routes!(health::alive)).routes(routes!(health::ready)).routes(routes!(metrics::page))
}

/// The admin listener's routes. What needs the token, and the document of it, is made when it is first asked for: megabytes that
/// most processes never need, whose probes and scrapes are all that comes.
pub fn admin_routes(office: Arc<Office>) -> Router {
    let own_host = middleware::from_fn_with_state(office.clone(), guard::want_own_host);
    let (of_guarded, made) = (office.clone(), Arc::new(OnceLock::<Router>::new()));
    let guarded =
        service_fn(move |request: Request| made.get_or_init(|| guarded_routes(of_guarded.clone())).clone().oneshot(request));
    bounded(public().split_for_parts().0.fallback_service(guarded)).layer(own_host).with_state(office)
}

/// What stands around them is named from the inside to the outside.
fn guarded_routes(office: Arc<Office>) -> Router {
    let (guarded, of_guarded) = guarded().split_for_parts();
    let contract = Arc::new(Contract::new(of_guarded, public().into_openapi()));
    let guarded = guarded
        .layer(middleware::from_fn_with_state(Arc::default(), idempotency::once_only))
        .layer(middleware::from_fn_with_state(office.clone(), wait::until_true))
        .layer(middleware::from_fn(whole_body))
        .layer(middleware::from_fn_with_state(contract, contract::hold))
        .layer(middleware::from_fn_with_state(office.clone(), guard::want_token));
    bounded(guarded.fallback(problem::no_such_path)).with_state(office)
}

/// The metrics listener's routes: read-only.
pub fn metrics_routes(office: Arc<Office>) -> Router {
    bounded(public().split_for_parts().0.fallback(problem::no_such_path)).with_state(office)
}

/// With an answer to what cannot be done, and a bound on bodies.
fn bounded(routes: Router<Arc<Office>>) -> Router<Arc<Office>> {
    routes.method_not_allowed_fallback(problem::wrong_method).layer(DefaultBodyLimit::max(MOST_BODY))
}

/// Reads the body before the handler, and not for longer than it should take. It runs inside of the
/// token's guard: nobody's body is waited for who may not call.
async fn whole_body(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let too_large = || Problem::new(kinds::BODY_TOO_LARGE, "at most 64 KiB").into_response();
    if body.size_hint().lower() > MOST_BODY as u64 {
        return too_large();
    }
    let read = Limited::new(body, MOST_BODY).collect();
    let bytes = match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return too_large(),
        Ok(Err(_)) => return Problem::new(kinds::INVALID_BODY, "the body broke off").into_response(),
        Err(_) => {
            let detail = format!("the body was not complete after {BODY_TIMEOUT:?}");
            return Problem::new(kinds::BODY_TOO_SLOW, detail).into_response();
        }
    };
    next.run(Request::from_parts(head, Body::from(bytes))).await
}

/// Serves routes on a listener until the stage ends: over TLS only, where there is a server for it.
pub async fn serve(listener: TcpListener, tls: Option<Arc<tls::Server>>, routes: Router, mut stage: watch::Receiver<Stage>) {
    let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let places = Arc::new(tls::Places::with_most_of_each(MOST_HANDSHAKES, MOST_HANDSHAKES_OF_ONE));
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stage.wait_for(|stage| *stage == Stage::Ended) => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the admin listener");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (tls, places, routes, mut stage) = (tls.clone(), places.clone(), routes.clone(), stage.clone());
        tokio::spawn(async move {
            let served = async {
                match tls {
                    None => serve_connection(stream, address, routes).await,
                    Some(tls) => match tls.accept(stream, address.ip(), &places).await {
                        Ok(stream) => serve_connection(stream, address, routes).await,
                        Err(error) => tracing::debug!(%error, "no TLS with a client of the admin API"),
                    },
                }
            };
            tokio::select! {
                () = served => {}
                _ = stage.wait_for(|stage| *stage == Stage::Ended) => {}
            }
            drop(permit);
        });
    }
}

async fn serve_connection(stream: impl AsyncRead + AsyncWrite, address: SocketAddr, routes: Router) {
    let service = routes.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Caller(address));
        request
    });
    let mut stream = Box::pin(TimeoutStream::new(stream));
    stream.as_mut().set_write_timeout_pinned(Some(WRITE_TIMEOUT));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(2 * MOST_BODY)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection of a client of the admin API ended");
    }
}

/// Who calls; an extension of every request.
#[derive(Clone, Copy, Debug)]
struct Caller(SocketAddr);
