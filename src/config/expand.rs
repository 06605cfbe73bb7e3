//! `${NAME}` in strings: what the environment says, put in before the file is read as TOML.
//!
//! In the text and not in the values, so that it works in every string and every error keeps its
//! line: what is put in is escaped, and never has a line break.

use super::place::ConfigError;

/// What is wrong with a reference, and where it stands.
pub(super) struct Wrong {
    pub(super) at: usize,
    pub(super) what: String,
}

/// A text with its references replaced, and what they were replaced by.
#[derive(Default)]
pub(super) struct Expanded {
    pub(super) text: String,
    values: Vec<(String, String)>,
}

impl Expanded {
    /// Takes the values out of an error again: they may be secrets, and errors end up in logs.
    pub(super) fn hide(&self, mut error: ConfigError) -> ConfigError {
        for (name, value) in &self.values {
            for form in [value.clone(), escaped(value), value.to_ascii_lowercase()] {
                // What is shorter keeps no secret, and would garble the words around it.
                if form.len() >= 4 {
                    error.what = error.what.replace(&form, &format!("${{{name}}}"));
                }
            }
        }
        error
    }
}

/// The kinds of strings, by what ends them.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Nothing,
    Comment,
    Text { end: &'static str, literal: bool },
}

/// Replaces `${NAME}` in strings, and `$${` by `${`.
pub(super) fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Expanded, Wrong> {
    let mut expanded = Expanded::default();
    let mut inside = Inside::Nothing;
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        let mut taken = next.len_utf8();
        match inside {
            Inside::Comment if next == '\n' => inside = Inside::Nothing,
            Inside::Comment => {}
            Inside::Nothing if next == '#' => inside = Inside::Comment,
            Inside::Nothing => {
                if let Some((end, literal)) = opens(rest) {
                    inside = Inside::Text { end, literal };
                    taken = end.len();
                }
            }
            Inside::Text { end, .. } if rest.starts_with(end) => {
                inside = Inside::Nothing;
                // Up to two quotes may stand before the end of a long string.
                let extra = if end.len() == 3 {
                    rest[3..].bytes().take(2).take_while(|byte| *byte == end.as_bytes()[0]).count()
                } else {
                    0
                };
                taken = end.len() + extra;
            }
            Inside::Text { end: "\"" | "\"\"\"", .. } if next == '\\' => {
                taken += rest[1..].chars().next().map_or(0, char::len_utf8);
            }
            Inside::Text { .. } if rest.starts_with("$${") => {
                expanded.text.push_str("${");
                at += 3;
                continue;
            }
            Inside::Text { literal, .. } if rest.starts_with("${") => {
                let wrong = |what: String| Wrong { at, what };
                let name = name_of(rest).map_err(wrong)?;
                let value = lookup(name).ok_or_else(|| wrong(format!("`{name}` is not set in the environment")))?;
                expanded.text.push_str(&written(name, &value, literal).map_err(wrong)?);
                expanded.values.push((name.to_owned(), value));
                at += name.len() + 3;
                continue;
            }
            Inside::Text { .. } => {}
        }
        expanded.text.push_str(&rest[..taken]);
        at += taken;
    }
    Ok(expanded)
}

fn opens(rest: &str) -> Option<(&'static str, bool)> {
    let kinds = [("\"\"\"", false), ("'''", true), ("\"", false), ("'", true)];
    kinds.into_iter().find(|(quotes, _)| rest.starts_with(quotes))
}

fn name_of(rest: &str) -> Result<&str, String> {
    let name = rest[2..].split(['}', '\n']).next().unwrap_or("");
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_name && rest[2 + name.len()..].starts_with('}') {
        Ok(name)
    } else {
        Err("`${` is the start of a variable's name, like ${TOKEN}; write $${ where these characters are meant".to_owned())
    }
}

fn written(name: &str, value: &str, literal: bool) -> Result<String, String> {
    if !literal {
        return Ok(escaped(value));
    }
    if value.contains('\'') || value.contains(char::is_control) {
        return Err(format!("the value of `{name}` does not fit between single quotes; use double ones"));
    }
    Ok(value.to_owned())
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let lookup = |name: &str| match name {
            "HOST" => Some("h:1".to_owned()),
            "ODD" => Some("a\"b\\c\nd'".to_owned()),
            _ => None,
        };
        expand(text, lookup).map(|expanded| expanded.text).map_err(|wrong| format!("{}: {}", wrong.at, wrong.what))
    }

    #[test]
    fn references_in_strings_are_replaced_and_nothing_else_is() {
        let table = [
            (r#"a = "http://${HOST}/${HOST}""#, r#"a = "http://h:1/h:1""#),
            ("a = 'x${HOST}'", "a = 'xh:1'"),
            ("a = '''x${HOST}'''", "a = '''xh:1'''"),
            (r#"a = """"${HOST}"""" # ${NO}"#, r#"a = """"h:1"""" # ${NO}"#),
            (r#"a = "$${HOST} $x $" # "${NO}""#, r#"a = "${HOST} $x $" # "${NO}""#),
            (r#"a = "\"${HOST}\\" # ${NO}"#, r#"a = "\"h:1\\" # ${NO}"#),
            (r#"a = "" # ${NO}"#, r#"a = "" # ${NO}"#),
            (r#"a = "${ODD}""#, r#"a = "a\"b\\c\u000ad'""#),
            ("# it's \"${NO}\na = 'é${HOST}'", "# it's \"${NO}\na = 'éh:1'"),
        ];
        for (text, expected) in table {
            assert_eq!(expanded(text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_named_where_it_stands() {
        assert_eq!(expanded("a = '${NO}'").unwrap_err(), "5: `NO` is not set in the environment");
        assert!(expanded("a = \"${NO\"").unwrap_err().contains("write $${"));
        assert!(expanded("a = '${}'").unwrap_err().contains("write $${"));
        let odd = expanded("a = '${ODD}'").unwrap_err();
        assert!(odd.contains("single quotes") && !odd.contains("a\"b"), "{odd}");
    }
}
