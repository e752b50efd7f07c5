//! How much CPU is used now: the difference between two looks at a counter.
//!
//! Nobody looks between two requests, so that a kubelet at rest does nothing for it: the first request after a pod's
//! start finds no rate yet, as upstream's does before its second look.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// A window is at least so long where requests come often, and at most twice; upstream's looks are ten seconds apart.
const WINDOW_NS: i64 = 10_000_000_000;

#[derive(Debug, Clone, Copy)]
struct Look {
    at_ns: i64,
    usage_ns: u64,
}

/// The looks by cgroup.
#[derive(Debug, Default)]
pub(in crate::server) struct Rates(Mutex<HashMap<String, Pair>>);

#[derive(Debug, Clone, Copy)]
struct Pair {
    before: Look,
    last: Look,
    is_seen: bool,
}

impl Rates {
    /// Nanoseconds of CPU a second since a look before this one. A counter that went back is another one's.
    pub(super) fn note(&self, name: &str, at_ns: i64, usage_ns: u64) -> Option<u64> {
        let now = Look { at_ns, usage_ns };
        let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = pairs.entry(name.to_owned()).or_insert(Pair { before: now, last: now, is_seen: true });
        if pair.last.usage_ns > usage_ns {
            *pair = Pair { before: now, last: now, is_seen: true };
        }
        pair.is_seen = true;
        if at_ns - pair.last.at_ns >= WINDOW_NS {
            (pair.before, pair.last) = (pair.last, now);
        }
        let window_ns = u128::try_from(at_ns - pair.before.at_ns).ok().filter(|window| *window > 0)?;
        u64::try_from(u128::from(usage_ns - pair.before.usage_ns) * 1_000_000_000 / window_ns).ok()
    }

    /// Forgets whatever was not looked at since the last call.
    pub(super) fn forget_unseen(&self) {
        let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.retain(|_, pair| std::mem::take(&mut pair.is_seen));
    }
}

#[test]
fn rates_are_of_windows_between_ten_and_twenty_seconds() {
    const SECOND: i64 = 1_000_000_000;
    let rates = Rates::default();
    let look = |at: i64, usage_ms: u64| rates.note("/", at * SECOND, usage_ms * 1_000_000);
    assert_eq!(look(0, 0), None, "one look tells no rate");
    assert_eq!(look(1, 500), Some(500_000_000), "half a core");
    assert_eq!(look(12, 12_000), Some(1_000_000_000));
    assert_eq!(look(17, 12_000), Some(705_882_352), "still since the first look: 12 of 17 seconds");
    assert_eq!(look(22, 12_000), Some(0), "since the look ten seconds ago");
    assert_eq!(look(23, 10), None, "a counter that went back is a new one");
    rates.forget_unseen();
    rates.forget_unseen();
    assert_eq!(look(24, 20), None, "forgotten");
}
