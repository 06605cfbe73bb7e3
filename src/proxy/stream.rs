//! What a running event stream needs beside its bytes: comments while it is quiet, and last words
//! that its client survives.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::Stage;
use super::error::ProxyError;
use super::ledger::Ledger;
use super::table::{self, Case, Phase, Said, Transport};
use crate::mcp::sse::{Boundary, KEEP_ALIVE};
use crate::mcp::words;
use crate::upstream::{StreamGuard, StreamKind};

/// The state of an open event stream.
pub(super) struct EventStream {
    boundary: Boundary,
    quiet: Option<Quiet>,
    case: Case,
    ending: Pin<Box<dyn Future<Output = Saying>>>,
    open: StreamGuard,
}

struct Quiet {
    interval: Duration,
    last: Instant,
    alarm: Pin<Box<Sleep>>,
}

/// What a stream has to say for itself.
pub(super) enum Saying {
    /// A comment, to keep it alive.
    Comment(Bytes),
    /// The process is stopping: last words, and then the end.
    Parting,
    /// The endpoint answers no checks any more: the same.
    Silent,
}

impl EventStream {
    /// A stream that begins now. `interval` of zero sends no comments; into an encoded stream nothing
    /// of ours is written at all.
    pub(super) fn new(
        case: Case,
        is_encoded: bool,
        interval: Duration,
        stage: watch::Receiver<Stage>,
        mut silent: watch::Receiver<bool>,
        open: StreamGuard,
    ) -> Self {
        let quiet = (!interval.is_zero() && !is_encoded).then(|| Quiet {
            interval,
            last: Instant::now(),
            alarm: Box::pin(tokio::time::sleep(interval)),
        });
        let mut stage = stage;
        let ends_with_silence = table::said(case, Phase::Silent, false) != Said::On;
        let ending = Box::pin(async move {
            // An error means that the sender is gone, and the process with it.
            let parting = async { stage.wait_for(|stage| *stage >= Stage::Parting).await.is_ok() };
            let silent = async {
                match silent.wait_for(|silent| *silent && ends_with_silence).await {
                    Ok(_) => {}
                    // The endpoint is configured no more; its stream may go on.
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = parting => Saying::Parting,
                () = silent => Saying::Silent,
            }
        });
        Self { boundary: Boundary::default(), quiet, case, ending, open }
    }

    /// What kind of stream it is.
    pub(super) fn kind(&self) -> StreamKind {
        self.open.kind()
    }

    /// Takes note of bytes that pass.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.boundary.feed(bytes);
        if let Some(quiet) = &mut self.quiet {
            quiet.last = Instant::now();
        }
    }

    /// Whether a whole event may go in now.
    pub(super) fn is_between_events(&self) -> bool {
        self.boundary.is_between_events()
    }

    /// Something of its own, when it is time for that.
    pub(super) fn poll_saying(&mut self, context: &mut Context<'_>) -> Poll<Saying> {
        if let Poll::Ready(saying) = self.ending.as_mut().poll(context) {
            return Poll::Ready(saying);
        }
        let Some(quiet) = &mut self.quiet else { return Poll::Pending };
        while quiet.alarm.as_mut().poll(context).is_ready() {
            // The alarm is not moved with every event: that would cost more than the event.
            let quiet_for = quiet.last.elapsed();
            if quiet_for < quiet.interval {
                let due = quiet.last + quiet.interval;
                quiet.alarm.as_mut().reset(due);
                continue;
            }
            quiet.last = Instant::now();
            let due = quiet.last + quiet.interval;
            quiet.alarm.as_mut().reset(due);
            if self.boundary.is_between_events() {
                return Poll::Ready(Saying::Comment(Bytes::from_static(KEEP_ALIVE)));
            }
        }
        Poll::Pending
    }

    /// What ends the stream, as the table has it; an error where it is to look cut.
    pub(super) fn last_words(&self, ledger: &Ledger, phase: Phase, error: &ProxyError) -> Result<Bytes, LooksCut> {
        // As its server would leave it.
        let bare = if phase == Phase::Broken { Err(LooksCut) } else { Ok(Bytes::new()) };
        let transport = if ledger.channel().is_some() { Transport::HttpSse } else { Transport::Streamable };
        let case = Case { transport, ..self.case };
        let events = match (table::said(case, phase, ledger.can_be_resumed()), ledger.channel()) {
            (Said::Cut, _) => return Err(LooksCut),
            (Said::ErrorEvents | Said::ErrorEventsAndOn, Some(channel)) => channel.last_words(&error.to_string()),
            (Said::ErrorEvents, None) if ledger.knows_who_waits() => {
                words::error_events(ledger.pending(), &error.to_string()).into_bytes()
            }
            (Said::ErrorEvents, None) => return bare,
            _ => Vec::new(),
        };
        if events.is_empty() { bare } else { Ok([self.boundary.abandon_event(), &events].concat().into()) }
    }
}

/// A stream is to end so that its client sees that it was cut.
pub(super) struct LooksCut;
