//! Answers kept for a while.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// More answers than any honest load needs; beyond, all go.
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
        map.retain(|_, (_, until)| *until > now);
        if map.len() >= MOST {
            map.clear();
        }
        map.insert(key, (value, now + ttl));
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_is_gone_with_the_next_answer() {
    let (cache, ttl) = (Cache::new(), Duration::from_secs(10));
    cache.put("old", 1, ttl);
    tokio::time::advance(ttl).await;
    assert_eq!(cache.get(&"old"), None);
    cache.put("new", 2, ttl);
    assert_eq!(cache.lock().len(), 1);
}
