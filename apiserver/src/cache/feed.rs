//! Keeps the cache equal to the store: loads everything once, then follows the store's watch.
//!
//! When the watch cannot go on (its next revision was compacted, the store failed), everything is loaded anew and all
//! watchers end, since they may have missed events.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use component::shutdown::Shutdown;
use futures::StreamExt;
use tokio::task::JoinError;
use tracing::{info, warn};

use super::Cache;
use super::item::{Indexed, Item, Resource};
use super::resource::Update;
use super::watcher::Shared;
use crate::blocking;
use crate::store::{self, Batch, Change, ChangeKind, Entry, Previous, RangeRequest, Revision};

/// Entries read from the store at a time.
const PAGE_ENTRIES: usize = 500;
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Runs until `shutdown`, then ends all watchers.
pub(super) async fn run(cache: Arc<Cache>, shutdown: Shutdown) {
    shutdown.run_until(follow(&cache)).await;
    for resource in cache.resources.read().unwrap_or_else(PoisonError::into_inner).values() {
        resource.close();
    }
}

async fn follow(cache: &Cache) {
    let mut retry = RETRY_MIN;
    loop {
        match load(cache).await {
            Ok(revision) => {
                retry = RETRY_MIN;
                let error = watch(cache, revision).await;
                warn!(%error, "watch of the store ended, loading everything anew");
            }
            Err(error) => warn!(%error, "could not load the store"),
        }
        cache.ready.send_replace(false);
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(RETRY_MAX);
    }
}

async fn load(cache: &Cache) -> Result<Revision, store::Error> {
    let revision = cache.shared.store.revision().await?;
    let request = RangeRequest::prefix(&cache.options.prefix).at(revision);
    let mut loaded: HashMap<Resource, Vec<Arc<Item>>> = HashMap::new();
    let mut count = 0usize;
    for (resource, item) in read(&cache.shared, request).await? {
        loaded.entry(resource).or_default().push(item);
        count += 1;
    }
    // Also those that are empty now.
    for resource in cache.resources.read().unwrap_or_else(PoisonError::into_inner).keys() {
        loaded.entry(*resource).or_default();
    }
    for (resource, items) in loaded {
        cache.resource(resource).replace(items, revision);
    }
    cache.shared.seen.send_replace(revision);
    cache.ready.send_replace(true);
    info!(%revision, objects = count, "loaded the store");
    Ok(revision)
}

/// Reads a range at a fixed revision and makes items of it. One page is read while others are indexed.
pub(super) async fn read(
    shared: &Arc<Shared>,
    request: RangeRequest,
) -> Result<Vec<(Resource, Arc<Item>)>, store::Error> {
    let parallel = std::thread::available_parallelism().map_or(1, usize::from);
    let failed = |error: JoinError| store::Error::Failed { operation: "index", reason: error.to_string() };
    let (mut items, mut indexing) = (Vec::new(), VecDeque::new());
    let mut next = Some(request.limit(PAGE_ENTRIES));
    while let Some(request) = next {
        let page = shared.store.range(request.clone()).await?;
        let last = page.entries.last().filter(|_| page.more);
        next = last.map(|last| request.starting_at(format!("{}\0", last.key)));
        let shared = shared.clone();
        indexing.push_back(blocking::run(move || index(&shared, page.entries)));
        if indexing.len() > parallel
            && let Some(indexed) = indexing.pop_front()
        {
            items.extend(indexed.await.map_err(failed)?);
        }
    }
    for indexed in indexing {
        items.extend(indexed.await.map_err(failed)?);
    }
    Ok(items)
}

fn index(shared: &Shared, entries: Vec<Entry>) -> Vec<(Resource, Arc<Item>)> {
    let items = entries.into_iter().filter_map(|entry| {
        let resource = shared.indexer.resource(&entry.key)?;
        let indexed = shared.indexer.index(resource, &entry.key, &entry.value);
        Some((resource, item(indexed, &entry.key, entry.created, entry.modified)?))
    });
    items.collect()
}

fn item(indexed: Result<Indexed, String>, key: &str, created: Revision, modified: Revision) -> Option<Arc<Item>> {
    match indexed.and_then(|indexed| Item::new(key, created, modified, indexed).map_err(|error| error.to_string())) {
        Ok(item) => Some(Arc::new(item)),
        Err(error) => {
            warn!(key, error, "stored object cannot be read; it is treated as absent");
            None
        }
    }
}

async fn watch(cache: &Cache, from: Revision) -> store::WatchError {
    let mut batches = cache.shared.store.watch(from, Previous::Omit);
    while let Some(batch) = batches.next().await {
        match batch {
            Ok(batch) => apply(cache, batch),
            Err(error) => return error,
        }
    }
    store::Error::Unavailable { operation: "watch", reason: "the store was closed".to_owned() }.into()
}

fn apply(cache: &Cache, batch: Batch) {
    let revision = batch.revision;
    // Of one commit mostly one key: a list, not a map.
    let mut updates: Vec<(Resource, Vec<Update>)> = Vec::with_capacity(1);
    for change in batch.changes {
        let Some((resource, update)) = update(cache, change, revision) else { continue };
        match updates.iter_mut().find(|(of, _)| *of == resource) {
            Some((_, updates)) => updates.push(update),
            None => updates.push((resource, vec![update])),
        }
    }
    for (resource, updates) in updates {
        cache.resource(resource).apply(updates);
    }
    // Last: who has seen `seen` finds all of it applied.
    cache.shared.seen.send_replace(revision);
}

fn update(cache: &Cache, change: Change, revision: Revision) -> Option<(Resource, Update)> {
    if !change.key.starts_with(&cache.options.prefix) {
        return None;
    }
    let resource = cache.shared.indexer.resource(&change.key)?;
    let item = match &change.kind {
        ChangeKind::Put { value, created, .. } => {
            let known = cache.fresh.take(value).map(Ok);
            let indexed = known.unwrap_or_else(|| cache.shared.indexer.index(resource, &change.key, value));
            item(indexed, &change.key, *created, revision)
        }
        ChangeKind::Delete => None,
    };
    Some((resource, item.map_or(Update::Delete { key: change.key, revision }, Update::Put)))
}
