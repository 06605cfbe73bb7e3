//! When the disk is tried again.

use std::time::Duration;

use super::clock::Moment;

/// Later and later, so that a disk in trouble is not worn out: after 250 ms, twice that, and at last every ten
/// seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retry {
    after: Option<(Moment, Duration)>,
}

impl Retry {
    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(10);

    /// Whether it is time; always, where the last try succeeded.
    pub fn is_due(self, now: Moment) -> bool {
        self.after.is_none_or(|(failed, wait)| now.since(failed) >= wait)
    }

    /// Notes how a try ended.
    pub fn note(&mut self, now: Moment, succeeded: bool) {
        let doubled = self.after.map_or(Self::FIRST, |(_, wait)| (wait * 2).min(Self::LONGEST));
        self.after = (!succeeded).then_some((now, doubled));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_in_trouble_is_tried_less_and_less_often_and_at_once_when_it_is_well() {
        let mut retry = Retry::default();
        let (mut tries, mut last) = (Vec::new(), 0);
        for millis in (0..60_000).step_by(250) {
            let now = Moment::default().plus(Duration::from_millis(millis));
            if retry.is_due(now) {
                tries.push(millis - last);
                last = millis;
                retry.note(now, false);
            }
        }
        assert_eq!(tries, [0, 250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000, 10_000]);
        let now = Moment::default().plus(Duration::from_secs(60));
        retry.note(now, true);
        assert!(retry.is_due(now));
    }
}
