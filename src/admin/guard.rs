//! Who may call: our own host names, no foreign origin, and the bearer of the token.

use std::sync::Arc;

use aws_lc_rs::{constant_time, digest};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::{Problem, kinds};
use super::{Caller, Office, who};
use crate::control::Denied;

/// The bearer token, hashed: the text itself is not kept in memory.
pub struct Token(digest::Digest);

impl Token {
    /// From its text.
    pub fn new(text: &str) -> Self {
        Self(sha256(text.trim().as_bytes()))
    }

    /// Compares in constant time, whatever the length of what is offered.
    fn is(&self, offered: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(self.0.as_ref(), sha256(offered).as_ref()).is_ok()
    }
}

fn sha256(bytes: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, bytes)
}

/// Lets only the bearer of the token through.
pub(super) async fn want_token(State(office): State<Arc<Office>>, request: Request, next: Next) -> Response {
    match bearer(request.headers()) {
        Some(offered) if office.token.is(offered) => next.run(request).await,
        offered => {
            let detail = if offered.is_some() { "the bearer token is not the right one" } else { "a bearer token is needed" };
            let problem = Problem::new(kinds::NO_VALID_TOKEN, detail).hint(
                "Authorization: Bearer TOKEN; the token is in admin.token_file, else in `admin-token` in the state directory",
            );
            deny(&office, &request, problem)
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Keeps web pages out: a name rebound to our address has another Host (421), and a page of another
/// origin says so (403).
pub(super) async fn want_own_host(State(office): State<Arc<Office>>, request: Request, next: Next) -> Response {
    match foreign(&office, request.headers()) {
        Some(problem) => deny(&office, &request, problem),
        None => next.run(request).await,
    }
}

fn foreign(office: &Office, headers: &HeaderMap) -> Option<Problem> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_ascii_lowercase);
    // Which of two is meant, the next reader of the request may see otherwise (RFC 9112, 3.2).
    if headers.get_all(header::HOST).iter().count() > 1 {
        let detail = "the request has more than one Host field";
        return Some(Problem::new(kinds::TWO_HOSTS, detail));
    }
    let host = text(header::HOST).unwrap_or_default();
    if !office.hosts.contains(&host) {
        let detail = format!("Host `{host}` is not one of this listener's");
        let problem = Problem::new(kinds::WRONG_HOST, detail);
        return Some(problem.hint("use 127.0.0.1 or localhost with the port, or add the name to admin.allowed_hosts"));
    }
    let scheme = if office.is_secure { "https" } else { "http" };
    if headers.contains_key(header::ORIGIN) && text(header::ORIGIN) != Some(format!("{scheme}://{host}")) {
        let detail = "pages of other origins may not call";
        return Some(Problem::new(kinds::WRONG_ORIGIN, detail));
    }
    None
}

/// A denied attempt is on the record.
fn deny(office: &Office, request: &Request, problem: Problem) -> Response {
    let address = request.extensions().get::<Caller>().map(|caller| caller.0.ip().to_string());
    let (method, path, status) = (request.method().as_str(), request.uri().path(), problem.status().as_u16());
    let (actor, why) = (who::claimed(request.headers()), problem.slug());
    office.audit.deny(&Denied { actor, address, method, path, why, status });
    problem.into_response()
}
