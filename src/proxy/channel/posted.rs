//! The POSTs' side of a channel.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderValue, StatusCode, Uri};
use tokio::time::Instant;

use super::{Channel, Claim, Sent};
use crate::domain::{Asked, Blame, Outcome};
use crate::live::ServiceView;
use crate::mcp::cancelled;
use crate::mcp::scan::id_hash;
use crate::proxy::Site;
use crate::proxy::asker::{Asker, Kind};
use crate::proxy::books::Books;
use crate::proxy::error::ProxyError;
use crate::proxy::facts::Facts;
use crate::proxy::pending::{Pending, Requests};
use crate::proxy::rehome::Session;
use crate::telemetry::trace::Trace;

/// The query parameter that carries the sealed endpoint URI.
pub(super) const PARAMETER: &str = "dualgate";

/// A message posted to an HTTP+SSE session.
#[derive(Default)]
pub(in crate::proxy) struct Posted {
    channel: Option<Arc<Channel>>,
    claim: Option<Claim>,
    is_claimed: bool,
    /// What else the client put into the query.
    others: Box<str>,
}

/// The sealed token of a request to an HTTP+SSE session.
pub(in crate::proxy) fn token(uri: &Uri) -> Option<&str> {
    parameters(uri).find_map(own)
}

/// Opens the token of a request: where it goes is written there, and nowhere else.
pub(in crate::proxy) fn open(
    token: &str,
    uri: &Uri,
    body: Option<&[u8]>,
    service: &ServiceView,
    site: &Site,
    facts: &mut Facts,
    asker: &mut Asker,
) -> Result<(), ProxyError> {
    let unknown = || {
        service.tally.unknown_ids.fetch_add(1, Ordering::Relaxed);
        ProxyError::UnknownSession
    };
    let is_one = parameters(uri).filter_map(own).count() == 1;
    let pin = site.keys.open_uri(&service.config.name, token.as_bytes()).filter(|_| is_one).ok_or_else(unknown)?;
    let session = Rc::new(HeaderValue::from_str(token).map_err(|_| unknown())?);
    let others: Vec<&str> = parameters(uri).filter(|one| own(one).is_none()).collect();
    let posted = Posted { channel: site.channels.find(token), others: others.join("&").into(), ..Posted::default() };
    facts.target = Some(Box::new(posted.target(pin.upstream.as_deref().unwrap_or("/")).ok_or_else(unknown)?));
    facts.asked = Asked::Pinned(pin.entry);
    facts.unread = false;
    facts.session = Some(session.clone());
    asker.entry = Some(pin.entry);
    asker.session = Some(session);
    if let Some(id) = body.filter(|_| asker.kind == Kind::Message).and_then(cancelled) {
        let view = &service.entries[pin.entry];
        let endpoint = view.named(&pin.endpoint).map(|named| &*named.endpoint);
        posted.cancel(id, Books { tally: view.tally_at(endpoint), endpoint, witness: None, client: None });
    }
    asker.posted = Some(Box::new(posted));
    facts.pin = Some(pin);
    Ok(())
}

impl Posted {
    /// A server's URI, with whatever else the client put into the query.
    pub(in crate::proxy) fn target(&self, upstream: &str) -> Option<Uri> {
        let joint = if upstream.contains('?') { "&" } else { "?" };
        let others = &self.others;
        let target = if others.is_empty() { upstream.to_owned() } else { format!("{upstream}{joint}{others}") };
        target.parse().ok()
    }

    /// Hands the requests to the channel, before anything is forwarded.
    pub(in crate::proxy) fn claim(&mut self, requests: &mut Requests, begun: Instant, trace: Option<&Trace>) {
        self.claim = self.channel.as_ref().and_then(|channel| channel.claim(requests, begun, trace));
        self.is_claimed = self.claim.is_some();
    }

    /// The client gives up one of its requests (`notifications/cancelled`): servers may, or may not,
    /// answer it still.
    fn cancel(&self, id: &str, books: Books<'_>) {
        let hash = id_hash(id);
        let due = self.channel.as_ref().filter(|_| hash.is_some()).and_then(|channel| channel.take(hash));
        if let Some(due) = due {
            due.book(books, Outcome::Failed(Blame::Client), false);
            // A server that has been left may have nothing more to do.
            drop(due);
            self.channel.iter().for_each(|channel| channel.stir());
        }
    }

    /// The server has answered the POST. With 2xx the requests wait on the channel; with anything else
    /// they have failed, and those that still wait come back.
    pub(in crate::proxy) fn settle(&mut self, status: StatusCode, requests: &mut Requests) {
        match self.claim.take() {
            Some(claim) if status.is_success() => claim.leave(),
            Some(claim) => *requests = claim.take_back(),
            None => {}
        }
    }

    /// The POST has failed: its requests come back, but for those that were answered or given up on the
    /// channel.
    pub(in crate::proxy) fn take_back(&mut self, requests: &mut Requests) {
        if let Some(claim) = self.claim.take() {
            *requests = claim.take_back();
        }
    }

    /// The channel, where its session may be moved.
    pub(in crate::proxy) fn moving(&self) -> Option<(Arc<Channel>, Arc<Session>)> {
        let channel = self.channel.as_ref()?;
        Some((channel.clone(), channel.session()?.clone()))
    }

    /// The requests are about to be sent there.
    pub(in crate::proxy) fn send(&self, sent: &Sent) {
        self.claim.iter().for_each(|claim| claim.send(sent));
    }

    /// Whether requests were handed to the channel, so that without one left the exchange is not to be
    /// booked.
    pub(in crate::proxy) fn is_claimed(&self) -> bool {
        self.is_claimed
    }

    /// Says on the channel what became of the requests, where somebody reads it. Whether the POST can
    /// be answered as accepted.
    pub(in crate::proxy) fn tell(&self, requests: &[Pending], error: &ProxyError) -> bool {
        let Some(channel) = self.channel.as_ref().filter(|_| self.is_claimed) else { return false };
        requests.is_empty() || channel.say(requests, &error.to_string())
    }
}

fn parameters(uri: &Uri) -> impl Iterator<Item = &str> {
    uri.query().unwrap_or_default().split('&').filter(|one| !one.is_empty())
}

fn own(parameter: &str) -> Option<&str> {
    parameter.strip_prefix(PARAMETER)?.strip_prefix('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_found_in_any_query_and_the_rest_of_it_goes_on() {
        let target = |upstream: &str, uri: &'static str| {
            let uri = Uri::from_static(uri);
            let others: Vec<&str> = parameters(&uri).filter(|one| own(one).is_none()).collect();
            Posted { others: others.join("&").into(), ..Posted::default() }.target(upstream).unwrap().to_string()
        };
        let with = |uri: &'static str| (token(&Uri::from_static(uri)).map(str::to_owned), target("/m?id=1", uri));
        assert_eq!(with("/sse?dualgate=t"), (Some("t".to_owned()), "/m?id=1".to_owned()));
        assert_eq!(with("/sse?a=1&dualgate=t&b"), (Some("t".to_owned()), "/m?id=1&a=1&b".to_owned()));
        assert_eq!(with("/sse?dualgates=t&xdualgate=u&dualgate").0, None);
        assert_eq!(target("/m", "/sse?dualgate=t&a=1"), "/m?a=1");
    }
}
