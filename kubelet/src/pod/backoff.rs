//! Back-off with upstream's arithmetic (`client-go/util/flowcontrol`): 10 s doubling to 5 minutes, forgotten after ten
//! minutes without a failure. Pure: time is an argument.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

pub const INITIAL: Duration = Duration::from_secs(10);
pub const MAXIMUM: Duration = Duration::from_secs(300);
/// Whatever the maximum is.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy)]
struct Entry {
    delay: Duration,
    last_update: Timestamp,
}

/// Delays by key (a container's name and hash, or an image).
#[derive(Debug, Clone)]
pub struct Backoff {
    entries: HashMap<String, Entry>,
    initial: Duration,
    maximum: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(INITIAL, MAXIMUM)
    }
}

impl Backoff {
    pub fn new(initial: Duration, maximum: Duration) -> Self {
        Self { entries: HashMap::new(), initial: initial.min(maximum), maximum }
    }

    /// When `key`, having failed at `failed_at`, may be tried again, with the whole delay; None when it may at once.
    pub fn blocked_until(&self, key: &str, failed_at: Timestamp, now: Timestamp) -> Option<(Timestamp, Duration)> {
        let entry = self.entries.get(key).filter(|entry| !self.is_expired(entry, failed_at))?;
        let until = after(failed_at, entry.delay);
        (now < until).then_some((until, entry.delay))
    }

    /// Notes one more try after the failure at `failed_at`: the next one waits twice as long.
    pub fn advance(&mut self, key: &str, failed_at: Timestamp, now: Timestamp) {
        let delay = match self.entries.get(key).filter(|entry| !self.is_expired(entry, failed_at)) {
            Some(entry) => (entry.delay * 2).min(self.maximum),
            None => self.initial,
        };
        self.entries.insert(key.to_owned(), Entry { delay, last_update: now });
    }

    pub fn forget(&mut self, key: &str) {
        self.entries.remove(key);
    }

    fn is_expired(&self, entry: &Entry, failed_at: Timestamp) -> bool {
        Duration::try_from(failed_at.duration_since(entry.last_update)).is_ok_and(|age| age > FORGOTTEN_AFTER)
    }
}

/// `at` + `delay`, held at the end of time.
pub fn after(at: Timestamp, delay: Duration) -> Timestamp {
    at.checked_add(delay).unwrap_or(Timestamp::MAX)
}

/// A duration as Go prints it (`10s`, `1m20s`, `5m0s`), whole seconds.
pub fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).expect("a time in range")
    }

    #[test]
    fn delays_double_from_ten_seconds_to_five_minutes() {
        let mut backoff = Backoff::default();
        let mut clock = 1000;
        assert_eq!(backoff.blocked_until("web", at(clock), at(clock)), None, "the first restart is immediate");
        for expected in [10, 20, 40, 80, 160, 300, 300] {
            backoff.advance("web", at(clock), at(clock));
            let (until, delay) = backoff.blocked_until("web", at(clock), at(clock)).expect("is held back");
            assert_eq!(delay, Duration::from_secs(expected));
            clock += i64::try_from(expected).expect("small");
            assert_eq!(until, at(clock));
            assert_eq!(
                backoff.blocked_until("web", at(clock - i64::try_from(expected).expect("small")), at(clock)),
                None
            );
        }
        assert_eq!(backoff.blocked_until("web", at(clock + 601), at(clock + 601)), None, "forgotten after ten minutes");
    }

    #[test]
    fn durations_read_as_in_go() {
        for (seconds, text) in [(10, "10s"), (80, "1m20s"), (160, "2m40s"), (300, "5m0s"), (3600, "1h0m0s")] {
            assert_eq!(go_duration(Duration::from_secs(seconds)), text);
        }
    }
}
