//! What it takes to open a session again is read as it passes: the answer to `initialize`, on the stream.

use std::sync::Arc;

use crate::mcp::essentials::Essentials;
use crate::mcp::sse::{answer_of, first_event};
use crate::proxy::channel::Channel;
use crate::proxy::rehome::resident::Session;

/// The most that is held until the answer is whole, in bytes; instructions of servers may be long.
const MOST: usize = 256 << 10;

/// Waits for the answer.
#[derive(Default)]
pub(super) struct Birth {
    held: Vec<u8>,
    is_over: bool,
}

impl Birth {
    /// Bytes of the first server's stream pass.
    pub(super) fn pass(&mut self, bytes: &[u8], channel: &Channel, session: &Arc<Session>) {
        if self.is_over {
            return;
        }
        let Some((request, most)) = channel.opening() else { return };
        self.held.extend_from_slice(bytes);
        while let Some(length) = first_event(&self.held) {
            let event: Vec<u8> = self.held.drain(..length).collect();
            let essentials = answer_of(&event).and_then(|answer| Essentials::agreed(&request, answer.as_bytes()));
            if let Some(essentials) = essentials {
                session.remember(most, |memory| memory.essentials = Some(Arc::new(essentials)));
                return self.end(channel);
            }
        }
        if self.held.len() > MOST {
            self.end(channel);
        }
    }

    fn end(&mut self, channel: &Channel) {
        channel.forget_opening();
        (self.is_over, self.held) = (true, Vec::new());
    }
}
