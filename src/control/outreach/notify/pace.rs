//! When a notice is tried again, and when it is given up.

use std::time::Duration;

/// Exponential back-off with jitter, bounded in number and time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The pause after the first try, doubled up to the longest.
    pub(super) first: Duration,
    pub(super) longest: Duration,
    /// So many tries,
    pub(super) tries: u32,
    /// and none but the first where it is older: behind a dead sink, notices grow old together.
    pub(super) oldest: Duration,
}

impl Default for Pace {
    /// 8 tries in about 10 min.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { first: seconds(5), longest: seconds(300), tries: 8, oldest: seconds(900) }
    }
}

impl Pace {
    /// The pause after so many tries: a fifth more or less by `dice` (0 to 1), so that those who failed together do not
    /// come back together. What the sink asks for counts where it is longer, up to the longest.
    pub(super) fn pause(&self, tries: u32, asked: Option<Duration>, dice: f64) -> Duration {
        let doubled = self.first.saturating_mul(1u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX));
        let pause = doubled.min(self.longest).mul_f64(0.8 + 0.4 * dice.clamp(0.0, 1.0));
        pause.max(asked.unwrap_or_default().min(self.longest))
    }

    /// Whether a notice is given up after so many tries, at such an age.
    pub(super) fn is_over(&self, tries: u32, age: Duration) -> bool {
        tries >= self.tries || age >= self.oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_tries_take_about_ten_minutes() {
        let pace = Pace::default();
        let all = |dice: f64| (1..pace.tries).map(|tries| pace.pause(tries, None, dice)).sum::<Duration>().as_secs();
        assert_eq!((all(0.0), all(0.5), all(1.0)), (492, 615, 738));
        assert!(!pace.is_over(7, Duration::from_secs(899)) && pace.is_over(8, Duration::ZERO) && pace.is_over(1, pace.oldest));
    }

    #[test]
    fn pauses_double_and_end_at_the_longest_whatever_is_asked() {
        let pace = Pace::default();
        let pause = |tries, asked| pace.pause(tries, asked, 0.5).as_secs();
        assert_eq!([1, 2, 3, 7, 40].map(|tries| pause(tries, None)), [5, 10, 20, 300, 300]);
        assert_eq!(pause(1, Some(Duration::from_secs(60))), 60);
        assert_eq!(pause(3, Some(Duration::from_secs(1))), 20, "never sooner than by itself");
        assert_eq!(pause(1, Some(Duration::from_secs(86_400))), 300);
    }
}
