//! The one place that reads the clocks of the machine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::domain::Moment;

/// Monotonic time since the clock was made; follows tokio's clock, so tests can turn it.
#[derive(Clone, Copy, Debug)]
pub struct Clock(tokio::time::Instant);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// The wall clock at [`Moment::default`], since 1970, as it is now: for accounts, no decision reads it.
    pub fn origin(&self) -> Duration {
        since_epoch().saturating_sub(self.0.elapsed())
    }

    /// What it shows at another moment.
    pub fn at(&self, instant: tokio::time::Instant) -> Moment {
        Moment::after_start(instant.saturating_duration_since(self.0))
    }

    /// Now.
    pub fn now(&self) -> Moment {
        Moment::after_start(self.0.elapsed())
    }
}

/// The wall clock in UTC (RFC 3339, milliseconds), for people and records; no decision reads it.
pub fn wall_time() -> String {
    utc(since_epoch())
}

/// The wall clock since 1970-01-01 in UTC: for what has to mean the same in the next process.
pub fn since_epoch() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// A time after the epoch in UTC (RFC 3339, milliseconds).
pub fn utc(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since_epoch.subsec_millis())
}

/// The proleptic Gregorian date of a day counted from 1970-01-01 (Hinnant, "chrono-compatible
/// low-level date algorithms", `civil_from_days`, for days after the epoch).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| utc(Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_795_219_199), "2026-11-20T23:59:59.000Z");
        assert_eq!(at(4_102_444_800), "2100-01-01T00:00:00.000Z");
    }
}
