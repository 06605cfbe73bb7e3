//! What comes to a GET stream from one server of its session.

use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;

use super::ask::Within;
use super::letterhead::Letterhead;
use super::replay;
use super::resident::Session;
use crate::domain::rehome::Binding;
use crate::domain::{Departure, Eviction};
use crate::http1::Head;
use crate::live::ServiceView;
use crate::mcp::SessionPin;
use crate::mcp::event_id::Stream;
use crate::mcp::retag::Retag;
use crate::mcp::sse::Boundary;
use crate::proxy::Worker;
use crate::proxy::body::{Next, Piece};
use crate::proxy::headers::is_encoded;
use crate::proxy::source::Source;
use crate::upstream::{Endpoint, EntryTally, Reply, Ticket};

/// The new stream is opened within so long, or the session goes on without it.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// Who a stream is booked at; nothing where its endpoint is configured no more.
pub(super) type Home = Option<(Arc<Endpoint>, Arc<EntryTally>)>;

/// What comes from one server.
pub(super) struct Feed {
    pub(super) at: Binding<SessionPin>,
    pub(super) source: Source,
    /// Nothing comes, but would if it were asked for.
    pub(super) is_mute: bool,
    pub(super) retag: Option<Retag>,
    pub(super) boundary: Boundary,
    /// Where it is booked.
    pub(super) home: Home,
    pub(super) _ticket: Option<Ticket>,
}

/// What came of opening a stream at a server.
pub(super) struct Opened {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) tally: Arc<EntryTally>,
    pub(super) gave: Gave,
}

/// What a server gave that was asked for a stream.
pub(super) enum Gave {
    Stream(Source, Ticket),
    /// It has none to give.
    Nothing,
    /// It may give one yet: it says so, or was not asked.
    NotNow,
    /// It did not answer, or does not know the session.
    Gone,
}

impl Feed {
    pub(super) fn new(at: Binding<SessionPin>, source: Source, home: Home, ticket: Option<Ticket>) -> Self {
        let retag = (at.epoch != 0).then(|| Retag::new(at.epoch, Stream::Get));
        Self { at, source, is_mute: false, retag, boundary: Boundary::default(), home, _ticket: ticket }
    }

    /// The endpoint that it comes from.
    pub(super) fn endpoint(&self) -> Option<u64> {
        let known = self.home.as_ref().map(|(endpoint, _)| endpoint.id);
        known.or_else(|| self._ticket.as_ref().map(|ticket| ticket.endpoint().id))
    }

    /// Reads here and there in what the next event needs.
    pub(super) fn look_ahead(&self) {
        black_box((self.at.epoch, self.retag.is_some(), self.boundary.is_between_events()));
        self.source.look_ahead();
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Next> {
        loop {
            let piece = match ready!(self.source.poll(context, buffer)) {
                Some(Ok(piece)) => piece,
                other => return Poll::Ready(other),
            };
            let piece = match &mut self.retag {
                None => piece,
                Some(retag) => {
                    let mut out = Vec::new();
                    retag.feed(piece.of(buffer), &mut out);
                    if out.is_empty() {
                        continue;
                    }
                    Piece::Apart(out.into())
                }
            };
            self.boundary.feed(piece.of(buffer));
            return Poll::Ready(Some(Ok(piece)));
        }
    }
}

/// Opens the stream at a server, or only says who that is; nothing where it is configured no more.
pub(super) async fn open(
    worker: &Worker,
    session: &Session,
    letterhead: &Arc<Letterhead>,
    place: &SessionPin,
    asks: bool,
) -> Option<Opened> {
    let service = worker.reader.named(session.service())?;
    let view = service.entries[place.entry].named(&place.endpoint)?;
    let (endpoint, tally) = (view.endpoint.clone(), view.tally.clone());
    if !asks {
        return Some(Opened { endpoint, tally, gave: Gave::NotNow });
    }
    let voice = worker.voice(&service, &endpoint, letterhead);
    let version = session.version();
    let within = Within { session: place.upstream.as_deref(), version: &version };
    let asked = async {
        let Some(ticket) = Ticket::take(&endpoint) else { return Gave::NotNow };
        match voice.listen(within, None).await {
            Ok(Reply { head, flow }) => Gave::of(&head, Source::Wire(flow), ticket),
            Err(_) => Gave::Gone,
        }
    };
    let gave = tokio::time::timeout(OPEN_WITHIN, asked).await.unwrap_or(Gave::Gone);
    Some(Opened { endpoint, tally, gave })
}

impl Gave {
    /// What an answer means. 405 is a server that offers no stream (2025-11-25, Transports, Listening for Messages from the
    /// Server); 409 is what SDK servers say that believe in another stream of the session, which may be one that is about to go.
    fn of(head: &Head, source: Source, ticket: Ticket) -> Self {
        match head.status() {
            StatusCode::OK if head.is_event_stream() && !is_encoded(head) => Self::Stream(source, ticket),
            // By either it may mean something else: it is asked (2025-03-26, session management, rules 3 and 4).
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Self::Gone,
            // Another request may bring a credential that is taken.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::NotNow,
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Self::NotNow
            }
            status if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => Self::NotNow,
            _ => Self::Nothing,
        }
    }
}

/// Whether checks of its endpoint get no answer.
pub(super) fn is_silent(service: &ServiceView, place: &SessionPin) -> bool {
    service.entries[place.entry].named(&place.endpoint).is_some_and(|view| *view.endpoint.silent.borrow())
}

/// Whether the server still has the session, so that it has ended the stream alone.
pub(super) async fn is_well(
    worker: &Worker,
    service: &ServiceView,
    session: &Session,
    letterhead: &Arc<Letterhead>,
    place: &SessionPin,
) -> bool {
    let Some(view) = service.entries[place.entry].named(&place.endpoint) else { return false };
    let voice = worker.voice(service, &view.endpoint, letterhead);
    let version = session.version();
    replay::knows(&voice, Within { session: place.upstream.as_deref(), version: &version }).await
}

/// A session may not be moved for the eviction that it was to follow: nor is it tried with its next request. Who is ended then
/// is told so by that.
pub(super) fn note_refused(service: &ServiceView, session: &Session, place: &SessionPin) {
    if let Some(Eviction { how: Departure::Moves { or_ends: false, .. }, before_revision, .. }) = service.evictions[place.entry] {
        session.state().note_stays(before_revision);
    }
}
