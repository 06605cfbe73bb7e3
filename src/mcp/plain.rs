//! How far a JSON string goes on without anything in it that has to be looked at: eight bytes at a time.

const ONES: u64 = u64::MAX / 0xff;
const HIGHS: u64 = ONES * 0x80;

/// How many bytes from here are text of a string as it is: ASCII without quote, backslash, control.
pub(super) fn ascii(bytes: &[u8]) -> usize {
    before(bytes, |word| ends(word) | word & HIGHS, |byte| matches!(byte, b'"' | b'\\' | 0..0x20 | 0x80..))
}

/// The same, with what is no ASCII: whether that is UTF-8 is for others to see.
pub(super) fn text(bytes: &[u8]) -> usize {
    before(bytes, ends, |byte| matches!(byte, b'"' | b'\\' | 0..0x20))
}

/// The high bit of a byte is set where a string ends or is escaped or is none. Above the first such byte, and only
/// there, a borrow may set that of others, too: it is the first that is asked for.
fn ends(word: u64) -> u64 {
    let below = |word: u64, least: u64| word.wrapping_sub(ONES * least) & !word & HIGHS;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    is(b'"') | is(b'\\') | below(word, 0x20)
}

fn before(bytes: &[u8], found: impl Fn(u64) -> u64, is_found: impl Fn(u8) -> bool) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let found = found(u64::from_le_bytes(*word));
        if found != 0 {
            return at * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    words.len() * 8 + rest.iter().position(|byte| is_found(*byte)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn eight_at_a_time_finds_what_one_at_a_time_finds(
            bytes in prop::collection::vec(
                prop_oneof![
                    4 => 0x20u8..0x80,
                    1 => any::<u8>(),
                    1 => prop::sample::select(vec![0x1f, 0x20, 0x21, b'"', b'#', b'[', b'\\', b']', 0x7f, 0x80, 0x9f, 0xa0, 0xa2, 0xdc]),
                ],
                0..40,
            ),
        ) {
            let one = |is: fn(u8) -> bool| bytes.iter().position(|byte| is(*byte)).unwrap_or(bytes.len());
            prop_assert_eq!(ascii(&bytes), one(|byte| byte < 0x20 || byte == b'"' || byte == b'\\' || byte >= 0x80));
            prop_assert_eq!(text(&bytes), one(|byte| byte < 0x20 || byte == b'"' || byte == b'\\'));
        }
    }
}
