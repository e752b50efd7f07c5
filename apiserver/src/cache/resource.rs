//! One resource's objects and its last events.
//!
//! The lock is held for an update or for copying some pointers, never across an await and never while an object is
//! decoded or encoded.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use imbl::OrdSet;

use super::bell::{Bell, Listener};
use super::event::{Event, EventKind};
use super::item::{ByKey, Item};
use super::snapshot::Snapshot;
use crate::store::Revision;

/// Snapshots held for the next pages of lists.
const KEPT_SNAPSHOTS_MAX: usize = 16;
/// A kept snapshot pins what was replaced since; this bounds it.
const KEPT_REVISIONS_MAX: u64 = 20_000;
/// Events handed to a watcher at a time, and events looked at for that.
const CHUNK_EVENTS: usize = 64;
const CHUNK_SCAN: usize = 1024;

/// A change to apply.
pub(super) enum Update {
    Put(Arc<Item>),
    Delete { key: String, revision: Revision },
}

impl Update {
    fn revision(&self) -> Revision {
        match self {
            Self::Put(item) => item.revision,
            Self::Delete { revision, .. } => *revision,
        }
    }
}

/// What a watcher found behind its cursor.
pub(super) enum Chunk {
    /// Whole revisions up to `through`, filtered by prefix; the next cursor; whether these are the ring's last.
    Events { events: Vec<Arc<Event>>, cursor: u64, through: Revision, is_last: bool },
    /// Nothing new.
    Empty,
    /// The ring has moved on without this watcher.
    Lagging,
    /// The cache was loaded anew, or shut down.
    Ended,
}

/// Where a watcher begins.
pub(super) enum Start {
    /// In the ring.
    Cursor { epoch: u64, cursor: u64 },
    /// Older than the ring.
    Log { epoch: u64 },
}

pub(super) struct ResourceCache {
    state: RwLock<State>,
    changed: Bell,
    ring_bytes_max: usize,
}

struct State {
    items: OrdSet<ByKey>,
    /// All events of this resource up to here are in `items`.
    applied: Revision,
    ring: VecDeque<Arc<Event>>,
    /// The sequence number of the ring's first event.
    ring_first: u64,
    ring_bytes: usize,
    /// Events after this are all in the ring.
    ring_after: Revision,
    kept: VecDeque<(Revision, OrdSet<ByKey>)>,
    /// Counts how often the cache was loaded anew: watchers of an earlier one end, they may have missed events.
    epoch: u64,
    closed: bool,
}

impl ResourceCache {
    pub(super) fn new(ring_bytes_max: usize, loaded: Revision) -> Self {
        let state = State {
            items: OrdSet::new(),
            applied: loaded,
            ring: VecDeque::new(),
            ring_first: 0,
            ring_bytes: 0,
            ring_after: loaded,
            kept: VecDeque::new(),
            epoch: 0,
            closed: false,
        };
        Self { state: RwLock::new(state), changed: Bell::default(), ring_bytes_max }
    }

    // A panic while the lock is held cannot leave a half-made update that matters more than serving on.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn listen(&self) -> Listener {
        self.changed.listen()
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<Item>> {
        self.read().items.get(key).map(|ByKey(item)| item.clone())
    }

    pub(super) fn count(&self) -> usize {
        self.read().items.len()
    }

    /// `seen` must have been read before this call: everything up to it is then in `items`.
    pub(super) fn snapshot(&self, prefix: &str, seen: Revision) -> Snapshot {
        let state = self.read();
        Snapshot { items: state.items.clone(), prefix: prefix.into(), revision: state.applied.max(seen) }
    }

    /// A snapshot and the place in the ring where its future begins, together.
    pub(super) fn snapshot_and_start(&self, prefix: &str, seen: Revision) -> (Snapshot, Start) {
        let state = self.read();
        let revision = state.applied.max(seen);
        let snapshot = Snapshot { items: state.items.clone(), prefix: prefix.into(), revision };
        (snapshot, Start::Cursor { epoch: state.epoch, cursor: state.ring_end() })
    }

    pub(super) fn start_after(&self, after: Revision) -> Start {
        let state = self.read();
        match state.cursor_after(after) {
            Some(cursor) => Start::Cursor { epoch: state.epoch, cursor },
            None => Start::Log { epoch: state.epoch },
        }
    }

    pub(super) fn keep(&self, snapshot: &Snapshot) {
        let mut state = self.write();
        if state.kept.iter().any(|(revision, _)| *revision == snapshot.revision) {
            return;
        }
        if state.kept.len() == KEPT_SNAPSHOTS_MAX {
            state.kept.pop_front();
        }
        state.kept.push_back((snapshot.revision, snapshot.items.clone()));
    }

    pub(super) fn kept(&self, prefix: &str, revision: Revision, seen: Revision) -> Option<Snapshot> {
        let state = self.read();
        let items = match state.kept.iter().find(|(kept, _)| *kept == revision) {
            Some((_, items)) => items.clone(),
            // Nothing of this resource has changed since: the newest is the same list.
            None if state.applied <= revision && revision <= seen => state.items.clone(),
            None => return None,
        };
        Some(Snapshot { items, prefix: prefix.into(), revision })
    }

    pub(super) fn forget_before(&self, oldest: Revision) {
        self.write().kept.retain(|(kept, _)| *kept >= oldest);
    }

    /// Applies updates of one revision. Watchers see all of them or none.
    pub(super) fn apply(&self, updates: Vec<Update>) {
        let mut state = self.write();
        for update in updates {
            state.apply(update);
        }
        state.trim(self.ring_bytes_max);
        drop(state);
        self.changed.ring();
    }

    /// Starts over with what the store holds at `revision`. All watchers end.
    pub(super) fn replace(&self, items: Vec<Arc<Item>>, revision: Revision) {
        let mut state = self.write();
        state.items = items.into_iter().map(ByKey).collect();
        state.applied = revision;
        state.ring_first = state.ring_end();
        state.ring.clear();
        state.ring_bytes = 0;
        state.ring_after = revision;
        state.kept.clear();
        state.epoch += 1;
        drop(state);
        self.changed.ring();
    }

    pub(super) fn close(&self) {
        self.write().closed = true;
        self.changed.ring();
    }

    pub(super) fn chunk(&self, epoch: u64, cursor: u64, after: Revision, prefix: &str) -> Chunk {
        let state = self.read();
        if state.closed || state.epoch != epoch {
            return Chunk::Ended;
        }
        let Some(skip) = cursor.checked_sub(state.ring_first) else { return Chunk::Lagging };
        let skip = skip as usize;
        let (mut events, mut cursor, mut through) = (Vec::new(), cursor, after);
        for event in state.ring.iter().skip(skip) {
            let scanned = (cursor - state.ring_first) as usize - skip;
            if event.revision > through {
                if events.len() >= CHUNK_EVENTS || scanned >= CHUNK_SCAN {
                    break;
                }
                through = event.revision;
            }
            cursor += 1;
            if event.revision > after && event.item.key.starts_with(prefix) {
                events.push(event.clone());
            }
        }
        let is_last = cursor == state.ring_end();
        if skip == state.ring.len() { Chunk::Empty } else { Chunk::Events { events, cursor, through, is_last } }
    }
}

impl State {
    fn ring_end(&self) -> u64 {
        self.ring_first + self.ring.len() as u64
    }

    fn cursor_after(&self, after: Revision) -> Option<u64> {
        if after < self.ring_after {
            return None;
        }
        Some(self.ring_first + self.ring.partition_point(|event| event.revision <= after) as u64)
    }

    fn apply(&mut self, update: Update) {
        self.applied = self.applied.max(update.revision());
        let event = match update {
            Update::Put(item) => {
                let previous = self.items.insert(ByKey(item.clone())).map(|ByKey(item)| item);
                let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
                Event::new(kind, item, previous)
            }
            Update::Delete { key, revision } => {
                let Some(ByKey(previous)) = self.items.remove(key.as_str()) else { return };
                Event::new(EventKind::Deleted, Arc::new(previous.deleted(revision)), Some(previous))
            }
        };
        self.ring_bytes += event.weight();
        self.ring.push_back(Arc::new(event));
    }

    fn trim(&mut self, ring_bytes_max: usize) {
        while self.ring_bytes > ring_bytes_max && self.ring.len() > 1 {
            let Some(event) = self.ring.pop_front() else { break };
            self.ring_bytes -= event.weight();
            self.ring_after = event.revision;
            self.ring_first += 1;
        }
        while self.kept.front().is_some_and(|(kept, _)| kept.0 + KEPT_REVISIONS_MAX < self.applied.0) {
            self.kept.pop_front();
        }
    }
}
