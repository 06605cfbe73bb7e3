//! The written forms of values: durations, sizes, shares, and the endpoints of an entry.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use crate::domain::Share;

/// A duration as it is written: `500ms`, `2s`, `10m`, `1h`, `2d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// Reads a duration. The unit is required: a bare number is as often meant in seconds as in
/// milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("`{text}` is not a duration: write a whole number and a unit, like 500ms, 2s, 10m, 1h, 2d");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(refuse()),
    };
    let longest = 366 * 86_400_000;
    match number.checked_mul(unit).filter(|milliseconds| *milliseconds <= longest) {
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds)),
        None => Err(format!("`{text}` is too long: at most 366d")),
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = text_of(deserializer, "a duration in quotes, like \"2s\" or \"10m\"")?;
        parse_duration(&text).map(Self).map_err(de::Error::custom)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = self.0.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
        let found = units.iter().find(|(unit, _)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit));
        match found {
            Some((unit, name)) => write!(f, "{}{name}", milliseconds / unit),
            None => write!(f, "{milliseconds}ms"),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_come_back_as_written() {
        for text in ["500ms", "2s", "90s", "10m", "1h", "2d"] {
            assert_eq!(Span(parse_duration(text).unwrap()).to_string(), text);
        }
        for wrong in ["5", "5 m s", "-1s", "1.5s", "", "s", "99999999999999999999s", "9999d", "10min"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
