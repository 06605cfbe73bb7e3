//! A scanner of a JSON body.

use super::glance::glance;
use super::json::{Json, is_blank};
use super::{End, Message};

/// A scanner of a JSON body. Nearly every answer is whole in what is read first: only where one is cut is anything kept of what
/// has been read of it.
#[derive(Clone, Default)]
pub struct Body(State);

#[derive(Clone, Default)]
enum State {
    /// Nothing has come.
    #[default]
    Fresh,
    /// It goes on.
    Underway(Box<Json>),
    /// Nothing but white space may follow; or it is no JSON, whatever follows.
    Over(End),
}

impl Body {
    /// Takes in the next bytes, and tells of every message that they complete.
    pub fn feed(&mut self, bytes: &[u8], tell: &mut impl FnMut(Message)) {
        match &mut self.0 {
            State::Fresh => {
                if let Some(message) = glance(bytes) {
                    self.0 = State::Over(End::Whole);
                    return tell(message);
                }
                let mut json = Json::default();
                json.check(bytes, tell);
                self.0 = json.over().map_or_else(|| State::Underway(Box::new(json)), State::Over);
            }
            State::Underway(json) => {
                json.feed(bytes, tell);
                if let Some(end) = json.over() {
                    self.0 = State::Over(end);
                }
            }
            State::Over(end) => {
                if !bytes.iter().all(|byte| is_blank(*byte)) {
                    *end = End::Garbled;
                }
            }
        }
    }

    /// What the body was, if it ends here.
    pub fn end(&mut self) -> End {
        match &mut self.0 {
            State::Fresh => End::Cut,
            State::Underway(json) => json.end(),
            State::Over(end) => *end,
        }
    }
}
