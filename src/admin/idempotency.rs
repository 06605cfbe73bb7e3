//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a request that is sent again is not
//! done again; its answer is.
//!
//! Kept in memory: a restart forgets, and there `If-Match` is what holds.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::ask::{collected, once};
use super::problem::{Problem, kinds};
use super::wait::Awaited;

/// An answer is remembered for so long, unless there are too many after it.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// Answers that are remembered, and their bytes; beyond either, the oldest is forgotten.
const MOST_ANSWERS: usize = 4096;
const MOST_BYTES: usize = 8 << 20;

/// Requests with a key at a time; more are refused.
const MOST_RUNNING: usize = 1024;

/// A second request waits so long for the first one's answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Room for a UUID, and for a sentence.
const LONGEST_KEY: usize = 255;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What is remembered.
#[derive(Default)]
pub(super) struct Memory(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    by_key: HashMap<String, Slot>,
    /// The keys of answers, oldest first, with when they were given.
    oldest: VecDeque<(Instant, String)>,
    bytes: usize,
}

struct Slot {
    /// What was asked with the key.
    asked: [u8; 32],
    state: Progress,
}

enum Progress {
    /// Ends, without a word, when there is an answer or there will be none.
    Running(watch::Receiver<()>),
    Answered(Arc<Answer>),
}

/// An answer, to be given again.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    awaited: Option<Awaited>,
}

/// What a key means for a request.
enum Claim {
    /// It is the first.
    First(Running),
    /// The first is being answered.
    Wait(watch::Receiver<()>),
    /// It was answered so.
    Replay(Arc<Answer>),
    /// It was something else that was asked.
    Reused,
    /// Too many run.
    Full,
}

/// A key that is being answered. When it is dropped without an answer, the next is the first.
struct Running {
    memory: Arc<Memory>,
    key: String,
    _ends: watch::Sender<()>,
}

/// Stands around every change.
pub(super) async fn once_only(State(memory): State<Arc<Memory>>, request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::POST | Method::PUT) {
        return next.run(request).await;
    }
    match key(request.headers()) {
        // On its own: a change whose client leaves in the middle is carried out whole, and told to the audit.
        Ok(None) => match tokio::spawn(next.run(request)).await {
            Ok(answer) => answer,
            Err(error) => Problem::new(kinds::UNEXPECTED, error.to_string()).into_response(),
        },
        Ok(Some(key)) => with_key(&memory, key, request, next).await.unwrap_or_else(IntoResponse::into_response),
        Err(problem) => problem.into_response(),
    }
}

async fn with_key(memory: &Arc<Memory>, key: String, request: Request, next: Next) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let body = collected(body).await?;
    let uri = head.uri.to_string();
    let request = [head.method.as_str().as_bytes(), uri.as_bytes(), &body];
    // No condition is another request than an empty one, which is malformed.
    let asked = fingerprint(request.into_iter().chain(head.headers.get_all(header::IF_MATCH).iter().map(HeaderValue::as_bytes)));
    let deadline = Instant::now() + PATIENCE;
    let running = loop {
        match memory.claim(&key, asked) {
            Claim::First(running) => break running,
            Claim::Replay(answer) => return Ok(answer.again()),
            Claim::Wait(mut ends) => {
                if timeout_at(deadline, ends.changed()).await.is_err() {
                    let detail = format!("the first request with this key was not answered within {PATIENCE:?}");
                    return Err(Problem::new(kinds::KEY_IN_USE, detail).hint("ask again later, with the same key"));
                }
            }
            Claim::Reused => {
                let detail = "this key came with another method, path, condition or body before";
                return Err(Problem::new(kinds::KEY_REUSED, detail).hint("a key of its own for every change"));
            }
            Claim::Full => {
                let detail = format!("{MOST_RUNNING} requests with keys run already: this one was not begun");
                return Err(Problem::new(kinds::BUSY, detail));
            }
        }
    };
    // On its own, so that it is carried out and remembered though its client leaves: such clients ask again.
    let request = Request::from_parts(head, Body::from(body));
    let answered = tokio::spawn(async move { running.answer(next.run(request).await).await }).await;
    answered.map_err(|error| Problem::new(kinds::UNEXPECTED, error.to_string()))
}

/// The key: a structured field's string (RFC 8941, 3.3.3), or the bare word that many clients send.
fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let wrong =
        |what: &str| Problem::new(kinds::IDEMPOTENCY_KEY, what).hint("Idempotency-Key: \"8e03978e-40d5-43dd-bc93-6894a57f9324\"");
    let text = once(headers, &KEY).map_err(|()| wrong("it is there twice, or not ASCII"))?;
    let Some(text) = text else { return Ok(None) };
    let inside = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or_else(|| wrong("the quotes do not match"))?,
        None => text,
    };
    let is_plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\' && c != ',';
    if inside.is_empty() || inside.len() > LONGEST_KEY || !inside.chars().all(is_plain) {
        return Err(wrong("it is 1 to 255 visible ASCII characters without quotes, commas and backslashes"));
    }
    Ok(Some(inside.to_owned()))
}

/// Each part with its length, so that no two requests run into one.
fn fingerprint<'a>(parts: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

impl Memory {
    fn claim(self: &Arc<Self>, key: &str, asked: [u8; 32]) -> Claim {
        let mut inside = self.lock();
        inside.forget(Instant::now());
        match inside.by_key.get(key) {
            Some(slot) if slot.asked != asked => return Claim::Reused,
            Some(Slot { state: Progress::Running(ends), .. }) => return Claim::Wait(ends.clone()),
            Some(Slot { state: Progress::Answered(answer), .. }) => return Claim::Replay(answer.clone()),
            None if inside.by_key.len() - inside.oldest.len() >= MOST_RUNNING => return Claim::Full,
            None => {}
        }
        let (ends, ended) = watch::channel(());
        inside.by_key.insert(key.to_owned(), Slot { asked, state: Progress::Running(ended) });
        Claim::First(Running { memory: self.clone(), key: key.to_owned(), _ends: ends })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// What is too old, and then what is too much.
    fn forget(&mut self, now: Instant) {
        while let Some((given, _)) = self.oldest.front() {
            let is_too_much = self.oldest.len() > MOST_ANSWERS || self.bytes > MOST_BYTES;
            if !is_too_much && now.duration_since(*given) < REMEMBERED {
                return;
            }
            let Some((_, key)) = self.oldest.pop_front() else { return };
            if let Some(Slot { state: Progress::Answered(answer), .. }) = self.by_key.remove(&key) {
                self.bytes -= answer.size(&key);
            }
        }
    }
}

impl Running {
    /// Remembers the answer, if it is one for good.
    async fn answer(self, response: Response) -> Response {
        let (head, body) = response.into_parts();
        let Ok(body) = body.collect().await else {
            return Problem::new(kinds::UNEXPECTED, "the answer was lost").into_response();
        };
        let (body, status) = (body.to_bytes(), head.status);
        let is_for_good =
            !status.is_server_error() && ![StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
        if is_for_good {
            let awaited = head.extensions.get().cloned();
            let answer = Arc::new(Answer { status, headers: head.headers.clone(), body: body.clone(), awaited });
            let mut inside = self.memory.lock();
            inside.bytes += answer.size(&self.key);
            inside.oldest.push_back((Instant::now(), self.key.clone()));
            if let Some(slot) = inside.by_key.get_mut(&self.key) {
                slot.state = Progress::Answered(answer);
            }
            inside.forget(Instant::now());
        }
        Response::from_parts(head, Body::from(body))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut inside = self.memory.lock();
        if matches!(inside.by_key.get(&self.key), Some(Slot { state: Progress::Running(_), .. })) {
            inside.by_key.remove(&self.key);
        }
    }
}

impl Answer {
    /// With the key twice, and about so much for the rest.
    fn size(&self, key: &str) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        512 + 2 * key.len() + headers + self.body.len()
    }

    fn again(&self) -> Response {
        let mut response = (self.status, self.headers.clone(), self.body.clone()).into_response();
        *response.headers_mut() = self.headers.clone();
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        if let Some(awaited) = &self.awaited {
            response.extensions_mut().insert(awaited.clone());
        }
        response
    }
}

#[cfg(test)]
mod tests;
