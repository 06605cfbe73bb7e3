//! Reading an event stream (HTML living standard, 9.2.6), in any cut of its bytes.

use std::time::Duration;

/// One event with data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// Its type; empty: `message`.
    pub(super) kind: String,
    /// Its data, lines joined by line feeds.
    pub(super) data: String,
}

/// Takes in bytes and gives out events.
#[derive(Debug, Default)]
pub(super) struct Reader {
    line: Vec<u8>,
    after_cr: bool,
    event: Event,
    has_data: bool,
    id: Option<String>,
    /// The id of the last event given out: where to go on after a drop.
    pub(super) last_id: Option<String>,
    /// How long to wait before going on, where the server wishes it.
    pub(super) retry: Option<Duration>,
}

impl Reader {
    /// A stream that goes on after a drop: what was half read will come again.
    pub(super) fn again(self) -> Self {
        Self { id: self.last_id.clone(), last_id: self.last_id, retry: self.retry, ..Self::default() }
    }

    /// Takes in the next bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for byte in bytes {
            let second_of_pair = self.after_cr && *byte == b'\n';
            self.after_cr = *byte == b'\r';
            match byte {
                b'\n' if second_of_pair => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                byte => self.line.push(*byte),
            }
        }
        events
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if line.is_empty() {
            return self.end_event();
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            "event" => self.event.kind = value.to_owned(),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" => self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry),
            // A comment, or a field of a later day.
            _ => {}
        }
        None
    }

    fn end_event(&mut self) -> Option<Event> {
        self.last_id.clone_from(&self.id);
        let event = std::mem::take(&mut self.event);
        std::mem::take(&mut self.has_data).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str =
        ": hello\n\nretry: 250\nid: 7\nevent: split\ndata: {\"a\":\ndata:1}\n\nid: 8\r\ndata: x\r\n\r\ndata: half";

    #[test]
    fn events_come_out_whole_whatever_the_cut() {
        for size in 1..STREAM.len() {
            let mut reader = Reader::default();
            let events: Vec<Event> = STREAM.as_bytes().chunks(size).flat_map(|chunk| reader.feed(chunk)).collect();
            let expected =
                [("split", "{\"a\":\n1}"), ("", "x")].map(|(kind, data)| Event { kind: kind.into(), data: data.into() });
            assert_eq!(events, expected, "{size}");
            assert_eq!((reader.last_id.as_deref(), reader.retry), (Some("8"), Some(Duration::from_millis(250))));
        }
    }

    #[test]
    fn after_a_drop_the_half_event_is_forgotten_and_the_last_id_kept() {
        let mut reader = Reader::default();
        reader.feed(b"id: 7\ndata: a\n\nid: 8\ndata: hal");
        let mut reader = reader.again();
        assert_eq!(reader.last_id.as_deref(), Some("7"));
        assert_eq!(reader.feed(b"data: b\n\n")[0].data, "b");
        assert_eq!(reader.last_id.as_deref(), Some("7"));
    }
}
