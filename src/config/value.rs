//! The written forms of values: durations, sizes, shares, and the endpoints of an entry.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::domain::Share;
use crate::domain::plan::{Spoken, parse_duration};

/// A duration as it is written: `500ms`, `2s`, `10m`, `1h`, `2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text_of(deserializer, "a duration in quotes, like \"2s\" or \"10m\"")?;
        parse_duration(&text).map(Self).map_err(de::Error::custom)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Spoken(self.0).fmt(f)
    }
}

/// A number of bytes as it is written: `64KiB`, `4MiB`, `1024B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text_of(deserializer, "a size in quotes, like \"64KiB\"")?;
        let refuse =
            || de::Error::custom(format!("`{text}` is not a size: write a whole number and a unit, like 512B, 64KiB, 4MiB"));
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
        let (number, unit) = text.split_at(unit_at);
        let unit = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            _ => return Err(refuse()),
        };
        let bytes = number.parse::<usize>().ok().and_then(|number| number.checked_mul(unit)).filter(|bytes| *bytes <= 1 << 30);
        bytes.map(Self).ok_or_else(refuse)
    }
}

/// A share in per cent with at most two decimals, whole or with a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub Share);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Percent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a share: a number from 0 to 100 with at most two decimals")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Percent, E> {
                Share::parse(&number.to_string()).map(Percent).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Percent, E> {
                Share::parse(&number.to_string()).map(Percent).map_err(E::custom)
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Percent, E> {
                Share::from_percent(number).map(Percent).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// An endpoint as it is written: a URL, or a table with a name of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointText {
    /// The stable name, where one is given.
    pub name: Option<String>,
    /// `scheme://host:port`.
    pub url: String,
    /// `resolve`, where given.
    pub resolve: Option<String>,
}

impl<'de> Deserialize<'de> for EndpointText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            name: Option<String>,
            url: String,
            resolve: Option<String>,
        }
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = EndpointText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an endpoint: \"http://host:port\" or { name = \"a\", url = \"http://host:port\" }")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<EndpointText, E> {
                Ok(EndpointText { name: None, url: url.to_owned(), resolve: None })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EndpointText, A::Error> {
                let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(EndpointText { name: table.name, url: table.url, resolve: table.resolve })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

fn text_of<'de, D: Deserializer<'de>>(deserializer: D, expected: &'static str) -> Result<String, D::Error> {
    struct Text(&'static str);
    impl Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
    }
    deserializer.deserialize_any(Text(expected))
}
