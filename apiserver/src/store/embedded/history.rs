//! Watches: the newest batches from memory, older ones from the log.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::watch;

use super::record::Kind;
use super::segment::Reader;
use super::state::Shared;
use crate::store::{Batch, Change, ChangeKind, Error, Previous, Revision, WatchError};

/// Read from the log at a time.
const CHUNK_BYTES: usize = 256 << 10;

struct Watch {
    shared: Arc<Shared>,
    revision: watch::Receiver<u64>,
    /// Everything up to here was told.
    told: u64,
    previous: Previous,
    /// Read from the log and still to be told, the last first.
    read: Vec<Batch>,
}

pub(super) fn watch(
    shared: Arc<Shared>,
    from: Revision,
    previous: Previous,
) -> BoxStream<'static, Result<Batch, WatchError>> {
    let revision = shared.revision.subscribe();
    let watch = Watch { shared, revision, told: from.0, previous, read: Vec::new() };
    let batches = stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        match watch.next().await? {
            Ok(batch) => Some((Ok(batch), Some(watch))),
            Err(error) => Some((Err(error), None)),
        }
    });
    batches.boxed()
}

impl Watch {
    /// `None` when the store is closed.
    async fn next(&mut self) -> Option<Result<Batch, WatchError>> {
        loop {
            if let Some(batch) = self.read.pop() {
                self.told = batch.revision.0;
                return Some(Ok(batch));
            }
            if let Err(error) = self.check() {
                return Some(Err(error));
            }
            if *self.revision.borrow_and_update() <= self.told {
                self.shared.closed.run_until(self.revision.changed()).await?.ok()?;
                continue;
            }
            let recent = self.shared.read().tail_after(self.told);
            if let Some(batch) = recent {
                self.told = batch.revision.0;
                return Some(self.with_previous(batch).await);
            }
            match self.read_log().await {
                Ok(read) => self.read = read,
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn check(&self) -> Result<(), WatchError> {
        let compacted = self.shared.read().compacted;
        if self.told < compacted { Err(WatchError::Compacted { oldest: Revision(compacted) }) } else { Ok(()) }
    }

    async fn with_previous(&self, batch: Arc<Batch>) -> Result<Batch, WatchError> {
        let mut batch = Arc::unwrap_or_clone(batch);
        if self.previous == Previous::Include {
            let shared = self.shared.clone();
            batch = blocking(move || {
                add_previous(&shared, &mut batch)?;
                Ok(batch)
            })
            .await?;
        }
        Ok(batch)
    }

    async fn read_log(&self) -> Result<Vec<Batch>, WatchError> {
        let (shared, from, previous) = (self.shared.clone(), self.told, self.previous);
        let read = blocking(move || {
            let mut batches = read_after(&shared, from)?;
            if previous == Previous::Include {
                for batch in &mut batches {
                    add_previous(&shared, batch)?;
                }
            }
            batches.reverse();
            Ok(batches)
        })
        .await?;
        // Again, after reading: what was compacted meanwhile may be missing from it.
        self.check()?;
        if read.is_empty() {
            let reason = format!("the log holds nothing after revision {}", self.told);
            return Err(Error::Failed { operation: "watch", reason }.into());
        }
        Ok(read)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, WatchError> {
    let failed = |reason: String| WatchError::Store(Error::Failed { operation: "watch", reason });
    let done = crate::blocking::run(work).await.map_err(|error| failed(error.to_string()))?;
    done.map_err(|error| failed(error.to_string()))
}

/// Some batches after `from`, in order.
fn read_after(shared: &Shared, from: u64) -> io::Result<Vec<Batch>> {
    let segment = shared.read().segments.values().find(|segment| segment.newest > from).cloned();
    let Some(segment) = segment else { return Ok(Vec::new()) };
    let mut reader = Reader::new(segment.file.clone(), segment.seek(from), segment.end);
    let (mut batches, mut bytes) = (Vec::new(), 0);
    while bytes < CHUNK_BYTES {
        let Some((record, _)) = reader.next()? else { break };
        let revision = Revision(record.revision);
        let changes: Vec<Change> = record.changes().map(|(found, _)| change(found)).collect();
        if record.revision > from && !changes.is_empty() {
            bytes += changes.iter().map(size).sum::<usize>();
            batches.push(Batch { revision, changes });
        }
    }
    Ok(batches)
}

fn change(found: super::record::Change<'_>) -> Change {
    let kind = match found.kind {
        Kind::Put { created, version, value, .. } => {
            ChangeKind::Put { value: Bytes::copy_from_slice(value), created: Revision(created), version }
        }
        Kind::Delete => ChangeKind::Delete,
    };
    Change { key: found.key.to_owned(), kind, previous: None }
}

fn size(change: &Change) -> usize {
    change.key.len()
        + match &change.kind {
            ChangeKind::Put { value, .. } => value.len(),
            ChangeKind::Delete => 0,
        }
}

fn add_previous(shared: &Shared, batch: &mut Batch) -> io::Result<()> {
    let before = Some(Revision(batch.revision.0 - 1));
    for change in &mut batch.changes {
        // Compacted: then it is not known.
        let found = shared.read().get(&change.key, before).ok().flatten();
        change.previous = found.map(super::state::Found::read).transpose()?;
    }
    Ok(())
}
