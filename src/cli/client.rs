//! One conversation with the admin API: the token, the clock, and what can go wrong in words.

use std::cell::RefCell;
use std::error::Error;
use std::io::{self, ErrorKind};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, IF_MATCH};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::args::Common;
use super::connector::{Opener, Untrusted};
use super::failure::{Exit, Failure, plain_io};
use super::token::Token;

/// The most of an answer that is read.
const MOST_READ: usize = 64 << 20;

/// From one look to the next while something is waited for.
pub(super) const POLL: Duration = Duration::from_millis(200);

/// Who looks again and again waits so long for a dualgate that has gone: a restart takes less.
pub(super) const BACK_WITHIN: Duration = Duration::from_secs(10);

/// The admin API as one command sees it.
pub(super) struct Admin {
    base: String,
    token: RefCell<Token>,
    timeout: Duration,
    wait: bool,
    http: Client<Opener, Full<Bytes>>,
}

/// The body of an answer that is a success.
pub(super) struct Answer {
    url: String,
    text: String,
}

impl Answer {
    /// As the admin API wrote it, in one line.
    pub(super) fn line(&self) -> String {
        format!("{}\n", self.text.trim())
    }

    /// As the admin API wrote it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The same answer in another shape.
    pub(super) fn with_text(self, text: String) -> Self {
        Self { text, ..self }
    }

    /// Reads what a command needs of it.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.text).map_err(|error| {
            let failure = Failure::new(Exit::Unexpected, format!("{} does not answer as an admin API does: {error}", self.url));
            failure.with_hint("is this the admin listener, of the same version? (--admin-url, DUALGATE_ADMIN_URL)")
        })
    }
}

/// What a change is sent with.
pub(super) struct Change<'a> {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Value,
    pub(super) common: &'a Common,
}

impl Admin {
    pub(super) fn new(common: &Common) -> Result<Self, Failure> {
        let token = common.token_file.as_deref().map_or_else(|| Ok(Token::look()), Token::named)?;
        Self::with_token(common, token)
    }

    /// For what needs no token, and so must not fail for the lack of one.
    pub(super) fn without_token(common: &Common) -> Result<Self, Failure> {
        Self::with_token(common, Token::Unneeded)
    }

    fn with_token(common: &Common, token: Token) -> Result<Self, Failure> {
        let base = base(&common.admin_url)?;
        let mut connector = HttpConnector::new();
        // Shorter than the whole, so that an address that swallows packets is told from an API that thinks.
        connector.set_connect_timeout(Some((common.timeout() * 4 / 5).min(Duration::from_secs(5))));
        connector.set_nodelay(true);
        Ok(Self {
            base,
            token: RefCell::new(token),
            timeout: common.timeout(),
            wait: common.wait,
            http: Client::builder(TokioExecutor::new()).build(Opener::new(connector, common)?),
        })
    }

    /// Reads something.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.call(&|| self.request(Method::GET, path)).await
    }

    /// Reads something in another form than the usual one.
    pub(super) async fn get_as(&self, path: &str, kind: &str) -> Result<Answer, Failure> {
        self.call(&|| self.request(Method::GET, path).header(ACCEPT, kind)).await
    }

    /// Changes something. A call without an answer may have been heard, and the failure says so.
    pub(super) async fn change(&self, change: &Change<'_>) -> Result<Answer, Failure> {
        let path = if change.common.dry_run { format!("{}?dry_run=true", change.path) } else { change.path.clone() };
        let request = || {
            let mut request = self.request(change.method.clone(), &path).header(CONTENT_TYPE, "application/json");
            if let Some(actor) = change.common.actor() {
                request = request.header("dualgate-actor", actor);
            }
            if let Some(revision) = change.common.if_match {
                request = request.header(IF_MATCH, format!("\"{revision}\""));
            }
            request
        };
        let body = Bytes::from(change.body.to_string());
        self.call_with(&request, &body).await.map_err(|failure| match failure.exit {
            Exit::TimedOut if failure.hint.is_none() => failure.with_hint("the change may have been made: dualgate status"),
            _ => failure,
        })
    }

    /// Whether the process is ready to serve, and what it says.
    pub(super) async fn ready(&self) -> Result<(), Failure> {
        self.get("/health/ready").await.map(|_| ())
    }

    /// Opens the event stream, after the last event that was seen. There is no clock on the stream itself.
    pub(super) async fn events(&self, after: Option<&str>) -> Result<Response<Incoming>, Failure> {
        let mut request = self.request(Method::GET, "/v1/events").header(ACCEPT, "text/event-stream");
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        let answer = self.within(self.send(request, Bytes::new())).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            _ => Err(self.within(self.read(answer)).await.err().unwrap_or_else(|| self.no_stream())),
        }
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let mut token = self.token.borrow_mut();
        if matches!(*token, Token::Nowhere(_)) {
            // A dualgate that is waited for makes its token as it starts.
            *token = Token::look();
        }
        match &*token {
            Token::Found(header, _) => request.header(AUTHORIZATION, header.clone()),
            Token::Nowhere(_) | Token::Unneeded => request,
        }
    }

    async fn call(&self, request: &impl Fn() -> http::request::Builder) -> Result<Answer, Failure> {
        self.call_with(request, &Bytes::new()).await
    }

    /// With `--wait`, an API that cannot be reached yet is tried until it can: nothing was sent, so
    /// that this is safe for changes too. What waiting does not mend is said at once.
    async fn call_with(&self, request: &impl Fn() -> http::request::Builder, body: &Bytes) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let call = async { self.read(self.send(request(), body.clone()).await?).await };
            let answer = timeout_at(deadline, call).await.unwrap_or_else(|_| Err(self.too_late()));
            match answer {
                Err(failure) if self.wait && failure.may_pass && Instant::now() + POLL < deadline => sleep(POLL).await,
                Err(failure) if failure.exit == Exit::Denied && self.finds_a_token_now() => {}
                answer => return answer,
            }
        }
    }

    /// Whether a dualgate that has just started made its token after this side looked for one.
    fn finds_a_token_now(&self) -> bool {
        let mut token = self.token.borrow_mut();
        let had_none = matches!(*token, Token::Nowhere(_));
        if had_none {
            *token = Token::look();
        }
        had_none && matches!(*token, Token::Found(..))
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        timeout(self.timeout, call).await.unwrap_or_else(|_| Err(self.too_late()))
    }

    fn too_late(&self) -> Failure {
        let error =
            format!("no answer from the admin API at {} within {:?} (--timeout, DUALGATE_TIMEOUT)", self.base, self.timeout);
        Failure::new(Exit::TimedOut, error)
    }

    async fn send(&self, request: http::request::Builder, body: Bytes) -> Result<Response<Incoming>, Failure> {
        let request = request.body(Full::new(body)).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        self.http.request(request).await.map_err(|error| match error.is_connect() {
            true => self.unreachable(&error),
            false => self.broken(&error),
        })
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<Answer, Failure> {
        let status = answer.status();
        let is_problem = answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
        let body = Limited::new(answer.into_body(), MOST_READ).collect().await.map_err(|error| self.broken(error.as_ref()))?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        match status {
            status if status.is_success() => Ok(Answer { url: self.base.clone(), text }),
            StatusCode::UNAUTHORIZED => Err(self.token.borrow().refused()),
            // Ours says so, and most others that speak TLS do in words of their own.
            StatusCode::BAD_REQUEST if !is_problem && self.is_plain() && text.to_ascii_lowercase().contains("https") => {
                Err(self.wrong_scheme())
            }
            status => Err(refusal(&self.base, status, &text)),
        }
    }

    fn is_plain(&self) -> bool {
        self.base.starts_with("http:")
    }

    /// What answers speaks the other scheme.
    fn wrong_scheme(&self) -> Failure {
        let ((spoken, other), rest) = match self.base.split_once(':') {
            Some(("https", rest)) => (("https", "http"), rest),
            Some((_, rest)) => (("http", "https"), rest),
            None => (("http", "https"), ""),
        };
        let error = format!("what answers at {} does not speak {spoken}: try {other}:{rest}", self.base);
        let hint = match other {
            "https" => "--admin-url, DUALGATE_ADMIN_URL; roots: --admin-ca FILE (DUALGATE_ADMIN_CA)",
            _ => "--admin-url, DUALGATE_ADMIN_URL",
        };
        Failure::new(Exit::Unreachable, error).with_hint(hint)
    }

    fn unreachable(&self, error: &(dyn Error + 'static)) -> Failure {
        if let Some(untrusted) = innermost(error).downcast_ref::<Untrusted>() {
            if untrusted.speaks_no_tls() {
                return self.wrong_scheme();
            }
            let failure = Failure::new(Exit::Unreachable, format!("no trust in the admin API at {}: {untrusted}", self.base));
            let hint =
                "roots: --admin-ca FILE (DUALGATE_ADMIN_CA); client certificate: --admin-cert, --admin-key; plain: http://";
            return failure.with_hint(hint);
        }
        let error = format!(
            "cannot reach the admin API at {}: {} (is dualgate running? --admin-url, DUALGATE_ADMIN_URL)",
            self.base,
            cause(error)
        );
        // Most likely it is still starting.
        Failure { may_pass: true, ..Failure::new(Exit::Unreachable, error) }
    }

    fn broken(&self, error: &(dyn Error + 'static)) -> Failure {
        // A server of TLS that answers plain HTTP with an alert.
        if self.is_plain() && is_no_http(error) {
            return self.wrong_scheme();
        }
        let failure = Failure::new(Exit::Unexpected, format!("the admin API at {} broke off: {}", self.base, cause(error)));
        failure.with_hint("is this the admin listener? (--admin-url, DUALGATE_ADMIN_URL)")
    }

    fn no_stream(&self) -> Failure {
        Failure::new(Exit::Unexpected, format!("{} does not answer with an event stream", self.base))
    }
}

/// RFC 9457, as far as it is shown.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: Option<String>,
    detail: Option<String>,
    hint: Option<String>,
    /// Not of the RFC: what `/health/ready` has instead of a detail.
    reasons: Vec<String>,
}

/// What an error of the admin API is to the caller.
fn refusal(base: &str, status: StatusCode, text: &str) -> Failure {
    let problem: Problem = serde_json::from_str(text).unwrap_or_default();
    // A value that is not valid is the caller's usage; but a configuration and a plan are things of their own.
    let is_of_file = [":invalid-configuration", ":plan"].iter().any(|kind| problem.kind.ends_with(kind));
    let exit = if is_of_file { Exit::Invalid } else { Exit::of_status(status.as_u16()) };
    let reasons = Some(problem.reasons.join("; ")).filter(|reasons| !reasons.is_empty());
    let Some(error) = problem.detail.or(reasons).or(problem.title) else {
        let failure = Failure::new(exit, format!("{base} answers {status}, and not as an admin API does"));
        return failure.with_hint("is this the admin listener? (--admin-url, DUALGATE_ADMIN_URL)");
    };
    Failure { hint: problem.hint, ..Failure::new(exit, error) }
}

/// `http://host:port` or `https://host:port`, with no slash at its end.
fn base(url: &str) -> Result<String, Failure> {
    let wrong = |what: &str| {
        let failure = Failure::new(Exit::Usage, format!("`{url}` is not the URL of an admin API: {what}"));
        Err(failure.with_hint("--admin-url, DUALGATE_ADMIN_URL; the default is http://127.0.0.1:9900"))
    };
    let Ok(parsed) = url.parse::<Uri>() else { return wrong("write http://host:port") };
    match (parsed.scheme_str(), parsed.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => wrong("the token goes into a file"),
        (Some("http" | "https"), Some(_)) if parsed.query().is_none() => Ok(url.trim_end_matches('/').to_owned()),
        _ => wrong("write http://host:port or https://host:port"),
    }
}

/// A name as one segment of a path.
pub(super) fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The innermost cause, which is the one that names what happened; those around it say where.
fn cause(error: &(dyn Error + 'static)) -> String {
    let innermost = innermost(error);
    match innermost.downcast_ref::<io::Error>() {
        Some(error) if error.kind() == ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        Some(error) if error.kind() == ErrorKind::TimedOut => "no connection in time".to_owned(),
        Some(error) => plain_io(error),
        None => innermost.to_string(),
    }
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost
}

fn is_no_http(error: &(dyn Error + 'static)) -> bool {
    let is_parse = |error: &(dyn Error + 'static)| error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse);
    let mut cause = Some(error);
    while let Some(error) = cause {
        if is_parse(error) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_its_hint() {
        let text = r#"{"type":"stale","status":412,"detail":"revision 6 is not the current one","hint":"look again","current":{"revision":7}}"#;
        let failure = refusal("http://a", StatusCode::PRECONDITION_FAILED, text);
        assert_eq!(failure.exit, Exit::Conflict);
        assert_eq!(failure.errors, ["revision 6 is not the current one"]);
        assert_eq!(failure.hint.as_deref(), Some("look again"));
        let unready =
            refusal("http://a", StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"not-ready","reasons":["a is down","so is b"]}"#);
        assert_eq!(unready.to_string(), "a is down; so is b");
        let foreign = refusal("http://a", StatusCode::BAD_GATEWAY, "<html>");
        assert_eq!(foreign.to_string(), "http://a answers 502 Bad Gateway, and not as an admin API does");
    }

    #[test]
    fn statuses_map_to_exit_codes() {
        let cases = [
            (400, 2),
            (422, 2),
            (401, 6),
            (403, 6),
            (404, 4),
            (409, 5),
            (412, 5),
            (408, 9),
            (504, 9),
            (500, 1),
            (507, 1),
            (503, 1),
        ];
        for (status, code) in cases {
            assert_eq!(Exit::of_status(status) as u8, code, "{status}");
        }
    }

    #[test]
    fn the_admin_url_is_taken_with_and_without_a_slash_and_nothing_else() {
        assert_eq!(base("http://127.0.0.1:9900/").unwrap(), "http://127.0.0.1:9900");
        assert_eq!(base("https://gate:9900/").unwrap(), "https://gate:9900");
        for wrong in ["", "127.0.0.1:9900", "ftp://a", "http://u:p@a", "http://a?b", "http://"] {
            assert_eq!(base(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn a_name_stays_one_segment() {
        assert_eq!(segment("notes-2.x"), "notes-2.x");
        assert_eq!(segment("a/b ?"), "a%2Fb%20%3F");
    }
}
