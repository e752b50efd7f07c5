//! How long a failed daemon pod stays before it is replaced: longer with each failure on its node.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::DaemonSet;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// A DaemonSet's UID, the generation worked on (a new template starts afresh) and a node.
type Key = (String, i64, String);

#[derive(Default)]
pub(super) struct Backoff {
    of: Mutex<HashMap<Key, Entry>>,
}

struct Entry {
    delay: Duration,
    since: Timestamp,
}

impl Entry {
    fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.since).max(SignedDuration::ZERO)).unwrap_or_default()
    }
}

impl Backoff {
    /// How long the failed pod on the node still has to wait, if it has to.
    pub(super) fn held_back(&self, ds: &DaemonSet, node: &str, now: Timestamp) -> Option<Duration> {
        let all = self.lock();
        let entry = all.get(&key(ds, node))?;
        entry.delay.checked_sub(entry.age(now)).filter(|left| !left.is_zero())
    }

    /// Doubles the wait for the next failure on the node. A node that went well for long starts afresh.
    pub(super) fn failed(&self, ds: &DaemonSet, node: &str, now: Timestamp) {
        let mut all = self.lock();
        all.retain(|_, entry| entry.age(now) <= LONGEST * 2);
        let next = all.get(&key(ds, node)).map_or(FIRST, |entry| (entry.delay * 2).min(LONGEST));
        all.insert(key(ds, node), Entry { delay: next, since: now });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(ds: &DaemonSet, node: &str) -> Key {
    let generation = ds.status.as_ref().and_then(|s| s.observed_generation).unwrap_or(0);
    (ds.metadata.uid.clone().unwrap_or_default(), generation, node.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_forgotten() {
        let (backoff, ds) = (Backoff::default(), DaemonSet::default());
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).unwrap();
        assert_eq!(backoff.held_back(&ds, "n", at(0)), None);
        backoff.failed(&ds, "n", at(0));
        assert_eq!(backoff.held_back(&ds, "n", at(0)), Some(Duration::from_secs(1)));
        assert_eq!(backoff.held_back(&ds, "other", at(0)), None);
        assert_eq!(backoff.held_back(&ds, "n", at(1)), None);
        backoff.failed(&ds, "n", at(1));
        assert_eq!(backoff.held_back(&ds, "n", at(1)), Some(Duration::from_secs(2)));
        (0..20).for_each(|_| backoff.failed(&ds, "n", at(2)));
        assert_eq!(backoff.held_back(&ds, "n", at(2)), Some(LONGEST));
        backoff.failed(&ds, "n", at(2000));
        assert_eq!(backoff.held_back(&ds, "n", at(2000)), Some(FIRST));
    }
}
