//! The work queue between event handlers and reconcile loops, with upstream's semantics (client-go `util/workqueue`).
//!
//! A key waits at most once and is in at most one worker's hands; a key added while it is worked on waits until that
//! ends. [`Queue`] is the handle, [`run`] drives workers; `state` is the pure part. What keys mean is not known here.

mod metrics;
mod run;
mod state;

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

pub use self::run::run;
use self::{metrics::Metrics, state::State};
use crate::metrics::before_scrape;

/// What can wait in a queue.
pub trait Item: Clone + Eq + Hash + Debug + Send + 'static {}

impl<T: Clone + Eq + Hash + Debug + Send + 'static> Item for T {}

/// How long a key that keeps failing waits: `base * 2^failures`, at most `max`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub base: Duration,
    pub max: Duration,
}

impl Default for Backoff {
    /// Upstream's 5 ms to 1000 s.
    fn default() -> Self {
        Self { base: Duration::from_millis(5), max: Duration::from_secs(1000) }
    }
}

impl Backoff {
    pub fn delay(&self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.max)
    }
}

/// A queue of keys. Cheap to clone; clones are the same queue.
pub struct Queue<T>(Arc<Inner<T>>);

struct Inner<T> {
    backoff: Backoff,
    state: Mutex<State<T>>,
    failures: Mutex<HashMap<T, u32>>,
    /// Woken when a key is ready, a deadline may have come nearer, or the queue ends.
    changed: Notify,
    metrics: Metrics,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Item> Queue<T> {
    /// `name` is the label of its metrics.
    pub fn new(name: &'static str) -> Self {
        Self::with_backoff(name, Backoff::default())
    }

    pub fn with_backoff(name: &'static str, backoff: Backoff) -> Self {
        let inner = Arc::new(Inner {
            backoff,
            state: Mutex::new(State::default()),
            failures: Mutex::default(),
            changed: Notify::new(),
            metrics: Metrics::new(name),
        });
        let weak = Arc::downgrade(&inner);
        before_scrape(move || weak.upgrade().map(|inner| Self(inner).observe()).is_some());
        Self(inner)
    }

    fn observe(&self) {
        self.with(|state| self.0.metrics.working(state));
    }

    fn with<R>(&self, f: impl FnOnce(&mut State<T>) -> R) -> R {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.len();
        let result = f(&mut state);
        self.0.metrics.depth(before, state.len());
        result
    }

    fn failures<R>(&self, f: impl FnOnce(&mut HashMap<T, u32>) -> R) -> R {
        f(&mut self.0.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes `item` wait, unless it does already. After [`Queue::shut_down`] it is dropped.
    pub fn add(&self, item: T) {
        if self.with(|state| state.add(item, Instant::now())) {
            self.0.metrics.added();
        }
        self.0.changed.notify_one();
    }

    /// As [`Queue::add`], after `delay`. An item already waiting for its time keeps the earlier of the two.
    pub fn add_after(&self, item: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(item);
        }
        self.with(|state| state.add_at(item, Instant::now() + delay));
        self.0.changed.notify_one();
    }

    /// As [`Queue::add_after`], with a delay that doubles with each call until [`Queue::forget`].
    pub fn add_rate_limited(&self, item: T) {
        let failures = self.failures(|failures| {
            let count = failures.entry(item.clone()).or_default();
            let before = *count;
            *count = count.saturating_add(1);
            before
        });
        self.0.metrics.retried();
        self.add_after(item, self.0.backoff.delay(failures));
    }

    /// How often `item` was added rate limited since it was last forgotten.
    pub fn num_requeues(&self, item: &T) -> u32 {
        self.failures(|failures| failures.get(item).copied().unwrap_or_default())
    }

    /// The next failure of `item` counts as its first.
    pub fn forget(&self, item: &T) {
        self.failures(|failures| failures.remove(item));
    }

    /// The next item, marked as worked on: the caller owes [`Queue::done`]. `None` once the queue was shut down and is
    /// empty. Cancel safe.
    pub async fn get(&self) -> Option<T> {
        loop {
            // Registered before the state is looked at: a wake-up in between is kept.
            let changed = self.0.changed.notified();
            let (item, deadline, more) = self.with(|state| {
                let added = state.promote(Instant::now());
                (0..added).for_each(|_| self.0.metrics.added());
                (state.take(), state.next_deadline(), state.has_ready())
            });
            if let Some((item, waited)) = item {
                self.0.metrics.started(waited);
                // This worker was perhaps the one that minded the nearest deadline: another must take over.
                if more || deadline.is_some() {
                    self.0.changed.notify_one();
                }
                return Some(item);
            }
            if self.is_shut_down() {
                self.0.changed.notify_one();
                return None;
            }
            match deadline {
                Some(deadline) => {
                    let _ = tokio::time::timeout_at(deadline, changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// Says that the work on `item` ended; if it was added meanwhile, it waits again.
    pub fn done(&self, item: &T) {
        if let Some(worked) = self.with(|state| state.done(item, Instant::now())) {
            self.0.metrics.finished(worked);
        }
        self.0.changed.notify_one();
    }

    /// The name given to [`Queue::new`].
    pub fn name(&self) -> &'static str {
        self.0.metrics.name
    }

    /// How many items are ready and waiting.
    pub fn len(&self) -> usize {
        self.with(|state| state.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes nothing new; what is waiting is still handed out.
    pub fn shut_down(&self) {
        self.with(State::shut_down);
        self.0.changed.notify_one();
    }

    fn is_shut_down(&self) -> bool {
        self.with(|state| state.is_shut_down())
    }
}
