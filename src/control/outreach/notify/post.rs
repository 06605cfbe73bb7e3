//! One try to deliver one notice to one sink.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use super::super::client::{Answer, Call, Client, FEW, Silence};
use super::super::sign;
use super::super::target::Target;
use super::{Parcel, shape};
use crate::config::{Hidden, Sink, SinkKind, SinkUrl};
use crate::telemetry::clock::since_epoch;

/// Why a try did not succeed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) what: String,
    /// Whether another try would end the same way.
    pub(super) is_final: bool,
    /// Whether it only took too long.
    pub(super) is_late: bool,
    /// When the sink wants to hear of it again.
    pub(super) retry_after: Option<Duration>,
}

/// What a sink's files say at the moment.
struct Material {
    target: Target,
    /// The routing key, or the secret that signs; empty where there is none.
    key: String,
}

/// Delivers, or says why not. Bounded by the sink's timeout.
pub(super) async fn deliver(client: &Client, sink: &Sink, parcel: &Parcel) -> Result<(), Failure> {
    send(client, sink, &parcel.id, |key| shape::body(&sink.kind, parcel, key)).await
}

/// The same, for a notice that is a test; what it opens is closed again.
pub(super) async fn test(client: &Client, sink: &Sink, parcel: &Parcel) -> Result<(), Failure> {
    deliver(client, sink, parcel).await?;
    match sink.kind {
        SinkKind::PagerDuty { .. } => send(client, sink, &format!("{}-over", parcel.id), shape::test_is_over).await,
        SinkKind::Generic { .. } | SinkKind::Slack => Ok(()),
    }
}

async fn send(client: &Client, sink: &Sink, id: &str, body: impl FnOnce(&str) -> Value) -> Result<(), Failure> {
    let deadline = Instant::now() + sink.timeout;
    let read = tokio::time::timeout_at(deadline, Material::read(sink)).await;
    let late = || Failure::passing(format!("its files could not be read within {:?}", sink.timeout), true);
    let Material { target, key } = read.map_err(|_| late())?.map_err(|what| Failure::passing(what, false))?;
    let body = body(&key).to_string();
    let mut headers = vec![("dualgate-delivery", id.to_owned()), ("idempotency-key", format!("\"{id}\""))];
    if matches!(sink.kind, SinkKind::Generic { secret_file: Some(_) }) {
        // The time is that of this try: who checks it refuses what is old.
        headers.push((sign::HEADER, sign::signature(key.as_bytes(), since_epoch().as_secs(), body.as_bytes())));
    }
    let call = Call {
        method: Method::POST,
        target: &target,
        headers,
        body: Bytes::from(body),
        timeout: deadline.saturating_duration_since(Instant::now()),
        most: FEW,
        reads_success: false,
    };
    match client.call(call).await {
        Ok(answer) if answer.status.is_success() => Ok(()),
        Ok(answer) => Err(Failure::of_answer(&target, &answer)),
        Err(Silence { what, is_late }) => Err(Failure::passing(what, is_late)),
    }
}

impl Material {
    async fn read(sink: &Sink) -> Result<Self, String> {
        let target = match &sink.url {
            SinkUrl::Written(Hidden(url)) => Target::hook(url)?,
            SinkUrl::File(path) => {
                let url = sign::read(path).await?;
                Target::hook(&url).map_err(|what| format!("{}: {what}", path.display()))?
            }
        };
        let key = match &sink.kind {
            SinkKind::PagerDuty { routing_key_file: path } | SinkKind::Generic { secret_file: Some(path) } => {
                sign::read(path).await?
            }
            SinkKind::Generic { secret_file: None } | SinkKind::Slack => String::new(),
        };
        Ok(Self { target, key })
    }
}

impl Failure {
    /// What may be otherwise the next time: also a file, which somebody may put right.
    fn passing(what: String, is_late: bool) -> Self {
        Self { what, is_final: false, is_late, retry_after: None }
    }

    /// A status of 4xx says that this request is wrong, but for those that ask to come again (RFC 9110, RFC 8470,
    /// RFC 6585); a redirect is not followed, so that the next try would meet it again.
    fn of_answer(target: &Target, answer: &Answer) -> Self {
        let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        let is_final = (answer.status.is_client_error() && !again.contains(&answer.status)) || answer.status.is_redirection();
        let hint = if answer.status.is_redirection() { " (redirects are not followed)" } else { "" };
        let what = format!("{}: {}{hint}", target.shown, answer.said());
        Self { what, is_final, is_late: false, retry_after: answer.retry_after }
    }
}
