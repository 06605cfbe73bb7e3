//! What comes to a GET stream from one server of its session.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;

use super::ask::{Within, is_event_stream};
use super::letterhead::Letterhead;
use super::replay;
use super::resident::Session;
use crate::domain::rehome::Binding;
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

/// What comes from one server.
pub(super) struct Feed {
    pub(super) at: Binding<SessionPin>,
    pub(super) source: Source,
    pub(super) retag: Option<Retag>,
    pub(super) boundary: Boundary,
    /// Where it is booked; nothing where its endpoint is configured no more.
    pub(super) home: Option<(Arc<Endpoint>, Arc<EntryTally>)>,
    pub(super) _ticket: Option<Ticket>,
}

/// What came of opening a stream at a server.
pub(super) struct Opened {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) tally: Arc<EntryTally>,
    /// None: it has none to give.
    pub(super) stream: Option<(Source, Ticket)>,
}

impl Feed {
    pub(super) fn new(
        at: Binding<SessionPin>,
        source: Source,
        home: Option<(Arc<Endpoint>, Arc<EntryTally>)>,
        ticket: Option<Ticket>,
    ) -> Self {
        let retag = (at.epoch != 0).then(|| Retag::new(at.epoch, Stream::Get));
        Self { at, source, retag, boundary: Boundary::default(), home, _ticket: ticket }
    }

    /// The endpoint that it comes from.
    pub(super) fn endpoint(&self) -> Option<u64> {
        self._ticket.as_ref().map(|ticket| ticket.endpoint().id)
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

/// Opens the stream at a server; nothing where that has none to give.
pub(super) async fn open(worker: &Worker, session: &Session, letterhead: &Arc<Letterhead>, place: &SessionPin) -> Option<Opened> {
    let service = worker.reader.look(|snapshot| snapshot.named(session.service()).cloned())?;
    let view = service.entries[place.entry].named(&place.endpoint)?;
    let (endpoint, tally) = (view.endpoint.clone(), view.tally.clone());
    let voice = worker.voice(&service, &endpoint, letterhead);
    let version = session.version();
    let within = Within { session: place.upstream.as_deref(), version: &version };
    let asked = async {
        let ticket = Ticket::take(&endpoint)?;
        let Reply { head, flow } = voice.listen(within, None).await.ok()?;
        let is_stream = head.status() == StatusCode::OK && is_event_stream(&head) && !is_encoded(&head);
        is_stream.then_some((Source::Wire(flow), ticket))
    };
    let stream = tokio::time::timeout(OPEN_WITHIN, asked).await.ok().flatten();
    Some(Opened { endpoint, tally, stream })
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
