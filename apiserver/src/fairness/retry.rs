//! After how many seconds a refused client is to come again: longer while many are refused. Pure.

use std::collections::VecDeque;

const SECONDS_MAX: u64 = 32;

/// Refusals of one level.
#[derive(Debug)]
pub struct Refusals {
    /// Second and how many were refused in it, of the seconds before the current one.
    history: VecDeque<(u64, u64)>,
    current: (u64, u64),
    retry_after_seconds: u64,
    raised_at: u64,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { history: VecDeque::new(), current: (0, 0), retry_after_seconds: 1, raised_at: 0 }
    }
}

impl Refusals {
    /// Counts a refusal in this second of any clock, and says when to come again.
    pub fn refuse(&mut self, second: u64) -> u64 {
        if second != self.current.0 {
            self.history.push_back(std::mem::replace(&mut self.current, (second, 0)));
            let kept = SECONDS_MAX.min(2 * self.retry_after_seconds);
            self.history.retain(|(at, _)| second.saturating_sub(*at) <= kept);
            self.adjust(second);
        }
        self.current.1 += 1;
        self.retry_after_seconds
    }

    /// As TCP does: doubled when it gets worse, one less when it gets better.
    fn adjust(&mut self, second: u64) {
        let period = self.retry_after_seconds;
        let recent = self.history.iter().filter(|(at, _)| second.saturating_sub(*at) <= period);
        let refused: u64 = recent.map(|(_, count)| count).sum();
        if second.saturating_sub(self.raised_at) >= period && refused >= 3 * period {
            self.retry_after_seconds = (period * 2).min(SECONDS_MAX);
            self.raised_at = second;
        } else if refused < period && period > 1 {
            self.retry_after_seconds -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_while_it_gets_worse() {
        let mut refusals = Refusals::default();
        let mut seen = Vec::new();
        for second in 100..110 {
            seen.push((0..10).map(|_| refusals.refuse(second)).max().unwrap_or(0));
        }
        assert_eq!(seen, [1, 2, 2, 4, 4, 4, 4, 8, 8, 8]);
        assert_eq!(refusals.refuse(1000), 7);
        assert_eq!(refusals.refuse(1001), 6);
    }
}
