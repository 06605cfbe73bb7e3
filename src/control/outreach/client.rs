//! One call to somebody outside: a connection of its own, bounded in time and size.
//!
//! Calls are rare, so nothing is kept open between them; redirects are not followed, and no proxy is taken from the
//! environment: who is called is who is configured.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::target::Target;
use crate::config::ClientTls;
use crate::tls::{Connector, Stream};

/// A connection must stand in this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is read of an answer that nobody but people reads.
pub(super) const FEW: usize = 64 << 10;

/// What is read of an answer that a figure is looked for in.
pub(super) const MANY: usize = 1 << 20;

/// The one way outside.
#[derive(Clone, Debug)]
pub struct Client(Arc<Connector>);

/// What is asked.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) target: &'a Target,
    pub(super) headers: Vec<(&'static str, String)>,
    /// JSON; empty: none.
    pub(super) body: Bytes,
    /// All of it must be over in this time.
    pub(super) timeout: Duration,
    /// At most so much of the answer is read.
    pub(super) most: usize,
    /// Whether the body of a success is of interest. Where it is not, the head is all that is waited for.
    pub(super) reads_success: bool,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// `Retry-After`, where it is in seconds.
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
    /// Whether that is all of it.
    pub(super) is_whole: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Silence {
    pub(super) what: String,
    /// Whether it only took too long.
    pub(super) is_late: bool,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// Trusts the system's roots; they are read with the first call over TLS.
    pub fn new() -> Self {
        Self::with(&ClientTls::default())
    }

    /// Trusts whom it is told to.
    pub fn with(tls: &ClientTls) -> Self {
        Self(Connector::new("outreach".to_owned(), tls))
    }

    /// Whoever drops it has ended the connection.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Answer, Silence> {
        let (shown, within) = (call.target.shown.clone(), call.timeout);
        let late = |what: String| Silence { what: format!("{shown}: {what}"), is_late: true };
        match tokio::time::timeout(within, self.exchange(call)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Trouble::Late)) => Err(late(format!("no connection within {CONNECT_TIMEOUT:?}"))),
            Ok(Err(Trouble::Broken(what))) => Err(Silence { what: format!("{shown}: {what}"), is_late: false }),
            Err(_) => Err(late(format!("no answer within {within:?}"))),
        }
    }

    async fn exchange(&self, call: Call<'_>) -> Result<Answer, Trouble> {
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, self.connect(call.target));
        let stream = Box::pin(connecting).await.map_err(|_| Trouble::Late)??;
        let request = request(&call)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            read(response, &call).await
        };
        tokio::pin!(exchange, connection);
        // Side by side and not as a task: what is given up leaves no connection behind.
        let mut is_over = false;
        loop {
            tokio::select! {
                answer = &mut exchange => return answer,
                _ = &mut connection, if !is_over => is_over = true,
            }
        }
    }

    async fn connect(&self, target: &Target) -> Result<Stream, Trouble> {
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        if !target.is_secure {
            return Ok(Stream::Plain(stream));
        }
        // The first call reads the roots, which is a matter of the disk: not on the thread of control.
        let connector = self.0.clone();
        let ready = tokio::task::spawn_blocking(move || connector.ready()).await.map_err(broken)?;
        ready.map_err(broken)?;
        self.0.connect(stream, &target.host).await.map_err(Trouble::Broken)
    }
}

enum Trouble {
    Late,
    Broken(String),
}

fn broken(error: impl std::error::Error) -> Trouble {
    // Where there is a cause, it says more than that something has failed.
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    Trouble::Broken(format!("{error}{cause}"))
}

fn request(call: &Call<'_>) -> Result<Request<Full<Bytes>>, Trouble> {
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(&call.target.path)
        .header(HOST, &call.target.authority)
        .header(USER_AGENT, concat!("dualgate/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close");
    if let Some(authorization) = &call.target.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    if !call.body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    for (name, value) in &call.headers {
        request = request.header(*name, value);
    }
    request.body(Full::new(call.body.clone())).map_err(broken)
}

async fn read(response: Response<Incoming>, call: &Call<'_>) -> Result<Answer, Trouble> {
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let mut answer = Answer { status, retry_after: retry_after.map(Duration::from_secs), body: Bytes::new(), is_whole: false };
    if status.is_success() && !call.reads_success {
        return Ok(answer);
    }
    let (mut body, mut read) = (response.into_body(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let room = call.most - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            answer.body = read.freeze();
            return Ok(answer);
        }
    }
    answer.is_whole = true;
    answer.body = read.freeze();
    Ok(answer)
}

impl Answer {
    /// The beginning of the body in one line, as far as it is text.
    pub(super) fn words(&self) -> String {
        brief(&String::from_utf8_lossy(&self.body))
    }

    /// The status, and what the body has to say.
    pub(super) fn said(&self) -> String {
        let words = self.words();
        if words.is_empty() { format!("answers {}", self.status) } else { format!("answers {}: {words}", self.status) }
    }
}

/// The first 200 characters, in one line.
pub(super) fn brief(text: &str) -> String {
    const MOST: usize = 200;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut brief: String = line.chars().take(MOST).filter(|c| !c.is_control()).collect();
    if line.chars().nth(MOST).is_some() {
        brief.push('…');
    }
    brief
}
