//! What was written and has not come back through the watch yet.
//!
//! Two claims that are looked at one right after the other would otherwise be given the same volume; the server refuses
//! the second, but only after some wasted writes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::ResourceExt;

pub(super) struct Written<K> {
    newest: Mutex<HashMap<String, Arc<K>>>,
}

impl<K> Default for Written<K> {
    fn default() -> Self {
        Written { newest: Mutex::default() }
    }
}

impl<K: ResourceExt> Written<K> {
    /// Remembers the server's answer to a write.
    pub(super) fn wrote(&self, object: K) -> Arc<K> {
        let object = Arc::new(object);
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.insert(object.uid().unwrap_or_default(), object.clone());
        object
    }

    /// The newer of what the cache has and what was written.
    pub(super) fn newest(&self, cached: Arc<K>) -> Arc<K> {
        let uid = cached.uid().unwrap_or_default();
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.get(&uid) {
            Some(written) if version(&**written) > version(&*cached) => written.clone(),
            Some(_) => {
                newest.remove(&uid);
                cached
            }
            None => cached,
        }
    }

    /// The cache says that it is gone.
    pub(super) fn forget(&self, object: &K) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.remove(&object.uid().unwrap_or_default());
    }
}

/// Versions of one object are numbers that grow.
fn version(object: &impl ResourceExt) -> u64 {
    object.resource_version().and_then(|v| v.parse().ok()).unwrap_or(0)
}
