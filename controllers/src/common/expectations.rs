//! What a controller has asked for and not yet seen come back through its watch.
//!
//! Without this a sync that runs before the cache has caught up would create the same pods twice.
//! Creations are counted, deletions are remembered by name: a pod that is deleted again (its status
//! changes on the way out) must not be counted as a second one.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use component::key::Key;
use jiff::Timestamp;

/// After this long an event is taken to be lost, and the controller looks at the cache as it is.
const EXPIRY: Duration = Duration::from_secs(5 * 60);

#[derive(Default)]
pub(crate) struct Expectations {
    of: Mutex<HashMap<Key, Pending>>,
}

struct Pending {
    creations: usize,
    deletions: HashSet<String>,
    /// Those of the deletions of which no clear answer came.
    doubtful: HashSet<String>,
    since: Timestamp,
}

impl Expectations {
    pub(crate) fn expect_creations(&self, key: &Key, count: usize, now: Timestamp) {
        self.expect(key, count, [], now);
    }

    /// Expects that these pods (names in the key's namespace) are seen to go.
    pub(crate) fn expect_deletions(&self, key: &Key, names: impl IntoIterator<Item = String>, now: Timestamp) {
        self.expect(key, 0, names, now);
    }

    /// Both at once.
    pub(crate) fn expect(
        &self,
        key: &Key,
        creations: usize,
        deletions: impl IntoIterator<Item = String>,
        now: Timestamp,
    ) {
        let deletions = deletions.into_iter().collect();
        self.lock().insert(key.clone(), Pending { creations, deletions, doubtful: HashSet::new(), since: now });
    }

    pub(crate) fn creation_observed(&self, key: &Key) {
        if let Some(pending) = self.lock().get_mut(key) {
            pending.creations = pending.creations.saturating_sub(1);
        }
    }

    pub(crate) fn deletion_observed(&self, key: &Key, name: &str) {
        if let Some(pending) = self.lock().get_mut(key) {
            pending.deletions.remove(name);
            pending.doubtful.remove(name);
        }
    }

    /// Nobody answered whether this pod goes: it has to be looked up.
    pub(crate) fn doubt_deletion(&self, key: &Key, name: &str) {
        if let Some(pending) = self.lock().get_mut(key).filter(|pending| pending.deletions.contains(name)) {
            pending.doubtful.insert(name.to_owned());
        }
    }

    /// It goes, and the watch will tell.
    pub(crate) fn confirm_deletion(&self, key: &Key, name: &str) {
        if let Some(pending) = self.lock().get_mut(key) {
            pending.doubtful.remove(name);
        }
    }

    /// The pods to look up.
    pub(crate) fn doubtful(&self, key: &Key) -> Vec<String> {
        self.lock().get(key).map(|pending| pending.doubtful.iter().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Whether the cache has caught up with what was asked for, so that counting it makes sense.
    pub(crate) fn satisfied(&self, key: &Key, now: Timestamp) -> bool {
        self.lock().get(key).is_none_or(|pending| {
            let fulfilled = pending.creations == 0 && pending.deletions.is_empty();
            fulfilled || now.duration_since(pending.since).unsigned_abs() > EXPIRY
        })
    }

    /// The pods that were asked to go and that the cache may still show as they were.
    pub(crate) fn leaving(&self, key: &Key, now: Timestamp) -> HashSet<String> {
        match self.lock().get(key) {
            Some(pending) if now.duration_since(pending.since).unsigned_abs() <= EXPIRY => pending.deletions.clone(),
            _ => HashSet::new(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Pending>> {
        self.of.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creations_are_counted_and_deletions_named() {
        let all = Expectations::default();
        let key = Key { namespace: "n".into(), name: "web".into() };
        let now = Timestamp::from_second(1_000_000).unwrap();
        assert!(all.satisfied(&key, now));

        all.expect_creations(&key, 2, now);
        all.creation_observed(&key);
        assert!(!all.satisfied(&key, now));
        all.creation_observed(&key);
        assert!(all.satisfied(&key, now));

        all.expect_deletions(&key, ["a".to_string(), "b".to_string()], now);
        all.deletion_observed(&key, "a");
        all.deletion_observed(&key, "a");
        assert!(!all.satisfied(&key, now), "the same pod twice is one deletion");
        assert_eq!(all.leaving(&key, now), ["b".to_string()].into());
        let late = Timestamp::from_second(1_000_000 + 301).unwrap();
        assert!(all.satisfied(&key, late), "a lost event is not waited for for ever");
        assert!(all.leaving(&key, late).is_empty());
        all.deletion_observed(&key, "b");
        assert!(all.satisfied(&key, now));
    }

    #[test]
    fn doubts_are_about_what_is_expected() {
        let (all, key) = (Expectations::default(), Key { namespace: "n".into(), name: "web".into() });
        let now = Timestamp::from_second(1_000_000).unwrap();
        all.expect_deletions(&key, ["a".to_string(), "b".to_string()], now);
        all.doubt_deletion(&key, "a");
        all.doubt_deletion(&key, "seen to go before its answer was lost");
        assert_eq!(all.doubtful(&key), ["a"]);
        all.confirm_deletion(&key, "a");
        assert!(all.doubtful(&key).is_empty() && all.leaving(&key, now).contains("a"));
        all.doubt_deletion(&key, "b");
        all.deletion_observed(&key, "b");
        assert!(all.doubtful(&key).is_empty());
    }
}
