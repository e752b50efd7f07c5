//! How many seats a level wanted over a period: peak, average, deviation, and a smoothed figure to lend by. Pure.

use tokio::time::Instant;

/// How much of the smoothed figure stays each period: half of it is gone after some 30 periods.
const SMOOTHING: f64 = 0.977;

#[derive(Debug)]
pub struct Demand {
    value: usize,
    since: Instant,
    peak: usize,
    seconds: f64,
    sum: f64,
    sum_of_squares: f64,
    smoothed: f64,
}

/// Figures of one period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Period {
    pub peak: usize,
    pub average: f64,
    pub deviation: f64,
    pub smoothed: f64,
}

impl Demand {
    pub fn new(now: Instant) -> Self {
        Self { value: 0, since: now, peak: 0, seconds: 0.0, sum: 0.0, sum_of_squares: 0.0, smoothed: 0.0 }
    }

    pub fn set(&mut self, value: usize, now: Instant) {
        self.count_until(now);
        self.value = value;
        self.peak = self.peak.max(value);
    }

    /// Ends the period.
    pub fn take(&mut self, now: Instant) -> Period {
        self.count_until(now);
        let (average, deviation) = if self.seconds > 0.0 {
            let average = self.sum / self.seconds;
            (average, (self.sum_of_squares / self.seconds - average * average).max(0.0).sqrt())
        } else {
            (self.value as f64, 0.0)
        };
        let envelope = average + deviation;
        // Up at once, down slowly.
        self.smoothed = envelope.max(SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope);
        let period = Period { peak: self.peak, average, deviation, smoothed: self.smoothed };
        (self.peak, self.seconds, self.sum, self.sum_of_squares) = (self.value, 0.0, 0.0, 0.0);
        period
    }

    fn count_until(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.since).as_secs_f64();
        let value = self.value as f64;
        self.since = now;
        self.seconds += seconds;
        self.sum += value * seconds;
        self.sum_of_squares += value * value * seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rises_at_once_and_falls_slowly() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut demand = Demand::new(start);
        demand.set(10, at(5));
        assert_eq!(demand.take(at(10)), Period { peak: 10, average: 5.0, deviation: 5.0, smoothed: 10.0 });
        demand.set(0, at(10));
        let calm = demand.take(at(20));
        assert_eq!((calm.peak, calm.average), (10, 0.0));
        assert!((calm.smoothed - 9.77).abs() < 0.001, "{calm:?}");
    }
}
