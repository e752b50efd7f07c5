//! Answers kept for a while.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// More answers than any honest load needs; beyond, the expired ones go, then all.
const MOST: usize = 4096;

pub(super) struct Cache<K, V>(Mutex<HashMap<K, (V, Instant)>>);

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, (V, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.lock().get(key).filter(|(_, until)| *until > Instant::now()).map(|(value, _)| value.clone())
    }

    pub(super) fn put(&self, key: K, value: V, ttl: Duration) {
        let mut map = self.lock();
        let now = Instant::now();
        if map.len() >= MOST {
            map.retain(|_, (_, until)| *until > now);
        }
        if map.len() >= MOST {
            map.clear();
        }
        map.insert(key, (value, now + ttl));
    }
}
