//! Reads outcomes out of answers as they pass: any cut into chunks, one pass, constant memory.
//!
//! A green HTTP 200 is not success: a JSON-RPC `error`, or a result with `isError`, hides in it. The
//! scanner is a JSON checker that keeps a depth, a bit per open container, and the few members that
//! matter; it agrees with a full parser on what is JSON and what those members are.

use crate::domain::Outcome;

mod body;
mod clamp;
pub mod events;
mod fnv;
mod glance;
pub mod json;
mod listing;
#[cfg(test)]
mod tests;

pub use body::Body;
pub use clamp::Clamp;
pub use events::{Events, hash_of_id};
pub use listing::{Listing, Page};

/// What one JSON-RPC message says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// It has a `method`: a request or a notification, no answer.
    pub has_method: bool,
    /// A hash of its `id`, where that is not null: see [`id_hash`].
    pub id: Option<u64>,
    /// It has a `result`.
    pub has_result: bool,
    /// It has an `error` other than null.
    pub has_error: bool,
    /// The `code` of the error, where that is a whole number.
    pub code: Option<i64>,
    /// `result.isError` is true: a tool failed.
    pub is_error: bool,
    /// `result.resultType` (2026-07-28).
    pub result_type: ResultType,
    /// A hash of `result.requestState` (2026-07-28, multi round trip requests).
    pub request_state: Option<u64>,
    /// A hash of `result.taskId`, or of `result.task.taskId` (2025-11-25).
    pub task: Option<u64>,
    /// A hash of `result.nextCursor`.
    pub cursor: Option<u64>,
    /// For how long the result counts (`result.ttlMs` of lists, 2026-07-28) or its task is kept (`ttlMs` of the tasks
    /// extension, `ttl` of 2025-11-25, which may be in `result.task`).
    pub ttl: Option<Ttl>,
    /// Milliseconds between two looks at the task, where the server asks for that (`pollIntervalMs`, `pollInterval`).
    pub poll: Option<u64>,
}

/// For how long something counts. A number that is not whole, or negative, says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// Null: for ever.
    Unlimited,
    /// Milliseconds.
    Millis(u64),
}

/// `result.resultType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResultType {
    /// Absent, `complete`, or a word of a later revision.
    #[default]
    Complete,
    /// The client is asked for more, and repeats the request.
    InputRequired,
    /// The result comes later, by task id.
    Task,
}

impl Message {
    /// How the request ended that this answers. A result that asks for more, or that names a task, is
    /// no error.
    pub fn outcome(&self) -> Outcome {
        if self.has_error {
            Outcome::of_error_code(self.code)
        } else if self.is_error {
            Outcome::ToolError
        } else {
            Outcome::Ok
        }
    }

    /// Whether it answers a request.
    pub fn is_answer(&self) -> bool {
        !self.has_method && (self.has_result || self.has_error)
    }
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Whole and well-formed.
    Whole,
    /// It broke off.
    Cut,
    /// It is not JSON.
    Garbled,
}

/// The hash of a request's id as it was written (`1`, `"a"`), to find its answer by.
pub fn id_hash(raw: &str) -> Option<u64> {
    match raw.as_bytes() {
        [] => None,
        [b'"', text @ .., b'"'] if !text.contains(&b'\\') => Some(json::hash_of_id(true, text)),
        [b'"', ..] => serde_json::from_str::<String>(raw).ok().map(|word| json::hash_of_id(true, word.as_bytes())),
        number => Some(json::hash_of_id(false, number)),
    }
}

/// The hash under which a server's word (a state, a task id, a cursor) is pinned. The same word
/// gives the same hash whether it is scanned here or read whole.
pub fn hash_of(word: &str) -> u64 {
    json::hash_of(word.as_bytes())
}
