//! Bytes eight at a time, in a word, and 32 where the compiler has wider ones: how far a text goes on without anything in it that
//! has to be looked at.

const ONES: u64 = u64::MAX / 0xff;
const HIGHS: u64 = ONES * 0x80;

/// How many bytes from here are text of a JSON string as it is (RFC 8259, 7): ASCII without quote, backslash, control.
pub(crate) fn json_ascii(bytes: &[u8]) -> usize {
    before::<JsonAscii>(bytes)
}

/// The same, with what is no ASCII: whether that is UTF-8 is for others to see.
#[inline(always)]
pub(crate) fn json_text(bytes: &[u8]) -> usize {
    before::<JsonText>(bytes)
}

/// How many are visible ASCII or blanks.
#[inline(always)]
pub(crate) fn visible(bytes: &[u8]) -> usize {
    before::<Visible>(bytes)
}

/// How many are small letters, digits, hyphens or dots.
#[inline(always)]
pub(crate) fn small_name(bytes: &[u8]) -> usize {
    before::<SmallName>(bytes)
}

/// How many are digits.
#[inline(always)]
pub(crate) fn digits(bytes: &[u8]) -> usize {
    before::<Digits>(bytes)
}

/// Sets the bit that makes a letter small in each byte of `A` to `Z`. No sum of a byte carries into the next, as none is beyond
/// ASCII; one that is has its highest bit set, and stays.
pub(crate) fn lower(word: u64) -> u64 {
    let low = word & !HIGHS;
    let from_a = low + ONES * (0x80 - b'A' as u64);
    let beyond_z = low + ONES * (0x80 - b'Z' as u64 - 1);
    word | (from_a & !beyond_z & !word & HIGHS) >> 2
}

/// What a run ends before.
trait Ends {
    /// Whether a byte does not belong.
    fn ends(byte: u8) -> bool;

    /// The high bit of a byte is set where it does not belong. Above the first such byte, and only there, a borrow or carry may alter
    /// that of others: it is the first that is asked for.
    fn in_word(word: u64) -> u64;
}

struct JsonAscii;
struct JsonText;
struct Visible;
struct SmallName;
struct Digits;

impl Ends for JsonAscii {
    #[inline(always)]
    fn ends(byte: u8) -> bool {
        JsonText::ends(byte) | (byte >= 0x80)
    }

    #[inline(always)]
    fn in_word(word: u64) -> u64 {
        (is(word, b'"') | is(word, b'\\') | below(word, 0x20) | word) & HIGHS
    }
}

impl Ends for JsonText {
    #[inline(always)]
    fn ends(byte: u8) -> bool {
        (byte < 0x20) | (byte == b'"') | (byte == b'\\')
    }

    #[inline(always)]
    fn in_word(word: u64) -> u64 {
        // Of what is no ASCII, the highest bit is set in all of these, and told by the word itself.
        (is(word, b'"') | is(word, b'\\') | below(word, 0x20)) & !word & HIGHS
    }
}

impl Ends for Visible {
    #[inline(always)]
    fn ends(byte: u8) -> bool {
        !(0x20..0x7f).contains(&byte)
    }

    #[inline(always)]
    fn in_word(word: u64) -> u64 {
        (below(word, 0x20) | word.wrapping_add(ONES) | word) & HIGHS
    }
}

impl Ends for SmallName {
    #[inline(always)]
    fn ends(byte: u8) -> bool {
        !matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')
    }

    #[inline(always)]
    fn in_word(word: u64) -> u64 {
        // Without the highest bits nothing carries, and each byte is told by itself.
        let low = word & !HIGHS;
        let from = |least: u8| low + ONES * u64::from(0x80 - least);
        let is_letter = from(b'a') & !from(b'z' + 1);
        let is_digit = from(b'0') & !from(b'9' + 1);
        let is_between = from(b'-') & !from(b'.' + 1);
        (!(is_letter | is_digit | is_between) | word) & HIGHS
    }
}

impl Ends for Digits {
    #[inline(always)]
    fn ends(byte: u8) -> bool {
        !byte.is_ascii_digit()
    }

    #[inline(always)]
    fn in_word(word: u64) -> u64 {
        let above = word.wrapping_add(ONES * (0x7f - b'9' as u64));
        (below(word, b'0') | above | word) & HIGHS
    }
}

#[inline(always)]
fn below(word: u64, least: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(least))
}

#[inline(always)]
fn is(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

/// How many bytes are before the first that does not belong.
#[inline(always)]
fn before<E: Ends>(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    // Keys and names end in one of these.
    for _ in 0..2 {
        match word::<E>(rest) {
            Ok(behind) => rest = behind,
            Err(more) => return bytes.len() - rest.len() + more,
        }
    }
    bytes.len() - rest.len() + before_long::<E>(rest)
}

#[inline(never)]
fn before_long<E: Ends>(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((block, behind)) = rest.split_first_chunk::<32>() {
        // Without a way out in the middle the compiler makes vectors of it.
        if block.iter().fold(false, |found, byte| found | E::ends(*byte)) {
            break;
        }
        rest = behind;
    }
    loop {
        match word::<E>(rest) {
            Ok(behind) => rest = behind,
            Err(more) => return bytes.len() - rest.len() + more,
        }
    }
}

/// What is behind eight bytes that belong; or how many do.
#[inline(always)]
fn word<E: Ends>(bytes: &[u8]) -> Result<&[u8], usize> {
    let Some((word, behind)) = bytes.split_first_chunk() else { return Err(before_end::<E>(bytes)) };
    match E::in_word(u64::from_le_bytes(*word)) {
        0 => Ok(behind),
        found => Err(found.trailing_zeros() as usize / 8),
    }
}

#[inline(never)]
fn before_end<E: Ends>(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| E::ends(*byte)).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one_by_one<E: Ends>(bytes: &[u8]) -> usize {
        bytes.iter().position(|byte| E::ends(*byte)).unwrap_or(bytes.len())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn many_at_a_time_find_what_one_at_a_time_finds(
            bytes in prop::collection::vec(
                prop_oneof![
                    4 => 0x20u8..0x80,
                    1 => any::<u8>(),
                    1 => prop::sample::select(vec![0x1f, 0x20, 0x21, b'"', b'#', b'[', b'\\', b']', 0x7e, 0x7f, 0x80, 0x9f, 0xa0, 0xa2, 0xdc, 0xff]),
                ],
                0..150,
            ),
            name in prop::collection::vec(
                prop_oneof![8 => b'a'..=b'z', 2 => b'0'..=b'9', 2 => Just(b'-'), 1 => any::<u8>(), 1 => prop::sample::select(b"/:`{AZ_,.\xad\xe1".to_vec())],
                0..40,
            ),
            number in prop::collection::vec(prop_oneof![8 => b'0'..=b'9', 1 => any::<u8>(), 1 => prop::sample::select(b"/:\x10\xb0".to_vec())], 0..40),
        ) {
            prop_assert_eq!(json_ascii(&bytes), one_by_one::<JsonAscii>(&bytes));
            prop_assert_eq!(json_text(&bytes), one_by_one::<JsonText>(&bytes));
            prop_assert_eq!(visible(&bytes), one_by_one::<Visible>(&bytes));
            prop_assert_eq!(small_name(&name), one_by_one::<SmallName>(&name));
            prop_assert_eq!(digits(&number), one_by_one::<Digits>(&number));
        }
    }
}
