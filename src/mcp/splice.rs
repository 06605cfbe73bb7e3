//! Changes inside a JSON text that leave every other byte of it as it is.

use std::ops::Range;

/// Another text for a part of one.
pub(super) type Splice = (Range<usize>, String);

/// Where in a text a part is that was borrowed from it.
pub(super) fn place(whole: &str, part: &str) -> Option<Range<usize>> {
    let from = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let place = from..from + part.len();
    whole.get(place.clone()).is_some().then_some(place)
}

/// The text with the splices in it. They come in order and do not overlap.
pub(super) fn spliced(text: &str, splices: &[Splice]) -> String {
    let mut out = String::with_capacity(text.len() + splices.iter().map(|(_, with)| with.len()).sum::<usize>());
    let mut at = 0;
    for (place, with) in splices {
        out.push_str(&text[at..place.start]);
        out.push_str(with);
        at = place.end;
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_where_it_was_borrowed_and_strangers_are_nowhere() {
        let text = String::from("one two one");
        assert_eq!(place(&text, &text[8..]), Some(8..11));
        assert_eq!(place(&text[..4], &text[8..]), None);
        assert_eq!(place(&text[4..], &text[..3]), None);
    }

    #[test]
    fn what_is_between_the_splices_stays() {
        assert_eq!(spliced("a-b-c", &[(0..1, "x".to_owned()), (4..5, String::new())]), "x-b-");
        assert_eq!(spliced("a-b-c", &[]), "a-b-c");
    }
}
