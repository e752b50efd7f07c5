//! How soon after one write the next may begin. Pure: the time is an argument.

use tokio::time::Instant;

use crate::options::MinSyncPeriod;

/// Without a period of somebody's own, writes take a third of the time: each is paid for by a pause of twice what it
/// took. One may be owed, so that what comes in two steps (a Service, then its endpoints) waits for no pause.
pub(super) struct Pace {
    period: MinSyncPeriod,
    /// When all writes so far are paid for.
    paid: Instant,
    earliest: Instant,
}

impl Pace {
    pub(super) fn new(period: MinSyncPeriod, now: Instant) -> Pace {
        Pace { period, paid: now, earliest: now }
    }

    /// When the next write may begin.
    pub(super) fn earliest(&self) -> Instant {
        self.earliest
    }

    pub(super) fn wrote(&mut self, start: Instant, end: Instant) {
        let took = end.saturating_duration_since(start);
        match self.period {
            MinSyncPeriod::Given(period) => self.earliest = end + period,
            MinSyncPeriod::Adaptive { max } => {
                let before = self.paid.max(start);
                self.earliest = before.max(end);
                self.paid = before + took + (2 * took).min(max);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Writes as soon as it may, each taking so many milliseconds; when they began.
    fn begun(period: MinSyncPeriod, took: &[u64]) -> Vec<u128> {
        let start = Instant::now();
        let mut pace = Pace::new(period, start);
        let each = took.iter().map(|ms| {
            let begin = pace.earliest();
            pace.wrote(begin, begin + Duration::from_millis(*ms));
            (begin - start).as_millis()
        });
        each.collect()
    }

    #[test]
    fn a_second_write_follows_at_once_and_all_take_a_third_of_the_time() {
        let adaptive = MinSyncPeriod::Adaptive { max: Duration::from_secs(1) };
        assert_eq!(begun(adaptive, &[10, 10, 10, 10, 10]), [0, 10, 30, 60, 90]);
        assert_eq!(begun(adaptive, &[10, 100, 10, 10]), [0, 10, 110, 330]);
        assert_eq!(begun(adaptive, &[3000, 10, 10]), [0, 3000, 4000], "no pause is longer than the most");
    }

    #[test]
    fn after_a_rest_nothing_is_owed() {
        let mut pace = Pace::new(MinSyncPeriod::Adaptive { max: Duration::from_secs(1) }, Instant::now());
        let at = |ms| Instant::now() + Duration::from_secs(3600) + Duration::from_millis(ms);
        let (start, end) = (at(0), at(10));
        pace.wrote(start, end);
        assert_eq!(pace.earliest(), end);
    }

    #[test]
    fn a_period_that_is_given_is_kept() {
        let given = MinSyncPeriod::Given(Duration::from_millis(100));
        assert_eq!(begun(given, &[10, 50, 10]), [0, 110, 260]);
    }
}
