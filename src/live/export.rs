//! The durable state of all services as one document, to take along.
//!
//! ```text
//! { "format": 1, "checksum": SHA-256 of the state in its shortest form with sorted members, "state": { NAME: {…}, … } }
//! ```
//!
//! The checksum is of what the state says, not of how it is laid out: a document may be indented and stays whole.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::chain::sha256;
use crate::domain::machine::Durable;

/// The one format there is.
pub const FORMAT: u64 = 1;

/// The document of these states.
pub fn document(states: &BTreeMap<String, Durable>) -> Value {
    let state = json!(states);
    json!({ "format": FORMAT, "checksum": checksum(&state), "state": state })
}

/// The states in a document, or what is wrong with it.
pub fn read(document: &Map<String, Value>) -> Result<BTreeMap<String, Durable>, String> {
    for known in ["format", "checksum", "state"] {
        if !document.contains_key(known) {
            return Err(format!("/{known} is missing: this is not what `dualgate state export` prints"));
        }
    }
    match document["format"].as_u64() {
        Some(FORMAT) => {}
        _ => return Err(format!("/format: {} is not known here: this version reads {FORMAT}", document["format"])),
    }
    let Some(states) = document["state"].as_object() else { return Err("/state: not an object of services".to_owned()) };
    let sum = checksum(&document["state"]);
    if document["checksum"].as_str() != Some(&sum) {
        return Err("/checksum: it does not fit the state: something was changed or cut".to_owned());
    }
    if states.is_empty() {
        return Err("/state: there is no service in it".to_owned());
    }
    let read = |(name, state): (&String, &Value)| {
        let durable: Durable = serde_json::from_value(state.clone()).map_err(|error| format!("/state/{name}: {error}"))?;
        // What would be lost in reading is not left out in silence.
        match unknown(state, &json!(durable)) {
            Some(key) => Err(format!("/state/{name}/{key}: not known here")),
            None => Ok((name.clone(), durable)),
        }
    };
    states.iter().map(read).collect()
}

/// A member that reading has dropped.
fn unknown<'a>(given: &'a Value, read: &Value) -> Option<&'a str> {
    given.as_object()?.keys().find(|key| read.get(key.as_str()).is_none()).map(String::as_str)
}

fn checksum(state: &Value) -> String {
    sha256(sorted(state).to_string().as_bytes())
}

/// With the members of every object in the order of their names, whatever the map behind them keeps.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<&String, Value> = members.iter().map(|(key, value)| (key, sorted(value))).collect();
            members.into_iter().map(|(key, value)| (key.clone(), value)).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Salt, Split};

    fn states() -> BTreeMap<String, Durable> {
        let state = Durable::first(Split::parse("90:10").unwrap(), 1, Salt::new([7; 16]));
        [("notes".to_owned(), state)].into()
    }

    fn map(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_exported_reads_back_however_it_is_laid_out() {
        let text = serde_json::to_string_pretty(&document(&states())).unwrap();
        assert_eq!(read(&serde_json::from_str(&text).unwrap()), Ok(states()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let with = |pointer: &str, value: Value| {
            let mut document = document(&states());
            *document.pointer_mut(pointer).unwrap() = value;
            read(&map(document)).unwrap_err()
        };
        assert_eq!(with("/format", json!(2)), "/format: 2 is not known here: this version reads 1");
        let checksum = "/checksum: it does not fit the state: something was changed or cut";
        assert_eq!(with("/state/notes/secondary_basis_points", json!(9000)), checksum);
        assert_eq!(with("/checksum", json!(null)), checksum);
        assert_eq!(with("/state", json!([])), "/state: not an object of services");
        let mut cut = map(document(&states()));
        cut.remove("state");
        assert!(read(&cut).unwrap_err().starts_with("/state is missing"));
        let signed = |state: Value| read(&map(json!({ "format": 1, "checksum": super::checksum(&state), "state": state })));
        assert_eq!(signed(json!({})).unwrap_err(), "/state: there is no service in it");
        assert!(signed(json!({ "notes": { "revision": 1 } })).unwrap_err().starts_with("/state/notes: missing field"));
        let mut more = json!(states());
        more["notes"]["colour"] = json!("red");
        assert_eq!(signed(more).unwrap_err(), "/state/notes/colour: not known here");
    }
}
