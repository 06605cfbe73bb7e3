//! The check of a server that speaks HTTP+SSE alone (2024-11-05): its handshake is answered on the
//! stream of a GET, which ends with the check, and the session with it.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{Initialized, MOST_READ, Prober, first_answer, handshake, is_event_stream};
use crate::mcp::endpoint::{Found, Opening, resolve};

/// Where such servers are found by custom, if not at the configured path.
const USUAL: &str = "/sse";

impl Prober {
    /// For a server that takes no POST where later revisions do; `why` is what it said.
    pub(super) async fn initialize_over_sse(&self, why: String) -> Result<Initialized, String> {
        let path = self.health.path.as_str();
        // A stream that says nothing must not cost the whole check: this server has answered already.
        let shake = async {
            match self.shake(path).await {
                None if path != USUAL => self.shake(USUAL).await,
                found => found,
            }
        };
        let found = tokio::time::timeout(self.health.timeout / 2, shake).await.ok().flatten();
        Ok(found.unwrap_or(Initialized::Absent(why)))
    }

    /// The handshake over a stream at this path; nothing where there is none.
    async fn shake(&self, path: &str) -> Option<Initialized> {
        let answer = self.send_to(path, Method::GET, &[], Bytes::new()).await.ok()?;
        if answer.status() != StatusCode::OK || !is_event_stream(&answer) {
            return None;
        }
        let (mut stream, mut opening) = (answer.into_body(), Opening::default());
        let endpoint = loop {
            match opening.feed(&next(&mut stream).await?) {
                Found::Nothing(_) => {}
                Found::Endpoint(event) => break event,
                Found::Other(_) | Found::TooLong => return None,
            }
        };
        let target = resolve(&endpoint.reference, &self.endpoint.authority.to_string(), path).ok()?;
        // Some servers accept the POST only when they have said the answer: both are waited for.
        let post = async { self.send_to(&target, Method::POST, &[], handshake()).await.ok().map(|answer| answer.status()) };
        let (status, message) = tokio::join!(post, async {
            let mut text = BytesMut::from(&endpoint.with("")[..]);
            while text.len() <= MOST_READ {
                if let Some(message) = first_answer(&text) {
                    return serde_json::from_str(&message).ok();
                }
                text.extend_from_slice(&next(&mut stream).await?);
            }
            None
        });
        status.filter(|status| status.is_success())?;
        Some(match Initialized::of(&message?) {
            Initialized::Serves(detail) => Initialized::Serves(format!("{detail} over HTTP+SSE")),
            other => other,
        })
    }
}

async fn next(stream: &mut Incoming) -> Option<Bytes> {
    stream.frame().await?.ok().map(|frame| frame.into_data().unwrap_or_default())
}
