//! Durations as people write and read them.

use std::fmt;
use std::time::Duration;

/// A duration in the largest unit in which it is a whole number: `500ms`, `90s`, `10m`, `1h`.
#[derive(Clone, Copy, Debug)]
pub struct Spoken(pub Duration);

impl fmt::Display for Spoken {
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

/// Reads a duration: `500ms`, `2s`, `10m`, `1h`, `2d`. The unit is required: a bare number is as often meant in seconds as
/// in milliseconds. The error says what would be right.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_come_back_as_written() {
        for text in ["500ms", "2s", "90s", "10m", "1h", "2d"] {
            assert_eq!(Spoken(parse_duration(text).unwrap()).to_string(), text);
        }
        for wrong in ["5", "5 m s", "-1s", "1.5s", "", "s", "99999999999999999999s", "9999d", "10min"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
