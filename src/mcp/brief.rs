//! Strings that are short nearly always, kept where they are used.

use std::fmt;
use std::ops::Deref;

use arrayvec::ArrayString;

/// A string of which up to `HERE` bytes are kept in place, so that nothing is allocated for it; a longer one is behind
/// a pointer. There is no bound: how long it may be, is for those to say who read it.
#[derive(Clone)]
pub struct Brief<const HERE: usize>(Kept<HERE>);

#[derive(Clone)]
enum Kept<const HERE: usize> {
    Here(ArrayString<HERE>),
    Away(Box<str>),
}

impl<const HERE: usize> Deref for Brief<HERE> {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Kept::Here(text) => text,
            Kept::Away(text) => text,
        }
    }
}

impl<const HERE: usize> From<&str> for Brief<HERE> {
    fn from(text: &str) -> Self {
        Self(ArrayString::from(text).map_or_else(|_| Kept::Away(text.into()), Kept::Here))
    }
}

impl<const HERE: usize> From<String> for Brief<HERE> {
    fn from(text: String) -> Self {
        if text.len() <= HERE { Self::from(&*text) } else { Self(Kept::Away(text.into())) }
    }
}

impl<const HERE: usize> AsRef<str> for Brief<HERE> {
    fn as_ref(&self) -> &str {
        self
    }
}

impl<const HERE: usize> PartialEq for Brief<HERE> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<const HERE: usize> Eq for Brief<HERE> {}

impl<const HERE: usize> fmt::Debug for Brief<HERE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_length_is_the_same_text() {
        for text in ["", "a", "1234567", "12345678", "123456789", "éééé", "ééééé"] {
            let brief = Brief::<8>::from(text);
            assert_eq!((&*brief, &brief, matches!(brief.0, Kept::Here(_))), (text, &text.to_owned().into(), text.len() <= 8));
        }
    }
}
