//! The messages in an event's data.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Tokens;
use crate::mcp::envelope::{Cancelled, Message, object};
use crate::mcp::request_id::{Progress, tagged};
use crate::mcp::splice::{Splice, place};

/// What is to be altered, in order, and what requests said.
#[derive(Default)]
pub(super) struct Data {
    pub(super) splices: Vec<Splice>,
    pub(super) tokens: Tokens,
}

/// Reads one message, or a batch. Nothing where it is none, or a member that matters is given twice: it stays as it is.
pub(super) fn read(text: &str, epoch: u32) -> Option<Data> {
    let mut data = Data::default();
    let blank = [' ', '\t', '\r', '\n'];
    let trimmed = text.trim_matches(blank);
    match trimmed.as_bytes().first()? {
        b'{' => data.note(text, trimmed, epoch)?,
        b'[' => {
            for message in serde_json::from_str::<Vec<&RawValue>>(trimmed).ok()? {
                // What is no message has nothing that is altered; its neighbours are messages all the same.
                let _ = data.note(text, message.get(), epoch);
            }
        }
        _ => return None,
    }
    Some(data)
}

impl Data {
    fn note(&mut self, text: &str, message: &str, epoch: u32) -> Option<()> {
        let message: Message<'_> = object(message)?;
        let method = message.method?.0;
        let params = message.params.map(RawValue::get);
        if let Some(id) = message.id {
            self.splice(text, id.get(), epoch)?;
            let token = || object::<Progress<'_>>(object::<WithMeta<'_>>(params?)?.meta?.get());
            self.tokens.extend(token().and_then(|progress| progress.token).map(|token| token.get().into()));
        } else if method == "notifications/cancelled" {
            self.splice(text, object::<Cancelled<'_>>(params?)?.request?.get(), epoch)?;
        }
        Some(())
    }

    fn splice(&mut self, text: &str, id: &str, epoch: u32) -> Option<()> {
        let place = place(text, id)?;
        self.splices.push((place, tagged(epoch, id)));
        Some(())
    }
}

#[derive(Deserialize)]
struct WithMeta<'a> {
    #[serde(borrow, rename = "_meta")]
    meta: Option<&'a RawValue>,
}
