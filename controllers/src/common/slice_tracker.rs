//! What a controller of EndpointSlices has written and not yet seen in its cache.
//!
//! Slices get their names from the server, so a sync over a cache that lags behind would make the same slice again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use component::key::Key;
use jiff::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// A slice that was deleted by somebody while the watch was away is never seen: waiting has an end.
pub(crate) const EXPIRY: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(crate) struct Tracker {
    of: Mutex<HashMap<Key, HashMap<String, Expected>>>,
}

#[derive(Clone, Copy)]
struct Expected {
    state: State,
    since: Timestamp,
}

#[derive(Clone, Copy)]
enum State {
    /// There, of this generation or a later one.
    Generation(i64),
    Gone,
}

impl Tracker {
    pub(crate) fn wrote(&self, service: &Key, slice: &EndpointSlice, now: Timestamp) {
        self.expect(service, slice, State::Generation(slice.metadata.generation.unwrap_or(0)), now);
    }

    pub(crate) fn deleted(&self, service: &Key, slice: &EndpointSlice, now: Timestamp) {
        self.expect(service, slice, State::Gone, now);
    }

    fn expect(&self, service: &Key, slice: &EndpointSlice, state: State, now: Timestamp) {
        let name = slice.metadata.name.clone().unwrap_or_default();
        self.lock().entry(service.clone()).or_default().insert(name, Expected { state, since: now });
    }

    /// The cache says that the slice is gone, whatever was expected of it.
    pub(crate) fn saw_deletion(&self, service: &Key, slice: &EndpointSlice) {
        if let Some(slices) = self.lock().get_mut(service) {
            slices.remove(slice.metadata.name.as_deref().unwrap_or_default());
        }
    }

    pub(crate) fn forget(&self, service: &Key) {
        self.lock().remove(service);
    }

    /// Whether the cache does not show yet what was written for the Service.
    pub(crate) fn is_stale(&self, service: &Key, cached: &[impl AsRef<EndpointSlice>], now: Timestamp) -> bool {
        let mut all = self.lock();
        let Some(slices) = all.get_mut(service) else { return false };
        slices.retain(|_, e| now.duration_since(e.since).unsigned_abs() < EXPIRY);
        let find = |name: &String| cached.iter().map(AsRef::as_ref).find(|s| s.metadata.name.as_ref() == Some(name));
        slices.iter().any(|(name, expected)| match (expected.state, find(name)) {
            (State::Gone, found) => found.is_some(),
            (State::Generation(_), None) => true,
            (State::Generation(generation), Some(slice)) => slice.metadata.generation.unwrap_or(0) < generation,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, HashMap<String, Expected>>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
