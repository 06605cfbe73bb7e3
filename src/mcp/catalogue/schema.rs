//! Whether what one JSON Schema says is taken by another (2020-12): by its form alone, and only what certainly is.
//!
//! A client that goes on elsewhere sends arguments by the schemas that it has read, so the new server must take all that the
//! old one took; and checks results by them, so the old schema must take all that the new server gives out. Where a form is
//! not known to be wider, it has to be the same.

use serde_json::{Map, Value};

/// Words that tell people something, and hold for no value (2020-12, Validation, 9).
const WORDS: [&str; 9] =
    ["title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment", "$schema"];

/// Whose absence takes more, or whose members can be compared.
const WIDENING: [&str; 29] = [
    "$defs",
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "definitions",
    "dependentRequired",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "patternProperties",
    "properties",
    "propertyNames",
    "required",
    "type",
];

/// With one of these, a part that takes more can make the whole take less: then all of it has to be the same.
const TURNING: [&str; 13] = [
    "not",
    "if",
    "then",
    "else",
    "oneOf",
    "minContains",
    "maxContains",
    "dependentSchemas",
    "dependencies",
    "unevaluatedProperties",
    "unevaluatedItems",
    "prefixItems",
    "additionalItems",
];

/// Maps of schemas, by names that are no keywords.
const NAMED: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];

/// Deeper than this a schema has to be the same.
const DEEPEST: usize = 64;

/// A property that one schema lists, and the other does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unlisted {
    /// It is an argument, which the server knows no more.
    IsRefused,
    /// It is part of a result, which a schema takes unless it says that nothing else may be there.
    IsTaken,
}

/// Whether everything that `from` takes, `to` takes as well.
pub(super) fn takes(to: &Value, from: &Value, unlisted: Unlisted) -> bool {
    is_alike(from, to) || (!turns(from, 0) && !turns(to, 0) && Widening { unlisted }.holds(from, to, 0))
}

struct Widening {
    unlisted: Unlisted,
}

impl Widening {
    fn holds(&self, from: &Value, to: &Value, depth: usize) -> bool {
        match (from, to) {
            _ if depth > DEEPEST => is_alike(from, to),
            (Value::Bool(false), _) | (_, Value::Bool(true)) => true,
            (Value::Object(from), Value::Object(to)) => self.objects(from, to, depth + 1),
            _ => is_alike(from, to),
        }
    }

    /// Each keyword that `to` has must be met by what `from` says; what only `from` says is one demand less.
    fn objects(&self, from: &Map<String, Value>, to: &Map<String, Value>, depth: usize) -> bool {
        let mut asks = to.iter().filter(|(keyword, _)| !WORDS.contains(&keyword.as_str()));
        let mut has = from.iter().filter(|(keyword, _)| !WORDS.contains(&keyword.as_str()));
        let is_known = |(keyword, said): (&String, &Value)| {
            WIDENING.contains(&keyword.as_str()) || to.get(keyword).is_some_and(|other| is_alike(said, other))
        };
        has.all(is_known) && self.are_listed(from, to) && asks.all(|(keyword, said)| self.keyword(keyword, from, said, depth))
    }

    fn keyword(&self, keyword: &str, from: &Map<String, Value>, to: &Value, depth: usize) -> bool {
        let Some(said) = from.get(keyword) else {
            return match keyword {
                "properties" => to.as_object().is_some_and(|to| self.are_new(&Map::new(), to, from, depth)),
                // One more definition asks for nothing.
                "$defs" | "definitions" => true,
                "required" => to.as_array().is_some_and(Vec::is_empty),
                "additionalProperties" | "items" => matches!(to, Value::Bool(true)) || to.as_object().is_some_and(Map::is_empty),
                _ => false,
            };
        };
        match keyword {
            "$ref" => is_alike(said, to) && !counts(said),
            "type" => each_in(said, |one| has_type(to, one)),
            "enum" => each_in(said, |one| is_in(to, one)),
            // Fewer demands.
            "required" => each_in(to, |one| is_in(said, one)),
            // More choices.
            "anyOf" => each_in(said, |one| any_in(to, |other| self.holds(one, other, depth))),
            "allOf" => each_in(to, |other| any_in(said, |one| self.holds(one, other, depth))),
            "items" | "additionalProperties" | "propertyNames" | "contains" => self.holds(said, to, depth),
            "minimum" | "exclusiveMinimum" | "minLength" | "minItems" | "minProperties" => {
                is_alike(said, to) || is_less(to, said)
            }
            "maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" | "maxProperties" => {
                is_alike(said, to) || is_less(said, to)
            }
            named if NAMED.contains(&named) => self.named((said, to), (from, named == "properties"), depth),
            _ => is_alike(said, to),
        }
    }

    /// Of each name that both have, the one takes what the other does.
    fn named(&self, (said, to): (&Value, &Value), (from, are_properties): (&Map<String, Value>, bool), depth: usize) -> bool {
        let (Value::Object(said), Value::Object(to)) = (said, to) else { return is_alike(said, to) };
        let both = said.iter().all(|(name, one)| to.get(name).is_none_or(|other| self.holds(one, other, depth)));
        // One more pattern is one more demand.
        both && if are_properties { self.are_new(said, to, from, depth) } else { true }
    }

    /// A property that is new is sent by no client, as none knows of it; but for names that are free.
    fn are_new(&self, known: &Map<String, Value>, to: &Map<String, Value>, from: &Map<String, Value>, depth: usize) -> bool {
        let free = from.get("additionalProperties").filter(|more| !matches!(more, Value::Bool(false)));
        let mut new = to.iter().filter(|(name, _)| !known.contains_key(*name)).peekable();
        if new.peek().is_some() && from.contains_key("patternProperties") {
            // A pattern may have allowed that very name.
            return false;
        }
        free.is_none_or(|free| new.all(|(_, schema)| self.holds(free, schema, depth)))
    }

    /// Whether `to` knows all properties and patterns of `from`, and no further pattern.
    fn are_listed(&self, from: &Map<String, Value>, to: &Map<String, Value>) -> bool {
        let names = |of: &Map<String, Value>, keyword: &str| -> Vec<String> {
            of.get(keyword).and_then(Value::as_object).into_iter().flat_map(Map::keys).cloned().collect()
        };
        let is_closed = to.get("additionalProperties").is_some_and(|more| !matches!(more, Value::Bool(true)));
        let may_be_unlisted = self.unlisted == Unlisted::IsTaken && !is_closed;
        let (has, knows) = (names(from, "properties"), names(to, "properties"));
        let are_patterns_alike = names(from, "patternProperties") == names(to, "patternProperties");
        are_patterns_alike && (may_be_unlisted || has.iter().all(|name| knows.contains(name)))
    }
}

/// Whether there is a keyword in it that turns wider into narrower.
fn turns(schema: &Value, depth: usize) -> bool {
    let Value::Object(schema) = schema else { return false };
    depth > DEEPEST
        || schema.iter().any(|(keyword, said)| match said {
            _ if TURNING.contains(&keyword.as_str()) => true,
            Value::Object(named) if NAMED.contains(&keyword.as_str()) => named.values().any(|one| turns(one, depth + 1)),
            Value::Array(all) if matches!(keyword.as_str(), "anyOf" | "allOf") => all.iter().any(|one| turns(one, depth + 1)),
            // What stands behind any other keyword is a schema, or there is no keyword in it.
            _ if matches!(keyword.as_str(), "enum" | "const" | "default" | "examples") => false,
            one => turns(one, depth + 1),
        })
}

/// Of one, or of each in a list.
fn each_in(said: &Value, holds: impl FnMut(&Value) -> bool) -> bool {
    match said {
        Value::Array(all) => all.iter().all(holds),
        one => std::iter::once(one).all(holds),
    }
}

fn any_in(said: &Value, holds: impl FnMut(&Value) -> bool) -> bool {
    match said {
        Value::Array(all) => all.iter().any(holds),
        one => std::iter::once(one).any(holds),
    }
}

fn is_in(all: &Value, one: &Value) -> bool {
    any_in(all, |other| is_alike(one, other))
}

/// Whether a reference goes by a place in a list, where another may stand now.
fn counts(reference: &Value) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    reference.as_str().is_none_or(|reference| reference.split('/').any(is_number))
}

fn is_less(one: &Value, other: &Value) -> bool {
    one.as_f64().zip(other.as_f64()).is_some_and(|(one, other)| one < other)
}

/// Every integer is a number.
fn has_type(all: &Value, one: &Value) -> bool {
    is_in(all, one) || (one == "integer" && is_in(all, &Value::from("number")))
}

/// Whether two values say the same: the order of members does not count, nor how a number is spelled (`1`, `1.0`).
pub(super) fn is_alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            one == other || (one.is_f64() != other.is_f64() && one.as_f64() == other.as_f64())
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let is_in_other = |(key, value): (&String, &Value)| other.get(key).is_some_and(|other| is_alike(value, other));
            one.len() == other.len() && one.iter().all(is_in_other)
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// Arguments by the old schema, and the new server's.
    fn takes_arguments(old: &Value, new: &Value) -> bool {
        takes(new, old, Unlisted::IsRefused)
    }

    fn of(properties: &Value, required: &Value) -> Value {
        json!({"type": "object", "properties": properties, "required": required})
    }

    #[test]
    fn a_server_that_takes_more_takes_what_clients_of_the_old_one_send() {
        let old = of(
            &json!({"q": {"type": "string", "description": "old", "enum": ["a", "b"]}, "n": {"type": "integer"}}),
            &json!(["q", "n"]),
        );
        for (new, why) in [
            (
                of(&json!({"q": {"type": "string", "enum": ["b", "a"]}, "n": {"type": "integer"}}), &json!(["q", "n"])),
                "other words",
            ),
            (
                of(&json!({"q": {"type": "string", "enum": ["a", "b", "c"]}, "n": {"type": ["number", "null"]}}), &json!(["n"])),
                "more of each",
            ),
            (
                of(&json!({"q": {"type": "string"}, "n": {"title": "N"}, "tags": {"type": "array"}}), &json!([])),
                "one more, optional",
            ),
            (
                json!({"type": "object", "properties": {"q": true, "n": {}}, "$defs": {"x": {"not": {}}}}),
                "a definition that turns",
            ),
        ] {
            assert_eq!(takes_arguments(&old, &new), !why.ends_with("turns"), "{why}");
        }
        for (new, why) in [
            (
                of(&json!({"q": {"type": "string"}, "n": {"type": "integer"}, "tags": {}}), &json!(["q", "n", "tags"])),
                "one more, required",
            ),
            (of(&json!({"q": {"type": "string"}}), &json!(["q"])), "one less"),
            (of(&json!({"q": {"type": "string", "enum": ["a"]}, "n": {"type": "integer"}}), &json!([])), "fewer choices"),
            (of(&json!({"q": {"type": "string"}, "n": {"type": "integer", "minimum": 0}}), &json!([])), "a bound"),
            (of(&json!({"q": {"type": "string", "pattern": "^a"}, "n": {"type": "integer"}}), &json!([])), "a form"),
        ] {
            assert!(!takes_arguments(&old, &new), "{why}");
        }
    }

    #[test]
    fn a_free_name_is_not_taken_for_one_that_nobody_sends() {
        let (old, new) = (
            json!({"additionalProperties": {"type": "string"}}),
            json!({"additionalProperties": {"type": "string"}, "properties": {"x": {"type": "integer"}}}),
        );
        assert!(!takes_arguments(&old, &new));
        assert!(takes_arguments(
            &old,
            &json!({"additionalProperties": {"type": "string"}, "properties": {"x": {"type": "string"}}})
        ));
    }

    #[test]
    fn what_may_mean_another_thing_by_now_has_to_be_the_same() {
        let by_pattern = |properties| json!({"patternProperties": {"^x": {"type": "string"}}, "properties": properties});
        assert!(!takes_arguments(&by_pattern(json!({})), &by_pattern(json!({"x1": {"type": "integer"}}))));
        let by_place = |first: &str| json!({"properties": {"a": {"anyOf": [{"type": first}, {"type": "null"}]}, "b": {"$ref": "#/properties/a/anyOf/0"}}, "title": first});
        assert!(
            takes_arguments(&by_place("string"), &by_place("string"))
                && !takes_arguments(&by_place("integer"), &by_place("number"))
        );
        let named = |kind: &str| json!({"$defs": {"A": {"type": kind}}, "properties": {"a": {"$ref": "#/$defs/A"}}});
        assert!(takes_arguments(&named("integer"), &named("number")) && !takes_arguments(&named("number"), &named("integer")));
    }

    #[test]
    fn results_may_have_more_in_them_where_the_old_schema_lets_them() {
        let (open, closed) = (
            json!({"properties": {"a": {"type": "integer"}}}),
            json!({"properties": {"a": {"type": "integer"}}, "additionalProperties": false}),
        );
        let more = json!({"properties": {"a": {"type": "integer"}, "b": {}}});
        let takes_results = |old: &Value, new: &Value| takes(old, new, Unlisted::IsTaken);
        assert!(takes_results(&open, &more) && !takes_results(&closed, &more));
        let needs = json!({"properties": {"a": {"type": "integer"}}, "required": ["a"]});
        assert!(takes_results(&open, &needs) && !takes_results(&needs, &open), "what clients count on stays");
    }

    /// What the words of the specification mean, of those that `schemas` uses.
    fn is_valid(schema: &Value, value: &Value) -> bool {
        let Value::Object(schema) = schema else { return schema != &json!(false) };
        let type_of = |value: &Value| match value {
            Value::Null => vec!["null"],
            Value::Bool(_) => vec!["boolean"],
            Value::Number(number) if number.is_i64() => vec!["integer", "number"],
            Value::Number(_) => vec!["number"],
            Value::String(_) => vec!["string"],
            Value::Array(_) => vec!["array"],
            Value::Object(_) => vec!["object"],
        };
        let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
        schema.iter().all(|(keyword, said)| match keyword.as_str() {
            "type" => each_of(said).iter().any(|one| type_of(value).contains(&one.as_str().unwrap())),
            "enum" => said.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|value| value >= said.as_f64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|all| all.len() as i64 <= said.as_i64().unwrap()),
            "required" => {
                !value.is_object()
                    || said.as_array().unwrap().iter().all(|name| members(value).contains_key(name.as_str().unwrap()))
            }
            "properties" => {
                members(said).iter().all(|(name, schema)| members(value).get(name).is_none_or(|value| is_valid(schema, value)))
            }
            "additionalProperties" => {
                let listed = schema.get("properties").map(members).unwrap_or_default();
                members(value).iter().all(|(name, value)| listed.contains_key(name) || is_valid(said, value))
            }
            "items" => value.as_array().is_none_or(|all| all.iter().all(|one| is_valid(said, one))),
            "anyOf" => said.as_array().unwrap().iter().any(|one| is_valid(one, value)),
            "allOf" => said.as_array().unwrap().iter().all(|one| is_valid(one, value)),
            "not" => !is_valid(said, value),
            other => panic!("{other}"),
        })
    }

    fn each_of(said: &Value) -> Vec<Value> {
        said.as_array().cloned().unwrap_or_else(|| vec![said.clone()])
    }

    /// Whether every member that it has is listed where it stands: what a client sends that knows this schema.
    fn is_listed(schema: &Value, value: &Value) -> bool {
        match value {
            Value::Object(members) => members.iter().all(|(name, value)| {
                let listed =
                    schema["properties"].get(name).or_else(|| schema.get("additionalProperties").filter(|more| !more.is_null()));
                listed.is_some_and(|schema| is_listed(schema, value))
            }),
            Value::Array(all) => schema.get("items").is_some_and(|schema| all.iter().all(|one| is_listed(schema, one))),
            _ => true,
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![(-2..3_i64).prop_map(Value::from), Just(json!(0.5)), "[ab]".prop_map(Value::from), Just(Value::Null)];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::btree_map("[xyz]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn schemas() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            prop::sample::select(vec![json!({}), json!(true), json!(false)]),
            prop::sample::subsequence(vec!["integer", "number", "string", "null", "object", "array"], 1..4)
                .prop_map(|types| json!({"type": types})),
            prop::collection::vec(prop_oneof![(0..3_i64).prop_map(Value::from), "[ab]".prop_map(Value::from)], 1..3)
                .prop_map(|all| json!({"enum": all})),
            (-1..3_i64).prop_map(|least| json!({"minimum": least})),
        ];
        leaf.prop_recursive(3, 16, 3, |inner| {
            let properties = prop::collection::btree_map("[xyz]", inner.clone(), 0..3);
            let required = prop::sample::subsequence(vec!["x", "y", "z"], 0..3);
            let objects = (properties, required, prop::option::of(inner.clone())).prop_map(|(properties, required, more)| {
                let mut schema = json!({"properties": properties, "required": required});
                more.into_iter().for_each(|more| schema["additionalProperties"] = more);
                schema
            });
            prop_oneof![
                4 => objects,
                1 => (inner.clone(), 0..3_u64).prop_map(|(items, most)| json!({"items": items, "maxItems": most})),
                1 => prop::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({"anyOf": all})),
                1 => prop::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({"allOf": all})),
                1 => inner.prop_map(|one| json!({"not": one})),
            ]
        })
    }

    /// The same schema with something dropped or added here and there, so that one is often wider than the other.
    fn altered(schema: &Value, dice: &mut impl Iterator<Item = u8>) -> Value {
        let mut roll = |sides: u8| dice.next().unwrap_or(1) % sides;
        match schema {
            Value::Object(members) => {
                let kept: Vec<_> = members.iter().filter(|_| roll(5) != 0).collect();
                let mut new: Map<String, Value> = Map::new();
                for (name, value) in kept {
                    new.insert(name.clone(), altered(value, dice));
                }
                Value::Object(new)
            }
            Value::Array(all) => {
                let mut all: Vec<Value> = all.iter().map(|one| altered(one, dice)).collect();
                if all.len() > 1 && dice.next().unwrap_or(1).is_multiple_of(4) {
                    all.pop();
                }
                Value::Array(all)
            }
            Value::Number(number) if number.is_i64() => json!(number.as_i64().unwrap() - i64::from(roll(3) == 0)),
            other => other.clone(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_is_said_to_be_taken_is_taken(
            schema in schemas(), dice in prop::collection::vec(any::<u8>(), 40), all in prop::collection::vec(values(), 12),
        ) {
            let other = altered(&schema, &mut dice.into_iter());
            // A list of choices that has lost its last one is no schema.
            prop_assume!(!other.to_string().contains("[]") || !other.to_string().contains("Of\":[]"));
            for (from, to) in [(&schema, &other), (&other, &schema)] {
                let (refused, taken) = (takes(to, from, Unlisted::IsRefused), takes(to, from, Unlisted::IsTaken));
                for value in all.iter().filter(|value| is_valid(from, value)) {
                    prop_assert!(!refused || !is_listed(from, value) || is_valid(to, value), "{from} to {to}: {value}");
                    prop_assert!(!taken || !is_listed(from, value) || is_valid(to, value), "{from} to {to}: {value}");
                }
            }
        }
    }
}
