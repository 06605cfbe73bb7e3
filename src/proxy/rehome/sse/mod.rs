//! Sessions of HTTP+SSE (2024-11-05, transports) that move. The client's stream is the session; the server's is not, since its
//! URI is sealed: another stream takes its place.
//!
//! ```text
//! posts ── a POST ──── doubt ───▶ splice ── the client's stream, from wherever its session lives
//!                                   │
//!                                 mover ── dial      a stream is opened elsewhere, and the session on it
//! ```
//!
//! A stream is read by one worker, and it alone moves its session; POSTs may be on others, and wait until it has. What it takes
//! to open a session again is in memory only, as is where it lives: both end with the client's stream.

use std::sync::Arc;

use super::letterhead::Letterhead;
use super::memory::{Memory, Wish};
use super::replay::Recipe;
use super::resident::Session;
use super::table::Sessions;
use crate::live::ServiceView;
use crate::mcp::SessionPin;
use crate::proxy::source::Source;
use crate::upstream::{Client, EntryTally, Ticket};

mod birth;
mod dial;
mod posts;
mod splice;

pub(super) use dial::Dial;
pub(in crate::proxy) use splice::ChannelSplice;

/// A session that was opened at a server, on a stream.
pub(super) struct Opened {
    /// What is left of the stream.
    source: Source,
    ticket: Ticket,
    tally: Arc<EntryTally>,
    place: SessionPin,
}

impl Sessions {
    /// A session that is found by its open stream, and by nothing else. None where there is no room: it is bound to where it was
    /// born.
    pub(in crate::proxy) fn open_apart(
        self: &Arc<Self>,
        service: &ServiceView,
        client: Client,
        pin: &SessionPin,
        letterhead: Letterhead,
    ) -> Option<Arc<Session>> {
        let memory = Memory { letterhead: Some(Arc::new(letterhead)), ..Memory::default() };
        self.admit(service, client, pin, Box::new(memory))
    }
}

impl Session {
    /// Its stream has ended, and so has it.
    pub(in crate::proxy) fn ends_with_its_stream(self: &Arc<Self>) {
        let was_over = self.state().residence.is_over();
        if !was_over {
            self.close(None);
            self.forget();
        }
    }

    /// Speaks as this request did from now on, and asks for what it did.
    pub(super) fn write_again(self: &Arc<Self>, letterhead: &Letterhead) {
        self.remember(usize::MAX, |memory| {
            let target = memory.letterhead.as_ref().map(|known| known.target.clone());
            memory.letterhead = target.map(|target| Arc::new(letterhead.at(&target)));
        });
    }

    /// What opens it again, and in whose name.
    fn recipe(&self) -> Option<(Recipe, Arc<Letterhead>)> {
        let state = self.state();
        let memory = state.memory.as_ref()?;
        Some((Recipe::of(memory)?, memory.letterhead.clone()?))
    }

    /// A wish was granted.
    pub(in crate::proxy) fn grant(self: &Arc<Self>, most: usize, wish: Wish) {
        self.remember(most, |memory| memory.grant(wish));
    }
}
