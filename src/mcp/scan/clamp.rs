//! Makes `result.ttlMs` of a list smaller as it passes, and alters nothing else.
//!
//! The new number is written over the old one, and blanks over what is left of that: they are white space behind a
//! value (RFC 8259, 2), so no length changes, and nothing is held back but the digits of the number.

use std::time::Duration;

use super::Message;
use super::events::Events;
use super::json::Json;

/// Alters one answer as it passes.
pub struct Clamp {
    form: Form,
    /// In milliseconds.
    most: u64,
    /// What has come of a number that has not ended yet.
    number: Vec<u8>,
}

enum Form {
    Json(Box<Json>),
    Events(Box<Events>),
}

/// Digits of a number; what is longer is nothing that a list says, and goes on as it is.
const LONGEST: usize = 64;

impl Clamp {
    /// Of a JSON body.
    pub fn of_json(most: Duration) -> Self {
        Self::new(Form::Json(Box::default()), most)
    }

    /// Of an event stream.
    pub fn of_events(most: Duration) -> Self {
        Self::new(Form::Events(Box::default()), most)
    }

    fn new(form: Form, most: Duration) -> Self {
        Self { form, most: u64::try_from(most.as_millis()).unwrap_or(u64::MAX), number: Vec::new() }
    }

    /// What is to be sent on for these bytes; the digits at their end may come with the next.
    pub fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + self.number.len());
        for byte in bytes {
            if self.form.is_in_ttl_after(*byte) {
                self.number.push(*byte);
                if self.number.len() > LONGEST {
                    out.append(&mut self.number);
                }
                continue;
            }
            self.end_number(&mut out);
            out.push(*byte);
        }
        out
    }

    /// What is left where nothing more comes: a number that nothing has ended is none.
    pub fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.number)
    }

    fn end_number(&mut self, out: &mut Vec<u8>) {
        if !self.number.is_empty() {
            over(&mut self.number, self.most);
            out.append(&mut self.number);
        }
    }
}

impl Form {
    fn is_in_ttl_after(&mut self, byte: u8) -> bool {
        let nobody = &mut |_: Message| {};
        match self {
            Self::Json(json) => {
                json.feed(&[byte], nobody);
                json.is_in_ttl()
            }
            Self::Events(events) => {
                events.feed(&[byte], nobody);
                events.is_in_ttl()
            }
        }
    }
}

/// Writes the most over a number that is greater; where that has no room, 0: stale at once, which is less.
fn over(number: &mut [u8], most: u64) {
    let said = str::from_utf8(number).ok().and_then(|text| text.parse::<f64>().ok());
    if said.is_none_or(|said| said <= most as f64) {
        return;
    }
    let text = most.to_string();
    let text = if text.len() <= number.len() { text.as_str() } else { "0" };
    number.fill(b' ');
    number[..text.len()].copy_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn passed(mut clamp: Clamp, text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let mut out: Vec<u8> = cuts.windows(2).flat_map(|pair| clamp.pass(&text[pair[0]..pair[1]])).collect();
        out.extend(clamp.end());
        out
    }

    fn clamped(text: &str) -> String {
        String::from_utf8(passed(Clamp::of_json(Duration::from_secs(5)), text.as_bytes(), &[])).unwrap()
    }

    #[test]
    fn a_greater_number_is_written_over_and_everything_else_is_as_it_was() {
        for (said, expected) in [
            ("3600000", "5000   "),
            ("5000", "5000"),
            ("5001", "5000"),
            ("0", "0"),
            ("4999.5", "4999.5"),
            ("5000.5", "5000  "),
            ("3.6e6", "5000 "),
            ("1e9", "0  "),
            ("-1e9", "-1e9"),
            ("null", "null"),
            ("\"3600000\"", "\"3600000\""),
            ("[3600000]", "[3600000]"),
            ("{\"ttlMs\":3600000}", "{\"ttlMs\":3600000}"),
        ] {
            let answer = |ttl: &str| {
                format!(
                    r#"{{"params":{{"ttlMs":3600000}},"ttlMs":3600000,"id":3600000,"result":{{"x":{{"ttlMs":3600000}},"ttlMs":{ttl}}}, "tail":3600000}}"#
                )
            };
            assert_eq!(clamped(&answer(said)), answer(expected));
        }
        assert_eq!(
            clamped(r#"{"result":{"ttl\u004ds":3600000,"ttlMs":9000}}"#),
            r#"{"result":{"ttl\u004ds":5000   ,"ttlMs":5000}}"#
        );
    }

    #[test]
    fn numbers_of_other_lines_of_an_event_are_nobodys_ttl() {
        let stream = "id: 1\ndata: {\"result\":{\"ttlMs\":90000\nid: 90000\nretry: 90000\n90000\ndata: }}\n\n";
        let expected = stream.replacen("90000", "5000 ", 1);
        let out = passed(Clamp::of_events(Duration::from_secs(5)), stream.as_bytes(), &[]);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn what_breaks_off_in_a_number_goes_on_as_it_came() {
        for cut in ["{\"result\":{\"ttlMs\":36000", "{\"result\":{\"ttlMs\":-", "{\"result\":{\"ttlMs\":9e"] {
            assert_eq!(clamped(cut), cut);
        }
    }

    fn members() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0u64..20_000_000).prop_map(Value::from),
            "[a-z\"\\\\ü]{0,8}".prop_map(Value::from)
        ];
        let key = prop::sample::select(vec!["ttlMs", "result", "tools", "name", "ttl", "params", "x"]);
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..6).prop_map(|map| json!(map)),
            ]
        })
    }

    /// By a full parser.
    fn oracle(mut value: Value, most: u64) -> Value {
        if let Some(ttl) = value.get_mut("result").and_then(|result| result.get_mut("ttlMs"))
            && ttl.as_u64().is_some_and(|said| said > most)
        {
            *ttl = json!(most);
        }
        value
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn a_full_parser_finds_that_number_smaller_and_nothing_else_in_every_cut(
            result in members(), id in any::<u32>(), cuts in prop::collection::vec(any::<usize>(), 0..8), is_pretty in any::<bool>(),
        ) {
            let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
            let text = if is_pretty { serde_json::to_string_pretty(&answer).unwrap() } else { answer.to_string() };
            let out = passed(Clamp::of_json(Duration::from_secs(5)), text.as_bytes(), &cuts);
            prop_assert_eq!(out.len(), text.len());
            prop_assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), oracle(answer.clone(), 5_000));
            let said = answer["result"]["ttlMs"].as_u64().filter(|said| *said > 5_000);
            let changed = out.iter().zip(text.as_bytes()).filter(|(new, old)| new != old).count();
            prop_assert!(changed <= said.map_or(0, |said| said.to_string().len()), "{} altered bytes", changed);
            // The same as the data of an event, over several lines where it has them.
            let lines: String = text.lines().map(|line| format!("data: {line}\r\n")).collect();
            let stream = format!(": ping\n\nid: {id}\nevent: message\n{lines}\r\n");
            let out = passed(Clamp::of_events(Duration::from_secs(5)), stream.as_bytes(), &cuts);
            prop_assert_eq!(out.len(), stream.len());
            let out = String::from_utf8(out).unwrap();
            let data: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            prop_assert_eq!(serde_json::from_str::<Value>(&data.join("\n")).unwrap(), oracle(answer, 5_000));
        }

        #[test]
        fn whatever_comes_goes_on_with_its_length(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in any::<usize>()) {
            prop_assert_eq!(passed(Clamp::of_json(Duration::ZERO), &bytes, &[cut]).len(), bytes.len());
            prop_assert_eq!(passed(Clamp::of_events(Duration::ZERO), &bytes, &[cut]).len(), bytes.len());
        }
    }
}
