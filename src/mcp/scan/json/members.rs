//! The members that matter, by where they stand.

use std::hash::Hasher;

use super::super::{Message, ResultType, Ttl, fnv};
use super::{At, JsonOf};

/// What a value means, by where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Slot {
    #[default]
    None,
    Method,
    Id,
    Result,
    Error,
    Code,
    IsError,
    ResultType,
    RequestState,
    Cursor,
    Task,
    TaskId,
    /// `result.ttlMs`, as lists have it.
    ListTtl,
    Ttl,
    Poll,
    Tools,
    ToolName,
}

/// Tools of one list, and no more than these are kept.
pub const MOST_TOOLS: usize = 4096;

/// The tools of a list (`result.tools`), by the hashes of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tools {
    /// See [`super::super::hash_of`].
    pub names: Vec<u64>,
    /// There were more than [`MOST_TOOLS`].
    pub has_more: bool,
}

impl Tools {
    fn note(&mut self, name: u64) {
        if self.names.len() < MOST_TOOLS { self.names.push(name) } else { self.has_more = true }
    }

    fn clear(&mut self) {
        self.names.clear();
        self.has_more = false;
    }
}

impl Slot {
    /// Whether a hash of its text is kept.
    pub(super) fn is_hashed(self) -> bool {
        matches!(self, Self::Id | Self::RequestState | Self::Cursor | Self::TaskId | Self::ToolName)
    }
}

impl ResultType {
    pub(in crate::mcp::scan) fn of(text: Option<&[u8]>) -> Self {
        match text {
            Some(b"input_required") => Self::InputRequired,
            Some(b"task") => Self::Task,
            _ => Self::Complete,
        }
    }
}

impl<const N: usize> JsonOf<N> {
    /// The level of the innermost container, where members can matter.
    pub(super) fn level(&self) -> Option<usize> {
        let level = usize::from(self.depth.checked_sub(self.base)?);
        (level < self.slots.len()).then_some(level)
    }

    /// What the value that begins means.
    pub(super) fn slot(&self) -> Slot {
        if !self.in_object() {
            return Slot::None;
        }
        self.level().map_or(Slot::None, |level| self.slots[level])
    }

    /// What can be said of a member by the first byte of its value. A member given twice counts as
    /// given last.
    pub(super) fn note_value(&mut self, slot: Slot, byte: u8) {
        let message = &mut self.message;
        match slot {
            Slot::Method => message.has_method = true,
            Slot::Id => message.id = None,
            Slot::Result => {
                self.tools.clear();
                let kept = *message;
                *message = Message { has_method: kept.has_method, id: kept.id, has_error: kept.has_error, ..Message::default() };
                message.code = kept.code;
                message.has_result = true;
            }
            Slot::Error => {
                message.has_error = byte != b'n';
                message.code = None;
            }
            Slot::Code => message.code = None,
            Slot::IsError => message.is_error = byte == b't',
            Slot::ResultType => message.result_type = ResultType::Complete,
            Slot::RequestState => message.request_state = None,
            Slot::Cursor => message.cursor = None,
            Slot::Task | Slot::TaskId => message.task = None,
            Slot::ListTtl | Slot::Ttl => message.ttl = (byte == b'n').then_some(Ttl::Unlimited),
            Slot::Poll => message.poll = None,
            Slot::Tools => self.tools.clear(),
            Slot::ToolName | Slot::None => {}
        }
    }

    /// A whole number ends that is not negative; nothing where it is none.
    pub(super) fn note_number(&mut self, slot: Slot, number: Option<u64>) {
        match slot {
            Slot::ListTtl | Slot::Ttl => self.message.ttl = number.map(Ttl::Millis),
            Slot::Poll => self.message.poll = number,
            _ => {}
        }
    }

    pub(super) fn end_string(&mut self) {
        if self.utf8.is_open() {
            self.at = At::Bad;
            return;
        }
        if self.is_key {
            self.end_key(self.slot_of_key(self.short_text()));
            return;
        }
        let slot = self.slot();
        match slot {
            Slot::ResultType => self.message.result_type = ResultType::of(self.short_text()),
            Slot::Id => self.note_hash(slot, self.id),
            _ if slot.is_hashed() => self.note_hash(slot, self.hasher.finish()),
            _ => {}
        }
        self.at = At::Behind;
    }

    pub(super) fn end_key(&mut self, slot: Slot) {
        if let Some(level) = self.level() {
            self.slots[level] = slot;
        }
        self.at = At::Colon;
    }

    pub(super) fn note_hash(&mut self, slot: Slot, hash: u64) {
        let message = &mut self.message;
        let place = match slot {
            Slot::Id => &mut message.id,
            Slot::RequestState => &mut message.request_state,
            Slot::Cursor => &mut message.cursor,
            Slot::TaskId => &mut message.task,
            Slot::ToolName => return self.tools.note(hash),
            _ => return,
        };
        *place = Some(hash);
    }

    pub(super) fn short_text(&self) -> Option<&[u8]> {
        self.text.get(..usize::from(self.length))
    }

    pub(super) fn slot_of_key(&self, key: Option<&[u8]>) -> Slot {
        let Some(key) = key else { return Slot::None };
        match (self.level(), self.slots[0], self.slots[1]) {
            (Some(0), _, _) => match key {
                b"method" => Slot::Method,
                b"id" => Slot::Id,
                b"result" => Slot::Result,
                b"error" => Slot::Error,
                _ => Slot::None,
            },
            (Some(1), Slot::Error, _) if key == b"code" => Slot::Code,
            (Some(1), Slot::Result, _) => match key {
                b"isError" => Slot::IsError,
                b"resultType" => Slot::ResultType,
                b"requestState" => Slot::RequestState,
                b"nextCursor" => Slot::Cursor,
                b"taskId" => Slot::TaskId,
                b"task" => Slot::Task,
                b"ttlMs" => Slot::ListTtl,
                b"ttl" => Slot::Ttl,
                b"pollIntervalMs" | b"pollInterval" => Slot::Poll,
                b"tools" => Slot::Tools,
                _ => Slot::None,
            },
            (Some(2), Slot::Result, Slot::Task) => match key {
                b"taskId" => Slot::TaskId,
                b"ttlMs" | b"ttl" => Slot::Ttl,
                b"pollIntervalMs" | b"pollInterval" => Slot::Poll,
                _ => Slot::None,
            },
            // An element of the array that the tools are.
            (Some(3), Slot::Result, Slot::Tools) if key == b"name" && self.objects >> 1 & 1 == 0 => Slot::ToolName,
            _ => Slot::None,
        }
    }

    pub(super) fn take_text(&mut self, bytes: &[u8]) {
        let length = usize::from(self.length);
        match self.text.get_mut(length..length + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.length += bytes.len() as u8;
            }
            // Too long to be a word that matters: more than fits, for good.
            None => self.length = u8::MAX,
        }
        match self.slot() {
            _ if self.is_key => {}
            Slot::Id => self.id = fnv::and(self.id, bytes),
            slot if slot.is_hashed() => self.hasher.write(bytes),
            _ => {}
        }
    }
}
