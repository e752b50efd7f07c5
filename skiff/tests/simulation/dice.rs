//! What goes wrong, and when: decided by the seed, and counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use component::random::Random;

/// A source of accidents. Clones share its stream and its counts.
#[derive(Clone)]
pub(crate) struct Dice {
    random: Random,
    calm: Arc<AtomicBool>,
    counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

impl Dice {
    pub(crate) fn new(random: Random) -> Self {
        Self { random, calm: Arc::default(), counts: Arc::default() }
    }

    /// Nothing goes wrong any more.
    pub(crate) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Whether an accident happens that happens once in `times`.
    pub(crate) fn strikes(&self, accident: &'static str, times: u64) -> bool {
        let strikes = !self.is_calm() && self.random.below(times) == 0;
        if strikes {
            self.count(accident);
        }
        strikes
    }

    pub(crate) fn count(&self, accident: &'static str) {
        *self.counts.lock().unwrap().entry(accident).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap().clone()
    }

    /// How long a message is under way: mostly moments, at times seconds.
    pub(crate) fn latency(&self) -> Duration {
        match self.random.below(20) {
            _ if self.is_calm() => Duration::from_millis(1),
            0 => Duration::from_millis(self.random.below(3000)),
            1..5 => Duration::from_millis(self.random.below(200)),
            _ => Duration::from_millis(self.random.below(5)),
        }
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    /// One of `from`; `None` when there is none.
    pub(crate) fn pick<T: Clone>(&self, from: &[T]) -> Option<T> {
        from.get(self.below(from.len() as u64) as usize).cloned()
    }

    pub(crate) fn random(&self) -> &Random {
        &self.random
    }
}
