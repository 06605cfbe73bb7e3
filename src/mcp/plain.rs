//! How far a JSON string goes on without anything in it that has to be looked at: sixteen bytes at a time.

/// How many bytes from here are text of a string as it is: ASCII without quote, backslash, control.
pub(super) fn ascii(bytes: &[u8]) -> usize {
    // As a number with a sign, what is no ASCII is below zero, and so below the first character that is no control.
    before(bytes, |byte| byte.cast_signed() < 0x20)
}

/// The same, with what is no ASCII: whether that is UTF-8 is for others to see.
pub(super) fn text(bytes: &[u8]) -> usize {
    before(bytes, |byte| byte < 0x20)
}

#[inline(always)]
fn before(bytes: &[u8], is_none: impl Fn(u8) -> bool) -> usize {
    let ends = |byte: u8| (byte == b'"') | (byte == b'\\') | is_none(byte);
    let mut at = 0;
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<16>) {
        // Written so that it is compiled to a few comparisons of sixteen bytes each.
        let found = u128::from_le_bytes(block.map(|byte| if ends(byte) { 0xff } else { 0 }));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 16;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| ends(*byte)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn many_at_a_time_find_what_one_at_a_time_finds(
            bytes in prop::collection::vec(
                prop_oneof![
                    4 => 0x20u8..0x80,
                    1 => any::<u8>(),
                    1 => prop::sample::select(vec![0x1f, 0x20, 0x21, b'"', b'#', b'[', b'\\', b']', 0x7f, 0x80, 0x9f, 0xa0, 0xa2, 0xdc]),
                ],
                0..60,
            ),
        ) {
            let one = |is: fn(u8) -> bool| bytes.iter().position(|byte| is(*byte)).unwrap_or(bytes.len());
            prop_assert_eq!(ascii(&bytes), one(|byte| byte < 0x20 || byte == b'"' || byte == b'\\' || byte >= 0x80));
            prop_assert_eq!(text(&bytes), one(|byte| byte < 0x20 || byte == b'"' || byte == b'\\'));
        }
    }
}
