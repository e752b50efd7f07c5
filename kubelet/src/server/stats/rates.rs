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
/// After so long without a look a cgroup is taken to be gone.
const KEPT_NS: i64 = 300_000_000_000;

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
    seen_at_ns: i64,
}

impl Rates {
    /// Nanoseconds of CPU a second since a look before this one. A counter that went back is another one's, unless
    /// a request beside this one has looked later.
    pub(super) fn note(&self, name: &str, at_ns: i64, usage_ns: u64) -> Option<u64> {
        let now = Look { at_ns, usage_ns };
        let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = Pair { before: now, last: now, seen_at_ns: at_ns };
        let pair = pairs.entry(name.to_owned()).or_insert(first);
        if pair.last.usage_ns > usage_ns && pair.last.at_ns <= at_ns {
            *pair = first;
        }
        pair.seen_at_ns = at_ns;
        if at_ns - pair.last.at_ns >= WINDOW_NS {
            (pair.before, pair.last) = (pair.last, now);
        }
        let window_ns = u128::try_from(at_ns - pair.before.at_ns).ok().filter(|window| *window > 0)?;
        let used_ns = u128::from(usage_ns.checked_sub(pair.before.usage_ns)?);
        u64::try_from(used_ns * 1_000_000_000 / window_ns).ok()
    }

    /// Forgets what nobody has looked at for long. Others may be looking meanwhile.
    pub(super) fn forget_old(&self, at_ns: i64) {
        let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.retain(|_, pair| at_ns - pair.seen_at_ns <= KEPT_NS);
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
    assert_eq!(look(21, 11_900), None, "of a request that began before and comes after");
    assert_eq!(look(22, 12_000), Some(0), "which changes nothing");
    assert_eq!(look(23, 10), None, "a counter that went back is a new one");
    for _ in 0..3 {
        rates.forget_old(24 * SECOND);
    }
    assert_eq!(look(24, 20), Some(10_000_000), "several requests at once forget nothing of each other's");
    rates.forget_old(400 * SECOND);
    assert_eq!(look(401, 20), None, "forgotten");
}
