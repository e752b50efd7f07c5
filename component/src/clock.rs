//! The wall clock, as an argument.
//!
//! Components ask a [`Clock`] for "now" and use tokio's timers for waiting. A simulated clock moves with tokio's own
//! time, so that a test with paused time moves both together. This module knows neither time zones nor formats.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Tells the time of day. Cheap to clone.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Source);

#[derive(Clone, Copy, Debug)]
enum Source {
    System,
    Simulated { start: Timestamp, origin: Instant },
}

impl Clock {
    /// The machine's wall clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that says `start` now and then advances with [`tokio::time`], also while that is paused.
    pub fn simulated(start: Timestamp) -> Self {
        Self(Source::Simulated { start, origin: Instant::now() })
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        match self.0 {
            Source::System => Timestamp::now(),
            Source::Simulated { start, origin } => {
                let elapsed = SignedDuration::try_from(origin.elapsed()).unwrap_or(SignedDuration::MAX);
                start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
            }
        }
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub fn since(&self, earlier: Timestamp) -> Duration {
        Duration::try_from(self.now().duration_since(earlier)).unwrap_or_default()
    }

    /// How long until `later`; zero when it has passed.
    pub fn until(&self, later: Timestamp) -> Duration {
        Duration::try_from(later.duration_since(self.now())).unwrap_or_default()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_clock_follows_tokio() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = Clock::simulated(start);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now().to_string(), "2026-01-01T00:01:30Z");
        assert_eq!(clock.since(start), Duration::from_secs(90));
        assert_eq!(clock.until(start), Duration::ZERO);
    }
}
