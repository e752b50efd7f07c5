//! Feeds a store from kube-rs's watcher and tells the handlers.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use futures::StreamExt;
use kube::{
    Api,
    runtime::watcher::{self, watcher},
};
use tokio::sync::watch;

use super::{
    Object, Selection, lock,
    store::{Event, Store},
    text::Text,
};
use crate::{client::shown, random::Random, shutdown::Shutdown};

/// Jittered by its own length. Upstream's reflector starts with 800 ms; a server on the same machine is back sooner.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

type Handler<K> = Box<dyn Fn(&Event<K>) + Send + Sync>;

/// What an informer and its reflector share.
///
/// Locks are taken in the order `handlers`, `store`. Every change holds `handlers` from before the store is written
/// until all handlers have run, so that a registration in between sees each object once, either by replay or by event.
/// Handlers run without the store's lock and may read it.
pub(super) struct Shared<K> {
    store: RwLock<Store<K>>,
    handlers: Mutex<Vec<Handler<K>>>,
    /// What the list under way has told so far.
    listing: Mutex<Vec<Arc<K>>>,
    synced: watch::Sender<bool>,
}

impl<K: Object> Shared<K> {
    pub(super) fn new() -> Self {
        Self {
            store: RwLock::default(),
            handlers: Mutex::default(),
            listing: Mutex::default(),
            synced: watch::Sender::new(false),
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Store<K>> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Store<K>> {
        self.store.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn subscribe(&self, handler: Handler<K>) {
        let mut handlers = lock(&self.handlers);
        let known = self.read().list();
        known.into_iter().for_each(|object| handler(&Event::Added(object)));
        handlers.push(handler);
    }

    pub(super) async fn synced(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    pub(super) fn watch_synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    pub(super) fn has_synced(&self) -> bool {
        *self.synced.borrow()
    }

    fn change<E: IntoIterator<Item = Event<K>>>(&self, change: impl FnOnce(&mut Store<K>) -> E) {
        let handlers = lock(&self.handlers);
        let events = change(&mut self.write());
        for event in events {
            handlers.iter().for_each(|handler| handler(&event));
        }
    }

    /// Decodes, and drops what no component reads: managed fields are often half of an object.
    fn lean(&self, object: &Text) -> serde_json::Result<Arc<K>> {
        let mut object: K = object.decode()?;
        object.meta_mut().managed_fields = None;
        Ok(Arc::new(object))
    }
}

/// What a reflector tells of one kind.
pub(super) trait Sink: Send + Sync {
    fn kind(&self) -> Cow<'static, str>;
    /// A list begins: what an earlier one had told so far does not count.
    fn begin(&self);
    fn listed(&self, object: &Text) -> serde_json::Result<()>;
    /// The list is complete: it is what there is.
    fn complete(&self);
    fn applied(&self, object: &Text) -> serde_json::Result<()>;
    fn deleted(&self, object: &Text) -> serde_json::Result<()>;
}

impl<K: Object> Sink for Shared<K> {
    fn kind(&self) -> Cow<'static, str> {
        K::kind(&())
    }

    fn begin(&self) {
        lock(&self.listing).clear();
    }

    fn listed(&self, object: &Text) -> serde_json::Result<()> {
        let object = self.lean(object)?;
        lock(&self.listing).push(object);
        Ok(())
    }

    fn complete(&self) {
        let objects = std::mem::take(&mut *lock(&self.listing));
        self.change(|store| store.replace(objects));
        self.synced.send_replace(true);
    }

    fn applied(&self, object: &Text) -> serde_json::Result<()> {
        let object = self.lean(object)?;
        self.change(|store| store.apply(object));
        Ok(())
    }

    fn deleted(&self, object: &Text) -> serde_json::Result<()> {
        let object = self.lean(object)?;
        self.change(|store| store.delete(object));
        Ok(())
    }
}

/// Lists and watches until `shutdown`, reconnecting with jittered back-off.
pub(super) async fn feed(
    api: Api<Text>,
    selection: Selection,
    sink: Arc<dyn Sink>,
    random: Random,
    shutdown: Shutdown,
) {
    let start = || watcher(api.clone(), config(&selection)).boxed();
    let mut stream = start();
    let mut delay = BACKOFF_FIRST;
    while let Some(Some(event)) = shutdown.run_until(stream.next()).await {
        let (told, restarts) = match &event {
            Err(error) => (Err(reason(error)), is_expired(error)),
            Ok(event) => (tell(sink.as_ref(), event).map_err(|error| format!("decode: {error}")), true),
        };
        match (told, event) {
            // Not before: each new try begins with `Init`, also of a server that then refuses it.
            (Ok(()), Ok(watcher::Event::InitDone)) => delay = BACKOFF_FIRST,
            (Ok(()), _) => {}
            (Err(error), _) => {
                tracing::warn!(kind = %sink.kind(), error, "list and watch failed, trying again");
                if restarts {
                    // kube's watcher lists again after 410 as an event, but asks for the same version for ever after
                    // 410 as an answer.
                    stream = start();
                }
                if shutdown.run_until(tokio::time::sleep(random.jitter(delay, 1.0))).await.is_none() {
                    return;
                }
                delay = (delay * 2).min(BACKOFF_MAX);
            }
        }
    }
}

fn tell(sink: &dyn Sink, event: &watcher::Event<Text>) -> serde_json::Result<()> {
    match event {
        watcher::Event::Init => sink.begin(),
        watcher::Event::InitApply(object) => sink.listed(object)?,
        watcher::Event::InitDone => sink.complete(),
        watcher::Event::Apply(object) => sink.applied(object)?,
        watcher::Event::Delete(object) => sink.deleted(object)?,
    }
    Ok(())
}

/// What failed, without kube's rendering of whole Status objects.
fn reason(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error) => format!("list: {}", shown(error)),
        watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
            format!("watch: {}", shown(error))
        }
        watcher::Error::WatchError(status) => format!("watch: {}", status.message),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

fn is_expired(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

/// Lists, then watches. A streaming list would save a request, but kube's watcher asks for it at version 0: after 410,
/// another server's cache could take the store back in time.
fn config(selection: &Selection) -> watcher::Config {
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    watcher::Config {
        label_selector: given(&selection.labels),
        field_selector: given(&selection.fields),
        ..watcher::Config::default()
    }
}
