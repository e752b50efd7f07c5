//! One watch of one resource: a cursor into the shared ring, or, behind that, a read of the store's log.
//!
//! A watcher owns no queue that others fill. One that is slow falls out of the ring, reads on from the store's log by
//! itself, and comes back into the ring when it has caught up; it only ends when the store has compacted what it needs.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::watch;

use super::bell::Listener;
use super::event::{Event, EventKind};
use super::item::{Indexer, Item, Resource};
use super::resource::{Chunk, ResourceCache, Start};
use crate::store::{Batch, Change, ChangeKind, Previous, Revision, Store, WatchError};

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFrom {
    /// With the next change.
    Now,
    /// With the first change after this revision.
    After(Revision),
}

/// Why a watch has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The next change is no longer known: the client must list again.
    #[error("too old resource version: {after} ({oldest})")]
    Expired { after: Revision, oldest: Revision },
    /// The cache is shutting down, or the store fails.
    #[error("watch closed: {reason}")]
    Closed { reason: String },
}

/// What all watchers of a cache share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) indexer: Arc<dyn Indexer>,
    pub(super) seen: watch::Sender<Revision>,
    /// Lists of revisions before this one are gone.
    pub(super) oldest: AtomicU64,
}

/// A watch. Events come in the store's order, the same for all.
pub struct Watcher {
    shared: Arc<Shared>,
    resource: Resource,
    cache: Arc<ResourceCache>,
    changed: Listener,
    prefix: Box<str>,
    source: Source,
    epoch: u64,
    /// All events up to here were read, into `pending` or before.
    through: Revision,
    pending: VecDeque<Arc<Event>>,
    /// What was read of the ring last reached its end.
    is_drained: bool,
}

enum Source {
    Ring { cursor: u64 },
    Log(BoxStream<'static, Result<Batch, WatchError>>),
}

impl Watcher {
    pub(super) fn new(
        shared: Arc<Shared>,
        resource: Resource,
        cache: Arc<ResourceCache>,
        prefix: &str,
        after: Revision,
        start: Start,
    ) -> Self {
        let changed = cache.listen();
        let (epoch, source) = match start {
            Start::Cursor { epoch, cursor } => (epoch, Source::Ring { cursor }),
            Start::Log { epoch } => (epoch, Source::Log(shared.store.watch(after, Previous::Include))),
        };
        let (prefix, pending) = (prefix.into(), VecDeque::new());
        Self { shared, resource, cache, changed, prefix, source, epoch, through: after, pending, is_drained: false }
    }

    /// The next event, as soon as there is one. After an error there is nothing more.
    ///
    /// Cancellation: safe; no event is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Arc<Event>, WatchEnd> {
        poll_fn(|context| self.poll_next(context)).await
    }

    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<Event>, WatchEnd>> {
        loop {
            if let Some(event) = self.at_hand()? {
                return Poll::Ready(Ok(event));
            }
            match &mut self.source {
                Source::Ring { .. } => ready!(self.changed.poll_rung(context)),
                Source::Log(log) => {
                    let batch = ready!(log.poll_next_unpin(context));
                    self.read_log(batch)?;
                }
            }
        }
    }

    /// The next event if it is at hand. Looks into the ring only where there is more in it, for every watcher asks this
    /// twice an event: once for what comes behind it, to put a burst into one write, and once before it waits.
    pub fn at_hand(&mut self) -> Result<Option<Arc<Event>>, WatchEnd> {
        while self.pending.is_empty() {
            let is_drained = self.is_drained && !self.changed.has_rung();
            if is_drained || !self.read_ring()? {
                return Ok(None);
            }
        }
        Ok(self.pending.pop_front())
    }

    /// Every event up to this revision has been handed out: what a bookmark may say.
    pub fn progress(&mut self) -> Revision {
        // An end shows itself at the next read as well.
        while self.pending.is_empty() && self.read_ring() == Ok(true) {}
        match self.pending.front() {
            Some(event) => Revision(event.revision.0 - 1).min(self.through),
            None => self.through,
        }
    }

    /// Reads some of the ring into `pending`; whether there may be more.
    fn read_ring(&mut self) -> Result<bool, WatchEnd> {
        let Source::Ring { cursor } = &mut self.source else { return Ok(false) };
        // Order: mark the wake-up as seen and read `seen`, then look. The other way round, an event between the two
        // would be slept through, or passed over by a bookmark.
        self.changed.hear();
        let seen = *self.shared.seen.borrow();
        match self.cache.chunk(self.epoch, *cursor, self.through, &self.prefix) {
            Chunk::Events { events, cursor: next, through, is_last } => {
                *cursor = next;
                self.is_drained = is_last;
                self.through = through;
                self.pending.extend(events);
                Ok(true)
            }
            Chunk::Empty => {
                self.is_drained = true;
                self.through = self.through.max(seen);
                Ok(false)
            }
            Chunk::Lagging => {
                self.source = Source::Log(self.shared.store.watch(self.through, Previous::Include));
                self.is_drained = false;
                Ok(false)
            }
            // Who passes over the end, to hand out first what came before it, finds it again.
            Chunk::Ended => {
                self.is_drained = false;
                Err(WatchEnd::Closed { reason: "the cache was closed or loaded anew".to_owned() })
            }
        }
    }

    /// Takes a batch of the store's log, and goes back to the ring if that holds all that follows.
    fn read_log(&mut self, batch: Option<Result<Batch, WatchError>>) -> Result<(), WatchEnd> {
        let batch = match batch {
            Some(Ok(batch)) => batch,
            Some(Err(WatchError::Compacted { oldest })) => {
                return Err(WatchEnd::Expired { after: self.through, oldest });
            }
            Some(Err(WatchError::Store(error))) => return Err(WatchEnd::Closed { reason: error.to_string() }),
            None => return Err(WatchEnd::Closed { reason: "the store was closed".to_owned() }),
        };
        self.through = batch.revision;
        for change in batch.changes {
            self.pending.extend(self.event(change, batch.revision).map(Arc::new));
        }
        if let Start::Cursor { epoch, cursor } = self.cache.start_after(batch.revision) {
            if epoch != self.epoch {
                return Err(WatchEnd::Closed { reason: "the cache was loaded anew".to_owned() });
            }
            self.source = Source::Ring { cursor };
        }
        Ok(())
    }

    fn event(&self, change: Change, revision: Revision) -> Option<Event> {
        if !change.key.starts_with(&*self.prefix) || self.shared.indexer.resource(&change.key) != Some(self.resource) {
            return None;
        }
        let item = |value, created, revision| {
            let indexed = self.shared.indexer.index(self.resource, &change.key, value).ok()?;
            Item::new(&change.key, created, revision, indexed).ok().map(Arc::new)
        };
        let previous = change.previous.as_ref();
        let previous = previous.and_then(|previous| item(&previous.value, previous.created, previous.modified));
        let current = match &change.kind {
            ChangeKind::Put { value, created, .. } => item(value, *created, revision),
            ChangeKind::Delete => None,
        };
        match (current, previous) {
            // Whether it existed is told by `created`; what it was may be compacted.
            (Some(item), previous) if item.created == revision => {
                let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
                Some(Event::new(kind, item, previous))
            }
            (Some(item), previous) => Some(Event::new(EventKind::Modified, item, previous)),
            (None, Some(previous)) => {
                Some(Event::new(EventKind::Deleted, Arc::new(previous.deleted(revision)), Some(previous)))
            }
            (None, None) => None,
        }
    }
}
