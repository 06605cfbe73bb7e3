//! Params of an `initialize`, shorter: they travel in a sealed id with every request of a session, and clients write much of
//! them alike. Common pieces are one byte each, which begins no character in UTF-8 (RFC 3629, 3): 0x80 to 0xBF.

/// The pieces, by their byte from 0x80 on. Ids in the field hold these numbers: pieces are added behind, and none is altered.
const PIECES: [&str; 46] = [
    "{\"protocolVersion\":\"",
    "\",\"capabilities\":{",
    "},\"clientInfo\":{\"name\":\"",
    "\",\"version\":\"",
    "\"}}",
    "\"elicitation\":{",
    "\"sampling\":{",
    "\"roots\":{\"listChanged\":true}",
    "\"listChanged\":true",
    "\"listChanged\":false",
    "\"tasks\":{",
    "\"experimental\":{",
    "\"form\":{}",
    "\"url\":{}",
    "2025-11-25",
    "2025-06-18",
    "2025-03-26",
    "2024-11-05",
    "},\"",
    "{}",
    "\",\"",
    "\":\"",
    "\"},\"",
    "\"title\":\"",
    "\"websiteUrl\":\"",
    "\"icons\":[",
    "\"context\":{}",
    "\"tools\":{}",
    "\"requests\":{",
    "\"list\":{}",
    "\"cancel\":{}",
    "\"createMessage\":{}",
    "\"create\":{}",
    "\"extensions\":{",
    "\"description\":\"",
    "https://",
    "\"_meta\":{",
    "typescript",
    "client",
    "0.1.0",
    "1.0.0",
    "\":{",
    "\"roots\":{",
    "\"capabilities\":{",
    "\"clientInfo\":{\"name\":\"",
    "\"protocolVersion\":\"",
];

const FIRST: u8 = 0x80;
const LAST: u8 = 0xbf;

/// The most that comes out of it, in bytes: as much as params may have.
const MOST: usize = super::MOST_PARAMS;

/// Puts a byte for each piece.
pub(super) fn pack(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let longest = (FIRST..).zip(PIECES).filter(|(_, piece)| rest.starts_with(piece)).max_by_key(|(_, piece)| piece.len());
        let taken = match longest {
            Some((byte, piece)) => {
                out.push(byte);
                piece.len()
            }
            None => {
                out.extend_from_slice(&rest.as_bytes()[..first.len_utf8()]);
                first.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
}

/// Puts a piece for each of those bytes; nothing where it is too long, or was not packed here.
pub(super) fn unpack(packed: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(packed.len() * 3);
    let mut rest = packed;
    while let Some((byte, behind)) = rest.split_first() {
        let taken = match *byte {
            FIRST..=LAST => {
                out.extend_from_slice(PIECES.get(usize::from(byte - FIRST))?.as_bytes());
                rest = behind;
                continue;
            }
            0x00..=0x7f => 1,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
        };
        let (character, behind) = rest.split_at_checked(taken)?;
        out.extend_from_slice(character);
        if out.len() > MOST {
            return None;
        }
        rest = behind;
    }
    // There is one way to write them.
    let text = String::from_utf8(out).ok().filter(|text| text.len() <= MOST)?;
    let mut again = Vec::with_capacity(packed.len());
    pack(&text, &mut again);
    (again == packed).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        pack(text, &mut out);
        out
    }

    #[test]
    fn what_clients_send_becomes_a_third() {
        let params = "{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{\"sampling\":{},\"elicitation\":{\"form\":{},\"url\":{}},\"roots\":{\"listChanged\":true}},\"clientInfo\":{\"name\":\"mcp\",\"version\":\"0.1.0\"}}";
        assert!(packed(params).len() * 3 < params.len(), "{} of {}", packed(params).len(), params.len());
    }

    #[test]
    fn a_byte_of_no_piece_is_refused() {
        assert_eq!(unpack(&[FIRST + PIECES.len() as u8]), None);
        assert_eq!(unpack(&[0xc3]), None, "half a character");
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out_again(text in "(\\{\"protocolVersion\":\"|2025-06-18|\\{\\}|[ -~]|é|😀|\",\"){0,60}") {
            prop_assert_eq!(unpack(&packed(&text)), Some(text));
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(text) = unpack(&bytes) {
                prop_assert_eq!(packed(&text), bytes);
            }
        }
    }
}
