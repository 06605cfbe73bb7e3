//! base64url without padding (RFC 4648, 5), read strictly: one text for a token and no other, unused bits included.
//! What a client sends with every request is read here, four characters by four look-ups.

/// Of no character a value, and above all of them.
const NONE: u32 = 1 << 31;

/// A character's six bits, where it is the first to the fourth of four.
const BITS: [[u32; 256]; 4] = {
    const CHARACTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = [[NONE; 256]; 4];
    let mut at = 0;
    while at < 4 * CHARACTERS.len() {
        let (place, value) = (at / CHARACTERS.len(), at % CHARACTERS.len());
        bits[place][CHARACTERS[value] as usize] = (value as u32) << (18 - 6 * place);
        at += 1;
    }
    bits
};

/// The bytes that a text stands for, in the room that is given for them; nothing where that is too small.
pub(super) fn decode<'r>(text: &[u8], room: &'r mut [u8]) -> Option<&'r mut [u8]> {
    let length = text.len() / 4 * 3 + [0, 0, 1, 2][text.len() % 4];
    let room = room.get_mut(..length)?;
    let (fours, last) = text.as_chunks::<4>();
    let (threes, end) = room.as_chunks_mut::<3>();
    let mut seen = 0;
    for (four, three) in fours.iter().zip(threes) {
        let bits = bits_of(*four);
        seen |= bits;
        let [_, bytes @ ..] = bits.to_be_bytes();
        *three = bytes;
    }
    let bits = match *last {
        [] => 0,
        [one, two] => bits_of([one, two, b'A', b'A']),
        [one, two, three] => bits_of([one, two, three, b'A']),
        _ => NONE,
    };
    let [_, bytes @ ..] = bits.to_be_bytes();
    let (used, unused) = bytes.split_at(end.len());
    end.copy_from_slice(used);
    ((seen | bits) & NONE == 0 && unused.iter().all(|byte| *byte == 0)).then_some(room)
}

fn bits_of(four: [u8; 4]) -> u32 {
    let [one, two, three, four] = four.map(usize::from);
    BITS[0][one] | BITS[1][two] | BITS[2][three] | BITS[3][four]
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn it_reads_what_the_common_decoder_reads_and_nothing_else(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            change in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cut in 0usize..60,
        ) {
            let mut text = URL_SAFE_NO_PAD.encode(&bytes).into_bytes();
            if let Some((at, with)) = change.filter(|_| !text.is_empty()) {
                let at = at.index(text.len());
                text[at] = with;
            }
            text.truncate(cut);
            let mut room = [0; 64];
            let read = decode(&text, &mut room).map(|read| read.to_vec());
            prop_assert_eq!(read, URL_SAFE_NO_PAD.decode(&text).ok(), "{:?}", text);
        }
    }

    #[test]
    fn of_all_last_characters_those_count_that_leave_nothing_unused() {
        for text in [&b"AA"[..], b"AAA"] {
            for last in 0..=255 {
                let text = [&text[1..], &[last]].concat();
                let read = decode(&text, &mut [0; 3]).map(|read| read.to_vec());
                assert_eq!(read, URL_SAFE_NO_PAD.decode(&text).ok(), "{text:?}");
            }
        }
    }

    #[test]
    fn a_room_too_small_is_not_written_beyond() {
        assert_eq!(decode(b"AAAA", &mut [0; 2]), None);
    }
}
