//! What one page of `tools/list` lists: names only, as hashes, and whether more pages follow.

use super::events::EventsOf;
use super::json::{JsonOf, Tools};
use super::{End, Message};

/// Levels down to the members of a tool: message, result, the array, the tool.
const LEVELS: usize = 4;

/// Reads one answer to `tools/list` as it passes.
pub struct Listing(Form);

enum Form {
    Json(Box<JsonOf<LEVELS>>),
    Events(Box<EventsOf<LEVELS>>),
}

/// One page of a list of tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Hashes of the names: see [`super::hash_of`].
    pub names: Vec<u64>,
    /// Some were left out, being too many.
    pub has_more: bool,
    /// The hash of `nextCursor`: another page follows.
    pub next: Option<u64>,
}

impl Listing {
    /// Of a JSON body.
    pub fn of_json() -> Self {
        Self(Form::Json(Box::default()))
    }

    /// Of an event stream.
    pub fn of_events() -> Self {
        Self(Form::Events(Box::default()))
    }

    /// Takes in the next bytes. The page, where they complete it: a JSON body has to be whole, and so does an event.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Page> {
        let mut answer = None;
        let mut note = |message: Message| {
            if message.is_answer() && !message.has_error {
                answer = Some(message.cursor);
            }
        };
        let tools = match &mut self.0 {
            Form::Json(json) => {
                json.feed(bytes, &mut note);
                (json.end() == End::Whole).then(|| json.tools())
            }
            Form::Events(events) => {
                events.feed(bytes, &mut note);
                events.tools()
            }
        };
        let (next, Tools { names, has_more }) = (answer?, tools?.clone());
        Some(Page { names, has_more, next })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::hash_of;
    use super::*;

    fn fed(mut listing: Listing, text: &[u8], cuts: &[usize]) -> Option<Page> {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        let pages = cuts.windows(2).map(|pair| listing.feed(&text[pair[0]..pair[1]]));
        pages.fold(None, Option::or)
    }

    fn hashes(names: &[&str]) -> Vec<u64> {
        names.iter().map(|name| hash_of(name)).collect()
    }

    #[test]
    fn names_are_those_of_the_tools_and_of_nothing_else_in_them() {
        let answer = json!({ "id": 1, "result": { "name": "no", "resources": [{ "name": "no" }], "tools": [
            { "name": "one", "inputSchema": { "name": "no", "properties": { "name": { "name": "no" } } } },
            { "annotations": [{ "name": "no" }], "name": "zw\u{f6}lf" }, "no", ["no"], [{ "name": "no" }], { "title": "no" },
        ], "nextCursor": "2" } });
        let page = fed(Listing::of_json(), answer.to_string().as_bytes(), &[]).unwrap();
        assert_eq!(page, Page { names: hashes(&["one", "zw\u{f6}lf"]), has_more: false, next: Some(hash_of("2")) });
        let odd = json!({ "id": 1, "result": { "tools": { "a": { "name": "no" } } } });
        assert_eq!(fed(Listing::of_json(), odd.to_string().as_bytes(), &[]), Some(Page::default()));
    }

    #[test]
    fn an_error_and_what_broke_off_are_no_page() {
        for text in [
            r#"{"id":1,"error":{"code":-32602}}"#,
            r#"{"id":1,"result":{"tools":[{"name":"a"}]}"#,
            r#"{"method":"x","result":{}}"#,
        ] {
            assert_eq!(fed(Listing::of_json(), text.as_bytes(), &[]), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_page_says_the_same_in_every_cut_and_as_an_event(
            names in prop::collection::vec("[a-zü\"\\\\]{0,20}", 0..12),
            more in any::<bool>(),
            cuts in prop::collection::vec(any::<usize>(), 0..6),
        ) {
            let tools: Vec<Value> = names.iter().map(|name| json!({ "title": "t", "name": name, "icons": [{ "name": "no" }] })).collect();
            let mut answer = json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": tools } });
            if more {
                answer["result"]["nextCursor"] = json!("n");
            }
            let names = names.iter().map(|name| hash_of(name)).collect();
            let expected = Page { names, has_more: false, next: more.then(|| hash_of("n")) };
            prop_assert_eq!(fed(Listing::of_json(), answer.to_string().as_bytes(), &cuts), Some(expected.clone()));
            let progress = r#"{"method":"notifications/progress","params":{"tools":[{"name":"no"}]}}"#;
            let stream = format!("data: {progress}\n\nevent: message\ndata: {answer}\n\n");
            prop_assert_eq!(fed(Listing::of_events(), stream.as_bytes(), &cuts), Some(expected));
        }
    }
}
