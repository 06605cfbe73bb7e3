//! Ids of events in the later epochs of a session.
//!
//! A client that resumes sends the last id it has seen, from whatever binding. Those of epoch 0 are the server's own; a
//! later one has in front of it which binding gave it, and on which stream, so that nothing has to be remembered:
//!
//! ```text
//! 1.g~42                    epoch 1, the GET stream
//! 2.pImEi~42                epoch 2, the answer to the request with the id "a", which is in base64url
//! 2.h0123456789abcdef~42    the same, where that id is longer than 64 bytes: its hash
//! ```

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::brief::Brief;
use super::request_id::{epoch_of, is_whole};
use super::scan::id_hash;

/// The longest request id that is kept as it is, in bytes.
pub const LONGEST_RAW: usize = 64;

/// What is in front of an event's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTag {
    /// The epoch of the binding, 1 or more.
    pub epoch: u32,
    /// The stream of it.
    pub stream: Stream,
}

/// A stream of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stream {
    /// The one of its GET.
    Get,
    /// The answer to a request of the client's.
    Post(Asked),
}

/// The request that a stream answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// By its id, as the client wrote it (JSON text).
    Id(Brief<24>),
    /// By the hash of its id ([`id_hash`]), where that is longer than [`LONGEST_RAW`].
    Hash(u64),
}

impl Stream {
    /// The stream that answers a request with this id (JSON text).
    pub fn of_request(raw_id: &str) -> Self {
        if raw_id.len() <= LONGEST_RAW && is_id(raw_id) {
            return Self::Post(Asked::Id(raw_id.into()));
        }
        Self::Post(Asked::Hash(id_hash(raw_id).unwrap_or_default()))
    }

    /// Whether it is the one that answers a request with this id (JSON text).
    pub fn answers(&self, raw_id: &str) -> bool {
        match self {
            Self::Get => false,
            Self::Post(Asked::Id(id)) => **id == *raw_id,
            Self::Post(Asked::Hash(hash)) => raw_id.len() > LONGEST_RAW && id_hash(raw_id) == Some(*hash),
        }
    }
}

impl EventTag {
    /// What stands in front of the server's own id: visible ASCII.
    pub fn prefix(&self) -> String {
        let mut text = self.epoch.to_string();
        // Writing to a string does not fail.
        let _ = match &self.stream {
            Stream::Get => text.write_str(".g~"),
            Stream::Post(Asked::Id(id)) => write!(text, ".p{}~", URL_SAFE_NO_PAD.encode(id.as_bytes())),
            Stream::Post(Asked::Hash(hash)) => write!(text, ".h{hash:016x}~"),
        };
        text
    }

    /// The id for the client.
    pub fn write(&self, original: &[u8]) -> Vec<u8> {
        [self.prefix().as_bytes(), original].concat()
    }

    /// The tag of a `Last-Event-ID`, and the server's own id; nothing where it has none and so is of epoch 0. There is
    /// one way to write a tag, and what is not exactly that is a server's own.
    pub fn read(last_event_id: &[u8]) -> Option<(Self, &[u8])> {
        let end = last_event_id.iter().position(|byte| *byte == b'~')?;
        let (tag, original) = (str::from_utf8(&last_event_id[..end]).ok()?, &last_event_id[end + 1..]);
        let (epoch, stream) = tag.split_once('.')?;
        let stream = match stream.split_at_checked(1)? {
            ("g", "") => Stream::Get,
            ("p", encoded) => {
                let raw = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
                Stream::Post(Asked::Id(Some(raw).filter(|raw| raw.len() <= LONGEST_RAW && is_id(raw))?.into()))
            }
            ("h", hex) => {
                let is_hex = hex.len() == 16 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                Stream::Post(Asked::Hash(u64::from_str_radix(hex, 16).ok().filter(|_| is_hex)?))
            }
            _ => return None,
        };
        // An event whose id is empty has none, and none is written in front of nothing.
        let epoch = epoch_of(epoch).filter(|_| !original.is_empty())?;
        Some((Self { epoch, stream }, original))
    }
}

/// A number or a string.
fn is_id(raw: &str) -> bool {
    raw.starts_with(|first: char| matches!(first, '"' | '-' | '0'..='9')) && is_whole(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn an_id_says_its_epoch_and_its_stream() {
        let long = format!("\"{}\"", "x".repeat(LONGEST_RAW - 1));
        for (epoch, stream, written) in [
            (1, Stream::Get, "1.g~42".to_owned()),
            (7, Stream::of_request("0"), "7.pMA~42".to_owned()),
            (2, Stream::of_request("\"a\""), "2.pImEi~42".to_owned()),
            (2, Stream::of_request(&long), format!("2.h{:016x}~42", id_hash(&long).unwrap())),
        ] {
            let tag = EventTag { epoch, stream };
            assert_eq!(String::from_utf8(tag.write(b"42")).unwrap(), written);
            assert_eq!(EventTag::read(written.as_bytes()), Some((tag, &b"42"[..])));
        }
    }

    #[test]
    fn a_servers_own_id_is_not_taken_for_a_tagged_one() {
        for own in [
            "",
            "42",
            "~",
            "1.g",
            "1.g~",
            "g~1",
            ".g~1",
            "0.g~1",
            "01.g~1",
            "+1.g~1",
            "4294967296.g~1",
            "1.gx~1",
            "1.~1",
            "1~1",
            "1.G~1",
            "1.p~1",
            "1.pMA=~1",
            "1.pMB~1",
            "1.pbnVsbA~1",
            "1.pYQ~1",
            "1.pIDA~1",
            "1.h0~1",
            "1.h0123456789abcdeF~1",
            "1.h+123456789abcdef~1",
            "6f1e0b7a-5d_17~3",
            "stream~1.g~2",
            "1.é~1",
        ] {
            assert_eq!(EventTag::read(own.as_bytes()), None, "{own}");
        }
        assert_eq!(EventTag::read(b"1.\xff~1"), None);
    }

    #[test]
    fn a_stream_is_found_by_the_request_that_it_answers() {
        let long = format!("\"{}\"", "x".repeat(LONGEST_RAW));
        for id in ["1", "\"1\"", &long] {
            let stream = Stream::of_request(id);
            assert!(
                ["1", "\"1\"", &long].into_iter().all(|other| stream.answers(other) == (id == other)) && !Stream::Get.answers(id)
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_and_can_stand_in_a_line_and_in_a_header(
            epoch in 1u32.., text in prop::option::of("\\PC{0,70}"), original in "[ -~]{1,40}",
        ) {
            let stream = text.map_or(Stream::Get, |text| Stream::of_request(&Value::from(text).to_string()));
            let tag = EventTag { epoch, stream };
            let written = tag.write(original.as_bytes());
            prop_assert!(tag.prefix().bytes().all(|byte| byte.is_ascii_graphic()) && tag.prefix().len() <= 100);
            prop_assert_eq!(EventTag::read(&written), Some((tag, original.as_bytes())));
        }

        #[test]
        fn any_bytes_have_the_one_tag_that_is_written_so_or_none(
            text in "[0-9]{0,2}[.]?([gph]?[0-9A-Za-z]{0,5}|h[0-9a-f]{16})~?[~a]{0,3}", bytes: Vec<u8>,
        ) {
            for bytes in [text.as_bytes(), &bytes] {
                if let Some((tag, original)) = EventTag::read(bytes) {
                    prop_assert_eq!(tag.write(original), bytes);
                }
            }
        }
    }
}
