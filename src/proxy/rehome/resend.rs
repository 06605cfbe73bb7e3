//! A call whose outcome nobody knows, and the two things that can be done about it: it is asked again where that does no harm,
//! or its server is told that nobody waits for it any more.

use std::sync::Arc;

use bytes::Bytes;

use super::ask::Within;
use super::compare;
use super::deliver::Delivery;
use super::replay;
use super::resident::Session;
use crate::config::Resend;
use crate::mcp::SessionPin;
use crate::proxy::Worker;
use crate::proxy::asker::Kind;

impl Worker {
    /// Whether a call that was lost on its way may be asked again at all: one call of one tool, where that is configured.
    pub(super) fn may_ask_again(&self, delivery: &Delivery<'_, '_>) -> bool {
        let asker = &delivery.asker;
        delivery.service.config.sessions.resend == Resend::Annotated
            && asker.kind == Kind::Call
            && !asker.is_batch
            && delivery.cargo.is_whole()
            && asker.pending.len() == 1
            && asker.pending[0].tool().is_some()
    }

    /// Whether the tool says of itself that asking twice does no harm (`readOnlyHint`, `idempotentHint`; 2025-03-26, tools), in
    /// the session as it is now.
    pub(super) async fn does_no_harm(&self, session: &Arc<Session>, delivery: &Delivery<'_, '_>) -> bool {
        let Some(tool) = delivery.asker.pending.first().and_then(|request| request.tool()) else { return false };
        let Some(place) = session.place_of(None) else { return false };
        let Some(view) = delivery.service.entries[place.entry].named(&place.endpoint) else { return false };
        let voice = self.voice(&delivery.service, &view.endpoint, &Arc::new(delivery.outgoing.letterhead()));
        let version = session.version();
        let pages = replay::tools(&voice, Within { session: place.upstream.as_deref(), version: &version }).await;
        pages.and_then(|pages| compare::read(&pages)).is_some_and(|catalogue| catalogue.is_repeatable(tool))
    }

    /// Whether the server still has the session where it was, so that it was the connection alone that broke.
    pub(super) async fn is_there(&self, session: &Session, delivery: &Delivery<'_, '_>) -> bool {
        let Some(place) = &delivery.facts.pin else { return false };
        let Some(view) = delivery.service.entries[place.entry].named(&place.endpoint) else { return false };
        let voice = self.voice(&delivery.service, &view.endpoint, &Arc::new(delivery.outgoing.letterhead()));
        let version = session.version();
        replay::knows(&voice, Within { session: place.upstream.as_deref(), version: &version }).await
    }

    /// Tells a server that its answers to these requests are not waited for any more (2024-11-05, cancellation).
    pub(in crate::proxy) fn cancel(&self, session: &Arc<Session>, place: &SessionPin, ids: &[impl AsRef<str>]) {
        for id in ids {
            let body = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{},"reason":"its session has left"}}}}"#,
                id.as_ref()
            );
            self.site.sessions.errands.tell(session.clone(), place.clone(), Bytes::from(body));
        }
    }
}
