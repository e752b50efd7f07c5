//! Where objects live: one trait, two real stores.
//!
//! Enter at [`Store`]; [`embedded::Embedded`] keeps a log of its own in a folder, [`etcd::Etcd`] talks to an etcd. Both
//! keep etcd's model: one counter of revisions over the whole key space, a history that reaches back to the last
//! compaction, and every revision that exists carries at least one change. One contract suite holds both to it
//! (`tests/store_contract`).
//!
//! A store knows keys and bytes. It refuses to know what the bytes mean, who asks, and which keys belong together.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub mod compactor;
pub mod embedded;
pub mod etcd;
pub mod metered;

/// A point in the store's history. A new store is at 1; each commit that changes something adds one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key and its value, as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: Bytes,
    /// The revision that made the key (anew, when it had been deleted before).
    pub created: Revision,
    /// The revision that last wrote it.
    pub modified: Revision,
    /// How many times it was written since `created`; 1 at first.
    pub version: u64,
}

/// Which keys to read: `start <= key < end`, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRequest {
    pub start: String,
    /// Exclusive; `None` reads to the end of the key space.
    pub end: Option<String>,
    /// At most so many entries; `None` reads all.
    pub limit: Option<usize>,
    /// As of this revision; `None` reads the newest.
    pub at: Option<Revision>,
}

impl RangeRequest {
    /// All keys that begin with `prefix`, newest, without limit.
    pub fn prefix(prefix: &str) -> Self {
        Self { start: prefix.to_owned(), end: prefix_end(prefix), limit: None, at: None }
    }

    /// Every key there is, newest, without limit.
    pub fn everything() -> Self {
        Self::prefix("")
    }

    /// The same range, from `key` (inclusive) on; a continued list passes its last key and a zero byte.
    pub fn starting_at(self, key: String) -> Self {
        Self { start: key, ..self }
    }

    pub fn limit(self, limit: usize) -> Self {
        Self { limit: Some(limit), ..self }
    }

    pub fn at(self, revision: Revision) -> Self {
        Self { at: Some(revision), ..self }
    }
}

/// The first key after all keys that begin with `prefix`; `None` when there is no such key.
pub fn prefix_end(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // Keys are UTF-8 and ordered by bytes, which is the order of code points; surrogates are no code points.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// What a range read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub entries: Vec<Entry>,
    /// The newest revision of the store when it was read, also for a read at an older one.
    pub revision: Revision,
    /// Entries were left out because of the limit.
    pub more: bool,
    /// How many keys the range holds in all, those left out too.
    pub count: u64,
}

/// What must be so for a commit to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The key exists and was last written at `revision`.
    Modified { key: String, revision: Revision },
    /// The key does not exist.
    Absent { key: String },
}

impl Condition {
    pub fn key(&self) -> &str {
        match self {
            Self::Modified { key, .. } | Self::Absent { key } => key,
        }
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// With a `ttl` the store deletes the key that long after this write (rounded up to whole seconds by etcd), unless
    /// another write comes first: each write sets or clears it.
    Put { key: String, value: Bytes, ttl: Option<Duration> },
    /// Deleting what does not exist changes nothing.
    Delete { key: String },
}

impl Write {
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Writes that happen together, at one revision, if all conditions hold. No two writes may name the same key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    pub conditions: Vec<Condition>,
    pub writes: Vec<Write>,
}

impl Commit {
    /// Makes `key`, which must not exist.
    pub fn create(key: impl Into<String>, value: Bytes, ttl: Option<Duration>) -> Self {
        let key = key.into();
        Self { conditions: vec![Condition::Absent { key: key.clone() }], writes: vec![Write::Put { key, value, ttl }] }
    }

    /// Writes `key`, which must still be as it was at `revision`.
    pub fn update(key: impl Into<String>, revision: Revision, value: Bytes, ttl: Option<Duration>) -> Self {
        let key = key.into();
        Self {
            conditions: vec![Condition::Modified { key: key.clone(), revision }],
            writes: vec![Write::Put { key, value, ttl }],
        }
    }

    /// Deletes `key`, which must still be as it was at `revision`.
    pub fn delete(key: impl Into<String>, revision: Revision) -> Self {
        let key = key.into();
        Self {
            conditions: vec![Condition::Modified { key: key.clone(), revision }],
            writes: vec![Write::Delete { key }],
        }
    }
}

/// All changes of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub revision: Revision,
    pub changes: Vec<Change>,
}

/// One key's change in a [`Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: String,
    pub kind: ChangeKind,
    /// What the key was before; `None` when it did not exist, when the watcher did not ask, or when that was compacted.
    pub previous: Option<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// `created` equals the batch's revision when the key is new.
    Put { value: Bytes, created: Revision, version: u64 },
    /// Deleted, or expired.
    Delete,
}

/// Whether a watch tells what each key was before. It costs a read a change, so ask only where it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Previous {
    Include,
    Omit,
}

/// Why a store could not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The history asked for is gone; it begins at `oldest`.
    #[error("revision has been compacted, the oldest is {oldest}")]
    Compacted { oldest: Revision },
    /// The revision asked for does not exist yet.
    #[error("revision is in the future, the newest is {newest}")]
    Future { newest: Revision },
    /// Not reached, or no leader: nothing was done. Trying again is safe.
    #[error("{operation}: store unavailable: {reason}")]
    Unavailable { operation: &'static str, reason: String },
    /// No answer in time: a commit may or may not have happened.
    #[error("{operation}: store did not answer in time")]
    Timeout { operation: &'static str },
    /// The request makes no sense (two writes of one key, an empty key, a value too large).
    #[error("{operation}: invalid request: {reason}")]
    Invalid { operation: &'static str, reason: String },
    /// The disk failed, or what is on it cannot be read. The embedded store refuses all writes after a failed one.
    #[error("{operation}: {reason}")]
    Failed { operation: &'static str, reason: String },
}

/// Why a commit was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A condition does not hold; `current` is what the key holds now.
    #[error("{key:?} is not as the commit expects")]
    Conflict { key: String, current: Option<Entry> },
    #[error(transparent)]
    Store(#[from] Error),
}

/// Why a watch ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The next change is gone; history begins at `oldest`.
    #[error("the watch's next revision has been compacted, the oldest is {oldest}")]
    Compacted { oldest: Revision },
    #[error(transparent)]
    Store(#[from] Error),
}

/// A key-value store with history. See the module's head for the model.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Whether a watch tells of a commit with the very bytes that it brought, not with a copy.
    fn hands_on_bytes(&self) -> bool {
        false
    }

    /// One key, and the store's newest revision at that moment. `at` reads the past; errors are
    /// [`Error::Compacted`] and [`Error::Future`].
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<(Option<Entry>, Revision), Error>;

    /// Keys in order. Errors as [`Store::get`].
    async fn range(&self, request: RangeRequest) -> Result<Range, Error>;

    /// Makes all writes at one new revision, durable before this returns, or none of them. When nothing changes
    /// (deletes of absent keys only) the revision is the current one.
    ///
    /// Cancellation: a commit whose future is dropped may still happen.
    async fn commit(&self, commit: Commit) -> Result<Revision, CommitError>;

    /// The newest revision, linearizable: nothing acknowledged before this call is newer.
    async fn revision(&self) -> Result<Revision, Error>;

    /// Every change of the whole key space after `from` (exclusive), in order, all changes of a revision in one batch.
    /// Ends with an error, or when the store closes; a lost connection is taken up again inside.
    fn watch(&self, from: Revision, previous: Previous) -> BoxStream<'static, Result<Batch, WatchError>>;

    /// Forgets history before `at`: reads at `at` and newer stay possible, watches from `at` on too. Compacting what is
    /// compacted does nothing.
    async fn compact(&self, at: Revision) -> Result<(), Error>;

    /// What the store takes on the disk.
    async fn size_bytes(&self) -> Result<u64, Error>;
}
