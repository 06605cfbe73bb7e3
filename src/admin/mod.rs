//! The admin API: words in, words out. Everything it changes goes through the control mailbox.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post, put};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use crate::control::{Audit, Handle};
use crate::live::Reader;
use crate::proxy::{Load, Site, Stage};

mod change;
mod events;
mod guard;
mod health;
mod look;
mod metrics;
mod problem;
mod wire;

/// Bodies of changes are small; more is refused with 413.
const MOST_BODY: usize = 64 << 10;

/// Connections at a time; more wait to be accepted.
const MOST_CONNECTIONS: usize = 1024;

const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// Whether the process is about to stop and should get no new traffic.
    pub leaving: watch::Receiver<bool>,
}

pub use guard::Token;

/// The admin listener's routes.
pub fn admin_routes(office: Arc<Office>) -> Router {
    let guarded = Router::new()
        .route("/v1/services", get(look::services))
        .route("/v1/services/{service}", get(look::service))
        .route("/v1/services/{service}/split", get(look::split).put(change::set_split))
        .route("/v1/services/{service}/rollback", post(change::roll_back))
        .route("/v1/services/{service}/entries/{entry}", put(change::deploy))
        .route("/v1/events", get(events::events))
        .route("/v1/audit", get(look::audit))
        .layer(middleware::from_fn_with_state(office.clone(), guard::want_token));
    guarded
        .merge(public_routes(office.clone()))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .layer(middleware::from_fn_with_state(office.clone(), guard::want_own_host))
        .with_state(office)
}

/// What needs no token, and is also on the metrics listener, which may be public.
pub fn public_routes(office: Arc<Office>) -> Router<Arc<Office>> {
    Router::new()
        .route("/health", get(health::alive))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(metrics::page))
        .with_state(office)
}

/// The metrics listener's routes: read-only.
pub fn metrics_routes(office: Arc<Office>) -> Router {
    public_routes(office.clone())
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::wrong_method)
        .with_state(office)
}

/// Serves routes on a listener until the stage ends.
pub async fn serve(listener: TcpListener, routes: Router, mut stage: watch::Receiver<Stage>) {
    let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
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
        let routes = routes.clone();
        let mut stage = stage.clone();
        tokio::spawn(async move {
            let service = routes.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
                request.extensions_mut().insert(Caller(address));
                request
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(2 * MOST_BODY)
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
            tokio::select! {
                _ = connection => {}
                _ = stage.wait_for(|stage| *stage == Stage::Ended) => {}
            }
            drop(permit);
        });
    }
}

/// Who calls; an extension of every request.
#[derive(Clone, Copy, Debug)]
struct Caller(SocketAddr);

impl Caller {
    fn name(self) -> String {
        format!("token@{}", self.0.ip())
    }
}
