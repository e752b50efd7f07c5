//! How long a pod that failed is left alone.

use std::time::Duration;

/// Doubles from `initial` up to `max` with each failure.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub initial: Duration,
    pub max: Duration,
    /// A pod that no event woke for so long is tried again, in case an event was missed.
    pub leftover_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(10),
            leftover_after: Duration::from_secs(5 * 60),
        }
    }
}

impl Backoff {
    /// The pause after so many failures; none before the first.
    pub fn after(&self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => self.initial.saturating_mul(2_u32.saturating_pow(doublings)).min(self.max),
        }
    }
}
