//! The embedded store: an append-only log in a folder and an index of it in memory.
//!
//! Enter at [`Embedded::start`]. Keys and the places of their values are in memory, values are not. Commits go to one
//! thread ([`writer`]) that makes them durable in groups; readers look into the shared [`state`] and read values from the
//! files. [`recovery`] reads the log at start, [`merge`] gives back the room of what compaction has forgotten.
//!
//! Why a log of our own: measured on the machine that the budgets are for, a durable commit of one 2 KiB value through
//! redb costs 180 µs of CPU alone and 22 µs in groups of sixteen, and a start after a crash reads everything twice; the
//! disk's own share (one synchronous write) is 50 µs, and a log adds a few to that.

use std::sync::Arc;

use async_trait::async_trait;
use component::clock::Clock;
use futures::stream::BoxStream;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{
    Batch, Commit, CommitError, Entry, Error, Previous, Range, RangeRequest, Revision, Store, WatchError, Write,
};
use crate::blocking;

pub mod disk;
mod expiry;
mod gathering;
mod history;
mod index;
mod merge;
mod record;
mod recovery;
mod segment;
mod state;
mod writer;

use disk::Disk;
use gathering::Gathering;
use state::Shared;
use writer::{Request, Writer};

/// Commits that may wait for the writer; more wait to be let in.
const QUEUE: usize = 1024;
/// A commit larger than this is refused. The API server's limit for a request is 3 MiB.
const COMMIT_BYTES_MAX: usize = 4 << 20;
/// A range of more values than this is read in a thread that may block.
const INLINE_VALUES: usize = 8;

/// Sizes. The defaults are right but for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A file of the log is closed, and the next begun, before it grows larger than this; much less than 4 GiB.
    pub segment_bytes_max: u64,
    /// Room is made ready ahead in such steps: writing into a file's existing blocks spares the file system its journal.
    pub room_bytes: u64,
    /// The newest batches of changes, kept in memory for watchers that keep up.
    pub tail_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes_max: 16 << 20, room_bytes: 512 << 10, tail_bytes_max: 256 << 10 }
    }
}

/// The embedded store. Dropping it closes it.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    gathering: Arc<Gathering>,
    /// Held while files are merged.
    merging: Mutex<()>,
    /// The end of the thread, and the task that expires keys.
    ended: Mutex<Option<(oneshot::Receiver<()>, JoinHandle<()>)>>,
}

impl Embedded {
    /// Reads the log on `disk` and starts a thread to write it (a task, on a runtime of one thread), and a task to expire
    /// keys. Fails when the log cannot be read or is damaged before its end.
    pub async fn start(disk: Arc<dyn Disk>, clock: Clock, options: Options) -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::Failed { operation: "open the log", reason: error.to_string() };
        let on = disk.clone();
        let recovered = blocking::run(move || recovery::recover(&*on)).await;
        let (state, active, ready) = recovered.map_err(|error| failed(error.into()))?.map_err(failed)?;
        let shared = Arc::new(Shared::new(disk, state, options));
        let (requests, received) = mpsc::channel(QUEUE);
        let (end, ended) = oneshot::channel();
        let gathering = Arc::new(Gathering::new(gathering::WAIT_MAX));
        let writer = Writer::new(shared.clone(), clock, active, ready);
        start_writer(writer, gathering.clone(), received, end).map_err(failed)?;
        let expiry = tokio::spawn(expiry::run(shared.clone(), clock, requests.clone()));
        Ok(Self { shared, requests, gathering, merging: Mutex::new(()), ended: Mutex::new(Some((ended, expiry))) })
    }

    /// Ends watches, lets the commits that wait be written, and returns when the log is no longer touched. The disk is let go
    /// with the store itself.
    pub async fn close(&self) {
        self.shared.closed.trigger();
        let _ = self.requests.send(Request::Close).await;
        if let Some((thread, expiry)) = self.ended.lock().await.take() {
            // Either may have ended by itself.
            let _ = thread.await;
            let _ = expiry.await;
        }
    }

    /// How large it is.
    pub fn sizes(&self) -> Sizes {
        let state = self.shared.read();
        let segments = state.segments.values();
        let (bytes, dead) = segments.fold((0, 0), |(bytes, dead), segment| (bytes + segment.end, dead + segment.dead));
        Sizes { keys: state.index.len(), log_bytes: bytes, live_bytes: bytes - dead.min(bytes) }
    }

    async fn request<T>(
        &self,
        operation: &'static str,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let closed = || Error::Unavailable { operation, reason: "the store is closed".to_owned() };
        self.requests.send(request(answer)).await.map_err(|_| closed())?;
        self.gathering.arrived(|| self.requests.max_capacity() - self.requests.capacity());
        answered.await.map_err(|_| Error::Timeout { operation })
    }
}

/// Tells `end` when the writer has ended; nobody waits for that unless the store is being closed.
fn start_writer(
    writer: Writer,
    gathering: Arc<Gathering>,
    requests: mpsc::Receiver<Request>,
    end: oneshot::Sender<()>,
) -> std::io::Result<()> {
    if blocking::is_single_threaded() {
        tokio::spawn(async move {
            writer.run_in_place(requests).await;
            let _ = end.send(());
        });
        return Ok(());
    }
    let thread = std::thread::Builder::new().name("store-writer".to_owned());
    let started = thread.spawn(move || {
        writer.run(requests, &gathering);
        let _ = end.send(());
    });
    started.map(drop)
}

/// How large an embedded store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Deleted keys that are not compacted yet too.
    pub keys: usize,
    /// What the log takes on the disk.
    pub log_bytes: u64,
    /// What would be left after merging everything.
    pub live_bytes: u64,
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.closed.trigger();
        // When the queue is full the thread ends all the same, once it is empty: this was the last sender that stays.
        let _ = self.requests.try_send(Request::Close);
    }
}

#[async_trait]
impl Store for Embedded {
    fn hands_on_bytes(&self) -> bool {
        true
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<(Option<Entry>, Revision), Error> {
        let (found, revision) = {
            let state = self.shared.read();
            (state.get(key, at)?, Revision(state.revision))
        };
        // One small read, from the page cache but for the first time: cheaper than a change of threads.
        let entry = found.map(state::Found::read).transpose().map_err(|error| failed("get", &error))?;
        Ok((entry, revision))
    }

    async fn range(&self, request: RangeRequest) -> Result<Range, Error> {
        let found = self.shared.read().range(&request)?;
        if found.len() <= INLINE_VALUES {
            return found.read().map_err(|error| failed("range", &error));
        }
        let read = blocking::run(|| found.read()).await;
        read.map_err(|error| failed("range", &error.into()))?.map_err(|error| failed("range", &error))
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError> {
        check(&commit)?;
        self.request("commit", |answer| Request::Commit(commit, answer)).await?
    }

    async fn revision(&self) -> Result<Revision, Error> {
        Ok(Revision(self.shared.read().revision))
    }

    fn watch(&self, from: Revision, previous: Previous) -> BoxStream<'static, Result<Batch, WatchError>> {
        history::watch(self.shared.clone(), from, previous)
    }

    async fn compact(&self, at: Revision) -> Result<(), Error> {
        let merging = self.merging.lock().await;
        {
            let state = self.shared.read();
            if at.0 > state.revision {
                return Err(Error::Future { newest: Revision(state.revision) });
            }
            if at.0 <= state.compacted {
                return Ok(());
            }
        }
        self.request("compact", |answer| Request::Compact(at.0, answer)).await??;
        let shared = self.shared.clone();
        let merged = blocking::run(move || merge::run(&shared)).await;
        drop(merging);
        merged.map_err(|error| failed("merge", &error.into()))?.map_err(|error| failed("merge", &error))
    }

    async fn size_bytes(&self) -> Result<u64, Error> {
        Ok(self.sizes().log_bytes)
    }
}

/// The limits of a commit.
fn check(commit: &Commit) -> Result<(), Error> {
    let invalid = |reason: &str| Err(Error::Invalid { operation: "commit", reason: reason.to_owned() });
    let size = |write: &Write| match write {
        Write::Put { key, value, .. } => key.len() + value.len(),
        Write::Delete { key } => key.len(),
    };
    if commit.writes.iter().map(size).sum::<usize>() > COMMIT_BYTES_MAX {
        return invalid("request is too large");
    }
    for (at, write) in commit.writes.iter().enumerate() {
        if write.key().is_empty() {
            return invalid("key is not provided");
        }
        if commit.writes[..at].iter().any(|other| other.key() == write.key()) {
            return invalid("duplicate key given in commit");
        }
    }
    Ok(())
}

fn failed(operation: &'static str, error: &std::io::Error) -> Error {
    Error::Failed { operation, reason: error.to_string() }
}
