//! How far a JSON string goes on without anything in it that has to be looked at: 32 bytes at a time, and eight near the end.

const ONES: u64 = u64::MAX / 0xff;
const HIGHS: u64 = ONES * 0x80;

/// How many bytes from here are text of a string as it is: ASCII without quote, backslash, control.
pub(super) fn ascii(bytes: &[u8]) -> usize {
    before::<true>(bytes)
}

/// The same, with what is no ASCII: whether that is UTF-8 is for others to see.
#[inline(always)]
pub(super) fn text(bytes: &[u8]) -> usize {
    before::<false>(bytes)
}

/// The same as [`ascii`], with escapes passed over, but for those by number.
pub(super) fn escaped(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    loop {
        rest = &rest[before::<true>(rest)..];
        match rest {
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', behind @ ..] => rest = behind,
            _ => return bytes.len() - rest.len(),
        }
    }
}

/// How many bytes are before the first at which a string ends or is escaped or is none.
#[inline(always)]
fn before<const ASCII: bool>(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    // Keys and names end in one of these.
    for _ in 0..2 {
        match word::<ASCII>(rest) {
            Ok(behind) => rest = behind,
            Err(more) => return bytes.len() - rest.len() + more,
        }
    }
    bytes.len() - rest.len() + before_long::<ASCII>(rest)
}

#[inline(never)]
fn before_long<const ASCII: bool>(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((block, behind)) = rest.split_first_chunk()
        && is_plain::<ASCII>(block)
    {
        rest = behind;
    }
    loop {
        match word::<ASCII>(rest) {
            Ok(behind) => rest = behind,
            Err(more) => return bytes.len() - rest.len() + more,
        }
    }
}

/// What is behind eight bytes in which nothing is found; or how many are before what is found, or before the end.
#[inline(always)]
fn word<const ASCII: bool>(bytes: &[u8]) -> Result<&[u8], usize> {
    let Some((word, behind)) = bytes.split_first_chunk() else { return Err(before_end::<ASCII>(bytes)) };
    match ends::<ASCII>(u64::from_le_bytes(*word)) {
        0 => Ok(behind),
        found => Err(found.trailing_zeros() as usize / 8),
    }
}

#[inline(never)]
fn before_end<const ASCII: bool>(bytes: &[u8]) -> usize {
    let is_end = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20) || (ASCII && !byte.is_ascii());
    bytes.iter().position(is_end).unwrap_or(bytes.len())
}

/// How many digits are here.
#[inline(always)]
pub(super) fn digits(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk() {
        let others = no_digits(u64::from_le_bytes(*word));
        if others != 0 {
            return bytes.len() - rest.len() + others.trailing_zeros() as usize / 8;
        }
        rest = behind;
    }
    bytes.len() - rest.len() + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The high bit of a byte is set where it is no digit, up to the first such byte; above it, a carry may set or clear that of others.
fn no_digits(word: u64) -> u64 {
    let above = word.wrapping_add(ONES * (0x7f - u64::from(b'9')));
    let below = word.wrapping_sub(ONES * u64::from(b'0'));
    (above | below | word) & HIGHS
}

/// Whether none of these is one at which a string ends or is escaped or is none. Without a way out in the middle the compiler makes
/// vectors of it.
#[inline(always)]
fn is_plain<const ASCII: bool>(bytes: &[u8; 32]) -> bool {
    let ends =
        |byte: u8| u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\') | u8::from(ASCII & (byte >= 0x80));
    bytes.iter().fold(0, |found, byte| found | ends(*byte)) == 0
}

/// The high bit of a byte is set where a string ends or is escaped or is none. Above the first such byte, and only
/// there, a borrow may set that of others, too: it is the first that is asked for.
#[inline(always)]
fn ends<const ASCII: bool>(word: u64) -> u64 {
    // Of what is no ASCII, the highest bit is set in all of these, and told by the word itself.
    let below = |word: u64, least: u64| word.wrapping_sub(ONES * least);
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let any = is(b'"') | is(b'\\') | below(word, 0x20);
    if ASCII { (any | word) & HIGHS } else { any & !word & HIGHS }
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
                0..150,
            ),
        ) {
            let one = |is: fn(u8) -> bool| bytes.iter().position(|byte| is(*byte)).unwrap_or(bytes.len());
            prop_assert_eq!(ascii(&bytes), one(|byte| byte < 0x20 || byte == b'"' || byte == b'\\' || byte >= 0x80));
            prop_assert_eq!(text(&bytes), one(|byte| byte < 0x20 || byte == b'"' || byte == b'\\'));
        }
    }
}
