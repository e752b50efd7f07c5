//! What readers see: the index, the segments, and the newest batches. Changed by the writer after each group is durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use super::Options;
use super::disk::{Disk, File};
use super::index::{Index, Version};
use super::record;
use super::segment::Segment;
use crate::store::{Batch, ChangeKind, Entry, Error, Range, RangeRequest, Revision};

#[derive(Debug)]
pub(super) struct State {
    pub(super) index: Index,
    /// By their last number.
    pub(super) segments: BTreeMap<u32, Segment>,
    pub(super) revision: u64,
    pub(super) compacted: u64,
    /// (deadline in milliseconds since 1970, revision of the write, key); some are out of date.
    pub(super) expiries: BTreeSet<(u64, u64, Box<str>)>,
    tail: VecDeque<Arc<Batch>>,
    tail_bytes: usize,
}

impl Default for State {
    /// As etcd, a new store is at revision 1.
    fn default() -> Self {
        Self {
            index: Index::default(),
            segments: BTreeMap::new(),
            revision: 1,
            compacted: 0,
            expiries: BTreeSet::new(),
            tail: VecDeque::new(),
            tail_bytes: 0,
        }
    }
}

/// A value that was found and is still to be read.
pub(super) struct Found {
    key: String,
    version: Version,
    file: Arc<dyn File>,
}

impl Found {
    /// Reads the value. Blocks on the disk.
    pub(super) fn read(self) -> io::Result<Entry> {
        let mut value = vec![0; self.version.place.length as usize];
        self.file.read_exact_at(&mut value, self.version.place.offset.into())?;
        let version = self.version;
        Ok(Entry {
            key: self.key,
            value: value.into(),
            created: Revision(version.created),
            modified: Revision(version.modified),
            version: version.version.into(),
        })
    }
}

/// What a range read found, values still to be read.
pub(super) struct FoundRange {
    entries: Vec<Found>,
    revision: u64,
    count: u64,
}

impl FoundRange {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Reads the values. Blocks on the disk.
    pub(super) fn read(self) -> io::Result<Range> {
        let more = self.count > self.entries.len() as u64;
        let entries = self.entries.into_iter().map(Found::read).collect::<io::Result<_>>()?;
        Ok(Range { entries, revision: Revision(self.revision), more, count: self.count })
    }
}

impl State {
    fn found(&self, key: &str, version: &Version) -> Option<Found> {
        let file = self.segments.get(&version.place.segment)?.file.clone();
        Some(Found { key: key.to_owned(), version: *version, file })
    }

    fn check(&self, at: Option<Revision>) -> Result<u64, Error> {
        match at {
            None => Ok(self.revision),
            Some(Revision(at)) if at > self.revision => Err(Error::Future { newest: Revision(self.revision) }),
            Some(Revision(at)) if at < self.compacted => Err(Error::Compacted { oldest: Revision(self.compacted) }),
            Some(Revision(at)) => Ok(at),
        }
    }

    pub(super) fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Found>, Error> {
        let at = self.check(at)?;
        Ok(self.index.at(key, at).and_then(|version| self.found(key, version)))
    }

    pub(super) fn range(&self, request: &RangeRequest) -> Result<FoundRange, Error> {
        let at = self.check(request.at)?;
        let mut found = self.index.range(&request.start, request.end.as_deref(), at);
        let limit = request.limit.unwrap_or(usize::MAX);
        let entries: Vec<_> =
            found.by_ref().take(limit).filter_map(|(key, version)| self.found(key, version)).collect();
        let count = entries.len() + found.count();
        Ok(FoundRange { entries, revision: self.revision, count: count as u64 })
    }

    /// The batch after `from`, when it is among the newest.
    pub(super) fn tail_after(&self, from: u64) -> Option<Arc<Batch>> {
        let first = self.tail.front()?.revision.0;
        // Revisions are without gaps.
        self.tail.get(usize::try_from((from + 1).checked_sub(first)?).ok()?).cloned()
    }

    pub(super) fn publish(&mut self, batch: Batch, tail_bytes_max: usize) {
        self.revision = batch.revision.0;
        self.tail_bytes += weight(&batch);
        self.tail.push_back(Arc::new(batch));
        while self.tail_bytes > tail_bytes_max && self.tail.len() > 1 {
            self.tail_bytes -= self.tail.pop_front().map_or(0, |batch| weight(&batch));
        }
    }

    /// Forgets history before `revision`, here; the files are merged later.
    pub(super) fn compact(&mut self, revision: u64) {
        self.compacted = self.compacted.max(revision);
        let segments = &mut self.segments;
        self.index.compact(revision, |forgotten| {
            if let Some(segment) = segments.get_mut(&forgotten.place.segment) {
                segment.dead += record::change_size(forgotten.key_length, forgotten.place.length as usize) as u64;
            }
        });
    }
}

fn weight(batch: &Batch) -> usize {
    let value = |kind: &ChangeKind| match kind {
        ChangeKind::Put { value, .. } => Bytes::len(value),
        ChangeKind::Delete => 0,
    };
    batch.changes.iter().map(|change| 128 + change.key.len() + value(&change.kind)).sum()
}

/// What the store's parts share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: Options,
    state: RwLock<State>,
    /// The newest revision, for those who wait. Set after the state.
    pub(super) revision: watch::Sender<u64>,
    pub(super) closed: component::shutdown::Shutdown,
    /// A key with a nearer deadline has come.
    pub(super) expiry: Notify,
}

impl Shared {
    pub(super) fn new(disk: Arc<dyn Disk>, state: State, options: Options) -> Self {
        let revision = watch::Sender::new(state.revision);
        let closed = component::shutdown::Shutdown::new();
        Self { disk, options, state: RwLock::new(state), revision, closed, expiry: Notify::new() }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
