//! A session is born: what it would take to open it again is read from its `initialize`, before the answer's head goes out with
//! the id that it is sealed into.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;

use crate::mcp::essentials::Essentials;
use crate::mcp::sse::first_answer;
use crate::proxy::forward::Replied;
use crate::proxy::source::Source;

/// The most of an answer that is read for it, in bytes; instructions of servers may be long.
const MOST: usize = 256 << 10;

/// And at most for so long: an answer that takes longer goes out without.
const WITHIN: Duration = Duration::from_secs(5);

/// Reads as much of the answer as it takes, and puts it back. Nothing where it cannot be read, or says something else.
pub(in crate::proxy) async fn read_birth(replied: &mut Replied, request: Bytes) -> Option<Essentials> {
    if !replied.head.status().is_success() {
        return None;
    }
    let is_stream = replied.head.is_event_stream();
    let (mut text, mut found) = (Vec::new(), None);
    let source = &mut replied.source;
    let reading = async {
        let mut buffer = vec![0; 8 << 10];
        while text.len() <= MOST {
            let next = poll_fn(|context| source.poll(context, &mut buffer)).await;
            // Whatever ends it is met again by whoever reads on.
            let Some(Ok(piece)) = next else { break };
            text.extend_from_slice(piece.of(&buffer));
            if is_stream {
                found = first_answer(&text);
                if found.is_some() {
                    break;
                }
            } else if source.is_done() {
                break;
            }
        }
    };
    // What was read by then is not lost: each part is taken in as it comes.
    let _ = tokio::time::timeout(WITHIN, reading).await;
    let essentials = match &found {
        Some(answer) => Essentials::agreed(&request, answer.as_bytes()),
        None if is_stream => None,
        None => Essentials::agreed(&request, &text),
    };
    let rest = std::mem::replace(&mut replied.source, Source::None);
    replied.source = Source::Early { bytes: text.into(), rest: Box::new(rest) };
    essentials
}
