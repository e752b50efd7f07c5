//! The true watch cache: every stored object once, in the form it is served, kept up to date by one watch over the
//! whole key space.
//!
//! Enter at [`Cache::start`]. Reads are answered from here; after [`Cache::consistent`] they miss nothing that was
//! acknowledged before. The cache knows resources as numbers and objects as JSON text with an index; what to index is the
//! [`Indexer`]'s to say. It refuses to know selectors, other encodings, and HTTP.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use component::shutdown::Shutdown;
use serde_json::Value;
use tokio::sync::watch;

use crate::store::{self, RangeRequest, Revision, Store};

mod bell;
pub mod compact;
pub mod event;
pub mod extract;
mod feed;
mod fresh;
pub mod item;
mod resource;
pub mod snapshot;
pub mod splice;
pub mod watcher;

pub use compact::{Fields, Labels};
pub use event::{Event, EventKind};
pub use extract::Paths;
pub use item::{Indexed, Indexer, Item, Resource};
pub use snapshot::Snapshot;
pub use watcher::{WatchEnd, WatchFrom, Watcher};

use fresh::Fresh;
use resource::ResourceCache;
use watcher::Shared;

/// Sizes.
#[derive(Clone, Debug)]
pub struct Options {
    /// What lies below this prefix is loaded; other keys only count as seen.
    pub prefix: String,
    /// What one resource's ring of events may hold in memory. A watcher that falls out of it costs a decoding an event
    /// from there on, so a burst should fit.
    pub ring_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { prefix: "/registry/".to_owned(), ring_bytes_max: 1 << 20 }
    }
}

/// The watch cache.
pub struct Cache {
    shared: Arc<Shared>,
    options: Options,
    fresh: Fresh,
    resources: RwLock<HashMap<Resource, Arc<ResourceCache>>>,
    ready: watch::Sender<bool>,
    /// The end of its following the store.
    shutdown: Shutdown,
}

impl Cache {
    /// Loads everything and follows the store from then on, in a task on the current runtime that ends with `shutdown`.
    /// Returns at once; [`Cache::ready`] says when there is something to read.
    pub fn start(store: Arc<dyn Store>, indexer: Arc<dyn Indexer>, options: Options, shutdown: Shutdown) -> Arc<Self> {
        let cache = Arc::new(Self {
            shared: Arc::new(Shared {
                store,
                indexer,
                seen: watch::Sender::new(Revision(0)),
                oldest: AtomicU64::new(0),
            }),
            options,
            fresh: Fresh::default(),
            resources: RwLock::default(),
            ready: watch::Sender::new(false),
            shutdown: shutdown.clone(),
        });
        tokio::spawn(feed::run(cache.clone(), shutdown));
        cache
    }

    /// Returns once everything is loaded.
    pub async fn ready(&self) {
        // The sender lives in `self`.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Whether everything is loaded. It goes back to false while the cache must load anew.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Everything up to this revision is in the cache.
    pub fn revision(&self) -> Revision {
        *self.shared.seen.borrow()
    }

    /// Returns once everything up to `revision` is in the cache.
    pub async fn wait_for(&self, revision: Revision) {
        if self.revision() < revision {
            let _ = self.shared.seen.subscribe().wait_for(|seen| *seen >= revision).await;
        }
    }

    /// Returns once everything that was acknowledged before this call is in the cache: before a consistent read.
    /// Assumes that the store answers; set a deadline around it. [`store::Error::Unavailable`] when the server ends, and
    /// nobody brings the cache forward any more.
    pub async fn consistent(&self) -> Result<Revision, store::Error> {
        let revision = self.shared.store.revision().await?;
        let is_seen = self.revision() >= revision || self.shutdown.run_until(self.wait_for(revision)).await.is_some();
        let ends = || store::Error::Unavailable { operation: "read", reason: "the server ends".to_owned() };
        is_seen.then_some(revision).ok_or_else(ends)
    }

    /// Tells what is about to be committed as `value`, for the moment in which the store tells it.
    pub fn expect(&self, resource: Resource, object: &Value, value: &Bytes) {
        if self.shared.store.hands_on_bytes() && Fresh::takes(value) {
            let indexed = self.shared.indexer.index_object(resource, object, value);
            indexed.into_iter().for_each(|indexed| self.fresh.put(value.clone(), indexed));
        }
    }

    /// One object.
    pub fn get(&self, resource: Resource, key: &str) -> Option<Arc<Item>> {
        self.resource(resource).get(key)
    }

    /// How many objects of a resource there are.
    pub fn count(&self, resource: Resource) -> usize {
        self.resource(resource).count()
    }

    /// All objects of a resource under `prefix`, which ends in a slash.
    pub fn list(&self, resource: Resource, prefix: &str) -> Snapshot {
        let seen = self.revision();
        self.resource(resource).snapshot(prefix, seen)
    }

    /// Holds on to a snapshot, so that [`Cache::list_at`] can give the next page of a list that was cut by a limit.
    pub fn keep(&self, resource: Resource, snapshot: &Snapshot) {
        self.resource(resource).keep(snapshot);
    }

    /// Drops what is kept of revisions before `oldest`, which the store no longer has: history ends for all readers at
    /// the same point, also for those whose list happens to be the newest still.
    pub fn forget_before(&self, oldest: Revision) {
        self.shared.oldest.fetch_max(oldest.0, Ordering::AcqRel);
        let resources = self.resources.read().unwrap_or_else(PoisonError::into_inner);
        resources.values().for_each(|cache| cache.forget_before(oldest));
    }

    /// The list as it was at `revision`, for the next page: from memory when kept, else from the store's history, from
    /// `after` (a key) on. Errors: [`store::Error::Compacted`] when the history is gone.
    pub async fn list_at(
        &self,
        resource: Resource,
        prefix: &str,
        after: &str,
        revision: Revision,
    ) -> Result<Snapshot, store::Error> {
        let oldest = Revision(self.shared.oldest.load(Ordering::Acquire));
        if revision < oldest {
            return Err(store::Error::Compacted { oldest });
        }
        let seen = self.revision();
        if let Some(snapshot) = self.resource(resource).kept(prefix, revision, seen) {
            return Ok(snapshot);
        }
        let request = RangeRequest::prefix(prefix).starting_at(format!("{}\0", after.max(prefix))).at(revision);
        let items = feed::read(&self.shared, request).await?;
        let items = items.into_iter().filter(|(of, _)| *of == resource).map(|(_, item)| item::ByKey(item)).collect();
        Ok(Snapshot { items, prefix: prefix.into(), revision })
    }

    /// Follows a resource's objects under `prefix`.
    pub fn watch(&self, resource: Resource, prefix: &str, from: WatchFrom) -> Watcher {
        let cache = self.resource(resource);
        let after = match from {
            WatchFrom::After(revision) => revision,
            WatchFrom::Now => self.list(resource, prefix).revision,
        };
        let start = cache.start_after(after);
        Watcher::new(self.shared.clone(), resource, cache, prefix, after, start)
    }

    /// All objects, and everything that happens to them from then on: nothing in between is lost or told twice.
    pub fn list_and_watch(&self, resource: Resource, prefix: &str) -> (Snapshot, Watcher) {
        let seen = self.revision();
        let cache = self.resource(resource);
        let (snapshot, start) = cache.snapshot_and_start(prefix, seen);
        let watcher = Watcher::new(self.shared.clone(), resource, cache, prefix, snapshot.revision, start);
        (snapshot, watcher)
    }

    fn resource(&self, resource: Resource) -> Arc<ResourceCache> {
        let resources = self.resources.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(cache) = resources.get(&resource) {
            return cache.clone();
        }
        drop(resources);
        let mut resources = self.resources.write().unwrap_or_else(PoisonError::into_inner);
        // With the lock held: the feed applies a revision before it is seen, so nothing of this resource is older.
        let loaded = self.revision();
        let cache = resources.entry(resource);
        cache.or_insert_with(|| Arc::new(ResourceCache::new(self.options.ring_bytes_max, loaded))).clone()
    }
}
